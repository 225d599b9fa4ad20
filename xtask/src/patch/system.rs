//! `cargo xtask patch-system`: every dynamic ELF file of this machine is copied, patched twice and shown to
//! the loader, which must say of it what it says of the original in its place. No program is started:
//! only files with this system's own glibc loader are executed, and that loader is told to trace.

use super::edits::{Edits, Step, long_interpreter};
use super::stage;
use super::tool::{Answer, Tool};
use super::trial::{Growth, Verdict, Word};
use super::{opener, parallel, report};
use crate::elf::{self, View};
use crate::gate;
use crate::process::{self, Ended};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DIRECTORIES: &[&str] =
    &["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/games", "/usr/local", "/bin", "/sbin", "/lib", "/lib64"];
/// From how many files on the task proves something.
const ENOUGH: usize = 1000;
/// The loader needs no more for any file.
const LIMIT: Duration = Duration::from_secs(30);

/// `patch-system`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &["--json"], &["--limit", "--tool"])?;
    let limit = crate::option(arguments, "--limit")?.map(|n| n.parse::<usize>().with_context(|| format!("--limit {n}"))).transpose()?;
    let (own, loader) = elf::native()?;
    let (all, left_out) = files(own.world);
    let chosen = spread(&all, limit.unwrap_or(all.len()));
    let tool = Tool::chosen(crate::option(arguments, "--tool")?)?;
    let work = tempfile::Builder::new().prefix("xs-").tempdir().context("make a directory to work in")?;
    let check = Check { opener: opener(work.path())?, link: long_interpreter(work.path(), &loader)?, loader, tool: &tool };

    let (done, quiet) = (AtomicUsize::new(0), arguments.iter().any(|a| a == "--json"));
    let terminal = std::io::stderr().is_terminal();
    let progress = |verdict: &Verdict| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if verdict.word != Word::Ok && !quiet {
            println!("{verdict}");
        }
        if terminal {
            eprint!("\r{done}/{} ", chosen.len());
        }
    };
    let verdicts = parallel(&chosen, |(path, view)| check.file(path, view, work.path()), progress)?;
    if !quiet {
        println!("patch-system: {} of the {} dynamic ELF files of this machine; left out: {left_out}", verdicts.len(), all.len());
    }
    if limit.is_none_or(|limit| limit >= ENOUGH) && verdicts.len() < ENOUGH {
        gate::skip(&format!("the proof wants {ENOUGH} files of this machine and there are {}", verdicts.len()))?;
    }
    report::finish("patch-system", &verdicts, quiet, report::Allowed { refused: verdicts.len() / 100, ..Default::default() })
}

