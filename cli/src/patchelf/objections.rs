//! What `patchelf` refuses by section headers, in its words: scripts and its own tests read them. The
//! values themselves come from the program headers, so a file without section headers meets none of
//! these.

use super::Complaint;
use patcher::Codec;

const ET_EXEC: u16 = 2;
pub(super) const ET_DYN: u16 = 3;
const SHT_SYMTAB: u32 = 2;
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;
const SHN_LORESERVE: u16 = 0xff00;

const DT_NEEDED: u64 = 1;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

fn half(layout: Codec, bytes: &[u8], at: usize) -> u16 {
    layout.get(bytes, at, 2).unwrap_or_default() as u16
}

fn word(layout: Codec, bytes: &[u8], at: usize) -> u32 {
    layout.get(bytes, at, 4).unwrap_or_default() as u32
}

/// An address or an offset.
fn wide(layout: Codec, bytes: &[u8], at: usize) -> u64 {
    layout.get(bytes, at, layout.word()).unwrap_or_default()
}

/// A section header.
#[derive(Clone, Copy)]
struct Section<'a> {
    name: &'a [u8],
    sh_type: u32,
    offset: u64,
    size: u64,
    link: u32,
}

/// A file as `patchelf` looks at it.
pub(super) struct Sections<'a> {
    file: &'a [u8],
    layout: Codec,
    e_type: u16,
    /// Empty for a file without section headers.
    all: Vec<Section<'a>>,
}

/// A file's parts that an edit needs; each is asked for by its section, but a file that has it
/// without a section has it too.
#[derive(Clone, Copy)]
pub(super) struct Present {
    pub(super) interpreter: bool,
    pub(super) dynamic: bool,
}

type Checked<T = ()> = Result<T, Complaint>;

impl<'a> Sections<'a> {
    /// Looks at the header and the section headers, in the order in which `patchelf` does.
    pub(super) fn read(file: &'a [u8]) -> Checked<Sections<'a>> {
        let ident = file.get(..52).ok_or("missing ELF header")?;
        if !ident.starts_with(b"\x7fELF") {
            return Err("not an ELF executable".into());
        }
        let byte = |at: usize| ident.get(at).copied().unwrap_or_default();
        if byte(6) != 1 {
            return Err("unsupported ELF version".into());
        }
        if !matches!(byte(4), 1 | 2) {
            return Err("ELF executable is not 32 or 64 bit".into());
        }
        let layout = Codec { is_64: byte(4) == 2, big_endian: byte(5) != 1 };
        let header = file.get(..if layout.is_64 { 64 } else { 52 }).ok_or("missing ELF header")?;
        let e_type = half(layout, header, 16);
        if e_type != ET_EXEC && e_type != ET_DYN {
            return Err("wrong ELF type".into());
        }
        // e_phoff and e_shoff follow e_entry; the six numbers at the end are halves.
        let (phoff, shoff) = (wide(layout, header, 24 + layout.word()), wide(layout, header, 24 + 2 * layout.word()));
        let number = |index: usize| half(layout, header, 24 + 3 * layout.word() + 4 + 2 * index);
        let (phentsize, phnum, shentsize, shnum, shstrndx) = (number(1), number(2), number(3), number(4), number(5));
        let inside = |start: u64, count: u16, size: u16| {
            let end = start.checked_add(u64::from(count) * u64::from(size));
            end.is_some_and(|end| end <= file.len() as u64)
        };
        if !inside(phoff, phnum, phentsize) {
            return Err("program header table out of bounds".into());
        }
        if shnum == 0 {
            return Ok(Sections { file, layout, e_type, all: Vec::new() });
        }
        if !inside(shoff, shnum, shentsize) {
            return Err("section header table out of bounds".into());
        }
        if phentsize != if layout.is_64 { 56 } else { 32 } {
            return Err("program headers have wrong size".into());
        }
        let entry = if layout.is_64 { 64 } else { 40 };
        if usize::from(shentsize) != entry {
            return Err("section headers have wrong size".into());
        }
        let table = usize::try_from(shoff).ok().and_then(|start| file.get(start..start + usize::from(shnum) * entry)).unwrap_or_default();
        let names = names(file, layout, table.chunks_exact(entry).nth(shstrndx.into()))?;
        let mut all = Vec::with_capacity(shnum.into());
        for (index, header) in table.chunks_exact(entry).enumerate() {
            let rest = names.get(word(layout, header, 0) as usize..).filter(|rest| !rest.is_empty());
            let name = match rest {
                Some(rest) => rest.split(|byte| *byte == 0).next().unwrap_or_default(),
                None if index == 0 => &[],
                None => return Err("section name offset out of bounds".into()),
            };
            let (offset, size, link) = if layout.is_64 { (24, 32, 40) } else { (16, 20, 24) };
            all.push(Section {
                name: if index == 0 { &[] } else { name },
                sh_type: word(layout, header, 4),
                offset: wide(layout, header, offset),
                size: wide(layout, header, size),
                link: word(layout, header, link),
            });
        }
        Ok(Sections { file, layout, e_type, all })
    }

    /// `e_type`.
    pub(super) fn e_type(&self) -> u16 {
        self.e_type
    }

    fn find(&self, name: &str) -> Option<&Section<'a>> {
        self.all.iter().skip(1).find(|section| section.name == name.as_bytes())
    }

