//! One file through everything: started as it is, edited in place, edited again, stripped, edited with
//! `--output`; after each step it must do what it did before, as its edits say, and be as tidy as it was.

use super::edits::{Edits, Step, long_interpreter};
use super::stage::{self, Stage, Subject};
use super::structure::{self, Complaints};
use super::tool::{Answer, Tool};
use crate::elf::{self, View};
use crate::process::{self, Ended};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// In order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    Ok,
    /// It works, but a tool complains of it that did not complain of the original.
    Untidy,
    /// The tool would not, and left the file as it was.
    Refused,
    Broken,
}

/// Growth of one file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Growth {
    /// By the first edit, in place and with `--output` (where that was tried), beyond the strings it brings.
    pub(crate) in_place: u64,
    pub(crate) output: Option<u64>,
    /// By the second edit, beyond the strings it brings.
    pub(crate) again: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) word: Word,
    /// What is wrong, worst first for a reader: in order of the steps.
    pub(crate) faults: Vec<String>,
    /// How the untouched original ended.
    pub(crate) baseline: String,
    pub(crate) size: u64,
    pub(crate) growth: Option<Growth>,
    /// The ways in which it was stripped as well: those that the original survives.
    pub(crate) stripped: Vec<&'static str>,
}

/// Both ways of stripping.
const STRIPS: [(&str, &[&str]); 2] = [("all", &[]), ("debug", &["--strip-debug"])];

/// Tries one subject below `parent`.
pub(super) fn trial(subject: &Subject, tool: &Tool, parent: &Path) -> Result<Verdict> {
    let original = subject.original();
    let view = elf::view(&original)?.with_context(|| format!("{} is no ELF file", original.display()))?;
    let stage = Stage::new(subject, parent)?;
    let baseline = stage.start()?;
    let fickle = stage.start()? != baseline;
    let trial = Trial { subject, tool, stage, baseline, fickle, complaints: structure::complaints(&original)?, view };
    let mut verdict = Verdict {
        name: subject.name.clone(),
        word: Word::Ok,
        faults: Vec::new(),
        baseline: trial.baseline.end.to_string(),
        size: stage::size(&original)?,
        growth: None,
        stripped: Vec::new(),
    };
    // What is started by itself and names no loader has nothing to edit.
    if trial.view.interpreter.is_none() && subject.runner.is_empty() {
        trial.without_interpreter(&mut verdict)?;
    } else {
        trial.edited(&mut verdict)?;
    }
    Ok(verdict)
}

struct Trial<'s> {
    subject: &'s Subject,
    tool: &'s Tool,
    stage: Stage<'s>,
    baseline: Ended,
    /// Its words differ from run to run.
    fickle: bool,
    complaints: Complaints,
    view: View,
}

impl Verdict {
    /// Of a file that could not be built or copied.
    pub(super) fn untried(name: &str, error: &anyhow::Error) -> Verdict {
        let faults = vec![format!("not tried: {error:#}")];
        Verdict { word: Word::Broken, faults, ..Verdict::empty(name) }
    }

    /// Of a file of which nothing is known yet.
    pub(super) fn empty(name: &str) -> Verdict {
        let (faults, stripped) = (Vec::new(), Vec::new());
        Verdict { name: name.to_owned(), word: Word::Ok, faults, baseline: "-".to_owned(), size: 0, growth: None, stripped }
    }

    pub(super) fn fault(&mut self, word: Word, text: String) {
        self.word = self.word.max(word);
        self.faults.push(text);
    }
}

