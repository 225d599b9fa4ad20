//! The same command line through patchelf 0.19.3 and through ours, on copies of the same file: what is
//! printed, the exit status, and what the file says afterwards must be the same. What differs on purpose is
//! in `patchelf_differences.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod peer;

use peer::{Both, Fixture, KILLED, Outcome, both, fixtures, fixtures_like, same};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const LONG: &str = "/a/rather/long/directory/that/does/not/fit/into/any/room/that/was/left/by/chance/in/the/file/before/it/was/edited";

/// Every option alone, in the ways in which it can be used and misused.
const SINGLE: &[&[&str]] = &[
    &[],
    &["--print-interpreter"],
    &["--print-os-abi"],
    &["--print-soname"],
    &["--print-rpath"],
    &["--print-needed"],
    &["--print-execstack"],
    &["--set-interpreter", "/x"],
    &["--interpreter", "/lib/ld.so"],
    &["--set-interpreter", LONG],
    &["--set-interpreter", ""],
    &["--set-interpreter", "@value"],
    &["--set-interpreter", "@no-such-file"],
    &["--set-os-abi", "freebsd"],
    &["--set-os-abi", " GNU-Hurd\t"],
    &["--set-os-abi", "SysV"],
    &["--set-os-abi", "@value"],
    &["--set-os-abi", "cp/m"],
    &["--set-soname", "libnew.so.1"],
    &["--set-soname", ""],
    &["--set-soname", LONG],
    &["--set-rpath", "/x"],
    &["--set-rpath", LONG],
    &["--set-rpath", ""],
    &["--set-rpath", "@value"],
    &["--set-rpath", "@no-such-file"],
    &["--set-rpath", "$ORIGIN/../lib:relative::/y"],
    &["--force-rpath", "--set-rpath", "/x"],
    &["--force-rpath", "--set-rpath", LONG],
    &["--force-rpath"],
    &["--add-rpath", "/x"],
    &["--add-rpath", LONG],
    &["--add-rpath", "@value"],
    &["--remove-rpath"],
    &["--shrink-rpath"],
    &["--shrink-rpath", "--allowed-rpath-prefixes", "/nowhere:/no"],
    &["--add-needed", "libadded.so.1"],
    &["--add-needed", "libz.so", "--add-needed", "liba.so", "--add-needed", "libz.so"],
    &["--add-needed", "libc.so.6"],
    &["--add-needed", LONG],
    &["--remove-needed", "libc.so.6"],
    &["--remove-needed", "no-such.so"],
    &["--replace-needed", "libc.so.6", "libother.so.6"],
    &["--replace-needed", "libc.so.6", LONG],
    &["--replace-needed", "libc.so.6", "c.so.6"],
    &["--replace-needed", "libc.so.6", "libc.so.6"],
    &["--replace-needed", "no-such.so", "other.so"],
    &["--replace-needed", "libc.so.6", "first", "--replace-needed", "libc.so.6", "second"],
    &["--replace-needed", "libc.so.6", "@value"],
    &["--no-default-lib"],
    &["--add-debug-tag"],
    &["--no-sort", "--set-rpath", "/y"],
    &["--no-clobber-old-sections", "--set-rpath", LONG],
    &["--clear-execstack"],
    &["--set-execstack"],
    &["--page-size", "65536", "--set-rpath", LONG],
    &["--page-size", "0"],
    &["--page-size", "-4096"],
    &["--page-size", "many"],
    &["--set-os-abi"],
    &["--set-interpreter"],
    &["--set-rpath"],
    &["--output"],
];

