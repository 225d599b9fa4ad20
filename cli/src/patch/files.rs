//! Single files: planned all, shown or tried, then written. Nothing is changed before every file of the
//! command has its plan.

use super::show::{DoneReport, FileReport, PlanReport, UserReport};
use super::sources::Here;
use super::words::PatchArgs;
use super::{USERS_MOST, auto, interrupt, options, print_json, settings, show, trial};
use crate::failure::{Failure, OneLine};
use patcher::commit::{self, Batch, CommitError, Done, How, Source};
use patcher::{Edit, Error, Plan};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use store::cache::Cache;
use store::root::{Places, StoreRoot};

/// Fewer files are patched before a thread has begun.
const WORTH_A_THREAD: usize = 16;
/// The bits of a mode that a copy keeps.
const PERMISSIONS: u32 = 0o777;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    files: Vec<FileReport>,
    /// Directories that were undone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trees: Vec<auto::DoneReport>,
}

/// One file and what is to be done with it.
struct Job<'j> {
    args: &'j PatchArgs,
    path: PathBuf,
    here: Option<&'j Here>,
}

/// A job that was looked at.
struct Planned {
    /// The file itself, links followed.
    real: PathBuf,
    plan: Plan,
    notes: Vec<String>,
    users: Vec<UserReport>,
}

/// Edits, freezes or undoes.
pub(super) fn run(args: &PatchArgs) -> Result<u8, Failure> {
    let here = if args.freeze { Some(Here::new(args)?) } else { None };
    let job = |path: &PathBuf| Job { args, path: path.clone(), here: here.as_ref() };
    let (trees, files): (Vec<&PathBuf>, Vec<&PathBuf>) = args.files.iter().partition(|path| args.undo && path.is_dir());
    let jobs: Vec<Job<'_>> = files.into_iter().map(job).collect();
    if args.to_cache {
        return jobs.first().map_or(Ok(0), Job::to_cache);
    }
    if args.in_place && !args.dry_run {
        // A later file that cannot be planned leaves the first as it is.
        jobs.iter().try_for_each(|job| job.plan().map(|_| ()))?;
    }
    let reports = if jobs.len() == 1 || args.in_place || args.dry_run { one_by_one(&jobs)? } else { together(args, &jobs)? };
    let trees = trees.into_iter().map(|tree| auto::undo(args, tree)).collect::<Result<Vec<_>, Failure>>()?;
    if args.json {
        print_json(&Report { files: reports, trees })?;
    }
    Ok(0)
}

fn one_by_one(jobs: &[Job<'_>]) -> Result<Vec<FileReport>, Failure> {
    let mut reports = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (source, planned) = job.ready(jobs.len())?;
        let done = if job.args.dry_run { None } else { Some(job.commit(&source, &planned.plan)?) };
        reports.extend(job.report(&planned, done.as_ref()));
    }
    Ok(reports)
}

/// All are written before the first is renamed.
fn together(args: &PatchArgs, jobs: &[Job<'_>]) -> Result<Vec<FileReport>, Failure> {
    let batch = Batch::new(settings(args));
    let written = on_all_processors(args, jobs, &|job: &Job<'_>| {
        let (source, planned) = job.ready(jobs.len())?;
        batch.add(&source, &planned.plan)?;
        Ok(planned)
    })?;
    let done: HashMap<PathBuf, Done> = batch.finish()?.into_iter().map(|done| (done.path.clone(), done)).collect();
    if args.verify.as_deref() == Some("full") {
        jobs.iter().try_for_each(Job::prove)?;
    }
    Ok(jobs.iter().zip(&written).filter_map(|(job, planned)| job.report(planned, done.get(&planned.real))).collect())
}

