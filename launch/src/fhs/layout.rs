//! Where each file of the packages lies in the environment: all in one `/usr`, first come, first served.
//! Pure but for listing the trees; nothing is written.
//!
//! `/bin`, `/sbin` and `/lib*` are merged into `/usr` (as `usrmerge` does it), and `/etc` becomes `/usr/etc`, to which links
//! of the environment's own `/etc` lead. So links are computed anew: each leads to where its target comes to lie. Of a plain directory (`dir:`, `nix:`) `bin`, `lib`, `share` and their like go below `/usr`,
//! and shared libraries directly in `lib` go to `/usr/lib64` or `/usr/lib32`, by their ELF class.

use super::packages::{Input, Source};
use super::walk::{self, Sort};
use crate::error::Error;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The most links that are followed one after the other (`MAXSYMLINKS` of the kernel is 40).
const LINKS_MAX: usize = 40;
/// The most links to directories of one tree that are followed.
const FOLLOWED_MAX: usize = 10_000;
/// The most collisions that are reported.
const REPORTED_MAX: usize = 1000;
/// The largest file of two that is compared before they are called different (bytes).
const COMPARED_MAX: u64 = 1 << 20;

/// What programs need not have (Debian policy 12.3: nothing may require what is in `/usr/share/doc`), and what only the
/// archive's own tools read.
const LEFT_OUT: &[&[u8]] = &[b"usr/share/doc", b"usr/share/doc-base", b"usr/share/lintian", b"usr/share/bug"];

/// What a path of the environment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A file of the host or the store, which a link will lead to.
    Source(PathBuf),
    /// A link as it is read inside.
    Link(PathBuf),
    /// A file of its own.
    Bytes(Vec<u8>),
    /// An empty directory.
    Empty,
}

/// Two packages with different files of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Where.
    pub path: PathBuf,
    /// Whose is there.
    pub kept: String,
    /// Whose is not.
    pub dropped: String,
}

/// The environment's `/usr`, by paths such as `usr/bin/env`.
#[derive(Debug, Default)]
pub(super) struct Layout {
    nodes: BTreeMap<OsString, (Node, u32)>,
    directories: HashSet<OsString>,
    collisions: Vec<(OsString, u32, u32)>,
}

/// The path of a tree's entry in the environment; `None` for what is not part of one.
fn home(path: &[u8], source: Source) -> Option<Vec<u8>> {
    let (top, rest) = match path.iter().position(|b| *b == b'/') {
        Some(at) => path.split_at_checked(at)?,
        None => (path, [].as_slice()),
    };
    let merged = matches!(top, b"bin" | b"sbin" | b"lib" | b"lib32" | b"lib64" | b"libx32");
    let plain = source == Source::Directory && matches!(top, b"share" | b"include" | b"libexec" | b"games" | b"local" | b"src");
    match top {
        b"usr" => Some(path.to_vec()),
        _ if merged || plain || top == b"etc" => Some([b"usr/", top, rest].concat()),
        _ => None,
    }
}

/// Joins a link's target to where the link is, without looking at anything. `..` above the root stays there, and is told.
fn join(link: &[u8], target: &Path) -> (Vec<u8>, bool) {
    let mut parts: Vec<&OsStr> = Vec::new();
    let mut left = false;
    let above = Path::new(OsStr::from_bytes(link)).parent().unwrap_or(Path::new(""));
    let base = if target.is_absolute() { Path::new("") } else { above };
    for component in base.components().chain(target.components()) {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => left |= parts.pop().is_none(),
            _ => {}
        }
    }
    (parts.iter().map(|p| p.as_bytes()).collect::<Vec<_>>().join(&b'/'), left)
}

/// Where an absolute path of the environment lies in what is built.
pub(super) fn at_home_of_root(path: &Path) -> OsString {
    let (path, _) = join(b"", path);
    home(&path, Source::Package).map_or_else(|| OsString::from_vec(path), OsString::from_vec)
}

