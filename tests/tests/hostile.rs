//! Bad input and bad luck: each gets one clear line, a documented status, and leaves nothing half-written.
//! The archive is the stand-in of the store's own tests: signed by a key made here, wrong where a test says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../store/tests/standin/mod.rs"]
#[allow(missing_docs, unreachable_pub, clippy::print_stdout, reason = "tests")]
mod standin;
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use standin::{Member, Server, Standin, SuiteContent, clear_sign, deb, gzip, key, tar_of};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{NOWHERE, Rung, Scene, is_root, refuses, replaced, succeeds};

const LIB: &str = "usr/lib/x86_64-linux-gnu";

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

// The archive misbehaves.

/// A program of this machine's own kind that needs libinner.so.1, which only the archive has.
fn wants_inner(scene: &Scene) -> PathBuf {
    scene.fixture("soname-tree/bin/app", "app/wants-inner")
}

/// The package libinner1 in a suite, beside others that make a libc set of this machine's own files.
fn suite(standin: &Standin, inner: &[u8]) -> SuiteContent {
    let mut suite = SuiteContent { by_hash: true, ..SuiteContent::default() };
    standin.package(&mut suite, "libinner1", "1.0-1", &[&format!("{LIB}/libinner.so.1")], inner);
    let host = |name: &str| {
        let found = ["/lib64", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib"].map(|d| Path::new(d).join(name));
        found.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default()
    };
    let mut add = |package: &str, names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| format!("{LIB}/{name}")).collect();
        let members: Vec<Member<'_>> = paths.iter().zip(names).map(|(path, name)| Member::File(path, host(name))).collect();
        let contents: Vec<&str> = paths.iter().map(String::as_str).collect();
        standin.package(&mut suite, package, "2.99-1", &contents, &deb(&members));
    };
    add("libc6", &["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2"]);
    add("libgcc-s1", &["libgcc_s.so.1"]);
    add("libstdc++6", &["libstdc++.so.6"]);
    standin.package(&mut suite, "libc-bin", "2.99-1", &[], &deb(&[Member::File("usr/lib/locale/C.utf8/LC_CTYPE", b"c".to_vec())]));
    suite
}

fn inner() -> Vec<u8> {
    fs::read(xeno_tests::fixture("soname-tree/lib/libinner.so.1.2.3")).unwrap()
}

fn archive(change: impl FnOnce(&Standin, &mut SuiteContent)) -> Standin {
    let standin = Standin::new();
    let mut suite = suite(&standin, &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner())]));
    change(&standin, &mut suite);
    standin.publish("new", &suite);
    standin
}

/// `xeno run PROGRAM` with this archive.
fn with_archive(scene: &Scene, standin: &Standin, mirror: &str, program: &Path) -> Command {
    let config = scene.path("config.toml");
    // Once: another start may be reading it.
    if !config.exists() {
        fs::write(&config, format!("[debian]\nsuites = [\"new\"]\nkeyring = \"{}\"\n", standin.dir.path().join("key.asc").display()))
            .unwrap();
    }
    let mut command = scene.run(program, &[]);
    command.env("XENO_CONFIG", &config).env("XENO_DEBIAN_MIRROR", mirror).env("XENO_DEBIAN_SECURITY_MIRROR", mirror);
    command
}

fn local(scene: &Scene, standin: &Standin, program: &Path) -> Command {
    with_archive(scene, standin, &format!("file://{}", standin.mirror().display()), program)
}

/// Nothing of what failed may look as if it had worked.
fn assert_nothing_half_written(scene: &Scene) {
    assert_eq!(scene.leftovers(), [""; 0]);
    assert_eq!(stored(scene, "libinner1"), [""; 0]);
}

/// The store paths of a package.
fn stored(scene: &Scene, package: &str) -> Vec<String> {
    let entries = fs::read_dir(scene.store().join("store")).into_iter().flatten();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| name.contains(package)).collect()
}

