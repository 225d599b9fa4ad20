//! `xeno shim`, the rung *shim* and `xeno doctor` as users meet them: programs that start by themselves once the
//! shim was told what they need. What the shim does inside a process is tried in `shim_behaviour.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod shim_place;
mod support;

use serde_json::Value;
use shim_place::{everyone_installed, installed, json, trust_only_root};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use support::{Rung, Scene, USER, both_streams, everywhere, exits, is_root, refuses, settle, succeeds};
use xeno_tests::skip;

const HELLO: &str = "hello tls=42 ctor=1 libm=5 unwind=1 ";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// A program that was added.

#[test]
fn an_added_program_starts_by_itself() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        let added = succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let image = added.trim_end().strip_prefix(&format!("{} -> ", program.display())).unwrap().to_owned();
        assert!(Path::new(&image).starts_with(&place.base), "{image}");
        let expected = format!("{HELLO}argv0={0} exe={0} env=7 ld=1\n", program.display());
        let mut command = scene.command(&program);
        assert_eq!(succeeds(command.env("LANG", "C").env("ONE", "1")), expected);
        // The original was not touched, and no second name leads astray.
        let link = scene.path("link");
        symlink(&program, &link).unwrap();
        assert!(succeeds(&mut scene.command(&link)).contains(&format!("exe={} ", program.display())));
    });
}

#[test]
fn every_file_it_maps_is_in_its_image() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "witness", "app/witness");
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
        let answers = shown["answers"].as_object().unwrap().values().map(|path| PathBuf::from(path.as_str().unwrap()));
        let mut known: BTreeSet<PathBuf> = answers.map(|path| fs::canonicalize(path).unwrap()).collect();
        known.extend([program.clone(), place.loader.clone(), PathBuf::from(shown["path"].as_str().unwrap())]);
        let maps = succeeds(scene.command(&program).arg("maps"));
        let mapped: BTreeSet<PathBuf> = maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..]))).collect();
        let strangers: Vec<&PathBuf> = mapped.difference(&known).collect();
        assert_eq!(strangers, Vec::<&PathBuf>::new());
        assert!(mapped.iter().any(|path| path.starts_with(&place.base)), "the loader is the image's: {mapped:?}");
        for line in maps.lines() {
            assert!(!line.split(' ').nth(1).unwrap().starts_with("rwx"), "written and executed: {line}");
        }
    });
}

#[test]
fn it_and_its_children_see_the_environment_of_the_parent_byte_for_byte() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "witness", "app/witness");
        let child = place.program(scene, "selfchild", "app/selfchild");
        succeeds(&mut scene.say(&["shim", "add", text(&program), text(&child)]));
        let entries =
            [("PATH", "/usr/bin:/bin"), ("NIX_LD", ""), ("LD_LIBRARY_PATH", "/no/such"), ("NIX_LD_LIBRARY_PATH", "/neither/this")];
        let expected: BTreeSet<String> = entries.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let seen = |arguments: &[&str], program: &Path| {
            let mut command = scene.command(program);
            let output = succeeds(command.env_clear().envs(entries).args(arguments));
            output.split('\0').filter(|entry| !entry.is_empty()).map(str::to_owned).collect::<BTreeSet<String>>()
        };
        assert_eq!(seen(&["env"], &program), expected);
        // A foreign program's child that is one of the host's.
        let script = format!("exec {} env", program.display());
        assert!(seen(&["-c", &script], Path::new("/bin/sh")).is_superset(&expected));
        let direct = succeeds(&mut scene.command(&child));
        assert!(!direct.is_empty(), "a foreign program starts itself again");
    });
}

#[test]
fn a_library_that_nobody_has_ends_the_start_in_one_line_that_names_it_and_the_remedy() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "needs-missing", "app/needs-missing");
        let output = scene.command(&program).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(127), 1), "{line}");
        let needed = line.strip_prefix(&format!("{}: loading shared libs; see xeno doctor: ", program.display()));
        assert!(needed.is_some_and(|rest| rest.starts_with("lib") && rest.contains("cannot open shared object file")), "{line}");
    });
}