/// Options together: the order of work is the same whatever their order.
const TOGETHER: &[&[&str]] = &[
    &["--print-needed", "--print-rpath", "--print-interpreter", "--print-os-abi", "--print-soname", "--print-execstack"],
    &["--print-rpath", "--set-rpath", "/new"],
    &["--print-needed", "--add-needed", "libq.so", "--remove-needed", "libc.so.6"],
    &["--set-interpreter", "/x", "--print-interpreter", "--set-rpath", "/y", "--print-rpath"],
    &["--set-rpath", "/first", "--set-rpath", "/second"],
    &["--add-rpath", "/first", "--add-rpath", "/second"],
    &["--set-rpath", "/a", "--add-rpath", "/b"],
    &["--set-rpath", "/a", "--remove-rpath"],
    &["--remove-rpath", "--shrink-rpath"],
    &["--shrink-rpath", "--set-rpath", "/a"],
    &["--remove-needed", "libc.so.6", "--replace-needed", "libc.so.6", "liba.so", "--add-needed", "libc.so.6"],
    &["--replace-needed", "libc.so.6", "liba.so", "--replace-needed", "liba.so", "libb.so"],
    &["--add-needed", "liba.so", "--remove-needed", "liba.so"],
    &["--set-execstack", "--clear-execstack"],
    &["--print-execstack", "--set-execstack"],
    &["--print-os-abi", "--set-os-abi", "bogus"],
    &["--set-interpreter", LONG, "--set-rpath", LONG, "--set-soname", LONG, "--add-needed", LONG, "--no-default-lib", "--add-debug-tag"],
    &["--force-rpath", "--build-resolution-cache"],
    &["--rename-dynamic-symbols", "no-such-file"],
    &["--version", "--set-rpath"],
];

/// What is run on every file, natively or not.
fn everywhere() -> impl Iterator<Item = &'static [&'static str]> {
    SINGLE.iter().chain(TOGETHER).copied()
}

fn compared(both: &Both, fixture: &Fixture, words: &[&str]) {
    let (theirs, ours) = both.run(fixture, words);
    let what = format!("patchelf {} {}", words.join(" "), fixture.name);
    // Theirs is another flag there: `difference_the_flag_of_big_endian_files_is_the_one_asked_for`.
    if fixture.name.starts_with("big-endian") && words.contains(&"--no-default-lib") {
        return;
    }
    match theirs.status {
        // It was stopped by its own assertion; `difference_where_it_aborts_the_edit_is_made` has a case.
        KILLED => assert_eq!(ours.status, 0, "{what}: {}", ours.stderr),
        _ => same(&ours, &theirs, &what),
    }
}

fn compare_everything(pattern: &str) {
    let Some(both) = both() else { return };
    for fixture in fixtures_like(pattern) {
        for words in everywhere() {
            compared(&both, &fixture, words);
        }
    }
}

#[test]
fn every_option_does_the_same_to_programs() {
    compare_everything("x86_64-program");
}

#[test]
fn every_option_does_the_same_to_libraries() {
    compare_everything("x86_64-library");
}

#[test]
fn every_option_does_the_same_to_static_programs() {
    compare_everything("x86_64-static");
}

#[test]
fn every_option_does_the_same_to_files_of_other_machines() {
    compare_everything("i686");
    compare_everything("aarch64");
}

#[test]
fn every_option_does_the_same_to_big_endian_files_of_both_classes() {
    compare_everything("big-endian");
}

#[test]
fn a_second_edit_does_the_same_as_after_the_first() {
    let Some(both) = both() else { return };
    for fixture in fixtures_like("x86_64-program") {
        let steps: &[&[&str]] = &[
            &["--set-rpath", LONG],
            &["--set-rpath", "/short"],
            &["--add-rpath", LONG],
            &["--set-interpreter", LONG],
            &["--set-interpreter", "/short"],
            &["--add-needed", "libone.so"],
            &["--replace-needed", "libone.so", "libtwo.so"],
            &["--remove-needed", "libtwo.so"],
            &["--remove-rpath"],
            &["--set-rpath", ""],
            &["--force-rpath", "--set-rpath", "/forced"],
        ];
        let place = both.place(&fixture);
        for words in steps {
            let (theirs, ours) = both.run_at(&place, &fixture.name, words);
            same(&ours, &theirs, &format!("patchelf {} {}", words.join(" "), fixture.name));
        }
    }
}

