//! Recognises a nexe bundle. nexe's `src/patches/boot-nexe.ts` takes the first `<nexe~~sentinel>` of
//! the last 16,000 bytes (a signature may follow it) and two sizes behind it, both doubles: the code
//! and the resources end where the sentinel begins. Every place is a distance from the end.

use super::{FoundBy, Kind, Outline, Payload};
use memchr::memmem;

const SENTINEL: &[u8] = b"<nexe~~sentinel>";
const TAIL: u64 = 16_000;

/// The bundle behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let from = view.len().saturating_sub(TAIL);
    let at = from + memmem::find(view.at_most(from, TAIL), SENTINEL)? as u64;
    let sizes = at + SENTINEL.len() as u64;
    let (code, resources) = (view.size_f64_le(sizes)?, view.size_f64_le(sizes + 8)?);
    let start = at.checked_sub(code.checked_add(resources)?).filter(|start| *start < at)?;
    outline.behind(Kind::Nexe, start..sizes + 16, FoundBy::End)
}
