//! Every ELF file below a directory, each once, with its needs; and the links that give one another
//! name. Follows no link, waits for no FIFO, and says what it could not look at.

use super::plan::PassedOver;
use crate::error::Error;
use crate::parallel;
use crate::progress::Progress;
use nix::libc;
use resolver::elf;
use resolver::map::Mapped;
use resolver::needs::{Kind, Needs};
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The most entries of a tree that are looked at.
const ENTRIES_MAX: usize = 4_000_000;

/// An ELF file of the tree.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its first name in the order of the tree.
    pub(crate) path: PathBuf,
    /// Its other names (hard links) in the tree.
    pub(crate) other_names: Vec<PathBuf>,
    /// How many names it has outside of the tree.
    pub(crate) names_outside: u64,
    /// What it needs.
    pub(crate) needs: Needs,
}

/// A symbolic link of the tree that leads to a file of the tree.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) path: PathBuf,
    pub(crate) target: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Sorted by path.
    pub(crate) items: Vec<Item>,
    pub(crate) links: Vec<Link>,
    pub(crate) passed_over: Vec<PassedOver>,
    /// How many regular files were looked at.
    pub(crate) files: usize,
}

/// Walks `root`, which must be a path without links.
pub(crate) fn walk(root: &Path, progress: &dyn Progress) -> Result<Inventory, Error> {
    let Names { files, links, mut passed_over } = names(root, progress)?;
    let looked = parallel::map("reading files", &files, progress, || (), |(), path| look(path))?;
    let mut by_identity: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut items: Vec<Item> = Vec::new();
    for (path, looked) in files.iter().zip(looked) {
        match looked {
            Looked::Other => {}
            Looked::Unreadable(reason) => passed_over.push(PassedOver { path: path.clone(), reason }),
            Looked::Elf { identity, names, needs } => match by_identity.get(&identity).and_then(|at| items.get_mut(*at)) {
                Some(item) => {
                    item.names_outside = item.names_outside.saturating_sub(1);
                    item.other_names.push(path.clone());
                }
                None => {
                    by_identity.insert(identity, items.len());
                    let names_outside = names.saturating_sub(1);
                    items.push(Item { path: path.clone(), other_names: Vec::new(), names_outside, needs: *needs });
                }
            },
        }
    }
    let inside = |link: PathBuf| {
        let target = std::fs::canonicalize(&link).ok().filter(|target| target.starts_with(root))?;
        Some(Link { path: link, target })
    };
    Ok(Inventory { files: files.len(), items, links: links.into_iter().filter_map(inside).collect(), passed_over })
}

struct Names {
    files: Vec<PathBuf>,
    links: Vec<PathBuf>,
    passed_over: Vec<PassedOver>,
}

fn names(root: &Path, progress: &dyn Progress) -> Result<Names, Error> {
    let unreadable = |source| Error::Root { path: root.to_owned(), source };
    let mut found = Names { files: Vec::new(), links: Vec::new(), passed_over: Vec::new() };
    let mut seen: HashSet<(u64, u64)> = HashSet::new();
    let mut pending = vec![root.to_owned()];
    let mut budget = ENTRIES_MAX;
    while let Some(directory) = pending.pop() {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // A directory that is mounted below itself is there twice, or for ever.
        let read = std::fs::symlink_metadata(&directory).and_then(|meta| {
            let first = meta.is_dir() && seen.insert((meta.dev(), meta.ino()));
            if first { std::fs::read_dir(&directory).map(Some) } else { Ok(None) }
        });
        let entries = match read {
            Ok(Some(entries)) => entries,
            Ok(None) => continue,
            Err(source) if directory == root => return Err(unreadable(source)),
            Err(e) => {
                found.passed_over.push(PassedOver { reason: reason(&e), path: directory });
                continue;
            }
        };
        for entry in entries {
            let Some(left) = budget.checked_sub(1) else { return Err(Error::TooLarge { path: root.to_owned(), most: ENTRIES_MAX }) };
            budget = left;
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry.path())));
            match kind {
                Ok((kind, path)) if kind.is_dir() => pending.push(path),
                Ok((kind, path)) if kind.is_symlink() => found.links.push(path),
                Ok((kind, path)) if kind.is_file() => found.files.push(path),
                // Devices, FIFOs and sockets are no programs.
                Ok(_) => {}
                Err(e) => found.passed_over.push(PassedOver { path: directory.clone(), reason: reason(&e) }),
            }
        }
    }
    // The order of a directory is nobody's; a report's is the same every time.
    found.files.sort();
    found.links.sort();
    Ok(found)
}

fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENAMETOOLONG) => "it lies deeper than a path can be long, so no loader reaches it".to_owned(),
        _ => error.to_string(),
    }
}

enum Looked {
    /// No ELF file, or one that no loader takes.
    Other,
    Unreadable(String),
    Elf {
        identity: (u64, u64),
        names: u64,
        needs: Box<Needs>,
    },
}

fn look(path: &Path) -> Looked {
    match head(path) {
        Ok(Some(meta)) => match Mapped::open(path).map(|bytes| elf::parse(&bytes)) {
            Ok(Ok(needs)) if needs.kind == Kind::Other => Looked::Other,
            Ok(Ok(needs)) => Looked::Elf { identity: (meta.dev(), meta.ino()), names: meta.nlink(), needs: Box::new(needs) },
            Ok(Err(e)) => Looked::Unreadable(e.to_string()),
            Err(e) => Looked::Unreadable(reason(&e)),
        },
        Ok(None) => Looked::Other,
        Err(e) => Looked::Unreadable(reason(&e)),
    }
}

/// The file's metadata if it begins as an ELF file does. What was a file a moment ago and is a link or
/// a FIFO now is neither followed nor waited for.
fn head(path: &Path) -> std::io::Result<Option<std::fs::Metadata>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) => Ok((&magic == b"\x7fELF").then_some(meta)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn fixture() -> Vec<u8> {
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/bin/string-dlopen")).unwrap()
    }

    fn paths(inventory: &Inventory, root: &Path) -> Vec<String> {
        inventory.items.iter().map(|i| i.path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn links_lead_nowhere_new_and_hard_links_are_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("tree/lib")).unwrap();
        fs::create_dir(root.join("outside")).unwrap();
        fs::write(root.join("outside/elf"), fixture()).unwrap();
        fs::write(root.join("tree/lib/a"), fixture()).unwrap();
        fs::write(root.join("tree/text"), b"no program").unwrap();
        fs::write(root.join("tree/short"), b"\x7fE").unwrap();
        fs::hard_link(root.join("tree/lib/a"), root.join("tree/lib/b")).unwrap();
        fs::hard_link(root.join("tree/lib/a"), root.join("outside/c")).unwrap();
        symlink("../../outside", root.join("tree/lib/away")).unwrap();
        symlink("..", root.join("tree/lib/loop")).unwrap();
        symlink("a", root.join("tree/lib/name.so.1")).unwrap();
        symlink("../outside/elf", root.join("tree/gone")).unwrap();
        let tree = root.join("tree");
        let found = walk(&tree, &Silent).unwrap();
        assert_eq!(paths(&found, &tree), ["lib/a"]);
        assert_eq!(found.items[0].other_names, [tree.join("lib/b")]);
        assert_eq!(found.items[0].names_outside, 1);
        let links: Vec<_> = found.links.iter().map(|l| (l.path.clone(), l.target.clone())).collect();
        assert_eq!(links, [(tree.join("lib/loop"), tree.clone()), (tree.join("lib/name.so.1"), tree.join("lib/a"))]);
    }

    #[test]
    fn fifos_sockets_and_corrupt_files_stop_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        fs::write(root.join("bad"), &fixture()[..40]).unwrap();
        fs::write(root.join("good"), fixture()).unwrap();
        let found = walk(&root, &Silent).unwrap();
        assert_eq!(paths(&found, &root), ["good"]);
        let reasons: Vec<_> = found.passed_over.iter().map(|p| (p.path.clone(), p.reason.as_str())).collect();
        assert_eq!(reasons, [(root.join("bad"), "corrupt ELF file: at offset 0x28, the file ends inside the ELF header (40 bytes)")]);
    }

    #[test]
    fn what_lies_deeper_than_a_path_is_said_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let name = "d".repeat(200);
        // One shell makes it step by step, as no path reaches that far.
        let script = format!("cd \"$1\" && for i in $(seq 30); do mkdir {name} && cd -P {name} || exit 1; done");
        let made = std::process::Command::new("bash").args(["-c", &script, "sh"]).arg(&root).status().unwrap();
        assert!(made.success());
        fs::write(root.join("good"), fixture()).unwrap();
        let found = walk(&root, &Silent).unwrap();
        assert_eq!(paths(&found, &root), ["good"]);
        assert_eq!(found.passed_over.len(), 1);
        assert_eq!(found.passed_over[0].reason, "it lies deeper than a path can be long, so no loader reaches it");
    }
}
