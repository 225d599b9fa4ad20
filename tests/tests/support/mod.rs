//! A place in which xeno is started as a user would start it, and what it said there. Knows users and
//! rungs, no expectations of its own; programs are copied by another process than the test's.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses its part")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use xeno_tests::executable;

/// An ordinary user: nobody's 65534 is also what the kernel shows for an owner it does not know.
pub const USER: u32 = 4711;

/// Where nothing answers.
pub const NOWHERE: &str = "http://127.0.0.1:1/";

/// The ways into a private root, as a test brings them about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The interpreter's first directory does not exist here.
    View,
    /// It exists and holds software: the rest of the path can be added beside what it has.
    Beside,
    /// It exists and nothing can be added to it.
    Overlay,
}

impl Rung {
    pub const ALL: [Rung; 3] = [Rung::View, Rung::Beside, Rung::Overlay];

    /// A name for files.
    pub fn name(self) -> &'static str {
        match self {
            Rung::View => "view",
            Rung::Beside => "beside",
            Rung::Overlay => "overlay",
        }
    }

    /// What xeno calls it.
    pub fn taken(self) -> &'static str {
        if self == Rung::Overlay { "overlay" } else { "view" }
    }

    /// What stands for `/nix/store/` in a foreign program: the length is the same, and whether this
    /// machine has a `/nix` does not matter.
    fn store(self) -> &'static [u8] {
        match self {
            Rung::View => b"/n0x/store/",
            Rung::Beside => b"/usr/store/",
            Rung::Overlay => b"/etc/store/",
        }
    }

    /// A path below `/nix/store/` as programs of this rung name it.
    pub fn replaced_path(self, path: &str) -> String {
        String::from_utf8(replaced(path.as_bytes(), b"/nix/store/", self.store())).unwrap()
    }
}

/// A user, a directory of his, and a xeno that he can reach.
pub struct Scene {
    dir: tempfile::TempDir,
    /// `None` for the user who runs the tests.
    pub user: Option<u32>,
}

impl Scene {
    /// A scene for one user; `None` (and a skip) if there is no xeno.
    pub fn new(user: Option<u32>) -> Option<Scene> {
        let xeno = xeno_tests::xeno()?;
        let dir = tempfile::Builder::new().prefix("xeno-e2e-").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let scene = Scene { dir, user };
        // Not in a `bin`: the scene is no unpacked package.
        copy(&xeno, &scene.path("tool/xeno"));
        fs::create_dir(scene.path("home")).unwrap();
        for path in [scene.path("home"), scene.path("tool"), scene.path("")] {
            chown(path, user, user).unwrap();
        }
        Some(scene)
    }

    /// The users to try: where the tests run as root, root and an ordinary one. None, with a skip,
    /// where this system refuses private roots.
    pub fn all() -> Vec<Scene> {
        if let Err(refusal) = fhs_env::probe() {
            xeno_tests::skip(&refusal.to_string());
            return Vec::new();
        }
        if is_root() { [None, Some(USER)].into_iter().filter_map(Scene::new).collect() } else { Scene::new(None).into_iter().collect() }
    }

    /// A path below the scene's directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        if name.as_ref().as_os_str().is_empty() { self.dir.path().to_owned() } else { self.dir.path().join(name) }
    }

    pub fn xeno(&self) -> PathBuf {
        self.path("tool/xeno")
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A copy of a fixture whose interpreter leads to the given rung, at `name`.
    pub fn foreign(&self, fixture: &str, rung: Rung, name: impl AsRef<Path>) -> PathBuf {
        let to = self.path(name);
        let bytes = replaced(&fs::read(xeno_tests::fixture(fixture)).unwrap(), b"/nix/store/", rung.store());
        executable(&to, &bytes);
        to
    }

    /// A copy of a fixture as it is.
    pub fn fixture(&self, fixture: &str, name: impl AsRef<Path>) -> PathBuf {
        let to = self.path(name);
        copy(&xeno_tests::fixture(fixture), &to);
        to
    }

    /// Writes an executable file.
    pub fn program(&self, bytes: &[u8], to: &Path) {
        executable(to, bytes);
    }

    /// A command of the scene's user: a small environment, its own store, and no archive to reach.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.dir.path()).stdin(std::process::Stdio::null());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.path("home")).env("LANG", "C");
        command.env("XENO_STORE", self.store()).env("XENO_DEBIAN_MIRROR", NOWHERE).env("XENO_DEBIAN_SECURITY_MIRROR", NOWHERE);
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// `xeno run PROGRAM ARGS…`
    pub fn run(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Command {
        let mut command = self.command(self.xeno());
        command.arg("run").arg(program).args(args);
        command
    }

    /// `xeno ARGS…`
    pub fn say(&self, args: &[&str]) -> Command {
        let mut command = self.command(self.xeno());
        command.args(args);
        command
    }

    /// Names anywhere in the store that only a process at work may use.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers(&self.store())
    }

    /// The files of one kind in the cache.
    pub fn cached(&self, kind: &str) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> =
            fs::read_dir(self.store().join("cache").join(kind)).into_iter().flatten().map(|e| e.unwrap().path()).collect();
        found.sort();
        found
    }
}

