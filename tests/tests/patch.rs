//! `xeno patch` as a person uses it: single files, whole trees, undone, frozen, into the cache. The trees are
//! built here, with a program, its libraries and a plugin, for a loader that is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Scene, exits, refuses, succeeds};

/// Prints what its library and its plugin, the first argument, answer.
const APP: &str = r#"
#include <stdio.h>
#include <dlfcn.h>
int outer(void);
int main(int argc, char **argv) {
    int (*plug)(void) = 0;
    void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
    if (handle) plug = (int (*)(void))dlsym(handle, "plug");
    printf("outer %d plug %d\n", outer(), plug ? plug() : -1);
    return 0;
}"#;

struct Bench {
    scene: Scene,
}

impl Bench {
    fn new() -> Option<Bench> {
        Some(Bench { scene: Scene::new(None)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.scene.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn cc(&self, output: &str, source: &str, flags: &[&str], with: &[&str]) -> PathBuf {
        let (out, c) = (self.path(output), self.path("source.c"));
        fs::write(&c, source).unwrap();
        let with = with.iter().map(|name| self.scene.path(name));
        let done = Command::new("cc")
            .args(flags)
            .args(["-Wl,--allow-shlib-undefined", "-Wl,--unresolved-symbols=ignore-in-shared-libs", "-o"])
            .arg(&out)
            .arg(&c)
            .args(with)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    }

    fn library(&self, output: &str, soname: &str, source: &str, with: &[&str]) -> PathBuf {
        self.cc(output, source, &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")], with)
    }

    /// `app/bin/app` for a loader that is not there, `app/lib/…` and `app/plugins/plug.so`: nothing finds anything.
    fn tree(&self) -> PathBuf {
        self.library("app/lib/libinner.so.1.2", "libinner.so.1", "int inner(void){return 7;}", &[]);
        symlink("libinner.so.1.2", self.path("app/lib/libinner.so.1")).unwrap();
        self.library(
            "app/lib/libouter.so.1",
            "libouter.so.1",
            "int inner(void); int outer(void){return inner()+1;}",
            &["app/lib/libinner.so.1"],
        );
        self.library("app/plugins/plug.so", "plug.so", "int inner(void); int plug(void){return inner()+2;}", &["app/lib/libinner.so.1"]);
        self.cc("app/bin/app", APP, &["-Wl,--dynamic-linker=/nowhere/ld.so"], &["app/lib/libouter.so.1"]);
        fs::write(self.path("app/README"), "text").unwrap();
        self.scene.path("app")
    }

    fn patch(&self, args: &[&str]) -> Command {
        let mut command = self.scene.say(&["patch"]);
        command.args(args).arg("--offline");
        command
    }

    /// What the program of the tree says with its plugin.
    fn says(&self) -> String {
        succeeds(self.scene.command(self.scene.path("app/bin/app")).arg(self.scene.path("app/plugins/plug.so")))
    }
}

/// Every file and link below a directory with its content.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(contents(&path));
        } else if kind.is_symlink() {
            found.insert(path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if kind.is_file() {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn needs(path: &Path) -> resolver::needs::Needs {
    resolver::elf::load(path).unwrap()
}

/// What is said on standard output by a command that ends with a status and a message.
fn exits_saying(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(command: &mut Command, status: i32) -> Value {
    serde_json::from_str(&exits(command, status)).unwrap()
}

#[test]
fn a_tree_that_found_nothing_finds_everything_and_can_be_undone() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    let before = contents(&tree);
    let shown = succeeds(&mut bench.patch(&["--auto", "--dry-run", text(&tree)]));
    assert_eq!(contents(&tree), before, "--dry-run changes nothing");
    let lines = [
        "bin/app",
        "  RUNPATH       (none) -> $ORIGIN/../lib",
        "lib/libouter.so.1",
        "  RUNPATH       (none) -> $ORIGIN",
        "plugins/plug.so",
        "  RUNPATH       (none) -> $ORIGIN/../lib",
    ];
    let paths: Vec<&str> = shown.lines().filter(|l| !l.starts_with(' ') && !l.contains(':') || l.contains("RUNPATH")).collect();
    assert_eq!(paths, lines, "{shown}");
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    assert_eq!(bench.says(), "outer 8 plug 9\n");
    let after = contents(&tree);
    let changed: Vec<&Path> = before.iter().filter(|(p, old)| after[*p] != **old).map(|(p, _)| p.strip_prefix(&tree).unwrap()).collect();
    assert_eq!(changed, ["bin/app", "lib/libouter.so.1", "plugins/plug.so"].map(Path::new));
    // What works is left alone.
    let again = succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    assert!(again.ends_with(&format!("{}: nothing to change\n", tree.display())), "{again}");
    assert_eq!(contents(&tree), after);
    succeeds(&mut bench.patch(&["--undo", text(&tree)]));
    assert_eq!(contents(&tree), before);
}

#[test]
fn a_missing_library_stops_the_patch_of_a_tree_unless_it_does_not_matter() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    bench.library("gone/libgone.so.3", "libgone.so.3", "int gone(void){return 1;}", &[]);
    bench.library("app/plugins/extra.so", "extra.so", "int gone(void); int extra(void){return gone();}", &["gone/libgone.so.3"]);
    let before = contents(&tree);
    let output = bench.patch(&["--auto", text(&tree)]).output().unwrap();
    let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said}{told}");
    let line = "  problem       libgone.so.3 is missing: neither the tree nor this machine has it";
    assert!(said.lines().any(|l| l == line), "{said}");
    let told: Vec<&str> = told.lines().filter(|line| !line.contains("fetching")).collect();
    assert_eq!(
        told,
        ["xeno: patch --auto: 1 problem above, so nothing was changed; bring what is missing, or pass --ignore-missing to patch the rest"]
    );
    assert_eq!(contents(&tree), before);
    succeeds(&mut bench.patch(&["--auto", "--ignore-missing", text(&tree)]));
    assert_eq!(bench.says(), "outer 8 plug 9\n");
    assert_eq!(fs::read(tree.join("plugins/extra.so")).unwrap(), before[&tree.join("plugins/extra.so")]);
}

/// A library that defines a function named after it (`libtwo.so.1`: `two`) with one version.
fn versioned(bench: &Bench, output: &str, version: &str, answer: u32) {
    let (map, soname) = (bench.path("map"), Path::new(output).file_name().unwrap().to_str().unwrap().to_owned());
    let name = soname.strip_prefix("lib").unwrap().strip_suffix(".so.1").unwrap();
    fs::write(&map, format!("{version} {{ global: {name}; local: *; }};")).unwrap();
    let source = format!("int {name}(void){{return {answer};}}");
    let script = format!("-Wl,--version-script={}", map.display());
    bench.cc(output, &source, &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}"), &script], &[]);
}

#[test]
fn two_directories_that_must_each_come_first_are_a_problem() {
    let Some(bench) = Bench::new() else { return };
    for (directory, one, two) in [("build", "ONE_2", "TWO_2"), ("app/a", "ONE_2", "TWO_1"), ("app/b", "ONE_1", "TWO_2")] {
        versioned(&bench, &format!("{directory}/libone.so.1"), one, 1);
        versioned(&bench, &format!("{directory}/libtwo.so.1"), two, 2);
    }
    let source = "int one(void); int two(void); int main(void){return one() + two();}";
    bench.cc("app/app", source, &[], &["build/libone.so.1", "build/libtwo.so.1"]);
    let report = json(&mut bench.patch(&["--auto", "--dry-run", "--json", "--ignore-missing", text(&bench.path("app"))]), 0);
    let files = report["trees"][0]["plan"]["files"].as_array().unwrap();
    let problems: Vec<&Value> = files.iter().flat_map(|file| file["problems"].as_array().unwrap()).collect();
    let [problem] = problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem["kind"], "order", "{problem}");
    assert_eq!(problem["wanted"], text(&bench.path("app/b/libtwo.so.1")));
    assert_eq!(problem["first"], text(&bench.path("app/a")));
}

#[test]
fn a_directory_that_no_run_path_can_name_is_a_problem() {
    let Some(bench) = Bench::new() else { return };
    bench.library("app/a:b/libinner.so.1", "libinner.so.1", "int inner(void){return 7;}", &[]);
    bench.cc("app/app", "int inner(void); int main(void){return inner();}", &[], &["app/a:b/libinner.so.1"]);
    let said = exits_saying(&mut bench.patch(&["--auto", text(&bench.path("app"))]), 1);
    let line = format!("  problem       {} cannot be named in a run path: it holds ':' or '$'", bench.path("app/a:b").display());
    assert!(said.lines().any(|l| l == line), "{said}");
}

#[test]
fn a_library_without_the_needed_version_is_not_taken() {
    let Some(bench) = Bench::new() else { return };
    versioned(&bench, "build/libtwo.so.1", "TWO_2.0", 2);
    versioned(&bench, "app/old/libtwo.so.1", "TWO_1.0", 1);
    let source = "#include <stdio.h>\nint two(void); int main(void){printf(\"%d\\n\", two()); return 0;}";
    // The directory of the old one is on the run path, and nearer.
    let app = bench.cc("app/old/app", source, &["-Wl,-rpath,$ORIGIN"], &["build/libtwo.so.1"]);
    let report = json(&mut bench.patch(&["--auto", "--dry-run", "--json", "--ignore-missing", text(&bench.path("app"))]), 0);
    let problem = &report["trees"][0]["plan"]["files"][0]["problems"][0];
    assert_eq!(problem["kind"], "version", "{report}");
    assert_eq!((&problem["name"], &problem["version"], &problem["newest"]), (&"libtwo.so.1".into(), &"TWO_2.0".into(), &"TWO_1.0".into()));
    assert_eq!(problem["found"], text(&bench.path("app/old/libtwo.so.1")));
    // As soon as the tree has the right one too, it is taken, and its directory comes first.
    fs::create_dir(bench.scene.path("app/new")).unwrap();
    fs::copy(bench.path("build/libtwo.so.1"), bench.path("app/new/libtwo.so.1")).unwrap();
    succeeds(&mut bench.patch(&["--auto", text(&bench.path("app"))]));
    assert_eq!(needs(&app).runpath.as_deref(), Some("$ORIGIN/../new:$ORIGIN"));
    assert_eq!(succeeds(&mut bench.scene.command(&app)), "2\n");
}

#[test]
fn entries_of_a_run_path_stay_if_they_hold_a_need_or_libraries_of_the_tree() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    bench.library("gone/libgone.so.3", "libgone.so.3", "int gone(void){return 1;}", &[]);
    let app = tree.join("bin/app");
    let path = "/no/such/directory:$ORIGIN/../plugins:.:/usr/share";
    succeeds(&mut bench.patch(&["--rpath", path, "--no-undo", text(&app)]));
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    assert_eq!(needs(&app).runpath.as_deref(), Some("$ORIGIN/../plugins:$ORIGIN/../lib"));
    // What is missing may be brought to any of them.
    succeeds(&mut bench.patch(&["--undo", text(&tree)]));
    succeeds(&mut bench.patch(&["--rpath", path, "--add-needed", "libgone.so.3", "--no-undo", text(&app)]));
    succeeds(&mut bench.patch(&["--auto", "--ignore-missing", text(&tree)]));
    assert_eq!(needs(&app).runpath.as_deref(), Some("/no/such/directory:$ORIGIN/../plugins:/usr/share:$ORIGIN/../lib"));
}

#[test]
fn a_library_that_lies_under_another_name_is_asked_for_by_that() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    fs::remove_file(tree.join("lib/libinner.so.1")).unwrap();
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    assert_eq!(needs(&tree.join("lib/libouter.so.1")).needed, ["libinner.so.1.2"]);
    assert_eq!(bench.says(), "outer 8 plug 9\n");
}

#[test]
fn names_of_one_file_stay_one_file_and_names_outside_keep_theirs() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    fs::hard_link(tree.join("lib/libouter.so.1"), tree.join("lib/copy.so")).unwrap();
    fs::hard_link(tree.join("plugins/plug.so"), bench.path("elsewhere.so")).unwrap();
    let outside = fs::read(bench.path("elsewhere.so")).unwrap();
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    let ino = |name: &str| fs::metadata(tree.join(name)).unwrap().ino();
    assert_eq!(needs(&tree.join("lib/copy.so")).runpath.as_deref(), Some("$ORIGIN"));
    assert_eq!(needs(&tree.join("lib/libouter.so.1")).runpath.as_deref(), Some("$ORIGIN"));
    assert_eq!(ino("lib/copy.so"), ino("lib/libouter.so.1"));
    assert_eq!(fs::read(bench.path("elsewhere.so")).unwrap(), outside);
    assert_eq!(bench.says(), "outer 8 plug 9\n");
}

