//! `xeno run` as a user meets it: a foreign program sees what it would see at home, its children are
//! the host's, its end is xeno's end, and what was decided once is remembered until it changes (`decisions.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Rung, Scene, copy, everyone, everywhere, exits, is_root, refuses, replaced, settle, succeeds};

/// A shell that becomes what `script` says, with `$1` xeno or not, as the scene's user.
fn shell(scene: &Scene, script: &str, args: &[&Path]) -> Command {
    let mut command = scene.command("/bin/sh");
    command.arg("-c").arg(script).arg("/bin/sh").args(args);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// What the program sees of itself.

#[test]
fn a_program_whose_interpreter_is_not_here_runs_with_the_hosts_libraries() {
    everywhere(|scene, rung| {
        for fixture in ["nix-hello", "nix-hello-nopie"] {
            let program = scene.foreign(fixture, rung, format!("{}/{fixture}", rung.name()));
            let direct = scene.command(&program).output().unwrap_err();
            assert_eq!(direct.kind(), std::io::ErrorKind::NotFound, "it must not run by itself");
            let path = program.display();
            // PATH, HOME, LANG and the three of the scene; XENO_STORE is one of XENO_….
            let expected = format!("hello tls=42 ctor=1 libm=5 unwind=1 argv0={path} exe={path} env=6 ld=1\n");
            assert_eq!(succeeds(&mut scene.run(&program, &[])), expected);
            let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&program)]));
            assert!(dry.lines().any(|line| line.starts_with(&format!("-> {} ", rung.taken()))), "{dry}");
        }
    });
}

#[test]
fn the_program_gets_its_arguments_byte_for_byte() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let args = ["args", "", "--", "-x", "--strategy", "a b", "a\nb", "'\"\\$(x)*", "é"];
        let expected: String = [text(&witness)].into_iter().chain(args).map(|word| format!("{word}\0")).collect();
        assert_eq!(succeeds(&mut scene.run(&witness, &args)), expected);
        let mut bytes = scene.run(&witness, &["args"]);
        let out = bytes.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe")).output().unwrap().stdout;
        assert!(out.ends_with(b"args\0\xff\xfe\0"), "{}", out.escape_ascii());
    });
}

#[test]
fn proc_self_exe_and_at_execfn_name_the_program_itself() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let path = format!("{}\n", witness.display());
        assert_eq!(succeeds(&mut scene.run(&witness, &["exe"])), path);
        assert_eq!(succeeds(&mut scene.run(&witness, &["execfn"])), path);
        let relative = format!("./{}/witness", rung.name());
        assert_eq!(succeeds(&mut scene.run(&relative, &["execfn"])), format!("{relative}\n"));
        assert_eq!(succeeds(&mut scene.run(&relative, &["exe"])), path);
    });
}

#[test]
fn the_program_sees_the_same_process_as_when_it_is_started_directly() {
    everywhere(|scene, rung| {
        let foreign = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let host = scene.fixture("witness-host", format!("{}/witness-host", rung.name()));
        for question in ["cwd", "fds", "ids"] {
            let at_home = succeeds(scene.command(&host).arg(question));
            assert_eq!(succeeds(&mut scene.run(&foreign, &[question])), at_home, "{question}");
        }
        // No process of xeno's stays in between.
        assert_eq!(succeeds(&mut scene.run(&foreign, &["ppid"])), format!("{}\n", std::process::id()));
        // An open descriptor is handed on under its number, and no other appears.
        let script = r#"exec 7<"$0"; exec "$@" fds"#;
        let at_home = succeeds(&mut shell(scene, script, &[&host]));
        assert!(at_home.lines().any(|fd| fd == "7"), "{at_home}");
        assert_eq!(succeeds(&mut shell(scene, script, &[&scene.xeno(), "run".as_ref(), &foreign])), at_home);
    });
}

