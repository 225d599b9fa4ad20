//! One file's needs, each looked for where its loader looks, then in the tree: by ld.so(8)'s rules for
//! an object of its own, as libraries of a tree may be opened by anybody. Asks no archive.

use super::index::{Index, Place};
use super::plan::Problem;
use super::walk::Item;
use resolver::arch::Arch;
use resolver::closure::comes_with_the_loader;
use resolver::files::{Files, Found};
use resolver::needs::{Libc, Needs};
use resolver::provider::LibcSet;
use resolver::search::{self, Tokens};
use resolver::system::{System, hwcaps_levels};
use resolver::versions;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a group of files is answered with.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'w> {
    /// This machine's libraries, which its loader finds itself.
    Host,
    /// An archive's.
    Archive(&'w LibcSet),
}

/// Where to look.
pub(crate) struct Ground<'g> {
    pub(crate) root: &'g Path,
    pub(crate) index: &'g Index<'g>,
    pub(crate) arch: Arch,
    pub(crate) libc: Libc,
    pub(crate) whose: Whose<'g>,
}

/// One entry of a run path as it is.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) text: String,
    /// What it leads to; none if that depends on the working directory.
    pub(crate) directory: Option<PathBuf>,
}

/// The rule that found a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The entry of its own run path.
    Entry(usize),
    /// The need is a path.
    Path,
    /// The loader answers it, or whoever loads the file has it already.
    Loaded,
    /// The loader's cache or directories.
    Default,
    /// It comes with the archive's loader.
    Set,
    /// It lies in the tree.
    Tree,
    /// An archive has it, or this machine's driver; for this reason.
    Outside(String),
}

impl How {
    pub(crate) fn sentence(&self) -> String {
        match self {
            How::Entry(_) => "own run path".to_owned(),
            How::Path => "the need is a path".to_owned(),
            How::Loaded => "the loader has it".to_owned(),
            How::Default => "this machine's loader finds it".to_owned(),
            How::Set => "comes with the loader".to_owned(),
            How::Tree => "own tree".to_owned(),
            How::Outside(why) => why.clone(),
        }
    }
}

/// A file that answers a need.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    /// The file under the name by which it is found; none if the loader has it itself.
    pub(crate) file: Option<PathBuf>,
    /// The directory that a run path must name, if it must.
    pub(crate) directory: Option<PathBuf>,
    /// The name that must be asked for instead.
    pub(crate) called: Option<String>,
    pub(crate) how: How,
}

impl Hit {
    fn loaded() -> Hit {
        Hit { file: None, directory: None, called: None, how: How::Loaded }
    }
}

/// One need and what answers it.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) name: String,
    pub(crate) hit: Option<Hit>,
    /// Files of that name that lack a version, and paths that lead nowhere.
    pub(crate) rejected: Option<Problem>,
}

/// A file's needs.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    pub(crate) entries: Vec<Entry>,
    pub(crate) looks: Vec<Look>,
    /// Whether its loader finds everything without the tree.
    pub(crate) alone: bool,
}

