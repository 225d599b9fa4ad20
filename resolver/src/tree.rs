//! The program's own tree: which directories belong to the program, and which of its files answer
//! to which soname. Never a directory that other programs share.

use crate::arch::Arch;
use crate::files::{Files, Found};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most directory entries that are looked at; a larger tree is known in part, and says so.
const ENTRIES_MAX: usize = 50_000;
/// The most directories that are watched, whatever they hold.
const WATCHED_MAX: usize = 256;
/// The deepest directory that is looked at, counted from the tree's root.
const DEPTH_MAX: usize = 12;

/// Directories that are shared by nature, so that no tree begins at one of them or above.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    directories: BTreeSet<PathBuf>,
}

impl Shared {
    /// The system's shared directories, the user's home, and its downloads.
    pub fn new(home: Option<&Path>, downloads: Option<&Path>) -> Shared {
        let mut directories: BTreeSet<PathBuf> = [
            "/",
            "/usr",
            "/usr/local",
            "/opt",
            "/tmp",
            "/var",
            "/var/tmp",
            "/home",
            "/root",
            "/srv",
            "/mnt",
            "/media",
            "/run",
            "/nix",
            "/nix/store",
        ]
        .iter()
        .map(PathBuf::from)
        .collect();
        for prefix in ["", "usr", "usr/local"] {
            for leaf in ["bin", "sbin", "lib", "lib32", "lib64", "libexec", "share"] {
                directories.insert(Path::new("/").join(prefix).join(leaf));
            }
        }
        for home in home.into_iter().filter(|h| h.is_absolute()) {
            directories.extend(home.ancestors().map(Path::to_owned));
            for leaf in ["Downloads", "Desktop", "Documents", "bin", ".local", ".local/bin", ".local/share", ".cache", ".config"] {
                directories.insert(home.join(leaf));
            }
        }
        directories.extend(downloads.map(Path::to_owned));
        Shared { directories }
    }

    /// Whether other programs live in this directory too.
    pub fn contains(&self, directory: &Path) -> bool {
        self.directories.contains(directory)
    }
}

/// An ELF file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether the kernel would hand it to an interpreter.
    pub starts: bool,
}

/// The program's own tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The directory that holds it; `None` if the program lies alone in a shared directory.
    pub root: Option<PathBuf>,
    /// Every ELF file below it that fits the program's architecture, sorted by path.
    pub members: Vec<Member>,
    /// Directories whose change may add to the tree or take from it: all of them in a tree of usual
    /// size, else those that hold members, and what is above them.
    pub directories: Vec<PathBuf>,
    /// True if the tree was too large to be walked whole.
    pub truncated: bool,
    by_name: BTreeMap<String, Vec<PathBuf>>,
    by_soname: BTreeMap<String, Vec<PathBuf>>,
}

impl Tree {
    /// The root of a program's tree: the nearest ancestor that looks like an unpacked package
    /// (the program lies in its `bin`, or it has `bin/` or `lib/` beside the program), else the
    /// program's own directory; `None` where that is a shared one.
    pub fn root_of(program: &Path, shared: &Shared) -> Option<PathBuf> {
        let own = program.parent()?;
        if shared.contains(own) {
            return None;
        }
        let packaged = |d: &&Path| match own.strip_prefix(d).ok().and_then(|below| below.iter().next()) {
            None => ["lib", "bin", "lib64"].iter().any(|leaf| d.join(leaf).is_dir()),
            Some(first) => ["bin", "sbin", "lib", "lib64", "libexec"].iter().any(|leaf| first == *leaf),
        };
        own.ancestors().take(4).take_while(|d| !shared.contains(d)).find(packaged).or(Some(own)).map(Path::to_owned)
    }

    /// The tree by its root alone, for a program that needs nothing of it.
    pub fn unwalked(program: &Path, shared: &Shared) -> Tree {
        Tree { root: Tree::root_of(program, shared), ..Tree::default() }
    }

