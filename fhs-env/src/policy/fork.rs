//! The one unsafe call of this module: a second process that runs a function and ends with its result.

use nix::unistd::{ForkResult, Pid, fork};

/// Runs `what` in a new process, which ends with the status it returns. The process must have one thread.
///
/// # Errors
/// Those of `fork(2)`.
pub(super) fn run_in_child(what: impl FnOnce() -> u8) -> nix::Result<Pid> {
    // SAFETY: the caller has one thread (the condition of every start of a sandbox), so no lock is held by a thread
    // that the child does not have.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = what();
            // SAFETY: always; it ends the process and runs no handler of the parent's.
            unsafe { nix::libc::_exit(i32::from(status)) }
        }
    }
}
