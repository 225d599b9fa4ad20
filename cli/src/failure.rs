//! A failure as the person sees it: one line, and an exit status that `env`(1) would give.

use std::fmt::{self, Write as _};

/// What went wrong and with which status to say so.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status: 125, 126 or 127.
    pub(crate) status: u8,
    message: String,
}

impl Failure {
    /// xeno itself could not do something.
    pub(crate) fn own(message: impl Into<String>) -> Failure {
        Failure { status: 125, message: message.into() }
    }

    /// The program is there and cannot be started.
    pub(crate) fn cannot_start(message: impl Into<String>) -> Failure {
        Failure { status: 126, message: message.into() }
    }
}

impl Failure {
    /// The same, with the exit status of a command that does not start programs.
    pub(crate) fn with_status(self, status: u8) -> Failure {
        Failure { status, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.message).fmt(f)
    }
}

/// Shows a text as one line without control characters, whatever a hostile name in it contains.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() { write!(self.0, "{}", c.escape_default())? } else { self.0.write_char(c)? }
        }
        Ok(())
    }
}

impl From<launch::Error> for Failure {
    fn from(e: launch::Error) -> Failure {
        Failure { status: e.exit_status(), message: e.to_string() }
    }
}

impl From<store::Error> for Failure {
    fn from(e: store::Error) -> Failure {
        Failure::own(e.to_string())
    }
}

impl From<patcher::Error> for Failure {
    fn from(e: patcher::Error) -> Failure {
        Failure::own(e.to_string())
    }
}

impl From<patcher::commit::CommitError> for Failure {
    fn from(e: patcher::commit::CommitError) -> Failure {
        Failure::own(e.to_string())
    }
}

impl From<wrap::Error> for Failure {
    fn from(e: wrap::Error) -> Failure {
        Failure::own(e.to_string())
    }
}

impl From<wrap::oci::Error> for Failure {
    fn from(e: wrap::oci::Error) -> Failure {
        Failure::own(e.to_string())
    }
}
