//! The crate's one door to the kernel: thin calls, no decisions. What runs between `fork` and
//! `_exit` (everything [`apply`] reaches) allocates nothing.

use crate::host::EntryKind;
use crate::op::Op;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, stat, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, chroot, fchdir, fork, getegid, geteuid, mkdir, pipe2, symlinkat, write};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const NO_PATH: Option<&str> = None;

/// Why one step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The kernel said so.
    Errno(Errno),
    /// The working directory's path leads somewhere else in the new root.
    OtherDirectory,
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Why {
        Why::Errno(errno)
    }
}

/// The step that failed, by position, and what the way back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) index: usize,
    pub(crate) why: Why,
    /// Set when the old root could not be restored.
    pub(crate) lost: Option<Errno>,
}

/// The way back: the root and working directory that the process had. Opened after `unshare`: an
/// older descriptor would lead into the mounts of the old namespace.
struct Anchor {
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Anchor {
    fn here() -> nix::Result<Anchor> {
        let at = |path| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open(path, flags, Mode::empty())
        };
        Ok(Anchor { root: at("/")?, cwd: at(".")? })
    }

    /// Gives the process its old root and working directory back. The tmpfs is unmounted too, for
    /// a root that is not the top of the stack on `/` counts as a chroot (`current_chrooted`).
    fn go_back(&self) -> nix::Result<()> {
        fchdir(&self.root)?;
        chroot(".")?;
        umount2("/..", MntFlags::MNT_DETACH)?;
        fchdir(&self.cwd)
    }
}

/// Applies the steps in order, or undoes all it can of them. The umask is as before.
pub(crate) fn apply(ops: &[Op]) -> Result<(), Failed> {
    let mask = umask(Mode::empty());
    let mut anchor = None;
    let mut result = Ok(());
    for (index, op) in ops.iter().enumerate() {
        if let Err(why) = step(op, &mut anchor) {
            // Until the tmpfs is there, paths and working directory are what they were.
            let back = anchor.as_ref().map_or(Ok(()), Anchor::go_back);
            result = Err(Failed { index, why, lost: back.err() });
            break;
        }
    }
    umask(mask);
    result
}

/// Mounts the tmpfs and steps into it, or does neither.
fn stack() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("xeno"), "/", Some("tmpfs"), flags, Some("mode=0755"))?;
    let stepped = chdir("/..");
    if stepped.is_err() {
        umount2("/..", MntFlags::MNT_DETACH)?;
    }
    stepped
}

fn step(op: &Op, anchor: &mut Option<Anchor>) -> Result<(), Why> {
    match op {
        Op::Unshare { user } => {
            let mut flags = CloneFlags::CLONE_NEWNS;
            flags.set(CloneFlags::CLONE_NEWUSER, *user);
            unshare(flags)?;
        }
        Op::DenySetgroups => put("/proc/self/setgroups", b"deny")?,
        Op::MapUser(id) => map("/proc/self/uid_map", *id)?,
        Op::MapGroup(id) => map("/proc/self/gid_map", *id)?,
        Op::Slave => mount(NO_PATH, "/", NO_PATH, MsFlags::MS_SLAVE | MsFlags::MS_REC, NO_PATH)?,
        Op::Stack => {
            let here = Anchor::here()?;
            stack()?;
            *anchor = Some(here);
        }
        Op::Directory(path) => mkdir(below(path), Mode::from_bits_truncate(0o755))?,
        Op::Symlink { path, target } => symlinkat(target.as_path(), AT_FDCWD, below(path))?,
        Op::File { path, bytes } => create(below(path), bytes)?,
        Op::BindTree(path) => {
            mkdir(below(path), Mode::from_bits_truncate(0o755))?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(path.as_path()), below(path), NO_PATH, flags, NO_PATH)?;
        }
        Op::BindFile(path) => {
            create(below(path), &[])?;
            mount(Some(path.as_path()), below(path), NO_PATH, MsFlags::MS_BIND, NO_PATH)?;
        }
        Op::ReadOnlyRoot => {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(NO_PATH, ".", NO_PATH, flags, NO_PATH)?;
        }
        Op::ChangeRoot => chroot(".")?,
        Op::BindReadOnly { copy, over } => bind_read_only(copy, over)?,
        // A private root of `run` has none of these yet.
        Op::Bind { .. }
        | Op::Tmpfs { .. }
        | Op::Proc { .. }
        | Op::MinimalDev(_)
        | Op::MessageQueues(_)
        | Op::Overlay { .. }
        | Op::MakeDirectory { .. }
        | Op::MakeFile { .. }
        | Op::BindContent { .. }
        | Op::Link { .. }
        | Op::Mode { .. }
        | Op::ReadOnly(_)
        | Op::PivotRoot => return Err(Why::Errno(Errno::ENOSYS)),
        Op::WorkingDirectory { path, identity: wanted } => {
            chdir(path.as_path())?;
            if wanted.is_some_and(|wanted| identity(Path::new(".")) != Ok(wanted)) {
                return Err(Why::OtherDirectory);
            }
        }
    }
    Ok(())
}

