//! Binds files and trees: cloned, restricted while nobody can reach them, then attached. Where the kernel lacks
//! the calls for that, bound first and restricted afterwards.

use super::Tree;
use crate::error::Fault;
use crate::op::{Access, Source};
use crate::sys::{self, EntryType};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

impl Tree {
    pub(super) fn bind(&mut self, source: &Source, path: &Path, access: Access) -> Result<(), Fault> {
        match source {
            Source::Path(from) => match sys::clone_tree(self.start.as_fd(), from) {
                Ok(tree) => self.attach(tree, path, access),
                Err(errno) if sys::lacks(errno) => {
                    let opened = sys::open_source(self.start.as_fd(), from).map_err(Fault::Source)?;
                    self.bind_opened(opened.as_fd(), path, access)
                }
                Err(errno) => Err(Fault::Source(errno)),
            },
            Source::Descriptor(fd) => {
                // The descriptor itself leads into the mounts of another namespace.
                let (from, wanted) = sys::path_of(*fd).map_err(Fault::Source)?;
                let opened = sys::open_source(self.start.as_fd(), &from).map_err(Fault::Source)?;
                if sys::identity_of(opened.as_fd())? != wanted {
                    return Err(Fault::OtherFile);
                }
                self.bind_opened(opened.as_fd(), path, access)
            }
        }
    }

    /// Binds what a descriptor refers to, which was opened in this mount namespace.
    pub(super) fn bind_opened(&mut self, source: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), Fault> {
        match sys::clone_opened_tree(source) {
            Ok(tree) => self.attach(tree, path, access),
            Err(errno) if sys::lacks(errno) => self.bind_classic(source, path, access),
            Err(errno) => Err(errno.into()),
        }
    }

    fn attach(&mut self, tree: OwnedFd, path: &Path, access: Access) -> Result<(), Fault> {
        let restricted = match sys::restrict_tree(tree.as_fd(), access) {
            Ok(()) => true,
            Err(errno) if sys::lacks(errno) => false,
            Err(errno) => return Err(errno.into()),
        };
        let at = self.place_for(tree.as_fd(), path)?;
        sys::attach(tree.as_fd(), at.as_fd())?;
        if super::place::is_root(path) {
            self.root = Some(tree);
        }
        if restricted { Ok(()) } else { self.restrict_classic(path, access) }
    }

    fn place_for(&self, source: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Fault> {
        match sys::kind_of(source)? {
            EntryType::Directory => self.make_directory(path, super::PARENT_MODE),
            EntryType::Link | EntryType::Other => self.make_place(path),
        }
    }

    fn bind_classic(&mut self, source: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), Fault> {
        let at = self.place_for(source, path)?;
        sys::bind_by_descriptors(source, at.as_fd())?;
        self.covered(path)?;
        self.restrict_classic(path, access)
    }

    /// `mount(2)` restricts one mount at a time, so those below have to be known: the one place that reads the
    /// table of mounts, on kernels before 5.12 alone (`mount_setattr(2)`).
    fn restrict_classic(&mut self, path: &Path, access: Access) -> Result<(), Fault> {
        let top = self.open(path)?;
        sys::restrict_mount(top.as_fd(), access)?;
        for below in sys::mounts_below(top.as_fd())? {
            let below: PathBuf = path.join(below);
            match self.open(&below) {
                Ok(mount) => sys::restrict_mount(mount.as_fd(), access)?,
                // What cannot be reached cannot be used.
                Err(Errno::EACCES | Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
