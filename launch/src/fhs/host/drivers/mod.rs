//! The host's graphics and compute drivers inside an environment: which of its libraries are taken, how the
//! environment's loader finds them, and what that asks of the C library.
//!
//! Drivers speak to the kernel they were installed beside, so the host's come first and the environment's own are
//! what remains where the host has none. Each brings libraries of its own; a library that both sides have is taken
//! from whoever has the newer, for libraries grow and keep what they had: the older side's users are served by the
//! newer, never the other way round. So it is with glibc, loader and all ([`choose`]). Only what
//! was built against glibc can share a process with the farm's programs.
//!
//! No file of the host is copied or changed: a *layer* in the store's cache – a library cache and manifests with
//! paths as they are inside – is made once for a host's and a farm's state and then found by the times of a few
//! directories.

pub mod choose;
mod find;
mod layer;
pub mod manifest;

pub use layer::{Drivers, prepare};

use super::Scene;
use crate::fhs::mode::Mode;
use fhs_env::{Access, Op, Source};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is added to the value of a variable by the drivers: each is a list of directories.
const LISTS: [&str; 3] = ["GBM_BACKENDS_PATH", "LIBGL_DRIVERS_PATH", "LIBVA_DRIVERS_PATH"];

/// The steps that show the drivers: a library cache in place of the farm's, manifests in `/etc`, where their
/// readers look before `/usr`, and a newer loader over the farm's. Applied when the store can be seen.
pub fn driver_ops(scene: &Scene<'_>) -> Vec<Op> {
    let Some(drivers) = scene.drivers else { return Vec::new() };
    let mut ops = Vec::new();
    if let Mode::Sandbox(_) = scene.mode {
        let shown = |path: &PathBuf| Op::Bind {
            source: Source::Path(path.clone()),
            path: scene.seen(path),
            access: Access::ReadOnly,
            optional: true,
        };
        ops.extend(drivers.directories.iter().map(shown));
    }
    // Of the store's cache this alone: the rest is nobody's business.
    let covered = scene.private_tmp && drivers.layer.starts_with("/tmp");
    if covered || matches!(scene.mode, Mode::Sandbox(_)) {
        ops.push(Op::Bind {
            source: Source::Path(drivers.layer.clone()),
            path: drivers.layer.clone(),
            access: Access::ReadOnly,
            optional: false,
        });
    }
    ops.push(Op::Link { path: "/etc/ld.so.cache".into(), target: drivers.layer.join("ld.so.cache") });
    for (place, name) in &drivers.manifests {
        ops.push(Op::Link { path: Path::new("/etc").join(place), target: drivers.layer.join(name) });
    }
    for (host, inside) in &drivers.loaders {
        ops.push(Op::Bind { source: Source::Path(host.clone()), path: inside.clone(), access: Access::ReadOnly, optional: false });
    }
    ops
}

/// Whether the drivers have a say at this place of `/etc`, or below it.
pub(super) fn is_drivers(drivers: &Drivers, name: &Path) -> bool {
    name == Path::new("ld.so.cache") || drivers.manifests.iter().any(|(place, _)| Path::new(place).starts_with(name))
}

/// The variables by which drivers without manifests are found. What the caller has set is kept, with paths as they
/// are inside.
pub fn driver_variables(scene: &Scene<'_>) -> Vec<(OsString, Option<OsString>)> {
    let mut out = Vec::new();
    for name in LISTS {
        let given = scene.host.variable(name).map(|list| std::env::split_paths(list).map(|path| scene.seen(&path)).collect::<Vec<_>>());
        let found = scene.drivers.and_then(|d| d.variables.iter().find(|(n, _)| n == name)).map(|(_, list)| list.clone());
        let Some(list) = given.or(found).filter(|list| !list.is_empty()) else { continue };
        if let Ok(value) = std::env::join_paths(list) {
            out.push((name.into(), Some(value)));
        }
    }
    // One directory, read before the names that the loader knows, where a driver of either class is found.
    if let Some(path) = scene.host.path("VDPAU_DRIVER_PATH") {
        out.push(("VDPAU_DRIVER_PATH".into(), Some(scene.seen(&path).into_os_string())));
    }
    let gconv = scene.drivers.map(|d| d.gconv.as_slice()).filter(|list| !list.is_empty());
    if let Some(value) = gconv.and_then(|list| std::env::join_paths(list).ok()) {
        out.push(("GCONV_PATH".into(), Some(value)));
    }
    out
}
