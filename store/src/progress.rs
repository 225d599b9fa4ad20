//! How long work reports itself: callbacks that the caller turns into bars or lines.
//!
//! The crate never prints; a caller that does not care passes [`Silent`].

/// Told of downloads and builds. Calls come from several threads at once.
pub trait Progress: Send + Sync {
    /// A batch begins: what it is, how many files, how many bytes in all.
    fn start(&self, what: &str, files: u64, bytes: u64) {
        let _ = (what, files, bytes);
    }
    /// So many more bytes of the batch have arrived (bytes found on disk from an earlier attempt included).
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
    /// The batch is over, well or not.
    fn finish(&self) {}
    /// One line worth showing: waiting for another process, a suite that is gone, …
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
