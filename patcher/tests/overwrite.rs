//! What an edit changes and what it leaves alone, on files made here and by the C compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod tiny;

use patcher::{Error, FileOffset, Kind, Overwrite, interpreter, interpreter_room, overwrite};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tiny::{LITTLE_64, SHAPES, elf, first_byte, interp, load, writable};

fn set_interpreter(path: &str) -> Overwrite {
    Overwrite::Interpreter(path.into())
}

fn string(old: &str, new: &str, occurrences: usize) -> Overwrite {
    Overwrite::RodataString { old: old.into(), new: new.into(), occurrences }
}

fn patched(file: &[u8], edits: &[Overwrite]) -> Result<Vec<u8>, Error> {
    let plan = overwrite(file, edits)?;
    let after = plan.apply(file)?;
    plan.verify(file, &after)?;
    Ok(after)
}

#[test]
fn the_interpreter_is_overwritten_in_place_in_every_class_and_byte_order() {
    for shape in SHAPES {
        let file = elf(shape, &[interp(b"/lib/ld-one.so\0"), load(b"rest")]);
        assert_eq!(interpreter(&file).unwrap(), Some(b"/lib/ld-one.so".as_slice()), "{shape:?}");
        assert_eq!(interpreter_room(&file).unwrap(), Some(14), "{shape:?}");
        let after = patched(&file, &[set_interpreter("/.xeno/64.so")]).unwrap();
        let start = first_byte(shape, 2);
        assert_eq!(&after[..start], &file[..start], "{shape:?}: headers");
        assert_eq!(&after[start..], b"/.xeno/64.so\0\0\0rest", "{shape:?}");
    }
}

#[test]
fn a_path_fits_up_to_the_closing_nul_and_no_further() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0")]);
    assert!(patched(&file, &[set_interpreter("/123456789")]).is_ok());
    let error = patched(&file, &[set_interpreter("/1234567890")]).unwrap_err();
    assert_eq!(error.kind(), Kind::DoesNotFit);
    assert_eq!(error.to_string(), "replacing the interpreter: 11 bytes do not fit into 10; use a shorter text");
}

#[test]
fn padding_after_the_interpreter_is_room_and_anything_else_is_not() {
    let padded = elf(LITTLE_64, &[interp(b"/ld.so\0\0\0\0\0")]);
    assert_eq!(interpreter_room(&padded).unwrap(), Some(10));
    let shared = elf(LITTLE_64, &[interp(b"/ld.so\0other\0")]);
    assert_eq!(interpreter_room(&shared).unwrap(), Some(6));
    let after = patched(&shared, &[set_interpreter("/a")]).unwrap();
    assert!(after.ends_with(b"/a\0\0\0\0\0other\0"));
}

#[test]
fn an_interpreter_the_kernel_would_refuse_is_an_error() {
    for (bytes, reason) in [
        (b"\0".as_slice(), "its length is not between 2 and 4096 bytes"),
        (b"/ld.so", "it does not end with a NUL"),
        (b"\0/ld.so\0", "it is empty"),
        (&[b'x'; 5000], "its length is not between 2 and 4096 bytes"),
    ] {
        let file = elf(LITTLE_64, &[interp(bytes)]);
        let expected = Error::BadInterpreter { offset: FileOffset(64 + 56), reason };
        assert_eq!(interpreter(&file), Err(expected));
    }
    let none = elf(LITTLE_64, &[load(b"x")]);
    assert_eq!(interpreter(&none), Ok(None));
    assert_eq!(overwrite(&none, &[set_interpreter("/a")]), Err(Error::NoInterpreter));
    let file = elf(LITTLE_64, &[interp(b"/ld.so\0")]);
    for path in ["", "/a\0b"] {
        assert_eq!(overwrite(&file, &[set_interpreter(path)]).unwrap_err().kind(), Kind::BadEdit);
    }
}

#[test]
fn a_plan_prints_where_every_byte_goes() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0"), load(b"\0/etc/list\0")]);
    let plan = overwrite(&file, &[string("/etc/list", "/x", 1), set_interpreter("/ld")]).unwrap();
    assert_eq!(
        plan.to_string(),
        "placed in place; 198 bytes, +0\n\
         0xb0 +11: \"/lib/ld.so\" -> \"/ld\" (interpreter)\n\
         0xbc +9: \"/etc/list\" -> \"/x\" (string)\n"
    );
}

