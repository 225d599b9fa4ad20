//! The original: opened once, mapped, and remembered so well that a commit notices if it is another
//! file by then. Changes nothing.

use super::error::CommitError;
use super::sys;
use memmap2::Mmap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// As many links in a row as the kernel follows (`MAXSYMLINKS`, linux/namei.h).
const MOST_LINKS: usize = 40;

/// A file that is to be changed: open for reading, its bytes mapped, not read.
///
/// A relative path means what it means at the time of each call: a program that changes its working
/// directory between opening and committing gives absolute paths.
#[derive(Debug)]
pub struct Source {
    real: PathBuf,
    file: File,
    meta: Metadata,
    map: Option<Mmap>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) dev: u64,
    pub(super) ino: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Stamp {
        Stamp {
            dev: meta.dev(),
            ino: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Refuses if `path` does not name the file of this stamp, unchanged.
    pub(super) fn check(&self, path: &Path) -> Result<(), CommitError> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if Stamp::of(&meta) == *self => Ok(()),
            Ok(_) => Err(CommitError::Changed { path: path.to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(CommitError::Changed { path: path.to_owned() }),
            Err(e) => Err(CommitError::io("looking again at", path)(e)),
        }
    }
}

impl Source {
    /// Opens a regular file; symbolic links are followed, so that what they name is changed and they stay.
    ///
    /// # Errors
    /// [`CommitError::NotRegular`]; [`CommitError::Io`] if it cannot be found, read or mapped.
    pub fn open(path: &Path) -> Result<Source, CommitError> {
        let real = followed(path).map_err(CommitError::io("following", path))?;
        // Before it is opened: opening a device can do something. And again after: it may be another file by then.
        let named = std::fs::symlink_metadata(&real).map_err(CommitError::io("looking at", &real))?;
        regular(&real, &named)?;
        let file = sys::open_to_read(&real).map_err(CommitError::io("opening", &real))?;
        let meta = file.metadata().map_err(CommitError::io("looking at", &real))?;
        regular(&real, &meta)?;
        // An empty file cannot be mapped (mmap(2): EINVAL).
        let map = if meta.len() == 0 { None } else { Some(mapped(&file).map_err(CommitError::io("mapping", &real))?) };
        Ok(Source { real, file, meta, map })
    }

    /// The bytes. Not to be read after a commit in place, which may have cut the file short: open it again.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// The path of the file itself, symbolic links in its last component followed.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// Its length in bytes when it was opened.
    #[allow(clippy::len_without_is_empty, reason = "a length of a file, not of a collection")]
    pub fn len(&self) -> u64 {
        self.meta.len()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn meta(&self) -> &Metadata {
        &self.meta
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.meta)
    }

    /// How many other names the file has.
    pub(super) fn other_names(&self) -> u64 {
        self.meta.nlink().saturating_sub(1)
    }
}

#[allow(unsafe_code, reason = "mapping a file has no safe form")]
fn mapped(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private and never written through. It is not wholly true that the bytes stay:
    // another process may change the file under us (the parser checks every value it reads, and a
    // commit refuses a file whose times changed), or cut it short, which ends this process by SIGBUS
    // before anything is renamed. Our own commit in place may shorten it as its last step, and reads the
    // map before that only; `bytes` says so to others.
    unsafe { Mmap::map(file) }
}

/// The path with the symbolic links of its last component followed; what it names may be missing.
pub(super) fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match sys::link_target(&path) {
            Ok(Some(target)) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Ok(None) => return Ok(path),
            // Where the last link leads nowhere, a file can be made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(e) => return Err(e),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Refuses what is no regular file.
pub(super) fn regular(path: &Path, meta: &Metadata) -> Result<(), CommitError> {
    let kind = meta.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_symlink() => "a symbolic link",
        () => "a device",
    };
    Err(CommitError::NotRegular { path: path.to_owned(), found })
}
