//! `cargo xtask patch-corpus`, `patch-system`, `patch-foreign` and `patch-property`: what a patched file does, compared with
//! what the original does, for any program that takes patchelf's arguments. They build, fetch and judge;
//! they share no code with the patcher that they judge.

mod edits;
mod foreign;
mod matrix;
mod payload;
mod property;
mod random;
mod report;
mod stage;
mod structure;
mod system;
mod tool;
mod trial;

use crate::corpus::table::{End, Patched, Row};
use crate::corpus::{self, fetch};
use crate::process;
use anyhow::{Context, Result, bail};
use payload::PAYLOADS;
use stage::Subject;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tool::Tool;
use trial::Verdict;

pub(crate) use foreign::run as foreign;
pub(crate) use property::run as property;
pub(crate) use system::{run as system, spread};

/// `patch-corpus`.
pub(crate) fn corpus(arguments: &[String]) -> Result<()> {
    let (flags, names) = split(arguments)?;
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let cache = corpus::cache(&flags)?;
    let rows = corpus::rows()?;
    let chosen = Chosen::new(&rows, &names, has("--ci"))?;
    process::need(matrix::PACKAGES)?;
    fetch::fetch(&chosen.downloads(&rows), &cache)?;
    let tool = Tool::chosen(crate::option(&flags, "--tool")?)?;
    let work = tempfile::Builder::new().prefix(".patch-").tempdir_in(&cache).context("make a directory to work in")?;
    let place = Place { cache: &cache, work: work.path(), opener: opener(work.path())?, tool: &tool };
    println_unless(has("--json"), report::HEADER);
    let verdicts = parallel(&chosen.jobs(), |job| Ok(place.trial(*job)), |verdict: &Verdict| println_unless(has("--json"), verdict))?;
    report::finish("patch-corpus", &verdicts, has("--json"), report::Allowed::default())
}

fn println_unless(quiet: bool, line: impl std::fmt::Display) {
    if quiet {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// Options with their values, and the names between them.
fn split(arguments: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut flags, mut names, mut rest) = (Vec::new(), Vec::new(), arguments.iter().cloned());
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            names.push(word);
            continue;
        }
        let takes_value = word == "--tool" || word == "--dir";
        flags.push(word);
        flags.extend(takes_value.then(|| rest.next()).flatten());
    }
    crate::only(&flags, &["--ci", "--all", "--json"], &["--tool", "--dir"])?;
    Ok((flags, names))
}

/// One file to try.
#[derive(Clone, Copy)]
enum Job<'r> {
    Made(&'static str),
    Payload(&'static payload::Payload),
    Real(&'r Row),
}

struct Chosen<'r> {
    matrix: Vec<&'static str>,
    payloads: Vec<&'static payload::Payload>,
    real: Vec<&'r Row>,
}

impl<'r> Chosen<'r> {
    /// The named ones, else CI's share, else all.
    fn new(rows: &'r [Row], names: &[String], ci: bool) -> Result<Chosen<'r>> {
        let named = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
        let small = |small: bool| !ci || small || !names.is_empty();
        let chosen = Chosen {
            matrix: matrix::names().filter(|name| named(name)).collect(),
            payloads: PAYLOADS.iter().filter(|payload| named(payload.name) && small(payload.ci)).collect(),
            real: rows.iter().filter(|row| row.patched.is_some() && named(&row.name) && small(row.ci)).collect(),
        };
        let known = |name: &str| {
            chosen.matrix.contains(&name) || chosen.payloads.iter().any(|p| p.name == name) || chosen.real.iter().any(|r| r.name == name)
        };
        match names.iter().find(|name| !known(name)) {
            Some(name) => bail!("no row that is patched is called {name}"),
            None => Ok(chosen),
        }
    }

    /// The rows whose packages are needed.
    fn downloads(&self, rows: &'r [Row]) -> Vec<&'r Row> {
        let made_with = |row: &&Row| self.payloads.iter().any(|payload| payload.needs.contains(&row.name.as_str()));
        self.real.iter().copied().chain(rows.iter().filter(made_with)).collect()
    }

    fn jobs(&self) -> Vec<Job<'r>> {
        let made = self.matrix.iter().map(|name| Job::Made(name));
        let payloads = self.payloads.iter().map(|payload| Job::Payload(payload));
        made.chain(payloads).chain(self.real.iter().map(|row| Job::Real(row))).collect()
    }
}

/// What all trials of one call share.
struct Place<'p> {
    cache: &'p Path,
    work: &'p Path,
    opener: PathBuf,
    tool: &'p Tool,
}

impl Place<'_> {
    /// A row that cannot even be tried has failed, and the others are tried all the same.
    fn trial(&self, job: Job<'_>) -> Verdict {
        let (name, subject) = match job {
            Job::Made(name) => (name, matrix::build(name, self.work, &self.opener)),
            Job::Payload(payload) => (payload.name, payload::build(payload, self.cache)),
            Job::Real(row) => (row.name.as_str(), Ok(self.real(row))),
        };
        let verdict = subject.and_then(|subject| trial::trial(&subject, self.tool, self.work));
        verdict.unwrap_or_else(|error| Verdict::untried(name, &error))
    }

    fn real(&self, row: &Row) -> Subject {
        let opened = row.patched == Some(Patched::Opened);
        Subject {
            tree: row.tree(self.cache),
            path: PathBuf::from(&row.path),
            runner: if opened { vec![self.opener.clone().into_os_string()] } else { Vec::new() },
            arguments: row.arguments.clone(),
            expect: row.expect.clone(),
            endless: row.end == End::Alive,
            ..Subject::alone(&row.name, self.cache)
        }
    }
}

