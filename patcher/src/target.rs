//! The new file for one choice of places: every header, table and string with its bytes. Chooses
//! nothing and refuses what does not fit.

mod sections;

use crate::codec::Dyn;
use crate::draft::Content;
use crate::elf::{Section, Segment};
use crate::error::Error;
use crate::note;
use crate::plan::{FileOffset, Phase, Rung};
use crate::record::Kind;
use crate::table::{TABLES, TablePlace, TablePlan};
use crate::view::{View, tag};
use object::elf::{
    PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_PROPERTY, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, PT_PHDR, SHT_DYNAMIC, SHT_NOTE, SHT_STRTAB,
};
use std::ops::Range;

/// Where the new bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// In the new file.
    pub(crate) at: u64,
    pub(crate) vaddr: u64,
    /// In bytes.
    pub(crate) room: u64,
    /// The load that is extended; `None` for a new one.
    pub(crate) extends: Option<usize>,
    /// `p_align` of a new load.
    pub(crate) align: u64,
}

/// One choice of places.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) rung: Rung,
    pub(crate) area: Option<Area>,
    pub(crate) table: TablePlan,
    pub(crate) moves_dynamic: bool,
    pub(crate) moves_interpreter: bool,
    /// Whether nothing that is read now may change but what one page holds: then section headers that
    /// change go to a copy of their table.
    pub(crate) at_once: bool,
    /// Free stretches for what is not loaded and does not fit behind the area.
    pub(crate) spare: Vec<Range<u64>>,
    /// Sections whose bytes are taken.
    pub(crate) sacrificed: Vec<usize>,
}

/// What a user's edits come to besides the dynamic section.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) interpreter: Option<Vec<u8>>,
    pub(crate) os_abi: u8,
    pub(crate) exec_stack: Option<bool>,
    pub(crate) cache: Option<Vec<u8>>,
    /// The bytes of a resolution cache of somebody else's that is no longer true.
    pub(crate) stale_cache: Option<Range<u64>>,
}

/// Bytes of the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) new: Vec<u8>,
    pub(crate) phase: Phase,
    pub(crate) kind: Kind,
    pub(crate) why: String,
}

/// The new file, as far as it differs.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) segments: Vec<Segment>,
    /// Behind everything that is written.
    pub(crate) end: u64,
}

/// A cursor over the area.
struct Cursor {
    area: Area,
    at: u64,
}

impl Cursor {
    fn take(&mut self, size: u64, align: u64) -> Result<(u64, u64), Error> {
        let lost = || Error::Refused { reason: "the new bytes do not fit".into() };
        let at = self.at.checked_next_multiple_of(align.max(1)).ok_or_else(lost)?;
        self.at =
            at.checked_add(size).filter(|end| end.checked_sub(self.area.at).is_some_and(|used| used <= self.area.room)).ok_or_else(lost)?;
        Ok((at, self.area.vaddr + (at - self.area.at)))
    }
}

/// Something that moved: its old bytes in the file, and where it is now.
struct Moved {
    from: Range<u64>,
    to: u64,
    vaddr: u64,
}

/// The state of one build.
struct Build<'b> {
    view: &'b View<'b>,
    choice: &'b Choice,
    pieces: Vec<Piece>,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    moved: Vec<Moved>,
    spare: Vec<Range<u64>>,
}

/// Builds the file.
///
/// # Errors
/// [`Error::Refused`] if something does not fit.
pub(crate) fn build(view: &View<'_>, content: &Content, outside: &Outside, choice: &Choice) -> Result<Target, Error> {
    let (segments, sections) = (view.elf.segments.clone(), view.elf.sections.clone());
    let mut build = Build { view, choice, pieces: Vec::new(), segments, sections, moved: Vec::new(), spare: choice.spare.clone() };
    build.run(content, outside)
}

