//! Little-endian numbers and NUL-ended strings of untrusted bytes; every machine that the shim is built for
//! is little-endian. Outside of the bytes there is nothing, not even zero.

/// Two bytes at an offset.
#[inline(always)]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Four bytes at an offset.
#[inline(always)]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Eight bytes at an offset.
#[inline(always)]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// What stands before the first NUL among the first `most` bytes; `None` if there is none.
#[inline(never)]
pub fn until_nul(bytes: &[u8], most: usize) -> Option<&[u8]> {
    let bytes = bytes.get(..most.min(bytes.len()))?;
    let end = bytes.iter().position(|b| *b == 0)?;
    bytes.get(..end)
}

/// What follows a prefix; `None` where it is another. Never inlined: written out for each of its names, it would
/// be a tenth of the shim.
#[inline(never)]
pub fn after<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    bytes.strip_prefix(prefix)
}

/// Whether a byte is among others. By hand: core's search is made for long texts, and five times as large.
#[inline(never)]
pub fn has(bytes: &[u8], wanted: u8) -> bool {
    !bytes.iter().all(|byte| *byte != wanted)
}

/// The directory of an absolute path; `None` of a relative one, which would be looked for in the current directory.
#[inline(never)]
pub fn directory(path: &[u8]) -> Option<&[u8]> {
    path.first().filter(|b| **b == b'/')?;
    let slash = path.iter().rposition(|b| *b == b'/')?;
    path.get(..slash.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        assert_eq!(u32_at(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(u32_at(&[1, 0, 0, 0], 1), None);
        assert_eq!(u64_at(&[0; 8], usize::MAX), None);
        assert_eq!(until_nul(b"ab\0c", 9), Some(b"ab".as_slice()));
        assert_eq!(until_nul(b"ab\0c", 2), None);
    }

    #[test]
    fn a_directory_is_that_of_an_absolute_path_only() {
        assert_eq!(directory(b"/app/bin/tool"), Some(b"/app/bin".as_slice()));
        assert_eq!(directory(b"/tool"), Some(b"/".as_slice()));
        assert_eq!(directory(b"bin/tool"), None);
    }
}
