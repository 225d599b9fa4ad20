//! What an edit leaves behind, on whole small programs of every class and byte order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod tiny;

use patcher::{Edit, Error, Kind, Options, Phase, Plan, RpathTag, Rung, View, Way, plan, plan_with, undo};
use tiny::dynamic::{INTERPRETER, Like, NEEDED, RUNPATH, SONAME, program};
use tiny::{LITTLE_64, SHAPES};

const LONG: &str = "/a/directory/that/is/longer/than/anything/the/program/has/room/for/lib/ld.so";

fn in_place() -> Options {
    Options { way: Way::InPlace, ..Options::default() }
}

fn rpath(value: &str) -> Edit {
    Edit::Rpath { value: value.into(), tag: RpathTag::Runpath }
}

fn interpreter(path: &str) -> Edit {
    Edit::Interpreter(path.into())
}

/// The patched bytes, after the plan was proven byte by byte.
#[track_caller]
fn done(plan: &Plan, file: &[u8]) -> Vec<u8> {
    let after = plan.apply(file).unwrap();
    assert_eq!(plan.verify(file, &after), Ok(()));
    after
}

#[track_caller]
fn patched(file: &[u8], edits: &[Edit]) -> Vec<u8> {
    done(&plan(file, edits).unwrap(), file)
}

/// What a loader reads, as text.
fn says(file: &[u8]) -> String {
    let view = View::parse(file).unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map_or("-".into(), |b| String::from_utf8_lossy(b).into_owned());
    let needed: Vec<String> = view.needed().unwrap().into_iter().map(|n| text(Some(n))).collect();
    format!(
        "interp {} soname {} rpath {} runpath {} needed {}",
        text(view.interpreter()),
        text(view.soname().unwrap()),
        text(view.rpath().unwrap()),
        text(view.runpath().unwrap()),
        needed.join(",")
    )
}

/// Every layout the small program comes in.
fn all() -> Vec<Like> {
    let mut all = Vec::new();
    for shape in SHAPES {
        for (spare, padding) in [(1, 0), (4, 0), (1, 2000), (4, 2000)] {
            for overlay in [b"".as_slice(), b"something that is looked for, nobody knows how"] {
                all.push(Like { spare, padding, overlay, ..Like::new(shape) });
            }
        }
    }
    all
}

fn every_edit() -> Vec<Edit> {
    vec![
        interpreter(LONG),
        Edit::Soname(b"libelse.so.7".to_vec()),
        rpath("$ORIGIN/../lib:/opt/some/where/else/that/is/long"),
        Edit::RemoveNeeded(vec![b"libother.so.2".to_vec()]),
        Edit::ReplaceNeeded(vec![(b"libc.so.6".to_vec(), b"libc-of-another-name.so.6".to_vec())]),
        Edit::AddNeeded(vec![b"libfirst.so.1".to_vec(), b"libsecond.so.1".to_vec()]),
        Edit::NoDefaultLib,
        Edit::OsAbi(3),
        Edit::ExecStack(true),
    ]
}

const EVERYTHING: &str = "interp /a/directory/that/is/longer/than/anything/the/program/has/room/for/lib/ld.so soname libelse.so.7 rpath - \
     runpath $ORIGIN/../lib:/opt/some/where/else/that/is/long needed libfirst.so.1,libsecond.so.1,libc-of-another-name.so.6";

#[test]
fn every_edit_is_what_the_loader_reads_afterwards() {
    for like in all() {
        for options in [Options::default(), in_place()] {
            let file = program(like);
            let after = done(&plan_with(&file, &every_edit(), &options).unwrap(), &file);
            assert_eq!(says(&after), EVERYTHING, "{like:?} {options:?}");
            let view = View::parse(&after).unwrap();
            assert_eq!((view.header().os_abi, view.exec_stack()), (3, Some(true)), "{like:?}");
        }
    }
}

#[test]
fn an_edit_is_undone_byte_for_byte_after_any_number_of_others() {
    for like in all() {
        let file = program(like);
        let mut now = file.clone();
        for (n, edit) in every_edit().into_iter().enumerate() {
            let options = if n % 2 == 0 { Options::default() } else { in_place() };
            let options = Options { clobber: n % 3 == 0, ..options };
            now = done(&plan_with(&now, &[edit], &options).unwrap(), &now);
            let back = undo(&now).unwrap_or_else(|e| panic!("{like:?} after {n}: {e}"));
            assert!(done(&back, &now) == file, "{like:?} after {n}");
        }
        assert_eq!(says(&now), EVERYTHING, "{like:?}");
    }
}

