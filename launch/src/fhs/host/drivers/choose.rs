//! Which side's library is taken where host and farm both have one: the newer. Pure, over written-down facts.

use resolver::arch::Arch;
use resolver::closure::comes_with_the_loader;
use resolver::{ldcache, versions};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A library that one side has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// The file, its links resolved.
    pub path: PathBuf,
    /// The versions that it defines.
    pub versions: BTreeSet<String>,
}

/// The libraries of one side for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The architecture.
    pub arch: Arch,
    /// Each by the name that it is asked for.
    pub libraries: BTreeMap<String, Library>,
}

/// What is taken of the host for one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The host's files, by the names that they answer to.
    pub taken: BTreeMap<String, PathBuf>,
    /// The host's glibc is the newer one: its loader is taken, too.
    pub glibc: bool,
    /// One line for each name that both sides have.
    pub reasons: Vec<String>,
}

/// The names of the dispatcher's parts (libglvnd): they share private tables, so all come from one side. The farm's
/// do where it has them: what they demand of a driver has a version of its own and is agreed on when it is loaded.
const DISPATCHER: [&str; 8] = [
    "libEGL.so.1",
    "libGL.so.1",
    "libGLESv1_CM.so.1",
    "libGLESv2.so.2",
    "libGLX.so.0",
    "libGLdispatch.so.0",
    "libOpenGL.so.0",
    "libGLU.so.1",
];

/// Chooses for one architecture. `None` if the farm has no C library for it: nothing of it could be started.
pub fn choose(host: &World, farm: &World) -> Option<Choice> {
    let libc = |world: &World| world.libraries.get("libc.so.6").map(|l| l.versions.clone());
    let (ours, theirs) = (libc(host)?, libc(farm)?);
    let newest = |defined: &BTreeSet<String>| versions::newest(defined, "GLIBC_2.0").map(str::to_owned);
    let glibc = match (newest(&ours), newest(&theirs)) {
        (Some(ours), Some(theirs)) => versions::compare(&ours, &theirs) == Ordering::Greater,
        _ => false,
    };
    let mut choice = Choice { glibc, ..Choice::default() };
    let farm_dispatches = farm.libraries.contains_key("libGLdispatch.so.0");
    for (name, library) in &host.libraries {
        let (take, why) = match farm.libraries.get(name) {
            _ if is_glibc(name) => (glibc, if glibc { "the host's glibc is newer" } else { "the environment's glibc is as new" }),
            _ if farm_dispatches && DISPATCHER.contains(&name.as_str()) => (false, "the environment has a dispatcher"),
            None => (true, ""),
            Some(theirs) => host_wins(name, library, theirs),
        };
        if take {
            choice.taken.insert(name.clone(), library.path.clone());
        }
        if !why.is_empty() {
            choice.reasons.push(format!("{} {name}: {} ({why})", host.arch, if take { "the host's" } else { "the environment's" }));
        }
    }
    Some(choice)
}

/// The parts of glibc itself; GCC's runtimes come with the loader, too, but grow on their own.
fn is_glibc(name: &str) -> bool {
    comes_with_the_loader(name) && !["libstdc++", "libgcc_s"].iter().any(|other| name.starts_with(other)) || name.starts_with("ld-linux")
}

/// Who has the newer file, and how that is known: one side's versions hold the other's, or the number in the file's
/// name is greater. Where nothing tells, the host's is taken, for its driver was built beside it.
fn host_wins(name: &str, host: &Library, farm: &Library) -> (bool, &'static str) {
    if host.versions != farm.versions {
        if host.versions.is_superset(&farm.versions) {
            return (true, "it defines more versions");
        }
        if farm.versions.is_superset(&host.versions) {
            return (false, "it defines more versions");
        }
    }
    let number = |library: &Library| {
        let file = library.path.file_name()?.to_string_lossy().into_owned();
        // `libz.so.1.3.1` behind `libz.so.1`, or the number before the suffix: `libexpat-2.6.so`.
        (file != name).then_some(file)
    };
    match (number(host), number(farm)) {
        (Some(ours), Some(theirs)) => match ldcache::compare(ours.as_bytes(), theirs.as_bytes()) {
            Ordering::Less => (false, "its file has the higher number"),
            Ordering::Greater => (true, "its file has the higher number"),
            Ordering::Equal => (true, "both are the same age"),
        },
        _ => (true, "nothing tells their age"),
    }
}