#[test]
fn a_program_that_was_not_added_gets_the_image_for_everybody() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO));
        let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
        assert_eq!((shown["path"].as_str().unwrap(), &shown["key"]), (text(&place.base.join("gnu64")), &Value::Null));
        // Without it there is one line, which says what to do.
        fs::remove_file(place.base.join("gnu64")).unwrap();
        let output = scene.command(&program).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(127), 0), "{}", both_streams(&output));
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(line.starts_with(&format!("xeno: {}: ", program.display())) && line.lines().count() == 1, "{line}");
        assert!(line.contains(&format!("try `xeno doctor {}`", program.display())), "{line}");
    });
}

#[test]
fn what_cannot_be_added_is_refused_with_the_reason() {
    everyone_installed(|scene, place| {
        let missing = place.program(scene, "needs-missing", "app/needs-missing");
        let line = refuses(&mut scene.say(&["shim", "add", "--offline", text(&missing)]), 126);
        assert!(line.contains(".so") && line.contains("is missing"), "{line}");
        let fixed = scene.fixture("hello-x86_64-bare-static", "app/static");
        assert!(refuses(&mut scene.say(&["shim", "add", text(&fixed)]), 126).contains("it is static"));
        assert!(refuses(&mut scene.say(&["shim", "add", "no-such-program"]), 127).contains("no-such-program"));
        let other = scene.fixture("hello-aarch64-glibc-pie", "app/other");
        assert!(refuses(&mut scene.say(&["shim", "add", text(&other)]), 126).contains("it is for aarch64"));
        let nowhere = "/tmp/a-base-with-a-long-name";
        let line = refuses(&mut scene.say(&["shim", "add", "--into", nowhere, text(&place.program(scene, "nix-hello", "app/h"))]), 125);
        assert!(line.contains("use a base directory with a shorter path") || line.contains("is not yours"), "{line}");
        assert!(!Path::new(nowhere).exists());
    });
}

#[test]
fn another_programs_image_of_the_same_name_is_not_overwritten() {
    everyone_installed(|scene, place| {
        let (one, two) = (place.program(scene, "nix-hello", "app/one"), place.program(scene, "witness", "app/two"));
        let added = |program: &Path| {
            let line = succeeds(&mut scene.say(&["shim", "add", text(program)]));
            PathBuf::from(line.trim_end().rsplit(" -> ").next().unwrap())
        };
        let (first, second) = (added(&one), added(&two));
        // As if their keys began alike.
        fs::rename(&first, &second).unwrap();
        let line = refuses(&mut scene.say(&["shim", "add", text(&two)]), 125);
        assert!(line.contains("the image of another program has the same name"), "{line}");
        assert!(succeeds(scene.command(&two).arg("exe")).contains("two"), "it gets the one for everybody");
    });
}

#[test]
fn an_ordinary_user_adds_programs_for_himself_where_root_lets_him() {
    if !is_root() {
        return skip("needs root, to install what an ordinary user may use");
    }
    let Some((root, place)) = installed(None) else { return };
    let scene = Scene::new(Some(USER)).unwrap();
    let program = place.program(&scene, "nix-hello", "app/hello");
    let line = refuses(&mut scene.say(&["shim", "add", text(&program)]), 125);
    assert!(line.contains("`sudo xeno shim install --users`"), "{line}");
    succeeds(&mut place.install(&root, &["--users"]));
    assert_eq!(fs::metadata(place.base.join("u")).unwrap().mode() & 0o7777, 0o1777);
    fs::remove_file(place.base.join("gnu64")).unwrap();
    let line = succeeds(&mut scene.say(&["shim", "add", text(&program)]));
    let image = PathBuf::from(line.trim_end().rsplit(" -> ").next().unwrap());
    assert_eq!(image.parent().unwrap(), place.base.join("u"));
    assert_eq!(fs::metadata(&image).unwrap().uid(), USER);
    assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO));
    // Nobody else follows it.
    let output = root.command(&program).output().unwrap();
    assert_eq!(output.status.code(), Some(127), "{}", both_streams(&output));
    // What somebody else has put at the place of one's image is neither followed nor overwritten.
    chown(&image, Some(USER + 1), None).unwrap();
    let output = scene.command(&program).output().unwrap();
    assert_eq!(output.status.code(), Some(127), "{}", both_streams(&output));
    let line = refuses(&mut scene.say(&["shim", "add", text(&program)]), 125);
    assert!(line.contains(&format!("uid {} has put something there", USER + 1)), "{line}");
}

