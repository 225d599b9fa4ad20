//! What a file says to its loader, from `PT_INTERP`, `PT_DYNAMIC` and what that points to, never from
//! section headers. Reads only; a file that lies is an error with the field and its offset.

use crate::codec::Dyn;
use crate::elf::{Elf, Header, Section, Segment};
use crate::error::Error;
use crate::image::Image;
use crate::plan::FileOffset;
use object::elf::{DF_1_PIE, PF_X, PT_DYNAMIC, PT_GNU_STACK};
use object::elf::{
    DT_DEBUG, DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMTAB,
    DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM,
};
use std::borrow::Cow;
use std::ops::Range;

/// Tags, as numbers: what is on disk stays open.
pub(crate) mod tag {
    use super::*;
    pub(crate) const NULL: u64 = DT_NULL.0 as u64;
    pub(crate) const NEEDED: u64 = DT_NEEDED.0 as u64;
    pub(crate) const STRTAB: u64 = DT_STRTAB.0 as u64;
    pub(crate) const STRSZ: u64 = DT_STRSZ.0 as u64;
    pub(crate) const HASH: u64 = DT_HASH.0 as u64;
    pub(crate) const GNU_HASH: u64 = DT_GNU_HASH.0 as u64;
    pub(crate) const SYMTAB: u64 = DT_SYMTAB.0 as u64;
    pub(crate) const SONAME: u64 = DT_SONAME.0 as u64;
    pub(crate) const RPATH: u64 = DT_RPATH.0 as u64;
    pub(crate) const RUNPATH: u64 = DT_RUNPATH.0 as u64;
    pub(crate) const DEBUG: u64 = DT_DEBUG.0 as u64;
    pub(crate) const FLAGS_1: u64 = DT_FLAGS_1.0 as u64;
    pub(crate) const VERDEF: u64 = DT_VERDEF.0 as u64;
    pub(crate) const VERDEFNUM: u64 = DT_VERDEFNUM.0 as u64;
    pub(crate) const VERNEED: u64 = DT_VERNEED.0 as u64;
    pub(crate) const VERNEEDNUM: u64 = DT_VERNEEDNUM.0 as u64;
    /// Solaris's and GNU's further tags whose values are strings (gABI, "Dynamic Array Tags").
    pub(crate) const AUXILIARY: u64 = 0x7fff_fffd;
    pub(crate) const FILTER: u64 = 0x7fff_ffff;
    pub(crate) const CONFIG: u64 = 0x6fff_fefa;
    pub(crate) const DEPAUDIT: u64 = 0x6fff_fefb;
    pub(crate) const AUDIT: u64 = 0x6fff_fefc;
    /// Relative to the entry's own address (MIPS ABI supplement; `elf_machine_setup_debug`).
    pub(crate) const MIPS_RLD_MAP_REL: u64 = 0x7000_0035;

    /// Whether the value is a position in the string table.
    pub(crate) fn is_string(tag: u64) -> bool {
        [NEEDED, SONAME, RPATH, RUNPATH, AUXILIARY, FILTER, CONFIG, DEPAUDIT, AUDIT].contains(&tag)
    }
}

/// The dynamic section and its strings.
#[derive(Clone, Debug)]
pub(crate) struct Dynamic<'a> {
    /// The file bytes of `PT_DYNAMIC`, its end cut to whole entries.
    pub(crate) place: Range<u64>,
    /// Its address.
    pub(crate) address: u64,
    /// Up to, and without, the first `DT_NULL`.
    pub(crate) entries: Vec<Dyn>,
    /// How many entries there is room for, `DT_NULL` included.
    pub(crate) room: usize,
    /// Where the string table lies in the file.
    pub(crate) strings_at: u64,
    /// Its address.
    pub(crate) strings_address: u64,
    /// Its bytes (`DT_STRSZ` of them).
    pub(crate) strings: Cow<'a, [u8]>,
}

