//! Binds files and trees: cloned, restricted while nobody can reach them, then attached. Where the kernel lacks
//! the calls for that, bound first and restricted afterwards.

use super::Tree;
use super::place::{is_root, split};
use crate::error::Fault;
use crate::op::{Access, Source};
use crate::sys::{self, EntryType};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

impl Tree {
    pub(super) fn bind(&mut self, source: &Source, path: &Path, access: Access) -> Result<(), Fault> {
        match source {
            Source::Path(from) => {
                if let Some(tree) = self.old_tree.take_if(|_| is_root(from)) {
                    return self.attach(tree, path, access);
                }
                let opened = self.source(from).map_err(Fault::Source)?;
                if self.bind_within_last(opened.as_fd(), path, access)? {
                    return Ok(());
                }
                self.bind_opened(opened.as_fd(), path, access)
            }
            Source::Descriptor(fd) => {
                // The descriptor itself leads into the mounts of another namespace.
                let (from, wanted) = sys::path_of(*fd).map_err(Fault::Source)?;
                let opened = self.source(&from).map_err(Fault::Source)?;
                if sys::identity_of(opened.as_fd()).map_err(Fault::Source)? != wanted {
                    return Err(Fault::OtherFile);
                }
                self.bind_opened(opened.as_fd(), path, access)
            }
        }
    }

    /// Binds at a new name in a directory of our own tmpfs, by names: nobody can put something else under them. It is
    /// two calls instead of five, and clones the mounts once instead of twice. False if it is no such place.
    fn bind_within_last(&mut self, from: BorrowedFd<'_>, path: &Path, access: Access) -> Result<bool, Fault> {
        let Some((parent, name)) = split(path).filter(|_| self.named) else { return Ok(false) };
        let known = matches!(&self.last, Some((last, _)) if last == parent);
        if !known {
            // What was opened before may lie under what is bound next, until it is found to be ours again.
            self.last = None;
            let Ok(holder) = self.open(parent) else { return Ok(false) };
            let (device, _) = sys::identity_of(holder.as_fd()).map_err(Fault::Parents)?;
            if !self.devices.contains(&device) {
                return Ok(false);
            }
            sys::change_directory(holder.as_fd()).map_err(Fault::Parents)?;
            self.last = Some((parent.to_owned(), holder));
        }
        let Some((_, holder)) = &self.last else { return Ok(false) };
        let mode = |bits| Mode::from_bits_truncate(bits);
        let (kind, identity) = sys::kind_and_identity(from).map_err(Fault::Source)?;
        if identity == self.old_root {
            return Ok(false);
        }
        let made = match kind {
            EntryType::Directory => sys::directory_at(holder.as_fd(), name, mode(super::PARENT_MODE)),
            EntryType::Link | EntryType::Other => sys::create_at(holder.as_fd(), name, mode(super::PLACE_MODE)).map(drop),
        };
        if let Err(errno) = made {
            self.last = None;
            return if errno == Errno::EEXIST { Ok(false) } else { Err(Fault::Place(errno)) };
        }
        sys::bind_here(from, name).map_err(Fault::Mount)?;
        match sys::restrict_here(name, access) {
            Err(errno) if sys::lacks(errno) => self.restrict_classic(path, access)?,
            result => result.map_err(Fault::Restrict)?,
        }
        Ok(true)
    }

    /// Binds what a descriptor refers to, which was opened in this mount namespace.
    pub(super) fn bind_opened(&mut self, source: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), Fault> {
        match sys::clone_tree(source) {
            Ok(tree) => self.attach(tree, path, access),
            Err(errno) if sys::lacks(errno) => self.bind_classic(source, path, access),
            Err(errno) => Err(Fault::Source(errno)),
        }
    }

    fn attach(&mut self, tree: OwnedFd, path: &Path, access: Access) -> Result<(), Fault> {
        self.last = None;
        let restricted = match sys::restrict_tree(tree.as_fd(), access) {
            Ok(()) => true,
            Err(errno) if sys::lacks(errno) => false,
            Err(errno) => return Err(Fault::Restrict(errno)),
        };
        let at = self.place_for(tree.as_fd(), path)?;
        sys::attach(tree.as_fd(), at.as_fd()).map_err(Fault::Mount)?;
        if sys::identity_of(tree.as_fd()).map_err(Fault::Mount)? == self.old_root {
            self.without_own_copies(path, sys::mount_number(tree.as_fd()).map_err(Fault::Mount)?)?;
        }
        if is_root(path) {
            self.root = Some(tree);
            self.covers += 1;
        }
        if restricted { Ok(()) } else { self.restrict_classic(path, access) }
    }

    fn place_for(&self, source: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Fault> {
        match sys::kind_of(source).map_err(Fault::Source)? {
            EntryType::Directory => self.make_directory(path, super::PARENT_MODE),
            EntryType::Link | EntryType::Other => self.make_place(path),
        }
    }

    fn bind_classic(&mut self, source: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), Fault> {
        self.last = None;
        let at = self.place_for(source, path)?;
        sys::bind_by_descriptors(source, at.as_fd()).map_err(Fault::Mount)?;
        if sys::identity_of(source).map_err(Fault::Mount)? == self.old_root && is_old_root(source).map_err(Fault::Mount)? {
            for _ in 0..self.covers {
                sys::detach(self.topmost(path)?.as_fd()).map_err(Fault::Mount)?;
            }
        }
        self.covered(path)?;
        self.restrict_classic(path, access)
    }

    /// A clone of the whole old root has, stacked on it, copies of our tmpfs and of all that covers it by now, as that is
    /// what is mounted on `/`. `clone` is its own number.
    fn without_own_copies(&self, path: &Path, clone: u64) -> Result<(), Fault> {
        loop {
            let top = self.topmost(path)?;
            if sys::mount_number(top.as_fd()).map_err(Fault::Mount)? == clone {
                return Ok(());
            }
            sys::detach(top.as_fd()).map_err(Fault::Mount)?;
        }
    }

    /// The last of the mounts that lie over each other at a path.
    fn topmost(&self, path: &Path) -> Result<OwnedFd, Fault> {
        if is_root(path) { sys::topmost_root() } else { self.open(path) }.map_err(Fault::Mount)
    }

    /// `mount(2)` restricts one mount at a time, so those below have to be known: the one place that reads the
    /// table of mounts, on kernels before 5.12 alone (`mount_setattr(2)`).
    fn restrict_classic(&mut self, path: &Path, access: Access) -> Result<(), Fault> {
        let top = self.open(path).map_err(Fault::Restrict)?;
        sys::restrict_mount(top.as_fd(), access).map_err(Fault::Restrict)?;
        for below in sys::mounts_below(top.as_fd()).map_err(Fault::Restrict)? {
            let below: PathBuf = path.join(below);
            match self.open(&below) {
                Ok(mount) => sys::restrict_mount(mount.as_fd(), access).map_err(Fault::Restrict)?,
                // What cannot be reached cannot be used.
                Err(Errno::EACCES | Errno::ENOENT) => {}
                Err(errno) => return Err(Fault::Restrict(errno)),
            }
        }
        Ok(())
    }
}

/// Whether a directory is the process's root, and not another mount of the same file system.
fn is_old_root(source: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(sys::mount_number(source)? == sys::mount_number(sys::directory("/")?.as_fd())?)
}
