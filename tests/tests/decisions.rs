//! What xeno decides and says: refusals with their status, the memory of a decision and what makes it
//! void, each way of the ladder with its reason, and what `xeno inspect` shows. How a started program
//! fares is told in `run.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Rung, Scene, copy, everyone, everywhere, is_root, refuses, replaced, settle, succeeds};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Refusals.

#[test]
fn what_cannot_be_found_is_127_what_cannot_be_started_126_and_xenos_own_125() {
    everyone(|scene| {
        let missing = scene.path("no such");
        refuses(&mut scene.run(&missing, &[]), 127);
        refuses(&mut scene.run("no-such-program-anywhere", &[]), 127);
        refuses(&mut scene.run("", &[]), 127);
        refuses(scene.run("true", &[]).env_remove("PATH"), 127);
        refuses(&mut scene.run(scene.path("home"), &[]), 126);
        let plain = scene.path("plain");
        fs::write(&plain, "text").unwrap();
        refuses(&mut scene.run(&plain, &[]), 126);
        let program = scene.foreign("nix-hello", Rung::Overlay, "x/nix-hello");
        refuses(scene.run(&program, &[]).env("XENO_STORE", &plain), 125);
        // A newline in a name cannot make a second line.
        let line = refuses(&mut scene.run("./no\nsuch\x1b[31m", &[]), 127);
        assert!(line.contains("no\\nsuch"), "{line}");
    });
}

#[test]
fn a_mistake_on_the_command_line_is_125_and_shows_the_usage() {
    everyone(|scene| {
        for words in [&["run"][..], &["run", "--no-such"], &["run", "--strategy", "magic", "x"], &["no-such-command"], &["inspect"]] {
            let output = scene.say(words).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{words:?}: {}", output.stderr.escape_ascii());
            assert_eq!(output.stdout.len(), 0, "{words:?}");
            assert!(output.stderr.starts_with(b"error: "), "{words:?}: {}", output.stderr.escape_ascii());
        }
        assert!(succeeds(&mut scene.say(&["run", "--help"])).contains("Exit status: the program's own; 125"));
    });
}

// Memory.

/// Whether a start was recalled: the stored report is replaced by a mark that only recalling can show.
fn recalls(scene: &Scene, command: &mut Command) -> bool {
    for file in scene.cached("start").iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        fs::write(file, "a mark").unwrap();
    }
    let report = scene.path("home/report");
    let _ = fs::remove_file(&report);
    succeeds(command.env("XENO_REPORT", &report));
    fs::read_to_string(&report).unwrap() == "a mark"
}

#[test]
fn a_second_start_asks_nothing_again() {
    everywhere(|scene, rung| {
        let program = scene.foreign("nix-hello", rung, format!("{}/nix-hello", rung.name()));
        settle();
        assert!(!recalls(scene, &mut scene.run(&program, &[])), "the first one has nothing to recall");
        assert!(recalls(scene, &mut scene.run(&program, &[])));
        // A variable that loaders do not read is no part of the question; one that they read is.
        assert!(recalls(scene, scene.run(&program, &["argument"]).env("OTHER", "1")));
        assert!(!recalls(scene, scene.run(&program, &[]).env("LD_LIBRARY_PATH", "/no/such")));
        assert!(!recalls(scene, scene.run(&program, &[]).env("XENO_STORE", scene.path("home/other-store"))));
    });
}

#[test]
fn an_updated_program_is_noticed() {
    everywhere(|scene, rung| {
        let program = scene.foreign("nix-hello", rung, format!("{}/program", rung.name()));
        settle();
        assert!(succeeds(&mut scene.run(&program, &[])).starts_with("hello "));
        assert!(recalls(scene, &mut scene.run(&program, &[])));
        // Replaced, as installers do.
        let new = scene.foreign("witness", rung, format!("{}/new", rung.name()));
        fs::rename(&new, &program).unwrap();
        settle();
        assert_eq!(succeeds(&mut scene.run(&program, &["exe"])), format!("{}\n", program.display()));
        assert!(recalls(scene, &mut scene.run(&program, &["exe"])));
        // Written over in place, same size and modification time.
        let before = fs::metadata(&program).unwrap();
        let bytes = replaced(&fs::read(&program).unwrap(), b"%d %d %d %d\n", b"%d-%d-%d-%d\n");
        let times = format!("@{}", before.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs());
        let data = scene.path("data");
        fs::write(&data, bytes).unwrap();
        let script = r#"cat "$1" > "$2" && touch -d "$3" "$2""#;
        assert!(Command::new("sh").args(["-c", script, "sh"]).args([&data, &program]).arg(times).status().unwrap().success());
        let uid = scene.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        assert!(succeeds(&mut scene.run(&program, &["ids"])).starts_with(&format!("{uid}-")));
    });
}

