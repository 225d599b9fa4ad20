//! Reads a file's [`Needs`] as a loader does: from the ELF header, the program headers and
//! `PT_DYNAMIC`. Section headers are never consulted (a program without them runs just as well),
//! and nothing is believed: every offset, size and count is checked before it is used.

use crate::arch::{Arch, Class, Endian};
use crate::map::Mapped;
use crate::needs::{DlopenHint, HintSource, Kind, NeededVersion, Needs, VersionNeed};
use goblin::container::{Container, Ctx};
use goblin::elf::program_header::{PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::{Elf, dynamic, header};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

/// The longest name or path taken from a file (`PATH_MAX`); a search path may hold many.
const NAME_MAX: usize = 4096;
/// The longest `DT_RPATH`/`DT_RUNPATH` taken from a file, bytes.
const SEARCH_PATH_MAX: usize = 1 << 20;
/// The most entries of one kind (`DT_NEEDED`, versions) taken from a file.
const ENTRIES_MAX: usize = 1 << 16;
/// The most bytes that all names of one file may have together.
const NAMES_MAX: usize = 2 << 20;
/// The most bytes of notes read for `.note.dlopen` in one file.
const NOTES_MAX: usize = 1 << 20;
/// The most `dlopen` hints taken from one file.
const HINTS_MAX: usize = 512;

/// Why bytes are not a loadable ELF file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The first four bytes are not `\x7fELF`.
    #[error("not an ELF file: it begins with {0}")]
    NotElf(String),
    /// Something in it contradicts the rest.
    #[error("corrupt ELF file: at offset {offset:#x}, {what}")]
    Corrupt {
        /// Where in the file, bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// Why a file's needs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be opened.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It was opened, and is not what it should be.
    #[error("{0}")]
    Elf(#[from] ElfError),
}

fn corrupt<T>(offset: u64, what: impl Into<String>) -> Result<T, ElfError> {
    Err(ElfError::Corrupt { offset, what: what.into() })
}

/// Reads the needs of a file.
///
/// # Errors
/// See [`LoadError`].
pub fn load(path: &Path) -> Result<Needs, LoadError> {
    Ok(parse(&Mapped::open(path)?)?)
}

/// Reads the needs from a file's bytes.
///
/// # Errors
/// [`ElfError`], with the offset of the first thing that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Needs, ElfError> {
    Image::new(bytes)?.needs()
}

/// Reads the machine and nothing else: what a loader looks at before it accepts a candidate
/// (glibc `elf/dl-load.c`, `open_verify`).
///
/// # Errors
/// [`ElfError`] if there is no ELF header.
pub fn arch(bytes: &[u8]) -> Result<Arch, ElfError> {
    Ok(read_header(bytes)?.1)
}

fn read_header(bytes: &[u8]) -> Result<(header::Header, Arch), ElfError> {
    let Some(ident) = bytes.get(..16) else {
        if bytes.starts_with(header::ELFMAG) {
            return corrupt(bytes.len() as u64, format!("the file ends inside the ELF header ({} bytes)", bytes.len()));
        }
        return Err(ElfError::NotElf(describe(bytes)));
    };
    if !ident.starts_with(header::ELFMAG) {
        return Err(ElfError::NotElf(describe(bytes)));
    }
    let class = match ident.get(header::EI_CLASS) {
        Some(&header::ELFCLASS32) => Class::Elf32,
        Some(&header::ELFCLASS64) => Class::Elf64,
        other => {
            return corrupt(4, format!("EI_CLASS is {}, not 1 or 2", other.copied().unwrap_or(0)));
        }
    };
    let endian = match ident.get(header::EI_DATA) {
        Some(&header::ELFDATA2LSB) => Endian::Little,
        Some(&header::ELFDATA2MSB) => Endian::Big,
        other => {
            return corrupt(5, format!("EI_DATA is {}, not 1 or 2", other.copied().unwrap_or(0)));
        }
    };
    match Elf::parse_header(bytes) {
        Ok(h) => {
            let arch = Arch { class, endian, machine: h.e_machine };
            Ok((h, arch))
        }
        Err(_) => corrupt(bytes.len() as u64, format!("the file ends inside the ELF header ({} bytes)", bytes.len())),
    }
}

/// The first bytes of a file, fit for a message.
fn describe(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing (it is empty)".to_owned(),
        [b'#', b'!', ..] => "`#!` (a script)".to_owned(),
        _ => format!("`{}`", bytes.get(..bytes.len().min(4)).unwrap_or(bytes).escape_ascii()),
    }
}

