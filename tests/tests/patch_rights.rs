//! What becomes of owners and privileges when an ordinary user commits to another user's file: what he
//! cannot keep is told, and set-id bits never come to belong to somebody else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use xeno_tests::{executable, skip};

/// Two ordinary users, by number only, each with a group of the same number.
const USER: u32 = 4711;
const OTHER: u32 = 4712;

struct Scene {
    dir: tempfile::TempDir,
    helper: PathBuf,
}

impl Scene {
    /// A directory that everybody may write to; `None`, with a skip, for whoever cannot act for others.
    fn new() -> Option<Scene> {
        let dir = tempfile::tempdir().unwrap();
        if fs::metadata(dir.path()).unwrap().uid() != 0 {
            skip("acting for two users needs root");
            return None;
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        // Where the helper was built need not be open to all.
        let built = std::env::current_exe().unwrap().parent().unwrap().join("../examples/commit_with");
        let helper = dir.path().join("helper");
        executable(&helper, &fs::read(built).unwrap());
        Some(Scene { dir, helper })
    }

    fn file(&self, owner: u32, mode: u32) -> PathBuf {
        let path = self.dir.path().join("f");
        let _ = fs::remove_file(&path);
        fs::write(&path, [7; 9000]).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What the user's commit said, and owner, group and mode of the file afterwards.
    fn commit(&self, way: &str, path: &Path) -> (String, (u32, u32, u32)) {
        let output = Command::new(&self.helper).args([way, "fast"]).arg(path).uid(USER).gid(USER).output().unwrap();
        let meta = fs::metadata(path).unwrap();
        (String::from_utf8(output.stdout).unwrap(), (meta.uid(), meta.gid(), meta.mode() & 0o7777))
    }

    fn names(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

#[test]
fn an_owner_that_cannot_be_kept_is_told_and_his_set_id_bits_go() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.file(OTHER, 0o6755);
    let (said, meta) = scene.commit("replace", &path);
    assert_eq!(said, "lost: the owner 4712:4712 became 4711:4711, as only root gives files away\nlost: the mode 6755 became 0755\n");
    assert_eq!(meta, (USER, USER, 0o755));
    assert_eq!(fs::metadata(&path).unwrap().len(), 16_000);
    assert_eq!(scene.names(), 2);
}

#[test]
fn the_owner_himself_loses_nothing() {
    let Some(scene) = Scene::new() else { return };
    for way in ["replace", "in-place", "batch"] {
        let path = scene.file(USER, 0o6751);
        assert_eq!(scene.commit(way, &path), (String::new(), (USER, USER, 0o6751)), "{way}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 16_000, "{way}");
    }
    assert_eq!(scene.names(), 2);
}

#[test]
fn in_place_refuses_beforehand_what_would_lose_set_id_bits_or_capabilities() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.file(OTHER, 0o4777);
    let (said, meta) = scene.commit("in-place", &path);
    assert!(said.starts_with("Privileges: ") && said.contains("would clear its set-id bits"), "{said}");
    assert_eq!(meta, (OTHER, OTHER, 0o4777));
    let path = scene.file(USER, 0o755);
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Err(e) = rustix::fs::setxattr(&path, "security.capability", &capability, rustix::fs::XattrFlags::empty()) {
        return skip(&format!("the file system of the temporary directory has no capabilities: {e}"));
    }
    let (said, _) = scene.commit("in-place", &path);
    assert!(said.starts_with("Privileges: ") && said.contains("would clear its capabilities"), "{said}");
    assert!(rustix::fs::getxattr(&path, "security.capability", &mut [0; 100]).is_ok_and(|len| len == 20));
    assert_eq!(fs::read(&path).unwrap(), [7; 9000]);
    // A replace goes, and says what it could not keep.
    let (said, _) = scene.commit("replace", &path);
    assert!(said.starts_with("lost: the attribute security.capability was not kept: "), "{said}");
}

#[test]
fn a_directory_that_may_not_be_written_to_is_named_and_a_file_there_can_be_changed_in_place() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.file(USER, 0o755);
    fs::set_permissions(scene.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let (said, _) = scene.commit("replace", &path);
    assert!(said.starts_with("Denied: making a file beside ") && said.ends_with("or write the result elsewhere\n"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), [7; 9000]);
    assert_eq!(scene.commit("in-place", &path).0, "");
    assert_eq!(fs::metadata(&path).unwrap().len(), 16_000);
    // A directory that may be written to but not read: its name is flushed with all of its file system.
    fs::set_permissions(scene.dir.path(), Permissions::from_mode(0o733)).unwrap();
    let output = Command::new(&scene.helper).args(["replace", "durable"]).arg(&path).uid(USER).gid(USER).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(fs::metadata(&path).unwrap().len(), 23_000);
}
