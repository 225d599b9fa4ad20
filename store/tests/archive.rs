//! The provider against a stand-in archive: what it takes, what it refuses, and what it leaves behind.
#![allow(missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod standin;

use resolver::arch::Arch;
use resolver::needs::Libc;
use resolver::provider::{Offer, Origin, Provider, Want};
use sha2::{Digest, Sha256};
use standin::{Member, Server, Standin, SuiteContent, deb, elf, hex, skipped};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::Kind;
use store::debian::{Debian, Options};
use store::lock::{Lock, LockedLibrary, LockedPackage, RECIPE, SCHEMA, Target};
use store::root::StoreRoot;

const LIB: &str = "usr/lib/x86_64-linux-gnu";

fn amd64() -> Arch {
    Arch::from_short("x86_64").unwrap()
}

fn want(soname: &str) -> Want {
    Want { soname: soname.to_owned(), arch: amd64(), libc: Libc::Glibc, versions: BTreeSet::new(), optional: false, for_driver: false }
}

fn libx() -> Vec<u8> {
    deb(&[
        Member::File("usr/lib/x86_64-linux-gnu/libx.so.1.0", elf("x")),
        Member::Link("usr/lib/x86_64-linux-gnu/libx.so.1", "/usr/lib/x86_64-linux-gnu/libx.so.1.0"),
        Member::File("usr/share/doc/libx1/copyright", b"free".to_vec()),
    ])
}

/// Suites `new` and `old`: libx and a libc set in the new one, liby in the old one only.
fn archive() -> Standin {
    let standin = Standin::new();
    let mut new = SuiteContent { by_hash: true, ..SuiteContent::default() };
    standin.package(&mut new, "libx1", "1.0-1", &[&format!("{LIB}/libx.so.1")], &libx());
    let libc6 = deb(&[
        Member::File("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", elf("loader")),
        Member::File("usr/lib/x86_64-linux-gnu/libc.so.6", elf("libc")),
        Member::File("usr/lib/x86_64-linux-gnu/gconv/gconv-modules", b"".to_vec()),
    ]);
    standin.package(&mut new, "libc6", "2.41-1", &[&format!("{LIB}/libc.so.6")], &libc6);
    let libc_bin = deb(&[Member::File("usr/lib/locale/C.utf8/LC_CTYPE", b"c".to_vec())]);
    standin.package(&mut new, "libc-bin", "2.41-1", &[], &libc_bin);
    let stdcpp = deb(&[Member::File("usr/lib/x86_64-linux-gnu/libstdc++.so.6", elf("stdc++"))]);
    standin.package(&mut new, "libstdc++6", "14-1", &[&format!("{LIB}/libstdc++.so.6")], &stdcpp);
    standin.publish("new", &new);
    let mut old = SuiteContent { by_hash: true, ..SuiteContent::default() };
    let liby = deb(&[Member::File("usr/lib/x86_64-linux-gnu/liby.so.2", elf("y"))]);
    standin.package(&mut old, "liby2", "2.0-1", &[&format!("{LIB}/liby.so.2")], &liby);
    standin.publish("old", &old);
    standin
}

fn answers(offers: &[Option<Offer>]) -> Vec<String> {
    offers
        .iter()
        .map(|o| match o {
            None => "none".to_owned(),
            Some(o) => match &o.origin {
                Origin::Package(p) => format!("{} {} {}: {}", p.name, p.version, p.suite, o.why),
                other => panic!("{other:?}"),
            },
        })
        .collect()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).map(|d| d.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default();
    names.sort();
    names
}

/// Nothing half-written: no part, no temporary name, no store path.
fn assert_nothing_left(store: &Path) {
    assert_eq!(names(&store.join("store")), [""; 0]);
    assert_eq!(names(&store.join("download")), [""; 0]);
    assert!(names(&store.join("index")).iter().all(|n| !n.starts_with(".tmp")), "{:?}", names(&store.join("index")));
}

