//! Which payload lies behind or in a program: each format made byte by byte, with the range and the
//! way it is found written out; then each of its numbers made a lie.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::payload::{FoundBy, Image, Kind, Outline, Payload, recognise, recognise_script};
use std::ops::Range;

/// Where the made programs end.
const END: u64 = 4096;

/// A program without a payload, as far as an outline tells.
fn program() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(END as usize, b'p');
    file
}

fn with(parts: &[&[u8]]) -> Vec<u8> {
    let mut file = program();
    parts.iter().for_each(|part| file.extend_from_slice(part));
    file
}

fn bare(file: &[u8]) -> Outline<'_> {
    Outline { file, is_64: true, big_endian: false, elf_end: END, section_headers: None, sections: &[], notes: &[] }
}

fn payload(kind: Kind, range: Range<u64>, found_by: FoundBy) -> Payload {
    Payload { kind, range, found_by }
}

#[track_caller]
fn only(file: &[u8], kind: Kind, range: Range<u64>, found_by: FoundBy) {
    assert_eq!(recognise(&bare(file)), [payload(kind, range, found_by)]);
    lies_change_nothing_else(file);
}

/// All bytes behind the program are an overlay that nobody knows.
#[track_caller]
fn unknown(file: &[u8]) {
    assert_eq!(recognise(&bare(file)), [payload(Kind::UnknownOverlay, END..file.len() as u64, FoundBy::Unknown)]);
}

/// Whatever a byte is changed to and wherever the file is cut: every range is within the file and not
/// empty, and no byte behind the program is without a payload but for padding.
#[track_caller]
fn lies_change_nothing_else(file: &[u8]) {
    let check = |file: &[u8]| {
        let mut at = END;
        for found in recognise(&bare(file)) {
            assert!(found.range.start < found.range.end && found.range.end <= file.len() as u64, "{found:?}");
            let gap = file.get(at as usize..found.range.start as usize).unwrap_or_default();
            assert!(gap.iter().all(|byte| *byte == 0), "{found:?} leaves {gap:?} before it");
            at = at.max(found.range.end);
        }
        assert!(file.get(at as usize..).unwrap_or_default().iter().all(|byte| *byte == 0), "bytes from {at} on belong to nothing");
    };
    let mut changed = file.to_vec();
    for at in END as usize..file.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, file[at] ^ 1, file[at].wrapping_add(1)] {
            changed[at] = value;
            check(&changed);
        }
        changed[at] = file[at];
        check(&file[..at]);
    }
}

/// A graph of 40 bytes whose modules stand at 8..40, `Offsets` of the given size, the trailer.
fn bun_graph(bytes: u64, modules: (u32, u32), offsets: usize) -> Vec<u8> {
    let mut graph = vec![b'g'; 40];
    graph.extend_from_slice(&bytes.to_le_bytes());
    graph.extend_from_slice(&modules.0.to_le_bytes());
    graph.extend_from_slice(&modules.1.to_le_bytes());
    graph.resize(40 + offsets, 0);
    graph.extend_from_slice(b"\n---- Bun! ----\n");
    graph
}

#[test]
fn a_bun_graph_is_found_by_its_trailer_from_the_end() {
    for offsets in [24, 32] {
        let graph = bun_graph(40, (8, 32), offsets);
        let file = with(&[&graph, &90_000_000u64.to_le_bytes()]);
        only(&file, Kind::Bun, END..END + 40 + offsets as u64 + 16 + 8, FoundBy::End);
        // Bytes that a patcher put before it change nothing but the place.
        let moved = with(&[&[0; 512], &graph, &90_000_000u64.to_le_bytes()]);
        let range = END + 512..moved.len() as u64;
        assert_eq!(recognise(&bare(&moved)), [payload(Kind::Bun, range, FoundBy::End)]);
    }
    for (bytes, modules, total) in [
        (40, (8, 33), 90_000_000u64), // modules past the graph
        (40, (8, 0), 90_000_000),     // no modules
        (41, (8, 32), 90_000_000),    // begins in the program
        (u64::MAX, (8, 32), 90_000_000),
        (0, (0, 0), 90_000_000),
        (40, (u32::MAX, u32::MAX), 90_000_000),
        (40, (8, 32), 4095),    // limits of the runtime
        (40, (8, 32), 1 << 32), // the same
    ] {
        unknown(&with(&[&bun_graph(bytes, modules, 24), &total.to_le_bytes()]));
    }
}

