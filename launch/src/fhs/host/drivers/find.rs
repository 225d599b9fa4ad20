//! Looks for the host's drivers: by the sonames that dispatchers ask for, in the directories that loaders of modules
//! read, and by manifests. Reads; decides nothing.

use super::choose::{Library, World};
use super::manifest::{Kind, Manifest, Named, SIZE_MAX};
use resolver::arch::Arch;
use resolver::closure::{self, Backing, Environment, Search};
use resolver::files::{Files, Found};
use resolver::ldcache;
use resolver::map::Mapped;
use resolver::needs::Libc;
use resolver::resolution::Rule;
use resolver::system::System;
use resolver::{builtin, machine};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use store::host::{driver_sonames, is_driver};

/// Where NixOS keeps the drivers of each class (`hardware.graphics`), to be linked to by every store.
const RUN: [(u8, &str); 2] = [(64, "/run/opengl-driver"), (32, "/run/opengl-driver-32")];
/// Directories of data with manifests, besides `/etc`.
const DATA: [&str; 4] = ["/run/opengl-driver/share", "/run/opengl-driver-32/share", "/usr/local/share", "/usr/share"];
/// Where libraries lie, for modules that no cache lists.
const LIBRARIES: [&str; 6] = ["/usr/lib64", "/usr/lib", "/usr/lib32", "/usr/local/lib", "/lib64", "/lib"];
/// The most files of one directory that are looked at.
const FILES_MAX: usize = 512;

/// A directory of modules that a library opens by path, and the variable that says where it is.
pub(super) const MODULES: [(&str, &[&str]); 2] = [("dri", &["LIBGL_DRIVERS_PATH", "LIBVA_DRIVERS_PATH"]), ("gbm", &["GBM_BACKENDS_PATH"])];
/// A directory of modules that are also asked for by name.
const NAMED_MODULES: &str = "vdpau";

/// What the host has.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) worlds: Vec<HostWorld>,
    pub(super) manifests: Vec<Manifest>,
}

/// What it has for one architecture.
#[derive(Debug)]
pub(super) struct HostWorld {
    pub(super) world: World,
    /// Its loader, links resolved, and whether that reads `/etc/ld.so.cache`.
    pub(super) loader: PathBuf,
    pub(super) plain_loader: bool,
    /// Directories of modules, and their variables.
    pub(super) modules: Vec<(&'static str, PathBuf)>,
    /// The directory of the glibc's converters.
    pub(super) gconv: Option<PathBuf>,
    /// The files that manifests name by path.
    pub(super) announced: BTreeSet<PathBuf>,
}

/// The architectures whose programs a farm may hold: this machine's, and its 32-bit one.
pub(super) fn architectures() -> Vec<Arch> {
    let host = Arch::host();
    let other = host.filter(|arch| *arch == Arch::from_short("x86_64").unwrap_or(*arch)).and_then(|_| Arch::from_short("i686"));
    host.into_iter().chain(other).collect()
}

/// The files and directories whose change is a change of the drivers.
pub(super) fn watched() -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = vec!["/etc/ld.so.cache".into()];
    out.extend(RUN.iter().map(|(_, path)| PathBuf::from(path)));
    for directory in library_directories() {
        out.extend(MODULES.iter().map(|(name, _)| directory.join(name)).chain([directory.join(NAMED_MODULES)]));
    }
    out.extend(manifest_directories().map(|(_, path)| path));
    out
}

fn library_directories() -> Vec<PathBuf> {
    let multiarch = |arch: &Arch| arch.multiarch().map(|name| Path::new("/usr/lib").join(name));
    let mut out: Vec<PathBuf> = RUN.iter().map(|(_, path)| Path::new(path).join("lib")).collect();
    out.extend(architectures().iter().filter_map(multiarch));
    out.extend(LIBRARIES.map(PathBuf::from));
    out
}

fn manifest_directories() -> impl Iterator<Item = (Kind, PathBuf)> {
    let bases = std::iter::once("/etc").chain(DATA);
    bases.flat_map(|base| Kind::ALL.map(|kind| (kind, Path::new(base).join(kind.directory()))))
}

/// Looks.
pub(super) fn host() -> Host {
    let manifests = manifests();
    let worlds = architectures().into_iter().filter_map(|arch| world(&machine::system(arch, Libc::Glibc)?, &manifests)).collect();
    Host { worlds, manifests }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = fs::read_dir(directory).into_iter().flatten().flatten().take(FILES_MAX).map(|e| e.path()).collect();
    out.sort();
    out
}

fn manifests() -> Vec<Manifest> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (kind, directory) in manifest_directories() {
        for path in files(&directory) {
            let real = fs::canonicalize(&path).ok().filter(|real| seen.insert((kind, real.clone())));
            let small = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= SIZE_MAX);
            let text = real.filter(|_| small && path.extension().is_some_and(|e| e == "json")).and_then(|real| fs::read(real).ok());
            out.extend(text.and_then(|text| Manifest::parse(kind, &path, &text)));
        }
    }
    out
}

fn base_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

