//! Writes a result into a device or a pipe that was named as the output. There is nothing there that
//! could be replaced, and nothing that could be lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The device or pipe at `path`, open for writing; `None` for a regular file, a directory or nothing.
pub(super) fn at(path: &Path) -> Option<io::Result<File>> {
    let found = std::fs::metadata(path).ok()?.file_type();
    let streams = found.is_char_device() || found.is_fifo() || found.is_block_device();
    streams.then(|| OpenOptions::new().write(true).open(path))
}

/// Writes all of `bytes`.
pub(super) fn write(mut stream: File, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}