#[test]
fn a_removed_library_is_noticed_and_a_new_one_in_its_place_as_well() {
    everywhere(|scene, rung| {
        let tree = scene.path(format!("{}/app", rung.name()));
        copy(&xeno_tests::fixture("app-tree"), &tree);
        let app = scene.foreign("app-tree/bin/app", rung, tree.join("bin/app"));
        settle();
        assert!(succeeds(&mut scene.run(&app, &[])).starts_with("app 12"));
        assert!(recalls(scene, &mut scene.run(&app, &[])));
        let library = tree.join("lib/libappdep.so.1");
        let kept = tree.join("kept");
        fs::rename(&library, &kept).unwrap();
        let line = refuses(scene.run(&app, &[]).arg("--"), 126);
        assert!(line.contains("libappdep.so.1"), "{line}");
        fs::rename(&kept, &library).unwrap();
        assert!(succeeds(&mut scene.run(&app, &[])).starts_with("app 12"));
    });
}

#[test]
fn a_change_of_the_hosts_library_cache_is_noticed() {
    if !is_root() {
        return xeno_tests::skip("needs root, to mount something over /etc/ld.so.cache");
    }
    for scene in Scene::all() {
        let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
        settle();
        succeeds(&mut scene.run(&program, &[]));
        assert!(recalls(&scene, &mut scene.run(&program, &[])));
        for file in scene.cached("start").iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
            fs::write(file, "a mark").unwrap();
        }
        copy(Path::new("/etc/ld.so.cache"), &scene.path("ld.so.cache"));
        let uid = scene.user.unwrap_or(0).to_string();
        let script = r#"mount --bind ld.so.cache /etc/ld.so.cache && exec setpriv --reuid "$3" --regid "$3" --clear-groups "$1" run "$2""#;
        let mut command = scene.command("unshare");
        command.uid(0).gid(0).args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        command.args([scene.xeno(), program.clone()]).arg(uid).env("XENO_REPORT", scene.path("home/second"));
        assert!(succeeds(&mut command).starts_with("hello "));
        assert_ne!(fs::read_to_string(scene.path("home/second")).unwrap(), "a mark");
    }
}

#[test]
fn a_memory_that_was_damaged_is_no_memory() {
    everyone(|scene| {
        let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
        settle();
        let hello = succeeds(&mut scene.run(&program, &[]));
        assert!(!scene.cached("start").is_empty());
        for damage in [&b""[..], b"\0\0\0\0", b"xeno start 1\0overlay\0", &[0xff; 5000]] {
            for file in scene.cached("start") {
                fs::write(&file, damage).unwrap();
            }
            assert_eq!(succeeds(&mut scene.run(&program, &[])), hello);
        }
        // The materials are made anew, too.
        for kind in ["loader", "libraries", "executable"] {
            for file in scene.cached(kind) {
                fs::remove_file(file).unwrap();
            }
            assert_eq!(succeeds(&mut scene.run(&program, &[])), hello, "without {kind}");
        }
    });
}

// The ladder.

