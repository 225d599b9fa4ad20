//! The lock's two directions: written from what a resolution used, and answered from.

use super::archive::{Found, lock as guard};
use super::install::Group;
use super::{Debian, inside, is_elf_for, libc};
use crate::error::{Error, Kind, Result};
use crate::index::packages::PackageFile;
use crate::lock::{Lock, LockedLibcSet, LockedLibrary, LockedPackage, LockedSuite, RECIPE, SCHEMA, Target};
use crate::nar::{hex, parse_sha256};
use crate::paths::StorePath;
use crate::release::format_date;
use resolver::arch::Arch;
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Offer, Origin, Package, Want};
use resolver::resolution::Resolution;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

impl Debian {
    /// Writes down every package and library of this provider that a resolution uses. A resolution made with a lock
    /// gives that lock again.
    ///
    /// # Errors
    /// [`Kind::Drift`] if the resolution has files of packages this provider did not hand out; [`Kind::Io`] if one
    /// cannot be read.
    pub fn lock(&self, resolution: &Resolution, target_sha256: &str, tree_sha256: Option<&str>) -> Result<Lock> {
        if let Some(lock) = &self.lock {
            return Ok(lock.clone());
        }
        let used = guard(&self.used);
        let find = |package: &Package| {
            used.get(package).ok_or_else(|| {
                let cause = "it was not handed out by this run";
                Error::new(Kind::Drift, "lock", &package.name, cause, "resolve the program again")
            })
        };
        let mut groups: BTreeMap<String, (Group, StorePath)> = BTreeMap::new();
        let mut keep = |group: &Group, stored: &StorePath| {
            groups.insert(stored.name.clone(), (group.clone(), stored.clone()));
        };
        let mut libc_set = None;
        if let Some(set) = &resolution.libc_set
            && let Origin::Package(package) = &set.origin
        {
            let (group, stored) = find(package)?;
            keep(group, stored);
            libc_set = Some(LockedLibcSet {
                libc: set.libc,
                version: set.version.clone(),
                store_path: stored.name.clone(),
                loader: relative(&set.loader, stored)?,
            });
        }
        let mut libraries: BTreeMap<String, LockedLibrary> = BTreeMap::new();
        for library in resolution.libraries.iter().chain(&resolution.optional) {
            let Origin::Package(package) = &library.origin else { continue };
            let (group, stored) = find(package)?;
            keep(group, stored);
            libraries.insert(
                library.name.clone(),
                LockedLibrary {
                    soname: library.name.clone(),
                    store_path: stored.name.clone(),
                    path: relative(&library.path, stored)?,
                    sha256: hash_file(&library.path)?,
                },
            );
        }
        drop(used);
        let packages = groups.values().flat_map(|(group, stored)| group.members.iter().map(|m| locked_package(m, stored))).collect();
        let lock = self.lock_of(resolution.needs.arch.to_string(), target_sha256.to_owned(), packages);
        let target = Target { tree: tree_sha256.map(str::to_owned), ..lock.target };
        Ok(Lock { target, libc_set, libraries: libraries.into_values().collect(), ..lock })
    }

    /// A lock of packages, and of the signed indexes they were found in.
    pub(super) fn lock_of(&self, arch: String, target_sha256: String, mut packages: Vec<LockedPackage>) -> Lock {
        packages.sort_by(|a, b| (&a.name, &a.arch, &a.version).cmp(&(&b.name, &b.arch, &b.version)));
        packages.dedup();
        let mut suites: Vec<LockedSuite> = Vec::new();
        for package in &packages {
            if suites.iter().any(|s| s.name == package.suite) {
                continue;
            }
            if let Some(state) = self.archive.known_state(&package.suite) {
                suites.push(LockedSuite {
                    name: package.suite.clone(),
                    inrelease: state.inrelease.clone(),
                    date: format_date(state.date),
                    signer: state.signer.clone(),
                });
            }
        }
        suites.sort_by(|a, b| a.name.cmp(&b.name));
        Lock {
            schema: SCHEMA,
            recipe: RECIPE,
            arch,
            target: Target { sha256: target_sha256, tree: None },
            libc_set: None,
            suites,
            packages,
            libraries: Vec::new(),
        }
    }

    pub(super) fn answer_from(&self, lock: &Lock, wants: &[Want]) -> Result<Vec<Option<Offer>>> {
        let mut store_paths: Vec<&str> = Vec::new();
        let mut plan: Vec<Option<(&LockedLibrary, usize)>> = Vec::new();
        for want in wants {
            let library = (want.arch.to_string() == lock.arch).then(|| lock.libraries.iter().find(|l| l.soname == want.soname)).flatten();
            plan.push(library.map(|library| {
                let at = store_paths.iter().position(|p| *p == library.store_path).unwrap_or_else(|| {
                    store_paths.push(&library.store_path);
                    store_paths.len() - 1
                });
                (library, at)
            }));
        }
        let stored = self.install_locked(lock, &store_paths)?;
        let mut offers = Vec::with_capacity(wants.len());
        for (want, planned) in wants.iter().zip(plan) {
            let Some((library, at)) = planned else {
                offers.push(None);
                continue;
            };
            let Some((group, stored)) = stored.get(at) else { return Err(drift(&library.soname, "its package is not in the lock")) };
            let file = stored.path.join(&library.path);
            if !inside(&stored.path, &file) || !is_elf_for(&file, want.arch) {
                return Err(drift(&library.soname, "its store path has no such library"));
            }
            let Some(member) = group.members.first() else { return Err(drift(&library.soname, "its package is not in the lock")) };
            let package = super::package_of(member);
            let why = format!("xeno.lock: {} {} from {}", package.name, package.version, package.suite);
            offers.push(Some(Offer { file, origin: Origin::Package(package), why }));
        }
        Ok(offers)
    }