/// The link at `from` that leads to `to`: relative, but for what is in `/etc`, where the host may have the last word.
pub(super) fn link_to(from: &[u8], to: &[u8]) -> PathBuf {
    if let Some(name) = to.strip_prefix(b"usr/etc/") {
        return Path::new("/etc").join(OsStr::from_bytes(name));
    }
    let from: Vec<&[u8]> = from.split(|b| *b == b'/').collect();
    let to: Vec<&[u8]> = to.split(|b| *b == b'/').collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count().min(from.len() - 1).min(to.len() - 1);
    let ups = std::iter::repeat_n(b"..".as_slice(), from.len() - 1 - common);
    let parts: Vec<&[u8]> = ups.chain(to.iter().skip(common).copied()).collect();
    PathBuf::from(OsString::from_vec(parts.join(&b'/')))
}

/// The ELF class of a file, 32 or 64; `None` of anything else. Only the first bytes are read, and only of plain files.
fn class(path: &Path) -> Option<u8> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut head = [0u8; 5];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    match head {
        [0x7f, b'E', b'L', b'F', 1] => Some(32),
        [0x7f, b'E', b'L', b'F', 2] => Some(64),
        _ => None,
    }
}

/// Where a shared library directly in a plain `lib` belongs.
fn by_class(path: Vec<u8>, original: &Path, source: Source) -> Vec<u8> {
    let name = path.strip_prefix(b"usr/lib/").filter(|name| !name.contains(&b'/') && is_library(name));
    let Some(name) = name.filter(|_| source == Source::Directory) else { return path };
    match class(original) {
        Some(bits) => [format!("usr/lib{bits}/").as_bytes(), name].concat(),
        None => path,
    }
}

/// Whether ldconfig would look at a file of this name (glibc `elf/ldconfig.c`, `elf/dl-is_dso.h`).
pub(super) fn is_library(name: &[u8]) -> bool {
    (name.starts_with(b"lib") || name.starts_with(b"ld-") || name.starts_with(b"ld.so") || name.starts_with(b"ld64.so"))
        && memchr::memmem::find(name, b".so").is_some()
}

/// One tree's entries at home.
fn at_home(input: &Input) -> Result<Vec<(OsString, Node)>, Error> {
    let mut lister = Lister { input, open: vec![input.root.clone()], followed: 0, out: Vec::new() };
    lister.list(&input.root, b"")?;
    Ok(lister.out)
}

struct Lister<'a> {
    input: &'a Input,
    /// The directories in which what is being listed was met.
    open: Vec<PathBuf>,
    /// Links to directories that were followed: two in each could lead on for ever.
    followed: usize,
    out: Vec<(OsString, Node)>,
}

impl Lister<'_> {
    /// Lists one directory as if it were at `prefix` of the tree.
    fn list(&mut self, directory: &Path, prefix: &[u8]) -> Result<(), Error> {
        let (root, source) = (&self.input.root, self.input.source);
        let keep = |path: &[u8]| source != Source::Package || !LEFT_OUT.contains(&path);
        for (relative, sort) in walk::tree(directory, &keep)? {
            if self.out.len() >= walk::ENTRIES_MAX {
                return Err(walk::too_large(root));
            }
            let original = directory.join(&relative);
            let mut path = prefix.to_vec();
            path.extend_from_slice(relative.as_bytes());
            let Sort::Link(target) = sort else {
                let node = if sort == Sort::Empty { Node::Empty } else { Node::Source(original.clone()) };
                if let Some(path) = home(&path, source) {
                    self.out.push((OsString::from_vec(by_class(path, &original, source)), node));
                }
                continue;
            };
            if source == Source::Directory && fs::metadata(&original).is_ok_and(|meta| meta.is_dir()) {
                // `lib64 -> lib` at the top: what is there is merged under the other name, and libraries by their class.
                if !path.contains(&b'/') && !target.is_absolute() {
                    continue;
                }
                // What a link of a Nix profile leads to is as much part of it as what lies in it.
                if target.is_absolute()
                    && let Ok(real) = fs::canonicalize(&original)
                {
                    let again = self.open.contains(&real) || self.open.len() > LINKS_MAX || self.followed >= FOLLOWED_MAX;
                    if !again {
                        self.followed += 1;
                        path.push(b'/');
                        self.open.push(real.clone());
                        self.list(&real, &path)?;
                        self.open.pop();
                    }
                    continue;
                }
            }
            let Some(from) = home(&path, source) else { continue };
            // `/bin -> usr/bin` of a package: the two are one here.
            if home(&join(&path, &target).0, source).as_deref() == Some(&*from) {
                continue;
            }
            let from = by_class(from, &original, source);
            let node = self.link(&path, &from, &target, original);
            self.out.push((OsString::from_vec(from), node));
        }
        Ok(())
    }

    /// What becomes of a link that comes to lie at `from`.
    fn link(&self, path: &[u8], from: &[u8], target: &Path, original: PathBuf) -> Node {
        let source = self.input.source;
        let (to, left) = join(path, target);
        match home(&to, source) {
            _ if source == Source::Directory && (target.is_absolute() || left) => Node::Source(original),
            Some(to) => Node::Link(link_to(from, &by_class(to, &original, source))),
            None if source == Source::Directory => Node::Source(original),
            None => Node::Link(Path::new("/").join(OsStr::from_bytes(&to))),
        }
    }
}

