//! The closure: walks from a program to every file its loader would map, in the loader's order and
//! by its rules, and says which rule won for each. Two loaders are known, glibc's and musl's; where
//! an installed loader's cache and directories end, a private root's answer ([`Search::pool`]) begins.

use crate::arch::Arch;
use crate::builtin;
use crate::elf::LoadError;
use crate::files::{Files, Found, Identity};
use crate::map::Mapped;
use crate::needs::{Libc, Needs};
use crate::provider::{LibcSet, Origin, Provider};
use crate::resolution::{Library, Missing, Resolution, Rule};
use crate::system::{self, System};
use crate::tree::Tree;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod check;
mod later;
mod lookup;

pub use lookup::comes_with_the_loader;
use lookup::musl_reserved;

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
        /// Drivers of this machine, tried if something in the process dispatches to drivers.
        drivers: &'a [String],
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

/// The most paths one walk looks at: ten thousand names in a hundred directories are answered, a
/// file made to be searched for ever is not.
const PROBES_MAX: usize = 2_000_000;

type SearchPath = Rc<Vec<(Rule, Vec<PathBuf>)>>;

/// An object of the closure.
struct Node {
    name: String,
    path: PathBuf,
    needs: Rc<Needs>,
    /// The object that caused it to be loaded, always an earlier one; none for the program and for
    /// what is only listed.
    loader: Option<usize>,
    /// The object that asked for it first, of whatever place.
    asker: Option<usize>,
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
    /// `LD_PRELOAD` asks for it.
    preload: bool,
}

struct Walk<'a, 's> {
    search: &'s Search<'a>,
    arch: Arch,
    libc: Libc,
    /// What `$LIB` stands for, which is compiled into the loader.
    lib: String,
    nodes: Vec<Node>,
    /// Every name that a loaded object answers to.
    names: HashMap<String, usize>,
    /// Names the loader itself answers to; it is mapped by the kernel, not by the search.
    loader_names: BTreeSet<String>,
    missing: Vec<Missing>,
    /// Their names.
    missed: BTreeSet<String>,
    /// The expanded search path of each object that asked for something.
    search_paths: RefCell<HashMap<usize, SearchPath>>,
    /// How many more paths may be looked at.
    probes: Cell<usize>,
    /// The node of each file.
    by_identity: HashMap<Identity, usize>,
    /// What the loader itself defines; the kernel maps it, so it is no node.
    loader_needs: Option<Rc<Needs>>,
    /// Whether what is looked for now is only opened later, if at all.
    later: bool,
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
    let mut answer = Resolution { libc_set: set, ..Resolution::of(program, (*needs).clone()) };
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
    answer.failures = walk.failures.values().cloned().collect();
    let mut aliases: Vec<Vec<String>> = vec![Vec::new(); walk.nodes.len()];
    for (name, index) in &walk.names {
        if let Some(list) = aliases.get_mut(*index) {
            list.push(name.clone());
        }
    }
    let mut libraries: Vec<Library> = walk.nodes.iter().zip(aliases).map(|(n, names)| walk.library(n, names)).collect();
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
        let loader_needs = match search.files.look(loader) {
            Found::Elf(needs) => Some(needs),
            Found::Nothing | Found::Bad(_) => None,
        };
        loader_names.extend(loader_needs.iter().filter_map(|n| n.soname.clone()));
        let by_identity: HashMap<Identity, usize> = search.files.identity(program).map(|id| (id, 0)).into_iter().collect();
        let arch = needs.arch;
        let lib = match &search.backing {
            Backing::Native(system) => system.lib.clone(),
            Backing::Pool { set, .. } => {
                let strings = Mapped::open(&set.loader).ok().and_then(|bytes| builtin::glibc(&bytes));
                let directories: Vec<PathBuf> = strings.into_iter().flat_map(|s| s.directories).map(PathBuf::from).collect();
                system::lib_token(arch, &directories)
            }
        };
        let program = Node {
            name: display_name(program),
            path: program.to_owned(),
            needs,
            loader: None,
            asker: None,
            rule: Rule::Path,
            origin: Origin::OwnTree,
        };
        Walk {
            search,
            arch,
            libc,
            lib,
            nodes: vec![program],
            names: HashMap::new(),
            loader_names,
            missing: Vec::new(),
            missed: BTreeSet::new(),
            search_paths: RefCell::default(),
            probes: Cell::new(PROBES_MAX),
            by_identity,
            loader_needs,
            later: false,
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
            let preload = position < preloaded;
            let mut hit = self.look_up(&name, asker);
            if let (true, Hit::File(_, _, rule, _)) = (preload, &mut hit) {
                *rule = Rule::Preload;
            }
            slots.push(Slot { name, asker, hit, preload });
        }
        self.ask_providers(&mut slots);
        for slot in slots {
            // What cannot be preloaded is left out with a message (elf/rtld.c, do_preload).
            if slot.preload && !matches!(slot.hit, Hit::File(..)) {
                continue;
            }
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
                let identity = self.search.files.identity(&path);
                let known = identity.and_then(|id| self.by_identity.get(&id).copied());
                let index = match known {
                    Some(index) => {
                        // A file of the tree that was only listed so far has its first asker now.
                        if let Some(node) = self.nodes.get_mut(index).filter(|n| index > 0 && n.asker.is_none()) {
                            node.asker = Some(slot.asker);
                        }
                        index
                    }
                    None => {
                        self.nodes.push(Node {
                            name: slot.name.clone(),
                            path,
                            needs: needs.clone(),
                            loader: Some(slot.asker),
                            asker: Some(slot.asker),
                            rule,
                            origin,
                        });
                        let index = self.nodes.len() - 1;
                        if let Some(id) = identity {
                            self.by_identity.insert(id, index);
                        }
                        index
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

    fn library(&self, node: &Node, mut aliases: Vec<String>) -> Library {
        aliases.sort();
        Library {
            aliases,
            name: node.name.clone(),
            path: self.normalise(&node.path),
            soname: node.needs.soname.clone(),
            needed_by: node.asker.and_then(|i| self.node(i)).map(|n| n.name.clone()).unwrap_or_default(),
            rule: node.rule.clone(),
            origin: node.origin.clone(),
        }
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

fn display_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| path.display().to_string())
}
