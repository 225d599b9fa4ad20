//! What images name by short links, since the strings that hold them are short: directories that are searched
//! live, and the data of a foreign libc. Before a program runs there is no private root that could add
//! `/usr/lib/…/gconv`, so its libc is a copy that looks for its data behind such a link.

use super::base::{Base, Owner};
use crate::error::{Error, Kind};
use crate::materials::Materials;
use crate::room::path_at_home;
use resolver::map::Mapped;
use resolver::provider::LibcSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kind of material: directories of gconv modules.
const MODULES: &str = "gconv";
/// The index of gconv modules (`GCONV_MODULES_CACHE`).
const INDEX: &str = "gconv-modules.cache";
/// The most gconv modules; glibc has 250.
const MODULES_MAX: usize = 4096;
/// The most links of one directory.
const LINKS_MAX: u32 = 1000;

/// Links beside an image: those that are there, and those that are to be made.
#[derive(Debug)]
pub(crate) struct Links {
    /// Where they lie, with its closing slash.
    directory: String,
    /// Whether the directory is one that exists, so that names may be taken.
    real: bool,
    /// What is to be made: path and target.
    pub(crate) made: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    /// Links in a base directory.
    pub(crate) fn beside(base: &Base, owner: Owner) -> Links {
        Links { directory: base.of(owner), real: true, made: Vec::new() }
    }

    /// Links in a directory that is yet to be made, and that nobody else writes to.
    pub(crate) fn anew(directory: &str) -> Links {
        Links { directory: directory.to_owned(), real: false, made: Vec::new() }
    }

    /// A path of at most `room` bytes that leads to `target`.
    pub(crate) fn short(&mut self, target: &Path, room: usize) -> Result<String, Error> {
        self.short_to(target, room, &|known| known == target, &|_| Ok(target.to_owned()))
    }

    /// A path of at most `room` bytes that leads to what `make` makes for it: a directory that names itself by
    /// that path. What is made for one path costs something, so `may_be` tells which targets are worth comparing.
    fn short_to(
        &mut self,
        what: &Path,
        room: usize,
        may_be: &dyn Fn(&Path) -> bool,
        make: &dyn Fn(&str) -> Result<PathBuf, Error>,
    ) -> Result<String, Error> {
        for number in 0..LINKS_MAX {
            let path = format!("{}e{number}", self.directory);
            if path.len() > room {
                break;
            }
            let planned = self.made.iter().find(|(made, _)| made == Path::new(&path)).map(|(_, target)| target.clone());
            let there = match fs::symlink_metadata(&path) {
                Ok(meta) if self.real => {
                    // Somebody else's link is not followed: he could make it lead elsewhere.
                    let target = is_ours(&meta).then(|| fs::read_link(&path).ok()).flatten();
                    Some(target.unwrap_or_default())
                }
                _ => None,
            };
            match planned.or(there) {
                Some(known) if may_be(&known) && make(&path)? == known => return Ok(path),
                Some(_) => {}
                None => {
                    let target = make(&path)?;
                    self.made.push((PathBuf::from(&path), target));
                    return Ok(path);
                }
            }
        }
        let cause = format!("no link to it in {} has at most {room} bytes", self.directory);
        Err(Error::new(Kind::Own, "name", what.display().to_string(), cause, "use a base directory with a shorter path (--into)"))
    }
}

/// Whether it is a link that root or this user has made.
pub(super) fn is_ours(meta: &fs::Metadata) -> bool {
    meta.file_type().is_symlink() && (meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw())
}

/// The libc that is to be answered in place of `libc`: itself where its data lies where it looks for it, else a
/// copy that looks behind links.
pub(crate) fn libc(materials: &Materials, set: &LibcSet, libc: &Path, links: &mut Links) -> Result<PathBuf, Error> {
    let mut moves = Vec::new();
    let home = |directory: &Path| path_at_home(directory).and_then(|home| home.to_str().map(str::to_owned));
    if let Some((directory, home)) = set.gconv.as_deref().and_then(|d| Some((d, home(d)?))) {
        let may_be = |target: &Path| materials.is_tree(MODULES, target);
        let short = links.short_to(directory, home.len(), &may_be, &|path| modules(materials, directory, &home, path))?;
        moves.push((home, short));
    }
    if let Some((directory, home)) = set.locale.as_deref().and_then(|d| Some((d, home(d)?))) {
        let short = links.short(directory, home.len())?;
        moves.push((home, short));
    }
    if moves.is_empty() {
        return Ok(libc.to_owned());
    }
    materials.libc(libc, &moves)
}

/// A directory of gconv modules that is looked for at `path`: links to the modules, and the index of them
/// (`iconvconfig`), which names their directory by its whole path, with that path.
fn modules(materials: &Materials, directory: &Path, home: &str, path: &str) -> Result<PathBuf, Error> {
    let failed = |e| Error::io("read the gconv modules in", directory, e, "");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)?.take(MODULES_MAX) {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str().filter(|name| *name != INDEX) {
            names.push((name.to_owned(), directory.join(name)));
        }
    }
    names.sort();
    let index = match Mapped::open(&directory.join(INDEX)) {
        Ok(bytes) => Some(moved(&bytes, home.as_bytes(), path.as_bytes())),
        // It only saves time.
        Err(_) => None,
    };
    let files: Vec<(&str, &[u8])> = index.iter().map(|bytes| (INDEX, bytes.as_slice())).collect();
    let links: Vec<(&str, &Path)> = names.iter().map(|(name, target)| (name.as_str(), target.as_path())).collect();
    materials.tree(MODULES, &files, &links)
}

/// Every path below `from` leads below `to`, which is not longer; slashes keep the lengths.
fn moved(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut new = to.to_vec();
    new.resize(from.len(), b'/');
    let mut out = bytes.to_vec();
    let hits = bytes.windows(from.len() + 1).enumerate().filter(|(_, window)| window.strip_prefix(from) == Some(b"/"));
    for (at, _) in hits {
        if let Some(place) = out.get_mut(at..at + from.len()) {
            place.copy_from_slice(&new);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_modules_names_them_where_they_are_looked_for() {
        let index = moved(b"\0/usr/lib/gnu/gconv/\0KOI8-R.so\0/usr/lib/gnu/gconvert", b"/usr/lib/gnu/gconv", b"/x/e0");
        assert_eq!(index.escape_ascii().to_string(), "\\x00/x/e0//////////////\\x00KOI8-R.so\\x00/usr/lib/gnu/gconvert");
    }

    #[test]
    fn one_target_has_one_link_and_what_is_taken_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base::at(dir.path()).unwrap();
        std::os::unix::fs::symlink("/elsewhere", dir.path().join("e0")).unwrap();
        std::os::unix::fs::symlink("/known", dir.path().join("e2")).unwrap();
        let mut links = Links::beside(&base, Owner::Base);
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(links.short(Path::new("/a"), 99).unwrap(), at("e1"));
        assert_eq!(links.short(Path::new("/a"), 99).unwrap(), at("e1"));
        assert_eq!(links.short(Path::new("/known"), 99).unwrap(), at("e2"));
        assert_eq!(links.short(Path::new("/b"), 99).unwrap(), at("e3"));
        assert_eq!(links.made, [(at("e1").into(), "/a".into()), (at("e3").into(), "/b".into())]);
        assert!(links.short(Path::new("/c"), 5).unwrap_err().to_string().contains("has at most 5 bytes"));
    }
}