/// Dynamic files of this machine's own kind, each inode once, sorted by path; and what was left out.
fn files(world: (u8, u8, u64)) -> (Vec<(PathBuf, View)>, String) {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut foreign, mut unreadable) = (0, 0);
    // By their real names, as the loader expands `$ORIGIN`.
    let mut open: Vec<PathBuf> = DIRECTORIES.iter().filter_map(|directory| fs::canonicalize(directory).ok()).collect();
    while let Some(directory) = open.pop() {
        let Ok(data) = fs::metadata(&directory) else { continue };
        if !seen.insert((data.dev(), data.ino())) {
            continue;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file()
                && let Ok(data) = entry.metadata()
                && seen.insert((data.dev(), data.ino()))
            {
                match elf::view(&path) {
                    Ok(Some(view)) if view.dynamic && view.world == world => found.push((path, view)),
                    Ok(Some(view)) => foreign += usize::from(view.dynamic),
                    Ok(None) => {}
                    // Separate debug information keeps the headers of a file whose content it has not.
                    Err(_) => unreadable += 1,
                }
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    (found, format!("{foreign} of other machines, {unreadable} that no loader can read"))
}

/// At most `limit` of them, evenly from all directories.
pub(crate) fn spread<T: Clone>(all: &[T], limit: usize) -> Vec<T> {
    let count = limit.min(all.len());
    (0..count).filter_map(|at| all.get(at * all.len() / count).cloned()).collect()
}

struct Check<'c> {
    opener: PathBuf,
    loader: PathBuf,
    /// The long path to the loader.
    link: PathBuf,
    tool: &'c Tool,
}

impl Check<'_> {
    fn file(&self, path: &Path, view: &View, work: &Path) -> Result<Verdict> {
        let mut verdict = Verdict {
            name: path.display().to_string(),
            word: Word::Ok,
            faults: Vec::new(),
            baseline: String::new(),
            size: stage::size(path)?,
            growth: None,
            stripped: Vec::new(),
        };
        let traced = self.traces(path, view);
        let in_place = self.ask(path, traced)?;
        verdict.baseline = in_place.first().map(|answer| answer.end.to_string()).unwrap_or_default();
        let directory = tempfile::tempdir_in(work).context("make a directory for a copy")?;
        let copy = directory.path().join(path.file_name().context("a file without a name")?);
        fs::copy(path, &copy).with_context(|| format!("copy {}", path.display()))?;
        // Some files do not even work as a copy; then a patched copy may do what a plain one does.
        let as_copy = self.ask(&copy, traced)?;

        let interpreter = view.interpreter.as_ref().map(|_| self.link.as_path());
        let edits = Edits::new(view, interpreter, path.parent());
        let (mut before, mut growth) = (verdict.size, Growth::default());
        for (step, when) in [(Step::First, "first"), (Step::Second, "second")] {
            let kept = directory.path().join("kept");
            fs::copy(&copy, &kept).context("keep the state before an edit")?;
            let fault = match self.tool.edit(&edits.arguments(step), &copy)? {
                Answer::Done => self
                    .fault(&copy, traced, &edits, view.soname.as_deref(), step, [&in_place, &as_copy])?
                    .map(|fault| (Word::Broken, fault)),
                Answer::Refused(why) if stage::same_bytes(&copy, &kept)? => Some((Word::Refused, why)),
                Answer::Refused(why) => Some((Word::Broken, format!("refused, but the file was changed: {why}"))),
                Answer::Died(how) => Some((Word::Broken, format!("the tool died: {how}"))),
            };
            if let Some((word, text)) = fault {
                verdict.word = word;
                verdict.faults.push(format!("{when} edit: {text}"));
                return Ok(verdict);
            }
            let after = stage::size(&copy)?;
            let grown = after.saturating_sub(before).saturating_sub(edits.strings(step));
            *(if step == Step::First { &mut growth.in_place } else { &mut growth.again }) = grown;
            before = after;
        }
        verdict.growth = Some(growth);
        Ok(verdict)
    }

    /// Whether the kernel may start it: with any other loader, or none, it would run.
    fn traces(&self, path: &Path, view: &View) -> bool {
        let own = view.interpreter.as_deref().and_then(|i| fs::canonicalize(i).ok()).is_some_and(|loader| loader == self.loader);
        // In secure-execution mode the loader ignores the variable (ld.so(8)).
        own && fs::metadata(path).is_ok_and(|data| data.mode() & 0o6000 == 0)
    }

    fn fault(
        &self,
        copy: &Path,
        traced: bool,
        edits: &Edits,
        soname: Option<&str>,
        step: Step,
        baselines: [&Vec<Ended>; 2],
    ) -> Result<Option<String>> {
        let missing = match elf::view(copy) {
            Ok(Some(view)) => edits.missing(step, &view),
            Ok(None) => vec!["no ELF file any more".to_owned()],
            Err(error) => vec![format!("{error:#}")],
        };
        if !missing.is_empty() {
            return Ok(Some(missing.join("; ")));
        }
        let answers = self.ask(copy, traced)?;
        // The added library, and what it brings: for libc's own libraries, the file itself.
        let names = [Some(edits.added), soname].into_iter().flatten().collect::<Vec<_>>();
        let without = |answers: &[Ended]| answers.iter().map(|answer| dropped(answer, &names)).collect::<Vec<_>>();
        let agrees = |baseline: &Vec<Ended>| match step {
            Step::First => baseline == &answers,
            Step::Second => without(baseline) == without(&answers),
        };
        if baselines.into_iter().any(agrees) {
            return Ok(None);
        }
        let [first, _] = baselines;
        let differs = answers.iter().zip(first).find(|(now, then)| now != then);
        Ok(Some(differs.map_or_else(|| "the loader answers differently".to_owned(), |(now, then)| difference(now, then))))
    }

    /// What the loader says of a file: whether it takes it, what it would load with it, and whether the
    /// kernel maps it; of a library, whether it can be opened.
    fn ask(&self, path: &Path, traced: bool) -> Result<Vec<Ended>> {
        let run = |command: &mut Command| -> Result<Ended> {
            Ok(self.plain(process::ended(command.env_clear().env("LC_ALL", "C").current_dir("/"), LIMIT)?, path))
        };
        if !traced {
            return Ok(vec![run(Command::new(&self.opener).arg(path))?]);
        }
        let verify = run(Command::new(&self.loader).arg("--verify").arg(path))?;
        let list = run(Command::new(&self.loader).arg("--list").arg(path))?;
        let mut trace = Command::new(path);
        trace.env_clear().env("LC_ALL", "C").env("LD_TRACE_LOADED_OBJECTS", "1").current_dir("/");
        let trace = match process::ended(&mut trace, LIMIT) {
            Ok(ended) => self.plain(ended, path),
            Err(error) => Ended { end: process::End::Status(126), stdout: String::new(), stderr: format!("{error:#}") },
        };
        Ok(vec![verify, list, trace])
    }

    /// Without addresses, order, the file's own path and the loader itself.
    fn plain(&self, mut ended: Ended, path: &Path) -> Ended {
        let path = path.display().to_string();
        let loader = self.loader.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = |line: &&str| {
            let name = line.split_whitespace().next().unwrap_or_default();
            !line.contains("linux-vdso") && !name.ends_with(&loader)
        };
        let mut lines: Vec<String> = ended
            .stdout
            .lines()
            .filter(kept)
            .map(|line| line.replace(&path, "FILE").split(" (0x").next().unwrap_or("").trim().to_owned())
            .collect();
        lines.sort();
        ended.stdout = lines.join("\n");
        // Some libraries write their process id.
        ended.stderr = without_numbers(&ended.stderr.replace(&path, "FILE"));
        ended
    }
}

