//! The story of an edit: read the file and the original behind it, make the edits, climb the ladder
//! until something holds, and prove it.

use crate::compose::{Composed, Files, compose, found_by, undo as undo_plan};
use crate::draft::{Content, Draft};
use crate::edit::Edit;
use crate::error::Error;
use crate::ladder::{Ground, Known, Way, page_size};
use crate::payload::{self, FoundBy};
use crate::plan::{Plan, Rung};
use crate::record::Record;
use crate::space::Space;
use crate::target::{Outside, build};
use crate::verify::{Expected, verify};
use crate::view::{View, tag};
use std::ops::Range;

/// How edits are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How the file will be written.
    pub way: Way,
    /// The page size to align to; `None` for that of the machine. A power of two.
    pub page_size: Option<u64>,
    /// Whether debug information may be given up for room.
    pub recycle_debug: bool,
    /// Whether the file keeps what is needed to undo the edit.
    pub undo: bool,
    /// Whether a string table that moved is wiped out at its old place, where no loader looks any more.
    pub clobber: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { way: Way::Replace, page_size: None, recycle_debug: false, undo: true, clobber: false }
    }
}

/// Works out what `edits` change in `file`, with the [default options](Options).
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn plan(file: &[u8], edits: &[Edit]) -> Result<Plan, Error> {
    plan_with(file, edits, &Options::default())
}

/// Works out what `edits` change in `file`. Reads headers, the dynamic section and its strings, so
/// `file` may be a mapping of any size.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn plan_with(file: &[u8], edits: &[Edit], options: &Options) -> Result<Plan, Error> {
    let (current, record, original) = traced(file)?;
    let mut draft = Draft::new(&current, &original, record.as_ref().map(|(record, _)| record))?;
    for edit in edits {
        draft.apply(edit)?;
    }
    let content = draft.finish(file, &original, options.clobber)?;
    if !draft.changed {
        return Ok(unchanged(file, &current));
    }
    refuse_loader(file, &current, &content)?;
    let outside = Outside {
        interpreter: draft.interpreter.clone(),
        os_abi: draft.os_abi,
        exec_stack: draft.exec_stack,
        cache: draft.cache.clone(),
        stale_cache: draft.stale_cache.clone(),
    };
    let payload = match &record {
        Some((record, _)) => found_by(record),
        None => payload_of(file, &original),
    };
    let files = Files { base: file, current: &current, original: &original, record: record.as_ref(), payload };
    if record.is_some() && is_original(&original, &content, &outside) {
        return undo_plan(&files);
    }
    let work = Work { files: &files, content: &content, outside: &outside, options };
    if options.way == Way::InPlace
        && let Some(plan) = work.in_place()?
    {
        return Ok(plan);
    }
    let end = original.image.size();
    work.climb(Way::Replace, end..u64::MAX >> 1, |_| true)?.ok_or_else(|| Error::Refused { reason: work.why_not() })
}

/// The plan that gives back the file as it was before the first of our edits.
///
/// # Errors
/// [`Error::NoRecord`] if the file has no record of an edit or was changed since; those of reading.
pub fn undo(file: &[u8]) -> Result<Plan, Error> {
    let (current, record, original) = traced(file)?;
    undo_plan(&Files { base: file, current: &current, original: &original, record: record.as_ref(), payload: None })
}

/// The file as it is, the record of our last edit of it and where that stands, and the file before that.
type Traced<'a> = (View<'a>, Option<(Record, Range<u64>)>, View<'a>);

fn traced(file: &[u8]) -> Result<Traced<'_>, Error> {
    let current = View::parse(file)?;
    let record = Record::find(file, &current);
    let original = match &record {
        Some((record, own)) => View::read(record.original(file, own))?,
        None => current.clone(),
    };
    Ok((current, record, original))
}

fn unchanged(file: &[u8], current: &View<'_>) -> Plan {
    let segments = current.segments().to_vec();
    let len = file.len() as u64;
    Plan {
        old_len: len,
        new_len: len,
        copies: Vec::new(),
        writes: Vec::new(),
        rung: Rung::InPlace,
        at_once: true,
        before: segments.clone(),
        after: segments,
        remarks: Vec::new(),
    }
}

