//! Laws of committing: what a file is afterwards, what stays of it, and what is refused with nothing
//! changed. Plans are made by hand; what they are worth to a loader is tried elsewhere.

#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::commit::{Batch, CommitError, CommitKind, How, Lost, Settings, Source, in_place, output, replace};
use patcher::{Copied, FileOffset, Phase, Plan, Write};
use std::fs::{self, File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const FAST: Settings = Settings { durable: false, settled: false, keep_times: false };

/// A capability set with CAP_NET_BIND_SERVICE (capability.h, `vfs_cap_data` of revision 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn skip(reason: &str) {
    assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "skipped, but XENO_REQUIRE_ALL=1: {reason}");
    eprintln!("skipped: {reason}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file of `len` bytes, each page with another content.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 4096 * 7 + i % 251) as u8).collect()
}

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn write(original: &[u8], offset: usize, new: &[u8], phase: Phase) -> Write {
    let old = original[offset.min(original.len())..(offset + new.len()).min(original.len())].to_vec();
    Write { offset: FileOffset(offset as u64), old, new: new.to_vec(), phase, why: "to be tried".to_owned() }
}

/// Grows the file, uses dead space, commits in the first page and cleans up: everything that can be done in place.
fn appending(original: &[u8]) -> Plan {
    let end = original.len();
    let writes = vec![
        write(original, 100, b"dead space", Phase::Fresh),
        write(original, 64, b"table", Phase::Commit),
        write(original, 120, b"entry", Phase::Commit),
        write(original, 5000, b"XXXX", Phase::After),
        write(original, end + 10, &[b'n'; 6000], Phase::Fresh),
    ];
    Plan::from_parts(end as u64, end as u64 + 7000, Vec::new(), writes)
}

fn small(original: &[u8]) -> Plan {
    let writes = vec![write(original, 1, b"new", Phase::Commit)];
    Plan::from_parts(original.len() as u64, original.len() as u64, Vec::new(), writes)
}

fn copied(from: Range<u64>, to: u64) -> Copied {
    Copied { from, to: FileOffset(to), why: "to be tried".to_owned() }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn kind<T: std::fmt::Debug>(result: Result<T, CommitError>) -> CommitKind {
    result.unwrap_err().kind()
}

#[test]
fn a_replace_makes_the_planned_bytes_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    let before = fs::metadata(&path).unwrap();
    fs::hard_link(&path, dir.path().join("other")).unwrap();
    let writes = vec![write(b"0123456789", 2, b"ab", Phase::Commit), write(b"0123456789", 12, b"end", Phase::Fresh)];
    let source = Source::open(&path).unwrap();
    let done = replace(&source, &Plan::from_parts(10, 16, Vec::new(), writes), &Settings::default()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"01ab456789\0\0end\0");
    assert_eq!((done.path, done.len, done.links_broken, done.lost), (path.clone(), 16, 1, vec![]));
    assert!(matches!(done.how, How::Replaced(_)));
    assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
    assert_eq!(fs::read(dir.path().join("other")).unwrap(), b"0123456789", "the other name keeps the old bytes");
    assert_eq!(source.bytes(), b"0123456789", "and so does whoever had it mapped");
    assert_eq!(names(dir.path()), ["f", "other"]);
}

