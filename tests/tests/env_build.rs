//! `xeno env` from a specification to a started program: what is built of which packages, what collides, what is refused,
//! and that nothing half-built is ever seen. The archive is the stand-in of the store's own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../store/tests/standin/mod.rs"]
#[allow(missing_docs, unreachable_pub, clippy::print_stdout, reason = "tests")]
mod standin;
mod support;

use resolver::arch::Endian;
use resolver::ldcache;
use serde_json::Value;
use standin::{Standin, SuiteContent, deb_with, gzip};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Scene, copy, everyone, exits, is_root, refuses, succeeds};

const LIB: &str = "usr/lib/x86_64-linux-gnu";

/// A file of this machine.
fn host(names: &[&str]) -> Option<Vec<u8>> {
    names.iter().find_map(|name| fs::read(name).ok())
}

/// What is needed to start a shell: a shell, its loader and its C library, of this machine. Skips where they are elsewhere.
struct Machine {
    shell: Vec<u8>,
    loader: Vec<u8>,
    libc: Vec<u8>,
}

fn machine() -> Option<Machine> {
    let library = |name: &str| {
        let places = ["/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib"].map(|d| format!("{d}/{name}"));
        host(&places.each_ref().map(String::as_str))
    };
    let found = (host(&["/bin/dash", "/usr/bin/dash"]), library("ld-linux-x86-64.so.2"), library("libc.so.6"));
    let (Some(shell), Some(loader), Some(libc)) = found else {
        xeno_tests::skip("this machine has no dash, or its loader and C library are in other places");
        return None;
    };
    Some(Machine { shell, loader, libc })
}

enum Entry<'a> {
    Program(&'a str, &'a [u8]),
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
}

fn package(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_700_000_000);
        match entry {
            Entry::Program(path, bytes) | Entry::File(path, bytes) => {
                header.set_mode(if matches!(entry, Entry::Program(..)) { 0o755 } else { 0o644 });
                header.set_size(bytes.len() as u64);
                out.append_data(&mut header, format!("./{path}"), *bytes).unwrap();
            }
            Entry::Link(path, target) => {
                header.set_mode(0o777);
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                out.append_link(&mut header, format!("./{path}"), target).unwrap();
            }
        }
    }
    deb_with("data.tar.gz", &gzip(&out.into_inner().unwrap()))
}

/// Adds a package that says more than where its file is.
fn add(standin: &Standin, suite: &mut SuiteContent, name: &str, version: &str, more: &str, deb: &[u8]) {
    standin.package(suite, name, version, &[], deb);
    suite.packages.truncate(suite.packages.trim_end().len());
    writeln!(suite.packages, "\n{more}").unwrap();
}