/// The answers in the order of the jobs, or the first failure; after one, no further job is begun. Programs that are
/// tried are started one after the other.
fn on_all_processors<'j>(
    args: &PatchArgs,
    jobs: &'j [Job<'j>],
    work: &(dyn Fn(&'j Job<'j>) -> Result<Planned, Failure> + Sync),
) -> Result<Vec<Planned>, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if args.run_check.is_some() || args.freeze { 1 } else { processors.min(jobs.len() / WORTH_A_THREAD + 1) };
    if threads > 1 {
        // Before the threads: they have signals blocked as their parent has.
        interrupt::watch();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { break };
            let result = work(job);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((index, result));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut all = one();
        for other in others {
            // A panic of a worker is this thread's too.
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

impl Job<'_> {
    fn plan(&self) -> Result<(Source, Planned), Failure> {
        let source = Source::open(&self.path)?;
        let named = |e: Error| self.named(&e);
        let mut notes = Vec::new();
        let plan = if self.args.undo {
            patcher::undo(source.bytes()).map_err(named)?
        } else {
            let mut edits: Vec<Edit> = self.args.edits(source.bytes()).map_err(|e| self.named(&e))?;
            if let Some(here) = self.here {
                let frozen = here.freeze(&self.path)?;
                notes.extend(frozen.to_string().lines().map(str::to_owned));
                edits.extend(frozen.edits());
            }
            patcher::plan_with(source.bytes(), &edits, &options(self.args)).map_err(named)?
        };
        let real = source.path().to_owned();
        Ok((source, Planned { real, plan, notes, users: Vec::new() }))
    }

    /// Planned, tried if that was asked for, and who uses the file found out; `of` so many files.
    fn ready(&self, of: usize) -> Result<(Source, Planned), Failure> {
        if interrupt::is_wanted() {
            return Err(wrap::Error::Cancelled.into());
        }
        let (source, mut planned) = self.plan()?;
        interrupt::watch();
        self.try_out(&source, &mut planned)?;
        let changes = !planned.plan.is_empty() && !self.args.dry_run && self.args.output.is_none();
        if changes && of <= USERS_MOST {
            planned.users = show::users(&commit::users(&planned.real)?);
        }
        Ok((source, planned))
    }

    fn named(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::own(format!("{}: {error}", self.path.display()))
    }

    /// `--run-check`.
    fn try_out(&self, source: &Source, planned: &mut Planned) -> Result<(), Failure> {
        if let Some(words) = self.args.run_check.as_ref().filter(|_| !planned.plan.is_empty()) {
            let patched = planned.plan.apply(source.bytes())?;
            planned.notes.push(trial::compare(&self.path, source.bytes(), &patched, words)?);
            if interrupt::is_wanted() {
                return Err(wrap::Error::Cancelled.into());
            }
        }
        Ok(())
    }

    fn commit(&self, source: &Source, plan: &Plan) -> Result<Done, Failure> {
        let settings = settings(self.args);
        let full = self.args.verify.as_deref() == Some("full");
        // In place, the bytes to compare with change under the map.
        let expected = if full && self.args.in_place { Some(plan.apply(source.bytes())?) } else { None };
        let done = match &self.args.output {
            Some(to) => commit::output(source, plan, to, &settings)?,
            None if self.args.in_place => commit::in_place(source, plan, &settings).map_err(not_in_place)?,
            None => commit::replace(source, plan, &settings)?,
        };
        if full {
            let written = Source::open(&done.path)?;
            match expected {
                Some(expected) if written.bytes() != expected => {
                    return Err(self.named(&"the file is not as planned; restore it from a copy"));
                }
                Some(_) => {}
                None => plan.verify(source.bytes(), written.bytes()).map_err(|e| self.named(&e))?,
            }
        }
        Ok(done)
    }

    /// After a batch the old bytes are gone: what is there now must lead back to them.
    fn prove(&self) -> Result<(), Failure> {
        let source = Source::open(&self.path)?;
        if self.args.no_undo || self.args.undo {
            return patcher::View::parse(source.bytes()).map(|_| ()).map_err(|e| self.named(&e));
        }
        match patcher::undo(source.bytes()) {
            Ok(plan) => {
                let original = plan.apply(source.bytes())?;
                plan.verify(source.bytes(), &original).map_err(|e| self.named(&e))
            }
            // It was as asked for already.
            Err(Error::NoRecord { .. }) => Ok(()),
            Err(e) => Err(self.named(&e)),
        }
    }

    /// `--to-cache`: the name is that of the content, so that the same edit is the same file.
    fn to_cache(&self) -> Result<u8, Failure> {
        let (source, mut planned) = self.plan()?;
        interrupt::watch();
        self.try_out(&source, &mut planned)?;
        let bytes = planned.plan.apply(source.bytes())?;
        let digest: String = Sha256::digest(&bytes).iter().take(20).map(|b| format!("{b:02x}")).collect();
        let name = planned.real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mode = std::fs::metadata(&planned.real).map_or(0o555, |meta| meta.mode() & PERMISSIONS & !0o222);
        let cache = Cache::of(&StoreRoot::choose(&Places::from_env())?);
        let path = cache.path("patched", &format!("{digest}-{name}"));
        if !path.exists() {
            cache.fill("patched", &format!("{digest}-{name}"), mode, |out| out.write_all(&bytes))?;
        }
        // A path is bytes; whoever reads it gets them.
        let line = [path.as_os_str().as_bytes(), b"\n"].concat();
        std::io::stdout().write_all(&line).map_err(|e| Failure::own(format!("print the path: {e}")))?;
        Ok(0)
    }

    /// Tells the person, or makes what a machine is told.
    fn report(&self, planned: &Planned, done: Option<&Done>) -> Option<FileReport> {
        if !self.args.json {
            self.tell(planned, done);
            return None;
        }
        Some(FileReport {
            path: self.path.display().to_string(),
            plan: PlanReport::of(&planned.plan),
            done: done.map(DoneReport::of),
            users: planned.users.clone(),
            notes: planned.notes.clone(),
        })
    }

    fn tell(&self, planned: &Planned, done: Option<&Done>) {
        let (path, plan) = (OneLine(self.path.display()), &planned.plan);
        if self.args.dry_run {
            anstream::println!("{path}:");
            planned.notes.iter().for_each(|note| anstream::println!("{}", OneLine(note)));
            plan.to_string().lines().for_each(|line| anstream::println!("{}", OneLine(line)));
            return;
        }
        let grown = plan.new_len() as i128 - plan.old_len() as i128;
        match plan.is_empty() {
            true => anstream::println!("{path}: nothing to change"),
            false if self.args.undo => anstream::println!("{path}: the original again, {grown:+} bytes"),
            false => anstream::println!("{path}: patched {}, {grown:+} bytes", plan.rung()),
        }
        planned.notes.iter().for_each(|note| anstream::println!("  {}", OneLine(note)));
        plan.remarks().iter().for_each(|remark| anstream::println!("  note: {}", OneLine(remark)));
        for user in &planned.users {
            anstream::eprintln!("xeno: warning: {path}: {}", OneLine(user.sentence()));
        }
        done.into_iter().for_each(tell_losses);
    }
}

/// The refusal, with the remedy of this command.
fn not_in_place(error: CommitError) -> Failure {
    match error {
        CommitError::Unfit { path, reason } => {
            Failure::own(format!("changing {path:?} in place: {reason}; leave out --in-place to replace it"))
        }
        error => error.into(),
    }
}

fn tell_losses(done: &Done) {
    let path = OneLine(done.path.display());
    if done.links_broken > 0 && matches!(done.how, How::Replaced(_)) {
        anstream::eprintln!("xeno: warning: {path}: {} other names keep the old content; --in-place changes them too", done.links_broken);
    }
    for lost in &done.lost {
        anstream::eprintln!("xeno: warning: {path}: {}", OneLine(lost));
    }
}

/// A path that cannot break its line.
pub(super) fn shown(path: &Path) -> OneLine<std::path::Display<'_>> {
    OneLine(path.display())
}