#[test]
fn a_replace_may_shorten_move_and_repeat_what_the_original_had() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(20_000);
    let plans = [
        (20_000, 9_000, vec![]),
        // A payload behind the program is moved on, one is repeated, both reach over the old end.
        (20_000, 30_000, vec![copied(12_000..20_000, 22_000)]),
        (20_000, 30_000, vec![copied(0..5_000, 6_000), copied(15_000..20_000, 25_000), copied(6_000..7_000, 11_000)]),
        (20_000, 4_000, vec![copied(16_000..20_000, 0)]),
        (20_000, 20_000, vec![copied(0..20_000, 0)]),
        (20_000, 0, vec![]),
    ];
    for (old, new, copies) in plans {
        let path = file(dir.path(), "f", &original);
        let writes = if new > 64 { vec![write(&original, 10, b"table", Phase::Commit)] } else { vec![] };
        let plan = Plan::from_parts(old, new, copies, writes);
        replace(&Source::open(&path).unwrap(), &plan, &FAST).unwrap();
        assert!(fs::read(&path).unwrap() == plan.apply(&original).unwrap(), "{plan:?}");
    }
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_hole_stays_a_hole_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let sparse = File::create(&path).unwrap();
    let size: u64 = 3 << 30;
    sparse.set_len(size).unwrap();
    sparse.write_all_at(b"head", 0).unwrap();
    sparse.write_all_at(b"middle", size / 2).unwrap();
    sparse.write_all_at(b"tail", size - 4).unwrap();
    drop(sparse);
    if fs::metadata(&path).unwrap().blocks() > 4096 {
        return skip("the file system of the temporary directory has no holes");
    }
    let write = Write { offset: FileOffset(1), old: b"e".to_vec(), new: b"E".to_vec(), phase: Phase::Commit, why: String::new() };
    // The second half comes once more behind the end, with its hole.
    let plan = Plan::from_parts(size, size + size / 2, vec![copied(size / 2..size, size)], vec![write]);
    replace(&Source::open(&path).unwrap(), &plan, &FAST).unwrap();
    let (new, meta) = (File::open(&path).unwrap(), fs::metadata(&path).unwrap());
    assert_eq!(meta.len(), size + size / 2);
    assert!(meta.blocks() < 4096, "{} blocks", meta.blocks());
    for (at, expected) in
        [(0, "hEad"), (size / 2, "midd"), (size - 4, "tail"), (size, "midd"), (size + 6, "\0\0\0\0"), (meta.len() - 4, "tail")]
    {
        let mut found = [1; 4];
        new.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, expected.as_bytes(), "at {at}");
    }
}

#[test]
fn in_place_keeps_the_inode_and_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(20_000);
    for settings in [Settings::default(), FAST, Settings { keep_times: true, ..FAST }] {
        let path = file(dir.path(), "f", &original);
        fs::set_permissions(&path, Permissions::from_mode(0o751)).unwrap();
        let other = dir.path().join("other");
        fs::hard_link(&path, &other).unwrap();
        let (before, plan) = (fs::metadata(&path).unwrap(), appending(&original));
        assert!(plan.in_place());
        let done = in_place(&Source::open(&path).unwrap(), &plan, &settings).unwrap();
        assert_eq!((done.how, done.len, done.links_broken, done.lost), (How::InPlace, 27_000, 0, vec![]));
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mode(), after.nlink()), (before.ino(), before.mode(), 2));
        assert_eq!((after.mtime(), after.mtime_nsec()) == (before.mtime(), before.mtime_nsec()), settings.keep_times);
        let expected = plan.apply(&original).unwrap();
        assert!(fs::read(&path).unwrap() == expected && fs::read(&other).unwrap() == expected);
        fs::remove_file(other).unwrap();
    }
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn what_lies_between_two_commit_writes_is_what_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(4096);
    let path = file(dir.path(), "f", &original);
    let writes = vec![
        write(&original, 10, b"first", Phase::Commit),
        write(&original, 20, b"fresh", Phase::Fresh),
        write(&original, 30, b"last", Phase::Commit),
    ];
    in_place(&Source::open(&path).unwrap(), &Plan::from_parts(4096, 4096, vec![], writes), &FAST).unwrap();
    let mut expected = original;
    expected[10..15].copy_from_slice(b"first");
    expected[20..25].copy_from_slice(b"fresh");
    expected[30..34].copy_from_slice(b"last");
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn in_place_may_repeat_a_payload_behind_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(9_000);
    let path = file(dir.path(), "f", &original);
    let plan = Plan::from_parts(9_000, 20_000, vec![copied(5_000..9_000, 16_000)], vec![write(&original, 0, b"x", Phase::Commit)]);
    in_place(&Source::open(&path).unwrap(), &plan, &FAST).unwrap();
    assert!(fs::read(&path).unwrap() == plan.apply(&original).unwrap());
}