#[test]
fn what_lies_around_in_a_tree_stops_nothing() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    symlink("..", tree.join("lib/up")).unwrap();
    symlink("/", tree.join("root")).unwrap();
    symlink("self", tree.join("self")).unwrap();
    nix::unistd::mkfifo(&tree.join("fifo.so"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    fs::write(tree.join("lib/corrupt.so"), &fs::read(tree.join("bin/app")).unwrap()[..100]).unwrap();
    let said = succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    assert!(said.contains("passed over lib/corrupt.so: corrupt ELF file"), "{said}");
    assert_eq!(bench.says(), "outer 8 plug 9\n");
}

#[test]
fn a_directory_that_everybody_shares_is_no_tree() {
    let Some(bench) = Bench::new() else { return };
    let line = refuses(&mut bench.patch(&["--auto", "/usr"]), 1);
    assert_eq!(line, "xeno: patching the tree \"/usr\": other programs share this directory; name the directory of the one program");
}

/// A program of this machine's own that prints its arguments.
fn echo(bench: &Bench, name: &str) -> PathBuf {
    let source = "#include <stdio.h>\nint main(int c, char **v){for (int i = 1; i < c; i++) puts(v[i]); return c;}";
    bench.cc(name, source, &[], &[])
}

#[test]
fn a_frozen_program_needs_no_search_path() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    let (app, libraries) = (tree.join("bin/app"), tree.join("lib"));
    let mut freeze = bench.patch(&["--freeze", text(&app)]);
    succeeds(freeze.env("LD_LIBRARY_PATH", &libraries));
    let needed = needs(&app).needed;
    let own: Vec<&String> = needed.iter().filter(|n| n.contains("app/lib")).collect();
    assert_eq!(own, [text(&libraries.join("libouter.so.1")), text(&libraries.join("libinner.so.1"))]);
    assert!(needed.iter().all(|name| name.starts_with('/') && !name.contains("/ld-")), "{needed:?}");
    // Nothing leads there but the names themselves.
    assert_eq!((needs(&app).runpath, needs(&app).rpath), (None, None));
    assert_eq!(bench.says(), "outer 8 plug 9\n");
    succeeds(&mut bench.patch(&["--undo", text(&app)]));
    assert_eq!(needs(&app).needed, ["libouter.so.1", "libc.so.6"]);
}

