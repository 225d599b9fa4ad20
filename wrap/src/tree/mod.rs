//! A whole tree made to find its libraries by itself, where it lies: interpreters for its programs, run
//! paths for programs and libraries, `$ORIGIN`-relative inside the tree, absolute outside of it.
//!
//! [`plan`] decides and changes nothing; [`commit`] carries the plan out. What works already is left alone, a
//! library without a needed symbol version is not taken, and what nothing has is a [`Problem`].

mod answer;
mod commit;
mod index;
mod look;
mod path;
mod plan;
mod walk;

pub use commit::{Committed, Outcome, check, commit, undo};
pub use plan::{Answer, FilePlan, Interpreter, PassedOver, Problem, Renamed, RunPath, Tag, TreePlan, World, WorldChoice};

use crate::error::Error;
use crate::parallel;
use crate::progress::Progress;
use answer::{Group, Member};
use index::Index;
use look::Whose;
use patcher::commit::Source;
use resolver::arch::Arch;
use resolver::closure::{self, Backing, Environment, Search};
use resolver::files::Files;
use resolver::machine::{self, Interpreter as AtPath};
use resolver::needs::{Libc, Needs};
use resolver::provider::{Offer, Provider, Want};
use resolver::system::System;
use resolver::tree::Shared;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use walk::{Inventory, Item};

/// Where libraries may come from. Asked from one thread.
pub trait Places {
    /// This machine's loader for an architecture and C library, and what it finds.
    fn system(&self, arch: Arch, libc: Libc) -> Option<System>;
    /// What this machine's drivers have of each want.
    fn drivers(&self, system: Option<&System>, wants: &[Want]) -> Vec<Option<Offer>>;
    /// Archives, best first; none to use this machine's libraries only.
    fn archives(&self) -> Vec<&dyn Provider>;
    /// The package that has a library, as far as is known without fetching.
    fn package_of(&self, soname: &str, arch: Arch) -> Option<String>;
}

/// A group's members and how their programs fare as they are.
struct Sorted<'s> {
    groups: BTreeMap<(Arch, Libc), Vec<&'s Item>>,
    /// Files that need no loader and no library.
    others: Vec<&'s Item>,
}

/// Decides what becomes of the tree at `root`; `options` are those of the commit, so that a file that cannot be edited is
/// known now.
///
/// # Errors
/// [`Error::Root`], [`Error::Shared`], [`Error::TooLarge`], [`Error::Cancelled`].
pub fn plan(
    root: &Path,
    places: &dyn Places,
    shared: &Shared,
    options: &patcher::Options,
    progress: &dyn Progress,
) -> Result<TreePlan, Error> {
    let root = std::fs::canonicalize(root).map_err(|source| Error::Root { path: root.to_owned(), source })?;
    if shared.contains(&root) {
        return Err(Error::Shared { path: root });
    }
    if !root.is_dir() {
        return Err(Error::Root { source: std::io::ErrorKind::NotADirectory.into(), path: root });
    }
    let inventory = walk::walk(&root, progress)?;
    let index = Index::of(&inventory);
    let sorted = sort(&inventory);
    let loaders = loaders(&inventory);
    let mut tree =
        TreePlan { root: root.clone(), files_seen: inventory.files, worlds: Vec::new(), files: Vec::new(), passed_over: Vec::new() };
    tree.files.extend(sorted.others.iter().map(|item| FilePlan::untouched(item)));
    for ((arch, libc), items) in sorted.groups {
        let system = places.system(arch, libc);
        let group = Group {
            root: &root,
            index: &index,
            arch,
            libc,
            system: system.as_ref(),
            members: members(&root, items, system.as_ref(), &loaders, progress)?,
        };
        let (choice, mut files) = choose(&group, places, progress)?;
        name_packages(&mut files, arch, places);
        tree.worlds.push(choice);
        tree.files.extend(files);
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    tree.passed_over = inventory.passed_over;
    ask_patcher(&mut tree, options, progress)?;
    Ok(tree)
}

/// What the patcher says of each edit. Files that it refuses stay as they are, which is a problem.
fn ask_patcher(tree: &mut TreePlan, options: &patcher::Options, progress: &dyn Progress) -> Result<(), Error> {
    let said = parallel::map(
        "planning edits",
        &tree.files,
        progress,
        || (),
        |(), file| {
            let edits = file.edits();
            if edits.is_empty() {
                return Ok(Vec::new());
            }
            let source = Source::open(&file.path).map_err(|e| e.to_string())?;
            patcher::plan_with(source.bytes(), &edits, options).map(|plan| plan.remarks().to_vec()).map_err(|e| e.to_string())
        },
    )?;
    for (file, said) in tree.files.iter_mut().zip(said) {
        match said {
            Ok(notes) => file.notes = notes,
            Err(reason) => {
                (file.interpreter, file.run_path, file.renamed) = (None, None, Vec::new());
                file.problems.push(Problem::Refused { reason });
            }
        }
    }
    Ok(())
}

/// Files that belong to one process stand together. A library that names no C library goes with the programs of its
/// architecture.
fn sort(inventory: &Inventory) -> Sorted<'_> {
    let mut libcs: BTreeMap<Arch, Libc> = BTreeMap::new();
    for needs in inventory.items.iter().map(|item| &item.needs) {
        if let Some(libc) = needs.libc() {
            libcs.entry(needs.arch).and_modify(|known| *known = (*known).min(libc)).or_insert(libc);
        }
    }
    let mut sorted = Sorted { groups: BTreeMap::new(), others: Vec::new() };
    for item in &inventory.items {
        let needs: &Needs = &item.needs;
        if needs.kind.is_static() || !needs.kind.has_loader() && needs.needed.is_empty() {
            sorted.others.push(item);
            continue;
        }
        let libc = needs.libc().or_else(|| libcs.get(&needs.arch).copied()).unwrap_or(Libc::Glibc);
        sorted.groups.entry((needs.arch, libc)).or_default().push(item);
    }
    sorted
}

