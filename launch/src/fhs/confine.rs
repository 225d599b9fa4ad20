//! What a sandboxed start is beside its tree: namespaces, filters, landlock, the terminal, a filtered bus, and what
//! of it this system cannot enforce. Chooses and reports; the engine acts.

use super::host::{Address, HostView, Scene, Service, sockets};
use super::mode::SandboxOptions;
use crate::error::{Error, Kind};
use fhs_env::policy::{
    Asked, BusProxy, Enforcement, Files, Gap, KernelFacts, Landlock, Machine, Measure, Profile, Terminal, TerminalFacts,
};
use fhs_env::{Access, Capability, Descriptors, Hooks, Namespaces, Sandbox, Want};
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What a sandbox may write besides its home and the paths that were chosen so.
const WRITABLE: [&str; 5] = ["/dev", "/proc", "/run", "/tmp", "/var/tmp"];

/// A sandbox that was decided on. It holds the bus filter, which ends with it.
#[derive(Debug)]
pub struct Confinement {
    /// What was asked for.
    pub asked: Asked,
    /// What of it is kept.
    pub enforcement: Enforcement,
    machine: Option<Machine>,
    bus: Option<BusProxy>,
}

impl Confinement {
    /// Decides for this system, and starts the bus filter if the bus is shared. `multiarch`: 32-bit programs run in
    /// it, too.
    ///
    /// # Errors
    /// Something cannot be enforced although everything is required.
    pub fn prepare(options: &SandboxOptions, multiarch: bool, host: &HostView) -> Result<Confinement, Error> {
        let facts = KernelFacts::gather(host.variable("PATH"));
        let machine = facts.machine.filter(|_| facts.seccomp);
        let terminal = Terminal::choose(TerminalFacts::gather(machine.is_some()));
        let runtime = host.path("XDG_RUNTIME_DIR");
        let address = fhs_env::policy::session_address(host.variable("DBUS_SESSION_BUS_ADDRESS"), runtime.as_deref());
        let rules = options.bus.as_ref().zip(address);
        let mut asked = asked(options, multiarch, terminal, rules.is_some());
        let display =
            options.network && sockets(host).iter().any(|s| s.service == Service::X11 && matches!(s.address, Address::Abstract(_)));
        asked.scoped &= !display;
        let mut enforcement = Enforcement::judge(&asked, &facts);
        if display {
            enforcement.gaps.push(Gap {
                measure: Measure::AbstractSockets,
                // libxcb, `_xcb_open`: any other answer than that nobody listens ends the attempt.
                reason: "clients of an X server try its abstract socket first and give up if that is refused".to_owned(),
                remedy: "start it without the network, where they find the other one".to_owned(),
            });
        }
        let mut bus = None;
        if let (Some((rules, address)), Some(program), Some(directory)) = (rules, &facts.bus_proxy, &runtime) {
            match BusProxy::start(program, &address, directory, rules) {
                Ok(filter) => bus = Some(filter),
                Err(error) => {
                    enforcement.kept.retain(|measure| *measure != Measure::FilteredBus);
                    let remedy = "the bus is not shared".to_owned();
                    enforcement.gaps.push(Gap { measure: Measure::FilteredBus, reason: error.to_string(), remedy });
                }
            }
        }
        if options.require {
            enforcement.required().map_err(|e| {
                Error::new(Kind::CannotStart, "start", "the sandbox", e.to_string(), "leave --require out to start it with what there is")
            })?;
        }
        Ok(Confinement { asked, enforcement, machine, bus })
    }

    /// The socket of the bus filter, for [`Scene::bus`].
    pub fn bus_socket(&self) -> Option<&std::path::Path> {
        self.bus.as_ref().map(BusProxy::socket)
    }

    /// Whether the program is to be started behind a terminal of its own ([`fhs_env::policy::behind`]).
    pub fn wants_terminal(&self) -> bool {
        self.asked.terminal == Terminal::Proxy
    }

    /// Puts everything but the tree into a sandbox.
    pub fn apply(&self, scene: &Scene<'_>, options: &SandboxOptions, sandbox: &mut Sandbox) {
        sandbox.namespaces = self.asked.namespaces;
        sandbox.capabilities = vec![Capability::DropAll];
        sandbox.descriptors = Descriptors::Only(Vec::new());
        sandbox.new_session = self.asked.terminal == Terminal::NewSession;
        let files = self.asked.files.then(|| files(scene, options));
        sandbox.restrictions.push(Landlock { files, scoped: self.asked.scoped }.restriction());
        let filter = self.machine.and_then(|machine| match (self.asked.profile, self.asked.terminal) {
            (Profile::None, Terminal::Filter) => fhs_env::policy::terminal_guard(machine),
            (profile, _) => profile.program(machine, self.asked.multiarch),
        });
        sandbox.filters.extend(filter);
        let guarded = self.machine.filter(|_| self.asked.socket_calls_refused);
        sandbox.filters.extend(guarded.and_then(fhs_env::policy::socket_call_guard));
    }
}

/// The monitor keeps the bus filter alive.
impl Hooks for Confinement {
    fn descriptors(&self) -> Vec<RawFd> {
        self.bus.iter().filter_map(BusProxy::descriptor).collect()
    }
}

/// What a sandbox of ours promises.
fn asked(options: &SandboxOptions, multiarch: bool, terminal: Terminal, bus: bool) -> Asked {
    // A display server and a program that share memory are in one IPC namespace.
    let namespaces = Namespaces { user: Want::No, ipc: false, pid: true, net: !options.network, uts: false, cgroup: Want::Try };
    // Under landlock no mount can be made, not even by a sandbox inside this one.
    let files = options.profile != Profile::ChromiumOk;
    // It costs 32-bit programs nearly all sockets, which nobody wants who did not ask for every promise to be kept.
    let socket_calls_refused = options.require && multiarch && options.profile != Profile::None;
    Asked { namespaces, profile: options.profile, multiarch, socket_calls_refused, files, scoped: true, terminal, bus }
}

/// Everything that is shown may be read; what is its own, or was chosen so, may be written.
fn files(scene: &Scene<'_>, options: &SandboxOptions) -> Files {
    let chosen = options.paths.iter().filter(|(_, access)| *access != Access::ReadOnly).map(|(path, _)| path.clone());
    let own = WRITABLE.iter().map(PathBuf::from).chain([scene.home()]).chain(scene.runtime_directory());
    Files { readable: vec![PathBuf::from("/")], writable: own.chain(chosen).collect() }
}

/// Whether a farm holds 32-bit programs beside those of a 64-bit machine.
pub fn is_multiarch(farm: &super::host::Farm) -> bool {
    let other = resolver::arch::Arch::from_short("i686").and_then(|arch| arch.glibc_loader());
    let loader = other.map(|path| farm.root.join(path.trim_start_matches('/')));
    resolver::arch::Arch::host().is_some_and(|arch| arch.bits() == 64) && loader.is_some_and(|path| std::fs::symlink_metadata(path).is_ok())
}
