//! Makes and finds layers: what a host's drivers and a farm together come to, kept in the store's cache by the
//! state of both.

use super::super::Scene;
use super::choose::{Choice, choose};
use super::find::{self, HostWorld};
use super::manifest::{Manifest, Named};
use crate::error::Error;
use patcher::LoaderStrings;
use resolver::arch::{Arch, Endian};
use resolver::ldcache::{self, Entry};
use resolver::map::Mapped;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::atomic::TreeBuilder;
use store::cache::Cache;

/// Changes whenever the meaning of a layer does.
const VERSION: &[u8] = b"xeno drivers 2";
/// The subdirectory of the cache.
const CACHE: &str = "drivers";
/// The file of a layer that says what it is.
const RECORD: &str = "record.json";
/// The largest record that is read, bytes.
const RECORD_MAX: u64 = 4 << 20;

/// What is to be shown of the host's drivers. Paths are those of the host, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drivers {
    /// The directory with the library cache and the manifests; it has the same path inside.
    #[serde(skip)]
    pub layer: PathBuf,
    /// Directories of manifests: the place below `/etc`, and the name in the layer.
    pub manifests: Vec<(String, String)>,
    /// Loaders that hide the farm's: the file, and where the farm has its own.
    pub loaders: Vec<(PathBuf, PathBuf)>,
    /// Variables, and the directories they list, as paths inside.
    pub variables: Vec<(String, Vec<PathBuf>)>,
    /// The directories of converters that go with a newer glibc, as paths inside.
    pub gconv: Vec<PathBuf>,
    /// Directories of the host's software in which the files lie.
    pub directories: Vec<PathBuf>,
    /// How it was decided, a line each.
    pub reasons: Vec<String>,
}

/// Finds or makes the layer for a host and a farm; `None` if the host has no drivers that the farm could use.
///
/// # Errors
/// If the layer cannot be written, or the farm has no library cache.
pub fn prepare(scene: &Scene<'_>, cache: &Cache) -> Result<Option<Drivers>, Error> {
    let name = key(scene);
    let path = cache.path(CACHE, &name);
    if let Some(known) = recall(&path) {
        return Ok(known);
    }
    let entries = entries(&scene.farm.root.join("usr/etc/ld.so.cache"))?;
    let host = find::host();
    let chosen: Vec<(&HostWorld, Choice)> = host.worlds.iter().filter_map(|world| Some((world, chosen(scene, world, &entries)?))).collect();
    let seen = |path: &Path| scene.seen(path);
    let (drivers, mut files) = layer(&seen, &host.manifests, &chosen, &entries);
    let drivers = with_farms_modules(with_loaders(drivers, &chosen, cache)?, &scene.farm.root, &chosen);
    let record = (!chosen.is_empty()).then_some(drivers);
    let text = serde_json::to_vec(&record).map_err(|e| Error::own("write", RECORD, e))?;
    files.push((RECORD.to_owned(), text));
    let layer = cache.put_built(CACHE, &name, |tree| fill(tree, &files))?;
    for reason in record.iter().flat_map(|drivers| &drivers.reasons) {
        log::debug!("drivers: {reason}");
    }
    Ok(record.map(|drivers| Drivers { layer, ..drivers }))
}

fn fill(tree: &TreeBuilder, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    for (name, bytes) in files {
        let file = Path::new(name);
        let write = || {
            if let Some(above) = file.parent().filter(|above| !above.as_os_str().is_empty()) {
                tree.add_dir(above)?;
            }
            tree.add_file(file)?.write_all(bytes)?;
            tree.set_mode(file, 0o444)
        };
        let remedy = "free some space, or choose another store with $XENO_STORE";
        write().map_err(|e| Error::io("write", &tree.path().join(file), e, remedy))?;
    }
    Ok(())
}

