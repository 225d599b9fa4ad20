//! The answer: the loader, the libraries in load order, the rule that found each, and what is wrong.

use crate::needs::{Libc, Needs};
use crate::provider::{LibcSet, Origin};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// The rule of the search order that won (ld.so(8), "the search order").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule", content = "by")]
pub enum Rule {
    /// The name has a slash: it is a path.
    Path,
    /// `LD_PRELOAD`.
    Preload,
    /// `DT_RPATH` of the named object (the asker, one of its loaders, or the program).
    Rpath(String),
    /// `LD_LIBRARY_PATH`.
    LibraryPath,
    /// `DT_RUNPATH` of the named object.
    Runpath(String),
    /// The loader's cache.
    Cache,
    /// A directory built into the loader, or musl's path file.
    DefaultDirectory,
    /// It comes with the loader: they must be of one build.
    LibcSet,
    /// A file of the program's own tree whose `DT_SONAME` is the name.
    OwnTree,
    /// The named provider had it, for the reason given after the colon.
    Provider(String),
    /// Wanted by a `dlopen` hint of the named object, then found by a provider or in the tree.
    DlopenHint(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Path => f.write_str("the name is a path"),
            Rule::Preload => f.write_str("LD_PRELOAD"),
            Rule::Rpath(by) => write!(f, "RPATH of {by}"),
            Rule::LibraryPath => f.write_str("LD_LIBRARY_PATH"),
            Rule::Runpath(by) => write!(f, "RUNPATH of {by}"),
            Rule::Cache => f.write_str("ld.so.cache"),
            Rule::DefaultDirectory => f.write_str("default directory"),
            Rule::LibcSet => f.write_str("comes with the loader"),
            Rule::OwnTree => f.write_str("soname in the program's own tree"),
            Rule::Provider(why) => f.write_str(why),
            Rule::DlopenHint(by) => write!(f, "dlopen hint of {by}"),
        }
    }
}

/// One file of the closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The name it was first asked for by.
    pub name: String,
    /// Every bare name it answers to in this process, sorted; none for a file that is only listed
    /// because it lies in the tree and that nothing asks for by name.
    pub aliases: Vec<String>,
    /// The file.
    pub path: PathBuf,
    /// Its `DT_SONAME`.
    pub soname: Option<String>,
    /// The object that asked first.
    pub needed_by: String,
    /// The rule that found it.
    pub rule: Rule,
    /// Where it came from.
    pub origin: Origin,
}

/// A name nothing answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The name, or the path of a missing interpreter.
    pub name: String,
    /// The object that asked first.
    pub needed_by: String,
    /// Why not: `no suite has it`, `only a 32-bit file: /usr/lib32/…`.
    pub reason: String,
}

/// Two facts that cannot both be had in one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// `object` needs `version` of `file`, and the file found does not define it.
    Version {
        /// Who needs it.
        object: String,
        /// The name it is needed of.
        file: String,
        /// The version that is not there.
        version: String,
        /// The file that was found.
        found: PathBuf,
        /// The newest version of the same family that the file defines, if any.
        newest: Option<String>,
    },
    /// The libc is not the one that the loader was built with.
    LibcSet {
        /// The loader.
        loader: PathBuf,
        /// The libc that the search order finds.
        libc: PathBuf,
    },
    /// An object of the other C library's world.
    OtherLibc {
        /// The object.
        object: String,
        /// Its world.
        libc: Libc,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::Version { object, version, found, newest, file } => {
                write!(f, "{object} needs {version} of {file}, ")?;
                match newest {
                    Some(newest) => write!(f, "{} has {newest}", found.display()),
                    None => write!(f, "{} defines no such version", found.display()),
                }
            }
            Conflict::LibcSet { loader, libc } => {
                write!(f, "{} and {} are not of one build", loader.display(), libc.display())
            }
            Conflict::OtherLibc { object, libc } => {
                write!(f, "{object} belongs to {}", if *libc == Libc::Musl { "musl" } else { "glibc" })
            }
        }
    }
}

/// The answer to *what does this binary need?*
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// What it says it needs.
    pub needs: Needs,
    /// The loader and its set; `None` for a static program, or when there is none to be had.
    pub libc_set: Option<LibcSet>,
    /// Every file the loader will map, in its load order (breadth first), the program excluded.
    pub libraries: Vec<Library>,
    /// Files that may be opened later (`dlopen`), with their own needs; never a reason to fail.
    pub optional: Vec<Library>,
    /// Names nothing answered.
    pub missing: Vec<Missing>,
    /// Names that only an optional file asks for, and that nothing answered: a report, no failure.
    pub optional_missing: Vec<Missing>,
    /// Facts that contradict each other.
    pub conflicts: Vec<Conflict>,
    /// What providers said that could not be asked: with them the answer might have been fuller.
    pub failures: Vec<String>,
}

impl Resolution {
    /// The question, before anything was looked for.
    pub fn of(program: &Path, needs: Needs) -> Resolution {
        Resolution {
            program: program.to_owned(),
            needs,
            libc_set: None,
            libraries: Vec::new(),
            optional: Vec::new(),
            missing: Vec::new(),
            optional_missing: Vec::new(),
            conflicts: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Whether the program can start with exactly these files.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.conflicts.is_empty() && (self.libc_set.is_some() || self.needs.kind.is_static())
    }
}
