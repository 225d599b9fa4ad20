//! Compares a file as its loader will see it with the file before: whatever differs must have been
//! asked for. Knows nothing of how places were chosen.

use crate::codec::Dyn;
use crate::draft::Content;
use crate::elf::{Elf, Segment};
use crate::error::Error;
use crate::plan::FileOffset;
use crate::record::Kind;
use crate::space::Space;
use crate::table::TABLES;
use crate::target::{Outside, Piece};
use crate::view::{View, tag};
use object::elf::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_PROPERTY, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR};
use std::ops::Range;

/// What the plan says of the new file.
pub(crate) struct Expected<'e> {
    pub(crate) content: &'e Content,
    pub(crate) outside: &'e Outside,
    pub(crate) pieces: &'e [Piece],
    pub(crate) page: u64,
    /// The original's bytes up to here keep their places.
    pub(crate) end: u64,
    /// Whether a payload is found by where the section headers end.
    pub(crate) sections_stay: bool,
}

/// Checks `after` against `before`.
///
/// # Errors
/// [`Error::Unplanned`] with the first thing that is not as asked.
pub(crate) fn verify(before: &View<'_>, after: &View<'_>, expected: &Expected<'_>) -> Result<(), Error> {
    header(before, after)?;
    let stays = !expected.sections_stay || before.elf.section_table() == after.elf.section_table();
    require(stays, after.header().sections_at, "the section headers move, by which the payload is found")?;
    loads(&before.elf, &after.elf, expected.page)?;
    table(&before.elf, &after.elf)?;
    others(&before.elf, &after.elf)?;
    fields(&before.elf, &after.elf, expected.outside)?;
    notes(before, after, expected.outside)?;
    interpreter(after, expected.outside)?;
    dynamic(before, after, expected.content)?;
    bytes(before, after, expected)
}

fn unplanned(offset: u64, reason: &'static str) -> Error {
    Error::Unplanned { offset: FileOffset(offset), reason }
}

fn require(holds: bool, offset: u64, reason: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(unplanned(offset, reason)) }
}

fn header(before: &View<'_>, after: &View<'_>) -> Result<(), Error> {
    let (old, new) = (before.header(), after.header());
    let same = (old.codec, old.e_type, old.machine, old.entry) == (new.codec, new.e_type, new.machine, new.entry);
    require(same, 0, "the ELF header says something else")?;
    require(before.sections().is_empty() || !after.sections().is_empty(), 0, "the section headers are lost")
}

/// Every load is where it was and as long, or longer over padding; at most one is new, above them all.
fn loads(before: &Elf, after: &Elf, page: u64) -> Result<(), Error> {
    let mut new: Vec<&Segment> = after.loads().collect();
    for old in before.loads() {
        let same = |s: &&Segment| (s.vaddr, s.offset, s.flags, s.align) == (old.vaddr, old.offset, old.flags, old.align);
        let index = new.iter().position(same).ok_or(unplanned(old.offset.0, "a segment is not where it was"))?;
        let found = new.remove(index);
        let equal = (found.file_size, found.memory_size) == (old.file_size, old.memory_size);
        let longer = old.file_size == old.memory_size && found.file_size == found.memory_size && found.file_size >= old.file_size;
        require(equal || longer, old.offset.0, "a segment has another length")?;
    }
    require(new.len() <= 1, 0, "more than one segment is new")?;
    let top = before.loads().map(|s| s.memory().end).max().unwrap_or_default();
    for added in &new {
        let above = added.vaddr / page >= top.div_ceil(page) && added.vaddr.checked_add(added.memory_size).is_some();
        require(above, added.offset.0, "the new segment shares a page of memory with another")?;
        let congruent = added.align.is_power_of_two() && added.offset.0 % added.align == added.vaddr % added.align;
        require(congruent, added.offset.0, "the new segment's address is not congruent to its offset")?;
        let data = [PF_R.0, PF_R.0 | PF_W.0].contains(&added.flags) && added.file_size == added.memory_size;
        require(data, added.offset.0, "the new segment is not plain data")?;
    }
    if before.loads().is_sorted_by_key(|s| s.vaddr) {
        require(after.loads().is_sorted_by_key(|s| s.vaddr), 0, "the segments are no longer in ascending order")?;
    }
    // Two loads never meet in memory, unless they did before.
    let met = |elf: &Elf| {
        let mut all: Vec<Range<u64>> = elf.loads().map(Segment::memory).collect();
        all.sort_by_key(|r| r.start);
        all.windows(2).any(|pair| matches!(pair, [a, b] if b.start < a.end))
    };
    require(!met(after) || met(before), 0, "two segments meet in memory")
}

