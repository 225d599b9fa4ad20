//! From the new file as it differs from the original to a plan for the file as it is, with the record
//! that lets it be undone. Chooses no places but the record's.

use crate::elf::Elf;
use crate::error::Error;
use crate::image::{Image, Inserted};
use crate::payload::FoundBy;
use crate::plan::{Copied, FileOffset, Phase, Plan, Rung, Write};
use crate::record::{ALIGNMENT, Changed, Kind, Record, seal};
use crate::space::Space;
use crate::target::{Choice, Piece, Target};
use crate::view::{View, tag};
use std::collections::BTreeMap;
use std::ops::Range;

/// The file as it is and as it was before our last edit.
pub(crate) struct Files<'f> {
    pub(crate) base: &'f [u8],
    pub(crate) current: &'f View<'f>,
    pub(crate) original: &'f View<'f>,
    /// The record of the last edit, and where it stands.
    pub(crate) record: Option<&'f (Record, Range<u64>)>,
    pub(crate) payload: Option<FoundBy>,
}

/// How `payload::FoundBy` is written in records.
const FOUND_BY: &[Option<FoundBy>] = &[
    None,
    Some(FoundBy::End),
    Some(FoundBy::Start),
    Some(FoundBy::Both),
    Some(FoundBy::AfterSectionHeaders),
    Some(FoundBy::Loaded),
    Some(FoundBy::Unknown),
];

/// What a record says of the payload.
pub(crate) fn found_by(record: &Record) -> Option<FoundBy> {
    FOUND_BY.get(usize::from(record.found_by)).copied().flatten()
}

/// The plan and the new file as far as it can be read without its payload.
pub(crate) struct Composed<'f> {
    pub(crate) plan: Plan,
    pub(crate) image: Image<'f>,
    /// Disjoint, in file order.
    pub(crate) pieces: Vec<Piece>,
}

/// Puts the plan together.
///
/// # Errors
/// Those of reading the new file's headers.
pub(crate) fn compose<'f>(files: &Files<'f>, taken: &Space, choice: &Choice, target: Target, undo: bool) -> Result<Composed<'f>, Error> {
    let original_len = files.original.image.size();
    all_there(&files.original.elf, original_len)?;
    let overlay = Space::of(&files.original.elf).end().min(original_len)..original_len;
    let mut pieces = disjoint(target.pieces);
    let mut remarks: Vec<String> = choice.table.remark.map(str::to_owned).into_iter().collect();
    let debugged = files.original.entries().iter().any(|d| d.tag == tag::DEBUG);
    if choice.moves_dynamic && debugged && files.original.interpreter().is_some() {
        remarks.push("the dynamic section moves: a program that reads its own symbol _DYNAMIC finds the old one".into());
    }

    // What is new behind the end (or before the payload), without the record.
    let at = choice.area.filter(|a| a.extends.is_none() && choice.rung >= Rung::Appended).map(|a| a.at);
    let mut end = if choice.rung == Rung::Inserted { target.end } else { target.end.max(original_len) };
    let kept = if choice.rung == Rung::Inserted { overlay.start } else { original_len };
    let mut changed = changes(files, &pieces, kept)?;
    if choice.at_once || choice.rung == Rung::InPlace {
        changed = with_what_is_given_back_late(files, changed, kept);
    }
    let mut record = Record {
        original_len,
        new_len: 0,
        inserted: None,
        rung: choice.rung,
        found_by: FOUND_BY.iter().position(|f| *f == files.payload).unwrap_or_default() as u8,
        now: 0,
        strings_at: files.original.dynamic.as_ref().map_or(0, |d| d.strings_at),
        changed,
    };
    let finish = |end: u64| -> (u64, Option<Inserted>) {
        let behind = overlay.end - overlay.start;
        match (choice.rung, at) {
            (Rung::Inserted, Some(_)) => {
                let size = (end - overlay.start).next_multiple_of(16);
                (original_len + size, Some(Inserted { at: overlay.start, size }))
            }
            (Rung::Doubled, Some(_)) => (end.next_multiple_of(16) + behind, None),
            _ => (end, None),
        }
    };
    if undo {
        let mut edited = files.original.image.clone().sized(end);
        pieces.iter().for_each(|p| edited.put(p.offset, p.new.clone()));
        let edited = View::read(edited)?;
        let sealed = seal(&edited, &record.changed);
        record.now = sealed.unwrap_or_default();
        let own_place = sealed.and_then(|_| record_place(files, taken, &edited.image, &edited.elf, choice, at, &record));
        match own_place {
            None => remarks.push("this edit cannot be undone: there is no room for its record that a payload does not need".into()),
            Some(start) => {
                // The record holds the length of the file that holds it.
                for _ in 0..4 {
                    let behind = start >= end;
                    let record_end = start + record.encode().len() as u64;
                    let total = if behind { record_end.max(end) } else { end };
                    (record.new_len, record.inserted) = finish(total);
                }
                let bytes = record.encode();
                end = end.max(start + bytes.len() as u64);
                let why = "what undoes this edit".into();
                pieces.push(Piece { offset: start, new: bytes, phase: Phase::Fresh, kind: Kind::Structure, why });
            }
        }
    }
    let (new_len, inserted) = finish(end);
    stays_lost(&files.original.elf, new_len)?;
    pieces = disjoint(pieces);
    let image_len = if inserted.is_some() || choice.rung == Rung::Doubled { end } else { new_len };
    let mut image = files.original.image.clone().sized(image_len);
    if let Some(at) = at {
        // Alignment between the new bytes.
        let from = if choice.at_once { at } else { at.min(original_len.max(overlay.start)) };
        zeros(&mut pieces, from..end);
    }
    pieces.iter().for_each(|p| image.put(p.offset, p.new.clone()));
    restore(files, &mut pieces, inserted.map_or(original_len, |i| i.at));
    if choice.at_once {
        forget_strings(files, &mut pieces, new_len);
    }

    let mut copies = Vec::new();
    let from = files.original.image.in_base(overlay.start)..files.original.image.in_base(overlay.start) + (overlay.end - overlay.start);
    let to = match (choice.rung, inserted) {
        (Rung::Inserted, Some(i)) => Some(i.at + i.size),
        (Rung::Doubled, _) => Some(end.next_multiple_of(16)),
        _ if from.start != overlay.start => Some(overlay.start),
        _ => None,
    };
    let base_len = files.base.len() as u64;
    let repeated = choice.rung == Rung::Doubled && files.record.is_some_and(|(r, _)| r.rung == Rung::Doubled);
    if let Some(to) = to.filter(|to| *to != from.start && !(repeated && new_len == base_len)) {
        let why = if choice.rung == Rung::Doubled { "the payload again, for who looks from the end" } else { "the payload, whole" };
        copies.push(Copied { from, to: FileOffset(to), why: why.into() });
    }
    let mut writes: Vec<Write> = pieces.iter().map(|p| write(files.base, p)).collect();
    // A copy may bring other bytes than the file has there now; then nothing is left out.
    writes.retain(|w| w.old != w.new);
    let at_once = (choice.at_once || choice.rung == Rung::InPlace) && is_unread(files, &writes);
    let plan = Plan {
        old_len: base_len,
        new_len,
        copies,
        writes,
        rung: choice.rung,
        at_once,
        before: files.current.segments().to_vec(),
        after: target.segments,
        remarks,
    };
    Ok(Composed { plan, image, pieces })
}

