//! The crate's only door that writes files: each file and each tree is built under a temporary
//! name in its own directory, flushed, then renamed; what a killed process left is swept later.
//!
//! It does not know what it writes. Downloads grow in place (`.part`, opened by [`open_part`]) and
//! become files of the store only through [`publish`].

use crate::error::{Error, Result};
use nix::fcntl::AtFlags;
use nix::sys::stat::UtimensatFlags;
use nix::sys::time::TimeSpec;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const TEMPORARY: &str = ".tmp-";

/// A leftover younger than this may belong to a process that has not locked it yet.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// Replaces a file by `bytes`: after a crash it is the old one or the new one.
///
/// # Errors
/// [`crate::error::Kind::DiskFull`] or [`crate::error::Kind::Io`]; the temporary file is gone then.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    write_file_with(path, mode, |out| out.write_all(bytes))
}

/// As [`write_file`], for content that is produced as it is written.
///
/// # Errors
/// As [`write_file`], or whatever `fill` reports.
pub fn write_file_with(path: &Path, mode: u32, fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<()> {
    let directory = parent(path);
    let failed = |e| Error::io("write", path, e);
    let mut temporary =
        tempfile::Builder::new().prefix(TEMPORARY).permissions(Permissions::from_mode(mode)).tempfile_in(directory).map_err(failed)?;
    temporary.as_file().lock().map_err(failed)?;
    let mut out = BufWriter::with_capacity(64 * 1024, temporary.as_file_mut());
    fill(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    temporary.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    // Closed before anybody can see it: a program that is still open for writing cannot be started (ETXTBSY).
    temporary.into_temp_path().persist(path).map_err(|e| failed(e.error))?;
    sync_directory(directory)
}

/// Replaces a small file without waiting for the disk: for records whose loss costs only time and whose readers
/// accept nothing damaged.
///
/// # Errors
/// As [`write_file`].
pub(crate) fn write_hint(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io("write", path, e);
    let mut temporary =
        tempfile::Builder::new().prefix(TEMPORARY).permissions(Permissions::from_mode(0o644)).tempfile_in(parent(path)).map_err(failed)?;
    temporary.write_all(bytes).map_err(failed)?;
    temporary.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// A directory under construction, held by a lock and removed again unless it is committed.
#[derive(Debug)]
pub struct TreeBuilder {
    directory: tempfile::TempDir,
    /// It has another name now.
    committed: bool,
    /// Keeps [`sweep`] of other processes away.
    _lock: File,
}

impl TreeBuilder {
    /// Makes an empty directory inside `parent`, of mode 0755.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub fn new(parent: &Path) -> Result<TreeBuilder> {
        let directory = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(|e| Error::io("create a directory in", parent, e))?;
        let lock = File::open(directory.path()).map_err(|e| Error::io("open", directory.path(), e))?;
        lock.lock().map_err(|e| Error::io("lock", directory.path(), e))?;
        Ok(TreeBuilder { directory, committed: false, _lock: lock })
    }

    /// Where to build.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a directory (0755); it is no error if it is there. This and its neighbours take paths relative to the tree and
    /// follow links in it: whoever calls them knows that what is above a path is a directory of the tree.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn add_dir(&self, relative: &Path) -> io::Result<()> {
        match fs::create_dir(self.path().join(relative)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Opens a new file for writing, of mode 0600; an existing one is an error.
    ///
    /// # Errors
    /// As open(2).
    pub fn add_file(&self, relative: &Path) -> io::Result<File> {
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path().join(relative))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As symlink(2).
    pub fn add_link(&self, relative: &Path, target: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, self.path().join(relative))
    }

    /// Adds a second name of a file of this tree.
    ///
    /// # Errors
    /// As link(2).
    pub fn add_hard_link(&self, relative: &Path, existing: &Path) -> io::Result<()> {
        fs::hard_link(self.path().join(existing), self.path().join(relative))
    }

    /// Gives a file another name, such as the one that its content has.
    ///
    /// # Errors
    /// As rename(2).
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.path().join(from), self.path().join(to))
    }

    /// Takes a name away again.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn remove(&self, relative: &Path) -> io::Result<()> {
        fs::remove_file(self.path().join(relative))
    }

    /// Sets a file's or directory's mode.
    ///
    /// # Errors
    /// As chmod(2).
    pub fn set_mode(&self, relative: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.path().join(relative), Permissions::from_mode(mode))
    }

    /// Gives every entry the modification time 1, as Nix does.
    pub(crate) fn set_times(&self, relative: &Path) -> io::Result<()> {
        let one = TimeSpec::new(1, 0);
        let path = self.path().join(relative);
        nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, &path, &one, &one, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }
}

