//! A file as bytes, mapped and never read whole: the one place of this crate with `unsafe`.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A read-only view of a file.
#[derive(Debug)]
pub struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a regular file. An empty file gives an empty view.
    ///
    /// # Errors
    /// What `open(2)`, `fstat(2)` or `mmap(2)` answered; `InvalidInput` for anything but a regular
    /// file, so that a FIFO or a device is never waited for.
    pub fn open(path: &Path) -> io::Result<Mapped> {
        // Look before opening: open(2) of a FIFO blocks and of a device may have effects.
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        if meta.len() == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: the mapping is private and read-only and nothing here writes through it. This is
        // not wholly true to Rust's rules: another process may change the file while it is mapped.
        // Every value is therefore read once, bounds-checked, and copied out; a file truncated at
        // that very moment ends the process with SIGBUS, as it would end ld.so.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Mapped(Some(map)))
    }
}

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}
