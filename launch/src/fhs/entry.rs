//! From a farm and what the host shows to a started program: the steps in their order, the variables, and – for a
//! sandbox – what confines it. The one place where these meet; it builds no farm and prints nothing.

use super::confine::{Confinement, is_multiarch};
use super::host::drivers::{self, Drivers};
use super::host::{self, Farm, HostView, OWN_TOPS, Scene};
use super::mode::Mode;
use crate::error::{Error, Kind};
use fhs_env::policy::Enforcement;
use fhs_env::{Access, Exit, Failed, Fault, Hooks, Op, Program, Sandbox, Source, StartError, Step};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use store::cache::Cache;

/// What is entered, and how.
#[derive(Clone, Copy, Debug)]
pub struct Entrance<'a> {
    /// The farm's directory; it holds `usr`.
    pub farm: &'a Path,
    /// Directories that the farm's links lead into: a sandbox is shown them, and otherwise they are there.
    pub stores: &'a [PathBuf],
    /// Everything of the host, or what is listed.
    pub mode: &'a Mode,
    /// `/tmp` is the program's own. A sandbox's always is.
    pub private_tmp: bool,
    /// Steps of the specification, applied last.
    pub further: &'a [Op],
    /// Where the layers of drivers are kept; `None` leaves the host's drivers out.
    pub drivers: Option<&'a Cache>,
}

/// Everything for one start.
#[derive(Debug)]
pub struct Entry {
    /// The root, the namespaces, the rest; what a specification asks for besides may be added.
    pub sandbox: Sandbox,
    /// Variables to set, or with `None` to unset.
    pub variables: Vec<(OsString, Option<OsString>)>,
    confinement: Option<Confinement>,
}

impl Entrance<'_> {
    /// Decides.
    ///
    /// # Errors
    /// A sandbox that is required to keep all its promises cannot, or is asked to show what it cannot.
    pub fn prepare(&self, host: &HostView) -> Result<Entry, Error> {
        let farm = Farm::look(self.farm);
        let options = match self.mode {
            Mode::Compat => None,
            Mode::Sandbox(options) => Some(options),
        };
        options.map_or(Ok(()), super::mode::SandboxOptions::check)?;
        let confinement = options.map(|options| Confinement::prepare(options, is_multiarch(&farm), host)).transpose()?;
        let bus = confinement.as_ref().and_then(Confinement::bus_socket).map(Path::to_owned);
        let scene = Scene { host, mode: self.mode, farm: &farm, private_tmp: self.private_tmp, drivers: None, bus: bus.as_deref() };
        let found = self.drivers.and_then(|cache| found(&scene, cache));
        let scene = Scene { drivers: found.as_ref(), ..scene };
        let mut sandbox = Sandbox { ops: self.ops(&scene), ..Sandbox::default() };
        if let (Some(confinement), Some(options)) = (&confinement, options) {
            confinement.apply(&scene, options, &mut sandbox);
        }
        Ok(Entry { variables: host::variables(&scene), sandbox, confinement })
    }

    /// The whole tree.
    fn ops(&self, scene: &Scene<'_>) -> Vec<Op> {
        let show =
            |source: PathBuf, path: PathBuf| Op::Bind { source: Source::Path(source), path, access: Access::ReadOnly, optional: false };
        let mut ops = vec![show(self.farm.join("usr"), "/usr".into())];
        for top in OWN_TOPS.iter().filter(|top| **top != "usr" && self.farm.join("usr").join(top).is_dir()) {
            ops.push(Op::Link { path: Path::new("/").join(top), target: Path::new("usr").join(top) });
        }
        let sandboxed = matches!(scene.mode, Mode::Sandbox(_));
        let stores = self.stores.iter().filter(|store| sandboxed || scene.private_tmp && store.starts_with("/tmp"));
        ops.extend(host::ops(scene, stores.map(|store| show(store.clone(), store.clone()))));
        ops.extend(self.further.iter().cloned());
        ops.push(Op::ReadOnly("/".into()));
        // A sandbox leaves nothing of the host behind it; for the rest it is enough to be out of sight.
        ops.push(if sandboxed { Op::PivotRoot } else { Op::ChangeRoot });
        ops
    }
}

impl Entry {
    /// What is and what is not enforced, of a sandbox.
    pub fn enforcement(&self) -> Option<&Enforcement> {
        self.confinement.as_ref().map(|confinement| &confinement.enforcement)
    }

