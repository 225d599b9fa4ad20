//! A plan held against the file it is for: every range checked once, so that what executes it need
//! not. Changes nothing.

use super::error::CommitError;
use super::source::Source;
use crate::elf::Segment;
use crate::plan::{ATOMIC, Copied, Phase, Plan, Rung, Write};
use std::ops::Range;
use std::path::Path;

/// A plan that fits its file.
pub(super) struct Work<'a> {
    plan: &'a Plan,
    original: &'a [u8],
    /// Disjoint, in the order of their targets, inside the original and the new file.
    moves: Vec<Move>,
}

/// Bytes of the original that go to another place too.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) from: Range<u64>,
    pub(super) to: Range<u64>,
}

/// Bytes of the file that are written at once.
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

impl<'a> Work<'a> {
    /// Checks that the plan is one for this file and reaches nowhere outside of it.
    pub(super) fn of(source: &'a Source, plan: &'a Plan) -> Result<Work<'a>, CommitError> {
        Work::checked(source.path(), source.bytes(), plan)
    }

    fn checked(path: &Path, original: &'a [u8], plan: &'a Plan) -> Result<Work<'a>, CommitError> {
        let unfit = |reason| CommitError::Unfit { path: path.to_owned(), reason };
        let (old_len, new_len) = (plan.old_len(), plan.new_len());
        if old_len != original.len() as u64 {
            return Err(CommitError::Changed { path: path.to_owned() });
        }
        let mut moves = Vec::with_capacity(plan.copies().len());
        for copied in plan.copies() {
            let len = copied.from.end.checked_sub(copied.from.start).filter(|_| copied.from.end <= old_len);
            let end = len.and_then(|len| copied.to.0.checked_add(len)).filter(|end| *end <= new_len);
            let end = end.ok_or_else(|| unfit("the plan copies bytes that are not in the file"))?;
            moves.push(Move { from: copied.from.clone(), to: copied.to.0..end });
        }
        moves.retain(|m| !m.to.is_empty());
        moves.sort_by_key(|m| m.to.start);
        if moves.iter().zip(moves.iter().skip(1)).any(|(a, b)| a.to.end > b.to.start) {
            return Err(unfit("the plan copies two things to one place"));
        }
        for write in plan.writes() {
            let end = write.offset.0.checked_add(write.new.len() as u64).filter(|end| *end <= new_len);
            end.ok_or_else(|| unfit("the plan writes behind the end of the new file"))?;
            if !write.old.is_empty() && original.get(place(write.offset.0, write.old.len())) != Some(write.old.as_slice()) {
                return Err(CommitError::Changed { path: path.to_owned() });
            }
        }
        Ok(Work { plan, original, moves })
    }

    /// Whether nothing is to be done.
    pub(super) fn is_nothing(&self) -> bool {
        self.plan.is_empty()
    }

    /// The original's length in bytes.
    pub(super) fn old_len(&self) -> u64 {
        self.plan.old_len()
    }

    /// The new file's length in bytes.
    pub(super) fn new_len(&self) -> u64 {
        self.plan.new_len()
    }

    /// How many bytes of the original keep their place.
    pub(super) fn kept(&self) -> u64 {
        self.old_len().min(self.new_len())
    }

    /// What goes to another place too; disjoint, in the order of the targets.
    pub(super) fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// All writes, in the plan's order.
    pub(super) fn writes(&self) -> &'a [Write] {
        self.plan.writes()
    }

    /// The writes of one phase, in the plan's order.
    pub(super) fn phase(&self, phase: Phase) -> impl Iterator<Item = &'a Write> + use<'a> {
        self.plan.writes().iter().filter(move |w| w.phase == phase)
    }

    /// Why this cannot be done in place, if it cannot.
    pub(super) fn unfit_in_place(&self) -> Option<&'static str> {
        if !self.plan.at_once {
            return Some("bytes that are read now are overwritten or cut off, which cannot be done in place");
        }
        if self.moves.iter().any(|m| m.to.start < self.old_len()) {
            return Some("bytes of the file move, which cannot be done in place");
        }
        let span = self.plan.commit_span();
        if span.is_empty() {
            return None;
        }
        if span.end > self.old_len() {
            return Some("what makes the new file true lies behind the old end, which cannot be done in place");
        }
        // Between two pages of the page cache a killed process stops writing (generic_perform_write, mm/filemap.c).
        let two = span.start / ATOMIC != (span.end - 1) / ATOMIC;
        two.then_some("what makes the new file true lies in two pages, which cannot be done in place")
    }

    /// The bytes from the first to the last that a commit write changes, before and after it. What lies between is the
    /// original's or what a fresh write put there before.
    pub(super) fn commit_span(&self) -> Option<Span> {
        let range = self.plan.commit_span();
        if range.is_empty() {
            return None;
        }
        let old = self.original_bytes(range.clone()).to_vec();
        let mut new = old.clone();
        for write in self.phase(Phase::Fresh).chain(self.phase(Phase::Commit)) {
            overlay(&mut new, range.start, write);
        }
        Some(Span { at: range.start, old, new })
    }

    /// Whether what is done after the commit write changes bytes that a loader of the old file reads.
    pub(super) fn takes_away(&self) -> bool {
        let read = |write: &Write| {
            let end = write.offset.0.saturating_add(write.new.len() as u64);
            let meets = |s: &Segment| s.p_type != 0 && s.range().start < end && write.offset.0 < s.range().end;
            self.plan.before.is_empty() || self.plan.before.iter().any(meets)
        };
        self.new_len() < self.old_len() || self.phase(Phase::After).any(read)
    }

    /// What the original has where fresh writes go, so that they can be undone.
    pub(super) fn before_fresh(&self) -> Vec<(u64, Vec<u8>)> {
        let inside = |w: &Write| (w.offset.0, self.original_bytes(w.offset.0..w.offset.0 + w.new.len() as u64).to_vec());
        self.phase(Phase::Fresh).map(inside).filter(|(_, old)| !old.is_empty()).collect()
    }

    /// The part of a range that lies inside the original.
    fn original_bytes(&self, range: Range<u64>) -> &'a [u8] {
        let end = range.end.min(self.old_len());
        let len = end.saturating_sub(range.start);
        usize::try_from(len).ok().and_then(|len| self.original.get(place(range.start, len))).unwrap_or_default()
    }
}

impl Plan {
    /// A plan from its parts, for programs that know themselves what to write. Whether it makes sense is checked when
    /// it is applied or committed; whether the result is a program is not.
    pub fn from_parts(old_len: u64, new_len: u64, copies: Vec<Copied>, writes: Vec<Write>) -> Plan {
        let (before, after, remarks) = (Vec::new(), Vec::new(), Vec::new());
        Plan { old_len, new_len, copies, writes, rung: Rung::InPlace, at_once: new_len >= old_len, before, after, remarks }
    }
}

/// Where bytes lie in memory; out of reach (and so refused by `get`) if the address space is too small.
fn place(offset: u64, len: usize) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    start..start.saturating_add(len)
}

/// Puts what `write` has of the bytes from `at` on over `bytes`.
fn overlay(bytes: &mut [u8], at: u64, write: &Write) {
    let skip = usize::try_from(at.saturating_sub(write.offset.0)).unwrap_or(usize::MAX);
    let start = usize::try_from(write.offset.0.saturating_sub(at)).unwrap_or(usize::MAX);
    let (Some(target), Some(new)) = (bytes.get_mut(start..), write.new.get(skip..)) else { return };
    target.iter_mut().zip(new).for_each(|(place, byte)| *place = *byte);
}