/// The table of program headers is in memory, where `AT_PHDR` and `PT_PHDR` say.
fn table(before: &Elf, after: &Elf) -> Result<(), Error> {
    let place = |elf: &Elf| {
        let table = elf.segment_table();
        elf.loads().find(|s| s.range().start <= table.start && table.end <= s.range().end).map(Segment::delta)
    };
    let at = after.header.segments_at;
    let first = |elf: &Elf| elf.loads().next().map(Segment::delta);
    if let Some(delta) = place(before) {
        let now = place(after).ok_or(unplanned(at, "the program headers are no longer loaded"))?;
        require(now == delta || Some(now) == first(after), at, "kernels before 5.18 would not find the program headers")?;
    }
    for segment in after.segments.iter().filter(|s| s.p_type == PT_PHDR.0) {
        let was = before.segment(PT_PHDR.0).is_some_and(|s| s.offset.0 == before.header.segments_at);
        require(!was || segment.range() == after.segment_table(), at, "PT_PHDR is not the table")?;
    }
    Ok(())
}

/// Types with rules of their own.
const OWN: [u32; 8] = [PT_LOAD.0, PT_NOTE.0, PT_GNU_PROPERTY.0, PT_INTERP.0, PT_DYNAMIC.0, PT_PHDR.0, PT_GNU_STACK.0, PT_NULL.0];

/// TLS, RELRO, unwinding tables and whatever else there is stay as they are.
fn others(before: &Elf, after: &Elf) -> Result<(), Error> {
    let rest = |elf: &Elf| elf.segments.iter().filter(|s| !OWN.contains(&s.p_type)).copied().collect::<Vec<_>>();
    require(rest(before) == rest(after), after.header.segments_at, "a segment that was not edited is another")
}

/// What has rules of its own keeps its flags and alignment, and lies where its address says.
fn fields(before: &Elf, after: &Elf, outside: &Outside) -> Result<(), Error> {
    let at = after.header.segments_at;
    let of = |elf: &Elf, p_type: u32| elf.segments.iter().filter(|s| s.p_type == p_type).copied().collect::<Vec<_>>();
    let rest = |s: &Segment| (s.flags, s.align, s.memory_size.wrapping_sub(s.file_size));
    // Whether the bytes are where the address says; not all files say so.
    let placed = |elf: &Elf, s: &Segment| elf.offset_of(s.vaddr).is_some_and(|(offset, _)| offset == s.offset.0);
    for p_type in [PT_PHDR.0, PT_INTERP.0, PT_DYNAMIC.0, PT_GNU_PROPERTY.0] {
        let (old, new) = (of(before, p_type), of(after, p_type));
        require(old.len() == new.len(), at, "a segment appeared or vanished")?;
        for (old, new) in old.iter().zip(&new) {
            require(rest(old) == rest(new), at, "a segment has other flags, another alignment or another size")?;
            require(placed(after, new) || !placed(before, old), at, "a segment's address and offset disagree")?;
        }
    }
    let stack = |elf: &Elf| of(elf, PT_GNU_STACK.0).into_iter().map(|s| Segment { flags: s.flags & !PF_X.0, ..s }).collect::<Vec<_>>();
    let added = stack(before).is_empty() && outside.exec_stack.is_some();
    require(added || stack(before) == stack(after), at, "the stack's segment is another")?;
    let known = |s: &Segment| of(before, PT_NOTE.0).iter().any(|old| rest(old) == rest(s) && old.file_size == s.file_size);
    let foreign = of(after, PT_NOTE.0).into_iter().filter(|s| !known(s) || !placed(after, s)).count();
    let moved = of(before, PT_NOTE.0).into_iter().filter(|s| !placed(before, s)).count();
    require(foreign <= moved + usize::from(outside.cache.is_some()), at, "a note's segment is another")
}

/// Every note can still be read, through a header of its own or another's, unless the plan said that
/// one goes: then its bytes are still there.
fn notes(before: &View<'_>, after: &View<'_>, outside: &Outside) -> Result<(), Error> {
    let is_note = |s: &&Segment| [PT_NOTE.0, PT_GNU_PROPERTY.0].contains(&s.p_type);
    let mut lost = 0;
    for old in before.segments().iter().filter(is_note) {
        if outside.stale_cache.as_ref() == Some(&old.range()) {
            continue;
        }
        let wanted = before.image.get(old.offset.0, old.file_size);
        let same = |s: &&Segment| {
            s.p_type == old.p_type
                && s.file_size == old.file_size
                && s.align == old.align
                && after.image.get(s.offset.0, s.file_size) == wanted
        };
        let covered = |s: &&Segment| s.range().start <= old.offset.0 && old.range().end <= s.range().end;
        if !after.segments().iter().filter(is_note).any(|s| same(&s) || covered(&s)) {
            lost += 1;
            require(old.p_type == PT_NOTE.0 && after.image.get(old.offset.0, old.file_size) == wanted, old.offset.0, "a note is lost")?;
        }
    }
    // One header may have been taken for the new segment and one for another header.
    require(lost <= 2, 0, "notes are lost")?;
    let found = crate::note::resolution_cache(after)?.map(|found| found.descriptor);
    require(outside.cache.is_none() || found == outside.cache, 0, "the resolution cache is another")
}