/// The law of every broken archive: one line that says `cause`, status 126 (the program cannot be
/// started), nothing half-written, and once the archive is whole the same command goes further.
fn refuses_archive(standin: &Standin, causes: &[&str]) {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut local(&scene, standin, &program), 126);
    assert!(causes.iter().all(|cause| line.contains(cause)), "{line}");
    assert_nothing_half_written(&scene);
}

/// The stand-in archive, if it is whole, makes the program run: else the other tests show nothing.
#[test]
fn a_whole_archive_makes_the_program_run() {
    let Some(scene) = scene() else { return };
    let standin = archive(|_, _| {});
    let program = wants_inner(&scene);
    let output = local(&scene, &standin, &program).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), inner_7(&program), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("xeno: ")), "{stderr}");
    assert_eq!(scene.leftovers(), [""; 0]);
    // All is there now: no archive is asked.
    fs::rename(standin.mirror(), standin.dir.path().join("gone")).unwrap();
    assert_eq!(succeeds(&mut local(&scene, &standin, &program)), inner_7(&program));
}

fn inner_7(program: &Path) -> String {
    format!("inner 7 exe={}\n", program.display())
}

#[test]
fn no_network_is_one_line_that_says_so() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut scene.run(&program, &[]), 126);
    assert!(line.contains("libinner.so.1") && line.contains(NOWHERE.trim_end_matches('/')), "{line}");
    assert!(line.matches("Connection refused").count() == 1, "said once: {line}");
    assert_nothing_half_written(&scene);
    // A symbol version that only a newer libc has: the archive might have had it.
    let newer = scene.fixture("needs-glibc-2.99", "newer/app");
    let line = refuses(&mut scene.run(&newer, &[]), 126);
    assert!(line.contains("GLIBC_2.99") && line.contains("Connection refused"), "{line}");
    // What this machine can answer needs no network.
    let hello = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    succeeds(&mut scene.run(&hello, &[]));
}

#[test]
fn offline_says_what_would_have_been_fetched() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut scene.say(&["run", "--offline", text(&program)]), 126);
    assert!(line.contains("libinner.so.1") && line.contains("--offline"), "{line}");
    assert!(!scene.store().join("download").exists());
}

#[test]
fn a_signature_of_a_stranger_is_refused() {
    let standin = Standin::new();
    let suite = suite(&standin, &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner())]));
    standin.publish_signed("new", &suite, &key("A stranger <stranger@example.org>"));
    refuses_archive(&standin, &["InRelease", "is not trusted"]);
}

#[test]
fn a_release_changed_after_signing_is_refused() {
    let standin = archive(|_, _| {});
    let path = standin.mirror().join("dists/new/InRelease");
    let changed = fs::read_to_string(&path).unwrap().replace("Origin: Debian", "Origin: Debiam");
    fs::write(&path, changed).unwrap();
    refuses_archive(&standin, &["InRelease", "sign"]);
}

#[test]
fn a_release_that_is_no_release_is_refused() {
    for text in ["", "<html>captive portal</html>\n", "-----BEGIN PGP SIGNED MESSAGE-----\n"] {
        let standin = archive(|_, _| {});
        fs::write(standin.mirror().join("dists/new/InRelease"), text).unwrap();
        refuses_archive(&standin, &["InRelease"]);
    }
    let standin = archive(|_, _| {});
    let nothing = clear_sign(&standin.key, "Origin: Debian\n");
    fs::write(standin.mirror().join("dists/new/InRelease"), nothing).unwrap();
    refuses_archive(&standin, &["new"]);
}

#[test]
fn an_expired_release_is_refused() {
    let standin = archive(|_, suite| suite.valid_until = Some("Sat, 19 Sep 2020 07:55:41 UTC".to_owned()));
    refuses_archive(&standin, &["it was valid until 2020-09-19 07:55:41 UTC"]);
}

#[test]
fn an_index_of_another_size_or_content_is_refused() {
    for change in [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1] {
        let standin = archive(|_, suite| suite.by_hash = false);
        let index = standin.mirror().join("dists/new/main/Contents-amd64.gz");
        let mut bytes = fs::read(&index).unwrap();
        change(&mut bytes);
        fs::write(&index, bytes).unwrap();
        refuses_archive(&standin, &["Contents-amd64"]);
    }
}

