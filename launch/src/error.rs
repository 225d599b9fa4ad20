//! What can go wrong between the answer and the started program.

use std::fmt;
use std::io;
use std::path::Path;

/// What sort of failure it is; decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such program.
    NotFound,
    /// The program is there and cannot be started.
    CannotStart,
    /// Something of xeno's own failed.
    Own,
}

/// One line: operation, subject, cause, remedy.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    operation: &'static str,
    subject: String,
    cause: String,
    remedy: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(
        kind: Kind,
        operation: &'static str,
        subject: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error { kind, operation, subject: subject.into(), cause: cause.into(), remedy: remedy.into(), source: None }
    }

    pub(crate) fn io(operation: &'static str, path: &Path, error: io::Error, remedy: impl Into<String>) -> Error {
        let cause = error.to_string();
        Error { source: Some(Box::new(error)), ..Error::new(Kind::Own, operation, path.display().to_string(), cause, remedy) }
    }

    pub(crate) fn own(operation: &'static str, subject: impl Into<String>, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        let cause = error.to_string();
        Error { source: Some(Box::new(error)), ..Error::new(Kind::Own, operation, subject, cause, "") }
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Why, as a clause.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// The exit status `env`(1) and the shell give for such a failure.
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::NotFound => 127,
            Kind::CannotStart => 126,
            Kind::Own => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.subject, self.cause)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        crate::materials::own(error)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