#[test]
fn a_placeholder_at_the_loaders_path_is_kept_as_well_and_needs_force() {
    everyone_installed(|scene, place| {
        let at = place.base.join("lp");
        fs::write(scene.path("home/placeholder"), "install something").unwrap();
        symlink(scene.path("home/placeholder"), &at).unwrap();
        let line = refuses(&mut place.install_at(scene, &at, &[]), 125);
        assert!(line.contains("there is a file that is no loader for"), "{line}");
        for _ in 0..2 {
            succeeds(&mut place.install_at(scene, &at, &["--force"]));
            let program = place.with_interpreter(scene, "nix-hello", "app/hello", &at);
            assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO));
        }
        succeeds(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base), "--at", text(&at)]));
        assert_eq!(fs::read_link(&at).unwrap(), scene.path("home/placeholder"));
    });
}

// Installing.

#[test]
fn a_real_loader_is_replaced_only_by_force_and_comes_back_as_it_was() {
    trust_only_root(|scene, place| {
        let real = resolver::machine::system(resolver::arch::Arch::host().unwrap(), resolver::needs::Libc::Glibc).unwrap().loader;
        for link in [false, true] {
            let at = place.base.join(if link { "ll" } else { "lf" });
            if link {
                symlink(&real, &at).unwrap();
            } else {
                support::copy(&fs::canonicalize(&real).unwrap(), &at);
            }
            let was = fs::read(&at).unwrap();
            let line = refuses(&mut place.install_at(scene, &at, &[]), 125);
            assert!(line.contains("it is a real loader") && line.contains("--force"), "{line}");
            let program = place.with_interpreter(scene, "nix-hello", &format!("app/hello-{link}"), &at);
            assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO), "natively");
            succeeds(&mut place.install_at(scene, &at, &["--force"]));
            assert_ne!(fs::read(&at).unwrap(), was);
            assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO), "through the image for everybody");
            // Twice is once: the shim is not kept in place of the loader.
            succeeds(&mut place.install_at(scene, &at, &["--force"]));
            succeeds(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base), "--at", text(&at)]));
            assert_eq!(fs::read(&at).unwrap(), was);
            assert_eq!(fs::symlink_metadata(&at).unwrap().is_symlink(), link);
            let line = refuses(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base), "--at", text(&at)]), 125);
            assert!(line.contains("no shim was installed there"), "{line}");
        }
    });
}

