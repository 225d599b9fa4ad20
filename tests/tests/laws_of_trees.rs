//! What a private root's cache must hold: the closure of the whole tree, found by soname, by whichever
//! file asks. Built with the C compiler, answered from this machine's own libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, NEW, rule_of};
use resolver::answer::{self, Answer, Extent, Native, Sources, World};
use resolver::closure::Environment;
use resolver::files::Files;
use resolver::machine;
use resolver::needs::Libc;
use resolver::resolution::Rule;
use resolver::tree::Shared;
use std::path::Path;
use store::host::{self, Drivers, Host};

/// Answers as if the program could not start as it is.
fn answer(program: &Path) -> Answer {
    let needs = resolver::elf::load(program).unwrap();
    let system = machine::system(needs.arch, Libc::Glibc);
    let names = system.as_ref().map(host::driver_sonames).unwrap_or_default();
    let (here, drivers) = (Host(system.as_ref()), Drivers(system.as_ref()));
    let sources = Sources { host: Some(&here), drivers: &drivers, driver_sonames: &names, archives: &[] };
    let extent = Extent { native: false, optional: true };
    answer::answer(program, &sources, &Environment::default(), &Shared::default(), &Files::default(), extent).unwrap()
}

#[test]
fn a_library_is_found_by_its_soname_under_any_file_name() {
    let lab = Lab::new();
    lab.library("app/lib/libinner.so.1.2.3", "libinner.so.1", &[], &[]);
    let program = lab.program("app/bin/p", &["app/lib/libinner.so.1.2.3"], &[]);
    let found = answer(&program);
    assert!(matches!(found.native, Native::Fails(_)));
    assert_eq!((found.world, rule_of(&found.resolution, "libinner.so.1")), (World::Host, &Rule::OwnTree));
}

#[test]
fn files_that_only_each_other_need_are_followed_to_an_end() {
    let lab = Lab::new();
    lab.library("app/lib/libx.so.1", "libx.so.1", &[], &[]);
    lab.library("app/lib/liby.so.1", "liby.so.1", &["app/lib/libx.so.1"], &[]);
    lab.library("app/lib/libx.so.1", "libx.so.1", &["app/lib/liby.so.1"], &[]);
    let program = lab.program("app/bin/p", &[], &[]);
    let found = answer(&program);
    let mut asked: Vec<(&str, &str)> = found.resolution.optional.iter().map(|l| (l.name.as_str(), l.needed_by.as_str())).collect();
    asked.sort_unstable();
    assert_eq!(asked, [("libx.so.1", "liby.so.1"), ("liby.so.1", "libx.so.1")]);
}

#[test]
fn what_a_sibling_needs_by_name_is_answered_too() {
    let lab = Lab::new();
    lab.library("app/lib/libonly.so.1.0", "libonly.so.1", &[], &[]);
    lab.program("app/bin/sibling", &["app/lib/libonly.so.1.0"], &[]);
    let program = lab.program("app/bin/p", &[], &[]);
    let found = answer(&program);
    let only = found.resolution.optional.iter().find(|l| l.path.ends_with("libonly.so.1.0")).unwrap();
    assert_eq!((only.needed_by.as_str(), only.aliases.as_slice()), ("sibling", &["libonly.so.1".to_owned()][..]));
    assert_eq!(found.stranded, [lab.path("app/bin/sibling")]);
}

#[test]
fn a_file_that_nothing_asks_for_answers_to_no_name() {
    let lab = Lab::new();
    lab.library("app/plugins/plugin.so", "libplugin.so.1", &[], &[]);
    let program = lab.program("app/bin/p", &[], &[]);
    let found = answer(&program);
    assert_eq!(found.resolution.optional.iter().map(|l| l.aliases.len()).collect::<Vec<_>>(), [0]);
}

#[test]
fn runpath_still_comes_before_what_the_tree_would_answer() {
    let lab = Lab::new();
    lab.library("app/lib/liba.so.1", "liba.so.1", &[], &[]);
    lab.library("elsewhere/liba.so.1", "liba.so.1", &[], &[]);
    let program = lab.program("app/bin/p", &["app/lib/liba.so.1"], &[NEW, "-Wl,-rpath,{dir}/elsewhere"]);
    assert_eq!(rule_of(&answer(&program).resolution, "liba.so.1"), &Rule::Runpath("p".into()));
}
