//! Replaces many files and waits for the disk twice instead of three times for each: all are written,
//! one syncfs(2) per file system, all are renamed, one syncfs(2) again. Until the first rename every
//! failure leaves all of them old.

use super::error::CommitError;
use super::replace::{Staged, directory};
use super::source::{Source, Stamp};
use super::sys;
use super::work::Work;
use super::{Done, Settings};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that are replaced together. Threads may add to it at the same time. Dropped without [`Batch::finish`], it
/// changes nothing.
///
/// No file of it stays open, so their number is limited by the disk alone. Each file is the old one or the new one at
/// any moment; a batch that is killed while it renames leaves some of each.
#[derive(Debug)]
pub struct Batch {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Member>,
    paths: BTreeSet<PathBuf>,
    /// One open directory per file system, from before the first write to it: syncfs(2) tells of errors since then.
    systems: BTreeMap<u64, (PathBuf, File)>,
    given_up: bool,
}

#[derive(Debug)]
struct Member {
    staged: Staged,
    stamp: Stamp,
}

impl Batch {
    /// An empty batch.
    pub fn new(settings: Settings) -> Batch {
        Batch { settings, state: Mutex::default() }
    }

    /// Writes the new file under a temporary name. `false`: the plan changes nothing, so the file is no member.
    ///
    /// # Errors
    /// Any [`CommitError`]: the batch is given up then, all temporary files are gone, no file was changed and none can
    /// be added.
    pub fn add(&self, source: &Source, plan: &Plan) -> Result<bool, CommitError> {
        let result = self.write(source, plan);
        if result.is_err() {
            let mut state = self.state();
            state.given_up = true;
            state.members.clear();
        }
        result
    }

    fn write(&self, source: &Source, plan: &Plan) -> Result<bool, CommitError> {
        let path = source.path();
        let work = Work::of(source, plan)?;
        if work.is_nothing() {
            return Ok(false);
        }
        {
            let mut state = self.state();
            if state.given_up {
                return Err(CommitError::Abandoned { path: path.to_owned() });
            }
            if !state.paths.insert(path.to_owned()) {
                return Err(CommitError::Unfit { path: path.to_owned(), reason: "the file is in the batch already" });
            }
            if self.settings.durable {
                state.open_system(source).map_err(CommitError::io("opening the directory of", path))?;
            }
        }
        // The flush is the batch's own.
        let settings = Settings { durable: false, ..self.settings.clone() };
        let staged = Staged::write(source, &work, path.to_owned(), true, &settings)?;
        let mut state = self.state();
        if state.given_up {
            return Err(CommitError::Abandoned { path: path.to_owned() });
        }
        state.members.push(Member { staged, stamp: source.stamp() });
        Ok(true)
    }

    /// Flushes, renames, flushes. The answers are in the order in which the files were written.
    ///
    /// # Errors
    /// [`CommitError::Abandoned`] after a failed [`Batch::add`]; [`CommitError::Changed`] if a file was changed since it
    /// was read, or any failure to flush: no file was replaced. [`CommitError::Partly`] if renaming stopped half way;
    /// [`CommitError::Unflushed`] if all are replaced but perhaps not on the disk.
    pub fn finish(self) -> Result<Vec<Done>, CommitError> {
        let State { members, systems, given_up, paths } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if given_up {
            return Err(CommitError::Abandoned { path: paths.into_iter().next().unwrap_or_default() });
        }
        for (directory, file) in systems.values() {
            sys::flush_file_system(file).map_err(CommitError::io("flushing the file system of", directory))?;
        }
        for member in &members {
            member.stamp.check(member.staged.target())?;
        }
        let done = rename(members, self.settings.durable)?;
        for (directory, file) in systems.values() {
            sys::flush_file_system(file).map_err(|source| CommitError::Unflushed { path: directory.clone(), source })?;
        }
        Ok(done)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open_system(&mut self, source: &Source) -> std::io::Result<()> {
        let dev = source.stamp().dev;
        if self.systems.contains_key(&dev) {
            return Ok(());
        }
        let path: &Path = directory(source.path());
        // A directory that may not be read: any open file of the file system serves.
        let file = sys::open_directory(path).or_else(|_| source.file().try_clone())?;
        self.systems.insert(dev, (path.to_owned(), file));
        Ok(())
    }
}

fn rename(members: Vec<Member>, durable: bool) -> Result<Vec<Done>, CommitError> {
    let total = members.len();
    let mut done: Vec<Done> = Vec::with_capacity(total);
    for member in members {
        match member.staged.rename(durable) {
            Ok(one) => done.push(one),
            Err(e) if done.is_empty() => return Err(e),
            Err(e) => {
                let renamed = done.into_iter().map(|one| one.path).collect();
                return Err(CommitError::Partly { renamed, total, source: Box::new(e) });
            }
        }
    }
    Ok(done)
}
