//! Carries a [`Plan`] out on a file, and decides nothing: what is written where is the plan's affair,
//! here it is made sure that the original is never lost.
//!
//! | way | what happens | what stays | killed anywhere |
//! |---|---|---|---|
//! | [`replace`] | a temporary file beside it, flushed, renamed over it | mode, owner, attributes, ACLs, capabilities; processes that use the file keep the old one | the old file or the new one |
//! | [`in_place`] | fresh bytes behind the end, flushed, then one write within one page | also the inode and all its names | the same to a loader; bytes that nothing refers to may be left behind the end |
//! | [`output`] | as replace, to another path | the permissions | the file that was there, or the new one |
//! | [`Batch`] | as replace, for many files, with two flushes in all | as replace | each file is old or new |
//!
//! **Times.** An edit is a change: the new file's times are those of the commit, as with every editor.
//! [`Settings::keep_times`] keeps the old ones.
//!
//! **Leftovers.** A process that is killed cannot tidy up: files called `.NAME.xeno-RANDOM` whose writer
//! is gone can be deleted; nothing refers to them.
//!
//! **Attributes of chattr(1)** do not come along in a replace. An immutable file is refused by the kernel in
//! both ways.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use patcher::commit::{Settings, Source, replace};
//!
//! let source = Source::open("program".as_ref())?;
//! let plan = patcher::plan(source.bytes(), &[patcher::Edit::Interpreter(b"/lib/ld.so".to_vec())])?;
//! let done = replace(&source, &plan, &Settings::default())?;
//! assert!(done.lost.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`Plan`]: crate::Plan

mod batch;
mod error;
mod faithful;
mod in_place;
mod replace;
mod source;
mod sys;
mod transfer;
mod users;
mod work;

pub use batch::Batch;
pub use error::{CommitError, CommitKind};
pub use in_place::in_place;
pub use replace::{output, replace};
pub use source::Source;
pub use transfer::Transfer;
pub use users::{Use, User, Users, users};

use std::fmt;
use std::path::PathBuf;

/// How a commit is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Wait until the disk has it, so that it outlives a power failure. Without, a commit is as atomic towards
    /// other processes, but a power failure may leave an empty or half file. Default: true.
    pub durable: bool,
    /// In place, if durable: wait also for the last write, the one that makes the new file true. Without, a power failure
    /// within the next seconds may leave the old file, and nothing between the two. Default: true.
    pub settled: bool,
    /// The file keeps its access and modification times. Default: false.
    pub keep_times: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { durable: true, settled: true, keep_times: false }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The file that is now the new one; symbolic links were followed.
    pub path: PathBuf,
    /// How.
    pub how: How,
    /// Its length in bytes.
    pub len: u64,
    /// How many other names (hard links) keep the old bytes.
    pub links_broken: u64,
    /// What the new file does not have of the old one.
    pub lost: Vec<Lost>,
    /// In place: how many processes of other users could not be asked whether they have the file mapped.
    pub unasked: usize,
}

impl Done {
    fn unchanged(source: &Source) -> Done {
        Done { path: source.path().to_owned(), how: How::Unchanged, len: source.len(), links_broken: 0, lost: Vec::new(), unasked: 0 }
    }
}

/// In which way a file became the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The plan changes nothing; nothing was written.
    Unchanged,
    /// Another file took its name.
    Replaced(Transfer),
    /// The file itself was changed.
    InPlace,
    /// It was written to another path.
    Written(Transfer),
}

/// Something of the old file that was not kept: the system, or the caller's rights, did not allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// User and group: only root gives files away.
    Owner {
        /// Whose it was: user id, group id.
        wanted: (u32, u32),
        /// Whose it is.
        have: (u32, u32),
    },
    /// Mode bits; set-id bits go with their owner.
    Mode {
        /// As it was.
        wanted: u32,
        /// As it is.
        have: u32,
    },
    /// An extended attribute.
    Attribute {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
    /// Set-id bits or capabilities, which the last write of a commit in place cleared.
    Privileges {
        /// Why.
        cause: String,
    },
    /// The times, which were to be kept.
    Times {
        /// Why.
        cause: String,
    },
    /// Bytes that nobody reads any more are still there.
    Hygiene {
        /// Why.
        cause: String,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Owner { wanted, have } => {
                write!(f, "the owner {}:{} became {}:{}, as only root gives files away", wanted.0, wanted.1, have.0, have.1)
            }
            Lost::Mode { wanted, have } => write!(f, "the mode {wanted:04o} became {have:04o}"),
            Lost::Attribute { name, cause } => write!(f, "the attribute {name} was not kept: {cause}"),
            Lost::Privileges { cause } => write!(f, "set-id bits or capabilities were not set again: {cause}"),
            Lost::Times { cause } => write!(f, "the times were not kept: {cause}"),
            Lost::Hygiene { cause } => write!(f, "old strings were not overwritten: {cause}"),
        }
    }
}
