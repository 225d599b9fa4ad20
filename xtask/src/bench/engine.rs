//! The exec loop: starts every case of a group in turn, round after round in rotating order, pinned to
//! one processor, and keeps what each start cost. Interleaving makes the ratios of one run comparable
//! when the machine's speed drifts; the first case is run twice, and its distance from itself is the
//! error of everything else in the table.

use crate::process;
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A program to start, once or several times in a row.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    program: PathBuf,
    starts: Vec<Vec<CString>>,
    environment: Vec<CString>,
    before: Vec<Step>,
    /// What is written to the disk, within the time.
    flushed: Option<PathBuf>,
}

/// What is done before each start, outside of the time.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A fresh copy of a file, or of a directory of files, that is on the disk.
    Copy { of: PathBuf, to: PathBuf },
    /// The file goes.
    Remove(PathBuf),
    /// A command that must succeed.
    Run(Vec<String>),
    /// What was written to the file system that this path is on is on its disk.
    Settle(PathBuf),
}

impl Case {
    /// A case with its whole environment. Fails on a NUL byte.
    pub(super) fn new(name: &str, words: &[&str], environment: &[(String, String)]) -> Result<Case> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Case::several(name, &[words], environment)
    }

    /// As [`Case::new`], for several starts of one program that count as one.
    pub(super) fn several(name: &str, starts: &[Vec<String>], environment: &[(String, String)]) -> Result<Case> {
        let program = starts.first().and_then(|words| words.first()).map(PathBuf::from).context("a case without a program")?;
        let text = |text: &str| CString::new(text).with_context(|| format!("{name}: a NUL byte in {text:?}"));
        let words = |words: &Vec<String>| words.iter().map(|word| text(word)).collect::<Result<_>>();
        Ok(Case {
            name: name.to_owned(),
            program,
            starts: starts.iter().map(words).collect::<Result<_>>()?,
            environment: environment.iter().map(|(key, value)| text(&format!("{key}={value}"))).collect::<Result<_>>()?,
            before: Vec::new(),
            flushed: None,
        })
    }

    /// Prepared by these steps each time.
    pub(super) fn after(self, before: Vec<Step>) -> Case {
        Case { before, ..self }
    }

    /// The time includes one fsync(2) of this file, or one syncfs(2) if it is a directory.
    pub(super) fn flushing(self, path: &Path) -> Case {
        Case { flushed: Some(path.to_owned()), ..self }
    }
}

impl Step {
    fn take(&self) -> Result<()> {
        match self {
            Step::Copy { of, to } => {
                // Over what is there: file systems are slow to give out inodes that were freed a moment ago.
                copy(of, to).with_context(|| format!("copy {} to {}", of.display(), to.display()))?;
                flush(to)
            }
            Step::Remove(path) => remove(path),
            Step::Run(words) => {
                let (program, arguments) = words.split_first().context("a step without a program")?;
                process::output(Command::new(program).args(arguments)).map(|_| ())
            }
            Step::Settle(path) => settle(path),
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).with_context(|| format!("remove {}", path.display())),
        _ => Ok(()),
    }
}

fn copy(of: &Path, to: &Path) -> Result<()> {
    if !of.is_dir() {
        fs::copy(of, to)?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(of)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Waits until a file, or the file system of a directory, is on the disk.
fn flush(path: &Path) -> Result<()> {
    if path.is_dir() {
        return settle(path);
    }
    fs::File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("flush {}", path.display()))
}

fn settle(path: &Path) -> Result<()> {
    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    nix::unistd::syncfs(&file).with_context(|| format!("flush the file system of {}", path.display()))
}

/// How often, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// Starts of one case in one round.
    pub(super) execs: usize,
    pub(super) cpu: Option<usize>,
}

/// Microseconds; one value a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Timings {
    pub(super) name: String,
    /// The fastest start of the round.
    pub(super) fastest: Vec<f64>,
    /// The middle start of the round.
    pub(super) middle: Vec<f64>,
    /// User and system time of a start, the round's mean.
    pub(super) processor: Vec<f64>,
    /// Minor page faults of a start, the round's mean.
    pub(super) faults: Vec<f64>,
}

impl Timings {
    /// The fastest start of all.
    pub(super) fn minimum(&self) -> f64 {
        self.fastest.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median over rounds of the rounds' medians.
    pub(super) fn median(&self) -> f64 {
        median(&self.middle)
    }
}

/// The middle value; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.saturating_sub(1)), at(half)) }
}

