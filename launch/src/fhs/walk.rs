//! The entries of a directory tree, bounded and sorted. Links are told, not followed; nothing is opened but directories.

use crate::error::{Error, Kind};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most entries of one tree.
pub(super) const ENTRIES_MAX: usize = 1_000_000;
/// The deepest directory below a tree's root.
const DEPTH_MAX: usize = 128;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    File,
    Link(PathBuf),
    /// A directory; told only if it is empty, the others are known by what is in them.
    Empty,
}

/// One entry, by its path relative to the tree's root.
pub(super) type Found = (OsString, Sort);

/// Lists a tree. Directories for which `enter` is false are left out. Devices, pipes and sockets are no part of a tree.
///
/// # Errors
/// A directory that cannot be read, or a tree of absurd size or depth.
pub(super) fn tree(root: &Path, enter: &dyn Fn(&[u8]) -> bool) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut open: Vec<(OsString, usize)> = vec![(OsString::new(), 0)];
    while let Some((directory, depth)) = open.pop() {
        let at = root.join(&directory);
        let failed = |e: io::Error| Error::io("read directory", &at, e, "make it readable, or leave it out");
        let mut empty = true;
        for entry in fs::read_dir(&at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            empty = false;
            let mut path = directory.as_bytes().to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            let sort = entry.file_type().map_err(failed)?;
            if found.len() + open.len() >= ENTRIES_MAX || depth >= DEPTH_MAX {
                return Err(too_large(root));
            }
            if sort.is_dir() {
                if enter(&path) {
                    open.push((OsString::from_vec(path), depth + 1));
                }
            } else if sort.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(failed)?;
                found.push((OsString::from_vec(path), Sort::Link(target)));
            } else if sort.is_file() {
                found.push((OsString::from_vec(path), Sort::File));
            }
        }
        if empty && depth > 0 {
            found.push((directory, Sort::Empty));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

pub(super) fn too_large(root: &Path) -> Error {
    let cause = format!("it has more than {ENTRIES_MAX} entries or more than {DEPTH_MAX} levels");
    Error::new(Kind::Own, "read directory", root.display().to_string(), cause, "name a smaller one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_is_listed_in_order_with_its_links_and_empty_directories() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/share/doc/x")).unwrap();
        fs::create_dir_all(dir.path().join("usr/empty")).unwrap();
        fs::write(dir.path().join("usr/a"), "").unwrap();
        fs::write(dir.path().join("usr/share/doc/x/y"), "").unwrap();
        symlink("/no/such", dir.path().join("usr/link")).unwrap();
        symlink(".", dir.path().join("usr/loop")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("usr/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let expected: [Found; 4] = [
            ("usr/a".into(), Sort::File),
            ("usr/empty".into(), Sort::Empty),
            ("usr/link".into(), Sort::Link("/no/such".into())),
            ("usr/loop".into(), Sort::Link(".".into())),
        ];
        assert_eq!(tree(dir.path(), &|path| path != b"usr/share/doc").unwrap()[..4], expected);
        assert!(tree(&dir.path().join("none"), &|_| true).is_err());
    }
}