#[test]
fn a_frozen_program_keeps_nothing_of_its_run_path_to_live_on() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    let app = tree.join("bin/app");
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    succeeds(&mut bench.patch(&["--freeze", "--remove-rpath", text(&app)]));
    succeeds(&mut bench.patch(&["--remove-rpath", text(&tree.join("lib/libouter.so.1"))]));
    assert_eq!((needs(&app).runpath, needs(&app).rpath), (None, None));
    assert_eq!(succeeds(&mut bench.scene.command(&app)), "outer 8 plug -1\n");
}

#[test]
fn a_library_that_is_asked_for_by_another_name_than_its_soname_cannot_be_frozen() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    fs::rename(tree.join("lib/libinner.so.1.2"), tree.join("lib/libother.so.2")).unwrap();
    fs::remove_file(tree.join("lib/libinner.so.1")).unwrap();
    succeeds(&mut bench.patch(&["--replace-needed", "libinner.so.1=libother.so.2", text(&tree.join("lib/libouter.so.1"))]));
    let app = tree.join("bin/app");
    let before = fs::read(&app).unwrap();
    let line = refuses(bench.patch(&["--freeze", text(&app)]).env("LD_LIBRARY_PATH", tree.join("lib")), 1);
    assert!(
        line.contains("libouter.so.1 asks for libother.so.2") && line.contains("give that file the soname libother.so.2 first"),
        "{line}"
    );
    assert_eq!(fs::read(&app).unwrap(), before);
}