impl Layout {
    /// Adds all trees; of two files the one that came first stays.
    ///
    /// # Errors
    /// A tree that cannot be listed.
    pub(super) fn fill(&mut self, inputs: &[Input]) -> Result<(), Error> {
        type Listed = Result<Vec<(OsString, Node)>, Error>;
        let slots: Vec<Mutex<Option<Listed>>> = inputs.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let workers = thread::available_parallelism().map_or(1, usize::from).min(inputs.len()).min(8);
        thread::scope(|scope| {
            let worker = |_| {
                scope.spawn(|| {
                    while let Some((input, slot)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        inputs.get(at).zip(slots.get(at))
                    } {
                        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(at_home(input));
                    }
                })
            };
            let started: Vec<_> = (0..workers).map(worker).collect();
            // The scope waits for what they do, not for the threads themselves, and no sandbox is entered beside one.
            started.into_iter().for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        });
        for (owner, slot) in slots.into_iter().enumerate() {
            let listed = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).unwrap_or(Ok(Vec::new()))?;
            for (path, node) in listed {
                self.put(path, node, u32::try_from(owner).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    }

    /// The tree of an environment that was written already: its links are read as they stand.
    ///
    /// # Errors
    /// As listing it.
    pub(super) fn of_written(root: &Path) -> Result<Layout, Error> {
        let mut layout = Layout::default();
        for (path, sort) in walk::tree(root, &|_| true)? {
            let node = match sort {
                Sort::File => Node::Source(root.join(&path)),
                Sort::Empty => Node::Empty,
                Sort::Link(target) if target.is_absolute() && !starts_inside(&target) => Node::Source(target),
                Sort::Link(target) => Node::Link(target),
            };
            layout.put(path, node, 0);
        }
        Ok(layout)
    }

    /// Adds a path unless something is there.
    fn put(&mut self, path: OsString, node: Node, owner: u32) {
        let parent = path.as_bytes().iter().rposition(|b| *b == b'/').and_then(|at| path.as_bytes().get(..at)).unwrap_or_default();
        if !self.enter(OsStr::from_bytes(parent)) {
            return self.collide(&path, owner);
        }
        if node == Node::Empty {
            if !self.enter(&path) {
                self.collide(&path, owner);
            }
            return;
        }
        match self.nodes.get(&path) {
            _ if self.directories.contains(&path) => self.collide(&path, owner),
            Some((known, _)) if same(known, &node) => {}
            Some(_) => self.collide(&path, owner),
            None => drop(self.nodes.insert(path, (node, owner))),
        }
    }

    /// Makes a path and all above it directories; false if one of them is something else.
    fn enter(&mut self, path: &OsStr) -> bool {
        if path.is_empty() || self.directories.contains(path) {
            return true;
        }
        if self.nodes.contains_key(path) {
            return false;
        }
        let parent = path.as_bytes().iter().rposition(|b| *b == b'/').and_then(|at| path.as_bytes().get(..at)).unwrap_or_default();
        self.enter(OsStr::from_bytes(parent)) && self.directories.insert(path.to_owned())
    }

    fn collide(&mut self, path: &OsStr, dropped: u32) {
        let kept = self.nodes.get(path).map_or(dropped, |(_, owner)| *owner);
        if self.collisions.len() < REPORTED_MAX {
            self.collisions.push((path.to_owned(), kept, dropped));
        }
    }

    /// Where packages disagreed. A directory that stands where another has a file is nobody's own.
    pub(super) fn collisions(&self, inputs: &[Input]) -> Vec<Collision> {
        let label = |owner: u32| inputs.get(owner as usize).map_or_else(|| "the specification".to_owned(), |input| input.label.clone());
        let name = |kept: u32, dropped: u32| if kept == dropped { "another".to_owned() } else { label(kept) };
        let shown = |(path, kept, dropped): &(OsString, u32, u32)| Collision {
            path: Path::new("/").join(path),
            kept: name(*kept, *dropped),
            dropped: label(*dropped),
        };
        self.collisions.iter().map(shown).collect()
    }

    /// Adds what is nobody's: false if something is there.
    pub(super) fn add(&mut self, path: impl Into<OsString>, node: Node) -> bool {
        let path = path.into();
        let free = !self.has(&path);
        if free {
            self.put(path, node, u32::MAX);
        }
        free
    }

    /// Adds a link to another path of the environment, unless something is there.
    pub(super) fn add_link(&mut self, path: &str, to: &str) -> bool {
        self.add(path, Node::Link(link_to(path.as_bytes(), to.as_bytes())))
    }

    /// Makes a path a directory; false if something else is there.
    pub(super) fn make_directory(&mut self, path: &str) -> bool {
        self.enter(OsStr::new(path))
    }

    /// Takes a file or link away.
    pub(super) fn remove(&mut self, path: &str) {
        self.nodes.remove(OsStr::new(path));
    }

    /// Whether there is a file, a link or a directory.
    pub(super) fn has(&self, path: impl AsRef<OsStr>) -> bool {
        self.nodes.contains_key(path.as_ref()) || self.directories.contains(path.as_ref())
    }

    /// Everything, parents after their children's names sort: `usr/bin` is told by what is in it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&OsStr, &Node)> {
        self.nodes.iter().map(|(path, (node, _))| (path.as_os_str(), node))
    }

    /// Every directory, parents first.
    pub(super) fn directories(&self) -> Vec<&OsStr> {
        let mut all: Vec<&OsStr> = self.directories.iter().map(OsString::as_os_str).collect();
        all.sort_unstable();
        all
    }

    /// What lies below a directory at any depth, by the path relative to it.
    pub(super) fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a OsStr, &'a Node)> {
        let start = OsString::from(format!("{directory}/"));
        let length = start.len();
        let range = self.nodes.range::<OsStr, _>((Bound::Included(start.as_os_str()), Bound::Unbounded));
        let all = range.take_while({
            let start = start.clone();
            move |(path, _)| path.as_bytes().starts_with(start.as_bytes())
        });
        all.filter_map(move |(path, (node, _))| Some((OsStr::from_bytes(path.as_bytes().get(length..)?), node)))
    }

