//! Bad input and bad machines: each gets one clear line, a documented status, and leaves nothing half-written.
//! What the archive can do wrong is told in `hostile_archive.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Rung, Scene, is_root, refuses, replaced, succeeds};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn scene() -> Option<Scene> {
    Scene::new(None)
}

/// `run` and `inspect` of one file; both refuse it with this status.
fn both_refuse(scene: &Scene, bytes: &[u8], name: &str) -> String {
    let path = scene.path(name);
    let _ = fs::remove_file(&path);
    scene.program(bytes, &path);
    let run = refuses(&mut scene.say(&["run", "--offline", text(&path)]), 126);
    let inspect = refuses(&mut scene.say(&["inspect", text(&path)]), 126);
    assert!(inspect.contains(text(&path)), "{inspect}");
    assert!(run.contains(text(&path)), "{run}");
    assert_eq!(scene.leftovers(), [""; 0]);
    run
}

// Files that are no programs.

#[test]
fn what_is_not_elf_is_said_to_be_none() {
    let Some(scene) = scene() else { return };
    let wrong: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("text", b"echo no shebang\n".to_vec()),
        ("archive", b"!<arch>\ndebian-binary".to_vec()),
        ("zeros", vec![0; 4096]),
        ("magic", b"\x7fELF".to_vec()),
        ("windows", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff".to_vec()),
    ];
    for (name, bytes) in wrong {
        both_refuse(&scene, &bytes, name);
    }
    for (name, line) in [("blank", &b"#!"[..]), ("spaces", b"#!  \t \nx"), ("nul", b"#!\0/bin/sh\n")] {
        both_refuse(&scene, line, name);
    }
    // A device, a pipe, a directory.
    refuses(&mut scene.run("/dev/null", &[]), 126);
    refuses(&mut scene.run("/", &[]), 126);
    let pipe = scene.path("pipe");
    assert!(Command::new("mkfifo").arg("-m").arg("755").arg(&pipe).status().unwrap().success());
    refuses(&mut scene.run(&pipe, &[]), 126);
    refuses(&mut scene.say(&["inspect", text(&pipe)]), 126);
}

#[test]
fn a_truncated_program_is_refused_wherever_it_was_cut() {
    let Some(scene) = scene() else { return };
    let whole = fs::read(scene.foreign("nix-hello", Rung::Overlay, "whole")).unwrap();
    // The dynamic section and what it points to lie in the file's last quarter; a cut there leaves either a
    // file that is refused, or one whose needs can still be read: then the kernel and the loader decide.
    let mut refused = 0;
    for cut in (1..64).chain((64..whole.len()).step_by(97)) {
        let path = scene.path("cut");
        let _ = fs::remove_file(&path);
        scene.program(&whole[..cut], &path);
        let output = scene.say(&["inspect", text(&path)]).output().unwrap();
        match output.status.code() {
            Some(0) => assert!(cut > whole.len() / 2, "cut at {cut}: read as a whole one"),
            _ => {
                support::refused(&format!("cut at {cut}"), &output, 126);
                refuses(&mut scene.say(&["run", "--offline", text(&path)]), 126);
                refused += 1;
            }
        }
    }
    assert!(refused > 64, "{refused}");
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn a_program_with_any_byte_changed_is_read_or_refused() {
    let Some(scene) = scene() else { return };
    let whole = fs::read(xeno_tests::fixture("nix-hello")).unwrap();
    // Every byte of the headers, each in the two ways that make sizes and offsets huge.
    for at in (0..64 + 56 * 9).step_by(3) {
        for value in [0xff, whole[at] ^ 0x80] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let path = scene.path("changed");
            let _ = fs::remove_file(&path);
            fs::write(&path, &bytes).unwrap();
            let output = scene.say(&["inspect", "--json", text(&path)]).output().unwrap();
            match output.status.code() {
                Some(0) => assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "byte {at}"),
                _ => drop(support::refused(&format!("byte {at} is {value:#x}"), &output, 126)),
            }
        }
    }
}

