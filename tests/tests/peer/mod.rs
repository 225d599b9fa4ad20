//! Both patchelfs on copies of the same file, and what can be seen of what they did.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The version whose behaviour is compared.
const VERSION: &str = "patchelf 0.19.3";

pub struct Both {
    theirs: PathBuf,
    ours: PathBuf,
    room: TempDir,
    count: std::cell::Cell<usize>,
}

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// What the file says afterwards.
    pub file: String,
}

/// The status of a process that a signal ended.
pub const KILLED: i32 = -1;

/// Fails with the lines that differ.
#[track_caller]
pub fn same(ours: &Outcome, theirs: &Outcome, what: &str) {
    let lines = |one: &Outcome| -> Vec<String> {
        let parts = [
            ("status", one.status.to_string()),
            ("stdout", one.stdout.clone()),
            ("stderr", one.stderr.clone()),
            ("file", one.file.clone()),
        ];
        parts.iter().flat_map(|(name, text)| text.lines().map(move |line| format!("{name}: {line}"))).collect()
    };
    let (own, other) = (lines(ours), lines(theirs));
    let mut difference = String::new();
    for (sign, here, there) in [("ours  ", &own, &other), ("0.19.3", &other, &own)] {
        for line in here.iter().filter(|line| !there.contains(line)) {
            writeln!(difference, "{sign} | {line}").unwrap();
        }
    }
    assert!(
        ours == theirs,
        "{what}\n{}",
        if difference.is_empty() { format!("the order differs:\n{ours:#?}\n{theirs:#?}") } else { difference }
    );
}

/// Both of them; skips where one is missing.
pub fn both() -> Option<Both> {
    let theirs = xeno_tests::peer("patchelf")?;
    let version = Command::new(&theirs).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).trim_end().to_owned();
    if version != VERSION {
        xeno_tests::skip(&format!("{} is {version} and not {VERSION}; put that one first on PATH", theirs.display()));
        return None;
    }
    xeno_tests::peer("readelf")?;
    let room = tempfile::tempdir().unwrap();
    let ours = room.path().join("bin/patchelf");
    fs::create_dir(room.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(fs::canonicalize(xeno_tests::xeno()?).unwrap(), &ours).unwrap();
    Some(Both { theirs, ours, room, count: std::cell::Cell::new(0) })
}

impl Both {
    pub fn theirs(&self) -> Command {
        command(&self.theirs)
    }

    pub fn ours(&self) -> Command {
        command(&self.ours)
    }

    /// A new directory with `peer/app` and `xeno/app`, each with a file `value`.
    pub fn place(&self, fixture: &Fixture) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let place = self.room.path().join(self.count.get().to_string());
        for side in ["peer", "xeno"] {
            let directory = place.join(side);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("app"), &fixture.bytes).unwrap();
            fs::write(directory.join("value"), "/from/a/file\n").unwrap();
        }
        place
    }

    fn sides(&self, place: &Path, mut each: impl FnMut(&Path, &dyn Fn() -> Command) -> Outcome) -> (Outcome, Outcome) {
        let theirs = each(&place.join("peer"), &|| self.theirs());
        let ours = each(&place.join("xeno"), &|| self.ours());
        (theirs, ours)
    }

    /// Both on their own copy: theirs, ours.
    pub fn run(&self, fixture: &Fixture, words: &[&str]) -> (Outcome, Outcome) {
        let place = self.place(fixture);
        let outcomes = self.run_at(&place, &fixture.name, words);
        fs::remove_dir_all(place).unwrap();
        outcomes
    }

    /// Both on the copies that a place has.
    pub fn run_at(&self, place: &Path, name: &str, words: &[&str]) -> (Outcome, Outcome) {
        self.sides(place, |directory, command| {
            let done = command().args(words).arg("app").current_dir(directory).output().unwrap();
            outcome(&done, directory, said(&directory.join("app"), name))
        })
    }

    /// Both with words alone, in an empty directory.
    pub fn run_words(&self, words: &[&str]) -> (Outcome, Outcome) {
        self.run_in_directories(words, |_| {})
    }

    /// Both with words alone in a directory prepared for each; every file that is an ELF file then speaks.
    pub fn run_in_directories(&self, words: &[&str], prepare: impl Fn(&Path)) -> (Outcome, Outcome) {
        self.run_in_directories_to(words, prepare, |_| String::new())
    }

    /// The same, with something more to see.
    pub fn run_in_directories_to(&self, words: &[&str], prepare: impl Fn(&Path), see: impl Fn(&Path) -> String) -> (Outcome, Outcome) {
        self.count.set(self.count.get() + 1);
        let place = self.room.path().join(self.count.get().to_string());
        self.sides(&place, |directory, command| {
            fs::create_dir_all(directory).unwrap();
            prepare(directory);
            let done = command().args(words).current_dir(directory).output().unwrap();
            let mut file = see(directory);
            let mut names: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            for path in names {
                write!(file, "\n== {} ==\n{}", path.file_name().unwrap().display(), said(&path, "")).unwrap();
            }
            outcome(&done, directory, file)
        })
    }

    /// Several command lines on one copy; their outcomes together. The first failure ends it.
    pub fn run_sequence(&self, fixture: &Fixture, steps: impl Fn(&Path, &mut dyn FnMut(&[&str]))) -> (Outcome, Outcome) {
        let place = self.place(fixture);
        let outcomes = self.sides(&place, |directory, command| {
            let mut all = Outcome { status: 0, stdout: String::new(), stderr: String::new(), file: String::new() };
            steps(directory, &mut |words| {
                if all.status == 0 {
                    let done = command().args(words).arg("app").current_dir(directory).output().unwrap();
                    let one = outcome(&done, directory, String::new());
                    all.status = one.status;
                    all.stdout += &one.stdout;
                    all.stderr += &one.stderr;
                }
            });
            all.file = said(&directory.join("app"), &fixture.name).replace(directory.to_str().unwrap(), "DIR");
            all
        });
        fs::remove_dir_all(place).unwrap();
        outcomes
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    std::os::unix::process::CommandExt::arg0(&mut command, "patchelf");
    command.env_remove("PATCHELF_DEBUG");
    command
}