    /// The file that a path leads to inside; `None` if it leads nowhere, or out of what is built.
    pub(super) fn file(&self, path: &OsStr) -> Option<&Path> {
        let mut at = path.to_owned();
        for _ in 0..LINKS_MAX {
            match &self.nodes.get(&at)?.0 {
                Node::Source(file) => return Some(file),
                Node::Link(target) => {
                    let (next, _) = join(at.as_bytes(), target);
                    at = OsString::from_vec(home(&next, Source::Package)?);
                }
                _ => return None,
            }
        }
        None
    }
}

/// Whether an absolute link stays in what is built, or goes to where the environment's `/etc` is.
fn starts_inside(target: &Path) -> bool {
    let (path, _) = join(b"", target);
    home(&path, Source::Package).is_some()
}

/// Whether two packages mean the same: the same link, or files of equal content (those of two architectures often are).
fn same(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Source(a), Node::Source(b)) => {
            let (Ok(x), Ok(y)) = (fs::metadata(a), fs::metadata(b)) else { return false };
            let comparable = x.is_file() && y.is_file() && x.len() == y.len() && x.len() <= COMPARED_MAX;
            comparable && fs::read(a).ok().zip(fs::read(b).ok()).is_some_and(|(a, b)| a == b)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const ELF64: &[u8] = &[0x7f, b'E', b'L', b'F', 2, 1];
    const ELF32: &[u8] = &[0x7f, b'E', b'L', b'F', 1, 1];

    /// A tree of files (`path`, content) and links (`path -> target`).
    fn tree(entries: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (entry, content) in entries {
            let (path, target) = entry.split_once(" -> ").map_or((*entry, None), |(path, target)| (path, Some(target)));
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match target {
                Some(target) => symlink(target, path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        dir
    }

    fn input(dir: &tempfile::TempDir, label: &str, source: Source) -> Input {
        Input { label: label.to_owned(), root: dir.path().to_owned(), identity: String::new(), source }
    }

    fn laid_out(inputs: &[Input]) -> Layout {
        let mut layout = Layout::default();
        layout.fill(inputs).unwrap();
        layout
    }

    /// Every path and what it is: `=` and the path in its tree, or `->` and what the link holds.
    fn lines(layout: &Layout, trees: &[&tempfile::TempDir]) -> Vec<String> {
        let shown = |node: &Node| match node {
            Node::Source(file) => {
                let inside = trees.iter().find_map(|t| file.strip_prefix(t.path()).ok());
                format!("= {}", inside.unwrap_or(file).display())
            }
            Node::Link(target) => format!("-> {}", target.display()),
            Node::Bytes(bytes) => format!(": {}", bytes.escape_ascii()),
            Node::Empty => "/".to_owned(),
        };
        layout.nodes().map(|(path, node)| format!("{} {}", path.display(), shown(node))).collect()
    }

    #[test]
    fn a_packages_root_is_merged_and_its_links_lead_where_their_targets_lie() {
        let t = tree(&[
            ("bin/sh -> dash", b""),
            ("bin/dash", b"x"),
            ("sbin -> usr/sbin", b""),
            ("usr/lib64 -> ../lib64", b""),
            ("lib/x86_64-linux-gnu/libz.so.1 -> ../../usr/lib/x86_64-linux-gnu/libz.so.1.2", b""),
            ("usr/lib/x86_64-linux-gnu/libz.so.1.2", ELF64),
            ("usr/lib/x86_64-linux-gnu/libz.so -> /lib/x86_64-linux-gnu/libz.so.1", b""),
            ("lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld.so", b""),
            ("etc/tool.conf", b""),
            ("etc/os-release -> ../usr/lib/os-release", b""),
            ("usr/lib/tool/conf -> /etc/tool.conf", b""),
            ("usr/lib/tool/state -> ../../../var/lib/tool", b""),
            ("usr/share/doc/tool/copyright", b""),
            ("var/lib/tool/x", b""),
            ("usr/bin/up -> ../../../../../bin/dash", b""),
        ]);
        let layout = laid_out(&[input(&t, "p", Source::Package)]);
        assert_eq!(
            lines(&layout, &[&t]),
            [
                "usr/bin/dash = bin/dash",
                "usr/bin/sh -> dash",
                "usr/bin/up -> dash",
                "usr/etc/os-release -> ../lib/os-release",
                "usr/etc/tool.conf = etc/tool.conf",
                "usr/lib/tool/conf -> /etc/tool.conf",
                "usr/lib/tool/state -> /var/lib/tool",
                "usr/lib/x86_64-linux-gnu/libz.so -> libz.so.1",
                "usr/lib/x86_64-linux-gnu/libz.so.1 -> libz.so.1.2",
                "usr/lib/x86_64-linux-gnu/libz.so.1.2 = usr/lib/x86_64-linux-gnu/libz.so.1.2",
                "usr/lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld.so",
            ]
        );
        assert_eq!(layout.file("usr/lib/x86_64-linux-gnu/libz.so".as_ref()), Some(&*t.path().join("usr/lib/x86_64-linux-gnu/libz.so.1.2")));
        assert_eq!(layout.file("usr/lib/tool/state".as_ref()), None);
    }

    #[test]
    fn a_plain_directory_goes_below_usr_and_its_libraries_by_class() {
        let t = tree(&[
            ("bin/tool", b"x"),
            ("bin/alias -> tool", b""),
            ("bin/far -> ../opt/app/far", b""),
            ("lib/liba.so.1.0", ELF64),
            ("lib/liba.so.1 -> liba.so.1.0", b""),
            ("lib/libb.so.1", ELF32),
            ("lib/script.so", b"text"),
            ("lib/tool/plugin.so", ELF64),
            ("lib64 -> lib", b""),
            ("share/x", b""),
            ("opt/app/far", b""),
            ("README", b""),
        ]);
        let layout = laid_out(&[input(&t, "d", Source::Directory)]);
        assert_eq!(
            lines(&layout, &[&t]),
            [
                "usr/bin/alias -> tool",
                "usr/bin/far = bin/far",
                "usr/bin/tool = bin/tool",
                "usr/lib/script.so = lib/script.so",
                "usr/lib/tool/plugin.so = lib/tool/plugin.so",
                "usr/lib32/libb.so.1 = lib/libb.so.1",
                "usr/lib64/liba.so.1 -> liba.so.1.0",
                "usr/lib64/liba.so.1.0 = lib/liba.so.1.0",
                "usr/share/x = share/x",
            ]
        );
    }

    #[test]
    fn what_a_profiles_links_lead_to_is_merged() {
        let package = tree(&[("bin/tool", b""), ("share/man/man1/tool.1", b"")]);
        let bin = format!("bin -> {}", package.path().join("bin").display());
        let man = format!("share/man -> {}", package.path().join("share/man").display());
        let again = tree(&[(&bin, b""), (&man, b""), ("share/own", b"")]);
        let layout = laid_out(&[input(&again, "d", Source::Directory)]);
        let paths: Vec<String> = layout.nodes().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(paths, ["usr/bin/tool", "usr/share/man/man1/tool.1", "usr/share/own"]);
        let circle = tree(&[]);
        for name in ["bin", "share"] {
            symlink(circle.path(), circle.path().join(name)).unwrap();
        }
        assert_eq!(laid_out(&[input(&circle, "d", Source::Directory)]).nodes().count(), 0);
    }

    #[test]
    fn of_two_files_the_first_stays_and_a_real_difference_is_told() {
        let a = tree(&[("usr/bin/x", b"one"), ("usr/share/same", b"s"), ("usr/share/thing", b"file"), ("usr/lib/l -> m", b"")]);
        let b = tree(&[("bin/x", b"two"), ("usr/share/same", b"s"), ("usr/share/thing/inside", b""), ("usr/lib/l -> m", b"")]);
        let inputs = [input(&a, "a", Source::Package), input(&b, "b", Source::Package)];
        let layout = laid_out(&inputs);
        assert_eq!(
            lines(&layout, &[&a, &b]),
            ["usr/bin/x = usr/bin/x", "usr/lib/l -> m", "usr/share/same = usr/share/same", "usr/share/thing = usr/share/thing"]
        );
        let told: Vec<String> =
            layout.collisions(&inputs).iter().map(|c| format!("{}: {} not {}", c.path.display(), c.kept, c.dropped)).collect();
        assert_eq!(told, ["/usr/bin/x: a not b", "/usr/share/thing/inside: another not b"]);
    }
}
