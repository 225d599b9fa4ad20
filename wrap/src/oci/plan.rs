//! What an image holds: each path once, with where its content comes from. Follows the links of an environment to the
//! real files behind them, but only into the directories that were named: no package can have a file of the host's
//! exported by linking to it. Reads no content and writes nothing.

use super::error::Error;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The most paths an image may have.
const ENTRIES_MAX: usize = 2_000_000;
/// The deepest a directory may lie: beyond, it is one that contains itself by a link.
const DEPTH_MAX: usize = 64;

/// What an image is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The directory that becomes `/`.
    pub root: PathBuf,
    /// Trees that are added as they are: the path in the image, the directory on this machine. A link to something in
    /// such a directory becomes a link to its path in the image.
    pub trees: Vec<(PathBuf, PathBuf)>,
    /// Where the files behind links may lie, beside the root and the trees; a link to anywhere else stays a link.
    pub from: Vec<PathBuf>,
    /// Links to these paths of the image, or below them, are left out: what an environment has of its host.
    pub without: Vec<PathBuf>,
}

/// One path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A directory and its mode.
    Directory(u32),
    /// A file of this machine.
    File {
        /// Its path here, with every link resolved.
        source: PathBuf,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A file of these bytes, of mode 0644.
    Bytes(Vec<u8>),
    /// A symbolic link.
    Link(PathBuf),
    /// Another name of the file at this path of the image.
    Again(PathBuf),
}

/// Everything an image holds, by its path without the leading slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The paths; a directory sorts before what is in it.
    pub items: BTreeMap<PathBuf, Item>,
}

/// The top-level directories that are links into `/usr` (file-hierarchy(7)).
const TOP: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The directories every root has (FHS 3.0, 3.2), with their modes.
const DIRECTORIES: [(&str, u32); 10] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// What programs ask of `/etc` in any case; where the environment has it, its own stays.
const ETC: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

impl Plan {
    /// Looks at everything that is to be exported.
    ///
    /// # Errors
    /// If something cannot be read, there is too much of it, or a path cannot be in a layer.
    pub fn of(sources: &Sources) -> Result<Plan, Error> {
        let real = |path: &Path| fs::canonicalize(path).map_err(|source| Error::Read { path: path.to_owned(), source });
        let root = real(&sources.root)?;
        let mut trees = Vec::new();
        for (inside, source) in &sources.trees {
            trees.push((relative(inside)?, real(source)?));
        }
        // A directory that is not there holds nothing.
        let mut from: Vec<PathBuf> = sources.from.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        from.push(root.clone());
        let without = &sources.without;
        let mut look = Look { root: &root, trees: &trees, from: &from, without, plan: Plan::default(), first: HashMap::new() };
        look.directory(Path::new(""), &root, 0)?;
        // As entering does it: a directory with links into /usr/etc, where links of that to their own name in /etc mean
        // what is added here, and do not lead back to themselves.
        let etc = [Path::new("usr/etc"), Path::new("/usr/etc")].map(|target| Item::Link(target.to_owned()));
        if look.plan.items.get(Path::new("etc")).is_some_and(|item| etc.contains(item)) {
            look.plan.items.remove(Path::new("etc"));
        }
        for (inside, source) in &trees {
            look.parents(inside)?;
            look.add(inside, source, 0)?;
        }
        let mut plan = look.plan;
        plan.complete();
        for (path, mode) in DIRECTORIES {
            plan.stand_in(path, Item::Directory(mode));
        }
        for (path, text) in ETC {
            plan.stand_in(path, Item::Bytes(text.as_bytes().to_vec()));
        }
        plan.put_files_first();
        match plan.items.keys().find(|path| !plan.lies_in_a_directory(path)) {
            Some(path) => Err(Error::Path { path: path.clone(), cause: "what it lies in is no directory of the image" }),
            None => Ok(plan),
        }
    }

