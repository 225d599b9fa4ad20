//! A checked view of an ELF file's headers, the same for both classes and both byte orders. Looks
//! at nothing else, and follows no offset out of the file.

use crate::codec::Codec;
use crate::error::Error;
use crate::image::Image;
use crate::plan::FileOffset;
use object::elf::{PT_INTERP, PT_LOAD};
use std::ops::Range;

/// The fields of the ELF header that decide how the file is read (gABI, "ELF Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `EI_CLASS` and `EI_DATA`.
    pub codec: Codec,
    /// `EI_OSABI`.
    pub os_abi: u8,
    /// `e_type`; open, as every number on disk.
    pub e_type: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_entry`, an address.
    pub entry: u64,
    /// `e_phoff`.
    pub segments_at: u64,
    /// `e_phentsize`.
    pub segment_size: u16,
    /// `e_phnum`.
    pub segment_count: u16,
    /// `e_shoff`; 0 for none.
    pub sections_at: u64,
    /// `e_shentsize`.
    pub section_size: u16,
    /// `e_shnum`, as it stands there.
    pub section_count: u16,
    /// `e_shstrndx`, as it stands there.
    pub section_names: u16,
}

/// One program header (gABI, "Program Header"), widened to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`; open.
    pub p_type: u32,
    /// `p_flags`; open.
    pub flags: u32,
    /// `p_offset`.
    pub offset: FileOffset,
    /// `p_vaddr`, an address.
    pub vaddr: u64,
    /// `p_paddr`, which nobody reads here.
    pub paddr: u64,
    /// `p_filesz`, in bytes.
    pub file_size: u64,
    /// `p_memsz`, in bytes.
    pub memory_size: u64,
    /// `p_align`.
    pub align: u64,
}

/// One section header (gABI, "Sections"), widened to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// `sh_name`, a position in the table of names.
    pub name: u32,
    /// `sh_type`; open.
    pub sh_type: u32,
    /// `sh_flags`; open.
    pub flags: u64,
    /// `sh_addr`.
    pub addr: u64,
    /// `sh_offset`, in bytes from the file's start.
    pub offset: u64,
    /// `sh_size`, in bytes.
    pub size: u64,
    /// `sh_link`.
    pub link: u32,
    /// `sh_info`.
    pub info: u32,
    /// `sh_addralign`.
    pub align: u64,
    /// `sh_entsize`, in bytes.
    pub entry_size: u64,
}

/// `PF_W` (gABI, "Segment Permissions").
const PF_W: u32 = 2;

/// `SHT_NULL`, `SHT_NOBITS`: sections without bytes in the file.
const WITHOUT_BYTES: [u32; 2] = [0, 8];

impl Section {
    /// The bytes it takes in the file.
    pub fn range(&self) -> Range<u64> {
        let size = if WITHOUT_BYTES.contains(&self.sh_type) { 0 } else { self.size };
        self.offset..self.offset.saturating_add(size)
    }
}

impl Segment {
    /// The bytes it takes in the file.
    pub fn range(&self) -> Range<u64> {
        self.offset.0..self.offset.0.saturating_add(self.file_size)
    }

    /// The addresses it takes.
    pub fn memory(&self) -> Range<u64> {
        self.vaddr..self.vaddr.saturating_add(self.memory_size)
    }

    /// `PT_LOAD`.
    pub fn is_load(&self) -> bool {
        self.p_type == PT_LOAD.0
    }

    /// `PF_W`.
    pub fn is_writable(&self) -> bool {
        self.flags & PF_W != 0
    }

    /// What lies between an address of it and the byte's offset, modulo 2^64.
    pub(crate) fn delta(&self) -> u64 {
        self.vaddr.wrapping_sub(self.offset.0)
    }

    /// A `PT_LOAD` that the program cannot write to.
    pub fn is_constant(&self) -> bool {
        self.is_load() && !self.is_writable()
    }

    /// Its bytes in `file`, with their place.
    ///
    /// # Errors
    /// [`Error::Truncated`] when they are not all there.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Result<(Range<usize>, &'a [u8]), Error> {
        let range = usize::try_from(self.offset.0)
            .ok()
            .zip(usize::try_from(self.file_size).ok())
            .and_then(|(start, size)| Some(start..start.checked_add(size)?));
        range.and_then(|range| Some((range.clone(), file.get(range)?))).ok_or(Error::Truncated {
            what: if self.p_type == PT_INTERP.0 { "the interpreter's segment" } else { "a segment" },
            offset: self.offset,
            size: self.file_size,
            end: file.len() as u64,
        })
    }
}