#[test]
fn what_is_no_program_is_refused_in_the_same_words() {
    let Some(both) = both() else { return };
    let elf = fs::read(xeno_tests::fixture("hello-x86_64-bare-static")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = elf.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let files: &[(&str, Vec<u8>)] = &[
        ("empty", Vec::new()),
        ("text", b"#!/bin/sh\n# a script that is longer than an ELF header is, and even longer than this\n".to_vec()),
        ("short", elf[..51].to_vec()),
        ("header-only-32", elf[..60].to_vec()),
        ("version", with(6, &[2])),
        ("class", with(4, &[3])),
        ("relocatable", with(16, &[1, 0])),
        ("core", with(16, &[4, 0])),
        ("segments-outside", with(32, &[0xff; 7])),
        ("sections-outside", with(40, &[0xff; 7])),
        ("segment-size", with(54, &[55, 0])),
        ("section-size", with(58, &[63, 0])),
        ("section-names", with(62, &[0xfe, 0xfe])),
    ];
    for (name, bytes) in files {
        let fixture = Fixture { name: (*name).into(), bytes: bytes.clone() };
        for words in [&["--print-interpreter"][..], &["--set-rpath", "/x"], &["--print-needed"], &["--print-soname"], &[]] {
            compared(&both, &fixture, words);
        }
    }
}

#[test]
fn words_that_name_no_file_are_refused_in_the_same_words() {
    let Some(both) = both() else { return };
    let lines: &[&[&str]] = &[
        &["--print-rpath"],
        &["--frob"],
        &["--print-rpath", "no-such-file"],
        &["--print-rpath", "."],
        &["--print-rpath", "--", "x"],
        &["--set-rpath", "/x", "no-such-file"],
        &["--replace-needed", "a"],
        &["--replace-needed"],
        &["--page-size"],
        &["--allowed-rpath-prefixes"],
        &["--rename-dynamic-symbols"],
        &["--build-resolution-cache", "--force-rpath"],
        &["--set-rpath", "a", "--add-rpath", "b", "no-such-file"],
        &["--set-rpath", "a", "--add-rpath", "b"],
        &["--output", "o", "a", "b"],
        &["--version"],
        &["--print-rpath", "--version", "no-such-file"],
        &["-v"],
    ];
    for words in lines {
        let (theirs, ours) = both.run_words(words);
        same(&ours, &theirs, &format!("patchelf {}", words.join(" ")));
    }
}

#[test]
fn the_usage_lists_the_same_options_on_the_same_stream_with_the_same_status() {
    let Some(both) = both() else { return };
    let options = |outcome: &Outcome| -> Vec<String> {
        let usage = outcome.stderr.split("\n  ").skip(1);
        usage.map(|line| line.split(']').next().unwrap().trim().to_owned()).collect()
    };
    for words in [&[][..], &["--help"], &["-h"], &["--set-rpath", "x", "--help", "no-such-file"]] {
        let (theirs, ours) = both.run_words(words);
        assert_eq!((ours.status, &ours.stdout), (theirs.status, &theirs.stdout), "{words:?}");
        assert_eq!(options(&ours), options(&theirs), "{words:?}");
        assert!(options(&ours).len() > 25 && ours.stderr.starts_with("syntax: patchelf\n"), "{}", ours.stderr);
    }
}

#[test]
fn several_files_get_the_same_edits_and_the_first_failure_ends_the_work() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    for words in [
        &["--print-rpath", "a", "a", "b"][..],
        &["--set-rpath", "/x", "--print-rpath", "a", "b"],
        &["--set-rpath", "/x", "--print-rpath", "a", "text", "b"],
        &["--set-rpath", "/x", "no-such-file", "a"],
        &["a", "--set-rpath", "/late"],
    ] {
        let (theirs, ours) = both.run_in_directories(words, |directory| {
            fs::write(directory.join("a"), &program.bytes).unwrap();
            fs::write(directory.join("b"), &program.bytes).unwrap();
            fs::write(directory.join("text"), "no ELF file at all, but longer than the header of one is\n").unwrap();
        });
        same(&ours, &theirs, &format!("{words:?}"));
    }
}

