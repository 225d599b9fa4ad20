//! ELF headers as the kernel and the loaders read them (gABI, "ELF Header", "Program Header", "Dynamic
//! Section"), of one machine given beforehand. Section headers, which no loader reads, are not looked at.

use crate::bytes::{u16_at, u32_at, u64_at};

/// `EI_CLASS` (gABI, "ELF Identification").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// What a file must be built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Word size.
    pub class: Class,
    /// `e_machine`.
    pub number: u16,
}

/// `EM_386`.
pub const EM_386: u16 = 3;
/// `EM_X86_64`.
pub const EM_X86_64: u16 = 62;
/// `EM_AARCH64`.
pub const EM_AARCH64: u16 = 183;
/// `EM_RISCV`.
pub const EM_RISCV: u16 = 243;

/// `ET_EXEC`.
pub const ET_EXEC: u16 = 2;
/// `ET_DYN`.
pub const ET_DYN: u16 = 3;
/// `PT_LOAD`.
pub const PT_LOAD: u32 = 1;
/// `PT_DYNAMIC`.
pub const PT_DYNAMIC: u32 = 2;
/// `PT_INTERP`.
pub const PT_INTERP: u32 = 3;
/// `PT_PHDR`.
pub const PT_PHDR: u32 = 6;
/// `PF_X`.
pub const PF_X: u32 = 1;
/// `PF_W`.
pub const PF_W: u32 = 2;
/// `PF_R`.
pub const PF_R: u32 = 4;

/// Why a file is not what it should be; the order is that of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No ELF magic, or cut off before the headers end.
    NotElf,
    /// For another word size, byte order or machine.
    OtherMachine,
    /// `e_type` is not `ET_DYN`: it could not be moved out of the program's way.
    NotMovable,
    /// It has an interpreter itself: a program, no loader.
    HasInterpreter,
    /// No `PT_DYNAMIC`: it could not relocate itself.
    NoDynamic,
    /// Segments overlap, are out of order, out of bounds, or too many.
    BadSegments,
    /// A segment is to be written and executed.
    WritableCode,
    /// Its entry is no code of its own.
    NoEntry,
    /// No segment is to be written, which a loader has to do to itself.
    NothingWritten,
}

impl Refusal {
    /// What is wrong, as the rest of "… cannot be used: it …".
    pub fn text(self) -> &'static [u8] {
        match self {
            Refusal::NotElf => b"is no ELF file",
            Refusal::OtherMachine => b"is for another machine",
            Refusal::NotMovable => b"is not position-independent",
            Refusal::HasInterpreter => b"is a program, no loader",
            Refusal::NoDynamic => b"has no dynamic section",
            Refusal::BadSegments => b"has impossible segments",
            Refusal::WritableCode => b"has writable code",
            Refusal::NoEntry => b"is a library, no loader",
            Refusal::NothingWritten => b"cannot relocate itself",
        }
    }
}

impl Class {
    /// Bytes of an address.
    pub const fn word(self) -> usize {
        match self {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }

    /// `sizeof (ElfN_Ehdr)`.
    pub const fn header_size(self) -> usize {
        match self {
            Class::Elf32 => 52,
            Class::Elf64 => 64,
        }
    }

    /// `sizeof (ElfN_Phdr)`.
    pub const fn segment_size(self) -> usize {
        match self {
            Class::Elf32 => 32,
            Class::Elf64 => 56,
        }
    }

    /// `sizeof (ElfN_Dyn)`.
    pub const fn entry_size(self) -> usize {
        2 * self.word()
    }

    /// An address-sized number at an offset. Our own word is as long as that, or longer.
    #[inline(always)]
    pub fn word_at(self, bytes: &[u8], at: usize) -> Option<usize> {
        match self {
            Class::Elf32 => u32_at(bytes, at).map(|word| word as usize),
            Class::Elf64 => u64_at(bytes, at).and_then(|word| usize::try_from(word).ok()),
        }
    }
}

/// The fields of the ELF header that matter to a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `e_type`.
    pub kind: u16,
    /// `e_entry`.
    pub entry: usize,
    /// `e_phoff`: from the start of the file, bytes.
    pub table: usize,
    /// `e_phnum`.
    pub segments: u16,
}