fn outcome(done: &Output, directory: &Path, file: String) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(directory.to_str().unwrap(), "DIR");
    Outcome { status: done.status.code().unwrap_or(KILLED), stdout: text(&done.stdout), stderr: text(&done.stderr), file }
}

/// What readelf says of a file as far as both must agree: no addresses, offsets or sizes.
fn said(path: &Path, name: &str) -> String {
    if !fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")) {
        return fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    }
    let run = |words: &[&str]| {
        let done = Command::new("readelf").args(words).arg(path).env("LC_ALL", "C").output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let mut out = format!("{name}\n");
    out.extend(run(&["-h"]).lines().filter(|line| line.contains("OS/ABI")).map(|line| format!("{line}\n")));
    for line in run(&["-d", "-W"]).lines().filter(|line| line.trim_start().starts_with("0x")) {
        let rest = line.split_once('(').unwrap().1;
        let (tag, value) = rest.split_once(')').unwrap();
        let value = value.trim();
        let named = value.contains('[') || value.contains("Flags:") || tag == "DEBUG" || tag.starts_with("FLAGS");
        writeln!(out, "{tag} {}", if named { value } else { "" }).unwrap();
    }
    out += &run(&["-p", ".interp"]);
    for line in run(&["-l", "-W"]).lines().filter(|line| line.contains("GNU_STACK")) {
        writeln!(out, "GNU_STACK {}", line.split_whitespace().skip(6).collect::<Vec<_>>().join(" ")).unwrap();
    }
    let mut symbols: Vec<String> =
        run(&["--dyn-syms", "-W"]).lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).map(symbol).collect();
    symbols.sort();
    out += &symbols.join("\n");
    let notes = run(&["-n", "-W"]);
    out.extend(
        notes.lines().filter(|line| line.contains("NixOS")).map(|line| format!("\n{}", line.split("description").next().unwrap().trim())),
    );
    out += &run(&["-p", ".note.nixos.ldcache"])
        .lines()
        .filter(|line| line.contains('=') || line.contains('?'))
        .map(|line| format!("\n{}", line.trim_start_matches(|c: char| c != ']')))
        .collect::<String>();
    out
}

/// Binding, whether it is defined, and the name with its version.
fn symbol(line: &str) -> String {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let column = |index: usize| columns.get(index).copied().unwrap_or("");
    let defined = if column(6) == "UND" { "UND" } else { "DEF" };
    // The number of a version is a detail of the table.
    format!("{} {defined} {}", column(4), column(7))
}

