//! Computes the [`Outline`] of an ELF file: what its headers cover and what is named in them. Takes
//! any bytes; a table that does not fit the file is as good as absent. Judges nothing else.

use super::Outline;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PT_NOTE, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use std::ops::Range;

/// At most this many sections and notes are listed; linked files have a few dozen. What they cover is
/// counted without a limit.
const LISTED: usize = 4096;

/// An [`Outline`] with the lists it borrows.
#[derive(Debug, Clone)]
pub struct OwnedOutline<'a> {
    file: &'a [u8],
    is_64: bool,
    big_endian: bool,
    elf_end: u64,
    section_headers: Option<Range<u64>>,
    sections: Vec<(&'a [u8], Range<u64>)>,
    notes: Vec<Range<u64>>,
}

impl OwnedOutline<'_> {
    /// The outline, as [`super::recognise`] takes it.
    pub fn outline(&self) -> Outline<'_> {
        Outline {
            file: self.file,
            is_64: self.is_64,
            big_endian: self.big_endian,
            elf_end: self.elf_end,
            section_headers: self.section_headers.clone(),
            sections: &self.sections,
            notes: &self.notes,
        }
    }
}

/// The outline of an ELF file of any class and byte order; none if the file does not begin with an
/// ELF header.
pub fn outline(file: &[u8]) -> Option<OwnedOutline<'_>> {
    read::<FileHeader64<Endianness>>(file).or_else(|| read::<FileHeader32<Endianness>>(file))
}

fn read<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Option<OwnedOutline<'_>> {
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let length = file.len() as u64;
    let span = |start: u64, size: u64| start.min(length)..start.saturating_add(size).min(length);
    let mut it = OwnedOutline {
        file,
        is_64: header.is_class_64(),
        big_endian: header.is_big_endian(),
        elf_end: span(0, size_of::<H>() as u64).end,
        section_headers: None,
        sections: Vec::new(),
        notes: Vec::new(),
    };
    let mut cover = |range: &Range<u64>| {
        if !range.is_empty() {
            it.elf_end = it.elf_end.max(range.end);
        }
    };
    let segments = header.program_headers(endian, file).unwrap_or_default();
    cover(&span(header.e_phoff(endian).into(), size_of_val(segments) as u64));
    for segment in segments {
        let range = span(segment.p_offset(endian).into(), segment.p_filesz(endian).into());
        cover(&range);
        if segment.p_type(endian) == PT_NOTE && !range.is_empty() && it.notes.len() < LISTED {
            it.notes.push(range);
        }
    }
    let headers = header.section_headers(endian, file).unwrap_or_default();
    if !headers.is_empty() {
        let table = span(header.e_shoff(endian).into(), size_of_val(headers) as u64);
        cover(&table);
        it.section_headers = Some(table);
    }
    let names = header.sections(endian, file).ok();
    for section in headers {
        let bytes = if section.sh_type(endian) == SHT_NOBITS { 0 } else { section.sh_size(endian).into() };
        let range = span(section.sh_offset(endian).into(), bytes);
        cover(&range);
        if it.sections.len() < LISTED {
            let name = names.as_ref().and_then(|table| table.section_name(endian, section).ok());
            it.sections.push((name.unwrap_or_default(), range));
        }
    }
    Some(it)
}
