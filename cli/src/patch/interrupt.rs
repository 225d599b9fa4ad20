//! Ctrl-C between two files, not within one: work that was begun is finished or taken back, nothing
//! half-written is left. A second Ctrl-C ends at once.

use nix::sys::signal::{SigSet, Signal};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The exit status of an interrupted command, as shells give it for SIGINT.
pub(super) const STATUS: u8 = 130;

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// From now on signals only set a flag, in this thread and in those it starts. Before, while libraries are looked for
/// and fetched, ending at once loses nothing.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let signals = signals();
        if signals.thread_block().is_err() {
            return;
        }
        std::thread::spawn(move || {
            while signals.wait().is_ok() {
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(STATUS.into());
                }
            }
        });
    });
}

/// Whether somebody wants it to end.
pub(super) fn is_wanted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Does something with signals as they were, such as starting a program, which inherits what is blocked.
pub(super) fn unblocked<T>(act: impl FnOnce() -> T) -> T {
    let signals = signals();
    let _ = signals.thread_unblock();
    let result = act();
    let _ = signals.thread_block();
    result
}
