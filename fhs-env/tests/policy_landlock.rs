//! What a process can still do that restricted itself by landlock, each with the same attempt unrestricted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use fhs_env::policy::{Files, KernelFacts, Landlock, LandlockError, PATHS_MAX, Restricted};
use scene::skip;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Output};

fn has(version: u8) -> bool {
    let facts = KernelFacts::gather(None);
    if facts.landlock < version {
        skip(&format!("this kernel has landlock {}, and this needs {version}", facts.landlock));
    }
    facts.landlock >= version
}

fn example() -> PathBuf {
    let built = std::env::current_exe().unwrap().parent().unwrap().join("../examples/restrict");
    assert!(built.exists(), "{} is missing; run `cargo build --examples`", built.display());
    built
}

/// Runs a script, restricted as the words say.
fn sh(words: &[&str], script: &str) -> Output {
    Command::new(example()).args(words).args(["--", "sh", "-c", script]).output().unwrap()
}

const SYSTEM: [&str; 12] = ["--read", "/usr", "--read", "/bin", "--read", "/lib", "--read", "/lib64", "--read", "/etc", "--write", "/dev"];

#[test]
fn what_is_named_can_be_read_or_changed_and_nothing_else() {
    if !has(3) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (read, write, other) = (at("read"), at("write"), at("other"));
    for place in [&read, &write, &other] {
        fs::create_dir(place).unwrap();
        fs::write(format!("{place}/file"), "content").unwrap();
    }
    let mut words = SYSTEM.to_vec();
    words.extend(["--read", &read, "--write", &write, "--read", "/nowhere"]);
    // Script, restricted, unrestricted.
    let rows = [
        (format!("cat {read}/file"), true, true),
        (format!("ls {read}"), true, true),
        (format!("echo x >>{read}/file"), false, true),
        (format!("echo x >{read}/new"), false, true),
        (format!("truncate -s 0 {read}/file"), false, true),
        (format!("rm {read}/file"), false, true),
        (format!("echo x >>{write}/file; mkdir {write}/d; mv {write}/file {write}/d/; rm -r {write}/d"), true, true),
        (format!("cat {other}/file"), false, true),
        (format!("ls {other}"), false, true),
        (format!("cp /bin/true {other}/true && {other}/true"), false, true),
        ("echo x >/dev/null".to_owned(), true, true),
    ];
    for (script, restricted, free) in rows {
        let script = format!("set -e; {script}");
        assert_eq!(sh(&words, &script).status.success(), restricted, "restricted: {script}");
        assert_eq!(sh(&[], &script).status.success(), free, "unrestricted: {script}");
    }
}

#[test]
fn a_single_file_can_be_named() {
    if !has(3) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one").display().to_string(), dir.path().join("two").display().to_string());
    fs::write(&one, "1").unwrap();
    fs::write(&two, "2").unwrap();
    let mut words = SYSTEM.to_vec();
    words.extend(["--write", &one]);
    let out = sh(&words, &format!("cat {one}; echo more >>{one}; cat {two}"));
    assert_eq!((String::from_utf8_lossy(&out.stdout).as_ref(), out.status.success()), ("1", false));
    assert_eq!(fs::read_to_string(&one).unwrap(), "1more\n");
}

#[test]
fn no_abstract_socket_of_the_outside_can_be_connected_to() {
    if !has(6) {
        return;
    }
    let Ok(python) = Command::new("python3").arg("-c").arg("").status() else { return skip("python3 is not installed") };
    assert!(python.success());
    let name = format!("xeno-law-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script = format!("exec python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"\\0{name}\")'");
    let free = sh(&[], &script);
    assert!(free.status.success(), "the control: {}", String::from_utf8_lossy(&free.stderr));
    let out = sh(&["--scoped"], &script);
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("Operation not permitted"), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn no_process_outside_can_be_sent_a_signal() {
    if !has(6) {
        return;
    }
    let script = format!("kill -0 {}", std::process::id());
    assert!(sh(&[], &script).status.success(), "the control");
    assert!(!sh(&["--scoped"], &script).status.success());
    assert!(sh(&["--scoped"], "sleep 9 & kill $!").status.success(), "its own it can");
}

#[test]
fn nothing_asked_is_nothing_done() {
    assert_eq!(Landlock::default().restrict().unwrap(), Restricted::Fully);
}

#[test]
fn too_many_paths_are_refused_before_anything_is_opened() {
    let readable = vec![PathBuf::from("/"); PATHS_MAX + 1];
    let error = Landlock { files: Some(Files { readable, writable: Vec::new() }), scoped: false }.restrict().unwrap_err();
    assert!(matches!(error, LandlockError::TooMany(513)));
    assert_eq!(
        error.to_string(),
        "restricting the sandbox by landlock: 513 paths exceed the limit of 512; name directories that hold them"
    );
}
