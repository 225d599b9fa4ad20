//! What of a sandbox's promises this system keeps: a pure judgement of what was asked by what is known of the
//! kernel, each gap with its reason and remedy. Asks nothing, changes nothing.

use super::{KernelFacts, Profile, Terminal};
use crate::refusal::Refusal;
use crate::sandbox::{Namespaces, Want};
use std::fmt;

/// What a sandbox is asked to promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The namespaces it has.
    pub namespaces: Namespaces,
    /// The system calls it may make.
    pub profile: Profile,
    /// 32-bit programs run in it.
    pub multiarch: bool,
    /// 32-bit programs make no sockets by `socketcall(2)` ([`super::socket_call_guard`]).
    pub socket_calls_refused: bool,
    /// Its files are restricted by landlock, too.
    pub files: bool,
    /// It reaches no abstract socket and no process outside.
    pub scoped: bool,
    /// How the caller's terminal is kept from it.
    pub terminal: Terminal,
    /// It has the session bus, filtered.
    pub bus: bool,
}

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Only what is shared is seen: a mount namespace, and a user namespace where the caller needs one.
    Hiding,
    /// Another namespace, by its name in `/proc/PID/ns`.
    Namespace(&'static str),
    /// The profile's system calls are refused.
    SystemCalls(Profile),
    /// Only the families of sockets that the profile knows can be made.
    SocketFamilies,
    /// Files by landlock.
    Files,
    /// Devices are not controlled (`ioctl(2)`) but where they may be written.
    DeviceControl,
    /// No abstract socket of the host can be connected to.
    AbstractSockets,
    /// No process of the host can be sent a signal.
    Signals,
    /// No input can be put into the caller's terminal.
    TerminalInput,
    /// The session bus is shared through a filter.
    FilteredBus,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::Hiding => f.write_str("hiding the host's files"),
            Measure::Namespace(name) => write!(f, "a {name} namespace of its own"),
            Measure::SystemCalls(profile) => write!(f, "refusing system calls ({profile})"),
            Measure::SocketFamilies => f.write_str("refusing rare families of sockets"),
            Measure::Files => f.write_str("restricting files by landlock"),
            Measure::DeviceControl => f.write_str("restricting device control by landlock"),
            Measure::AbstractSockets => f.write_str("keeping abstract sockets of the host away"),
            Measure::Signals => f.write_str("keeping signals from processes of the host"),
            Measure::TerminalInput => f.write_str("keeping input from the caller's terminal"),
            Measure::FilteredBus => f.write_str("sharing the session bus through a filter"),
        }
    }
}

/// A promise that is not kept. Prints itself in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub measure: Measure,
    /// Why, as a clause.
    pub reason: String,
    /// What can be done, as a clause.
    pub remedy: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not enforced: {}: {}; {}", self.measure, self.reason, self.remedy)
    }
}

/// What is kept and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// The promises that are kept, in the order of [`Measure`].
    pub kept: Vec<Measure>,
    /// Those that are not.
    pub gaps: Vec<Gap>,
}

/// A sandbox that must not start, because something would not be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("starting the sandbox: not all that is required can be enforced: {}", .gaps.iter().map(Gap::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unenforced {
    /// At least one.
    pub gaps: Vec<Gap>,
}

impl Enforcement {
    /// Judges.
    pub fn judge(asked: &Asked, facts: &KernelFacts) -> Enforcement {
        let mut out = Enforcement::default();
        out.namespaces(asked, facts);
        out.system_calls(asked, facts);
        out.landlock(asked, facts);
        out.terminal(asked, facts);
        if asked.bus {
            let fix = "install it, or the session bus is not shared".to_owned();
            out.add(Measure::FilteredBus, facts.bus_proxy.is_some(), format!("{} is not installed", super::kernel::BUS_PROXY), fix);
        }
        out
    }

    /// Makes a gap an error.
    ///
    /// # Errors
    /// [`Unenforced`] if there is one.
    pub fn required(&self) -> Result<(), Unenforced> {
        if self.gaps.is_empty() { Ok(()) } else { Err(Unenforced { gaps: self.gaps.clone() }) }
    }

    fn add(&mut self, measure: Measure, kept: bool, reason: impl Into<String>, remedy: impl Into<String>) {
        if kept {
            self.kept.push(measure);
        } else {
            self.gaps.push(Gap { measure, reason: reason.into(), remedy: remedy.into() });
        }
    }