/// The state of host and farm, as a name.
fn key(scene: &Scene<'_>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(VERSION);
    part(scene.farm.root.as_os_str().as_bytes());
    part(scene.host.aside.as_os_str().as_bytes());
    for path in find::watched() {
        let state = fs::metadata(&path).map(|m| [m.dev(), m.ino(), m.size(), m.mtime().cast_unsigned(), m.mtime_nsec().cast_unsigned()]);
        for number in state.unwrap_or_default() {
            part(&number.to_le_bytes());
        }
    }
    hash.finalize().iter().take(20).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A layer that was made before; the inner `None` is that of a host without drivers.
fn recall(path: &Path) -> Option<Option<Drivers>> {
    let record = path.join(RECORD);
    fs::metadata(&record).ok().filter(|m| m.is_file() && m.len() <= RECORD_MAX)?;
    let known: Option<Drivers> = serde_json::from_slice(&fs::read(&record).ok()?).ok()?;
    Some(known.map(|drivers| Drivers { layer: path.to_owned(), ..drivers }))
}

fn entries(cache: &Path) -> Result<Vec<Entry>, Error> {
    let bytes = Mapped::open(cache).map_err(|e| Error::io("read", cache, e, "build the environment again"))?;
    let endian = Arch::host().map_or(Endian::Little, |arch| arch.endian);
    ldcache::parse(&bytes, endian).map_err(|e| Error::own("read", cache.display().to_string(), e))
}

fn chosen(scene: &Scene<'_>, host: &HostWorld, entries: &[Entry]) -> Option<Choice> {
    let names: BTreeSet<String> = host.world.libraries.keys().cloned().chain(["libGLdispatch.so.0".to_owned()]).collect();
    choose(&host.world, &find::farm(&scene.farm.root, entries, host.world.arch, &names))
}

/// The files of a layer, and what it says of itself but for loaders.
fn layer(
    seen: &dyn Fn(&Path) -> PathBuf,
    manifests: &[Manifest],
    chosen: &[(&HostWorld, Choice)],
    entries: &[Entry],
) -> (Drivers, Vec<(String, Vec<u8>)>) {
    let mut drivers = Drivers::default();
    let mut files = Vec::new();
    let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
    for (host, choice) in chosen {
        directories.extend(choice.taken.values().filter_map(|path| Some(path.parent()?.to_owned())));
        drivers.reasons.extend(choice.reasons.iter().cloned());
        for (variable, directory) in &host.modules {
            directories.insert(directory.clone());
            match drivers.variables.iter_mut().find(|(name, _)| name == variable) {
                Some((_, list)) => list.push(seen(directory)),
                None => drivers.variables.push(((*variable).to_owned(), vec![seen(directory)])),
            }
        }
        if let Some(gconv) = host.gconv.as_ref().filter(|_| choice.glibc) {
            directories.insert(gconv.clone());
            drivers.gconv.push(seen(gconv));
        }
    }
    let usable = |named: &Named| match named {
        Named::Soname(name) => chosen.iter().any(|(_, choice)| choice.taken.contains_key(name)),
        Named::Path(path) => chosen.iter().any(|(host, _)| host.announced.contains(path)),
    };
    for (at, manifest) in manifests.iter().enumerate().filter(|(_, manifest)| manifest.libraries().iter().all(usable)) {
        let place = manifest.kind.directory();
        let name = place.rsplit('/').next().unwrap_or(place);
        if !drivers.manifests.iter().any(|(known, _)| known == place) {
            drivers.manifests.push((place.to_owned(), name.to_owned()));
        }
        files.push((format!("{name}/{}", manifest.name(at)), manifest.inside(seen).into_bytes()));
        for library in manifest.libraries() {
            if let Named::Path(path) = library {
                directories.extend(path.parent().map(Path::to_owned));
            }
        }
    }
    files.push(("ld.so.cache".to_owned(), library_cache(seen, chosen, entries)));
    drivers.directories = outermost(directories);
    (drivers, files)
}

/// The farm's library cache with the host's drivers before it.
fn library_cache(seen: &dyn Fn(&Path) -> PathBuf, chosen: &[(&HostWorld, Choice)], entries: &[Entry]) -> Vec<u8> {
    let host = chosen.iter().flat_map(|(host, choice)| {
        choice.taken.iter().map(|(name, path)| (host.world.arch, name.as_str(), seen(path).into_os_string().into_encoded_bytes()))
    });
    let of = |flags: u32| Arch::known().find(|arch| ldcache::flags_of(*arch) == Some(flags));
    let farm =
        entries.iter().filter(|e| e.hwcaps.is_none()).filter_map(|e| Some((of(e.flags)?, e.soname.as_str(), e.path.clone().into_bytes())));
    let all: Vec<(Arch, &str, Vec<u8>)> = host.chain(farm).collect();
    let all: Vec<(Arch, &str, &[u8])> = all.iter().map(|(arch, name, path)| (*arch, *name, path.as_slice())).collect();
    // Every architecture in it is one whose flags are known.
    ldcache::serialise_mixed(&all).unwrap_or_default()
}

/// Directories without those that lie in another of them. A store is shown whole: what lies in it needs the rest.
fn outermost(directories: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let store = |path: PathBuf| ["/nix/store", "/gnu/store"].iter().find(|s| path.starts_with(s)).map_or(path, PathBuf::from);
    let mut out: Vec<PathBuf> = Vec::new();
    for directory in directories.into_iter().map(store) {
        if !out.iter().any(|known| directory.starts_with(known)) {
            out.push(directory);
        }
    }
    out
}

/// Adds the loaders that go with a newer glibc. One that reads another library cache than `/etc`'s is copied, and
/// the copy reads that.
fn with_loaders(mut drivers: Drivers, chosen: &[(&HostWorld, Choice)], cache: &Cache) -> Result<Drivers, Error> {
    for (host, _) in chosen.iter().filter(|(_, choice)| choice.glibc) {
        let Some(inside) = host.world.arch.glibc_loader() else { continue };
        let loader = if host.plain_loader { host.loader.clone() } else { copy(&host.loader, cache)? };
        drivers.loaders.push((loader, inside.into()));
    }
    Ok(drivers)
}

/// Adds the farm's own directories of modules for the architectures of which the host has none: a variable that is
/// set hides the directory that a library was built with.
fn with_farms_modules(mut drivers: Drivers, farm: &Path, chosen: &[(&HostWorld, Choice)]) -> Drivers {
    let served = |arch: &Arch| chosen.iter().any(|(host, _)| host.world.arch == *arch && !host.modules.is_empty());
    for arch in find::architectures().into_iter().filter(|arch| !served(arch)) {
        let multiarch = arch.multiarch().map(|name| format!("usr/lib/{name}"));
        for directory in multiarch.into_iter().chain([format!("usr/lib{}", arch.bits())]) {
            for (module, variables) in find::MODULES {
                let path = Path::new(&directory).join(module);
                if !farm.join(&path).is_dir() {
                    continue;
                }
                for (_, list) in drivers.variables.iter_mut().filter(|(name, _)| variables.contains(&name.as_str())) {
                    list.push(Path::new("/").join(&path));
                }
            }
        }
    }
    drivers
}

fn copy(loader: &Path, cache: &Cache) -> Result<PathBuf, Error> {
    let bytes = Mapped::open(loader).map_err(|e| Error::io("read the loader", loader, e, ""))?;
    let strings = LoaderStrings { cache: "/etc/ld.so.cache".into(), preload: None, musl_path: String::new(), directories: Vec::new() };
    let (copy, _) = patcher::loader_copy(&bytes, &strings).map_err(|e| Error::own("copy the loader", loader.display().to_string(), e))?;
    let digest = Sha256::digest(&copy);
    let name = digest.iter().take(20).fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    Ok(cache.put("loader", &name, &copy, 0o555)?)
}
