//! Why a file cannot be edited. The bytes are untouched in every case.

use crate::plan::FileOffset;
use std::fmt;

/// What sort of failure an [`Error`] is, for callers that choose what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The file is no ELF file, or a corrupt one.
    Malformed,
    /// The file has not what the edit is about.
    Absent,
    /// The new text needs more room than the old one leaves.
    DoesNotFit,
    /// The edit itself makes no sense.
    BadEdit,
    /// The bytes are not those that were planned for, or were changed otherwise.
    Mismatch,
}

/// A file that cannot be edited as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file's headers make no sense.
    #[error("reading the ELF file: {reason}; get an intact copy of it")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A segment is not, or not wholly, in the file.
    #[error("reading the ELF file: {what} at {offset} has {size} bytes, but the file ends at {end}; get an intact copy of it")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it begins.
        offset: FileOffset,
        /// How long it says it is, in bytes.
        size: u64,
        /// The length of the file, in bytes.
        end: u64,
    },
    /// A number in the file makes no sense.
    #[error("reading the ELF file: {field} at {offset} is {value:#x}: {reason}; get an intact copy of it")]
    Field {
        /// The field, by its name in the gABI.
        field: &'static str,
        /// Where it lies.
        offset: FileOffset,
        /// What it says.
        value: u64,
        /// Why that cannot be.
        reason: &'static str,
    },
    /// There is no `PT_DYNAMIC`.
    #[error("{what}: the file has no dynamic section, so no loader reads it; nothing can be changed there")]
    NotDynamic {
        /// What was asked for.
        what: &'static str,
    },
    /// Nowhere to put what is new without moving or losing something.
    #[error("planning the edits: {reason}; the file is left alone, and `xeno run` starts it unpatched")]
    Refused {
        /// What stands in the way.
        reason: String,
    },
    /// There is nothing to undo.
    #[error("undoing the edits: {reason}; get the original again")]
    NoRecord {
        /// Why not.
        reason: &'static str,
    },
    /// There is no `PT_INTERP`.
    #[error("replacing the interpreter: the file has none, so no loader starts it; nothing needs to be replaced")]
    NoInterpreter,
    /// `PT_INTERP` holds what no kernel accepts.
    #[error("reading the interpreter at {offset}: {reason}; get an intact copy of the file")]
    BadInterpreter {
        /// Where it lies.
        offset: FileOffset,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Longer than the place.
    #[error("replacing {what}: {needed} bytes do not fit into {room}; use a shorter text")]
    DoesNotFit {
        /// What was to be replaced.
        what: String,
        /// The length of the new text.
        needed: usize,
        /// The room there is, without the closing NUL.
        room: usize,
    },
    /// A text that cannot stand in the file.
    #[error("replacing {what}: {reason}; use another text")]
    BadText {
        /// What was to be replaced.
        what: String,
        /// What is wrong with the new or old text.
        reason: &'static str,
    },
    /// A string that is there more or less often than expected.
    #[error("replacing {what}: it is there {found} times instead of {expected}; this file is built differently and is left alone")]
    Occurrences {
        /// The string.
        what: String,
        /// How often it was expected.
        expected: usize,
        /// How often it was found.
        found: usize,
    },
    /// The file is no program interpreter that is known here.
    #[error("copying the loader: {reason}; give the ld.so of a C library")]
    NotALoader {
        /// What gives it away.
        reason: &'static str,
    },
    /// Two changes meet.
    #[error("planning the edits: two of them change the byte at {offset}; make them one after the other")]
    Overlap {
        /// The first byte both change.
        offset: FileOffset,
    },
    /// A change would reach the ELF header or the program headers.
    #[error("planning the edits: {what} reaches into the headers at {offset}; the file overlaps itself and is left alone")]
    InHeaders {
        /// What was to be changed.
        what: String,
        /// Where the change begins.
        offset: FileOffset,
    },
    /// The bytes are not those the plan was made for.
    #[error("applying the plan: the bytes at {offset} are not those it was made for; plan again")]
    Stale {
        /// Where the difference is.
        offset: FileOffset,
    },
    /// A symbol table, or a table that speaks of its entries, that cannot be rewritten.
    #[error("changing dynamic symbols: {reason}; this file is left alone")]
    Symbols {
        /// What stands in the way.
        reason: String,
    },
    /// A byte changed that was not planned, or did not change as planned.
    #[error("verifying the patched file: {reason} at {offset}; the result is not to be used")]
    Unplanned {
        /// The first such byte.
        offset: FileOffset,
        /// What is wrong there.
        reason: &'static str,
    },
}

impl Error {
    pub(crate) fn field(field: &'static str, offset: u64, value: u64, reason: &'static str) -> Error {
        Error::Field { field, offset: FileOffset(offset), value, reason }
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Malformed { .. }
            | Error::Truncated { .. }
            | Error::Field { .. }
            | Error::BadInterpreter { .. }
            | Error::Symbols { .. } => Kind::Malformed,
            Error::NoInterpreter
            | Error::NotDynamic { .. }
            | Error::NoRecord { .. }
            | Error::Occurrences { .. }
            | Error::NotALoader { .. } => Kind::Absent,
            Error::DoesNotFit { .. } | Error::Refused { .. } => Kind::DoesNotFit,
            Error::BadText { .. } | Error::Overlap { .. } | Error::InHeaders { .. } => Kind::BadEdit,
            Error::Stale { .. } | Error::Unplanned { .. } => Kind::Mismatch,
        }
    }
}

/// Bytes for people: printable ASCII as it is, the rest escaped, cut after 200 bytes.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        let (bytes, cut) = match self.0.get(..MOST) {
            Some(start) if self.0.len() > MOST => (start, "…"),
            _ => (self.0, ""),
        };
        write!(f, "\"{}\"{cut}", bytes.escape_ascii())
    }
}