/// What was built may have directories that nobody may write to or look into.
impl Drop for TreeBuilder {
    fn drop(&mut self) {
        if !self.committed && fs::remove_dir_all(self.path()).is_err() {
            make_removable(self.path());
        }
    }
}

/// Flushes all trees at once, then gives each its name. A name that is already taken keeps its
/// content: store paths are named by content, so it is the same.
///
/// # Errors
/// When flushing or renaming fails; trees that were not yet renamed are removed.
pub fn commit_trees(trees: Vec<(TreeBuilder, PathBuf)>) -> Result<()> {
    let Some((first, _)) = trees.first() else { return Ok(()) };
    // One syncfs for the batch: an fsync for each of thousands of files costs seconds.
    let fd = File::open(first.path()).map_err(|e| Error::io("open", first.path(), e))?;
    nix::unistd::syncfs(&fd).map_err(|e| Error::io("flush", first.path(), e.into()))?;
    let mut directories: Vec<PathBuf> = Vec::new();
    for (mut tree, target) in trees {
        match fs::rename(tree.path(), &target) {
            Ok(()) => {
                // The name is gone, nothing is left to remove.
                tree.directory.disable_cleanup(true);
                tree.committed = true;
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(e) => return Err(Error::io("rename into", &target, e)),
        }
        let directory = parent(&target).to_path_buf();
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories.iter().try_for_each(|d| sync_directory(d))
}

/// Opens (creating it) the growing part of a download, for reading and writing.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_part(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(|e| Error::io("open", path, e))
}

/// Whether `path` still names the open file: another process may have published or removed it.
pub(crate) fn still_named(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) =
        (nix::sys::stat::fstat(file), nix::sys::stat::fstatat(nix::fcntl::AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW))
    else {
        return false;
    };
    open.st_dev == named.st_dev && open.st_ino == named.st_ino
}

/// Flushes a complete, checked download and gives it its final name.
///
/// # Errors
/// When flushing or renaming fails.
pub(crate) fn publish(part: &File, from: &Path, to: &Path) -> Result<()> {
    part.sync_all().map_err(|e| Error::io("flush", from, e))?;
    fs::rename(from, to).map_err(|e| Error::io("rename into", to, e))?;
    sync_directory(parent(to))
}

/// Removes one file of ours; it is no error if it is gone.
pub(crate) fn discard(path: &Path) {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        log::warn!("remove {}: {e}", path.display());
    }
}

/// Removes a directory of ours: first it loses its name, in one step; it is no error if it is gone.
///
/// # Errors
/// When it cannot be renamed or removed.
pub(crate) fn discard_tree(path: &Path) -> Result<()> {
    let place = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent(path)).map_err(|e| Error::io("remove", path, e))?;
    match fs::rename(path, place.path().join("gone")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
        Ok(()) => {
            make_removable(place.path());
            place.close().map_err(|e| Error::io("remove", path, e))
        }
    }
}

