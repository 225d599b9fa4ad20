//! `cargo xtask shim-size`: every shim of the distribution is at most 16 KiB, has nothing to relocate, no
//! interpreter, nothing writable and executable. Reads files; builds and changes none.

use super::headers::{ET_DYN, Headers, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use crate::{dist, gate};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Bytes of a shim, at most.
pub(crate) const LARGEST: u64 = 16 << 10;
/// The shims, by their file's name, with class and `e_machine` (gABI, "ELF Header").
const MACHINES: &[(&str, bool, u64)] = &[("x86_64", true, 62), ("i686", false, 3), ("aarch64", true, 183), ("riscv64", true, 243)];
/// Tags that say that there is something to relocate or to load (gABI, "Dynamic Section"; DT_RELR of 2022).
const TAGS: &[(u64, &str)] = &[(1, "DT_NEEDED"), (7, "DT_RELA"), (17, "DT_REL"), (22, "DT_TEXTREL"), (23, "DT_JMPREL"), (36, "DT_RELR")];
const DT_FLAGS: u64 = 30;
const DF_TEXTREL: u64 = 4;
/// Section types `SHT_RELA`, `SHT_REL` and `SHT_RELR`.
const RELOCATIONS: &[u64] = &[4, 9, 19];

/// What is to be known of one shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The file's name.
    pub(crate) machine: String,
    pub(crate) bytes: u64,
    /// PT_LOAD segments, with their flags.
    loads: String,
    /// What it must not be.
    pub(crate) faults: Vec<String>,
}

/// `shim-size`: fails if a shim is not what it must be.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &[])?;
    check(&dist::tried()?)
}

/// The shims of a distribution: prints a table and fails if one is missing or not what it must be.
pub(crate) fn check(distribution: &Path) -> Result<()> {
    let reports = reports(distribution)?;
    println!("| shim | bytes | of {LARGEST} | segments | |\n|---|---|---|---|---|");
    for report in &reports {
        let share = report.bytes as f64 / LARGEST as f64 * 100.0;
        let word = if report.faults.is_empty() { "ok".to_owned() } else { report.faults.join("; ") };
        println!("| {} | {} | {share:.0} % | {} | {word} |", report.machine, report.bytes, report.loads);
    }
    for (machine, ..) in MACHINES.iter().filter(|(machine, ..)| !reports.iter().any(|report| report.machine == *machine)) {
        gate::skip(&format!("the shim of {machine}: the distribution has none (rustup target add)"))?;
    }
    let bad: Vec<&str> = reports.iter().filter(|report| !report.faults.is_empty()).map(|report| report.machine.as_str()).collect();
    if !bad.is_empty() {
        bail!("shim-size: not as promised: {}", bad.join(", "));
    }
    Ok(())
}

/// One report a file, by name. Fails if there is none.
pub(crate) fn reports(distribution: &Path) -> Result<Vec<Report>> {
    let directory = distribution.join("ld-shim");
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut reports = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("read {}; try: cargo xtask dist", directory.display()))? {
        let entry = entry?;
        reports.push(report(&entry.file_name().to_string_lossy(), &read(&entry.path())?));
    }
    if reports.is_empty() {
        bail!("no shim in {}; try: cargo xtask dist", directory.display());
    }
    reports.sort_by(|a, b| a.machine.cmp(&b.machine));
    Ok(reports)
}

fn report(machine: &str, bytes: &[u8]) -> Report {
    let mut report = Report { machine: machine.to_owned(), bytes: bytes.len() as u64, loads: String::new(), faults: Vec::new() };
    if report.bytes > LARGEST {
        report.faults.push(format!("{} bytes too large", report.bytes - LARGEST));
    }
    match Headers::parse(bytes) {
        Ok(Some(headers)) => {
            report.loads = loads(&headers);
            match faults(machine, &headers, bytes) {
                Ok(faults) => report.faults.extend(faults),
                Err(error) => report.faults.push(format!("{error:#}")),
            }
        }
        Ok(None) => report.faults.push("no ELF file".to_owned()),
        Err(error) => report.faults.push(format!("{error:#}")),
    }
    report
}