#[test]
fn a_copy_in_the_cache_leaves_the_original_and_is_named_by_its_content() {
    let Some(bench) = Bench::new() else { return };
    let program = echo(&bench, "echo");
    let before = fs::read(&program).unwrap();
    let edit = ["--to-cache", "--rpath", "$ORIGIN/nowhere", text(&program)];
    let path = succeeds(&mut bench.patch(&edit));
    let copy = Path::new(path.trim_end());
    assert!(copy.starts_with(bench.scene.store().join("cache/patched")), "{path}");
    assert_eq!(fs::read(&program).unwrap(), before);
    assert_eq!(needs(copy).runpath.as_deref(), Some("$ORIGIN/nowhere"));
    assert_eq!(exits(bench.scene.command(copy).arg("a"), 2), "a\n");
    let first = fs::metadata(copy).unwrap();
    assert_eq!(succeeds(&mut bench.patch(&edit)), path);
    assert_eq!(fs::metadata(copy).unwrap().ino(), first.ino());
    let other = succeeds(&mut bench.patch(&["--to-cache", "--rpath", "/other", text(&program)]));
    assert_ne!(other, path);
}

#[test]
fn several_files_are_patched_together_or_not_at_all() {
    let Some(bench) = Bench::new() else { return };
    let (one, two, bad) = (echo(&bench, "one"), echo(&bench, "two"), bench.path("bad"));
    fs::write(&bad, "no program").unwrap();
    let before = fs::read(&one).unwrap();
    let line = refuses(&mut bench.patch(&["--rpath", "/lib", text(&one), text(&two), text(&bad)]), 1);
    assert_eq!(line, format!("xeno: {}: reading the ELF file: it is not an ELF file; get an intact copy of it", bad.display()));
    assert_eq!(fs::read(&one).unwrap(), before);
    let report = json(&mut bench.patch(&["--rpath", "/lib", "--json", "--verify=full", text(&one), text(&two)]), 0);
    let how: Vec<&Value> = report["files"].as_array().unwrap().iter().map(|file| &file["done"]["how"]).collect();
    assert_eq!(how, ["replaced", "replaced"]);
    assert_eq!(needs(&two).runpath.as_deref(), Some("/lib"));
}