/// The drivers of one architecture with everything they need; `None` if there are none.
fn world(system: &System, manifests: &[Manifest]) -> Option<HostWorld> {
    let memory = Files::default();
    let fits = |path: &Path| match memory.look(path) {
        Found::Elf(needs) => needs.arch == system.arch && needs.libc() != Some(Libc::Musl),
        _ => false,
    };
    // Named ones are asked for by name; the others only matter for what they need.
    let mut named: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut others: Vec<PathBuf> = Vec::new();
    for soname in driver_sonames(system) {
        if let Some(path) = system.cached(&soname).filter(|path| fits(path)) {
            named.insert(soname, path);
        }
    }
    let mut modules: Vec<(&'static str, PathBuf)> = Vec::new();
    for directory in library_directories() {
        for (name, variables) in MODULES {
            let at = directory.join(name);
            let found: Vec<PathBuf> = files(&at).into_iter().filter(|path| fits(path)).collect();
            if !found.is_empty() {
                modules.extend(variables.iter().map(|variable| (*variable, at.clone())));
                others.extend(found);
            }
        }
        let by_run = RUN.iter().any(|(_, run)| directory.starts_with(run));
        let listed = if by_run { files(&directory) } else { Vec::new() };
        let listed = listed.into_iter().filter(|path| base_name(path).is_some_and(|name| is_driver(&name)));
        for path in files(&directory.join(NAMED_MODULES)).into_iter().chain(listed).filter(|path| fits(path)) {
            if let Some(name) = base_name(&path) {
                named.entry(name).or_insert(path);
            }
        }
    }
    let mut announced = BTreeSet::new();
    for library in manifests.iter().flat_map(Manifest::libraries) {
        match library {
            Named::Path(path) if fits(&path) => {
                others.push(path.clone());
                announced.insert(path);
            }
            Named::Path(_) => {}
            Named::Soname(name) => {
                let there = || library_directories().into_iter().map(|d| d.join(&name)).find(|path| fits(path));
                if let Some(path) = system.cached(&name).filter(|path| fits(path)).or_else(there) {
                    named.entry(name).or_insert(path);
                }
            }
        }
    }
    if named.is_empty() && others.is_empty() {
        return None;
    }
    let libraries = with_needs(system, &memory, named, others);
    let loader = fs::canonicalize(&system.loader).ok()?;
    let libc = libraries.get("libc.so.6").map(|library| library.path.clone());
    let gconv = libc.and_then(|path| Some(path.parent()?.join("gconv"))).filter(|path| path.is_dir());
    let strings = Mapped::open(&loader).ok().and_then(|bytes| builtin::glibc(&bytes));
    let plain_loader = strings.is_some_and(|strings| strings.cache == "/etc/ld.so.cache");
    Some(HostWorld { world: World { arch: system.arch, libraries }, loader, plain_loader, modules, gconv, announced })
}

/// The named drivers and everything that any of them needs, by the name it is asked for.
fn with_needs(system: &System, memory: &Files, named: BTreeMap<String, PathBuf>, others: Vec<PathBuf>) -> BTreeMap<String, Library> {
    let mut out: BTreeMap<String, Library> = BTreeMap::new();
    let mut walked = BTreeSet::new();
    let environment = Environment::default();
    let mut roots: Vec<PathBuf> = named.values().cloned().chain(others).collect();
    // The C library's own parts are asked for by others at any time.
    let libc = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2"];
    let parts = libc.iter().filter_map(|name| Some(((*name).to_owned(), in_system(system, name)?)));
    let named: Vec<(String, PathBuf)> = named.into_iter().chain(parts).collect();
    roots.extend(named.iter().map(|(_, path)| path.clone()));
    for root in roots {
        if !fs::canonicalize(&root).is_ok_and(|real| walked.insert(real)) {
            continue;
        }
        let search = Search { files: memory, environment: &environment, backing: Backing::Native(system) };
        let Ok(resolution) = closure::resolve(&root, &search) else { continue };
        for library in resolution.libraries.iter().filter(|library| library.rule != Rule::Path) {
            for name in &library.aliases {
                add(&mut out, memory, name, &library.path);
            }
        }
    }
    for (name, path) in named {
        add(&mut out, memory, &name, &path);
    }
    out
}

fn in_system(system: &System, name: &str) -> Option<PathBuf> {
    system.cached(name).or_else(|| system.directories.iter().map(|d| d.join(name)).find(|path| path.is_file()))
}

fn add(out: &mut BTreeMap<String, Library>, memory: &Files, name: &str, path: &Path) {
    if let Found::Elf(needs) = memory.look(path)
        && let Ok(real) = fs::canonicalize(path)
    {
        out.entry(name.to_owned()).or_insert_with(|| Library { path: real, versions: needs.version_defs.clone() });
    }
}

/// The farm's libraries for one architecture, by its library cache; files are read for the given names alone.
pub(super) fn farm(root: &Path, entries: &[ldcache::Entry], arch: Arch, names: &BTreeSet<String>) -> World {
    let memory = Files::default();
    let mut libraries = BTreeMap::new();
    let flags = ldcache::flags_of(arch);
    for entry in entries.iter().filter(|e| Some(e.flags) == flags && (names.contains(&e.soname) || e.soname == "libc.so.6")) {
        if let Some(path) = inside_of(root, Path::new(&entry.path)) {
            add(&mut libraries, &memory, &entry.soname, &path);
        }
    }
    World { arch, libraries }
}

/// Where a path of the root lies outside of it. A path that is none of the root's is the same outside.
fn inside_of(root: &Path, path: &Path) -> Option<PathBuf> {
    let own = path.components().nth(1).is_some_and(|top| super::super::is_own(top.as_os_str()));
    let place = if own { root.join(path.strip_prefix("/").ok()?) } else { path.to_owned() };
    fs::metadata(&place).is_ok().then_some(place)
}