fn interpreter(after: &View<'_>, outside: &Outside) -> Result<(), Error> {
    let at = after.elf.interpreter().map_or(0, |s| s.offset.0);
    require(after.interpreter() == outside.interpreter.as_deref(), at, "the interpreter is another")?;
    for segment in after.segments().iter().filter(|s| s.p_type == PT_INTERP.0) {
        let mapped = after.elf.offset_of(segment.vaddr).is_none_or(|(offset, _)| offset == segment.offset.0);
        require(mapped, at, "the interpreter's address and offset disagree")?;
    }
    let stack = outside.exec_stack.is_none() || after.exec_stack() == outside.exec_stack;
    require(stack && after.header().os_abi == outside.os_abi, 0, "a flag is another")
}

/// Entry by entry, with the strings as the loader will read them.
fn dynamic(before: &View<'_>, after: &View<'_>, content: &Content) -> Result<(), Error> {
    let (old, new) = match (&before.dynamic, &after.dynamic) {
        (None, None) => return Ok(()),
        (Some(old), Some(new)) => (old, new),
        _ => return Err(unplanned(0, "the dynamic section appeared or vanished")),
    };
    let at = new.place.start;
    require(new.entries.len() == content.entries.len(), at, "the dynamic section has other entries")?;
    for ((entry, (wanted, was)), text) in new.entries.iter().zip(&content.entries).zip(&content.texts) {
        let right = match (entry.tag, text) {
            (t, _) if t != wanted.tag => false,
            (tag::STRTAB | tag::STRSZ, _) => true,
            (tag::MIPS_RLD_MAP_REL, _) => was.is_some(),
            (_, Some(text)) => new.text(entry.value)? == text,
            (t, None) => entry.value == wanted.value || is_same_table(before, after, t, wanted.value, entry.value),
        };
        require(right, at, "an entry of the dynamic section is another")?;
    }
    // Tables keep their addresses: relocations, symbols, hashes, versions, initialisers.
    let edited = |t: u64| tag::is_string(t) || [tag::STRTAB, tag::STRSZ, tag::FLAGS_1, tag::DEBUG, tag::MIPS_RLD_MAP_REL].contains(&t);
    let kept = |entries: &[Dyn]| entries.iter().filter(|d| !edited(d.tag)).copied().collect::<Vec<_>>();
    let same = |(a, b): (&Dyn, &Dyn)| a == b || (a.tag == b.tag && is_same_table(before, after, a.tag, a.value, b.value));
    let (was, is) = (kept(&old.entries), kept(&new.entries));
    require(was.len() == is.len() && was.iter().zip(&is).all(same), at, "an entry that was not edited is another")?;
    let segment = after.elf.segment(PT_DYNAMIC.0);
    let mapped = segment.is_none_or(|s| after.elf.offset_of(s.vaddr).is_none_or(|(offset, _)| offset == s.offset.0));
    require(mapped, at, "PT_DYNAMIC's address and offset disagree")?;
    let writable = |view: &View<'_>, address: u64| view.elf.loads().any(|s| s.memory().contains(&address) && s.is_writable());
    require(!writable(before, old.address) || writable(after, new.address), at, "the dynamic section can no longer be written")?;
    let section = after.sections().iter().find(|s| s.sh_type == object::elf::SHT_DYNAMIC.0);
    let was = before.sections().iter().find(|s| s.sh_type == object::elf::SHT_DYNAMIC.0).is_some_and(|s| s.offset == old.place.start);
    require(!was || section.is_some_and(|s| s.offset == new.place.start), at, "the section header of the dynamic section is behind")?;
    strings(before, after, content)
}

