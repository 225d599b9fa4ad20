//! The search rules of musl's loader, each as a test named after the rule, built with `musl-gcc` and
//! compared with what the loader's `--list` says of the same files (musl `ldso/dynlink.c`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, NEW, OLD, rule_of};
use resolver::arch::Arch;
use resolver::resolution::{Resolution, Rule};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A lab that builds for musl; none (and a skip) where its compiler or loader is missing.
fn lab() -> Option<Lab> {
    let loader = Arch::host().and_then(Arch::musl_loader).filter(|p| Path::new(p).exists());
    if Command::new("musl-gcc").arg("--version").output().is_err() || loader.is_none() {
        xeno_tests::skip("musl-gcc and musl's loader are not installed (apt: musl-tools)");
        return None;
    }
    Some(Lab::with("musl-gcc"))
}

/// The resolver's answer, after requiring that the loader finds the same files in the same order.
fn agreed(lab: &Lab, program: &Path) -> Resolution {
    let resolution = lab.resolve(program);
    let mut command = Command::new(Arch::host().unwrap().musl_loader().unwrap());
    command.arg("--list").arg(program).current_dir(lab.dir.path()).env_clear();
    let output = command.envs(lab.environment.iter().map(|(n, v)| (*n, v.as_str()))).output().unwrap();
    let real = |p: &str| fs::canonicalize(lab.dir.path().join(p)).map_or(p.to_owned(), |p| p.display().to_string());
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<String> = text
        .lines()
        .filter(|l| !l.contains("ld-musl") && !l.contains("libc.so"))
        .map(|l| real(l.split(" => ").nth(1).unwrap_or(l).split(" (0x").next().unwrap().trim()))
        .collect();
    let ours: Vec<String> = resolution.libraries.iter().map(|l| real(&l.path.display().to_string())).collect();
    assert_eq!(ours, said, "paths in load order, resolver against loader");
    let error = String::from_utf8(output.stderr).unwrap();
    let absent: Vec<&str> = error.lines().filter_map(|l| l.split("Error loading shared library ").nth(1)?.split(':').next()).collect();
    assert_eq!(resolution.missing.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), absent, "missing names, resolver against loader");
    resolution
}

/// `liba.so.1` in two directories.
fn two_places() -> Option<Lab> {
    let lab = lab()?;
    lab.library("a/liba.so.1", "liba.so.1", &[], &[]);
    lab.library("b/liba.so.1", "liba.so.1", &[], &[]);
    Some(lab)
}

#[test]
fn libc_and_its_parts_are_the_loader_itself() {
    let Some(lab) = two_places() else { return };
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a"]);
    let found = agreed(&lab, &program);
    assert_eq!(found.libraries.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["liba.so.1"]);
    assert!(found.is_complete());
}

#[test]
fn runpath_is_inherited_as_rpath_is() {
    let Some(lab) = lab() else { return };
    lab.library("a/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["a/libinner.so.1"], &[]);
    for tags in [OLD, NEW] {
        let program = lab.program("p", &["a/libouter.so.1"], &[tags, "-Wl,-rpath,{dir}/a"]);
        let rule = if tags == OLD { Rule::Rpath("p".into()) } else { Rule::Runpath("p".into()) };
        assert_eq!(rule_of(&agreed(&lab, &program), "libinner.so.1"), &rule);
    }
}

#[test]
fn library_path_comes_before_rpath() {
    let Some(mut lab) = two_places() else { return };
    lab.set("LD_LIBRARY_PATH", "{dir}/b");
    let program = lab.program("p", &["a/liba.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(rule_of(&agreed(&lab, &program), "liba.so.1"), &Rule::LibraryPath);
}

#[test]
fn a_soname_answers_nothing() {
    let Some(lab) = lab() else { return };
    lab.library("a/file-name.so", "libreal.so.1", &[], &[]);
    lab.library("a/libouter.so.1", "libouter.so.1", &["a/file-name.so"], &[]);
    let program = lab.program("p", &["a/libouter.so.1"], &[OLD, "-Wl,-rpath,{dir}/a"]);
    assert_eq!(agreed(&lab, &program).missing[0].name, "libreal.so.1");
}

#[test]
fn the_first_file_of_the_name_ends_the_search() {
    let Some(lab) = two_places() else { return };
    let program = lab.program("p", &["a/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/a:{dir}/b"]);
    let path = lab.path("a/liba.so.1");
    fs::write(&path, "no ELF file, and musl's loader looks no further than the first file of the name").unwrap();
    assert_eq!(agreed(&lab, &program).missing[0].name, "liba.so.1");
}

#[test]
fn origin_is_the_directory_of_the_object_that_says_it() {
    let Some(lab) = lab() else { return };
    lab.library("deep/inner/libinner.so.1", "libinner.so.1", &[], &[]);
    lab.library("deep/libouter.so.1", "libouter.so.1", &["deep/inner/libinner.so.1"], &[NEW, "-Wl,-rpath,$ORIGIN/inner"]);
    let program = lab.program("bin/p", &["deep/libouter.so.1"], &[NEW, "-Wl,-rpath,$ORIGIN/../deep"]);
    assert_eq!(rule_of(&agreed(&lab, &program), "libinner.so.1"), &Rule::Runpath("libouter.so.1".into()));
}

#[test]
fn versions_are_never_compared() {
    let Some(lab) = lab() else { return };
    let script = |text: &str| fs::write(lab.path("versions"), text).unwrap();
    let flags = ["-shared", "-fPIC", "-Wl,-soname,liba.so.1", "-Wl,--version-script={dir}/versions"];
    script("V2 { global: f; };");
    lab.link("old/liba.so.1", "int f(void){return 3;}", vec![], &[], &flags);
    script("V1 { global: f; };");
    lab.link("new/liba.so.1", "int f(void){return 3;}", vec![], &[], &flags);
    let program = lab.link("p", "int f(void); int main(void){return f();}", vec![], &["new/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/old"]);
    assert!(agreed(&lab, &program).is_complete());
    assert_eq!(Command::new(&program).status().unwrap().code(), Some(3), "the loader starts it");
}

#[test]
fn a_semicolon_separates_nothing_and_an_empty_element_is_nothing() {
    let Some(mut lab) = two_places() else { return };
    let program = lab.program("p", &["a/liba.so.1"], &[]);
    lab.set("LD_LIBRARY_PATH", "/nonexistent;{dir}/b");
    assert_eq!(agreed(&lab, &program).missing[0].name, "liba.so.1");
}
