//! One error type for the crate: operation, subject, cause and remedy, printed as one line.
//!
//! It decides nothing and prints nothing; [`Kind`] is what callers branch on.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What sort of failure it is; stable, for exit codes and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A configuration file or variable says something that cannot be followed.
    Config,
    /// Neither the configuration nor the host's apt names a mirror.
    NoMirror,
    /// No directory can hold the store.
    NoPlace,
    /// It would need the network, and offline mode was asked for.
    Offline,
    /// The network, the proxy or the server failed, also after several attempts.
    Network,
    /// The server has no such file.
    NotFound,
    /// No trusted key made the signature.
    Signature,
    /// `Valid-Until` lies in the past.
    Expired,
    /// The size is not the one that was signed.
    Size,
    /// The hash is not the one that was signed.
    Hash,
    /// No space left, or over quota.
    DiskFull,
    /// An index, archive or lock file breaks its format, or a limit.
    Malformed,
    /// A lock file cannot be followed exactly.
    Drift,
    /// Any other failure of the file system.
    Io,
}

/// A failure, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}: {}{}{}", one_line(cause), if remedy.is_empty() { "" } else { "; " }, remedy)]
pub struct Error {
    kind: Kind,
    operation: &'static str,
    subject: String,
    cause: String,
    remedy: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Control characters (line ends above all) of foreign text never reach a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Error {
    /// An error without a lower one.
    pub fn new(
        kind: Kind,
        operation: &'static str,
        subject: impl fmt::Display,
        cause: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Error {
        let subject = one_line(&subject.to_string());
        Error { kind, operation, subject, cause: cause.to_string(), remedy: remedy.into(), source: None }
    }

    /// Keeps the lower error for `source()`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// A file system failure; a full disk and a read-only one get their own remedy.
    pub fn io(operation: &'static str, path: &Path, error: io::Error) -> Error {
        let (kind, remedy) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (Kind::DiskFull, "free some space or point XENO_STORE to another disk")
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                (Kind::Io, "make it accessible or point XENO_STORE elsewhere")
            }
            _ => (Kind::Io, ""),
        };
        Error::new(kind, operation, path.display(), &error, remedy).with_source(error)
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done, such as `fetch`.
    pub fn operation(&self) -> &str {
        self.operation
    }

    /// To which file, address or name.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Why it failed.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What the user can do; may be empty.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// A copy for a second reader of the same failure; the lower error is not copied.
    #[must_use]
    pub fn duplicate(&self) -> Error {
        Error::new(self.kind, self.operation, &self.subject, &self.cause, self.remedy.clone())
    }
}

impl From<Error> for resolver::provider::ProviderError {
    fn from(error: Error) -> Self {
        resolver::provider::ProviderError { message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_even_if_its_parts_are_not() {
        let error = Error::new(Kind::Hash, "verify", "a\nb", "cause\twith\ncontrols", "run again");
        assert_eq!(error.to_string(), "verify a b: cause with controls; run again");
    }

    #[test]
    fn a_full_disk_has_its_own_kind_and_remedy() {
        let error = Error::io("write", Path::new("/x"), io::Error::from_raw_os_error(28));
        assert_eq!(error.kind(), Kind::DiskFull);
        assert!(error.to_string().ends_with("; free some space or point XENO_STORE to another disk"), "{error}");
    }
}