#[test]
fn what_was_not_patched_here_or_was_changed_since_is_not_undone() {
    let file = program(Like::new(LITTLE_64));
    assert_eq!(undo(&file).unwrap_err().kind(), Kind::Absent);
    let mut after = patched(&file, &[rpath(LONG)]);
    after.push(0);
    assert_eq!(undo(&after).unwrap_err().kind(), Kind::Absent, "something was appended");
    let mut after = patched(&file, &[rpath(LONG)]);
    after[7] = 9;
    assert!(undo(&after).is_err_and(|e| e.kind() == Kind::Absent), "a header was edited");
}

#[test]
fn the_same_again_changes_nothing() {
    for like in all() {
        let file = program(like);
        let same = [interpreter(INTERPRETER), Edit::Soname(SONAME.into()), rpath(RUNPATH), Edit::RemoveNeeded(vec![b"libno.so".to_vec()])];
        assert!(plan(&file, &same).unwrap().is_empty(), "{like:?}");
        let after = patched(&file, &every_edit());
        let again = [interpreter(LONG), Edit::Soname(b"libelse.so.7".to_vec()), Edit::NoDefaultLib, Edit::ExecStack(true)];
        assert!(plan(&after, &again).unwrap().is_empty(), "{like:?}");
        assert_eq!(plan(&file, &[interpreter("")]).unwrap().to_string(), "nothing to change\n");
    }
}

#[test]
fn padding_that_suffices_costs_no_byte() {
    for shape in SHAPES {
        let file = program(Like { spare: 4, padding: 2000, overlay: b"payload", ..Like::new(shape) });
        let plan = plan(&file, &[interpreter(LONG), rpath(LONG)]).unwrap();
        assert_eq!((plan.rung(), plan.new_len()), (Rung::Slack, file.len() as u64), "{shape:?}");
        let shorter = [interpreter("/l"), rpath("/x")];
        assert_eq!(patcher::plan(&file, &shorter).unwrap().rung(), Rung::InPlace, "{shape:?}");
    }
}

#[test]
fn a_hundred_edits_grow_the_file_no_more_than_the_largest_one() {
    for like in all() {
        let file = program(like);
        let edits = |n: usize| [rpath(&"/x".repeat(n * 37 % 101 + 8)), interpreter(&format!("/{}", "y".repeat(n * 53 % 97 + 20)))];
        let alone = (0..100).map(|n| plan(&file, &edits(n)).unwrap().new_len()).max().unwrap();
        let mut now = file.clone();
        for n in 0..100 {
            now = patched(&now, &edits(n));
            assert!(now.len() as u64 <= alone, "{like:?}: {} bytes after {n}, {alone} at most", now.len());
        }
        // In place the old bytes are read until the new ones are true: there are two sets of them, and gaps
        // where one was too small for the next.
        let one = plan_with(&file, &edits(0), &in_place()).unwrap();
        let bare = program(Like { spare: 1, padding: 0, ..like });
        let each = (0..100).map(|n| plan_with(&bare, &edits(n), &in_place()).unwrap().new_len()).max().unwrap() - bare.len() as u64;
        let mut now = done(&one, &file);
        for n in 1..100 {
            now = done(&plan_with(&now, &edits(n), &in_place()).unwrap(), &now);
            assert!(now.len() as u64 <= file.len() as u64 + 3 * each, "{like:?}: {} bytes after {n}, {each} each", now.len());
        }
    }
}

/// The file after the first `n` of an in-place plan's steps, in the order in which they are committed.
fn killed_after(plan: &Plan, file: &[u8], n: usize) -> Vec<u8> {
    let mut now = file.to_vec();
    let mut order: Vec<_> = plan.writes().iter().collect();
    order.sort_by_key(|w| w.phase);
    let commits = order.iter().filter(|w| w.phase == Phase::Commit).count();
    let before = order.iter().filter(|w| w.phase == Phase::Fresh).count();
    for (i, write) in order.into_iter().enumerate() {
        // What commits is one write.
        let step = if i < before { i } else { i.saturating_sub(commits.saturating_sub(1)).max(before) };
        if step < n {
            let (start, end) = (write.offset.0 as usize, write.offset.0 as usize + write.new.len());
            now.resize(now.len().max(end), 0);
            now[start..end].copy_from_slice(&write.new);
        }
    }
    now
}