/// A file with its program headers, checked against its size.
pub struct Image<'a> {
    bytes: &'a [u8],
    arch: Arch,
    header: header::Header,
    segments: Vec<ProgramHeader>,
}

impl<'a> Image<'a> {
    /// Reads the header and the program header table.
    ///
    /// # Errors
    /// [`ElfError`] if either is missing or runs past the end of the file.
    pub fn new(bytes: &'a [u8]) -> Result<Image<'a>, ElfError> {
        let (header, arch) = read_header(bytes)?;
        let entry: u64 = if arch.class == Class::Elf64 { 56 } else { 32 };
        let count = u64::from(header.e_phnum);
        if count > 0 && u64::from(header.e_phentsize) != entry {
            return corrupt(if entry == 56 { 54 } else { 42 }, format!("e_phentsize is {}, not {entry}", header.e_phentsize));
        }
        if header.e_phoff.checked_add(count * entry).is_none_or(|end| end > bytes.len() as u64) {
            return corrupt(
                header.e_phoff,
                format!("the program header table ({count} × {entry} bytes) runs past the end of the file ({} bytes)", bytes.len()),
            );
        }
        let ctx = Ctx::new(
            if arch.class == Class::Elf64 { Container::Big } else { Container::Little },
            if arch.endian == Endian::Little { goblin::container::Endian::Little } else { goblin::container::Endian::Big },
        );
        let segments = ProgramHeader::parse(bytes, usize_of(header.e_phoff), usize::from(header.e_phnum), ctx)
            .or_else(|e| corrupt(header.e_phoff, format!("the program header table cannot be read: {e}")))?;
        Ok(Image { bytes, arch, header, segments })
    }

    /// The bytes a segment has in the file.
    fn contents(&self, segment: &ProgramHeader, name: &str) -> Result<&'a [u8], ElfError> {
        let end = segment.p_offset.checked_add(segment.p_filesz);
        match end.and_then(|end| self.bytes.get(usize_of(segment.p_offset)..usize_of(end))) {
            Some(b) => Ok(b),
            None => corrupt(
                segment.p_offset,
                format!("{name} ({} bytes) runs past the end of the file ({} bytes)", segment.p_filesz, self.bytes.len()),
            ),
        }
    }