impl Trial<'_> {
    /// There is no interpreter to set: the tool has to say so and to leave the file alone.
    fn without_interpreter(&self, verdict: &mut Verdict) -> Result<()> {
        let arguments = ["--set-interpreter", "/lib/ld.so"].map(str::to_owned);
        match self.tool.edit(&arguments, &self.stage.file())? {
            Answer::Refused(_) => {}
            Answer::Done => verdict.fault(Word::Broken, "an interpreter was set where there is none".to_owned()),
            Answer::Died(how) => verdict.fault(Word::Broken, format!("the tool died: {how}")),
        }
        if !stage::same_bytes(&self.stage.file(), &self.subject.original())? {
            verdict.fault(Word::Broken, "refused, but the file was changed".to_owned());
        }
        Ok(())
    }

    fn edited(&self, verdict: &mut Verdict) -> Result<()> {
        let (stage, original) = (&self.stage, self.subject.original());
        let link = tempfile::Builder::new().prefix("xeno-").tempdir().context("make a directory for an interpreter")?;
        let named = self.subject.loader.clone().or_else(|| self.view.interpreter.as_ref().map(Into::into));
        let interpreter = named.map(|loader| long_interpreter(link.path(), &loader)).transpose()?;
        let edits = Edits::new(&self.view, interpreter.as_deref(), None);

        if !self.edit(verdict, Step::First, &edits)? {
            return Ok(());
        }
        let first = stage::size(&stage.file())?;
        let mut growth = Growth { in_place: beyond(verdict.size, first, edits.strings(Step::First)), ..Growth::default() };
        let good = self.holds(verdict, "after the first edit", Step::First, &edits)?;
        if good && self.edit(verdict, Step::Second, &edits)? {
            growth.again = beyond(first, stage::size(&stage.file())?, edits.strings(Step::Second));
            if self.holds(verdict, "after the second edit", Step::Second, &edits)? {
                self.strip(verdict, &edits)?;
            }
        }
        growth.output = self.output(verdict, &original, &edits)?;
        verdict.growth = Some(growth);
        Ok(())
    }

    /// One edit in place; false, with the reason noted, if it was not done.
    fn edit(&self, verdict: &mut Verdict, step: Step, edits: &Edits) -> Result<bool> {
        let file = self.stage.file();
        let kept = self.stage.beside("kept");
        std::fs::copy(&file, &kept).context("keep the state before an edit")?;
        let nth = if step == Step::First { "first" } else { "second" };
        let (word, text) = match self.tool.edit(&edits.arguments(step), &file)? {
            Answer::Done => return Ok(true),
            Answer::Died(how) => (Word::Broken, format!("{nth} edit: the tool died: {how}")),
            Answer::Refused(why) if stage::same_bytes(&file, &kept)? => (Word::Refused, format!("{nth} edit: {why}")),
            Answer::Refused(why) => (Word::Broken, format!("{nth} edit: refused, but the file was changed: {why}")),
        };
        verdict.fault(word, text);
        Ok(false)
    }

    /// Whether the file in the program's place behaves and is as tidy as the original, with its edits in effect.
    fn holds(&self, verdict: &mut Verdict, when: &str, step: Step, edits: &Edits) -> Result<bool> {
        self.is_like(verdict, when, step, edits, &self.complaints)
    }

    fn is_like(&self, verdict: &mut Verdict, when: &str, step: Step, edits: &Edits, complaints: &Complaints) -> Result<bool> {
        let file = self.stage.file();
        let mut faults = match elf::view(&file) {
            Ok(Some(view)) => edits.missing(step, &view),
            Ok(None) => vec!["no ELF file any more".to_owned()],
            Err(error) => vec![format!("{error:#}").replace(&file.display().to_string(), "it")],
        };
        let ended = self.stage.start()?;
        faults.extend(self.behaves(&ended));
        let good = faults.is_empty();
        faults.into_iter().for_each(|fault| verdict.fault(Word::Broken, format!("{when}: {fault}")));
        if let Some(new) = structure::new(complaints, &structure::complaints(&file)?) {
            verdict.fault(Word::Untidy, format!("{when}: {new}"));
        }
        Ok(good)
    }

    /// In which way an end differs from the original's.
    fn behaves(&self, ended: &Ended) -> Option<String> {
        if ended.end != self.baseline.end {
            return Some(format!("{} instead of {}: {}", ended.end, self.baseline.end, ended.last_line()));
        }
        if !self.fickle {
            return (ended != &self.baseline).then(|| format!("says `{}` instead of `{}`", ended.last_line(), self.baseline.last_line()));
        }
        let expect = self.subject.expect.as_deref().filter(|text| said(&self.baseline, text) && !said(ended, text))?;
        Some(format!("does not say `{expect}`: {}", ended.last_line()))
    }

    /// Strips the edited file in each way that the original survives.
    fn strip(&self, verdict: &mut Verdict, edits: &Edits) -> Result<()> {
        let edited = self.stage.beside("edited");
        std::fs::rename(self.stage.file(), &edited).context("keep the edited file")?;
        std::fs::copy(&edited, self.stage.file()).context("copy the edited file")?;
        for (name, flags) in STRIPS {
            let strip = || {
                let mut command = Command::new(&self.subject.strip);
                process::ended(command.args(flags).arg(self.stage.file()), Duration::from_secs(300))
            };
            self.stage.put(&self.subject.original())?;
            let whole = strip()?.succeeded() && elf::view(&self.stage.file()).is_ok_and(|view| view.as_ref() == Some(&self.view));
            if !whole || self.behaves(&self.stage.start()?).is_some() {
                continue;
            }
            // What strip itself did to the original is not the tool's doing.
            let known: Complaints = &self.complaints | &structure::complaints(&self.stage.file())?;
            self.stage.put(&edited)?;
            let done = strip()?;
            if done.succeeded() {
                verdict.stripped.push(name);
                let when = if name == "all" { "after strip" } else { "after strip --strip-debug" };
                self.is_like(verdict, when, Step::Second, edits, &known)?;
            } else {
                verdict.fault(Word::Broken, format!("strip {}: {}", flags.join(" "), done.last_line()));
            }
        }
        Ok(())
    }

    /// The first edit into another file; returns its growth beyond the new strings.
    fn output(&self, verdict: &mut Verdict, original: &Path, edits: &Edits) -> Result<Option<u64>> {
        let before = stage::identity(original)?;
        let written = self.stage.beside("written");
        let mut arguments = edits.arguments(Step::First);
        arguments.extend(["--output".to_owned(), written.display().to_string()]);
        match self.tool.edit(&arguments, original)? {
            Answer::Done if written.is_file() => {}
            Answer::Done => {
                verdict.fault(Word::Broken, "--output: no file was written".to_owned());
                return Ok(None);
            }
            Answer::Refused(why) | Answer::Died(why) => {
                verdict.fault(Word::Broken, format!("--output failed where an edit in place did not: {why}"));
                return Ok(None);
            }
        }
        if stage::identity(original)? != before {
            verdict.fault(Word::Broken, "--output: the original was changed".to_owned());
        }
        if stage::executable(original)? && !stage::executable(&written)? {
            verdict.fault(Word::Broken, "--output: what was written is not executable".to_owned());
        }
        self.stage.put(&written)?;
        self.holds(verdict, "with --output", Step::First, edits)?;
        Ok(Some(beyond(verdict.size, stage::size(&written)?, edits.strings(Step::First))))
    }
}

