//! Where every byte goes: a list that prints itself, is carried out without thinking, and proves
//! afterwards that nothing else happened.

use crate::elf::{Elf, Segment};
use crate::error::{Error, Shown};
use std::fmt;
use std::ops::Range;

/// A position in a file, in bytes from its start; never an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

impl fmt::Display for FileOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// When a write may happen, if the file is changed where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Bytes that nobody reads yet.
    Fresh,
    /// Bytes that make the new file true.
    Commit,
    /// Bytes that no loader reads any more, or that only tools read.
    After,
}

/// Bytes that are replaced, or that come behind the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where the first of them lies.
    pub offset: FileOffset,
    /// What the file has there: as long as `new`, or shorter where the file ends.
    pub old: Vec<u8>,
    /// What will be there.
    pub new: Vec<u8>,
    /// When it may be written in place.
    pub phase: Phase,
    /// Why, as a clause.
    pub why: String,
}

impl Write {
    pub(crate) fn end(&self) -> u64 {
        self.offset.0.saturating_add(self.new.len() as u64)
    }

    fn range(&self) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset.0).ok()?;
        Some(start..start.checked_add(self.new.len())?)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padding says nothing to people.
        let shown = |bytes: &[u8]| {
            let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            Shown(bytes.get(..end.min(SHOWN_MOST)).unwrap_or_default()).to_string()
        };
        let text = self.new.len() <= SHOWN_MOST && self.new.iter().all(|b| *b == 0 || b.is_ascii_graphic());
        match text {
            true if self.old.is_empty() => write!(f, "{} +{}: {} ({})", self.offset, self.new.len(), shown(&self.new), self.why),
            true => write!(f, "{} +{}: {} -> {} ({})", self.offset, self.new.len(), shown(&self.old), shown(&self.new), self.why),
            false => write!(f, "{} +{} ({})", self.offset, self.new.len(), self.why),
        }
    }
}

const SHOWN_MOST: usize = 160;

/// Bytes of the file that are needed a second time, or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where they are, in the file as it is.
    pub from: Range<u64>,
    /// Where they go.
    pub to: FileOffset,
    /// Why, as a clause.
    pub why: String,
}

/// Where the new bytes found room: the lowest rung that holds is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Over what is replaced.
    InPlace,
    /// In padding that a segment was extended over.
    Slack,
    /// In file space that no loader reads.
    Recycled,
    /// Behind the end, in one segment.
    Appended,
    /// Before what was appended to the program, which is found from the end of the file.
    Inserted,
    /// Behind what was appended to the program, which is then there twice: where it was, and at the end.
    Doubled,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::InPlace => "in place",
            Rung::Slack => "in the padding of a segment",
            Rung::Recycled => "in file space that no loader reads",
            Rung::Appended => "in a segment behind the end",
            Rung::Inserted => "in a segment before the payload, which is found from the end",
            Rung::Doubled => "in a segment behind the payload, which is repeated behind it",
        })
    }
}

/// The page of a file that is written at once or not at all; every kernel's page cache has pages of
/// at least this size.
pub const ATOMIC: u64 = 4096;

/// What happens to a file. Prints itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) old_len: u64,
    pub(crate) new_len: u64,
    pub(crate) copies: Vec<Copied>,
    pub(crate) writes: Vec<Write>,
    pub(crate) rung: Rung,
    /// Whether fresh bytes meet nothing that is read now.
    pub(crate) at_once: bool,
    pub(crate) before: Vec<Segment>,
    pub(crate) after: Vec<Segment>,
    pub(crate) remarks: Vec<String>,
}

impl Plan {
    /// A plan that keeps every byte's place, from changes that neither meet each other nor the
    /// headers; drops those that change nothing.
    pub(crate) fn in_place_only(size: u64, elf: &Elf, mut writes: Vec<Write>) -> Result<Plan, Error> {
        writes.retain(|w| w.old != w.new);
        writes.sort_by_key(|w| w.offset);
        let mut free = 0;
        for write in &writes {
            if let Some(offset) = elf.in_headers(&(write.offset.0..write.end())) {
                return Err(Error::InHeaders { what: write.why.clone(), offset });
            }
            if write.offset.0 < free {
                return Err(Error::Overlap { offset: write.offset });
            }
            free = write.end();
        }
        let segments = elf.segments.clone();
        let (before, after) = (segments.clone(), segments);
        Ok(Plan {
            old_len: size,
            new_len: size,
            copies: Vec::new(),
            writes,
            rung: Rung::InPlace,
            at_once: true,
            before,
            after,
            remarks: Vec::new(),
        })
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.copies.is_empty() && self.old_len == self.new_len
    }

    /// The file's length now, in bytes.
    pub fn old_len(&self) -> u64 {
        self.old_len
    }

    /// The file's length afterwards.
    pub fn new_len(&self) -> u64 {
        self.new_len
    }

    /// What is copied, before anything is written; the sources are bytes of the file as it is now.
    pub fn copies(&self) -> &[Copied] {
        &self.copies
    }

    /// What is written, in file order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Where the new bytes found room.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// What the user should know: what is lost, what cannot be undone.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The segments as they are.
    pub fn before(&self) -> &[Segment] {
        &self.before
    }

    /// The segments as they will be.
    pub fn after(&self) -> &[Segment] {
        &self.after
    }

    /// Whether the file can be changed where it lies, so that whoever is killed in the middle
    /// leaves the old file or the new one: nothing that is read now moves or changes, except within
    /// one [page](ATOMIC) of the file.
    pub fn in_place(&self) -> bool {
        let commit = self.commit_span();
        let one_page = commit.is_empty() || commit.start / ATOMIC == (commit.end - 1) / ATOMIC;
        self.at_once && one_page && self.copies.iter().all(|c| c.to.0 >= self.old_len)
    }

