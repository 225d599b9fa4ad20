//! Reads numbers and slices at hostile places of a file: every access says whether the bytes are
//! there. Never copies, never looks further than it is asked to.

use std::ops::Range;

/// How far from an end a trailer, a cookie or a header is looked for, in bytes.
pub(super) const WINDOW: u64 = 64 * 1024;

/// A file's bytes with places counted in `u64`, as the formats count them.
#[derive(Clone, Copy)]
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl<'a> View<'a> {
    /// The length in bytes.
    pub(super) fn len(self) -> u64 {
        self.0.len() as u64
    }

    /// The bytes of a range, if all of them are there.
    pub(super) fn slice(self, range: Range<u64>) -> Option<&'a [u8]> {
        self.0.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    }

    /// `len` bytes at a place.
    pub(super) fn bytes(self, at: u64, len: u64) -> Option<&'a [u8]> {
        self.slice(at..at.checked_add(len)?)
    }

    /// At most `len` bytes at a place: fewer where the file ends, none behind it.
    pub(super) fn at_most(self, at: u64, len: u64) -> &'a [u8] {
        let end = at.saturating_add(len).min(self.len());
        self.slice(at.min(end)..end).unwrap_or_default()
    }

    /// Whether these bytes stand at a place.
    pub(super) fn has(self, at: u64, magic: &[u8]) -> bool {
        self.bytes(at, magic.len() as u64) == Some(magic)
    }

    fn array<const N: usize>(self, at: u64) -> Option<[u8; N]> {
        self.bytes(at, N as u64)?.try_into().ok()
    }

    /// A little-endian number of two bytes.
    pub(super) fn u16_le(self, at: u64) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// A little-endian number of four bytes.
    pub(super) fn u32_le(self, at: u64) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// A big-endian number of four bytes.
    pub(super) fn u32_be(self, at: u64) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// A little-endian number of eight bytes.
    pub(super) fn u64_le(self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A big-endian number of eight bytes.
    pub(super) fn u64_be(self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// A number of four bytes in the order of the program.
    pub(super) fn u32(self, at: u64, big_endian: bool) -> Option<u32> {
        if big_endian { self.u32_be(at) } else { self.u32_le(at) }
    }

    /// A number of eight bytes in the order of the program.
    pub(super) fn u64(self, at: u64, big_endian: bool) -> Option<u64> {
        if big_endian { self.u64_be(at) } else { self.u64_le(at) }
    }

    /// A little-endian IEEE 754 double that is a whole number of bytes.
    pub(super) fn size_f64_le(self, at: u64) -> Option<u64> {
        let value = f64::from_bits(self.u64_le(at)?);
        // Up to 2^53 every whole number has one double; no file is that long.
        let whole = value.is_finite() && value >= 0.0 && value.fract() == 0.0 && value < 9_007_199_254_740_992.0;
        whole.then_some(value as u64)
    }
}