/// The path from the new root, which is the working directory while it is being built.
fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn put(path: &str, bytes: &[u8]) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, bytes).map(drop)
}

fn map(path: &str, id: u32) -> nix::Result<()> {
    let mut line = [0u8; 32];
    let mut rest = line.as_mut_slice();
    write!(rest, "{id} {id} 1").map_err(|_| Errno::ENOBUFS)?;
    let unused = rest.len();
    put(path, line.get(..line.len().saturating_sub(unused)).unwrap_or_default())
}

fn create(path: &Path, mut bytes: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = open(path, flags, Mode::from_bits_truncate(0o444))?;
    while !bytes.is_empty() {
        match write(&file, bytes) {
            Ok(0) => return Err(Errno::ENOSPC),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A bind takes its flags only from a second call, which must name the flags a less privileged
/// namespace may not clear (`mount_namespaces(7)`, "locked"); the atime flags stay as they are
/// when none is named (`do_mount` in `fs/namespace.c`).
fn bind_read_only(copy: &Path, over: &Path) -> nix::Result<()> {
    mount(Some(copy), over, NO_PATH, MsFlags::MS_BIND, NO_PATH)?;
    let has = statvfs(over)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    flags.set(MsFlags::MS_NOSUID, has.contains(FsFlags::ST_NOSUID));
    flags.set(MsFlags::MS_NODEV, has.contains(FsFlags::ST_NODEV));
    flags.set(MsFlags::MS_NOEXEC, has.contains(FsFlags::ST_NOEXEC));
    mount(NO_PATH, over, NO_PATH, flags, NO_PATH)
}

/// Applies the steps in a child that ends at once.
pub(crate) fn apply_in_child(ops: &[Op]) -> nix::Result<Result<(), Failed>> {
    let (read, write_end) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the process may have other threads, so the child may call only what is safe in a
    // signal handler (fork(2)): `apply` makes system calls and allocates nothing, paths being
    // copied to the stack by `NixPath` (those over 1 KiB would be allocated; the steps of a probe
    // are the host's top-level names), and `_exit` runs no handler.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let report = match apply(ops) {
                Ok(()) => [0u8; 8],
                Err(failed) => encode(failed),
            };
            let told = write(&write_end, &report);
            // SAFETY: always; it ends the process.
            unsafe { nix::libc::_exit(i32::from(told.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(write_end);
            let mut report = [0u8; 8];
            let told = std::fs::File::from(read).read_exact(&mut report);
            while waitpid(child, None) == Err(Errno::EINTR) {}
            // A child that says nothing was killed: a seccomp filter may do that.
            Ok(match told {
                Ok(()) => decode(report),
                Err(_) => Err(Failed { index: 0, why: Why::Errno(Errno::ENOSYS), lost: None }),
            })
        }
    }
}

/// Position (plus one) and errno as two native `u32`; all zero is success.
fn encode(failed: Failed) -> [u8; 8] {
    let errno = match failed.why {
        Why::Errno(errno) => errno as u32,
        Why::OtherDirectory => 0,
    };
    let index = u32::try_from(failed.index).unwrap_or(u32::MAX - 1) + 1;
    (u64::from(index) << 32 | u64::from(errno)).to_ne_bytes()
}

fn decode(report: [u8; 8]) -> Result<(), Failed> {
    let word = u64::from_ne_bytes(report);
    let Some(index) = (word >> 32).checked_sub(1) else { return Ok(()) };
    let errno = (word & u64::from(u32::MAX)) as i32;
    let why = match errno {
        0 => Why::OtherDirectory,
        raw => Why::Errno(Errno::from_raw(raw)),
    };
    Err(Failed { index: index as usize, why, lost: None })
}

pub(crate) fn effective_ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Whether the process has `CAP_SYS_ADMIN` in its user namespace.
pub(crate) fn may_mount() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

pub(crate) fn getcwd() -> nix::Result<PathBuf> {
    nix::unistd::getcwd()
}

/// Device and inode.
pub(crate) fn identity(path: &Path) -> nix::Result<(u64, u64)> {
    let st = stat(path)?;
    // The types differ between architectures.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the field's type differs between C libraries")]
    Ok((st.st_dev as u64, st.st_ino as u64))
}

pub(crate) fn noexec(path: &Path) -> nix::Result<bool> {
    Ok(statvfs(path)?.flags().contains(FsFlags::ST_NOEXEC))
}

pub(crate) fn read_dir(path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, EntryKind)>>> {
    Ok(std::fs::read_dir(path)?.map(|entry| {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = if kind.is_symlink() {
            EntryKind::Symlink(std::fs::read_link(entry.path())?)
        } else if kind.is_dir() {
            EntryKind::Directory
        } else {
            EntryKind::File
        };
        Ok((entry.file_name(), kind))
    }))
}

pub(crate) fn regular_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err("it is not a regular file".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// The start of a file of the kernel's, or nothing.
pub(crate) fn read_kernel_file(path: &str) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