    /// Adds what is not there, where its place is a directory of the image and not a link to one.
    fn stand_in(&mut self, path: &str, item: Item) {
        let path = PathBuf::from(path);
        if self.lies_in_a_directory(&path) {
            self.items.entry(path).or_insert(item);
        }
    }

    /// Whether what is above a path is a directory.
    fn lies_in_a_directory(&self, path: &Path) -> bool {
        let above = path.parent().filter(|above| *above != Path::new(""));
        above.is_none_or(|above| matches!(self.items.get(above), Some(Item::Directory(_))))
    }

    /// What entering adds to a root that is little more than `/usr`: the links to it, and those from `/etc` into `/usr/etc`.
    fn complete(&mut self) {
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (path, item) in &self.items {
            let Ok(below) = path.strip_prefix("usr") else { continue };
            if *item == Item::Directory(0o755) && TOP.iter().any(|top| below == Path::new(top)) {
                links.push((below.to_owned(), path.clone()));
            }
            if below.parent() == Some(Path::new("etc")) && *item != Item::Link(Path::new("/").join(below)) {
                links.push((below.to_owned(), Path::new("/").join(path)));
            }
        }
        for (path, target) in links {
            self.items.entry(path).or_insert(Item::Link(target));
        }
    }

    /// A second name comes after the first in a layer, whichever was met first: the contents move to the first name.
    fn put_files_first(&mut self) {
        let mut first: HashMap<PathBuf, PathBuf> = HashMap::new();
        for (path, item) in &self.items {
            let of = match item {
                Item::Again(of) => of,
                Item::File { .. } => path,
                _ => continue,
            };
            first.entry(of.clone()).or_insert_with(|| path.clone());
        }
        for (of, first) in first.iter().filter(|(of, first)| of != first) {
            if let Some(file) = self.items.insert(of.clone(), Item::Again(first.clone())) {
                self.items.insert(first.clone(), file);
            }
        }
        for item in self.items.values_mut() {
            if let Item::Again(of) = item
                && let Some(first) = first.get(of)
            {
                of.clone_from(first);
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, item) in &self.items {
            match item {
                Item::Directory(mode) => writeln!(f, "directory {path:?} {mode:04o}")?,
                Item::File { source, executable } => {
                    writeln!(f, "{} {path:?} from {source:?}", if *executable { "program" } else { "file" })?;
                }
                Item::Bytes(bytes) => writeln!(f, "file {path:?} of {} bytes", bytes.len())?,
                Item::Link(target) => writeln!(f, "link {path:?} to {target:?}")?,
                Item::Again(of) => writeln!(f, "again {path:?} as {of:?}")?,
            }
        }
        Ok(())
    }
}

/// A path of the image without the leading slash.
fn relative(path: &Path) -> Result<PathBuf, Error> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => out.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Path { path: path.to_owned(), cause: "it leaves the image" });
            }
        }
    }
    Ok(out)
}

struct Look<'a> {
    root: &'a Path,
    trees: &'a [(PathBuf, PathBuf)],
    from: &'a [PathBuf],
    without: &'a [PathBuf],
    plan: Plan,
    /// The first name of each file, by device and inode.
    first: HashMap<(u64, u64), PathBuf>,
}