/// Times the cases against each other. The first is added once more as `… (again)`. A case that does
/// not end with status 0 is an error: a failure is fast.
pub(super) fn compare(cases: &[Case], effort: Effort) -> Result<Vec<Timings>> {
    let mut cases = cases.to_vec();
    let first = cases.first().context("no case")?.clone();
    cases.insert(1, Case { name: format!("{} (again)", first.name), ..first });
    let here = Pid::from_raw(0);
    let before = sched_getaffinity(here).context("read the affinity")?;
    if let Some(cpu) = effort.cpu {
        let mut set = CpuSet::new();
        set.set(cpu).with_context(|| format!("processor {cpu}"))?;
        sched_setaffinity(here, &set).with_context(|| format!("pin to processor {cpu}"))?;
    }
    let outcome = rounds(&cases, effort);
    sched_setaffinity(here, &before).context("unpin")?;
    outcome
}

fn rounds(cases: &[Case], effort: Effort) -> Result<Vec<Timings>> {
    let mut all: Vec<Timings> = cases.iter().map(|case| Timings { name: case.name.clone(), ..Timings::default() }).collect();
    for case in cases {
        for _ in 0..effort.execs.min(2) {
            prepare(case)?;
            start(case)?; // warms caches, and fails early
        }
    }
    for round in 0..effort.rounds {
        for place in 0..cases.len() {
            let index = (place + round) % cases.len();
            let (Some(case), Some(timings)) = (cases.get(index), all.get_mut(index)) else { continue };
            let mut walls = Vec::with_capacity(effort.execs);
            let (mut processor, mut faults) = (0.0, 0.0);
            for _ in 0..effort.execs {
                prepare(case)?;
                let before = usage()?;
                walls.push(start(case)?);
                let after = usage()?;
                processor += after.0 - before.0;
                faults += after.1 - before.1;
            }
            let count = effort.execs.max(1) as f64;
            timings.fastest.push(walls.iter().copied().fold(f64::INFINITY, f64::min));
            timings.middle.push(median(&walls));
            timings.processor.push(processor / count);
            timings.faults.push(faults / count);
        }
    }
    Ok(all)
}

fn prepare(case: &Case) -> Result<()> {
    case.before.iter().try_for_each(Step::take).with_context(|| format!("{}: prepare it", case.name))
}

/// Starts a case and waits for its end: microseconds. posix_spawn shares our memory until the exec
/// (`CLONE_VM | CLONE_VFORK` in glibc's `spawni.c`), so our own size costs nothing.
fn start(case: &Case) -> Result<f64> {
    let mut actions = PosixSpawnFileActions::init().context("prepare a start")?;
    let null = Path::new("/dev/null");
    for descriptor in [1, 2] {
        actions.add_open(descriptor, null, OFlag::O_WRONLY, Mode::empty()).context("redirect to /dev/null")?;
    }
    let attributes = PosixSpawnAttr::init().context("prepare a start")?;
    let begun = Instant::now();
    for argv in &case.starts {
        let child = posix_spawn(case.program.as_path(), &actions, &attributes, argv, &case.environment)
            .with_context(|| format!("{}: start {}", case.name, case.program.display()))?;
        let status = waitpid(child, None).context("wait")?;
        if !matches!(status, WaitStatus::Exited(_, 0)) {
            bail!("{}: {} ended with {status:?}", case.name, case.program.display());
        }
    }
    if let Some(path) = &case.flushed {
        flush(path)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}

/// Processor time in microseconds and minor faults of all children that have ended.
pub(super) fn usage() -> Result<(f64, f64)> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let time = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok((time as f64, usage.minor_page_faults() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_case_that_fails_is_an_error_and_no_timing() {
        let effort = Effort { rounds: 1, execs: 1, cpu: None };
        let case = Case::new("no", &["/bin/sh", "-c", "exit 3"], &[]).unwrap();
        let error = compare(&[case], effort).unwrap_err().to_string();
        assert!(error.starts_with("no: /bin/sh ended with Exited("), "{error}");
    }

    #[test]
    fn the_first_case_is_also_its_own_opponent() {
        let effort = Effort { rounds: 2, execs: 1, cpu: None };
        let case = Case::new("true", &["/bin/sh", "-c", ":"], &[]).unwrap();
        let names: Vec<_> = compare(&[case], effort).unwrap().into_iter().map(|t| (t.name, t.fastest.len())).collect();
        assert_eq!(names, [("true".to_owned(), 2), ("true (again)".to_owned(), 2)]);
    }
}
