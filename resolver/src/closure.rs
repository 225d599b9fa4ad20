//! The closure: walks from a program to every file its loader would map, in the loader's order and
//! by its rules, and says which rule won for each. Two loaders are known, glibc's and musl's; where
//! an installed loader's cache and directories end, a private root's answer ([`Search::pool`]) begins.

use crate::arch::Arch;
use crate::elf::LoadError;
use crate::files::{Files, Found};
use crate::hints;
use crate::map::Mapped;
use crate::needs::{DlopenHint, HintSource, Libc, Needs};
use crate::provider::{LibcSet, Offer, Origin, Provider, Want};
use crate::resolution::{Conflict, Library, Missing, Resolution, Rule};
use crate::search::{self, Tokens};
use crate::system::{System, hwcaps_levels};
use crate::tree::Tree;
use crate::versions;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where names are looked for once the objects' own search paths are exhausted.
pub enum Backing<'a> {
    /// The installed loader's cache and directories: what happens if the program is just started.
    Native(&'a System),
    /// A loader copy whose cache is ours: it holds what these answer, in this order.
    Pool {
        /// The loader and what belongs to it.
        set: &'a LibcSet,
        /// The program's own tree.
        tree: &'a Tree,
        /// Where everything else comes from.
        providers: &'a [&'a dyn Provider],
        /// Whether to follow the whole tree and the `dlopen` hints too, or only what must be there.
        optional: bool,
        /// Sonames to try beside the program's own hints (drivers that a dispatch library will open).
        hints: &'a [String],
    },
}

/// What the user's environment adds.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<String>,
    /// `LD_PRELOAD`, split at colons and blanks.
    pub preload: Vec<String>,
}

/// One search.
pub struct Search<'a> {
    /// Files already read.
    pub files: &'a Files,
    /// The user's environment.
    pub environment: &'a Environment,
    /// Where the objects' own search paths end.
    pub backing: Backing<'a>,
}

/// An object of the closure.
struct Node {
    name: String,
    path: PathBuf,
    needs: Rc<Needs>,
    /// The object that caused it to be loaded; none for the program and what it may open later.
    loader: Option<usize>,
    rule: Rule,
    origin: Origin,
}

/// What one lookup found.
enum Hit {
    File(PathBuf, Rc<Needs>, Rule, Origin),
    Unanswered(Option<String>),
    Fatal(String),
}

/// A name of one level of the breadth-first walk.
struct Slot {
    name: String,
    asker: usize,
    hit: Hit,
}

struct Walk<'a, 's> {
    search: &'s Search<'a>,
    arch: Arch,
    libc: Libc,
    nodes: Vec<Node>,
    /// Every name that a loaded object answers to.
    names: HashMap<String, usize>,
    /// Names the loader itself answers to; it is mapped by the kernel, not by the search.
    loader_names: BTreeSet<String>,
    missing: Vec<Missing>,
    /// Their names.
    missed: BTreeSet<String>,
    /// What each provider said when it could not be asked.
    failures: BTreeMap<&'static str, String>,
}

/// Answers *what does this binary need?* for one program.
///
/// # Errors
/// [`LoadError`] if the program itself cannot be read. A library that cannot is part of the answer.
pub fn resolve(program: &Path, search: &Search<'_>) -> Result<Resolution, LoadError> {
    let needs = match search.files.look(program) {
        Found::Elf(needs) => needs,
        // Look again for the typed reason; the memory keeps only a sentence.
        _ => Rc::new(crate::elf::load(program)?),
    };
    let set = match &search.backing {
        Backing::Native(system) => Some(native_set(system)),
        Backing::Pool { set, .. } => Some((*set).clone()),
    };
    let mut answer = Resolution {
        program: program.to_owned(),
        needs: (*needs).clone(),
        libc_set: set,
        libraries: Vec::new(),
        optional: Vec::new(),
        missing: Vec::new(),
        optional_missing: Vec::new(),
        conflicts: Vec::new(),
    };
    if needs.kind.is_static() {
        answer.libc_set = None;
        return Ok(answer);
    }
    let mut walk = Walk::new(search, program, needs);
    walk.run(0);
    answer.missing = std::mem::take(&mut walk.missing);
    let required = walk.nodes.len();
    answer.conflicts = walk.conflicts();
    walk.optional();
    answer.optional_missing = std::mem::take(&mut walk.missing);
    let mut libraries: Vec<Library> = walk.nodes.iter().map(|n| walk.library(n)).collect();
    answer.optional = libraries.split_off(required.min(libraries.len()));
    answer.libraries = libraries.split_off(1.min(libraries.len()));
    Ok(answer)
}