#[test]
fn a_bun_graph_in_its_section_is_loaded() {
    let graph = bun_graph(40, (8, 32), 32);
    let length = graph.len() as u64;
    let with_length = |length: u64| {
        let mut file = program();
        file[1024..1032].copy_from_slice(&length.to_le_bytes());
        file[1032..1032 + graph.len()].copy_from_slice(&graph);
        file
    };
    let seen = |file: &[u8], name: &[u8], size: u64| recognise(&Outline { sections: &[(name, 1024..1024 + size)], ..bare(file) });
    let found = [payload(Kind::Bun, 1032..1032 + length, FoundBy::Loaded)];
    assert_eq!(seen(&with_length(length), b".bun", 8 + length), found);
    assert_eq!(seen(&with_length(length), b".bun", 4 * length), found);
    for lie in [0, 1, length - 1, length + 1, 1 << 62, u64::MAX] {
        assert_eq!(seen(&with_length(lie), b".bun", 8 + length), [], "{lie}");
    }
    assert_eq!(seen(&with_length(length), b".bun", 7 + length), [], "the section ends before the graph");
    assert_eq!(seen(&with_length(length), b".data", 8 + length), []);
}

/// A note as the gABI lays it out, little-endian.
fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [owner.len() as u32, description.len() as u32, kind] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    for part in [owner, description] {
        note.extend_from_slice(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

fn in_note(notes: &[Vec<u8>]) -> Vec<Payload> {
    let mut file = program();
    let segment = notes.concat();
    file[512..512 + segment.len()].copy_from_slice(&segment);
    recognise(&Outline { notes: std::slice::from_ref(&(512..512 + segment.len() as u64)), ..bare(&file) })
}

#[test]
fn blobs_in_notes_are_loaded() {
    let build_id = note(b"GNU\0", 3, &[7; 20]);
    let sea = [&0x0143_da20u32.to_le_bytes()[..], &[0; 4], b"blob"].concat();
    let node = note(b"NODE_SEA_BLOB\0", 0, &sea);
    // The build id takes 36 bytes; header and padded owner of the second 28.
    assert_eq!(in_note(&[build_id.clone(), node]), [payload(Kind::NodeSea, 576..588, FoundBy::Loaded)]);
    assert_eq!(in_note(&[build_id.clone(), note(b"NODE_SEA_BLOB\0", 0, b"another magic")]), []);
    assert_eq!(in_note(&[build_id.clone(), note(b"NODE_SEA_BLOB\0", 0, &sea[..4])]), []);

    let sui = |name: &[u8], length: u16| note(b"SUI\0", 0x5355_4901, &[&length.to_le_bytes()[..], name, b"data"].concat());
    assert_eq!(in_note(&[sui(b"d3n0l4nd", 8)]), [payload(Kind::Deno, 538..542, FoundBy::Loaded)]);
    assert_eq!(in_note(&[build_id, sui(b"mine", 4)]), [payload(Kind::Sui, 570..574, FoundBy::Loaded)]);
    assert_eq!(in_note(&[sui(b"d3n0l4nd", 12)]), [], "no data behind the name");
    assert_eq!(in_note(&[sui(b"d3n0l4nd", u16::MAX)]), []);
    assert_eq!(in_note(&[note(b"SUI\0", 1, b"\x04\0minedata")]), []);
}

#[test]
fn a_note_that_claims_more_than_its_segment_ends_the_walk() {
    for (name, size) in [(u32::MAX, 4), (4, u32::MAX), (u32::MAX, u32::MAX), (5000, 0)] {
        let mut lie = note(b"SUI\0", 0x5355_4901, b"\x08\0d3n0l4nddata");
        lie[..4].copy_from_slice(&name.to_le_bytes());
        lie[4..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(in_note(&[lie, note(b"SUI\0", 0x5355_4901, b"\x08\0d3n0l4nddata")]), []);
    }
    // Empty notes without end: a segment of them is followed to its end or to the limit.
    assert_eq!(in_note(&vec![note(b"", 0, b""); 200]), []);
    let file = program();
    for segment in [0..u64::MAX, u64::MAX - 1..u64::MAX, END..END, END + 8..END + 4096] {
        let notes = [segment];
        recognise(&Outline { notes: &notes, ..bare(&file) });
    }
}

#[test]
fn denos_trailer_holds_file_offsets() {
    for offsets in [vec![END], vec![END, END + 4], vec![END, END + 4, END + 6, END + 8]] {
        let numbers: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        let file = with(&[b"bundle, data", b"d3n0l4nd", &numbers]);
        only(&file, Kind::Deno, END..file.len() as u64, FoundBy::Both);
    }
    for offsets in [[END - 1, END + 4], [END + 4, END], [END, END + 13], [0, END], [END, u64::MAX]] {
        let numbers: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        unknown(&with(&[b"bundle, data", b"d3n0l4nd", &numbers]));
    }
}

#[test]
fn libsuis_trailer_holds_a_distance_from_the_end() {
    let file = |name: &[u8], distance: u64| {
        let hash: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
        with(&[b"data", &0x501eu32.to_le_bytes(), &hash.to_le_bytes(), &distance.to_le_bytes()])
    };
    only(&file(b"d3n0l4nd", 20), Kind::Deno, END..END + 20, FoundBy::End);
    only(&file(b"mine", 20), Kind::Sui, END..END + 20, FoundBy::End);
    for lie in [0, 15, 16, 21, END + 21, u64::MAX] {
        unknown(&file(b"d3n0l4nd", lie));
    }
}

#[test]
fn pkgs_places_are_written_into_the_program() {
    let files = b"the files of the payload";
    let prelude = b"(function(process, require, console, EXECPATH_FD, PAYLOAD_POSITION, PAYLOAD_SIZE) { return 1\n,\n0\n);\n})";
    let (start, size) = (END, files.len() as u64);
    let file = |places: [String; 4]| {
        let mut file = with(&[files, prelude]);
        let text = format!(
            "var PAYLOAD_POSITION = '// PAYLOAD_POSITION //' | 0;\nvar PAYLOAD_POSITION = '{:<22}' | 0;\nvar PAYLOAD_SIZE = '{:<18}' | 0;\n\
             var PRELUDE_POSITION = '{:<22}' | 0;\nvar PRELUDE_SIZE = '{:<18}' | 0;\n",
            places[0], places[1], places[2], places[3]
        );
        file[2048..2048 + text.len()].copy_from_slice(text.as_bytes());
        file
    };
    let places = |p: u64, s: u64, q: u64, t: u64| [p, s, q, t].map(|number| number.to_string());
    let length = prelude.len() as u64;
    let good = file(places(start, size, start + size, length));
    only(&good, Kind::Pkg, END..good.len() as u64, FoundBy::Start);
    let sections: [(&[u8], Range<u64>); 2] = [(b".text", 0..2048), (b".rodata", 2048..END)];
    assert_eq!(recognise(&Outline { sections: &sections, ..bare(&good) }).len(), 1);
    for lie in [
        places(start - 1, size, start + size, length),
        places(start, size + 1, start + size, length),
        places(start, size, start + size + 1, length),
        places(start, size, start + size, length + 1),
        places(start, u64::MAX, start + size, length),
        places(start, size, u64::MAX, length),
        places(0, 0, 0, 0),
        ["".into(), "-1".into(), "1e9".into(), "99999999999999999999".into()],
    ] {
        unknown(&file(lie));
    }
}

#[test]
fn a_nexe_bundle_is_found_from_the_end_behind_which_a_signature_may_stand() {
    let file = |code: f64, resources: f64, signature: &[u8]| {
        with(&[b"codecode", b"resource", b"<nexe~~sentinel>", &code.to_le_bytes(), &resources.to_le_bytes(), signature])
    };
    only(&file(8.0, 8.0, b""), Kind::Nexe, END..END + 48, FoundBy::End);
    let signed = recognise(&bare(&file(8.0, 8.0, b"signature")));
    let rest = payload(Kind::UnknownOverlay, END + 48..END + 57, FoundBy::Unknown);
    assert_eq!(signed, [payload(Kind::Nexe, END..END + 48, FoundBy::End), rest]);
    for (code, resources) in [(8.0, 8.5), (-8.0, 8.0), (f64::NAN, 8.0), (f64::INFINITY, 0.0), (8.0, 1e300), (9.0, 8.0), (0.0, 0.0)] {
        unknown(&file(code, resources, b""));
    }
}

#[test]
fn a_dart_snapshot_is_an_elf_file_at_an_offset_told_at_the_end() {
    let magic = [0xdc, 0xdc, 0xf6, 0xf6, 0, 0, 0, 0];
    let file = |offset: u64| with(&[&[0; 64], b"\x7fELF, the snapshot", &offset.to_le_bytes(), &magic]);
    only(&file(END + 64), Kind::Dart, END + 64..END + 98, FoundBy::Both);
    for lie in [0, END, END + 65, END + 98, u64::MAX] {
        unknown(&file(lie));
    }
}

#[test]
fn an_sbcl_core_begins_and_ends_with_its_magic() {
    let word = |is_64: bool, big: bool, number: u64| match (is_64, big) {
        (true, false) => number.to_le_bytes().to_vec(),
        (true, true) => number.to_be_bytes().to_vec(),
        (false, false) => (number as u32).to_le_bytes().to_vec(),
        (false, true) => (number as u32).to_be_bytes().to_vec(),
    };
    for (is_64, big_endian, wide) in
        [(true, false, true), (true, true, true), (false, false, true), (false, true, true), (false, false, false)]
    {
        let magic = word(is_64, big_endian, 0x5342_434c);
        let file = |offset: u64| with(&[&magic, b"core", &word(wide, big_endian, offset), &magic]);
        let seen = |file: &[u8]| recognise(&Outline { is_64, big_endian, ..bare(file) });
        let good = file(END);
        assert_eq!(seen(&good), [payload(Kind::Sbcl, END..good.len() as u64, FoundBy::Both)]);
        for lie in [0, END - 1, END + 1, END + 400, u64::MAX] {
            assert_eq!(seen(&file(lie))[0].kind, Kind::UnknownOverlay, "{lie}");
        }
        // The same core as a section is found by that section's name.
        let mut linked = program();
        linked[1024..1024 + magic.len()].copy_from_slice(&magic);
        let section = |name: &[u8]| recognise(&Outline { is_64, big_endian, sections: &[(name, 1024..2048)], ..bare(&linked) });
        assert_eq!(section(b"lisp.core"), [payload(Kind::Sbcl, 1024..2048, FoundBy::Loaded)]);
        assert_eq!(section(b"core"), []);
    }
    only(
        &with(&[&0x5342_434cu64.to_le_bytes(), &END.to_le_bytes(), &0x5342_434cu64.to_le_bytes()]),
        Kind::Sbcl,
        END..END + 24,
        FoundBy::Both,
    );
}

#[test]
fn ocaml_bytecode_is_the_sum_of_its_sections_before_the_end() {
    let file = |entries: &[(&[u8; 4], u32)], count: u32, magic: &[u8; 12]| {
        let table: Vec<u8> = entries.iter().flat_map(|(name, size)| [&name[..], &size.to_be_bytes()].concat()).collect();
        with(&[b"codedata!", &table, &count.to_be_bytes(), magic])
    };
    only(&file(&[(b"CODE", 4), (b"DATA", 5)], 2, b"Caml1999X030"), Kind::OCaml, END..END + 41, FoundBy::End);
    unknown(&file(&[(b"CODE", 4), (b"DATA", 6)], 2, b"Caml1999X030"));
    unknown(&file(&[(b"CODE", u32::MAX), (b"DATA", u32::MAX)], 2, b"Caml1999X030"));
    unknown(&file(&[(b"CODE", 4), (b"DATA", 5)], u32::MAX, b"Caml1999X030"));
    unknown(&file(&[(b"CODE", 4), (b"DATA", 5)], 0, b"Caml1999X030"));
    unknown(&file(&[(b"MORE", 4), (b"DATA", 5)], 2, b"Caml1999X030"));
    unknown(&file(&[(b"CODE", 4), (b"DATA", 5)], 2, b"Caml1999Y030"));
    unknown(&file(&[(b"CODE", 4), (b"DATA", 5)], 2, b"Caml1999X03x"));
}

/// A PyInstaller archive of 140 bytes: data, a table of one entry at 20, a cookie.
fn pyinstaller(length: u32, table: u32, table_length: u32, entry: u32) -> Vec<u8> {
    let mut archive = vec![b'd'; 20];
    archive.extend_from_slice(&entry.to_be_bytes());
    archive.resize(52, 0);
    archive.extend_from_slice(b"MEI\x0c\x0b\x0a\x0b\x0e");
    for number in [length, table, table_length, 311] {
        archive.extend_from_slice(&number.to_be_bytes());
    }
    archive.resize(140, 0);
    archive[76..95].copy_from_slice(b"libpython3.11.so.1.");
    archive
}

#[test]
fn a_pyinstaller_archive_ends_with_its_cookie_behind_the_program_or_in_a_section() {
    let good = pyinstaller(140, 20, 32, 32);
    only(&with(&[&good]), Kind::PyInstaller, END..END + 140, FoundBy::End);
    // The bootloader takes the last cookie, whatever follows it.
    let followed = recognise(&bare(&with(&[&good, b"signature"])));
    let rest = payload(Kind::UnknownOverlay, END + 140..END + 149, FoundBy::Unknown);
    assert_eq!(followed, [payload(Kind::PyInstaller, END..END + 140, FoundBy::End), rest]);

    let in_section = |archive: &[u8], size: u64| {
        let mut file = program();
        file[1000..1000 + archive.len()].copy_from_slice(archive);
        recognise(&Outline { sections: &[(b"pydata", 1000..1000 + size)], ..bare(&file) })
    };
    assert_eq!(in_section(&good, 140), [payload(Kind::PyInstaller, 1000..1140, FoundBy::Loaded)]);
    assert_eq!(in_section(&good, 139), []);
    for lie in [
        pyinstaller(141, 20, 32, 32),
        pyinstaller(87, 20, 32, 32),
        pyinstaller(0, 0, 0, 0),
        pyinstaller(u32::MAX, 20, 32, 32),
        pyinstaller(140, 21, 32, 32),
        pyinstaller(140, u32::MAX, 32, 32),
        pyinstaller(140, 20, u32::MAX, 32),
        pyinstaller(140, 20, 32, 33),
        pyinstaller(140, 20, 32, 0),
    ] {
        unknown(&with(&[&lie]));
        assert_eq!(in_section(&lie, 140), []);
    }
}

/// A zstd frame (RFC 8878): one raw block of three bytes, one run, a checksum.
const FRAME: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x18\0\0raw\x03\x01\0rsum!";

#[test]
fn a_nuitka_payload_is_found_by_its_size_at_the_end() {
    let file = |parts: &[&[u8]], size: u64| with(&[&parts.concat(), &size.to_le_bytes()]);
    let plain: [&[u8]; 4] = [b"KAX", b"hi.bin\0", &4u64.to_le_bytes(), b"elf!"];
    only(&file(&plain, 22), Kind::Nuitka, END..END + 30, FoundBy::End);
    only(&file(&[b"KAY", FRAME], 23), Kind::Nuitka, END..END + 31, FoundBy::End);
    for lie in [0, 1, 21, 23, END + 22, u64::MAX] {
        unknown(&file(&plain, lie));
    }
    unknown(&file(&[b"KAX", b"hi.bin\0", &5u64.to_le_bytes(), b"elf!"], 22));
    unknown(&file(&[b"KAX", b"hi.bin\0", &u64::MAX.to_le_bytes(), b"elf!"], 22));
    unknown(&file(&[b"KAY", &FRAME[..15]], 18));
    let mut reserved = FRAME.to_vec();
    reserved[6] |= 6;
    unknown(&file(&[b"KAY", &reserved], 23));
}

#[test]
fn a_nuitka_payload_in_read_only_data_is_loaded() {
    let mut file = program();
    file[1040..1043].copy_from_slice(b"KAY");
    file[1043..1043 + FRAME.len()].copy_from_slice(FRAME);
    let seen = |name: &[u8], range: Range<u64>| recognise(&Outline { sections: &[(name, range)], ..bare(&file) });
    assert_eq!(seen(b".rodata", 1024..2048), [payload(Kind::Nuitka, 1040..1063, FoundBy::Loaded)]);
    assert_eq!(seen(b".rodata", 1024..1062), []);
    assert_eq!(seen(b".data", 1024..2048), []);
}

/// A zip of one stored file, its offsets counted from `base`.
fn zip(base: u32, directory_size: u32, comment: &[u8]) -> Vec<u8> {
    let mut zip = b"PK\x03\x04".to_vec();
    zip.resize(30, 0);
    zip.extend_from_slice(b"namedata");
    zip.extend_from_slice(b"PK\x01\x02");
    zip.resize(38 + 42, 0);
    zip.extend_from_slice(&base.to_le_bytes());
    zip.extend_from_slice(b"name");
    zip.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend_from_slice(&directory_size.to_le_bytes());
    zip.extend_from_slice(&base.wrapping_add(38).to_le_bytes());
    zip.extend_from_slice(&(comment.len() as u16).to_le_bytes());
    zip.extend_from_slice(comment);
    zip
}

#[test]
fn a_zip_counts_from_its_own_start_or_from_the_files() {
    only(&with(&[&zip(0, 50, b"")]), Kind::Zip, END..END + 110, FoundBy::End);
    only(&with(&[&zip(0, 50, b"a comment")]), Kind::Zip, END..END + 119, FoundBy::End);
    only(&with(&[&zip(END as u32, 50, b"")]), Kind::Zip, END..END + 110, FoundBy::Both);
    for lie in [zip(0, 0, b""), zip(0, 49, b""), zip(0, u32::MAX, b""), zip(u32::MAX, 50, b""), zip(END as u32 + 1, 50, b"")] {
        unknown(&with(&[&lie]));
    }
    unknown(&with(&[&zip(0, 50, b""), b"behind the record"]));
}

#[test]
fn a_zip_of_more_than_4_gib_is_found_through_its_second_record() {
    let file = |base: u32, size: u64, offset: u64| {
        let mut zip = zip(base, u32::MAX, b"");
        let end = zip.split_off(88);
        let mut record = b"PK\x06\x06".to_vec();
        record.resize(40, 0);
        record.extend_from_slice(&size.to_le_bytes());
        record.extend_from_slice(&offset.to_le_bytes());
        let mut locator = b"PK\x06\x07".to_vec();
        locator.resize(20, 0);
        with(&[&zip, &record, &locator, &end])
    };
    only(&file(0, 50, 38), Kind::Zip, END..END + 186, FoundBy::End);
    only(&file(END as u32, 50, END + 38), Kind::Zip, END..END + 186, FoundBy::Both);
    for (size, offset) in [(u64::MAX, 38), (50, u64::MAX), (0, 0), (51, 38)] {
        unknown(&file(0, size, offset));
    }
}

#[test]
fn archives_right_behind_a_self_extractor_are_found_from_the_start() {
    let seven_zip = |offset: u64, size: u64| {
        with(&[b"7z\xbc\xaf\x27\x1c\0\x04CRC!", &offset.to_le_bytes(), &size.to_le_bytes(), b"CRC!", b"streams, header"])
    };
    only(&seven_zip(9, 6), Kind::SevenZip, END..END + 47, FoundBy::Start);
    for (offset, size) in [(9, 7), (16, 0), (9, 0), (u64::MAX, 6), (0, u64::MAX), (u64::MAX, u64::MAX)] {
        unknown(&seven_zip(offset, size));
    }
    only(&with(&[b"Rar!\x1a\x07\x01\x00", b"CRC!\x0b\x01\x05\0rest"]), Kind::Rar, END..END + 20, FoundBy::Start);
    only(&with(&[b"Rar!\x1a\x07\x00", b"CC\x73\0\0\x0d\0\0\0\0\0\0\0rest"]), Kind::Rar, END..END + 24, FoundBy::Start);
    unknown(&with(&[b"Rar!\x1a\x07\x01\x00", b"CRC!\x0b\x09\x05\0rest"]));
    unknown(&with(&[b"Rar!\x1a\x07\x00", b"CC\x74\0\0\x0d\0\0\0\0\0\0\0rest"]));
    unknown(&with(&[b"Rar!\x1a\x07\x00"]));
}

fn appimage(kind: u8, image: &[u8]) -> Vec<u8> {
    let mut file = with(&[image]);
    file[8..11].copy_from_slice(&[b'A', b'I', kind]);
    file
}

fn squashfs(block: u32, log: u16, used: u64) -> Vec<u8> {
    let mut image = b"hsqs".to_vec();
    image.resize(12, 1);
    image.extend_from_slice(&block.to_le_bytes());
    image.resize(22, 1);
    image.extend_from_slice(&log.to_le_bytes());
    image.resize(28, 1);
    image.extend_from_slice(&[4, 0, 0, 0]);
    image.resize(40, 1);
    image.extend_from_slice(&used.to_le_bytes());
    image.resize(100, 1);
    image
}

#[test]
fn an_appimages_file_system_begins_where_the_elf_file_ends() {
    let good = appimage(2, &squashfs(131_072, 17, 100));
    only(&good, Kind::AppImage(Image::Squashfs), END..END + 100, FoundBy::AfterSectionHeaders);
    // mksquashfs pads to 4 KiB with zeros; those belong to nobody.
    let mut padded = good;
    padded.resize(2 * END as usize, 0);
    only(&padded[..END as usize + 200], Kind::AppImage(Image::Squashfs), END..END + 100, FoundBy::AfterSectionHeaders);
    for lie in [
        squashfs(131_072, 17, 101),
        squashfs(131_072, 17, 95),
        squashfs(131_072, 17, u64::MAX),
        squashfs(131_072, 16, 100),
        squashfs(0, 40, 100),
    ] {
        unknown(&appimage(2, &lie));
    }
    unknown(&with(&[&squashfs(131_072, 17, 100)]));

    let section = |length: u64| {
        let mut section = b"DWARFS\x02\x05".to_vec();
        section.resize(56, 7);
        section.extend_from_slice(&length.to_le_bytes());
        section.extend_from_slice(b"block");
        section
    };
    let dwarfs = [section(5), section(5)].concat();
    only(&appimage(2, &dwarfs), Kind::AppImage(Image::Dwarfs), END..END + 138, FoundBy::AfterSectionHeaders);
    unknown(&appimage(2, &section(6)));
    unknown(&appimage(2, &section(u64::MAX)));
}

#[test]
fn an_appimage_of_type_1_is_an_iso_image_with_absolute_offsets() {
    let file = |blocks: u32, size: u16| {
        let mut file = appimage(1, b"");
        file.resize(0x8000, 0);
        file.extend_from_slice(b"\x01CD001\x01");
        file.resize(0x8000 + 80, 0);
        file.extend_from_slice(&blocks.to_le_bytes());
        file.resize(0x8000 + 128, 0);
        file.extend_from_slice(&size.to_le_bytes());
        file.resize(0x9000, 1);
        file
    };
    let seen = |blocks, size| recognise(&bare(&file(blocks, size)));
    assert_eq!(seen(18, 2048), [payload(Kind::AppImage(Image::Iso9660), 0x8000..0x9000, FoundBy::Start)]);
    for (blocks, size) in [(19, 2048), (16, 2048), (0, 2048), (u32::MAX, 32768), (36_864, 1), (18, 0)] {
        assert_eq!(seen(blocks, size), [payload(Kind::UnknownOverlay, END..0x9000, FoundBy::Unknown)], "{blocks} blocks of {size}");
    }
}

#[test]
fn a_makeself_script_counts_lines_and_adds_sizes() {
    let script = |skip: &str, sizes: &str| {
        format!("#!/bin/sh\n# This script was generated using Makeself 2.4.5\nfilesizes=\"{sizes}\"\nskip=\"{skip}\"\n\nexit 0\narchive-1archive-2").into_bytes()
    };
    let good = script("6", "9 9");
    let start = good.len() as u64 - 18;
    assert_eq!(recognise_script(&good), Some(payload(Kind::Makeself, start..start + 18, FoundBy::Start)));
    let old = b"#!/bin/sh\nfilesizes=\"7\"\noffset=`head -n 4 \"$0\" | wc -c`\nexit 0\narchive";
    assert_eq!(recognise_script(old), Some(payload(Kind::Makeself, 63..70, FoundBy::Start)));
    for (skip, sizes) in [
        ("6", "9 10"),
        ("0", "9"),
        ("7", "9"),
        ("-1", "9"),
        ("6", ""),
        ("6", "0"),
        ("6", "x"),
        ("6", "18446744073709551615 9"),
        ("99999999999999999999", "9"),
    ] {
        assert_eq!(recognise_script(&script(skip, sizes)), None, "skip {skip}, sizes {sizes}");
    }
    assert_eq!(recognise_script(b"#!/bin/sh\necho filesizes skip Makeself\n"), None);
    for cut in 0..good.len() {
        recognise_script(&good[..cut]);
    }
}

#[test]
fn a_script_may_carry_a_zip() {
    let script = |zip: &[u8]| [b"#!/usr/bin/env python3\n", zip].concat();
    assert_eq!(recognise_script(&script(&zip(0, 50, b""))), Some(payload(Kind::Zip, 23..133, FoundBy::End)));
    assert_eq!(recognise_script(&script(&zip(23, 50, b""))), Some(payload(Kind::Zip, 23..133, FoundBy::Both)));
    assert_eq!(recognise_script(&script(&zip(0, 51, b""))), None);
    assert_eq!(recognise_script(&zip(0, 50, b"")), None, "not a script");
}

#[test]
fn an_overlay_that_nobody_knows_is_told_and_padding_is_not() {
    assert_eq!(recognise(&bare(&program())), []);
    unknown(&with(&[b"x"]));
    unknown(&with(&[&[0xff; 100_000]]));
    assert_eq!(recognise(&bare(&with(&[&[0; 16]]))), []);
    unknown(&with(&[&[0; 17]]));
    // What stands between the program and a payload is as unknown as what stands alone.
    let file = with(&[b"more", &zip(0, 50, b"")]);
    let gap = payload(Kind::UnknownOverlay, END..END + 4, FoundBy::Unknown);
    assert_eq!(recognise(&bare(&file)), [gap, payload(Kind::Zip, END + 4..END + 114, FoundBy::End)]);
}

#[test]
fn a_payload_says_what_it_is_where_and_how_it_is_found() {
    let text = |kind, range, found_by| payload(kind, range, found_by).to_string();
    assert_eq!(
        text(Kind::AppImage(Image::Squashfs), 0x2e8a0..0x2e8a0 + 94_371_840, FoundBy::AfterSectionHeaders),
        "AppImage (squashfs at 0x2e8a0, 94 MB), found right after the section headers"
    );
    assert_eq!(
        text(Kind::Sbcl, 0x60000..0x60000 + 39_000, FoundBy::Both),
        "SBCL (core at 0x60000, 39 kB), found by a trailer at the end that holds file offsets"
    );
    assert_eq!(text(Kind::Bun, 16..158, FoundBy::Loaded), "bun (module graph at 0x10, 142 bytes), found by address or section name");
    assert_eq!(text(Kind::UnknownOverlay, 16..17, FoundBy::Unknown), "unknown overlay (data at 0x10, 1 byte), not known how it is found");
    assert_eq!(
        text(Kind::Pkg, 1..5_000_000_001, FoundBy::Start),
        "pkg (virtual file system at 0x1, 5 GB), found from the start of the file"
    );
    assert_eq!(text(Kind::OCaml, 1..2_001, FoundBy::End), "OCaml (bytecode at 0x1, 2 kB), found from the end of the file");
    assert_eq!([Kind::NodeSea.id(), FoundBy::AfterSectionHeaders.id()], ["node-sea", "after-section-headers"]);
}
