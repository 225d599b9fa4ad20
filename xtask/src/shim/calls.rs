//! The system calls of one start, counted exactly, through strace(1). Never timed: tracing costs more than what
//! is traced.

use crate::process;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program asked of the kernel, with its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) all: usize,
    /// `openat` and `open`, failed ones too.
    pub(crate) opens: usize,
    /// The failed ones among them, as strace writes them.
    pub(crate) failed: Vec<String>,
    /// The paths of the others.
    pub(crate) opened: BTreeSet<PathBuf>,
}

impl Calls {
    /// Starts a program with this whole environment. It must succeed.
    pub(crate) fn of(program: &Path, environment: &[(String, String)]) -> Result<Calls> {
        process::need(&[("strace", "strace")])?;
        let work = tempfile::tempdir().context("make a directory for a trace")?;
        let trace = work.path().join("trace");
        let mut strace = Command::new("strace");
        // strace itself keeps its environment; the program gets exactly what is named.
        strace.args(["-f", "-s", "200", "-o"]).arg(&trace).args(["/usr/bin/env", "-i"]);
        strace.args(environment.iter().map(|(key, value)| format!("{key}={value}"))).arg(program);
        process::output(&mut strace)?;
        let text = fs::read_to_string(&trace).context("read a trace")?;
        let last = text.match_indices("execve(").last().map_or(0, |(at, _)| at);
        Ok(Calls::read(text.get(last..).unwrap_or_default()))
    }

    fn read(trace: &str) -> Calls {
        let mut calls = Calls::default();
        for line in trace.lines() {
            let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
            let Some((name, _)) = call.split_once('(') else { continue };
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            calls.all += 1;
            if name == "openat" || name == "open" {
                calls.opens += 1;
                match call.contains(") = -1 ") {
                    true => calls.failed.push(call.to_owned()),
                    // No path here has a character that strace escapes.
                    false => calls.opened.extend(call.split('"').nth(1).map(PathBuf::from)),
                }
            }
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_are_counted_and_failed_ones_kept() {
        let trace = "7 execve(\"/p\", [\"/p\"], 0x7ffc /* 1 var */) = 0\n\
                     7 openat(AT_FDCWD, \"/a/l.so\", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)\n\
                     7 openat(AT_FDCWD, \"/b/l.so\", O_RDONLY|O_CLOEXEC) = 3\n\
                     7 exit_group(0)                     = ?\n7 +++ exited with 0 +++\n";
        let calls = Calls::read(trace);
        assert_eq!((calls.all, calls.opens, calls.opened), (4, 2, BTreeSet::from([PathBuf::from("/b/l.so")])));
        assert_eq!(calls.failed, ["openat(AT_FDCWD, \"/a/l.so\", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)"]);
    }
}