#[test]
fn the_machines_own_programs_go_on_when_its_loader_is_replaced() {
    trust_only_root(|scene, place| {
        let Some(unshare) = xeno_tests::peer("unshare") else { return };
        let loader = "/lib64/ld-linux-x86-64.so.2";
        if !Path::new(loader).exists() {
            return skip("this machine's loader is not at the usual path");
        }
        // In a mount namespace of its own, with a copy of the loader's directory over the real one.
        let script = format!(
            r#"set -e
            cp -a /lib64/. "$2"; mount --bind "$2" /lib64
            before=$(readlink -f {loader})
            "$1" shim install --force --into "$3" > /dev/null
            test -f {loader} && test ! -L {loader}
            /usr/bin/env true; ls / > /dev/null; /bin/sh -c 'cat /proc/self/maps' | grep -q "$3/gnu64"
            "$1" shim status --into "$3" > /dev/null
            "$1" shim add --into "$3" /bin/cat > /dev/null; echo through the shim | cat
            "$1" shim install --force --into "$3" > /dev/null; ls / > /dev/null
            "$1" shim uninstall --into "$3" > /dev/null
            test "$(readlink -f {loader})" = "$before"; test ! -e {loader}.xeno-saved
            echo restored"#
        );
        let copy = scene.path("lib64");
        fs::create_dir(&copy).unwrap();
        let mut command = scene.command(unshare);
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", &script, "sh"]);
        command.arg(scene.xeno()).arg(&copy).arg(&place.base);
        assert_eq!(succeeds(&mut command), "through the shim\nrestored\n");
    });
}

#[test]
fn uninstalling_leaves_nothing_behind() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let listed = succeeds(&mut scene.say(&["shim", "status", "--into", text(&place.base)]));
        assert_eq!(listed.lines().filter(|line| line.starts_with("  shim ")).count(), 1, "{listed}");
        assert_eq!(listed.lines().filter(|line| line.starts_with("  image ")).count(), 2, "{listed}");
        let said = succeeds(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base)]));
        assert!(said.contains(&format!("{}: removed", place.loader.display())), "{said}");
        let left: Vec<PathBuf> = fs::read_dir(&place.base).into_iter().flatten().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    });
}

#[test]
fn libraries_that_every_program_gets_can_be_named_and_unknown_ones_are_refused() {
    everyone_installed(|scene, place| {
        let image = || json(&mut scene.say(&["shim", "show", "--json", text(&place.base.join("gnu64"))]));
        assert!(image()["answers"]["libc.so.6"].is_string(), "{}", image());
        let line = refuses(&mut place.install(scene, &["--offline", "--library", "libno-such-thing.so.7"]), 125);
        assert!(line.contains("index") || line.contains("libno-such-thing"), "{line}");
    });
}

// Drivers.

