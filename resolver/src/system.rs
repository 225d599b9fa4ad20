//! What one installed loader consults after the search paths of the objects themselves: its cache,
//! its built-in directories, its meaning of `$LIB`. Plain data, read from the machine once.

use crate::arch::{Arch, EM_X86_64};
use crate::ldcache::{self, Entry};
use crate::map::Mapped;
use crate::needs::Libc;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// An installed loader and its configuration.
#[derive(Clone, Debug)]
pub struct System {
    /// What the loader loads.
    pub arch: Arch,
    /// Its C library.
    pub libc: Libc,
    /// The loader itself.
    pub loader: PathBuf,
    /// glibc: the built-in directories. musl: the path file, or its built-in list.
    pub directories: Vec<PathBuf>,
    /// What `$LIB` expands to (`lib/x86_64-linux-gnu` on Debian, `lib64` elsewhere); glibc only.
    pub lib: String,
    cache: HashMap<String, Vec<Entry>>,
}

impl System {
    /// Describes a glibc loader by its built-in strings and reads the cache at `cache`.
    /// A cache that is not there or is damaged is no cache, as it is for ld.so.
    pub fn glibc(arch: Arch, loader: PathBuf, cache: Option<&Path>, directories: Vec<PathBuf>) -> System {
        let entries =
            cache.and_then(|path| Mapped::open(path).ok()).and_then(|bytes| ldcache::parse(&bytes, arch.endian).ok()).unwrap_or_default();
        let flags = ldcache::flags_of(arch);
        let mut cache: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in entries {
            // The kernel-dependent and pre-2.33 capability scheme is gone since 2.37; what it marks
            // is an optimised copy of a file that is also listed without the mark.
            if Some(entry.flags) == flags && entry.legacy_hwcap == 0 {
                cache.entry(entry.soname.clone()).or_default().push(entry);
            }
        }
        let lib = lib_token(arch, &directories);
        System { arch, libc: Libc::Glibc, loader, directories, lib, cache }
    }

    /// Describes a musl loader by its path file (`/etc/ld-musl-<arch>.path`), whose entries are
    /// separated by colons or newlines; without one, by its built-in list (`ldso/dynlink.c`).
    pub fn musl(arch: Arch, loader: PathBuf, path_file: Option<&str>) -> System {
        let text = path_file.unwrap_or("/lib:/usr/local/lib:/usr/lib");
        let directories = text.split([':', '\n']).filter(|d| !d.is_empty()).map(PathBuf::from).collect();
        System { arch, libc: Libc::Musl, loader, directories, lib: "lib".to_owned(), cache: HashMap::new() }
    }

    /// What the cache holds for a soname on this processor, best first (`_dl_load_cache_lookup`:
    /// a glibc-hwcaps file of the highest supported level, else the plain one).
    pub fn cached(&self, soname: &str) -> Option<PathBuf> {
        let levels = hwcaps_levels(self.arch);
        let rank = |e: &Entry| match &e.hwcaps {
            None => Some(levels.len()),
            Some(name) => levels.iter().position(|l| l == name),
        };
        let entries = self.cache.get(soname)?;
        entries.iter().filter_map(|e| Some((rank(e)?, e))).min_by_key(|(rank, _)| *rank).map(|(_, e)| PathBuf::from(&e.path))
    }

    /// Every soname in the cache, for rules that look for a family of names.
    pub fn cached_sonames(&self) -> impl Iterator<Item = &str> {
        self.cache.keys().map(String::as_str)
    }
}

/// `$LIB` is compiled into the loader next to its directories.
pub(crate) fn lib_token(arch: Arch, directories: &[PathBuf]) -> String {
    let under_root = |d: &PathBuf| d.strip_prefix("/").ok().map(|d| d.display().to_string().trim_end_matches('/').to_owned());
    let multiarch = arch.multiarch().map(|m| format!("lib/{m}"));
    directories
        .iter()
        .filter_map(under_root)
        .find(|d| Some(d) == multiarch.as_ref() || d == "lib64" || d == "lib32")
        .unwrap_or_else(|| "lib".to_owned())
}

/// The `glibc-hwcaps` subdirectories this processor may use, best first
/// (x86-64 psABI levels, glibc `sysdeps/x86_64/dl-hwcaps_subdirs.c`; no other architecture of ours
/// defines any that can be told without privileges).
pub fn hwcaps_levels(arch: Arch) -> &'static [&'static str] {
    if arch.machine != EM_X86_64 || arch.bits() != 64 {
        return &[];
    }
    x86_levels()
}

#[cfg(target_arch = "x86_64")]
fn x86_levels() -> &'static [&'static str] {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b") && has!("popcnt") && has!("sse3") && has!("sse4.1") && has!("sse4.2") && has!("ssse3");
    let v3 =
        v2 && has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt") && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v3, v4) {
        (_, _, true) => &["x86-64-v4", "x86-64-v3", "x86-64-v2"],
        (_, true, _) => &["x86-64-v3", "x86-64-v2"],
        (true, _, _) => &["x86-64-v2"],
        _ => &[],
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_levels() -> &'static [&'static str] {
    &[]
}
