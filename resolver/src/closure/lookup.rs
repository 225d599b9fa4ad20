//! One name, one asker: the search order of each loader, and what answers after it.

use super::{Backing, Hit, Node, PROBES_MAX, Slot, Walk};
use crate::files::Found;
use crate::needs::Libc;
use crate::provider::{LibcSet, Offer, Origin, Want};
use crate::resolution::Rule;
use crate::search::{self, Tokens};
use crate::system::{System, hwcaps_levels};
use crate::tree::Tree;
use crate::versions;
use std::path::{Path, PathBuf};
use std::rc::Rc;

impl Walk<'_, '_> {
    /// One name, by the loader's rules, then by the backing.
    pub(super) fn look_up(&self, name: &str, asker: usize) -> Hit {
        let Some(node) = self.node(asker) else {
            return Hit::Unanswered(None);
        };
        let mut mismatch = None;
        if name.contains('/') {
            let expanded = if self.libc == Libc::Glibc { search::expand(name, &self.tokens(node)) } else { name.into() };
            let path = PathBuf::from(expanded);
            return match self.search.files.look(&path) {
                Found::Elf(needs) if needs.arch == self.arch => Hit::File(path, needs, Rule::Path, self.origin_of_path(asker)),
                Found::Elf(needs) => Hit::Fatal(format!("{} is for {}", path.display(), needs.arch)),
                Found::Bad(why) => Hit::Fatal(format!("{}: {why}", path.display())),
                Found::Nothing => Hit::Unanswered(Some(format!("no file {}", path.display()))),
            };
        }
        for (rule, directories) in self.search_path(asker).iter() {
            for directory in directories {
                if let Some(hit) = self.try_directory(directory, name, rule, &mut mismatch) {
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
            match self.probes.get().checked_sub(1) {
                Some(rest) => self.probes.set(rest),
                None => return Some(Hit::Unanswered(Some(format!("the search was given up after looking at {PROBES_MAX} paths")))),
            }
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
            // A copy that is too old for who asks does not keep a better one away.
            if let Some(version) = versions::lacking(&node.needs, name, &needs.version_defs).first() {
                return Hit::Unanswered(Some(format!("{} in the program's own tree lacks {version}", path.display())));
            }
            return Hit::File(path.to_owned(), needs, Rule::OwnTree, Origin::OwnTree);
        }
        Hit::Unanswered(mismatch)
    }

    /// Asks each provider for what is still unanswered in one batch.
    pub(super) fn ask_providers(&mut self, slots: &mut [Slot]) {
        let Backing::Pool { providers, .. } = &self.search.backing else {
            return;
        };
        for provider in *providers {
            let open: Vec<usize> = (0..slots.len())
                .filter(|i| {
                    slots.get(*i).is_some_and(|s| matches!(s.hit, Hit::Unanswered(_)) && !s.name.contains('/') && !s.name.is_empty())
                })
                .collect();
            let wants: Vec<Want> = open.iter().filter_map(|i| slots.get(*i)).map(|s| self.want(s)).collect();
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

    fn want(&self, slot: &Slot) -> Want {
        let needs = self.node(slot.asker).map(|n| n.needs.clone());
        let versions = needs
            .iter()
            .flat_map(|n| n.version_needs.iter().filter(|v| v.file == slot.name))
            .flat_map(|v| v.versions.iter().filter(|v| !v.weak).map(|v| v.name.clone()))
            .collect();
        let for_driver = self.node(slot.asker).is_some_and(|n| n.origin == Origin::Driver);
        Want { soname: slot.name.clone(), arch: self.arch, libc: self.libc, versions, optional: self.later, for_driver }
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

    /// The search path of an object, before the backing, worked out once.
    fn search_path(&self, asker: usize) -> Rc<Vec<(Rule, Vec<PathBuf>)>> {
        if let Some(known) = self.search_paths.borrow().get(&asker) {
            return known.clone();
        }
        let path = Rc::new(self.expanded_search_path(asker));
        self.search_paths.borrow_mut().insert(asker, path.clone());
        path
    }

    /// ld.so(8), rules 1 to 3.
    fn expanded_search_path(&self, asker: usize) -> Vec<(Rule, Vec<PathBuf>)> {
        let mut out = Vec::new();
        let Some(node) = self.node(asker) else {
            return out;
        };
        let library_path = || {
            let text = self.search.environment.library_path.as_deref()?;
            // The tokens of LD_LIBRARY_PATH are those of the program.
            let directories = search::library_path(text, self.libc, &self.tokens(self.node(0)?));
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
                            out.push((Rule::Rpath(object.name.clone()), search::directories(text, self.libc, &self.tokens(object))));
                        }
                    }
                }
                out.extend(library_path());
                if let Some(text) = &node.needs.runpath {
                    out.push((Rule::Runpath(node.name.clone()), search::directories(text, self.libc, &self.tokens(node))));
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
                    out.push((rule, search::directories(text, self.libc, &self.tokens(object))));
                }
            }
        }
        out
    }

    fn tokens<'n>(&'n self, node: &'n Node) -> Tokens<'n> {
        let lib = self.lib.as_str();
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
pub(super) fn musl_reserved(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("lib") else {
        return false;
    };
    ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."].iter().any(|reserved| rest.starts_with(reserved))
}
