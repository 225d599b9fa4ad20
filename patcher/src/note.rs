//! The note in which a patched glibc finds where a program's libraries are. Makes it and finds it.

use crate::codec::Codec;
use crate::error::Error;
use crate::view::View;
use object::elf::PT_NOTE;
use std::ops::Range;

/// Owner and type of the note, and the name of its section: interface of the loader that reads it.
const OWNER: &[u8] = b"NixOS\0\0\0";
const OWNER_SIZE: u32 = 6;
const TYPE: u32 = 0x63a8_6cb6;
/// The section that patchelf gives it.
pub(crate) const SECTION: &[u8] = b".note.nixos.ldcache";

/// The note found in a file.
pub(crate) struct Found {
    pub(crate) descriptor: Vec<u8>,
    /// The bytes of its segment.
    pub(crate) place: Range<u64>,
}

/// The note's bytes (gABI, "Note Section").
pub(crate) fn encode(codec: Codec, descriptor: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(codec.u32(OWNER_SIZE));
    out.extend(codec.u32(descriptor.len() as u32));
    out.extend(codec.u32(TYPE));
    out.extend(OWNER);
    out.extend(descriptor);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The file's resolution cache, if a `PT_NOTE` of its own has one.
pub(crate) fn resolution_cache(view: &View<'_>) -> Result<Option<Found>, Error> {
    let codec = view.header().codec;
    for segment in view.segments().iter().filter(|s| s.p_type == PT_NOTE.0) {
        let Some(head) = view.image.get(segment.offset.0, segment.file_size.min(20)).filter(|head| head.len() == 20) else { continue };
        let word = |n: usize| codec.number(head.get(n * 4..n * 4 + 4).unwrap_or_default());
        if word(0) != u64::from(OWNER_SIZE) || word(2) != u64::from(TYPE) || head.get(12..) != Some(OWNER) {
            continue;
        }
        let size = word(1).min(segment.file_size - 20);
        let descriptor = view.image.read("the resolution cache", segment.offset.0 + 20, size)?.into_owned();
        return Ok(Some(Found { descriptor, place: segment.range() }));
    }
    Ok(None)
}
