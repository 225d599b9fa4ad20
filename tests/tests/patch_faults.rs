//! A commit is killed, or told that the disk is full or broken, at each of its system calls that change
//! something; afterwards every file is the old one or the new one. strace(1) injects the faults, and the
//! list of calls is what an undisturbed run makes: a new call is tried without being added here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xeno_tests::skip;

/// What can change a file, or make that it was changed.
const CALLS: &str = "openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,copy_file_range,ioctl,\
                     fchmod,fchown,fsetxattr,fremovexattr,utimensat,syncfs,unlinkat,flock";

/// The range of the test's plan that is dead space in the original, and the one that nobody reads afterwards.
const DEAD: std::ops::Range<usize> = 100..110;
const AFTER: std::ops::Range<usize> = 5000..5004;

const LEN: usize = 20_000;

/// An attribute of the user's, and a capability (of capability.h's revision 2), which each write clears.
const ATTRIBUTES: [(&str, &[u8]); 2] =
    [("user.note", b"kept"), ("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])];

fn attributes(path: &Path) -> Vec<Option<Vec<u8>>> {
    let one = |name| {
        let mut value = [0; 100];
        rustix::fs::getxattr(path, name, &mut value).ok().map(|len| value[..len].to_vec())
    };
    ATTRIBUTES.iter().map(|(name, _)| one(*name)).collect()
}

fn original() -> Vec<u8> {
    (0..LEN).map(|i| (i % 251) as u8).collect()
}

/// What the helper's plan makes of it.
fn planned() -> Vec<u8> {
    let mut new = original();
    new[64..69].copy_from_slice(b"table");
    new[DEAD].copy_from_slice(b"dead space");
    new[120..125].copy_from_slice(b"entry");
    new[AFTER].copy_from_slice(b"XXXX");
    new.resize(LEN + 7000, 0);
    new[LEN + 10..LEN + 6010].fill(b'n');
    new
}

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Byte for byte what it was.
    Old,
    /// To a loader what it was: dead space differs, or something follows the end.
    OldToALoader,
    /// Byte for byte what was planned.
    New,
    /// To a loader what was planned: an old string is still there.
    NewToALoader,
}

fn state(path: &Path) -> State {
    let found = fs::read(path).unwrap();
    let with = |bytes: &[u8], range: std::ops::Range<usize>| {
        let mut bytes = bytes.to_vec();
        bytes[range].fill(0);
        bytes
    };
    match found {
        _ if found == original() => State::Old,
        _ if found == planned() => State::New,
        _ if found.len() >= LEN && with(&found[..LEN], DEAD) == with(&original(), DEAD) => State::OldToALoader,
        _ if found.len() == LEN + 7000 && with(&found, AFTER) == with(&planned(), AFTER) => State::NewToALoader,
        _ => panic!("{}: neither the old file nor the new one ({} bytes)", path.display(), found.len()),
    }
}

/// Files in a directory of their own, and a command line that commits to them.
struct Case {
    way: &'static str,
    speed: &'static str,
    /// Faults that are there all the time: `copy_file_range:error=EXDEV`.
    always: &'static [&'static str],
}

struct Place {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    attributes: Vec<Option<Vec<u8>>>,
}

