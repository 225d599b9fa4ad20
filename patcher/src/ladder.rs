//! Which places the new bytes could take, the cheapest first. Builds nothing and writes nothing.

use crate::draft::Content;
use crate::elf::{Section, Segment};
use crate::payload::FoundBy;
use crate::plan::Rung;
use crate::space::{SLACK_MAX, Space, slack};
use crate::table::{TablePlace, TablePlan, extra_headers, first_delta, ways};
use crate::target::{Area, Choice, Outside};
use crate::view::{View, tag};
use std::cell::OnceCell;
use std::iter;
use std::ops::Range;

/// Whether the plan is for a file that is written anew or for one that is changed where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Way {
    /// The smallest file that holds.
    #[default]
    Replace,
    /// One that needs a single page to change at the moment it becomes true.
    InPlace,
}

/// What the ladder has to know.
pub(crate) struct Ground<'g> {
    pub(crate) view: &'g View<'g>,
    pub(crate) space: &'g Space,
    pub(crate) content: &'g Content,
    pub(crate) outside: &'g Outside,
    /// How what lies behind the program is found; `None` if nothing does.
    pub(crate) payload: Option<FoundBy>,
    pub(crate) page: u64,
    /// Where a new area may begin behind everything, in the new file, and how long it may be.
    pub(crate) behind: Range<u64>,
    pub(crate) recycle_debug: bool,
    /// What was looked up once and does not change.
    pub(crate) known: Known,
}

/// What several choices ask for.
#[derive(Default)]
pub(crate) struct Known {
    padding: OnceCell<Vec<Range<u64>>>,
    ways: OnceCell<Vec<TablePlan>>,
}

/// Page sizes by `e_machine`: the largest a kernel of that machine may use, as link editors assume.
/// (binutils' `ELF_MAXPAGESIZE` where smaller ones are in use; patchelf's table.)
pub(crate) fn page_size(machine: u16) -> u64 {
    const LARGE: &[u16] = &[8, 20, 21, 50, 183, 191, 258, 0x9026];
    const SPARC: &[u16] = &[2, 18, 43];
    match machine {
        m if LARGE.contains(&m) => 0x10000,
        m if SPARC.contains(&m) => 0x2000,
        _ => 0x1000,
    }
}

