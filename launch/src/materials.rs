//! What a rung needs on disk, made once and named by content: loader copies, library caches,
//! directories of links, copies of executables with another interpreter. Whatever holds a physical
//! path lies in `$XENO_STORE/cache`, never in a store path.

use crate::error::{Error, Kind};
use patcher::{LoaderStrings, Overwrite};
use resolver::arch::Arch;
use resolver::ldcache;
use resolver::map::Mapped;
use resolver::needs::Libc;
use resolver::provider::LibcSet;
use resolver::resolution::Resolution;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use store::cache::Cache;

/// The one directory a private root has that the host has not. Inside another private root it is
/// taken, and a name of the same length is used instead.
const DIRECTORIES: [&str; 6] = ["/.xeno", "/.xen1", "/.xen2", "/.xen3", "/.xen4", "/.xen5"];

/// The first of the names that is not taken: part of the question a decision answers, since another
/// private root around this process changes it.
pub fn free_directory() -> &'static str {
    let taken = |d: &&&str| std::fs::symlink_metadata(d).is_ok();
    DIRECTORIES.iter().find(|d| !taken(d)).unwrap_or(&DIRECTORIES[0])
}

/// The paths inside a private root for one word size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The loader copy: `/.xeno/64.so`, never longer than an interpreter path anyone uses.
    pub loader: String,
    /// Its library cache (glibc) or path file (musl).
    pub libraries: String,
}

impl Inside {
    /// The paths for an architecture and C library in a directory that the host does not have.
    pub fn free(arch: Arch, libc: Libc) -> Inside {
        Inside::below(free_directory(), arch, libc)
    }

    fn below(directory: &str, arch: Arch, libc: Libc) -> Inside {
        let bits = arch.bits();
        let suffix = if libc == Libc::Musl { "path" } else { "cache" };
        Inside { loader: format!("{directory}/{bits}.so"), libraries: format!("{directory}/{bits}.{suffix}") }
    }

    /// Where a shim finds its images: with their names, no longer than the paths that a loader has room for.
    pub(crate) fn images(&self) -> PathBuf {
        Path::new(&self.loader).parent().unwrap_or(Path::new("/")).join("s")
    }

    /// The list of libraries to preload everywhere: a file that does not exist, since the host's list
    /// names libraries of the host's libc.
    fn preload(&self) -> String {
        format!("{}.preload", self.loader.trim_end_matches(".so"))
    }
}

/// The place where materials are kept.
#[derive(Clone, Debug)]
pub struct Materials {
    cache: Cache,
}

