//! `xeno steam-run` and the rung fhs of `xeno run`, as users start them: what of this machine a program sees, what a
//! sandbox hides, and what is said where there can be no environment. Nothing is fetched but by the last test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Scene, copy, exits, refuses, succeeds};

/// A directory that is a package: a shell, `cat` and the C library, under the names they have everywhere.
fn package(scene: &Scene) -> PathBuf {
    let tree = scene.path("tree");
    for name in ["sh", "cat"] {
        let program = fs::canonicalize(Path::new("/bin").join(name)).unwrap();
        copy(&program, &tree.join("usr/bin").join(name));
        let listed = String::from_utf8(Command::new("ldd").arg(&program).output().unwrap().stdout).unwrap();
        for line in listed.lines().filter_map(|line| line.split_once("=> ")) {
            let file = fs::canonicalize(line.1.split(" (").next().unwrap()).unwrap();
            copy(&file, &tree.join("usr/lib64").join(Path::new(line.0.trim())));
        }
    }
    let loader = resolver::arch::Arch::host().unwrap().glibc_loader().unwrap();
    copy(&fs::canonicalize(loader).unwrap(), &tree.join("usr").join(loader.trim_start_matches('/')));
    tree
}

/// The environment of the command, made of that package: what another version asked for is used where nothing may be fetched.
fn built(scene: &Scene) {
    let tree = package(scene);
    succeeds(&mut scene.say(&["env", "build", "-p", &format!("dir:{}", tree.display()), "--name", "steam-run"]));
}

fn steam_run(scene: &Scene, options: &[&str], words: &[&str]) -> Command {
    scene.say(&[&["steam-run", "--offline"], options, &["--"], words].concat())
}

/// What a command printed that had to succeed; a sandbox may say on standard error what cannot be enforced here.
#[track_caller]
fn prints(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", support::both_streams(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn steam_run_starts_a_program_beside_the_whole_host_and_sandboxed_with_its_own_directory_alone() {
    support::everyone(|scene| {
        built(scene);
        fs::create_dir_all(scene.path("games/one")).unwrap();
        let script = "#!/bin/sh\n[ -e /usr/lib/x86_64-linux-gnu ] && echo host\ncat \"$1\"/letter || echo hidden\n[ -e ../two ] && echo two\nexit 0\n";
        scene.program(script.as_bytes(), &scene.path("games/one/game"));
        fs::create_dir(scene.path("games/two")).unwrap();
        fs::write(scene.path("home/letter"), "dear\n").unwrap();
        let home = scene.path("home").display().to_string();
        let game = scene.path("games/one/game").display().to_string();
        let open = &mut steam_run(scene, &[], &[&game, &home]);
        open.current_dir(scene.path("games/one"));
        assert_eq!(prints(open), "dear\ntwo\n");
        let closed = &mut steam_run(scene, &["--sandbox"], &[&game, &home]);
        closed.current_dir(scene.path("games/one"));
        assert_eq!(prints(closed), "hidden\n");
        // The same by a path from where it lies, started elsewhere.
        let closed = &mut steam_run(scene, &["--sandbox"], &["games/one/game", &home]);
        assert_eq!(prints(closed), "hidden\n");
        let shared = &mut steam_run(scene, &["--sandbox", "--share", &format!("{home}:ro")], &[&game, &home]);
        assert_eq!(prints(shared), "dear\n");
    });
}

#[test]
fn what_a_sandboxed_program_writes_at_home_is_kept_and_is_not_at_home() {
    support::everyone(|scene| {
        built(scene);
        let say = |options: &[&str], script: &str| prints(&mut steam_run(scene, options, &["sh", "-c", script]));
        assert_eq!(say(&["--sandbox"], "echo mine > ~/save; cat ~/save"), "mine\n");
        assert_eq!(say(&["--sandbox", "--no-network"], "cat ~/save"), "mine\n");
        assert!(!scene.path("home/save").exists());
        fs::create_dir(scene.path("other")).unwrap();
        std::os::unix::fs::chown(scene.path("other"), scene.user, scene.user).unwrap();
        let other = scene.path("other").display().to_string();
        assert_eq!(say(&["--sandbox", "--home", &other], "cat ~/save 2>/dev/null || echo none; echo x > ~/own"), "none\n");
        assert_eq!(fs::read_to_string(scene.path("other/own")).unwrap(), "x\n");
    });
}