fn loads(headers: &Headers) -> String {
    let loads = headers.segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let flags = |flags: u64| [(4, 'r'), (PF_W, 'w'), (PF_X, 'x')].map(|(bit, letter)| if flags & bit == 0 { '-' } else { letter });
    loads.map(|segment| flags(segment.flags).iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

fn faults(machine: &str, headers: &Headers, bytes: &[u8]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    match MACHINES.iter().find(|(name, ..)| *name == machine) {
        Some((_, wide, number)) if headers.wide == *wide && headers.machine == *number && headers.little => {}
        Some(_) => faults.push(format!("made for machine {}, not for {machine}", headers.machine)),
        None => faults.push("no machine of this name".to_owned()),
    }
    if headers.kind != ET_DYN {
        faults.push(format!("type {}, not a shared object", headers.kind));
    }
    if headers.segment(PT_INTERP).is_some() {
        faults.push("it has an interpreter".to_owned());
    }
    if headers.segments.iter().any(|segment| segment.kind == PT_LOAD && segment.flags & (PF_W | PF_X) == PF_W | PF_X) {
        faults.push("a segment is writable and executable".to_owned());
    }
    // Without one, i386 has an executable stack (fs/binfmt_elf.c, "READ_IMPLIES_EXEC").
    if headers.segment(PT_GNU_STACK).is_none_or(|stack| stack.flags & PF_X != 0) {
        faults.push("its stack is executable".to_owned());
    }
    let dynamic = headers.dynamic(bytes)?;
    faults.extend(TAGS.iter().filter(|(tag, _)| dynamic.iter().any(|(found, _)| found == tag)).map(|(_, name)| format!("it has {name}")));
    if dynamic.iter().any(|(tag, value)| *tag == DT_FLAGS && value & DF_TEXTREL != 0) {
        faults.push("it has text relocations".to_owned());
    }
    if headers.sections(bytes)?.iter().any(|section| RELOCATIONS.contains(&section.kind) && section.length > 0) {
        faults.push("it has a section of relocations".to_owned());
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared object of x86-64: one PT_LOAD with `flags`, PT_GNU_STACK, PT_DYNAMIC with `dynamic`.
    fn shim(flags: u8, dynamic: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[16], bytes[18], bytes[32], bytes[54], bytes[56], bytes[58]) = (3, 62, 64, 56, 3, 64);
        let length = dynamic.len() as u64 * 16;
        for (kind, flags, length) in [(PT_LOAD, flags, 232), (PT_GNU_STACK, 6, 0), (2, 4, length)] {
            bytes.extend([kind as u32, u32::from(flags)].map(u32::to_le_bytes).concat());
            bytes.extend([232, 0, 0, length, length, 8].map(u64::to_le_bytes).concat());
        }
        bytes.extend(dynamic.iter().flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()));
        bytes
    }

    #[test]
    fn a_plain_shim_has_no_fault() {
        let report = report("x86_64", &shim(5, &[(5, 0), (0, 0)]));
        assert_eq!((report.loads.as_str(), report.faults), ("r-x", vec![]));
    }

    #[test]
    fn what_it_must_not_have_is_named() {
        let faults = |bytes: &[u8]| report("x86_64", bytes).faults;
        assert_eq!(faults(&shim(7, &[])), ["a segment is writable and executable"]);
        assert_eq!(faults(&shim(5, &[(7, 64)])), ["it has DT_RELA"]);
        assert_eq!(faults(&shim(5, &[(30, 4)])), ["it has text relocations"]);
        let mut large = shim(5, &[]);
        large.resize(16385, 0);
        assert_eq!(faults(&large), ["1 bytes too large"]);
        large.truncate(16384);
        assert_eq!(faults(&large), Vec::<String>::new());
        assert_eq!(report("i686", &shim(5, &[])).faults, ["made for machine 62, not for i686"]);
        assert_eq!(faults(b"text"), ["no ELF file"]);
    }

    #[test]
    fn an_ordinary_program_is_no_shim() {
        let bytes = fs::read(crate::root().join("fixtures/bin/hello-x86_64-glibc-pie")).unwrap();
        let faults = report("x86_64", &bytes).faults;
        for fault in ["it has an interpreter", "it has DT_NEEDED", "it has DT_RELA"] {
            assert!(faults.iter().any(|found| found == fault), "{fault}: {faults:?}");
        }
    }
}
