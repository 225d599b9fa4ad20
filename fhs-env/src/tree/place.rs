//! Where a path of the new root lies: found inside of it, whatever links it meets, and made if it is not there.

use super::{PARENT_MODE, PLACE_MODE, Tree};
use crate::error::Fault;
use crate::sys::{self, EntryType};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The most links that are followed on the way to one place (`MAXSYMLINKS` of `<linux/namei.h>`).
const LINKS_MAX: usize = 40;

/// Whether a path of the new root is the root itself.
pub(super) fn is_root(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::RootDir | Component::CurDir))
}

/// Parent and last name; `None` where the path ends in no name.
pub(super) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    match path.components().next_back()? {
        Component::Normal(name) => Some((path.parent().unwrap_or(Path::new("/")), name)),
        _ => None,
    }
}

/// Opens a path as if `root` were the root directory: by one call, or step by step where that call is missing.
fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    match sys::open_beneath(root, path, flags) {
        Err(errno) if sys::lacks(errno) => {}
        result => return result,
    }
    let place = walk(root, path)?;
    if flags.contains(OFlag::O_PATH) { Ok(place) } else { sys::reopen(place.as_fd(), flags) }
}

/// What `openat2(2)` does with `RESOLVE_IN_ROOT`, one name at a time: `..` of the root is the root, and the target of a
/// link is looked up in the root as well.
fn walk(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|e| e.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw));
    let mut way = vec![own(root)?];
    // The names still to go, the next one last.
    let names = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut left = names(path);
    let mut links = LINKS_MAX;
    while let Some(name) = left.pop() {
        match name.as_encoded_bytes() {
            b"/" => way.truncate(1),
            b"." => {}
            b".." => {
                let here = way.last().ok_or(Errno::ENOENT)?;
                if sys::kind_of(here.as_fd())? != EntryType::Directory {
                    return Err(Errno::ENOTDIR);
                }
                way.truncate(way.len().saturating_sub(1).max(1));
            }
            _ => {
                let here = way.last().ok_or(Errno::ENOENT)?.as_fd();
                let next = sys::open_name(here, &name)?;
                if sys::kind_of(next.as_fd())? == EntryType::Link {
                    links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                    left.extend(names(&sys::read_link_at(here, &name)?));
                } else {
                    way.push(next);
                }
            }
        }
    }
    way.pop().ok_or(Errno::ENOENT)
}

impl Tree {
    /// A path of the old root, links followed. `..` of that root would lead to what is mounted on it, which is the new
    /// one: so the kernel is asked for paths without `..` and links alone, and the others are walked.
    pub(super) fn source(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = self.absolute(path)?;
        if !path.components().any(|part| part == Component::ParentDir) {
            match sys::open_without_links(self.old.as_fd(), &path) {
                Err(errno) if errno == Errno::ELOOP || sys::lacks(errno) => {}
                result => return result,
            }
        }
        walk(self.old.as_fd(), &path)
    }