    fn namespaces(&mut self, asked: &Asked, facts: &KernelFacts) {
        let built = |name: &str| facts.namespaces.iter().any(|n| n == name);
        let user = asked.namespaces.user == Want::Yes || !facts.may_mount;
        let refused = facts.user_namespaces_refused.filter(|_| user).map(Refusal::of);
        let (reason, remedy) = match &refused {
            Some(refusal) => (refusal.reason().to_owned(), refusal.remedy().to_owned()),
            None => ("the kernel was built without namespaces".to_owned(), "use one with CONFIG_NAMESPACES and CONFIG_USER_NS".to_owned()),
        };
        let possible = refused.is_none() && built("mnt") && (!user || built("user"));
        self.add(Measure::Hiding, possible, reason.clone(), remedy.clone());
        let wanted = [
            ("pid", asked.namespaces.pid),
            ("net", asked.namespaces.net),
            ("ipc", asked.namespaces.ipc),
            ("uts", asked.namespaces.uts),
            ("cgroup", asked.namespaces.cgroup != Want::No),
        ];
        for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            match built(name) {
                true => self.add(Measure::Namespace(name), possible, reason.clone(), remedy.clone()),
                false => self.add(Measure::Namespace(name), false, "the kernel was built without it", "use another kernel"),
            }
        }
    }

    fn system_calls(&mut self, asked: &Asked, facts: &KernelFacts) {
        if asked.profile == Profile::None {
            return;
        }
        let (kept, reason, remedy) = filters(facts);
        self.add(Measure::SystemCalls(asked.profile), kept, reason, remedy);
        // socketcall(2): the family lies in memory, which no filter can read. C libraries for i386 use it.
        let around = asked.multiarch && !asked.socket_calls_refused && facts.machine == Some(super::Machine::X86_64);
        match around && kept {
            true => {
                let remedy = "require it, which keeps most 32-bit programs from any socket";
                self.add(Measure::SocketFamilies, false, "32-bit calls can make any by socketcall", remedy);
            }
            false => self.add(Measure::SocketFamilies, kept, reason, remedy),
        }
    }

    fn landlock(&mut self, asked: &Asked, facts: &KernelFacts) {
        let needs = |version: u8, linux: &str| {
            let has = facts.landlock;
            let reason = match has {
                0 => "the kernel has no landlock, or it is switched off".to_owned(),
                _ => format!("the kernel has landlock {has} and this needs {version}"),
            };
            (has >= version, reason, format!("use Linux {linux} or later, with landlock in its lsm= list"))
        };
        if asked.files {
            // Before version 3 a file that may not be written could still be truncated.
            let (kept, reason, remedy) = needs(3, "6.2");
            self.add(Measure::Files, kept, reason, remedy);
            let (kept, reason, remedy) = needs(5, "6.10");
            self.add(Measure::DeviceControl, kept, reason, remedy);
        }
        if asked.scoped {
            let (scoped, reason, remedy) = needs(6, "6.12");
            let or = |what: &str| format!("{remedy}, or {what}");
            self.add(Measure::AbstractSockets, scoped || asked.namespaces.net, reason.clone(), or("start it without the network"));
            self.add(Measure::Signals, scoped || asked.namespaces.pid, reason, or("give it a pid namespace"));
        }
    }

    fn terminal(&mut self, asked: &Asked, facts: &KernelFacts) {
        let (filtered, why, fix) = filters(facts);
        let (kept, reason, remedy) = match asked.terminal {
            Terminal::Absent => return,
            Terminal::Proxy | Terminal::NewSession => (true, "", ""),
            Terminal::Filter => (filtered, why, fix),
            Terminal::Shared => (!facts.terminal_input, "it is shared as it is", "let it have a terminal or a session of its own"),
        };
        self.add(Measure::TerminalInput, kept, reason, remedy);
    }
}

fn filters(facts: &KernelFacts) -> (bool, &'static str, &'static str) {
    match (facts.seccomp, facts.machine) {
        (false, _) => (false, "the kernel takes no seccomp filters", "use one with CONFIG_SECCOMP_FILTER"),
        (true, None) => (false, "the system calls of this machine are not known", "choose the profile none"),
        (true, Some(_)) => (true, "", ""),
    }
}
