//! The container of an index: a magic number, the table of its sections, the sections; mapped when read.
//!
//! Every offset is checked against the file's length when it is opened, so a truncated file is refused.

use crate::atomic::write_file_with;
use crate::error::{Error, Kind, Result};
use memmap2::Mmap;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// Changes with every change of a format, so that old files are rebuilt.
const MAGIC: &[u8; 8] = b"XENOIX02";

/// One section of a mapped file, usable as bytes.
pub(super) struct Section {
    map: std::sync::Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Section {
    fn as_ref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// Writes sections: `MAGIC`, their lengths as 64-bit little-endian numbers, then their bytes.
pub(super) fn write(path: &Path, sections: &[&[u8]]) -> Result<()> {
    write_file_with(path, 0o644, |out| {
        out.write_all(MAGIC)?;
        for section in sections {
            out.write_all(&(section.len() as u64).to_le_bytes())?;
        }
        sections.iter().try_for_each(|s| out.write_all(s))
    })
}

/// Maps a file of exactly `N` sections.
#[allow(unsafe_code, reason = "the one mapping of this crate")]
pub(super) fn open<const N: usize>(path: &Path) -> Result<[Section; N]> {
    let file = crate::root::open_nofollow(path).map_err(|e| Error::io("open index", path, e))?;
    // SAFETY: the map is read only and private to this module; index files are written under a
    // temporary name and renamed (`atomic`), so no process of ours ever changes or truncates one.
    // Somebody else with write access to the store could: then reading may fault (SIGBUS), which
    // harms only their own store.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map index", path, e))?;
    let damaged = || Error::new(Kind::Malformed, "open index", path.display(), "it is damaged", "delete it, it will be made anew");
    let mut at = MAGIC.len() + N * 8;
    if map.get(..MAGIC.len()) != Some(MAGIC) || map.len() < at {
        return Err(damaged());
    }
    let mut ranges = Vec::with_capacity(N);
    for i in 0..N {
        let bytes = map.get(MAGIC.len() + i * 8..).and_then(|b| b.first_chunk::<8>()).ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| damaged())?;
        let end = at.checked_add(length).filter(|e| *e <= map.len()).ok_or_else(damaged)?;
        ranges.push(at..end);
        at = end;
    }
    if at != map.len() {
        return Err(damaged());
    }
    let map = std::sync::Arc::new(map);
    let sections: Vec<Section> = ranges.into_iter().map(|range| Section { map: map.clone(), range }).collect();
    sections.try_into().map_err(|_| damaged())
}
