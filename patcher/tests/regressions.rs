//! Laws that a fuzzer found broken, each with the smallest file that broke it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod tiny;

use patcher::{Edit, Kind, Options, Phase, RpathTag, View, plan, plan_with, undo};
use tiny::dynamic::{Like, program};
use tiny::{LITTLE_64, SHAPES};

fn rpath(value: &str) -> Edit {
    Edit::Rpath { value: value.into(), tag: RpathTag::Runpath }
}

fn patched(file: &[u8], edits: &[Edit]) -> Vec<u8> {
    plan(file, edits).unwrap().apply(file).unwrap()
}

/// Overwrites a field of a 64-bit little-endian file.
fn lie(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_plan_whose_fresh_bytes_are_read_now_is_none_for_in_place() {
    // The first edit's interpreter lies in padding where the second edit's record goes.
    for shape in SHAPES {
        let file = program(Like { padding: 1500, ..Like::new(shape) });
        let first = [Edit::Interpreter(b"x".to_vec()), Edit::ResolutionCache(b"cache".to_vec()), rpath("/a/longer/path/than/before")];
        for first in [first.as_slice(), &first[..2]] {
            let now = patched(&file, first);
            let plan = plan(&now, &[rpath("")]).unwrap();
            let mut fresh = now.clone();
            fresh.resize(now.len().max(plan.new_len() as usize), 0);
            for write in plan.writes().iter().filter(|w| w.phase == Phase::Fresh) {
                let at = write.offset.0 as usize;
                fresh[at..at + write.new.len()].copy_from_slice(&write.new);
            }
            let interpreter = |file: &[u8]| View::parse(file).map(|v| v.interpreter().map(<[u8]>::to_vec));
            assert!(!plan.in_place() || interpreter(&fresh) == interpreter(&now), "{shape:?}\n{plan}");
        }
    }
}

#[test]
fn a_segment_whose_bytes_are_far_behind_the_end_is_refused() {
    // Whatever is appended would be loaded with it, and its record would not be found again.
    let mut file = program(Like::new(LITTLE_64));
    let first_load = 64 + 56 * 2;
    lie(&mut file, first_load + 32, 1 << 49);
    lie(&mut file, first_load + 40, 1 << 49);
    let error = plan(&file, &[Edit::Interpreter("/l".repeat(100).into())]).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed, "{error}");
}

#[test]
fn appended_bytes_do_not_become_section_headers() {
    let mut file = program(Like::new(LITTLE_64));
    let behind = file.len() as u64 + 64;
    lie(&mut file, 40, behind);
    file[58..62].copy_from_slice(&[64, 0, 1, 0]); // e_shentsize, e_shnum
    let long = "/l".repeat(100);
    let error = plan(&file, &[Edit::Interpreter(long.into())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "reading the ELF file: e_shoff at 0x0 is {behind:#x}: the section headers are not all in the file; get an intact copy of it"
        )
    );
    // Where nothing comes to lie there, they do not matter.
    let kept = Options { undo: false, ..Options::default() };
    assert_eq!(plan_with(&file, &[Edit::OsAbi(3)], &kept).unwrap().new_len(), file.len() as u64);
}

#[test]
fn an_edit_is_undone_wherever_the_section_headers_are_said_to_be() {
    for at in [0, 1 << 20, u64::MAX] {
        let mut file = program(Like::new(LITTLE_64));
        lie(&mut file, 40, at);
        let now = patched(&file, &[rpath("/a/longer/path/than/before")]);
        assert!(undo(&now).unwrap().apply(&now).unwrap() == file, "{at:#x}");
    }
}

#[test]
fn a_table_of_no_headers_does_not_make_the_file_longer() {
    let mut file = program(Like::new(LITTLE_64));
    lie(&mut file, 32, 1 << 45);
    file[56] = 0; // e_phnum
    assert_eq!(plan(&file, &[Edit::OsAbi(90)]).unwrap().new_len() / 4096, file.len() as u64 / 4096);
}

#[test]
fn a_resolution_cache_replaces_one_that_no_record_knows() {
    let unrecorded = Options { undo: false, ..Options::default() };
    for shape in SHAPES {
        let file = program(Like::new(shape));
        let first = plan_with(&file, &[Edit::ResolutionCache(b"first".to_vec())], &unrecorded).unwrap().apply(&file).unwrap();
        for second in ["first", "second", ""] {
            let now = patched(&first, &[Edit::ResolutionCache(second.into())]);
            assert!(undo(&now).unwrap().apply(&now).unwrap() == first, "{shape:?} {second}");
            assert_eq!(memchr::memmem::find(&now, b"first").is_some(), second == "first", "{shape:?}");
        }
    }
}

#[test]
fn a_number_of_section_headers_that_are_not_there_stays_as_it_is() {
    // Zero would mean that the first header says how many there are, and what is appended may look like one.
    for overlay in [b"".as_slice(), &[4; 700]] {
        let mut file = program(Like { overlay, ..Like::new(LITTLE_64) });
        let behind = file.len() as u64 + 300;
        lie(&mut file, 40, behind);
        file[58..62].copy_from_slice(&[64, 0, 200, 0]); // e_shentsize, e_shnum
        let now = patched(&file, &[Edit::Interpreter("/l".repeat(150).into())]);
        assert_eq!(now[58..62], file[58..62]);
        assert!(undo(&now).unwrap().apply(&now).unwrap() == file);
    }
}
