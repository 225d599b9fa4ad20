//! Shares the session bus with a sandbox through `xdg-dbus-proxy`: starts it with a list of what may be said, and
//! ties its life to ours by a pipe. Without that program the bus is not shared; nothing here filters by itself.

use super::kernel::BUS_PROXY;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a socket of ours is called before its random part.
const PREFIX: &str = "xeno-bus-";
/// The longest path of a socket (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;
/// The longest name on a bus (D-Bus specification, "Valid Names").
const NAME_MAX: usize = 255;
/// The most rules.
const RULES_MAX: usize = 256;
/// How long the filter may take to be ready, in milliseconds.
const READY_MS: u16 = 10_000;

/// What the program may do on the bus. Names are well-known ones, or all that begin so: `org.example.*`
/// (`xdg-dbus-proxy(1)`, "Policy"). The bus itself can always be talked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusRules {
    /// May be seen to exist.
    pub see: Vec<String>,
    /// May be sent calls to, and received from.
    pub talk: Vec<String>,
    /// May be owned.
    pub own: Vec<String>,
}

/// A filter that could not be started. The bus is not shared then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// A rule has no valid name.
    #[error("filtering the session bus: {0:?} is no name on a bus; write it like org.example.Name or org.example.*")]
    Name(String),
    /// Too many rules.
    #[error("filtering the session bus: {0} rules exceed the limit of {RULES_MAX}; use names that end in .*")]
    TooMany(usize),
    /// No address of a bus.
    #[error("filtering the session bus: {0:?} is no address; set DBUS_SESSION_BUS_ADDRESS, or start it without the bus")]
    Address(OsString),
    /// The socket's path would be too long.
    #[error("filtering the session bus: {} is too long a path for a socket; use a shorter XDG_RUNTIME_DIR", .0.display())]
    Path(PathBuf),
    /// It cannot be started.
    #[error("filtering the session bus: starting {}: {source}; install {BUS_PROXY}, or start it without the bus", program.display())]
    Start {
        /// The filter.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It was started, and does not filter.
    #[error("filtering the session bus: {} {reason}; see that the bus at {} answers, or start it without the bus", program.display(), address.display())]
    NotReady {
        /// The filter.
        program: PathBuf,
        /// The bus.
        address: OsString,
        /// What it did instead, as a clause.
        reason: String,
    },
}

/// A running filter. It ends when this is dropped, and when the process that holds [`BusProxy::descriptor`] ends in
/// whatever way.
#[derive(Debug)]
pub struct BusProxy {
    socket: PathBuf,
    /// The filter stops when the last copy of this is closed.
    life: Option<OwnedFd>,
    child: Child,
}

/// The address of the session bus: what the variable says, else the socket that there is by convention
/// (D-Bus specification, "Well-known Message Bus Instances"; `pam_systemd(8)`).
pub fn session_address(variable: Option<&OsStr>, runtime_directory: Option<&Path>) -> Option<OsString> {
    if let Some(address) = variable.filter(|address| !address.is_empty()) {
        return Some(address.to_owned());
    }
    let socket = runtime_directory?.join("bus");
    // Other characters would have to be escaped, and no system has them there.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_/.".contains(b);
    let usable = socket.is_absolute() && socket.exists() && socket.as_os_str().as_bytes().iter().all(plain);
    usable.then(|| ["unix:path=".as_ref(), socket.as_os_str()].into_iter().collect())
}

impl BusRules {
    fn arguments(&self) -> Result<Vec<String>, BusError> {
        let groups = [("see", &self.see), ("talk", &self.talk), ("own", &self.own)];
        let count = groups.iter().map(|(_, names)| names.len()).sum();
        if count > RULES_MAX {
            return Err(BusError::TooMany(count));
        }
        let mut arguments = vec!["--filter".to_owned()];
        for (what, names) in groups {
            for name in names {
                if !is_name(name) {
                    return Err(BusError::Name(name.clone()));
                }
                arguments.push(format!("--{what}={name}"));
            }
        }
        Ok(arguments)
    }
}

/// A well-known name, or one with `.*` behind at least one element.
fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".*");
    let elements = stem.unwrap_or(name).split('.');
    let element = |text: &str| {
        !text.is_empty()
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let least = if stem.is_some() { 1 } else { 2 };
    name.len() <= NAME_MAX && !name.starts_with('-') && elements.clone().all(element) && elements.count() >= least
}

