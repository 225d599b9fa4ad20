//! Long work, told to whoever wants to show it, and stopped by whoever wants it stopped.

/// What a caller hears while a tree is worked on. Calls come from several threads.
pub trait Progress: Sync {
    /// A stage begins: what it does and how many steps it has.
    fn begin(&self, _what: &str, _steps: u64) {}
    /// One step is done.
    fn step(&self) {}
    /// The stage is over, also after a failure.
    fn end(&self) {}
    /// Whether to stop: the work ends with [`Error::Cancelled`](crate::Error::Cancelled) and nothing is changed.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {}
