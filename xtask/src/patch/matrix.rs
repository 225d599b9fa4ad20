//! The linker matrix: the same few sources laid out in every way that has broken a patcher, by four
//! linkers. Small, built anew each time, needs no network.

use super::stage::Subject;
use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What is done to a linked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    /// No section headers and nothing behind the last segment.
    NoSections,
    /// 100,000 bytes that mean nothing.
    Overlay,
    /// A payload and the footer that `footer.c` looks for.
    Footer,
}

struct Row {
    name: &'static str,
    compiler: &'static str,
    source: &'static str,
    flags: &'static str,
    after: After,
}

const fn row(name: &'static str, flags: &'static str) -> Row {
    Row { name, compiler: "gcc", source: "program.c", flags, after: After::Nothing }
}

const fn cpp(name: &'static str, flags: &'static str) -> Row {
    Row { compiler: "g++", source: "unwind.cpp", ..row(name, flags) }
}

const fn then(after: After, row: Row) -> Row {
    Row { after, ..row }
}

const fn footer(name: &'static str, flags: &'static str) -> Row {
    Row { source: "footer.c", after: After::Footer, ..row(name, flags) }
}

const fn library(name: &'static str, flags: &'static str) -> Row {
    Row { source: "foreign-library.c", ..row(name, flags) }
}

/// The i686 compiler is a cross compiler; its libraries are named by the program itself.
const fn narrow(name: &'static str, flags: &'static str) -> Row {
    Row { compiler: "i686-linux-gnu-gcc", ..row(name, flags) }
}

pub(super) const NARROW: &[&str] = &["-Wl,--dynamic-linker=/usr/i686-linux-gnu/lib/ld-linux.so.2", "-Wl,-rpath,/usr/i686-linux-gnu/lib"];

