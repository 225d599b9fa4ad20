//! A file's bytes as they are, as they were before our last edit, or as they will be: a base and
//! what differs from it. Never copies the base, and follows no offset out of the file.

use crate::error::Error;
use crate::plan::FileOffset;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes that were put between others and shift what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Where the first of them stands.
    pub(crate) at: u64,
    /// How many there are.
    pub(crate) size: u64,
}

/// A file that may differ from the bytes it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Image<'a> {
    base: &'a [u8],
    size: u64,
    skipped: Option<Inserted>,
    /// By offset; they never meet.
    differs: BTreeMap<u64, Vec<u8>>,
}

impl<'a> Image<'a> {
    /// The bytes as they are.
    pub(crate) fn of(base: &'a [u8]) -> Image<'a> {
        Image { base, size: base.len() as u64, skipped: None, differs: BTreeMap::new() }
    }

    /// The bytes without `skipped`, cut or extended with zeros to `size`.
    pub(crate) fn resized(base: &'a [u8], size: u64, skipped: Option<Inserted>) -> Image<'a> {
        Image { base, size, skipped, differs: BTreeMap::new() }
    }

    /// Replaces what is at `offset`; later calls win.
    pub(crate) fn put(&mut self, offset: u64, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let end = offset.saturating_add(bytes.len() as u64);
        let reaches = |(start, old): (&u64, &Vec<u8>)| (start.saturating_add(old.len() as u64) > offset).then_some(*start);
        let met: Vec<u64> = self.differs.range(..end).rev().map_while(reaches).collect();
        for start in met {
            let Some(old) = self.differs.remove(&start) else { continue };
            let old_end = start + old.len() as u64;
            if start < offset {
                self.differs.insert(start, old.get(..(offset - start) as usize).unwrap_or_default().to_vec());
            }
            if old_end > end {
                self.differs.insert(end, old.get((end - start) as usize..).unwrap_or_default().to_vec());
            }
        }
        self.differs.insert(offset, bytes);
    }

    /// The bytes it is made of.
    pub(crate) fn base(&self) -> &'a [u8] {
        self.base
    }

    /// The length, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The same bytes, cut or continued to `size`.
    pub(crate) fn sized(mut self, size: u64) -> Image<'a> {
        self.size = size;
        self
    }

    /// Where the byte at `offset` stands in the base.
    pub(crate) fn in_base(&self, offset: u64) -> u64 {
        match self.skipped {
            Some(s) if offset >= s.at => offset.saturating_add(s.size),
            _ => offset,
        }
    }

    /// `size` bytes at `offset`, or `None` if they are not all there.
    pub(crate) fn get(&self, offset: u64, size: u64) -> Option<Cow<'a, [u8]>> {
        let end = offset.checked_add(size).filter(|end| *end <= self.size)?;
        if size == 0 {
            return Some(Cow::Borrowed(&[]));
        }
        let start = self.in_base(offset);
        let straight = self.in_base(end - 1) - start == size - 1;
        let plain = self.base.get(usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?);
        let touched = self.differs.range(..end).next_back().is_some_and(|(at, bytes)| at + bytes.len() as u64 > offset);
        if let (true, false, Some(plain)) = (straight, touched, plain) {
            return Some(Cow::Borrowed(plain));
        }
        let mut out = vec![0; usize::try_from(size).ok().filter(|size| *size <= OWNED_MAX)?];
        let split = self.skipped.map_or(end, |s| s.at.clamp(offset, end));
        for part in [offset..split, split..end] {
            self.fill(&mut out, offset, part);
        }
        let first = self.differs.range(..offset).next_back().map_or(offset, |(at, _)| *at);
        for (at, bytes) in self.differs.range(first..end) {
            let from = (*at).max(offset);
            let to = (at + bytes.len() as u64).min(end);
            if from >= to {
                continue;
            }
            let source = bytes.get((from - at) as usize..(to - at) as usize);
            if let (Some(place), Some(source)) = (out.get_mut((from - offset) as usize..(to - offset) as usize), source) {
                place.copy_from_slice(source);
            }
        }
        Some(Cow::Owned(out))
    }

    /// Copies what the base has of `part`; beyond its end stay zeros.
    fn fill(&self, out: &mut [u8], offset: u64, part: Range<u64>) {
        if part.is_empty() {
            return;
        }
        let start = self.in_base(part.start);
        let end = start.saturating_add(part.end - part.start).min(self.base.len() as u64);
        let source = usize::try_from(start).ok().zip(usize::try_from(end).ok()).and_then(|(a, b)| self.base.get(a..b));
        let at = (part.start - offset) as usize;
        if let Some((source, place)) = source.and_then(|s| Some((s, out.get_mut(at..at.checked_add(s.len())?)?))) {
            place.copy_from_slice(source);
        }
    }

    /// `size` bytes at `offset`, which the file says are there.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub(crate) fn read(&self, what: &'static str, offset: u64, size: u64) -> Result<Cow<'a, [u8]>, Error> {
        self.get(offset, size).ok_or(Error::Truncated { what, offset: FileOffset(offset), size, end: self.size })
    }

    /// The bytes from `offset` up to the next NUL, without it; `None` if there is none before `end`.
    pub(crate) fn text(&self, offset: u64, end: u64) -> Option<Vec<u8>> {
        let end = end.min(self.size).min(offset.saturating_add(TEXT_MAX));
        let bytes = self.get(offset, end.checked_sub(offset)?)?;
        let length = memchr::memchr(0, &bytes)?;
        bytes.get(..length).map(<[u8]>::to_vec)
    }

    /// Whether all of `range` is there and zero.
    pub(crate) fn is_zero(&self, range: Range<u64>) -> bool {
        let size = range.end.saturating_sub(range.start);
        // Whole chunks are or-ed at once: padding is most of what is looked at.
        let zero = |chunk: &[u8]| chunk.iter().fold(0, |any, byte| any | byte) == 0;
        self.get(range.start, size).is_some_and(|bytes| bytes.chunks(256).all(zero))
    }
}

/// What is put together from pieces is small: headers, tables, strings. Bounds memory for files
/// that lie.
const OWNED_MAX: usize = 64 << 20;

/// Longer than any path list; bounds the search for a NUL.
const TEXT_MAX: u64 = 1 << 20;
