//! The session bus behind its filter: what passes, what does not, and what is left when its owner is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use fhs_env::policy::{BusError, BusProxy, BusRules, KernelFacts};
use scene::skip;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A bus of its own.
struct Bus {
    daemon: Child,
    address: String,
    dir: tempfile::TempDir,
    filter: PathBuf,
}

impl Bus {
    fn new() -> Option<Bus> {
        let Some(filter) = KernelFacts::gather(std::env::var_os("PATH").as_deref()).bus_proxy else {
            skip("xdg-dbus-proxy is not installed");
            return None;
        };
        for needed in ["dbus-daemon", "gdbus"] {
            if Command::new(needed).arg("help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                skip(&format!("{needed} is not installed"));
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address", "--address"])
            .arg(format!("unix:path={}", dir.path().join("bus").display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Some(Bus { daemon, address: address.trim().to_owned(), dir, filter })
    }

    fn filtered(&self, rules: &BusRules) -> BusProxy {
        BusProxy::start(&self.filter, self.address.as_ref(), self.dir.path(), rules).unwrap()
    }

    fn sockets(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| name.starts_with("xeno-bus-")).collect()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

/// Calls a method of the bus itself; what it answers, or its error.
fn call(address: &str, method: &str, arguments: &[&str]) -> Result<String, String> {
    let out = Command::new("gdbus")
        .args(["call", "--address", address, "--dest", "org.freedesktop.DBus", "--object-path", "/", "--method"])
        .arg(format!("org.freedesktop.DBus.{method}"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
}

fn of(proxy: &BusProxy) -> String {
    format!("unix:path={}", proxy.socket().display())
}

#[test]
fn only_names_that_a_rule_allows_can_be_owned() {
    let Some(bus) = Bus::new() else { return };
    let want = ["org.xeno.Law", "uint32 0"];
    assert_eq!(call(&bus.address, "RequestName", &want), Ok("(uint32 1,)".into()), "the control: DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER");
    let closed = bus.filtered(&BusRules::default());
    let error = call(&of(&closed), "RequestName", &want).unwrap_err();
    assert!(error.contains("org.freedesktop.DBus.Error"), "{error}");
    let open = bus.filtered(&BusRules { own: vec!["org.xeno.*".into()], ..BusRules::default() });
    assert_eq!(call(&of(&open), "RequestName", &want), Ok("(uint32 1,)".into()));
}

#[test]
fn the_bus_itself_answers_and_others_are_not_seen() {
    let Some(bus) = Bus::new() else { return };
    let mut other = Command::new("gdbus")
        .args(["monitor", "--address", &bus.address, "--dest", "org.xeno.Nobody"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let unique = |names: String| names.matches("':").count();
    let proxy = bus.filtered(&BusRules::default());
    let (direct, filtered) = (call(&bus.address, "ListNames", &[]).unwrap(), call(&of(&proxy), "ListNames", &[]).unwrap());
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(filtered.contains("'org.freedesktop.DBus'"), "{filtered}");
    assert!(unique(direct.clone()) >= 2, "the control: {direct}");
    assert_eq!(unique(filtered.clone()), 1, "its own: {filtered}");
}

#[test]
fn a_filter_ends_with_its_owner_and_leaves_nothing() {
    let Some(bus) = Bus::new() else { return };
    let proxy = bus.filtered(&BusRules::default());
    let socket = proxy.socket().to_owned();
    assert!(UnixStream::connect(&socket).is_ok(), "the control");
    assert_eq!(bus.sockets().len(), 1);
    drop(proxy);
    assert!(!socket.exists());
    assert_eq!(bus.sockets(), [""; 0]);
}

#[test]
fn a_filter_whose_owner_is_killed_ends() {
    let Some(bus) = Bus::new() else { return };
    let example = std::env::current_exe().unwrap().parent().unwrap().join("../examples/restrict");
    assert!(example.exists(), "{} is missing; run `cargo build --examples`", example.display());
    let mut owner =
        Command::new(example).arg("--bus").arg(&bus.filter).arg(&bus.address).arg(bus.dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut socket = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut socket).unwrap();
    let mut connection = UnixStream::connect(socket.trim()).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The connection ends when the filter does; that is waited for.
    assert_eq!(std::io::Read::read(&mut connection, &mut [0]).unwrap(), 0);
}

#[test]
fn sockets_of_killed_filters_are_removed_by_the_next_one_and_others_are_kept() {
    let Some(bus) = Bus::new() else { return };
    drop(UnixListener::bind(bus.dir.path().join("xeno-bus-dead")).unwrap());
    assert_eq!(bus.sockets(), ["xeno-bus-dead"]);
    let live = UnixListener::bind(bus.dir.path().join("xeno-bus-live")).unwrap();
    let proxy = bus.filtered(&BusRules::default());
    let mut found = bus.sockets();
    found.sort();
    let own = proxy.socket().file_name().unwrap().to_str().unwrap();
    let mut expected = [own, "xeno-bus-live"];
    expected.sort_unstable();
    assert_eq!(found, expected);
    drop(live);
}

#[test]
fn a_filter_that_cannot_work_is_an_error_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let start =
        |program: &str, address: &str, rules: &BusRules| BusProxy::start(Path::new(program), OsStr::new(address), dir.path(), rules);
    let none = BusRules::default();
    assert!(matches!(start("/nowhere/filter", "unix:path=/x", &none), Err(BusError::Start { .. })));
    assert!(matches!(start("/bin/true", "--filter", &none), Err(BusError::Address(_))));
    let bad = BusRules { talk: vec!["--help".into()], ..BusRules::default() };
    assert_eq!(
        start("/bin/true", "unix:path=/x", &bad).unwrap_err().to_string(),
        "filtering the session bus: \"--help\" is no name on a bus; write it like org.example.Name or org.example.*"
    );
    let error = start("/bin/true", "unix:path=/x", &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "filtering the session bus: /bin/true ended before it listened; see that the bus at unix:path=/x answers, or start it without the bus"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
