//! `xeno patch --auto`: a whole tree. The plan is `wrap`'s; here it is shown, and carried out if
//! nothing is missing or the user says that it does not matter.

use super::files::shown;
use super::show::{self, UserReport};
use super::sources::Here;
use super::words::PatchArgs;
use super::{FAILED, USERS_MOST, interrupt, options, print_json, settings};
use crate::environment;
use crate::failure::{Failure, OneLine};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use wrap::Progress;
use wrap::tree::{self, Committed, Outcome, TreePlan};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    trees: Vec<TreeReport>,
}

#[derive(Serialize)]
struct TreeReport {
    plan: TreePlan,
    done: Option<DoneReport>,
    failing: Vec<Failing>,
    users: Vec<UserOf>,
}

/// A process and the file it uses.
#[derive(Serialize)]
struct UserOf {
    path: String,
    #[serde(flatten)]
    user: UserReport,
}

/// What was done with a tree.
#[derive(Serialize)]
pub(super) struct DoneReport {
    files: Vec<FileDone>,
    lost: Vec<String>,
}

#[derive(Serialize)]
struct FileDone {
    path: String,
    outcome: Outcome,
}

#[derive(Serialize)]
struct Failing {
    path: String,
    reason: String,
}

/// Plans all directories, then changes them one after the other.
pub(super) fn run(args: &PatchArgs) -> Result<u8, Failure> {
    let here = Here::new(args)?;
    let bar = Bar::new();
    let shared = environment::shared_directories();
    let mut plans: Vec<TreePlan> = Vec::new();
    for directory in &args.files {
        plans.push(tree::plan(directory, &here, &shared, &options(args), &bar)?);
    }
    let missing: usize = plans.iter().map(TreePlan::problems).sum();
    let change = !args.dry_run && (missing == 0 || args.ignore_missing);
    let mut report = Report { trees: Vec::new() };
    interrupt::watch();
    for plan in plans {
        if !args.json {
            plan.to_string().lines().for_each(|line| anstream::println!("{}", OneLine(line)));
        }
        let users = if change { users(&plan)? } else { Vec::new() };
        let done = if change { Some(tree::commit(&plan, &options(args), &settings(args), &bar)?) } else { None };
        let failing = if change { tree::check(&plan, &bar)? } else { Vec::new() };
        if !args.json {
            done.iter().for_each(|done| tell(done, &plan.root));
            for one in &users {
                anstream::eprintln!("xeno: warning: {}: {}", OneLine(&one.path), OneLine(one.user.sentence()));
            }
            for (path, reason) in &failing {
                anstream::eprintln!("xeno: warning: {}: it still does not start: {}", shown(path), OneLine(reason));
            }
        }
        let failing = failing.into_iter().map(|(path, reason)| Failing { path: path.display().to_string(), reason }).collect();
        report.trees.push(TreeReport { plan, done: done.map(DoneReport::of), failing, users });
    }
    let failing = report.trees.iter().any(|tree| !tree.failing.is_empty());
    if args.json {
        print_json(&report)?;
    }
    if missing > 0 && !args.ignore_missing {
        let s = if missing == 1 { "" } else { "s" };
        let undone = if args.dry_run { "a run without --dry-run would change nothing" } else { "nothing was changed" };
        return Err(Failure::own(format!(
            "patch --auto: {missing} problem{s} above, so {undone}; bring what is missing, or pass --ignore-missing to patch the rest"
        )));
    }
    Ok(if failing { FAILED } else { 0 })
}

/// Who uses the files that change.
fn users(plan: &TreePlan) -> Result<Vec<UserOf>, Failure> {
    let mut found = Vec::new();
    if plan.changed().count() <= USERS_MOST {
        for file in plan.changed() {
            let path = file.path.display().to_string();
            let users = show::users(&patcher::commit::users(&file.path)?);
            found.extend(users.into_iter().map(|user| UserOf { path: path.clone(), user }));
        }
    }
    Ok(found)
}

/// Gives back the originals of a directory.
pub(super) fn undo(args: &PatchArgs, directory: &Path) -> Result<DoneReport, Failure> {
    let root = shown(directory);
    if args.dry_run || args.output.is_some() || args.in_place {
        return Err(Failure::own(format!("undo {root}: it is a directory; name its files to see or choose how each is undone")));
    }
    interrupt::watch();
    let done = tree::undo(directory, &settings(args), &Bar::new())?;
    if !args.json {
        let s = if done.files.len() == 1 { "" } else { "s" };
        match done.files.is_empty() {
            true => anstream::println!("{root}: nothing to undo"),
            false => anstream::println!("{root}: {} file{s} as before the first patch", done.files.len()),
        }
        done.lost.iter().for_each(|lost| anstream::eprintln!("xeno: warning: {}", OneLine(lost)));
    }
    Ok(DoneReport::of(done))
}

impl DoneReport {
    fn of(done: Committed) -> DoneReport {
        let file = |(path, outcome): (std::path::PathBuf, Outcome)| FileDone { path: path.display().to_string(), outcome };
        DoneReport { files: done.files.into_iter().map(file).collect(), lost: done.lost }
    }
}

fn tell(done: &Committed, root: &Path) {
    for lost in &done.lost {
        anstream::eprintln!("xeno: warning: {}", OneLine(lost));
    }
    if done.files.is_empty() {
        return anstream::println!("{}: nothing to change", shown(root));
    }
    let changed = done.files.iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged).count();
    let s = if changed == 1 { "" } else { "s" };
    anstream::println!("{}: {changed} file{s} patched; `xeno patch --undo {}` gives back the originals", shown(root), shown(root));
}

/// A bar on a terminal, for stages long enough to be seen; nothing elsewhere.
struct Bar {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

/// Shorter stages are over before anybody reads their name.
const STEPS_SHOWN: u64 = 200;

impl Bar {
    fn new() -> Bar {
        Bar { terminal: std::io::stderr().is_terminal(), bar: Mutex::new(None) }
    }

    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, steps: u64) {
        if !self.terminal || steps < STEPS_SHOWN {
            return;
        }
        self.with(|bar| {
            let new = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len}") {
                new.set_style(style.progress_chars("=> "));
            }
            new.set_message(what.to_owned());
            *bar = Some(new);
        });
    }

    fn step(&self) {
        if self.terminal {
            self.with(|bar| bar.iter().for_each(|bar| bar.inc(1)));
        }
    }

    fn end(&self) {
        self.with(|bar| bar.take().iter().for_each(ProgressBar::finish_and_clear));
    }

    fn is_cancelled(&self) -> bool {
        interrupt::is_wanted()
    }
}
