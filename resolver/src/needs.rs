//! What one ELF file says it needs: plain data, read by [`crate::elf`], compared by the rest.

use crate::arch::Arch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which C library's world a file belongs to. The two never mix in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
}

/// How the kernel and the loader treat the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `ET_EXEC` with `PT_INTERP`.
    Executable,
    /// `ET_DYN` with `PT_INTERP` that is meant to be started (`DF_1_PIE`, or no soname).
    PieExecutable,
    /// `ET_EXEC` without `PT_INTERP`.
    Static,
    /// `ET_DYN` without `PT_INTERP` but with `DF_1_PIE`: it relocates itself.
    StaticPie,
    /// A shared library; libc and ld.so are libraries that can also be started.
    Library,
    /// Anything else (`ET_REL`, `ET_CORE`, unknown): not loadable.
    Other,
}

impl Kind {
    /// True for a file that the kernel hands to a program interpreter.
    pub fn has_loader(self) -> bool {
        matches!(self, Kind::Executable | Kind::PieExecutable)
    }

    /// True for a program that needs no loader and no library.
    pub fn is_static(self) -> bool {
        matches!(self, Kind::Static | Kind::StaticPie)
    }
}

/// One `Vernaux` entry: a version that must be defined by the named file (gABI symbol versioning,
/// `elf/dl-version.c`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NeededVersion {
    /// The version's name, such as `GLIBC_2.38`.
    pub name: String,
    /// `VER_FLG_WEAK`: the loader only warns when it is missing.
    pub weak: bool,
}

/// One `Verneed` entry: the versions needed of one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionNeed {
    /// The `DT_NEEDED` name of the file that must define them.
    pub file: String,
    /// The versions, in file order.
    pub versions: Vec<NeededVersion>,
}

/// A `dlopen` the file may do, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DlopenHint {
    /// Names of which one is enough, best first.
    pub sonames: Vec<String>,
    /// Where the hint was read.
    pub source: HintSource,
    /// What the note says the library is for; empty for a string.
    pub feature: String,
    /// `required`, `recommended` or `suggested` as the note says; strings are `suggested`.
    pub priority: String,
}

/// Where a [`DlopenHint`] was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HintSource {
    /// systemd's `.note.dlopen` (owner `FDO`, type `0x407c0c0a`).
    Note,
    /// A whole NUL-delimited string that has the shape of a soname.
    String,
}

/// Everything the loader reads of a file before it looks for other files.
///
/// Names that are not UTF-8 are kept with each bad byte written `\xNN`: no library can be found
/// under such a name, and the report still shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Class, byte order and machine.
    pub arch: Arch,
    /// What kind of file it is.
    pub kind: Kind,
    /// `PT_INTERP`, without the closing NUL.
    pub interpreter: Option<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in file order.
    pub needed: Vec<String>,
    /// `DT_RPATH`, unexpanded.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, unexpanded; its presence switches `DT_RPATH` off.
    pub runpath: Option<String>,
    /// `DF_1_NODEFLIB`: neither the default directories nor what the cache holds of them.
    pub nodeflib: bool,
    /// `DT_VERNEED`.
    pub version_needs: Vec<VersionNeed>,
    /// `DT_VERDEF`, without the base version (which is the file's own name).
    pub version_defs: BTreeSet<String>,
    /// `.note.dlopen` entries; strings are searched for separately, as that reads the whole file.
    pub dlopen_notes: Vec<DlopenHint>,
    /// `PT_GNU_STACK` asks for an executable stack (glibc 2.41 refuses to `dlopen` such a file).
    pub executable_stack: bool,
}

impl Needs {
    /// The C library this file was linked against, by its interpreter or by the name of the libc it
    /// needs; `None` if it names neither.
    pub fn libc(&self) -> Option<Libc> {
        let musl = |name: &str| name.starts_with("ld-musl-") || name.starts_with("libc.musl-") || name == "libc.so";
        if let Some(interpreter) = &self.interpreter {
            let base = interpreter.rsplit('/').next().unwrap_or(interpreter);
            return Some(if musl(base) { Libc::Musl } else { Libc::Glibc });
        }
        if self.needed.iter().any(|n| musl(n)) {
            return Some(Libc::Musl);
        }
        self.needed.iter().any(|n| n == "libc.so.6").then_some(Libc::Glibc)
    }
}