#[test]
fn signals_umask_limits_and_privileges_are_handed_on_as_they_were() {
    // /proc/self is the shell's own directory, and the shell becomes the program.
    let see = |what: &str| format!(r#"umask 0027; trap "" USR2; ulimit -S -n 200; ulimit -c 0; exec "$@" cat < /proc/self/{what}"#);
    let fields =
        ["Umask", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp"];
    everywhere(|scene, rung| {
        let foreign = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let host = scene.fixture("witness-host", format!("{}/witness-host", rung.name()));
        let (xeno, run) = (scene.xeno(), PathBuf::from("run"));
        let status = |output: String| -> Vec<String> {
            let kept = output.lines().filter(|line| fields.iter().any(|f| line.starts_with(&format!("{f}:"))));
            kept.map(str::to_owned).collect()
        };
        let at_home = status(succeeds(&mut shell(scene, &see("status"), &[&host])));
        assert_eq!(at_home.len(), fields.len(), "{at_home:?}");
        assert_eq!(status(succeeds(&mut shell(scene, &see("status"), &[&xeno, &run, &foreign]))), at_home);
        let at_home = succeeds(&mut shell(scene, &see("limits"), &[&host]));
        assert_eq!(succeeds(&mut shell(scene, &see("limits"), &[&xeno, &run, &foreign])), at_home);
    });
}

#[test]
fn an_ignored_sigpipe_stays_ignored_and_a_default_one_stays_default() {
    // Bit 12 of the mask is signal 13.
    let ignored = |output: &str| {
        let mask = output.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & 0x1000 != 0
    };
    everyone(|scene| {
        for (program, fixture) in [("overlay/witness", Some(Rung::Overlay)), ("direct/witness", None)] {
            let program = match fixture {
                Some(rung) => scene.foreign("witness", rung, program),
                None => scene.fixture("witness-host", program),
            };
            for (trap, expected) in [(r#"trap "" PIPE; "#, true), ("", false)] {
                let script = format!(r#"{trap}exec "$1" run "$2" cat < /proc/self/status"#);
                let output = succeeds(&mut shell(scene, &script, &[&scene.xeno(), &program]));
                assert_eq!(ignored(&output), expected, "{trap}");
            }
        }
    });
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    everywhere(|scene, rung| {
        let foreign = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let host = scene.fixture("witness-host", format!("{}/witness-host", rung.name()));
        for (close, closed) in [("<&-", &["0"][..]), ("2>&-", &["2"]), ("<&- 2>&-", &["0", "2"])] {
            let script = format!(r#"exec "$@" fds {close}"#);
            let at_home = succeeds(&mut shell(scene, &script, &[&host]));
            assert!(!at_home.lines().any(|fd| closed.contains(&fd)), "{at_home}");
            // Twice: the first start decides and writes, the second recalls.
            for round in 1..=2 {
                let output = succeeds(&mut shell(scene, &script, &[&scene.xeno(), "run".as_ref(), &foreign]));
                assert_eq!(output, at_home, "{close}, round {round}");
            }
        }
    });
}

/// Starts a program with raw environment entries.
fn with_environment(scene: &Scene, entries: &[&[u8]], words: &[&Path]) -> Vec<u8> {
    let starter = std::env::current_exe().unwrap().parent().unwrap().join("../examples/start_with");
    let own = scene.path("tool/start_with");
    if !own.exists() {
        copy(&starter, &own);
    }
    let mut command = scene.command(own);
    let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input: Vec<u8> = entries.iter().flat_map(|e| e.iter().copied().chain([0])).collect();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    output.stdout
}

#[test]
fn the_environment_is_the_parents_byte_for_byte() {
    everywhere(|scene, rung| {
        let foreign = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let store = format!("XENO_STORE={}", scene.store().display());
        let entries: [&[u8]; 11] = [
            b"PATH=/usr/bin:/bin",
            b"no equals sign",
            store.as_bytes(),
            b"",
            b"=begins with one",
            b"TWICE=1",
            b"TWICE=2",
            b"LD_LIBRARY_PATH=/no/such:/neither/this",
            b"LD_BIND_NOW=1",
            b"BYTES=\xff\n\x01",
            b"EMPTY=",
        ];
        let expected: Vec<u8> = entries.iter().flat_map(|e| e.iter().copied().chain([0])).collect();
        for round in 1..=2 {
            let seen = with_environment(scene, &entries, &[&scene.xeno(), "run".as_ref(), &foreign, "env".as_ref()]);
            assert_eq!(seen.escape_ascii().to_string(), expected.escape_ascii().to_string(), "round {round}");
        }
    });
}

#[test]
fn an_empty_environment_stays_empty() {
    // Without HOME and XENO_STORE the store goes to a place of last resort: keep to a copy of the
    // memory that needs none.
    everyone(|scene| {
        let foreign = scene.foreign("witness", Rung::Overlay, "app/witness");
        if scene.user.is_none() && is_root() {
            return; // root's store is the machine's own: not touched by a test
        }
        let mut command = scene.run(&foreign, &["env"]);
        command.env_clear().env("HOME", scene.path("home"));
        assert_eq!(succeeds(&mut command), format!("HOME={}\0", scene.path("home").display()));
    });
}

#[test]
fn a_library_path_of_the_users_own_still_wins() {
    everywhere(|scene, rung| {
        // The tree's libinner answers 7, the user's answers 64 under another function: only the right one starts.
        let tree = scene.path(format!("{}/tree", rung.name()));
        copy(&xeno_tests::fixture("app-tree"), &tree);
        let app = scene.foreign("app-tree/bin/app", rung, tree.join("bin/app"));
        let mine = scene.path(format!("{}/mine", rung.name()));
        copy(&xeno_tests::fixture("app-tree/lib/libapp.so.1"), &mine.join("libapp.so.1"));
        copy(&xeno_tests::fixture("app-tree/lib/libappdep.so.1"), &mine.join("libappdep.so.1"));
        let map = |variable: Option<&Path>| {
            let mut command = scene.run(&app, &[]);
            if let Some(path) = variable {
                command.env("LD_LIBRARY_PATH", path);
            }
            command.env("XENO_REPORT", scene.path("report.json"));
            assert_eq!(succeeds(&mut command), format!("app 12 exe={}\n", app.display()));
            let report: serde_json::Value = serde_json::from_slice(&fs::read(scene.path("report.json")).unwrap()).unwrap();
            let rows = report["resolution"]["libraries"].as_array().unwrap().clone();
            rows.iter().find(|row| row["name"] == "libapp.so.1").unwrap()["path"].as_str().unwrap().to_owned()
        };
        // DT_RUNPATH comes after LD_LIBRARY_PATH (ld.so(8)).
        assert_eq!(fs::canonicalize(map(None)).unwrap(), tree.join("lib/libapp.so.1"));
        assert_eq!(map(Some(&mine)), text(&mine.join("libapp.so.1")));
    });
}

// How it ends, and what goes through it.

#[test]
fn the_exit_status_is_the_programs() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        for status in [0, 1, 42, 125, 126, 127, 128, 255] {
            assert_eq!(exits(&mut scene.run(&witness, &["exit", &status.to_string()]), status), "");
        }
    });
}

#[test]
fn death_by_a_signal_is_passed_on_as_such() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        // Not SIGHUP: whoever starts the tests in the background may have it ignored, and so it stays.
        for signal in [6, 9, 13, 15] {
            let output = scene.run(&witness, &["kill", &signal.to_string()]).output().unwrap();
            assert_eq!(output.status.signal(), Some(signal), "{}", output.status);
            assert_eq!(output.stderr.escape_ascii().to_string(), "");
        }
    });
}

