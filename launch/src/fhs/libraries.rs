//! The libraries of an environment: its library cache, written as ldconfig would write it, and the names under which
//! libraries are looked for besides. Reads ELF files; writes nothing.

use super::layout::{Layout, Node, is_library, link_to};
use resolver::arch::{Arch, Class};
use resolver::elf;
use resolver::ldcache;
use resolver::needs::{Kind, Needs};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The longest configuration file of the loader that is read (bytes).
const CONF_MAX: u64 = 64 << 10;

/// What an environment gets for its libraries.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    /// `/etc/ld.so.cache`.
    pub(super) cache: Vec<u8>,
    /// `/etc/ld.so.conf`: the directories of the cache.
    pub(super) conf: String,
    /// Links to add: path, and what it holds.
    pub(super) links: Vec<(OsString, PathBuf)>,
}

/// A library as it was read.
struct Object {
    arch: Arch,
    library: bool,
    soname: Option<String>,
}

impl Object {
    fn read(path: &Path) -> Option<Object> {
        let Needs { arch, kind, soname, .. } = elf::load(path).ok()?;
        // ldconfig takes every ET_DYN.
        let library = matches!(kind, Kind::Library | Kind::PieExecutable | Kind::StaticPie);
        Some(Object { arch, library, soname })
    }
}

/// Works out the libraries of a layout. `native` is the machine's architecture, `small` that of 32-bit programs beside it.
pub(super) fn of(layout: &Layout, native: Arch, small: Option<Arch>) -> Libraries {
    let arches: Vec<Arch> = [Some(native), small].into_iter().flatten().collect();
    let directories = directories(layout, &arches);
    let objects = read_all(layout, &directories);
    let mut found = Found::default();
    for directory in &directories {
        let mut known: Vec<Known> = Vec::new();
        for name in names_in(layout, directory).filter(|name| is_library(name.as_bytes())) {
            let path = format!("{directory}/{}", name.to_string_lossy());
            let Some(file) = layout.file(OsStr::new(&path)) else { continue };
            let Some(object) = objects.get(file).and_then(Option::as_ref).filter(|o| o.library) else { continue };
            Known::add(&mut known, name, object);
        }
        known.sort_by(|a, b| a.soname.cmp(&b.soname));
        for one in known {
            found.take(layout, directory, &one);
        }
    }
    found.hidden(layout, &directories, &objects);
    found.by_class(layout, native);
    found.loaders(layout, &arches);
    let entries: Vec<(Arch, &str, &[u8])> = found.entries.iter().map(|(a, s, p)| (*a, s.as_str(), p.as_bytes())).collect();
    Libraries {
        cache: ldcache::serialise_mixed(&entries).unwrap_or_default(),
        conf: directories.iter().map(|directory| format!("/{directory}\n")).collect(),
        links: found.links,
    }
}

/// The directories of the cache in order, without a slash in front: those that packages name, as the archive's ldconfig
/// reads them, then the usual ones.
fn directories(layout: &Layout, arches: &[Arch]) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for (name, node) in layout.below("usr/etc/ld.so.conf.d") {
        let Node::Source(file) = node else { continue };
        let small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= CONF_MAX);
        if !name.as_bytes().ends_with(b".conf") || !small {
            continue;
        }
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        named.extend(lines.filter_map(|line| line.strip_prefix('/')).map(|line| line.trim_end_matches('/').to_owned()));
    }
    let multiarch = arches.iter().filter_map(|arch| arch.multiarch()).map(|triplet| format!("usr/lib/{triplet}"));
    named.extend(multiarch.chain(["usr/lib64", "usr/lib32", "usr/lib"].map(str::to_owned)));
    let mut all: Vec<String> = Vec::new();
    for directory in named {
        // `/lib/x` is `/usr/lib/x` here.
        let merged = ["lib/", "lib64", "lib32"].iter().any(|top| directory.starts_with(top));
        let directory = if merged { format!("usr/{directory}") } else { directory };
        let inside = directory.starts_with("usr/") && directory.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if inside && !all.contains(&directory) {
            all.push(directory);
        }
    }
    all
}

/// The names directly in a directory.
fn names_in<'a>(layout: &'a Layout, directory: &str) -> impl Iterator<Item = &'a OsStr> {
    layout.below(directory).map(|(name, _)| name).filter(|name| !name.as_bytes().contains(&b'/'))
}

/// Reads every library of the directories and one level below, on all processors.
fn read_all(layout: &Layout, directories: &[String]) -> HashMap<PathBuf, Option<Object>> {
    let mut files: BTreeSet<&Path> = BTreeSet::new();
    for directory in directories {
        let near = layout.below(directory).map(|(name, _)| name);
        for name in near.filter(|name| {
            let bytes = name.as_bytes();
            bytes.iter().filter(|b| **b == b'/').count() <= 1 && is_library(bytes.rsplit(|b| *b == b'/').next().unwrap_or(bytes))
        }) {
            files.extend(layout.file(&OsString::from_vec([directory.as_bytes(), b"/", name.as_bytes()].concat())));
        }
    }
    let files: Vec<&Path> = files.into_iter().collect();
    let objects = Mutex::new(HashMap::with_capacity(files.len()));
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut own = Vec::new();
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    own.push(((*file).to_owned(), Object::read(file)));
                }
                objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(own);
            });
        }
    });
    objects.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A library of one directory: the best file for a soname.
