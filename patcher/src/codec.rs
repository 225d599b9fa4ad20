//! The fixed-size records of ELF as numbers and back, for both classes and both byte orders. Reads
//! through `object`'s definitions; knows sizes and field positions, and nothing of what they mean.

use crate::elf::{Header, Section, Segment};
use crate::plan::FileOffset;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, ProgramHeader32, ProgramHeader64, SectionHeader32, SectionHeader64};
use object::pod;

/// The class and byte order of a file (`EI_CLASS`, `EI_DATA`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// `ELFCLASS64`.
    pub is_64: bool,
    /// `ELFDATA2MSB`.
    pub big_endian: bool,
}

/// An entry of the dynamic section (gABI, "Dynamic Section"); tags stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dyn {
    /// `d_tag`.
    pub tag: u64,
    /// `d_val` or `d_ptr`.
    pub value: u64,
}

impl Codec {
    fn endian(self) -> Endianness {
        if self.big_endian { Endianness::Big } else { Endianness::Little }
    }

    /// The size of an address or a file offset, in bytes.
    pub fn word(self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    /// The size of the ELF header.
    pub(crate) fn header_size(self) -> u64 {
        if self.is_64 { 64 } else { 52 }
    }

    /// The size of a program header (`e_phentsize`).
    pub(crate) fn segment_size(self) -> u64 {
        if self.is_64 { 56 } else { 32 }
    }

    /// The size of a section header (`e_shentsize`).
    pub(crate) fn section_size(self) -> u64 {
        if self.is_64 { 64 } else { 40 }
    }

    /// The size of an entry of the dynamic section.
    pub(crate) fn dyn_size(self) -> usize {
        2 * self.word()
    }

    pub(crate) fn u16(self, n: u16) -> [u8; 2] {
        if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    pub(crate) fn u32(self, n: u32) -> [u8; 4] {
        if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    pub(crate) fn u64(self, n: u64) -> [u8; 8] {
        if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    /// An address-sized number. A 32-bit file's are checked where they are made.
    pub(crate) fn address(self, n: u64) -> Vec<u8> {
        if self.is_64 { self.u64(n).to_vec() } else { self.u32(n as u32).to_vec() }
    }

    /// The number that `bytes` (2, 4 or 8 of them) are; 0 for any other length.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        if bytes.len() > 8 {
            return 0;
        }
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    /// The number of `size` (2, 4 or 8) bytes at a position; `None` where they are not all there.
    pub fn get(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        bytes.get(at..at.checked_add(size)?).map(|bytes| self.number(bytes))
    }

    pub(crate) fn get_u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        self.get(bytes, at, 4)?.try_into().ok()
    }

    /// An address-sized number.
    pub(crate) fn get_word(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.get(bytes, at, self.word())
    }

    /// Writes a number of `size` bytes; `None` where there is no room for it.
    pub(crate) fn set(self, bytes: &mut [u8], at: usize, size: usize, number: u64) -> Option<()> {
        let place = bytes.get_mut(at..at.checked_add(size)?)?;
        let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
        place.copy_from_slice(if self.big_endian { big.get(8_usize.checked_sub(size)?..)? } else { little.get(..size)? });
        Some(())
    }

    pub(crate) fn set_u32(self, bytes: &mut [u8], at: usize, number: u32) -> Option<()> {
        self.set(bytes, at, 4, number.into())
    }

    pub(crate) fn set_word(self, bytes: &mut [u8], at: usize, number: u64) -> Option<()> {
        self.set(bytes, at, self.word(), number)
    }

    /// Where `e_phoff`, `e_shoff`, `e_phnum` and `e_shnum` lie in the ELF header.
    pub(crate) fn header_fields(self) -> HeaderFields {
        match self.is_64 {
            true => HeaderFields { phoff: 32, shoff: 40, phnum: 56, shnum: 60 },
            false => HeaderFields { phoff: 28, shoff: 32, phnum: 44, shnum: 48 },
        }
    }

    /// The header in `bytes`; `None` if they are too few or not ELF.
    pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
        let (is_64, big_endian) = match (bytes.get(..4)?, bytes.get(4)?, bytes.get(5)?) {
            (b"\x7fELF", class @ 1..=2, data @ 1..=2) => (*class == 2, *data == 2),
            _ => return None,
        };
        let codec = Codec { is_64, big_endian };
        let os_abi = *bytes.get(7)?;
        if is_64 {
            let (h, _) = pod::from_bytes::<FileHeader64<Endianness>>(bytes).ok()?;
            Some(widened(h, codec, os_abi))
        } else {
            let (h, _) = pod::from_bytes::<FileHeader32<Endianness>>(bytes).ok()?;
            Some(widened(h, codec, os_abi))
        }
    }

    /// The program headers that `bytes` hold.
    pub(crate) fn segments(self, bytes: &[u8]) -> Vec<Segment> {
        let e = self.endian();
        if self.is_64 {
            let all = pod::slice_from_all_bytes::<ProgramHeader64<Endianness>>(bytes).unwrap_or_default();
            all.iter().map(|p| segment(p, e, p.p_paddr.get(e))).collect()
        } else {
            let all = pod::slice_from_all_bytes::<ProgramHeader32<Endianness>>(bytes).unwrap_or_default();
            all.iter().map(|p| segment(p, e, p.p_paddr.get(e).into())).collect()
        }
    }

    /// The section headers that `bytes` hold.
    pub(crate) fn sections(self, bytes: &[u8]) -> Vec<Section> {
        let e = self.endian();
        if self.is_64 {
            let all = pod::slice_from_all_bytes::<SectionHeader64<Endianness>>(bytes).unwrap_or_default();
            all.iter().map(|s| section(s, e)).collect()
        } else {
            let all = pod::slice_from_all_bytes::<SectionHeader32<Endianness>>(bytes).unwrap_or_default();
            all.iter().map(|s| section(s, e)).collect()
        }
    }

    /// The entries that `bytes` hold, `DT_NULL` included.
    pub(crate) fn dynamic(self, bytes: &[u8]) -> Vec<Dyn> {
        let entry = |both: &[u8]| {
            let (tag, value) = both.split_at(self.word());
            Dyn { tag: self.number(tag), value: self.number(value) }
        };
        bytes.chunks_exact(self.dyn_size()).map(entry).collect()
    }

    /// A program header's bytes.
    pub(crate) fn put_segment(self, s: &Segment) -> Vec<u8> {
        let mut out = Vec::with_capacity(56);
        out.extend(self.u32(s.p_type));
        if self.is_64 {
            out.extend(self.u32(s.flags));
        }
        for n in [s.offset.0, s.vaddr, s.paddr, s.file_size, s.memory_size] {
            out.extend(self.address(n));
        }
        if !self.is_64 {
            out.extend(self.u32(s.flags));
        }
        out.extend(self.address(s.align));
        out
    }

    /// A section header's bytes.
    pub(crate) fn put_section(self, s: &Section) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend(self.u32(s.name));
        out.extend(self.u32(s.sh_type));
        for n in [s.flags, s.addr, s.offset, s.size] {
            out.extend(self.address(n));
        }
        out.extend(self.u32(s.link));
        out.extend(self.u32(s.info));
        out.extend(self.address(s.align));
        out.extend(self.address(s.entry_size));
        out
    }

