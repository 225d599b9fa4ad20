//! `xeno patch --verify` alone: whether a loader can read a file, and what our own record in it says.

use super::words::PatchArgs;
use super::{FAILED, print_json};
use crate::failure::{Failure, OneLine};
use anstyle::{AnsiColor, Style};
use patcher::commit::Source;
use patcher::{Error, View};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    files: Vec<FileVerdict>,
}

/// What is known of one file.
#[derive(Serialize)]
struct FileVerdict {
    path: String,
    /// Whether a loader can read it.
    sound: bool,
    /// The first thing that is wrong.
    problem: Option<String>,
    /// Whether a record of an edit is in it.
    patched: bool,
    /// Whether, or why not, the edit can be undone.
    undo: String,
}

/// Looks at each file.
pub(super) fn run(args: &PatchArgs) -> Result<u8, Failure> {
    let full = args.verify.as_deref() == Some("full");
    let mut report = Report { files: Vec::new() };
    for path in &args.files {
        report.files.push(judge(path, full));
    }
    let bad = report.files.iter().any(|file| !file.sound);
    if args.json {
        print_json(&report)?;
    } else {
        report.files.iter().for_each(tell);
    }
    Ok(if bad { FAILED } else { 0 })
}

fn judge(path: &Path, full: bool) -> FileVerdict {
    let verdict = |problem: Option<String>, patched, undo: String| FileVerdict {
        path: path.display().to_string(),
        sound: problem.is_none(),
        problem,
        patched,
        undo,
    };
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(e) => return verdict(Some(e.to_string()), false, "it cannot be read".to_owned()),
    };
    if let Err(e) = readable(source.bytes()) {
        return verdict(Some(e), false, "it is not sound".to_owned());
    }
    match patcher::undo(source.bytes()) {
        Ok(plan) if full => match original(&plan, source.bytes()) {
            Ok(()) => verdict(None, true, "yes, every byte was compared".to_owned()),
            Err(e) => verdict(Some(format!("its record does not lead back to a sound file: {e}")), true, "no".to_owned()),
        },
        Ok(_) => verdict(None, true, "yes".to_owned()),
        Err(Error::NoRecord { reason }) => verdict(None, false, reason.to_owned()),
        Err(e) => verdict(Some(e.to_string()), false, "its record cannot be read".to_owned()),
    }
}

/// Everything that a loader reads before it maps the file and looks for others.
fn readable(file: &[u8]) -> Result<(), String> {
    let view = View::parse(file).map_err(|e| e.to_string())?;
    let strings = [view.soname(), view.rpath(), view.runpath()];
    strings.into_iter().try_for_each(|text| text.map(|_| ())).map_err(|e| e.to_string())?;
    view.needed().map_err(|e| e.to_string())?;
    resolver::elf::parse(file).map(|_| ()).map_err(|e| e.to_string())
}

fn original(plan: &patcher::Plan, file: &[u8]) -> Result<(), String> {
    let original = plan.apply(file).map_err(|e| e.to_string())?;
    plan.verify(file, &original).map_err(|e| e.to_string())?;
    readable(&original)
}

fn tell(file: &FileVerdict) {
    let (good, bad) = (Style::new().fg_color(Some(AnsiColor::Green.into())), Style::new().fg_color(Some(AnsiColor::Red.into())));
    let path = OneLine(&file.path);
    match &file.problem {
        Some(problem) => anstream::println!("{path}: {bad}not sound{bad:#}: {}", OneLine(problem)),
        None if file.patched => anstream::println!("{path}: {good}sound{good:#}, patched; can be undone: {}", OneLine(&file.undo)),
        None => anstream::println!("{path}: {good}sound{good:#}; {}", OneLine(&file.undo)),
    }
}