/// Whether a table that moved is the same, byte for byte.
fn is_same_table(before: &View<'_>, after: &View<'_>, tag: u64, from: u64, to: u64) -> bool {
    let named = |s: &&crate::elf::Section| s.addr == from && TABLES.iter().any(|(sh_type, t)| *t == tag && s.sh_type == *sh_type);
    let Some(section) = before.sections().iter().find(named) else { return false };
    let at = |view: &View<'_>, address: u64| view.elf.offset_of(address).map(|(offset, _)| offset);
    let (Some(old), Some(new)) = (at(before, from), at(after, to)) else { return false };
    section.size > 0 && before.image.get(old, section.size).is_some_and(|old| after.image.get(new, section.size) == Some(old))
}

/// Every string that was there is there, where it was, but for those overwritten.
fn strings(before: &View<'_>, after: &View<'_>, content: &Content) -> Result<(), Error> {
    let (Some(old), Some(new)) = (&before.dynamic, &after.dynamic) else { return Ok(()) };
    let place = new.strings_at;
    let kept = new.strings.get(..old.strings.len()).ok_or(unplanned(place, "the string table became shorter"))?;
    if kept == old.strings.as_ref() {
        return Ok(());
    }
    let texts: Vec<Range<u64>> = content
        .wiped
        .iter()
        .chain(content.patches.iter().filter(|p| p.kind == Kind::Text))
        .map(|p| p.offset..p.offset + p.new.len() as u64)
        .collect();
    let differs = kept.iter().zip(old.strings.as_ref()).enumerate().filter(|(_, (a, b))| a != b);
    for (i, _) in differs {
        let at = old.strings_at + i as u64;
        require(texts.iter().any(|r| r.contains(&at)), place + i as u64, "a string changed that was not edited")?;
    }
    Ok(())
}

/// What is written over the original's bytes is a header, an edited table, or what nobody reads.
fn bytes(before: &View<'_>, after: &View<'_>, expected: &Expected<'_>) -> Result<(), Error> {
    let (pieces, limit) = (expected.pieces, expected.end);
    let (elf, codec) = (&before.elf, before.elf.header.codec);
    let table = after.elf.segment_table();
    let mut allowed = vec![0..codec.header_size(), table.clone(), elf.section_table()];
    allowed.extend(before.dynamic.iter().map(|d| d.place.clone()));
    allowed.extend(elf.interpreter().map(Segment::range));
    allowed.extend(expected.outside.stale_cache.clone());
    let loaded = |r: &Range<u64>| elf.segments.iter().filter(|s| s.p_type != 0).any(|s| s.range().start < r.end && r.start < s.range().end);
    allowed.extend(elf.sections.iter().map(|s| s.range()).filter(|r| !r.is_empty() && !loaded(r)));
    // What no header covers may be somebody's payload, unless it is zero.
    allowed.extend(Space::of(elf).gaps().into_iter().filter(|gap| before.image.is_zero(gap.clone())));
    let mut free = Space::default();
    free.occupy_all(allowed);
    for piece in pieces.iter().filter(|p| p.kind == Kind::Structure && p.offset < limit) {
        let mut at = piece.offset;
        let end = (at + piece.new.len() as u64).min(limit);
        while at < end {
            let next = free.used().partition_point(|r| r.end <= at);
            let step = free.used().get(next).filter(|r| r.contains(&at)).map(|r| r.end);
            // What stands there anyway is no change.
            let same = before.image.get(at, 1) == piece.new.get((at - piece.offset) as usize..).and_then(|b| b.get(..1)).map(Into::into);
            at = step.or(same.then_some(at + 1)).ok_or(unplanned(at, "bytes change that were not edited"))?;
        }
    }
    let strings = before.dynamic.as_ref().map_or(0..0, |d| d.strings_at..d.strings_at + d.strings.len() as u64);
    for piece in pieces.iter().filter(|p| p.kind == Kind::Strings) {
        let old = strings.start <= piece.offset && piece.offset + piece.new.len() as u64 <= strings.end;
        let moved = after.dynamic.as_ref().is_some_and(|d| d.strings_at != strings.start);
        require(old && moved, piece.offset, "strings are wiped out that are still read")?;
    }
    // Where the table of program headers grew, only what moved may have been.
    let grown = elf.segment_table().end..table.end;
    if table.start == elf.header.segments_at && grown.start < grown.end {
        // Of tables the dynamic section was compared above.
        let movable = [PT_LOAD.0, PT_PHDR.0, PT_INTERP.0, PT_NOTE.0, PT_GNU_PROPERTY.0, PT_NULL.0];
        let meets = |r: &Range<u64>| r.start < grown.end && grown.start < r.end;
        let lost = elf.segments.iter().any(|s| !movable.contains(&s.p_type) && meets(&s.range()));
        require(!lost, grown.start, "the program headers grew over something that did not move")?;
    }
    Ok(())
}
