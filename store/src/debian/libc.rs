//! The libc set: loader, C library, gconv modules, locales and the compiler's runtime as one tree of one suite.

use super::archive::{Found, Suite, lock};
use super::install::Group;
use super::{Debian, inside, is_elf_for, package_of};
use crate::error::{Error, Kind, Result};
use crate::paths::StorePath;
use resolver::arch::Arch;
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Origin};
use std::path::{Path, PathBuf};

/// The packages of a set: the first must exist, the others are taken if the suite has them. gcc's runtime is in it
/// because libstdc++ and libgcc_s of an older build break programs that a newer loader starts.
fn members(libc: Libc) -> &'static [&'static str] {
    match libc {
        Libc::Glibc => &["libc6", "libc-bin", "libc-gconv-modules-extra", "libgcc-s1", "libstdc++6"],
        Libc::Musl => &["musl"],
    }
}

/// A suite's libc set, not necessarily installed.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub group: Group,
    /// The package that holds the loader.
    main: Found,
}

pub(super) fn is_set_member(package: &str, libc: Libc) -> bool {
    members(libc).contains(&package)
}

/// The names under which programs ask for musl itself: its own, its loader's, and Alpine's for it.
pub(super) fn is_musl_libc(soname: &str, arch: Arch) -> bool {
    let Some(name) = arch.musl_name() else { return false };
    soname == "libc.so" || soname == format!("libc.musl-{name}.so.1") || soname == format!("ld-musl-{name}.so.1")
}

fn describe(suite: &Suite, libc: Libc) -> Option<Set> {
    let names = members(libc);
    let main = suite.package(names.first()?)?;
    let found = names.iter().filter_map(|name| suite.package(name)).collect();
    let label = if libc == Libc::Glibc { "glibc-set" } else { "musl-set" };
    let group = Group::set(format!("{label}-{}-{}", main.file.version, main.file.arch), found);
    Some(Set { group, main })
}

impl Debian {
    /// The set of the newest suite that has one.
    pub(super) fn set(&self, arch: Arch, libc: Libc) -> Result<Option<Set>> {
        let Some(debian) = arch.debian() else { return Ok(None) };
        let key = (debian.to_owned(), libc);
        if let Some(known) = lock(&self.sets).get(&key) {
            return Ok(known.clone());
        }
        let mut set = None;
        let mut any = false;
        for suite in &self.archive.config.debian.suites {
            let Some(suite) = self.archive.suite(suite, arch, false)? else { continue };
            any = true;
            set = describe(&suite, libc);
            if set.is_some() {
                break;
            }
        }
        if !any {
            return Err(self.no_index(arch));
        }
        lock(&self.sets).insert(key, set.clone());
        Ok(set)
    }

    pub(super) fn install_set(&self, arch: Arch, libc: Libc) -> Result<Option<LibcSet>> {
        if let Some(lock) = &self.lock {
            return self.locked_set(lock, arch, libc);
        }
        let Some(set) = self.set(arch, libc)? else { return Ok(None) };
        let stored = match self.archive.install(std::slice::from_ref(&set.group)).pop() {
            Some(result) => result?,
            None => return Ok(None),
        };
        let package = package_of(&set.main);
        for member in &set.group.members {
            lock(&self.used).insert(package_of(member), (set.group.clone(), stored.clone()));
        }
        let version = upstream(&set.main.file.version);
        read_set(&stored, arch, libc, version, Origin::Package(package)).map(Some)
    }
}

/// Finds the parts of a set in its tree.
pub(super) fn read_set(stored: &StorePath, arch: Arch, libc: Libc, version: &str, origin: Origin) -> Result<LibcSet> {
    let damaged = |what: &str| {
        Error::new(
            Kind::Malformed,
            "use",
            &stored.name,
            format!("it has no {what}"),
            format!("delete {} and try again", stored.path.display()),
        )
    };
    let (triplet, loader_name) = match libc {
        Libc::Glibc => (arch.multiarch().map(str::to_owned), arch.glibc_loader().map(base_name)),
        Libc::Musl => (arch.musl_name().map(|n| format!("{n}-linux-musl")), arch.musl_name().map(|n| format!("ld-musl-{n}.so.1"))),
    };
    let (Some(triplet), Some(loader_name)) = (triplet, loader_name) else { return Err(damaged("such architecture")) };
    let own = [format!("usr/lib/{triplet}"), format!("lib/{triplet}")];
    let anywhere = own.iter().map(String::as_str).chain(["usr/lib64", "lib64", "usr/lib", "lib"]);
    let loader = anywhere
        .map(|d| stored.path.join(d).join(&loader_name))
        .find(|file| inside(&stored.path, file) && is_elf_for(file, arch))
        .ok_or_else(|| damaged("loader"))?;
    let directories: Vec<PathBuf> = own.iter().map(|d| stored.path.join(d)).filter(|d| d.is_dir()).collect();
    if directories.is_empty() {
        return Err(damaged("library directory"));
    }
    let gconv = directories.iter().map(|d| d.join("gconv")).find(|d| d.is_dir());
    let locale = (libc == Libc::Glibc).then(|| stored.path.join("usr/lib/locale")).filter(|d| d.is_dir());
    Ok(LibcSet { libc, version: version.to_owned(), loader, gconv, locale, directories, origin })
}

fn base_name(path: &str) -> String {
    Path::new(path).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `2.41-12+deb13u4` is glibc 2.41.
pub(super) fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, v)| v);
    version.rsplit_once('-').map_or(version, |(v, _)| v)
}
