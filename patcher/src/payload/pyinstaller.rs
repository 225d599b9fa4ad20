//! Recognises a PyInstaller archive. Its bootloader (`bootloader/src/pyi_archive.c`,
//! `pyi_archive_open`) searches its own file from the end for the last cookie; the cookie holds the
//! archive's length, and the archive ends where the cookie ends. Since 3.0 Linux builds carry it in the
//! section `pydata`; the bootloader does not look at sections.
//!
//! Behind the program that is a distance from the end. In a section it is as safe as the section, so
//! it is reported as loaded although no address leads to it.

use super::view::{View, WINDOW};
use super::{FoundBy, Kind, Outline, Payload};
use memchr::memmem;
use std::ops::Range;

const MAGIC: &[u8] = b"MEI\x0c\x0b\x0a\x0b\x0e";

/// `struct ARCHIVE_COOKIE`: magic, length, offset and length of the table, version, library name.
const COOKIE: u64 = 88;

/// The smallest entry of the table: four numbers, two flags, a name of one byte and its NUL.
const ENTRY: u64 = 20;

/// The archive whose cookie stands at a place.
fn archive(view: View<'_>, cookie: u64) -> Option<Range<u64>> {
    let end = cookie.checked_add(COOKIE)?;
    let number = |at: u64| view.u32_be(cookie + at).map(u64::from);
    let (length, table, table_length) = (number(8)?, number(12)?, number(16)?);
    let start = end.checked_sub(length)?;
    // The table's first entry says its own length.
    let entry = u64::from(view.u32_be(start.checked_add(table)?)?);
    let fits = view.has(cookie, MAGIC)
        && end <= view.len()
        && table.checked_add(table_length)? <= length.checked_sub(COOKIE)?
        && (ENTRY..=table_length).contains(&entry);
    fits.then_some(start..end)
}

/// The last cookie of a range and its archive, which must lie in the range too.
fn last(view: View<'_>, within: &Range<u64>) -> Option<Range<u64>> {
    let from = within.end.saturating_sub(WINDOW).max(within.start);
    let tail = view.slice(from..within.end)?;
    let archive = archive(view, from + memmem::rfind(tail, MAGIC)? as u64)?;
    (within.start <= archive.start && archive.end <= within.end).then_some(archive)
}

/// The archive behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let range = last(outline.view(), &outline.overlay())?;
    outline.behind(Kind::PyInstaller, range, FoundBy::End)
}

/// The archive in a section of any name: it ends with its cookie.
pub(super) fn section(outline: &Outline<'_>, range: &Range<u64>) -> Option<Payload> {
    let cookie = range.end.checked_sub(COOKIE)?;
    let archive = archive(outline.view(), cookie).filter(|archive| range.start <= archive.start)?;
    Some(Payload { kind: Kind::PyInstaller, range: archive, found_by: FoundBy::Loaded })
}
