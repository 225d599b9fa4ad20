//! Laws of shrinking run paths and of the resolution cache, on directories made here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::resolution_cache::{Nothing, ThisMachine, descriptor};
use patcher::shrink::{NotElf, ShrinkError, Verdict, judge, shrink};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The first 64 bytes of a library for this machine.
fn library(machine: u16, big_endian: bool) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1 + u8::from(big_endian), 1]);
    head[18..20].copy_from_slice(&if big_endian { machine.to_be_bytes() } else { machine.to_le_bytes() });
    head
}

const X86_64: u16 = 62;
const S390: u16 = 22;

fn tree(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn text(root: &Path, path: &str) -> String {
    path.replace("ROOT", root.to_str().unwrap())
}

fn shrunk(root: &Path, path: &str, needed: &[&str], prefixes: &[&str]) -> String {
    let needed: Vec<&[u8]> = needed.iter().map(|n| n.as_bytes()).collect();
    let prefixes: Vec<String> = prefixes.iter().map(|p| text(root, p)).collect();
    let prefixes: Vec<&[u8]> = prefixes.iter().map(|p| p.as_bytes()).collect();
    let kept = shrink(text(root, path).as_bytes(), &needed, X86_64, &prefixes).unwrap();
    String::from_utf8(kept).unwrap().replace(root.to_str().unwrap(), "ROOT")
}

#[test]
fn a_directory_stays_if_a_library_is_first_found_there() {
    let root = tree(&[
        ("a/libone.so", library(X86_64, false)),
        ("b/libone.so", library(X86_64, false)),
        ("b/libtwo.so", library(X86_64, false)),
        ("c/libtwo.so", library(X86_64, false)),
        ("d/libthree.so", library(X86_64, false)),
    ]);
    let needed = ["libone.so", "libtwo.so"];
    assert_eq!(shrunk(root.path(), "ROOT/a:ROOT/b:ROOT/c:ROOT/d:ROOT/none", &needed, &[]), "ROOT/a:ROOT/b");
    assert_eq!(shrunk(root.path(), "ROOT/c:ROOT/b:ROOT/a", &needed, &[]), "ROOT/c:ROOT/b");
    assert_eq!(shrunk(root.path(), "ROOT/b:ROOT/b", &needed, &[]), "ROOT/b");
    assert_eq!(shrunk(root.path(), "ROOT/a", &[], &[]), "");
    assert_eq!(shrunk(root.path(), "", &needed, &[]), "");
}

#[test]
fn relative_directories_and_tokens_stay_and_an_empty_one_does_not() {
    let root = tree(&[]);
    assert_eq!(shrunk(root.path(), "$ORIGIN/../lib::lib:ROOT:${LIB}", &["libone.so"], &["/nowhere"]), "$ORIGIN/../lib:lib:${LIB}");
}

#[test]
fn prefixes_are_compared_byte_for_byte() {
    let root = tree(&[("ab/libone.so", library(X86_64, false)), ("b/libtwo.so", library(X86_64, false))]);
    assert_eq!(shrunk(root.path(), "ROOT/ab:ROOT/b", &["libone.so", "libtwo.so"], &["ROOT/a"]), "ROOT/ab");
    assert_eq!(shrunk(root.path(), "ROOT/ab:ROOT/b", &["libone.so", "libtwo.so"], &["ROOT/x", "ROOT/b"]), "ROOT/b");
}

#[test]
fn a_library_of_another_machine_does_not_count_in_any_byte_order() {
    let root = tree(&[("a/libone.so", library(S390, true)), ("b/libone.so", library(X86_64, false))]);
    assert_eq!(shrunk(root.path(), "ROOT/a:ROOT/b", &["libone.so"], &[]), "ROOT/b");
    let path = text(root.path(), "ROOT/a:ROOT/b");
    let verdicts = judge(path.as_bytes(), &[b"libone.so"], S390, &[]).unwrap();
    assert_eq!(verdicts.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>(), [Verdict::Holds, Verdict::Useless]);
}

#[test]
fn what_is_there_and_no_library_stops_it() {
    let mut old = library(X86_64, false);
    old[6] = 0;
    let mut odd = library(X86_64, false);
    odd[4] = 3;
    let files = [
        ("a/lib.so", b"\x7fELF".to_vec(), NotElf::Short),
        ("a/lib.so", vec![0; 60], NotElf::Magic),
        ("a/lib.so", old, NotElf::Version),
        ("a/lib.so", odd, NotElf::Class),
    ];
    for (name, bytes, expected) in files {
        let root = tree(&[(name, bytes)]);
        let error = shrink(text(root.path(), "ROOT/a").as_bytes(), &[b"lib.so"], X86_64, &[]).unwrap_err();
        assert!(matches!(&error, ShrinkError::NotElf { reason, .. } if *reason == expected), "{error}");
    }
    let root = tree(&[("a/lib.so/x", Vec::new())]);
    let error = shrink(text(root.path(), "ROOT/a").as_bytes(), &[b"lib.so"], X86_64, &[]).unwrap_err();
    assert!(matches!(error, ShrinkError::Unreadable { .. }), "{error}");
}

fn cached(root: &Path, path: &str, needed: &[&str]) -> Result<String, Nothing> {
    let needed: Vec<&[u8]> = needed.iter().map(|n| n.as_bytes()).collect();
    let bytes = descriptor(&needed, text(root, path).as_bytes(), &ThisMachine)?;
    Ok(String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "ROOT").replace('\0', "|"))
}

#[test]
fn the_cache_names_each_library_with_its_places_in_the_order_of_the_run_path() {
    let root = tree(&[("a/libone.so", Vec::new()), ("b/libone.so", Vec::new()), ("b/libtwo.so", Vec::new())]);
    assert_eq!(
        cached(root.path(), "ROOT/a:ROOT/b", &["libtwo.so", "libone.so", "libthree.so"]),
        Ok("libone.so|=ROOT/a/libone.so:=ROOT/b/libone.so|libtwo.so|=ROOT/b/libtwo.so||".to_owned())
    );
}

#[test]
fn what_only_the_loader_can_resolve_is_a_hint_in_its_place() {
    let root = tree(&[("a/libone.so", Vec::new()), ("h/glibc-hwcaps/x", Vec::new()), ("h/libone.so", Vec::new())]);
    assert_eq!(
        cached(root.path(), "$ORIGIN:ROOT/h::ROOT/a:lib:ROOT/$LIB:ROOT/none:ROOT/a/libone.so", &["libone.so", "/abs/libtwo.so"]),
        Ok("libone.so|?$ORIGIN:?ROOT/h:?:=ROOT/a/libone.so:?lib:?ROOT/$LIB:?ROOT/none:?ROOT/a/libone.so||".to_owned())
    );
}

#[test]
fn without_needs_run_path_or_a_find_there_is_no_cache() {
    let root = tree(&[("a/libone.so", Vec::new())]);
    assert_eq!(cached(root.path(), "ROOT/a", &[]), Err(Nothing::NothingToResolve));
    assert_eq!(cached(root.path(), "", &["libone.so"]), Err(Nothing::NothingToResolve));
    assert_eq!(cached(root.path(), "ROOT/a", &["libtwo.so"]), Err(Nothing::NothingFound));
    assert_eq!(cached(root.path(), "ROOT/a:$ORIGIN", &["/abs/libone.so"]), Err(Nothing::NothingFound));
}