#[test]
fn the_newest_suite_answers_and_older_ones_only_fill_in() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let wants = [want("libx.so.1"), want("liby.so.2"), want("libz.so.9"), want("../libx.so.1")];
    let provider = standin.local(store.path(), &["new", "old"]);
    let offers = provider.provide(&wants).unwrap();
    assert_eq!(
        answers(&offers),
        ["libx1 1.0-1 new: new: libx1, the only candidate", "liby2 2.0-1 old: old: liby2, the only candidate", "none", "none"]
    );
    let file = &offers[0].as_ref().unwrap().file;
    // The absolute link of the package leads to its own file here.
    assert_eq!(fs::read_link(file).unwrap(), Path::new("libx.so.1.0"));
    assert_eq!(fs::read(file).unwrap(), elf("x"));
    assert_eq!(names(&store.path().join("download")), [""; 0]);

    let offline = standin.provider(store.path(), "http://unreachable.example.org", &["new", "old"], true);
    assert_eq!(offline.provide(&wants[..3]).unwrap(), offers[..3]);
    let found = offline.lookup("libx.so.1", amd64());
    assert_eq!((found[0].package.as_str(), found[0].directory.as_str(), found[0].penalty), ("libx1", LIB, 0));
}

#[test]
fn loader_libc_and_libstdcxx_come_as_one_set() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let provider = standin.local(store.path(), &["new", "old"]);
    let set = provider.libc_set(amd64(), Libc::Glibc).unwrap().unwrap();
    let base: PathBuf = set.loader.ancestors().nth(4).unwrap().to_owned();
    assert_eq!(set.version, "2.41");
    assert_eq!(set.loader, base.join(LIB).join("ld-linux-x86-64.so.2"));
    assert_eq!(set.directories, [base.join(LIB)]);
    assert_eq!(set.gconv, Some(base.join(LIB).join("gconv")));
    assert_eq!(set.locale, Some(base.join("usr/lib/locale")));
    let offers = provider.provide(&[want("libstdc++.so.6"), want("libc.so.6")]).unwrap();
    assert_eq!(offers[0].as_ref().unwrap().file, base.join(LIB).join("libstdc++.so.6"));
    assert_eq!(offers[1].as_ref().unwrap().file, base.join(LIB).join("libc.so.6"));
    assert_eq!(provider.libc_set(amd64(), Libc::Musl).unwrap(), None);
}

#[test]
fn an_amending_suite_supplies_the_newer_version() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let mut security = SuiteContent { by_hash: true, ..SuiteContent::default() };
    standin.package(&mut security, "libx1", "1.0-1+deb1", &[], &libx());
    standin.publish("new-security", &security);
    let offers = standin.local(store.path(), &["new"]).provide(&[want("libx.so.1")]).unwrap();
    assert_eq!(answers(&offers), ["libx1 1.0-1+deb1 new-security: new: libx1, the only candidate, version from new-security"]);
}

#[test]
fn an_amending_suite_in_the_middle_of_an_update_is_left_out_with_a_warning() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let mut security = SuiteContent::default();
    standin.package(&mut security, "libx1", "1.0-1+deb1", &[], &libx());
    standin.publish("new-security", &security);
    let list = standin.mirror().join("dists/new-security/main/binary-amd64/Packages.gz");
    let size = fs::metadata(&list).unwrap().len();
    fs::write(&list, b"older").unwrap();
    let provider = standin.local(store.path(), &["new"]);
    assert_eq!(answers(&provider.provide(&[want("libx.so.1")]).unwrap()), ["libx1 1.0-1 new: new: libx1, the only candidate"]);
    let expected = format!(
        "fetch {}: 5 bytes instead of {size}; the mirror is damaged or being updated: try again later; \
         new-security (amd64) is left out this time",
        list.display()
    );
    assert!(provider.warnings().contains(&expected), "{:?}", provider.warnings());
}

