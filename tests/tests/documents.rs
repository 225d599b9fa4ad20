//! The documents keep their promises: ARCHITECTURE.md is short and each invariant names a test that
//! exists, the README names the two commands, and its console sessions run.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use xeno_tests::source::{files, text};
use xeno_tests::{repository, skip, xeno};

/// Names of all functions under `#[test]`.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text = text(&path);
        let mut after_attribute = false;
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                Some(name) if after_attribute => {
                    names.insert(name.to_owned());
                    after_attribute = false;
                }
                _ => after_attribute = line.starts_with("#[test]") || (after_attribute && line.starts_with("#[")),
            }
        }
    }
    names
}

/// The numbered items of a page, each joined to one line.
fn numbered(page: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let number = line.split_once(". ").is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if number {
            items.push(line.to_owned());
        } else if let Some(last) = items.last_mut().filter(|_| open && !line.trim().is_empty() && !line.starts_with('#')) {
            last.push(' ');
            last.push_str(line.trim());
        }
        open = number || (open && !line.trim().is_empty() && !line.starts_with('#'));
    }
    items
}

/// Invariants that name no existing test. One that is not built yet says `not yet`.
fn unproven(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let named = |item: &str| item.split('`').skip(1).step_by(2).any(|word| tests.contains(word.rsplit("::").next().unwrap_or(word)));
    numbered(page).into_iter().filter(|item| !named(item) && !item.contains("not yet")).collect()
}

#[test]
fn the_architecture_is_one_short_page() {
    let page = text(Path::new("ARCHITECTURE.md"));
    assert!(!page.is_empty(), "there is no ARCHITECTURE.md");
    assert!(page.lines().count() <= 60, "ARCHITECTURE.md has {} lines; 60 are enough", page.lines().count());
}

#[test]
fn every_invariant_names_the_test_that_proves_it() {
    let page = text(Path::new("ARCHITECTURE.md"));
    assert!(numbered(&page).len() >= 10, "ARCHITECTURE.md numbers {} invariants; the design has ten", numbered(&page).len());
    assert_eq!(unproven(&page, &tests()), Vec::<String>::new());
}

#[test]
fn an_invariant_without_a_test_is_found() {
    let known = BTreeSet::from(["law".to_owned()]);
    let page = "1. One\n   more `law`.\n2. Two `no_such_law`.\n\nText.\n3. Three, not yet.\n";
    assert_eq!(unproven(page, &known), ["2. Two `no_such_law`."]);
}

#[test]
fn the_readme_names_its_two_commands() {
    let page = text(Path::new("README.md"));
    for command in ["cargo xtask demo", "cargo xtask test"] {
        assert!(page.contains(command), "README.md does not name `{command}`");
    }
}

#[test]
fn the_expected_documents_are_there() {
    for name in ["README.md", "ARCHITECTURE.md", "COMPAT.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "fixtures/bin/README.md"] {
        assert!(!text(Path::new(name)).is_empty(), "there is no {name}");
    }
}

/// One command of a console session and the lines it shows.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shows: Vec<String>,
}

/// The commands of ```` ```console ```` blocks that end with the mark `# test`; what follows up to the
/// next `$` is what they show.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut marked) = (false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            (inside, marked) = (line.trim() == "```console", false);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            marked = command.trim_end().ends_with("# test");
            if marked {
                steps.push(Step { command: command.trim_end().trim_end_matches("# test").trim_end().to_owned(), shows: Vec::new() });
            }
        } else if let Some(step) = steps.last_mut().filter(|_| inside && marked) {
            step.shows.push(line.to_owned());
        }
    }
    steps
}

/// Whether a shown line is the line that came; `…` in it stands for anything.
fn shows(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) if !part.is_empty() => rest = rest.get(at + part.len()..).unwrap_or(""),
            Some(_) => rest = "",
            None => return false,
        }
    }
    rest.is_empty() || shown.ends_with('…')
}

#[test]
fn the_console_sessions_of_the_readme_run_as_shown() {
    let steps = steps(&text(Path::new("README.md")));
    if steps.is_empty() {
        return skip("README.md marks no command with `# test`");
    }
    let Some(xeno) = xeno() else { return };
    let own = xeno.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    let path = format!("{own}:{}", std::env::var("PATH").unwrap_or_default());
    for step in steps {
        let done = Command::new("sh").arg("-c").arg(&step.command).current_dir(repository()).env("PATH", &path).output();
        let done = done.unwrap_or_else(|error| panic!("start `{}`: {error}", step.command));
        let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let mut lines = text.lines();
        for shown in step.shows.iter().filter(|shown| !shown.trim().is_empty()) {
            assert!(lines.any(|line| shows(shown, line)), "`{}` does not show\n{shown}\nbut\n{text}", step.command);
        }
    }
}

#[test]
fn only_marked_commands_are_steps() {
    let page = "```console\n$ xeno inspect x   # test\na … b\n$ cargo build\nlots\n```\n```sh\n$ no # test\n```\n";
    assert_eq!(steps(page), [Step { command: "xeno inspect x".into(), shows: vec!["a … b".into()] }]);
    assert!(shows("a … b", "a 1 2 b") && shows("a …", "a x") && !shows("a … b", "a 1") && !shows("a", "a b"));
}
