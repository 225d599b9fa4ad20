//! The plans of the same edit for every small program of `fixtures/bin`, as text that can be read and
//! compared: `tests/golden/NAME.txt`. After a change that is meant, `XENO_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use patcher::{Edit, Options, RpathTag, Way, plan_with};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Longer than what any of them has room for in place.
const INTERPRETER: &str = "/opt/a-c-library-of-another-distribution/version-2.40-of-this-year/lib/ld-of-that-library.so.1";
const RUNPATH: &str = "$ORIGIN/../lib:/opt/a-c-library-of-another-distribution/version-2.40-of-this-year/lib";

fn told(name: &str, file: &[u8]) -> String {
    let edits = [Edit::Interpreter(INTERPRETER.into()), Edit::Rpath { value: RUNPATH.into(), tag: RpathTag::Runpath }];
    let mut out = String::new();
    for (title, way) in [("replaced", Way::Replace), ("in place", Way::InPlace)] {
        writeln!(out, "{name}, {title}").unwrap();
        match plan_with(file, &edits, &Options { way, ..Options::default() }) {
            Ok(plan) => writeln!(out, "{plan}").unwrap(),
            Err(error) => writeln!(out, "{error}\n").unwrap(),
        }
    }
    out
}

#[test]
fn the_plans_for_the_fixtures_are_those_that_were_read_and_found_good() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixtures = here.join("../fixtures/bin");
    let mut names: Vec<String> = fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("hello-"));
    names.sort();
    assert!(names.len() >= 16, "{names:?}");
    let bless = std::env::var_os("XENO_BLESS").is_some();
    for name in names {
        let text = told(&name, &fs::read(fixtures.join(&name)).unwrap());
        let golden = here.join("tests/golden").join(format!("{name}.txt"));
        if bless {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &text).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        let differs = text.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(text == expected, "{name}: {differs:?}; if that is meant, XENO_BLESS=1 writes {}", golden.display());
    }
}
