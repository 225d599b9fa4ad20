//! `xeno shim install` and `uninstall`: the images for every program first, so that whatever starts through the
//! shim finds them, then the shim itself.

use super::say;
use super::words::{InstallArgs, UninstallArgs};
use crate::failure::Failure;
use crate::resolving;
use launch::materials::Materials;
use launch::shim::base::Base;
use launch::shim::everybody::{self, Source};
use launch::shim::install::{self, Site};
use launch::shim::program::Planned;
use resolver::arch::Arch;
use resolver::machine;
use resolver::named::{self, Named};
use resolver::needs::Libc;
use resolver::provider::Provider;
use resolver::system::System;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use store::cache::Cache;
use store::root::{Places, StoreRoot};

/// Installs the shim.
pub(crate) fn install(args: &InstallArgs) -> Result<u8, Failure> {
    let base = Base::at(&args.into)?;
    let libc = if args.musl { Libc::Musl } else { Libc::Glibc };
    let sites = sites(args, libc)?;
    for site in &sites {
        launch::shim::embedded(site.arch)?;
        if let Some(objection) = site.objection(&base).filter(|_| !args.force) {
            return Err(objection.into());
        }
    }
    install::make_base(&base, args.users)?;
    for site in &sites {
        everybody(args, &base, site, libc)?;
    }
    let mut listed = install::sites(&base);
    for site in sites {
        // Listed first: whatever happens, `uninstall` knows of it.
        if !listed.contains(&site) {
            listed.push(site.clone());
        }
        install::record(&base, &listed)?;
        site.put(&base)?;
        say(format_args!("{}: the shim for {}, which looks into {}", site.at.display(), site.arch, base.text()));
    }
    Ok(0)
}

/// Where the shim goes.
fn sites(args: &InstallArgs, libc: Libc) -> Result<Vec<Site>, Failure> {
    let named: Result<Vec<Arch>, Failure> = args.arch.iter().map(|name| architecture(name)).collect();
    let mut arches = named?;
    if arches.is_empty() {
        let own = Arch::host().ok_or_else(|| Failure::own("install the shim: there is none for this machine; name one with --arch"))?;
        arches.push(own);
        let other = Arch::from_short("i686").filter(|a| *a != own && a.runs_on(own) && args.at.is_none() && libc == Libc::Glibc);
        arches.extend(
            other.filter(|a| usual(*a, libc).is_some_and(|p| fs::symlink_metadata(p).is_err()) && launch::shim::embedded(*a).is_ok()),
        );
    }
    if args.at.is_some() && arches.len() != 1 {
        return Err(Failure::own("install the shim at one path for several architectures: a path has one; give --at once for each --arch"));
    }
    arches.dedup();
    let site = |arch: Arch| {
        let at = match &args.at {
            Some(at) => std::path::absolute(at).map_err(|e| Failure::own(format!("find {}: {e}; name another path", at.display())))?,
            None => {
                usual(arch, libc).ok_or_else(|| Failure::own(format!("install the shim: {arch} has no usual path; name one with --at")))?
            }
        };
        Ok(Site { arch, at })
    };
    arches.into_iter().map(site).collect()
}

fn usual(arch: Arch, libc: Libc) -> Option<PathBuf> {
    match libc {
        Libc::Glibc => arch.glibc_loader().map(PathBuf::from),
        Libc::Musl => arch.musl_loader().map(PathBuf::from),
    }
}

fn architecture(name: &str) -> Result<Arch, Failure> {
    Arch::from_short(name).or_else(|| Arch::from_debian(name)).ok_or_else(|| {
        Failure::own(format!("install the shim for {name}: no such architecture; there are x86_64, i686, aarch64 and riscv64"))
    })
}