impl Dynamic<'_> {
    /// The value of the first entry with a tag, which is the one a loader keeps unless told otherwise.
    pub(crate) fn value(&self, wanted: u64) -> Option<u64> {
        self.entries.iter().find(|d| d.tag == wanted).map(|d| d.value)
    }

    /// The string at a position, without its NUL.
    pub(crate) fn text(&self, at: u64) -> Result<&[u8], Error> {
        let place = self.strings_at.wrapping_add(at);
        let rest = usize::try_from(at).ok().and_then(|at| self.strings.get(at..)).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(Error::field("a position in the string table", place, at, "it is beyond DT_STRSZ"))?;
        let end = memchr::memchr(0, rest).ok_or(Error::field("a string", place, at, "it has no end"))?;
        Ok(rest.get(..end).unwrap_or_default())
    }
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) image: Image<'a>,
    pub(crate) elf: Elf,
    pub(crate) dynamic: Option<Dynamic<'a>>,
    interpreter: Option<Vec<u8>>,
}

impl<'a> View<'a> {
    /// Reads what a loader reads first. `file` may be a mapping of any size.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Truncated`], [`Error::Field`].
    pub fn parse(file: &'a [u8]) -> Result<View<'a>, Error> {
        View::read(Image::of(file))
    }

    pub(crate) fn read(image: Image<'a>) -> Result<View<'a>, Error> {
        let elf = Elf::read(&image)?;
        let interpreter = match elf.interpreter() {
            Some(segment) => Some(interpreter(&image, segment)?),
            None => None,
        };
        let dynamic = match elf.segment(PT_DYNAMIC.0) {
            Some(segment) => dynamic(&image, &elf, segment)?,
            None => None,
        };
        Ok(View { image, elf, dynamic, interpreter })
    }

    /// The ELF header.
    pub fn header(&self) -> &Header {
        &self.elf.header
    }

    /// The program headers.
    pub fn segments(&self) -> &[Segment] {
        &self.elf.segments
    }

    /// The section headers, if there are any.
    pub fn sections(&self) -> &[Section] {
        &self.elf.sections
    }

    /// Whether there is a dynamic section.
    pub fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// The interpreter's path, up to its first NUL.
    pub fn interpreter(&self) -> Option<&[u8]> {
        self.interpreter.as_deref()
    }

    /// The bytes a path may take in `PT_INTERP`, its NUL included; 0 without one.
    pub(crate) fn interpreter_room(&self) -> u64 {
        let both = self.elf.interpreter().zip(self.interpreter());
        both.map_or(0, |(segment, path)| path_room(&self.image, segment, path.len() as u64))
    }

    /// `DT_SONAME`.
    ///
    /// # Errors
    /// [`Error::Field`] for a position outside the string table; so for the others.
    pub fn soname(&self) -> Result<Option<&[u8]>, Error> {
        self.string(tag::SONAME)
    }

    /// `DT_RPATH`.
    ///
    /// # Errors
    /// As [`View::soname`].
    pub fn rpath(&self) -> Result<Option<&[u8]>, Error> {
        self.string(tag::RPATH)
    }

    /// `DT_RUNPATH`.
    ///
    /// # Errors
    /// As [`View::soname`].
    pub fn runpath(&self) -> Result<Option<&[u8]>, Error> {
        self.string(tag::RUNPATH)
    }

    /// `DT_NEEDED`, in order.
    ///
    /// # Errors
    /// As [`View::soname`].
    pub fn needed(&self) -> Result<Vec<&[u8]>, Error> {
        let Some(dynamic) = &self.dynamic else { return Ok(Vec::new()) };
        dynamic.entries.iter().filter(|d| d.tag == tag::NEEDED).map(|d| dynamic.text(d.value)).collect()
    }

    /// Every entry of the dynamic section before `DT_NULL`.
    pub fn entries(&self) -> &[Dyn] {
        self.dynamic.as_ref().map(|d| d.entries.as_slice()).unwrap_or_default()
    }

    /// Whether the file relocates itself: a static PIE reads its dynamic section where it was linked, and
    /// stops if that has a run path (glibc, `_dl_relocate_static_pie`, `elf_get_dynamic_info`).
    pub(crate) fn relocates_itself(&self) -> bool {
        let pie = |d: &Dyn| d.tag == tag::FLAGS_1 && d.value & DF_1_PIE.0 != 0;
        self.interpreter.is_none() && self.entries().iter().any(pie)
    }

    /// Whether `PT_GNU_STACK` asks for an executable stack; `None` without one.
    pub fn exec_stack(&self) -> Option<bool> {
        self.elf.segment(PT_GNU_STACK.0).map(|s| s.flags & PF_X.0 != 0)
    }

    /// The last entry with the tag, as loaders keep the last (glibc, `elf_get_dynamic_info`).
    fn string(&self, wanted: u64) -> Result<Option<&[u8]>, Error> {
        let Some(dynamic) = &self.dynamic else { return Ok(None) };
        let entry = dynamic.entries.iter().rev().find(|d| d.tag == wanted);
        entry.map(|d| dynamic.text(d.value)).transpose()
    }
}

/// `load_elf_binary` takes 2 to `PATH_MAX` bytes and wants a NUL at their end.
pub(crate) const INTERPRETER_MAX: u64 = 4096;

fn interpreter(image: &Image<'_>, segment: &Segment) -> Result<Vec<u8>, Error> {
    let bad = |reason| Error::BadInterpreter { offset: segment.offset, reason };
    if segment.file_size > INTERPRETER_MAX {
        return Err(bad("it has more than 4096 bytes"));
    }
    let bytes = image.read("the interpreter's segment", segment.offset.0, segment.file_size)?;
    let length = memchr::memchr(0, &bytes).ok_or(bad("it does not end with a NUL"))?;
    Ok(bytes.get(..length).unwrap_or_default().to_vec())
}

/// The bytes a path may take in an interpreter's segment, its NUL included: all of it if only NULs
/// follow the path of that length, else no more than it has, as something else shares the segment.
pub(crate) fn path_room(image: &Image<'_>, segment: &Segment, length: u64) -> u64 {
    let rest = segment.offset.0.saturating_add(length)..segment.range().end;
    if image.is_zero(rest) { segment.file_size } else { length + 1 }
}

/// `None` for a `PT_DYNAMIC` without bytes, as a file of debug information has.
fn dynamic<'a>(image: &Image<'a>, elf: &Elf, segment: &Segment) -> Result<Option<Dynamic<'a>>, Error> {
    let codec = elf.header.codec;
    let each = codec.dyn_size() as u64;
    // A loader goes by the address; a file whose offset says otherwise is read where it is mapped.
    let start = elf.offset_of(segment.vaddr).map_or(segment.offset.0, |(offset, _)| offset);
    let room = segment.file_size / each;
    if room == 0 {
        return Ok(None);
    }
    if room > ENTRIES_MAX {
        return Err(Error::field("PT_DYNAMIC's p_filesz", start, segment.file_size, "no dynamic section is that long"));
    }
    let bytes = image.read("the dynamic section", start, room * each)?;
    let mut entries = codec.dynamic(&bytes);
    if entries.iter().all(|d| *d == Dyn { tag: 0, value: 0 }) && elf.offset_of(segment.vaddr).is_none() {
        return Ok(None);
    }
    let end = entries.iter().position(|d| d.tag == tag::NULL);
    entries.truncate(end.ok_or(Error::field("PT_DYNAMIC's p_filesz", start, segment.file_size, "no DT_NULL ends the section"))?);
    let find = |wanted: u64| entries.iter().rev().find(|d| d.tag == wanted).map(|d| d.value);
    let (strings_at, strings_address, strings) = match find(tag::STRTAB) {
        None => (0, 0, Cow::Borrowed([].as_slice())),
        Some(address) => {
            let lost = Error::field("DT_STRTAB", start, address, "no segment has its bytes");
            let (offset, most) = elf.offset_of(address).ok_or(lost)?;
            let size = find(tag::STRSZ).unwrap_or_default();
            if size > most {
                return Err(Error::field("DT_STRSZ", start, size, "the strings reach beyond their segment"));
            }
            (offset, address, image.read("the string table", offset, size)?)
        }
    };
    let place = start..start + room * each;
    bounded(&entries, &strings, start)?;
    Ok(Some(Dynamic { place, address: segment.vaddr, entries, room: room as usize, strings_at, strings_address, strings }))
}