/// Whether what is written first goes where nothing is that the file as it is covers, the record of its last edit
/// included: the original may be free where the edited file is not.
fn is_unread(files: &Files<'_>, writes: &[Write]) -> bool {
    let mut live = Space::of(&files.current.elf);
    files.record.iter().for_each(|(_, own)| live.occupy(own.clone()));
    writes.iter().filter(|w| w.phase == Phase::Fresh).all(|w| live.is_free(&(w.offset.0..w.end())))
}

/// Every byte that is loaded has to be in the file, up to the page in which it ends: behind that page the kernel sends
/// SIGBUS (mmap(2)), and whatever is put there would be loaded too.
fn all_there(elf: &Elf, size: u64) -> Result<(), Error> {
    const PAGE_MOST: u64 = 64 << 10;
    let end = size.div_ceil(PAGE_MOST).saturating_mul(PAGE_MOST);
    match elf.loads().find(|s| s.range().end > end) {
        None => Ok(()),
        Some(s) => Err(Error::Truncated { what: "a segment", offset: s.offset, size: s.file_size, end: size }),
    }
}

/// A table of section headers that is not all in the file is none; what is put where it should be must not become one.
fn stays_lost(elf: &Elf, new_len: u64) -> Result<(), Error> {
    let header = &elf.header;
    let size = u64::from(header.section_count).max(1) * header.codec.section_size();
    let lost = elf.sections.is_empty() && header.sections_at != 0 && u64::from(header.section_size) == header.codec.section_size();
    if lost && header.sections_at.saturating_add(size) <= new_len {
        return Err(Error::field("e_shoff", 0, header.sections_at, "the section headers are not all in the file"));
    }
    Ok(())
}

fn write(base: &[u8], piece: &Piece) -> Write {
    let start = usize::try_from(piece.offset).unwrap_or(usize::MAX).min(base.len());
    let end = start.saturating_add(piece.new.len()).min(base.len());
    let old = base.get(start..end).unwrap_or_default().to_vec();
    Write { offset: FileOffset(piece.offset), old, new: piece.new.clone(), phase: piece.phase, why: piece.why.clone() }
}