#[test]
fn a_package_of_another_size_or_content_is_refused() {
    for change in [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes[100] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(80)] {
        let standin = archive(|_, _| {});
        let file = standin.pool_file("libinner1", "1.0-1");
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        refuses_archive(&standin, &["libinner1"]);
    }
}

#[test]
fn a_package_that_leaves_its_directory_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().join("mark");
    let raw = |path: &str| {
        // The tar crate refuses to write such a name: it is put into a header by hand.
        let good = tar_of(&[Member::File("AAAA", b"out".to_vec())]);
        let mut bytes = good;
        bytes[..100].fill(0);
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        standin::deb_with("data.tar.gz", &gzip(&bytes))
    };
    let up = format!("{}mark", "../".repeat(12));
    let through_a_link = deb(&[
        Member::Link("usr/lib/x86_64-linux-gnu", text(outside.path())),
        Member::File("usr/lib/x86_64-linux-gnu/mark", b"out".to_vec()),
    ]);
    for package in [raw(&up), raw(&format!("{}", mark.display())), raw("./usr/../../mark"), through_a_link] {
        let standin = Standin::new();
        let suite = suite(&standin, &package);
        standin.publish("new", &suite);
        let Some(scene) = scene() else { return };
        let program = wants_inner(&scene);
        refuses(&mut local(&scene, &standin, &program), 126);
        assert!(!mark.exists(), "written outside");
        assert!(!scene.store().join("mark").exists() && !scene.path("mark").exists(), "written outside");
        assert_eq!(scene.leftovers(), [""; 0]);
    }
}

#[test]
fn a_package_without_the_library_it_was_said_to_have_is_refused() {
    let Some(scene) = scene() else { return };
    let standin = Standin::new();
    let suite = suite(&standin, &deb(&[Member::File("usr/share/doc/libinner1/copyright", b"free".to_vec())]));
    standin.publish("new", &suite);
    let program = wants_inner(&scene);
    let line = refuses(&mut local(&scene, &standin, &program), 126);
    assert!(line.contains("libinner.so.1"), "{line}");
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn a_damaged_configuration_names_file_and_line() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let config = scene.path("config.toml");
    for wrong in ["[debian]\nmirrors = \"x\"\n", "[debian\n", "[debian]\nsuites = 3\n", "[debian]\nsuites = [\"../etc\"]\n"] {
        fs::write(&config, wrong).unwrap();
        let line = refuses(scene.run(&program, &[]).env("XENO_CONFIG", &config), 125);
        assert!(line.contains("config.toml") || line.contains("'../etc'"), "{wrong}: {line}");
    }
    refuses(scene.run(&program, &[]).env("XENO_CONFIG", scene.path("none.toml")), 125);
}

#[test]
fn a_damaged_lock_is_refused_and_left_alone() {
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let lock = scene.path("xeno.lock");
    for wrong in ["", "schema = 99\n", "not a lock", "{\"schema\":1}", "schema = 1\n[[package]]\n"] {
        fs::write(&lock, wrong).unwrap();
        let line = refuses(&mut scene.say(&["run", "--lock", text(&lock), text(&program)]), 125);
        assert!(line.contains("xeno.lock"), "{wrong}: {line}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), wrong);
    }
}

// Bad luck.

#[test]
fn killed_in_mid_download_then_run_again() {
    let Some(scene) = scene() else { return };
    // Noise does not compress: the package is larger than what the server sends at once.
    let noise: Vec<u8> = (0..2_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(i % 31) >> 11) as u8).collect();
    let whole =
        deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner()), Member::File("usr/lib/x86_64-linux-gnu/noise", noise)]);
    let standin = Standin::new();
    let suite = suite(&standin, &whole);
    standin.publish("new", &suite);
    let server = Server::start(standin.mirror());
    let program = wants_inner(&scene);
    let slow = Slow::start(&server.address, "libinner1_1.0-1_amd64.deb", 300_000);
    let mut first = with_archive(&scene, &standin, &slow.address, &program);
    let mut child = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    slow.wait();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let half: Vec<String> = stored(&scene, "libinner1").into_iter().filter(|name| !name.starts_with(".tmp-")).collect();
    assert_eq!(half, [""; 0], "half of a package is not in the store");
    let again = with_archive(&scene, &standin, &server.address, &program).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), inner_7(&program), "{}", again.stderr.escape_ascii());
    assert_eq!(stored(&scene, "libinner1").len(), 1);
    let rest: Vec<_> = fs::read_dir(scene.store().join("download")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(rest, [""; 0], "what the killed one had fetched was used or removed");
}

