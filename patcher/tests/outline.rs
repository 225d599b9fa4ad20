//! The outline of an ELF file, as recognition of payloads takes it: read from headers written byte by
//! byte in every class and byte order, then from headers that lie.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::payload::{FoundBy, Kind, Outline, Payload, outline, recognise};
use std::ops::Range;

/// A file with an ELF header, one PT_NOTE, and the sections "", `.data`, `.bss`, `.shstrtab` whose headers
/// end it.
fn linked(is_64: bool, big: bool) -> Vec<u8> {
    let number = |value: u64, bytes: usize| -> Vec<u8> {
        if big { value.to_be_bytes()[8 - bytes..].to_vec() } else { value.to_le_bytes()[..bytes].to_vec() }
    };
    let word = if is_64 { 8 } else { 4 };
    let (header, segment, section) = if is_64 { (64, 56, 64) } else { (52, 32, 40) };
    let mut file = vec![0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, if big { 2 } else { 1 }, 1];
    file.resize(16, 0);
    for (value, bytes) in [(2u64, 2), (62, 2), (1, 4), (0, word), (header, word), (0x200, word), (0, 4)] {
        file.extend(number(value, bytes));
    }
    for value in [header, segment, 1, section, 4, 3] {
        file.extend(number(value, 2));
    }
    let fields: &[(u64, usize)] = if is_64 {
        &[(4, 4), (4, 4), (0x100, 8), (0, 8), (0, 8), (0x20, 8), (0x20, 8), (4, 8)]
    } else {
        &[(4, 4), (0x100, 4), (0, 4), (0, 4), (0x20, 4), (0x20, 4), (4, 4), (4, 4)]
    };
    fields.iter().for_each(|(value, bytes)| file.extend(number(*value, *bytes)));
    file.resize(0x140, 0);
    file.extend_from_slice(b"\0.data\0.bss\0.shstrtab\0");
    file.resize(0x200, 0);
    for (name, kind, offset, size) in [(0u64, 0u64, 0u64, 0u64), (1, 1, 0x120, 0x20), (7, 8, 0x140, 0x10_0000), (12, 3, 0x140, 22)] {
        for (value, bytes) in
            [(name, 4), (kind, 4), (0, word), (0, word), (offset, word), (size, word), (0, 4), (0, 4), (1, word), (0, word)]
        {
            file.extend(number(value, bytes));
        }
    }
    file
}

#[test]
fn an_outline_is_read_in_every_class_and_byte_order() {
    for (is_64, big) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut file = linked(is_64, big);
        let end = 0x200 + 4 * if is_64 { 64 } else { 40 };
        file.extend_from_slice(b"behind the section headers");
        let owned = outline(&file).expect("an ELF file");
        let seen = owned.outline();
        assert_eq!((seen.is_64, seen.big_endian, seen.elf_end), (is_64, big, end));
        assert_eq!(seen.section_headers, Some(0x200..end));
        let sections: [(&[u8], Range<u64>); 4] =
            [(b"", 0..0), (b".data", 0x120..0x140), (b".bss", 0x140..0x140), (b".shstrtab", 0x140..0x156)];
        assert_eq!(seen.sections, sections);
        assert_eq!(seen.notes, std::slice::from_ref(&(0x100..0x120)));
        let behind = Payload { kind: Kind::UnknownOverlay, range: end..end + 26, found_by: FoundBy::Unknown };
        assert_eq!(recognise(&seen), [behind]);
    }
    assert!(outline(b"").is_none() && outline(b"\x7fELF").is_none() && outline(b"#!/bin/sh\n").is_none());
}

#[test]
fn an_outline_stays_within_a_file_whose_headers_lie() {
    for (is_64, big) in [(true, false), (false, true)] {
        let file = linked(is_64, big);
        let check = |file: &[u8]| {
            let Some(owned) = outline(file) else { return };
            let (seen, length) = (owned.outline(), file.len() as u64);
            assert!(seen.elf_end <= length);
            let ranges = seen.sections.iter().map(|(_, range)| range).chain(seen.notes).chain(&seen.section_headers);
            assert!(ranges.into_iter().all(|range| range.start <= range.end && range.end <= length));
            recognise(&seen);
        };
        let mut changed = file.clone();
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                changed[at] = value;
                check(&changed);
            }
            changed[at] = file[at];
            check(&file[..at]);
        }
    }
}

#[test]
fn nothing_is_read_past_an_outline_that_lies() {
    let mut file = b"\x7fELF".to_vec();
    file.resize(4096, b'p');
    file.extend_from_slice(b"PAYLOAD_POSITION = '4096'\n);\n})");
    let length = file.len() as u64;
    for elf_end in [0, 1, 4095, length - 1, length, length + 1, u64::MAX] {
        for (start, end) in [(0, u64::MAX), (u64::MAX, u64::MAX), (length, u64::MAX), (0, 0), (64, 8), (u64::MAX, 0)] {
            let range = Range { start, end };
            let names: [&[u8]; 5] = [b".bun", b"lisp.core", b"pydata", b".rodata", b""];
            let sections = names.map(|name| (name, range.clone()));
            let notes = [range.clone()];
            let section_headers = Some(range);
            let lie = Outline { file: &file, is_64: true, big_endian: false, elf_end, section_headers, sections: &sections, notes: &notes };
            for found in recognise(&lie) {
                assert!(found.range.start < found.range.end && found.range.end <= length, "{found:?}");
            }
        }
    }
}
