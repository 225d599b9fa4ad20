//! Carries a tree's plan out: all new files are written, then all are renamed, so that a failure before
//! the first rename leaves every file as it was. And tries the programs afterwards.

use super::plan::{FilePlan, TreePlan};
use super::walk::walk;
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
    /// Each file and how, sorted.
    pub files: Vec<(PathBuf, Outcome)>,
    /// What could not be kept of the old files, one sentence each.
    pub lost: Vec<String>,
}

/// A file of the tree under all the names it has there.
struct Subject<'s> {
    path: &'s Path,
    other_names: &'s [PathBuf],
    names_outside: u64,
    index: usize,
}

impl Subject<'_> {
    fn names(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path).chain(self.other_names.iter().map(PathBuf::as_path))
    }
}

/// A file that is changed where it lies, so that its names stay one file.
struct Shared<'s> {
    subject: &'s Subject<'s>,
    source: Source,
    plan: Plan,
}

/// What is to be done with a file's bytes; `None` for nothing.
trait Make: Fn(usize, &[u8], Way) -> Result<Option<Plan>, patcher::Error> + Sync {}
impl<F: Fn(usize, &[u8], Way) -> Result<Option<Plan>, patcher::Error> + Sync> Make for F {}

/// Carries out `plan`.
///
/// # Errors
/// [`Error::Patch`] and [`Error::Cancelled`] before anything is changed; [`Error::Commit`], which says what the files
/// are then.
pub fn commit(plan: &TreePlan, options: &Options, settings: &Settings, progress: &dyn Progress) -> Result<Committed, Error> {
    let files: Vec<&FilePlan> = plan.changed().collect();
    let edits: Vec<_> = files.iter().map(|file| file.edits()).collect();
    let subjects: Vec<Subject<'_>> = files
        .iter()
        .enumerate()
        .map(|(index, file)| Subject { path: &file.path, other_names: &file.other_names, names_outside: file.names_outside, index })
        .collect();
    let make = |index: usize, bytes: &[u8], way: Way| {
        let edits = edits.get(index).map(Vec::as_slice).unwrap_or_default();
        patcher::plan_with(bytes, edits, &Options { way, ..*options }).map(Some)
    };
    carry_out("patching", &subjects, &make, settings, progress)
}

/// Gives back the originals of all files below `root` that have a record of an edit.
///
/// # Errors
/// [`Error::Root`], [`Error::TooLarge`], and those of [`commit`].
pub fn undo(root: &Path, settings: &Settings, progress: &dyn Progress) -> Result<Committed, Error> {
    let root = std::fs::canonicalize(root).map_err(|source| Error::Root { path: root.to_owned(), source })?;
    let inventory = walk(&root, progress)?;
    let subjects: Vec<Subject<'_>> = inventory
        .items
        .iter()
        .enumerate()
        .map(|(index, item)| Subject { path: &item.path, other_names: &item.other_names, names_outside: item.names_outside, index })
        .collect();
    let make = |_: usize, bytes: &[u8], _: Way| match patcher::undo(bytes) {
        Ok(plan) => Ok(Some(plan)),
        Err(patcher::Error::NoRecord { .. }) => Ok(None),
        // A file that cannot be read was not patched here.
        Err(e) if e.kind() == patcher::Kind::Malformed => Ok(None),
        Err(e) => Err(e),
    };
    carry_out("undoing", &subjects, &make, settings, progress)
}

fn carry_out(
    what: &str,
    subjects: &[Subject<'_>],
    make: &impl Make,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Committed, Error> {
    let batch = Batch::new(settings.clone());
    let staged = parallel::map(what, subjects, progress, || (), |(), subject| stage(subject, make, &batch))?;
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
                for path in one.subject.names() {
                    let source = Source::open(path)?;
                    if let Some(plan) = made(one.subject, make, &source, Way::Replace)? {
                        committed.add(commit::replace(&source, &plan, settings)?);
                    }
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    // Threads finish as they like; a report is the same every time.
    committed.files.sort_by(|a, b| a.0.cmp(&b.0));
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

fn made(subject: &Subject<'_>, make: &impl Make, source: &Source, way: Way) -> Result<Option<Plan>, Error> {
    make(subject.index, source.bytes(), way).map_err(|e| Error::Patch { path: source.path().to_owned(), source: e })
}

/// Writes the new file, or keeps one that has several names for later.
fn stage<'s>(subject: &'s Subject<'s>, make: &impl Make, batch: &Batch) -> Result<Option<Shared<'s>>, Error> {
    if !subject.other_names.is_empty() && subject.names_outside == 0 {
        let source = Source::open(subject.path)?;
        match made(subject, make, &source, Way::InPlace)? {
            Some(plan) if plan.in_place() => return Ok(Some(Shared { subject, source, plan })),
            Some(_) => {}
            None => return Ok(None),
        }
    }
    for path in subject.names() {
        let source = Source::open(path)?;
        let Some(plan) = made(subject, make, &source, Way::Replace)? else { break };
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