impl Ground<'_> {
    /// What has to find another place if everything else stays.
    fn dynamic_fits(&self) -> bool {
        self.view.dynamic.as_ref().is_none_or(|d| self.content.entries.len() < d.room)
    }

    fn dynamic_changes(&self) -> bool {
        let Some(dynamic) = &self.view.dynamic else { return false };
        self.content.table.is_some()
            || self.content.entries.len() != dynamic.entries.len()
            || self.content.entries.iter().zip(&dynamic.entries).any(|((new, _), old)| new != old)
    }

    fn interpreter_changes(&self) -> bool {
        self.outside.interpreter.as_deref() != self.view.interpreter()
    }

    fn interpreter_fits(&self) -> bool {
        !self.interpreter_changes() || self.outside.interpreter.as_ref().is_none_or(|p| (p.len() as u64) < self.view.interpreter_room())
    }

    fn extra(&self) -> usize {
        extra_headers(&self.view.elf, self.outside.exec_stack, self.outside.cache.is_some())
    }

    /// Whether the dynamic section may lie in that load: the loader writes `DT_DEBUG` and, on most
    /// machines, addresses into it (glibc, `setup_vdso_pointers`, `elf_get_dynamic_info`).
    fn may_hold_dynamic(&self, load: &Segment) -> bool {
        let Some(dynamic) = &self.view.dynamic else { return true };
        let now = self.view.elf.loads().find(|s| s.memory().contains(&dynamic.address));
        load.is_writable() || now.is_some_and(|s| !s.is_writable())
    }

    /// All choices, in order, each worked out when it is asked for: the first usually holds.
    pub(crate) fn choices(&self, way: Way) -> Box<dyn Iterator<Item = Choice> + '_> {
        if self.payload != Some(FoundBy::AfterSectionHeaders) {
            return self.places(way);
        }
        // The table of section headers is how the payload is found.
        let stays = |c: &Choice| !c.at_once && !c.table.displaces_sections;
        Box::new(self.places(way).filter(move |c| stays(c) && self.outside.cache.is_none()))
    }

    fn places(&self, way: Way) -> Box<dyn Iterator<Item = Choice> + '_> {
        let without = iter::once_with(|| self.without_area()).flatten();
        let new_area = iter::once_with(|| self.new_area()).flatten();
        if way == Way::Replace {
            let slack = iter::once_with(|| self.in_slack()).flatten();
            return Box::new(without.chain(slack).chain(self.recycled()).chain(new_area));
        }
        // Those that a single page can make true.
        let recycled = self.recycled().filter(|c| c.sacrificed.is_empty());
        let moving = recycled.chain(new_area.filter(|c| c.rung == Rung::Appended)).map(|c| self.at_once(c));
        // To keep the inode is not worth a note, nor a layout that strip(1) does not understand.
        let plain = |c: &Choice| c.table.remark.is_none() && c.table.place == TablePlace::Here;
        let all = without.chain(moving).filter(plain);
        Box::new(all.filter(|c| !c.moves_dynamic || !(self.dynamic_carries_a_load() || self.view.relocates_itself())))
    }

    /// Whether a load begins with the dynamic section or has nothing else to be written: without it,
    /// strip(1) would let the load begin with the next section, and `PT_GNU_RELRO` before it.
    fn dynamic_carries_a_load(&self) -> bool {
        let (elf, Some(dynamic)) = (&self.view.elf, &self.view.dynamic) else { return false };
        let Some(load) = elf.loads().find(|s| s.memory().contains(&dynamic.address)) else { return false };
        let written =
            |s: &&Section| s.flags & SHF_WRITE_ALLOC == SHF_WRITE_ALLOC && load.memory().contains(&s.addr) && s.addr != dynamic.address;
        !elf.sections.is_empty() && (load.vaddr == dynamic.address || !elf.sections.iter().any(|s| written(&s)))
    }

    /// Whether the dynamic section has to have another place: it does not fit where it is, or a static
    /// PIE would read a run path there.
    fn dynamic_moves(&self) -> bool {
        let run_path = |tag: u64| [tag::RPATH, tag::RUNPATH].contains(&tag);
        let stops = self.view.relocates_itself() && self.content.entries.iter().any(|(entry, _)| run_path(entry.tag));
        !self.dynamic_fits() || (stops && self.dynamic_changes())
    }

    /// The same place for a file that is changed where it lies: whatever changes moves.
    fn at_once(&self, choice: Choice) -> Choice {
        Choice { moves_dynamic: self.dynamic_changes(), moves_interpreter: self.interpreter_changes(), at_once: true, ..choice }
    }

    /// What nothing covers and is zero. Padding is less than the largest page, so that longer stretches are not read.
    fn padding(&self) -> &[Range<u64>] {
        let is_padding = |gap: &Range<u64>| gap.end - gap.start <= SLACK_MAX && self.view.image.is_zero(gap.clone());
        self.known.padding.get_or_init(|| {
            let mut gaps: Vec<Range<u64>> = self.space.gaps().into_iter().filter(is_padding).collect();
            gaps.sort_by_key(|gap| gap.start.wrapping_sub(gap.end));
            gaps.truncate(GAPS_MAX);
            gaps.sort_by_key(|gap| gap.start);
            gaps
        })
    }

    /// Padding that nothing covers, and what is behind the end, but for the area and the table.
    fn spare(&self, area: Option<Area>, table: TablePlace) -> Vec<Range<u64>> {
        let taken = area.map_or(0..0, |a| a.at..a.at.saturating_add(a.room));
        let mut free: Vec<Range<u64>> = self.padding().to_vec();
        free.retain(|gap| !matches!(table, TablePlace::Slack { at, .. } if gap.contains(&at)));
        free.retain(|gap| gap.end <= taken.start || taken.end <= gap.start);
        if matches!(self.payload, None | Some(FoundBy::Start | FoundBy::Loaded)) && !taken.contains(&self.behind.start) {
            free.push(self.behind.clone());
        }
        free
    }

    fn choice(&self, rung: Rung, area: Option<Area>, table: TablePlan) -> Choice {
        let place = table.place;
        Choice {
            rung,
            area,
            table,
            moves_dynamic: self.dynamic_moves(),
            moves_interpreter: !self.interpreter_fits(),
            at_once: false,
            spare: self.spare(area, place),
            sacrificed: Vec::new(),
        }
    }

    fn without_area(&self) -> Vec<Choice> {
        let fits = self.content.table.is_none() && !self.dynamic_moves() && self.interpreter_fits() && self.outside.cache.is_none();
        if !fits {
            return Vec::new();
        }
        let ways = ways(self.view, self.space, self.extra(), false, self.page);
        ways.into_iter().map(|table| self.choice(Rung::InPlace, None, table)).collect()
    }

    /// The padding behind a load, the executable ones last.
    fn in_slack(&self) -> Vec<Choice> {
        let elf = &self.view.elf;
        let mut loads: Vec<(usize, &Segment)> = elf.segments.iter().enumerate().filter(|(_, s)| s.is_load()).collect();
        loads.sort_by_key(|(_, s)| s.flags & 1);
        let mut choices = Vec::new();
        for (index, load) in loads {
            let room = slack(&self.view.image, elf, self.space, load, self.page);
            let Some(at) = room.start.checked_next_multiple_of(8).filter(|at| *at < room.end) else { continue };
            if self.dynamic_moves() && !self.may_hold_dynamic(load) {
                continue;
            }
            let area = Area { at, vaddr: load.vaddr + (at - load.offset.0), room: room.end - at, extends: Some(index), align: load.align };
            for table in ways(self.view, self.space, self.extra(), true, self.page) {
                let taken = matches!(table.place, TablePlace::Slack { load, .. } if load == index);
                let displaced = table.place == TablePlace::Area && Some(load.delta()) != first_delta(elf);
                if !taken && !displaced {
                    choices.push(self.choice(Rung::Slack, Some(area), table));
                }
            }
        }
        choices
    }

    /// A new load over file space that no loader reads: padding between what is covered, then sections that
    /// are not loaded and that nobody misses.
    fn recycled(&self) -> impl Iterator<Item = Choice> + '_ {
        let padding = iter::once_with(|| self.padding().iter().cloned()).flatten();
        let sections = iter::once_with(|| self.sacrificed()).flatten();
        padding.map(|gap| (gap, Vec::new())).chain(sections).flat_map(move |(gap, sacrificed)| {
            let at = gap.start.next_multiple_of(8);
            let area = if at < gap.end { self.area(at, gap.end - at) } else { None };
            let choice = move |(area, table): (Area, TablePlan)| Choice {
                sacrificed: sacrificed.clone(),
                ..self.choice(Rung::Recycled, Some(area), table)
            };
            area.into_iter().flat_map(move |area| self.ways_for(&area).into_iter().map(move |table| (area, table))).map(choice)
        })
    }

    /// The stretches that are free if expendable sections go, and which of them lie there.
    fn sacrificed(&self) -> Vec<(Range<u64>, Vec<usize>)> {
        let elf = &self.view.elf;
        let (expendable, others): (Vec<usize>, Vec<usize>) = (0..elf.sections.len()).partition(|i| self.is_expendable(*i));
        if expendable.is_empty() {
            return Vec::new();
        }
        let ranges = |indices: &[usize]| indices.iter().filter_map(|i| elf.sections.get(*i)).map(|s| s.range()).collect::<Vec<_>>();
        let mut freed = self.space.clone();
        ranges(&expendable).iter().for_each(|range| freed.release(range));
        // What else lies there stays.
        let segments = elf.segments.iter().filter(|s| s.p_type != 0).map(Segment::range);
        freed.occupy_all(ranges(&others).into_iter().chain(segments));
        let lies_in = |gap: &Range<u64>, i: usize| {
            elf.sections.get(i).is_some_and(|s| gap.start <= s.offset && s.range().end <= gap.end && s.size > 0)
        };
        let gaps = freed.gaps().into_iter().map(|gap| {
            let mut taken: Vec<usize> = expendable.iter().copied().filter(|i| lies_in(&gap, *i)).collect();
            taken.sort_by_key(|i| elf.sections.get(*i).map_or(0, |s| s.size));
            if self.is_zero_but(&gap, &taken) {
                return (gap, taken);
            }
            // What no header covers is free only if it is zero: it may be somebody's payload.
            taken.drain(..taken.len().saturating_sub(1));
            let largest = ranges(&taken).pop().unwrap_or(gap.start..gap.start);
            (largest, taken)
        });
        gaps.filter(|(_, taken)| !taken.is_empty()).collect()
    }

    /// Whether a stretch is zero but for the sections in it.
    fn is_zero_but(&self, gap: &Range<u64>, sections: &[usize]) -> bool {
        let mut rest = Space::default();
        rest.occupy(gap.clone());
        sections.iter().filter_map(|i| self.view.elf.sections.get(*i)).for_each(|s| rest.release(&s.range()));
        rest.used().iter().all(|part| self.view.image.is_zero(part.clone()))
    }

    /// Not loaded, and either a compiler's signature or, if the user says so, what only debuggers read.
    fn is_expendable(&self, index: usize) -> bool {
        const SHF_ALLOC: u64 = 2;
        const MERGED_STRINGS: u64 = 0x30;
        let elf = &self.view.elf;
        let Some(section) = elf.sections.get(index) else { return false };
        let names = elf.names_index() == index;
        if section.flags & SHF_ALLOC != 0 || section.sh_type != 1 || names || index == 0 {
            return false;
        }
        // `.comment` is mergeable strings outside any debug information.
        let name = self.section_name(section.name);
        name == b".comment" && section.flags & MERGED_STRINGS == MERGED_STRINGS || self.recycle_debug && name.starts_with(b".debug_")
    }

    fn section_name(&self, at: u32) -> Vec<u8> {
        let elf = &self.view.elf;
        let names = elf.sections.get(elf.names_index());
        names.and_then(|n| self.view.image.text(n.offset.checked_add(at.into())?, n.range().end)).unwrap_or_default()
    }

    /// A new load at `at` in the file: above all others, congruent to its offset, and never with a
    /// smaller distance between the two than the first one has (emulators take the smallest for the
    /// load bias; see also [`TablePlace::Area`]).
    fn area(&self, at: u64, room: u64) -> Option<Area> {
        let elf = &self.view.elf;
        let align = self.page.max(elf.loads().map(|s| s.align).min()?.min(0x10000)).checked_next_power_of_two()?;
        let top = elf.loads().map(|s| s.memory().end).max()?.checked_next_multiple_of(align)?;
        let mut vaddr = top.checked_add(at.wrapping_sub(top) % align)?;
        let same = at.wrapping_add(first_delta(elf)?);
        if same >= vaddr && same % align == at % align && same - vaddr < FAR {
            vaddr = same;
        }
        let limit = if elf.header.codec.is_64 { 1 << 46 } else { 0xc000_0000 };
        let end = vaddr.checked_add(room.min(FAR))?;
        (end <= limit || elf.loads().any(|s| s.vaddr >= limit)).then_some(Area { at, vaddr, room, extends: None, align })
    }

    /// The ways to a header for a new load there.
    fn ways_for(&self, area: &Area) -> Vec<TablePlan> {
        let same = Some(area.vaddr.wrapping_sub(area.at)) == first_delta(&self.view.elf);
        let mut all = self.known.ways.get_or_init(|| ways(self.view, self.space, self.extra() + 1, true, self.page)).clone();
        let inside = |at: u64| (area.at..area.at.saturating_add(area.room)).contains(&at);
        all.retain(|way| match way.place {
            TablePlace::Here => true,
            TablePlace::Area => same,
            TablePlace::Slack { at, .. } => !inside(at),
        });
        all
    }

    /// A new load behind the end, or before what lies behind the program.
    fn new_area(&self) -> Vec<Choice> {
        let (rung, at) = match self.payload {
            None | Some(FoundBy::Loaded) => (Rung::Appended, self.behind.start),
            Some(FoundBy::Start | FoundBy::AfterSectionHeaders) => (Rung::Appended, self.behind.start),
            Some(FoundBy::End) => (Rung::Inserted, self.space.end()),
            Some(FoundBy::Both | FoundBy::Unknown) => (Rung::Doubled, self.behind.start),
        };
        let Some(at) = at.checked_next_multiple_of(8) else { return Vec::new() };
        let room = if rung == Rung::Inserted { u64::MAX >> 1 } else { self.behind.end.saturating_sub(at) };
        let mut areas: Vec<Area> = self.area(at, room).into_iter().collect();
        // With a hole before it, the area can be as far from its offset as the first load, and the
        // table of headers may move into it.
        if let (Some(area), Some(delta)) = (areas.first().copied(), first_delta(&self.view.elf))
            && let Some(further) = area.vaddr.checked_sub(delta).filter(|f| *f > at && *f - at < FAR)
            && rung != Rung::Inserted
            && let Some(aligned) = further.checked_next_multiple_of(area.align)
        {
            areas.extend(self.area(aligned, self.behind.end.saturating_sub(aligned)));
        }
        let mut choices = Vec::new();
        for (n, area) in areas.into_iter().enumerate() {
            for table in self.ways_for(&area) {
                if n > 0 && table.place != TablePlace::Area {
                    continue;
                }
                choices.push(self.choice(rung, Some(area), table));
            }
        }
        // A table that stays is best, also for strip(1); a small hole is better than a large one.
        let hole = |c: &Choice| c.area.map_or(0, |a| a.at.saturating_sub(at));
        choices.sort_by_key(|c| (hole(c) > SMALL_HOLE, c.table.place != TablePlace::Here));
        choices
    }
}

/// A linked file has a handful of stretches of padding; the largest are tried.
const GAPS_MAX: usize = 64;

/// `SHF_WRITE | SHF_ALLOC`.
const SHF_WRITE_ALLOC: u64 = 3;

/// A hole, in bytes, that nobody minds.
const SMALL_HOLE: u64 = 64 << 10;

/// The largest hole, in memory or in the file, that is made for the sake of a header.
const FAR: u64 = 64 << 20;