/// A file to edit.
#[derive(Clone)]
pub struct Fixture {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Fixture {
    /// The same without section headers.
    pub fn without_sections(&self) -> Fixture {
        let mut bytes = self.bytes.clone();
        let (shoff, counts) = if bytes[4] == 2 { (40..48, 58..64) } else { (32..36, 46..52) };
        bytes[shoff].fill(0);
        bytes[counts].fill(0);
        Fixture { name: format!("{}-bare", self.name), bytes }
    }
}

const PROGRAM: &str = "\
#include <stdio.h>
int main(int argc, char **argv) { puts(\"hello\"); if (argc > 1) { fflush(stdout); getchar(); } return 0; }
";
const LIBRARY: &str = "\
#include <stdio.h>
int exported(void) { return puts(\"exported\"); }
int second(void) { return exported(); }
int hidden_in_plain_sight(void) { return 3; }
";

const RUNPATH: &str = "-Wl,--enable-new-dtags,-rpath,/the/old/run/path";
const RUNPATH_LLD: &str = "-rpath=/the/old/run/path";
const RPATH: &str = "-Wl,--disable-new-dtags,-rpath,/the/old/run/path";

/// Name, compiler, flags; a library if the name says so.
const FIXTURES: &[(&str, &str, &[&str])] = &[
    ("x86_64-program-pie-runpath", "cc", &["-pie", "-fPIE", RUNPATH]),
    ("x86_64-program-pie-rpath", "cc", &["-pie", "-fPIE", RPATH]),
    ("x86_64-program-pie-none", "cc", &["-pie", "-fPIE"]),
    ("x86_64-program-nopie", "cc", &["-no-pie", "-fno-pie", RUNPATH]),
    ("x86_64-program-nopie-none", "cc", &["-no-pie", "-fno-pie", "-Wl,-z,norelro"]),
    ("x86_64-program-execstack", "cc", &["-pie", "-fPIE", "-Wl,-z,execstack"]),
    ("x86_64-program-gold", "cc", &["-fuse-ld=gold", RUNPATH]),
    ("x86_64-program-lld", "cc", &["-fuse-ld=lld", RUNPATH]),
    ("x86_64-library-soname", "cc", &["-shared", "-fPIC", "-Wl,-soname,libfixture.so.1", "-Wl,--version-script=map"]),
    ("x86_64-library-no-soname", "cc", &["-shared", "-fPIC", RPATH]),
    ("x86_64-library-sysv-hash", "cc", &["-shared", "-fPIC", "-Wl,--hash-style=sysv", "-Wl,-soname,libfixture.so.1"]),
    ("x86_64-library-nodeflib", "cc", &["-shared", "-fPIC", "-Wl,-z,nodefaultlib"]),
    ("x86_64-static", "cc", &["-static"]),
    ("x86_64-static-pie", "cc", &["-static-pie"]),
    ("i686-program", "i686-linux-gnu-gcc", &["-pie", "-fPIE", RUNPATH]),
    ("i686-program-nopie", "i686-linux-gnu-gcc", &["-no-pie", "-fno-pie", RPATH]),
    ("i686-library", "i686-linux-gnu-gcc", &["-shared", "-fPIC", "-Wl,-soname,libfixture.so.1"]),
    ("aarch64-program", "aarch64-linux-gnu-gcc", &["-pie", "-fPIE", RUNPATH]),
    ("big-endian-library-ppc", "ld.lld", &["-m", "elf32ppc", RUNPATH_LLD]),
    ("big-endian-library-ppc64", "ld.lld", &["-m", "elf64ppc", RUNPATH_LLD, "-z", "origin"]),
    ("big-endian-library-mips", "ld.lld", &["-m", "elf32btsmip", "-z", "origin"]),
    ("big-endian-library-mips64", "ld.lld", &["-m", "elf64btsmip", RUNPATH_LLD]),
    ("aarch64-library", "aarch64-linux-gnu-gcc", &["-shared", "-fPIC", "-Wl,-soname,libfixture.so.1"]),
];

/// All that can be built here; what cannot is skipped, saying so.
fn all() -> &'static [Fixture] {
    static ALL: OnceLock<Vec<Fixture>> = OnceLock::new();
    ALL.get_or_init(|| {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join("program.c"), PROGRAM).unwrap();
        fs::write(room.path().join("library.c"), LIBRARY).unwrap();
        fs::write(room.path().join("map"), "V1 { global: exported; second; };\n").unwrap();
        FIXTURES.iter().filter_map(|(name, compiler, flags)| built(room.path(), name, compiler, flags)).collect()
    })
}

fn built(room: &Path, name: &str, compiler: &str, flags: &[&str]) -> Option<Fixture> {
    xeno_tests::peer(compiler)?;
    let source = if name.contains("library") { "library.c" } else { "program.c" };
    // A link editor alone makes a library for a machine without a compiler here; the text is its data.
    let first: &[&str] = if compiler == "ld.lld" { &["-shared", "-soname=libfixture.so.1", "-b", "binary"] } else { &["-O1"] };
    let done = Command::new(compiler).args(first).args(["-o", name, source]).args(flags).current_dir(room).output().unwrap();
    if !done.status.success() {
        xeno_tests::skip(&format!("{compiler} {flags:?}: {}", String::from_utf8_lossy(&done.stderr)));
        return None;
    }
    Some(Fixture { name: name.to_owned(), bytes: fs::read(room.join(name)).unwrap() })
}

/// Those of these names that could be built, in this order.
pub fn fixtures(names: &[&str]) -> Vec<Fixture> {
    names.iter().filter_map(|name| all().iter().find(|fixture| fixture.name == *name).cloned()).collect()
}

/// Those whose names begin so.
pub fn fixtures_like(start: &str) -> Vec<Fixture> {
    all().iter().filter(|fixture| fixture.name.starts_with(start)).cloned().collect()
}
