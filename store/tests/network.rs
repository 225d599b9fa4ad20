//! The whole chain against the real archive, from an empty store. Needs a mirror: runs only if `XENO_TEST_NETWORK` is set,
//! says why it is skipped otherwise, and fails instead of skipping if `XENO_REQUIRE_ALL=1`.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use resolver::arch::Arch;
use resolver::needs::Libc;
use resolver::provider::{Offer, Origin, Provider, Want};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::config::Config;
use store::debian::{Debian, Options};
use store::root::StoreRoot;

fn skipped(reason: &str) -> bool {
    assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "may not be skipped: {reason}");
    println!("skipped: {reason}");
    true
}

fn no_network() -> bool {
    std::env::var_os("XENO_TEST_NETWORK").is_none() && skipped("XENO_TEST_NETWORK is not set")
}

fn want(soname: &str, arch: &str, libc: Libc) -> Want {
    Want {
        soname: soname.to_owned(),
        arch: Arch::from_short(arch).unwrap(),
        libc,
        versions: BTreeSet::new(),
        optional: false,
        for_driver: false,
    }
}

fn debian(root: &Path, offline: bool) -> Debian {
    Debian::new(StoreRoot::at(root), Config::from_env().unwrap(), Options { offline, ..Options::default() })
}

fn shown(root: &Path, offer: Option<&Offer>) -> String {
    let Some(offer) = offer else { return "none".to_owned() };
    let Origin::Package(package) = &offer.origin else { panic!("{offer:?}") };
    let path: PathBuf = offer.file.strip_prefix(root.join("store")).unwrap().components().skip(1).collect();
    format!("{} {} | {}", package.name, path.display(), offer.why)
}

fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()))
        .collect();
    all.sort();
    all
}

#[test]
fn real_sonames_are_answered_from_the_newest_suite_that_has_them() {
    if no_network() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let provider = debian(root, false);
    let names = ["libX11.so.6", "libgcc_s.so.1", "libxkbcommon.so.0", "libicui18n.so.60", "libssl.so.1.1"];
    let wants: Vec<Want> = names.iter().map(|n| want(n, "x86_64", Libc::Glibc)).collect();
    let start = Instant::now();
    let offers = provider.provide(&wants).unwrap();
    println!("five names from an empty store: {:?}", start.elapsed());
    let answers: Vec<String> = offers.iter().map(|o| shown(root, o.as_ref())).collect();
    for (name, answer) in names.iter().zip(&answers) {
        println!("{name}: {answer}");
    }
    assert!(
        answers[0].starts_with("libx11-6 usr/lib/x86_64-linux-gnu/libX11.so.6 | trixie: libx11-6, best of 2 candidates"),
        "{}",
        answers[0]
    );
    assert!(answers[1].starts_with("libgcc-s1 usr/lib/x86_64-linux-gnu/libgcc_s.so.1 | trixie: libgcc-s1"), "{}", answers[1]);
    assert!(answers[2].starts_with("libxkbcommon0 usr/lib/x86_64-linux-gnu/libxkbcommon.so.0 | trixie"), "{}", answers[2]);
    assert_eq!(answers[3], "none");
    assert!(answers[4].starts_with("libssl1.1 usr/lib/x86_64-linux-gnu/libssl.so.1.1 | bullseye: libssl1.1"), "{}", answers[4]);

    let start = Instant::now();
    let set = provider.libc_set(Arch::from_short("x86_64").unwrap(), Libc::Glibc).unwrap().unwrap();
    println!("glibc set (amd64): {:?}, {set:#?}", start.elapsed());
    assert!(set.loader.ends_with("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
    assert!(set.gconv.is_some() && set.locale.is_some());
    // One set: what is asked for by name lies in it.
    assert!(offers[1].as_ref().unwrap().file.starts_with(set.loader.ancestors().nth(4).unwrap()));

    for (arch, libc, loader) in [("i686", Libc::Glibc, "ld-linux.so.2"), ("x86_64", Libc::Musl, "ld-musl-x86_64.so.1")] {
        let start = Instant::now();
        let set = provider.libc_set(Arch::from_short(arch).unwrap(), libc).unwrap().unwrap();
        println!("{libc:?} set ({arch}): {:?}, {} {}", start.elapsed(), set.version, set.loader.display());
        assert_eq!(set.loader.file_name().unwrap(), loader);
    }
    let musl = provider.provide(&[want("libc.musl-x86_64.so.1", "x86_64", Libc::Musl)]).unwrap();
    println!("libc.musl-x86_64.so.1: {}", shown(root, musl[0].as_ref()));
    assert!(shown(root, musl[0].as_ref()).starts_with("musl usr/lib/x86_64-linux-musl/libc.so | "));

    for warning in provider.warnings() {
        println!("warning: {warning}");
    }
    for (name, size) in files(&root.join("index")) {
        println!("index/{name}: {size} bytes");
        assert!(!name.ends_with(".sonames") || size <= 2_500_000, "{name}: {size}");
    }
    println!("download: {:?}", files(&root.join("download")));
    println!("store: {:#?}", files(&root.join("store")));
    assert!(files(&root.join("download")).is_empty());

    // A second process: nothing is fetched, and offline gives the same.
    let start = Instant::now();
    let again = debian(root, true).provide(&wants).unwrap();
    println!("the same again, offline, indexes opened anew: {:?}", start.elapsed());
    assert_eq!(again, offers);
    for _ in 0..3 {
        let start = Instant::now();
        let found = debian(root, true).lookup("libX11.so.6", Arch::from_short("x86_64").unwrap());
        println!("lookup, opening included: {:?}, {} candidates", start.elapsed(), found.len());
        assert_eq!(found[0].package, "libx11-6");
    }
}
