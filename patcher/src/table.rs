//! Ways to get more program headers than there are, the one that loses least first. Chooses none.

use crate::elf::{Elf, Section, Segment};
use crate::image::Image;
use crate::space::{Space, slack};
use crate::view::{View, tag};
use object::elf::{PT_GNU_PROPERTY, PT_INTERP, PT_NOTE, PT_NULL, PT_PHDR};
use std::ops::Range;

/// Where the table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TablePlace {
    /// Where it is, over what follows it.
    Here,
    /// Into the padding behind a load, which is extended over it.
    Slack {
        /// The load's index.
        load: usize,
        /// Where, in the file.
        at: u64,
    },
    /// Into the new area, wherever that goes, if its addresses are as far from their offsets as the
    /// first load's: kernels before 5.18 (0da1d5002745) compute `AT_PHDR` from that.
    Area,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePlan {
    /// Indices of headers that go.
    pub(crate) dropped: Vec<usize>,
    /// Notes and small tables (file ranges) that make way and move into the area.
    pub(crate) displaced: Vec<Range<u64>>,
    /// Whether the interpreter's path makes way.
    pub(crate) displaces_interpreter: bool,
    /// Whether the section headers make way.
    pub(crate) displaces_sections: bool,
    pub(crate) place: TablePlace,
    /// What is lost.
    pub(crate) remark: Option<&'static str>,
}

/// The most bytes of program headers a kernel takes (`load_elf_phdrs`: one page).
const TABLE_MAX: u64 = 4096;

/// Sections that only one entry of the dynamic section points to: `SHT_HASH`, `SHT_GNU_HASH`,
/// `SHT_DYNSYM`.
pub(crate) const TABLES: [(u32, u64); 3] = [(5, tag::HASH), (0x6fff_fff6, tag::GNU_HASH), (11, tag::SYMTAB)];

/// Notes that are longer than an ABI tag and a build id carry something.
const NOTE_MAX: u64 = 256;

/// All ways to have `extra` more headers, in order of preference. `area` tells whether something new
/// is loaded anyway, into which notes could move.
pub(crate) fn ways(view: &View<'_>, space: &Space, extra: usize, area: bool, page: u64) -> Vec<TablePlan> {
    let elf = &view.elf;
    let plan = |place| TablePlan {
        dropped: Vec::new(),
        displaced: Vec::new(),
        displaces_interpreter: false,
        displaces_sections: false,
        place,
        remark: None,
    };
    if extra == 0 {
        return vec![plan(TablePlace::Here)];
    }
    let each = elf.header.codec.segment_size();
    let count = elf.segments.len() + extra;
    if count as u64 * each > TABLE_MAX.max(elf.segment_table().end - elf.segment_table().start) {
        return Vec::new();
    }
    let mut ways = Vec::new();
    let index = |wanted: &dyn Fn(&Segment) -> bool| -> Vec<usize> {
        elf.segments.iter().enumerate().filter(|(_, s)| wanted(s)).map(|(i, _)| i).collect()
    };
    let unused = index(&|s| s.p_type == PT_NULL.0);
    if unused.len() >= extra {
        ways.push(TablePlan { dropped: unused.into_iter().take(extra).collect(), ..plan(TablePlace::Here) });
    }
    let over = |tables: bool| {
        let (displaced, displaces_interpreter) = over_what_follows(view, extra as u64 * each, tables)?;
        let follow = elf.segment_table().end..elf.segment_table().end + extra as u64 * each;
        let sections = elf.section_table();
        let displaces_sections = sections.start < follow.end && follow.start < sections.end;
        let nothing = displaced.is_empty() && !displaces_interpreter && !displaces_sections;
        (area || nothing).then(|| TablePlan { displaced, displaces_interpreter, displaces_sections, ..plan(TablePlace::Here) })
    };
    ways.extend(over(false));
    let repeated = repeated_notes(elf);
    if repeated.len() >= extra {
        ways.push(TablePlan { dropped: repeated.into_iter().take(extra).collect(), ..plan(TablePlace::Here) });
    }
    if area && ways.is_empty() {
        ways.extend(over(true));
    }
    let mut small = index(&|s| s.p_type == PT_NOTE.0 && s.file_size <= NOTE_MAX);
    small.sort_by_key(|i| elf.segments.get(*i).map_or(0, |s| s.file_size));
    if small.len() >= extra {
        let remark = Some("a note of the program is no longer in a segment of its own: it is only found through its section");
        ways.push(TablePlan { dropped: small.into_iter().take(extra).collect(), remark, ..plan(TablePlace::Here) });
    }
    // A table elsewhere is found by every loader, but strip(1) lays files out with the table in front.
    let size = count as u64 * each;
    if let Some((load, at)) = room_for_table(&view.image, elf, space, size, page) {
        ways.push(plan(TablePlace::Slack { load, at }));
    }
    if area {
        ways.push(plan(TablePlace::Area));
    }
    ways
}