/// `PIE` and `FIX` stand for the flags of a movable program and of one at a fixed address, `LIB` for a
/// library's.
const ROWS: &[Row] = &[
    row("c-bfd-pie", "-fuse-ld=bfd PIE"),
    row("c-bfd-nopie", "-fuse-ld=bfd FIX"),
    row("c-gold-pie", "-fuse-ld=gold PIE"),
    row("c-gold-nopie", "-fuse-ld=gold FIX"),
    row("c-lld-pie", "-fuse-ld=lld PIE"),
    row("c-lld-nopie", "-fuse-ld=lld FIX"),
    row("c-mold-pie", "-fuse-ld=mold PIE"),
    row("c-mold-nopie", "-fuse-ld=mold FIX"),
    cpp("cpp-bfd-pie", "-fuse-ld=bfd PIE"),
    cpp("cpp-bfd-nopie", "-fuse-ld=bfd FIX"),
    cpp("cpp-gold-pie", "-fuse-ld=gold PIE"),
    cpp("cpp-gold-nopie", "-fuse-ld=gold FIX"),
    cpp("cpp-lld-pie", "-fuse-ld=lld PIE"),
    cpp("cpp-lld-nopie", "-fuse-ld=lld FIX"),
    cpp("cpp-mold-pie", "-fuse-ld=mold PIE"),
    cpp("cpp-mold-nopie", "-fuse-ld=mold FIX"),
    row("c-nosepcode-pie", "PIE -Wl,-z,noseparate-code"),
    row("c-nosepcode-nopie", "FIX -Wl,-z,noseparate-code"),
    row("c-norelro-pie", "PIE -Wl,-z,norelro"),
    row("c-norelro-nopie", "FIX -Wl,-z,norelro"),
    row("c-maxpage16k-pie", "PIE -Wl,-z,max-page-size=0x4000"),
    row("c-maxpage16k-nopie", "FIX -Wl,-z,max-page-size=0x4000"),
    row("c-maxpage64k-pie", "PIE -Wl,-z,max-page-size=0x10000"),
    row("c-maxpage64k-nopie", "FIX -Wl,-z,max-page-size=0x10000"),
    row("c-maxpage2m-pie", "PIE -Wl,-z,max-page-size=0x200000"),
    row("c-maxpage2m-nopie", "FIX -Wl,-z,max-page-size=0x200000"),
    row("c-relr-pie", "PIE -Wl,-z,pack-relative-relocs"),
    // No room below the first segment.
    row("c-lowaddr-nopie", "FIX -Wl,-Ttext-segment=0x1000"),
    row("c-lowaddr64k-nopie", "FIX -Wl,-Ttext-segment=0x10000"),
    row("c-lld-rosegment-pie", "-fuse-ld=lld PIE -Wl,--no-rosegment"),
    row("c-lld-rosegment-nopie", "-fuse-ld=lld FIX -Wl,--no-rosegment"),
    row("c-lld-zsep-pie", "-fuse-ld=lld PIE -Wl,-z,separate-loadable-segments"),
    row("c-lld-zsep-nopie", "-fuse-ld=lld FIX -Wl,-z,separate-loadable-segments"),
    row("c-mold-nopie-16k", "-fuse-ld=mold FIX -Wl,-z,max-page-size=0x4000"),
    row("c-mold-nopie-64k", "-fuse-ld=mold FIX -Wl,-z,max-page-size=0x10000"),
    row("c-mold-nopie-zsep", "-fuse-ld=mold FIX -Wl,-z,separate-loadable-segments"),
    row("c-lld-pie-exports", "-fuse-ld=lld PIE -rdynamic -DEXPORTS"),
    row("c-lld-nopie-exports", "-fuse-ld=lld FIX -rdynamic -DEXPORTS"),
    row("c-mold-nopie-exports", "-fuse-ld=mold FIX -rdynamic -DEXPORTS"),
    row("c-emitrelocs-pie", "PIE -Wl,--emit-relocs"),
    row("c-debug-pie", "PIE -g -gz"),
    row("c-debug-nopie", "FIX -g"),
    row("c-cet-pie", "PIE -fcf-protection=full -Wl,-z,ibtplt"),
    row("c-runpath-pie", "PIE -Wl,-rpath,$ORIGIN/../lib -Wl,--enable-new-dtags"),
    row("c-rpath-nopie", "FIX -Wl,-rpath,$ORIGIN/../lib -Wl,--disable-new-dtags"),
    then(After::NoSections, row("c-nosht-pie", "PIE")),
    then(After::NoSections, row("c-nosht-nopie", "FIX")),
    then(After::Overlay, row("c-overlay-pie", "PIE")),
    then(After::Overlay, row("c-overlay-nopie", "FIX")),
    footer("footer-pie", "PIE"),
    footer("footer-nopie", "FIX"),
    library("lib-bfd", "-fuse-ld=bfd LIB"),
    library("lib-gold", "-fuse-ld=gold LIB"),
    library("lib-lld", "-fuse-ld=lld LIB"),
    library("lib-mold", "-fuse-ld=mold LIB"),
    library("lib-maxpage64k", "LIB -Wl,-z,max-page-size=0x10000"),
    library("lib-runpath", "LIB -Wl,-rpath,$ORIGIN -Wl,--enable-new-dtags"),
    then(After::NoSections, library("lib-nosht", "LIB")),
    narrow("c-m32-pie", "PIE"),
    narrow("c-m32-nopie", "FIX"),
    row("c-static", "-static FIX"),
    row("c-static-pie", "-static-pie -fPIE"),
];

/// Commands, or files where a package has no command, and their Debian packages.
pub(super) const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("ld.lld", "lld"),
    ("mold", "mold"),
    ("i686-linux-gnu-gcc", "gcc-i686-linux-gnu"),
    ("/usr/i686-linux-gnu/include/stdio.h", "libc6-dev-i386-cross"),
    ("readelf", "binutils"),
    ("eu-elflint", "elfutils"),
];

