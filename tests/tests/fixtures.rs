//! The committed fixtures are the ones their README describes, and those that this machine can run do
//! what their row says.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use xeno_tests::source::files;
use xeno_tests::{fixture, peer, repository};

/// File → hash, as the README lists them.
fn listed() -> BTreeMap<String, String> {
    let page = fs::read_to_string(repository().join("fixtures/bin/README.md")).unwrap_or_default();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        Some((cells.next()?.trim().to_owned(), cells.last()?.trim().trim_matches('`').to_owned()))
    })
    .collect()
}

#[test]
fn every_fixture_has_the_hash_that_the_readme_gives() {
    let listed = listed();
    assert!(listed.len() > 40, "the README lists {} files", listed.len());
    let present: Vec<String> = files()
        .into_iter()
        .filter_map(|path| Some(path.strip_prefix("fixtures/bin").ok()?.to_string_lossy().into_owned()))
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(present, listed.keys().cloned().collect::<Vec<_>>());
    for (name, expected) in listed {
        let hash: String = Sha256::digest(fs::read(fixture(&name)).unwrap_or_default()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, expected, "{name}");
    }
}

fn started(command: &mut Command) -> Output {
    let name = format!("{command:?}");
    command.output().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn line(command: &mut Command) -> String {
    String::from_utf8_lossy(&started(command).stdout).trim_end().to_owned()
}

#[test]
fn programs_of_this_host_run_as_their_rows_say() {
    if !Path::new("/lib64/ld-linux-x86-64.so.2").exists() {
        return xeno_tests::skip("this host is not glibc on x86-64");
    }
    for kind in ["glibc-pie", "glibc-nopie", "musl-static", "musl-static-pie"] {
        let path = fixture(&format!("hello-x86_64-{kind}"));
        let expected = format!("hello tls=42 ctor=1 libm=5 unwind=- argv0={0} exe={0} env=1 ld=0", path.display());
        assert_eq!(line(Command::new(&path).env_clear().env("ONE", "1")), expected);
    }
    assert_eq!(line(Command::new(fixture("hello-x86_64-bare-static")).args(["a", "b"])), "hello bare argc=3");
    assert_eq!(line(&mut Command::new(fixture("payload-host"))), "payload start=XENO-PAYLOAD-START end=XENO-PAYLOAD-END");
    assert_eq!(line(&mut Command::new(fixture("wrong-class/app-two"))), format!("foo 64 exe={}", fixture("wrong-class/app-two").display()));
    let own = fixture("selfchild-host");
    let expected = format!("parent exe={0}\nchild argv0=selfchild-child exe={0}\nselfchild status=0", own.display());
    assert_eq!(line(&mut Command::new(&own)), expected);
    assert_eq!(started(Command::new(fixture("witness-host")).arg("env").env_clear().env("A", "x\ny")).stdout, b"A=x\ny\0");
}

#[test]
fn foreign_programs_do_not_start_by_themselves() {
    for name in ["nix-hello", "nix-hello-nopie", "nix-hello-i686", "guix-hello", "witness", "app-tree/bin/app", "foreign-script"] {
        let error = Command::new(fixture(name)).output().map(|done| done.status).map_err(|error| error.kind());
        assert_eq!(error, Err(std::io::ErrorKind::NotFound), "{name}");
    }
}

#[test]
fn what_is_missing_is_missing_for_the_real_loader() {
    for (name, says) in [
        ("needs-glibc-2.99", "version `GLIBC_2.99' not found"),
        ("needs-missing", "libxeno-no-such.so.7: cannot open shared object file"),
        ("wrong-class/app", "libfoo.so.1: wrong ELF class: ELFCLASS32"),
        ("soname-tree/bin/app", "libinner.so.1: cannot open shared object file"),
    ] {
        let done = match Command::new(fixture(name)).output() {
            Ok(done) => done,
            Err(error) => return xeno_tests::skip(&format!("this host has no glibc loader: {error}")),
        };
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.contains(says), "{name}: {text}");
    }
}

#[test]
fn freestanding_programs_of_other_machines_run_under_an_emulator() {
    for machine in ["aarch64", "riscv64", "i386"] {
        let Some(qemu) = peer(&format!("qemu-{machine}")) else { return };
        for kind in ["bare-static", "bare-static-pie"] {
            let name = format!("hello-{}-{kind}", machine.replace("i386", "i686"));
            assert_eq!(line(Command::new(&qemu).arg(fixture(&name))), "hello bare argc=1", "{name}");
        }
    }
}
