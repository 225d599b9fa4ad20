//! The crate's one door to the kernel for files and mounts: thin calls, no decisions.

use crate::host::EntryKind;
use crate::op::Access;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, mkdirat, stat};
use nix::sys::statvfs::{FsFlags, fstatvfs, statvfs};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, UnlinkatFlags, chroot, fchdir, fork, getegid, geteuid, pipe2, pivot_root, symlinkat, unlinkat, write};
use rustix::mount as new;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NO_PATH: Option<&str> = None;
/// What a mount of ours never has.
pub(crate) const NOSUID: MsFlags = MsFlags::MS_NOSUID;
pub(crate) const NOSUID_NODEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
pub(crate) const NOTHING: MsFlags = MsFlags::empty();
pub(crate) const NOEXEC: MsFlags = MsFlags::MS_NOEXEC;
/// How often a lookup that a rename has disturbed is tried again (`openat2(2)`, EAGAIN).
const LOOKUPS_MAX: usize = 64;

/// Whether a failed call is one that this kernel, or a filter on the way to it, does not have. A filter that was
/// written before the call existed may say EPERM; then the older call tells whether that is the reason.
pub(crate) fn lacks(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM)
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// A path that leads to what a descriptor refers to, for calls that take none.
pub(crate) fn place_of(fd: BorrowedFd<'_>) -> PathBuf {
    proc_path(fd).into()
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

// ---- namespaces and roots ----

pub(crate) fn unshare_mounts(user: bool) -> nix::Result<()> {
    let mut flags = CloneFlags::CLONE_NEWNS;
    flags.set(CloneFlags::CLONE_NEWUSER, user);
    unshare(flags)
}

pub(crate) fn make_slave() -> nix::Result<()> {
    mount(NO_PATH, "/", NO_PATH, MsFlags::MS_SLAVE | MsFlags::MS_REC, NO_PATH)
}

/// Mounts a tmpfs on `/` and opens it, or does neither.
pub(crate) fn stack_tmpfs() -> nix::Result<OwnedFd> {
    mount(Some("xeno"), "/", Some("tmpfs"), NOSUID_NODEV, Some("mode=0755"))?;
    let opened = topmost_root();
    if opened.is_err() {
        umount2("/..", MntFlags::MNT_DETACH)?;
    }
    opened
}

/// The mount on top of all those at `/`: `..` ends there, a lookup of `/` does not.
pub(crate) fn topmost_root() -> nix::Result<OwnedFd> {
    directory("/..")
}

/// A directory, as a place.
pub(crate) fn directory(path: &str) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Makes a directory the root without moving any mount.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> nix::Result<()> {
    fchdir(root)?;
    chroot(".")
}

/// Makes a mount the root and detaches all there was before. `pivot_root(2)`, "pivot_root(".", ".")".
pub(crate) fn pivot(root: BorrowedFd<'_>) -> nix::Result<()> {
    fchdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}

/// Gives the process its old root and working directory back. The tmpfs is unmounted too, for a root that is not
/// the top of the stack on `/` counts as a chroot (`current_chrooted`).
pub(crate) fn go_back(root: BorrowedFd<'_>, cwd: BorrowedFd<'_>) -> nix::Result<()> {
    change_root(root)?;
    umount2("/..", MntFlags::MNT_DETACH)?;
    fchdir(cwd)
}

/// Writes a file of the kernel's in one call.
pub(crate) fn put(path: &str, bytes: &[u8]) -> nix::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, bytes).map(drop)
}

// ---- lookups ----

/// Opens a path as if `root` were the root (`openat2(2)`, RESOLVE_IN_ROOT).
///
/// # Errors
/// Those of the call; ENOSYS and EPERM where it is not there.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut left = LOOKUPS_MAX;
    loop {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN) if left > 0 => left -= 1,
            result => return result,
        }
    }
}

/// One name of a directory, a link not followed.
pub(crate) fn open_name(dir: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// What a place refers to, opened again to be used.
pub(crate) fn reopen(place: BorrowedFd<'_>, flags: OFlag) -> nix::Result<OwnedFd> {
    open(proc_path(place).as_str(), flags, Mode::empty())
}

/// Opens a path from `root` that meets no link (`openat2(2)`, RESOLVE_NO_SYMLINKS); ELOOP if it does.
pub(crate) fn open_without_links(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how)
}