pub(crate) fn hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(20).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl Materials {
    /// Materials in a store's cache.
    pub fn new(cache: Cache) -> Materials {
        Materials { cache }
    }

    /// A copy of a loader that reads `/.xeno/…` instead of its own cache and has no directories of
    /// its own, so that nothing outside the Resolution can answer.
    ///
    /// # Errors
    /// If the loader cannot be read, is of an unknown make, or the copy cannot be written.
    pub fn loader(&self, loader: &Path, inside: &Inside) -> Result<PathBuf, Error> {
        let bytes = Mapped::open(loader).map_err(|e| Error::io("read the loader", loader, e, ""))?;
        let name = loader.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!("{}-{name}", hex(&[&bytes, inside.libraries.as_bytes()]));
        if self.cache.path("loader", &name).exists() {
            return Ok(self.cache.path("loader", &name));
        }
        let strings = LoaderStrings {
            cache: inside.libraries.clone(),
            preload: Some(inside.preload()),
            musl_path: inside.libraries.clone(),
            directories: Vec::new(),
        };
        let (copy, _) =
            patcher::loader_copy(&bytes, &strings).map_err(|e| Error::own("copy the loader", loader.display().to_string(), e))?;
        self.cache.put("loader", &name, &copy, 0o555).map_err(own)
    }

    /// The library list for a loader copy: an `ld.so.cache` for glibc, a path file for musl.
    ///
    /// # Errors
    /// If it cannot be written, or the architecture's cache flags are not known.
    pub fn libraries(&self, resolution: &Resolution, libc: Libc) -> Result<PathBuf, Error> {
        let bytes = match libc {
            Libc::Glibc => cache_of(&answers(resolution), resolution.needs.arch)?,
            Libc::Musl => list_of(&self.directories(resolution)?),
        };
        self.cache.put("libraries", &hex(&[&bytes]), &bytes, 0o444).map_err(own)
    }

    /// Directories that, searched in this order, give exactly the Resolution: the files' own
    /// directories (so that `$ORIGIN` stays true), preceded by one of links for every name that they
    /// would answer differently.
    ///
    /// # Errors
    /// If the directory of links cannot be written.
    pub fn directories(&self, resolution: &Resolution) -> Result<Vec<PathBuf>, Error> {
        self.directories_of(&answers(resolution))
    }

    /// The same for any answers.
    pub(crate) fn directories_of(&self, answers: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>, Error> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for path in answers.values() {
            if let Some(d) = path.parent().filter(|d| listable(d) && !directories.iter().any(|known| known == d)) {
                directories.push(d.to_owned());
            }
        }
        let differs = |(name, path): &(&String, &PathBuf)| {
            let first = directories.iter().map(|d| d.join(name.as_str())).find(|p| p.exists());
            first.as_ref() != Some(*path)
        };
        let links: BTreeMap<&String, &PathBuf> = answers.iter().filter(differs).collect();
        if !links.is_empty() {
            let mut key: Vec<&[u8]> = Vec::new();
            for (name, path) in &links {
                key.push(name.as_bytes());
                key.push(path.as_os_str().as_encoded_bytes());
            }
            let pairs: Vec<(&str, &Path)> = links.iter().map(|(n, p)| (n.as_str(), p.as_path())).collect();
            let farm = self.cache.put_links("links", &hex(&key), &pairs).map_err(own)?;
            directories.insert(0, farm);
        }
        Ok(directories)
    }

    /// A copy of a C library that looks for its data at the second of each pair of directories, not at the first.
    ///
    /// # Errors
    /// If it cannot be read or written, or names none of them.
    pub(crate) fn libc(&self, libc: &Path, moves: &[(String, String)]) -> Result<PathBuf, Error> {
        let bytes = Mapped::open(libc).map_err(|e| Error::io("read the C library", libc, e, ""))?;
        let words: Vec<&[u8]> = moves.iter().flat_map(|(from, to)| [from.as_bytes(), to.as_bytes()]).collect();
        let name = libc.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let name = format!("{}-{name}", hex(&[&[&bytes[..]], &words[..]].concat()));
        if self.cache.path("libc", &name).exists() {
            return Ok(self.cache.path("libc", &name));
        }
        let (copy, _) = patcher::libc_copy(&bytes, moves).map_err(|e| Error::own("copy the C library", libc.display().to_string(), e))?;
        self.cache.put("libc", &name, &copy, 0o555).map_err(own)
    }

    /// An executable file that is named by its content.
    pub(crate) fn program(&self, kind: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        self.cache.put(kind, &hex(&[bytes]), bytes, 0o555).map_err(own)
    }

    /// Whether a path is that of a directory that [`Materials::tree`] made.
    pub(crate) fn is_tree(&self, kind: &str, path: &Path) -> bool {
        path.parent() == self.cache.path(kind, "x").parent()
    }

    /// A directory of files (name, content) and links (name, target) that is named by what it holds.
    pub(crate) fn tree(&self, kind: &str, files: &[(&str, &[u8])], links: &[(&str, &Path)]) -> Result<PathBuf, Error> {
        let mut key: Vec<&[u8]> = Vec::new();
        for (name, content) in files {
            key.extend([name.as_bytes(), content]);
        }
        for (name, target) in links {
            key.extend([name.as_bytes(), target.as_os_str().as_bytes()]);
        }
        self.cache.put_tree(kind, &hex(&key), files, links).map_err(own)
    }

    /// A copy of an executable whose interpreter is the loader copy of a private root: the string of
    /// `PT_INTERP` is overwritten in place, every other byte keeps its position. `None` if the
    /// string has no room for it.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn executable(&self, original: &Path, inside: &Inside) -> Result<Option<PathBuf>, Error> {
        let bytes = Mapped::open(original).map_err(|e| Error::io("read", original, e, ""))?;
        let fail = |e: patcher::Error| Error::own("give another interpreter to", original.display().to_string(), e);
        match patcher::interpreter_room(&bytes).map_err(fail)? {
            Some(room) if room >= inside.loader.len() => {}
            _ => return Ok(None),
        }
        let name = hex(&[&bytes, inside.loader.as_bytes()]);
        let path = self.cache.path("executable", &name);
        if path.exists() {
            return Ok(Some(path));
        }
        let plan = patcher::overwrite(&bytes, &[Overwrite::Interpreter(inside.loader.clone().into_bytes())]).map_err(fail)?;
        let fill = |out: &mut std::io::BufWriter<&mut std::fs::File>| {
            // Copied slice by slice: a program of some hundred megabytes is never held in memory.
            let mut at = 0usize;
            for change in plan.writes() {
                let offset = usize::try_from(change.offset.0).unwrap_or(usize::MAX);
                out.write_all(bytes.get(at..offset).unwrap_or(&[]))?;
                out.write_all(&change.new)?;
                at = offset.saturating_add(change.new.len());
            }
            out.write_all(bytes.get(at..).unwrap_or(&[]))
        };
        self.cache.fill("executable", &name, 0o555, fill).map_err(own)?;
        let copy = Mapped::open(&path).map_err(|e| Error::io("read", &path, e, ""))?;
        if let Err(e) = plan.verify(&bytes, &copy) {
            self.cache.forget("executable", &name);
            return Err(fail(e));
        }
        Ok(Some(path))
    }
}