impl BusProxy {
    /// Starts `program`, which listens at a new socket in `directory` (the runtime directory of the user: nobody else
    /// may look into it), passes to the bus at `address` what the rules allow, and returns when it listens.
    ///
    /// # Errors
    /// [`BusError`]; nothing runs then.
    pub fn start(program: &Path, address: &OsStr, directory: &Path, rules: &BusRules) -> Result<BusProxy, BusError> {
        let arguments = rules.arguments()?;
        let word = address.as_bytes();
        if word.starts_with(b"-") || !word.contains(&b':') {
            return Err(BusError::Address(address.to_owned()));
        }
        let failed = |source: io::Error| BusError::Start { program: program.to_owned(), source };
        sweep(directory);
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(failed)?;
        let socket = directory.join(format!("{PREFIX}{}", random.trim()));
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(BusError::Path(socket));
        }
        let (life, other) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let mut command = Command::new(program);
        // The other end is its standard input: a descriptor that every process has, whatever else is closed.
        command.arg("--fd=0").arg(address).arg(&socket).args(arguments);
        command.stdin(other).stdout(Stdio::null()).stderr(Stdio::null());
        // Keys that mean signals are for the program.
        let child = command.process_group(0).spawn().map_err(failed)?;
        // Its own copy of the other end has to be the only one.
        drop(command);
        let mut proxy = BusProxy { socket, life: Some(life), child };
        match proxy.ready() {
            Ok(()) => Ok(proxy),
            Err(reason) => Err(BusError::NotReady { program: program.to_owned(), address: address.to_owned(), reason }),
        }
    }

    /// Where it listens: to be bound into the sandbox.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What keeps it alive. The monitor of a sandbox has to keep it open ([`crate::Hooks::descriptors`]); inside, it
    /// is of no use.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.life.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// It says one byte when it listens (`--fd` in `xdg-dbus-proxy(1)`).
    fn ready(&mut self) -> Result<(), String> {
        let Some(life) = &self.life else { return Err("is not running".to_owned()) };
        let mut byte = [0u8; 1];
        loop {
            let mut only = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
            match poll(&mut only, PollTimeout::from(READY_MS)) {
                Ok(0) => return Err(format!("did not answer within {} seconds", READY_MS / 1000)),
                Ok(_) => match read(life, &mut byte) {
                    Ok(1) => return Ok(()),
                    Ok(_) => return Err("ended before it listened".to_owned()),
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(format!("does not answer ({})", errno.desc())),
                },
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("cannot be waited for ({})", errno.desc())),
            }
        }
    }
}

impl Drop for BusProxy {
    fn drop(&mut self) {
        drop(self.life.take());
        // One that does not listen yet does not listen to the pipe either.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended.map(drop).and_then(|()| std::fs::remove_file(&self.socket)) {
            log::debug!("session bus: ending its filter: {error}");
        }
    }
}

/// Removes sockets of ours that nobody listens at: what is left of a filter that was killed itself.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().filter(|e| e.file_name().as_bytes().starts_with(PREFIX.as_bytes())).map(|e| e.path()) {
        let refused = UnixStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused && let Err(error) = std::fs::remove_file(&path) {
            log::debug!("session bus: removing {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_name_and_never_an_option() {
        for name in ["org.example.Name", "org.example.*", "org.*", "a.b-c._d9"] {
            assert!(is_name(name), "{name}");
        }
        for name in
            ["", "*", ".*", "org", "org..x", "org.9x", "-o.x", "--own=x.y", "org.x=@/y", "org.x *", "org.x\n", ":1.5", "a.*.b", "org.ä"]
        {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&format!("a.{}", "b".repeat(254))));
        let rules = BusRules { talk: vec!["org.a.B".into()], own: vec!["org.c.*".into()], see: vec!["org.d.E".into()] };
        assert_eq!(rules.arguments().unwrap(), ["--filter", "--see=org.d.E", "--talk=org.a.B", "--own=org.c.*"]);
        let many = BusRules { talk: vec!["org.a.B".into(); 257], ..BusRules::default() };
        assert!(matches!(many.arguments(), Err(BusError::TooMany(257))));
    }

    #[test]
    fn the_variable_names_the_bus_or_else_the_runtime_directory_has_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(session_address(Some("unix:abstract=x".as_ref()), Some(dir.path())), Some("unix:abstract=x".into()));
        assert_eq!(session_address(None, Some(dir.path())), None);
        std::fs::write(dir.path().join("bus"), "").unwrap();
        let expected = format!("unix:path={}/bus", dir.path().display());
        assert_eq!(session_address(Some("".as_ref()), Some(dir.path())), Some(expected.into()));
        assert_eq!(session_address(None, Some("relative".as_ref())), None);
    }
}
