//! Recognises the module graph of `bun build --compile`, in both forms it has had on Linux.
//!
//! 1. A trailer (until 1.3): bun's `StandaloneModuleGraph.fromExecutable` reads the last 4 KiB of
//!    `/proc/self/exe`: the graph, its `Offsets`, the text `\n---- Bun! ----\n`, and eight bytes of
//!    file size that it only compares with limits. Every place is a distance from the end.
//! 2. The section `.bun` (since 1.3.10): `src/elf.zig`, later `elf.rs`, writes the address of the graph
//!    into a variable of the program; a length of eight bytes stands in front of the graph. The
//!    runtime never opens the file.

use super::view::View;
use super::{FoundBy, Kind, Outline, Payload};
use std::ops::Range;

const TRAILER: &[u8] = b"\n---- Bun! ----\n";

/// The sizes `Offsets` has had: byte count, (offset, length) of the modules, entry point; then also
/// (offset, length) of arguments, and flags.
const OFFSETS: [u64; 2] = [24, 32];

/// The graph that ends with the trailer which begins at `trailer`.
fn graph(view: View<'_>, trailer: u64) -> Option<Range<u64>> {
    if !view.has(trailer, TRAILER) {
        return None;
    }
    OFFSETS.iter().find_map(|size| {
        let offsets = trailer.checked_sub(*size)?;
        let bytes = view.u64_le(offsets)?;
        let (modules, length) = (view.u32_le(offsets + 8)?, view.u32_le(offsets + 12)?);
        let modules_fit = length > 0 && u64::from(modules) + u64::from(length) <= bytes;
        modules_fit.then_some(offsets.checked_sub(bytes)?..trailer + TRAILER.len() as u64)
    })
}

/// The graph behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let total = view.len().checked_sub(8)?;
    // The limits of fromExecutable; the number is the size of the file when it was made.
    if !(4096..=u64::from(u32::MAX)).contains(&view.u64_le(total)?) {
        return None;
    }
    let graph = graph(view, total.checked_sub(TRAILER.len() as u64)?)?;
    outline.behind(Kind::Bun, graph.start..view.len(), FoundBy::End)
}

/// The graph in its section; an empty one is the runtime itself.
pub(super) fn section(outline: &Outline<'_>, name: &[u8], range: &Range<u64>) -> Option<Payload> {
    if name != b".bun" {
        return None;
    }
    let view = outline.view();
    let start = range.start.checked_add(8)?;
    let end = start.checked_add(view.u64_le(range.start)?).filter(|end| *end <= range.end)?;
    let graph = graph(view, end.checked_sub(TRAILER.len() as u64)?)?;
    (graph.start >= start).then_some(Payload { kind: Kind::Bun, range: start..end, found_by: FoundBy::Loaded })
}