    /// Where an address lies in the file, through `PT_LOAD`.
    fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|s| s.p_type == PT_LOAD)
            .find(|s| address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz)
            .and_then(|s| s.p_offset.checked_add(address - s.p_vaddr))
    }

    fn u16(&self, at: u64) -> Result<u16, ElfError> {
        let raw: [u8; 2] = self.array(at)?;
        Ok(if self.arch.endian == Endian::Little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    }

    fn u32(&self, at: u64) -> Result<u32, ElfError> {
        let raw: [u8; 4] = self.array(at)?;
        Ok(if self.arch.endian == Endian::Little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    /// A value of the file's word size.
    fn word(&self, at: u64) -> Result<u64, ElfError> {
        if self.arch.class == Class::Elf32 {
            return Ok(u64::from(self.u32(at)?));
        }
        let raw: [u8; 8] = self.array(at)?;
        Ok(if self.arch.endian == Endian::Little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) })
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], ElfError> {
        let end = at.checked_add(N as u64);
        match end.and_then(|end| self.bytes.get(usize_of(at)..usize_of(end))).and_then(|b| b.try_into().ok()) {
            Some(raw) => Ok(raw),
            None => corrupt(at, format!("a value of {N} bytes runs past the end of the file ({} bytes)", self.bytes.len())),
        }
    }

    /// The entries of `PT_DYNAMIC` up to `DT_NULL`.
    fn dynamic(&self) -> Result<Option<Vec<(u64, u64)>>, ElfError> {
        let Some(segment) = self.segments.iter().find(|s| s.p_type == PT_DYNAMIC) else {
            return Ok(None);
        };
        let size = self.contents(segment, "PT_DYNAMIC")?.len() as u64;
        let word: u64 = if self.arch.class == Class::Elf64 { 8 } else { 4 };
        let mut entries = Vec::new();
        for index in 0..size / (2 * word) {
            let at = segment.p_offset + index * 2 * word;
            let tag = self.word(at)?;
            if tag == dynamic::DT_NULL {
                break;
            }
            if entries.len() == 4 * ENTRIES_MAX {
                return corrupt(at, format!("PT_DYNAMIC has more than {} entries", 4 * ENTRIES_MAX));
            }
            entries.push((tag, self.word(at + word)?));
        }
        Ok(Some(entries))
    }

    /// Reads everything a loader asks of the file.
    ///
    /// # Errors
    /// [`ElfError`], with the offset of the first thing that is wrong.
    pub fn needs(&self) -> Result<Needs, ElfError> {
        let interpreter = match self.segments.iter().find(|s| s.p_type == PT_INTERP) {
            None => None,
            Some(s) => {
                let raw = self.contents(s, "PT_INTERP")?;
                // The kernel refuses the same two (fs/binfmt_elf.c, load_elf_binary).
                if raw.len() > NAME_MAX || raw.len() < 2 {
                    return corrupt(s.p_offset, format!("PT_INTERP has {} bytes, not 2 to {NAME_MAX}", raw.len()));
                }
                if raw.last() != Some(&0) {
                    return corrupt(s.p_offset, "PT_INTERP does not end with a NUL");
                }
                Some(printable(raw.split(|b| *b == 0).next().unwrap_or(raw)))
            }
        };
        let dynamic = self.dynamic()?;
        let has_dynamic = dynamic.is_some();
        let entries = dynamic.unwrap_or_default();
        let last = |tag: u64| entries.iter().rev().find(|(t, _)| *t == tag).map(|(_, v)| *v);
        let strings = self.string_table(last(dynamic::DT_STRTAB), last(dynamic::DT_STRSZ))?;
        let text = |at: Option<u64>, max: usize| at.map(|at| strings.get(at, max)).transpose();

        let flags_1 = last(dynamic::DT_FLAGS_1).unwrap_or(0);
        let soname = text(last(dynamic::DT_SONAME), NAME_MAX)?;
        let mut needed = Vec::new();
        for (_, value) in entries.iter().filter(|(t, _)| *t == dynamic::DT_NEEDED) {
            if needed.len() == ENTRIES_MAX {
                return corrupt(strings.offset, format!("more than {ENTRIES_MAX} DT_NEEDED entries"));
            }
            needed.push(strings.get(*value, NAME_MAX)?);
        }
        let pie = flags_1 & dynamic::DF_1_PIE != 0;
        let kind = match (self.header.e_type, interpreter.is_some()) {
            (header::ET_EXEC, true) => Kind::Executable,
            (header::ET_EXEC, false) => Kind::Static,
            (header::ET_DYN, true) if pie || soname.is_none() => Kind::PieExecutable,
            // glibc's libc.so.6 and musl's libc.so carry an interpreter or an entry point of their
            // own, yet are libraries: their soname says so.
            (header::ET_DYN, true) => Kind::Library,
            (header::ET_DYN, false) if pie || (has_dynamic && soname.is_none() && needed.is_empty() && self.header.e_entry != 0) => {
                Kind::StaticPie
            }
            (header::ET_DYN, false) => Kind::Library,
            _ => Kind::Other,
        };
        Ok(Needs {
            arch: self.arch,
            kind,
            interpreter,
            soname,
            needed,
            rpath: text(last(dynamic::DT_RPATH), SEARCH_PATH_MAX)?,
            runpath: text(last(dynamic::DT_RUNPATH), SEARCH_PATH_MAX)?,
            nodeflib: flags_1 & dynamic::DF_1_NODEFLIB != 0,
            version_needs: self.version_needs(last(dynamic::DT_VERNEED), last(dynamic::DT_VERNEEDNUM), &strings)?,
            version_defs: self.version_defs(last(dynamic::DT_VERDEF), last(dynamic::DT_VERDEFNUM), &strings)?,
            dlopen_notes: self.dlopen_notes()?,
            executable_stack: self.segments.iter().any(|s| s.p_type == PT_GNU_STACK && s.p_flags & PF_X != 0),
        })
    }

    fn string_table(&self, address: Option<u64>, size: Option<u64>) -> Result<Strings<'a>, ElfError> {
        let Some(address) = address else {
            return Ok(Strings { bytes: &[], offset: 0, left: Cell::new(NAMES_MAX) });
        };
        let Some(offset) = self.offset_of(address) else {
            return corrupt(0, format!("DT_STRTAB ({address:#x}) lies in no PT_LOAD segment"));
        };
        // DT_STRSZ is required by the gABI, but loaders do not use it; without it the end is the file's.
        let rest = self.bytes.get(usize_of(offset)..).unwrap_or(&[]);
        let bytes = match size {
            Some(size) => rest.get(..usize_of(size)).unwrap_or(rest),
            None => rest,
        };
        Ok(Strings { bytes, offset, left: Cell::new(NAMES_MAX) })
    }

    /// `Verneed` and `Vernaux` (gABI symbol versioning; both have the same layout in both classes).
    fn version_needs(&self, address: Option<u64>, count: Option<u64>, strings: &Strings<'_>) -> Result<Vec<VersionNeed>, ElfError> {
        let Some(address) = address else {
            return Ok(Vec::new());
        };
        let Some(mut at) = self.offset_of(address) else {
            return corrupt(0, format!("DT_VERNEED ({address:#x}) lies in no PT_LOAD segment"));
        };
        let mut budget = ENTRIES_MAX;
        let mut found = Vec::new();
        for _ in 0..count.unwrap_or(u64::MAX) {
            let (entries, file, aux, next) = (self.u16(at + 2)?, self.u32(at + 4)?, self.u32(at + 8)?, self.u32(at + 12)?);
            let mut versions = Vec::new();
            let mut aux_at = at + u64::from(aux);
            for _ in 0..entries {
                budget = spend(budget, aux_at)?;
                let weak = self.u16(aux_at + 4)? & 2 != 0; // VER_FLG_WEAK
                versions.push(NeededVersion { name: strings.get(u64::from(self.u32(aux_at + 8)?), NAME_MAX)?, weak });
                match self.u32(aux_at + 12)? {
                    0 => break,
                    step => aux_at += u64::from(step),
                }
            }
            found.push(VersionNeed { file: strings.get(u64::from(file), NAME_MAX)?, versions });
            budget = spend(budget, at)?;
            match next {
                0 => break,
                step => at += u64::from(step),
            }
        }
        Ok(found)
    }

    /// `Verdef` and its first `Verdaux`, which is the version's own name.
    fn version_defs(&self, address: Option<u64>, count: Option<u64>, strings: &Strings<'_>) -> Result<BTreeSet<String>, ElfError> {
        let Some(address) = address else {
            return Ok(BTreeSet::new());
        };
        let Some(mut at) = self.offset_of(address) else {
            return corrupt(0, format!("DT_VERDEF ({address:#x}) lies in no PT_LOAD segment"));
        };
        let mut budget = ENTRIES_MAX;
        let mut found = BTreeSet::new();
        for _ in 0..count.unwrap_or(u64::MAX) {
            budget = spend(budget, at)?;
            let (flags, aux, next) = (self.u16(at + 2)?, self.u32(at + 12)?, self.u32(at + 16)?);
            // VER_FLG_BASE names the file itself, not a version that can be needed.
            if flags & 1 == 0 {
                found.insert(strings.get(u64::from(self.u32(at + u64::from(aux))?), NAME_MAX)?);
            }
            match next {
                0 => break,
                step => at += u64::from(step),
            }
        }
        Ok(found)
    }

    /// systemd's `.note.dlopen`: owner `FDO`, type `0x407c0c0a`, a JSON array
    /// (<https://systemd.io/ELF_DLOPEN_METADATA/>). A note that does not parse is no hint, not an error.
    fn dlopen_notes(&self) -> Result<Vec<DlopenHint>, ElfError> {
        #[derive(serde::Deserialize)]
        struct Entry {
            #[serde(default)]
            soname: Vec<String>,
            #[serde(default)]
            feature: String,
            #[serde(default)]
            priority: String,
        }
        let mut hints = Vec::new();
        let mut left = NOTES_MAX;
        for segment in self.segments.iter().filter(|s| s.p_type == PT_NOTE) {
            let notes = self.contents(segment, "PT_NOTE")?;
            let notes = notes.get(..left).unwrap_or(notes);
            left -= notes.len();
            let align: usize = if segment.p_align == 8 { 8 } else { 4 };
            let mut at = 0usize;
            while at + 12 <= notes.len() {
                let base = segment.p_offset + at as u64;
                let (name_size, size, kind) = (self.u32(base)?, self.u32(base + 4)?, self.u32(base + 8)?);
                let name_at = at + 12;
                let Some(end_of_name) = name_at.checked_add(name_size as usize) else {
                    break;
                };
                let desc_at = end_of_name.next_multiple_of(align);
                let Some(end) = desc_at.checked_add(size as usize) else {
                    break;
                };
                let (Some(name), Some(desc)) = (notes.get(name_at..end_of_name), notes.get(desc_at..end)) else {
                    break;
                };
                if kind == 0x407c_0c0a && name == b"FDO\0" {
                    let json = desc.split(|b| *b == 0).next().unwrap_or(desc);
                    for entry in serde_json::from_slice::<Vec<Entry>>(json).unwrap_or_default() {
                        if !entry.soname.is_empty() && hints.len() < HINTS_MAX {
                            hints.push(DlopenHint {
                                sonames: entry.soname,
                                source: HintSource::Note,
                                feature: entry.feature,
                                priority: entry.priority,
                            });
                        }
                    }
                }
                at = end.next_multiple_of(align);
            }
        }
        Ok(hints)
    }

    /// The file ranges that a program can read strings from: loaded, and not code.
    pub(crate) fn data_ranges(&self) -> Vec<&'a [u8]> {
        let loaded = || self.segments.iter().filter(|s| s.p_type == PT_LOAD);
        // With code in a segment of its own (-z separate-code) no string is in it.
        let separate = loaded().count() > 2;
        let mut left = self.bytes.len();
        loaded()
            .filter(|s| !separate || s.p_flags & PF_X == 0)
            .filter_map(|s| self.contents(s, "PT_LOAD").ok())
            // Segments may overlap; in a file that means well they are together no longer than it.
            .take_while(|range| {
                let fits = range.len() <= left;
                left = left.saturating_sub(range.len());
                fits
            })
            .collect()
    }
}