#[test]
fn the_output_is_written_in_any_case_and_the_input_never() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    for words in [
        &["--output", "o", "a"][..],
        &["--output", "o", "--set-rpath", LONG, "a"],
        &["--output", "@name", "--set-rpath", "/x", "a"],
        &["--output", "a", "--set-rpath", "/x", "a"],
        &["--output", "", "--set-rpath", "/x", "a"],
        &["--output", "old", "--set-rpath", "/x", "a"],
        &["--output", "link", "--set-rpath", "/x", "a"],
        &["--output", "/dev/null", "--set-rpath", "/x", "a"],
        &["--output", "no-such-directory/o", "a"],
    ] {
        let (theirs, ours) = both.run_in_directories(words, |directory| {
            fs::write(directory.join("a"), &program.bytes).unwrap();
            fs::set_permissions(directory.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(directory.join("name"), "o").unwrap();
            fs::write(directory.join("old"), "the old content").unwrap();
            std::os::unix::fs::symlink("target", directory.join("link")).unwrap();
        });
        // Their message has no name in it.
        let named = words.contains(&"no-such-directory/o");
        let plain = |outcome: Outcome| if named { Outcome { stderr: String::new(), ..outcome } } else { outcome };
        same(&plain(ours), &plain(theirs), &format!("{words:?}"));
    }
}

#[test]
fn output_to_standard_output_is_the_whole_file() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let place = both.place(program);
    let done = both.ours().args(["--set-rpath", "/x", "--output", "/dev/stdout", "app"]).current_dir(place.join("xeno")).output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
    assert_eq!((done.stdout.len() >= program.bytes.len(), done.stdout.get(..4)), (true, Some(&b"\x7fELF"[..])));
    assert_eq!(fs::read(place.join("xeno/app")).unwrap(), program.bytes, "the input is not touched");
}

#[test]
fn run_paths_shrink_to_the_same_directories() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let libraries = fixtures(&["x86_64-library-soname", "aarch64-library"]);
    let Some(library) = libraries.first() else { return };
    for path in
        ["DIR/one:DIR/two:DIR/none", "DIR/two:DIR/one", "$ORIGIN:DIR/one:rel:DIR/none", "DIR/foreign:DIR/one", "DIR/one/:DIR/one", ""]
    {
        for prefixes in [None, Some("DIR/o"), Some("DIR/two:DIR/o"), Some("")] {
            let (theirs, ours) = both.run_sequence(program, |directory, patchelf| {
                for (name, bytes) in [("one", Some(library)), ("two", Some(library)), ("foreign", libraries.get(1)), ("none", None)] {
                    fs::create_dir_all(directory.join(name)).unwrap();
                    if let Some(library) = bytes {
                        fs::write(directory.join(name).join("libm.so.6"), &library.bytes).unwrap();
                    }
                }
                let here = |text: &str| text.replace("DIR", directory.to_str().unwrap());
                patchelf(&["--add-needed", "libm.so.6"]);
                patchelf(&["--set-rpath", &here(path)]);
                match prefixes {
                    Some(prefixes) => patchelf(&["--shrink-rpath", "--allowed-rpath-prefixes", &here(prefixes)]),
                    None => patchelf(&["--shrink-rpath"]),
                }
                patchelf(&["--print-rpath"]);
            });
            same(&ours, &theirs, &format!("{path} {prefixes:?}"));
        }
    }
}