#[test]
fn a_dry_run_says_where_every_byte_goes_and_changes_none() {
    let Some(bench) = Bench::new() else { return };
    let program = echo(&bench, "echo");
    let before = fs::read(&program).unwrap();
    let said = succeeds(&mut bench.patch(&["--dry-run", "--rpath", "/opt/somewhere/lib", text(&program)]));
    for part in ["segments now:", "segments then:", "placed ", "/opt/somewhere/lib"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let report = json(&mut bench.patch(&["--dry-run", "--json", "--rpath", "/opt/somewhere/lib", text(&program)]), 0);
    let file = &report["files"][0];
    assert_eq!(file["done"], Value::Null);
    assert_eq!(file["plan"]["old_len"], before.len());
    let wanted = b"/opt/somewhere/lib".iter().map(|b| format!("{b:02x}")).collect::<String>();
    let writes = file["plan"]["writes"].as_array().unwrap();
    assert!(writes.iter().any(|w| w["new"].as_str().is_some_and(|new| new.contains(&wanted))), "{report}");
    assert_eq!(fs::read(&program).unwrap(), before);
}

#[test]
fn a_result_that_behaves_otherwise_is_not_written() {
    let Some(bench) = Bench::new() else { return };
    let program = echo(&bench, "echo");
    let before = fs::read(&program).unwrap();
    let line = refuses(&mut bench.patch(&["--run-check=a b", "--add-needed", "libxeno-no-such.so.7", text(&program)]), 1);
    assert!(line.contains("the original ended with exit status 3") && line.contains("nothing was changed"), "{line}");
    assert_eq!(fs::read(&program).unwrap(), before);
    let said = succeeds(&mut bench.patch(&["--run-check=a b", "--rpath", "/lib", text(&program)]));
    assert!(said.contains("run check: both ended with exit status 3, 4 bytes of output"), "{said}");
    assert_eq!(bench.scene.leftovers(), [""; 0]);
}

#[test]
fn neighbours_of_a_program_are_there_when_it_is_tried() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    let said = succeeds(&mut bench.patch(&["--run-check", "--soname", "x", "--add-rpath", "/opt", text(&tree.join("bin/app"))]));
    assert!(said.contains("run check: both ended with exit status 0, 16 bytes of output"), "{said}");
}

#[test]
fn a_program_that_lacks_only_its_loader_gets_only_that() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    // DT_RPATH is inherited: no library needs a run path of its own.
    let app = tree.join("bin/app");
    succeeds(&mut bench.patch(&["--force-rpath", "--rpath", "$ORIGIN/../lib", text(&app)]));
    fs::remove_dir_all(tree.join("plugins")).unwrap();
    let before = contents(&tree);
    succeeds(&mut bench.patch(&["--auto", text(&tree)]));
    let after = contents(&tree);
    let changed: Vec<&PathBuf> = before.keys().filter(|path| after[*path] != before[*path]).collect();
    assert_eq!(changed, [&app]);
    assert_eq!(needs(&app).rpath.as_deref(), Some("$ORIGIN/../lib"));
    assert_eq!(succeeds(&mut bench.scene.command(&app)), "outer 8 plug -1\n");
}

