//! Which files of the tree answer to which name: by the names under which they lie, links included,
//! and by their sonames. Knows nothing of machines and archives.

use super::walk::{Inventory, Item};
use resolver::arch::Arch;
use resolver::needs::Kind;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The names of a tree.
#[derive(Debug, Default)]
pub(crate) struct Index<'i> {
    by_name: HashMap<&'i str, Vec<Place<'i>>>,
    by_soname: HashMap<&'i str, Vec<Place<'i>>>,
    /// The directories with libraries in them.
    libraries: HashSet<&'i Path>,
}

/// A file under one of its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'i> {
    /// The name, as a path.
    pub(crate) path: &'i Path,
    /// Whether that is a symbolic link.
    link: bool,
    pub(crate) item: &'i Item,
}

impl Place<'_> {
    /// The directory that holds the name.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The name itself, if it is text.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.file_name()?.to_str()
    }
}

impl<'i> Index<'i> {
    /// The names of all that was found.
    pub(crate) fn of(inventory: &'i Inventory) -> Index<'i> {
        let mut index = Index::default();
        let mut by_path: HashMap<&Path, &Item> = HashMap::new();
        for item in &inventory.items {
            for path in std::iter::once(&item.path).chain(&item.other_names) {
                by_path.insert(path, item);
                index.add(Place { path, link: false, item });
            }
            if let Some(soname) = &item.needs.soname {
                index.by_soname.entry(soname).or_default().push(Place { path: &item.path, link: false, item });
            }
        }
        for link in &inventory.links {
            if let Some(item) = by_path.get(link.target.as_path()) {
                index.add(Place { path: &link.path, link: true, item });
            }
        }
        index
    }

    /// Whether libraries of the tree lie in a directory.
    pub(crate) fn has_libraries(&self, directory: &Path) -> bool {
        self.libraries.contains(directory)
    }

    fn add(&mut self, place: Place<'i>) {
        if place.item.needs.kind == Kind::Library {
            self.libraries.extend(place.path.parent());
        }
        if let Some(name) = place.path.file_name().and_then(|name| name.to_str()) {
            self.by_name.entry(name).or_default().push(place);
        }
    }

    /// Who answers to a name, the best first: what lies under that name, then what has it as its soname; of several the
    /// one nearest to the asker, files before links, the shortest path, the first by name.
    pub(crate) fn find(&self, name: &str, asker: &Path, arch: Arch) -> Vec<Place<'i>> {
        let mut found = Vec::new();
        for index in [&self.by_name, &self.by_soname] {
            let mut places: Vec<Place<'i>> = index
                .get(name)
                .into_iter()
                .flatten()
                .filter(|p| p.item.needs.arch == arch && !p.item.needs.kind.is_static())
                .copied()
                .collect();
            places.sort_by_cached_key(|place| {
                let shared = place.path.components().zip(asker.components()).take_while(|(a, b)| a == b).count();
                (Reverse(shared), place.link, place.path.components().count(), place.path)
            });
            found.extend(places);
        }
        found
    }

    /// The directories in which a file has a name of its own or a link that is called as its soname: where a loader may
    /// find it, and what `$ORIGIN` may then be.
    pub(crate) fn origins(&self, item: &Item) -> Vec<PathBuf> {
        let mut origins: Vec<PathBuf> =
            std::iter::once(&item.path).chain(&item.other_names).filter_map(|path| path.parent()).map(Path::to_owned).collect();
        let soname = item.needs.soname.as_deref();
        let links = soname.and_then(|name| self.by_name.get(name)).into_iter().flatten();
        origins.extend(links.filter(|p| p.link && std::ptr::eq(p.item, item)).map(|p| p.directory().to_owned()));
        let mut seen = HashSet::new();
        origins.retain(|origin| seen.insert(origin.clone()));
        origins
    }
}
