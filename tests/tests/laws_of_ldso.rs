//! The search rules of glibc's loader, each as a test named after the rule. Every case is built with
//! the C compiler, answered by the resolver, and compared with what the installed loader says of the
//! same files (`LD_TRACE_LOADED_OBJECTS`, ld.so(8)), so the expectation itself is tested.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, NEW, OLD, file_of, rule_of};
use resolver::arch::Arch;
use resolver::machine::{self, Interpreter};
use resolver::resolution::{Conflict, Rule};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two directories with a library of one name in each, and a program to be linked against it.
fn two_places() -> Lab {
    let lab = Lab::new();
    lab.library("a/liba.so.1", "liba.so.1", &[], &[]);
    lab.library("b/liba.so.1", "liba.so.1", &[], &[]);
    lab
}

#[test]
fn rpath_is_ignored_when_runpath_is_present() {
    let lab = two_places();
    let program = lab.program("p", &["a/liba.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(rule_of(&lab.agreed(&program), "liba.so.1"), &Rule::Rpath("p".into()));
    let program = lab.program("q", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/b"]);
    let found = lab.agreed(&program);
    assert_eq!((rule_of(&found, "liba.so.1"), file_of(&found, "liba.so.1").as_str()), (&Rule::Runpath("q".into()), "b/liba.so.1"));
}

#[test]
fn rpath_is_inherited_by_the_libraries_of_libraries() {
    let lab = Lab::new();
    lab.library("a/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["a/libinner.so.1"], &[]);
    let program = lab.program("p", &["a/libouter.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(rule_of(&lab.agreed(&program), "libinner.so.1"), &Rule::Rpath("p".into()));
}

#[test]
fn runpath_is_not_inherited() {
    let lab = Lab::new();
    lab.library("a/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["a/libinner.so.1"], &[]);
    let program = lab.program("p", &["a/libouter.so.1"], &[NEW, "-Wl,-rpath,{dir}/a"]);
    let found = lab.agreed(&program);
    assert_eq!(
        found.missing.iter().map(|m| (m.name.as_str(), m.needed_by.as_str())).collect::<Vec<_>>(),
        [("libinner.so.1", "libouter.so.1")]
    );
}

#[test]
fn a_librarys_own_runpath_switches_the_programs_rpath_off_for_it() {
    let lab = Lab::new();
    lab.library("a/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["a/libinner.so.1"], &[NEW, "-Wl,-rpath,{dir}/nowhere"]);
    let program = lab.program("p", &["a/libouter.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(lab.agreed(&program).missing[0].name, "libinner.so.1");
}

#[test]
fn library_path_comes_after_rpath_and_before_runpath() {
    let mut lab = two_places();
    lab.set("LD_LIBRARY_PATH", "{dir}/b");
    let program = lab.program("old", &["a/liba.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(file_of(&lab.agreed(&program), "liba.so.1"), "a/liba.so.1");
    let program = lab.program("new", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a"]);
    let found = lab.agreed(&program);
    assert_eq!((rule_of(&found, "liba.so.1"), file_of(&found, "liba.so.1").as_str()), (&Rule::LibraryPath, "b/liba.so.1"));
}

#[test]
fn library_path_may_be_separated_by_semicolons_and_expands_origin() {
    let mut lab = two_places();
    lab.set("LD_LIBRARY_PATH", "/nonexistent;$ORIGIN/../b");
    let program = lab.program("bin/p", &["a/liba.so.1"], &[]);
    assert_eq!(file_of(&lab.agreed(&program), "liba.so.1"), "b/liba.so.1");
}

#[test]
fn origin_is_the_directory_of_the_object_that_says_it() {
    let lab = Lab::new();
    lab.library("deep/inner/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("deep/libouter.so.1", "libouter.so.1", &["deep/inner/libinner.so.1"], &[NEW, "-Wl,-rpath,$ORIGIN/inner"]);
    let program = lab.program("bin/p", &["deep/libouter.so.1"], &[NEW, "-Wl,-rpath,$ORIGIN/../deep"]);
    assert_eq!(rule_of(&lab.agreed(&program), "libinner.so.1"), &Rule::Runpath("libouter.so.1".into()));
}

#[test]
fn lib_and_platform_expand_as_the_loader_was_built() {
    let lab = Lab::new();
    let program = lab.program("probe", &[], &[]);
    let Interpreter::Loader(system) =
        machine::interpreter_at(Path::new(resolver::elf::load(&program).unwrap().interpreter.as_deref().unwrap()), Arch::host().unwrap())
    else {
        panic!("no loader")
    };
    let platform = Arch::host().unwrap().platform().unwrap();
    lab.library(&format!("{}/{platform}/liba.so.1", system.lib), "liba.so.1", &[], &[]);
    let at = format!("{}/{platform}/liba.so.1", system.lib);
    let program = lab.program("p", &[&at], &[NEW, "-Wl,-rpath,$ORIGIN/$LIB/${PLATFORM}"]);
    assert_eq!(rule_of(&lab.agreed(&program), "liba.so.1"), &Rule::Runpath("p".into()));
}

#[test]
fn a_loaded_soname_answers_every_later_need() {
    let lab = Lab::new();
    // The program needs the file by path; a library needs it by soname, which no directory has.
    lab.library("odd/file-name.so", "libreal.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["odd/file-name.so"], &[]);
    let plain = lab.library("odd2/plain.so", "", &[], &[]);
    fs::copy(lab.path("odd/file-name.so"), &plain).unwrap();
    let program = lab.program("p", &["a/libouter.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(lab.agreed(&program).missing[0].name, "libreal.so.1");
    let mut lab = lab;
    lab.set("LD_PRELOAD", "{dir}/odd/file-name.so");
    let found = lab.agreed(&program);
    assert!(found.missing.is_empty());
    assert_eq!(found.libraries[0].rule, Rule::Preload);
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let lab = Lab::new();
    let library = lab.library("a/noname.so", "", &[], &[]);
    let program = lab.program("p", &["a/noname.so"], &[]);
    let found = lab.agreed(&program);
    assert_eq!(found.libraries[0].rule, Rule::Path);
    assert_eq!(found.libraries[0].path, library);
}

#[test]
fn libraries_load_breadth_first() {
    let lab = Lab::new();
    for leaf in ["libd.so.1", "libe.so.1"] {
        lab.library(&format!("a/{leaf}"), leaf, &[], &[]);
    }
    lab.library("a/libb.so.1", "libb.so.1", &["a/libd.so.1"], &[]);
    lab.library("a/libc1.so.1", "libc1.so.1", &["a/libe.so.1", "a/libb.so.1"], &[]);
    let program = lab.program("p", &["a/libb.so.1", "a/libc1.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    let names: Vec<_> = lab.agreed(&program).libraries.iter().map(|l| l.name.clone()).filter(|n| n != "libc.so.6").collect();
    assert_eq!(names, ["libb.so.1", "libc1.so.1", "libd.so.1", "libe.so.1"]);
}

#[test]
fn one_file_under_two_names_is_loaded_once() {
    let lab = Lab::new();
    lab.library("a/libx.so.1", "", &[], &[]);
    std::os::unix::fs::symlink("libx.so.1", lab.path("a/liby.so.1")).unwrap();
    lab.library("b/libx.so.1", "libx.so.1", &[], &[]);
    lab.library("b/liby.so.1", "liby.so.1", &[], &[]);
    let program = lab.program("p", &["b/libx.so.1", "b/liby.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    let found = lab.resolve(&program);
    assert_eq!(found.libraries.iter().filter(|l| l.path.starts_with(lab.path("a"))).count(), 1);
    lab.agreed(&program);
}

#[test]
fn cyclic_needs_end() {
    let lab = Lab::new();
    lab.library("a/libx.so.1", "libx.so.1", &[], &[]);
    lab.library("a/liby.so.1", "liby.so.1", &["a/libx.so.1"], &[]);
    lab.library("a/libx.so.1", "libx.so.1", &["a/liby.so.1"], &[]);
    let program = lab.program("p", &["a/libx.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert!(lab.agreed(&program).is_complete());
}

#[test]
fn an_optimised_subdirectory_comes_first() {
    let levels = resolver::system::hwcaps_levels(Arch::host().unwrap());
    let Some(level) = levels.first() else { return xeno_tests::skip("this processor has no glibc-hwcaps level") };
    let lab = Lab::new();
    lab.library("a/liba.so.1", "liba.so.1", &[], &[]);
    lab.library(&format!("a/glibc-hwcaps/{level}/liba.so.1"), "liba.so.1", &[], &[]);
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(file_of(&lab.agreed(&program), "liba.so.1"), format!("{level}/liba.so.1"));
}

#[test]
fn a_file_that_is_no_elf_ends_the_search() {
    let lab = two_places();
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a:{dir}/b"]);
    fs::write(lab.path("a/liba.so.1"), "GROUP ( liba.so.2 ) and more than an ELF header's worth of text to read here").unwrap();
    let found = lab.resolve(&program);
    assert_eq!(found.missing[0].name, "liba.so.1");
    assert!(found.missing[0].reason.contains("the loader looks no further"), "{}", found.missing[0].reason);
    let status = Command::new(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stderr).contains("invalid ELF header"), "the loader, too, stops there");
}

#[test]
fn a_file_for_another_machine_is_passed_over() {
    let lab = two_places();
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a:{dir}/b"]);
    let path = lab.path("a/liba.so.1");
    let mut bytes = fs::read(&path).unwrap();
    bytes[18] = 0xf3; // e_machine: RISC-V
    fs::write(&path, bytes).unwrap();
    assert_eq!(file_of(&lab.agreed(&program), "liba.so.1"), "b/liba.so.1");
}

#[test]
fn a_program_without_default_directories_finds_only_what_its_paths_hold() {
    let lab = two_places();
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a", "-Wl,-z,nodefaultlib"]);
    assert!(resolver::elf::load(&program).unwrap().nodeflib);
    assert_eq!(lab.agreed(&program).missing[0].name, "libc.so.6");
}

#[test]
fn what_cannot_be_preloaded_is_left_out() {
    let mut lab = two_places();
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a"]);
    lab.set("LD_PRELOAD", "libxeno-no-such.so.9:{dir}/b/liba.so.1");
    let found = lab.agreed(&program);
    assert!(found.is_complete());
    assert_eq!(file_of(&found, &found.libraries[0].name), "b/liba.so.1");
}

#[test]
fn an_empty_element_is_the_current_directory() {
    let mut lab = Lab::new();
    lab.library("liba.so.1", "liba.so.1", &[], &[]);
    let program = lab.program("p", &["liba.so.1"], &[]);
    lab.set("LD_LIBRARY_PATH", "");
    assert_eq!(lab.agreed(&program).missing.len(), 1, "an empty variable is no path");
    let said = Command::new(&program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .env("LD_LIBRARY_PATH", ":")
        .current_dir(lab.dir.path())
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&said.stdout).contains("not found"), "an empty element is the current directory");
    assert_eq!(
        resolver::search::library_path(
            ":",
            resolver::needs::Libc::Glibc,
            &resolver::search::Tokens { origin: Path::new("/"), lib: "lib", platform: "" }
        ),
        [PathBuf::from(".")]
    );
}

#[test]
fn the_cache_answers_as_ldconfig_prints_it() {
    let Ok(output) = Command::new("/sbin/ldconfig").arg("-p").output() else { return xeno_tests::skip("ldconfig is not installed") };
    let text = String::from_utf8(output.stdout).unwrap();
    let system = machine::system(Arch::host().unwrap(), resolver::needs::Libc::Glibc).expect("this machine has a glibc loader");
    let mut compared = 0;
    let mut seen = std::collections::BTreeSet::new();
    let mark = if Arch::host().unwrap().short() == Some("x86_64") { "(libc6,x86-64)" } else { "(libc6" };
    for line in text.lines().filter(|l| l.contains(mark)) {
        let (name, path) = (line.trim().split(' ').next().unwrap(), line.rsplit(" => ").next().unwrap());
        if seen.insert(name.to_owned()) {
            assert_eq!(system.cached(name), Some(PathBuf::from(path)), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 5, "only {compared} names in the cache");
}

#[test]
fn a_version_that_is_not_defined_is_a_conflict() {
    let lab = Lab::new();
    let script = |text: &str| fs::write(lab.path("versions"), text).unwrap();
    let version = |n: &str| format!("{n} {{ global: f; local: *; }};");
    let flags = ["-shared", "-fPIC", "-Wl,-soname,liba.so.1", "-Wl,--version-script={dir}/versions"];
    script(&version("VERS_1.9"));
    lab.link("old/liba.so.1", "int f(void){return 1;}", vec![], &[], &flags);
    script(&version("VERS_1.10"));
    lab.link("new/liba.so.1", "int f(void){return 2;}", vec![], &[], &flags);
    let program = lab.link("p", "int f(void); int main(void){return f();}", vec![], &["new/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/old"]);
    let found = lab.resolve(&program);
    assert_eq!(
        found.conflicts,
        [Conflict::Version {
            object: "p".into(),
            file: "liba.so.1".into(),
            version: "VERS_1.10".into(),
            found: lab.path("old/liba.so.1"),
            newest: Some("VERS_1.9".into()),
        }]
    );
    let refused = Command::new(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("version `VERS_1.10' not found"), "the loader refuses it too");
}

#[test]
fn a_weak_version_need_is_no_need() {
    let lab = Lab::new();
    fs::write(lab.path("versions"), "VERS_1 { global: f; local: *; };").unwrap();
    lab.link(
        "new/liba.so.1",
        "int f(void){return 2;}",
        vec![],
        &[],
        &["-shared", "-fPIC", "-Wl,-soname,liba.so.1", "-Wl,--version-script={dir}/versions"],
    );
    lab.library("plain/liba.so.1", "liba.so.1", &[], &[]);
    let program = lab.link(
        "p",
        "int f(void) __attribute__((weak)); int main(void){return f ? f() : 0;}",
        vec![],
        &["new/liba.so.1"],
        &[NEW, "-Wl,-rpath,{dir}/plain"],
    );
    // The library without any version table answers a versioned need with a warning only.
    assert!(lab.resolve(&program).conflicts.is_empty());
    assert_eq!(Command::new(&program).status().unwrap().code(), Some(0), "the loader starts it");
}

#[test]
fn an_empty_runpath_is_no_path() {
    let lab = Lab::new();
    lab.library("liba.so.1", "liba.so.1", &[], &[]);
    let program = lab.program("p", &["liba.so.1"], &[NEW, "-Wl,-rpath,Z"]);
    // Blank the text, as tools that remove a RUNPATH do.
    let mut bytes = fs::read(&program).unwrap();
    let at = bytes.windows(3).position(|w| w == b"\0Z\0").unwrap();
    bytes[at + 1] = 0;
    xeno_tests::executable(&program, &bytes);
    assert_eq!(resolver::elf::load(&program).unwrap().runpath.as_deref(), Some(""));
    assert_eq!(lab.agreed(&program).missing[0].name, "liba.so.1");
}

#[test]
fn versions_needed_of_the_loader_itself_are_checked() {
    let lab = Lab::new();
    fs::write(lab.path("versions"), "GLIBC_2.99 { global: f; };").unwrap();
    let loader = resolver::elf::load(&lab.program("probe", &[], &[])).unwrap().interpreter.unwrap();
    let name = Path::new(&loader).file_name().unwrap().to_str().unwrap().to_owned();
    let soname = format!("-Wl,-soname,{name}");
    lab.link(
        &format!("fake/{name}"),
        "int f(void){return 0;}",
        vec![],
        &[],
        &["-shared", "-fPIC", &soname, "-Wl,--version-script={dir}/versions"],
    );
    let program = lab.link("p", "int f(void); int main(void){return f();}", vec![], &[&format!("fake/{name}")], &[]);
    let found = lab.resolve(&program);
    assert!(matches!(&found.conflicts[..], [Conflict::Version { version, .. }] if version == "GLIBC_2.99"), "{:?}", found.conflicts);
    let refused = Command::new(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("version `GLIBC_2.99' not found"), "the loader refuses it too");
}

#[test]
fn ten_thousand_needs_are_answered() {
    let lab = Lab::new();
    // The linker would want ten thousand files; the table is written by hand instead.
    let names: Vec<String> = (0..10_000).map(|i| format!("n{i}")).collect();
    let mut image = fs::read(lab.program("p", &[], &[])).unwrap();
    let forged = forge_needs(&mut image, &names);
    let program = lab.path("many");
    fs::write(&program, forged).unwrap();
    let needs = resolver::elf::load(&program).unwrap();
    assert_eq!(needs.needed.len(), 10_000);
    let found = lab.resolve(&program);
    assert_eq!(found.missing.len(), 10_000);
}

/// Appends a segment's worth of dynamic entries and strings to a little-endian 64-bit image, and points
/// `PT_DYNAMIC` and the last `PT_LOAD` at them.
fn forge_needs(image: &mut [u8], names: &[String]) -> Vec<u8> {
    let u16_at = |b: &[u8], at: usize| u16::from_le_bytes(b[at..at + 2].try_into().unwrap());
    let u32_at = |b: &[u8], at: usize| u32::from_le_bytes(b[at..at + 4].try_into().unwrap());
    let u64_at = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
    let mut out = image.to_vec();
    out.resize(out.len().next_multiple_of(4096), 0);
    let at = out.len() as u64;
    let base = 0x4000_0000u64;
    let mut strings = vec![0u8];
    let mut dynamic: Vec<(u64, u64)> = Vec::new();
    for name in names {
        dynamic.push((1, strings.len() as u64));
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
    }
    let table = (names.len() as u64 + 3) * 16;
    dynamic.push((5, base + table));
    dynamic.push((10, strings.len() as u64));
    dynamic.push((0, 0));
    for (tag, value) in dynamic {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&strings);
    let size = out.len() as u64 - at;
    let (table_at, count) = (u64_at(&out, 32) as usize, u16_at(&out, 56) as usize);
    for index in 0..count {
        let header = table_at + index * 56;
        let kind = u32_at(&out, header);
        // A note or stack header makes room for the new PT_LOAD.
        let kind = if kind == 4 { 1 } else { kind };
        if kind == 2 || (kind == 1 && u32_at(&out, header) == 4) {
            out[header..header + 4].copy_from_slice(&kind.to_le_bytes());
            for (field, value) in [(8, at), (16, base), (24, base), (32, size), (40, size)] {
                out[header + field..header + field + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    out
}