/// `#` for every run of digits.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            c => plain.push(c),
        }
    }
    plain
}

/// How one answer differs from another: the first line that is new, else the first that is gone.
fn difference(now: &Ended, then: &Ended) -> String {
    let only = |a: &Ended, b: &Ended| {
        a.stdout.lines().chain(a.stderr.lines()).find(|l| !b.stdout.contains(l) && !b.stderr.contains(l)).map(str::to_owned)
    };
    let line = only(now, then).map(|l| format!("says `{l}`")).or_else(|| only(then, now).map(|l| format!("no longer says `{l}`")));
    format!("{} after {}: {}", now.end, then.end, line.unwrap_or_else(|| "the same words".to_owned()))
}

/// An answer without the lines that name these libraries: they may have been there before.
fn dropped(answer: &Ended, names: &[&str]) -> Ended {
    let lines: Vec<&str> =
        answer.stdout.lines().filter(|line| line.split_whitespace().next().is_none_or(|first| !names.contains(&first))).collect();
    Ended { stdout: lines.join("\n"), ..answer.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_makes_no_difference() {
        assert_eq!(without_numbers("==18637==first 2"), without_numbers("==7==first 10"));
    }

    #[test]
    fn a_difference_is_named_by_its_line() {
        let ended = |code, stdout: &str| Ended { end: process::End::Status(code), stdout: stdout.into(), stderr: String::new() };
        assert_eq!(difference(&ended(127, "a\nb"), &ended(0, "a")), "status 127 after status 0: says `b`");
        assert_eq!(difference(&ended(0, "a"), &ended(0, "a\nb")), "status 0 after status 0: no longer says `b`");
    }

    #[test]
    fn a_limit_takes_files_from_everywhere() {
        assert_eq!(spread(&(0..10).collect::<Vec<_>>(), 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(&[1, 2], 5), [1, 2]);
        assert!(spread::<u8>(&[], 5).is_empty());
    }
}
