//! This machine's own libraries as a provider: what the installed loader's cache and directories
//! hold, and – as a provider of its own – the drivers, which no archive can replace.

use resolver::arch::Arch;
use resolver::elf;
use resolver::map::Mapped;
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Offer, Origin, Provider, ProviderError, Want};
use resolver::system::System;
use std::path::{Path, PathBuf};

/// The libraries of one installed loader.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a>(pub Option<&'a System>);

/// The drivers among them, and what drivers themselves need.
#[derive(Clone, Copy, Debug)]
pub struct Drivers<'a>(pub Option<&'a System>);

fn fits(path: &Path, arch: Arch) -> bool {
    Mapped::open(path).ok().and_then(|bytes| elf::arch(&bytes).ok()) == Some(arch)
}

fn find(system: &System, want: &Want) -> Option<(PathBuf, &'static str)> {
    if want.arch != system.arch || want.libc != system.libc {
        return None;
    }
    let cached = system.cached(&want.soname).filter(|p| fits(p, want.arch)).map(|p| (p, "this machine's ld.so.cache"));
    cached.or_else(|| {
        let in_directory = |d: &PathBuf| Some(d.join(&want.soname)).filter(|p| fits(p, want.arch));
        system.directories.iter().find_map(in_directory).map(|p| (p, "a default directory of this machine's loader"))
    })
}

impl Provider for Host<'_> {
    fn name(&self) -> &'static str {
        "host"
    }

    fn provide(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>, ProviderError> {
        let one = |want: &Want| {
            let (file, why) = find(self.0?, want)?;
            Some(Offer { file, origin: Origin::Host, why: why.to_owned() })
        };
        Ok(wants.iter().map(one).collect())
    }

    fn libc_set(&self, arch: Arch, libc: Libc) -> Result<Option<LibcSet>, ProviderError> {
        let Some(system) = self.0.filter(|s| s.arch == arch && s.libc == libc) else { return Ok(None) };
        let probe = |soname: &str| {
            find(system, &Want { soname: soname.to_owned(), arch, libc, versions: Default::default(), optional: false, for_driver: false })
                .and_then(|(file, _)| file.parent().map(Path::to_owned))
        };
        let mut directories: Vec<PathBuf> = ["libc.so.6", "libstdc++.so.6", "libgcc_s.so.1"].iter().filter_map(|n| probe(n)).collect();
        directories.dedup();
        Ok(Some(LibcSet {
            libc,
            version: version(system, &directories),
            loader: system.loader.clone(),
            directories,
            gconv: None,
            locale: None,
            origin: Origin::Host,
        }))
    }
}

/// The newest `GLIBC_x.y` that libc defines is its version.
fn version(system: &System, directories: &[PathBuf]) -> String {
    if system.libc == Libc::Musl {
        return String::new();
    }
    directories
        .iter()
        .find_map(|d| elf::load(&d.join("libc.so.6")).ok())
        .and_then(|needs| resolver::versions::newest(&needs.version_defs, "GLIBC_2.0").map(|v| v.trim_start_matches("GLIBC_").to_owned()))
        .unwrap_or_default()
}

/// Whether a soname is a driver's: the vendor libraries behind the GL and EGL dispatchers, and what a
/// kernel driver's user half brings. These speak to one kernel module's version, so they are the
/// machine's or none.
pub fn is_driver(soname: &str) -> bool {
    let stem = soname.split_once(".so").map_or(soname, |(stem, _)| stem);
    ["libGLX_", "libEGL_", "libGLESv1_CM_", "libGLESv2_", "libnvidia-", "libvdpau_"].iter().any(|p| stem.starts_with(p))
        || matches!(stem, "libcuda" | "libnvcuvid" | "libnvoptix" | "libamdocl64" | "libze_intel_gpu" | "libmali")
}

/// The driver sonames this machine has.
pub fn driver_sonames(system: &System) -> Vec<String> {
    let mut names: Vec<String> = system.cached_sonames().filter(|n| is_driver(n)).map(str::to_owned).collect();
    names.sort();
    names
}

impl Provider for Drivers<'_> {
    fn name(&self) -> &'static str {
        "drivers"
    }

    fn provide(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>, ProviderError> {
        let one = |want: &Want| {
            let (file, why) = find(self.0?, want).filter(|_| want.for_driver || is_driver(&want.soname))?;
            Some(Offer { file, origin: Origin::Driver, why: format!("a driver: {why}") })
        };
        Ok(wants.iter().map(one).collect())
    }

    fn libc_set(&self, _: Arch, _: Libc) -> Result<Option<LibcSet>, ProviderError> {
        Ok(None)
    }
}