#[test]
fn a_suite_that_is_gone_is_a_warning() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let provider = standin.local(store.path(), &["vanished", "new"]);
    assert!(provider.provide(&[want("libx.so.1")]).unwrap()[0].is_some());
    let mirror = standin.mirror().display().to_string();
    assert!(provider.warnings().contains(&format!("vanished is not on the mirror {mirror}: it is left out")));
}

#[test]
fn a_release_signed_by_a_stranger_is_refused() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    standin.publish_signed("new", &SuiteContent::default(), &standin::key("Mallory <mallory@example.org>"));
    let error = standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    assert!(error.to_string().contains("is not trusted; use a mirror of Debian's own archive"), "{error}");
    assert_nothing_left(store.path());
}

#[test]
fn a_release_that_was_changed_after_signing_is_refused() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let path = standin.mirror().join("dists/new/InRelease");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Acquire-By-Hash: yes", "Acquire-By-Hash: no")).unwrap();
    let error = standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    assert!(error.cause().ends_with(" is bad"), "{error}");
    for (from, to) in
        [("-----BEGIN PGP SIGNED", "evil\n-----BEGIN PGP SIGNED"), ("-----END PGP SIGNATURE-----", "-----END PGP SIGNATURE-----\nevil")]
    {
        fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap_err().kind(), Kind::Malformed, "{to}");
    }
    assert_nothing_left(store.path());
}

#[test]
fn an_expired_release_is_refused() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let valid_until = Some("Sat, 12 Sep 2020 07:55:41 UTC".to_owned());
    standin.publish("new", &SuiteContent { valid_until, ..SuiteContent::default() });
    let error = standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap_err();
    assert_eq!(error.kind(), Kind::Expired);
    assert!(error.cause().starts_with("it was valid until 2020-09-12 07:55:41 UTC, and now is 2"), "{error}");
}

#[test]
fn one_suite_cannot_be_passed_off_as_another() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let dists = standin.mirror().join("dists");
    fs::copy(dists.join("old/InRelease"), dists.join("new/InRelease")).unwrap();
    let error = standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap_err();
    assert_eq!(error.cause(), "it is signed as 'old' ('old'), not 'new'");
}

#[test]
fn an_index_or_package_of_other_size_or_content_is_refused() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let provider = || standin.local(store.path(), &["new"]);
    let deb = standin.pool_file("libx1", "1.0-1");
    let good = fs::read(&deb).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&deb, bytes).unwrap();
        let error = provider().provide(&[want("libx.so.1")]).unwrap_err().message;
        assert_nothing_left(store.path());
        error
    };
    assert!(refusal(&good[..good.len() - 1]).contains(&format!(
        "{} bytes instead of {}; the mirror is damaged",
        good.len() - 1,
        good.len()
    )));
    assert!(refusal(&[good.as_slice(), b"x"].concat()).contains(&format!(
        "{} bytes instead of {}; the mirror is damaged",
        good.len() + 1,
        good.len()
    )));
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&changed), "verify libx1 1.0-1: its content is not what the archive signed; try again later, or use another mirror");
    fs::write(&deb, &good).unwrap();
    assert!(provider().provide(&[want("libx.so.1")]).unwrap()[0].is_some());
}

#[test]
fn a_signed_package_that_is_truncated_installs_nothing() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let mut suite = SuiteContent { by_hash: true, ..SuiteContent::default() };
    let whole = libx();
    standin.package(&mut suite, "libx1", "1.0-1", &[&format!("{LIB}/libx.so.1")], &whole[..whole.len() - 100]);
    standin.publish("new", &suite);
    let error = standin.local(store.path(), &["new"]).provide(&[want("libx.so.1")]).unwrap_err().message;
    assert!(error.starts_with("unpack libx1 1.0-1: damaged archive ("), "{error}");
    assert_nothing_left(store.path());
}

