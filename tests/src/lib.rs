//! What the tests of the whole share: where things lie, and skips that say why.
//! A skip is never silent and, where `XENO_REQUIRE_ALL=1`, never a success.

#![allow(clippy::print_stderr, clippy::panic, reason = "tests talk and fail by panicking")]

pub mod source;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Ends a test that cannot run here: the caller returns after it. The reason names what is missing
/// and, where there is one, the remedy.
///
/// # Panics
/// Where `XENO_REQUIRE_ALL=1`: there, everything has to run.
pub fn skip(reason: &str) {
    assert!(!required(), "skipped, but XENO_REQUIRE_ALL=1: {reason}");
    eprintln!("skipped: {reason}");
}

/// Whether every skip is a failure.
pub fn required() -> bool {
    is_one("XENO_REQUIRE_ALL")
}

/// Whether tests may download (`XENO_TEST_NETWORK=1`); skips otherwise.
pub fn network() -> bool {
    let on = is_one("XENO_TEST_NETWORK");
    if !on {
        skip("needs the network and XENO_TEST_NETWORK is not 1");
    }
    on
}

fn is_one(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

/// The top of the source tree.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A file of `fixtures/bin`.
///
/// # Panics
/// If there is none of this name.
pub fn fixture(name: &str) -> PathBuf {
    let path = repository().join("fixtures/bin").join(name);
    assert!(path.exists(), "no fixture {name}; cargo xtask fixtures makes them");
    path
}

/// The `xeno` to test: `$XENO_DIST/xeno` (what `cargo xtask test` sets), else the one that the last
/// `cargo xtask dist` left, else one that cargo built beside this test. Skips if there is none.
pub fn xeno() -> Option<PathBuf> {
    let given = std::env::var_os("XENO_DIST").map(|dist| PathBuf::from(dist).join("xeno"));
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("xeno")));
    let found = given.into_iter().chain([built.join("dist/xeno")]).chain(beside).find(|path| path.is_file());
    if found.is_none() {
        skip("no xeno is built; cargo xtask dist builds it");
    }
    found
}

/// A program of `PATH`. Skips if it is not installed.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Writes an executable file (mode 755) and makes the directories above it. Another process does it: a child that another
/// test forks while this one has the file open for writing has it open too, and execve(2) says ETXTBSY. The same holds for
/// the interpreters of programs and of scripts.
///
/// # Panics
/// If it cannot be written.
pub fn executable(path: &Path, bytes: &[u8]) {
    let script = r#"cat >"$1" && chmod 755 "$1""#;
    let write = || -> io::Result<ExitStatus> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut child = Command::new("sh").args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn()?;
        let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(bytes));
        let status = child.wait()?;
        written.map(|()| status)
    };
    let done = write();
    assert!(done.as_ref().is_ok_and(ExitStatus::success), "write {}: {done:?}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn an_executable_can_be_started_whatever_other_threads_fork_meanwhile() {
        let Ok(directory) = tempfile::tempdir() else { panic!("no temporary directory") };
        let (script, over) = (directory.path().join("script"), AtomicBool::new(false));
        let said = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        Command::new("true").status().ok();
                    }
                });
            }
            let once = |n: u32| {
                executable(&script, format!("#!/bin/sh\necho {n}\n").as_bytes());
                Command::new(&script).output().map(|done| done.stdout)
            };
            let said: Vec<_> = (0..100).map(once).collect();
            over.store(true, Ordering::Relaxed);
            said
        });
        for (n, said) in said.into_iter().enumerate() {
            assert_eq!(said.map_err(|error| error.kind()), Ok(format!("{n}\n").into_bytes()));
        }
    }
}
