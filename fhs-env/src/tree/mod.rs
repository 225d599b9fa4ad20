//! Applies the steps that make a tree, one after the other, by descriptors: every destination is found inside
//! the new root, every source in the old one. Knows nothing of processes; decides nothing.

mod bind;
mod place;
mod special;
mod table;

pub(crate) use table::below;

use crate::error::Fault;
use crate::op::{Access, Content, Op, Source};
use crate::sys;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

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
    /// How many mounts of ours lie on the old root: the tmpfs and what covers it.
    covers: usize,
    /// The old root.
    old: OwnedFd,
    /// Device and inode of the old root, whose tree the new one is stacked on.
    old_root: (u64, u64),
    /// The mounts of the old root, cloned before there was a new one among them.
    old_tree: Option<OwnedFd>,
    /// The device numbers of the tmpfs that were mounted: in a directory of them nobody else can change anything.
    devices: Vec<u64>,
    /// Whether descriptors have names (`/proc/self/fd`).
    named: bool,
    /// The directory of ours in which something was bound last, while nothing can have covered it.
    last: Option<(PathBuf, OwnedFd)>,
}

impl Tree {
    /// Mounts an empty tmpfs on top of `/` (the crate's documentation says how that can be).
    /// The ops say what will be bound.
    pub(crate) fn stack(ops: &[Op]) -> nix::Result<Tree> {
        let start = sys::directory(".")?;
        let old = sys::directory("/")?;
        let old_root = sys::identity_of(old.as_fd())?;
        let whole = |op: &Op| matches!(op, Op::Bind { source: Source::Path(from), .. } if place::is_root(from));
        // Where that is refused, so will the bind be, and better explained.
        let old_tree = if ops.iter().any(whole) { sys::clone_tree(old.as_fd()).ok() } else { None };
        let base = sys::stack_tmpfs()?;
        let (device, _) = sys::identity_of(base.as_fd())?;
        let named = sys::exists("/proc/self/fd");
        Ok(Tree { start, old, named, base, root: None, covers: 1, old_root, old_tree, devices: vec![device], last: None })
    }

    /// Makes the tree the root and detaches the old one. The tmpfs is what changes places with the old root, even
    /// where something covers it: the old root would be put on top of that, and what is detached is the topmost.
    pub(crate) fn pivot(&self) -> nix::Result<()> {
        sys::pivot(self.base.as_fd())?;
        sys::change_root(self.root())
    }

