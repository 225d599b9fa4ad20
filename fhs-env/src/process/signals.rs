//! Which signals a monitor passes on, and how it holds them back meanwhile: what the caller had is given back.

use super::sys;
use nix::libc;
use nix::sys::signal::{SigAction, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that are passed on to the program.
pub(crate) const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// Whether a signal ends a process that does nothing about it.
pub(crate) fn ends(signal: i32) -> bool {
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2].contains(&signal)
}

/// The signals, held back.
pub(crate) struct Held {
    /// What was blocked before.
    mask: SigSet,
    child: SigAction,
    child_ignored: bool,
    /// Those that are read.
    taken: SigSet,
    fd: SignalFd,
}

/// A signal that came.
pub(crate) struct Came {
    pub(crate) signal: i32,
    /// Sent by a process, as against the kernel: the terminal sends to its whole foreground group.
    pub(crate) by_process: bool,
}

impl Held {
    /// Holds back what is passed on, but for what the caller ignores (`nohup(1)`), and `SIGCHLD`, which must not be
    /// ignored: a status would be lost (`wait(2)`, notes).
    pub(crate) fn take() -> nix::Result<Held> {
        let mut taken = SigSet::empty();
        FORWARDED.into_iter().filter(|signal| !sys::is_ignored(*signal)).for_each(|signal| taken.add(signal));
        taken.add(Signal::SIGCHLD);
        let fd = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let child_ignored = sys::is_ignored(Signal::SIGCHLD);
        let child = sys::make_default(Signal::SIGCHLD)?;
        let mut mask = SigSet::empty();
        if let Err(errno) = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&taken), Some(&mut mask)) {
            sys::restore(Signal::SIGCHLD, &child);
            return Err(errno);
        }
        Ok(Held { mask, child, child_ignored, taken, fd })
    }

    /// What the caller has blocked, and whether it ignores `SIGCHLD`: for the program.
    pub(crate) fn callers(&self) -> Callers {
        Callers { mask: self.mask, child_ignored: self.child_ignored }
    }

    pub(crate) fn fd(&self) -> &SignalFd {
        &self.fd
    }

    /// The next signal that came.
    pub(crate) fn next(&self) -> nix::Result<Option<Came>> {
        let read = self.fd.read_signal()?;
        Ok(read.map(|info| Came { signal: i32::try_from(info.ssi_signo).unwrap_or(0), by_process: info.ssi_code <= 0 }))
    }

    /// Does something with the signals as the caller has them.
    pub(crate) fn as_before<T>(&self, work: impl FnOnce() -> T) -> T {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
        let result = work();
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&self.taken), None);
        result
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        sys::restore(Signal::SIGCHLD, &self.child);
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
    }
}

/// How the caller has its signals.
#[derive(Clone, Copy)]
pub(crate) struct Callers {
    mask: SigSet,
    child_ignored: bool,
}

impl Callers {
    /// Gives the program's process what the caller had.
    pub(crate) fn restore(&self) -> nix::Result<()> {
        if self.child_ignored {
            sys::ignore(Signal::SIGCHLD)?;
        }
        self.restore_mask()
    }

    pub(crate) fn restore_mask(&self) -> nix::Result<()> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}
