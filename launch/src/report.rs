//! An answer as data for machines: what `inspect --json` prints and `XENO_REPORT` receives.
//! Paths that are not UTF-8 are shown with replacement characters.

use crate::rung::{Rung, Step};
use resolver::answer::{self, Answer, World};
use resolver::needs::Needs;
use resolver::provider::Origin;
use resolver::resolution::{Library, Missing, Resolution};
use serde::Serialize;
use std::path::Path;

/// One library of a report.
#[derive(Debug, Serialize)]
pub struct LibraryRow {
    /// The name it was asked for by.
    pub name: String,
    /// The file.
    pub path: String,
    /// Who asked first.
    pub needed_by: String,
    /// The rule that won, in words.
    pub rule: String,
    /// Where the file came from.
    pub origin: Origin,
}

/// The files of a resolution.
#[derive(Debug, Serialize)]
pub struct Files {
    /// The loader.
    pub loader: Option<String>,
    /// The libc's version, as far as known.
    pub libc_version: Option<String>,
    /// Every file the program may map: loader, libraries, optional libraries, loader copies.
    pub files: Vec<String>,
    /// The closure in load order.
    pub libraries: Vec<LibraryRow>,
    /// What may be opened later.
    pub optional: Vec<LibraryRow>,
    /// What nothing answered.
    pub missing: Vec<Missing>,
    /// What only optional files miss.
    pub optional_missing: Vec<Missing>,
    /// What contradicts itself, in words.
    pub conflicts: Vec<String>,
}

/// A whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The program, links resolved.
    pub program: String,
    /// What it says it needs.
    pub needs: Needs,
    /// One sentence: what happens if it is just started.
    pub native: String,
    /// Whether it runs as it is.
    pub runs_here: bool,
    /// Whose libraries answer.
    pub world: &'static str,
    /// The rung that was chosen; none if only inspected, or if none can start it.
    pub rung: Option<Rung>,
    /// Why each rung was taken or passed over.
    pub steps: Vec<Step>,
    /// The files.
    pub resolution: Files,
    /// The root of the program's own tree.
    pub tree: Option<String>,
}

impl Report {
    /// Makes a report; `copies` are the loader copies and the like that stand in for a file of the answer.
    pub fn new(answer: &Answer, steps: &[Step], copies: &[&Path]) -> Report {
        let resolution = &answer.resolution;
        Report {
            program: text(&resolution.program),
            needs: resolution.needs.clone(),
            native: answer::sentence(&answer.native),
            runs_here: matches!(answer.native, answer::Native::Static | answer::Native::Runs),
            world: match answer.world {
                World::Native => "native",
                World::Host => "host",
                World::Archive => "archive",
            },
            rung: steps.iter().find(|s| s.taken).map(|s| s.rung),
            steps: steps.to_vec(),
            resolution: files(resolution, copies),
            tree: answer.tree.root.as_deref().map(text),
        }
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        // Every field is a string, a number or a list of such: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn row(library: &Library) -> LibraryRow {
    LibraryRow {
        name: library.name.clone(),
        path: text(&library.path),
        needed_by: library.needed_by.clone(),
        rule: library.rule.to_string(),
        origin: library.origin.clone(),
    }
}

fn files(r: &Resolution, copies: &[&Path]) -> Files {
    let loader = r.libc_set.as_ref().map(|s| s.loader.as_path());
    let libraries = r.libraries.iter().chain(&r.optional).map(|l| l.path.as_path());
    let mut files: Vec<String> = Vec::new();
    for path in loader.into_iter().chain(copies.iter().copied()).chain(libraries) {
        // Maps show files with their links resolved; say both.
        let real = std::fs::canonicalize(path).ok();
        for name in [Some(text(path)), real.as_deref().map(text)].into_iter().flatten() {
            if !files.contains(&name) {
                files.push(name);
            }
        }
    }
    Files {
        loader: loader.map(text),
        libc_version: r.libc_set.as_ref().map(|s| s.version.clone()).filter(|v| !v.is_empty()),
        files,
        libraries: r.libraries.iter().map(row).collect(),
        optional: r.optional.iter().map(row).collect(),
        missing: r.missing.clone(),
        optional_missing: r.optional_missing.clone(),
        conflicts: r.conflicts.iter().map(ToString::to_string).collect(),
    }
}
