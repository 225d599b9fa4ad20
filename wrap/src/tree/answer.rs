//! One group of files – one architecture, one C library – answered from one world: what each file needs
//! is looked for, what an archive must bring is asked for in batches, and run paths are put together.

use super::Places;
use super::index::Index;
use super::look::{Ground, Hit, How, Look, Looks, Whose};
use super::path;
use super::plan::{Answer, FilePlan, Interpreter, Problem, Renamed, RunPath, Tag};
use super::walk::Item;
use crate::error::Error;
use crate::parallel;
use crate::progress::Progress;
use resolver::arch::Arch;
use resolver::closure::comes_with_the_loader;
use resolver::files::{Files, Found};
use resolver::needs::{Libc, NeededVersion};
use resolver::provider::{LibcSet, Want};
use resolver::system::System;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The most levels of libraries that need libraries of an archive.
const LEVELS_MAX: usize = 64;

/// One file of a group and how it fares as it is.
pub(crate) struct Member<'m> {
    pub(crate) item: &'m Item,
    /// The loader at its interpreter's path; of a library, this machine's.
    pub(crate) system: Option<&'m System>,
    /// With this machine's libraries it finds everything: alone, or as part of a program that does.
    pub(crate) finds: bool,
    /// And it has a loader: it works as it is.
    pub(crate) works: bool,
}

/// A group and where it may look.
pub(crate) struct Group<'g> {
    pub(crate) root: &'g Path,
    pub(crate) index: &'g Index<'g>,
    pub(crate) arch: Arch,
    pub(crate) libc: Libc,
    /// This machine's loader for it.
    pub(crate) system: Option<&'g System>,
    pub(crate) members: Vec<Member<'g>>,
}

/// A file outside of the tree.
struct Outside {
    file: PathBuf,
    needs: Vec<String>,
    why: String,
}