#[test]
fn what_goes_in_comes_out() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let data: Vec<u8> = (0..1_000_003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut child = scene.run(&witness, &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sent = data.clone();
        let writer = std::thread::spawn(move || input.write_all(&sent));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        assert!(output.stdout == data, "{} bytes came out", output.stdout.len());
    });
}

#[test]
fn a_program_may_write_beside_itself_and_its_files_are_the_users() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let file = scene.path("home").join(rung.name());
        succeeds(&mut scene.run(&witness, &["write", text(&file), "one"]));
        succeeds(&mut scene.run(&witness, &["write", text(&file), "two"]));
        assert_eq!(fs::read_to_string(&file).unwrap(), "onetwo");
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
        assert_eq!(owner, scene.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw()));
    });
}

// Its children and its own parts.

#[test]
fn a_host_program_started_as_a_child_keeps_the_hosts_loader() {
    everywhere(|scene, rung| {
        let parent = scene.foreign("hostchild", rung, format!("{}/hostchild", rung.name()));
        let script = "exec cat /proc/self/maps";
        let seen = succeeds(&mut scene.run(&parent, &["/bin/sh", "-c", script]));
        assert!(seen.ends_with("hostchild status=0\n"), "{seen}");
        let files = |maps: &str| -> std::collections::BTreeSet<String> {
            maps.lines().filter_map(|line| Some(line[line.find(" /")? + 1..].to_owned())).collect()
        };
        let at_home = files(&succeeds(scene.command("/bin/sh").args(["-c", script])));
        assert!(!at_home.is_empty());
        assert_eq!(files(&seen), at_home, "not one file more, not one less");
    });
}

