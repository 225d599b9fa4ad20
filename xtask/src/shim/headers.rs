//! The headers of an ELF file, as far as it is asked of a shim what it has not: segments, entries, sections.
//! Written apart from every crate that it judges; takes bytes, opens nothing.

use anyhow::{Context, Result, bail};

/// Types of files, segments and sections, flags and tags (gABI, "ELF Header", "Program Header",
/// "Section Header", "Dynamic Section").
pub(crate) const ET_DYN: u64 = 3;
pub(crate) const PT_LOAD: u64 = 1;
pub(crate) const PT_DYNAMIC: u64 = 2;
pub(crate) const PT_INTERP: u64 = 3;
/// The GNU extension that says whether the stack is executable.
pub(crate) const PT_GNU_STACK: u64 = 0x6474_e551;
pub(crate) const PF_X: u64 = 1;
pub(crate) const PF_W: u64 = 2;

/// Header and segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// `ELFCLASS64`, and little-endian.
    pub(crate) wide: bool,
    pub(crate) little: bool,
    /// `e_type` and `e_machine`.
    pub(crate) kind: u64,
    pub(crate) machine: u64,
    pub(crate) segments: Vec<Segment>,
    /// Offset, size of an entry, and count of the section headers.
    sections: (u64, u64, u64),
}

/// One program header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: u64,
    pub(crate) flags: u64,
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) length: u64,
}

/// One section header: its type, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: u64,
    pub(crate) length: u64,
}

impl Headers {
    /// Reads the beginning of a file; `None` if it is no ELF file. The beginning must hold the program headers.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Headers>> {
        let [0x7f, b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2), ..] = bytes else { return Ok(None) };
        let mut headers = Headers { wide: *class == 2, little: *data == 1, ..Headers::default() };
        let word = headers.word();
        headers.kind = headers.number(bytes, 16, 2)?;
        headers.machine = headers.number(bytes, 18, 2)?;
        let [table, sections] = if headers.wide { [32, 40] } else { [28, 32] };
        let [size, count, section_size, section_count] = if headers.wide { [54, 56, 58, 60] } else { [42, 44, 46, 48] };
        let half = |at: usize| headers.number(bytes, at, 2);
        let (table, size, count) = (headers.number(bytes, table, word)?, half(size)?, half(count)?);
        let sections = (headers.number(bytes, sections, word)?, half(section_size)?, half(section_count)?);
        let at = if headers.wide { [0, 4, 8, 32] } else { [0, 24, 4, 16] };
        for index in 0..count {
            let header = part(bytes, table.saturating_add(index * size), size)?;
            let [kind, flags, offset, length] =
                [(at[0], 4), (at[1], 4), (at[2], word), (at[3], word)].map(|(at, size)| headers.number(header, at, size));
            headers.segments.push(Segment { kind: kind?, flags: flags?, offset: offset?, length: length? });
        }
        headers.sections = sections;
        Ok(Some(headers))
    }

    /// The entries before DT_NULL of the dynamic section, if there is one.
    pub(crate) fn dynamic(&self, bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
        let Some(segment) = self.segment(PT_DYNAMIC) else { return Ok(Vec::new()) };
        let word = self.word();
        let mut entries = Vec::new();
        for entry in part(bytes, segment.offset, segment.length)?.chunks_exact(2 * word) {
            match (self.number(entry, 0, word)?, self.number(entry, word, word)?) {
                (0, _) => break,
                found => entries.push(found),
            }
        }
        Ok(entries)
    }

    /// All section headers; a stripped file may have none.
    pub(crate) fn sections(&self, bytes: &[u8]) -> Result<Vec<Section>> {
        let (table, size, count) = self.sections;
        let (at, word) = (if self.wide { 32 } else { 20 }, self.word());
        let section = |index: u64| {
            let header = part(bytes, table.saturating_add(index * size), size)?;
            Ok(Section { kind: self.number(header, 4, 4)?, length: self.number(header, at, word)? })
        };
        (0..count).map(section).collect()
    }

    /// The first segment of a type.
    pub(crate) fn segment(&self, kind: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    fn word(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Result<u64> {
        let Some(field) = bytes.get(at..at + size) else { bail!("a header ends before byte {}", at + size) };
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.little { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    }
}

fn part(bytes: &[u8], offset: u64, length: u64) -> Result<&[u8]> {
    let range = usize::try_from(offset).ok().zip(offset.checked_add(length).and_then(|end| usize::try_from(end).ok()));
    range.and_then(|(from, to)| bytes.get(from..to)).with_context(|| format!("{length} bytes at {offset:#x} are not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> (Headers, Vec<u8>) {
        let bytes = std::fs::read(crate::root().join("fixtures/bin").join(name)).unwrap();
        (Headers::parse(&bytes).unwrap().unwrap(), bytes)
    }

    #[test]
    fn both_classes_are_read() {
        let (wide, bytes) = fixture("hello-x86_64-glibc-pie");
        assert_eq!((wide.wide, wide.kind, wide.machine), (true, ET_DYN, 62));
        assert!(wide.segment(PT_INTERP).is_some());
        // DT_NEEDED is 1.
        assert!(wide.dynamic(&bytes).unwrap().iter().any(|(tag, _)| *tag == 1));
        let (narrow, bytes) = fixture("nix-hello-i686");
        assert_eq!((narrow.wide, narrow.kind, narrow.machine), (false, ET_DYN, 3));
        assert!(narrow.dynamic(&bytes).unwrap().iter().any(|(tag, _)| *tag == 1));
    }

    #[test]
    fn a_text_is_no_elf_file_and_a_cut_one_is_an_error() {
        assert_eq!(Headers::parse(b"#!/bin/sh\n").unwrap(), None);
        let (_, bytes) = fixture("hello-x86_64-glibc-pie");
        for length in 6..64 + 56 {
            assert!(Headers::parse(&bytes[..length]).is_err(), "{length}");
        }
    }
}