/// Refuses entries whose strings are long because they share one: each is read as a text of its own.
fn bounded(entries: &[Dyn], strings: &[u8], start: u64) -> Result<(), Error> {
    let mut left = TEXTS_MAX;
    for entry in entries.iter().filter(|d| tag::is_string(d.tag)) {
        let rest = usize::try_from(entry.value).ok().and_then(|at| strings.get(at..)).unwrap_or_default();
        let length = memchr::memchr(0, rest.get(..left.min(rest.len())).unwrap_or(rest)).unwrap_or(left.min(rest.len()));
        left = left.checked_sub(length + 1).ok_or(Error::field(
            "the dynamic section",
            start,
            entry.value,
            "its strings are longer than any",
        ))?;
    }
    Ok(())
}

/// More text than a dynamic section names; bounds what a hostile file costs.
const TEXTS_MAX: usize = 16 << 20;

/// A million entries are more than any link editor writes; bounds what a hostile file costs.
const ENTRIES_MAX: u64 = 1 << 20;

/// A version-needed record's file name (gABI/LSB, "Version Dependency").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeededVersion {
    /// Where `vn_file` lies in the file.
    pub(crate) at: FileOffset,
    /// What it says: a position in the string table.
    pub(crate) file: u64,
}

/// Every place in `DT_VERNEED` and `DT_VERDEF` that points into the string table.
pub(crate) struct VersionStrings {
    pub(crate) files: Vec<NeededVersion>,
    pub(crate) names: Vec<NeededVersion>,
}

