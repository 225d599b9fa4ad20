//! What an environment is made of and how it is entered: the table `[fhs]`, checked. Nothing is looked up here but the
//! specification files themselves ([`load`]).
//!
//! It holds everything nixpkgs' `buildFHSEnv` takes, in plain names. Unknown keys are errors.

use crate::error::{Error, Kind};
use fhs_env::Access;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

mod written;

use written::Written;

/// The longest specification file (bytes).
const FILE_MAX: u64 = 1 << 20;
/// The most files that include each other.
const FILES_MAX: usize = 64;
/// The most items of one list or table.
pub(super) const ITEMS_MAX: usize = 10_000;

/// A package and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Package {
    /// By name from the archive, with everything it depends on.
    Archive {
        /// Its name.
        name: String,
        /// Debian's name of the architecture; `None` is this machine's.
        arch: Option<String>,
    },
    /// A directory with `usr`, or with `bin`, `lib`, `share` of its own.
    Directory(PathBuf),
    /// A path of a Nix store.
    Nix(PathBuf),
}

/// A host path that is shown inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub path: PathBuf,
    /// How it may be used.
    pub access: BindAccess,
    /// Nothing is done if the source does not exist.
    pub optional: bool,
}

/// As [`Access`], in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindAccess {
    /// `read-only`
    ReadOnly,
    /// `read-write`
    ReadWrite,
    /// `devices`
    Devices,
}

impl From<BindAccess> for Access {
    fn from(access: BindAccess) -> Access {
        match access {
            BindAccess::ReadOnly => Access::ReadOnly,
            BindAccess::ReadWrite => Access::ReadWrite,
            BindAccess::Devices => Access::Devices,
        }
    }
}

/// Namespaces of its own; an FHS environment is no sandbox, so all are false unless they are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are those of namespaces(7)")]
pub struct Unshare {
    pub user: bool,
    pub ipc: bool,
    pub pid: bool,
    pub net: bool,
    pub uts: bool,
    pub cgroup: bool,
}

/// A specification, checked, with everything it includes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FhsSpec {
    /// What the environment is called where nothing else is said.
    pub name: Option<String>,
    /// For this machine's architecture, unless they say another; first come, first served where files collide.
    pub packages: Vec<Package>,
    /// Archive packages for this machine's architecture and its 32-bit one.
    pub multiarch: Vec<String>,
    /// Whether the packages that every other uses without saying so are added (`Essential: yes`) if any come from the archive.
    pub base: bool,
    /// Whether everything a Nix store path refers to is put into the root, too.
    pub include_closures: bool,
    /// Outputs of Nix packages besides the one that is named: `dev`, `man`, …
    pub extra_outputs: Vec<String>,
    /// Links to make in `/usr` or `/etc`: path and target. They come before the packages.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Files to make in `/usr` or `/etc`: path and content. They come before the packages.
    pub files: BTreeMap<PathBuf, String>,
    /// A shell script that is run inside while the root is built, `/usr` and `/etc` writable, without network.
    pub build_hook: Option<String>,
    /// A shell script that is run inside at each start, in the shell that becomes the program.
    pub enter_hook: Option<String>,
    /// Shell lines for `/etc/profile`, run before the program.
    pub profile: Option<String>,
    /// What `run` and `enter` start if nothing is named, and what is put before the words that are: none is a shell.
    pub run: Vec<String>,
    /// Further names of the host's `/etc` that are shown.
    pub etc: Vec<PathBuf>,
    /// Further paths of the host.
    pub binds: Vec<Bind>,
    /// Namespaces.
    pub unshare: Unshare,
    /// The program dies with the process that started it.
    pub die_with_parent: bool,
    /// It starts in the caller's directory, else in `/`.
    pub chdir_to_pwd: bool,
    /// `/tmp` is its own.
    pub private_tmp: bool,
    /// Variables to set.
    pub environment: BTreeMap<String, String>,
}

impl Default for FhsSpec {
    fn default() -> FhsSpec {
        FhsSpec {
            name: None,
            packages: Vec::new(),
            multiarch: Vec::new(),
            base: true,
            include_closures: false,
            extra_outputs: Vec::new(),
            links: BTreeMap::new(),
            files: BTreeMap::new(),
            build_hook: None,
            enter_hook: None,
            profile: None,
            run: Vec::new(),
            etc: Vec::new(),
            binds: Vec::new(),
            unshare: Unshare::default(),
            die_with_parent: false,
            chdir_to_pwd: true,
            private_tmp: false,
            environment: BTreeMap::new(),
        }
    }
}