/// An ELF file's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The ELF header.
    pub header: Header,
    /// The program headers, in file order.
    pub segments: Vec<Segment>,
    /// The section headers; none if there are none, or if the table is not in the file. No loader
    /// reads them.
    pub sections: Vec<Section>,
    /// The file's length, in bytes: what headers cover behind it is not there.
    pub(crate) file_size: u64,
}

impl Elf {
    /// Reads the headers of `file`, which may be a mapping: nothing else is looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that is not ELF, [`Error::Truncated`] or [`Error::Field`] for
    /// one whose headers lie.
    pub fn parse(file: &[u8]) -> Result<Elf, Error> {
        Elf::read(&Image::of(file))
    }

    pub(crate) fn read(image: &Image<'_>) -> Result<Elf, Error> {
        let not_elf = || Error::Malformed { reason: "it is not an ELF file".into() };
        let start = image.get(0, image.size().min(64)).ok_or_else(not_elf)?;
        let header = Codec::header(&start).ok_or_else(not_elf)?;
        let codec = header.codec;
        let segments = match header.segment_count {
            0 => Vec::new(),
            _ if u64::from(header.segment_size) != codec.segment_size() => {
                return Err(Error::field("e_phentsize", 0, header.segment_size.into(), "it is not the size of a program header"));
            }
            count => {
                let size = u64::from(count) * codec.segment_size();
                codec.segments(&image.read("the program headers", header.segments_at, size)?)
            }
        };
        let sections = sections(image, &header).unwrap_or_default();
        Ok(Elf { header, segments, sections, file_size: image.size() })
    }

    /// The first `PT_INTERP`, the only one the kernel looks at (`load_elf_binary` in
    /// `fs/binfmt_elf.c`).
    pub fn interpreter(&self) -> Option<&Segment> {
        self.segment(PT_INTERP.0)
    }

    /// The first segment of a type.
    pub fn segment(&self, p_type: u32) -> Option<&Segment> {
        self.segments.iter().find(|s| s.p_type == p_type)
    }

    /// The `PT_LOAD`s, in table order.
    pub fn loads(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.is_load())
    }

    /// Where the bytes at an address lie in the file, and how many follow there.
    pub(crate) fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        self.loads().find_map(|s| {
            let within = address.checked_sub(s.vaddr).filter(|within| *within < s.file_size)?;
            Some((s.offset.0.checked_add(within)?, s.file_size - within))
        })
    }

    /// The bytes of the program header table.
    pub(crate) fn segment_table(&self) -> Range<u64> {
        let start = self.header.segments_at;
        start..start.saturating_add(self.segments.len() as u64 * self.header.codec.segment_size())
    }

    /// The bytes of the section header table; empty if there is none.
    pub(crate) fn section_table(&self) -> Range<u64> {
        let start = self.header.sections_at;
        start..start.saturating_add(self.sections.len() as u64 * self.header.codec.section_size())
    }

    /// Which section has the names of sections: `e_shstrndx`, or the first header's link if it does not
    /// fit (gABI, "ELF Header").
    pub(crate) fn names_index(&self) -> usize {
        match self.header.section_names {
            0xffff => self.sections.first().map_or(0, |s| s.link as usize),
            index => index.into(),
        }
    }

    /// The first byte of `range` that belongs to the headers, if any.
    pub(crate) fn in_headers(&self, range: &Range<u64>) -> Option<FileOffset> {
        let headers = [0..self.header.codec.header_size(), self.segment_table()];
        let meets = |part: &&Range<u64>| range.start < part.end && part.start < range.end;
        headers.iter().find(meets).map(|part| FileOffset(range.start.max(part.start)))
    }
}

/// The section headers, if they are all in the file. With `e_shnum` 0 their number is the first
/// one's size (gABI, "ELF Header").
fn sections(image: &Image<'_>, header: &Header) -> Option<Vec<Section>> {
    let codec = header.codec;
    let each = codec.section_size();
    if header.sections_at == 0 || u64::from(header.section_size) != each {
        return None;
    }
    let first = codec.sections(&image.get(header.sections_at, each)?).first().copied()?;
    let count = if header.section_count == 0 { first.size } else { header.section_count.into() };
    Some(codec.sections(&image.get(header.sections_at, count.checked_mul(each)?)?))
}
