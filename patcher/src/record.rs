//! What an edit remembers inside the file, so that it can be undone and so that the next edit starts
//! from the original again and leaves nothing of this one behind.
//!
//! A record is `MAGIC`, the payload's length (4 bytes), its CRC-32 (4 bytes), the payload and the length
//! of all this (4 bytes). The payload is made of numbers in LEB128: the original length, the new length,
//! what was inserted (offset, length), the rung, how the payload is found, the CRC-32 of what is now at
//! the changed places and in the headers, where the original has its dynamic strings, and for each
//! changed place its distance from the end of the last one, its length times eight plus its [`Kind`],
//! and the original bytes unless they are known, each inverted: whoever scans a file for paths shall not
//! find the old ones here.
//!
//! It stands at the first multiple of eight behind a `PT_LOAD`, behind the section headers or behind
//! everything the headers cover, or ends where the file does. A file whose length, headers, needs or
//! paths changed since is not undone; bytes that no edit touches are not looked at and stay as they are.

use crate::image::{Image, Inserted};
use crate::plan::Rung;
use crate::view::View;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"\x7fXENOun1";
/// Longer than any record that can be written; bounds what a hostile file costs.
const PAYLOAD_MAX: u64 = 64 << 20;

/// What became of changed bytes, which decides what the next edit does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Headers and entries, which every edit writes anew.
    Structure,
    /// Tables of symbols, whose names stand in the longer string table; the next edit keeps both.
    Symbols,
    /// Strings and positions of strings, which the next edit keeps.
    Text,
    /// As `Structure`, where the original has zeros, which are not stored.
    Zeros,
    /// The old place of a string table, whose bytes are not stored: the new one begins with them.
    Strings,
    /// As `Structure`, written when the file is true already.
    Late,
    /// As `Late`, where the original has zeros, which are not stored.
    LateZeros,
}

const KINDS: &[Kind] = &[Kind::Structure, Kind::Symbols, Kind::Text, Kind::Zeros, Kind::Strings, Kind::Late, Kind::LateZeros];

impl Kind {
    /// Whether the next edit leaves them as they are.
    pub(crate) fn is_kept(self) -> bool {
        matches!(self, Kind::Symbols | Kind::Text)
    }

    /// Whether the edit is true before they are written: whoever was killed then can undo it too.
    fn is_late(self) -> bool {
        matches!(self, Kind::Text | Kind::Strings | Kind::Late | Kind::LateZeros)
    }

    /// Whether the record has the bytes.
    fn is_stored(self) -> bool {
        !matches!(self, Kind::Zeros | Kind::Strings | Kind::LateZeros)
    }
}

/// Bytes the edit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Where, in the original.
    pub(crate) offset: u64,
    /// What was there.
    pub(crate) old: Vec<u8>,
    pub(crate) kind: Kind,
}

/// The memory of one edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) original_len: u64,
    pub(crate) new_len: u64,
    pub(crate) inserted: Option<Inserted>,
    pub(crate) rung: Rung,
    /// `payload::FoundBy`, as a number.
    pub(crate) found_by: u8,
    /// In file order; they never meet.
    pub(crate) changed: Vec<Changed>,
    /// The [`seal`] of the edited file.
    pub(crate) now: u32,
    /// Where the original's string table is, in the file.
    pub(crate) strings_at: u64,
}