#[test]
fn a_plan_that_is_not_one_for_in_place_is_refused_with_nothing_changed() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(20_000);
    let path = file(dir.path(), "f", &original);
    let plan = |new_len, copies, writes| Plan::from_parts(20_000, new_len, copies, writes);
    let two_pages = vec![write(&original, 10, b"a", Phase::Commit), write(&original, 4096, b"a", Phase::Commit)];
    let behind = vec![write(&original, 19_999, b"ab", Phase::Commit)];
    for plan in [
        plan(19_999, vec![], vec![]),
        plan(20_000, vec![copied(0..10, 20)], vec![]),
        plan(20_000, vec![], two_pages),
        plan(20_001, vec![], behind),
    ] {
        assert_eq!(kind(in_place(&Source::open(&path).unwrap(), &plan, &FAST)), CommitKind::Unfit, "{plan:?}");
        assert!(fs::read(&path).unwrap() == original);
    }
}

#[test]
fn a_plan_that_reaches_out_of_the_file_is_refused_with_nothing_changed() {
    let dir = tempfile::tempdir().unwrap();
    let original = bytes(100);
    let path = file(dir.path(), "f", &original);
    let at = |offset, new: &[u8]| {
        vec![Write { offset: FileOffset(offset), old: vec![], new: new.to_vec(), phase: Phase::Fresh, why: String::new() }]
    };
    #[allow(clippy::reversed_empty_ranges)]
    let plans = [
        Plan::from_parts(100, 100, vec![], at(100, b"x")),
        Plan::from_parts(100, 100, vec![], at(u64::MAX, b"x")),
        Plan::from_parts(100, 200, vec![copied(50..101, 100)], vec![]),
        Plan::from_parts(100, 200, vec![copied(50..100, 151)], vec![]),
        Plan::from_parts(100, 200, vec![copied(50..100, u64::MAX)], vec![]),
        Plan::from_parts(100, 200, vec![copied(60..50, 0)], vec![]),
        Plan::from_parts(100, 200, vec![copied(0..50, 100), copied(0..50, 149)], vec![]),
    ];
    for plan in plans {
        let source = Source::open(&path).unwrap();
        let to = dir.path().join("out");
        for result in [replace(&source, &plan, &FAST), in_place(&source, &plan, &FAST), output(&source, &plan, &to, &FAST)] {
            assert_eq!(kind(result), CommitKind::Unfit, "{plan:?}");
        }
        let batch = Batch::new(FAST);
        assert_eq!(kind(batch.add(&source, &plan)), CommitKind::Unfit);
        assert!(fs::read(&path).unwrap() == original);
        assert_eq!(names(dir.path()), ["f"]);
    }
}

#[test]
fn a_plan_for_other_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"other bytes");
    let source = Source::open(&path).unwrap();
    for plan in [small(b"0123456789a"), small(b"other byte")] {
        assert_eq!(kind(replace(&source, &plan, &FAST)), CommitKind::Changed);
        assert_eq!(kind(in_place(&source, &plan, &FAST)), CommitKind::Changed);
    }
    assert_eq!(fs::read(&path).unwrap(), b"other bytes");
}