#[test]
fn symbols_are_renamed_and_lose_their_versions_in_the_same_way() {
    let Some(both) = both() else { return };
    let maps: &[&str] = &[
        "puts other_puts\n",
        "exported renamed\nsecond   third and more\n",
        "exported a_name_that_is_far_longer_than_the_old_one_was_and_needs_room\n",
        "no_such_symbol anything\n",
        "\nexported renamed\n",
        "exported\n",
        "exported a\nexported b\n",
        "exported@V1 a\n",
        "exported a@V1\n",
        "",
    ];
    for fixture in
        fixtures(&["x86_64-library-soname", "x86_64-library-sysv-hash", "x86_64-program-pie-runpath", "i686-library", "aarch64-library"])
    {
        for map in maps {
            let (theirs, ours) = both.run_sequence(&fixture, |directory, patchelf| {
                fs::write(directory.join("map"), map).unwrap();
                patchelf(&["--rename-dynamic-symbols", "map"]);
            });
            same(&ours, &theirs, &format!("{map:?} {}", fixture.name));
        }
        for words in [
            &["--clear-symbol-version", "puts"][..],
            &["--clear-symbol-version", "exported", "--clear-symbol-version", "puts"],
            &["--clear-symbol-version", "no_such_symbol"],
        ] {
            compared(&both, &fixture, words);
        }
    }
}

