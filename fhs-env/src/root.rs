//! The builder: what a private root shall hold, and the order of steps that follows from it.
//! It decides everything and does nothing.

use crate::enter::EnterError;
use crate::error::PlanError;
use crate::host::{Caller, ENTRIES_MAX, EntryKind, HostEntry, HostRoot};
use crate::op::{Access, Content, Op, Plan, Source};
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The most bytes one added file may have: it is memory, written at every start.
const FILE_MAX: usize = 16 << 20;
/// The mode of a directory that is added.
const DIRECTORY_MODE: u32 = 0o755;
/// The mode of a file that is added.
const FILE_MODE: u32 = 0o444;
/// `PATH_MAX` of `<linux/limits.h>`, less the closing NUL.
const PATH_BYTES_MAX: usize = 4095;

/// An entry that the host does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Added {
    Directory,
    Symlink(PathBuf),
    File(Vec<u8>),
}

/// A root in which every top-level entry of the host is present, and some that it lacks.
///
/// See the crate's documentation for how it is built. All paths are absolute; parents of what is
/// added are made. Asking twice for the same thing is asking once.
#[derive(Clone, Debug, Default)]
pub struct PrivateRoot {
    added: Vec<(PathBuf, Added)>,
    extended: BTreeSet<PathBuf>,
    binds: Vec<(PathBuf, PathBuf)>,
}

impl PrivateRoot {
    /// A root that is the host's.
    pub fn new() -> PrivateRoot {
        PrivateRoot::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.added.push((path.into(), Added::Directory));
        self
    }

    /// Adds a symbolic link that holds `target`.
    pub fn symlink(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.added.push((path.into(), Added::Symlink(target.into())));
        self
    }

    /// Adds a file of at most 16 MiB, mode 0444.
    pub fn file(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.added.push((path.into(), Added::File(bytes.into())));
        self
    }

    /// Allows additions directly below the host's top-level directory `top` (such as `/lib64`):
    /// its entries are carried over one by one. Changes nothing where the host lacks it; a
    /// symbolic link cannot be extended, and what exists is not replaced.
    pub fn extend(&mut self, top: impl Into<PathBuf>) -> &mut Self {
        self.extended.insert(top.into());
        self
    }

    /// Binds the file `copy` over the file `over`, read-only. Both are paths of the host;
    /// symbolic links are followed.
    pub fn bind_read_only(&mut self, copy: impl Into<PathBuf>, over: impl Into<PathBuf>) -> &mut Self {
        self.binds.push((copy.into(), over.into()));
        self
    }

    /// Works out the steps for a host and a caller that are given as data.
    ///
    /// # Errors
    /// [`PlanError`]; nothing has been done.
    pub fn plan(&self, host: &HostRoot, caller: &Caller) -> Result<Plan, PlanError> {
        let extended = self.extended_tops()?;
        let added = self.checked(host, &extended)?;

        let mut ops = vec![Op::Unshare { user: caller.user_namespace }];
        if caller.user_namespace {
            ops.extend([Op::DenySetgroups, Op::MapUser(caller.uid), Op::MapGroup(caller.gid)]);
        } else {
            ops.push(Op::Slave);
        }
        ops.push(Op::Stack);

        let root = Path::new("/");
        for entry in &host.entries {
            let inside = host.extended.iter().find(|(top, _)| *top == entry.name);
            match inside {
                Some((top, inside)) if extended.contains(top) => {
                    let top = root.join(top);
                    ops.push(Op::MakeDirectory { path: top.clone(), mode: DIRECTORY_MODE });
                    ops.extend(inside.iter().map(|e| carried(&top, e)));
                }
                _ => ops.push(carried(root, entry)),
            }
        }
        ops.extend(added.into_iter().map(|(path, what)| match what {
            Added::Directory => Op::MakeDirectory { path, mode: DIRECTORY_MODE },
            Added::Symlink(target) => Op::Link { path, target },
            Added::File(bytes) => Op::MakeFile { path, content: Content::Bytes(bytes), mode: FILE_MODE },
        }));
        for (copy, over) in &self.binds {
            for path in [copy, over] {
                absolute(path)?;
            }
            let source = Source::Path(copy.clone());
            ops.push(Op::Bind { source, path: over.clone(), access: Access::ReadOnly, optional: false });
        }
        ops.extend([Op::ReadOnly(root.to_owned()), Op::ChangeRoot]);
        ops.push(Op::WorkingDirectory { path: caller.cwd.path.clone(), identity: caller.cwd.identity });
        Ok(Plan { ops })
    }

    /// Works out the steps for this host and this process, and looks at the files to be bound.
    ///
    /// # Errors
    /// [`PlanError`]; nothing has been done.
    pub fn plan_here(&self) -> Result<Plan, PlanError> {
        let tops = self.extended_tops()?;
        let host = HostRoot::read_extending(tops.iter().map(OsString::as_os_str))?;
        let caller = Caller::here()?;
        for path in self.binds.iter().flat_map(|(copy, over)| [copy, over]) {
            sys::regular_file(path).map_err(|reason| PlanError::Unbindable { path: path.clone(), reason })?;
        }
        self.plan(&host, &caller)
    }