#[test]
fn each_strategy_can_be_asked_for() {
    everyone(|scene| {
        let view = scene.foreign("witness", Rung::View, "view/witness");
        let overlay = scene.foreign("witness", Rung::Overlay, "overlay/witness");
        let host = scene.fixture("witness-host", "host/witness-host");
        let start = |strategy: &str, program: &Path| {
            let report = scene.path("home/report");
            let mut command = scene.say(&["run", "--strategy", strategy, text(program), "exe"]);
            let output = command.env("XENO_REPORT", &report).output().unwrap();
            assert!(output.status.success(), "{strategy}: {}", output.stderr.escape_ascii());
            let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
            assert_eq!(report["rung"], strategy);
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(start("direct", &host), format!("{}\n", host.display()));
        assert_eq!(start("view", &view), format!("{}\n", view.display()));
        assert_eq!(start("overlay", &overlay), format!("{}\n", overlay.display()));
        // The last rung's loss: the loader is what the kernel started.
        let exe = start("loader", &overlay);
        assert!(exe.contains("ld-linux"), "{exe}");
        // What does not fit is refused with the reason.
        let line = refuses(&mut scene.say(&["run", "--strategy", "view", text(&overlay)]), 126);
        assert!(line.contains("view: something lies at the interpreter's path"), "{line}");
        let line = refuses(&mut scene.say(&["run", "--strategy", "overlay", text(&view)]), 126);
        assert!(line.contains("overlay: the interpreter's path is free"), "{line}");
        let line = refuses(&mut scene.say(&["run", "--strategy", "direct", text(&overlay)]), 126);
        assert!(line.contains("interpreter"), "{line}");
    });
}

#[test]
fn the_loader_rung_says_what_is_lost_and_keeps_arguments_and_environment() {
    everyone(|scene| {
        let program = scene.foreign("witness", Rung::Overlay, "app/witness");
        let mut command = scene.say(&["run", "--strategy", "loader", text(&program), "args", "a b", ""]);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\0args\0a b\0\0", program.display()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("xeno: warning: started through its loader: /proc/self/exe is the loader"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let host = scene.fixture("witness-host", "host/witness-host");
        let at_home = succeeds(scene.command(&host).arg("env"));
        assert_eq!(succeeds_aloud(&mut scene.say(&["run", "--strategy", "loader", text(&program), "env"])), at_home);
    });
}

/// Standard output of a success that may warn.
fn succeeds_aloud(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", output.stderr.escape_ascii());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_dry_run_says_why_each_rung_was_taken_or_passed_over_and_starts_nothing() {
    everywhere(|scene, rung| {
        let program = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let mark = scene.path(format!("home/{}", rung.name()));
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&program), "write", text(&mark), "started"]));
        assert!(!mark.exists());
        assert_eq!(scene.cached("start"), Vec::<PathBuf>::new(), "nothing is remembered");
        let steps: Vec<(&str, &str)> = dry
            .lines()
            .filter_map(|line| {
                let (name, why) = line.get(3..)?.split_once(' ')?;
                ["direct", "shim", "view", "overlay", "fhs", "loader"].contains(&name).then_some((name, why.trim()))
            })
            .collect();
        let names: Vec<&str> = steps.iter().map(|s| s.0).collect();
        let expected: &[&str] = if rung.taken() == "view" { &["direct", "shim", "view"] } else { &["direct", "shim", "view", "overlay"] };
        assert_eq!(names, expected, "{dry}");
        assert!(steps.iter().all(|s| s.1.len() > 10), "{dry}");
        assert!(dry.contains("     loses: "), "{dry}");
        // A program that runs as it is needs no reason but that.
        let host = scene.fixture("witness-host", "host/witness-host");
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&host)]));
        assert!(dry.contains("\n-> direct "), "{dry}");
        // One that nothing can start: every rung says why, and the status says it too.
        let other = scene.fixture("hello-aarch64-glibc-pie", "other/hello");
        let output = scene.say(&["run", "--dry-run", text(&other)]).output().unwrap();
        assert_eq!(output.status.code(), Some(126));
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 7);
    });
}

#[test]
fn starts_at_the_same_time_with_an_empty_store_all_succeed() {
    everywhere(|scene, rung| {
        let store = scene.path(format!("home/store-{}", rung.name()));
        let program = scene.foreign("nix-hello", rung, format!("{}/nix-hello", rung.name()));
        let children: Vec<_> = (0..8)
            .map(|_| {
                let mut command = scene.run(&program, &[]);
                command.env("XENO_STORE", &store).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", output.stderr.escape_ascii());
            assert!(output.stdout.starts_with(b"hello tls=42 ctor=1 libm=5 unwind=1 "), "{}", output.stdout.escape_ascii());
            assert_eq!(output.stderr.escape_ascii().to_string(), "");
        }
        assert_eq!(support::leftovers(&store), [""; 0]);
        assert_eq!(fs::read_dir(store.join("cache/loader")).unwrap().count(), 1);
    });
}

#[test]
fn what_xeno_keeps_is_the_users_alone_and_read_only() {
    everywhere(|scene, rung| {
        let program = scene.foreign("nix-hello", rung, format!("{}/nix-hello", rung.name()));
        settle();
        succeeds(&mut scene.run(&program, &[]));
        for (kind, mode) in [("loader", 0o555), ("libraries", 0o444), ("start", 0o600)] {
            let files = scene.cached(kind);
            assert!(!files.is_empty(), "{kind}");
            for file in files {
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode, "{}", file.display());
            }
        }
        assert_eq!(scene.leftovers(), [""; 0]);
    });
}