fn said(ended: &Ended, text: &str) -> bool {
    ended.stdout.contains(text) || ended.stderr.contains(text)
}

/// Growth that the new strings do not explain.
fn beyond(before: u64, after: u64, strings: u64) -> u64 {
    after.saturating_sub(before).saturating_sub(strings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program of this machine under a tool that is a shell script; `None` without a compiler.
    fn tried(script: &str) -> Option<Verdict> {
        process::find("cc")?;
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let (source, program) = (directory.path().join("x.c"), place.join("x"));
        std::fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"here\"); return 0; }").unwrap();
        process::output(Command::new("cc").arg(&source).arg("-o").arg(&program)).unwrap();
        let tool = directory.path().join("tool");
        std::fs::write(&tool, format!("#!/bin/sh\nfor f; do :; done\n{script}\n")).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let tool = Tool::chosen(Some(&tool.display().to_string())).unwrap();
        Some(trial(&Subject::alone("x", &place), &tool, directory.path()).unwrap())
    }

    #[test]
    fn a_tool_that_does_nothing_breaks_every_file() {
        let Some(verdict) = tried("exit 0") else { return };
        assert_eq!(verdict.word, Word::Broken);
        assert!(verdict.faults.iter().any(|f| f.starts_with("after the first edit: the interpreter did not change: ")), "{verdict:?}");
        assert!(verdict.faults.contains(&"--output: no file was written".to_owned()), "{verdict:?}");
    }

    #[test]
    fn a_refusal_counts_only_if_the_file_is_as_it_was() {
        let Some(verdict) = tried("echo no >&2; exit 1") else { return };
        assert_eq!((verdict.word, verdict.faults), (Word::Refused, vec!["first edit: no".to_owned()]));
        let Some(verdict) = tried("echo x >>\"$f\"; echo no >&2; exit 1") else { return };
        assert_eq!(verdict.faults, ["first edit: refused, but the file was changed: no"]);
        assert_eq!(verdict.word, Word::Broken);
    }

    #[test]
    fn a_tool_that_dies_has_not_refused() {
        let Some(verdict) = tried("kill -ABRT $$") else { return };
        assert_eq!(verdict.word, Word::Broken);
        assert_eq!(verdict.faults, ["first edit: the tool died: signal 6: no message"]);
    }

    #[test]
    fn growth_is_what_the_strings_do_not_explain() {
        assert_eq!(beyond(1000, 1400, 300), 100);
        assert_eq!(beyond(1000, 1000, 300), 0);
    }
}