#[test]
fn a_live_directory_is_searched_for_what_it_holds_at_that_moment() {
    everyone_installed(|scene, place| {
        // It opens libxeno-sound.so.2, which no machine has.
        let program = place.program(scene, "note-dlopen", "app/opens");
        let live = scene.path("a/directory/of/drivers/whose/name/is/much/too/long/for/any/loader");
        fs::create_dir_all(&live).unwrap();
        succeeds(&mut scene.say(&["shim", "add", "--offline", "--live", text(&live), text(&program)]));
        let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
        let short = shown["live"][0].as_str().unwrap().to_owned();
        assert_eq!(fs::canonicalize(&short).unwrap(), fs::canonicalize(&live).unwrap());
        assert!(short.len() < 20, "{short}");
        let debug = || {
            let output = scene.command(&program).env("LD_DEBUG", "libs").output().unwrap();
            assert!(output.status.success(), "{}", both_streams(&output));
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let loaded =
            |debug: &str| debug.lines().any(|l| l.contains("calling init: ") && l.contains(&short) && l.ends_with("/libxeno-sound.so.2"));
        assert!(!loaded(&debug()));
        support::copy(&xeno_tests::fixture("soname-tree/lib/libinner.so.1.2.3"), &live.join("libxeno-sound.so.2"));
        let found = debug();
        assert!(loaded(&found), "{found}");
        assert_eq!(json(&mut scene.say(&["shim", "show", "--json", text(&program)]))["out_of_date"], Value::Null);
    });
}

// Staleness.

#[test]
fn an_image_is_out_of_date_once_a_library_is_gone_or_the_loader_is_another() {
    everyone_installed(|scene, place| {
        // Libraries of the program's own tree, found by their soname.
        let tree = scene.path("tree");
        support::copy(&xeno_tests::fixture("soname-tree"), &tree);
        let program = place.with_interpreter(scene, "soname-tree/bin/app", "tree/bin/app", &place.loader);
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let at_home = succeeds(&mut scene.command(&program));
        assert!(!at_home.is_empty());
        exits(&mut scene.say(&["shim", "status", "--into", text(&place.base)]), 0);
        let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
        let own = shown["answers"].as_object().unwrap().values().map(|v| PathBuf::from(v.as_str().unwrap()));
        let library = own.into_iter().find(|path| path.starts_with(&tree)).expect("a library of the tree");
        fs::rename(&library, scene.path("away")).unwrap();
        let status = exits(&mut scene.say(&["shim", "status", "--into", text(&place.base)]), 1);
        assert!(status.contains(&format!("out of date: {} is gone", library.display())), "{status}");
        let doctor = exits(&mut scene.say(&["doctor", text(&program)]), 1);
        assert!(doctor.contains("WRONG  image") && doctor.contains("is gone") && doctor.contains("`xeno shim add PROG`"), "{doctor}");
        fs::rename(scene.path("away"), &library).unwrap();
        exits(&mut scene.say(&["doctor", text(&program)]), 0);
    });
}

// The rung.

fn taken(dry: &str) -> &str {
    dry.lines().find_map(|line| line.strip_prefix("-> ")).and_then(|line| line.split(' ').next()).unwrap_or("none")
}

#[test]
fn run_takes_the_shim_once_it_was_told_and_not_before() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        fs::remove_file(place.base.join("gnu64")).unwrap();
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&program)]));
        assert_ne!(taken(&dry), "shim");
        let hint = format!("has no image for it: `xeno shim add {}` makes one, and it starts by itself", program.display());
        assert!(dry.contains(&hint), "{dry}");
        settle();
        assert!(succeeds(&mut scene.run(&program, &[])).starts_with(HELLO), "in a private root");
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&program)]));
        assert_eq!(taken(&dry), "shim", "{dry}");
        assert!(!dry.contains("loses:"), "{dry}");
        settle();
        // The decision that was remembered for the private root is not followed any more.
        let report = scene.path("home/report");
        let run = || {
            succeeds(scene.run(&program, &[]).env("XENO_REPORT", &report));
            serde_json::from_slice::<Value>(&fs::read(&report).unwrap()).unwrap()["rung"].clone()
        };
        assert_eq!(run(), "shim");
        settle();
        assert_eq!(run(), "shim", "as remembered");
        // Nor is this one, once the image is gone.
        let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
        fs::remove_file(shown["path"].as_str().unwrap()).unwrap();
        assert_ne!(run(), "shim");
    });
}

#[test]
fn run_takes_the_shim_for_a_program_that_the_image_for_everybody_suffices() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", text(&program)]));
        assert_eq!(taken(&dry), "shim", "{dry}");
        // A variable of nix-ld's comes before it.
        let dry = succeeds(scene.say(&["run", "--dry-run", text(&program)]).env("NIX_LD", "/another/loader"));
        assert_ne!(taken(&dry), "shim", "{dry}");
        assert!(dry.contains("NIX_LD names another loader"), "{dry}");
    });
}