#[test]
fn another_machines_program_names_both_machines() {
    let Some(scene) = scene() else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for (fixture, machine) in [("hello-aarch64-glibc-pie", "aarch64"), ("hello-riscv64-bare-static", "riscv64")] {
        let path = scene.fixture(fixture, fixture);
        let line = refuses(&mut scene.run(&path, &[]), 126);
        assert!(line.contains(&format!("it is for {machine}, and this machine is x86_64; ")), "{line}");
    }
    // Big-endian, a class that does not fit the machine, a machine nobody knows.
    let hello = fs::read(xeno_tests::fixture("nix-hello")).unwrap();
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = hello.clone();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        bytes
    };
    for (name, bytes) in [
        ("big-endian", with(&[(5, 2)])),
        ("class-32", with(&[(4, 1)])),
        ("class-9", with(&[(4, 9)])),
        ("endian-9", with(&[(5, 9)])),
        ("machine", with(&[(18, 0xee), (19, 0xee)])),
        ("s390", with(&[(18, 22)])),
        ("core-file", with(&[(16, 4)])),
        ("object-file", with(&[(16, 1)])),
    ] {
        both_refuse_or_explain(&scene, &bytes, name);
    }
}

/// `run` refuses; `inspect` may describe instead.
fn both_refuse_or_explain(scene: &Scene, bytes: &[u8], name: &str) {
    let path = scene.path(name);
    scene.program(bytes, &path);
    refuses(&mut scene.say(&["run", "--offline", text(&path)]), 126);
    let output = scene.say(&["inspect", text(&path)]).output().unwrap();
    match output.status.code() {
        Some(0) => assert!(String::from_utf8(output.stdout).unwrap().contains("does not run here"), "{name}"),
        _ => drop(support::refused(name, &output, 126)),
    }
}

// Needs that lead nowhere, or everywhere.

/// A dynamic program for x86-64 with these needs, no loader that exists, and nothing else.
fn needing(interpreter: &str, needed: &[String], soname: Option<&str>) -> Vec<u8> {
    let mut strings = vec![0u8];
    let mut add = |s: &str| {
        let at = strings.len() as u64;
        strings.extend_from_slice(s.as_bytes());
        strings.push(0);
        at
    };
    let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|name| (1, add(name))).collect();
    if let Some(soname) = soname {
        dynamic.push((14, add(soname)));
    }
    let interp: Vec<u8> = if interpreter.is_empty() { Vec::new() } else { interpreter.bytes().chain([0]).collect() };
    let headers = 64 + 3 * 56;
    let interp_at = headers as u64;
    let strings_at = interp_at + interp.len() as u64;
    let dynamic_at = (strings_at + strings.len() as u64).next_multiple_of(16);
    dynamic.extend([(5, strings_at), (10, strings.len() as u64), (6, strings_at), (11, 24), (0, 0)]);
    let size = dynamic_at + dynamic.len() as u64 * 16;
    let mut out = Vec::new();
    out.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([3u16, 62].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(1u32.to_le_bytes());
    out.extend([0u64, 64, 0].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(0u32.to_le_bytes());
    out.extend([64u16, 56, 3, 64, 0, 0].iter().flat_map(|v| v.to_le_bytes()));
    // PT_INTERP (a PT_NULL without one), PT_LOAD, PT_DYNAMIC.
    let interp_kind = if interp.is_empty() { 0 } else { 3 };
    let spans = [(interp_kind, interp_at, interp.len() as u64), (1, 0, size), (2, dynamic_at, size - dynamic_at)];
    for (kind, at, length) in spans {
        out.extend([kind as u32, 6].iter().flat_map(|v: &u32| v.to_le_bytes()));
        out.extend([at, at, at, length, length, 8].iter().flat_map(|v: &u64| v.to_le_bytes()));
    }
    out.extend(&interp);
    out.extend(&strings);
    out.resize(dynamic_at as usize, 0);
    out.extend(dynamic.iter().flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()]).flatten());
    out
}