impl Case {
    fn place(&self) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let names: &[&str] = match self.way {
            "batch" => &["f0", "f1", "f2"],
            "output" => &["from", "to"],
            _ => &["f"],
        };
        let files: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
        for file in &files {
            fs::write(file, original()).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o4755)).unwrap();
            // Where the user or the file system cannot have them, there is less to go wrong.
            for (name, value) in ATTRIBUTES {
                let _ = rustix::fs::setxattr(file, name, value, rustix::fs::XattrFlags::empty());
            }
        }
        let attributes = attributes(&files[0]);
        Place { dir, files, attributes }
    }

    /// Runs the helper under strace; its log if asked for.
    fn run(&self, place: &Place, log: Option<&Path>, faults: &[String]) -> std::process::Output {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(log.unwrap_or(Path::new("/dev/null"))).arg("-e").arg(format!("trace={CALLS}"));
        for fault in faults.iter().map(String::as_str).chain(self.always.iter().copied()) {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg(helper()).args([self.way, self.speed]).args(&place.files).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// The calls of an undisturbed run that change something: name, and the how-manieth of that name.
    fn calls(&self) -> Vec<(String, usize)> {
        let place = self.place();
        let log = tempfile::NamedTempFile::new().unwrap();
        let output = self.run(&place, Some(log.path()), &[]);
        assert!(output.status.success(), "{}: {}", self.way, String::from_utf8_lossy(&output.stdout));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in fs::read_to_string(log.path()).unwrap().lines() {
            // `PID name(arguments) = result`
            let Some((name, arguments)) = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('(')) else { continue };
            let count = counts.entry(name.to_owned()).or_default();
            *count += 1;
            // Opening to read changes nothing, with the exception of what is opened to be flushed.
            let reads = name == "openat" && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_DIRECTORY"].iter().any(|flag| arguments.contains(flag));
            let other = name == "openat" && arguments.contains("\"/proc\"");
            if !reads && !other {
                calls.push((name.to_owned(), *count));
            }
        }
        calls
    }

    /// Fails or kills the commit at each of its calls.
    fn torment(&self) {
        let calls = self.calls();
        eprintln!("{} {} {:?}: {calls:?}", self.way, self.speed, self.always);
        let mut seen = BTreeMap::<String, usize>::new();
        for (name, count) in &calls {
            for fault in ["signal=SIGKILL", "error=ENOSPC", "error=EIO"] {
                let place = self.place();
                let output = self.run(&place, None, &[format!("{name}:{fault}:when={count}")]);
                let what = format!("{} {} {name} {count} {fault}: {}", self.way, self.speed, String::from_utf8_lossy(&output.stdout));
                self.check(&place, fault, output.status.code(), &what);
                *seen.entry(format!("{:?}", output.status.code())).or_default() += 1;
            }
        }
        eprintln!("{} {}: exit codes {seen:?}", self.way, self.speed);
    }

    fn check(&self, place: &Place, fault: &str, code: Option<i32>, what: &str) {
        let changed = if self.way == "output" { &place.files[1..] } else { &place.files[..] };
        if self.way == "output" {
            assert_eq!(state(&place.files[0]), State::Old, "{what}");
        }
        let states: Vec<State> = changed.iter().map(|path| state(path)).collect();
        let all = |allowed: &[State]| assert!(states.iter().all(|state| allowed.contains(state)), "{what}: {states:?}");
        match code {
            Some(0) if self.way == "in-place" => all(&[State::New, State::NewToALoader]),
            Some(0) => all(&[State::New]),
            // An error that says that nothing was changed.
            Some(1) if self.way == "in-place" && what.contains("and undoing it") => all(&[State::Old, State::OldToALoader]),
            Some(1) => all(&[State::Old]),
            // An error that says that something was.
            Some(2) if self.way == "batch" => all(&[State::Old, State::New]),
            Some(2) => all(&[State::New, State::NewToALoader]),
            _ if fault.starts_with("signal") && self.way == "in-place" => {
                all(&[State::Old, State::OldToALoader, State::New, State::NewToALoader]);
            }
            _ if fault.starts_with("signal") => all(&[State::Old, State::New]),
            code => panic!("{what}: ended with {code:?}"),
        }
        if code.is_some() {
            for path in changed {
                let mode = fs::metadata(path).unwrap().mode() & 0o7777;
                let copy = self.way == "output" && state(path) == State::New;
                assert_eq!(mode, if copy { 0o755 } else { 0o4755 }, "{what}");
                if !copy {
                    assert_eq!(attributes(path), place.attributes, "{what}");
                }
            }
        }
        // What a killed process or a failing unlink leaves can be found by its name, and is the old file or the new one.
        for entry in fs::read_dir(place.dir.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = place.files.iter().any(|file| file.file_name().unwrap() == name.as_str());
            let leftover = name.starts_with('.') && name.contains(".xeno-") && (code.is_none() || what.contains(" unlinkat "));
            assert!(known || leftover, "{what}: left {name}");
        }
    }
}

fn helper() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("../examples/commit_with")
}

fn torment(way: &'static str) {
    // A trace of nothing: whether this system lets one process trace another at all.
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("needs strace, and the right to trace; apt-get install strace");
    }
    Case { way, speed: "durable", always: &[] }.torment();
    Case { way, speed: "fast", always: &[] }.torment();
    // Between file systems, where the bytes go through memory, and without room to be taken beforehand.
    Case { way, speed: "durable", always: &["copy_file_range:error=EXDEV", "fallocate:error=EOPNOTSUPP"] }.torment();
}

#[test]
fn a_replace_that_is_killed_or_fails_anywhere_leaves_the_old_file_or_the_new_one() {
    torment("replace");
}

#[test]
fn a_change_in_place_that_is_killed_or_fails_anywhere_leaves_the_old_file_or_the_new_one() {
    torment("in-place");
}

#[test]
fn an_output_that_is_killed_or_fails_anywhere_leaves_what_was_there_or_the_new_file() {
    torment("output");
}

#[test]
fn a_batch_that_is_killed_or_fails_anywhere_leaves_each_file_old_or_new() {
    torment("batch");
}

/// A file system of one MiB, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_every_byte_and_nothing_else() {
    let Some(small) = Small::mount() else { return skip("mounting a small tmpfs needs root") };
    let dir = small.0.path();
    let other = tempfile::tempdir().unwrap();
    // Nearly all of the room, and then all: in place there is none even for one page more.
    for (size, ways) in [(700 << 10, &["replace", "batch", "output"][..]), (1 << 20, &["replace", "batch", "output", "in-place"])] {
        let file = dir.join("f");
        let content: Vec<u8> = (0..size).map(|i: usize| (i / 4096 + i) as u8).collect();
        fs::write(&file, &content).unwrap();
        for way in ways {
            // An output comes from elsewhere onto the full disk.
            let from = other.path().join("from");
            fs::write(&from, &content).unwrap();
            let files: &[&Path] = if *way == "output" { &[&from, &dir.join("to")] } else { &[&file] };
            let output = Command::new(helper()).args([way, "durable"]).args(files).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.starts_with("DiskFull: ") && said.contains("; make room there, then run it again"), "{way}: {said}");
            assert_eq!(output.status.code(), Some(1));
            assert!(fs::read(&file).unwrap() == content, "{way}");
            assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "{way}");
        }
    }
}
