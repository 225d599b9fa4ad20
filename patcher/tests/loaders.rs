//! The copy of a loader: which strings are replaced in the builds of several distributions, and
//! that this machine's own loader obeys them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr)] // a skip says why

mod tiny;

use patcher::{Error, Kind, LoaderFamily, LoaderStrings, loader_copy, loader_family};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tiny::{LITTLE_64, SHAPES, elf, interp, load, writable};

fn strings() -> LoaderStrings {
    LoaderStrings {
        cache: "/.xeno/64.cache".into(),
        preload: Some("/.xeno/preload".into()),
        musl_path: "/.xeno/64.path".into(),
        directories: Vec::new(),
    }
}

/// The changes without their offsets.
#[track_caller]
fn changes(file: &[u8]) -> Vec<String> {
    let (copy, plan) = loader_copy(file, &strings()).unwrap();
    assert_eq!(copy.len(), file.len());
    plan.writes().iter().map(|write| write.to_string()).map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

#[test]
fn debians_loader_loses_its_cache_preload_and_both_tables_of_directories() {
    // The tables are not aligned: bytes of something else stand right before them.
    let rodata = b"\x80\x01/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\x16\0\0\0\
        A\x01/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\
        /etc/ld.so.cache\0search cache=%s\n\0glibc-ld.so.cache1.1\0/etc/suid-debug\0/etc/ld.so.preload\0";
    for shape in SHAPES {
        let file = elf(shape, &[load(rodata), writable(b"/lib/\0")]);
        assert_eq!(loader_family(&file).unwrap(), LoaderFamily::Glibc);
        let table = [
            "\"/lib/x86_64-linux-gnu/\" -> \"/.xeno/--------------/\" (default directory)",
            "\"/usr/lib/x86_64-linux-gnu/\" -> \"/.xeno/------------------/\" (default directory)",
            "\"/lib/\" -> \"/.x//\" (default directory)",
            "\"/usr/lib/\" -> \"/.xeno/-/\" (default directory)",
        ];
        let mut expected = [table, table].concat();
        expected.push("\"/etc/ld.so.cache\" -> \"/.xeno/64.cache\" (library cache)");
        expected.push("\"/etc/ld.so.preload\" -> \"/.xeno/preload\" (preload list)");
        assert_eq!(changes(&file), expected, "{shape:?}");
        let (copy, _) = loader_copy(&file, &strings()).unwrap();
        assert!(copy.ends_with(b"/.xeno/preload\0\0\0\0\0/lib/\0"), "writable bytes stay");
    }
}

#[test]
fn the_paths_of_a_store_are_found_by_their_shape() {
    let prefix = "/nix/store/00000000000000000000000000000000-glibc-2.40-66";
    let rodata = format!("\0{prefix}/lib/\0{prefix}/etc/ld.so.cache\0/etc/ld-nix.so.preload\0");
    let file = elf(LITTLE_64, &[load(rodata.as_bytes())]);
    assert_eq!(
        changes(&file),
        [
            format!("\"{prefix}/lib/\" -> \"/.xeno/{}/\" (default directory)", "-".repeat(prefix.len() - 3)),
            format!("\"{prefix}/etc/ld.so.cache\" -> \"/.xeno/64.cache\" (library cache)"),
            "\"/etc/ld-nix.so.preload\" -> \"/.xeno/preload\" (preload list)".to_owned(),
        ]
    );
}

#[test]
fn a_directory_keeps_its_length_and_leads_nowhere() {
    let rodata = b"\0/lib64/\0/usr/lib64/\0/etc/ld.so.cache\0/etc/ld.so.preload\0";
    let file = elf(LITTLE_64, &[load(rodata)]);
    assert_eq!(
        changes(&file)[..2],
        ["\"/lib64/\" -> \"/.x////\" (default directory)", "\"/usr/lib64/\" -> \"/.xeno/---/\" (default directory)",]
    );
}

#[test]
fn live_directories_take_the_places_of_default_ones_that_are_long_enough() {
    let table = b"/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\x16";
    let rodata = [b"\0".as_slice(), table, table, b"\0/etc/ld.so.cache\0/etc/ld.so.preload\0"].concat();
    let file = elf(LITTLE_64, &[load(&rodata)]);
    let with = |directories: &[&str]| {
        let directories = directories.iter().map(|d| (*d).to_owned()).collect();
        loader_copy(&file, &LoaderStrings { directories, ..strings() })
    };
    let (_, plan) = with(&["/x/d0/", "/run/opengl-driver/lib"]).unwrap();
    let lines: Vec<String> = plan.writes().iter().map(|write| write.to_string()).collect();
    for row in [0, 4] {
        assert!(lines[row].contains("-> \"/.xeno/--------------/\""), "{}", lines[row]);
        assert!(lines[row + 1].contains("-> \"/run/opengl-driver/lib////\""), "{}", lines[row + 1]);
        assert!(lines[row + 2].contains("-> \"/.x//\""), "{}", lines[row + 2]);
        assert!(lines[row + 3].contains("-> \"/x/d0////\""), "{}", lines[row + 3]);
    }
    let too_long = with(&["/run/opengl-driver/lib", "/run/opengl-driver-32/lib", "/run/another"]).unwrap_err();
    assert_eq!(too_long.kind(), Kind::DoesNotFit);
    assert_eq!(with(&["relative"]).unwrap_err().kind(), Kind::BadEdit);
}

#[test]
fn the_data_of_a_libc_is_looked_for_where_it_was_moved_to_and_every_length_stays() {
    let rodata = b"\0/usr/lib/gnu/gconv\0/usr/lib/gnu/gconv/gconv-modules.cache\0/usr/lib/locale\0/usr/lib/locales\0";
    let file = elf(LITTLE_64, &[load(rodata), writable(b"/usr/lib/locale\0")]);
    let moves = |to: &str| [("/usr/lib/gnu/gconv".to_owned(), "/x/e0/".to_owned()), ("/usr/lib/locale".to_owned(), to.to_owned())];
    let (copy, _) = patcher::libc_copy(&file, &moves("/x/e1")).unwrap();
    let expected = b"\0/x/e0/////////////\0/x/e0//////////////gconv-modules.cache\0/x/e1//////////\0/usr/lib/locales\0";
    let at = copy.windows(expected.len()).any(|window| window == expected);
    assert!(at, "{}", copy.escape_ascii());
    assert!(copy.ends_with(b"/usr/lib/locale\0"), "writable bytes stay");
    assert_eq!(patcher::libc_copy(&file, &moves("/longer/than/it")).err(), None, "as long as it");
    assert_eq!(patcher::libc_copy(&file, &moves("/longer/than/it/")).unwrap_err().kind(), Kind::DoesNotFit);
    let absent = [("/no/such".to_owned(), "/x".to_owned())];
    assert_eq!(patcher::libc_copy(&file, &absent).unwrap_err().kind(), Kind::Absent);
}

#[test]
fn the_preload_list_stays_when_it_is_not_mentioned() {
    let file = elf(LITTLE_64, &[load(b"\0/lib/\0/etc/ld.so.cache\0/etc/ld.so.preload\0")]);
    let (copy, _) = loader_copy(&file, &LoaderStrings { preload: None, ..strings() }).unwrap();
    assert!(copy.ends_with(b"/.xeno/64.cache\0\0/etc/ld.so.preload\0"));
}

#[test]
fn musl_reads_its_directory_list_elsewhere_and_has_no_other_directories() {
    let rodata = b"\0(local)\0/lib:/usr/local/lib:/usr/lib\0\t%s => %s (%p)\n\0%.*s/etc/ld-musl-aarch64.path\0stdin\0";
    let file = elf(LITTLE_64, &[load(rodata)]);
    assert_eq!(loader_family(&file).unwrap(), LoaderFamily::Musl);
    assert_eq!(
        changes(&file),
        [
            "\"/lib:/usr/local/lib:/usr/lib\" -> \"/.x/:/.xeno/------/:/.x/////\" (default directories)",
            "\"%.*s/etc/ld-musl-aarch64.path\" -> \"/.xeno/64.path\" (directory list)",
        ]
    );
    let percent = LoaderStrings { musl_path: "/.xeno/%s".into(), ..strings() };
    assert_eq!(loader_copy(&file, &percent).unwrap_err().kind(), Kind::BadEdit);
}

#[test]
fn what_is_no_loader_is_left_alone() {
    let glibc = b"\0/lib/\0/etc/ld.so.cache\0/etc/ld.so.preload\0";
    let musl = b"\0%.*s/etc/ld-musl-x86_64.path\0";
    let mut fixed = elf(LITTLE_64, &[load(glibc)]);
    fixed[16] = 2; // ET_EXEC
    let both = [glibc.as_slice(), musl].concat();
    for (file, reason) in [
        (fixed, "the file is not position-independent"),
        (elf(LITTLE_64, &[interp(b"/ld.so\0"), load(glibc)]), "the file has a program interpreter itself"),
        // A static-pie program names the cache, for its own dlopen.
        (elf(LITTLE_64, &[load(b"\0/lib/\0/etc/ld.so.cache\0")]), "the file names neither glibc's library cache nor musl's directory list"),
        (elf(LITTLE_64, &[load(&both)]), "the file names both glibc's library cache and musl's directory list"),
    ] {
        assert_eq!(loader_copy(&file, &strings()).unwrap_err(), Error::NotALoader { reason });
    }
}

#[test]
fn a_loader_built_in_an_unknown_way_is_refused_with_the_reason() {
    let twice = b"\0/lib/\0/etc/ld.so.cache\0/opt/etc/ld.so.cache\0/etc/ld.so.preload\0";
    let error = loader_copy(&elf(LITTLE_64, &[load(twice)]), &strings()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "replacing the path of the library cache: it is there 2 times instead of 1; this file is built differently \
         and is left alone"
    );
    let without = b"\0/etc/ld.so.cache\0/etc/ld.so.preload\0";
    let error = loader_copy(&elf(LITTLE_64, &[load(without)]), &strings()).unwrap_err();
    assert_eq!(error, Error::Occurrences { what: "the default directories".into(), expected: 1, found: 0 });
    let short = LoaderStrings { cache: "/.xeno/longer.cache".into(), ..strings() };
    let file = elf(LITTLE_64, &[load(b"\0/lib/\0/etc/ld.so.cache\0/etc/ld.so.preload\0")]);
    assert_eq!(loader_copy(&file, &short).unwrap_err().kind(), Kind::DoesNotFit);
    let relative = LoaderStrings { cache: "cache".into(), ..strings() };
    assert_eq!(loader_copy(&file, &relative).unwrap_err().kind(), Kind::BadEdit);
}

/// The reference in the room: this machine's own loader, copied, finds nothing by itself and
/// everything it is told.
#[test]
fn the_copied_loader_of_this_machine_looks_only_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("hello.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n").unwrap();
    let hello = dir.path().join("hello");
    assert!(Command::new("cc").arg("-o").arg(&hello).arg(&source).status().unwrap().success());
    let program = fs::read(&hello).unwrap();
    let loader = patcher::interpreter(&program).unwrap().expect("cc makes dynamic programs");
    let loader = fs::read(Path::new(std::ffi::OsStr::from_bytes(loader))).unwrap();
    if loader_family(&loader).unwrap() != LoaderFamily::Glibc {
        assert_ne!(std::env::var_os("XENO_REQUIRE_ALL").as_deref(), Some("1".as_ref()), "skipped: not glibc");
        eprintln!("skipped: this machine's C library is not glibc");
        return;
    }
    let (bytes, plan) = loader_copy(&loader, &strings()).unwrap();
    plan.verify(&loader, &bytes).unwrap();
    let (written, copy) = (dir.path().join("written"), dir.path().join("ld.so"));
    fs::write(&written, bytes).unwrap();
    fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
    // Started is what another process wrote: a child that another test forks meanwhile has open what this one has (ETXTBSY).
    assert!(Command::new("cp").args([&written, &copy]).status().unwrap().success());

    let alone = Command::new(&copy).arg(&hello).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(said.contains("libc.so.6: cannot open shared object file"), "{said}");

    let libc = Command::new("cc").arg("-print-file-name=libc.so.6").output().unwrap().stdout;
    let libc = fs::canonicalize(String::from_utf8(libc).unwrap().trim()).unwrap();
    let told = Command::new(&copy).arg("--library-path").arg(libc.parent().unwrap()).arg(&hello).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout), "hello\n", "{}", String::from_utf8_lossy(&told.stderr));
}