/// A server before the server that stops in the middle of one file and says when.
struct Slow {
    address: String,
    stuck: std::sync::mpsc::Receiver<()>,
}

impl Slow {
    fn start(behind: &str, end: &'static str, after: usize) -> Slow {
        use std::io::{BufRead, BufReader, Read, Write};
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behind = behind.trim_start_matches("http://").to_owned();
        let (say, stuck) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (behind, say) = (behind.clone(), say.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut request = String::new();
                    while !request.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut request).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let mut onward = TcpStream::connect(behind).unwrap();
                    onward.write_all(request.as_bytes()).unwrap();
                    let slow = request.lines().next().unwrap_or("").split(' ').nth(1).unwrap_or("").ends_with(end);
                    let mut bytes = Vec::new();
                    if slow {
                        onward.take(after as u64).read_to_end(&mut bytes).unwrap();
                    } else {
                        onward.read_to_end(&mut bytes).unwrap();
                    }
                    let _ = stream.write_all(&bytes);
                    if slow {
                        let _ = say.send(());
                        // Held open until the client goes.
                        let _ = reader.read_to_end(&mut Vec::new());
                    }
                });
            }
        });
        Slow { address, stuck }
    }

    fn wait(&self) {
        // A limit, so that a failure is one and no standstill.
        self.stuck.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn two_starts_at_once_share_one_download() {
    let Some(scene) = scene() else { return };
    let standin = archive(|_, _| {});
    let server = Server::start(standin.mirror());
    let program = wants_inner(&scene);
    let start = || with_archive(&scene, &standin, &server.address, &program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), inner_7(&program), "{}", output.stderr.escape_ascii());
    }
    assert_eq!(scene.leftovers(), [""; 0]);
    assert_eq!(server.requests("libinner1_1.0-1_amd64.deb").len(), 1, "fetched once");
}

#[test]
fn a_full_disk_is_one_line_and_nothing_half_written() {
    if !is_root() {
        return xeno_tests::skip("needs root, to mount a small file system");
    }
    let Some(scene) = scene() else { return };
    // Materials of our own, in a store of 64 KiB.
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let small = scene.path("small");
    fs::create_dir(&small).unwrap();
    let in_small = |size: &str, command: &Command| {
        let script = format!(
            r#"mount -t tmpfs -o size={size} tmpfs "$1" || exit 99; shift; "$@"; s=$?; find "{}" -name '.tmp-*' >&2; exit $s"#,
            small.display()
        );
        let mut out = scene.command("unshare");
        out.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(&small);
        out.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            out.env(name, value.unwrap());
        }
        out.env("XENO_STORE", &small);
        out
    };
    let line = refuses(&mut in_small("64k", &scene.run(&program, &[])), 125);
    assert!(line.contains("No space left on device") && line.contains("free some space or point XENO_STORE to another disk"), "{line}");
    // Downloads, in one of 1 MiB.
    let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(i % 31) >> 11) as u8).collect();
    let standin = Standin::new();
    let suite = suite(
        &standin,
        &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner()), Member::File("usr/lib/x86_64-linux-gnu/noise", noise)]),
    );
    standin.publish("new", &suite);
    let program = wants_inner(&scene);
    let line = refuses(&mut in_small("1m", &local(&scene, &standin, &program)), 126);
    assert!(line.contains("No space left on device") && line.contains("free some space"), "{line}");
}

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
