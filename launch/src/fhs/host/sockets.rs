//! Where the display, sound and message servers listen, read from the variables as their clients read them, and
//! the steps that show these sockets where a directory above them is not the host's. Pure; whether anybody
//! listens is not asked.

use super::{HostView, Scene};
use crate::fhs::mode::Mode;
use fhs_env::{Access, Op, Source};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// An X server.
    X11,
    /// A Wayland compositor.
    Wayland,
    /// A PulseAudio server.
    PulseAudio,
    /// A PipeWire server.
    PipeWire,
    /// The user's D-Bus.
    SessionBus,
    /// The machine's D-Bus.
    SystemBus,
}

/// Where a socket listens (`unix(7)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At a path.
    Path(PathBuf),
    /// In the abstract name space, which belongs to the network namespace.
    Abstract(OsString),
}

/// A socket that the program may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Whose.
    pub service: Service,
    /// Where.
    pub address: Address,
}

/// Where a sandbox keeps what the user's home and `/tmp` hold outside.
const OWN_RUN: &str = "/run/xeno";
/// Where it finds its filtered bus.
pub(super) const BUS: &str = "/run/xeno/bus";

/// The sockets that the variables name, by the rules of each client library.
pub fn sockets(host: &HostView) -> Vec<Socket> {
    let mut out: Vec<Socket> = Vec::new();
    let mut add = |service, address| {
        let socket = Socket { service, address };
        if !out.contains(&socket) {
            out.push(socket);
        }
    };
    for address in x11(host) {
        add(Service::X11, address);
    }
    let runtime = host.path("XDG_RUNTIME_DIR");
    let in_runtime = |name: &OsStr| runtime.as_ref().map(|directory| directory.join(name));
    if let Some(path) = in_runtime(host.variable("WAYLAND_DISPLAY").unwrap_or(OsStr::new("wayland-0"))) {
        // Joining an absolute path gives that path: libwayland means the same.
        add(Service::Wayland, Address::Path(path));
    }
    for path in pulse(host) {
        add(Service::PulseAudio, Address::Path(path));
    }
    let remote = host.variable("PIPEWIRE_REMOTE").unwrap_or(OsStr::new("pipewire-0"));
    if let Some(directory) = host.path("PIPEWIRE_RUNTIME_DIR").or_else(|| runtime.clone()) {
        add(Service::PipeWire, Address::Path(directory.join(remote)));
    }
    let session = host.variable("DBUS_SESSION_BUS_ADDRESS");
    for address in session
        .map_or_else(|| in_runtime(OsStr::new("bus")).map(Address::Path).into_iter().collect(), |text| dbus(text, runtime.as_deref()))
    {
        add(Service::SessionBus, address);
    }
    let system = host.variable("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or(OsStr::new("unix:path=/run/dbus/system_bus_socket"));
    for address in dbus(system, None) {
        add(Service::SystemBus, address);
    }
    out
}

/// `DISPLAY` (X(7), "Display names"; libxcb's `_xcb_parse_display`): `[unix]:N[.S]`, or the path of a socket.
/// Any other host is reached over the network.
fn x11(host: &HostView) -> Vec<Address> {
    let Some(text) = host.variable("DISPLAY") else { return Vec::new() };
    let text = text.as_bytes();
    if text.starts_with(b"/") {
        return vec![Address::Path(PathBuf::from(OsStr::from_bytes(text)))];
    }
    let Some(at) = text.iter().rposition(|b| *b == b':') else { return Vec::new() };
    let (server, rest) = (text.get(..at).unwrap_or(b""), text.get(at + 1..).unwrap_or(b""));
    let number: String = rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    if !matches!(server, b"" | b"unix" | b"unix/") || number.is_empty() || number.len() > 9 {
        return Vec::new();
    }
    let path = format!("/tmp/.X11-unix/X{number}");
    vec![Address::Path(path.clone().into()), Address::Abstract(path.into())]
}

/// `PULSE_SERVER` (pulseaudio(1), "Client options"): a list of `[{machine}]unix:/path`, `/path` and network names.
fn pulse(host: &HostView) -> Vec<PathBuf> {
    let Some(list) = host.variable("PULSE_SERVER") else {
        let runtime = host.path("PULSE_RUNTIME_PATH").or_else(|| host.path("XDG_RUNTIME_DIR").map(|d| d.join("pulse")));
        return runtime.map(|directory| directory.join("native")).into_iter().collect();
    };
    let words = list.as_bytes().split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let path = |word: &[u8]| {
        let word = match (word.first(), word.iter().position(|b| *b == b'}')) {
            (Some(b'{'), Some(end)) => word.get(end + 1..)?.to_vec(),
            _ => word.to_vec(),
        };
        let path = word.strip_prefix(b"unix:").unwrap_or(&word);
        path.starts_with(b"/").then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
    };
    words.filter_map(path).collect()
}

/// A D-Bus address list (D-Bus Specification, "Server Addresses"): `unix:path=…,guid=…;unix:abstract=…`, bytes
/// written `%xx`; `runtime=yes` is the bus of the runtime directory. Other transports have no socket file.
pub(crate) fn dbus(text: &OsStr, runtime: Option<&Path>) -> Vec<Address> {
    let mut out = Vec::new();
    for address in text.as_bytes().split(|b| *b == b';') {
        let Some(pairs) = address.strip_prefix(b"unix:") else { continue };
        for pair in pairs.split(|b| *b == b',') {
            let Some(at) = pair.iter().position(|b| *b == b'=') else { continue };
            let (key, value) = (pair.get(..at).unwrap_or(b""), pair.get(at + 1..).unwrap_or(b""));
            let Some(value) = unescape(value).filter(|value| !value.is_empty() && !value.contains(&0)) else { continue };
            match (key, runtime) {
                (b"path", _) if value.starts_with(b"/") => out.push(Address::Path(PathBuf::from(OsString::from_vec(value)))),
                (b"abstract", _) => out.push(Address::Abstract(OsString::from_vec(value))),
                (b"runtime", Some(runtime)) if value == b"yes" => out.push(Address::Path(runtime.join("bus"))),
                _ => {}
            }
        }
    }
    out
}

fn unescape(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        out.push(digit()? << 4 | digit()?);
    }
    Some(out)
}

