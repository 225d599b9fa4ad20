//! The one door to the kernel through which this crate changes files: thin calls that retry when a
//! signal interrupts them and decide nothing.

use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom, Timestamps, XattrFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Gid, Uid};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h, in bytes.
const XATTR_MOST: usize = 65536;

/// Whether an error is this errno.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Opens for reading and follows no link in the last component. `O_NONBLOCK`: a FIFO without a
/// writer would hang the caller before anybody could see that it is one.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
}

/// Opens an existing file for writing; its bytes stay (no `O_TRUNC`).
pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
}

/// Makes a new file that only its owner can reach; it is an error if the name is taken, even by a link.
pub(super) fn create(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)
}

/// Opens a directory, so that it can be flushed.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    Ok(File::from(retry_on_intr(|| fs::openat(CWD, path, flags | OFlags::CLOEXEC, mode))?))
}

/// Where a symbolic link leads, as it is written; `None` if the path is no link.
pub(super) fn link_target(path: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(e) if is(&e, Errno::INVAL) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sixteen hexadecimal digits that nobody can foresee: a name somebody could guess he could also occupy.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        have += retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
    }
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// ioctl_ficlone(2): all bytes shared, none copied.
pub(super) fn clone_whole(from: &File, to: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::ioctl_ficlone(to, from))?)
}

/// One copy_file_range(2): how many bytes it moved.
pub(super) fn copy_some(from: &File, at: u64, to: &File, to_at: u64, len: usize) -> io::Result<u64> {
    let moved = retry_on_intr(|| {
        // The kernel moves these on; each try begins where the call began.
        let (mut from_offset, mut to_offset) = (at, to_at);
        fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len)
    })?;
    Ok(moved as u64)
}

/// One pread(2).
pub(super) fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pread(file, &mut *buffer, at))?)
}

/// Exactly one pwrite(2): how many bytes it wrote.
pub(super) fn write_some(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pwrite(file, bytes, at))?)
}

/// As many pwrite(2) as it takes.
pub(super) fn write_all(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let wrote = write_some(file, bytes, at)?;
        bytes = bytes.get(wrote..).filter(|_| wrote > 0).ok_or(io::ErrorKind::WriteZero)?;
        at += wrote as u64;
    }
    Ok(())
}

/// lseek(2) with `SEEK_DATA`: the next byte that is stored, `None` if only a hole follows. Never
/// before `at`, whatever a file system says.
pub(super) fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data.max(at))),
        Err(Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// lseek(2) with `SEEK_HOLE`: where the stored bytes at `at` end.
pub(super) fn next_hole(file: &File, at: u64) -> io::Result<u64> {
    Ok(fs::seek(file, SeekFrom::Hole(at))?)
}

/// Makes a range read as zeros and gives its room back.
pub(super) fn punch(file: &File, at: u64, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len))?)
}

/// Takes the room for a range now, so that writing it cannot find the disk full; the file grows to it.
pub(super) fn reserve(file: &File, at: u64, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fallocate(file, FallocateFlags::empty(), at, len))?)
}

/// ftruncate(2).
pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::ftruncate(file, len))?)
}

/// fsync(2).
pub(super) fn flush(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fsync(file))?)
}

/// fdatasync(2): bytes and length, not the times.
pub(super) fn flush_data(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fdatasync(file))?)
}

/// syncfs(2) on the file system of `file`. Errors are those since `file` was opened (Linux 5.8).
pub(super) fn flush_file_system(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::syncfs(file))?)
}

/// rename(2).
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(fs::renameat(CWD, from, CWD, to)?)
}

/// renameat2(2) with `RENAME_EXCHANGE`: two files swap their names.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(fs::renameat_with(CWD, one, CWD, other, fs::RenameFlags::EXCHANGE)?)
}

/// unlink(2).
pub(super) fn remove(path: &Path) -> io::Result<()> {
    Ok(fs::unlinkat(CWD, path, AtFlags::empty())?)
}

/// fchmod(2) with the permission, set-id and sticky bits of `mode`.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777)))?)
}

/// fchown(2); `None` leaves that half alone.
pub(super) fn set_owner(file: &File, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fchown(file, owner.map(Uid::from_raw), group.map(Gid::from_raw)))?)
}