#[test]
fn a_file_that_changed_since_it_was_read_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    let plan = small(b"0123456789");
    let changes: [(&str, &dyn Fn()); 4] = [
        ("written", &|| File::options().write(true).open(&path).unwrap().write_all_at(b"9", 9).unwrap()),
        ("touched", &|| File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()),
        ("replaced", &|| {
            fs::rename(&path, dir.path().join("old")).unwrap();
            fs::write(&path, b"012345678x").unwrap();
        }),
        ("grown", &|| File::options().write(true).open(&path).unwrap().set_len(11).unwrap()),
    ];
    for (name, change) in changes {
        fs::write(&path, b"0123456789").unwrap();
        let source = Source::open(&path).unwrap();
        change();
        let now = fs::read(&path).unwrap();
        let result = replace(&source, &plan, &FAST);
        assert!(result.as_ref().is_err_and(|e| e.to_string().ends_with("planned for other bytes; run it again")), "{name}: {result:?}");
        assert_eq!(kind(in_place(&source, &plan, &FAST)), CommitKind::Changed, "{name}");
        let batch = Batch::new(FAST);
        batch.add(&source, &plan).unwrap();
        assert_eq!(kind(batch.finish()), CommitKind::Changed, "{name}");
        assert_eq!(fs::read(&path).unwrap(), now, "{name}");
        let _ = fs::remove_file(dir.path().join("old"));
        assert_eq!(names(dir.path()), ["f"], "{name}");
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"0123456789").unwrap();
    let source = Source::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(replace(&source, &plan, &FAST)), CommitKind::Changed);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_plan_that_changes_nothing_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"");
    let source = Source::open(&path).unwrap();
    assert_eq!((source.bytes(), source.len()), (&b""[..], 0));
    let plan = Plan::from_parts(0, 0, vec![], vec![]);
    let before = fs::metadata(&path).unwrap();
    assert_eq!(replace(&source, &plan, &FAST).unwrap().how, How::Unchanged);
    assert_eq!(in_place(&source, &plan, &FAST).unwrap().how, How::Unchanged);
    let batch = Batch::new(Settings::default());
    assert!(!batch.add(&source, &plan).unwrap());
    assert_eq!(batch.finish().unwrap(), []);
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
    // An output is asked for and comes.
    assert!(matches!(output(&source, &plan, &dir.path().join("copy"), &FAST).unwrap().how, How::Written(_)));
    assert_eq!(names(dir.path()), ["copy", "f"]);
}

#[test]
fn only_regular_files_are_opened_and_a_fifo_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("loop", dir.path().join("loop")).unwrap();
    for (path, expected) in [
        (fifo.clone(), CommitKind::NotRegular),
        (dir.path().to_owned(), CommitKind::NotRegular),
        ("/dev/null".into(), CommitKind::NotRegular),
        (dir.path().join("missing"), CommitKind::NotFound),
        (dir.path().join("loop"), CommitKind::Io),
    ] {
        assert_eq!(kind(Source::open(&path)), expected, "{path:?}");
    }
    let path = file(dir.path(), "f", b"0123456789");
    let (source, plan) = (Source::open(&path).unwrap(), small(b"0123456789"));
    for to in [&fifo, dir.path(), Path::new("/dev/null")] {
        assert_eq!(kind(output(&source, &plan, to, &FAST)), CommitKind::NotRegular, "{to:?}");
    }
}

#[test]
fn links_are_followed_and_stay_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let real = file(&dir.path().join("d"), "f", b"0123456789");
    symlink("d/f", dir.path().join("one")).unwrap();
    symlink("one", dir.path().join("two")).unwrap();
    let source = Source::open(&dir.path().join("two")).unwrap();
    let done = replace(&source, &small(b"0123456789"), &FAST).unwrap();
    assert_eq!(done.path, real);
    assert_eq!(fs::read(&real).unwrap(), b"0new456789");
    assert_eq!(fs::read_link(dir.path().join("two")).unwrap(), Path::new("one"));
    assert_eq!((names(dir.path()), names(&dir.path().join("d"))), (vec!["d".into(), "one".into(), "two".into()], vec!["f".into()]));
}

#[test]
fn an_output_has_the_sources_permissions_and_replaces_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    fs::set_permissions(&path, Permissions::from_mode(0o4751)).unwrap();
    let to = file(dir.path(), "to", b"something else, and longer");
    let opened = File::open(&to).unwrap();
    let done = output(&Source::open(&path).unwrap(), &small(b"0123456789"), &to, &Settings::default()).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"0new456789");
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o751);
    assert_eq!(done.lost, [Lost::Mode { wanted: 0o4751, have: 0o751 }], "the copy is the caller's: no set-id bit, and it is told");
    assert_eq!(done.lost[0].to_string(), "the mode 4751 became 0751");
    assert_eq!(opened.metadata().unwrap().len(), 26, "who had it open keeps it");
    assert_eq!(fs::read(&path).unwrap(), b"0123456789");
    // A link is followed, also one to what is not there yet.
    symlink("new", dir.path().join("link")).unwrap();
    output(&Source::open(&path).unwrap(), &small(b"0123456789"), &dir.path().join("link"), &FAST).unwrap();
    assert_eq!(fs::read(dir.path().join("new")).unwrap(), b"0new456789");
    let missing = dir.path().join("missing/to");
    assert_eq!(kind(output(&Source::open(&path).unwrap(), &small(b"0123456789"), &missing, &FAST)), CommitKind::NotFound);
    assert_eq!(names(dir.path()), ["f", "link", "new", "to"]);
}