/// The files that prove to a server who asks, and where a sandbox has them.
fn secrets(host: &HostView) -> Vec<(&'static str, PathBuf, PathBuf)> {
    let home = &host.user.home;
    let authority = host.path("XAUTHORITY").unwrap_or_else(|| home.join(".Xauthority"));
    let cookie = host.path("PULSE_COOKIE").unwrap_or_else(|| home.join(".config/pulse/cookie"));
    let mut out = Vec::new();
    if host.variable("DISPLAY").is_some() {
        out.push(("XAUTHORITY", authority, Path::new(OWN_RUN).join("Xauthority")));
    }
    if !pulse(host).is_empty() {
        out.push(("PULSE_COOKIE", cookie, Path::new(OWN_RUN).join("pulse-cookie")));
    }
    out
}

/// The variables that a sandbox's secrets are found by.
pub(crate) fn secret_variables(scene: &Scene<'_>) -> Vec<(OsString, Option<OsString>)> {
    match scene.mode {
        Mode::Compat => Vec::new(),
        Mode::Sandbox(_) => secrets(scene.host).into_iter().map(|(name, _, at)| (name.into(), Some(at.into_os_string()))).collect(),
    }
}

fn show(from: &Path, at: PathBuf, access: Access) -> Op {
    Op::Bind { source: Source::Path(from.to_owned()), path: at, access, optional: true }
}

/// The steps that show the sockets. Abstract ones need none: they go with the network namespace.
pub fn socket_ops(scene: &Scene<'_>) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let sandbox = matches!(scene.mode, Mode::Sandbox(_));
    for socket in sockets(scene.host) {
        let Address::Path(path) = socket.address else { continue };
        // A bus is as powerful as its strongest service: a sandbox gets a filtered one or none.
        let wanted =
            if sandbox { !matches!(socket.service, Service::SessionBus | Service::SystemBus) } else { hidden_by_tmp(scene, &path) };
        if !wanted || !plain(&path) {
            continue;
        }
        let op = match path.parent().filter(|_| !sandbox && socket.service == Service::X11) {
            // The server makes its socket anew when it is started again.
            Some(directory) => show(directory, directory.to_owned(), Access::ReadWrite),
            None => show(&path, path.clone(), Access::ReadWrite),
        };
        if !ops.contains(&op) {
            ops.push(op);
        }
    }
    if let Some(bus) = scene.bus.filter(|_| sandbox) {
        let source = Source::Path(bus.to_owned());
        ops.push(Op::Bind { source, path: BUS.into(), access: Access::ReadWrite, optional: false });
    }
    for (_, file, at) in secrets(scene.host) {
        if sandbox {
            ops.push(show(&file, at, Access::ReadOnly));
        } else if hidden_by_tmp(scene, &file) && plain(&file) {
            ops.push(show(&file, file.clone(), Access::ReadOnly));
        }
    }
    ops
}

fn hidden_by_tmp(scene: &Scene<'_>, path: &Path) -> bool {
    scene.private_tmp && path.starts_with("/tmp")
}

/// Where a socket can be shown: a path that says where it leads.
fn plain(path: &Path) -> bool {
    let top = path.components().nth(1);
    path.is_absolute()
        && !path.components().any(|c| matches!(c, std::path::Component::ParentDir))
        && top.is_some_and(|top| !super::is_own(top.as_os_str()) && !["etc", "proc", "dev", "sys"].iter().any(|t| top.as_os_str() == *t))
}