/// An installed loader as a set; its libc is wherever its search order finds it.
fn native_set(system: &System) -> LibcSet {
    LibcSet {
        libc: system.libc,
        version: String::new(),
        loader: system.loader.clone(),
        directories: system.loader.parent().map(Path::to_owned).into_iter().collect(),
        gconv: None,
        locale: None,
        origin: Origin::Host,
    }
}

impl<'a, 's> Walk<'a, 's> {
    fn new(search: &'s Search<'a>, program: &Path, needs: Rc<Needs>) -> Walk<'a, 's> {
        let (loader, libc) = match &search.backing {
            Backing::Native(system) => (&system.loader, system.libc),
            Backing::Pool { set, .. } => (&set.loader, set.libc),
        };
        let mut loader_names: BTreeSet<String> = loader.file_name().map(|n| n.to_string_lossy().into_owned()).into_iter().collect();
        if let Found::Elf(needs) = search.files.look(loader) {
            loader_names.extend(needs.soname.clone());
        }
        let arch = needs.arch;
        let program =
            Node { name: display_name(program), path: program.to_owned(), needs, loader: None, rule: Rule::Path, origin: Origin::OwnTree };
        Walk {
            search,
            arch,
            libc,
            nodes: vec![program],
            names: HashMap::new(),
            loader_names,
            missing: Vec::new(),
            missed: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// Follows everything from node `first` on, breadth first, one level at a time.
    fn run(&mut self, first: usize) {
        let mut level = first..self.nodes.len();
        let preload = if first == 0 { self.search.environment.preload.clone() } else { Vec::new() };
        let mut asked: Vec<(String, usize)> = preload.into_iter().map(|name| (name, 0)).collect();
        let preloaded = asked.len();
        while !level.is_empty() {
            for index in level.clone() {
                let needed = self.node(index).map(|n| n.needs.needed.clone()).unwrap_or_default();
                asked.extend(needed.into_iter().map(|name| (name, index)));
            }
            level = self.answer(std::mem::take(&mut asked), if level.start == 0 { preloaded } else { 0 });
        }
    }

    /// Looks up the names of one level and loads what was found; the new nodes are the next level.
    fn answer(&mut self, asked: Vec<(String, usize)>, preloaded: usize) -> std::ops::Range<usize> {
        let start = self.nodes.len();
        let mut slots: Vec<Slot> = Vec::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for (position, (name, asker)) in asked.into_iter().enumerate() {
            if self.is_loaded(&name) || !seen.insert(name.clone()) {
                continue;
            }
            let mut hit = self.look_up(&name, asker);
            if let (true, Hit::File(_, _, rule, _)) = (position < preloaded, &mut hit) {
                *rule = Rule::Preload;
            }
            slots.push(Slot { name, asker, hit });
        }
        self.ask_providers(&mut slots, false);
        for slot in slots {
            self.load(slot);
        }
        start..self.nodes.len()
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.loader_names.contains(name) || (self.libc == Libc::Musl && musl_reserved(name))
    }

    fn load(&mut self, slot: Slot) {
        match slot.hit {
            Hit::File(path, needs, rule, origin) => {
                if self.is_loaded(&slot.name) {
                    return; // an earlier slot of this level has it as its soname
                }
                // The same file under a second name is not mapped again (l_dev and l_ino).
                let index = match self.nodes.iter().position(|n| self.search.files.same(&n.path, &path)) {
                    Some(index) => index,
                    None => {
                        self.nodes.push(Node {
                            name: slot.name.clone(),
                            path,
                            needs: needs.clone(),
                            loader: Some(slot.asker),
                            rule,
                            origin,
                        });
                        self.nodes.len() - 1
                    }
                };
                self.names.insert(slot.name, index);
                // musl knows objects by the name they were opened under, never by DT_SONAME.
                if let (Libc::Glibc, Some(soname)) = (self.libc, &needs.soname) {
                    self.names.entry(soname.clone()).or_insert(index);
                }
            }
            Hit::Unanswered(reason) => self.miss(slot.name, slot.asker, reason),
            Hit::Fatal(reason) => self.miss(slot.name, slot.asker, Some(reason)),
        }
    }

    fn miss(&mut self, name: String, asker: usize, reason: Option<String>) {
        if !self.missed.insert(name.clone()) {
            return;
        }
        let reason = reason.unwrap_or_else(|| match self.failures.values().next() {
            Some(failure) => failure.clone(),
            None => "nothing that was searched has it".to_owned(),
        });
        let needed_by = self.node(asker).map(|n| n.name.clone()).unwrap_or_default();
        self.missing.push(Missing { name, needed_by, reason });
    }

    /// One name, by the loader's rules, then by the backing.
    fn look_up(&self, name: &str, asker: usize) -> Hit {
        let Some(node) = self.node(asker) else {
            return Hit::Unanswered(None);
        };
        let mut mismatch = None;
        if name.contains('/') {
            let path = PathBuf::from(search::expand(name, &self.tokens(node)));
            return match self.search.files.look(&path) {
                Found::Elf(needs) if needs.arch == self.arch => Hit::File(path, needs, Rule::Path, self.origin_of_path(asker)),
                Found::Elf(needs) => Hit::Fatal(format!("{} is for {}", path.display(), needs.arch)),
                Found::Bad(why) => Hit::Fatal(format!("{}: {why}", path.display())),
                Found::Nothing => Hit::Unanswered(Some(format!("no file {}", path.display()))),
            };
        }
        for (rule, directories) in self.search_path(asker) {
            for directory in directories {
                if let Some(hit) = self.try_directory(&directory, name, &rule, &mut mismatch) {
                    return hit;
                }
            }
        }
        match &self.search.backing {
            Backing::Native(system) => self.native(system, name, node, mismatch),
            Backing::Pool { set, tree, .. } => self.pool(set, tree, name, node, mismatch),
        }
    }

    /// `open_path`: a directory and its glibc-hwcaps subdirectories. A file of another class or
    /// machine is passed over, one that is no ELF file at all ends the search (`open_verify`).
    fn try_directory(&self, directory: &Path, name: &str, rule: &Rule, mismatch: &mut Option<String>) -> Option<Hit> {
        let levels = if self.libc == Libc::Glibc { hwcaps_levels(self.arch) } else { &[] };
        let optimised = levels.iter().map(|level| directory.join("glibc-hwcaps").join(level).join(name));
        for path in optimised.chain([directory.join(name)]) {
            match self.search.files.look(&path) {
                Found::Elf(needs) if needs.arch == self.arch => {
                    let origin =
                        if matches!(rule, Rule::DefaultDirectory | Rule::LibraryPath) { Origin::Host } else { self.origin_of(&path) };
                    return Some(Hit::File(path, needs, rule.clone(), origin));
                }
                Found::Elf(needs) if self.libc == Libc::Glibc => {
                    mismatch.get_or_insert(format!("{} is for {}, not for {}", path.display(), needs.arch, self.arch));
                }
                Found::Elf(needs) => {
                    return Some(Hit::Fatal(format!("{} is for {}, and musl's loader looks no further", path.display(), needs.arch)));
                }
                Found::Bad(why) => {
                    return Some(Hit::Fatal(format!("{}: {why}; the loader looks no further", path.display())));
                }
                Found::Nothing => {}
            }
        }
        None
    }

    /// The installed loader's cache, then its directories.
    fn native(&self, system: &System, name: &str, node: &Node, mut mismatch: Option<String>) -> Hit {
        if let Some(path) = system.cached(name) {
            let default = system.directories.iter().any(|d| path.starts_with(d));
            if !(node.needs.nodeflib && default)
                && let Found::Elf(needs) = self.search.files.look(&path)
                && needs.arch == self.arch
            {
                return Hit::File(path, needs, Rule::Cache, Origin::Host);
            }
        }
        if !node.needs.nodeflib {
            for directory in &system.directories {
                if let Some(hit) = self.try_directory(directory, name, &Rule::DefaultDirectory, &mut mismatch) {
                    return hit;
                }
            }
        }
        Hit::Unanswered(mismatch)
    }

    /// What the private root's cache will hold: the loader's own set, the program's tree, and – asked
    /// later, for a whole level at once – the providers.
    fn pool(&self, set: &LibcSet, tree: &Tree, name: &str, node: &Node, mismatch: Option<String>) -> Hit {
        let mut ignored = None;
        for directory in set.directories.iter().filter(|_| comes_with_the_loader(name)) {
            if let Some(Hit::File(path, needs, _, _)) = self.try_directory(directory, name, &Rule::LibcSet, &mut ignored) {
                return Hit::File(path, needs, Rule::LibcSet, set.origin.clone());
            }
        }
        if let Some(path) = tree.find(name, &node.path)
            && let Found::Elf(needs) = self.search.files.look(path)
            && needs.arch == self.arch
        {
            return Hit::File(path.to_owned(), needs, Rule::OwnTree, Origin::OwnTree);
        }
        Hit::Unanswered(mismatch)
    }

    /// Asks each provider for what is still unanswered in one batch.
    fn ask_providers(&mut self, slots: &mut [Slot], optional: bool) {
        let Backing::Pool { providers, .. } = &self.search.backing else {
            return;
        };
        for provider in *providers {
            let open: Vec<usize> = (0..slots.len())
                .filter(|i| {
                    slots.get(*i).is_some_and(|s| matches!(s.hit, Hit::Unanswered(_)) && !s.name.contains('/') && !s.name.is_empty())
                })
                .collect();
            let wants: Vec<Want> = open.iter().filter_map(|i| slots.get(*i)).map(|s| self.want(s, optional)).collect();
            if wants.is_empty() {
                return;
            }
            match provider.provide(&wants) {
                Err(e) => {
                    self.failures.insert(provider.name(), e.message);
                }
                Ok(offers) => {
                    for (slot, offer) in open.into_iter().zip(offers) {
                        if let (Some(slot), Some(offer)) = (slots.get_mut(slot), offer) {
                            slot.hit = self.accept(&slot.name, offer);
                        }
                    }
                }
            }
        }
    }

    fn want(&self, slot: &Slot, optional: bool) -> Want {
        let needs = self.node(slot.asker).map(|n| n.needs.clone());
        let versions = needs
            .iter()
            .flat_map(|n| n.version_needs.iter().filter(|v| v.file == slot.name))
            .flat_map(|v| v.versions.iter().filter(|v| !v.weak).map(|v| v.name.clone()))
            .collect();
        Want { soname: slot.name.clone(), arch: self.arch, libc: self.libc, versions, optional }
    }

    /// A provider is believed only as far as the file itself agrees.
    fn accept(&self, name: &str, offer: Offer) -> Hit {
        match self.search.files.look(&offer.file) {
            Found::Elf(needs) if needs.arch == self.arch => Hit::File(offer.file, needs, Rule::Provider(offer.why), offer.origin),
            Found::Elf(needs) => Hit::Unanswered(Some(format!("{} is for {}", offer.file.display(), needs.arch))),
            Found::Bad(why) => Hit::Unanswered(Some(format!("{}: {why}", offer.file.display()))),
            Found::Nothing => Hit::Unanswered(Some(format!("{name} was offered as {}, which cannot be read", offer.file.display()))),
        }
    }

    /// The search path of an object, before the backing: ld.so(8) rules 1 to 3.
    fn search_path(&self, asker: usize) -> Vec<(Rule, Vec<PathBuf>)> {
        let mut out = Vec::new();
        let Some(node) = self.node(asker) else {
            return out;
        };
        let library_path = || {
            let text = self.search.environment.library_path.as_deref()?;
            // The tokens of LD_LIBRARY_PATH are those of the program.
            let directories = search::library_path(text, &self.tokens(self.node(0)?));
            (!directories.is_empty()).then_some((Rule::LibraryPath, directories))
        };
        match self.libc {
            Libc::Glibc => {
                // DT_RPATH: the asker's, its loaders', then the program's; switched off by the
                // asker's DT_RUNPATH, and skipped for each object that has a DT_RUNPATH itself.
                if node.needs.runpath.is_none() {
                    let mut chain: Vec<usize> = std::iter::successors(Some(asker), |i| self.node(*i).and_then(|n| n.loader)).collect();
                    if !chain.contains(&0) {
                        chain.push(0);
                    }
                    for object in chain.into_iter().filter_map(|i| self.node(i)).filter(|o| o.needs.runpath.is_none()) {
                        if let Some(text) = &object.needs.rpath {
                            out.push((Rule::Rpath(object.name.clone()), search::directories(text, &self.tokens(object))));
                        }
                    }
                }
                out.extend(library_path());
                if let Some(text) = &node.needs.runpath {
                    out.push((Rule::Runpath(node.name.clone()), search::directories(text, &self.tokens(node))));
                }
            }
            // musl: LD_LIBRARY_PATH first, then one path for each object up the chain, DT_RUNPATH and
            // DT_RPATH being the same thing (ldso/dynlink.c, load_library).
            Libc::Musl => {
                out.extend(library_path());
                for object in std::iter::successors(Some(asker), |i| self.node(*i).and_then(|n| n.loader)).filter_map(|i| self.node(i)) {
                    let (text, runpath) = match (&object.needs.runpath, &object.needs.rpath) {
                        (Some(text), _) => (text, true),
                        (None, Some(text)) => (text, false),
                        (None, None) => continue,
                    };
                    let rule = if runpath { Rule::Runpath(object.name.clone()) } else { Rule::Rpath(object.name.clone()) };
                    out.push((rule, search::directories(text, &self.tokens(object))));
                }
            }
        }
        out
    }

    fn tokens<'n>(&'n self, node: &'n Node) -> Tokens<'n> {
        let lib = match &self.search.backing {
            Backing::Native(system) => system.lib.as_str(),
            Backing::Pool { .. } => "lib",
        };
        Tokens { origin: node.path.parent().unwrap_or(Path::new("/")), lib, platform: self.arch.platform().unwrap_or("") }
    }

    fn origin_of_path(&self, asker: usize) -> Origin {
        self.node(asker).map_or(Origin::Host, |n| n.origin.clone())
    }

    /// A file found through a search path is the program's own if it lies in its tree.
    fn origin_of(&self, path: &Path) -> Origin {
        let root = match &self.search.backing {
            Backing::Pool { tree, .. } => tree.root.as_deref(),
            Backing::Native(_) => None,
        };
        let own = self.node(0).and_then(|n| n.path.parent());
        let lexical = self.normalise(path);
        if [root, own].into_iter().flatten().any(|d| lexical.starts_with(d)) { Origin::OwnTree } else { Origin::Host }
    }

    fn library(&self, node: &Node) -> Library {
        Library {
            name: node.name.clone(),
            path: self.normalise(&node.path),
            soname: node.needs.soname.clone(),
            needed_by: node.loader.and_then(|i| self.node(i)).map(|n| n.name.clone()).unwrap_or_default(),
            rule: node.rule.clone(),
            origin: node.origin.clone(),
        }
    }

    /// Checks what was found against itself.
    fn conflicts(&self) -> Vec<Conflict> {
        let mut out = Vec::new();
        for node in &self.nodes {
            let mut files: Vec<&str> = node.needs.version_needs.iter().map(|n| n.file.as_str()).collect();
            files.dedup();
            for file in files {
                let Some(found) = self.names.get(file).and_then(|i| self.node(*i)) else {
                    continue;
                };
                for version in versions::lacking(&node.needs, file, &found.needs.version_defs) {
                    out.push(Conflict::Version {
                        object: node.name.clone(),
                        file: file.to_owned(),
                        version: version.to_owned(),
                        found: found.path.clone(),
                        newest: versions::newest(&found.needs.version_defs, version).map(str::to_owned),
                    });
                }
            }
            if let Some(libc) = node.needs.libc().filter(|l| *l != self.libc) {
                out.push(Conflict::OtherLibc { object: node.name.clone(), libc });
            }
        }
        if let (Backing::Pool { set, .. }, Some(libc)) = (&self.search.backing, self.names.get("libc.so.6").and_then(|i| self.node(*i)))
            && libc.rule != Rule::LibcSet
            && !set.directories.iter().any(|d| self.search.files.same(&d.join("libc.so.6"), &libc.path))
        {
            out.push(Conflict::LibcSet { loader: set.loader.clone(), libc: libc.path.clone() });
        }
        out
    }

    /// Follows what may be opened later: the rest of the tree, notes and strings.
    fn optional(&mut self) {
        let Backing::Pool { tree, optional: true, hints, .. } = &self.search.backing else {
            return;
        };
        let (members, extra) = (tree.members.clone(), hints.to_vec());
        let first = self.nodes.len();
        for member in members {
            let Found::Elf(needs) = self.search.files.look(&member.path) else {
                continue;
            };
            let known = self.nodes.iter().any(|n| self.search.files.same(&n.path, &member.path));
            if known || needs.kind.is_static() || needs.libc().is_some_and(|l| l != self.libc) {
                continue;
            }
            let name = needs.soname.clone().unwrap_or_else(|| display_name(&member.path));
            // A file of the tree answers to its name only once something has opened it, so its
            // name is not entered: another search may still find another file.
            let program = display_name(&member.path);
            let rule = Rule::OwnTree;
            self.nodes.push(Node {
                name: if member.starts { program } else { name },
                path: member.path,
                needs,
                loader: None,
                rule,
                origin: Origin::OwnTree,
            });
        }
        self.run(first);

        let mut wanted: Vec<(String, usize)> = Vec::new();
        for index in 0..self.nodes.len() {
            for hint in self.hints_of(index) {
                wanted.extend(hint.sonames.into_iter().map(|name| (name, index)));
            }
        }
        wanted.extend(extra.into_iter().map(|name| (name, 0)));
        let before = self.missing.len();
        let start = self.nodes.len();
        let mut slots = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, asker) in wanted {
            if !name.contains('/') && !self.is_loaded(&name) && seen.insert(name.clone()) {
                let hit = self.look_up(&name, asker);
                slots.push(Slot { name, asker, hit });
            }
        }
        self.ask_providers(&mut slots, true);
        for mut slot in slots {
            let by = self.node(slot.asker).map(|n| n.name.clone()).unwrap_or_default();
            if let Hit::File(_, _, rule, _) = &mut slot.hit {
                *rule = Rule::DlopenHint(by);
            }
            self.load(slot);
        }
        // A string that names nothing was no name.
        self.missing.truncate(before);
        self.run(start);
    }

    /// Notes of every object; strings only of the program's own files, since a distribution's
    /// libraries come with what they open.
    fn hints_of(&self, index: usize) -> Vec<DlopenHint> {
        let Some(node) = self.node(index) else {
            return Vec::new();
        };
        let mut hints = node.needs.dlopen_notes.clone();
        if node.origin == Origin::OwnTree
            && let Ok(bytes) = Mapped::open(&node.path)
        {
            hints.extend(hints::strings(&bytes).unwrap_or_default().into_iter().filter(|h| h.source == HintSource::String));
        }
        hints
    }

    /// Removes `.` and `..` as text: `$ORIGIN/../lib` reads better without them. Where a component is a
    /// link the text may name another file, so the change is made only if it is the same one.
    fn normalise(&self, path: &Path) -> PathBuf {
        use std::path::Component;
        if !path.components().any(|c| matches!(c, Component::ParentDir | Component::CurDir)) {
            return path.to_owned();
        }
        let mut out = PathBuf::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    out.pop();
                }
                other => out.push(other),
            }
        }
        if self.search.files.same(&out, path) { out } else { path.to_owned() }
    }
}

/// The libraries that must be of the loader's own build, or newer than everything else in the
/// process: glibc's parts (they share private symbols), its NSS modules, and GCC's two runtimes.
pub fn comes_with_the_loader(name: &str) -> bool {
    const STEMS: &[&str] = &[
        "libc",
        "libm",
        "libmvec",
        "libpthread",
        "libdl",
        "librt",
        "libutil",
        "libresolv",
        "libnsl",
        "libanl",
        "libBrokenLocale",
        "libthread_db",
        "libc_malloc_debug",
        "libmemusage",
        "libpcprofile",
        "libstdc++",
        "libgcc_s",
    ];
    let stem = name.split_once(".so.").map_or(name, |(stem, _)| stem);
    STEMS.contains(&stem) || stem.starts_with("libnss_")
}

/// The names musl answers itself (`ldso/dynlink.c`, `load_library`: `lib` followed by one of these).
fn musl_reserved(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("lib") else {
        return false;
    };
    ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."].iter().any(|reserved| rest.starts_with(reserved))
}

fn display_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| path.display().to_string())
}