#[test]
fn without_by_hash_files_the_plain_path_is_used() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(standin.mirror());
    fs::remove_dir_all(standin.mirror().join("dists/new/main/by-hash")).unwrap();
    let provider = standin.provider(store.path(), &server.address, &["new"], false);
    assert!(provider.provide(&[want("libx.so.1")]).unwrap()[0].is_some());
    assert_eq!(server.requests("main/Contents-amd64.gz").len(), 1);
    // Where they are there, the plain path is never asked for.
    assert_eq!(server.requests("main/binary-amd64/Packages.gz").len(), 0);
}

/// A package large enough to be cut.
fn big() -> (Standin, Vec<u8>) {
    let standin = Standin::new();
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(300_000)
    .collect();
    let big = deb(&[Member::File("usr/lib/x86_64-linux-gnu/libbig.so.1", elf("big")), Member::File("usr/share/noise", noise)]);
    let mut suite = SuiteContent { by_hash: true, ..SuiteContent::default() };
    standin.package(&mut suite, "libbig1", "1-1", &[&format!("{LIB}/libbig.so.1")], &big);
    standin.publish("new", &suite);
    (standin, big)
}

#[test]
fn a_connection_that_is_cut_is_resumed_where_it_ended() {
    let (standin, big) = big();
    let store = tempfile::tempdir().unwrap();
    let server = Server::start(standin.mirror());
    server.behaviour.lock().unwrap().cut.push(("libbig1_1-1_amd64.deb".to_owned(), 100_000));
    let provider = standin.provider(store.path(), &server.address, &["new"], false);
    assert!(provider.provide(&[want("libbig.so.1")]).unwrap()[0].is_some());
    let ranges = server.requests("libbig1_1-1_amd64.deb");
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0], None);
    let from: usize = ranges[1].as_ref().unwrap().strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0 && from <= 100_000 && from < big.len(), "{from}");
}

#[test]
fn what_a_killed_download_left_is_continued_and_damage_in_it_is_found() {
    let (standin, big) = big();
    let part_name = format!("{}.part", hex(&Sha256::digest(&big)));
    let cases: [(&[u8], &[Option<&str>]); 4] = [
        (&big[..100_000], &[Some("bytes=100000-")]),
        // Damaged: continued once, found out, fetched whole.
        (&[0; 100_000], &[Some("bytes=100000-"), None]),
        (&[0; 400_000], &[None]),
        // Complete, but the process died before it was renamed.
        (&big, &[]),
    ];
    for (left, expected) in cases {
        let store = tempfile::tempdir().unwrap();
        let server = Server::start(standin.mirror());
        fs::create_dir(store.path().join("download")).unwrap();
        fs::write(store.path().join("download").join(&part_name), left).unwrap();
        let provider = standin.provider(store.path(), &server.address, &["new"], false);
        assert!(provider.provide(&[want("libbig.so.1")]).unwrap()[0].is_some());
        let ranges = server.requests("libbig1_1-1_amd64.deb");
        assert_eq!(ranges.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        assert_eq!(names(&store.path().join("download")), [""; 0]);
    }
}

#[test]
fn a_server_that_cannot_resume_sends_the_whole_again() {
    let (standin, big) = big();
    let store = tempfile::tempdir().unwrap();
    let server = Server::start(standin.mirror());
    server.behaviour.lock().unwrap().no_ranges = true;
    fs::create_dir(store.path().join("download")).unwrap();
    fs::write(store.path().join("download").join(format!("{}.part", hex(&Sha256::digest(&big)))), &big[..1000]).unwrap();
    let provider = standin.provider(store.path(), &server.address, &["new"], false);
    assert!(provider.provide(&[want("libbig.so.1")]).unwrap()[0].is_some());
}

#[test]
fn a_download_that_another_process_completes_is_not_fetched_again() {
    let (standin, big) = big();
    for name_survives in [true, false] {
        let store = tempfile::tempdir().unwrap();
        let server = Server::start(standin.mirror());
        let downloads = store.path().join("download");
        fs::create_dir(&downloads).unwrap();
        let name = hex(&Sha256::digest(&big));
        let part = downloads.join(format!("{name}.part"));
        let mut other = fs::File::create(&part).unwrap();
        other.lock().unwrap();
        other.write_all(&big[..1000]).unwrap();
        let provider = standin.provider(store.path(), &server.address, &["new"], false);
        let waiting = std::thread::spawn(move || provider.provide(&[want("libbig.so.1")]));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!waiting.is_finished());
        other.write_all(&big[1000..]).unwrap();
        if name_survives {
            fs::rename(&part, downloads.join(&name)).unwrap();
        } else {
            // It is through with it: unpacked and removed.
            fs::remove_file(&part).unwrap();
        }
        drop(other);
        assert!(waiting.join().unwrap().unwrap()[0].is_some());
        assert_eq!(server.requests("libbig1_1-1_amd64.deb"), []);
    }
}