    /// The directory that is `/` in the new root.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_ref().unwrap_or(&self.base).as_fd()
    }

    /// Applies one step that concerns the tree.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Fault> {
        if let Op::Bind { source, path, access, optional } = op {
            return match self.bind(source, path, *access) {
                Err(Fault::Source(Errno::ENOENT)) if *optional => Ok(()),
                result => result,
            };
        }
        match op {
            Op::Tmpfs { path, mode, size } => {
                let options = match size {
                    Some(size) => format!("mode={mode:o},size={size}"),
                    None => format!("mode={mode:o}"),
                };
                self.mount(path, |at| sys::mount_at(at, "tmpfs", sys::NOSUID_NODEV, &options))?;
                let mounted = self.open(path).and_then(|mount| sys::identity_of(mount.as_fd()));
                self.devices.extend(mounted.map(|(device, _)| device));
                Ok(())
            }
            Op::Proc { path, own } => self.proc(path, *own),
            Op::MinimalDev(path) => self.minimal_dev(path),
            Op::MessageQueues(path) => self.mount(path, |at| sys::mount_at(at, "mqueue", sys::NOSUID_NODEV | sys::NOEXEC, "")),
            Op::Overlay { path, lowers, upper } => self.overlay(path, lowers, upper),
            Op::MakeDirectory { path, mode } => self.make_directory(path, *mode).map(drop),
            Op::MakeFile { path, content, mode } => self.make_file(path, content, *mode),
            Op::BindContent { path, content, access, mode } => self.bind_content(path, content, *access, *mode),
            Op::Link { path, target } => self.make_link(path, target),
            Op::Mode { path, mode } => {
                let place = self.open(path).map_err(Fault::Place)?;
                sys::change_mode(place.as_fd(), Mode::from_bits_truncate(*mode)).map_err(Fault::Place)
            }
            Op::ReadOnly(path) => {
                let mount = self.open(path).map_err(Fault::Place)?;
                sys::make_read_only(mount.as_fd()).map_err(Fault::Restrict)
            }
            // Bound above; and the steps of a process, which [`crate::apply`] takes itself.
            Op::Bind { .. }
            | Op::Unshare { .. }
            | Op::DenySetgroups
            | Op::MapUser(_)
            | Op::MapGroup(_)
            | Op::Slave
            | Op::Stack
            | Op::ChangeRoot
            | Op::PivotRoot
            | Op::WorkingDirectory { .. } => Err(Fault::Step(Errno::ENOSYS)),
        }
    }

    /// Mounts a file system at a directory, which is made.
    fn mount(&mut self, path: &Path, mount: impl FnOnce(BorrowedFd<'_>) -> nix::Result<()>) -> Result<(), Fault> {
        let at = self.make_directory(path, PARENT_MODE)?;
        // The working directory becomes another one, and what lay there may be covered.
        self.last = None;
        mount(at.as_fd()).map_err(Fault::Mount)?;
        self.covered(path)
    }

    /// What was mounted at `/` is the root from now on.
    fn covered(&mut self, path: &Path) -> Result<(), Fault> {
        if place::is_root(path) {
            self.root = Some(sys::topmost_root()?);
            self.covers += 1;
        }
        Ok(())
    }

    /// As `creat(2)`: what is there keeps its inode and mode.
    fn make_file(&mut self, path: &Path, content: &Content, mode: u32) -> Result<(), Fault> {
        let (parent, name) = self.parent_of(path)?;
        let file = match (sys::create_at(parent.as_fd(), &name, Mode::from_bits_truncate(mode)), content) {
            // Whoever passes a descriptor means the very file that is there, be it the host's.
            (Err(Errno::EEXIST), Content::Descriptor(_)) => self.open_to_replace(path),
            (Err(Errno::EEXIST), Content::Bytes(_)) => self.open_own_to_replace(path),
            (result, _) => result,
        };
        fill(file.map_err(Fault::Place)?.as_fd(), content)
    }

    fn bind_content(&mut self, path: &Path, content: &Content, access: Access, mode: u32) -> Result<(), Fault> {
        let name = OsStr::new(TEMPORARY);
        let file = sys::create_at(self.base.as_fd(), name, Mode::from_bits_truncate(mode)).map_err(Fault::Write)?;
        let result = fill(file.as_fd(), content).and_then(|()| {
            let source = sys::open_name(self.base.as_fd(), name).map_err(Fault::Source)?;
            self.bind_opened(source.as_fd(), path, access)
        });
        sys::unlink_at(self.base.as_fd(), name)?;
        result
    }

    fn make_link(&mut self, path: &Path, target: &Path) -> Result<(), Fault> {
        if let (Some((last, holder)), Some((parent, name))) = (&self.last, place::split(path))
            && last == parent
            && sys::link_at(holder.as_fd(), name, target).is_ok()
        {
            return Ok(());
        }
        let (parent, name) = self.parent_of(path)?;
        match sys::link_at(parent.as_fd(), &name, target) {
            Err(Errno::EEXIST) => match sys::read_link_at(parent.as_fd(), &name) {
                Ok(found) if found == target => Ok(()),
                Ok(found) => Err(Fault::OtherLink(found)),
                Err(_) => Err(Fault::Place(Errno::EEXIST)),
            },
            result => result.map_err(Fault::Place),
        }
    }
}

/// Writes all of a content.
fn fill(file: BorrowedFd<'_>, content: &Content) -> Result<(), Fault> {
    match content {
        Content::Bytes(bytes) => sys::write_all(file, bytes).map_err(Fault::Write),
        Content::Descriptor(fd) => {
            let from = sys::inherited(*fd).map_err(Fault::Read)?;
            let mut buffer = [0u8; 1 << 16];
            loop {
                match sys::read_some(from.as_fd(), &mut buffer).map_err(Fault::Read)? {
                    [] => return Ok(()),
                    some => sys::write_all(file, some).map_err(Fault::Write)?,
                }
            }
        }
    }
}
