//! Recognises a zip archive at the end of a file: unzipsfx, self-reading programs, zipapps. A reader
//! finds the end of central directory record from the end (APPNOTE.TXT 4.3.16; Info-ZIP `process.c`,
//! `find_ecrec`) and in it the directory's offset, counted from where the archive began.
//!
//! An archive that was appended as it was counts from its own beginning; readers take the difference
//! (`extra_bytes` in `process.c`), so every place is a distance from the end. One whose offsets were
//! adjusted (`zip -A`) holds file offsets, which readers take as they are.

use super::view::{View, WINDOW};
use super::{FoundBy, Kind, Outline, Payload};
use memchr::memmem;
use std::ops::Range;

const END: &[u8] = b"PK\x05\x06";
const END_SIZE: u64 = 22;
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const LOCATOR_64_SIZE: u64 = 20;
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// An archive: its range, and whether its offsets count from the start of the file.
pub(super) struct Archive {
    pub(super) range: Range<u64>,
    pub(super) absolute: bool,
}

/// The archive that a file ends with.
pub(super) fn archive(view: View<'_>) -> Option<Archive> {
    // The comment is at most 64 KiB long, and the record before it 22 bytes.
    let from = view.len().saturating_sub(WINDOW + END_SIZE);
    let tail = view.at_most(from, WINDOW + END_SIZE);
    memmem::rfind_iter(tail, END).take(64).find_map(|at| record(view, from + at as u64))
}

/// The archive of the record at a place, if the record's comment ends where the file ends.
fn record(view: View<'_>, end: u64) -> Option<Archive> {
    if end.checked_add(END_SIZE)?.checked_add(view.u16_le(end + 20)?.into())? != view.len() {
        return None;
    }
    let (mut size, mut offset) = (u64::from(view.u32_le(end + 12)?), u64::from(view.u32_le(end + 16)?));
    let mut directory_end = end;
    // With ZIP64 the numbers stand in a record of their own, before its locator (APPNOTE 4.3.14, 4.3.15).
    if let Some(locator) = end.checked_sub(LOCATOR_64_SIZE).filter(|at| view.has(*at, LOCATOR_64)) {
        // Its size without extensible data, which nobody writes.
        let record = locator.checked_sub(56).filter(|at| view.has(*at, END_64))?;
        (size, offset) = (view.u64_le(record + 40)?, view.u64_le(record + 48)?);
        directory_end = record;
    }
    let directory = directory_end.checked_sub(size)?;
    let shift = directory.checked_sub(offset)?;
    // The first entry tells where the first file is: the archive begins there.
    let first = u64::from(view.u32_le(directory.checked_add(42)?)?);
    let start = shift.checked_add(first)?;
    let fits = view.has(directory, CENTRAL) && view.has(start, LOCAL) && start < directory;
    fits.then(|| Archive { range: start..view.len(), absolute: shift == 0 })
}

impl Archive {
    /// How readers find it.
    pub(super) fn found_by(&self) -> FoundBy {
        if self.absolute { FoundBy::Both } else { FoundBy::End }
    }
}

/// The archive behind the program. Its first files may lie in the program, as in one that was linked
/// with an archive: then the part behind it counts.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let archive = archive(outline.view())?;
    let start = archive.range.start.max(outline.elf_end);
    outline.behind(Kind::Zip, start..archive.range.end, archive.found_by())
}
