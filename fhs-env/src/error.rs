//! Why a private root cannot be planned. Every one of these leaves the process as it was.

use crate::op::shown;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What went wrong in one step: in which part of it, and what the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Looking up what was to be bound.
    Source(Errno),
    /// Making the directories above the destination.
    Parents(Errno),
    /// Finding or making the destination itself.
    Place(Errno),
    /// Reading the content of a file.
    Read(Errno),
    /// Writing the content of a file.
    Write(Errno),
    /// Mounting, or attaching what was to be mounted.
    Mount(Errno),
    /// Making what is mounted read-only, or what else was asked for.
    Restrict(Errno),
    /// A step that has one part only.
    Step(Errno),
    /// The working directory's path leads somewhere else in the new root.
    OtherDirectory,
    /// The path that a descriptor was opened by leads to another file by now.
    OtherFile,
    /// A link is there that holds something else.
    OtherLink(PathBuf),
}

impl Fault {
    /// The kernel's answer, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Fault::Source(e) | Fault::Parents(e) | Fault::Place(e) | Fault::Read(e) => Some(*e),
            Fault::Write(e) | Fault::Mount(e) | Fault::Restrict(e) | Fault::Step(e) => Some(*e),
            Fault::OtherDirectory | Fault::OtherFile | Fault::OtherLink(_) => None,
        }
    }
}

impl Fault {
    /// The kernel's answer where it may be the system's refusal of namespaces and mounts, and not that of a path.
    pub(crate) fn refused(&self) -> Option<Errno> {
        match self {
            Fault::Mount(e) | Fault::Restrict(e) | Fault::Step(e) => Some(*e),
            _ => None,
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Step(errno)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self {
            Fault::Source(_) => "what is to be bound: ",
            Fault::Parents(_) => "the directories above: ",
            Fault::Place(_) => "the place itself: ",
            Fault::Read(_) => "reading the content: ",
            Fault::Write(_) => "writing the content: ",
            Fault::Mount(_) | Fault::Step(_) => "",
            Fault::Restrict(_) => "restricting it: ",
            Fault::OtherDirectory => "the path leads to another directory there",
            Fault::OtherFile => "its path leads to another file by now",
            Fault::OtherLink(target) => return write!(f, "there is a link to {} already", shown(target)),
        };
        write!(f, "{part}{}", self.errno().map_or("", |errno| errno.desc()))
    }
}

/// A root that cannot be planned; the process is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The path lies below a top-level entry that the host has, and that was not extended.
    #[error("adding {} to the private root: the host has its own {}, which would be hidden; choose another way to run the program", shown(.path), shown(.top))]
    Occupied {
        /// What was to be added.
        path: PathBuf,
        /// The entry of the host that is in the way.
        top: PathBuf,
    },
    /// Two requests need different things at one path.
    #[error("adding {} to the private root: {reason}; give each path one content", shown(.path))]
    Clash {
        /// The path asked for twice.
        path: PathBuf,
        /// What clashes.
        reason: &'static str,
    },
    /// The path cannot name an entry of the root.
    #[error("adding {} to the private root: {reason}; give an absolute path without `..`", shown(.path))]
    BadPath {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than this crate agrees to put into memory.
    #[error("adding {} to the private root: {size} exceeds the limit of {limit} {unit}; make it smaller", shown(.path))]
    TooLarge {
        /// What was to be added or read.
        path: PathBuf,
        /// How much there is.
        size: usize,
        /// How much is allowed.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A file to bind, or the file to bind it over, is not there or not a regular file.
    #[error("binding {}: {reason}; it must be a readable regular file", shown(.path))]
    Unbindable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be bound.
        reason: String,
    },
    /// The working directory could not be found again in the new root.
    #[error("keeping the working directory{}: {reason}; change to another directory first", .path.as_deref().map(|p| format!(" {}", shown(p))).unwrap_or_default())]
    WorkingDirectory {
        /// Its path, where it has one.
        path: Option<PathBuf>,
        /// Why it would be lost.
        reason: String,
    },
    /// The host's own tree could not be read.
    #[error("reading the directory {}: {source}; it must be readable to build a private root from it", shown(.path))]
    Host {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}