impl Group<'_> {
    /// Plans each member, in order.
    pub(crate) fn plan(&self, whose: Whose<'_>, places: &dyn Places, progress: &dyn Progress) -> Result<Vec<FilePlan>, Error> {
        let ground = Ground { root: self.root, index: self.index, arch: self.arch, libc: self.libc, whose };
        let looks = parallel::map("looking for libraries", &self.members, progress, Files::default, |files, member| {
            ground.look(files, member.item, member.system.or(self.system))
        })?;
        let outside = match whose {
            Whose::Archive(set) => self.fetch(&ground, set, &looks, places),
            Whose::Host => BTreeMap::new(),
        };
        let pairs: Vec<(&Member<'_>, Looks)> = self.members.iter().zip(looks).collect();
        parallel::map("planning run paths", &pairs, progress, Files::default, |files, (member, looks)| {
            let compose = Compose { group: self, ground: &ground, outside: &outside, files };
            compose.file(member, looks)
        })
    }

    /// What drivers and archives have of what is left over, and of what that needs in turn, level by level.
    fn fetch(&self, ground: &Ground<'_>, set: &LibcSet, looks: &[Looks], places: &dyn Places) -> BTreeMap<String, Outside> {
        let mut known: BTreeMap<String, Outside> = BTreeMap::new();
        let mut asked: BTreeSet<String> = BTreeSet::new();
        let mut open: BTreeMap<String, (BTreeSet<String>, bool)> = BTreeMap::new();
        // What works as it is needs nothing fetched.
        for (member, looks) in self.members.iter().zip(looks).filter(|(member, _)| !member.works) {
            for look in looks.looks.iter().filter(|look| look.hit.is_none() && is_bare(&look.name)) {
                let versions = member.item.needs.version_needs.iter().filter(|v| v.file == look.name).flat_map(|v| &v.versions);
                let names = versions.filter(|v| !v.weak).map(|v: &NeededVersion| v.name.clone());
                open.entry(look.name.clone()).or_default().0.extend(names);
            }
        }
        let files = Files::default();
        for _ in 0..LEVELS_MAX {
            open.retain(|name, _| asked.insert(name.clone()));
            if open.is_empty() {
                break;
            }
            let wants: Vec<Want> = std::mem::take(&mut open)
                .into_iter()
                .map(|(soname, (versions, for_driver))| Want {
                    soname,
                    arch: self.arch,
                    libc: self.libc,
                    versions,
                    optional: false,
                    for_driver,
                })
                .collect();
            for (want, offer) in wants.iter().zip(self.offers(&wants, places)) {
                let Some(offer) = offer else { continue };
                let Found::Elf(needs) = files.look(&offer.file) else { continue };
                if needs.arch != self.arch {
                    continue;
                }
                let driver = offer.origin == resolver::provider::Origin::Driver;
                for name in needs.needed.iter().filter(|name| is_bare(name) && !ground.is_loaders(name)) {
                    let in_set = comes_with_the_loader(name) && set.directories.iter().any(|d| ground.probe(&files, d, name).is_some());
                    if !in_set {
                        let entry = open.entry(name.clone()).or_default();
                        entry.0.extend(
                            needs.version_needs.iter().filter(|v| v.file == *name).flat_map(|v| &v.versions).map(|v| v.name.clone()),
                        );
                        entry.1 |= driver;
                    }
                }
                known.insert(want.soname.clone(), Outside { file: offer.file, needs: needs.needed.clone(), why: offer.why });
            }
        }
        known
    }

    fn offers(&self, wants: &[Want], places: &dyn Places) -> Vec<Option<resolver::provider::Offer>> {
        let mut offers = places.drivers(self.system, wants);
        offers.resize(wants.len(), None);
        for archive in places.archives() {
            let open: Vec<usize> = (0..wants.len()).filter(|i| offers.get(*i).is_some_and(Option::is_none)).collect();
            let left: Vec<Want> = open.iter().filter_map(|i| wants.get(*i).cloned()).collect();
            if left.is_empty() {
                break;
            }
            match archive.provide(&left) {
                Ok(answers) => {
                    for (at, answer) in open.into_iter().zip(answers) {
                        if let Some(place) = offers.get_mut(at) {
                            *place = answer;
                        }
                    }
                }
                Err(e) => log::warn!("{}", e.message),
            }
        }
        offers
    }
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// Puts one file's plan together.
struct Compose<'c> {
    group: &'c Group<'c>,
    ground: &'c Ground<'c>,
    outside: &'c BTreeMap<String, Outside>,
    files: &'c Files,
}