/// futimens(3): access and modification time as another file's.
pub(super) fn set_times(file: &File, of: &std::fs::Metadata) -> io::Result<()> {
    let time = |tv_sec, tv_nsec| fs::Timespec { tv_sec, tv_nsec };
    let last_access = time(of.atime(), of.atime_nsec());
    let times = Timestamps { last_access, last_modification: time(of.mtime(), of.mtime_nsec()) };
    Ok(retry_on_intr(|| fs::futimens(file, &times))?)
}

/// The names of the extended attributes, without the closing NUL; none where there can be none.
pub(super) fn attributes(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0_u8; XATTR_MOST];
    let len = match retry_on_intr(|| fs::flistxattr(file, names.as_mut_slice())) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        other => other?,
    };
    let names = names.get(..len).unwrap_or_default();
    Ok(names.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// One extended attribute; `None` if it is not there.
pub(super) fn attribute(file: &File, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; XATTR_MOST];
    match retry_on_intr(|| fs::fgetxattr(file, name, value.as_mut_slice())) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// fsetxattr(2).
pub(super) fn set_attribute(file: &File, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fsetxattr(file, name, value, XattrFlags::empty()))?)
}

/// fremovexattr(2); it is no error if it is gone (XFS shows an ACL under two names, and both go at once).
pub(super) fn remove_attribute(file: &File, name: &[u8]) -> io::Result<()> {
    match retry_on_intr(|| fs::fremovexattr(file, name)) {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// flock(2) without waiting: `false` if another open file of this inode holds it. File systems
/// without locks grant it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match retry_on_intr(|| fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether no other open file of this inode is anywhere, be it a descriptor, a map or a running program: the kernel then
/// grants a write lease (fcntl(2), `F_SETLEASE`), which is given back at once. `false` also where it cannot be told: to
/// who does not own the file, and on file systems that hand an open file on to another one (overlays, networks, FUSE).
pub(super) fn is_alone(file: &File) -> bool {
    let local = fs::fstatfs(file).is_ok_and(|found| LEASES.contains(&(found.f_type as u64 & 0xffff_ffff)));
    // Whoever opened the file in between would have a signal sent to this process: one that is ignored by default.
    let alone = local && control(file, F_SETSIG, libc::SIGURG) && control(file, libc::F_SETLEASE, libc::F_WRLCK);
    alone && control(file, libc::F_SETLEASE, libc::F_UNLCK)
}

/// File systems whose inodes know all their open files: ext2 to 4, XFS, btrfs, tmpfs, F2FS (statfs(2)).
const LEASES: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010];

/// asm-generic/fcntl.h; the libc crate has it for one machine only.
const F_SETSIG: libc::c_int = 10;

/// One fcntl(2) whose argument is a number.
#[allow(unsafe_code, reason = "leases have no safe form")]
fn control(file: &File, command: libc::c_int, number: libc::c_int) -> bool {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the commands this is called with take an
    // integer: no memory of ours is read or written.
    unsafe { libc::fcntl(file.as_raw_fd(), command, number) == 0 }
}

/// The effective user.
pub(super) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the caller is in a group, by its effective or its supplementary ones.
pub(super) fn in_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|g| g.as_raw() == group))
}

/// A device as `/proc/PID/maps` writes it (`show_vma_header_prefix`, fs/proc/task_mmu.c).
pub(super) fn device_in_maps(dev: u64) -> String {
    format!("{:02x}:{:02x}", fs::major(dev), fs::minor(dev))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_alone_until_somebody_else_opens_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "a file").unwrap();
        let file = open_to_read(&path).unwrap();
        let local = LEASES.contains(&(fs::fstatfs(&file).unwrap().f_type as u64 & 0xffff_ffff));
        assert_eq!(is_alone(&file), local);
        for open in [open_to_read, open_to_write] {
            let _other = open(&path).unwrap();
            assert!(!is_alone(&file));
        }
        assert_eq!(is_alone(&file), local);
        // The lease is gone: nobody has to wait for it.
        open_to_write(&path).unwrap();
    }
}
