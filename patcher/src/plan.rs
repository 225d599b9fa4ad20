//! Where every changed byte goes: a list that prints itself, is applied without thinking, and
//! proves afterwards that nothing else happened.

use crate::elf::Elf;
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

/// Bytes that are replaced by as many others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the first of them lies.
    pub offset: FileOffset,
    /// What is there.
    pub old: Vec<u8>,
    /// What will be there; as long as `old`.
    pub new: Vec<u8>,
    /// Why, as a clause.
    pub why: String,
}

impl Change {
    fn range(&self) -> Option<Range<usize>> {
        let start = usize::try_from(self.offset.0).ok()?;
        Some(start..start.checked_add(self.old.len())?)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padding says nothing to people.
        let shown = |bytes: &[u8]| {
            let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            Shown(bytes.get(..end).unwrap_or_default()).to_string()
        };
        write!(f, "{} +{}: {} -> {} ({})", self.offset, self.old.len(), shown(&self.old), shown(&self.new), self.why)
    }
}

/// Changes that do not meet, in file order. Prints one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    changes: Vec<Change>,
}

impl Plan {
    /// Orders the changes and refuses those that would meet each other or the headers; drops
    /// those that change nothing.
    pub(crate) fn new(elf: &Elf, mut changes: Vec<Change>) -> Result<Plan, Error> {
        changes.retain(|c| c.old != c.new);
        changes.sort_by_key(|c| c.offset);
        let mut free = 0;
        for change in &changes {
            let end = change.offset.0.saturating_add(change.old.len() as u64);
            if let Some(offset) = elf.in_headers(&(change.offset.0..end)) {
                return Err(Error::InHeaders { what: change.why.clone(), offset });
            }
            if change.offset.0 < free {
                return Err(Error::Overlap { offset: change.offset });
            }
            free = end;
        }
        Ok(Plan { changes })
    }

    /// The changes, in file order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Makes the changes, all or none of them.
    ///
    /// # Errors
    /// [`Error::Stale`] if `bytes` are not those the plan was made for.
    pub fn apply(&self, bytes: &mut [u8]) -> Result<(), Error> {
        for change in &self.changes {
            if change.range().and_then(|r| bytes.get(r)) != Some(&change.old) {
                return Err(Error::Stale { offset: change.offset });
            }
        }
        for change in &self.changes {
            if let Some(place) = change.range().and_then(|r| bytes.get_mut(r)) {
                place.copy_from_slice(&change.new);
            }
        }
        Ok(())
    }

    /// Proves that `after` is `before` with these changes and no other, and that the loader sees
    /// the same headers.
    ///
    /// # Errors
    /// [`Error::Unplanned`] with the first byte that is otherwise; the errors of [`Elf::parse`].
    pub fn verify(&self, before: &[u8], after: &[u8]) -> Result<(), Error> {
        let unplanned = |offset: usize, reason| Err(Error::Unplanned { offset: FileOffset(offset as u64), reason });
        if before.len() != after.len() {
            return unplanned(before.len().min(after.len()), "the length changed");
        }
        let mut at = 0;
        for change in &self.changes {
            let Some(range) = change.range() else {
                return Err(Error::Stale { offset: change.offset });
            };
            if let Some(offset) = differs(before, after, at..range.start) {
                return unplanned(offset, "a byte changed that was not to be changed");
            }
            if before.get(range.clone()) != Some(&change.old) || after.get(range.clone()) != Some(&change.new) {
                return unplanned(range.start, "a change was not made as planned");
            }
            at = range.end;
        }
        if let Some(offset) = differs(before, after, at..before.len()) {
            return unplanned(offset, "a byte changed that was not to be changed");
        }
        if Elf::parse(before)? != Elf::parse(after)? {
            return unplanned(0, "the headers changed");
        }
        Ok(())
    }
}

/// The first position in `range` at which the two differ; a range outside of them differs.
fn differs(before: &[u8], after: &[u8], range: Range<usize>) -> Option<usize> {
    let start = range.start;
    match (before.get(range.clone()), after.get(range)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(a), Some(b)) => Some(start + a.iter().zip(b).take_while(|(a, b)| a == b).count()),
        _ => Some(start),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}
