//! The environments of `run`'s rung fhs: which packages a program's libraries and its interpreter come from, and
//! the environment with these and the archive's base system, found or built.

use crate::env;
use crate::failure::Failure;
use crate::resolving;
use launch::environments::{Environments, Wanted};
use launch::fhs::spec::{FhsSpec, Package};
use resolver::arch::Arch;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;
use store::root::StoreRoot;

/// Builds with this machine's sources.
pub(crate) struct Builder {
    /// Where.
    pub(crate) store: StoreRoot,
    /// Nothing is fetched.
    pub(crate) offline: bool,
    /// Nothing is built.
    pub(crate) dry_run: bool,
}

impl Environments for Builder {
    fn farm(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, String> {
        if self.dry_run {
            return Ok(None);
        }
        let failed = |e: Failure| e.to_string();
        let spec = self.spec(wanted).map_err(failed)?;
        let names = spec.packages.iter().map(|package| format!("{package:?}\n")).collect::<String>();
        let digest = Sha256::digest(names);
        let name: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
        let built = env::built(&format!("run-{name}"), spec, None, self.offline).map_err(failed)?;
        Ok(Some(built.environment.root))
    }
}

impl Builder {
    /// The base system, the interpreter's package by its own name, and each library's by the archive's index.
    fn spec(&self, wanted: &Wanted<'_>) -> Result<FhsSpec, Failure> {
        let debian = resolving::debian(self.store.clone(), self.offline)?;
        debian.ensure_index(wanted.arch)?;
        let native = Arch::host();
        let arch = wanted.arch.debian().filter(|_| native != Some(wanted.arch)).map(str::to_owned);
        let mut names: BTreeSet<String> = BTreeSet::new();
        for library in &wanted.libraries {
            let best = debian.lookup(library, wanted.arch).into_iter().next();
            match best {
                Some(candidate) => drop(names.insert(candidate.package)),
                None => log::info!("no package of the archive has {library}: the environment goes without"),
            }
        }
        let mut packages = vec![Package::Archive { name: "bash".to_owned(), arch: None }];
        let interpreter = wanted.interpreter.and_then(|path| path.file_name()?.to_str().map(str::to_owned));
        // The base system brings these two under other names.
        let interpreter = interpreter.filter(|name| !["sh", "env"].contains(&name.as_str()));
        packages.extend(interpreter.map(|name| Package::Archive { name, arch: None }));
        packages.extend(names.into_iter().map(|name| Package::Archive { name, arch: arch.clone() }));
        Ok(FhsSpec { packages, ..FhsSpec::default() })
    }
}
