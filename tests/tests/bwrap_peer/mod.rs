//! Command lines of `bwrap`, run by a shell in a directory prepared for each: by the installed bubblewrap and by
//! ours, as everybody who can be had. What is compared is what anybody can see of it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// An ordinary user.
pub const USER: u32 = 4711;

/// What lines may use beside `$B`, the program, and `$D`, the directory: a root that holds the system's programs and
/// nothing else; one line about each path or mount; and what a process is.
const PRELUDE: &str = r#"
R=$(for d in /usr /bin /sbin /lib /lib32 /lib64 /libx32; do
  if [ -L $d ]; then printf ' --symlink %s %s' "$(readlink $d)" $d; elif [ -d $d ]; then printf ' --ro-bind %s %s' $d $d; fi; done)
LC_ALL=C; export LC_ALL R
"#;

/// What was seen of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The shell's: 128 and the signal's number where a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// What is in the directory afterwards.
    pub left: String,
}

/// Whoever runs them, with both programs within reach.
pub struct Room {
    room: TempDir,
    pub user: Option<u32>,
    theirs: Option<PathBuf>,
    ours: PathBuf,
    count: std::cell::Cell<usize>,
}

/// The version of a bubblewrap, as numbers that compare.
fn version(program: &Path) -> (u32, u32) {
    let said = Command::new(program).arg("--version").output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut numbers = said.trim().rsplit(' ').next().unwrap_or("").split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

impl Room {
    /// For everybody: the user who runs the tests, and an ordinary one where that is root. None, with a skip, where
    /// this system refuses sandboxes.
    pub fn all() -> Vec<Room> {
        if let Err(refusal) = fhs_env::probe() {
            xeno_tests::skip(&refusal.to_string());
            return Vec::new();
        }
        let Some(xeno) = xeno_tests::xeno() else { return Vec::new() };
        let users: &[Option<u32>] = if nix::unistd::getuid().is_root() { &[None, Some(USER)] } else { &[None] };
        users.iter().map(|user| Room::new(&xeno, *user)).collect()
    }

    fn new(xeno: &Path, user: Option<u32>) -> Room {
        let room = tempfile::Builder::new().prefix("xeno-bwrap-").tempdir().unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Under a name of its own each, as messages may show it.
        let ours = room.path().join("ours/bwrap");
        xeno_tests::executable(&ours, &fs::read(xeno).unwrap());
        let theirs = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).map(|d| d.join("bwrap")).find(|p| p.is_file());
        Room { room, user, theirs, ours, count: std::cell::Cell::new(0) }
    }

    pub fn is_root(&self) -> bool {
        self.user.is_none() && nix::unistd::getuid().is_root()
    }

    pub fn path(&self) -> &Path {
        self.room.path()
    }

    pub fn ours(&self) -> &Path {
        &self.ours
    }

    /// The peer, if it has what came with this version. Says on which ground it has not.
    fn peer(&self, since: (u32, u32)) -> Option<&Path> {
        let Some(theirs) = &self.theirs else {
            xeno_tests::skip("bwrap is not installed");
            return None;
        };
        (version(theirs) >= since).then_some(theirs.as_path())
    }

    /// A new directory with the same things in it each time.
    pub fn place(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let place = self.path().join(format!("{:04}", self.count.get()));
        fs::create_dir_all(place.join("tree/dir")).unwrap();
        fs::create_dir(place.join("empty")).unwrap();
        fs::write(place.join("tree/file"), "content\n").unwrap();
        fs::write(place.join("tree/dir/inner"), "inner\n").unwrap();
        symlink("file", place.join("tree/link")).unwrap();
        symlink("nowhere", place.join("tree/dangling")).unwrap();
        symlink("/etc", place.join("tree/absolute")).unwrap();
        for name in ["", "tree", "tree/dir", "empty", "tree/file", "tree/dir/inner"] {
            let path = if name.is_empty() { place.clone() } else { place.join(name) };
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(path, self.user, self.user).unwrap();
        }
        place
    }

    fn shell(&self, program: &Path, place: &Path, line: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "60", "bash", "-c", &format!("{PRELUDE}\n{line}")]).arg("bash");
        command.current_dir(place).env("B", program).env("D", place).env("HOME", "/nowhere").stdin(Stdio::null());
        for variable in ["XENO_LOG", "LANG", "LC_ALL", "LANGUAGE"] {
            command.env_remove(variable);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// One line by one program.
    pub fn run(&self, program: &Path, line: &str) -> Outcome {
        let place = self.place();
        let done = self.shell(program, &place, line).output().unwrap();
        let outcome = outcome(&done, program, &place);
        fs::remove_dir_all(&place).unwrap();
        outcome
    }

    /// One line by ours.
    pub fn by_ours(&self, line: &str) -> Outcome {
        self.run(&self.ours, line)
    }

    /// One line by the peer, if that has what came with this version.
    pub fn by_theirs(&self, since: (u32, u32), line: &str) -> Option<Outcome> {
        Some(self.run(self.peer(since)?, line))
    }
}

fn outcome(done: &Output, program: &Path, place: &Path) -> Outcome {
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(place.to_str().unwrap(), "DIR").replace(program.to_str().unwrap(), "BWRAP");
    let status = done.status.code().unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&done.status).unwrap_or(0));
    let mut left = Vec::new();
    listed(place, place, &mut left);
    left.sort();
    Outcome { status, stdout: text(&done.stdout), stderr: text(&done.stderr), left: left.join("\n") }
}

/// Every entry below a directory: its mode, and what it holds.
fn listed(top: &Path, directory: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let holds = match data.file_type() {
            kind if kind.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
            kind if kind.is_file() => format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap_or_default())),
            _ => String::new(),
        };
        lines.push(format!("{} {:o} {holds}", path.strip_prefix(top).unwrap().display(), data.permissions().mode()));
        if data.is_dir() {
            listed(top, &path, lines);
        }
    }
}

/// The lines by which two outcomes differ; empty if they are the same.
pub fn difference(ours: &Outcome, theirs: &Outcome) -> String {
    let parts = |one: &Outcome| -> Vec<String> {
        let all = [
            ("status", one.status.to_string()),
            ("stdout", one.stdout.clone()),
            ("stderr", one.stderr.clone()),
            ("left", one.left.clone()),
        ];
        all.iter().flat_map(|(name, text)| text.lines().map(move |line| format!("{name}: {line}"))).collect()
    };
    if ours == theirs {
        return String::new();
    }
    let (own, other) = (parts(ours), parts(theirs));
    let mut out = String::new();
    for (sign, here, there) in [("ours  ", &own, &other), ("theirs", &other, &own)] {
        for line in here.iter().filter(|line| !there.contains(line)) {
            writeln!(out, "  {sign} | {line}").unwrap();
        }
    }
    if out.is_empty() { "  the order differs\n".to_owned() } else { out }
}

/// Each line by both, as everybody; fails with all that differ.
#[track_caller]
pub fn compare(since: (u32, u32), lines: &[(&str, &str)]) {
    let mut faults = String::new();
    for room in Room::all() {
        for (name, line) in lines {
            let Some(theirs) = room.by_theirs(since, line) else { continue };
            let ours = room.by_ours(line);
            let different = difference(&ours, &theirs);
            if !different.is_empty() {
                let who = if room.is_root() { "root" } else { "user" };
                writeln!(faults, "{name} ({who}): {line}\n{different}").unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}