impl Look<'_> {
    fn directory(&mut self, inside: &Path, source: &Path, depth: usize) -> Result<(), Error> {
        let unreadable = |error| Error::Read { path: source.to_owned(), source: error };
        if depth > DEPTH_MAX {
            return Err(Error::Path { path: inside.to_owned(), cause: "it is deeper than 64 directories" });
        }
        for entry in fs::read_dir(source).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            self.add(&inside.join(&name), &source.join(&name), depth + 1)?;
        }
        Ok(())
    }

    fn parents(&mut self, inside: &Path) -> Result<(), Error> {
        for above in inside.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            match self.plan.items.entry(above.to_owned()).or_insert(Item::Directory(0o755)) {
                Item::Directory(_) => {}
                _ => return Err(Error::Path { path: above.to_owned(), cause: "a tree lies below it, and it is no directory" }),
            }
        }
        Ok(())
    }

    fn add(&mut self, inside: &Path, source: &Path, depth: usize) -> Result<(), Error> {
        let unreadable = |error| Error::Read { path: source.to_owned(), source: error };
        // Such a name deletes another from the layers below (OCI image specification, layer.md, "Whiteouts").
        if inside.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
            return Err(Error::Path { path: inside.to_owned(), cause: "names that begin with .wh. mean something else in a layer" });
        }
        if self.plan.items.len() >= ENTRIES_MAX {
            return Err(Error::TooLarge { path: self.root.to_owned(), most: ENTRIES_MAX });
        }
        let meta = fs::symlink_metadata(source).map_err(unreadable)?;
        if !meta.is_symlink() {
            return self.real(inside, source, &meta, depth);
        }
        let target = fs::read_link(source).map_err(unreadable)?;
        if self.without.iter().any(|path| target.starts_with(path)) {
            return Ok(());
        }
        let behind = fs::canonicalize(source).ok();
        let item = match behind {
            // It leads nowhere, or to something in the image: it is what it is.
            None => Item::Link(target),
            Some(_) if self.stays(inside, &target) => Item::Link(target),
            Some(real) => {
                if let Some(path) = self.moved(&real) {
                    Item::Link(path)
                } else if self.from.iter().any(|from| real.starts_with(from)) {
                    let meta = fs::metadata(&real).map_err(|source| Error::Read { path: real.clone(), source })?;
                    return self.real(inside, &real, &meta, depth);
                } else {
                    Item::Link(target)
                }
            }
        };
        self.plan.items.insert(inside.to_owned(), item);
        Ok(())
    }

    /// Whether a link leads to something of the root itself when it is read in the image.
    fn stays(&self, inside: &Path, target: &Path) -> bool {
        let mut at = if target.is_absolute() { PathBuf::new() } else { inside.parent().unwrap_or(Path::new("")).to_owned() };
        for part in target.components() {
            match part {
                // In a root, `..` of the top is the top.
                Component::ParentDir => _ = at.pop(),
                Component::Normal(name) => at.push(name),
                _ => {}
            }
        }
        let there = self.root.join(at);
        // A link to its own path, even by another way, means what the host has there.
        fs::symlink_metadata(&there).is_ok() && place(&there) != place(&self.root.join(inside))
    }

    /// Where a file of one of the trees lies in the image.
    fn moved(&self, real: &Path) -> Option<PathBuf> {
        let (inside, below) = self.trees.iter().find_map(|(inside, source)| Some((inside, real.strip_prefix(source).ok()?)))?;
        let path = Path::new("/").join(inside);
        Some(if below == Path::new("") { path } else { path.join(below) })
    }

    fn real(&mut self, inside: &Path, source: &Path, meta: &Metadata, depth: usize) -> Result<(), Error> {
        if meta.is_dir() {
            self.plan.items.insert(inside.to_owned(), Item::Directory(0o755));
            return self.directory(inside, source, depth);
        }
        if !meta.is_file() {
            log::warn!("{} is a device, a pipe or a socket: it is left out of the image", source.display());
            return Ok(());
        }
        // Several links to one file are several names of one file: loaders tell them apart by inode.
        let key = (meta.dev(), meta.ino());
        let item = match self.first.get(&key) {
            Some(first) => Item::Again(first.clone()),
            None => {
                self.first.insert(key, inside.to_owned());
                Item::File { source: source.to_owned(), executable: meta.mode() & 0o111 != 0 }
            }
        };
        self.plan.items.insert(inside.to_owned(), item);
        Ok(())
    }
}

/// Where a name lies, with the links above it resolved and itself not.
fn place(path: &Path) -> Option<PathBuf> {
    Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))
}

/// The name of a machine in an image's platform (OCI image specification, config.md: `GOARCH`), of what
/// [`std::env::consts::ARCH`] calls it.
pub fn platform(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether a name may be a variable's: not empty, no `=`.
pub(super) fn is_variable(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'=')
}
