//! Recognises AppImages.
//!
//! 1. Type 2: the runtime (type2-runtime's `src/runtime/runtime.c`, `appimage_get_elf_size`) takes
//!    the end of its own ELF file, the later one of `e_shoff + e_shentsize * e_shnum` and the end of the
//!    last section in the table; uruntime (`src/elf_layout.rs`) the end of everything the headers
//!    cover. The file system must begin exactly there: a patch that makes the ELF file end later has to
//!    let the image follow.
//! 2. Type 1 (AppImageKit's `runtime.c` before 2016): the whole file is an ISO 9660 image whose first
//!    32 KiB, which that format leaves free, hold the ELF header; absolute offsets.

use super::view::View;
use super::{FoundBy, Image, Kind, Outline, Payload};
use std::ops::Range;

/// The magic of the AppImage specification: bytes 8 and 9 of `e_ident`, and the type.
fn generation(view: View<'_>) -> Option<u8> {
    view.bytes(8, 3)?.strip_prefix(b"AI")?.first().copied()
}

/// The image of an AppImage.
pub(super) fn image(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    match generation(view)? {
        1 => {
            let range = iso_9660(view)?;
            Some(Payload { kind: Kind::AppImage(Image::Iso9660), range, found_by: FoundBy::Start })
        }
        2 => {
            let table = outline.section_headers.as_ref().map(|table| table.end);
            let last = outline.sections.last().map(|(_, range)| range.end);
            let runtime = table.max(last);
            [runtime, Some(outline.elf_end)].into_iter().flatten().find_map(|start| {
                let (image, end) =
                    squashfs(view, start).map(|end| (Image::Squashfs, end)).or_else(|| Some((Image::Dwarfs, dwarfs(view, start)?)))?;
                outline.behind(Kind::AppImage(image), start..end, FoundBy::AfterSectionHeaders)
            })
        }
        _ => None,
    }
}

/// The end of a squashfs 4.0 image (kernel, `fs/squashfs/squashfs_fs.h`, `struct squashfs_super_block`).
fn squashfs(view: View<'_>, start: u64) -> Option<u64> {
    let at = |offset: u64| start.checked_add(offset);
    let (block, log, major) = (view.u32_le(at(12)?)?, view.u16_le(at(22)?)?, view.u16_le(at(28)?)?);
    let used = view.u64_le(at(40)?)?;
    let is_image = view.has(start, b"hsqs") && major == 4 && (12..=20).contains(&log) && block == 1 << log && used >= 96;
    start.checked_add(used).filter(|end| is_image && *end <= view.len())
}

/// The end of a DwarFS image (`doc/dwarfs-format.md`): sections of 64 bytes of header and a length.
fn dwarfs(view: View<'_>, start: u64) -> Option<u64> {
    const SECTIONS: usize = 65_536;
    let mut end = start;
    for _ in 0..SECTIONS {
        if !view.has(end, b"DWARFS\x02") {
            break;
        }
        let length = view.u64_le(end.checked_add(56)?)?;
        end = end.checked_add(64)?.checked_add(length).filter(|end| *end <= view.len())?;
    }
    (end > start).then_some(end)
}

/// The part of an ISO 9660 image behind its free area: from the first volume descriptor (ECMA-119 8.4)
/// to the end that this descriptor tells.
fn iso_9660(view: View<'_>) -> Option<Range<u64>> {
    const START: u64 = 0x8000;
    let (blocks, size) = (view.u32_le(START + 80)?, view.u16_le(START + 128)?);
    let end = u64::from(blocks).checked_mul(size.into())?;
    let is_image = view.has(START, b"\x01CD001\x01") && size.is_power_of_two() && size >= 512;
    (is_image && START < end && end <= view.len()).then_some(START..end)
}