#[test]
fn a_childs_environment_is_the_programs_own() {
    everywhere(|scene, rung| {
        let parent = scene.foreign("hostchild", rung, format!("{}/hostchild", rung.name()));
        let witness = scene.fixture("witness-host", "witness-host");
        let at_home = succeeds(scene.command(&witness).arg("env"));
        let seen = succeeds(&mut scene.run(&parent, &[text(&witness), "env"]));
        assert_eq!(seen, format!("{at_home}hostchild status=0\n"));
    });
}

#[test]
fn a_program_that_starts_itself_again_finds_itself() {
    everywhere(|scene, rung| {
        let program = scene.foreign("selfchild", rung, format!("{}/selfchild", rung.name()));
        let path = program.display();
        let expected = format!("parent exe={path}\nchild argv0=selfchild-child exe={path}\nselfchild status=0\n");
        assert_eq!(succeeds(&mut scene.run(&program, &[])), expected);
    });
}

#[test]
fn an_appended_payload_is_found_from_both_ends() {
    everywhere(|scene, rung| {
        let program = scene.foreign("payload", rung, format!("{}/payload", rung.name()));
        assert_eq!(succeeds(&mut scene.run(&program, &[])), "payload start=XENO-PAYLOAD-START end=XENO-PAYLOAD-END\n");
    });
}

#[test]
fn a_foreign_sibling_started_as_a_child_is_helped_too() {
    everywhere(|scene, rung| {
        let tree = scene.path(format!("{}-siblings", rung.name()));
        let parent = scene.foreign("hostchild", rung, tree.join("bin/hostchild"));
        let child = scene.foreign("nix-hello", rung, tree.join("bin/hello"));
        fs::create_dir(tree.join("lib")).unwrap();
        let output = succeeds(&mut scene.run(&parent, &[text(&child)]));
        let path = child.display();
        let expected = format!("hello tls=42 ctor=1 libm=5 unwind=1 argv0={path} exe={path} env=6 ld=1\nhostchild status=0\n");
        assert_eq!(output, expected);
    });
}

