//! Why a planned change did not reach the file, and what the file is then. Says only; undoing has
//! happened before.

use super::users::Users;
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// What sort of failure a [`CommitError`] is, for callers that choose what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitKind {
    /// There is no such file or directory.
    NotFound,
    /// The caller may not do it here (permission, read-only file system, immutable file).
    Denied,
    /// It is no regular file.
    NotRegular,
    /// The file is not the one that was planned for, or another program is changing it.
    Changed,
    /// Processes run it or have it mapped; a replace is still possible.
    InUse,
    /// No room, or over a limit.
    DiskFull,
    /// The plan cannot be committed in this way; a replace may still be possible.
    Unfit,
    /// In place, set-id bits or capabilities would be lost; a replace is still possible.
    Privileges,
    /// The change is made, but nobody knows whether it outlives a power failure.
    Unflushed,
    /// Some files of a batch are new, the others old.
    Partly,
    /// Any other failure of the system.
    Io,
}

/// A commit that did not happen. Unless the variant says otherwise, the file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The system refused a step.
    #[error("{operation} {path:?}: {source}; {}", remedy(source))]
    Io {
        /// The step.
        operation: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory, a device, a FIFO, a socket.
    #[error("opening {path:?}: it is {found}; give a regular file")]
    NotRegular {
        /// The path, links followed.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is not what was read.
    #[error("committing to {path:?}: the file was changed since it was read, so it was planned for other bytes; run it again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else is changing it in place just now.
    #[error("changing {path:?} in place: another program holds a lock on the file; wait for it, then run it again")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Processes would see the bytes change under them.
    #[error("changing {path:?} in place: {users}; stop them, or replace the file instead")]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who.
        users: Users,
    },
    /// The plan does not fit this way of committing, or itself.
    #[error("committing to {path:?}: {reason}; make a plan for a replace")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// The kernel takes privileges away on a write (`file_remove_privs`), and the caller cannot give them back.
    #[error("changing {path:?} in place: the write would clear its {what}, which you may not set again; replace it as root instead")]
    Privileges {
        /// The file.
        path: PathBuf,
        /// What would be lost.
        what: &'static str,
    },
    /// The change is visible to every program, but may not be on the disk.
    #[error("flushing {path:?}: {source}; the new file is in its place, but check the disk before you rely on it")]
    Unflushed {
        /// What could not be flushed.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A step in place failed and so did a step of undoing it. What a loader reads is the old file: what may be
    /// otherwise is dead space, or bytes behind the old end.
    #[error(
        "changing {path:?} in place: {source}, and undoing it: {undoing}; programs still see the old file, but bytes may be left behind its end: copy it to a sound disk"
    )]
    NotUndone {
        /// The file.
        path: PathBuf,
        /// What failed first.
        source: io::Error,
        /// What failed then.
        undoing: io::Error,
    },
    /// Renaming stopped half way; each file is the old one or the new one.
    #[error("replacing a batch of {total} files: {source}; {} of them are replaced and stay so: run it again for the others", renamed.len())]
    Partly {
        /// The files that are new.
        renamed: Vec<PathBuf>,
        /// How many the batch had.
        total: usize,
        /// What stopped it.
        source: Box<CommitError>,
    },
    /// An earlier file of the batch failed, so none of it is renamed.
    #[error("adding {path:?} to a batch: an earlier file failed and the batch was given up; begin a new one")]
    Abandoned {
        /// The file.
        path: PathBuf,
    },
}

impl CommitError {
    /// What sort of failure this is.
    pub fn kind(&self) -> CommitKind {
        match self {
            CommitError::Io { source, .. } => kind(source),
            CommitError::NotRegular { .. } => CommitKind::NotRegular,
            CommitError::Changed { .. } | CommitError::Locked { .. } => CommitKind::Changed,
            CommitError::InUse { .. } => CommitKind::InUse,
            CommitError::Unfit { .. } | CommitError::Abandoned { .. } => CommitKind::Unfit,
            CommitError::Privileges { .. } => CommitKind::Privileges,
            CommitError::Unflushed { .. } => CommitKind::Unflushed,
            CommitError::NotUndone { source, .. } => kind(source),
            CommitError::Partly { .. } => CommitKind::Partly,
        }
    }

    /// For `map_err`: a failed step.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CommitError {
        move |source| CommitError::Io { operation, path: path.to_owned(), source }
    }
}

fn kind(error: &io::Error) -> CommitKind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => CommitKind::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => CommitKind::Denied,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => CommitKind::DiskFull,
        Some(Errno::TXTBSY) => CommitKind::InUse,
        _ => CommitKind::Io,
    }
}

/// What to do about a system's answer.
fn remedy(error: &io::Error) -> &'static str {
    match kind(error) {
        CommitKind::NotFound => "check the path",
        CommitKind::Denied => "get permission to write to it and to its directory, or write the result elsewhere",
        CommitKind::DiskFull => "make room there, then run it again",
        CommitKind::InUse => "stop the program that runs it, or replace the file instead",
        _ if super::sys::is(error, Errno::BUSY) => "it is a mount point: change it in place, or unmount it",
        _ => "see the kernel's log for what is wrong with the disk, then run it again",
    }
}