    pub(super) fn locked_set(&self, lock: &Lock, arch: Arch, wanted: Libc) -> Result<Option<LibcSet>> {
        let Some(set) = lock.libc_set.as_ref().filter(|s| s.libc == wanted && arch.to_string() == lock.arch) else { return Ok(None) };
        let Some((group, stored)) = self.install_locked(lock, &[&set.store_path])?.pop() else { return Ok(None) };
        let main = group.members.iter().find(|m| matches!(m.name.as_str(), "libc6" | "musl")).or(group.members.first());
        let Some(main) = main else { return Err(drift("the libc set", "its packages are not in the lock")) };
        let read = libc::read_set(&stored, arch, wanted, &set.version, Origin::Package(super::package_of(main)))?;
        if read.loader != stored.path.join(&set.loader) {
            return Err(drift("the libc set", "its loader is not where the lock says"));
        }
        Ok(Some(read))
    }

    /// Installs the packages behind these store paths; each must become exactly the path the lock names.
    pub(super) fn install_locked(&self, lock: &Lock, store_paths: &[&str]) -> Result<Vec<(Group, StorePath)>> {
        let mut groups = Vec::new();
        for name in store_paths {
            let mut members = Vec::new();
            for package in lock.packages.iter().filter(|p| p.store_path == *name) {
                members.push(self.locked_member(package)?);
            }
            // The name after the hash is part of Nix's formula, so it must be the same.
            let label = name.get(crate::nar::HASH_DIGITS + 1..).unwrap_or(name).to_owned();
            groups.push(Group::set(label, members));
        }
        let mut result = Vec::new();
        for ((group, stored), name) in groups.iter().zip(self.archive.install(&groups)).zip(store_paths) {
            let stored = stored.map_err(|error| {
                if error.kind() == Kind::NotFound {
                    let cause = format!("{}: the mirror no longer has this version", error.subject());
                    return Error::new(
                        Kind::NotFound,
                        "follow lock",
                        &group.name,
                        cause,
                        "name an older mirror in [debian] mirror, or make the lock anew",
                    );
                }
                error
            })?;
            let nar = lock.packages.iter().find(|p| p.store_path == **name).map(|p| p.nar_sha256.as_str());
            if stored.name != **name || nar != Some(stored.nar.hex().as_str()) {
                return Err(drift(name, "unpacking its packages gave other content"));
            }
            result.push((group.clone(), stored));
        }
        Ok(result)
    }

    fn locked_member(&self, package: &LockedPackage) -> Result<Found> {
        let Some(sha256) = parse_sha256(&package.sha256) else { return Err(drift(&package.name, "its hash is none")) };
        let file = PackageFile {
            version: package.version.clone(),
            arch: package.arch.clone(),
            filename: package.pool.clone(),
            size: package.size,
            sha256,
            sha1: package.sha1.clone(),
        };
        // Where it is already in the store no mirror is needed, and none may be configured.
        let base = if self.archive.offline || crate::paths::find(&self.archive.root, &[sha256]).is_some() {
            String::new()
        } else {
            match self.archive.base(&package.suite) {
                Ok(Some(base)) => base.to_owned(),
                Ok(None) => self.archive.base("")?.unwrap_or_default().to_owned(),
                Err(error) if error.kind() == Kind::NoMirror => String::new(),
                Err(error) => return Err(error),
            }
        };
        Ok(Found { name: package.name.clone(), pocket: package.suite.clone(), base, file })
    }
}

fn drift(subject: &str, cause: &str) -> Error {
    Error::new(Kind::Drift, "follow lock", subject, cause, "make the lock anew, or restore the store")
}

pub(super) fn locked_package(member: &Found, stored: &StorePath) -> LockedPackage {
    LockedPackage {
        name: member.name.clone(),
        version: member.file.version.clone(),
        arch: member.file.arch.clone(),
        suite: member.pocket.clone(),
        pool: member.file.filename.clone(),
        size: member.file.size,
        sha256: hex(&member.file.sha256),
        sha1: member.file.sha1.clone(),
        store_path: stored.name.clone(),
        nar_sha256: stored.nar.hex(),
    }
}

fn relative(file: &Path, stored: &StorePath) -> Result<String> {
    let inside = file.strip_prefix(&stored.path).ok().and_then(Path::to_str).map(str::to_owned);
    inside.ok_or_else(|| drift(&file.display().to_string(), "it does not lie in its package's store path"))
}

fn hash_file(path: &Path) -> Result<String> {
    let failed = |e| Error::io("hash", path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        let Some(chunk) = buffer.get(..n).filter(|c| !c.is_empty()) else { return Ok(hex(&hasher.finalize())) };
        hasher.update(chunk);
    }
}
