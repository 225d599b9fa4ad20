//! Classic Linux roots for programs that want one: a specification becomes a farm of links in the store, and
//! a farm becomes the few steps that enter it. It prints nothing and fetches only through the store.
//!
//! Inside, `/usr` is the farm's, the links of `/etc` lead into it or to the host's entries, and what else
//! of the host is needed there – its `/etc`, the fonts and locales of its `/usr` – is found below [`HOST`].

pub mod confine;
pub mod entry;
mod farm;
mod fold;
pub mod games;
pub mod host;
mod indexes;
mod inside;
mod layout;
mod libraries;
pub mod mode;
mod nix;
mod packages;
mod parts;
pub mod registry;
pub mod spec;
pub mod start;
mod walk;

pub use layout::Collision;
pub use packages::Sources;

use crate::error::Error;
use packages::Source;
use spec::FhsSpec;
use std::path::PathBuf;
use store::cache::Cache;
use store::lock::Lock;
use store::root::{StoreRoot, Sub};

/// Where the host's own `/etc` and `/usr` are found inside: `/.host/etc`, `/.host/usr`.
pub const HOST: &str = "/.host";

/// The directories below `/usr` to which links of the root lead.
const TOPS: [&str; 5] = ["bin", "sbin", "lib", "lib32", "lib64"];

/// An environment that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// What it is called.
    pub name: String,
    /// The farm.
    pub root: PathBuf,
    /// How it is entered.
    pub spec: FhsSpec,
    /// What it was made from: `bash 5.2.15-2 amd64`, `/srv/app`; first come, first served.
    pub packages: Vec<String>,
    /// The directories that its links lead into.
    pub stores: Vec<PathBuf>,
}

/// What building an environment gave.
#[derive(Debug)]
pub struct Built {
    /// The environment.
    pub environment: Environment,
    /// The lock that gives the same packages again; `None` if none came from the archive.
    pub lock: Option<Lock>,
    /// Files that two packages have, and whose is there; empty where the farm was there already.
    pub collisions: Vec<Collision>,
    /// What else is worth telling.
    pub notes: Vec<String>,
}

/// Builds an environment, or finds that it is built, and gives it a name.
///
/// # Errors
/// A name it cannot have, a package that is nowhere, an archive that cannot be reached, a disk that is full, a hook that
/// fails. An environment that had the name keeps it then.
pub fn build(name: &str, spec: FhsSpec, sources: &Sources<'_>, store: &StoreRoot) -> Result<Built, Error> {
    registry::check(name)?;
    let gathered = packages::gather(&spec, sources)?;
    store.make(Sub::Store)?;
    let farm = farm::make(&spec, &gathered.inputs, store)?;
    let mut stores = vec![store.store_dir()];
    for input in gathered.inputs.iter().filter(|input| input.source == Source::Directory) {
        let place = if input.root.starts_with(sources.nix_store) { sources.nix_store } else { &input.root };
        if !stores.iter().any(|known| place.starts_with(known)) {
            stores.push(place.to_owned());
        }
    }
    let packages = gathered.inputs.iter().map(|input| input.label.clone()).collect();
    let environment = Environment { name: name.to_owned(), root: farm.root, spec, packages, stores };
    registry::save(&Cache::of(store), &environment)?;
    Ok(Built { environment, lock: gathered.lock, collisions: farm.collisions, notes: farm.notes })
}
