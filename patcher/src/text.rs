//! Finds NUL-terminated text in what a program cannot write to. Changes nothing.

use crate::elf::Elf;
use crate::error::Error;
use crate::plan::FileOffset;
use memchr::memmem;
use std::collections::BTreeMap;

/// A string of the file, without its NUL, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) offset: FileOffset,
    pub(crate) bytes: &'a [u8],
}

/// Longer than any path or message; bounds the walk back from each hit in hostile files.
const TEXT_MAX: usize = 4096;

/// Every string in a constant segment that ends with `suffix`, in file order. A string begins
/// after the last byte that is not printable ASCII, as what precedes a `char` array need not be
/// a NUL.
///
/// # Errors
/// [`Error::Truncated`].
pub(crate) fn ending<'a>(file: &'a [u8], elf: &Elf, suffix: &[u8]) -> Result<Vec<Text<'a>>, Error> {
    let needle: Vec<u8> = suffix.iter().copied().chain([0]).collect();
    // Segments may share file bytes: a place counts once.
    let mut found = BTreeMap::new();
    for segment in elf.segments.iter().filter(|s| s.is_constant()) {
        let (range, bytes) = segment.bytes(file)?;
        for hit in memmem::find_iter(bytes, &needle) {
            let end = hit + suffix.len();
            let printable = |b: &&u8| b.is_ascii_graphic() || **b == b' ';
            let before = bytes.get(..hit).unwrap_or_default();
            let start = hit - before.iter().rev().take(TEXT_MAX).take_while(printable).count();
            let text = bytes.get(start..end).unwrap_or_default();
            found.insert(range.start + start, text);
        }
    }
    let text = |(offset, bytes)| Text { offset: FileOffset(offset as u64), bytes };
    Ok(found.into_iter().map(text).collect())
}

/// Every string in a constant segment that is exactly `wanted`.
///
/// # Errors
/// [`Error::Truncated`].
pub(crate) fn equal<'a>(file: &'a [u8], elf: &Elf, wanted: &[u8]) -> Result<Vec<Text<'a>>, Error> {
    let mut found = ending(file, elf, wanted)?;
    found.retain(|text| text.bytes == wanted);
    Ok(found)
}