#[test]
fn the_same_text_again_is_no_change() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0")]);
    assert!(overwrite(&file, &[set_interpreter("/lib/ld.so")]).unwrap().is_empty());
}

#[test]
fn a_string_is_replaced_only_where_it_stands_whole_and_cannot_be_written() {
    let constant = b"\0needle\0a needle\0needles\0needle\0";
    for shape in SHAPES {
        let file = elf(shape, &[load(constant), writable(b"\0needle\0")]);
        let after = patched(&file, &[string("needle", "pin", 2)]).unwrap();
        let expected = b"\0pin\0\0\0\0a needle\0needles\0pin\0\0\0\0\0needle\0";
        assert!(after.ends_with(expected), "{shape:?}: {}", after.escape_ascii());
        let error = patched(&file, &[string("needle", "pin", 3)]).unwrap_err();
        assert_eq!(error, Error::Occurrences { what: "\"needle\"".into(), expected: 3, found: 2 });
    }
}

#[test]
fn a_string_does_not_grow() {
    let file = elf(LITTLE_64, &[load(b"\0needle\0")]);
    let error = patched(&file, &[string("needle", "needles", 1)]).unwrap_err();
    assert_eq!(error.to_string(), "replacing \"needle\": 7 bytes do not fit into 6; use a shorter text");
    assert_eq!(overwrite(&file, &[string("", "", 1)]).unwrap_err().kind(), Kind::BadEdit);
    assert_eq!(overwrite(&file, &[string("nee\0le", "", 1)]).unwrap_err().kind(), Kind::BadEdit);
}

#[test]
fn a_place_that_two_segments_map_counts_once() {
    let mut file = elf(LITTLE_64, &[load(b"\0needle\0"), load(b"\0\0\0\0\0\0\0\0")]);
    let (first, second) = (64 + 8, 64 + 56 + 8);
    file.copy_within(first..first + 8, second); // both p_offset alike
    assert!(patched(&file, &[string("needle", "pin", 1)]).is_ok());
}

#[test]
fn edits_that_meet_each_other_or_the_headers_are_refused() {
    let mut file = elf(LITTLE_64, &[load(b"\0needle\0")]);
    let edits = [string("needle", "pin", 1), string("needle", "nail", 1)];
    assert!(matches!(overwrite(&file, &edits), Err(Error::Overlap { offset: FileOffset(0x79) })));
    // The first segment becomes an interpreter that lies on the ELF header.
    file[64..68].copy_from_slice(&3u32.to_le_bytes());
    file[64 + 8..64 + 16].copy_from_slice(&16u64.to_le_bytes());
    file[16] = b'/';
    file[64 + 32] = 8;
    file[23] = 0;
    let error = overwrite(&file, &[set_interpreter("x")]).unwrap_err();
    assert!(matches!(error, Error::InHeaders { offset: FileOffset(16), .. }), "{error}");
}

#[test]
fn a_plan_is_applied_to_its_own_file_or_not_at_all() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0"), load(b"\0needle\0")]);
    let plan = overwrite(&file, &[set_interpreter("/ld"), string("needle", "pin", 1)]).unwrap();
    let mut other = file.clone();
    let last = other.len() - 2;
    other[last] = b'!';
    assert!(matches!(plan.apply(&other), Err(Error::Stale { .. })));
    assert!(matches!(plan.apply(&other[..70]), Err(Error::Stale { .. })));
}

#[test]
fn the_verifier_sees_every_single_byte() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0"), load(b"\0needle\0")]);
    let plan = overwrite(&file, &[set_interpreter("/ld"), string("needle", "pin", 1)]).unwrap();
    let good = plan.apply(&file).unwrap();
    assert_eq!(plan.verify(&file, &good), Ok(()));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(plan.verify(&file, &bad).is_err(), "byte {at:#x}");
        assert!(plan.verify(&bad, &good).is_err(), "byte {at:#x} of the input");
    }
    assert!(plan.verify(&file, &good[..good.len() - 1]).is_err(), "one byte fewer");
}

