//! Recognises what `deno compile` embeds, and data that its library libsui embeds for others.
//!
//! 1. Deno's own trailer (until 1.46), `cli/standalone/binary.rs`: `d3n0l4nd` and one, two or four
//!    offsets from the start of the file, big-endian, as the last bytes.
//! 2. libsui's trailer (until 0.12), `lib.rs`, `elf::find_section`: a magic, a hash of the name, and
//!    the distance of the data from the end.
//! 3. libsui's note (since 0.13): owner `SUI`; `find_section` walks PT_NOTE in memory.

use super::notes::Note;
use super::view::View;
use super::{FoundBy, Kind, Outline, Payload};

const MAGIC: &[u8] = b"d3n0l4nd";
const SUI_MAGIC: u32 = 0x501e;
const SUI_NOTE: u32 = 0x5355_4901;

/// Deno's own trailer.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    // Four offsets (since 1.37), two (since 1.7), one before.
    [4, 2, 1].iter().find_map(|count| {
        let magic = view.len().checked_sub(MAGIC.len() as u64 + count * 8)?;
        if !view.has(magic, MAGIC) {
            return None;
        }
        let offsets: Option<Vec<u64>> = (0..*count).map(|i| view.u64_be(magic + 8 + i * 8)).collect();
        let offsets = offsets.filter(|offsets| offsets.is_sorted() && offsets.iter().all(|o| *o <= magic))?;
        outline.behind(Kind::Deno, *offsets.first()?..view.len(), FoundBy::Both)
    })
}

/// libsui's trailer.
pub(super) fn sui_trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let at = view.len().checked_sub(16)?;
    if view.u32_le(at)? != SUI_MAGIC {
        return None;
    }
    let distance = view.u64_le(at + 8)?;
    if distance <= 16 {
        return None;
    }
    let deno = MAGIC.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let kind = if view.u32_le(at + 4)? == deno { Kind::Deno } else { Kind::Sui };
    outline.behind(kind, view.len().checked_sub(distance)?..view.len(), FoundBy::End)
}

/// libsui's note: a length of two bytes, the name, the data.
pub(super) fn note(view: View<'_>, note: &Note<'_>) -> Option<Payload> {
    if note.owner != b"SUI" || note.kind != SUI_NOTE {
        return None;
    }
    let range = note.description.clone();
    let name_size = u64::from(view.u16_le(range.start)?);
    let data = range.start.checked_add(2 + name_size).filter(|data| *data < range.end)?;
    let kind = if view.slice(range.start + 2..data)? == MAGIC { Kind::Deno } else { Kind::Sui };
    Some(Payload { kind, range: data..range.end, found_by: FoundBy::Loaded })
}
