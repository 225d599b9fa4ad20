//! Recognises the blob of a Node.js single executable application. postject writes it as the note
//! `NODE_SEA_BLOB`; node's `src/node_sea.cc` (`FindSingleExecutableBlob`) finds the note through
//! postject's `postject_find_resource`, which walks PT_NOTE in memory: by address, never by file offset.

use super::notes::Note;
use super::view::View;
use super::{FoundBy, Kind, Payload};

/// `kMagic` in `src/node_sea.cc`.
const MAGIC: u32 = 0x0143_da20;

/// The blob in a note.
pub(super) fn note(view: View<'_>, note: &Note<'_>) -> Option<Payload> {
    let range = note.description.clone();
    // Magic and flags are eight bytes; node writes them in the order of the machine, all of which
    // node supports with this tool are little-endian or read their own.
    let magic = [view.u32_le(range.start), view.u32_be(range.start)].contains(&Some(MAGIC));
    let is_blob = note.owner == b"NODE_SEA_BLOB" && magic && range.end - range.start >= 8;
    is_blob.then_some(Payload { kind: Kind::NodeSea, range, found_by: FoundBy::Loaded })
}
