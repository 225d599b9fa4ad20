//! Libraries that are wanted by name and by no program in particular: the file of each, and everything that
//! file needs, in one world. For a loader that is to serve programs nobody has seen yet.

use crate::arch::Arch;
use crate::closure::{self, Backing, Environment, Search};
use crate::files::Files;
use crate::provider::{LibcSet, Provider, ProviderError, Want};
use crate::resolution::Missing;
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub struct Named {
    /// Each name's file, also of names that only other files need.
    pub answers: BTreeMap<String, PathBuf>,
    /// What nothing answered, and what contradicts itself.
    pub missing: Vec<Missing>,
}

/// Finds `names` and what they need beside a set.
///
/// # Errors
/// When a source as a whole could not be asked.
pub fn find(names: &[String], set: &LibcSet, arch: Arch, providers: &[&dyn Provider]) -> Result<Named, ProviderError> {
    let mut found = Named::default();
    let (files, tree, environment) = (Files::default(), Tree::default(), Environment::default());
    for name in names {
        let Some(file) = file_of(name, set, arch, providers)? else {
            let reason = "nothing that was searched has it".to_owned();
            found.missing.push(Missing { name: name.clone(), needed_by: "--library".to_owned(), reason });
            continue;
        };
        let backing = Backing::Pool { set, tree: &tree, providers, optional: false, drivers: &[] };
        let search = Search { files: &files, environment: &environment, backing };
        match closure::resolve(&file, &search) {
            Ok(resolution) => {
                found.missing.extend(resolution.missing);
                let conflict =
                    |c: &crate::resolution::Conflict| Missing { name: name.clone(), needed_by: name.clone(), reason: c.to_string() };
                found.missing.extend(resolution.conflicts.iter().map(conflict));
                for library in resolution.libraries {
                    for alias in library.aliases {
                        found.answers.entry(alias).or_insert_with(|| library.path.clone());
                    }
                }
            }
            Err(e) => found.missing.push(Missing { name: name.clone(), needed_by: "--library".to_owned(), reason: e.to_string() }),
        }
        found.answers.insert(name.clone(), file);
    }
    Ok(found)
}

fn file_of(name: &str, set: &LibcSet, arch: Arch, providers: &[&dyn Provider]) -> Result<Option<PathBuf>, ProviderError> {
    let fits = |path: &Path| crate::elf::load(path).is_ok_and(|needs| needs.arch == arch);
    if let Some(path) = set.directories.iter().map(|d| d.join(name)).find(|path| fits(path)) {
        return Ok(Some(path));
    }
    let want = Want { soname: name.to_owned(), arch, libc: set.libc, versions: BTreeSet::new(), optional: false, for_driver: false };
    for provider in providers {
        if let Some(offer) = provider.provide(std::slice::from_ref(&want))?.into_iter().flatten().next()
            && fits(&offer.file)
        {
            return Ok(Some(offer.file));
        }
    }
    Ok(None)
}
