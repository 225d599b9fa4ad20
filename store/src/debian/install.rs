//! Brings packages into the store: found there, or fetched, checked, unpacked and committed together.

use super::archive::{Archive, Found};
use crate::atomic::{TreeBuilder, commit_trees, sweep};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetched, Job};
use crate::nar::hex;
use crate::paths::{self, StorePath};
use crate::root::Sub;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Downloads nobody touched for this long are swept.
const DOWNLOAD_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Packages that share one store path: usually one, several for a libc set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Name of the store path, before it is made fit for one.
    pub name: String,
    /// The packages, by name.
    pub members: Vec<Found>,
}

impl Group {
    /// A package of its own.
    pub(crate) fn single(found: Found) -> Group {
        Group { name: format!("{}-{}-{}", found.name, found.file.version, found.file.arch), members: vec![found] }
    }

    /// Packages of one build.
    pub(crate) fn set(name: String, mut members: Vec<Found>) -> Group {
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Group { name, members }
    }

    pub(crate) fn hashes(&self) -> Vec<[u8; 32]> {
        self.members.iter().map(|m| m.file.sha256).collect()
    }

    /// Bytes to fetch.
    pub(crate) fn size(&self) -> u64 {
        self.members.iter().map(|m| m.file.size).sum()
    }
}

impl Archive {
    /// Installs all groups; the results are in their order. Everything that must be fetched is fetched at once.
    pub(crate) fn install(&self, groups: &[Group]) -> Vec<Result<StorePath>> {
        let mut results: Vec<Option<Result<StorePath>>> = groups.iter().map(|g| paths::find(&self.root, &g.hashes()).map(Ok)).collect();
        let missing: Vec<usize> = results.iter().enumerate().filter(|(_, r)| r.is_none()).map(|(i, _)| i).collect();
        let wanted: Vec<&Group> = missing.iter().filter_map(|i| groups.get(*i)).collect();
        for (at, result) in missing.into_iter().zip(self.install_missing(&wanted)) {
            if let Some(slot) = results.get_mut(at) {
                *slot = Some(result);
            }
        }
        let lost = || Err(Error::new(Kind::Io, "install", "a package", "its work was lost", "try again"));
        results.into_iter().map(|r| r.unwrap_or_else(lost)).collect()
    }

    fn install_missing(&self, groups: &[&Group]) -> Vec<Result<StorePath>> {
        if groups.is_empty() {
            return Vec::new();
        }
        if self.offline {
            return groups.iter().map(|g| Err(not_stored(&g.name))).collect();
        }
        let all_fail = |error: Error| groups.iter().map(|_| Err(error.duplicate())).collect();
        let (downloads, store) = match self.root.make(Sub::Download).and_then(|d| Ok((d, self.root.make(Sub::Store)?))) {
            Ok(directories) => directories,
            Err(error) => return all_fail(error),
        };
        sweep(&downloads, Some(DOWNLOAD_AGE));
        sweep(&store, None);
        let fetcher = match self.fetcher() {
            Ok(fetcher) => fetcher,
            Err(error) => return all_fail(error),
        };
        let mut jobs: Vec<Job> = Vec::new();
        for member in groups.iter().flat_map(|g| &g.members) {
            if !jobs.iter().any(|j| j.sha256 == member.file.sha256) {
                jobs.push(Job {
                    label: format!("{} {}", member.name, member.file.version),
                    addresses: vec![format!("{}/{}", member.base, member.file.filename)],
                    size: member.file.size,
                    sha256: member.file.sha256,
                });
            }
        }
        let what = if jobs.len() == 1 { "1 package".to_owned() } else { format!("{} packages", jobs.len()) };
        let files = fetcher.all(&what, &downloads, &jobs);
        let file_of = |hash: &[u8; 32]| -> Result<Fetched> {
            let at = jobs.iter().position(|j| j.sha256 == *hash);
            match at.and_then(|at| files.get(at)) {
                Some(Ok(file)) => Ok(file.clone()),
                Some(Err(error)) => Err(error.duplicate()),
                None => Err(Error::new(Kind::Io, "install", hex(hash), "its download was lost", "try again")),
            }
        };
        let results = self.unpack_all(groups, &file_of);
        files.iter().flatten().for_each(Fetched::discard);
        results
    }

    /// Unpacks on all processors, then commits everything with one flush.
    fn unpack_all(&self, groups: &[&Group], file_of: &(dyn Fn(&[u8; 32]) -> Result<Fetched> + Sync)) -> Vec<Result<StorePath>> {
        type Unpacked = Result<(TreeBuilder, StorePath)>;
        let slots: Vec<Mutex<Option<Unpacked>>> = groups.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let workers = thread::available_parallelism().map_or(1, usize::from).min(groups.len()).min(4);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some((group, slot)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        groups.get(at).zip(slots.get(at))
                    } {
                        *super::archive::lock(slot) = Some(self.unpack_one(group, file_of));
                    }
                });
            }
        });
        let mut trees = Vec::new();
        let mut results: Vec<Result<StorePath>> = Vec::new();
        for (slot, group) in slots.into_iter().zip(groups) {
            let unpacked = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            results.push(match unpacked {
                Some(Ok((tree, stored))) => {
                    trees.push((tree, stored.path.clone()));
                    Ok(stored)
                }
                Some(Err(error)) => Err(error),
                None => Err(Error::new(Kind::Malformed, "unpack", &group.name, "its archive cannot be read", "try again")),
            });
        }
        if let Err(error) = commit_trees(trees) {
            return groups.iter().map(|_| Err(error.duplicate())).collect();
        }
        for (result, group) in results.iter_mut().zip(groups) {
            if let Ok(stored) = result
                && let Err(error) = paths::remember(&self.root, &group.hashes(), stored)
            {
                *result = Err(error);
            }
        }
        results
    }

    fn unpack_one(&self, group: &Group, file_of: &(dyn Fn(&[u8; 32]) -> Result<Fetched> + Sync)) -> Result<(TreeBuilder, StorePath)> {
        let mut files = Vec::new();
        for member in &group.members {
            files.push((file_of(&member.file.sha256)?, format!("{} {}", member.name, member.file.version)));
        }
        paths::unpack(&self.root, &group.name, &files)
    }
}

fn not_stored(name: &str) -> Error {
    Error::new(Kind::Offline, "install", name, "it is not in the store and offline mode forbids to fetch it", "run once without --offline")
}