/// In place, what the last edit left and this one does not need is given back last: whoever is killed
/// before that still has it in the file, so that undoing has to give it back too.
fn with_what_is_given_back_late(files: &Files<'_>, changed: Vec<Changed>, limit: u64) -> Vec<Changed> {
    let Some((record, own)) = files.record else { return changed };
    let piece = |offset: u64, new: Vec<u8>, kind: Kind| Piece { offset, new, phase: Phase::After, kind, why: String::new() };
    let mut all: Vec<Piece> = Vec::new();
    for c in record.changed.iter().filter(|c| !c.kind.is_kept()) {
        all.push(piece(c.offset, c.old.clone(), if c.old.iter().all(|b| *b == 0) { Kind::LateZeros } else { Kind::Late }));
    }
    let own = own.start..own.end.min(limit);
    if own.start < own.end {
        all.push(piece(own.start, vec![0; (own.end - own.start) as usize], Kind::LateZeros));
    }
    all.extend(changed.into_iter().map(|c| piece(c.offset, c.old, c.kind)));
    let mut joined: Vec<Changed> = Vec::new();
    for piece in disjoint(all) {
        match joined.last_mut() {
            Some(last)
                if last.kind == Kind::LateZeros && piece.kind == last.kind && last.offset + last.old.len() as u64 == piece.offset =>
            {
                last.old.extend(piece.new);
            }
            _ => joined.push(Changed { offset: piece.offset, old: piece.new, kind: piece.kind }),
        }
    }
    joined
}

/// The pieces without the parts that later ones cover, in file order.
fn disjoint(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut done: Vec<Piece> = Vec::new();
    // Where the later ones lie: start and end, none meeting another.
    let mut covered: BTreeMap<u64, u64> = BTreeMap::new();
    for piece in pieces.into_iter().rev() {
        let (start, end) = (piece.offset, piece.offset.saturating_add(piece.new.len() as u64));
        let before = covered.range(..=start).next_back().filter(|(_, e)| **e > start).map_or(start, |(s, _)| *s);
        let mut parts: Vec<Range<u64>> = Vec::new();
        let mut at = start;
        for (later_start, later_end) in covered.range(before..end) {
            if *later_start > at {
                parts.push(at..*later_start);
            }
            at = at.max(*later_end);
        }
        if at < end {
            parts.push(at..end);
        }
        for part in parts {
            covered.insert(part.start, part.end);
            let range = (part.start - start) as usize..(part.end - start) as usize;
            let new = piece.new.get(range).unwrap_or_default().to_vec();
            done.push(Piece { offset: part.start, new, why: piece.why.clone(), ..piece });
        }
    }
    done.sort_by_key(|p| p.offset);
    done
}

/// Fills what no piece covers in `range` with zeros.
fn zeros(pieces: &mut Vec<Piece>, range: Range<u64>) {
    let mut at = range.start;
    let mut fill = Vec::new();
    for piece in pieces.iter().filter(|p| p.offset + p.new.len() as u64 > range.start && p.offset < range.end) {
        // A hole stays one.
        if piece.offset > at && piece.offset - at < 4096 {
            fill.push(at..piece.offset);
        }
        at = at.max(piece.offset + piece.new.len() as u64);
    }
    for gap in fill {
        let new = vec![0; (gap.end - gap.start) as usize];
        pieces.push(Piece { offset: gap.start, new, phase: Phase::Fresh, kind: Kind::Structure, why: "alignment".into() });
    }
    pieces.sort_by_key(|p| p.offset);
}

/// Stretches of the original before `limit` that the pieces change.
fn changes(files: &Files<'_>, pieces: &[Piece], limit: u64) -> Result<Vec<Changed>, Error> {
    let image = &files.original.image;
    let mut all = Vec::new();
    for piece in pieces.iter().filter(|p| p.offset < limit) {
        let size = (piece.new.len() as u64).min(limit - piece.offset);
        let old = image.read("bytes to be replaced", piece.offset, size)?;
        if piece.kind == Kind::Structure && size == piece.new.len() as u64 && old.iter().all(|b| *b == 0) {
            all.push(Changed { offset: piece.offset, old: old.into_owned(), kind: Kind::Zeros });
            continue;
        }
        if piece.kind == Kind::Strings && size == piece.new.len() as u64 {
            all.push(Changed { offset: piece.offset, old: old.into_owned(), kind: Kind::Strings });
            continue;
        }
        let differs: Vec<usize> = old.iter().zip(&piece.new).enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
        // Equal bytes between two that differ cost less than another entry.
        for run in differs.chunk_by(|a, b| b - a <= 4) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let old = old.get(*first..=*last).unwrap_or_default().to_vec();
            let kind = match piece.kind {
                Kind::Structure if piece.phase == Phase::After => Kind::Late,
                Kind::Structure if old.iter().all(|b| *b == 0) => Kind::Zeros,
                kind => kind,
            };
            all.push(Changed { offset: piece.offset + *first as u64, old, kind });
        }
    }
    Ok(all)
}

