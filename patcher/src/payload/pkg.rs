//! Recognises the virtual file system of vercel's pkg and its successors. pkg's `lib/producer.ts`
//! writes position and size of the payload and of its prelude, as decimal text, over placeholders in
//! the JavaScript that is part of the program; the runtime (pkg-fetch's patches to node, `pkg.js`)
//! reads the running file there: absolute offsets, nothing from the end.

use super::view::View;
use super::{FoundBy, Kind, Outline, Payload};
use memchr::memmem;
use std::ops::Range;

/// How the prelude ends (`makePreludeBufferFromPrelude` around `lib/packer.ts`): only then is it worth
/// searching the program for the placeholders.
const PRELUDE_END: &[u8] = b"\n);\n})";
const PRELUDE_START: &[u8] = b"(function(process, require, console, ";

/// How much of the read-only data is searched: node's is about 20 MB.
const SEARCHED: u64 = 128 << 20;

/// The payload behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    if !view.has(view.len().checked_sub(PRELUDE_END.len() as u64)?, PRELUDE_END) {
        return None;
    }
    let read_only = outline.sections.iter().find(|(name, _)| *name == b".rodata");
    let searched = read_only.map_or(0..outline.elf_end, |(_, range)| range.clone());
    let (payload, prelude) = placeholders(view.at_most(searched.start, searched.end.saturating_sub(searched.start).min(SEARCHED)))?;
    let in_order = payload.end <= prelude.start && view.has(prelude.start, PRELUDE_START);
    in_order.then(|| outline.behind(Kind::Pkg, payload.start..prelude.end, FoundBy::Start)).flatten()
}

/// The ranges of payload and prelude, as the program tells them.
fn placeholders(program: &[u8]) -> Option<(Range<u64>, Range<u64>)> {
    let finder = memmem::Finder::new(b"PAYLOAD_POSITION = '");
    // The text may occur before its place, in JavaScript that is not filled in.
    finder.find_iter(program).take(16).find_map(|at| {
        // The four assignments stand on four lines, one below the other.
        let text = View(program).at_most(at as u64, 512);
        let range = |position: &str, size: &str| -> Option<Range<u64>> {
            let start = number(text, position)?;
            Some(start..start.checked_add(number(text, size)?)?)
        };
        Some((range("PAYLOAD_POSITION", "PAYLOAD_SIZE")?, range("PRELUDE_POSITION", "PRELUDE_SIZE")?))
    })
}

/// The number in `NAME = '123   '`.
fn number(text: &[u8], name: &str) -> Option<u64> {
    let start = format!("{name} = '");
    let rest = text.get(memmem::find(text, start.as_bytes())? + start.len()..)?;
    let digits = rest.get(..memchr::memchr(b'\'', rest)?)?;
    std::str::from_utf8(digits).ok()?.trim_end_matches(' ').parse().ok()
}
