//! The door through which libraries come: what the resolver asks of a source, and what it is told.
//!
//! The resolver never fetches. It asks for a batch of names (all that one level of the search found
//! missing), so that a source on the network can answer them in parallel.

use crate::arch::Arch;
use crate::needs::Libc;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// One library that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The name as `DT_NEEDED` gives it: a soname, never a path.
    pub soname: String,
    /// What the file must be built for.
    pub arch: Arch,
    /// The world it must belong to.
    pub libc: Libc,
    /// Versions the file must define (`VERNEED` of those who ask); a source that has several
    /// candidates prefers one that defines them all.
    pub versions: BTreeSet<String>,
    /// Nobody fails without it (a `dlopen` hint): fetch it only if that is cheap.
    pub optional: bool,
    /// A driver asks for it: what it was built with lies where it lies.
    pub for_driver: bool,
}

/// A package as its archive names it; enough to fetch the same bytes again (see the lock file).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name in the archive.
    pub name: String,
    /// Version in the archive.
    pub version: String,
    /// The archive's name of the architecture.
    pub arch: String,
    /// The suite it was found in.
    pub suite: String,
}

/// Where a chosen file came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It lies in the program's own tree.
    OwnTree,
    /// It is installed on this machine.
    Host,
    /// It is installed on this machine and belongs to the graphics or compute driver, which only
    /// this machine can supply.
    Driver,
    /// It lies in the store, unpacked from a package.
    Package(Package),
}

/// A file that answers a [`Want`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The file; it exists now.
    pub file: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// Why this one, for the report: `only candidate`, `newest of 3 versions`, …
    pub why: String,
}

/// Loader, libc and the files that must be of the same build as them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibcSet {
    /// Which C library.
    pub libc: Libc,
    /// Its version, such as `2.41`, as far as known.
    pub version: String,
    /// The program interpreter; exists now.
    pub loader: PathBuf,
    /// Directories that hold the set's libraries (libc, libm, libpthread, NSS modules, libstdc++,
    /// libgcc_s …), searched before any provider.
    pub directories: Vec<PathBuf>,
    /// The directory of the matching gconv modules, if it has any.
    pub gconv: Option<PathBuf>,
    /// The directory of the matching locales, if it has any.
    pub locale: Option<PathBuf>,
    /// Where all of it came from.
    pub origin: Origin,
}

/// Why a source could not answer. Printed as it is: operation, subject, cause, remedy in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// The whole sentence.
    pub message: String,
}

/// A source of libraries.
pub trait Provider {
    /// A short name for reports: `host`, `debian`.
    fn name(&self) -> &'static str;

    /// Answers each want, in order; `None` where this source has no such file.
    ///
    /// # Errors
    /// When the source as a whole could not be asked (no network, bad signature, …). A single name
    /// that is not there is no error.
    fn provide(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>, ProviderError>;

    /// The loader and its libc for an architecture, newest first; `None` if this source has none.
    ///
    /// # Errors
    /// As for [`Provider::provide`].
    fn libc_set(&self, arch: Arch, libc: Libc) -> Result<Option<LibcSet>, ProviderError>;
}
