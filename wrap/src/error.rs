//! Why a tree or a file cannot be wrapped: operation, subject, cause and remedy in one line.

use patcher::commit::CommitError;
use resolver::elf::LoadError;
use std::path::PathBuf;

/// What sort of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The directory or file cannot be worked on at all.
    Unfit,
    /// The caller stopped the work; nothing was changed.
    Cancelled,
    /// A file cannot be read or edited.
    File,
    /// Writing failed; the commit says what the files are then.
    Commit,
    /// A library of the closure cannot be named by its path alone.
    Unfreezable,
}

/// A tree or file that cannot be wrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no directory, or cannot be read.
    #[error("patching the tree {path:?}: {source}; name a directory that can be read")]
    Root {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Other programs live there too.
    #[error("patching the tree {path:?}: other programs share this directory; name the directory of the one program")]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// More entries than anybody's package has.
    #[error("patching the tree {path:?}: it has more than {most} entries; name a smaller directory")]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The most that are looked at.
        most: usize,
    },
    /// The caller stopped it.
    #[error("patching: it was interrupted; no file was changed, run it again")]
    Cancelled,
    /// A file cannot be edited as planned.
    #[error("patching {path:?}: {source}")]
    Patch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: patcher::Error,
    },
    /// A file is no ELF file.
    #[error("reading {path:?}: {source}; give a dynamically linked program or library")]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The closure is not whole, so no path can be given for a part of it.
    #[error("freezing {path:?}: {reason}; `xeno inspect` shows the rest")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A library asks for another by a name that is not the other's soname.
    #[error(transparent)]
    Unfreezable(Box<Unfreezable>),
}

/// A need of a library that no path of the program's can answer.
#[derive(Debug, thiserror::Error)]
#[error("freezing {path:?}: {asker} asks for {name}, and {file:?} answers {soname}, so it would be searched for again; {remedy}")]
pub struct Unfreezable {
    /// The file that was to be frozen.
    pub path: PathBuf,
    /// Who asks.
    pub asker: String,
    /// For what.
    pub name: String,
    /// What answers now.
    pub file: PathBuf,
    /// To which name it answers when it is loaded by its path.
    pub soname: String,
    /// What to do.
    pub remedy: String,
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Root { .. } | Error::Shared { .. } | Error::TooLarge { .. } => Kind::Unfit,
            Error::Cancelled => Kind::Cancelled,
            Error::Patch { .. } | Error::Load { .. } => Kind::File,
            Error::Commit(_) => Kind::Commit,
            Error::Incomplete { .. } | Error::Unfreezable(_) => Kind::Unfreezable,
        }
    }
}