#[test]
fn killed_at_any_step_in_place_the_loader_sees_the_old_file_or_the_new_one() {
    for like in all() {
        let first = program(like);
        for file in [first.clone(), done(&plan_with(&first, &[rpath(LONG)], &in_place()).unwrap(), &first)] {
            let options = Options { clobber: like.spare == 1, ..in_place() };
            let plan = plan_with(&file, &[interpreter(LONG), rpath("/opt/one:/opt/two/three/four/five/six/seven")], &options).unwrap();
            if !plan.in_place() {
                assert!(!like.overlay.is_empty(), "{like:?}: only a payload stands in the way");
                continue;
            }
            let (old, new) = (says(&file), says(&done(&plan, &file)));
            assert_ne!(old, new);
            for step in 0..plan.writes().len() + 1 {
                let killed = killed_after(&plan, &file, step);
                let seen = says(&killed);
                assert!(seen == old || seen == new, "{like:?} step {step}: {seen}");
                // What comes after the commit is cut off last; until then the record is not at the end.
                if seen == new && plan.new_len() >= file.len() as u64 {
                    assert!(undo(&killed).unwrap().apply(&killed).unwrap() == first, "{like:?} step {step}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_payload_stays_where_it_was_and_stays_last() {
    let payload = b"something that is looked for, nobody knows how";
    for shape in SHAPES {
        let file = program(Like { overlay: payload, ..Like::new(shape) });
        let at = file.len() - payload.len();
        let mut now = file.clone();
        for edit in every_edit() {
            now = patched(&now, &[edit]);
            assert!(now.ends_with(payload), "{shape:?}: found from the end");
            assert_eq!(&now[at..at + payload.len()], payload, "{shape:?}: found from the start");
        }
    }
}

#[test]
fn a_run_path_of_one_kind_becomes_the_other_and_is_removed_under_both() {
    for like in all() {
        let file = program(like);
        let forced = patched(&file, &[Edit::Rpath { value: RUNPATH.into(), tag: RpathTag::Rpath }]);
        assert!(says(&forced).contains(&format!("rpath {RUNPATH} runpath -")), "{like:?}: {}", says(&forced));
        let back = patched(&forced, &[rpath(RUNPATH)]);
        assert!(says(&back).contains(&format!("rpath - runpath {RUNPATH}")), "{like:?}");
        let none = patched(&forced, &[Edit::RemoveRpath]);
        assert!(says(&none).contains("rpath - runpath -"), "{like:?}");
    }
}

#[test]
fn an_old_run_path_is_nowhere_in_the_file_any_more() {
    for like in all() {
        for options in [Options { undo: false, ..Options::default() }, Options { undo: false, ..in_place() }] {
            let file = program(like);
            let after = done(&plan_with(&file, &[rpath(LONG)], &options).unwrap(), &file);
            assert!(memchr::memmem::find(&after, RUNPATH.as_bytes()).is_none(), "{like:?}");
            assert!(memchr::memmem::find(&file, RUNPATH.as_bytes()).is_some());
        }
    }
}

#[test]
fn a_string_table_that_moved_is_wiped_out_on_request_and_comes_back() {
    for like in all() {
        for options in [Options { clobber: true, ..Options::default() }, Options { clobber: true, ..in_place() }] {
            let file = program(like);
            let count = |file: &[u8]| memchr::memmem::find_iter(file, SONAME.as_bytes()).count();
            let mut now = file.clone();
            for path in [LONG, "/opt/of/another/length/that/is/longer/than/what/was/there", "/x"] {
                now = done(&plan_with(&now, &[rpath(path)], &options).unwrap(), &now);
                assert_eq!((count(&file), count(&now)), (1, 1), "{like:?} {path}");
                assert!(says(&now).contains(path) && says(&now).contains(SONAME), "{like:?} {path}");
                assert!(done(&undo(&now).unwrap(), &now) == file, "{like:?} {path}");
            }
        }
    }
}

#[test]
fn section_headers_in_the_way_of_a_program_header_move_and_stay_true() {
    for shape in SHAPES {
        for options in [Options::default(), in_place()] {
            let file = program(Like { sections: true, ..Like::new(shape) });
            let after = done(&plan_with(&file, &[rpath(LONG), Edit::AddNeeded(vec![b"liba.so".to_vec()])], &options).unwrap(), &file);
            let view = View::parse(&after).unwrap();
            let dynamic = view.segments().iter().find(|s| s.p_type == 2).unwrap();
            let section = view.sections()[1];
            assert_eq!((section.sh_type, section.offset, section.addr), (6, dynamic.offset.0, dynamic.vaddr), "{shape:?} {options:?}");
            assert_eq!(view.sections()[0], View::parse(&file).unwrap().sections()[0], "{shape:?} {options:?}");
        }
    }
}

#[test]
fn added_libraries_come_first_and_the_others_keep_their_order() {
    let file = program(Like::new(LITTLE_64));
    let after = patched(&file, &[Edit::AddNeeded(vec![b"libb.so".to_vec(), b"liba.so".to_vec()])]);
    assert!(says(&after).ends_with(&format!("needed libb.so,liba.so,{},{}", NEEDED[0], NEEDED[1])));
}

#[test]
fn a_resolution_cache_is_read_back_and_goes_with_the_run_path_it_was_made_for() {
    for like in all() {
        let file = program(like);
        let descriptor = b"libc.so.6\0=/lib/libc.so.6\0\0".to_vec();
        let after = patched(&file, &[Edit::ResolutionCache(descriptor.clone())]);
        let has = |file: &[u8]| memchr::memmem::find(file, &descriptor).is_some();
        assert!(has(&after), "{like:?}");
        assert!(has(&patched(&after, &[Edit::OsAbi(3)])), "{like:?}: another edit keeps it");
        assert!(!has(&patched(&after, &[rpath("/elsewhere")])), "{like:?}: another run path does not");
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let file = program(Like::new(LITTLE_64));
    let refused = |edit: Edit| plan(&file, &[edit]).unwrap_err().to_string();
    assert_eq!(refused(interpreter("/a\0b")), "replacing the interpreter: it contains a NUL; use another text");
    assert_eq!(refused(interpreter(&"/".repeat(5000))), "replacing the interpreter: 5000 bytes do not fit into 4095; use a shorter text");
    let header = 64;
    let mut lies = file.clone();
    lies[54] = 55;
    assert_eq!(
        plan(&lies, &[rpath("/x")]).unwrap_err(),
        Error::Field { field: "e_phentsize", offset: patcher::FileOffset(0), value: 55, reason: "it is not the size of a program header" }
    );
    let mut far = file.clone();
    far[header + 56 * 4 + 32..header + 56 * 4 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(plan(&far, &[rpath("/x")]).unwrap_err().kind(), Kind::Malformed);
}

#[test]
fn a_plan_prints_the_segments_now_and_then_and_every_write() {
    let file = program(Like::new(LITTLE_64));
    let text = plan(&file, &[rpath(LONG)]).unwrap().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "segments now:");
    assert_eq!(lines.iter().filter(|l| l.trim_start().starts_with("LOAD")).count(), 2 + 3, "{text}");
    for wanted in ["placed in a segment behind the end; ", "(program headers)", "(dynamic strings)", "(what undoes this edit)"] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

/// Deterministic, so that a failure can be repeated (Marsaglia's xorshift).
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

#[test]
fn a_corrupt_program_is_an_error_or_a_sound_plan_and_never_a_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let ask = |file: &[u8]| {
        for options in [Options::default(), in_place()] {
            if let Ok(plan) = plan_with(file, &every_edit(), &options)
                && plan.new_len() < 1 << 24
            {
                let after = done(&plan, file);
                if undo(file).is_err()
                    && let Ok(back) = undo(&after)
                {
                    assert!(done(&back, &after) == file, "undone");
                }
            }
        }
        let _ = undo(file);
    };
    for like in all() {
        let file = program(like);
        let edited = patched(&file, &every_edit());
        for _ in 0..150 {
            for file in [&file, &edited] {
                let mut bad = file.clone();
                for _ in 0..=random(&mut seed) % 3 {
                    let at = random(&mut seed) % bad.len();
                    bad[at] = [0, 1, 0x7f, 0x80, 0xff, random(&mut seed) as u8][random(&mut seed) % 6];
                }
                ask(&bad);
                ask(&bad[..random(&mut seed) % bad.len()]);
            }
        }
    }
}
