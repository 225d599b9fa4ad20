//! Recognises the payload of Nuitka's onefile mode (`nuitka/build/static_src/OnefileBootstrap.c`): the
//! letters `KA`, then `X` and the files as they are, or `Y` and one zstd stream of them.
//!
//! 1. Behind the program (until 2.7): the last eight bytes are the payload's size, so it is found by its
//!    distance from the end.
//! 2. As a constant of the program (since): `payload_bin` in read-only data, found by address; its size
//!    is another constant.

use super::view::{View, WINDOW};
use super::{FoundBy, Kind, Outline, Payload};
use memchr::memmem;
use std::ops::Range;

const PLAIN: &[u8] = b"KAX";
const COMPRESSED: &[u8] = b"KAY\x28\xb5\x2f\xfd";

/// The payload behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let at = view.len().checked_sub(8)?;
    let start = at.checked_sub(view.u64(at, outline.big_endian)?)?;
    let data = start.checked_add(3)?;
    let fits = if view.has(start, COMPRESSED) {
        zstd_frame(view, data).is_some_and(|end| end <= at)
    } else {
        view.has(start, PLAIN) && first_file(view, data, outline.big_endian).is_some_and(|end| end <= at)
    };
    fits.then(|| outline.behind(Kind::Nuitka, start..view.len(), FoundBy::End)).flatten()
}

/// The payload as a constant, which the linker puts at the beginning of the read-only data.
pub(super) fn section(outline: &Outline<'_>, name: &[u8], range: &Range<u64>) -> Option<Payload> {
    if name != b".rodata" {
        return None;
    }
    let view = outline.view();
    let head = view.at_most(range.start, WINDOW.min(range.end.checked_sub(range.start)?));
    let start = range.start + memmem::find(head, COMPRESSED)? as u64;
    let end = zstd_frame(view, start + 3).filter(|end| *end <= range.end)?;
    Some(Payload { kind: Kind::Nuitka, range: start..end, found_by: FoundBy::Loaded })
}

/// The end of the first file: a name, eight bytes of size, the contents.
fn first_file(view: View<'_>, at: u64, big_endian: bool) -> Option<u64> {
    let name = memchr::memchr(0, view.at_most(at, 1024)).filter(|length| *length > 0)?;
    let size = at.checked_add(name as u64 + 1)?;
    size.checked_add(8)?.checked_add(view.u64(size, big_endian)?)
}

/// The end of a zstd frame (RFC 8878, section 3.1.1): its header and the sizes of its blocks. Looks at
/// three bytes in every block, and blocks decompress to 128 KiB at most.
fn zstd_frame(view: View<'_>, start: u64) -> Option<u64> {
    const BLOCKS: usize = 1 << 20;
    const BLOCK_MAX: u32 = 128 * 1024;
    let descriptor = *view.bytes(start.checked_add(4)?, 1)?.first()?;
    let single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
    let content_size = [u64::from(single_segment), 2, 4, 8];
    let content_size = content_size.get(usize::from(descriptor >> 6))?;
    let mut at = start + 5 + u64::from(!single_segment) + dictionary + content_size;
    for _ in 0..BLOCKS {
        let header = view.bytes(at, 3)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let (last, kind, size) = (header & 1 != 0, header >> 1 & 3, header >> 3);
        if kind == 3 || size > BLOCK_MAX {
            return None;
        }
        // A run of one byte (1) stores that byte; its size is what it becomes.
        at = at.checked_add(3 + if kind == 1 { 1 } else { u64::from(size) })?;
        if last {
            let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
            return at.checked_add(checksum).filter(|end| *end <= view.len());
        }
    }
    None
}
