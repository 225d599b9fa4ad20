//! The loader shim as this machine has it: the base directory, the images in it, the shim's own copies. Makes
//! and reads images ([`image`]); what a program needs is not decided here, and a running program's loader is
//! the business of the crate `ld-shim`.

pub mod base;
mod data;
pub mod everybody;
pub mod image;
pub mod install;
pub mod program;
mod segments;

use crate::error::{Error, Kind};
use ld_shim::elf::{Class, Machine};
use resolver::arch::{self, Arch, Endian};

/// The shims of this build: architecture's short name, file.
static SHIMS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shims.rs"));

/// The shim for an architecture, with the default base directory.
///
/// # Errors
/// If this build has none.
pub fn embedded(arch: Arch) -> Result<&'static [u8], Error> {
    let found = arch.short().and_then(|short| SHIMS.iter().find(|(name, _)| *name == short));
    found.map(|(_, bytes)| *bytes).ok_or_else(|| {
        let cause = format!("this build has no shim for {arch}");
        Error::new(Kind::Own, "install", "the shim", cause, "build it with cargo xtask dist")
    })
}

/// The machine as the shim names it; `None` of a big-endian one, for which there is no shim.
pub fn machine(arch: Arch) -> Option<Machine> {
    let class = match arch.class {
        arch::Class::Elf32 => Class::Elf32,
        arch::Class::Elf64 => Class::Elf64,
    };
    (arch.endian == Endian::Little).then_some(Machine { class, number: arch.machine })
}

/// The architecture of an image's machine.
pub fn arch_of(machine: Machine) -> Arch {
    let class = match machine.class {
        Class::Elf32 => arch::Class::Elf32,
        Class::Elf64 => arch::Class::Elf64,
    };
    Arch { class, endian: Endian::Little, machine: machine.number }
}

/// A failure of the door that writes: it says all there is to say.
fn told(error: store::Error) -> Error {
    Error::own("change", "the installation", error)
}
