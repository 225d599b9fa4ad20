//! What is put at places of the system's own, and taken away again: directories that others look into, links,
//! files that stand where somebody else's stood. Each step is one that a crash leaves done or not done.

use crate::atomic;
use crate::error::{Error, Kind, Result};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// How a place that is free is found: another process may take one at the same moment.
const ATTEMPTS: u32 = 64;

fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "do it as root (`sudo xeno …`), or name a place of your own",
        io::ErrorKind::ReadOnlyFilesystem => "remount it so that it can be written to, or name a place elsewhere",
        _ => return Error::io(operation, path, error),
    };
    Error::new(Kind::Io, operation, path.display(), &error, remedy).with_source(error)
}

/// Writes a file as [`atomic::write_file`] does, with a remedy where the place is somebody else's.
///
/// # Errors
/// When it cannot be written.
pub fn put_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The atomic door says what failed, but not that root could: ask first.
    let access = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    if let Err(errno) = nix::unistd::faccessat(nix::fcntl::AT_FDCWD, directory, access, nix::fcntl::AtFlags::AT_EACCESS) {
        return Err(failed("write", path, io::Error::from(errno)));
    }
    atomic::write_file(path, bytes, mode)
}

/// Makes a directory and those above it (0755); gives it `mode` if one is named, also if it is there.
///
/// # Errors
/// When it cannot be made, or is something else.
pub fn make_directory(path: &Path, mode: Option<u32>) -> Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|e| failed("create", path, e))?;
        // The caller's umask is about files of his own, and these are for everybody.
        fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(|e| failed("change the mode of", path, e))?;
    }
    let Some(mode) = mode else { return Ok(()) };
    let known = fs::metadata(path).map_err(|e| failed("look at", path, e))?.permissions().mode() & 0o7777;
    if known == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| failed("change the mode of", path, e))
}

/// Makes a symbolic link where nothing is.
///
/// # Errors
/// When something is there, or the place cannot be written to.
pub fn make_link(path: &Path, target: &Path) -> Result<()> {
    symlink(target, path).map_err(|e| failed("link", path, e))
}

/// Gives the file or link at `path` a second name, in place of what has that name: what is then put at `path`
/// can be taken back by [`put_back`]. At no moment is there nothing at `path`. What `wanted` does not want once it
/// has a name of its own is not kept: another process may have put something at `path` since it was looked at.
///
/// # Errors
/// When the directory cannot be written to.
pub fn keep_as(path: &Path, saved: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
    for attempt in 0..ATTEMPTS {
        let temporary = temporary(saved, attempt);
        // linkat(2) without AT_SYMLINK_FOLLOW: of a link, the link itself.
        match fs::hard_link(path, &temporary) {
            Ok(()) if !wanted(&temporary) => return remove(&temporary),
            Ok(()) => {
                fs::rename(&temporary, saved).map_err(|e| failed("rename into", saved, e))?;
                // Of two names of one file rename(2) leaves both: it was kept before.
                return remove(&temporary);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => return Err(failed("keep", path, e)),
            // Some file systems have no second names, and some kernels allow them for one's own files only.
            Err(_) => return copy_as(path, saved),
        }
    }
    Err(failed("keep", path, io::Error::from(io::ErrorKind::AlreadyExists)))
}

/// The same by a copy.
fn copy_as(path: &Path, saved: &Path) -> Result<()> {
    let keep = |e| failed("keep", path, e);
    let meta = fs::symlink_metadata(path).map_err(keep)?;
    if meta.is_file() {
        return put_file(saved, &fs::read(path).map_err(keep)?, meta.permissions().mode() & 0o7777);
    }
    let (target, temporary) = (fs::read_link(path).map_err(keep)?, temporary(saved, 0));
    remove(&temporary)?;
    make_link(&temporary, &target)?;
    fs::rename(&temporary, saved).map_err(|e| failed("rename into", saved, e))
}

fn temporary(beside: &Path, attempt: u32) -> PathBuf {
    let mut name = beside.as_os_str().to_owned();
    name.push(format!(".{}-{attempt}", std::process::id()));
    PathBuf::from(name)
}

/// Gives what [`keep_as`] kept its own name back, in place of what is there.
///
/// # Errors
/// When the directory cannot be written to.
pub fn put_back(saved: &Path, path: &Path) -> Result<()> {
    fs::rename(saved, path).map_err(|e| failed("rename into", path, e))
}

/// Removes a file or link; it is no error if it is gone.
///
/// # Errors
/// When the directory cannot be written to.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes a directory if it is empty; says whether it is gone.
pub fn remove_empty(path: &Path) -> bool {
    matches!(fs::remove_dir(path), Ok(())) || !path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_the_name_is_never_free() {
        let dir = tempfile::tempdir().unwrap();
        let (path, saved) = (dir.path().join("ld.so"), dir.path().join("ld.so.saved"));
        symlink("the/real/one", &path).unwrap();
        for _ in 0..2 {
            keep_as(&path, &saved, &|_| true).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left, also if it is kept already");
        }
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("the/real/one"), "still there");
        put_file(&path, b"ours", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        keep_as(&path, &dir.path().join("again"), &|_| true).unwrap();
        assert_eq!(fs::read(dir.path().join("again")).unwrap(), b"ours", "a file as well as a link");
        keep_as(&path, &saved, &|kept| fs::read(kept).unwrap() != b"ours").unwrap();
        assert_eq!(fs::read_link(&saved).unwrap(), Path::new("the/real/one"), "what came meanwhile is not kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "and nothing is left of it");
        put_back(&saved, &path).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("the/real/one"));
        assert!(!saved.exists());
    }

    #[test]
    fn what_has_no_second_name_is_kept_as_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "loader").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o751)).unwrap();
        symlink("the/real/one", &link).unwrap();
        for path in [&file, &link] {
            copy_as(path, &path.with_extension("saved")).unwrap();
        }
        let saved = dir.path().join("file.saved");
        assert_eq!((fs::read(&saved).unwrap(), fs::metadata(&saved).unwrap().permissions().mode() & 0o7777), (b"loader".to_vec(), 0o751));
        assert_eq!(fs::read_link(dir.path().join("link.saved")).unwrap(), Path::new("the/real/one"));
    }

    #[test]
    fn a_directory_for_everybody_has_its_mode_and_is_removed_only_when_empty() {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("a/u");
        make_directory(&users, Some(0o1777)).unwrap();
        assert_eq!(fs::metadata(&users).unwrap().permissions().mode() & 0o7777, 0o1777);
        make_link(&users.join("x"), Path::new("y")).unwrap();
        assert!(make_link(&users.join("x"), Path::new("z")).is_err(), "it is taken");
        assert!(!remove_empty(&users));
        remove(&users.join("x")).unwrap();
        remove(&users.join("x")).unwrap();
        assert!(remove_empty(&users));
    }
}