const INTERPRETER: &str = "/n0x/store/none/ld-linux-x86-64.so.2";

#[test]
fn needs_that_go_round_in_a_circle_come_to_an_end() {
    let Some(scene) = scene() else { return };
    let tree = scene.path("circle");
    let library = |name: &str, needs: &str| {
        scene.program(&needing("", &[needs.to_owned(), "libc.so.6".to_owned()], Some(name)), &tree.join("lib").join(name))
    };
    library("liba.so.1", "libb.so.1");
    library("libb.so.1", "libc-of-three.so.1");
    library("libc-of-three.so.1", "liba.so.1");
    library("libself.so.1", "libself.so.1");
    let app = tree.join("bin/app");
    scene.program(&needing(INTERPRETER, &["liba.so.1".to_owned(), "libself.so.1".to_owned(), "libc.so.6".to_owned()], None), &app);
    let json = succeeds(&mut scene.say(&["inspect", "--json", text(&app)]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut names: Vec<&str> = report["resolution"]["libraries"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["liba.so.1", "libb.so.1", "libc-of-three.so.1", "libc.so.6", "libself.so.1"]);
    let tree = succeeds(&mut scene.say(&["inspect", "--tree", text(&app)]));
    for name in names {
        assert_eq!(tree.matches(&format!("{name} => ")).count(), 1, "{tree}");
    }
}

#[test]
fn ten_thousand_needs_are_one_line() {
    let Some(scene) = scene() else { return };
    let needed: Vec<String> = (0..10_000).map(|i| format!("libxeno-none-{i}.so.1")).collect();
    let path = scene.path("many");
    scene.program(&needing(INTERPRETER, &needed, None), &path);
    let line = refuses(&mut scene.say(&["run", "--offline", text(&path)]), 126);
    assert!(line.contains("libxeno-none-0.so.1") && line.len() < 2000, "{line}");
    // inspect shows them all, or refuses with a limit.
    let output = scene.say(&["inspect", text(&path)]).output().unwrap();
    match output.status.code() {
        Some(0) => assert!(String::from_utf8(output.stdout).unwrap().contains("missing: libxeno-none-9999.so.1")),
        _ => drop(support::refused("inspect", &output, 126)),
    }
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn a_library_name_with_control_characters_cannot_make_a_second_line() {
    let Some(scene) = scene() else { return };
    let names =
        ["lib\nxeno: all is well.so", "lib\x1b[2Jx.so", "/abs/lib\nx.so", "../../lib\tx.so", "lib/with/slash.so", "lib\u{7f}.so", ""];
    for (at, name) in names.iter().enumerate() {
        let path = scene.path(format!("odd{at}"));
        scene.program(&needing(INTERPRETER, &[(*name).to_owned(), "libc.so.6".to_owned()], None), &path);
        let output = scene.say(&["run", "--offline", text(&path)]).output().unwrap();
        if !name.is_empty() {
            support::refused(name, &output, 126);
        }
        for view in [&["inspect"][..], &["inspect", "--tree"], &["run", "--offline", "--dry-run"]] {
            let mut words = view.to_vec();
            words.push(text(&path));
            let output = scene.say(&words).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(!printed.contains(['\x1b', '\x7f', '\t']), "{words:?}: {printed:?}");
            assert!(!printed.lines().any(|line| line.starts_with("xeno: all is well")), "{printed}");
        }
    }
    // The interpreter's name is as little to be trusted.
    let path = scene.path("interpreter");
    scene.program(&needing("/n0x/ld\nxeno: fine\x1b[0m", &["libc.so.6".to_owned()], None), &path);
    for view in [&["inspect"][..], &["inspect", "--tree"], &["run", "--offline", "--dry-run"]] {
        let mut words = view.to_vec();
        words.push(text(&path));
        let printed = String::from_utf8(scene.say(&words).output().unwrap().stdout).unwrap();
        assert!(!printed.contains("\nxeno: fine") && !printed.contains('\x1b'), "{words:?}: {printed:?}");
    }
}

// Bad machines.

#[test]
fn a_home_that_cannot_be_written_is_no_obstacle() {
    if !is_root() {
        return xeno_tests::skip("needs root, to be a user who may not write to his home");
    }
    let Some(scene) = Scene::new(Some(support::USER)) else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let home = scene.path("closed");
    fs::create_dir(&home).unwrap();
    let run_time = scene.path("run");
    fs::create_dir(&run_time).unwrap();
    std::os::unix::fs::chown(&run_time, scene.user, scene.user).unwrap();
    let mut command = scene.run(&program, &[]);
    command.env_remove("XENO_STORE").env("HOME", &home).env("XDG_RUNTIME_DIR", &run_time);
    let output = command.output().unwrap();
    assert!(output.stdout.starts_with(b"hello "), "{}", output.stderr.escape_ascii());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("the store is kept in {}/xeno, as {}", run_time.display(), home.display())), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(run_time.join("xeno/cache/loader").is_dir());
    // A store that was asked for by name is not replaced by another.
    let line = refuses(scene.run(&program, &[]).env("XENO_STORE", home.join("store")), 125);
    assert!(line.contains("not writable") && line.contains("XENO_STORE"), "{line}");
}

#[test]
fn without_user_namespaces_the_loader_is_started_and_the_losses_are_said() {
    let Some(scene) = Scene::new(is_root().then_some(support::USER)) else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    // A user namespace of the user's own, whose limit is set to none: what is below it cannot make any.
    let script = r#"echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all "$@""#;
    let refused = |words: &[&str]| {
        let mut command = scene.command("unshare");
        command.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", script, "sh"]).arg(scene.xeno()).args(words);
        command
    };
    let output = refused(&["run", text(&program)]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.starts_with(b"hello tls=42 ctor=1 libm=5 unwind=1 "), "{stderr}");
    assert!(stderr.contains("namespaces are refused: "), "{stderr}");
    assert!(stderr.contains("started through its loader: /proc/self/exe is the loader"), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("xeno: warning: ")), "{stderr}");
    let line = refuses(&mut refused(&["run", "--strategy", "overlay", text(&program)]), 126);
    assert!(line.contains("namespaces are refused"), "{line}");
    // Decided while they were allowed, recalled when they no longer are.
    let other = scene.foreign("nix-hello", Rung::Overlay, "app/other");
    succeeds(&mut scene.run(&other, &[]));
    let output = refused(&["run", text(&other)]).output().unwrap();
    assert!(output.stdout.starts_with(b"hello "), "{}", output.stderr.escape_ascii());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_program_on_a_noexec_file_system_is_refused_with_the_reason() {
    if !is_root() {
        return xeno_tests::skip("needs root, to mount a noexec file system");
    }
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,noexec "$1" && shift && exec "$@""#;
    let mut command = scene.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(scene.path("app"));
    command.arg(scene.xeno()).arg("run").arg(&program);
    let line = refuses(&mut command, 126);
    assert!(line.contains("noexec"), "{line}");
}

#[test]
fn what_a_dead_process_left_is_swept() {
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    succeeds(&mut scene.run(&program, &[]));
    let cache = scene.store().join("cache/loader");
    let (old, new) = (cache.join(".tmp-dead"), cache.join(".tmp-fresh"));
    fs::write(&old, "x").unwrap();
    fs::write(&new, "x").unwrap();
    assert!(Command::new("touch").args(["-d", "2 hours ago"]).arg(&old).status().unwrap().success());
    // Another program makes materials of its own there.
    let other = scene.path("other/nix-hello");
    let bytes = replaced(&fs::read(xeno_tests::fixture("guix-hello")).unwrap(), b"/gnu/store/", b"/etc/store/");
    scene.program(&bytes, &other);
    for file in fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).filter(|p| p != &old && p != &new) {
        fs::remove_file(file).unwrap();
    }
    succeeds(&mut scene.run(&other, &[]));
    assert!(!old.exists(), "two hours old, and nobody holds it");
    assert!(new.exists(), "it may belong to a process that has not locked it yet");
}