    /// From the first to the last byte that makes the new file true; empty if there is none.
    pub fn commit_span(&self) -> Range<u64> {
        let writes = || self.writes.iter().filter(|w| w.phase == Phase::Commit);
        let start = writes().map(|w| w.offset.0).min().unwrap_or_default();
        start..writes().map(Write::end).max().unwrap_or_default()
    }

    /// The new file's bytes.
    ///
    /// # Errors
    /// [`Error::Stale`] if `original` is not what the plan was made for.
    pub fn apply(&self, original: &[u8]) -> Result<Vec<u8>, Error> {
        let stale = |offset: u64| Error::Stale { offset: FileOffset(offset) };
        let size = usize::try_from(self.new_len).map_err(|_| stale(self.new_len))?;
        if original.len() as u64 != self.old_len {
            return Err(stale(original.len() as u64));
        }
        let mut out = original.get(..original.len().min(size)).unwrap_or_default().to_vec();
        out.resize(size, 0);
        for copy in &self.copies {
            let source = usize::try_from(copy.from.start).ok().zip(usize::try_from(copy.from.end).ok());
            let source = source.and_then(|(start, end)| original.get(start..end)).ok_or(stale(copy.from.start))?;
            let to = usize::try_from(copy.to.0).map_err(|_| stale(copy.to.0))?;
            let end = to.checked_add(source.len()).ok_or(stale(copy.to.0))?;
            out.get_mut(to..end).ok_or(stale(copy.to.0))?.copy_from_slice(source);
        }
        for write in &self.writes {
            let start = usize::try_from(write.offset.0).map_err(|_| stale(write.offset.0))?;
            let there = start.checked_add(write.old.len()).and_then(|end| original.get(start..end));
            if !write.old.is_empty() && there != Some(&write.old) {
                return Err(stale(write.offset.0));
            }
            let place = write.range().and_then(|r| out.get_mut(r)).ok_or(stale(write.offset.0))?;
            place.copy_from_slice(&write.new);
        }
        Ok(out)
    }

    /// Proves that `after` is `before` with these changes and no other, byte by byte.
    ///
    /// # Errors
    /// [`Error::Unplanned`] with the first byte that is otherwise, and the errors of [`Plan::apply`].
    pub fn verify(&self, before: &[u8], after: &[u8]) -> Result<(), Error> {
        let unplanned = |offset: u64, reason| Err(Error::Unplanned { offset: FileOffset(offset), reason });
        if after.len() as u64 != self.new_len {
            return unplanned(self.new_len.min(after.len() as u64), "the length is not the planned one");
        }
        // Everything that is not written or copied is compared as it lies; what is, as planned.
        let mut told: Vec<(Range<u64>, Source<'_>)> =
            self.copies.iter().map(|c| (c.to.0..c.to.0 + (c.from.end - c.from.start), Source::Old(c.from.start))).collect();
        told.extend(self.writes.iter().map(|w| (w.offset.0..w.end(), Source::New(w))));
        told.sort_by_key(|(range, _)| range.start);
        let mut at = 0;
        for (range, source) in told {
            if range.start < at {
                return unplanned(range.start, "two changes meet");
            }
            if let Some(offset) = differs(before, after, at, at..range.start) {
                return unplanned(offset, "a byte changed that was not to be changed");
            }
            let found = match source {
                Source::Old(from) => differs(before, after, from, range.clone()),
                Source::New(w) => {
                    let old = w.offset.0..w.offset.0 + w.old.len() as u64;
                    differs(&w.old, before, 0, old).or_else(|| differs(&w.new, after, 0, range.clone()))
                }
            };
            if let Some(offset) = found {
                return unplanned(offset, "a change was not made as planned");
            }
            at = range.end;
        }
        match differs(before, after, at, at..self.new_len) {
            Some(offset) => unplanned(offset, "a byte changed that was not to be changed"),
            None => Ok(()),
        }
    }
}

/// What a range of the new file comes from.
enum Source<'a> {
    /// The old file, from there on.
    Old(u64),
    /// This write.
    New(&'a Write),
}

/// The first position in `range` of `after` that is not what `before` has from `from` on; beyond
/// the end of `before` zeros are expected.
fn differs(before: &[u8], after: &[u8], from: u64, range: Range<u64>) -> Option<u64> {
    let piece = |bytes: &[u8], start: u64, size: u64| -> (usize, usize) {
        let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
        (clamp(start), clamp(start.saturating_add(size)))
    };
    let size = range.end - range.start;
    let (start, end) = piece(after, range.start, size);
    let found = after.get(start..end).unwrap_or_default();
    let (start, end) = piece(before, from, size);
    let wanted = before.get(start..end).unwrap_or_default();
    if (found.len() as u64) < size {
        return Some(range.start + found.len() as u64);
    }
    let (common, rest) = found.split_at(wanted.len());
    if common != wanted {
        return Some(range.start + common.iter().zip(wanted).take_while(|(a, b)| a == b).count() as u64);
    }
    rest.iter().position(|b| *b != 0).map(|i| range.start + (wanted.len() + i) as u64)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing to change");
        }
        if self.before != self.after {
            writeln!(f, "segments now:")?;
            crate::show::segments(f, &self.before)?;
            writeln!(f, "segments then:")?;
            crate::show::segments(f, &self.after)?;
        }
        let grown = self.new_len as i128 - self.old_len as i128;
        writeln!(f, "placed {}; {} bytes, {grown:+}", self.rung, self.new_len)?;
        for copy in &self.copies {
            writeln!(f, "{:#x}..{:#x} -> {} ({})", copy.from.start, copy.from.end, copy.to, copy.why)?;
        }
        for write in &self.writes {
            writeln!(f, "{write}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        Ok(())
    }
}
