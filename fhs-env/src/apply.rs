//! Applies the steps of a plan to the calling process, in order, and takes back what it can of them when one fails.

use crate::error::Fault;
use crate::op::Op;
use crate::sys;
use crate::tree::Tree;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The step that failed, by position, and what the way back came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) index: usize,
    pub(crate) fault: Fault,
    /// Set when the old root could not be restored.
    pub(crate) lost: Option<Errno>,
}

/// The way back: the root and working directory that the process had. Opened after `unshare`: an older
/// descriptor would lead into the mounts of the old namespace.
struct Anchor {
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Anchor {
    fn here() -> nix::Result<Anchor> {
        Ok(Anchor { root: sys::directory("/")?, cwd: sys::directory(".")? })
    }
}

/// The root while it is made.
#[derive(Default)]
struct Making {
    anchor: Option<Anchor>,
    tree: Option<Tree>,
    /// The old root is gone.
    pivoted: bool,
}

/// Applies the steps in order, or undoes all it can of them. The umask is as before.
pub(crate) fn apply(ops: &[Op]) -> Result<(), Failed> {
    let mask = umask(Mode::empty());
    let mut making = Making::default();
    let mut result = Ok(());
    for (index, op) in ops.iter().enumerate() {
        if let Err(fault) = making.step(op, ops) {
            result = Err(Failed { index, fault, lost: making.go_back().err() });
            break;
        }
    }
    umask(mask);
    result
}

impl Making {
    fn step(&mut self, op: &Op, all: &[Op]) -> Result<(), Fault> {
        match op {
            Op::Unshare { user } => sys::unshare_mounts(*user)?,
            Op::DenySetgroups => sys::put("/proc/self/setgroups", b"deny")?,
            Op::MapUser(id) => sys::put("/proc/self/uid_map", format!("{id} {id} 1").as_bytes())?,
            Op::MapGroup(id) => sys::put("/proc/self/gid_map", format!("{id} {id} 1").as_bytes())?,
            Op::Slave => sys::make_slave()?,
            Op::Stack => {
                let here = Anchor::here()?;
                self.tree = Some(Tree::stack(all)?);
                self.anchor = Some(here);
            }
            Op::ChangeRoot => sys::change_root(self.tree()?.root())?,
            Op::PivotRoot => {
                self.pivoted = true;
                self.tree()?.pivot()?;
            }
            Op::WorkingDirectory { path, identity: wanted } => {
                nix::unistd::chdir(path.as_path())?;
                if wanted.is_some_and(|wanted| sys::identity(Path::new(".")) != Ok(wanted)) {
                    return Err(Fault::OtherDirectory);
                }
            }
            op => self.tree()?.apply(op)?,
        }
        Ok(())
    }

    fn tree(&mut self) -> nix::Result<&mut Tree> {
        self.tree.as_mut().ok_or(Errno::EINVAL)
    }

    /// Until the tmpfs is there, paths and working directory are what they were.
    fn go_back(&self) -> nix::Result<()> {
        match &self.anchor {
            None => Ok(()),
            Some(_) if self.pivoted => Err(Errno::ENOENT),
            Some(anchor) => sys::go_back(anchor.root.as_fd(), anchor.cwd.as_fd()),
        }
    }
}

/// Applies the steps in a child that ends at once.
pub(crate) fn apply_in_child(ops: &[Op]) -> nix::Result<Result<(), Failed>> {
    let report = sys::in_child(|| match apply(ops) {
        Ok(()) => [0u8; 8],
        Err(failed) => encode(&failed),
    })?;
    // A child that says nothing was killed: a seccomp filter may do that.
    Ok(report.map_or(Err(Failed { index: 0, fault: Fault::Step(Errno::ENOSYS), lost: None }), decode))
}

/// Position (plus one) and errno as two native `u32`; all zero is success.
fn encode(failed: &Failed) -> [u8; 8] {
    let errno = failed.fault.errno().map_or(0, |errno| errno as u32);
    let index = u32::try_from(failed.index).unwrap_or(u32::MAX - 1) + 1;
    (u64::from(index) << 32 | u64::from(errno)).to_ne_bytes()
}

fn decode(report: [u8; 8]) -> Result<(), Failed> {
    let word = u64::from_ne_bytes(report);
    let Some(index) = (word >> 32).checked_sub(1) else { return Ok(()) };
    let errno = (word & u64::from(u32::MAX)) as i32;
    let fault = match errno {
        0 => Fault::OtherDirectory,
        raw => Fault::Step(Errno::from_raw(raw)),
    };
    Err(Failed { index: index as usize, fault, lost: None })
}