/// Notes that another header covers too: glibc asks `PT_GNU_PROPERTY` first (`_dl_process_pt_note`).
fn repeated_notes(elf: &Elf) -> Vec<usize> {
    let covers = |other: &Segment, range: &Range<u64>| other.range().start <= range.start && range.end <= other.range().end;
    let repeated = |i: usize, s: &Segment| {
        s.p_type == PT_NOTE.0
            && elf.segments.iter().enumerate().any(|(j, other)| {
                let same_kind = other.p_type == PT_NOTE.0 && (other.file_size > s.file_size || j < i);
                (other.p_type == PT_GNU_PROPERTY.0 || same_kind) && i != j && covers(other, &s.range())
            })
    };
    elf.segments.iter().enumerate().filter(|(i, s)| repeated(*i, s)).map(|(i, _)| i).collect()
}

/// The notes and the interpreter that stand in the `size` bytes behind the table; `None` if anything
/// else does. They can move, as only program headers say where they are. So can small `tables` of
/// symbols, of which only the dynamic section does.
fn over_what_follows(view: &View<'_>, size: u64, tables: bool) -> Option<(Vec<Range<u64>>, bool)> {
    let elf = &view.elf;
    let start = elf.segment_table().end;
    let wanted = start..start.checked_add(size)?;
    let meets = |range: &Range<u64>| range.start < wanted.end && wanted.start < range.end;
    // The table stays where the loader looks for it: in the load it is in.
    if !elf.loads().any(|s| s.range().start <= elf.segment_table().start && wanted.end <= s.range().end) {
        return None;
    }
    let mut notes: Vec<Range<u64>> = Vec::new();
    let mut interpreter = false;
    for segment in elf.segments.iter().filter(|s| meets(&s.range())) {
        match segment.p_type {
            t if t == PT_INTERP.0 => interpreter = true,
            t if t == PT_NOTE.0 || t == PT_GNU_PROPERTY.0 => notes.push(segment.range()),
            t if t == PT_PHDR.0 || segment.is_load() => {}
            _ => return None,
        }
    }
    notes.sort_by_key(|r| r.start);
    notes.dedup();
    let mut joined: Vec<Range<u64>> = Vec::new();
    for note in notes {
        match joined.last_mut() {
            Some(last) if note.start < last.end => last.end = last.end.max(note.end),
            _ => joined.push(note),
        }
    }
    if joined.iter().any(|r| r.start < start || r.end - r.start > NOTE_MAX) {
        return None;
    }
    let is_table = |s: &&Section| tables && TABLES.iter().any(|(sh_type, _)| s.sh_type == *sh_type) && s.size <= TABLE_MAX;
    for section in elf.sections.iter().filter(is_table).filter(|s| meets(&s.range())) {
        let pointed = |tag: u64| view.dynamic.as_ref().is_some_and(|d| d.entries.iter().any(|e| e.tag == tag && e.value == section.addr));
        if !TABLES.iter().any(|(sh_type, tag)| section.sh_type == *sh_type && pointed(*tag)) || section.offset < start {
            return None;
        }
        joined.push(section.range());
    }
    joined.sort_by_key(|r| r.start);
    let movable = |range: &Range<u64>| {
        let at = elf.interpreter().filter(|_| interpreter).map(Segment::range);
        joined.iter().chain(&at).any(|r| r.start <= range.start && range.end <= r.end)
    };
    for section in elf.sections.iter().map(|s| s.range()).filter(|r| !r.is_empty() && meets(r)) {
        if !movable(&section) {
            return None;
        }
    }
    // Only the ELF header says where the section headers are.
    if meets(&elf.section_table()) && !elf.section_table().is_empty() {
        joined.push(elf.section_table());
    }
    // What no header names must be padding; without section headers, who knows.
    let mut at = wanted.start;
    while at < wanted.end {
        let known = joined.iter().cloned().chain(elf.interpreter().filter(|_| interpreter).map(Segment::range)).find(|r| r.contains(&at));
        match known {
            Some(range) => at = range.end,
            None if !elf.sections.is_empty() && view.image.is_zero(at..at + 1) => at += 1,
            // Alignment in front of something that is known.
            None => {
                let next = joined.iter().map(|r| r.start).filter(|start| *start > at && *start - at < 8).min()?;
                if !view.image.is_zero(at..next) {
                    return None;
                }
                at = next;
            }
        }
    }
    joined.retain(|range| *range != elf.section_table());
    Some((joined, interpreter))
}

/// Padding behind a load whose addresses are as far from their offsets as the first load's.
fn room_for_table(image: &Image<'_>, elf: &Elf, space: &Space, size: u64, page: u64) -> Option<(usize, u64)> {
    let delta = first_delta(elf)?;
    elf.segments.iter().enumerate().filter(|(_, s)| s.is_load() && s.delta() == delta).find_map(|(index, load)| {
        let room = slack(image, elf, space, load, page);
        let at = room.start.checked_next_multiple_of(8)?;
        (at.checked_add(size)? <= room.end).then_some((index, at))
    })
}

/// What lies between the addresses and the offsets of the first load.
pub(crate) fn first_delta(elf: &Elf) -> Option<u64> {
    elf.loads().next().map(Segment::delta)
}

/// How many headers the content needs besides a load of its own.
pub(crate) fn extra_headers(elf: &Elf, exec_stack: Option<bool>, cache: bool) -> usize {
    let stack = exec_stack.is_some() && elf.segment(object::elf::PT_GNU_STACK.0).is_none();
    usize::from(stack) + usize::from(cache)
}
