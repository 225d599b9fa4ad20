//! Recognises the snapshot of `dart compile exe`. Dart's `runtime/bin/snapshot_utils.cc`
//! (`TryReadAppendedAppSnapshot`) reads the last sixteen bytes: the snapshot's offset from the start of
//! the file, little-endian, and the magic of an AppJIT snapshot; what it finds there must be an ELF
//! file of its own, which it maps at that offset.

use super::{FoundBy, Kind, Outline, Payload};

/// `appjit_magic_number` in `runtime/bin/dartutils.cc`.
const MAGIC: &[u8] = &[0xdc, 0xdc, 0xf6, 0xf6, 0, 0, 0, 0];

/// The snapshot behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let at = view.len().checked_sub(16)?;
    let start = view.u64_le(at)?;
    let is_snapshot = view.has(at + 8, MAGIC) && start < at && view.has(start, b"\x7fELF");
    is_snapshot.then(|| outline.behind(Kind::Dart, start..view.len(), FoundBy::Both)).flatten()
}