/// What stands before the payload, in bytes.
const FRAME: usize = 16;
/// What stands behind it.
const FOOT: usize = 4;

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let inserted = self.inserted.unwrap_or(Inserted { at: 0, size: 0 });
        let rung = RUNGS.iter().position(|r| *r == self.rung).unwrap_or_default();
        let head = [
            self.original_len,
            self.new_len,
            inserted.at,
            inserted.size,
            rung as u64,
            self.found_by.into(),
            self.now.into(),
            self.strings_at,
        ];
        head.into_iter().for_each(|n| put(&mut payload, n));
        let mut at = 0;
        for changed in &self.changed {
            put(&mut payload, changed.offset - at);
            let kind = KINDS.iter().position(|k| *k == changed.kind).unwrap_or_default();
            put(&mut payload, (changed.old.len() as u64) << 3 | kind as u64);
            if changed.kind.is_stored() {
                payload.extend(changed.old.iter().map(|b| !b));
            }
            at = changed.offset + changed.old.len() as u64;
        }
        let mut out = MAGIC.to_vec();
        out.extend((payload.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&payload).to_le_bytes());
        out.extend(payload);
        out.extend(((out.len() + FOOT) as u32).to_le_bytes());
        out
    }

    /// `strings` reads the string table that the file has now.
    fn decode(payload: &[u8], file_size: u64, strings: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Record> {
        let mut rest = payload;
        let [original_len, new_len, at, size, rung, found_by, now, strings_at] = [(); 8].map(|()| take(&mut rest));
        let inserted = Inserted { at: at?, size: size? };
        let mut record = Record {
            original_len: original_len?,
            new_len: new_len?,
            inserted: (inserted.size > 0).then_some(inserted),
            rung: *RUNGS.get(usize::try_from(rung?).ok()?)?,
            found_by: u8::try_from(found_by?).ok()?,
            changed: Vec::new(),
            now: u32::try_from(now?).ok()?,
            strings_at: strings_at?,
        };
        // Whoever can write a file can write a record: its numbers are held against the file.
        let grown = record.new_len.checked_sub(record.original_len)?;
        let whole = record.inserted.is_none_or(|i| i.size == grown && i.at.checked_add(i.size).is_some_and(|end| end <= file_size));
        if record.new_len != file_size || !whole {
            return None;
        }
        let mut end = 0u64;
        while !rest.is_empty() {
            let offset = end.checked_add(take(&mut rest)?)?;
            let size = take(&mut rest)?;
            let kind = *KINDS.get((size & 7) as usize)?;
            let size = size >> 3;
            end = offset.checked_add(size).filter(|end| *end <= record.original_len)?;
            let size = usize::try_from(size).ok()?;
            let old = match kind {
                Kind::Zeros | Kind::LateZeros => vec![0; size],
                Kind::Strings => strings(offset.checked_sub(record.strings_at)?, size)?,
                _ => {
                    let (old, after) = rest.split_at_checked(size)?;
                    rest = after;
                    old.iter().map(|b| !b).collect()
                }
            };
            record.changed.push(Changed { offset, old, kind });
        }
        Some(record)
    }

    /// The record of the last edit and the bytes it takes, if the file is as that edit left it.
    pub(crate) fn find(base: &[u8], view: &View<'_>) -> Option<(Record, Range<u64>)> {
        let (image, elf) = (Image::of(base), &view.elf);
        let strings = |at: u64, size: usize| {
            let at = usize::try_from(at).ok()?;
            Some(view.dynamic.as_ref()?.strings.get(at..at.checked_add(size)?)?.to_vec())
        };
        let ends = elf.loads().map(|s| s.range().end).chain([elf.section_table().end, crate::space::covered_end(elf)]);
        let starts = ends.filter_map(|end| end.checked_next_multiple_of(ALIGNMENT));
        let last = base.last_chunk::<FOOT>().map(|foot| (base.len() as u64).wrapping_sub(u32::from_le_bytes(*foot).into()));
        starts.chain(last).find_map(|start| {
            let frame = image.get(start, FRAME as u64)?;
            if frame.get(..8)? != MAGIC {
                return None;
            }
            let number = |range: Range<usize>| Some(u32::from_le_bytes(frame.get(range)?.try_into().ok()?));
            let size = u64::from(number(8..12)?);
            let payload = image.get(start + FRAME as u64, Some(size).filter(|size| *size <= PAYLOAD_MAX)?)?;
            if crc32fast::hash(&payload) != number(12..16)? {
                return None;
            }
            let record = Record::decode(&payload, base.len() as u64, strings)?;
            let whole = seal(view, &record.changed)? == record.now;
            whole.then_some((record, start..start + (FRAME + FOOT) as u64 + size))
        })
    }

    /// The original, seen through the edited file; `own` is where the record itself stands.
    pub(crate) fn original<'a>(&self, base: &'a [u8], own: &Range<u64>) -> Image<'a> {
        let mut image = Image::resized(base, self.original_len, self.inserted);
        for changed in &self.changed {
            image.put(changed.offset, changed.old.clone());
        }
        // Where the record stands in padding, there were zeros.
        let end = own.end.min(self.original_len);
        if own.start < end && self.inserted.is_none_or(|i| own.end <= i.at) {
            image.put(own.start, vec![0; (end - own.start) as usize]);
        }
        image
    }
}

/// The CRC-32 of what an edited file has at the changed places (but for those written late), in its
/// headers, its interpreter, its dynamic section and its dynamic strings: whoever edits it afterwards
/// touches one of them.
pub(crate) fn seal(view: &View<'_>, changed: &[Changed]) -> Option<u32> {
    let mut hash = crc32fast::Hasher::new();
    let elf = &view.elf;
    let places = changed.iter().filter(|c| !c.kind.is_late()).map(|c| c.offset..c.offset + c.old.len() as u64);
    let headers = [0..elf.header.codec.header_size(), elf.segment_table(), elf.section_table()];
    let dynamic = view.dynamic.iter().map(|d| d.place.clone());
    // A table of nothing may be said to be anywhere.
    for range in places.chain(headers).chain(dynamic).filter(|range| range.start < range.end) {
        hash.update(&view.image.get(range.start, range.end.checked_sub(range.start)?)?);
    }
    hash.update(view.interpreter().unwrap_or_default());
    // Strings that moved are nobody else's; those in place may be wiped out late.
    if let Some(dynamic) = view.dynamic.as_ref().filter(|_| changed.iter().any(|c| c.kind == Kind::Strings)) {
        hash.update(&dynamic.strings);
    }
    Some(hash.finalize())
}

/// Where records begin.
pub(crate) const ALIGNMENT: u64 = 8;

/// Every rung; its position here is its number in records, so the order stays.
const RUNGS: &[Rung] = &[Rung::InPlace, Rung::Slack, Rung::Recycled, Rung::Appended, Rung::Inserted, Rung::Doubled];

/// LEB128, as DWARF defines it.
fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}
