//! What images name by short links, since the strings that hold them are short: directories that are searched
//! live, and the data of a foreign libc. Before a program runs there is no private root that could add
//! `/usr/lib/…/gconv`, so its libc is a copy that looks for its data behind such a link.

use super::base::{Base, Owner};
use crate::error::{Error, Kind};
use crate::materials::Materials;
use crate::room::path_at_home;
use resolver::provider::LibcSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
        for number in 0..LINKS_MAX {
            let path = format!("{}e{number}", self.directory);
            if path.len() > room {
                break;
            }
            if let Some((_, known)) = self.made.iter().find(|(made, _)| made == Path::new(&path)) {
                if known == target {
                    return Ok(path);
                }
                continue;
            }
            match fs::symlink_metadata(&path) {
                Err(_) => {}
                Ok(_) if !self.real => {}
                // Somebody else's link is not followed: he could make it lead elsewhere.
                Ok(meta) if !is_ours(&meta) || fs::read_link(&path).ok().as_deref() != Some(target) => continue,
                Ok(_) => return Ok(path),
            }
            self.made.push((PathBuf::from(&path), target.to_owned()));
            return Ok(path);
        }
        let cause = format!("no link to it in {} has at most {room} bytes", self.directory);
        Err(Error::new(Kind::Own, "name", target.display().to_string(), cause, "use a base directory with a shorter path (--into)"))
    }
}

fn is_ours(meta: &fs::Metadata) -> bool {
    meta.file_type().is_symlink() && (meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw())
}

/// The libc that is to be answered in place of `libc`: itself where its data lies where it looks for it, else a
/// copy that looks behind links.
pub(crate) fn libc(materials: &Materials, set: &LibcSet, libc: &Path, links: &mut Links) -> Result<PathBuf, Error> {
    let mut moves = Vec::new();
    for directory in [&set.gconv, &set.locale].into_iter().flatten() {
        if let Some(home) = path_at_home(directory).and_then(|home| home.to_str().map(str::to_owned)) {
            let short = links.short(directory, home.len())?;
            moves.push((home, short));
        }
    }
    if moves.is_empty() {
        return Ok(libc.to_owned());
    }
    materials.libc(libc, &moves)
}

#[cfg(test)]
mod tests {
    use super::*;

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
