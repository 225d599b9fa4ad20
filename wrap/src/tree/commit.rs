//! Carries a tree's plan out: all new files are written, then all are renamed, so that a failure before
//! the first rename leaves every file as it was. And tries the programs afterwards.

use super::plan::{FilePlan, TreePlan};
use crate::error::Error;
use crate::parallel;
use crate::progress::Progress;
use patcher::commit::{self, Batch, CommitError, CommitKind, Done, How, Settings, Source};
use patcher::{Options, Plan, Way};
use resolver::answer::first_fault;
use resolver::closure::{self, Backing, Environment, Search};
use resolver::files::Files;
use resolver::machine::{self, Interpreter};
use resolver::system::System;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was done with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Another file took its name.
    Replaced,
    /// The file itself was changed, so that all its names in the tree keep being one file.
    InPlace,
    /// It was as planned already.
    Unchanged,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Each file and how, in the order in which they were done.
    pub files: Vec<(PathBuf, Outcome)>,
    /// What could not be kept of the old files, one sentence each.
    pub lost: Vec<String>,
}

/// Files that are one file under several names, all of them in the tree.
struct Shared<'p> {
    file: &'p FilePlan,
    source: Source,
    plan: Plan,
}

/// Carries out `plan`.
///
/// # Errors
/// [`Error::Patch`] and [`Error::Cancelled`] before anything is changed; [`Error::Commit`], which says what the files
/// are then.
pub fn commit(plan: &TreePlan, options: &Options, settings: &Settings, progress: &dyn Progress) -> Result<Committed, Error> {
    let batch = Batch::new(settings.clone());
    let changed: Vec<&FilePlan> = plan.changed().collect();
    let staged = parallel::map("patching", &changed, progress, || (), |(), file| stage(file, options, &batch))?;
    // Until here every failure leaves all files as they are: the batch is dropped.
    let shared: Vec<Shared<'_>> = staged.into_iter().collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect();
    if progress.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let mut committed = Committed::default();
    batch.finish()?.into_iter().for_each(|done| committed.add(done));
    for one in shared {
        match commit::in_place(&one.source, &one.plan, settings) {
            Ok(done) => committed.add(done),
            Err(e) if matches!(e.kind(), CommitKind::InUse | CommitKind::Privileges | CommitKind::Unfit) => {
                log::info!("{e}");
                for path in names(one.file) {
                    let source = Source::open(path)?;
                    committed.add(commit::replace(&source, &replacement(&source, one.file, options)?, settings)?);
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(committed)
}

impl Committed {
    fn add(&mut self, done: Done) {
        let outcome = match done.how {
            How::Unchanged => Outcome::Unchanged,
            How::InPlace => Outcome::InPlace,
            How::Replaced(_) | How::Written(_) => Outcome::Replaced,
        };
        self.lost.extend(done.lost.iter().map(|lost| format!("{}: {lost}", done.path.display())));
        self.files.push((done.path, outcome));
    }
}

fn names(file: &FilePlan) -> impl Iterator<Item = &PathBuf> {
    std::iter::once(&file.path).chain(&file.other_names)
}

fn replacement(source: &Source, file: &FilePlan, options: &Options) -> Result<Plan, Error> {
    let options = Options { way: Way::Replace, ..*options };
    let failed = |e| Error::Patch { path: source.path().to_owned(), source: e };
    patcher::plan_with(source.bytes(), &file.edits(), &options).map_err(failed)
}

/// Writes the new file, or keeps one that has several names for later.
fn stage<'p>(file: &'p FilePlan, options: &Options, batch: &Batch) -> Result<Option<Shared<'p>>, Error> {
    if !file.other_names.is_empty() && file.names_outside == 0 {
        let source = Source::open(&file.path)?;
        let in_place = Options { way: Way::InPlace, ..*options };
        let plan = patcher::plan_with(source.bytes(), &file.edits(), &in_place)
            .map_err(|e| Error::Patch { path: file.path.clone(), source: e })?;
        if plan.in_place() {
            return Ok(Some(Shared { file, source, plan }));
        }
    }
    for path in names(file) {
        let source = Source::open(path)?;
        let plan = replacement(&source, file, options)?;
        match batch.add(&source, &plan) {
            Ok(_) => {}
            // The file that made the batch fail says so itself.
            Err(CommitError::Abandoned { .. }) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(None)
}

/// Tries the programs that the plan left no problem with as their loader would; what still fails, with the reason.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn check(plan: &TreePlan, progress: &dyn Progress) -> Result<Vec<(PathBuf, String)>, Error> {
    let whole = |file: &&FilePlan| file.kind.has_loader() && file.changes() && file.problems.is_empty();
    let programs: Vec<&FilePlan> = plan.files.iter().filter(whole).collect();
    type Loaders = BTreeMap<String, Option<System>>;
    let tried = parallel::map("checking programs", &programs, progress, <(Files, Loaders)>::default, |(files, loaders), file| {
        try_program(&file.path, files, loaders).err()
    })?;
    Ok(programs.iter().zip(tried).filter_map(|(file, failed)| Some((file.path.clone(), failed?))).collect())
}

fn try_program(path: &Path, files: &Files, loaders: &mut BTreeMap<String, Option<System>>) -> Result<(), String> {
    let needs = resolver::elf::load(path).map_err(|e| e.to_string())?;
    let interpreter = needs.interpreter.unwrap_or_default();
    let loader = loaders.entry(interpreter.clone()).or_insert_with(|| match machine::interpreter_at(Path::new(&interpreter), needs.arch) {
        Interpreter::Loader(system) => Some(*system),
        Interpreter::Nothing | Interpreter::NotALoader(_) => None,
    });
    let system = loader.as_ref().ok_or_else(|| format!("{interpreter} is no loader for it"))?;
    let search = Search { files, environment: &Environment::default(), backing: Backing::Native(system) };
    let resolution = closure::resolve(path, &search).map_err(|e| e.to_string())?;
    if resolution.is_complete() { Ok(()) } else { Err(first_fault(&resolution)) }
}
