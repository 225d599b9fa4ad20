//! Recognises 7z and RAR archives right behind a self-extractor. Both extractors search their own file
//! from its start for the archive's signature and no further than a limit (unrar's `archive.cpp`,
//! `MAXSFXSIZE`; 7-Zip opens by signature the same way): what moves too far is not found, what
//! follows the archive is ignored.

use super::{FoundBy, Kind, Outline, Payload};

const SEVEN_ZIP: &[u8] = b"7z\xbc\xaf\x27\x1c";
const RAR_4: &[u8] = b"Rar!\x1a\x07\x00";
const RAR_5: &[u8] = b"Rar!\x1a\x07\x01\x00";

/// The archive at the beginning of what lies behind the program.
pub(super) fn head(outline: &Outline<'_>) -> Option<Payload> {
    let (view, overlay) = (outline.view(), outline.overlay());
    let start = overlay.start;
    if view.has(start, SEVEN_ZIP) {
        // 7zFormat.txt, SignatureHeader: the next header's offset counts from the end of these 32 bytes.
        let (offset, size) = (view.u64_le(start.checked_add(12)?)?, view.u64_le(start.checked_add(20)?)?);
        let end = start.checked_add(32)?.checked_add(offset)?.checked_add(size)?;
        return outline.behind(Kind::SevenZip, start..end, FoundBy::Start).filter(|_| size > 0);
    }
    let is_rar = if view.has(start, RAR_5) { rar_5(outline, start) } else { view.has(start, RAR_4) && rar_4(outline, start) };
    is_rar.then(|| outline.behind(Kind::Rar, overlay, FoundBy::Start)).flatten()
}

/// RAR 5.0: behind the signature a CRC of four bytes, the header's size and its type as
/// variable-length numbers; the first header is the main (1) or the encryption header (4).
fn rar_5(outline: &Outline<'_>, start: u64) -> bool {
    let head = outline.view().at_most(start.saturating_add(12), 4);
    matches!(head, [size, 1 | 4, ..] if (3..0x80).contains(size))
        || matches!(head, [size, rest, 1 | 4, ..] if *size >= 0x80 && *rest < 0x80)
}

/// RAR 1.5 to 4: behind the signature a CRC of two bytes, type 0x73 (main header), flags, and a size of
/// thirteen bytes or a little more.
fn rar_4(outline: &Outline<'_>, start: u64) -> bool {
    let (view, at) = (outline.view(), start.saturating_add(7));
    view.has(at.saturating_add(2), &[0x73]) && view.u16_le(at.saturating_add(5)).is_some_and(|size| (13..=64).contains(&size))
}
