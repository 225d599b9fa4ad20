//! Descriptors that the caller left open and the words name by number: taken over, read.

use nix::libc;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;

/// The most that options or a filter of system calls may hold; a device would never end.
const SIZE_MAX: u64 = 64 << 20;

/// Takes over a descriptor, which is closed in the end.
///
/// # Errors
/// `EBADF` if the caller left none open under this number.
pub(super) fn take(fd: RawFd) -> io::Result<File> {
    Ok(fhs_env::inherited(fd)?.into())
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
