//! Landlock (`landlock(7)`): a process gives up, for good, all files but those below some paths, and all abstract
//! sockets and signals of processes outside. A second wall behind the mounts: it holds for whatever a sandbox shares
//! by mistake. Does what the kernel can and says what it could not; hides nothing from a listing.

use crate::sandbox::Restriction;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::io;
use std::path::{Path, PathBuf};

/// The newest rights that are asked for. Those of version 9 (connecting to sockets by path) are not: a socket that is
/// bound read-only is there to be connected to.
const NEWEST: ABI = ABI::V6;

/// The most paths; each costs a descriptor while the rules are made.
pub const PATHS_MAX: usize = 512;

/// What a process keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// Which files; `None` leaves all. With any list no mount can be changed any more, not even in a namespace of
    /// one's own (`landlock(7)`, "Filesystem topology modification").
    pub files: Option<Files>,
    /// Abstract sockets are connected to, and signals sent, only among the process and its descendants.
    pub scoped: bool,
}

/// The files that a process keeps, each with everything below it. Paths of its own root, found when the rules are
/// made; one that is not there is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// May be read, listed and executed.
    pub readable: Vec<PathBuf>,
    /// May be changed in any way, too; devices take `ioctl(2)`.
    pub writable: Vec<PathBuf>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restricted {
    /// Everything that was asked for holds.
    Fully,
    /// Some of it: the kernel is older than a part of the rules.
    Partly,
    /// Nothing: the kernel has no landlock, or it is switched off.
    NotAtAll,
}

/// Rules that could not be made. The process may hold none or all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LandlockError {
    /// A path cannot be opened.
    #[error("restricting the sandbox by landlock: opening {}: {source}; leave it out of the sandbox's paths", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// More than [`PATHS_MAX`] paths.
    #[error("restricting the sandbox by landlock: {0} paths exceed the limit of {PATHS_MAX}; name directories that hold them")]
    TooMany(usize),
    /// The kernel refused.
    #[error("restricting the sandbox by landlock: {0}; start it without landlock, or look for a filter that refuses the call")]
    Kernel(String),
}

impl Landlock {
    /// Restricts the calling thread and what it will start. It gains no privileges by `execve(2)` from now on.
    ///
    /// # Errors
    /// [`LandlockError`].
    pub fn restrict(&self) -> Result<Restricted, LandlockError> {
        let kernel = |error: landlock::RulesetError| LandlockError::Kernel(error.to_string());
        let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        if self.files.is_some() {
            rules = rules.handle_access(AccessFs::from_all(NEWEST)).map_err(kernel)?;
        }
        if self.scoped {
            rules = rules.scope(Scope::from_all(NEWEST)).map_err(kernel)?;
        }
        if self.files.is_none() && !self.scoped {
            return Ok(Restricted::Fully);
        }
        let mut rules = rules.create().map_err(kernel)?;
        for (path, access) in self.paths()? {
            let Some(opened) = open(path)? else { continue };
            // A right to list or to make entries is none of a file.
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
            rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(kernel)?;
        }
        let status = rules.restrict_self().map_err(kernel)?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Restricted::Fully,
            RulesetStatus::PartiallyEnforced => Restricted::Partly,
            RulesetStatus::NotEnforced => Restricted::NotAtAll,
        })
    }

    /// The same as a step of a start. Whether the kernel can do all of it is not its business but that of
    /// [`super::Enforcement`], which is judged before anything starts.
    pub fn restriction(self) -> Restriction {
        let apply = move || self.restrict().map(|came| log::debug!("landlock: {came:?}")).map_err(|error| error.to_string());
        Restriction { name: "its files, sockets and signals by landlock".to_owned(), apply: Box::new(apply) }
    }

    fn paths(&self) -> Result<Vec<(&Path, BitFlags<AccessFs>)>, LandlockError> {
        let Some(files) = &self.files else { return Ok(Vec::new()) };
        let count = files.readable.len().saturating_add(files.writable.len());
        if count > PATHS_MAX {
            return Err(LandlockError::TooMany(count));
        }
        let readable = files.readable.iter().map(|path| (path.as_path(), AccessFs::from_read(NEWEST)));
        let writable = files.writable.iter().map(|path| (path.as_path(), AccessFs::from_all(NEWEST)));
        Ok(readable.chain(writable).collect())
    }
}

/// `None` where nothing is there.
fn open(path: &Path) -> Result<Option<PathFd>, LandlockError> {
    match PathFd::new(path) {
        Ok(opened) => Ok(Some(opened)),
        Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(PathFdError::OpenCall { source, .. }) => Err(LandlockError::Path { path: path.to_owned(), source }),
        Err(error) => Err(LandlockError::Path { path: path.to_owned(), source: io::Error::other(error.to_string()) }),
    }
}

/// The version of landlock that this kernel has, 0 for none; at least 9 where it is newer than we know.
pub(crate) fn version() -> u8 {
    let has = |version: u8| {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        match version {
            9 => rules.handle_access(AccessFs::ResolveUnix).is_ok(),
            6 => rules.scope(Scope::Signal).is_ok(),
            5 => rules.handle_access(AccessFs::IoctlDev).is_ok(),
            4 => rules.handle_access(AccessNet::BindTcp).is_ok(),
            3 => rules.handle_access(AccessFs::Truncate).is_ok(),
            2 => rules.handle_access(AccessFs::Refer).is_ok(),
            _ => rules.handle_access(AccessFs::Execute).is_ok(),
        }
    };
    [9, 6, 5, 4, 3, 2, 1].into_iter().find(|version| has(*version)).unwrap_or(0)
}
