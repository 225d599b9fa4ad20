//! Writes the seeds of the fuzz targets anew: `cargo run --example seeds`, in this directory. The targets are
//! given the files of fixtures/bin as well; here are those that no compiler of a CI machine makes.

use std::path::Path;
use xeno_fuzz::base::small;

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in ["read", "plan", "patch"] {
        std::fs::create_dir_all(seeds.join(target))?;
    }
    for shape in 0..4u8 {
        let program = small(&mut arbitrary::Unstructured::new(&[shape, 3, 200])).expect("bytes enough");
        std::fs::write(seeds.join(format!("read/small-{shape}")), &program)?;
        // Every edit there is: the request, its length, as `ask::split` reads them.
        for first in 0..4u8 {
            let request: Vec<u8> = (0..48u8).map(|n| (first * 5).wrapping_add(n.wrapping_mul(7))).collect();
            let whole = [&program[..], &request[..], &48u16.to_le_bytes()].concat();
            std::fs::write(seeds.join(format!("plan/small-{shape}-{first}")), whole)?;
        }
    }
    for n in 0..16u8 {
        let bytes: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(2 * n + 1).wrapping_add(n)).collect();
        std::fs::write(seeds.join(format!("patch/{n:02}")), bytes)?;
    }
    Ok(())
}