#[test]
fn words_that_make_no_sense_are_refused_and_a_dry_run_starts_nothing() {
    support::everyone(|scene| {
        built(scene);
        let status = |words: &[&str]| scene.say(words).output().unwrap().status.code();
        assert_eq!(status(&["steam-run", "--share", "/", "--", "true"]), Some(125), "nothing is shared but with a sandbox");
        assert_eq!(status(&["steam-run", "--sandbox", "--seccomp", "nothing", "--", "true"]), Some(125));
        let line = refuses(&mut steam_run(scene, &["--sandbox"], &["./no-such-game"]), 127);
        assert!(line.contains("share ./no-such-game"), "{line}");
        let line = refuses(&mut steam_run(scene, &[], &["no-such-program"]), 127);
        assert!(line.contains("no-such-program"), "{line}");
        let plan = succeeds(&mut steam_run(scene, &["--dry-run"], &["sh", "-c", "exit 3"]));
        assert!(plan.starts_with("start sh -c exit 3\n"), "{plan}");
        assert!(plan.contains(" read-only\n") && plan.contains("bind /proc as it is"), "{plan}");
        assert_eq!(exits(&mut steam_run(scene, &[], &["sh", "-c", "exit 3"]), 3), "");
    });
}

#[test]
fn a_sandboxed_program_has_a_terminal_of_its_own_and_its_status_comes_back() {
    let Some(terminal) = xeno_tests::peer("script") else { return };
    support::everyone(|scene| {
        built(scene);
        // `script`(1) of util-linux runs a command behind a terminal.
        let behind = |words: &str| {
            let line = format!("{} steam-run --offline --sandbox -- {words}", scene.xeno().display());
            let output = scene.command(&terminal).args(["-qec", &line, "/dev/null"]).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (status, said) = behind("sh -c '[ -t 0 ] && [ -t 1 ] && echo a terminal; exit 5'");
        assert_eq!(status, Some(5), "{said}");
        assert!(said.contains("a terminal"), "{said}");
        let (status, said) = behind("no-such-program");
        assert_eq!(status, Some(127), "{said}");
        assert!(said.contains("start no-such-program: "), "{said}");
    });
}

fn script(scene: &Scene, interpreter: &str) -> PathBuf {
    let path = scene.path("tools/script");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!{interpreter}\nprint('hello from an environment')\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_script_whose_interpreter_is_nowhere_is_for_an_environment() {
    support::everyone(|scene| {
        let script = script(scene, "/usr/bin/no-such-interpreter -x");
        let plan = succeeds(scene.say(&["run", "--dry-run"]).arg(&script));
        let line = "-> fhs      the script's interpreter /usr/bin/no-such-interpreter does not exist here (an environment would be built)";
        assert!(plan.lines().any(|l| l == line), "{plan}");
        assert!(plan.contains("loses: this machine's /usr, /bin and /lib are hidden"), "{plan}");
        let line = refuses(&mut scene.run(&script, &[]), 126);
        assert!(line.contains("its interpreter /usr/bin/no-such-interpreter does not exist"), "{line}");
        // No environment has such a path either.
        let elsewhere = scene.path("tools/elsewhere");
        fs::write(&elsewhere, "#!/opt/no-such/interpreter\n").unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        let output = scene.say(&["run", "--dry-run"]).arg(&elsewhere).output().unwrap();
        assert_eq!(output.status.code(), Some(126));
        assert!(String::from_utf8_lossy(&output.stdout).contains("and an environment has no such path"));
    });
}

#[test]
fn a_program_with_an_interpreter_of_a_store_is_for_no_environment() {
    support::everyone(|scene| {
        let program = scene.foreign("nix-hello", support::Rung::View, "app/nix-hello");
        let output = scene.say(&["run", "--dry-run", "--strategy", "fhs"]).arg(&program).output().unwrap();
        assert_eq!(output.status.code(), Some(126));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("   fhs      no environment has its interpreter /n0x/store/"), "{said}");
    });
}

#[test]
fn a_script_of_another_world_runs_in_an_environment_of_its_own() {
    if !xeno_tests::network() {
        return;
    }
    for scene in Scene::all() {
        let script = script(&scene, "/usr/bin/lua5.3");
        let run = || {
            let mut command = scene.run(&script, &[]);
            command.env_remove("XENO_DEBIAN_MIRROR").env_remove("XENO_DEBIAN_SECURITY_MIRROR");
            command
        };
        for round in ["built", "remembered"] {
            assert_eq!(prints(&mut run()), "hello from an environment\n", "{round}");
        }
    }
}