    /// Starts `file` with the caller's variables, those of the environment, and `further` ones. Without a supervisor
    /// the calling process becomes the program: it returns only with an error.
    ///
    /// # Errors
    /// What failed, as [`fhs_env`] says it. The calling process may then be in other namespaces.
    pub fn start(self, file: &OsStr, arguments: &[OsString], further: &[(OsString, Option<OsString>)]) -> Result<Exit, Error> {
        let changed = |name: &OsStr| self.variables.iter().chain(further).any(|(other, _)| other == name);
        let kept = std::env::vars_os().filter(|(name, _)| !changed(name));
        let replaced = |name: &OsStr| further.iter().any(|(other, _)| other == name);
        let set = self.variables.iter().filter(|(name, _)| !replaced(name)).chain(further);
        let set = set.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let environment = kept.chain(set).map(|(name, value)| [name, value].join(OsStr::new("="))).collect();
        let program = Program { file: file.to_owned(), arguments: arguments.to_vec(), environment };
        let name = file.to_string_lossy().into_owned();
        match self.confinement {
            Some(confinement) if confinement.wants_terminal() => behind(self.sandbox, program, confinement, &name),
            Some(mut confinement) => run(self.sandbox, program, &mut confinement).map_err(|e| failed(&name, &e)),
            None => run(self.sandbox, program, &mut ()).map_err(|e| failed(&name, &e)),
        }
    }
}

/// The host's drivers. Without them programs draw more slowly or not at all, but most of them never draw.
fn found(scene: &Scene<'_>, cache: &Cache) -> Option<Drivers> {
    drivers::prepare(scene, cache).unwrap_or_else(|error| {
        log::warn!("this machine's graphics drivers are left out: {error}");
        None
    })
}

fn run(sandbox: Sandbox, program: Program, hooks: &mut dyn Hooks) -> Result<Exit, StartError> {
    sandbox.start(program, hooks)
}

fn failed(name: &str, error: &StartError) -> Error {
    let missing = error.fault().and_then(Fault::errno) == Some(Errno::ENOENT);
    let kind = match error.failed() {
        Failed::Step(Step::Exec(_)) if missing => Kind::NotFound,
        _ => Kind::CannotStart,
    };
    // It says itself what was being done.
    let text = error.to_string();
    let text = text.strip_prefix("starting the sandbox: ").unwrap_or(&text);
    Error::new(kind, "start", name, text.strip_prefix(&format!("start {name}: ")).unwrap_or(text), "")
}

/// Starts it behind a terminal of its own: in a child, which says over a pipe why it could not.
fn behind(sandbox: Sandbox, program: Program, confinement: Confinement, name: &str) -> Result<Exit, Error> {
    let own = |e: std::io::Error| Error::own("start", name, e);
    let (mut read, mut write) = std::io::pipe().map_err(own)?;
    let mut hooks = Reporting { confinement, pipe: write.as_raw_fd() };
    let child = || match run(sandbox, program, &mut hooks) {
        Ok(exit) => exit.status(),
        Err(error) => {
            let error = failed(name, &error);
            // If nobody reads it, nobody wants to know.
            let _ = std::io::Write::write_all(&mut write, error.cause().as_bytes());
            error.exit_status()
        }
    };
    let exit = fhs_env::policy::behind(child).map_err(|e| Error::own("start", name, e))?;
    drop(write);
    let mut why = String::new();
    std::io::Read::read_to_string(&mut read, &mut why).map_err(own)?;
    let kind = if exit.status() == 127 { Kind::NotFound } else { Kind::CannotStart };
    if why.is_empty() { Ok(exit) } else { Err(Error::new(kind, "start", name, why, "")) }
}

/// A confinement whose monitor also keeps the pipe for what it has to say.
struct Reporting {
    confinement: Confinement,
    pipe: RawFd,
}

impl Hooks for Reporting {
    fn descriptors(&self) -> Vec<RawFd> {
        [self.confinement.descriptors(), vec![self.pipe]].concat()
    }
}

/// Becomes a program of the host in an environment that shows the whole host; returns only to say why that failed.
pub(crate) fn become_program(farm: &Path, exec: &Path, argv: &[OsString], variables: &[(OsString, Option<OsString>)]) -> Error {
    let started = HostView::gather().and_then(|host| {
        let absolute = std::path::absolute(exec).map_err(|e| Error::io("start", exec, e, "name it by its path"))?;
        let mode = Mode::Compat;
        // Farms lie in the cache, two directories down.
        let cache = farm.ancestors().nth(2).map(Cache::at);
        let entrance = Entrance { farm, stores: &[], mode: &mode, private_tmp: false, further: &[], drivers: cache.as_ref() };
        // What the environment hides is seen aside; the rest keeps the name it was given.
        let hidden = absolute.components().nth(1).is_some_and(|top| host::is_own(top.as_os_str()));
        let file = if hidden { host.aside.join(absolute.strip_prefix("/").unwrap_or(&absolute)) } else { exec.to_owned() };
        entrance.prepare(&host)?.start(file.as_os_str(), argv, variables)
    });
    match started {
        Err(error) => error,
        Ok(exit) => {
            Error::new(Kind::Own, "start", exec.display().to_string(), format!("it ended at once, with status {}", exit.status()), "")
        }
    }
}

/// Whether a farm has a file at a path of its root, as far as that can be told from outside.
pub fn has(farm: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix("/") else { return false };
    path.components().nth(1).is_some_and(|top| host::is_own(top.as_os_str()))
        && std::fs::metadata(farm.join(inside)).is_ok_and(|m| m.is_file())
}