/// Suite `new`: a shell that needs a C library, a tool that needs the shell, an essential package.
fn archive(machine: &Machine) -> Standin {
    let standin = Standin::new();
    let mut new = SuiteContent { by_hash: true, ..SuiteContent::default() };
    let libc = package(&[
        Entry::Program(&format!("{LIB}/ld-linux-x86-64.so.2"), &machine.loader),
        Entry::Program(&format!("{LIB}/libc.so.6"), &machine.libc),
        Entry::Link("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        Entry::File("etc/ld.so.conf.d/x86_64-linux-gnu.conf", b"/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n"),
    ]);
    add(&standin, &mut new, "libc6", "2.41-1", "Multi-Arch: same\n", &libc);
    let shell = package(&[Entry::Program("bin/dash", &machine.shell), Entry::Link("bin/sh", "dash")]);
    add(&standin, &mut new, "dash", "0.5-1", "Pre-Depends: libc6 (>= 2.36)\n", &shell);
    let tool = package(&[
        Entry::Program("usr/bin/tool", b"#!/bin/sh\necho \"tool $1 of $0 in $(pwd)\"\n"),
        Entry::File("usr/share/thing", b"tool's"),
        Entry::File("usr/share/doc/tool/copyright", b"free"),
    ]);
    add(&standin, &mut new, "tool", "1.0-1", "Depends: dash | ksh, base (>= 1)\n", &tool);
    let other = package(&[Entry::File("usr/share/thing", b"other's"), Entry::Program("usr/bin/mawk", b"#!/bin/sh\necho awk\n")]);
    add(&standin, &mut new, "other", "3", "Depends: libc6\n", &other);
    let base = package(&[
        Entry::File("etc/base.conf", b"base"),
        Entry::Link("etc/os-release", "../usr/lib/os-release"),
        Entry::File("usr/lib/os-release", b"ID=standin\n"),
    ]);
    add(&standin, &mut new, "base", "1", "Essential: yes\n", &base);
    add(&standin, &mut new, "broken", "1", "Depends: libc6 (>= 9), nothing-like-it\n", &package(&[]));
    standin.publish("new", &new);
    standin
}

/// A scene that has the stand-in archive.
struct Place {
    scene: Scene,
    standin: Standin,
}

impl Place {
    fn xeno(&self, words: &[&str]) -> Command {
        let mut command = self.scene.say(words);
        let mirror = self.standin.mirror();
        command.env("XENO_DEBIAN_MIRROR", &mirror).env("XENO_DEBIAN_SECURITY_MIRROR", &mirror).env("XENO_DEBIAN_SUITES", "new");
        command.env("XENO_DEBIAN_KEYRING", self.standin.dir.path().join("key.asc")).env("XENO_LOG", "error");
        command
    }

    fn build(&self, words: &[&str]) -> Value {
        let mut command = self.xeno(&["env", "build", "--json"]);
        serde_json::from_str(&said(command.args(words))).unwrap()
    }

    /// A specification file.
    fn spec(&self, name: &str, text: &str) -> String {
        let path = self.scene.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// What a command printed, which had to succeed; progress on standard error is its own matter.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", support::both_streams(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Each user in a place of his own.
fn everywhere(law: impl Fn(&Place)) {
    let Some(machine) = machine() else { return };
    everyone(|scene| {
        let standin = archive(&machine);
        let place = Place { scene: Scene::new(scene.user).unwrap(), standin };
        fs::set_permissions(place.standin.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        law(&place);
    });
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn an_environment_has_what_its_packages_need_and_starts_programs_in_it() {
    everywhere(|place| {
        let built = place.build(&["-p", "tool", "--name", "t"]);
        let expected = ["tool 1.0-1 amd64", "base 1 amd64", "dash 0.5-1 amd64", "libc6 2.41-1 amd64"];
        assert_eq!(texts(&built["packages"]), expected);
        let run = |words: &[&str]| place.xeno(&[&["env", "run", "t", "--"], words].concat());
        let here = place.scene.path("");
        assert_eq!(succeeds(&mut run(&["tool", "x"])), format!("tool x of /usr/bin/tool in {}\n", here.display()));
        exits(&mut run(&["/bin/sh", "-c", "exit 7"]), 7);
        let script =
            "for f in /etc/os-release /etc/base.conf; do read l <$f || :; echo $l; done; [ -e /lib64/ld-linux-x86-64.so.2 ] && echo loader";
        assert_eq!(succeeds(&mut run(&["sh", "-c", script])), "ID=standin\nbase\nloader\n");
        // Nothing of this machine's own software is in the way.
        refuses(&mut run(&["setpriv"]), 127);
        let script = "[ -e /usr/share/doc/tool ] || echo none; [ -d /proc/self ] && echo proc; echo $PATH";
        assert!(succeeds(&mut run(&["sh", "-c", script])).starts_with("none\nproc\n"));
        let listed = said(&mut place.xeno(&["env", "list"]));
        assert_eq!(listed, format!("t: 4 packages in {}\n", built["root"].as_str().unwrap()));
    });
}

#[test]
fn what_is_built_is_found_again_and_a_change_makes_another() {
    everywhere(|place| {
        let tree = place.scene.path("tree");
        let file = |name: &str| {
            fs::create_dir_all(tree.join("share")).unwrap();
            fs::write(tree.join("share").join(name), "").unwrap();
        };
        file("data");
        let word = format!("dir:{}", tree.display());
        let words = ["-p", &word, "-p", "other", "--name", "d"];
        let first = place.build(&words);
        assert_eq!(place.build(&words)["root"], first["root"]);
        assert_eq!(place.build(&["-p", &word, "-p", "other", "--name", "twin"])["root"], first["root"]);
        assert_eq!(place.build(&["-p", "other", "--name", "o"])["root"].as_str().map(|r| r == first["root"]), Some(false));
        file("more");
        let second = place.build(&words);
        assert_ne!(second["root"], first["root"]);
        let root = PathBuf::from(second["root"].as_str().unwrap());
        assert_eq!(fs::read_link(root.join("usr/share/more")).unwrap(), fs::canonicalize(&tree).unwrap().join("share/more"));
        assert_eq!(fs::read_link(root.join("usr/bin/awk")).unwrap(), Path::new("mawk"));
        // The farm goes with the last that uses it.
        said(&mut place.xeno(&["env", "rm", "d", "o"]));
        assert!(!root.exists() && Path::new(first["root"].as_str().unwrap()).exists());
        said(&mut place.xeno(&["env", "rm", "twin"]));
        assert!(place.scene.cached("fhs").is_empty());
        assert_eq!(said(&mut place.xeno(&["env", "list", "--json"])), "[]\n");
        assert_eq!(place.scene.leftovers(), [""; 0]);
    });
}

#[test]
fn of_two_files_the_first_is_there_and_both_are_named() {
    everywhere(|place| {
        for (order, first, second) in
            [(["other", "tool"], "other 3 amd64", "tool 1.0-1 amd64"), (["tool", "other"], "tool 1.0-1 amd64", "other 3 amd64")]
        {
            let built = place.build(&["-p", order[0], "-p", order[1]]);
            let expected = serde_json::json!([{ "path": "/usr/share/thing", "kept": first, "dropped": second }]);
            assert_eq!(built["collisions"], expected);
            let text = fs::read_to_string(Path::new(built["root"].as_str().unwrap()).join("usr/share/thing")).unwrap();
            assert_eq!(text, format!("{}'s", order[0]));
        }
    });
}

#[test]
fn a_lock_gives_the_same_packages_when_the_archive_has_moved_on() {
    everywhere(|place| {
        let lock = place.scene.path("home/t.lock");
        let words = ["-p", "tool", "--lock", lock.to_str().unwrap()];
        let first = place.build(&words);
        let mut newer = SuiteContent { by_hash: true, ..SuiteContent::default() };
        for name in ["libc6", "dash", "tool", "base"] {
            add(&place.standin, &mut newer, name, "9", "", &package(&[Entry::File("usr/share/new", b"")]));
        }
        place.standin.publish("new", &newer);
        fs::remove_dir_all(place.scene.store()).unwrap();
        assert_eq!(place.build(&words)["packages"], first["packages"]);
        refuses(&mut place.xeno(&["env", "build", "-p", "dash", "--lock", lock.to_str().unwrap()]), 125);
        fs::remove_dir_all(place.scene.store()).unwrap();
        assert_eq!(texts(&place.build(&["-p", "tool"])["packages"]), ["tool 9 amd64"], "without it, what there is now");
    });
}

#[test]
fn what_is_not_there_or_cannot_be_is_one_line_that_names_it() {
    everywhere(|place| {
        let refused = |words: &[&str], status: i32, parts: &[&str]| {
            let line = refuses(&mut place.xeno(&[&["env"], words].concat()), status);
            for part in parts {
                assert!(line.contains(part), "{words:?}: {line}");
            }
        };
        refused(&["build", "-p", "tol"], 125, &["find package tol (x86_64)", "there are tool"]);
        refused(&["build", "-p", "broken"], 125, &["package broken (x86_64)", "it needs libc6 (>= 9), which no suite has"]);
        refused(&["build", "-p", "dir:/no/such"], 125, &["use directory /no/such"]);
        refused(&["build", "-p", "nix:/etc"], 125, &["use store path /etc", "/nix/store"]);
        refused(&["build", "-p", "../x"], 125, &["no package is called so"]);
        refused(&["build", "-p", "tool", "--name", "../x"], 125, &["no environment can be called so"]);
        refused(&["build", "/no/such.toml"], 125, &["read specification /no/such.toml"]);
        let spec = place.spec("s.toml", "[fhs]\npackges = []\n");
        refused(&["build", &spec], 125, &["s.toml", "fhs.packges", "did you mean packages?"]);
        refused(&["run", "none"], 127, &["use environment none", "there is none"]);
        refused(&["rm", "none"], 127, &["there is none"]);
        assert!(place.scene.cached("fhs").is_empty());
        assert_eq!(said(&mut place.xeno(&["env", "list"])), "");
        // A working directory that the environment has another in place of.
        place.build(&["-p", "tool"]);
        let line = refuses(place.xeno(&["env", "run", "default", "tool"]).current_dir("/usr/lib"), 126);
        assert!(line.contains("the working directory /usr/lib is hidden, as the environment has its own /usr"), "{line}");
        let gone = place.scene.path("home/gone");
        fs::create_dir(&gone).unwrap();
        let script = "cd gone && rmdir ../gone && exec \"$0\" env run default tool";
        let lost = place.xeno(&[]);
        let mut shell = Command::new("sh");
        shell.envs(lost.get_envs().filter_map(|(k, v)| Some((k, v?)))).args(["-c", script]).arg(lost.get_program());
        let line = refuses(shell.current_dir(place.scene.path("home")), 126);
        assert!(line.contains("the working directory has no path"), "{line}");
    });
}

#[test]
fn scripts_of_a_specification_run_inside_and_gain_nothing() {
    everywhere(|place| {
        let secret = place.scene.path("home/secret");
        fs::write(&secret, "secret\n").unwrap();
        chown(&secret, place.scene.user, place.scene.user).unwrap();
        let spec = place.spec(
            "s.toml",
            &format!(
                r#"
[fhs]
name = "scripted"
packages = ["tool", "other"]
run = ["sh", "-c", "echo $GREETING $FROM_PROFILE $FROM_HOOK"]
profile = "export FROM_PROFILE=profile"
environment = {{ GREETING = "hello" }}
links = {{ "/usr/bin/nickname" = "tool" }}
files = {{ "/etc/own.conf" = "own" }}
binds = [{{ source = "{0}", path = "/srv-of-test", access = "read-only" }}]
[fhs.hooks]
enter = "export FROM_HOOK=hook"
build = """
[ ! -e {1} ] || exit 3
echo made >/usr/share/made
[ "$(tool x)" = "tool x of /usr/bin/tool in /" ]
if echo >/usr/bin/tool; then exit 4; fi 2>/dev/null
"""
"#,
                place.scene.path("home").display(),
                secret.display()
            ),
        );
        let built = place.build(&[&spec]);
        let root = PathBuf::from(built["root"].as_str().unwrap());
        assert_eq!(fs::read_to_string(root.join("usr/share/made")).unwrap(), "made\n");
        assert_eq!(succeeds(&mut place.xeno(&["env", "run", "scripted"])), "hello profile hook\n");
        let script = "read l </etc/own.conf; nickname y; read l </srv-of-test/secret && echo $l; echo x >/srv-of-test/new";
        let script = format!("{script} || echo kept");
        let output = place.xeno(&["env", "run", "scripted", "sh", "-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("tool y of /usr/bin/nickname in ") && text.ends_with("secret\nkept\n"), "{text}");
        assert!(!place.scene.path("home/new").exists());
        // One that fails leaves nothing, and says so.
        let spec = place.spec("f.toml", "[fhs]\nname = 'failing'\npackages = ['dash']\nhooks.build = 'exit 5'\n");
        let line = refuses(&mut place.xeno(&["env", "build", &spec]), 125);
        assert!(line.contains("run hooks.build: it ended with status 5"), "{line}");
        assert_eq!(place.scene.cached("fhs"), [root]);
        assert_eq!(place.scene.leftovers(), [""; 0]);
        // What it puts in place of a directory is not followed.
        for tool in ["ln", "rmdir"] {
            copy(&xeno_tests::peer(tool).unwrap(), &place.scene.path("tools/bin").join(tool));
        }
        let text = "[fhs]\nname = 'leading'\npackages = ['dash', 'dir:tools']\nhooks.build = 'rmdir /usr/lib32; ln -s /tmp /usr/lib32'\n";
        let spec = place.spec("l.toml", text);
        let line = refuses(&mut place.xeno(&["env", "build", &spec]), 125);
        assert!(line.contains("it put something else in place of the directory /usr/lib32"), "{line}");
    });
}

#[test]
fn a_script_has_no_way_out_and_its_modes_do_not_stay() {
    everywhere(|place| {
        let outside = place.scene.path("home");
        // Not closed on exec, as a careless caller leaves it.
        let inherited = nix::fcntl::open(&outside, nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&inherited);
        said(Command::new("sh").args(["-c", &format!("echo x >/proc/self/fd/{number}/control")]));
        copy(&xeno_tests::peer("chmod").unwrap(), &place.scene.path("tools/bin/chmod"));
        let text = |name: &str, script: &str| {
            let script = format!("if echo x >/proc/self/fd/{number}/written; then exit 6; fi 2>/dev/null; {script}");
            format!("[fhs]\nname = '{name}'\npackages = ['tool', 'dir:tools']\nhooks.build = '{script}'\n")
        };
        let spec = place.spec("m.toml", &text("modes", "chmod 777 /usr/share; chmod 555 /usr/bin"));
        let built = place.build(&[&spec]);
        let root = PathBuf::from(built["root"].as_str().unwrap());
        for directory in ["usr", "usr/share", "usr/bin"] {
            assert_eq!(fs::metadata(root.join(directory)).unwrap().permissions().mode() & 0o7777, 0o755, "{directory}");
        }
        assert!(!outside.join("written").exists());
        let spec = place.spec("c.toml", &text("closed", "chmod 0 /usr/share; exit 5"));
        let line = refuses(&mut place.xeno(&["env", "build", &spec]), 125);
        assert!(line.contains("run hooks.build: it ended with status 5"), "{line}");
        assert_eq!(place.scene.cached("fhs"), [root]);
    });
}

#[test]
fn no_place_of_a_bind_is_made_on_the_host() {
    everywhere(|place| {
        let (source, made) = (place.scene.path("home"), place.scene.path("made"));
        let spec = |name: &str, binds: &[(&Path, &Path)]| {
            let binds: Vec<String> =
                binds.iter().map(|(from, to)| format!("{{ source = '{}', path = '{}' }}", from.display(), to.display())).collect();
            let text = format!("[fhs]\nname = '{name}'\npackages = ['dash']\nbinds = [{}]\n", binds.join(", "));
            place.build(&[&place.spec(&format!("{name}.toml"), &text)]);
        };
        let run = |name: &str| place.xeno(&["env", "run", name, "sh", "-c", "echo ran"]);
        spec("direct", &[(&source, &made.join("below"))]);
        let line = refuses(&mut run("direct"), 126);
        let expected =
            format!("the place {} of a bind does not exist, and none is made on the host; make it first", made.join("below").display());
        assert!(line.contains(&expected), "{line}");
        assert!(!made.exists());
        // Nor in what another bind shows.
        let top = Path::new("/bound-by-test");
        spec("through", &[(&source, top), (&source, &top.join("below"))]);
        let line = refuses(&mut run("through"), 126);
        assert!(line.contains(&format!("the place {} of a bind does not exist", source.join("below").display())), "{line}");
        assert!(!source.join("below").exists());
        // One that is there, and one that is made in the root itself.
        fs::create_dir(&made).unwrap();
        spec("there", &[(&source, &made), (&source, top)]);
        assert_eq!(succeeds(&mut run("there")), "ran\n");
        assert!(!top.exists());
    });
}

#[test]
fn an_exported_environment_can_be_unpacked_and_no_name_lies_below_a_link() {
    everywhere(|place| {
        let text = "[fhs]\nname = 'exported'\npackages = ['tool']\nfiles = { '/etc/fonts/own.conf' = 'own' }\n";
        place.build(&[&place.spec("x.toml", text)]);
        let image = place.scene.path("home/image");
        said(&mut place.xeno(&["env", "export", "--oci", image.to_str().unwrap(), "exported"]));
        let blob =
            |descriptor: &Value| image.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"));
        let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let layer = blob(&json(&blob(&json(&image.join("index.json"))["manifests"][0]))["layers"][0]);
        let Some(tar) = xeno_tests::peer("tar") else { return };
        let root = place.scene.path("unpacked");
        fs::create_dir(&root).unwrap();
        said(Command::new(tar).arg("-xzf").arg(&layer).arg("-C").arg(&root));
        assert!(fs::symlink_metadata(root.join("etc")).unwrap().is_dir());
        assert!(fs::read_to_string(root.join("etc/passwd")).unwrap().starts_with("root:x:0:0:"));
        assert_eq!(fs::read_link(root.join("etc/fonts")).unwrap(), Path::new("/usr/etc/fonts"));
        assert_eq!(fs::read_to_string(root.join("usr/etc/fonts/own.conf")).unwrap(), "own");
        assert_eq!(fs::read_link(root.join("etc/base.conf")).unwrap(), Path::new("/usr/etc/base.conf"));
        assert_eq!(fs::read_to_string(root.join("usr/etc/base.conf")).unwrap(), "base");
    });
}

#[test]
fn namespaces_and_a_tmp_of_its_own_hide_what_they_should_and_not_the_libraries() {
    everywhere(|place| {
        let spec =
            place.spec("s.toml", "[fhs]\nname = 'apart'\npackages = ['tool']\nprivate-tmp = true\nunshare = { pid = true, net = true }\n");
        place.build(&[&spec]);
        // The store and the file lie in a directory for temporary files themselves.
        let script = format!("[ -r /etc/ld.so.cache ] && [ ! -e {} ] && >/tmp/own && echo $$", place.scene.path("s.toml").display());
        let mut run = place.xeno(&["env", "run", "apart", "sh", "-c", &script]);
        assert_eq!(succeeds(run.current_dir("/var")), "2\n");
        assert!(!Path::new("/tmp/own").exists());
        exits(place.xeno(&["env", "run", "apart", "sh", "-c", "kill -9 $$"]).current_dir("/var"), 128 + 9);
        let dry = succeeds(place.xeno(&["env", "run", "--dry-run", "apart", "tool"]).current_dir("/var"));
        assert!(dry.starts_with("start tool\n") && dry.contains("  tmpfs /tmp (mode 1777)\n") && dry.contains("  proc /proc\n"), "{dry}");
    });
}

#[test]
fn the_library_cache_is_the_one_that_ldconfig_would_write() {
    let Some(ldconfig) = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].map(Path::new).into_iter().find(|path| path.is_file()) else {
        return xeno_tests::skip("ldconfig is not installed");
    };
    let Some(machine) = machine() else { return };
    everyone(|scene| {
        // A tree with everything that the rules of names tell apart, of libraries of this machine.
        let place = Place { scene: Scene::new(scene.user).unwrap(), standin: archive(&machine) };
        fs::set_permissions(place.standin.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = place.scene.path("tree");
        let lib = tree.join(LIB);
        let libc = place.scene.path("libc");
        fs::write(&libc, &machine.libc).unwrap();
        copy(&libc, &lib.join("libc-2.41.so"));
        copy(&libc, &lib.join("libc-2.9.so"));
        symlink("libc-2.41.so", lib.join("libc.so.6")).unwrap();
        symlink("libc.so.6", lib.join("libc.so")).unwrap();
        symlink("nowhere", lib.join("libgone.so.1")).unwrap();
        fs::write(lib.join("libempty.so.1"), "").unwrap();
        copy(&libc, &tree.join("usr/lib/libelsewhere.so"));
        copy(&libc, &lib.join("not-a-library"));
        copy(ldconfig, &tree.join("usr/sbin/ldconfig"));
        copy(&xeno_tests::fixture("hello-i686-glibc-pie"), &lib.join("libpie.so"));
        let built = place.build(&["-p", &format!("dir:{}", tree.display()), "-p", "dash", "--name", "c"]);
        let ours = fs::read(Path::new(built["root"].as_str().unwrap()).join("usr/etc/ld.so.cache")).unwrap();
        let theirs = place.scene.path("home/theirs");
        let words = ["env", "run", "c", "/sbin/ldconfig", "-X", "-f", "/usr/etc/ld.so.conf", "-C", theirs.to_str().unwrap()];
        let output = place.xeno(&words).output().unwrap();
        assert!(output.status.success(), "{}", support::both_streams(&output));
        let theirs = fs::read(theirs).unwrap();
        // The loader takes the first answer that suits it.
        let answers = |bytes: &[u8]| {
            let mut first = BTreeMap::new();
            for entry in ldcache::parse(bytes, Endian::Little).unwrap() {
                first.entry((entry.soname, entry.flags)).or_insert(entry.path);
            }
            first
        };
        let (ours, theirs) = (answers(&ours), answers(&theirs));
        assert!(ours.len() >= 3, "{ours:?}");
        assert_eq!(ours, theirs);
    });
}

#[test]
fn a_build_that_is_killed_anywhere_leaves_nothing_to_be_seen() {
    everywhere(|place| {
        place.build(&["-p", "tool", "--name", "kept"]);
        let tree = place.scene.path("tree");
        for n in 0..200 {
            let at = tree.join(format!("share/many/{n}"));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("file"), "").unwrap();
        }
        let word = format!("dir:{}", tree.display());
        let kept = place.scene.cached("fhs");
        for wait in [0, 3, 6, 10, 15, 20, 30, 40] {
            let mut building = place
                .xeno(&["env", "build", "-p", &word, "-p", "dash", "--name", "late"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(wait));
            building.kill().unwrap();
            building.wait().unwrap();
            let whole: Vec<PathBuf> = place.scene.cached("fhs").into_iter().filter(|p| !p.to_string_lossy().contains(".tmp-")).collect();
            let new: Vec<&PathBuf> = whole.iter().filter(|p| !kept.contains(p)).collect();
            assert!(new.iter().all(|farm| farm.join("usr/etc/ld.so.conf").exists()), "{new:?}");
            succeeds(&mut place.xeno(&["env", "run", "kept", "tool"]));
        }
        place.build(&["-p", &word, "-p", "dash", "--name", "late"]);
        succeeds(&mut place.xeno(&["env", "run", "late", "sh", "-c", "[ -e /usr/share/many/199/file ]"]));
    });
}

#[test]
fn a_full_disk_says_so_and_leaves_nothing() {
    if !is_root() {
        return xeno_tests::skip("only root can mount a small disk here");
    }
    let Some(machine) = machine() else { return };
    let Some(scene) = Scene::new(None) else { return };
    let place = Place { scene, standin: archive(&machine) };
    let tree = place.scene.path("tree");
    for n in 0..2000 {
        let at = tree.join(format!("share/many/{}", n % 10));
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join(n.to_string()), "").unwrap();
    }
    let store = place.scene.store();
    fs::create_dir(&store).unwrap();
    let script = r#"mount -t tmpfs -o nr_inodes=600 none "$XENO_STORE" && { "$0" "$@"; status=$?; find "$XENO_STORE/cache" -mindepth 2; exit $status; }"#;
    let wanted = place.xeno(&["env", "build", "-p", &format!("dir:{}", tree.display())]);
    let mut command = Command::new("unshare");
    command.envs(wanted.get_envs().filter_map(|(k, v)| Some((k, v?)))).args(["-m", "sh", "-c", script]);
    let line = refuses(command.arg(wanted.get_program()).args(wanted.get_args()), 125);
    assert!(line.contains("No space left on device") && line.contains("XENO_STORE to another disk"), "{line}");
}