/// Builds the program that opens libraries.
fn opener(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("open");
    let source = crate::root().join("fixtures/src/patch/open.c");
    process::output(Command::new("cc").arg("-O1").arg(&source).arg("-o").arg(&path).arg("-ldl"))?;
    Ok(path)
}

/// Does the jobs on all processors and returns what came of them, in order; `done` sees each as it comes.
fn parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> Result<R> + Sync, done: impl Fn(&R) + Sync) -> Result<Vec<R>> {
    let next = Mutex::new(jobs.iter().enumerate());
    let results = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                // The lock is let go of before the body: the closure owns its guard.
                while let Some((at, job)) = next.lock().ok().and_then(|mut jobs| jobs.next()) {
                    let result = work(job);
                    if let Ok(result) = &result {
                        done(result);
                    }
                    results.lock().map(|mut all| all.push((at, result))).ok();
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_| anyhow::anyhow!("a worker died"))?;
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The share of CI: the matrix with a few real programs, programs of other machines, programs linked
/// at random, this system's own.
/// All four are tried, whatever the first says.
pub(crate) fn ci() -> Result<()> {
    let outcomes = [corpus(&["--ci".to_owned()]), foreign(&[]), property(&[]), system(&["--limit", "1200"].map(str::to_owned))];
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_with_a_value_take_the_next_word() {
        let words = ["--json", "a", "--tool", "/t", "b"].map(str::to_owned);
        let (flags, names) = split(&words).unwrap();
        assert_eq!((flags, names), (["--json", "--tool", "/t"].map(str::to_owned).to_vec(), ["a", "b"].map(str::to_owned).to_vec()));
        assert!(split(&["--toool".to_owned()]).is_err());
    }

    #[test]
    fn names_choose_rows_and_an_unknown_one_is_an_error() {
        let rows = corpus::rows().unwrap();
        let names = ["c-bfd-pie", "dart-aot", "ruff"].map(str::to_owned);
        let chosen = Chosen::new(&rows, &names, false).unwrap();
        assert_eq!((chosen.matrix.len(), chosen.payloads.len(), chosen.real.len()), (1, 1, 1));
        let downloads: Vec<&str> = chosen.downloads(&rows).iter().map(|row| row.name.as_str()).collect();
        assert_eq!(downloads, ["ruff", "sass"]);
        assert!(Chosen::new(&rows, &["no-such".to_owned()], false).is_err());
    }

    #[test]
    fn ci_has_the_whole_matrix_and_no_more_than_it_downloads() {
        let rows = corpus::rows().unwrap();
        let ci = Chosen::new(&rows, &[], true).unwrap();
        assert_eq!(ci.matrix.len(), matrix::names().count());
        assert!(ci.real.iter().all(|row| row.ci) && ci.real.len() >= 8);
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..50).collect();
        assert_eq!(parallel(&jobs, |job| Ok(job * 2), |_| {}).unwrap(), jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
    }
}