/// Each user on each rung of a private root.
pub fn everywhere(law: impl Fn(&Scene, Rung)) {
    for scene in Scene::all() {
        for rung in Rung::ALL {
            law(&scene, rung);
        }
    }
}

/// Each user, where the rung does not matter.
pub fn everyone(law: impl Fn(&Scene)) {
    Scene::all().iter().for_each(law);
}

/// Names below a store that only a process at work may use: temporary files and directories.
pub fn leftovers(store: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() && !name.starts_with(".tmp-") {
            found.extend(leftovers(&entry.path()));
        } else if name.starts_with(".tmp-") {
            found.push(name);
        }
    }
    found
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Copies a file or a directory, modes and links as they are, making the directories above. Another process does it, as
/// for [`executable`].
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let script = r#"cp -R "$1" "$2" && chmod -R u+w,a+rX "$2" && { [ -d "$2" ] || chmod a+x "$2"; }"#;
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(from).arg(to).status().unwrap();
    assert!(status.success(), "copy {} to {}", from.display(), to.display());
}

/// Lets the clock of file times pass what was just written: a file that is no older than the question
/// about it is not remembered.
pub fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(60));
}

/// All occurrences of one text by another of the same length.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "nothing may move");
    let mut out = bytes.to_vec();
    let found: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!found.is_empty(), "{} does not occur", from.escape_ascii());
    for at in found {
        out[at..at + to.len()].copy_from_slice(to);
    }
    out
}

/// What a command printed, which had to succeed.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    exits(command, 0)
}

/// What a command printed, which had to end with a certain status and say nothing on standard error.
#[track_caller]
pub fn exits(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{command:?}\n{}", both_streams(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line with which xeno refused: the status is the documented one, nothing went to standard
/// output, and the line says what is wrong with what, and what to do.
#[track_caller]
pub fn refuses(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    refused(&format!("{command:?}"), &output, status)
}

/// As [`refuses`], of a command that has ended.
#[track_caller]
pub fn refused(what: &str, output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{what}\n{}", both_streams(output));
    assert_eq!(output.stdout.escape_ascii().to_string(), "", "{what}");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(stderr.ends_with('\n'), "{what}\n{stderr}");
    let stderr = stderr.strip_suffix('\n').unwrap();
    // Progress, and what the host's own configuration is told.
    let other = ["xeno: fetching ", "xeno: warning: ", "xeno: apt on this machine "];
    let progress = |line: &str| other.iter().any(|start| line.starts_with(start)) || line.ends_with(": it is left out");
    let lines: Vec<&str> = stderr.split('\n').filter(|line| !progress(line)).collect();
    let [line] = lines[..] else { panic!("{what}: not one line:\n{stderr}") };
    let (start, rest) = line.split_once(": ").unwrap_or(("", ""));
    assert_eq!(start, "xeno", "{what}\n{line}");
    assert!(!rest.chars().any(char::is_control), "{what}: a control character in {line:?}");
    assert!(rest.contains(": "), "{what}: no subject and cause in {line}");
    assert!(rest.contains("; "), "{what}: nothing to do in {line}");
    line.to_owned()
}

/// What a command said, for a failed test.
pub fn both_streams(output: &Output) -> String {
    format!("{}\nstdout: {}\nstderr: {}", output.status, output.stdout.escape_ascii(), String::from_utf8_lossy(&output.stderr))
}