struct Known {
    soname: String,
    arch: Arch,
    file_name: String,
    is_link: bool,
}

impl Known {
    /// What glibc's ldconfig does with one name (`elf/ldconfig.c`, `search_dir`): a link counts under its own name if that is
    /// the soname itself or a linker's (`libx.so`); else under the file's soname. Here every file is a link.
    fn add(known: &mut Vec<Known>, name: &OsStr, object: &Object) {
        let Some(name) = name.to_str() else { return };
        let mut soname = object.soname.clone().unwrap_or_else(|| name.to_owned());
        let is_link = name == soname || (name.ends_with(".so") && soname.starts_with(name));
        if is_link {
            name.clone_into(&mut soname);
        }
        if soname.is_empty() || soname.contains(['/', '\0']) {
            return;
        }
        let one = Known { soname, arch: object.arch, file_name: name.to_owned(), is_link };
        match known.iter_mut().find(|other| other.soname == one.soname && other.arch == one.arch) {
            None => known.push(one),
            Some(other) => {
                let newer = ldcache::compare(other.file_name.as_bytes(), one.file_name.as_bytes()).is_lt();
                if (!one.is_link && other.is_link) || (one.is_link == other.is_link && newer) {
                    *other = one;
                }
            }
        }
    }
}

/// The answers of the cache, and the links that make them true.
#[derive(Default)]
struct Found {
    entries: Vec<(Arch, String, String)>,
    answered: HashMap<(Arch, String), String>,
    links: Vec<(OsString, PathBuf)>,
}

impl Found {
    /// A soname is found in a directory under its own name; ldconfig makes that link.
    fn take(&mut self, layout: &Layout, directory: &str, known: &Known) {
        let path = format!("{directory}/{}", known.soname);
        if known.soname != known.file_name && !layout.has(&path) {
            self.links.push((path.clone().into(), known.file_name.clone().into()));
        }
        self.answer(known.arch, &known.soname, &path);
    }

    fn answer(&mut self, arch: Arch, soname: &str, path: &str) {
        if let std::collections::hash_map::Entry::Vacant(free) = self.answered.entry((arch, soname.to_owned())) {
            free.insert(path.to_owned());
            self.entries.push((arch, soname.to_owned(), format!("/{path}")));
        }
    }

    /// What no directory has, but one directly below does: a choice among packages that their scripts would have made
    /// (`update-alternatives`; of BLAS and LAPACK, say), or what a program keeps for itself and finds by its own search path.
    /// The two cannot be told apart, and to find a library where there would be none else does no harm.
    fn hidden(&mut self, layout: &Layout, directories: &[String], objects: &HashMap<PathBuf, Option<Object>>) {
        for directory in directories {
            for (name, _) in layout.below(directory) {
                let mut parts = name.as_bytes().split(|b| *b == b'/');
                let (Some(_), Some(file), None) = (parts.next(), parts.next(), parts.next()) else { continue };
                if !is_library(file) {
                    continue;
                }
                let path = OsString::from_vec([directory.as_bytes(), b"/", name.as_bytes()].concat());
                let object = layout.file(&path).and_then(|found| objects.get(found)).and_then(Option::as_ref);
                let Some((object, soname)) = object.filter(|o| o.library).and_then(|o| Some((o, o.soname.as_deref()?))) else { continue };
                // A plugin has no version: nobody links to it.
                let public = soname.as_bytes() == file
                    && soname.split_once(".so.").is_some_and(|(_, v)| v.starts_with(|c: char| c.is_ascii_digit()));
                let place = format!("{directory}/{soname}");
                let known = self.answered.contains_key(&(object.arch, soname.to_owned())) || layout.has(&place);
                if public && !known {
                    self.links.push((place.clone().into(), PathBuf::from(name)));
                    self.answer(object.arch, soname, &place);
                }
            }
        }
    }

    /// `/usr/lib64` and `/usr/lib32` have every library of their class, for whoever names them.
    fn by_class(&mut self, layout: &Layout, native: Arch) {
        for (arch, soname, path) in &self.entries {
            if arch.machine != native.machine && arch.class == native.class {
                continue;
            }
            let own = format!("usr/lib{}/{soname}", if arch.class == Class::Elf64 { 64 } else { 32 });
            let path = path.trim_start_matches('/');
            if own != path && !layout.has(&own) {
                self.links.push((own.clone().into(), link_to(own.as_bytes(), path.as_bytes())));
            }
        }
    }

    /// Both loaders stand where programs name them.
    fn loaders(&mut self, layout: &Layout, arches: &[Arch]) {
        for arch in arches {
            let Some(place) = arch.glibc_loader() else { continue };
            let path = format!("usr{place}");
            let name = place.rsplit('/').next().unwrap_or(place);
            let there = layout.has(&path) || self.links.iter().any(|(link, _)| *link == *path);
            if let Some(found) = self.answered.get(&(*arch, name.to_owned())).filter(|_| !there) {
                self.links.push((path.clone().into(), link_to(path.as_bytes(), found.as_bytes())));
            }
        }
    }
}
