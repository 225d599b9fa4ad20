//! What a plan needs to know of the host and of the caller, as plain data that a test can write
//! down. Reading it is one call; nothing here changes anything.

use crate::error::PlanError;
use crate::sys;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// How an entry of the host's root is carried into the private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Bound with everything below it.
    Directory,
    /// Made again with the same target.
    Symlink(PathBuf),
    /// Bound as one file (regular files, and sockets or devices alike).
    File,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Its name, one path component.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
}

/// The entries of the host's `/`, and of those top-level directories that are to be extended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRoot {
    /// The top-level entries, sorted by name.
    pub entries: Vec<HostEntry>,
    /// The entries of each directory to be extended, sorted by name.
    pub extended: Vec<(OsString, Vec<HostEntry>)>,
}

/// The most entries a directory may have that is carried over entry by entry; each costs a mount.
pub(crate) const ENTRIES_MAX: usize = 1024;

impl HostRoot {
    /// Reads `/`.
    ///
    /// # Errors
    /// [`PlanError::Host`] if it cannot be read, [`PlanError::TooLarge`] for more than 1024 entries.
    pub fn read() -> Result<HostRoot, PlanError> {
        HostRoot::read_extending([])
    }

    pub(crate) fn read_extending<'a>(tops: impl IntoIterator<Item = &'a OsStr>) -> Result<HostRoot, PlanError> {
        let mut host = HostRoot { entries: list(Path::new("/"))?, extended: Vec::new() };
        for top in tops {
            let directory = |e: &HostEntry| e.name == top && e.kind == EntryKind::Directory;
            if host.entries.iter().any(directory) {
                let inside = list(&Path::new("/").join(top))?;
                host.extended.push((top.to_owned(), inside));
            }
        }
        Ok(host)
    }

    /// Whether the host has this top-level name.
    pub fn has(&self, top: &OsStr) -> bool {
        self.entries.iter().any(|e| e.name == top)
    }
}

fn list(path: &Path) -> Result<Vec<HostEntry>, PlanError> {
    let host = |source| PlanError::Host { path: path.to_owned(), source };
    let mut entries = Vec::new();
    for entry in sys::read_dir(path).map_err(host)? {
        let (name, kind) = entry.map_err(host)?;
        entries.push(HostEntry { name, kind });
        if entries.len() > ENTRIES_MAX {
            return Err(PlanError::TooLarge { path: path.to_owned(), size: entries.len(), limit: ENTRIES_MAX, unit: "directory entries" });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The directory a program is started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingDirectory {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its device and inode, which the same path must have in the new root; `None` is not checked.
    pub identity: Option<(u64, u64)>,
}

/// Who enters the root, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// Whether a user namespace is needed: true unless the caller is root and may mount.
    pub user_namespace: bool,
    /// Where the program will be started.
    pub cwd: WorkingDirectory,
}

impl Caller {
    /// Describes the calling process.
    ///
    /// # Errors
    /// [`PlanError::WorkingDirectory`] if the working directory has no path that leads to it: it
    /// was deleted, is covered by a mount, lies outside the root, or may not be searched.
    pub fn here() -> Result<Caller, PlanError> {
        let lost = |path: Option<&Path>, reason: String| PlanError::WorkingDirectory { path: path.map(Path::to_owned), reason };
        let path = sys::getcwd().map_err(|e| lost(None, e.to_string()))?;
        // getcwd(2) marks a directory outside the root with a prefix that is no path.
        if !path.is_absolute() {
            return Err(lost(Some(&path), "it lies outside the root directory".into()));
        }
        let here = sys::identity(Path::new(".")).map_err(|e| lost(Some(&path), e.to_string()))?;
        let there = sys::identity(&path).map_err(|e| lost(Some(&path), e.to_string()))?;
        if here != there {
            return Err(lost(Some(&path), "its path leads to another directory".into()));
        }
        let identity = (path != Path::new("/")).then_some(here);
        Ok(Caller::at(WorkingDirectory { path, identity }))
    }

    /// The calling process, starting its program somewhere else.
    pub(crate) fn at(cwd: WorkingDirectory) -> Caller {
        let (uid, gid) = sys::effective_ids();
        Caller { uid, gid, user_namespace: !(uid == 0 && sys::may_mount()), cwd }
    }
}

/// Whether the file system that holds `path` refuses to execute its files (`noexec`).
///
/// # Errors
/// Those of `statvfs(3)`.
pub fn mounted_noexec(path: &Path) -> io::Result<bool> {
    sys::noexec(path).map_err(io::Error::from)
}