impl Ground<'_> {
    /// Looks for each need of a file. `system`: the loader that will load it, if this machine has it.
    pub(crate) fn look(&self, files: &Files, item: &Item, system: Option<&System>) -> Looks {
        let entries = self.entries(item, system);
        let host = matches!(self.whose, Whose::Host);
        if host && let Some(system) = system {
            let natively: Vec<Look> = item.needs.needed.iter().map(|name| self.natively(files, item, &entries, system, name)).collect();
            if natively.iter().all(|look| look.hit.is_some()) {
                return Looks { entries, looks: natively, alone: true };
            }
        }
        let looks = item.needs.needed.iter().map(|name| self.any(files, item, &entries, system, name)).collect();
        Looks { entries, looks, alone: false }
    }

    /// What the loader does with the file as it is.
    fn natively(&self, files: &Files, item: &Item, entries: &[Entry], system: &System, name: &str) -> Look {
        let mut look = Look { name: name.to_owned(), hit: None, rejected: None };
        look.hit = self
            .without_search(files, item, name, system.loader.as_path(), &mut look.rejected)
            .or_else(|| self.in_entries(files, item, entries, name, &mut look.rejected))
            .or_else(|| self.by_default(files, item, system, name, &mut look.rejected));
        look
    }

    /// The file's own run path, what comes with the loader, the tree, the loader's own search.
    fn any(&self, files: &Files, item: &Item, entries: &[Entry], system: Option<&System>, name: &str) -> Look {
        let mut look = Look { name: name.to_owned(), hit: None, rejected: None };
        let rejected = &mut look.rejected;
        let loader = match (self.whose, system) {
            (Whose::Archive(set), _) => set.loader.as_path(),
            (Whose::Host, Some(system)) => system.loader.as_path(),
            (Whose::Host, None) => Path::new(""),
        };
        let found = self.without_search(files, item, name, loader, rejected);
        let found = found.or_else(|| self.in_entries(files, item, entries, name, rejected));
        let found = found.or_else(|| match (self.whose, system) {
            _ if !comes_with_the_loader(name) => None,
            (Whose::Archive(set), _) => self.in_set(files, item, set, name, rejected),
            (Whose::Host, Some(system)) => self.by_default(files, item, system, name, rejected),
            (Whose::Host, None) => None,
        });
        let found = found.or_else(|| self.in_tree(item, name, rejected));
        look.hit = found.or_else(|| match (self.whose, system) {
            (Whose::Host, Some(system)) => self.by_default(files, item, system, name, rejected),
            _ => None,
        });
        look
    }

    /// What needs no search: the loader itself, the libc that every program has, paths.
    fn without_search(&self, files: &Files, item: &Item, name: &str, loader: &Path, rejected: &mut Option<Problem>) -> Option<Hit> {
        if loader.file_name().is_some_and(|own| own == name) || self.is_loaders(name) {
            return Some(Hit::loaded());
        }
        // A library is loaded into a process that has its libc.
        if matches!(self.whose, Whose::Archive(_)) && name == "libc.so.6" && !item.needs.kind.has_loader() {
            return Some(Hit::loaded());
        }
        if !name.contains('/') {
            return None;
        }
        let text = if self.libc == Libc::Glibc { search::expand(name, &self.tokens(origin(item), None)) } else { name.into() };
        let path = PathBuf::from(text);
        match files.look(&path) {
            Found::Elf(needs) if needs.arch == self.arch && path.is_absolute() => {
                Some(Hit { file: Some(path), directory: None, called: None, how: How::Path })
            }
            _ => {
                let reason = "the need is a path, and no file for this program lies there".to_owned();
                rejected.get_or_insert(Problem::Missing { name: name.to_owned(), reason, package: None });
                None
            }
        }
    }

    /// Names that a loader answers without a file: its psABI name; musl's own parts (`ldso/dynlink.c`, `load_library`).
    pub(crate) fn is_loaders(&self, name: &str) -> bool {
        match self.libc {
            Libc::Glibc => self.arch.glibc_loader().and_then(|path| path.rsplit('/').next()) == Some(name),
            Libc::Musl => {
                let reserved = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
                let rest = name.strip_prefix("lib").unwrap_or("");
                name.starts_with("ld-musl-") || reserved.iter().any(|r| rest.starts_with(r))
            }
        }
    }

    fn in_entries(&self, files: &Files, item: &Item, entries: &[Entry], name: &str, rejected: &mut Option<Problem>) -> Option<Hit> {
        if name.is_empty() || name.contains('/') {
            return None;
        }
        for (at, entry) in entries.iter().enumerate() {
            let Some(directory) = entry.directory.as_deref().filter(|d| self.is_of_this_world(d)) else { continue };
            if let Some((file, needs)) = self.probe(files, directory, name) {
                // The loader takes the first that is there, whatever it lacks: what comes after is not seen.
                return self.fits(item, name, &file, &needs, rejected).then(|| Hit {
                    file: Some(file),
                    directory: Some(directory.to_owned()),
                    called: None,
                    how: How::Entry(at),
                });
            }
        }
        None
    }

    /// In an archive's world, the machine's own directories are another's.
    fn is_of_this_world(&self, directory: &Path) -> bool {
        const HOST: &[&str] = &["/lib", "/lib32", "/lib64", "/usr"];
        match self.whose {
            Whose::Host => true,
            Whose::Archive(_) => directory.starts_with(self.root) || !HOST.iter().any(|host| directory.starts_with(host)),
        }
    }

    fn by_default(&self, files: &Files, item: &Item, system: &System, name: &str, rejected: &mut Option<Problem>) -> Option<Hit> {
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let default = |path: &Path| system.directories.iter().any(|d| path.starts_with(d));
        let cached = system.cached(name).filter(|path| !(item.needs.nodeflib && default(path)));
        let cached = cached.and_then(|path| match files.look(&path) {
            Found::Elf(needs) if needs.arch == self.arch => Some((path, needs)),
            _ => None,
        });
        let found = cached.or_else(|| {
            let directories = system.directories.iter().filter(|_| !item.needs.nodeflib);
            directories.into_iter().find_map(|directory| self.probe(files, directory, name))
        });
        let (file, needs) = found?;
        let hit = Hit { file: Some(file.clone()), directory: None, called: None, how: How::Default };
        self.fits(item, name, &file, &needs, rejected).then_some(hit)
    }

    /// What comes with an archive's loader, whose directories its program has to name.
    pub(crate) fn in_set(&self, files: &Files, item: &Item, set: &LibcSet, name: &str, rejected: &mut Option<Problem>) -> Option<Hit> {
        set.directories.iter().find_map(|directory| {
            let (file, needs) = self.probe(files, directory, name)?;
            let hit = Hit { file: Some(file.clone()), directory: Some(directory.clone()), called: None, how: How::Set };
            self.fits(item, name, &file, &needs, rejected).then_some(hit)
        })
    }

    /// The best file of the tree that has every version that is needed.
    fn in_tree(&self, item: &Item, name: &str, rejected: &mut Option<Problem>) -> Option<Hit> {
        if name.contains('/') {
            return None;
        }
        let fitting = |place: &Place<'_>| self.fits(item, name, place.path, &place.item.needs, rejected);
        let place = self.index.find(name, &item.path, self.arch).into_iter().find(fitting)?;
        let own = place.name()?;
        let called = (own != name).then(|| own.to_owned());
        Some(Hit { file: Some(place.path.to_owned()), directory: Some(place.directory().to_owned()), called, how: How::Tree })
    }

    /// Whether a file defines every version that is needed of it; the first that does not is remembered. musl binds a
    /// versioned symbol by its name and never compares versions.
    pub(crate) fn fits(&self, item: &Item, name: &str, file: &Path, needs: &Needs, rejected: &mut Option<Problem>) -> bool {
        if self.libc == Libc::Musl {
            return true;
        }
        let lacking = versions::lacking(&item.needs, name, &needs.version_defs);
        let Some(version) = lacking.first() else { return true };
        rejected.get_or_insert_with(|| Problem::Version {
            name: name.to_owned(),
            version: (*version).to_owned(),
            found: file.to_owned(),
            newest: versions::newest(&needs.version_defs, version).map(str::to_owned),
        });
        false
    }

    /// What a loader finds of a name in a directory: the optimised copies first (`open_path`), a file for another machine
    /// is passed over.
    pub(crate) fn probe(&self, files: &Files, directory: &Path, name: &str) -> Option<(PathBuf, Rc<Needs>)> {
        let levels = if self.libc == Libc::Glibc { hwcaps_levels(self.arch) } else { &[] };
        let optimised = levels.iter().map(|level| directory.join("glibc-hwcaps").join(level).join(name));
        optimised.chain([directory.join(name)]).find_map(|path| match files.look(&path) {
            Found::Elf(needs) if needs.arch == self.arch => Some((path, needs)),
            _ => None,
        })
    }

    /// The entries of the run path that its loader reads: `DT_RPATH` only if there is no `DT_RUNPATH`.
    fn entries(&self, item: &Item, system: Option<&System>) -> Vec<Entry> {
        let text = item.needs.runpath.as_deref().or(item.needs.rpath.as_deref()).unwrap_or("");
        let tokens = self.tokens(origin(item), system);
        let separators: &[char] = if self.libc == Libc::Musl { &[':', '\n'] } else { &[':'] };
        text.split(separators)
            .take(ENTRIES_MAX)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let directory = search::directories(entry, self.libc, &tokens).pop().filter(|d| d.is_absolute());
                Entry { text: entry.to_owned(), directory: directory.map(|d| plain(&d)) }
            })
            .collect()
    }

    fn tokens<'t>(&self, origin: &'t Path, system: Option<&'t System>) -> Tokens<'t> {
        Tokens { origin, lib: system.map_or("lib", |s| s.lib.as_str()), platform: self.arch.platform().unwrap_or("") }
    }
}

/// The most entries of one run path that are looked at.
const ENTRIES_MAX: usize = 4096;

fn origin(item: &Item) -> &Path {
    item.path.parent().unwrap_or(Path::new("/"))
}

/// `$ORIGIN/../lib` as a path without `..`, if that is the same directory: links may lie between.
fn plain(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}