#[test]
fn who_uses_a_file_is_named() {
    let Some(bench) = Bench::new() else { return };
    let sleeper = bench.cc("sleeper", "#include <unistd.h>\nint main(void){pause(); return 0;}", &[], &[]);
    let mut child = bench.scene.command(&sleeper).stdout(Stdio::null()).spawn().unwrap();
    let output = bench.patch(&["--rpath", "/lib", text(&sleeper)]).output().unwrap();
    let in_place = bench.patch(&["--in-place", "--add-rpath", "/usr/lib", text(&sleeper)]).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = format!("xeno: warning: {}: process {} (sleeper) runs it", sleeper.display(), child.id());
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with(&line));
    // The file is another one now, which nobody runs: in place, it is changed or refused with the reason.
    let told = String::from_utf8(in_place.stderr).unwrap();
    assert!(in_place.status.success() || told.contains("in place: "), "{told}");
}

#[test]
fn who_uses_a_file_of_a_tree_is_named() {
    let Some(bench) = Bench::new() else { return };
    let tree = bench.tree();
    let source = "#include <unistd.h>\nint outer(void); int main(void){pause(); return outer();}";
    let user = bench.cc("user", source, &[], &["app/lib/libouter.so.1"]);
    let library = tree.join("lib/libouter.so.1");
    let mut child = bench.scene.command(&user).env("LD_LIBRARY_PATH", tree.join("lib")).spawn().unwrap();
    let maps = format!("/proc/{}/maps", child.id());
    while !fs::read_to_string(&maps).is_ok_and(|maps| maps.contains("libinner")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let report = json(&mut bench.patch(&["--auto", "--json", text(&tree)]), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let users = report["trees"][0]["users"].as_array().unwrap();
    let [user] = &users[..] else { panic!("{users:?}") };
    assert_eq!((&user["path"], &user["pid"], &user["how"]), (&text(&library).into(), &child.id().into(), &"maps".into()));
}

#[test]
fn a_file_is_verified_alone() {
    let Some(bench) = Bench::new() else { return };
    let program = echo(&bench, "echo");
    let path = program.display();
    let said = succeeds(&mut bench.patch(&["--verify", text(&program)]));
    assert_eq!(said, format!("{path}: sound; the file has no record of an edit, or was changed since\n"));
    succeeds(&mut bench.patch(&["--rpath", "/lib", text(&program)]));
    let said = succeeds(&mut bench.patch(&["--verify=full", text(&program)]));
    assert_eq!(said, format!("{path}: sound, patched; can be undone: yes, every byte was compared\n"));
    let bad = bench.path("bad");
    fs::write(&bad, &fs::read(&program).unwrap()[..200]).unwrap();
    let report = json(&mut bench.patch(&["--verify", "--json", text(&program), text(&bad)]), 1);
    assert_eq!((&report["files"][0]["sound"], &report["files"][1]["sound"]), (&true.into(), &false.into()));
}

#[test]
fn wrong_words_are_status_2_and_a_failure_is_status_1() {
    let Some(bench) = Bench::new() else { return };
    for words in [
        &["x"][..],
        &["--no-such-option", "x"],
        &["--rpath"],
        &["--auto", "--rpath", "/lib", "x"],
        &["--undo", "--freeze", "x"],
        &["--output", "y", "--rpath", "/lib", "a", "b"],
        &["--replace-needed", "no-equals-sign", "x"],
        &["--exec-stack", "maybe", "x"],
    ] {
        let output = bench.patch(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    refuses(&mut bench.patch(&["--rpath", "/lib", text(&bench.path("nothing"))]), 1);
    let help = succeeds(&mut bench.scene.say(&["patch", "--help"]));
    for part in ["Examples:", "Exit status:", "--json prints one object"] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn every_edit_can_be_made_at_once_and_in_place() {
    let Some(bench) = Bench::new() else { return };
    let library = bench.library("build/libone.so.1", "libone.so.1", "int one(void){return 1;}", &[]);
    bench.cc("program", "int one(void); int main(void){return one();}", &["-no-pie"], &["build/libone.so.1"]);
    let program = bench.path("program");
    fs::hard_link(&program, bench.path("name")).unwrap();
    let edits = ["--interpreter", "/opt/ld.so", "--force-rpath", "--rpath", "/opt/lib", "--add-needed", "libnew.so.1"];
    let more = ["--remove-needed", "libc.so.6", "--replace-needed", "libone.so.1=libtwo.so.1", "--exec-stack", "yes", "--in-place"];
    let said = succeeds(bench.patch(&edits).args(more).arg(&program));
    assert!(said.starts_with(&format!("{}: patched ", program.display())), "{said}");
    let now = needs(&bench.path("name"));
    assert_eq!(now.interpreter.as_deref(), Some("/opt/ld.so"));
    assert_eq!((now.rpath.as_deref(), now.runpath), (Some("/opt/lib"), None));
    assert_eq!(now.needed, ["libnew.so.1", "libtwo.so.1"]);
    assert!(now.executable_stack);
    let copy = bench.path("copy/libten.so.1");
    succeeds(bench.patch(&["--soname", "libten.so.1", "--output", text(&copy)]).arg(&library));
    assert_eq!(needs(&copy).soname.as_deref(), Some("libten.so.1"));
    assert_eq!(needs(&library).soname.as_deref(), Some("libone.so.1"));
}

/// musl knows a library that was loaded by its path again only by the file that a search finds (`ldso/dynlink.c`,
/// `load_library`).
#[test]
fn on_musl_a_frozen_program_still_needs_its_run_path_for_the_needs_of_libraries() {
    let Some(bench) = Bench::new() else { return };
    let Some(gcc) = xeno_tests::peer("musl-gcc") else { return };
    let cc = |output: &str, source: &str, flags: &[&str], with: &[&str]| {
        let (out, c) = (bench.path(output), bench.path("source.c"));
        fs::write(&c, source).unwrap();
        let with = with.iter().map(|name| bench.path(name));
        let done = Command::new(&gcc).args(flags).arg("-Wl,--allow-shlib-undefined").arg("-o").arg(&out).arg(&c).args(with).status();
        assert!(done.unwrap().success());
        out
    };
    let shared = |soname: &str| format!("-Wl,-soname,{soname}");
    cc("app/lib/libinner.so.1", "int inner(void){return 7;}", &["-shared", "-fPIC", &shared("libinner.so.1")], &[]);
    let outer = "int inner(void); int outer(void){return inner()+1;}";
    cc("app/lib/libouter.so.1", outer, &["-shared", "-fPIC", &shared("libouter.so.1")], &["app/lib/libinner.so.1"]);
    let source = "#include <stdio.h>\nint outer(void); int main(void){printf(\"%d\\n\", outer()); return 0;}";
    let app = cc("app/bin/app", source, &[], &["app/lib/libouter.so.1"]);
    succeeds(&mut bench.patch(&["--auto", text(&bench.path("app"))]));
    assert_eq!(succeeds(&mut bench.scene.command(&app)), "8\n");
    let said = succeeds(&mut bench.patch(&["--freeze", text(&app)]));
    assert!(said.contains("note: musl knows a library that is loaded by its path again only when a search finds the same file"), "{said}");
    assert!(needs(&app).needed.contains(&"libc.so".to_owned()), "the loader itself is never named by its path");
    assert_eq!(succeeds(&mut bench.scene.command(&app)), "8\n");
    let library = bench.path("app/lib/libouter.so.1");
    succeeds(&mut bench.patch(&["--remove-rpath", text(&app), text(&library)]));
    assert_eq!(bench.scene.command(&app).output().unwrap().status.code(), Some(127));
}

#[test]
fn an_interrupted_patch_changes_nothing_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let source = "#include <stdio.h>\n#include <unistd.h>\nint main(int c, char **v){fclose(fopen(v[1], \"w\")); pause(); return 0;}";
    let program = bench.cc("waits", source, &[], &[]);
    let (before, marker) = (fs::read(&program).unwrap(), bench.path("started"));
    let check = format!("--run-check={}", marker.display());
    let mut command = bench.patch(&[&check, "--rpath", "/lib", text(&program)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !marker.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "xeno: patching: it was interrupted; no file was changed, run it again\n");
    assert_eq!(fs::read(&program).unwrap(), before);
    assert_eq!(bench.scene.leftovers(), [""; 0]);
}
