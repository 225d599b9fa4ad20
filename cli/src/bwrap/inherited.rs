//! Descriptors that the caller left open and the words name by number: taken over, read, written. Nothing that this
//! process opened itself is given out under its number.

use nix::libc;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, RawFd};

/// The most that options or a filter of system calls may hold; a device would never end.
const SIZE_MAX: u64 = 64 << 20;

/// Takes over a descriptor, which is closed in the end.
///
/// # Errors
/// `EBADF` if the caller left none open under this number.
pub(super) fn take(fd: RawFd) -> io::Result<File> {
    // SAFETY: F_GETFD asks for one flag and takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // What this process opens closes on exec; what it got did not.
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and as it would survive an exec it is none of ours, which all close on exec (the standard
    // library's and those of `reserve_standard_descriptors`): the words give it away. A second word with the same number
    // finds it closed, or marked by F_SETFD below.
    let file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: F_SETFD sets one flag and takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    Ok(file)
}

/// All that is left in it; it is closed.
///
/// # Errors
/// `EFBIG` beyond 64 MiB.
pub(super) fn read(fd: RawFd) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    take(fd)?.take(SIZE_MAX + 1).read_to_end(&mut data)?;
    if data.len() as u64 > SIZE_MAX { Err(io::Error::from_raw_os_error(libc::EFBIG)) } else { Ok(data) }
}