/// A library path separates its directories by colons, musl's path file by newlines too.
fn listable(directory: &Path) -> bool {
    !directory.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b'\n'))
}

/// Answers as glibc reads them.
pub(crate) fn cache_of(answers: &BTreeMap<String, PathBuf>, arch: Arch) -> Result<Vec<u8>, Error> {
    let entries: Vec<(&str, &[u8])> = answers.iter().map(|(name, path)| (name.as_str(), path.as_os_str().as_bytes())).collect();
    ldcache::serialise(&entries, arch).ok_or_else(|| {
        let cause = format!("the cache format of {arch} is not known");
        Error::new(Kind::Own, "write", "a library cache", cause, "use --strategy loader")
    })
}

/// Directories as musl reads them.
pub(crate) fn list_of(directories: &[PathBuf]) -> Vec<u8> {
    directories.iter().flat_map(|d| d.as_os_str().as_bytes().iter().copied().chain([b'\n'])).collect()
}

/// A failure of the cache says all there is to say.
pub(crate) fn own(error: store::Error) -> Error {
    Error::own("prepare", "the start", error)
}

/// Which file each bare name gets, first come, first served. Files of the tree that nobody needs by
/// name stay out: at home, too, they are found by path only.
pub(crate) fn answers(resolution: &Resolution) -> BTreeMap<String, PathBuf> {
    let mut out = BTreeMap::new();
    for library in resolution.libraries.iter().chain(&resolution.optional) {
        for name in library.aliases.iter().filter(|n| !n.contains('/') && !n.is_empty()) {
            out.entry(name.clone()).or_insert_with(|| library.path.clone());
        }
    }
    if let Some(set) = &resolution.libc_set {
        add_loader(set, &mut out);
    }
    out
}

/// Adds glibc's loader by its own name: a second namespace (`dlmopen`, LD_AUDIT) looks for a file of that name
/// before it takes the loader that is there (glibc `elf/dl-load.c`, `_dl_map_object`).
pub(crate) fn add_loader(set: &LibcSet, answers: &mut BTreeMap<String, PathBuf>) {
    let soname = || resolver::elf::load(&set.loader).ok()?.soname;
    if let Some(name) = Some(set).filter(|set| set.libc == Libc::Glibc).and_then(|_| soname()) {
        answers.entry(name).or_insert_with(|| set.loader.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_paths_fit_the_shortest_usual_strings() {
        let arch = Arch::from_short("x86_64").unwrap();
        assert!(Inside::below("/.xeno", arch, Libc::Glibc).libraries.len() <= "/etc/ld.so.cache".len());
        assert!(Inside::below("/.xeno", arch, Libc::Glibc).loader.len() <= "/lib/ld-linux.so.2".len());
        assert!(Inside::below("/.xeno", arch, Libc::Musl).libraries.len() <= "/etc/ld-musl-i386.path".len());
    }
}
