//! Programs to be patched, from a fuzzer's bytes: small ones of every class, byte order and layout, real
//! ones, and either with fields that lie.

use crate::tiny::SHAPES;
use crate::tiny::dynamic::{Like, program};
use arbitrary::{Result, Unstructured};

/// Programs and libraries as link editors write them: sections, versions, hash tables, relocations.
const LINKED: &[&[u8]] = &[
    include_bytes!("../../fixtures/bin/hello-x86_64-glibc-pie"),
    include_bytes!("../../fixtures/bin/hello-x86_64-glibc-nopie"),
    include_bytes!("../../fixtures/bin/hello-i686-glibc-pie"),
    include_bytes!("../../fixtures/bin/hello-aarch64-glibc-nopie"),
    include_bytes!("../../fixtures/bin/hello-riscv64-glibc-pie"),
    include_bytes!("../../fixtures/bin/hello-x86_64-musl-nopie"),
    include_bytes!("../../fixtures/bin/libexecstack.so.1"),
    include_bytes!("../../fixtures/bin/payload"),
];

/// A file, and whether every field of it is true.
pub fn file(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, bool)> {
    let linked = u.ratio(1, 3)?;
    let mut file = if linked { u.choose(LINKED)?.to_vec() } else { small(u)? };
    if u.arbitrary()? {
        let size = u.int_in_range(1..=600)?;
        file.extend((0..size).map(|n| (n as u8).wrapping_mul(37) | 1));
    }
    let lies = u.int_in_range(0..=4)?;
    for _ in 0..lies {
        lie(u, &mut file)?;
    }
    Ok((file, !linked && lies == 0))
}

/// A program without sections.
pub fn small(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let like = Like::new(*u.choose(&SHAPES)?);
    Ok(program(Like { spare: u.int_in_range(1..=6)?, padding: u.int_in_range(0..=3000)?, ..like }))
}

/// Another number somewhere: more often in the headers, at a field's place, one that is on the edge of something.
fn lie(u: &mut Unstructured<'_>, file: &mut [u8]) -> Result<()> {
    let width: usize = *u.choose(&[1, 2, 4, 8])?;
    let room = if u.arbitrary()? { file.len().min(0x300) } else { file.len() };
    let at = u.int_in_range(0..=room.saturating_sub(width))? / 4 * 4;
    let old = file[at..at + width].to_vec();
    let edges = [0, 1, u64::MAX, file.len() as u64, file.len() as u64 - 1, 1 << 63, 0x7fff_ffff, 0x1000, 0xfff];
    let new = match u.int_in_range(0..=3)? {
        0 => u.choose(&edges)?.to_le_bytes(),
        1 => u.choose(&edges)?.rotate_left(64 - 8 * width as u32 % 64).to_be_bytes(),
        2 => u.arbitrary::<u64>()?.to_le_bytes(),
        // A field of elsewhere: two of them then mean the same.
        _ => {
            let from = u.int_in_range(0..=file.len() - 8)?;
            file[from..from + 8].try_into().unwrap_or_default()
        }
    };
    file[at..at + width].copy_from_slice(&new[..old.len()]);
    Ok(())
}