fn spend(budget: usize, at: u64) -> Result<usize, ElfError> {
    match budget.checked_sub(1) {
        Some(rest) => Ok(rest),
        None => corrupt(at, format!("more than {ENTRIES_MAX} symbol versions")),
    }
}

struct Strings<'a> {
    bytes: &'a [u8],
    offset: u64,
    /// How many more bytes of names may be taken: each may be short, all of them must be too.
    left: Cell<usize>,
}

impl Strings<'_> {
    fn get(&self, index: u64, max: usize) -> Result<String, ElfError> {
        let Some(rest) = self.bytes.get(usize_of(index)..) else {
            return corrupt(self.offset, format!("string {index:#x} lies outside the string table ({} bytes)", self.bytes.len()));
        };
        let window = rest.get(..max).unwrap_or(rest);
        match memchr::memchr(0, window) {
            Some(end) => match self.left.get().checked_sub(end) {
                Some(left) => {
                    self.left.set(left);
                    Ok(printable(window.get(..end).unwrap_or(window)))
                }
                None => corrupt(self.offset, format!("its names have more than {NAMES_MAX} bytes together")),
            },
            None => corrupt(self.offset.saturating_add(index), format!("a string of the dynamic section does not end within {max} bytes")),
        }
    }
}

/// UTF-8 as it is; any other byte as `\xNN`.
fn printable(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// An offset as an index; one that does not fit in memory is beyond every slice.
fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