/// Deterministic, so that a failure can be repeated (Marsaglia's xorshift).
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// Everything the crate can be asked of a file; what matters is that each call returns.
fn ask(file: &[u8]) {
    let strings = patcher::LoaderStrings {
        cache: "/.xeno/64.cache".into(),
        preload: Some("/.xeno/preload".into()),
        musl_path: "/.xeno/64.path".into(),
        directories: Vec::new(),
    };
    let _ = interpreter_room(file);
    for edit in [set_interpreter("/ld"), string("needle", "pin", 1)] {
        if let Ok(plan) = overwrite(file, &[edit]) {
            let after = plan.apply(file).unwrap();
            plan.verify(file, &after).unwrap();
        }
    }
    if let Ok((copy, plan)) = patcher::loader_copy(file, &strings) {
        plan.verify(file, &copy).unwrap();
    }
}

#[test]
fn a_corrupt_file_is_an_error_or_a_sound_plan_and_never_a_panic() {
    let texts: [&[u8]; 2] = [
        b"\0needle\0/lib/x/\0/usr/lib/\0\0/etc/ld.so.cache\0/etc/ld.so.preload\0",
        b"\0needle\0/lib:/usr/lib\0%.*s/etc/ld-musl-x86_64.path\0",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for shape in SHAPES {
        for text in texts {
            let loader = elf(shape, &[load(text), writable(b"data")]);
            let program = elf(shape, &[interp(b"/lib/ld.so\0"), load(text)]);
            for file in [loader, program] {
                for length in 0..=file.len() {
                    ask(&file[..length]);
                }
                for _ in 0..4000 {
                    let mut bad = file.clone();
                    for _ in 0..=random(&mut seed) % 4 {
                        let at = random(&mut seed) % bad.len();
                        bad[at] = random(&mut seed) as u8;
                    }
                    ask(&bad);
                }
                // The fields that hold offsets, sizes and counts, at their extremes.
                for at in 0..first_byte(shape, 2) {
                    for value in [0, 1, 0x7f, 0x80, 0xff] {
                        let mut bad = file.clone();
                        bad[at] = value;
                        ask(&bad);
                    }
                }
            }
        }
    }
}

#[test]
fn a_segment_that_is_not_in_the_file_is_named() {
    let file = elf(LITTLE_64, &[interp(b"/lib/ld.so\0")]);
    let error = interpreter(&file[..file.len() - 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading the ELF file: the interpreter's segment at 0x78 has 11 bytes, but the file ends at 128; get an \
         intact copy of it"
    );
    assert_eq!(
        interpreter(b"#!/bin/sh\n").unwrap_err().to_string(),
        "reading the ELF file: it is not an ELF file; get an intact copy of it"
    );
}

fn cc(dir: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (input, output) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&input, source).unwrap();
    let status = Command::new("cc").args(flags).arg("-o").arg(&output).arg(&input).status().unwrap();
    assert!(status.success());
    output
}

const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

#[test]
fn a_program_of_a_foreign_interpreter_runs_after_the_edit() {
    let dir = tempfile::tempdir().unwrap();
    let native = cc(dir.path(), "native", HELLO, &[]);
    let native = fs::read(native).unwrap();
    let here = interpreter(&native).unwrap().expect("cc makes dynamic programs").to_vec();
    let far = format!("-Wl,--dynamic-linker=/nix/store/{}-libc/lib/ld.so", "0".repeat(32));
    for kind in [["-pie", "-fPIE"], ["-no-pie", "-fno-PIE"]] {
        let program = cc(dir.path(), "foreign", HELLO, &[kind[0], kind[1], &far]);
        assert!(Command::new(&program).output().is_err(), "it does not start before");
        let before = fs::read(&program).unwrap();
        let after = patched(&before, &[Overwrite::Interpreter(here.clone())]).unwrap();
        let (written, patched) = (dir.path().join("written"), dir.path().join("patched"));
        fs::write(&written, &after).unwrap();
        fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
        // Started is what another process wrote: a child that another test forks meanwhile has open what this one has (ETXTBSY).
        assert!(Command::new("cp").args([&written, &patched]).status().unwrap().success());
        let out = Command::new(&patched).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "hello\n");
        fs::remove_file(&patched).unwrap();
    }
}