    /// The bytes of dynamic entries.
    pub(crate) fn put_dynamic(self, entries: &[Dyn]) -> Vec<u8> {
        entries.iter().flat_map(|d| [self.address(d.tag), self.address(d.value)].concat()).collect()
    }
}

/// Positions in the ELF header, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderFields {
    pub(crate) phoff: u64,
    pub(crate) shoff: u64,
    pub(crate) phnum: u64,
    pub(crate) shnum: u64,
}

fn widened<H: object::read::elf::FileHeader<Endian = Endianness>>(h: &H, codec: Codec, os_abi: u8) -> Header {
    let e = codec.endian();
    Header {
        codec,
        os_abi,
        e_type: h.e_type(e).0,
        machine: h.e_machine(e).0,
        entry: h.e_entry(e).into(),
        segments_at: h.e_phoff(e).into(),
        segment_size: h.e_phentsize(e),
        segment_count: h.e_phnum(e),
        sections_at: h.e_shoff(e).into(),
        section_size: h.e_shentsize(e),
        section_count: h.e_shnum(e),
        section_names: h.e_shstrndx(e).0,
    }
}

fn segment<P: object::read::elf::ProgramHeader<Endian = Endianness>>(p: &P, e: Endianness, paddr: u64) -> Segment {
    Segment {
        p_type: p.p_type(e).0,
        flags: p.p_flags(e).0,
        offset: FileOffset(p.p_offset(e).into()),
        vaddr: p.p_vaddr(e).into(),
        paddr,
        file_size: p.p_filesz(e).into(),
        memory_size: p.p_memsz(e).into(),
        align: p.p_align(e).into(),
    }
}

fn section<S: object::read::elf::SectionHeader<Endian = Endianness>>(s: &S, e: Endianness) -> Section {
    Section {
        name: s.sh_name(e),
        sh_type: s.sh_type(e).0,
        flags: s.sh_flags(e).0,
        addr: s.sh_addr(e).into(),
        offset: s.sh_offset(e).into(),
        size: s.sh_size(e).into(),
        link: s.sh_link(e),
        info: s.sh_info(e),
        align: s.sh_addralign(e).into(),
        entry_size: s.sh_entsize(e).into(),
    }
}