    /// Moves the calling process into the root. It keeps its working directory, environment,
    /// umask, signal dispositions and descriptors; the caller execs next.
    ///
    /// The process must have one thread where a user namespace is needed (`unshare(2)`).
    ///
    /// # Errors
    /// [`EnterError`], which says what became of the process.
    pub fn enter(&self) -> Result<(), EnterError> {
        self.plan_here()?.enter()
    }

    fn extended_tops(&self) -> Result<BTreeSet<OsString>, PlanError> {
        let single = |path: &PathBuf| {
            let parts = absolute(path)?;
            match parts.as_slice() {
                [top] => Ok((*top).to_owned()),
                _ => Err(PlanError::BadPath { path: path.clone(), reason: "only a top-level directory can be extended" }),
            }
        };
        self.extended.iter().map(single).collect()
    }

    /// The additions with their parents, parents first.
    fn checked(&self, host: &HostRoot, extended: &BTreeSet<OsString>) -> Result<BTreeMap<PathBuf, Added>, PlanError> {
        let mut all: BTreeMap<PathBuf, Added> = BTreeMap::new();
        for (path, what) in &self.added {
            let parts = absolute(path)?;
            if let Added::File(bytes) = what
                && bytes.len() > FILE_MAX
            {
                return Err(PlanError::TooLarge { path: path.clone(), size: bytes.len(), limit: FILE_MAX, unit: "bytes" });
            }
            if let Added::Symlink(target) = what {
                usable(target).map_err(|reason| PlanError::BadPath { path: target.clone(), reason })?;
            }
            let taken = taken(host, extended, &parts);
            if let Some(top) = taken {
                return Err(PlanError::Occupied { path: path.clone(), top });
            }
            let mut here = PathBuf::from("/");
            let last = parts.len().saturating_sub(1);
            for (depth, part) in parts.iter().enumerate() {
                here.push(part);
                // The directory itself is made when the host's entries are carried over.
                if depth == 0 && last > 0 && host.has(part) {
                    continue;
                }
                let wanted = if depth == last { what.clone() } else { Added::Directory };
                match all.get(&here) {
                    None => {
                        all.insert(here.clone(), wanted);
                    }
                    Some(known) if *known == wanted => {}
                    Some(_) => {
                        return Err(PlanError::Clash { path: here, reason: "it is asked for twice with different contents" });
                    }
                }
            }
            if all.len() > ENTRIES_MAX {
                return Err(PlanError::TooLarge { path: path.clone(), size: all.len(), limit: ENTRIES_MAX, unit: "added entries" });
            }
        }
        Ok(all)
    }
}

/// The host's entry that is in the way of an addition, if any.
fn taken(host: &HostRoot, extended: &BTreeSet<OsString>, parts: &[&OsStr]) -> Option<PathBuf> {
    let (top, below) = parts.split_first()?;
    if !host.has(top) {
        return None;
    }
    let path = Path::new("/").join(top);
    let inside = host.extended.iter().find(|(name, _)| name == top);
    match (inside, below.first()) {
        (Some((_, inside)), Some(second)) if extended.contains(*top) => {
            inside.iter().any(|e| e.name == **second).then(|| path.join(second))
        }
        _ => Some(path),
    }
}

/// The step that carries one host entry over.
fn carried(parent: &Path, entry: &HostEntry) -> Op {
    let path = parent.join(&entry.name);
    match &entry.kind {
        EntryKind::Symlink(target) => Op::Link { path, target: target.clone() },
        EntryKind::Directory | EntryKind::File => Op::carried(path),
    }
}

fn usable(path: &Path) -> Result<(), &'static str> {
    let bytes = path.as_os_str().as_bytes();
    match bytes.len() {
        0 => Err("it is empty"),
        n if n > PATH_BYTES_MAX => Err("it is longer than 4095 bytes"),
        _ if bytes.contains(&0) => Err("it contains a NUL"),
        _ => Ok(()),
    }
}

/// The components of an absolute path below `/`.
fn absolute(path: &Path) -> Result<Vec<&OsStr>, PlanError> {
    let bad = |reason| PlanError::BadPath { path: path.to_owned(), reason };
    usable(path).map_err(bad)?;
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => parts.push(part),
            Component::CurDir | Component::Prefix(_) => return Err(bad("it is not absolute")),
            Component::ParentDir => return Err(bad("it contains `..`")),
        }
    }
    if !path.is_absolute() {
        return Err(bad("it is not absolute"));
    }
    if parts.is_empty() {
        return Err(bad("it is the root itself"));
    }
    Ok(parts)
}