/// Removes what killed processes left in `directory`: temporary names nobody holds a lock on, and, if
/// `age` is given, unlocked plain files that were not touched for so long. Never fails: it is housekeeping.
pub fn sweep(directory: &Path, age: Option<Duration>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        let Ok(meta) = entry.metadata() else { continue };
        let limit = match (temporary, age) {
            (true, _) => LEFTOVER_AGE,
            (false, Some(age)) if meta.is_file() => age,
            _ => continue,
        };
        let old = meta.modified().ok().and_then(|t| SystemTime::now().duration_since(t).ok()).is_some_and(|a| a > limit);
        if !old {
            continue;
        }
        let Ok(file) = crate::root::open_nofollow(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        log::debug!("sweep {}", path.display());
        let removed = if meta.is_dir() {
            fs::remove_dir_all(&path).or_else(|_| {
                make_removable(&path);
                fs::remove_dir_all(&path)
            })
        } else {
            fs::remove_file(&path)
        };
        if let Err(e) = removed {
            log::warn!("sweep {}: {e}", path.display());
        }
    }
}

/// Gives the owner every right to the directories of a tree of ours, as removing what is in them takes them. Links are not
/// followed; what cannot be changed stays.
fn make_removable(root: &Path) {
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&directory) else { continue };
        let mode = meta.permissions().mode();
        if mode & 0o700 != 0o700 {
            // Whoever reads it next says so if this did not help.
            let _ = fs::set_permissions(&directory, Permissions::from_mode(mode | 0o700));
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        open.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| Error::io("flush", directory, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn age(path: &Path) {
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::open(path).unwrap().set_modified(past).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_file(&path, b"old", 0o644).unwrap();
        let result = write_file_with(&path, 0o644, |out| {
            out.write_all(b"half")?;
            Err(io::Error::from_raw_os_error(28))
        });
        assert_eq!(result.unwrap_err().kind(), crate::error::Kind::DiskFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_tree_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let tree = TreeBuilder::new(dir.path()).unwrap();
        tree.add_file(Path::new("x")).unwrap();
        drop(tree);
        assert_eq!(names(dir.path()), Vec::<String>::new());
        let tree = TreeBuilder::new(dir.path()).unwrap();
        tree.add_file(Path::new("x")).unwrap();
        commit_trees(vec![(tree, dir.path().join("t"))]).unwrap();
        assert_eq!(names(dir.path()), ["t"]);
        // The same name again: the first stays, the second is removed.
        let again = TreeBuilder::new(dir.path()).unwrap();
        again.add_file(Path::new("x")).unwrap();
        commit_trees(vec![(again, dir.path().join("t"))]).unwrap();
        assert_eq!(names(dir.path()), ["t"]);
    }

    #[test]
    fn directories_that_nobody_may_write_to_are_removed_as_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let locked = |root: &Path| {
            for (name, mode) in [("read-only", 0o555), ("closed", 0o000)] {
                fs::create_dir_all(root.join(name).join("below")).unwrap();
                fs::write(root.join(name).join("below/file"), b"").unwrap();
                for path in [root.join(name).join("below"), root.join(name)] {
                    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
                }
            }
        };
        let tree = TreeBuilder::new(dir.path()).unwrap();
        locked(tree.path());
        drop(tree);
        assert_eq!(names(dir.path()), [""; 0]);
        let kept = dir.path().join("kept");
        locked(&kept);
        discard_tree(&kept).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        let dead = dir.path().join(".tmp-dead");
        locked(&dead);
        age(&dead);
        sweep(dir.path(), None);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn leftovers_are_swept_unless_their_builder_lives() {
        let dir = tempfile::tempdir().unwrap();
        let living = TreeBuilder::new(dir.path()).unwrap();
        age(living.path());
        let dead = dir.path().join(".tmp-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("x"), b"").unwrap();
        age(&dead);
        fs::write(dir.path().join("kept"), b"").unwrap();
        age(&dir.path().join("kept"));
        sweep(dir.path(), None);
        let living_name = living.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(names(dir.path()), [living_name, "kept".to_owned()]);
        sweep(dir.path(), Some(Duration::from_secs(60)));
        assert!(!dir.path().join("kept").exists());
    }
}