#[test]
fn two_at_once_both_succeed_and_leave_one_store_path() {
    let (standin, _) = big();
    let store = tempfile::tempdir().unwrap();
    let server = Server::start(standin.mirror());
    // Locks belong to open files: two providers of one process exclude each other as two processes do.
    let offers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let provider = standin.provider(store.path(), &server.address, &["new"], false);
                scope.spawn(move || provider.provide(&[want("libbig.so.1")]).unwrap())
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(offers[0], offers[1]);
    assert!(offers[0][0].is_some());
    assert_eq!(names(&store.path().join("store")).len(), 1);
}

#[test]
fn offline_says_so_when_the_store_has_no_index_or_package() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let offline = || standin.provider(store.path(), "http://unreachable.example.org", &["new"], true);
    assert_eq!(
        offline().provide(&[want("libx.so.1")]).unwrap_err().message,
        "look up libraries for x86_64: the store has no index and offline mode forbids to fetch one; run once without --offline"
    );
    standin.local(store.path(), &["new"]).ensure_index(amd64()).unwrap();
    assert_eq!(
        offline().provide(&[want("libx.so.1")]).unwrap_err().message,
        "install libx1-1.0-1-amd64: it is not in the store and offline mode forbids to fetch it; run once without --offline"
    );
    // Nobody fails without an optional one.
    let optional = Want { optional: true, ..want("libx.so.1") };
    assert_eq!(offline().provide(&[optional]).unwrap(), [None]);
}

#[test]
fn no_network_is_one_line_and_leaves_nothing() {
    let (standin, store) = (archive(), tempfile::tempdir().unwrap());
    let provider = standin.provider(store.path(), "http://does-not-exist.invalid/debian", &["new"], false);
    let error = provider.ensure_index(amd64()).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(!error.to_string().contains('\n') && !error.remedy().is_empty(), "{error}");
    assert_nothing_left(store.path());
}

fn lock_of(store: &Path, offer: &Offer, deb: &[u8]) -> Lock {
    let inside: PathBuf = offer.file.strip_prefix(store.join("store")).unwrap().to_owned();
    let name = inside.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
    let nar = store::nar::hash_tree(&store.join("store").join(&name)).unwrap();
    Lock {
        schema: SCHEMA,
        recipe: RECIPE,
        arch: "x86_64".to_owned(),
        target: Target { sha256: "00".repeat(32), tree: None },
        libc_set: None,
        suites: Vec::new(),
        packages: vec![LockedPackage {
            name: "libx1".to_owned(),
            version: "1.0-1".to_owned(),
            arch: "amd64".to_owned(),
            suite: "new".to_owned(),
            pool: "pool/main/libx1_1.0-1_amd64.deb".to_owned(),
            size: deb.len() as u64,
            sha256: hex(&Sha256::digest(deb)),
            sha1: None,
            store_path: name.clone(),
            nar_sha256: nar.hex(),
        }],
        libraries: vec![LockedLibrary {
            soname: "libx.so.1".to_owned(),
            store_path: name,
            path: format!("{LIB}/libx.so.1"),
            sha256: hex(&Sha256::digest(elf("x"))),
        }],
    }
}