/// The loader at each interpreter's path, read once.
fn loaders(inventory: &Inventory) -> BTreeMap<(Arch, String), System> {
    let named = inventory.items.iter().filter(|item| item.needs.kind.has_loader());
    let asked: BTreeSet<(Arch, String)> = named.filter_map(|item| Some((item.needs.arch, item.needs.interpreter.clone()?))).collect();
    asked
        .into_iter()
        .filter_map(|(arch, path)| match machine::interpreter_at(Path::new(&path), arch) {
            AtPath::Loader(system) => Some(((arch, path), *system)),
            AtPath::Nothing | AtPath::NotALoader(_) => None,
        })
        .collect()
}

/// Tries each program as it is. A library that some program loads so, and no program fails with, works too.
fn members<'m>(
    root: &Path,
    items: Vec<&'m Item>,
    system: Option<&'m System>,
    loaders: &'m BTreeMap<(Arch, String), System>,
    progress: &dyn Progress,
) -> Result<Vec<Member<'m>>, Error> {
    let loader_of = |item: &Item| {
        let path = item.needs.interpreter.clone().filter(|_| item.needs.kind.has_loader())?;
        loaders.get(&(item.needs.arch, path))
    };
    let closures = parallel::map("trying programs as they are", &items, progress, Files::default, |files, item| {
        // Without a loader of its own it will get this machine's.
        let system = loader_of(item).or(system.filter(|_| item.needs.kind.has_loader()))?;
        let search = Search { files, environment: &Environment::default(), backing: Backing::Native(system) };
        closure::resolve(&item.path, &search).ok().filter(|resolution| resolution.is_complete())
    })?;
    let failing = items.iter().zip(&closures).any(|(item, closure)| item.needs.kind.has_loader() && closure.is_none());
    let libraries = closures.iter().flatten().flat_map(|resolution| &resolution.libraries);
    let loaded: HashSet<PathBuf> = libraries
        .filter(|_| !failing)
        .filter_map(|library| std::fs::canonicalize(&library.path).ok())
        .filter(|path| path.starts_with(root))
        .collect();
    let member = |(item, closure): (&'m Item, &Option<_>)| {
        let names = || std::iter::once(&item.path).chain(&item.other_names);
        let program = item.needs.kind.has_loader();
        let finds = if program { closure.is_some() } else { names().any(|path| loaded.contains(path)) };
        Member {
            item,
            system: if program { loader_of(item) } else { system },
            finds,
            works: finds && !(program && loader_of(item).is_none()),
        }
    };
    Ok(items.iter().copied().zip(&closures).map(member).collect())
}

/// This machine's libraries, unless an archive's leave fewer problems.
fn choose(group: &Group<'_>, places: &dyn Places, progress: &dyn Progress) -> Result<(WorldChoice, Vec<FilePlan>), Error> {
    let problems = |files: &[FilePlan]| files.iter().map(|file| file.problems.len()).sum::<usize>();
    let loader = group.system.map(|system| system.loader.clone());
    let mut choice = WorldChoice { arch: group.arch.to_string(), libc: group.libc, world: World::Host, loader, passed_over: Vec::new() };
    let files = group.plan(Whose::Host, places, progress)?;
    let left = problems(&files);
    if left == 0 {
        return Ok((choice, files));
    }
    let first = files.iter().find_map(|file| Some((file, file.problems.first()?)));
    let first = first.map(|(file, problem)| format!("{}: {problem}", file.path.strip_prefix(group.root).unwrap_or(&file.path).display()));
    for archive in places.archives() {
        match archive.libc_set(group.arch, group.libc) {
            Ok(Some(set)) => {
                let other = archive_plan(group, &set, places, progress)?;
                if problems(&other) >= left {
                    choice.passed_over.push(format!("{} does not have more of what is missing", archive.name()));
                    continue;
                }
                choice.passed_over.extend(first.map(|first| format!("this machine's own libraries do not do: {first}")));
                return Ok((WorldChoice { world: World::Archive, loader: Some(set.loader), ..choice }, other));
            }
            Ok(None) => choice.passed_over.push(format!("{} has no loader for {}", archive.name(), group.arch)),
            Err(e) => choice.passed_over.push(e.message),
        }
    }
    Ok((choice, files))
}

/// In an archive's world a program that works as it is can stay so only if no library of the tree becomes one of that
/// world: two C libraries do not share a process.
fn archive_plan(
    group: &Group<'_>,
    set: &resolver::provider::LibcSet,
    places: &dyn Places,
    progress: &dyn Progress,
) -> Result<Vec<FilePlan>, Error> {
    let files = group.plan(Whose::Archive(set), places, progress)?;
    let library_moves = files.iter().any(|file| !file.kind.has_loader() && file.changes());
    if !library_moves || group.members.iter().all(|member| !member.works) {
        return Ok(files);
    }
    let all = Group {
        root: group.root,
        index: group.index,
        arch: group.arch,
        libc: group.libc,
        system: group.system,
        members: group.members.iter().map(|m| Member { item: m.item, system: m.system, finds: false, works: false }).collect(),
    };
    all.plan(Whose::Archive(set), places, progress)
}

fn name_packages(files: &mut [FilePlan], arch: Arch, places: &dyn Places) {
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for problem in files.iter_mut().flat_map(|file| &mut file.problems) {
        if let Problem::Missing { name, package, .. } = problem
            && !name.contains('/')
        {
            *package = known.entry(name.clone()).or_insert_with(|| places.package_of(name, arch)).clone();
        }
    }
}