impl View<'_> {
    /// The string references of `DT_VERNEED`. The records have the same layout in both classes.
    pub(crate) fn version_strings(&self) -> Result<VersionStrings, Error> {
        let mut found = VersionStrings { files: Vec::new(), names: Vec::new() };
        let Some(dynamic) = &self.dynamic else { return Ok(found) };
        self.defined_versions(dynamic, &mut found.names)?;
        let Some(address) = dynamic.value(tag::VERNEED) else { return Ok(found) };
        let codec = self.elf.header.codec;
        let lost = Error::field("DT_VERNEED", dynamic.place.start, address, "no segment has its bytes");
        let (mut at, _) = self.elf.offset_of(address).ok_or(lost)?;
        let count = dynamic.value(tag::VERNEEDNUM).unwrap_or_default().min(RECORDS_MAX);
        let mut left = RECORDS_MAX;
        for _ in 0..count {
            let need = self.image.read("a version-needed record", at, 16)?;
            let field = |range: Range<usize>| codec.number(need.get(range).unwrap_or_default());
            found.files.push(NeededVersion { at: FileOffset(at + 4), file: field(4..8) });
            let (names, mut aux, next) = (field(2..4), at.saturating_add(field(8..12)), field(12..16));
            for _ in 0..names {
                left = left.checked_sub(1).ok_or(Error::field("vn_cnt", at, names, "the records do not end"))?;
                let entry = self.image.read("a needed version", aux, 16)?;
                let field = |range: Range<usize>| codec.number(entry.get(range).unwrap_or_default());
                found.names.push(NeededVersion { at: FileOffset(aux + 8), file: field(8..12) });
                match field(12..16) {
                    0 => break,
                    step => aux = aux.saturating_add(step),
                }
            }
            match next {
                0 => break,
                step => at = at.saturating_add(step),
            }
        }
        Ok(found)
    }

    /// The names in `DT_VERDEF`, of versions and of their parents.
    fn defined_versions(&self, dynamic: &Dynamic<'_>, names: &mut Vec<NeededVersion>) -> Result<(), Error> {
        let Some(address) = dynamic.value(tag::VERDEF) else { return Ok(()) };
        let codec = self.elf.header.codec;
        let lost = Error::field("DT_VERDEF", dynamic.place.start, address, "no segment has its bytes");
        let (mut at, _) = self.elf.offset_of(address).ok_or(lost)?;
        let mut left = RECORDS_MAX;
        for _ in 0..dynamic.value(tag::VERDEFNUM).unwrap_or_default().min(RECORDS_MAX) {
            let definition = self.image.read("a version definition", at, 20)?;
            let field = |range: Range<usize>| codec.number(definition.get(range).unwrap_or_default());
            let (count, mut aux, next) = (field(6..8), at.saturating_add(field(12..16)), field(16..20));
            for _ in 0..count {
                left = left.checked_sub(1).ok_or(Error::field("vd_cnt", at, count, "the records do not end"))?;
                let entry = self.image.read("a version's name", aux, 8)?;
                names.push(NeededVersion { at: FileOffset(aux), file: codec.number(entry.get(..4).unwrap_or_default()) });
                match codec.number(entry.get(4..).unwrap_or_default()) {
                    0 => break,
                    step => aux = aux.saturating_add(step),
                }
            }
            match next {
                0 => break,
                step => at = at.saturating_add(step),
            }
        }
        Ok(())
    }
}

/// Bounds cyclic chains.
const RECORDS_MAX: u64 = 1 << 16;
