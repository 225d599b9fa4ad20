//! Applies the steps that make a tree, one after the other, by descriptors: every destination is found inside
//! the new root, every source in the old one. Knows nothing of processes; decides nothing.

mod bind;
mod place;
mod special;
mod table;

pub(crate) use table::below;

use crate::error::Fault;
use crate::op::{Access, Content, Op};
use crate::sys;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The mode of directories that a step needs and nobody asked for.
const PARENT_MODE: u32 = 0o755;
/// The name, at the bottom of the root, of what is there while a step is applied.
const TEMPORARY: &str = ".xeno-new";
/// The mode of the empty file that a file is bound over.
const PLACE_MODE: u32 = 0o444;

/// A root that is being made.
pub(crate) struct Tree {
    /// The working directory in which it was begun: relative sources are looked up there.
    start: OwnedFd,
    /// The tmpfs at the bottom. Temporary files are made here.
    base: OwnedFd,
    /// What is mounted at `/` by now: the tmpfs, or what was bound or mounted over it.
    root: Option<OwnedFd>,
}

impl Tree {
    /// Mounts an empty tmpfs on top of `/` (the crate's documentation says how that can be).
    pub(crate) fn stack() -> nix::Result<Tree> {
        Ok(Tree { start: sys::directory(".")?, base: sys::stack_tmpfs()?, root: None })
    }

    /// The directory that is `/` in the new root.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_ref().unwrap_or(&self.base).as_fd()
    }

    /// Applies one step that concerns the tree.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Fault> {
        match op {
            Op::Bind { source, path, access, optional } => match self.bind(source, path, *access) {
                Err(Fault::Source(Errno::ENOENT)) if *optional => Ok(()),
                result => result,
            },
            Op::Tmpfs { path, mode, size } => {
                let options = match size {
                    Some(size) => format!("mode={mode:o},size={size}"),
                    None => format!("mode={mode:o}"),
                };
                self.mount(path, |at| sys::mount_at(at, "tmpfs", sys::NOSUID_NODEV, &options))
            }
            Op::Proc { path, own } => self.proc(path, *own),
            Op::MinimalDev(path) => self.minimal_dev(path),
            Op::MessageQueues(path) => self.mount(path, |at| sys::mount_at(at, "mqueue", sys::NOSUID_NODEV | sys::NOEXEC, "")),
            Op::Overlay { path, lowers, upper } => self.overlay(path, lowers, upper),
            Op::MakeDirectory { path, mode } => self.make_directory(path, *mode).map(drop),
            Op::MakeFile { path, content, mode } => self.make_file(path, content, *mode),
            Op::BindContent { path, content, access, mode } => self.bind_content(path, content, *access, *mode),
            Op::Link { path, target } => self.make_link(path, target),
            Op::Mode { path, mode } => Ok(sys::change_mode(self.open(path)?.as_fd(), Mode::from_bits_truncate(*mode))?),
            Op::ReadOnly(path) => Ok(sys::make_read_only(self.open(path)?.as_fd())?),
            // The steps of a process, which [`crate::apply`] takes itself.
            Op::Unshare { .. }
            | Op::DenySetgroups
            | Op::MapUser(_)
            | Op::MapGroup(_)
            | Op::Slave
            | Op::Stack
            | Op::ChangeRoot
            | Op::PivotRoot
            | Op::WorkingDirectory { .. } => Err(Fault::Errno(Errno::ENOSYS)),
        }
    }

    /// Mounts a file system at a directory, which is made.
    fn mount(&mut self, path: &Path, mount: impl FnOnce(BorrowedFd<'_>) -> nix::Result<()>) -> Result<(), Fault> {
        let at = self.make_directory(path, PARENT_MODE)?;
        mount(at.as_fd())?;
        self.covered(path)
    }

    /// What was mounted at `/` is the root from now on.
    fn covered(&mut self, path: &Path) -> Result<(), Fault> {
        if place::is_root(path) {
            self.root = Some(sys::topmost_root()?);
        }
        Ok(())
    }

    fn make_file(&mut self, path: &Path, content: &Content, mode: u32) -> Result<(), Fault> {
        let (parent, name) = self.parent_of(path)?;
        let mode = Mode::from_bits_truncate(mode);
        let file = match sys::create_at(parent.as_fd(), &name, mode) {
            Err(Errno::EEXIST) => self.open_to_replace(path)?,
            result => result?,
        };
        sys::fill(file.as_fd(), content)?;
        // What was there had a mode of its own.
        Ok(nix::sys::stat::fchmod(&file, mode)?)
    }

    fn bind_content(&mut self, path: &Path, content: &Content, access: Access, mode: u32) -> Result<(), Fault> {
        let name = OsStr::new(TEMPORARY);
        let file = sys::create_at(self.base.as_fd(), name, Mode::from_bits_truncate(mode))?;
        let result = sys::fill(file.as_fd(), content).map_err(Fault::from).and_then(|()| {
            let source = sys::open_name(self.base.as_fd(), name)?;
            self.bind_opened(source.as_fd(), path, access)
        });
        sys::unlink_at(self.base.as_fd(), name)?;
        result
    }

    fn make_link(&mut self, path: &Path, target: &Path) -> Result<(), Fault> {
        let (parent, name) = self.parent_of(path)?;
        match sys::link_at(parent.as_fd(), &name, target) {
            Err(Errno::EEXIST) => match sys::read_link_at(parent.as_fd(), &name) {
                Ok(found) if found == target => Ok(()),
                Ok(found) => Err(Fault::OtherLink(found)),
                Err(_) => Err(Fault::Errno(Errno::EEXIST)),
            },
            result => Ok(result?),
        }
    }
}