/// Names, in the table's order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// Builds one row into a directory of its own below `directory`; `opener` tries libraries.
pub(super) fn build(name: &str, directory: &Path, opener: &Path) -> Result<Subject> {
    let row = ROWS.iter().find(|row| row.name == name).with_context(|| format!("no row is called {name}"))?;
    let place = directory.join(name);
    fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    let file = place.join(name);
    compile(row, &file)?;
    let mut subject = Subject::alone(name, &place);
    if row.flags.split_whitespace().any(|word| word == "LIB") {
        subject.runner.push(opener.into());
        subject.arguments.push("library".to_owned());
    }
    let mut bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    match row.after {
        After::Nothing => return Ok(subject),
        After::NoSections => without_sections(&mut bytes)?,
        After::Overlay => bytes.extend(noise(100_000)),
        After::Footer => append_footer(&mut bytes),
    }
    fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))?;
    Ok(subject)
}

fn compile(row: &Row, file: &Path) -> Result<()> {
    let mut command = Command::new(row.compiler);
    command.args(["-O1", "-o"]).arg(file).arg(crate::root().join("fixtures/src/patch").join(row.source));
    for word in row.flags.split_whitespace() {
        match word {
            "PIE" => command.args(["-pie", "-fPIE"]),
            "LIB" => command.args(["-shared", "-fPIC", "-Wl,-soname,liblibrary.so.1"]),
            "FIX" => command.args(["-no-pie", "-fno-pie"]),
            word => command.arg(word),
        };
    }
    if row.compiler.starts_with("i686") {
        command.args(NARROW);
    }
    process::output(command.arg("-lm")).map(drop)
}

/// Drops the section header table and all that lies behind the last segment (64-bit, little-endian).
fn without_sections(bytes: &mut Vec<u8>) -> Result<()> {
    let number = |bytes: &[u8], at: usize, size: usize| -> Result<usize> {
        let field = bytes.get(at..at + size).context("an ELF file that is too short")?;
        Ok(field.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (table, count) = (number(bytes, 32, 8)?, number(bytes, 56, 2)?);
    let mut end = table + count * 56;
    for header in (0..count).map(|at| table + at * 56) {
        end = end.max(number(bytes, header + 8, 8)? + number(bytes, header + 32, 8)?);
    }
    // e_shoff, then e_shentsize, e_shnum and e_shstrndx.
    for place in [40..48, 58..64] {
        bytes.get_mut(place).context("an ELF file that is too short")?.fill(0);
    }
    if end > bytes.len() {
        bail!("a segment ends behind the file");
    }
    bytes.truncate(end);
    Ok(())
}

/// Bytes without pattern, the same each time (xorshift).
fn noise(count: usize) -> impl Iterator<Item = u8> {
    let next = |state: &u64| {
        let mut x = *state;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        Some(x)
    };
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15), next).map(|x| x.to_le_bytes().iter().fold(0, |a, b| a ^ b)).take(count)
}

fn append_footer(bytes: &mut Vec<u8>) {
    const PAYLOAD: &[u8] = b"the payload";
    bytes.extend(noise(5000));
    let offset = bytes.len() as u64;
    bytes.extend(PAYLOAD);
    bytes.extend(noise(60_000));
    bytes.extend(b"PROOFEND");
    bytes.extend(offset.to_le_bytes());
    bytes.extend((PAYLOAD.len() as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_layout_has_one_name_and_every_linker_all_four_shapes() {
        let names: BTreeSet<&str> = names().collect();
        assert_eq!(names.len(), ROWS.len());
        for linker in ["bfd", "gold", "lld", "mold"] {
            for shape in ["pie", "nopie"] {
                assert!(names.contains(format!("c-{linker}-{shape}").as_str()) && names.contains(format!("cpp-{linker}-{shape}").as_str()));
            }
        }
    }

    #[test]
    fn a_file_without_section_headers_ends_with_its_last_segment() {
        let mut bytes = fs::read(crate::root().join("fixtures/bin/hello-x86_64-glibc-pie")).unwrap();
        without_sections(&mut bytes).unwrap();
        assert_eq!((&bytes[40..48], &bytes[58..64]), (&[0; 8][..], &[0; 6][..]));
        assert!(without_sections(&mut vec![0; 40]).is_err());
    }
}
