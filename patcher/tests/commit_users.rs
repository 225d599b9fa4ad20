//! Laws of changing a file that processes use: who uses it is found whatever name separates them
//! from it, and the bytes under them stay.

#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::commit::{CommitError, CommitKind, Settings, Source, Use, in_place, replace, users};
use patcher::{FileOffset, Phase, Plan, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const FAST: Settings = Settings { durable: false, settled: false, keep_times: false };

fn skip(reason: &str) {
    assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "skipped, but XENO_REQUIRE_ALL=1: {reason}");
    eprintln!("skipped: {reason}");
}

/// Eight bytes of padding of the ELF header, and some behind the end: any program works as before.
fn appending(original: &[u8]) -> Plan {
    let write = |offset: usize, new: &[u8], phase| {
        let old = original.get(offset..offset + new.len()).unwrap_or_default().to_vec();
        Write { offset: FileOffset(offset as u64), old, new: new.to_vec(), phase, why: "to be tried".to_owned() }
    };
    let (end, writes) = (original.len(), vec![write(9, b"padding", Phase::Commit), write(original.len(), b"behind", Phase::Fresh)]);
    Plan::from_parts(end as u64, end as u64 + 6, vec![], writes)
}

/// Starts a copy of this machine's sleep; it is copied by another process, because one of this process's threads may
/// fork while the copy is open for writing (ETXTBSY).
fn sleeper(copy: &Path) -> Running {
    assert!(Command::new("cp").args([Path::new("/bin/sleep"), copy]).status().unwrap().success());
    Running(Command::new(copy).arg("1000").stdin(Stdio::null()).spawn().unwrap())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_program_is_replaced_but_not_changed_under_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sleeper");
    let running = sleeper(&path);
    let original = fs::read(&path).unwrap();
    let plan = appending(&original);
    let error = in_place(&Source::open(&path).unwrap(), &plan, &FAST).unwrap_err();
    let CommitError::InUse { users: found, .. } = &error else { panic!("{error}") };
    assert!(found.list.iter().any(|u| (u.pid, u.name.as_str(), u.how) == (running.0.id(), "sleeper", Use::Runs)), "{error}");
    assert!(error.to_string().contains(&format!("process {} (sleeper) has it running; stop", running.0.id())), "{error}");
    assert!(fs::read(&path).unwrap() == original);
    replace(&Source::open(&path).unwrap(), &plan, &FAST).unwrap();
    assert!(fs::read(&path).unwrap() == plan.apply(&original).unwrap());
}

/// The C library that a sleeping process shows to have.
fn library(of: &Running) -> Option<PathBuf> {
    for _ in 0..500 {
        let maps = fs::read_to_string(format!("/proc/{}/maps", of.0.id())).unwrap();
        let found = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc"));
        if let Some(path) = found {
            return Some(path.into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    None
}

#[test]
fn a_mapped_library_is_replaced_but_not_changed_under_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let Some(libc) = library(&sleeper(&dir.path().join("first"))) else { return skip("sleep is static here") };
    let copy = dir.path().join("library.so");
    fs::copy(libc, &copy).unwrap();
    let running = Running(Command::new("/bin/sleep").arg("1000").env("LD_PRELOAD", &copy).spawn().unwrap());
    let mapped = || users(&copy).unwrap().list.into_iter().map(|u| (u.pid, u.how)).collect::<Vec<_>>();
    let expected = vec![(running.0.id(), Use::Maps)];
    // The loader of the new process needs a moment.
    let seen = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        mapped() == expected
    });
    assert!(seen, "{:?}", mapped());
    let original = fs::read(&copy).unwrap();
    let refused = |path: &Path| in_place(&Source::open(path).unwrap(), &appending(&original), &FAST).unwrap_err().kind();
    assert_eq!(refused(&copy), CommitKind::InUse);
    assert!(fs::read(&copy).unwrap() == original);
    // Under another name, and with the one it was mapped by gone, it is the same file.
    let other = dir.path().join("other");
    fs::hard_link(&copy, &other).unwrap();
    fs::remove_file(&copy).unwrap();
    assert_eq!(refused(&other), CommitKind::InUse);
    replace(&Source::open(&other).unwrap(), &appending(&original), &FAST).unwrap();
    // The successor is nobody's yet.
    in_place(&Source::open(&other).unwrap(), &appending(&fs::read(&other).unwrap()), &FAST).unwrap();
}