/// A loader finds its own dynamic section and strings where they were linked, before it could find
/// them elsewhere (glibc, `elf_machine_dynamic` in `_dl_start`; musl, `_dlstart_c`).
fn refuse_loader(file: &[u8], current: &View<'_>, content: &Content) -> Result<(), Error> {
    let needs_none = current.is_dynamic() && current.interpreter().is_none() && !current.entries().iter().any(|d| d.tag == tag::NEEDED);
    let changes = content.table.is_some() || content.entries.len() != current.entries().len();
    if needs_none && changes && crate::loader::loader_family(file).is_ok() {
        return Err(Error::Refused { reason: "it is a loader, which reads its own dynamic section where it was linked".into() });
    }
    Ok(())
}

/// Whether the edits lead back to where the first of them began.
fn is_original(original: &View<'_>, content: &Content, outside: &Outside) -> bool {
    let entries = content.entries.iter().map(|(entry, _)| *entry).eq(original.entries().iter().copied());
    entries
        && content.table.is_none()
        && content.patches.is_empty()
        && content.wiped.is_empty()
        && outside.cache.is_none()
        && outside.stale_cache.is_none()
        && outside.interpreter.as_deref() == original.interpreter()
        && (outside.os_abi, outside.exec_stack) == (original.header().os_abi, original.exec_stack())
}

/// How what lies behind the program is found; the strictest of all that lie there.
fn payload_of(file: &[u8], view: &View<'_>) -> Option<FoundBy> {
    let end = crate::space::covered_end(&view.elf);
    let size = view.image.size();
    // A few zeros behind the end are padding of whoever wrote the file.
    if end >= size || (size - end <= PADDING_MAX && view.image.is_zero(end..size)) {
        return None;
    }
    let outline = payload::outline(file)?;
    let behind: Vec<FoundBy> =
        payload::recognise(&outline.outline()).into_iter().filter(|p| p.range.end > end).map(|p| p.found_by).collect();
    let has = |wanted: FoundBy| behind.contains(&wanted);
    let from_start = has(FoundBy::Start) || has(FoundBy::AfterSectionHeaders);
    Some(match () {
        () if behind.is_empty() || has(FoundBy::Unknown) => FoundBy::Unknown,
        () if has(FoundBy::Both) || (has(FoundBy::End) && from_start) => FoundBy::Both,
        () if has(FoundBy::End) => FoundBy::End,
        () if has(FoundBy::AfterSectionHeaders) => FoundBy::AfterSectionHeaders,
        () if from_start => FoundBy::Start,
        () => FoundBy::Unknown,
    })
}

/// More zeros than a page are more than padding.
const PADDING_MAX: u64 = 4096;

/// What is to be done, and in what.
struct Work<'w> {
    files: &'w Files<'w>,
    content: &'w Content,
    outside: &'w Outside,
    options: &'w Options,
}

impl<'w> Work<'w> {
    fn page(&self) -> u64 {
        self.options.page_size.unwrap_or_else(|| page_size(self.files.original.header().machine))
    }

