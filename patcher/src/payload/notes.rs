//! Walks the notes of PT_NOTE segments (gABI, "Note Section") and asks the families whose data lies
//! in one. Follows at most a fixed number of notes, whatever a segment claims to hold.

use super::view::View;
use super::{Outline, Payload, deno, node};
use std::ops::Range;

/// Build attributes of a large program (annobin) are some thousands; a segment with more is not read on.
const FOLLOWED: usize = 65_536;

/// One note: its owner without the final NUL, its type, the place of its description.
pub(super) struct Note<'a> {
    pub(super) owner: &'a [u8],
    pub(super) kind: u32,
    pub(super) description: Range<u64>,
}

/// Payloads in notes. The readers walk `dl_iterate_phdr(3)`: the bytes are loaded and found by address.
pub(super) fn payloads(outline: &Outline<'_>) -> Vec<Payload> {
    let mut found: Vec<Payload> = Vec::new();
    for segment in outline.notes {
        // Four bytes is what both writers align to; segments of eight hold no note of theirs.
        let mut at = segment.start;
        for _ in 0..FOLLOWED {
            let Some((note, next)) = note(outline, at, segment.end) else { break };
            found.extend(node::note(outline.view(), &note).or_else(|| deno::note(outline.view(), &note)));
            at = next;
        }
    }
    found
}

fn note<'a>(outline: &Outline<'a>, at: u64, end: u64) -> Option<(Note<'a>, u64)> {
    let view: View<'a> = View(outline.file);
    let word = |index: u64| view.u32(at.checked_add(index * 4)?, outline.big_endian);
    let (name_size, size, kind) = (word(0)?, word(1)?, word(2)?);
    let name = at.checked_add(12)?;
    let start = name.checked_add(aligned(name_size))?;
    let description = start..start.checked_add(size.into())?;
    if description.end > end {
        return None;
    }
    let owner = view.bytes(name, name_size.into())?;
    let note = Note { owner: owner.strip_suffix(b"\0").unwrap_or(owner), kind, description };
    Some((note, start.checked_add(aligned(size))?))
}

fn aligned(size: u32) -> u64 {
    u64::from(size).next_multiple_of(4)
}