    /// Walks the tree of a program and reads the ELF files that fit it. Links to directories are
    /// not followed, other file systems are, and what cannot be read is passed over.
    pub fn walk(program: &Path, arch: Arch, shared: &Shared, files: &Files) -> Tree {
        let mut tree = Tree::unwalked(program, shared);
        let Some(root) = tree.root.clone() else {
            return tree;
        };
        let mut budget = ENTRIES_MAX;
        let mut pending = vec![(root.clone(), 0usize)];
        while let Some((directory, depth)) = pending.pop() {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            tree.directories.push(directory.clone());
            for entry in entries.flatten() {
                if budget == 0 {
                    tree.truncated = true;
                    break;
                }
                budget -= 1;
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let path = entry.path();
                if kind.is_dir() {
                    if depth < DEPTH_MAX {
                        pending.push((path, depth + 1));
                    } else {
                        tree.truncated = true;
                    }
                } else if kind.is_file() || kind.is_symlink() {
                    tree.add(path, kind.is_symlink(), arch, files);
                }
            }
        }
        tree.members.sort_by(|a, b| a.path.cmp(&b.path));
        if tree.directories.len() > WATCHED_MAX {
            let above =
                |m: &Member| m.path.ancestors().skip(1).take_while(|d| d.starts_with(&root)).map(Path::to_owned).collect::<Vec<_>>();
            tree.directories = tree.members.iter().flat_map(above).collect::<BTreeSet<_>>().into_iter().collect();
        }
        tree
    }

    fn add(&mut self, path: PathBuf, link: bool, arch: Arch, files: &Files) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let library = name.contains(".so");
        // Only a library or something executable can be an ELF file that matters; reading the
        // header of each of a million data files would cost more than the whole search.
        if !library && !executable(&path) {
            return;
        }
        let Found::Elf(needs) = files.look(&path) else {
            return;
        };
        if needs.arch != arch {
            return;
        }
        if library {
            self.by_name.entry(name).or_default().push(path.clone());
        }
        if link {
            return;
        }
        if let Some(soname) = needs.soname.clone().filter(|_| library) {
            self.by_soname.entry(soname).or_default().push(path.clone());
        }
        self.members.push(Member { path, starts: needs.kind.has_loader() });
    }

    /// The file of the tree that answers to a soname: by its `DT_SONAME` first (package managers that
    /// drop links leave files under other names), then by its file name; of several the one nearest
    /// to the asker, then the shortest path, then the first by name.
    pub fn find(&self, soname: &str, asker: &Path) -> Option<&Path> {
        let near = |p: &&PathBuf| {
            let shared = p.components().zip(asker.components()).take_while(|(a, b)| a == b).count();
            (std::cmp::Reverse(shared), p.components().count(), (*p).clone())
        };
        [&self.by_soname, &self.by_name].iter().find_map(|index| index.get(soname)?.iter().min_by_key(near)).map(PathBuf::as_path)
    }
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_never_begins_at_a_shared_directory() {
        let shared = Shared::new(Some(Path::new("/home/u")), None);
        for program in ["/home/u/tool", "/home/u/Downloads/tool", "/usr/bin/tool", "/tmp/tool", "/opt/tool", "/usr/local/bin/tool"] {
            assert_eq!(Tree::root_of(Path::new(program), &shared), None, "{program}");
        }
    }

    #[test]
    fn every_directory_of_a_tree_of_usual_size_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("app/lib/empty")).unwrap();
        let tree = Tree::walk(&dir.path().join("app/tool"), Arch::host().unwrap(), &Shared::default(), &Files::default());
        let mut watched = tree.directories.clone();
        watched.sort();
        assert_eq!(watched, ["app", "app/lib", "app/lib/empty"].map(|d| dir.path().join(d)));
    }

    #[test]
    fn the_tree_is_the_nearest_package_or_the_programs_own_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("apps");
        std::fs::create_dir_all(base.join("pkg/bin")).unwrap();
        std::fs::create_dir_all(base.join("pkg/lib")).unwrap();
        std::fs::create_dir_all(base.join("flat")).unwrap();
        let shared = Shared::new(Some(&base), None);
        assert_eq!(Tree::root_of(&base.join("pkg/bin/tool"), &shared), Some(base.join("pkg")));
        assert_eq!(Tree::root_of(&base.join("pkg/tool"), &shared), Some(base.join("pkg")));
        assert_eq!(Tree::root_of(&base.join("flat/tool"), &shared), Some(base.join("flat")));
        assert_eq!(Tree::root_of(&base.join("tool"), &shared), None);
    }
}