    /// The first choice that can be built, is proven, and is `wanted`.
    fn climb(&self, way: Way, behind: Range<u64>, wanted: impl Fn(&Plan) -> bool) -> Result<Option<Plan>, Error> {
        let mut space = Space::of(&self.files.original.elf);
        if let Some((_, own)) = self.files.record.filter(|_| way == Way::InPlace) {
            // What is read now stays until the new file is true.
            space = space.and(&Space::of(&self.files.current.elf));
            space.occupy(own.clone());
        }
        let ground = Ground {
            view: self.files.original,
            space: &space,
            content: self.content,
            outside: self.outside,
            payload: self.files.payload,
            page: self.page(),
            behind,
            recycle_debug: self.options.recycle_debug,
            known: Known::default(),
        };
        for choice in ground.choices(way) {
            let target = match build(self.files.original, self.content, self.outside, &choice) {
                Ok(target) => target,
                // It does not fit there; the next place may be larger.
                Err(Error::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
            let Composed { plan, image, pieces } = compose(self.files, &space, &choice, target, self.options.undo)?;
            if !wanted(&plan) {
                continue;
            }
            let after = View::read(image)?;
            let end = if plan.rung() == Rung::Inserted { space.end() } else { self.files.original.image.size() };
            let expected = Expected {
                content: self.content,
                outside: self.outside,
                pieces: &pieces,
                page: self.page(),
                end,
                sections_stay: self.files.payload == Some(FoundBy::AfterSectionHeaders),
            };
            verify(self.files.original, &after, &expected)?;
            return Ok(Some(plan));
        }
        Ok(None)
    }

    /// A plan that needs one page to change at once: behind what was there first, where an earlier
    /// edit's bytes may lie that are still read, or behind those.
    fn in_place(&self) -> Result<Option<Plan>, Error> {
        // What lies behind the original was put there by earlier edits; only the last one's is read.
        let first = self.files.original.image.size();
        let mut live = Space::of(&self.files.current.elf);
        if let Some((_, own)) = self.files.record {
            live.occupy(own.clone());
        }
        let mut places = vec![live.free_behind(first)];
        places.push(live.end().max(first)..u64::MAX >> 1);
        places.dedup();
        for place in places {
            if let Some(plan) = self.climb(Way::InPlace, place, Plan::in_place)? {
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    fn why_not(&self) -> String {
        let elf = &self.files.original.elf;
        let loads = elf.loads().count();
        match loads {
            0 => "the file has no segment that is loaded".into(),
            _ => "no program header can be had for the new bytes without losing one that is needed".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RpathTag;

    /// Plans an edit and hands the verifier the result with one byte of it changed.
    fn judged(file: &[u8], way: Way, at: impl Fn(&View<'_>) -> Vec<Range<u64>>) {
        let view = View::parse(file).unwrap();
        let mut draft = Draft::new(&view, &view, None).unwrap();
        let long = "/a/directory/that/is/longer/than/what/the/program/has/room/for/in/place/of/its/own".repeat(2);
        draft.apply(&Edit::Interpreter(long.clone().into())).unwrap();
        draft.apply(&Edit::Rpath { value: long.into(), tag: RpathTag::Runpath }).unwrap();
        let content = draft.finish(file, &view, false).unwrap();
        let outside = Outside {
            interpreter: draft.interpreter.clone(),
            os_abi: draft.os_abi,
            exec_stack: draft.exec_stack,
            cache: None,
            stale_cache: None,
        };
        let files = Files { base: file, current: &view, original: &view, record: None, payload: None };
        let space = Space::of(&view.elf);
        let ground = Ground {
            view: &view,
            space: &space,
            content: &content,
            outside: &outside,
            payload: None,
            page: 4096,
            behind: file.len() as u64..u64::MAX >> 1,
            recycle_debug: false,
            known: Known::default(),
        };
        let choice = ground.choices(way).find(|choice| build(&view, &content, &outside, choice).is_ok()).unwrap();
        let target = build(&view, &content, &outside, &choice).unwrap();
        let Composed { image, pieces, .. } = compose(&files, &space, &choice, target, true).unwrap();
        let expected =
            Expected { content: &content, outside: &outside, pieces: &pieces, page: 4096, end: file.len() as u64, sections_stay: false };
        let good = View::read(image.clone()).unwrap();
        assert_eq!(verify(&view, &good, &expected), Ok(()));
        for range in at(&good) {
            assert!(!range.is_empty());
            for offset in range {
                let mut bad = image.clone();
                let byte = bad.get(offset, 1).unwrap()[0];
                bad.put(offset, vec![byte ^ 1]);
                let seen = View::read(bad).and_then(|bad| verify(&view, &bad, &expected));
                assert!(seen.is_err(), "{way:?}: byte {offset:#x} of the new file");
            }
        }
    }

    #[test]
    fn the_verifier_sees_every_byte_that_a_loader_finds_its_way_by() {
        let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/bin/hello-x86_64-glibc-pie")).unwrap();
        for way in [Way::Replace, Way::InPlace] {
            judged(&file, way, |view| {
                let dynamic = view.dynamic.as_ref().unwrap();
                let entries = dynamic.place.start..dynamic.place.start + dynamic.entries.len() as u64 * 16;
                let interpreter = view.elf.interpreter().unwrap().range();
                let strings = dynamic.strings_at..dynamic.strings_at + dynamic.strings.len() as u64;
                // Entry by entry without p_paddr, which nobody reads.
                let table = view.elf.segment_table();
                let headers = (table.start..table.end).step_by(56).flat_map(|at| [at..at + 24, at + 32..at + 56]);
                headers.chain([24..32, entries, interpreter, strings]).collect()
            });
        }
    }
}
