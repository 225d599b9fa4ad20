//! A base directory with a shim, installed by `xeno shim install` somewhere below `/tmp`, and programs that name
//! that shim as their interpreter. Knows no expectation.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses its part")]

use crate::support::{Scene, USER, is_root, succeeds};
use patcher::Overwrite;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use xeno_tests::skip;

/// A base directory directly below `/tmp`, so that its images' paths fit, and the shim in it.
pub struct Place {
    _dir: tempfile::TempDir,
    pub base: PathBuf,
    pub loader: PathBuf,
}

impl Place {
    /// A directory of one user's, with nothing installed.
    pub fn empty(user: Option<u32>) -> Place {
        // A path in it may have 16 bytes: /tmp/xABC/123456.
        let dir = tempfile::Builder::new().prefix("x").rand_bytes(3).tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(dir.path(), user, user).unwrap();
        Place { base: dir.path().to_owned(), loader: dir.path().join("ld"), _dir: dir }
    }

    /// `xeno shim install` into it.
    pub fn install(&self, scene: &Scene, arguments: &[&str]) -> Command {
        self.install_at(scene, &self.loader, arguments)
    }

    pub fn install_at(&self, scene: &Scene, at: &Path, arguments: &[&str]) -> Command {
        let mut command = scene.say(&["shim", "install", "--into", self.base.to_str().unwrap(), "--at", at.to_str().unwrap()]);
        command.args(arguments);
        command
    }

    /// A copy of a fixture whose interpreter is the shim.
    pub fn program(&self, scene: &Scene, fixture: &str, name: &str) -> PathBuf {
        self.with_interpreter(scene, fixture, name, &self.loader)
    }

    pub fn with_interpreter(&self, scene: &Scene, fixture: &str, name: &str, interpreter: &Path) -> PathBuf {
        let bytes = fs::read(xeno_tests::fixture(fixture)).unwrap();
        let path = interpreter.to_str().unwrap().as_bytes().to_vec();
        let plan = patcher::overwrite(&bytes, &[Overwrite::Interpreter(path)]).unwrap();
        let to = scene.path(name);
        if to.exists() {
            fs::remove_file(&to).unwrap();
        }
        scene.program(&plan.apply(&bytes).unwrap(), &to);
        to
    }
}

/// Whether the xeno under test has a shim for this machine; skips if not.
pub fn has_shim(scene: &Scene) -> bool {
    let output = scene.say(&["shim", "install", "--into", "/tmp/x", "--at", "/proc/no/such"]).output().unwrap();
    let has = !String::from_utf8_lossy(&output.stderr).contains("this build has no shim");
    if !has {
        skip("xeno was built without shims; cargo xtask dist builds it with them");
    }
    has
}

/// A scene and a place of a user, with a shim installed; `None`, with a skip, if there is no xeno with shims.
pub fn installed(user: Option<u32>) -> Option<(Scene, Place)> {
    let scene = Scene::new(user)?;
    if !has_shim(&scene) {
        return None;
    }
    let place = Place::empty(user);
    succeeds(&mut place.install(&scene, &[]));
    Some((scene, place))
}

/// A law for each user.
pub fn everyone_installed(law: impl Fn(&Scene, &Place)) {
    let users: &[Option<u32>] = if is_root() { &[None, Some(USER)] } else { &[None] };
    for (scene, place) in users.iter().filter_map(|user| installed(*user)) {
        law(&scene, &place);
    }
}

/// A law that needs root.
pub fn trust_only_root(law: impl Fn(&Scene, &Place)) {
    if !is_root() {
        return skip("needs root");
    }
    if let Some((scene, place)) = installed(None) {
        law(&scene, &place);
    }
}

/// What a command printed, as JSON.
#[track_caller]
pub fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeeds(command)).unwrap()
}
