//! The variables that a program inside is given beside those of its caller: where programs, data and time zones
//! are. Never a library path: what the loader finds, it finds by its cache. Pure.

use super::drivers::driver_variables;
use super::sockets::{BUS, secret_variables};
use super::{HostView, Scene, is_own};
use crate::fhs::mode::Mode;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The caller's variables that are looked at.
pub(super) const READ: [&str; 27] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DISPLAY",
    "GBM_BACKENDS_PATH",
    "HOME",
    "LIBGL_DRIVERS_PATH",
    "LIBVA_DRIVERS_PATH",
    "LOCALE_ARCHIVE",
    "LOGNAME",
    "PATH",
    "PIPEWIRE_REMOTE",
    "PIPEWIRE_RUNTIME_DIR",
    "PULSE_COOKIE",
    "PULSE_RUNTIME_PATH",
    "PULSE_SERVER",
    "SHELL",
    "TZDIR",
    "USER",
    "VDPAU_DRIVER_PATH",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// The environment's own directories of programs and of data.
const PROGRAMS: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];
const DATA: [&str; 2] = ["/usr/local/share", "/usr/share"];

/// Variables that name sockets of the host which a sandbox does not have; the first is the session bus, of which it
/// may have a filter.
const SOCKETS: [&str; 6] =
    ["DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS", "GPG_AGENT_INFO", "ICEAUTHORITY", "SESSION_MANAGER", "SSH_AUTH_SOCK"];

/// Directories of the user's that lie in his home unless these say otherwise.
const HOMES: [&str; 4] = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];

impl HostView {
    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The same, if it is an absolute path (XDG Base Directory: a relative one is to be ignored).
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// What is set, or with `None` unset, for the program.
pub fn variables(scene: &Scene<'_>) -> Vec<(OsString, Option<OsString>)> {
    let host = scene.host;
    let mut out: Vec<(OsString, Option<OsString>)> = Vec::new();
    let mut set = |name: &str, value: OsString| out.push((name.into(), Some(value)));
    set("PATH", with_own(scene, host.variable("PATH"), &PROGRAMS));
    if let Some(list) = host.variable("XDG_DATA_DIRS") {
        set("XDG_DATA_DIRS", with_own(scene, Some(list), &DATA));
    }
    if scene.farm.locale_archive {
        set("LOCALE_ARCHIVE", "/usr/lib/locale/locale-archive".into());
    }
    match host.path("TZDIR").or_else(|| host.zoneinfo.clone()) {
        _ if scene.farm.zoneinfo => set("TZDIR", "/usr/share/zoneinfo".into()),
        Some(zones) => set("TZDIR", zones_inside(scene, &zones).into_os_string()),
        None => {}
    }
    if let Mode::Sandbox(_) = scene.mode {
        let home = scene.home();
        let bus = |name: &str| scene.bus.filter(|_| name == SOCKETS[0]).map(|_| OsString::from(format!("unix:path={BUS}")));
        out.extend(SOCKETS.iter().map(|name| ((*name).into(), bus(name))));
        let outside = |name: &&&str| host.path(name).is_some_and(|path| !path.starts_with(&home));
        out.extend(HOMES.iter().filter(outside).map(|name| ((*name).into(), None)));
        out.push(("HOME".into(), Some(home.into_os_string())));
    }
    out.extend(secret_variables(scene));
    out.extend(driver_variables(scene));
    out
}

/// Links of `/etc` are the same inside; what the environment hides is aside.
fn zones_inside(scene: &Scene<'_>, zones: &Path) -> PathBuf {
    if zones.starts_with("/etc") { zones.to_owned() } else { scene.seen(zones) }
}

/// A list of directories in which the environment's own stand where the caller's list first names one of that
/// kind, else before the rest. What is hidden inside is left out.
fn with_own(scene: &Scene<'_>, list: Option<&OsStr>, own: &[&str]) -> OsString {
    let mut before: Vec<&[u8]> = Vec::new();
    let mut after: Vec<&[u8]> = Vec::new();
    let mut met = false;
    for entry in list.map(OsStr::as_bytes).unwrap_or_default().split(|b| *b == b':') {
        let path = Path::new(OsStr::from_bytes(entry));
        let top = path.components().nth(1).filter(|_| path.is_absolute());
        match top {
            Some(top) if is_own(top.as_os_str()) => met = true,
            Some(_) if is_visible(scene, path) && !before.contains(&entry) && !after.contains(&entry) => {
                if met {
                    after.push(entry)
                } else {
                    before.push(entry)
                }
            }
            _ => {}
        }
    }
    let own = own.iter().map(|directory| directory.as_bytes());
    let (first, last) = if met { (before, after) } else { (Vec::new(), before) };
    let parts: Vec<&[u8]> = first.into_iter().chain(own).chain(last).collect();
    OsStr::from_bytes(&parts.join(&b':')).to_owned()
}

fn is_visible(scene: &Scene<'_>, path: &Path) -> bool {
    match scene.mode {
        Mode::Compat => true,
        Mode::Sandbox(options) => options.paths.iter().any(|(shown, _)| path.starts_with(shown)),
    }
}