/// Where the record may stand: behind the new bytes, in padding behind a load, or behind the end.
fn record_place(
    files: &Files<'_>,
    taken: &Space,
    edited: &Image<'_>,
    elf: &Elf,
    choice: &Choice,
    at: Option<u64>,
    record: &Record,
) -> Option<u64> {
    // Its own numbers may still become longer.
    let size = record.encode().len() as u64 + 32;
    if at.is_some() {
        let start = edited.size().next_multiple_of(ALIGNMENT);
        let room = choice.area.map_or(0, |a| a.at.saturating_add(a.room));
        return (start + size <= room).then_some(start);
    }
    let space = Space::of(elf).and(taken);
    let ends = elf.loads().map(|s| s.range().end).chain([elf.section_table().end]);
    for start in ends.filter_map(|end| end.checked_next_multiple_of(ALIGNMENT)) {
        let free = space.free_from(start);
        if start + size <= free.end && edited.is_zero(start..start + size) {
            return Some(start);
        }
    }
    // Behind the end, where nobody looks for a payload.
    let free = matches!(files.payload, None | Some(FoundBy::Start | FoundBy::AfterSectionHeaders | FoundBy::Loaded));
    let behind = if choice.at_once { taken.end() } else { 0 };
    free.then(|| edited.size().max(behind).next_multiple_of(ALIGNMENT))
}

/// What the last edit changed and this one does not is given back.
fn restore(files: &Files<'_>, pieces: &mut Vec<Piece>, limit: u64) {
    let Some((record, own)) = files.record else { return };
    let mut back: Vec<Piece> = Vec::new();
    let why = || "as in the original".to_owned();
    for c in record.changed.iter().filter(|c| !c.kind.is_kept()) {
        let phase = if matches!(c.kind, Kind::Zeros | Kind::LateZeros) { Phase::After } else { Phase::Commit };
        back.push(Piece { offset: c.offset, new: c.old.clone(), phase, kind: Kind::Structure, why: why() });
    }
    let own = own.start..own.end.min(limit);
    if own.start < own.end {
        let new = vec![0; (own.end - own.start) as usize];
        back.push(Piece { offset: own.start, new, phase: Phase::After, kind: Kind::Structure, why: why() });
    }
    back.append(pieces);
    *pieces = disjoint(back);
}

/// The strings of an earlier edit, behind the original, are read until this one is true; then they go:
/// an old run path shall not stay.
fn forget_strings(files: &Files<'_>, pieces: &mut Vec<Piece>, new_len: u64) {
    let Some(dynamic) = &files.current.dynamic else { return };
    let start = dynamic.strings_at.max(files.original.image.size());
    let end = (dynamic.strings_at + dynamic.strings.len() as u64).min(new_len);
    if start < end {
        let new = vec![0; (end - start) as usize];
        let gone = Piece { offset: start, new, phase: Phase::After, kind: Kind::Structure, why: "the strings of the last edit".into() };
        *pieces = disjoint(std::iter::once(gone).chain(pieces.drain(..)).collect());
    }
}

/// The plan that gives the original back.
///
/// # Errors
/// [`Error::NoRecord`].
pub(crate) fn undo(files: &Files<'_>) -> Result<Plan, Error> {
    let Some((record, _)) = files.record else {
        return Err(Error::NoRecord { reason: "the file has no record of an edit, or was changed since" });
    };
    let original = &files.original.image;
    let mut pieces = Vec::new();
    for c in &record.changed {
        pieces.push(Piece {
            offset: c.offset,
            new: c.old.clone(),
            phase: Phase::Commit,
            kind: Kind::Structure,
            why: "as in the original".into(),
        });
    }
    restore(files, &mut pieces, record.inserted.map_or(record.original_len, |i| i.at));
    let copies = record.inserted.iter().filter(|i| i.at < record.original_len).map(|i| Copied {
        from: original.in_base(i.at)..original.in_base(i.at) + (record.original_len - i.at),
        to: FileOffset(i.at),
        why: "the payload, where it was".into(),
    });
    let mut writes: Vec<Write> = pieces.iter().map(|p| write(files.base, p)).collect();
    writes.retain(|w| w.old != w.new);
    Ok(Plan {
        old_len: files.base.len() as u64,
        new_len: record.original_len,
        copies: copies.collect(),
        writes,
        rung: Rung::InPlace,
        at_once: false,
        before: files.current.segments().to_vec(),
        after: files.original.segments().to_vec(),
        remarks: Vec::new(),
    })
}
