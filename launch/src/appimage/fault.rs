//! Why the files of an AppImage could not be had. Keeps apart what the image, the reading and the writing are to blame
//! for, so that the one place that talks of it ([`Fault::of`]) can say what to do; prints nothing.

use crate::error::{Error, Kind};
use std::io;
use std::path::Path;

/// A failure below [`super::App::of`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The image is damaged, hostile, or of a kind that is not read.
    #[error("{0}")]
    Image(String),
    /// The image is one of type 1.
    #[error("it is an AppImage of type 1, whose compressed ISO 9660 file system is not read here, and there is no FUSE")]
    Elsewhere,
    /// The file cannot be read.
    #[error("it cannot be read ({0})")]
    Read(io::Error),
    /// The tree cannot be written.
    #[error("its files cannot be written ({0})")]
    Write(io::Error),
    /// The cache cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The image is to blame.
pub(super) fn bad<T>(cause: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Image(cause.into()))
}

impl Fault {
    /// The same for people: which file, and what to do about it.
    pub(super) fn of(self, path: &Path) -> Error {
        let subject = path.display().to_string();
        let again = "nothing of it was kept; get it again, or let its own runtime try with `--appimage-extract`";
        match self {
            Fault::Image(cause) => Error::new(Kind::CannotStart, "unpack", subject, cause, again),
            Fault::Elsewhere => {
                let remedy = "unpack it with `bsdtar -x` or 7z, then `xeno run` the AppRun in it";
                Error::new(Kind::CannotStart, "unpack", subject, self.to_string(), remedy)
            }
            Fault::Read(e) => Error::new(Kind::CannotStart, "unpack", subject, format!("it cannot be read ({e})"), "check its disk"),
            // The store knows the remedies of a full disk and a read-only one.
            Fault::Write(e) => Error::own("unpack", subject, store::Error::io("write", Path::new("its files into the cache"), e)),
            Fault::Store(e) => Error::own("unpack", subject, e),
        }
    }
}