#[test]
fn another_users_memory_is_not_followed() {
    if !is_root() {
        return xeno_tests::skip("needs root, to be two users");
    }
    let Some(scene) = Scene::new(None) else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    settle();
    succeeds(&mut scene.run(&program, &[]));
    assert!(recalls(&scene, &mut scene.run(&program, &[])));
    for file in scene.cached("start") {
        chown(file, Some(support::USER), None).unwrap();
    }
    assert!(!recalls(&scene, &mut scene.run(&program, &[])));
}

// inspect.

#[test]
fn inspect_says_in_one_sentence_whether_it_runs_here() {
    everyone(|scene| {
        let foreign = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
        let output = succeeds(&mut scene.say(&["inspect", text(&foreign)]));
        assert!(output.contains("\n  does not run here as it is: its interpreter /etc/store/"), "{output}");
        assert!(output.contains("\n  `xeno run` starts it with this machine's own libraries\n"), "{output}");
        let host = scene.fixture("witness-host", "host/witness-host");
        let output = succeeds(&mut scene.say(&["inspect", text(&host)]));
        assert!(output.contains("\n  runs here: "), "{output}");
        let other = scene.fixture("hello-riscv64-glibc-pie", "other/hello");
        let output = succeeds(&mut scene.say(&["inspect", text(&other)]));
        assert!(output.contains("\n  does not run here: it is for riscv64"), "{output}");
        assert!(!scene.store().exists(), "asking writes nothing");
    });
}

#[test]
fn inspect_shows_who_needs_what() {
    everyone(|scene| {
        let tree = scene.path("app");
        copy(&xeno_tests::fixture("app-tree"), &tree);
        let app = scene.foreign("app-tree/bin/app", Rung::Overlay, tree.join("bin/app"));
        let output = succeeds(&mut scene.say(&["inspect", "--tree", text(&app)]));
        let at = |needle: &str| output.lines().find(|l| l.trim_start().starts_with(needle)).map(|l| l.len() - l.trim_start().len());
        let (app, dep) = (at("libapp.so.1 => ").unwrap(), at("libappdep.so.1 => ").unwrap());
        assert!(dep > app, "{output}");
    });
}

#[test]
fn inspect_json_holds_the_documented_fields() {
    everyone(|scene| {
        let foreign = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
        let output = succeeds(&mut scene.say(&["inspect", "--json", text(&foreign)]));
        assert_eq!(output.lines().count(), 1);
        let report: serde_json::Value = serde_json::from_str(&output).unwrap();
        let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["native", "needs", "payload", "program", "resolution", "rung", "runs_here", "steps", "tree", "world"]);
        assert_eq!(report["program"], text(&foreign));
        assert_eq!(report["runs_here"], false);
        assert_eq!(report["world"], "host");
        assert_eq!(report["needs"]["needed"], serde_json::json!(["libm.so.6", "libgcc_s.so.1", "libc.so.6"]));
        let resolution = &report["resolution"];
        let keys: Vec<&str> = resolution.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["conflicts", "files", "libc_version", "libraries", "loader", "missing", "optional", "optional_missing"];
        assert_eq!(keys, expected);
        assert_eq!(resolution["missing"], serde_json::json!([]));
        let names: Vec<&str> = resolution["libraries"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["libm.so.6", "libgcc_s.so.1", "libc.so.6"]);
        for library in resolution["libraries"].as_array().unwrap() {
            assert!(Path::new(library["path"].as_str().unwrap()).is_file(), "{library}");
            assert_eq!(library["origin"], "host");
            assert_ne!(library["rule"], "");
        }
    });
}