impl Header {
    /// Reads the header of a file for `machine`.
    ///
    /// # Errors
    /// [`Refusal::NotElf`], [`Refusal::OtherMachine`].
    pub fn parse(bytes: &[u8], machine: Machine) -> Result<Header, Refusal> {
        let bytes = bytes.get(..machine.class.header_size()).filter(|head| head.starts_with(b"\x7fELF")).ok_or(Refusal::NotElf)?;
        let class = match machine.class {
            Class::Elf32 => 1,
            Class::Elf64 => 2,
        };
        // EI_CLASS, EI_DATA (1: little-endian), EI_VERSION.
        if bytes.get(4..7) != Some(&[class, 1, 1]) {
            return Err(Refusal::OtherMachine);
        }
        let read = || {
            let word = machine.class.word();
            let phentsize = u16_at(bytes, 30 + 3 * word)?;
            Some((
                u16_at(bytes, 18)?,
                usize::from(phentsize),
                Header {
                    kind: u16_at(bytes, 16)?,
                    entry: machine.class.word_at(bytes, 24)?,
                    table: machine.class.word_at(bytes, 24 + word)?,
                    segments: u16_at(bytes, 32 + 3 * word)?,
                },
            ))
        };
        let (number, entry_size, header) = read().ok_or(Refusal::NotElf)?;
        if number != machine.number {
            return Err(Refusal::OtherMachine);
        }
        if entry_size != machine.class.segment_size() {
            return Err(Refusal::BadSegments);
        }
        Ok(header)
    }
}

/// One program header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`, bytes.
    pub offset: usize,
    /// `p_vaddr`.
    pub address: usize,
    /// `p_filesz`, bytes.
    pub file_size: usize,
    /// `p_memsz`, bytes.
    pub memory_size: usize,
    /// `p_align`, bytes.
    pub align: usize,
}

impl Segment {
    /// Reads one entry of a table.
    #[inline(never)]
    fn parse(bytes: &[u8], class: Class) -> Option<Segment> {
        let bytes = bytes.get(..class.segment_size())?;
        let word = |at| class.word_at(bytes, at);
        Some(match class {
            Class::Elf64 => Segment {
                kind: u32_at(bytes, 0)?,
                flags: u32_at(bytes, 4)?,
                offset: word(8)?,
                address: word(16)?,
                file_size: word(32)?,
                memory_size: word(40)?,
                align: word(48)?,
            },
            Class::Elf32 => Segment {
                kind: u32_at(bytes, 0)?,
                offset: word(4)?,
                address: word(8)?,
                file_size: word(16)?,
                memory_size: word(20)?,
                flags: u32_at(bytes, 24)?,
                align: word(28)?,
            },
        })
    }

    /// What stands at a link-time address in the part of this segment that comes from the file: the bytes
    /// from there to its end, as (distance from the segment's start, length).
    pub fn reach(&self, address: usize) -> Option<(usize, usize)> {
        let distance = address.checked_sub(self.address)?;
        let rest = self.file_size.checked_sub(distance)?;
        (rest > 0).then_some((distance, rest))
    }
}

/// All headers of a table.
pub fn segments(table: &[u8], class: Class) -> impl Iterator<Item = Segment> + '_ {
    table.chunks_exact(class.segment_size()).filter_map(move |entry| Segment::parse(entry, class))
}

/// The first header of a kind.
#[inline(never)]
pub fn of_kind(table: &[u8], class: Class, kind: u32) -> Option<Segment> {
    segments(table, class).find(|segment| segment.kind == kind)
}

/// The loadable segment whose file part holds a link-time address.
#[inline(never)]
pub fn loaded_at(table: &[u8], class: Class, address: usize) -> Option<Segment> {
    segments(table, class).find(|segment| segment.kind == PT_LOAD && segment.reach(address).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: Machine = Machine { class: Class::Elf64, number: EM_X86_64 };

    #[test]
    fn a_file_of_another_machine_or_class_is_refused() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let header = Header::parse(&own, AMD64);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(header.unwrap().kind, ET_DYN);
        }
        let other = Machine { class: Class::Elf32, number: EM_386 };
        assert_eq!(Header::parse(&own, other), Err(Refusal::OtherMachine));
        assert_eq!(Header::parse(b"#!/bin/sh\nexit 1\n", AMD64), Err(Refusal::NotElf));
        for end in 0..64 {
            assert!(Header::parse(&own[..end], AMD64).is_err(), "{end}");
        }
    }

    #[test]
    fn bytes_behind_the_file_part_of_a_segment_are_out_of_reach() {
        let segment = Segment { address: 0x1000, file_size: 0x10, memory_size: 0x100, ..Segment::default() };
        assert_eq!(segment.reach(0x1008), Some((8, 8)));
        assert_eq!(segment.reach(0x1010), None);
        assert_eq!(segment.reach(0xfff), None);
    }
}