pub(crate) fn read_link_at(dir: BorrowedFd<'_>, name: &OsStr) -> nix::Result<PathBuf> {
    readlinkat(dir, name).map(PathBuf::from)
}

/// The path a descriptor was opened by, and what it refers to.
pub(crate) fn path_of(fd: RawFd) -> nix::Result<(PathBuf, (u64, u64))> {
    let link = format!("/proc/self/fd/{fd}");
    let found = stat(link.as_str())?;
    Ok((readlinkat(AT_FDCWD, link.as_str())?.into(), numbers(&found)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryType {
    Directory,
    Link,
    Other,
}

pub(crate) fn kind_of(fd: BorrowedFd<'_>) -> nix::Result<EntryType> {
    fstat(fd).map(|found| kind(&found))
}

/// What a place leads to, with its device and inode.
pub(crate) fn kind_and_identity(place: BorrowedFd<'_>) -> nix::Result<(EntryType, (u64, u64))> {
    fstat(place).map(|found| (kind(&found), numbers(&found)))
}

fn kind(found: &FileStat) -> EntryType {
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => EntryType::Directory,
        SFlag::S_IFLNK => EntryType::Link,
        _ => EntryType::Other,
    }
}

pub(crate) fn change_directory(to: BorrowedFd<'_>) -> nix::Result<()> {
    fchdir(to)
}

/// Whether the process may write there.
pub(crate) fn may_write(place: BorrowedFd<'_>) -> bool {
    let asked = nix::unistd::eaccess(proc_path(place).as_str(), nix::unistd::AccessFlags::W_OK);
    !matches!(asked, Err(Errno::EACCES | Errno::EROFS | Errno::EPERM))
}

// ---- entries of the new root ----

pub(crate) fn directory_at(dir: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> nix::Result<()> {
    mkdirat(dir, name, mode)
}

pub(crate) fn create_at(dir: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, mode)
}

pub(crate) fn link_at(dir: BorrowedFd<'_>, name: &OsStr, target: &Path) -> nix::Result<()> {
    symlinkat(target, dir, name)
}

pub(crate) fn unlink_at(dir: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
}

pub(crate) fn remove_directory_at(dir: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}

pub(crate) fn change_mode(place: BorrowedFd<'_>, mode: Mode) -> nix::Result<()> {
    fchmodat(AT_FDCWD, proc_path(place).as_str(), mode, FchmodatFlags::FollowSymlink)
}

/// The next bytes of a file; none at its end.
pub(crate) fn read_some<'a>(file: BorrowedFd<'_>, buffer: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    loop {
        match nix::unistd::read(file, buffer) {
            Ok(n) => return Ok(buffer.get(..n).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(0) => return Err(Errno::ENOSPC),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Takes over a descriptor that the caller left open for this process: it is closed in the end, and on exec.
///
/// # Errors
/// EBADF if none was inherited under this number: it is closed, was taken over before, or is one of this process's own,
/// which all close on exec.
pub fn inherited(fd: RawFd) -> nix::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: only asks whether the number is open.
    let flags = unsafe { nix::libc::fcntl(fd, nix::libc::F_GETFD) };
    if fd < 0 || flags < 0 || flags & nix::libc::FD_CLOEXEC != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: sets a flag of a descriptor that is open.
    unsafe { nix::libc::fcntl(fd, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
    // SAFETY: it is open, and as it would have survived an exec it is none of ours: whoever names it gives it away. A
    // second time its number is found closed, or marked as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// ---- mounts ----

/// A copy of the mounts at and below a place, attached nowhere (`open_tree(2)`).
pub(crate) fn clone_tree(source: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    new::open_tree(source, c"", CLONE | new::OpenTreeFlags::AT_EMPTY_PATH).map_err(errno)
}

const CLONE: new::OpenTreeFlags =
    new::OpenTreeFlags::OPEN_TREE_CLONE.union(new::OpenTreeFlags::OPEN_TREE_CLOEXEC).union(new::OpenTreeFlags::AT_RECURSIVE);

/// `move_mount(2)`.
pub(crate) fn attach(tree: BorrowedFd<'_>, at: BorrowedFd<'_>) -> nix::Result<()> {
    use new::MoveMountFlags as F;
    new::move_mount(tree, c"", at, c"", F::MOVE_MOUNT_F_EMPTY_PATH | F::MOVE_MOUNT_T_EMPTY_PATH).map_err(errno)
}

/// The kernel's `struct mount_attr` (`<linux/mount.h>`).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set_attributes(mount: RawFd, name: &CStr, set: u64, recursive: bool) -> nix::Result<()> {
    if set == 0 {
        return Ok(());
    }
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    let named = if name.is_empty() { nix::libc::AT_EMPTY_PATH } else { nix::libc::AT_SYMLINK_NOFOLLOW };
    let flags = named | if recursive { nix::libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the name is NUL-terminated, and the structure outlives the call, which is told its size.
    let result = unsafe {
        nix::libc::syscall(nix::libc::SYS_mount_setattr, mount, name.as_ptr(), flags, &raw const attributes, size_of::<MountAttributes>())
    };
    Errno::result(result).map(drop)
}

fn attributes(access: Access) -> u64 {
    match access {
        Access::Unchanged => 0,
        Access::ReadOnly => nix::libc::MOUNT_ATTR_RDONLY | nix::libc::MOUNT_ATTR_NOSUID | nix::libc::MOUNT_ATTR_NODEV,
        Access::ReadWrite => nix::libc::MOUNT_ATTR_NOSUID | nix::libc::MOUNT_ATTR_NODEV,
        Access::Devices => nix::libc::MOUNT_ATTR_NOSUID,
    }
}

/// Restricts a tree and everything mounted below it (`mount_setattr(2)`).
pub(crate) fn restrict_tree(tree: BorrowedFd<'_>, access: Access) -> nix::Result<()> {
    set_attributes(tree.as_raw_fd(), c"", attributes(access), true)
}

/// The same for what is mounted at a name of the working directory.
pub(crate) fn restrict_here(name: &OsStr, access: Access) -> nix::Result<()> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    set_attributes(nix::libc::AT_FDCWD, &name, attributes(access), true)
}

/// Makes one mount read-only, nosuid and nodev; EINVAL if the place is not its root.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> nix::Result<()> {
    match set_attributes(mount.as_raw_fd(), c"", attributes(Access::ReadOnly), false) {
        Err(errno) if lacks(errno) => restrict_mount(mount, Access::ReadOnly),
        result => result,
    }
}

/// Binds what a descriptor refers to at a name of the working directory.
pub(crate) fn bind_here(from: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    mount(Some(proc_path(from).as_str()), name, NO_PATH, MsFlags::MS_BIND | MsFlags::MS_REC, NO_PATH)
}

/// Binds by `mount(2)`, for kernels before 5.2.
pub(crate) fn bind_by_descriptors(source: BorrowedFd<'_>, at: BorrowedFd<'_>) -> nix::Result<()> {
    mount(Some(proc_path(source).as_str()), proc_path(at).as_str(), NO_PATH, MsFlags::MS_BIND | MsFlags::MS_REC, NO_PATH)
}

/// Restricts one mount by `mount(2)`, for kernels before 5.12.
pub(crate) fn restrict_mount(mounted: BorrowedFd<'_>, access: Access) -> nix::Result<()> {
    match access {
        Access::Unchanged => Ok(()),
        Access::ReadOnly => remount(mounted, MsFlags::MS_RDONLY | NOSUID_NODEV),
        Access::ReadWrite => remount(mounted, NOSUID_NODEV),
        Access::Devices => remount(mounted, NOSUID),
    }
}

/// Adds flags to a mount. The call must name the flags that a less privileged namespace may not clear
/// (`mount_namespaces(7)`, "locked"); the atime flags stay as they are when none is named (`do_mount` in
/// `fs/namespace.c`).
fn remount(mounted: BorrowedFd<'_>, add: MsFlags) -> nix::Result<()> {
    let has = fstatvfs(mounted)?.flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | add;
    for (flag, bit) in [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        flags.set(bit, flags.contains(bit) || has.contains(flag));
    }
    mount(NO_PATH, proc_path(mounted).as_str(), NO_PATH, flags, NO_PATH)
}

/// Mounts a file system at a directory, whatever leads there.
pub(crate) fn mount_at(at: BorrowedFd<'_>, kind: &str, flags: MsFlags, options: impl AsRef<OsStr>) -> nix::Result<()> {
    fchdir(at)?;
    mount(Some(kind), ".", Some(kind), flags, Some(options.as_ref()))
}

/// Detaches a mount by a descriptor of its root.
pub(crate) fn detach(mounted: BorrowedFd<'_>) -> nix::Result<()> {
    umount2(proc_path(mounted).as_str(), MntFlags::MNT_DETACH)
}

/// The number of the mount that a descriptor leads to, as in the kernel's table of mounts.
pub(crate) fn mount_number(at: BorrowedFd<'_>) -> nix::Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", at.as_raw_fd())).map_err(kernel_errno)?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|n| n.trim().parse().ok()).ok_or(Errno::EIO)
}

/// The mounts below one, as paths from it: out of the kernel's table, by the numbers of mounts.
pub(crate) fn mounts_below(top: BorrowedFd<'_>) -> nix::Result<Vec<PathBuf>> {
    let number = mount_number(top)?;
    let table = std::fs::read("/proc/self/mountinfo").map_err(kernel_errno)?;
    Ok(crate::tree::below(&table, number))
}

fn kernel_errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// An overlay that is attached nowhere; `None` where the kernel cannot be given layers one by one (before 6.5).
pub(crate) fn new_overlay(lowers: &[OwnedFd], upper: Option<(&Path, &Path)>) -> nix::Result<Option<OwnedFd>> {
    let options = match new::fsopen(c"overlay", new::FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(options) => options,
        Err(e) if lacks(errno(e)) => return Ok(None),
        Err(e) => return Err(errno(e)),
    };
    // A text of `fsconfig(2)` has at most 255 bytes; a descriptor's name always fits.
    let set = |key: &str, path: &Path| new::fsconfig_set_string(&options, key, path).map_err(errno);
    // The highest comes first.
    for (at, lower) in lowers.iter().rev().enumerate() {
        match set("lowerdir+", &place_of(lower.as_fd())) {
            Err(Errno::EINVAL) if at == 0 => return Ok(None),
            result => result?,
        }
    }
    if let Some((upper, work)) = upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
    }
    new::fsconfig_set_flag(&options, c"userxattr").map_err(errno)?;
    new::fsconfig_create(&options).map_err(errno)?;
    let attributes = new::MountAttrFlags::empty();
    new::fsmount(&options, new::FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Some).map_err(errno)
}

/// What standard output is, as `proc(5)` names it and by its device and inode, if it is a terminal.
pub(crate) fn terminal() -> Option<(PathBuf, (u64, u64))> {
    // SAFETY: asks about a descriptor by its number, and takes no pointer.
    let is_terminal = unsafe { nix::libc::isatty(nix::libc::STDOUT_FILENO) } == 1;
    is_terminal.then(|| path_of(nix::libc::STDOUT_FILENO).ok()).flatten()
}

// ---- processes ----

/// Runs a function in a child that ends at once, and returns what it said: `None` if it was killed.
///
/// The process may have other threads, whose locks nobody opens in the child: the function must do little more
/// than make system calls.
pub(crate) fn in_child(what: impl FnOnce() -> [u8; 8]) -> nix::Result<Option<[u8; 8]>> {
    let (read, write_end) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child makes system calls and small allocations, which fork(2) of every C library allows, and
    // `_exit` runs no handler.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let told = write(&write_end, &what());
            // SAFETY: always; it ends the process.
            unsafe { nix::libc::_exit(i32::from(told.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(write_end);
            let mut report = [0u8; 8];
            let told = std::fs::File::from(read).read_exact(&mut report);
            while waitpid(child, None) == Err(Errno::EINTR) {}
            Ok(told.ok().map(|()| report))
        }
    }
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
    Ok(numbers(&stat(path)?))
}

pub(crate) fn identity_of(fd: BorrowedFd<'_>) -> nix::Result<(u64, u64)> {
    Ok(numbers(&fstat(fd)?))
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the fields' types differ between C libraries")]
fn numbers(found: &FileStat) -> (u64, u64) {
    (found.st_dev as u64, found.st_ino as u64)
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