#[test]
fn an_output_onto_the_input_is_a_replace() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    fs::set_permissions(&path, Permissions::from_mode(0o4751)).unwrap();
    symlink("f", dir.path().join("link")).unwrap();
    let done = output(&Source::open(&path).unwrap(), &small(b"0123456789"), &dir.path().join("link"), &FAST).unwrap();
    assert!(matches!(done.how, How::Replaced(_)));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4751);
    assert_eq!(fs::read(&path).unwrap(), b"0new456789");
}

#[test]
fn times_are_those_of_the_edit_unless_they_are_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    for keep_times in [false, true] {
        let path = file(dir.path(), "f", b"0123456789");
        let past = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        replace(&Source::open(&path).unwrap(), &small(b"0123456789"), &Settings { keep_times, ..FAST }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap() == past, keep_times);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn mode_owner_attributes_acls_and_capabilities_are_kept() {
    if !is_root() {
        return skip("only root gives files away and sets capabilities");
    }
    let dir = tempfile::tempdir().unwrap();
    // Version 2: the owner, user 4711, the group, the mask, the others (posix_acl_xattr.h).
    let entries: [(u16, u16, u32); 5] = [(1, 7, u32::MAX), (2, 5, 4711), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 1, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    entries.iter().for_each(|(tag, perm, id)| acl.extend([&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()));
    let attributes: [(&str, &[u8]); 4] =
        [("user.note", b"kept"), ("trusted.note", b""), ("security.capability", &CAPABILITY), ("system.posix_acl_access", &acl)];
    for way in [replace, in_place] {
        let path = file(dir.path(), "f", b"0123456789");
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o6751)).unwrap();
        let open = File::open(&path).unwrap();
        for (name, value) in attributes {
            if let Err(e) = rustix::fs::fsetxattr(&open, name, value, rustix::fs::XattrFlags::empty()) {
                return skip(&format!("the file system of the temporary directory has no {name}: {e}"));
            }
        }
        let done = way(&Source::open(&path).unwrap(), &small(b"0123456789"), &Settings::default()).unwrap();
        assert_eq!(done.lost, []);
        let (after, open) = (fs::metadata(&path).unwrap(), File::open(&path).unwrap());
        assert_eq!((after.uid(), after.gid(), after.mode() & 0o7777), (4711, 4712, 0o6751));
        for (name, value) in attributes {
            let mut found = [0; 100];
            let len = rustix::fs::fgetxattr(&open, name, &mut found).unwrap();
            assert_eq!(&found[..len], value, "{name}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"0new456789");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_a_directory_gives_to_new_files_is_not_given_to_a_successor() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let entries: [(u16, u16, u32); 5] = [(1, 7, u32::MAX), (2, 7, 4711), (4, 7, u32::MAX), (16, 7, u32::MAX), (32, 7, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    entries.iter().for_each(|(tag, perm, id)| acl.extend([&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()));
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(e) = rustix::fs::setxattr(dir.path(), "system.posix_acl_default", &acl, flags) {
        return skip(&format!("the file system of the temporary directory has no ACLs: {e}"));
    }
    replace(&Source::open(&path).unwrap(), &small(b"0123456789"), &FAST).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert!(rustix::fs::getxattr(&path, "system.posix_acl_access", &mut [0; 100]).is_err(), "user 4711 would be able to write it");
}

#[test]
fn a_file_that_another_program_is_changing_in_place_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"0123456789");
    let other = File::open(&path).unwrap();
    other.lock().unwrap();
    let result = in_place(&Source::open(&path).unwrap(), &small(b"0123456789"), &FAST);
    assert!(matches!(result, Err(CommitError::Locked { .. })));
    drop(other);
    in_place(&Source::open(&path).unwrap(), &small(b"0123456789"), &FAST).unwrap();
}

#[test]
fn a_name_as_long_as_names_can_be_leaves_room_for_the_temporary_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &"n".repeat(255), b"0123456789");
    replace(&Source::open(&path).unwrap(), &small(b"0123456789"), &FAST).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0new456789");
}