/// An error of a specification: where, and what.
fn refused(subject: impl std::fmt::Display, cause: impl Into<String>) -> Error {
    Error::new(Kind::Own, "read specification", subject.to_string(), cause, "`xeno env build --help` shows one")
}

/// Reads a specification file and everything it includes.
///
/// # Errors
/// Files that cannot be read or include each other, anything [`parse`] refuses.
pub fn load(path: &Path) -> Result<FhsSpec, Error> {
    let mut open = Vec::new();
    let mut read = 0;
    load_written(path, &mut open, &mut read)?.finish(path)
}

fn load_written(path: &Path, open: &mut Vec<PathBuf>, read: &mut usize) -> Result<Written, Error> {
    let shown = &path.display();
    let real = fs::canonicalize(path).map_err(|e| refused(shown, e.to_string()))?;
    if open.contains(&real) {
        let chain: Vec<String> = open.iter().chain([&real]).map(|p| p.display().to_string()).collect();
        return Err(refused(shown, format!("it includes itself: {}", chain.join(" -> "))));
    }
    *read += 1;
    if *read > FILES_MAX {
        return Err(refused(shown, format!("more than {FILES_MAX} files include each other")));
    }
    let meta = fs::metadata(&real).map_err(|e| refused(shown, e.to_string()))?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(refused(shown, format!("it is no file of at most {FILE_MAX} bytes")));
    }
    let text = fs::read_to_string(&real).map_err(|e| refused(shown, e.to_string()))?;
    let directory = real.parent().unwrap_or(Path::new("/")).to_owned();
    let mut whole = Written::parse(&text, &shown.to_string(), Some(&directory))?;
    open.push(real);
    for included in std::mem::take(&mut whole.include) {
        let other = load_written(&directory.join(&included), open, read)?;
        whole = whole.over(other);
    }
    open.pop();
    Ok(whole)
}

/// Reads a specification's text, which may include no other and name no relative path. `subject` is its name for errors.
///
/// # Errors
/// Text that is no TOML, unknown keys, values of another type, names and paths that cannot be.
pub fn parse(text: &str, subject: &str) -> Result<FhsSpec, Error> {
    let written = Written::parse(text, subject, None)?;
    if let Some(included) = written.include.first() {
        return Err(refused(subject, format!("it includes {included}, which only a file can")));
    }
    written.finish(Path::new(subject))
}

/// Reads a package as the specification and `-p` write it: `NAME`, `NAME:ARCH`, `dir:PATH` or `nix:PATH`.
///
/// # Errors
/// A name no package can have, a relative path without a directory it is relative to.
pub fn package(word: &str, directory: Option<&Path>) -> Result<Package, Error> {
    let place = |path: &str| match directory {
        Some(directory) => Ok(directory.join(path)),
        None if path.starts_with('/') => Ok(PathBuf::from(path)),
        None => Err(refused(word, "the path is relative")),
    };
    if let Some(path) = word.strip_prefix("dir:") {
        return place(path).map(Package::Directory);
    }
    if let Some(path) = word.strip_prefix("nix:") {
        return place(path).map(Package::Nix);
    }
    let (name, arch) = word.split_once(':').map_or((word, None), |(name, arch)| (name, Some(arch)));
    // Debian policy 5.6.1, and a little more room for archives that are not Debian's.
    let fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.');
    let plain = name.len() >= 2 && name.len() <= 128 && name.bytes().all(fine) && !name.starts_with(['+', '-', '.']);
    if !plain {
        return Err(refused(word, "no package is called so: names have small letters, digits, + - and ."));
    }
    if let Some(arch) = arch
        && resolver::arch::Arch::from_debian(arch).is_none()
    {
        return Err(refused(word, format!("there is no architecture {arch}; there are amd64, i386, arm64 and riscv64")));
    }
    Ok(Package::Archive { name: name.to_owned(), arch: arch.map(str::to_owned) })
}

/// Whether a path is absolute and goes only down.
pub(super) fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().skip(1).all(|c| matches!(c, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

impl FhsSpec {
    /// Whether anything comes from the archive.
    pub fn needs_archive(&self) -> bool {
        !self.multiarch.is_empty() || self.packages.iter().any(|p| matches!(p, Package::Archive { .. }))
    }
}

#[cfg(test)]
mod tests;
