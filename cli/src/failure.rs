//! A failure as the person sees it: one line, and an exit status that `env`(1) would give.

use std::fmt;

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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a hostile file name contains.
        for c in self.message.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
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
