//! Where the tests start programs: a directory that every user can reach, with an example of this crate in it, as
//! root and as an ordinary user.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)] // each test uses some of it; a skip says why

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A place every user can reach, and the user who starts the example there.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) uid: Option<u32>,
    pub(crate) who: &'static str,
    example: &'static str,
}

impl Scene {
    fn new(example: &'static str, uid: Option<u32>, who: &'static str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let built = std::env::current_exe().unwrap();
        let built = built.parent().unwrap().join("../examples").join(example);
        assert!(built.exists(), "{} is missing; run `cargo build --examples`", built.display());
        copy_program(&built, &dir.path().join(example));
        chown(dir.path(), uid, uid).unwrap();
        Scene { dir, uid, who, example }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The example.
    pub(crate) fn enter(&self) -> Command {
        self.command(self.path(self.example))
    }

    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.dir.path());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }
}

/// Copies a file that is to be started. Another process does it: a descriptor open for writing
/// would be inherited by a child that another test forks meanwhile, and exec would say ETXTBSY.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn skip(why: &str) {
    if std::env::var_os("XENO_REQUIRE_ALL").is_some_and(|v| v == "1") {
        panic!("skipped: {why}");
    }
    eprintln!("skipped: {why}");
}

/// The users to try: root and `nobody` where the tests run as root, else the user alone; none
/// where the system refuses private roots.
pub(crate) fn scenes(example: &'static str) -> Vec<Scene> {
    if let Err(refusal) = fhs_env::probe() {
        skip(&refusal.to_string());
        return Vec::new();
    }
    if is_root() {
        vec![Scene::new(example, None, "root"), Scene::new(example, Some(65534), "nobody")]
    } else {
        skip("the root variants: the tests run as an ordinary user");
        vec![Scene::new(example, None, "the user")]
    }
}

pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

#[track_caller]
pub(crate) fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let err = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {err}");
    String::from_utf8(stdout).unwrap()
}