#[test]
fn every_file_it_maps_is_in_its_resolution() {
    everywhere(|scene, rung| {
        let witness = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let report = scene.path(format!("{}.json", rung.name()));
        let maps = succeeds(scene.run(&witness, &["maps"]).env("XENO_REPORT", &report));
        let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        assert_eq!(report["rung"], rung.taken());
        let files: Vec<&str> = report["resolution"]["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        let mapped: Vec<&str> = maps.lines().filter_map(|line| Some(&line[line.find(" /")? + 1..])).collect();
        assert!(mapped.contains(&text(&witness)) || rung == Rung::Overlay, "{maps}");
        for file in mapped {
            assert!(files.contains(&file) || file == text(&witness), "{file} is not in {files:?}");
        }
    });
}

#[test]
fn a_tree_with_its_own_libraries_uses_them() {
    everywhere(|scene, rung| {
        let tree = scene.path(format!("{}/app", rung.name()));
        copy(&xeno_tests::fixture("app-tree"), &tree);
        let app = scene.foreign("app-tree/bin/app", rung, tree.join("bin/app"));
        assert_eq!(succeeds(&mut scene.run(&app, &[])), format!("app 12 exe={}\n", app.display()));
        // Through a link from elsewhere, $ORIGIN is where the program really lies.
        let link = scene.path(format!("{}-link", rung.name()));
        symlink(&app, &link).unwrap();
        assert_eq!(succeeds(&mut scene.run(&link, &[])), format!("app 12 exe={}\n", app.display()));
    });
}

#[test]
fn a_library_of_the_tree_is_found_by_its_soname() {
    everyone(|scene| {
        let tree = scene.path("soname");
        copy(&xeno_tests::fixture("soname-tree"), &tree);
        let app = tree.join("bin/app");
        assert_eq!(scene.command(&app).output().unwrap().status.code(), Some(127), "by itself it does not start");
        assert_eq!(succeeds(&mut scene.run(&app, &[])), format!("inner 7 exe={}\n", app.display()));
    });
}

#[test]
fn a_library_of_the_wrong_class_is_passed_over() {
    everyone(|scene| {
        let tree = scene.path("class");
        copy(&xeno_tests::fixture("wrong-class"), &tree);
        let two = tree.join("app-two");
        assert_eq!(succeeds(&mut scene.run(&two, &[])), format!("foo 64 exe={}\n", two.display()));
        fs::remove_dir_all(tree.join("lib64")).unwrap();
        let line = refuses(&mut scene.say(&["run", "--offline", text(&tree.join("app"))]), 126);
        assert!(line.contains("libfoo.so.1"), "{line}");
    });
}

#[test]
fn declared_and_guessed_dlopens_are_answered() {
    everywhere(|scene, rung| {
        let note = scene.foreign("note-dlopen", rung, format!("{}/note", rung.name()));
        let output = succeeds(&mut scene.run(&note, &[]));
        assert!(output.starts_with("maths ok\nsound "), "{output}");
        // A library that only a string names, and that only the program's own tree has.
        let tree = scene.path(format!("{}-string", rung.name()));
        let program = scene.foreign("string-dlopen", rung, tree.join("bin/program"));
        let bytes = replaced(&fs::read(&program).unwrap(), b"libz.so.1\0", b"libq.so.1\0");
        fs::remove_file(&program).unwrap();
        scene.program(&bytes, &program);
        fs::create_dir(tree.join("lib")).unwrap();
        settle();
        let none = succeeds(&mut scene.run(&program, &[]));
        assert!(none.starts_with("libz none: libq.so.1: cannot open shared object file"), "{none}");
        // Added after the first start: noticed.
        let library = fs::read(xeno_tests::fixture("wrong-class/lib64/libfoo.so.1")).unwrap();
        scene.program(&replaced(&library, b"libfoo.so.1\0", b"libq.so.1\0\0\0"), &tree.join("lib/libq.so.1"));
        let some = succeeds(&mut scene.run(&program, &[]));
        assert!(some.contains("undefined symbol: zlibVersion"), "the library was not found: {some}");
    });
}

// Scripts.

#[test]
fn a_script_is_given_to_its_foreign_interpreter() {
    everywhere(|scene, rung| {
        let interpreter = scene.foreign("foreign-sh", rung, format!("{}/foreign-sh", rung.name()));
        let script = scene.path(format!("{}/script", rung.name()));
        scene.program(format!("#!{} -e x\nsay one\nsay two\n", interpreter.display()).as_bytes(), &script);
        let expected = format!(
            "foreign-sh argc=4\narg 0={}\narg 1=-e x\narg 2={}\narg 3=more\nscript lines=3\n",
            interpreter.display(),
            script.display()
        );
        assert_eq!(succeeds(&mut scene.run(&script, &["more"])), expected);
    });
}

#[test]
fn a_script_whose_interpreter_is_gone_gets_the_one_of_path() {
    everyone(|scene| {
        let interpreter = Rung::View.replaced_path("/nix/store/7k2m9x4w1b6n3q8r5v0y2z7a4c9d1f6g-foreign-sh-1.0/bin/foreign-sh");
        let script = scene.path("scripts/script");
        scene.program(format!("#!{interpreter}\nsay one\n").as_bytes(), &script);
        // Nobody has it: one line that says so.
        let line = refuses(&mut scene.run(&script, &[]), 126);
        assert!(line.contains(&interpreter), "{line}");
        // The PATH has one, foreign itself.
        let directory = scene.path("path");
        scene.foreign("foreign-sh", Rung::View, directory.join("foreign-sh"));
        let mut command = scene.run(&script, &[]);
        command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
        let output = succeeds(&mut command);
        assert_eq!(output, format!("foreign-sh argc=2\narg 0={interpreter}\narg 1={}\nscript lines=2\n", script.display()));
    });
}

#[test]
fn a_script_of_this_host_is_started_as_it_is() {
    everyone(|scene| {
        let script = scene.path("scripts/plain");
        scene.program(b"#!/bin/sh\necho \"$0\" \"$@\"; exit 7\n", &script);
        assert_eq!(exits(&mut scene.run(&script, &["a b"]), 7), format!("{} a b\n", script.display()));
    });
}

// Which program is meant.

#[test]
fn a_name_without_a_slash_is_searched_in_path() {
    everywhere(|scene, rung| {
        let directory = scene.path(format!("{}/bin", rung.name()));
        scene.foreign("witness", rung, directory.join("xeno-witness"));
        let path = format!("/no/such:{}:/usr/bin:/bin", directory.display());
        let run = |question: &str| succeeds(scene.run("xeno-witness", &[question]).env("PATH", &path));
        assert_eq!(run("args"), "xeno-witness\0args\0", "argv[0] is the word that was given");
        assert_eq!(run("exe"), format!("{}\n", directory.join("xeno-witness").display()));
        // The current directory is not searched.
        let line = refuses(scene.run("witness", &[]).current_dir(&directory).env("PATH", &path), 127);
        assert!(line.starts_with("xeno: start witness: "), "{line}");
    });
}

#[test]
fn a_name_may_contain_anything_but_a_slash() {
    everywhere(|scene, rung| {
        for name in ["with space", "quo'te\"d", "new\nline", "tab\tand\\back", "-dash", "$HOME", "ünï", "a:b", "a,b=c"] {
            let program = scene.foreign("witness", rung, format!("{}/odd {name}/{name}", rung.name()));
            let output = succeeds(&mut scene.run(&program, &["exe"]));
            // Only the kernel escapes, and only in maps.
            assert_eq!(output, format!("{}\n", program.display()), "{name:?}");
        }
    });
}

#[test]
fn a_link_to_a_program_is_that_program_under_the_links_name() {
    everywhere(|scene, rung| {
        let program = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let link = scene.path(format!("{}/link", rung.name()));
        symlink("witness", &link).unwrap();
        assert_eq!(succeeds(&mut scene.run(&link, &["args"])), format!("{}\0args\0", link.display()));
        assert_eq!(succeeds(&mut scene.run(&link, &["exe"])), format!("{}\n", program.display()));
    });
}

#[test]
fn xeno_runs_in_xeno() {
    everywhere(|scene, rung| {
        let outer = scene.foreign("hostchild", rung, format!("{}/hostchild", rung.name()));
        let inner = scene.foreign("nix-hello", rung, format!("{}-inner/nix-hello", rung.name()));
        let path = inner.display();
        let hello = format!("hello tls=42 ctor=1 libm=5 unwind=1 argv0={path} exe={path} env=6 ld=1\n");
        let xeno = scene.xeno();
        // In its own root, and once more in that.
        let once = succeeds(&mut scene.run(&outer, &[text(&xeno), "run", text(&inner)]));
        assert_eq!(once, format!("{hello}hostchild status=0\n"));
        let twice = succeeds(&mut scene.run(&outer, &[text(&xeno), "run", text(&outer), text(&xeno), "run", text(&inner)]));
        assert_eq!(twice, format!("{hello}hostchild status=0\nhostchild status=0\n"));
        // xeno itself is static: it starts directly.
        assert_eq!(succeeds(&mut scene.run(&xeno, &["run", text(&inner)])), hello);
    });
}
