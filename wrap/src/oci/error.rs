//! Why an environment cannot be exported: operation, subject, cause and remedy in one line.

use std::io;
use std::path::PathBuf;

/// An image that cannot be planned or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the environment cannot be read.
    #[error("exporting {path:?}: {source}; build the environment again")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A path that cannot be in a layer.
    #[error("exporting {path:?}: {cause}; leave it out of the environment")]
    Path {
        /// The path in the image.
        path: PathBuf,
        /// Why not.
        cause: &'static str,
    },
    /// More than a layer may hold.
    #[error("exporting {path:?}: it has more than {most} entries; export a smaller environment")]
    TooLarge {
        /// The environment.
        path: PathBuf,
        /// The most that are exported.
        most: usize,
    },
    /// The layout cannot be written.
    #[error("writing the image layout: {0}; free some space, or name a directory that can be written to")]
    Write(io::Error),
    /// The layout cannot be put in its place.
    #[error(transparent)]
    Store(#[from] store::Error),
}
