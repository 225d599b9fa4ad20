//! The three header fields that decide whether two ELF files can share a process.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `EI_CLASS` (gABI, "ELF Identification").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// `EI_DATA` (gABI, "ELF Identification").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endian {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// Class, byte order and `e_machine`: a loader refuses a library in which any of them differs
/// from its own (glibc `elf/dl-load.c`, `open_verify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arch {
    /// Word size of the file.
    pub class: Class,
    /// Byte order of the file.
    pub endian: Endian,
    /// `e_machine`; open, so that a machine unknown here survives being reported.
    pub machine: u16,
}

/// `EM_386`.
pub const EM_386: u16 = 3;
/// `EM_ARM`.
pub const EM_ARM: u16 = 40;
/// `EM_X86_64`.
pub const EM_X86_64: u16 = 62;
/// `EM_AARCH64`.
pub const EM_AARCH64: u16 = 183;
/// `EM_RISCV`.
pub const EM_RISCV: u16 = 243;

/// What Debian, glibc and musl call one architecture.
struct Names {
    arch: Arch,
    short: &'static str,
    debian: &'static str,
    multiarch: &'static str,
    /// glibc's `$LIB` where it is not Debian's multiarch path, and `$PLATFORM` (`AT_PLATFORM`).
    platform: &'static str,
    glibc_loader: &'static str,
    musl: &'static str,
}

const fn arch(class: Class, machine: u16) -> Arch {
    Arch { class, endian: Endian::Little, machine }
}

/// One row for each architecture xeno can find libraries for.
const TABLE: &[Names] = &[
    Names {
        arch: arch(Class::Elf64, EM_X86_64),
        short: "x86_64",
        debian: "amd64",
        multiarch: "x86_64-linux-gnu",
        platform: "x86_64",
        glibc_loader: "/lib64/ld-linux-x86-64.so.2",
        musl: "x86_64",
    },
    Names {
        arch: arch(Class::Elf32, EM_386),
        short: "i686",
        debian: "i386",
        multiarch: "i386-linux-gnu",
        platform: "i686",
        glibc_loader: "/lib/ld-linux.so.2",
        musl: "i386",
    },
    Names {
        arch: arch(Class::Elf64, EM_AARCH64),
        short: "aarch64",
        debian: "arm64",
        multiarch: "aarch64-linux-gnu",
        platform: "aarch64",
        glibc_loader: "/lib/ld-linux-aarch64.so.1",
        musl: "aarch64",
    },
    Names {
        arch: arch(Class::Elf64, EM_RISCV),
        short: "riscv64",
        debian: "riscv64",
        multiarch: "riscv64-linux-gnu",
        platform: "riscv64",
        glibc_loader: "/lib/ld-linux-riscv64-lp64d.so.1",
        musl: "riscv64",
    },
];

impl Arch {
    /// The architecture this program was compiled for; `None` on a machine without a row.
    pub fn host() -> Option<Arch> {
        Arch::from_short(if cfg!(target_arch = "x86") { "i686" } else { std::env::consts::ARCH })
    }

    /// Every architecture with a row.
    pub fn known() -> impl Iterator<Item = Arch> {
        TABLE.iter().map(|names| names.arch)
    }

    /// Finds an architecture by its short name (`x86_64`, `i686`, `aarch64`, `riscv64`).
    pub fn from_short(short: &str) -> Option<Arch> {
        TABLE.iter().find(|n| n.short == short).map(|n| n.arch)
    }

    /// Finds an architecture by Debian's name for it (`amd64`, `i386`, …).
    pub fn from_debian(name: &str) -> Option<Arch> {
        TABLE.iter().find(|n| n.debian == name).map(|n| n.arch)
    }

    fn names(self) -> Option<&'static Names> {
        TABLE.iter().find(|n| n.arch == self)
    }

    /// xeno's own short name (`x86_64`); `None` for a machine without a row.
    pub fn short(self) -> Option<&'static str> {
        self.names().map(|n| n.short)
    }

    /// Debian's name of the architecture (`amd64`).
    pub fn debian(self) -> Option<&'static str> {
        self.names().map(|n| n.debian)
    }

    /// The multiarch triplet, which is also Debian's `$LIB` below `lib/` (`x86_64-linux-gnu`).
    pub fn multiarch(self) -> Option<&'static str> {
        self.names().map(|n| n.multiarch)
    }

    /// What `$PLATFORM` expands to on the plainest processor of this architecture.
    pub fn platform(self) -> Option<&'static str> {
        self.names().map(|n| n.platform)
    }

    /// The path the psABI gives glibc's program interpreter.
    pub fn glibc_loader(self) -> Option<&'static str> {
        self.names().map(|n| n.glibc_loader)
    }

    /// The path of musl's program interpreter (`/lib/ld-musl-x86_64.so.1`).
    pub fn musl_loader(self) -> Option<String> {
        self.names().map(|n| format!("/lib/ld-musl-{}.so.1", n.musl))
    }

    /// musl's own name of the architecture, as in `ld-musl-<name>.so.1`.
    pub fn musl_name(self) -> Option<&'static str> {
        self.names().map(|n| n.musl)
    }

    /// Whether this machine's kernel can start a program of this architecture without an emulator.
    pub fn runs_on(self, host: Arch) -> bool {
        self == host || (host.machine == EM_X86_64 && self.machine == EM_386 && self.class == Class::Elf32)
    }

    /// 64 or 32.
    pub fn bits(self) -> u8 {
        match self.class {
            Class::Elf32 => 32,
            Class::Elf64 => 64,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Some(n) => f.write_str(n.short),
            None => write!(
                f,
                "machine {} ({}-bit, {} endian)",
                self.machine,
                self.bits(),
                if self.endian == Endian::Little { "little" } else { "big" }
            ),
        }
    }
}