#[test]
fn the_resolution_cache_is_the_same_note() {
    let Some(both) = both() else { return };
    let libraries = fixtures(&["x86_64-library-soname"]);
    let Some(library) = libraries.first() else { return };
    for fixture in fixtures(&["x86_64-program-pie-runpath", "x86_64-program-nopie", "x86_64-library-soname", "x86_64-static"]) {
        let sequences: &[&[&[&str]]] = &[
            &[&["--build-resolution-cache"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"]],
            &[&["--set-rpath", "$ORIGIN:DIR/lib:rel", "--build-resolution-cache"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"], &["--build-resolution-cache"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"], &["--set-rpath", "DIR/lib:DIR/other"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"], &["--add-needed", "libx.so", "--build-resolution-cache"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"], &["--remove-needed", "no-such.so"]],
            &[&["--set-rpath", "DIR/lib"], &["--build-resolution-cache"], &["--remove-rpath"], &["--build-resolution-cache"]],
            &[&["--set-rpath", "DIR/none"], &["--build-resolution-cache"]],
        ];
        for sequence in sequences {
            let (theirs, ours) = both.run_sequence(&fixture, |directory, patchelf| {
                fs::create_dir_all(directory.join("lib")).unwrap();
                fs::write(directory.join("lib/libc.so.6"), &library.bytes).unwrap();
                for words in *sequence {
                    let words: Vec<String> = words.iter().map(|word| word.replace("DIR", directory.to_str().unwrap())).collect();
                    patchelf(&words.iter().map(String::as_str).collect::<Vec<_>>());
                }
            });
            same(&ours, &theirs, &format!("{sequence:?} {}", fixture.name));
        }
    }
}

#[test]
fn in_place_the_inode_the_links_and_the_mode_stay() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    for value in ["/x", LONG] {
        let (theirs, ours) = both.run_in_directories_to(
            &["--set-rpath", value, "link"],
            |directory| {
                fs::write(directory.join("app"), &program.bytes).unwrap();
                fs::set_permissions(directory.join("app"), fs::Permissions::from_mode(0o751)).unwrap();
                fs::hard_link(directory.join("app"), directory.join("other")).unwrap();
                std::os::unix::fs::symlink("app", directory.join("link")).unwrap();
            },
            |directory| {
                let (app, other) = (fs::metadata(directory.join("app")).unwrap(), fs::metadata(directory.join("other")).unwrap());
                let link = fs::symlink_metadata(directory.join("link")).unwrap().file_type().is_symlink();
                format!("same file {} mode {:o} still a link {link}", app.ino() == other.ino(), app.mode() & 0o7777)
            },
        );
        same(&ours, &theirs, value);
        assert!(ours.file.contains("same file true mode 751 still a link true"), "{ours:?}");
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    for words in [
        &["--set-rpath", "/the/old/run/path"][..],
        &["--set-interpreter", ""],
        &["--remove-needed", "no-such.so"],
        &["--replace-needed", "no-such.so", "x"],
        &["--add-debug-tag"],
        &["--clear-execstack"],
        &["--set-os-abi", "sysv"],
        &["--print-rpath"],
    ] {
        let words: Vec<&str> = words.iter().copied().chain(["app"]).collect();
        let (theirs, ours) = both.run_in_directories_to(
            &words,
            |directory| {
                fs::write(directory.join("app"), &program.bytes).unwrap();
                let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
                fs::File::options().write(true).open(directory.join("app")).unwrap().set_modified(long_ago).unwrap();
            },
            |directory| format!("time {}", fs::metadata(directory.join("app")).unwrap().mtime()),
        );
        same(&ours, &theirs, &format!("{words:?}"));
        assert!(ours.file.contains("time 1000000000"), "{words:?} {ours:?}");
    }
}

#[test]
fn it_is_patchelf_by_its_name_or_by_the_first_word() {
    let Some(xeno) = xeno_tests::xeno() else { return };
    let room = tempfile::tempdir().unwrap();
    let copy = room.path().join("patchelf");
    xeno_tests::executable(&copy, &fs::read(&xeno).unwrap());
    let said = |program: &std::path::Path, words: &[&str]| {
        let done = std::process::Command::new(program).args(words).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    assert_eq!(said(&copy, &["--version"]), (Some(0), "patchelf 0.19.3\n".to_owned()));
    assert_eq!(said(&xeno, &["patchelf", "--version"]), (Some(0), "patchelf 0.19.3\n".to_owned()));
    assert!(said(&xeno, &["--version"]).1.starts_with("xeno "));
}

#[test]
fn texts_and_names_are_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let name = OsStr::from_bytes(b"a name with \xff and\nlines");
    for (mut command, side) in [(both.theirs(), "peer"), (both.ours(), "xeno")] {
        let directory = both.place(program).join(side);
        fs::write(directory.join(name), &program.bytes).unwrap();
        let done = command.arg("--set-rpath").arg(OsStr::from_bytes(b"/\xfe\xff")).arg(name).current_dir(&directory).output().unwrap();
        assert_eq!((done.status.code(), done.stdout, done.stderr), (Some(0), Vec::new(), Vec::new()), "{side}");
        let mut command = if side == "peer" { both.theirs() } else { both.ours() };
        let done = command.arg("--print-rpath").arg(name).current_dir(&directory).output().unwrap();
        assert_eq!(done.stdout, b"/\xfe\xff\n", "{side}");
        let mut command = if side == "peer" { both.theirs() } else { both.ours() };
        let done = command.arg("--print-rpath").arg(OsStr::from_bytes(b"\xff")).current_dir(&directory).output().unwrap();
        assert_eq!(done.stderr, b"patchelf: getting info about '\xff': No such file or directory\n", "{side}");
    }
}

#[test]
fn a_file_that_its_owner_may_not_write_is_refused_although_a_replace_could_be_made() {
    use std::os::unix::process::CommandExt;
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let room = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(room.path(), 0o777);
    for (command, side) in [(both.theirs(), "peer"), (both.ours(), "xeno")] {
        let (own, app) = (room.path().join(side).join("patchelf"), room.path().join(side).join("app"));
        fs::create_dir(room.path().join(side)).unwrap();
        open(&room.path().join(side), 0o777);
        xeno_tests::executable(&own, &fs::read(command.get_program()).unwrap());
        fs::write(&app, &program.bytes).unwrap();
        open(&app, 0o444);
        let mut command = std::process::Command::new(own);
        // Root may write anything.
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let done = command.args(["--set-rpath", LONG]).arg(&app).output().unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{side}");
        assert!(stderr.starts_with("patchelf: open") && stderr.ends_with(": Permission denied\n"), "{side}: {stderr}");
        assert_eq!(fs::read(&app).unwrap(), program.bytes, "{side}");
    }
}