#[test]
fn the_shim_can_be_asked_for_where_none_is_installed() {
    everywhere(|scene, rung| {
        if !shim_place::has_shim(scene) {
            return;
        }
        let program = scene.foreign("witness", rung, format!("{}/witness", rung.name()));
        let shim = |arguments: &[&str]| {
            let mut command = scene.say(&["run", "--strategy", "shim"]);
            command.arg(&program).args(arguments);
            command
        };
        assert_eq!(succeeds(&mut shim(&["exe"])), format!("{}\n", program.display()));
        let seen = |command: &mut std::process::Command| {
            let output = succeeds(command);
            output.split('\0').map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let host = scene.fixture("witness-host", format!("{}/witness-host", rung.name()));
        assert_eq!(seen(&mut shim(&["env"])), seen(scene.command(&host).arg("env")), "no variable leaks");
        let report = scene.path("home/report");
        let maps = succeeds(shim(&["maps"]).env("XENO_REPORT", &report));
        let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        assert_eq!(report["rung"], "shim");
        let known: BTreeSet<&str> = report["resolution"]["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
        let mut mapped = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).filter(|path| *path != text(&program));
        if rung != Rung::Overlay {
            assert_eq!(mapped.find(|path| !known.contains(path)), None, "{known:?}");
        }
    });
}

#[test]
fn run_takes_the_image_that_root_made_also_where_the_users_own_sources_have_less() {
    trust_only_root(|root, place| {
        let other = Scene::new(Some(USER)).unwrap();
        let program = place.program(root, "soname-tree/bin/app", "one/bin/app");
        support::copy(&xeno_tests::fixture("soname-tree/lib"), &root.path("one/lib"));
        succeeds(&mut root.say(&["shim", "add", text(&program)]));
        let mut dry = other.say(&["run", "--dry-run", text(&program)]);
        assert_eq!(taken(&succeeds(&mut dry)), "shim");
        assert!(!succeeds(&mut other.command(&program)).is_empty());
        // What ordinary users could not read is said to root.
        fs::set_permissions(root.path("one/lib"), fs::Permissions::from_mode(0o700)).unwrap();
        let output = root.say(&["shim", "add", text(&program)]).output().unwrap();
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}");
        assert!(line.contains(&format!("`chmod o+rX {}` lets them", root.path("one/lib").display())), "{line}");
    });
}

// The doctor.

#[test]
fn the_doctor_names_the_first_thing_that_is_wrong_and_its_remedy() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        let examine = |program: &Path, status: i32| {
            let output = scene.say(&["doctor", "--json", text(program)]).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{}", both_streams(&output));
            let found: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(found["starts"], status == 0);
            let last = found["steps"].as_array().unwrap().last().unwrap().clone();
            assert_eq!(last["state"], if status == 0 { "ok" } else { "wrong" }, "{found}");
            assert_eq!(last["fix"].is_null(), status == 0, "a remedy for what is wrong: {found}");
            (last["step"].as_str().unwrap().to_owned(), format!("{} {}", last["text"], last["fix"]))
        };
        assert_eq!(examine(&program, 0).0, "versions");
        let nowhere = scene.foreign("nix-hello", Rung::View, "view/hello");
        let (step, said) = examine(&nowhere, 1);
        assert!(step == "interpreter" && said.contains("does not exist") && said.contains("xeno run"), "{said}");
        let (step, said) = examine(&place.program(scene, "needs-missing", "app/missing"), 1);
        assert!(step == "libraries" && said.contains("is missing") && said.contains("xeno run"), "{said}");
        let (step, said) = examine(&place.program(scene, "needs-glibc-2.99", "app/new"), 1);
        assert!(step == "versions" && said.contains("GLIBC_2.99"), "{said}");
        let (step, said) = examine(&scene.fixture("hello-aarch64-glibc-pie", "app/other"), 1);
        assert!(step == "program" && said.contains("emulator"), "{said}");
        // An image that anybody may write to is not followed by the shim, and the doctor says so.
        let image = place.base.join("gnu64");
        fs::set_permissions(&image, fs::Permissions::from_mode(0o666)).unwrap();
        let (step, said) = examine(&program, 1);
        assert!(step == "image" && said.contains("not followed"), "{said}");
        assert_eq!(scene.command(&program).output().unwrap().status.code(), Some(127), "nor is it");
        fs::remove_file(&image).unwrap();
        let (step, said) = examine(&program, 1);
        assert!(step == "image" && said.contains("xeno shim add"), "{said}");
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        assert_eq!(examine(&program, 0).0, "versions");
        assert_eq!(exits(&mut scene.say(&["doctor", "/bin/sh"]), 0).lines().last().unwrap(), "/bin/sh starts as it is");
    });
}
