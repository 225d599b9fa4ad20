//! Compact indexes made from an archive's big ones: sonames ([`contents`]), package files ([`packages`]), and what
//! whole packages need ([`relations`]).
//!
//! An index file is named by the SHA-256 of the file it was made from and never changes; looking
//! something up maps it and reads a few pages.

pub mod contents;
mod file;
pub mod packages;
pub mod relations;

use std::io::{self, BufRead};

/// No line of an index Debian has published comes near this length (bytes).
const MAX_LINE: u64 = 4 << 20;

/// Reads one line into `line` (without its end); `false` at the end of input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let n = io::Read::take(&mut *input, MAX_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if n as u64 == MAX_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 4 MiB"));
    }
    Ok(n > 0)
}

/// Appends an unsigned LEB128 number (DWARF 5, section 7.6).
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A cursor over bytes that never reads past their end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn at(bytes: &'a [u8], offset: u64) -> Option<Cursor<'a>> {
        bytes.get(usize::try_from(offset).ok()?..).map(Cursor)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    /// A length, then so many bytes of UTF-8.
    fn text(&mut self) -> Option<&'a str> {
        let n = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(n)?).ok()
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A list of strings addressed by number: 32-bit end offsets, then the bytes.
fn put_strings<'a>(strings: impl Iterator<Item = &'a str> + Clone) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0u32;
    out.extend_from_slice(&(strings.clone().count() as u32).to_le_bytes());
    for s in strings.clone() {
        end += s.len() as u32;
        out.extend_from_slice(&end.to_le_bytes());
    }
    strings.for_each(|s| out.extend_from_slice(s.as_bytes()));
    out
}

fn get_string(table: &[u8], number: u64) -> Option<&str> {
    let word = |i: usize| -> Option<usize> {
        let bytes = table.get(i.checked_mul(4)?..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let number = usize::try_from(number).ok()?;
    let count = word(0)?;
    if number >= count {
        return None;
    }
    let base = (count + 1) * 4;
    let start = if number == 0 { 0 } else { word(number)? };
    let end = word(number + 1)?;
    std::str::from_utf8(table.get(base.checked_add(start)?..base.checked_add(end)?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_survive_and_damage_is_none() {
        let mut out = Vec::new();
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            put_varint(&mut out, n);
        }
        let mut cursor = Cursor(&out);
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(cursor.varint(), Some(n));
        }
        assert_eq!(cursor.varint(), None);
        assert_eq!(Cursor(&[0xff; 20]).varint(), None);

        let table = put_strings(["usr/lib", "", "lib"].into_iter());
        assert_eq!(get_string(&table, 0), Some("usr/lib"));
        assert_eq!(get_string(&table, 1), Some(""));
        assert_eq!(get_string(&table, 2), Some("lib"));
        assert_eq!(get_string(&table, 3), None);
        assert_eq!(get_string(&table[..10], 0), None);
        assert_eq!(get_string(&[0xff; 8], 0), None);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut input = io::BufReader::new(io::Read::take(io::repeat(b'x'), 1 << 40));
        assert!(read_line(&mut input, &mut Vec::new()).is_err());
    }
}
