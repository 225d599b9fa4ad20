//! Job control of a monitor: when the program stops, the monitor does too, so that the shell that started it gets
//! the terminal back; and when the shell continues it, so is the program. Without a terminal nothing is done.

use super::sys;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};

/// The program, a process as this one sees it, has stopped: stops too. Returns when both go on.
///
/// The stop is `SIGTSTP`, which the kernel discards in an orphaned process group: where no shell could continue this
/// process it must not stop.
pub(crate) fn stop_along(program: i32) {
    let Ok(terminal) = open("/dev/tty", OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()) else { return };
    let ours = getpgrp();
    let theirs = getpgid(Some(Pid::from_raw(program))).unwrap_or(ours);
    // A shell inside has put itself into a group of its own, and that in front.
    let had_terminal = theirs != ours && tcgetpgrp(&terminal) == Ok(theirs);
    let mut tty_out = SigSet::empty();
    tty_out.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    // Taking the terminal from the background is answered with this signal, unless it is blocked (tcsetpgrp(3)).
    if sigprocmask(SigmaskHow::SIG_BLOCK, Some(&tty_out), Some(&mut before)).is_err() {
        return;
    }
    if had_terminal {
        let _ = tcsetpgrp(&terminal, ours);
    }
    let stopped = stop();
    // In front again, by the shell's `fg`: so is the program. Behind, by its `bg`, the terminal is not ours to give.
    if had_terminal && (stopped.is_err() || tcgetpgrp(&terminal) == Ok(ours)) {
        let _ = tcsetpgrp(&terminal, theirs);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let group = if theirs == ours { program } else { -theirs.as_raw() };
    let _ = sys::kill(group, libc::SIGCONT);
}

/// Stops this process, whatever it does about the signal otherwise.
fn stop() -> nix::Result<()> {
    let mut signal = SigSet::empty();
    signal.add(Signal::SIGTSTP);
    let action = sys::make_default(Signal::SIGTSTP)?;
    let mut before = SigSet::empty();
    let result = sys::kill(getpid().as_raw(), libc::SIGTSTP).and_then(|()| {
        // It is delivered here, and the process stops here.
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&signal), Some(&mut before))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
    });
    sys::restore(Signal::SIGTSTP, &action);
    result
}
