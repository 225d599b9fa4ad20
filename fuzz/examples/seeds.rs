//! Writes the seeds of the fuzz targets anew: `cargo run --example seeds`, in this directory. The targets are
//! given the files of fixtures/bin as well; here are those that no compiler of a CI machine makes.

use ld_shim::base::{DEFAULT, MARK};
use ld_shim::dynamic::{DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ};
use ld_shim::elf::{Class, Machine};
use ld_shim::image::{EVERYBODY, Record};
use ld_shim::key::Key;
use std::path::Path;
use xeno_fuzz::base::small;
use xeno_fuzz::shim::MACHINES;

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in ["read", "plan", "patch", "shim"] {
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
    for machine in MACHINES {
        for everybody in [false, true] {
            let name = format!("shim/image-{}-{everybody}", machine.number);
            std::fs::write(seeds.join(name), image(machine, everybody).expect("its headers fit"))?;
        }
        std::fs::write(seeds.join(format!("shim/loader-{}", machine.number)), loader(machine))?;
    }
    let word = |tag: u64| [tag.to_le_bytes(), 9u64.to_le_bytes()].concat();
    for (name, tags) in [
        ("spare", &[1, 5, 10, 0, 0, 0][..]),
        ("own", &[1, DT_PREINIT_ARRAYSZ as u64, DT_PREINIT_ARRAY as u64, 0]),
        ("full", &[10, 0x6fff_fff9, 0x6fff_ffff, 0]),
    ] {
        std::fs::write(seeds.join(format!("shim/dynamic-{name}")), tags.iter().flat_map(|tag| word(*tag)).collect::<Vec<u8>>())?;
    }
    let environment = ["A=b", "NIX_LD=/a", "NIX_LD_x86_64_linux=/b", "NIX_LD_LIBRARY_PATH=/c:/d", "LD_LIBRARY_PATH=", "NIX_LD_LOG=debug"];
    std::fs::write(seeds.join("shim/environment"), environment.join("\0"))?;
    std::fs::write(seeds.join("shim/command-line"), "ld.so\0--argv0\0x\0--library-path\0/a:/b\0--list\0./prog\0--help\0")?;
    std::fs::write(seeds.join("shim/shim"), [&b"/x/y/z/"[..], &[0; 33], &MARK, DEFAULT.as_bytes(), &[0; 64]].concat())?;
    Ok(())
}

/// The headers of something shaped as a loader: read, executed, written, and the dynamic section.
fn loader(machine: Machine) -> Vec<u8> {
    let word = |n: u64| if machine.class == Class::Elf64 { n.to_le_bytes().to_vec() } else { (n as u32).to_le_bytes().to_vec() };
    let (class, size, entry) = if machine.class == Class::Elf64 { (2, 64, 56u16) } else { (1, 52, 32) };
    let mut out = [&b"\x7fELF"[..], &[class, 1, 1, 0], &[0; 8], &3u16.to_le_bytes(), &machine.number.to_le_bytes(), &[1, 0, 0, 0]].concat();
    out.extend([word(0x1010), word(size), word(0), vec![0; 4]].concat());
    out.extend([size as u16, entry, 4, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    for (kind, flags, [offset, address, in_file, in_memory]) in [
        (1u32, 4u32, [0, 0, 0x500, 0x500]),
        (1, 5, [0x1000, 0x1000, 0x800, 0x800]),
        (1, 6, [0x1e00, 0x2e00, 0x300, 0x2300]),
        (2, 6, [0x1e80, 0x2e80, 0x100, 0x100]),
    ] {
        let [first, second] = if machine.class == Class::Elf64 { [flags.to_le_bytes(), [0; 4]] } else { [[0; 4], flags.to_le_bytes()] };
        let long = machine.class == Class::Elf64;
        out.extend([&kind.to_le_bytes()[..], if long { &first } else { &[] }].concat());
        out.extend([offset, address, address, in_file, in_memory].into_iter().flat_map(word));
        out.extend([if long { &[][..] } else { &second }, &word(0x1000)].concat());
    }
    out
}

/// An image with that loader, of which there are only the headers.
fn image(machine: Machine, everybody: bool) -> Option<Vec<u8>> {
    let headers = loader(machine);
    let mut out = b"/lib:/usr/lib\0".to_vec();
    out.resize(0x100, 0);
    let place = out.len() as u64;
    out.extend(&headers);
    out.resize(0x300, 0);
    let key = if everybody { EVERYBODY } else { Key([7; 16]) };
    out.extend(Record { machine, key, loader: place, headers: &headers }.to_bytes()?);
    Some(out)
}
