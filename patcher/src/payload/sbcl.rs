//! Recognises an SBCL core. SBCL's `src/runtime/coreparse.c` (`search_for_embedded_core`) reads the
//! last word, a magic, and before it the core's offset from the start of the file, where the same
//! magic must stand. Failing that it takes the section `lisp.core` by name, from the section headers
//! in the file (`search_for_elf_core`).

use super::{FoundBy, Kind, Outline, Payload};
use std::ops::Range;

/// `CORE_MAGIC`: "SBCL" as a number, one word of the machine wide.
const MAGIC: u64 = 0x5342_434c;

fn magic_at(outline: &Outline<'_>, at: u64) -> bool {
    let (view, big) = (outline.view(), outline.big_endian);
    let word = if outline.is_64 { view.u64(at, big) } else { view.u32(at, big).map(u64::from) };
    word == Some(MAGIC)
}

/// The core behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let word = if outline.is_64 { 8 } else { 4 };
    let magic = view.len().checked_sub(word)?;
    if !magic_at(outline, magic) {
        return None;
    }
    // The offset is an off_t: eight bytes, or four in a 32-bit build without large files.
    let wide = magic.checked_sub(8).and_then(|at| view.u64(at, outline.big_endian));
    let narrow = magic.checked_sub(4).and_then(|at| view.u32(at, outline.big_endian)).map(u64::from);
    let starts = [wide, narrow.filter(|_| !outline.is_64)];
    let start = starts.into_iter().flatten().find(|start| *start < magic && magic_at(outline, *start))?;
    outline.behind(Kind::Sbcl, start..view.len(), FoundBy::Both)
}

/// The core in its section.
pub(super) fn section(outline: &Outline<'_>, name: &[u8], range: &Range<u64>) -> Option<Payload> {
    let is_core = name == b"lisp.core" && !range.is_empty() && magic_at(outline, range.start);
    is_core.then(|| Payload { kind: Kind::Sbcl, range: range.clone(), found_by: FoundBy::Loaded })
}