impl Compose<'_> {
    fn file(&self, member: &Member<'_>, looks: &Looks) -> FilePlan {
        let item = member.item;
        let mut plan = FilePlan::untouched(item);
        if member.works {
            return plan;
        }
        if member.finds && matches!(self.ground.whose, Whose::Host) {
            plan.interpreter = self.interpreter(member);
            return plan;
        }
        let looks = self.answered(item, looks);
        for look in &looks.looks {
            let hit = look.hit.as_ref();
            let rule = hit.map_or_else(|| "not found".to_owned(), |hit| hit.how.sentence());
            plan.needs.push(Answer { name: look.name.clone(), file: hit.and_then(|hit| hit.file.clone()), rule });
            if hit.is_none() {
                plan.problems.push(self.problem(look));
            }
        }
        plan.interpreter = self.interpreter(member);
        if plan.interpreter.is_none() && item.needs.kind.has_loader() && self.loader().is_none() && member.system.is_none() {
            let name = item.needs.interpreter.clone().unwrap_or_default();
            let reason = "it does not exist here, and no other loader was found".to_owned();
            plan.problems.push(Problem::Missing { name, reason, package: None });
        }
        if looks.alone {
            return plan;
        }
        plan.renamed = looks
            .looks
            .iter()
            .filter_map(|look| Some(Renamed { old: look.name.clone(), new: look.hit.as_ref()?.called.clone()? }))
            .collect();
        self.run_path(item, &looks, &mut plan);
        plan
    }

    /// The looks with what archives have added.
    fn answered(&self, item: &Item, looks: &Looks) -> Looks {
        let mut looks = looks.clone();
        for look in looks.looks.iter_mut().filter(|look| look.hit.is_none()) {
            let Some(outside) = self.outside.get(&look.name) else { continue };
            let Found::Elf(needs) = self.files.look(&outside.file) else { continue };
            if self.ground.fits(item, &look.name, &outside.file, &needs, &mut look.rejected) {
                look.hit = outside.hit(&look.name);
            }
        }
        looks
    }

    fn problem(&self, look: &Look) -> Problem {
        look.rejected.clone().unwrap_or_else(|| {
            let reason = match self.ground.whose {
                Whose::Host => "neither the tree nor this machine has it",
                Whose::Archive(_) => "neither the tree nor the archive has it",
            };
            Problem::Missing { name: look.name.clone(), reason: reason.to_owned(), package: None }
        })
    }

    fn loader(&self) -> Option<&Path> {
        match self.ground.whose {
            Whose::Archive(set) => Some(&set.loader),
            Whose::Host => self.group.system.map(|system| system.loader.as_path()),
        }
    }

    /// Another loader, if there is none at the interpreter's path or the libraries are another loader's.
    fn interpreter(&self, member: &Member<'_>) -> Option<Interpreter> {
        let old = member.item.needs.interpreter.clone().filter(|_| member.item.needs.kind.has_loader())?;
        let stays = matches!(self.ground.whose, Whose::Host) && member.system.is_some();
        let new = self.loader().filter(|new| !stays && *new != Path::new(&old))?;
        Some(Interpreter { old, new: new.to_owned() })
    }

    /// Everything that has to be found by the run path: the direct needs, and behind an archive's libraries, which name no
    /// directories themselves, all of theirs.
    fn wanted(&self, item: &Item, looks: &Looks) -> Vec<(String, Hit)> {
        let mut wanted: Vec<(String, Hit)> = Vec::new();
        let mut names: BTreeSet<String> = looks.looks.iter().map(|look| look.name.clone()).collect();
        let mut pending: Vec<String> = Vec::new();
        for look in &looks.looks {
            let hit = look.hit.clone().map(|hit| self.unshadowed(&look.name, hit, looks));
            if let Some(hit) = hit.filter(|hit| hit.directory.is_some()) {
                wanted.push((hit.called.clone().unwrap_or_else(|| look.name.clone()), hit));
            }
            if matches!(look.hit, Some(Hit { how: How::Outside(_), .. })) {
                pending.push(look.name.clone());
            }
        }
        while let Some(name) = pending.pop() {
            for need in self.outside.get(&name).into_iter().flat_map(|o| &o.needs) {
                if self.ground.is_loaders(need) || !names.insert(need.clone()) {
                    continue;
                }
                let hit = match (self.outside.get(need), self.ground.whose) {
                    (Some(outside), _) => {
                        pending.push(need.clone());
                        outside.hit(need)
                    }
                    (None, Whose::Archive(set)) => self.ground.in_set(self.files, item, set, need, &mut None),
                    (None, Whose::Host) => None,
                };
                if let Some(hit) = hit.filter(|hit| hit.directory.is_some()) {
                    wanted.push((need.clone(), hit));
                }
            }
        }
        wanted
    }

    /// What the loader would find by itself, were it not for another file of that name in the run path, has to be named.
    fn unshadowed(&self, name: &str, hit: Hit, looks: &Looks) -> Hit {
        let shadowed = || looks.entries.iter().filter_map(|e| e.directory.as_deref()).any(|d| self.has_another(d, name, &hit));
        if hit.how == How::Default && shadowed() {
            let directory = hit.file.as_deref().and_then(Path::parent).map(Path::to_owned);
            return Hit { directory, ..hit };
        }
        hit
    }

    fn run_path(&self, item: &Item, looks: &Looks, plan: &mut FilePlan) {
        let wanted = self.wanted(item, looks);
        // The entries that hold something stay first and as they are written: a need, or libraries of the tree, which may
        // be opened by name; all, if something is missing that may be brought there later.
        let missing = looks.looks.iter().any(|look| look.hit.is_none());
        let stays = |at: usize, directory: &Path| {
            missing || wanted.iter().any(|(_, hit)| hit.how == How::Entry(at)) || self.ground.index.has_libraries(directory)
        };
        let mut places: Vec<(PathBuf, Vec<OsString>)> = Vec::new();
        for (at, entry) in looks.entries.iter().enumerate() {
            let Some(directory) = entry.directory.clone().filter(|directory| stays(at, directory)) else { continue };
            match places.iter_mut().find(|(known, _)| *known == directory) {
                Some((_, texts)) => texts.push(entry.text.clone().into()),
                None => places.push((directory, vec![entry.text.clone().into()])),
            }
        }
        let kept = places.len();
        let origins = self.ground.index.origins(item);
        for directory in wanted.iter().filter_map(|(_, hit)| hit.directory.as_ref()) {
            if places.iter().any(|(known, _)| known == directory) {
                continue;
            }
            let texts: Vec<OsString> = match directory.starts_with(self.ground.root) {
                true => origins.iter().filter_map(|origin| path::relative(origin, directory)).collect(),
                false => path::absolute(directory).into_iter().collect(),
            };
            if texts.is_empty() {
                plan.problems.push(Problem::Unnameable { directory: directory.clone() });
            } else {
                places.push((directory.clone(), texts));
            }
        }
        if places.len() == kept {
            return;
        }
        // Where a directory has another file of a name that is wanted from elsewhere, it comes later.
        let at = |directory: &Path| places.iter().position(|(known, _)| known == directory);
        let mut before: Vec<(usize, usize)> = Vec::new();
        let mut reasons: Vec<(&str, &Hit)> = Vec::new();
        for (name, hit) in &wanted {
            let Some(first) = hit.directory.as_deref().and_then(at) else { continue };
            for (other, (directory, _)) in places.iter().enumerate().filter(|(other, _)| *other != first) {
                if self.has_another(directory, name, hit) {
                    before.push((first, other));
                    reasons.push((name, hit));
                }
            }
        }
        let (order, broken) = path::order(places.len(), &before);
        for (pair, (name, hit)) in before.iter().zip(&reasons).filter(|(pair, _)| broken.contains(pair)) {
            let first = places.get(pair.1).map(|(directory, _)| directory.clone()).unwrap_or_default();
            plan.problems.push(Problem::Order { name: (*name).to_owned(), wanted: hit.file.clone().unwrap_or_default(), first });
        }
        let mut texts: Vec<OsString> = Vec::new();
        for text in order.into_iter().filter_map(|at| places.get(at)).flat_map(|(_, texts)| texts) {
            if !texts.contains(text) {
                texts.push(text.clone());
            }
        }
        let (old, new) = (item.needs.runpath.clone().or_else(|| item.needs.rpath.clone()), path::join(&texts));
        let inherits = wanted.iter().any(|(_, hit)| matches!(hit.how, How::Outside(_) | How::Set));
        let has_rpath = item.needs.runpath.is_none() && item.needs.rpath.is_some();
        let tag = if inherits || has_rpath { Tag::Rpath } else { Tag::Runpath };
        if old.as_deref().map(OsString::from).as_ref() != Some(&new) {
            plan.run_path = Some(RunPath { tag, old, new });
        }
    }

    /// Whether a directory holds a file of that name that is not the one that is wanted.
    fn has_another(&self, directory: &Path, name: &str, hit: &Hit) -> bool {
        let Some((found, _)) = self.ground.probe(self.files, directory, name) else { return false };
        hit.file.as_deref().is_none_or(|wanted| !self.files.same(&found, wanted))
    }
}

impl Outside {
    fn hit(&self, name: &str) -> Option<Hit> {
        let directory = self.file.parent()?;
        let own = self.file.file_name()?.to_str()?;
        // An offer may be the file behind the link that has the name.
        let linked = own != name && directory.join(name).exists();
        let called = (own != name && !linked).then(|| own.to_owned());
        let how = How::Outside(self.why.clone());
        Some(Hit { file: Some(self.file.clone()), directory: Some(directory.to_owned()), called, how })
    }
}