    /// Whether there is a section of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A section that must be there, unless its content is there without it.
    fn need(&self, name: &str, anyway: bool) -> Checked<Option<&Section<'a>>> {
        match self.find(name) {
            None if !anyway => {
                let dynamic = [".interp", ".dynamic", ".dynstr"].contains(&name);
                let guess = if dynamic { ". The input file is most likely statically linked" } else { "" };
                Err(Complaint(format!("cannot find section '{name}'{guess}").into_bytes()))
            }
            found => Ok(found),
        }
    }

    fn bytes(&self, section: &Section<'_>, align: usize) -> Checked<&'a [u8]> {
        let start = usize::try_from(section.offset).ok();
        let end = start.zip(usize::try_from(section.size).ok()).and_then(|(start, size)| start.checked_add(size));
        let bytes = start.zip(end).and_then(|(start, end)| self.file.get(start..end)).ok_or("data offset extends past file end")?;
        if !section.offset.is_multiple_of(align as u64) {
            return Err("section content is not naturally aligned".into());
        }
        Ok(bytes)
    }

    fn strings(&self, section: &Section<'_>) -> Checked<&'a [u8]> {
        let bytes = self.bytes(section, 1)?;
        if bytes.last() != Some(&0) {
            return Err("string table is not NUL-terminated".into());
        }
        Ok(bytes)
    }

    /// Tags and values up to `DT_NULL`; without one, up to the end of the section.
    fn entries(&self, section: &Section<'_>) -> Checked<impl Iterator<Item = (u64, u64)> + use<'a>> {
        let (layout, size) = (self.layout, self.layout.word());
        let entries = self.bytes(section, size)?.chunks_exact(2 * size).map(move |pair| (wide(layout, pair, 0), wide(layout, pair, size)));
        Ok(entries.take_while(|(tag, _)| *tag != 0))
    }

    /// Before the interpreter is read or set.
    pub(super) fn to_interpreter(&self, present: Present) -> Checked {
        if let Some(section) = self.need(".interp", present.interpreter)? {
            let text = Section { size: section.size.saturating_sub(1), ..*section };
            self.bytes(&text, 1)?;
        }
        Ok(())
    }

    /// Before texts of the dynamic section with these tags are read.
    fn to_texts(&self, present: Present, tags: &[u64]) -> Checked {
        let dynamic = self.need(".dynamic", present.dynamic)?;
        let strings = self.need(".dynstr", present.dynamic)?;
        if let (Some(dynamic), Some(strings)) = (dynamic, strings) {
            let size = self.strings(strings)?.len() as u64;
            if self.entries(dynamic)?.any(|(tag, value)| tags.contains(&tag) && value >= size) {
                return Err("string table index out of bounds".into());
            }
        }
        Ok(())
    }

    /// Before the soname is read or set.
    pub(super) fn to_soname(&self, present: Present) -> Checked {
        self.to_texts(present, &[DT_SONAME])
    }

    /// Before the run path is read or set. `false` for a file of debug information, whose dynamic section is elsewhere:
    /// nothing is done then.
    pub(super) fn to_run_path(&self, present: Present) -> Checked<bool> {
        let dynamic = self.need(".dynamic", present.dynamic)?;
        if dynamic.is_some_and(|section| section.sh_type == SHT_NOBITS) {
            return Ok(false);
        }
        self.to_texts(present, &[DT_RPATH, DT_RUNPATH, DT_NEEDED])?;
        Ok(true)
    }

    /// Before needed libraries are read or removed.
    pub(super) fn to_needed(&self, present: Present) -> Checked {
        self.to_texts(present, &[DT_NEEDED])
    }

    /// Before needed libraries are replaced, also where symbol versions name them.
    pub(super) fn to_replace_needed(&self, present: Present) -> Checked {
        self.to_needed(present)?;
        let Some(dynamic) = self.find(".dynamic") else { return Ok(()) };
        let count = self.entries(dynamic)?.filter(|(tag, _)| *tag == DT_VERNEEDNUM).last().map_or(0, |(_, count)| count);
        let Some(section) = self.need(".gnu.version_r", count == 0)?.filter(|_| count > 0) else { return Ok(()) };
        let strings = self.all.get(section.link as usize).ok_or("string table index out of bounds")?;
        let size = self.strings(strings)?.len() as u64;
        let bytes = self.bytes(section, 1)?;
        let mut at = 0_usize;
        for _ in 0..count {
            // Elf_Verneed: vn_version, vn_cnt, vn_file, vn_aux, vn_next.
            let Some(record) = bytes.get(at..).and_then(|rest| rest.get(..16)) else { break };
            if u64::from(word(self.layout, record, 4)) >= size {
                return Err("string table index out of bounds".into());
            }
            match word(self.layout, record, 12) as usize {
                0 => break,
                next => at = at.saturating_add(next),
            }
        }
        Ok(())
    }

    /// Before entries are added to the dynamic section.
    pub(super) fn to_add_entries(&self, present: Present) -> Checked {
        let dynamic = self.need(".dynamic", present.dynamic)?;
        self.need(".dynstr", present.dynamic)?;
        if let Some(section) = dynamic {
            let ends =
                self.bytes(section, self.layout.word())?.chunks_exact(2 * self.layout.word()).any(|pair| wide(self.layout, pair, 0) == 0);
            if !ends {
                return Err("setSubstr: write extends past end of section".into());
            }
        }
        Ok(())
    }

    /// Before `DF_1_NODEFLIB` is set, which needs a new entry only if there are no flags.
    pub(super) fn to_flags(&self, present: Present) -> Checked {
        match self.need(".dynamic", present.dynamic)? {
            Some(section) if self.entries(section)?.any(|(tag, _)| tag == DT_FLAGS_1) => Ok(()),
            _ => self.to_add_entries(present),
        }
    }

    /// Before versions of symbols are cleared; `versioned` if the dynamic section says that there are any.
    pub(super) fn to_versions(&self, present: Present, versioned: bool) -> Checked {
        if let Some(strings) = self.need(".dynstr", present.dynamic)? {
            self.strings(strings)?;
        }
        let symbols = self.need(".dynsym", present.dynamic)?;
        let versions = self.need(".gnu.version", versioned)?;
        if let (Some(symbols), Some(versions)) = (symbols, versions) {
            let symbol = if self.layout.is_64 { 24 } else { 16 };
            if self.bytes(symbols, self.layout.word())?.len() / symbol != self.bytes(versions, 2)?.len() / 2 {
                return Err("versym size mismatch".into());
            }
        }
        Ok(())
    }

    /// Before symbols are renamed.
    pub(super) fn to_symbols(&self, present: Present) -> Checked {
        for name in [".dynsym", ".dynstr"] {
            if let Some(section) = self.need(name, present.dynamic)? {
                self.bytes(section, if name == ".dynsym" { self.layout.word() } else { 1 })?;
            }
        }
        Ok(())
    }

    /// The descriptor of the note in a section (gABI, "Note Section"); `None` for what is no note.
    pub(super) fn note(&self, name: &str) -> Option<Vec<u8>> {
        let bytes = self.bytes(self.find(name)?, 1).ok()?;
        let sizes = bytes.get(..12)?;
        let name_size = (word(self.layout, sizes, 0) as usize).checked_next_multiple_of(4)?;
        let size = word(self.layout, sizes, 4) as usize;
        Some(bytes.get(12..)?.get(name_size..)?.get(..size)?.to_vec())
    }

    /// What is odd about a file that is edited: symbols that belong to sections without a name.
    pub(super) fn oddities(&self) -> Vec<String> {
        let nameless = |index: u16| self.all.get(usize::from(index)).is_some_and(|section| section.name.is_empty());
        // Symbol tables are long, and sections without a name are rare.
        if !(1..self.all.len()).any(|index| u16::try_from(index).is_ok_and(nameless)) {
            return Vec::new();
        }
        let mut found = std::collections::BTreeSet::new();
        for section in self.all.iter().filter(|section| [SHT_SYMTAB, SHT_DYNSYM].contains(&section.sh_type)) {
            let (entry, index) = if self.layout.is_64 { (24, 6) } else { (16, 14) };
            let symbols = self.bytes(section, self.layout.word()).unwrap_or_default().chunks_exact(entry);
            found.extend(
                symbols.map(|symbol| half(self.layout, symbol, index)).filter(|at| (1..SHN_LORESERVE).contains(at) && nameless(*at)),
            );
        }
        found.into_iter().map(|index| format!("warning: a symbol refers to an unnamed section (index {index})\n")).collect()
    }
}

/// The table of section names.
fn names<'a>(file: &'a [u8], layout: Codec, header: Option<&[u8]>) -> Checked<&'a [u8]> {
    let header = header.ok_or("string table index out of bounds")?;
    let (offset, size) = if layout.is_64 { (24, 32) } else { (16, 20) };
    let start = usize::try_from(wide(layout, header, offset)).ok();
    let rest = start.and_then(|start| file.get(start..)).ok_or("string table offset out of bounds")?;
    let size = usize::try_from(wide(layout, header, size)).ok();
    let names = size.and_then(|size| rest.get(..size)).ok_or("data region extends past file end")?;
    match names.last() {
        None => Err("string table size is zero".into()),
        Some(0) => Ok(names),
        Some(_) => Err("string table is not zero terminated".into()),
    }
}