#[test]
fn a_lock_gives_the_same_store_paths_from_an_empty_store_and_nothing_else() {
    let (standin, first, second) = (archive(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let offers = standin.local(first.path(), &["new"]).provide(&[want("libx.so.1")]).unwrap();
    let offer = offers[0].as_ref().unwrap();
    let lock = lock_of(first.path(), offer, &libx());
    let lock = Lock::parse(&lock.to_toml().unwrap(), "xeno.lock").unwrap();

    // No index is needed: the lists may be gone.
    fs::remove_dir_all(standin.mirror().join("dists")).unwrap();
    let locked = standin.local(second.path(), &["new"]).with_lock(lock.clone()).unwrap();
    let again = locked.provide(&[want("libx.so.1"), want("liby.so.2")]).unwrap();
    let relative = |store: &Path, o: &Offer| o.file.strip_prefix(store).unwrap().to_owned();
    assert_eq!(relative(second.path(), again[0].as_ref().unwrap()), relative(first.path(), offer));
    assert_eq!(again[0].as_ref().unwrap().why, "xeno.lock: libx1 1.0-1 from new");
    assert_eq!(again[1], None);

    // Installed already: neither mirror nor network.
    let offline = standin.provider(second.path(), "http://unreachable.example.org", &["new"], true).with_lock(lock.clone()).unwrap();
    assert!(offline.provide(&[want("libx.so.1")]).unwrap()[0].is_some());

    let mut drifted = lock.clone();
    drifted.packages[0].nar_sha256 = "11".repeat(32);
    let error = standin.local(second.path(), &["new"]).with_lock(drifted).unwrap().provide(&[want("libx.so.1")]).unwrap_err();
    assert!(error.message.ends_with("unpacking its packages gave other content; make the lock anew, or restore the store"), "{error}");

    let third = tempfile::tempdir().unwrap();
    fs::remove_file(standin.pool_file("libx1", "1.0-1")).unwrap();
    let error = standin.local(third.path(), &["new"]).with_lock(lock).unwrap().provide(&[want("libx.so.1")]).unwrap_err();
    assert!(error.message.contains("the mirror no longer has this version"), "{error}");
}

#[test]
fn the_same_package_gives_the_same_path_in_any_store() {
    let standin = archive();
    let paths: Vec<Vec<String>> = (0..2)
        .map(|_| {
            let store = tempfile::tempdir().unwrap();
            standin.local(store.path(), &["new"]).provide(&[want("libx.so.1")]).unwrap();
            names(&store.path().join("store"))
        })
        .collect();
    assert_eq!(paths[0], paths[1]);
    assert!(paths[0][0].ends_with("-libx1-1.0-1-amd64"), "{:?}", paths[0]);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let (standin, _) = big();
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=200k", "none"]).arg(mount.path()).status();
    if !mounted.is_ok_and(|s| s.success()) {
        skipped("a small tmpfs cannot be mounted (not root)");
        return;
    }
    let provider =
        Debian::new(StoreRoot::at(mount.path()), standin.config(standin.mirror().to_str().unwrap(), &["new"]), Options::default());
    let result = provider.provide(&[want("libbig.so.1")]);
    let left = [names(&mount.path().join("store")), names(&mount.path().join("download"))].concat();
    // Its indexes are mapped from the file system that is taken away.
    drop(provider);
    Command::new("umount").arg(mount.path()).status().unwrap();
    let error = result.unwrap_err().message;
    assert!(error.ends_with("; free some space or point XENO_STORE to another disk"), "{error}");
    assert_eq!(left, [""; 0]);
}
