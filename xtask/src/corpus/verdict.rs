//! Judges one run: its end and its words, the rung, where `/proc/<pid>/exe` pointed, and whether every
//! ELF file that was mapped is in the Resolution, in the program's tree or a driver of the host.

use super::table::{End, Row};
use super::watch::Seen;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names of files that only the host can supply: user-space halves of graphics and compute drivers.
const DRIVERS: &[&str] = &["libGLX_", "libEGL_", "libcuda.", "libnvidia-", "libvulkan_", "dri/", "libgallium"];

/// What `XENO_REPORT` says.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rung: String,
    /// As the program sees them.
    files: BTreeSet<PathBuf>,
}

impl Report {
    /// Reads the report; what is absent or of another shape stays empty and is missed by [`judge`].
    pub(super) fn parse(text: &str) -> Report {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let files = value.pointer("/resolution/files").and_then(Value::as_array).into_iter().flatten();
        let path = |file: &Value| file.as_str().or_else(|| file.get("path")?.as_str()).map(PathBuf::from);
        Report { rung: value.get("rung").and_then(Value::as_str).unwrap_or("").to_owned(), files: files.filter_map(path).collect() }
    }
}

/// How one row went.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) name: String,
    pub(super) rung: String,
    /// `/proc/<pid>/exe` of its own processes, xeno's and busybox's left out.
    pub(super) exe: Vec<PathBuf>,
    pub(super) own: usize,
    pub(super) resolved: usize,
    pub(super) drivers: usize,
    pub(super) milliseconds: u128,
    /// Empty: it passed.
    pub(super) faults: Vec<String>,
}

impl Verdict {
    pub(super) fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Judges; `program` is the started file's path in the root, `binds` maps the root's paths to the host's.
pub(super) fn judge(row: &Row, program: &Path, seen: &Seen, report: &Report, binds: &[(PathBuf, PathBuf)]) -> Verdict {
    let mut verdict = Verdict {
        name: row.name.clone(),
        rung: report.rung.clone(),
        exe: Vec::new(),
        own: 0,
        resolved: 0,
        drivers: 0,
        milliseconds: seen.took.as_millis(),
        faults: ended(row, seen),
    };
    let home = |path: &Path| path.starts_with("/opt/xeno") || path.starts_with("/bin");
    let trees = |path: &Path| path.starts_with("/app");
    let ids: BTreeSet<(u64, u64)> = report.files.iter().filter_map(|path| identity(path, binds)).collect();
    let mut counted = BTreeSet::new();
    for (exe, mapped) in seen.processes.iter().filter(|(exe, _)| !home(exe) && exe.starts_with("/")) {
        // Before it becomes xeno the entering process is this program; it maps no file of the root.
        if exe.ends_with("xtask") && !trees(exe) {
            continue;
        }
        verdict.exe.push(exe.clone());
        for (path, id) in mapped.iter().filter(|file| counted.insert((*file).clone())) {
            if report.files.contains(path) || ids.contains(id) {
                verdict.resolved += 1;
            } else if trees(path) {
                verdict.own += 1;
            } else if DRIVERS.iter().any(|driver| path.to_string_lossy().contains(driver)) {
                verdict.drivers += 1;
            } else {
                verdict.faults.push(format!("mapped but not in the Resolution: {}", path.display()));
            }
        }
    }
    match report.rung.as_str() {
        "" => verdict.faults.push("xeno wrote no report".to_owned()),
        "loader" => verdict.faults.push("rung loader does not count".to_owned()),
        _ => {}
    }
    if !verdict.exe.iter().any(|exe| exe == program) {
        verdict.faults.push(format!("no process had {} as its /proc/self/exe", program.display()));
    }
    verdict
}

fn ended(row: &Row, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    let last = seen.text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
    match (row.end, seen.status) {
        _ if seen.overdue => faults.push(format!("still running at the time limit; {last}")),
        (End::Alive, None) => {}
        (End::Status(want), Some(got)) if want == got => {}
        (End::Status(want), Some(got)) => faults.push(format!("status {got} instead of {want}: {last}")),
        (_, got) => faults.push(format!("status {got:?}: {last}")),
    }
    if let Some(expect) = row.expect.as_deref().filter(|expect| !seen.text.contains(expect)) {
        faults.push(format!("did not say `{expect}`: {last}"));
    }
    faults
}

/// Device and inode of a path of the root, found through the host directory bound there.
fn identity(path: &Path, binds: &[(PathBuf, PathBuf)]) -> Option<(u64, u64)> {
    let (host, inside) = binds.iter().find(|(_, inside)| path.starts_with(inside))?;
    let data = fs::metadata(host.join(path.strip_prefix(inside).ok()?)).ok()?;
    Some((data.dev(), data.ino()))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed() { "pass" } else { "FAIL" };
        let (rung, files) = (&self.rung, format!("{}+{}+{}", self.resolved, self.own, self.drivers));
        write!(f, "{word} {:<16} {rung:<8} {files:>8} {:>6} ms", self.name, self.milliseconds)?;
        for fault in self.faults.iter().take(3) {
            write!(f, "\n     {fault}")?;
        }
        Ok(())
    }
}

/// The pass table as a page.
pub(super) fn page(verdicts: &[Verdict], class: impl Fn(&str) -> String) -> String {
    let passed = verdicts.iter().filter(|v| v.passed()).count();
    let mut text = format!(
        "# Real programs in a bare root\n\n{passed} of {} pass. Files: mapped ELF files that are in the Resolution + in the program's \
         tree + drivers.\n\n| program | class | result | rung | files | ms | /proc/self/exe | |\n|---|---|---|---|---|---|---|---|\n",
        verdicts.len()
    );
    for v in verdicts {
        let exe = v.exe.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "| {} | {} | {} | {} | {}+{}+{} | {} | {exe} | {} |\n",
            v.name,
            class(&v.name),
            if v.passed() { "pass" } else { "FAIL" },
            v.rung,
            v.resolved,
            v.own,
            v.drivers,
            v.milliseconds,
            v.faults.join("; ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::table::parse;
    use std::collections::BTreeMap;

    fn row() -> Row {
        let text = include_str!("../../../tests/corpus.tsv");
        parse(text).unwrap().into_iter().find(|row| row.end == End::Status(0)).unwrap()
    }

    fn seen(mapped: &[&str]) -> Seen {
        let files = mapped.iter().enumerate().map(|(at, path)| (PathBuf::from(path), (1, at as u64 + 1))).collect();
        let text = row().expect.unwrap_or_default();
        Seen { status: Some(0), text, processes: BTreeMap::from([(PathBuf::from("/app/x"), files)]), ..Seen::default() }
    }

    fn faults(mapped: &[&str], report: &str) -> Vec<String> {
        judge(&row(), Path::new("/app/x"), &seen(mapped), &Report::parse(report), &[]).faults
    }

    #[test]
    fn a_mapped_file_that_nobody_named_is_a_fault() {
        let report = r#"{"rung":"view","resolution":{"files":["/s/libc.so.6",{"path":"/s/ld.so"}]}}"#;
        assert!(faults(&["/app/x", "/s/libc.so.6", "/s/ld.so"], report).is_empty());
        assert_eq!(faults(&["/app/x", "/lib/libz.so.1"], report), ["mapped but not in the Resolution: /lib/libz.so.1"]);
    }

    #[test]
    fn the_rung_loader_does_not_count() {
        assert_eq!(faults(&["/app/x"], r#"{"rung":"loader"}"#), ["rung loader does not count"]);
        assert_eq!(faults(&["/app/x"], "not JSON"), ["xeno wrote no report"]);
    }
}
