//! The seccomp profiles that a sandbox chooses from, and the programs they become. Refuses to guess: a machine
//! without a table of numbers has no program.

use super::bpf::{World, assemble};
use super::rules::{Numbers, Rule, Strictness, rules};
use std::fmt;
use std::str::FromStr;

/// Which system calls a sandboxed program may make. Every profile but [`Profile::None`] also refuses x32 calls
/// (`ENOSYS`), judges 32-bit calls by their own numbers or, without multiarch, ends the process that makes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What desktop sandboxes refuse: administration, key rings, memory placement, namespaces and mounts,
    /// tracing, io_uring and other wide interfaces, input into terminals, rare families of sockets.
    #[default]
    FlatpakLike,
    /// The same, but programs that put their own children into sandboxes can: user namespaces, the classic mount
    /// calls, `chroot` and tracing work.
    ChromiumOk,
    /// No filter.
    None,
}

/// What a program is compiled for, with the 32-bit instruction set that the same kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// With i386.
    X86_64,
    /// With arm.
    Aarch64,
    /// Alone.
    Riscv64,
}

/// A name that is no profile's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("choosing a seccomp profile: there is none named {0:?}; take flatpak-like, chromium-ok or none")]
pub struct UnknownProfile(pub String);

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 3] = [Profile::FlatpakLike, Profile::ChromiumOk, Profile::None];

    /// Its name in configuration and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Profile::FlatpakLike => "flatpak-like",
            Profile::ChromiumOk => "chromium-ok",
            Profile::None => "none",
        }
    }

    fn strictness(self) -> Option<Strictness> {
        match self {
            Profile::FlatpakLike => Some(Strictness::Everything),
            Profile::ChromiumOk => Some(Strictness::NestedSandboxes),
            Profile::None => None,
        }
    }

    /// The filter, as [`crate::Sandbox::filters`] takes it; nothing for [`Profile::None`]. Where `multiarch`,
    /// 32-bit programs run too.
    pub fn program(self, machine: Machine, multiarch: bool) -> Option<Vec<u8>> {
        program(self.strictness()?, machine, multiarch)
    }

    /// What it refuses to programs of the machine's own instruction set.
    pub fn rules(self, machine: Machine, multiarch: bool) -> Vec<Rule> {
        self.strictness().map(|strictness| rules(strictness, machine.own().0, multiarch)).unwrap_or_default()
    }

    /// What it refuses to 32-bit programs.
    pub fn rules_of_32_bit_programs(self, machine: Machine) -> Vec<Rule> {
        let both = self.strictness().zip(machine.companion());
        both.map(|(strictness, (numbers, _))| rules(strictness, numbers, true)).unwrap_or_default()
    }
}

/// A filter that refuses nothing but input into terminals (`TIOCSTI`, `TIOCLINUX`), and x32 calls: for sandboxes
/// that have no profile but keep the caller's terminal.
pub fn terminal_guard(machine: Machine) -> Option<Vec<u8>> {
    program(Strictness::Terminal, machine, true)
}

/// A filter, beside that of a profile, that lets 32-bit programs make no socket by `socketcall(2)`, as the family lies in
/// memory there. It keeps most of them from any socket: C libraries for i386 know no other call unless they are built for
/// Linux 4.3 and later alone. Nothing where there is no such call.
pub fn socket_call_guard(machine: Machine) -> Option<Vec<u8>> {
    program(Strictness::SocketCall, machine, true).filter(|_| machine == Machine::X86_64)
}

fn program(strictness: Strictness, machine: Machine, multiarch: bool) -> Option<Vec<u8>> {
    let world = |(numbers, architecture): (Numbers, u32)| World {
        architecture,
        has_x32: numbers == Numbers::X86_64,
        rules: rules(strictness, numbers, multiarch),
    };
    let companion = machine.companion().filter(|_| multiarch);
    let worlds: Vec<World> = [Some(machine.own()), companion].into_iter().flatten().map(world).collect();
    assemble(&worlds)
}

impl Machine {
    /// The one this program is compiled for, if its calls are known.
    pub fn here() -> Option<Machine> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Machine::X86_64),
            "aarch64" if cfg!(target_endian = "little") => Some(Machine::Aarch64),
            "riscv64" => Some(Machine::Riscv64),
            _ => None,
        }
    }

    /// With `AUDIT_ARCH_*` of `linux/audit.h`.
    fn own(self) -> (Numbers, u32) {
        match self {
            Machine::X86_64 => (Numbers::X86_64, 0xc000_003e),
            Machine::Aarch64 => (Numbers::Aarch64, 0xc000_00b7),
            Machine::Riscv64 => (Numbers::Riscv64, 0xc000_00f3),
        }
    }

    fn companion(self) -> Option<(Numbers, u32)> {
        match self {
            Machine::X86_64 => Some((Numbers::I386, 0x4000_0003)),
            Machine::Aarch64 => Some((Numbers::Arm, 0x4000_0028)),
            Machine::Riscv64 => None,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}