    /// A path that means the same wherever the process is.
    fn absolute<'a>(&self, path: &'a Path) -> nix::Result<Cow<'a, Path>> {
        if path.is_absolute() { Ok(path.into()) } else { Ok(sys::path_of(self.start.as_raw_fd())?.0.join(path).into()) }
    }

    /// What is there, a link followed.
    pub(super) fn open(&self, path: &Path) -> nix::Result<OwnedFd> {
        open_in_root(self.root(), path, OFlag::O_PATH | OFlag::O_CLOEXEC)
    }

    /// A file that is there, emptied and open for writing.
    pub(super) fn open_to_replace(&self, path: &Path) -> nix::Result<OwnedFd> {
        open_in_root(self.root(), path, OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
    }

    /// The same, of a file on a tmpfs of ours; EEXIST for every other, which somebody else may miss.
    pub(super) fn open_own_to_replace(&self, path: &Path) -> nix::Result<OwnedFd> {
        let place = self.open(path)?;
        let (device, _) = sys::identity_of(place.as_fd())?;
        if !self.devices.contains(&device) {
            return Err(Errno::EEXIST);
        }
        sys::reopen(place.as_fd(), OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
    }

    /// The directory, made with its parents if it is not there. One that is there keeps its mode.
    pub(super) fn make_directory(&self, path: &Path, mode: u32) -> Result<OwnedFd, Fault> {
        self.make(path, LINKS_MAX, EntryType::Directory, &|parent, name| {
            sys::directory_at(parent.as_fd(), name, Mode::from_bits_truncate(mode))
        })
    }

    /// The place for a file that will be bound, made empty if there is nothing.
    pub(super) fn make_place(&self, path: &Path) -> Result<OwnedFd, Fault> {
        if is_root(path) {
            return Err(Fault::Place(Errno::EISDIR));
        }
        self.make(path, LINKS_MAX, EntryType::Other, &|parent, name| {
            sys::create_at(parent.as_fd(), name, Mode::from_bits_truncate(PLACE_MODE)).map(drop)
        })
    }

    /// The directory that holds the last name of a path, made if it is not there.
    pub(super) fn parent_of(&self, path: &Path) -> Result<(OwnedFd, OsString), Fault> {
        let (parent, name) = split(path).ok_or(Fault::Place(Errno::EEXIST))?;
        Ok((self.parents(parent, LINKS_MAX)?, name.to_owned()))
    }

    fn make(
        &self,
        path: &Path,
        links: usize,
        kind: EntryType,
        create: &dyn Fn(&OwnedFd, &OsStr) -> nix::Result<()>,
    ) -> Result<OwnedFd, Fault> {
        match self.open(path) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Fault::Place(errno)),
            Ok(found) => {
                return match (kind, sys::kind_of(found.as_fd()).map_err(Fault::Place)?) {
                    (EntryType::Directory, EntryType::Other) => Err(Fault::Place(Errno::ENOTDIR)),
                    (EntryType::Other, EntryType::Directory) => Err(Fault::Place(Errno::EISDIR)),
                    _ => Ok(found),
                };
            }
        }
        let Some((parent, name)) = split(path) else { return Err(Fault::Place(Errno::ENOENT)) };
        let holder = self.parents(parent, links)?;
        match create(&holder, name) {
            // Not followed: whoever may write in a bound directory could have put a link there meanwhile.
            Ok(()) => sys::open_name(holder.as_fd(), name).map_err(Fault::Place),
            // Something is there, and leads nowhere: a link, whose target is what has to be made.
            Err(Errno::EEXIST) => {
                let target = sys::read_link_at(holder.as_fd(), name).map_err(Fault::Place)?;
                let links = links.checked_sub(1).ok_or(Fault::Place(Errno::ELOOP))?;
                let target: PathBuf = if target.is_absolute() { target } else { parent.join(target) };
                self.make(&target, links, kind, create)
            }
            Err(errno) => Err(Fault::Place(errno)),
        }
    }

    fn parents(&self, path: &Path, links: usize) -> Result<OwnedFd, Fault> {
        let made = self.make(path, links, EntryType::Directory, &|parent, name| {
            sys::directory_at(parent.as_fd(), name, Mode::from_bits_truncate(PARENT_MODE))
        });
        made.map_err(|fault| fault.errno().map_or(fault, Fault::Parents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_where_the_kernels_own_lookup_ends() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(dir.path().join(path)).unwrap();
        let link = |path: &str, target: &str| std::os::unix::fs::symlink(target, dir.path().join(path)).unwrap();
        make("run/user");
        make("var");
        std::fs::write(dir.path().join("file"), "").unwrap();
        make("a/b");
        link("var/run", "/run");
        link("a/up", "../../../../run");
        link("a/out", "/../../a/b");
        link("loop", "loop");
        link("dangling", "/nowhere");
        let root = sys::directory(dir.path().to_str().unwrap()).unwrap();
        let paths = [
            "/",
            "/var/run/user",
            "/a/up/user",
            "/a/out",
            "/../a/../run",
            "a//b/.",
            "/loop",
            "/dangling",
            "/a/nowhere",
            "/run/../..",
            "/proc",
            "/file/..",
            "/file/../run",
        ];
        for path in paths.map(Path::new) {
            let identity = |found: nix::Result<OwnedFd>| found.and_then(|fd| sys::identity_of(fd.as_fd()));
            let kernel = identity(sys::open_beneath(root.as_fd(), path, OFlag::O_PATH | OFlag::O_CLOEXEC));
            if kernel == Err(Errno::ENOSYS) {
                return;
            }
            assert_eq!(identity(walk(root.as_fd(), path)), kernel, "{}", path.display());
        }
        assert_eq!(walk(root.as_fd(), Path::new("/loop")).err(), Some(Errno::ELOOP));
    }

    #[test]
    fn the_root_has_no_name_and_dots_name_nothing() {
        assert!(is_root(Path::new("/")) && is_root(Path::new("//.")) && !is_root(Path::new("/a/..")));
        assert_eq!(split(Path::new("/a/b/")), Some((Path::new("/a"), OsStr::new("b"))));
        assert_eq!(split(Path::new("/a/..")), None);
        assert_eq!(split(Path::new("/")), None);
    }
}
