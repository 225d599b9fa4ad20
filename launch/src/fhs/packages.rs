//! The trees an environment is made of: packages of the archive with everything they need, directories, Nix store paths.
//! Each has an identity that changes when its content does; none is changed.

use super::nix;
use super::spec::{FhsSpec, Package};
use super::walk::{self, Sort};
use crate::error::{Error, Kind};
use resolver::arch::{Arch, Class, EM_386, EM_X86_64};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::debian::Debian;
use store::debian::closure::Wanted;
use store::lock::Lock;

/// How a tree is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// As a distribution's package: for `/`.
    Package,
    /// As anybody's: for `/`, or with `bin` and `lib` of its own.
    Directory,
}

/// One tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// For messages: `bash 5.2.15-2 amd64`.
    pub(super) label: String,
    /// Where it lies.
    pub(super) root: PathBuf,
    /// What distinguishes its content from any other's.
    pub(super) identity: String,
    pub(super) source: Source,
}

/// Where packages come from.
pub struct Sources<'a> {
    /// The archive.
    pub debian: &'a Debian,
    /// The lock to follow, if there is one.
    pub lock: Option<&'a Lock>,
    /// The Nix store: `/nix/store`.
    pub nix_store: &'a Path,
}

/// All trees, and the lock that gives them again (if any came from the archive).
pub(super) struct Gathered {
    pub(super) inputs: Vec<Input>,
    pub(super) lock: Option<Lock>,
}

/// The architecture of 32-bit programs beside a 64-bit one.
pub(super) fn small(native: Arch) -> Option<Arch> {
    (native.machine == EM_X86_64).then_some(Arch { class: Class::Elf32, machine: EM_386, ..native })
}

fn cannot(cause: impl Into<String>) -> Error {
    Error::new(Kind::Own, "find packages of", "the specification", cause, "change it")
}

/// The archive's packages that are asked for, in order.
pub(super) fn wanted(spec: &FhsSpec) -> Result<Vec<Wanted>, Error> {
    let native = Arch::host().ok_or_else(|| cannot("this machine's architecture is none that xeno knows"))?;
    let mut wanted = Vec::new();
    for package in &spec.packages {
        let Package::Archive { name, arch } = package else { continue };
        let arch = match arch {
            None => native,
            Some(arch) => Arch::from_debian(arch).ok_or_else(|| cannot(format!("there is no architecture {arch}")))?,
        };
        if !arch.runs_on(native) {
            return Err(cannot(format!("{name} is for {arch}, which this machine does not run")));
        }
        wanted.push(Wanted { name: name.clone(), arch });
    }
    for arch in [Some(native), small(native)].into_iter().flatten() {
        wanted.extend(spec.multiarch.iter().map(|name| Wanted { name: name.clone(), arch }));
    }
    Ok(wanted)
}

/// Identifies the question that a lock answers.
fn digest(wanted: &[Wanted], base: bool) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("environment packages 1, base {base}\n"));
    wanted.iter().for_each(|w| hash.update(format!("{} {}\n", w.name, w.arch)));
    hash.finalize().into()
}

/// Finds or fetches everything.
///
/// # Errors
/// A package that is nowhere, an archive that cannot be reached, a directory that is none.
pub(super) fn gather(spec: &FhsSpec, sources: &Sources<'_>) -> Result<Gathered, Error> {
    let wanted = wanted(spec)?;
    let (mut packages, mut lock) = (Vec::new(), None);
    if !wanted.is_empty() {
        let failed = |e: store::Error| Error::own("install", "the environment's packages", e);
        let digest = digest(&wanted, spec.base);
        let mut installed = match sources.lock {
            Some(lock) => sources.debian.install_locked_closure(lock, &digest).map_err(failed)?,
            None => {
                let closure = sources.debian.closure(&wanted, spec.base).map_err(failed)?;
                sources.debian.install_closure(&closure).map_err(failed)?
            }
        };
        let native = Arch::host().ok_or_else(|| cannot("this machine's architecture is none that xeno knows"))?;
        lock = Some(sources.debian.lock_closure(&installed, &digest, native));
        // What was asked for comes first and in order, the rest by name: the same with a lock and without.
        let rank = |package: &resolver::provider::Package| {
            let asked = wanted.iter().position(|w| w.name == package.name && w.arch.debian() == Some(&package.arch));
            asked.or_else(|| wanted.iter().position(|w| w.name == package.name)).unwrap_or(usize::MAX)
        };
        installed.sort_by_cached_key(|i| (rank(&i.package), i.package.name.clone(), i.package.arch.clone()));
        for one in installed {
            let label = format!("{} {} {}", one.package.name, one.package.version, one.package.arch);
            packages.push(Input { label, root: one.stored.path, identity: one.stored.name, source: Source::Package });
        }
    }
    let mut inputs = Vec::new();
    for package in &spec.packages {
        match package {
            Package::Archive { .. } => {}
            Package::Directory(path) => inputs.push(directory(path)?),
            Package::Nix(path) => inputs.extend(nix::inputs(path, sources.nix_store, spec)?),
        }
    }
    // A directory is named for what is in it, and may stand in for a package's file.
    inputs.append(&mut packages);
    let mut seen = std::collections::HashSet::new();
    inputs.retain(|input| seen.insert(input.root.clone()));
    Ok(Gathered { inputs, lock })
}

/// A directory of anybody's: its identity is what `stat(2)` says of everything in it.
fn directory(path: &Path) -> Result<Input, Error> {
    let failed = |e: std::io::Error| Error::io("use directory", path, e, "name one that can be read");
    let root = fs::canonicalize(path).map_err(failed)?;
    if !fs::metadata(&root).map_err(failed)?.is_dir() {
        return Err(Error::new(Kind::Own, "use directory", path.display().to_string(), "it is none", "name one"));
    }
    let mut hash = Sha256::new();
    for (relative, sort) in walk::tree(&root, &|_| true)? {
        hash.update((relative.len() as u64).to_le_bytes());
        hash.update(relative.as_bytes());
        if let Sort::Link(target) = &sort {
            hash.update(target.as_os_str().as_bytes());
        }
        let meta = fs::symlink_metadata(root.join(&relative)).map_err(failed)?;
        for number in [meta.ino(), meta.size(), u64::from(meta.mode())] {
            hash.update(number.to_le_bytes());
        }
        for number in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
            hash.update(number.to_le_bytes());
        }
    }
    let digest = hash.finalize();
    let identity: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    Ok(Input { label: root.display().to_string(), root, identity, source: Source::Directory })
}