#[test]
fn a_batch_replaces_all_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::new(Settings::default());
    let paths: Vec<PathBuf> = (0..40).map(|i| file(dir.path(), &format!("f{i:02}"), b"0123456789")).collect();
    std::thread::scope(|threads| {
        for part in paths.chunks(10) {
            let batch = &batch;
            threads.spawn(move || {
                for path in part {
                    assert!(batch.add(&Source::open(path).unwrap(), &small(b"0123456789")).unwrap());
                }
            });
        }
    });
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == b"0123456789"), "nothing is new before all are written");
    assert_eq!(names(dir.path()).iter().filter(|n| n.starts_with(".f") && n.contains(".xeno-")).count(), 40);
    let done = batch.finish().unwrap();
    assert_eq!(done.len(), 40);
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == b"0new456789"));
    assert_eq!(names(dir.path()).len(), 40);
}

#[test]
fn a_batch_that_fails_or_is_dropped_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..3).map(|i| file(dir.path(), &format!("f{i}"), b"0123456789")).collect();
    let batch = Batch::new(Settings::default());
    batch.add(&Source::open(&paths[0]).unwrap(), &small(b"0123456789")).unwrap();
    assert_eq!(kind(batch.add(&Source::open(&paths[1]).unwrap(), &small(b"other bytes"))), CommitKind::Changed);
    assert_eq!(names(dir.path()), ["f0", "f1", "f2"], "the temporary file of the first is gone too");
    assert!(matches!(batch.add(&Source::open(&paths[2]).unwrap(), &small(b"0123456789")), Err(CommitError::Abandoned { .. })));
    assert!(matches!(batch.finish(), Err(CommitError::Abandoned { .. })));
    let twice = Batch::new(FAST);
    twice.add(&Source::open(&paths[0]).unwrap(), &small(b"0123456789")).unwrap();
    assert_eq!(kind(twice.add(&Source::open(&paths[0]).unwrap(), &small(b"0123456789"))), CommitKind::Unfit);
    let dropped = Batch::new(FAST);
    dropped.add(&Source::open(&paths[0]).unwrap(), &small(b"0123456789")).unwrap();
    drop(dropped);
    assert_eq!(names(dir.path()), ["f0", "f1", "f2"]);
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == b"0123456789"));
}

#[test]
fn a_batch_that_cannot_rename_a_file_says_which_are_new() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..3).map(|i| file(dir.path(), &format!("f{i}"), b"0123456789")).collect();
    if !is_root()
        || !Command::new("mount").args(["--bind".as_ref(), paths[1].as_os_str(), paths[1].as_os_str()]).status().unwrap().success()
    {
        return skip("making a mount point, over which nothing is renamed, needs root");
    }
    let batch = Batch::new(FAST);
    for path in &paths {
        batch.add(&Source::open(path).unwrap(), &small(b"0123456789")).unwrap();
    }
    let result = batch.finish();
    assert!(Command::new("umount").arg(&paths[1]).status().unwrap().success());
    let Err(CommitError::Partly { renamed, total: 3, source }) = result else { panic!("{result:?}") };
    assert_eq!(renamed, [paths[0].clone()]);
    assert!(source.to_string().ends_with("it is a mount point: change it in place, or unmount it"), "{source}");
    let contents: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(contents, [b"0new456789", b"0123456789", b"0123456789"]);
    assert_eq!(names(dir.path()), ["f0", "f1", "f2"]);
}
