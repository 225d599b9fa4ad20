//! A checked view of an ELF file's header and program headers, the same for both classes and both
//! byte orders. Looks at nothing else, and follows no offset out of the file.

use crate::error::Error;
use crate::plan::FileOffset;
use object::elf::{FileHeader32, FileHeader64, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::ops::Range;

/// The fields of the ELF header that decide how the file is loaded (gABI, "ELF Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `ELFCLASS64`.
    pub is_64: bool,
    /// `ELFDATA2MSB`.
    pub big_endian: bool,
    /// `e_type`; open, as every number on disk.
    pub e_type: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_entry`, an address.
    pub entry: u64,
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
    /// `p_filesz`, in bytes.
    pub file_size: u64,
    /// `p_memsz`, in bytes.
    pub memory_size: u64,
    /// `p_align`.
    pub align: u64,
}

/// `PF_W` (gABI, "Segment Permissions").
const PF_W: u32 = 2;

impl Segment {
    /// A `PT_LOAD` that the program cannot write to.
    pub fn is_constant(&self) -> bool {
        self.p_type == PT_LOAD.0 && self.flags & PF_W == 0
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
    /// Where the ELF header and the program header table lie.
    headers: [Range<u64>; 2],
}

impl Elf {
    /// Reads the headers of `file`, which may be a mapping: nothing else is looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that is not ELF, or whose headers lie outside of it.
    pub fn parse(file: &[u8]) -> Result<Elf, Error> {
        match FileKind::parse(file) {
            Ok(FileKind::Elf32) => read::<FileHeader32<Endianness>>(file),
            Ok(FileKind::Elf64) => read::<FileHeader64<Endianness>>(file),
            Ok(_) | Err(_) => Err(Error::Malformed { reason: "it is not an ELF file".into() }),
        }
    }

    /// The first `PT_INTERP`, the only one the kernel looks at (`load_elf_binary` in
    /// `fs/binfmt_elf.c`).
    pub fn interpreter(&self) -> Option<&Segment> {
        self.segments.iter().find(|s| s.p_type == PT_INTERP.0)
    }

    /// The first byte of `range` that belongs to the headers, if any.
    pub(crate) fn in_headers(&self, range: &Range<u64>) -> Option<FileOffset> {
        let meets = |part: &&Range<u64>| range.start < part.end && part.start < range.end;
        self.headers.iter().find(meets).map(|part| FileOffset(range.start.max(part.start)))
    }
}

fn read<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Result<Elf, Error> {
    let malformed = |error: object::read::Error| Error::Malformed { reason: error.to_string() };
    let header = H::parse(file).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    let table = header.program_headers(endian, file).map_err(malformed)?;
    let segments = table
        .iter()
        .map(|p| Segment {
            p_type: p.p_type(endian).0,
            flags: p.p_flags(endian).0,
            offset: FileOffset(p.p_offset(endian).into()),
            vaddr: p.p_vaddr(endian).into(),
            file_size: p.p_filesz(endian).into(),
            memory_size: p.p_memsz(endian).into(),
            align: p.p_align(endian).into(),
        })
        .collect();
    let start: u64 = header.e_phoff(endian).into();
    let size = size_of_val(table) as u64;
    Ok(Elf {
        header: Header {
            is_64: header.is_class_64(),
            big_endian: endian == Endianness::Big,
            e_type: header.e_type(endian).0,
            machine: header.e_machine(endian).0,
            entry: header.e_entry(endian).into(),
        },
        segments,
        headers: [0..size_of::<H>() as u64, start..start.saturating_add(size)],
    })
}