impl Build<'_> {
    fn put(&mut self, offset: u64, new: Vec<u8>, phase: Phase, why: &str) {
        self.pieces.push(Piece { offset, new, phase, kind: Kind::Structure, why: why.into() });
    }

    fn run(&mut self, content: &Content, outside: &Outside) -> Result<Target, Error> {
        let codec = self.view.elf.header.codec;
        let empty = Area { at: 0, vaddr: 0, room: 0, extends: None, align: 1 };
        let area = self.choice.area.unwrap_or(empty);
        let mut cursor = Cursor { area, at: area.at };
        let count = self.final_count(outside);
        let table_at = match self.choice.table.place {
            TablePlace::Here => None,
            TablePlace::Slack { load, at } => {
                self.extend(load, at + count as u64 * codec.segment_size())?;
                let vaddr = self.segments.get(load).map_or(0, |s| s.vaddr + (at - s.offset.0));
                Some((at, vaddr))
            }
            TablePlace::Area => Some(cursor.take(count as u64 * codec.segment_size(), 8)?),
        };
        if let Some(stale) = &outside.stale_cache {
            // Headers of nothing (PT_NULL, SHT_NULL) keep the places of the others.
            self.segments.iter_mut().filter(|s| s.p_type == PT_NOTE.0 && s.range() == *stale).for_each(|s| s.p_type = 0);
            self.sections.iter_mut().filter(|s| s.sh_type == SHT_NOTE.0 && s.range() == *stale).for_each(|s| s.sh_type = 0);
        }
        self.dynamic(content, &mut cursor)?;
        for range in self.choice.table.displaced.clone() {
            if content.patches.iter().any(|p| p.offset < range.end && range.start < p.offset + p.new.len() as u64) {
                return Err(Error::Refused { reason: "a table that is edited would have to move".into() });
            }
            self.displace(range, &mut cursor)?;
        }
        self.interpreter(outside, &mut cursor)?;
        let table = self.strings(content, &mut cursor)?;
        // Entries were encoded before the string table had its place.
        self.finish_dynamic(content, table)?;
        let cache = self.cache(outside, &mut cursor)?;
        let loaded_end = cursor.at;
        self.stack(outside);
        self.load(&cursor, loaded_end)?;
        self.segments.extend(cache);
        for index in &self.choice.sacrificed {
            if let Some(section) = self.sections.get_mut(*index) {
                // An inactive header (gABI, SHT_NULL): the other indices stay true.
                *section =
                    Section { sh_type: 0, flags: 0, addr: 0, offset: 0, size: 0, link: 0, info: 0, entry_size: 0, align: 0, ..*section };
            }
        }
        let sections_at = self.section_headers(&mut cursor, outside.cache.is_some())?;
        self.header_table(table_at, sections_at, outside)?;
        if let Some(stale) = &outside.stale_cache {
            self.put(stale.start, vec![0; (stale.end - stale.start) as usize], Phase::Commit, "a resolution cache that is no longer true");
        }
        let clobbered = self.clobber(content);
        for patch in content.patches.iter().chain(&content.wiped) {
            self.pieces.push(Piece {
                offset: patch.offset,
                new: patch.new.clone(),
                phase: Phase::Commit,
                kind: patch.kind,
                why: patch.why.clone(),
            });
        }
        if content.table.is_some() {
            let wiped = content.wiped.iter().map(|p| p.offset).collect::<Vec<_>>();
            for piece in self.pieces.iter_mut().filter(|p| p.kind == Kind::Text && wiped.contains(&p.offset)) {
                piece.phase = Phase::After;
                if clobbered {
                    piece.new.fill(0);
                }
            }
        }
        // Nothing ends nowhere: a table of no headers may be said to be anywhere.
        self.pieces.retain(|p| !p.new.is_empty());
        let end = self.pieces.iter().map(|p| p.offset + p.new.len() as u64).max().unwrap_or_default();
        if !codec.is_64 && end > u64::from(u32::MAX) {
            return Err(Error::Refused { reason: "a 32-bit file has no offsets behind 4 GiB".into() });
        }
        Ok(Target { pieces: std::mem::take(&mut self.pieces), segments: self.segments.clone(), end })
    }

    /// Wipes out the string table that moved, unless something else reads its bytes.
    fn clobber(&mut self, content: &Content) -> bool {
        let (Some(dynamic), true, true) = (&self.view.dynamic, content.clobber, content.table.is_some()) else { return false };
        let place = dynamic.strings_at..dynamic.strings_at + dynamic.strings.len() as u64;
        let meets = |r: &Range<u64>| r.start < place.end && place.start < r.end;
        let elf = &self.view.elf;
        let segments = elf.segments.iter().filter(|s| s.p_type != 0 && !s.is_load()).any(|s| meets(&s.range()));
        let own = |s: &&Section| s.sh_type == SHT_STRTAB.0 && s.addr == dynamic.strings_address;
        let sections = elf.sections.iter().filter(|s| !own(s)).any(|s| meets(&s.range()));
        if segments || sections || place.is_empty() {
            return false;
        }
        let new = vec![0; (place.end - place.start) as usize];
        self.pieces.push(Piece {
            offset: place.start,
            new,
            phase: Phase::After,
            kind: Kind::Strings,
            why: "the old place of the strings".into(),
        });
        true
    }

    /// How many headers there will be.
    fn final_count(&self, outside: &Outside) -> usize {
        let load = self.choice.area.is_some_and(|a| a.extends.is_none());
        let extra = crate::table::extra_headers(&self.view.elf, outside.exec_stack, outside.cache.is_some());
        self.view.elf.segments.len() + usize::from(load) + extra - self.choice.table.dropped.len()
    }

    /// Extends a load over the padding behind it, up to `end` in the file.
    fn extend(&mut self, load: usize, end: u64) -> Result<(), Error> {
        let segment = self.segments.get_mut(load).ok_or_else(|| Error::Refused { reason: "there is no such segment".into() })?;
        segment.file_size = segment.file_size.max(end.saturating_sub(segment.offset.0));
        segment.memory_size = segment.file_size;
        Ok(())
    }

    fn dynamic(&mut self, content: &Content, cursor: &mut Cursor) -> Result<(), Error> {
        let Some(dynamic) = self.view.dynamic.as_ref().filter(|_| self.choice.moves_dynamic) else { return Ok(()) };
        let each = self.view.elf.header.codec.dyn_size() as u64;
        // As long as it was, for symbols that know its size.
        let size = (content.entries.len() + 1).max(dynamic.room) as u64 * each;
        let (to, vaddr) = cursor.take(size, 8)?;
        let from = dynamic.place.clone();
        for segment in self.segments.iter_mut().filter(|s| s.p_type == PT_DYNAMIC.0) {
            relocate(segment, to, vaddr, size);
        }
        for section in self.sections.iter_mut().filter(|s| s.sh_type == SHT_DYNAMIC.0 && s.offset == from.start) {
            (section.offset, section.addr, section.size) = (to, vaddr, size);
        }
        self.moved.push(Moved { from, to, vaddr });
        Ok(())
    }

    fn finish_dynamic(&mut self, content: &Content, table: Option<(u64, u64)>) -> Result<(), Error> {
        let Some(dynamic) = &self.view.dynamic else { return Ok(()) };
        let codec = self.view.elf.header.codec;
        let each = codec.dyn_size() as u64;
        let moved = self.moved.iter().find(|m| m.from == dynamic.place).map(|m| (m.to, m.vaddr));
        let (to, vaddr) = moved.unwrap_or((dynamic.place.start, dynamic.address));
        let mut entries: Vec<Dyn> = Vec::with_capacity(content.entries.len() + 1);
        let displaced = |address: u64| {
            let (offset, _) = self.view.elf.offset_of(address)?;
            self.moved.iter().find(|m| m.from.start == offset).map(|m| m.vaddr)
        };
        for (index, (entry, was)) in content.entries.iter().enumerate() {
            let value = match (entry.tag, table, was) {
                (t, _, _) if TABLES.iter().any(|(_, tag)| *tag == t) => displaced(entry.value).unwrap_or(entry.value),
                (tag::STRTAB, Some((vaddr, _)), _) => vaddr,
                (tag::STRSZ, Some((_, size)), _) => size,
                (tag::MIPS_RLD_MAP_REL, _, Some(was)) => {
                    let old = dynamic.address.wrapping_add(*was as u64 * each);
                    entry.value.wrapping_add(old).wrapping_sub(vaddr.wrapping_add(index as u64 * each))
                }
                _ => entry.value,
            };
            entries.push(Dyn { tag: entry.tag, value });
        }
        let rows = if moved.is_some() { (entries.len() + 1).max(dynamic.room) } else { dynamic.entries.len().max(entries.len()) + 1 };
        if moved.is_none() && rows > dynamic.room {
            return Err(Error::Refused { reason: "the dynamic section has no room for another entry".into() });
        }
        entries.resize(rows, Dyn { tag: tag::NULL, value: 0 });
        let phase = if moved.is_some() { Phase::Fresh } else { Phase::Commit };
        self.put(to, codec.put_dynamic(&entries), phase, "dynamic section");
        Ok(())
    }

    /// Moves notes and tables out of the way.
    fn displace(&mut self, range: Range<u64>, cursor: &mut Cursor) -> Result<(), Error> {
        let within = |r: &Range<u64>| !r.is_empty() && range.start <= r.start && r.end <= range.end;
        let align = self.segments.iter().filter(|s| within(&s.range())).map(|s| s.align).max().unwrap_or(8).clamp(4, 16);
        let bytes = self.view.image.read("a note", range.start, range.end - range.start)?.into_owned();
        let (to, vaddr) = cursor.take(bytes.len() as u64, align)?;
        for segment in self.segments.iter_mut().filter(|s| [PT_NOTE.0, PT_GNU_PROPERTY.0].contains(&s.p_type) && within(&s.range())) {
            let by = segment.offset.0 - range.start;
            let size = segment.file_size;
            relocate(segment, to + by, vaddr + by, size);
        }
        for section in self.sections.iter_mut().filter(|s| within(&s.range())) {
            let by = section.offset - range.start;
            (section.offset, section.addr) = (to + by, vaddr + by);
        }
        self.put(to, bytes, Phase::Fresh, "what made way for a program header");
        self.moved.push(Moved { from: range, to, vaddr });
        Ok(())
    }

    fn interpreter(&mut self, outside: &Outside, cursor: &mut Cursor) -> Result<(), Error> {
        let (Some(path), Some(old)) = (&outside.interpreter, self.view.elf.interpreter().copied()) else { return Ok(()) };
        let mut bytes = path.clone();
        bytes.push(0);
        let moves = self.choice.moves_interpreter || self.choice.table.displaces_interpreter;
        if !moves && self.view.interpreter() == Some(path) {
            return Ok(());
        }
        let size = bytes.len() as u64;
        if !moves {
            let room = self.view.interpreter_room();
            if size > room {
                return Err(Error::Refused { reason: "the interpreter's path has no room".into() });
            }
            // The segment keeps its size: the kernel wants no more than a NUL at its end.
            bytes.resize(room as usize, 0);
            self.put(old.offset.0, bytes, Phase::Commit, "interpreter");
            return Ok(());
        }
        let (to, vaddr) = cursor.take(size, 1)?;
        let from = old.range();
        for segment in self.segments.iter_mut().filter(|s| s.p_type == PT_INTERP.0 && s.range() == from) {
            relocate(segment, to, vaddr, size);
        }
        for section in self.sections.iter_mut().filter(|s| s.range() == from) {
            (section.offset, section.addr, section.size) = (to, vaddr, size);
        }
        self.moved.push(Moved { from, to, vaddr });
        self.put(to, bytes, Phase::Fresh, "interpreter");
        Ok(())
    }

    /// The address and size of a string table that moved.
    fn strings(&mut self, content: &Content, cursor: &mut Cursor) -> Result<Option<(u64, u64)>, Error> {
        let (Some(table), Some(dynamic)) = (&content.table, &self.view.dynamic) else { return Ok(None) };
        let size = table.len() as u64;
        let (to, vaddr) = cursor.take(size, 1)?;
        for section in self.sections.iter_mut().filter(|s| s.sh_type == SHT_STRTAB.0 && s.addr == dynamic.strings_address && s.addr != 0) {
            (section.offset, section.addr, section.size) = (to, vaddr, size);
        }
        self.moved.push(Moved { from: dynamic.strings_at..dynamic.strings_at + dynamic.strings.len() as u64, to, vaddr });
        self.put(to, table.clone(), Phase::Fresh, "dynamic strings");
        Ok(Some((vaddr, size)))
    }

    /// The note of the resolution cache, and its header.
    fn cache(&mut self, outside: &Outside, cursor: &mut Cursor) -> Result<Option<Segment>, Error> {
        let Some(descriptor) = &outside.cache else { return Ok(None) };
        let bytes = note::encode(self.view.elf.header.codec, descriptor);
        let size = bytes.len() as u64;
        let (to, vaddr) = cursor.take(size, 4)?;
        self.put(to, bytes, Phase::Fresh, "resolution cache");
        if let Some(names) = self.sections.get(self.view.elf.names_index()).copied() {
            // The name is added when the section headers are written.
            let section = Section {
                name: names.size as u32,
                sh_type: SHT_NOTE.0,
                flags: 2,
                addr: vaddr,
                offset: to,
                size,
                link: 0,
                info: 0,
                align: 4,
                entry_size: 0,
            };
            self.sections.push(section);
        }
        Ok(Some(Segment {
            p_type: PT_NOTE.0,
            flags: PF_R.0,
            offset: FileOffset(to),
            vaddr,
            paddr: vaddr,
            file_size: size,
            memory_size: size,
            align: 4,
        }))
    }

    fn stack(&mut self, outside: &Outside) {
        let Some(wanted) = outside.exec_stack else { return };
        let flags = |old: u32| if wanted { old | PF_X.0 } else { old & !PF_X.0 };
        match self.segments.iter_mut().find(|s| s.p_type == PT_GNU_STACK.0) {
            Some(stack) => stack.flags = flags(stack.flags),
            None => self.segments.push(Segment {
                p_type: PT_GNU_STACK.0,
                flags: flags(PF_R.0 | PF_W.0),
                offset: FileOffset(0),
                vaddr: 0,
                paddr: 0,
                file_size: 0,
                memory_size: 0,
                align: 1,
            }),
        }
    }

    /// Drops the headers that go and adds or extends the load of the area.
    fn load(&mut self, cursor: &Cursor, end: u64) -> Result<(), Error> {
        let area = cursor.area;
        if let Some(load) = area.extends {
            self.extend(load, end)?;
        }
        let mut dropped = self.choice.table.dropped.clone();
        dropped.sort_unstable();
        for index in dropped.into_iter().rev().filter(|i| *i < self.segments.len()).collect::<Vec<_>>() {
            self.segments.remove(index);
        }
        if self.choice.area.is_some() && area.extends.is_none() {
            // Its addresses are the highest, and the gABI wants PT_LOADs ascending.
            let last = self.segments.iter().rposition(Segment::is_load).map_or(0, |i| i + 1);
            let size = end - area.at;
            // Only the dynamic section is written to, where it was before.
            let written = |d: &crate::view::Dynamic<'_>| self.view.elf.loads().any(|s| s.is_writable() && s.memory().contains(&d.address));
            let writable = self.choice.moves_dynamic && self.view.dynamic.as_ref().is_some_and(written);
            let flags = if writable { PF_R.0 | PF_W.0 } else { PF_R.0 };
            let load = Segment {
                p_type: PT_LOAD.0,
                flags,
                offset: FileOffset(area.at),
                vaddr: area.vaddr,
                paddr: area.vaddr,
                file_size: size,
                memory_size: size,
                align: area.align,
            };
            self.segments.insert(last, load);
        }
        Ok(())
    }

    /// The ELF header and the program headers.
    fn header_table(&mut self, table_at: Option<(u64, u64)>, sections_at: u64, outside: &Outside) -> Result<(), Error> {
        let (header, codec) = (self.view.elf.header, self.view.elf.header.codec);
        let size = self.segments.len() as u64 * codec.segment_size();
        for segment in self.segments.iter_mut().filter(|s| s.p_type == PT_PHDR.0) {
            match table_at {
                Some((at, vaddr)) => relocate(segment, at, vaddr, size),
                None => (segment.file_size, segment.memory_size) = (size, size),
            }
        }
        let at = table_at.map_or(header.segments_at, |(at, _)| at);
        let bytes: Vec<u8> = self.segments.iter().flat_map(|s| codec.put_segment(s)).collect();
        let phase = if table_at.is_some() { Phase::Fresh } else { Phase::Commit };
        self.put(at, bytes, phase, "program headers");
        let mut first = self.view.image.read("the ELF header", 0, codec.header_size())?.into_owned();
        let fields = codec.header_fields();
        let mut set = |at: u64, new: &[u8]| {
            if let Some(place) = first.get_mut(at as usize..at as usize + new.len()) {
                place.copy_from_slice(new);
            }
        };
        set(7, &[outside.os_abi]);
        set(fields.phoff, &codec.address(at));
        set(fields.shoff, &codec.address(sections_at));
        set(fields.phnum, &codec.u16(self.segments.len() as u16));
        // A number of headers that are not in the file stays as it is: 0 would mean that the first one says it.
        if header.section_count != 0 && !self.sections.is_empty() {
            set(fields.shnum, &codec.u16(self.sections.len() as u16));
        }
        self.put(0, first, Phase::Commit, "ELF header");
        Ok(())
    }
}

fn relocate(segment: &mut Segment, offset: u64, vaddr: u64, size: u64) {
    if segment.vaddr != vaddr {
        segment.paddr = vaddr;
    }
    (segment.offset, segment.vaddr, segment.file_size, segment.memory_size) = (FileOffset(offset), vaddr, size, size);
}