/// Writes the image for every program that has none of its own.
fn everybody(args: &InstallArgs, base: &Base, site: &Site, libc: Libc) -> Result<(), Failure> {
    let replaces = site.replaces_a_loader();
    let system = machine::system(site.arch, libc);
    let root = StoreRoot::choose(&Places::from_env())?;
    let materials = Materials::new(Cache::of(&root));
    let own = system.as_ref().map(|system| everybody::serves(system, &args.library));
    let (planned, what) = match (system, own) {
        (Some(mut system), Some(Ok(()))) => {
            if replaces {
                system.loader = site.keep()?;
            }
            (of_host(args, base, site, &materials, &system, replaces)?, "this machine's own libraries")
        }
        (_, Some(Err(why))) if replaces => return Err(why.into()),
        (None, _) if replaces => {
            let at = site.at.display();
            return Err(Failure::own(format!(
                "replace {at}: this machine's own programs could not be served then; name another path with --at"
            )));
        }
        _ => match of_archive(args, base, site.arch, libc, &materials, root) {
            Ok(planned) => (planned, "the archive's libraries"),
            // Programs that are added do not need it.
            Err(failure) if args.library.is_empty() => {
                log::warn!("no image for programs that were not added: {failure}");
                return Ok(());
            }
            Err(failure) => return Err(failure),
        },
    };
    planned.write()?;
    super::warn_of_closed(&planned);
    say(format_args!("{}: {what}, for programs that were not added", planned.path.display()));
    Ok(())
}

fn of_host(args: &InstallArgs, base: &Base, site: &Site, materials: &Materials, system: &System, later: bool) -> Result<Planned, Failure> {
    Ok(everybody::plan(materials, Source::Host { system, later }, site.arch, base, &args.live)?)
}

fn of_archive(args: &InstallArgs, base: &Base, arch: Arch, libc: Libc, materials: &Materials, root: StoreRoot) -> Result<Planned, Failure> {
    let debian = resolving::debian(root, args.offline)?;
    let asked = |e: resolver::provider::ProviderError| Failure::own(e.message);
    let set = debian.libc_set(arch, libc).map_err(asked)?;
    let set = set.ok_or_else(|| Failure::own(format!("find a loader for {arch}: the archive has none; use `xeno shim add`")))?;
    let Named { mut answers, missing } = named::find(&args.library, &set, arch, &[&debian]).map_err(asked)?;
    if let Some(m) = missing.first() {
        let text = format!("give every program {} (needed by {}): {}; leave it out or name another library", m.name, m.needed_by, m.reason);
        return Err(Failure::own(text));
    }
    if libc == Libc::Glibc && !answers.contains_key("libc.so.6") {
        answers.extend(libc_of(&set.directories));
    }
    Ok(everybody::plan(materials, Source::Set { set: &set, answers }, arch, base, &args.live)?)
}

fn libc_of(directories: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let found = directories.iter().map(|d| d.join("libc.so.6")).find(|p| p.exists());
    found.map(|path| ("libc.so.6".to_owned(), path)).into_iter().collect()
}

/// Takes the shim away.
pub(crate) fn uninstall(args: &UninstallArgs) -> Result<u8, Failure> {
    let base = Base::at(&args.into)?;
    let mut listed = install::sites(&base);
    let at = args.at.as_deref().map(|at| std::path::absolute(at).unwrap_or_else(|_| at.to_owned()));
    listed.extend(at.as_deref().and_then(|at| install::site_at(at, &base)).filter(|site| !listed.contains(site)));
    let wanted = |site: &&Site| at.as_deref().is_none_or(|at: &Path| at == site.at);
    let doomed: Vec<Site> = listed.iter().filter(wanted).cloned().collect();
    if doomed.is_empty() {
        let what = at.map_or_else(|| base.text().to_owned(), |at| at.display().to_string());
        return Err(Failure::own(format!("uninstall {what}: no shim was installed there; `xeno shim status --into DIR` lists them")));
    }
    let mut left = listed;
    for site in doomed {
        match site.take(&base) {
            Ok(true) => say(format_args!("{}: what was there before", site.at.display())),
            Ok(false) => say(format_args!("{}: removed", site.at.display())),
            // As long as it is there, programs start by the images.
            Err(e) if args.at.is_some() || install::site_at(&site.at, &base).is_some() => return Err(e.into()),
            Err(e) => log::warn!("{e}"),
        }
        left.retain(|other| *other != site);
        install::record(&base, &left)?;
    }
    if args.at.is_none() && !install::clear(&base)? {
        say(format_args!("{}: not empty, so it stays", base.text()));
    }
    Ok(0)
}
