//! The process between the monitor and the program: pid 1 of a pid namespace, or the holder of locks and
//! descriptors. Reaps what is left over, passes signals on, tells how the program ended, and ends with it.

use super::channel::Theirs;
use super::report::Message;
use super::rights;
use super::signals::{Callers, FORWARDED};
use super::sys::{self, Waited};
use crate::sandbox::{Exit, Sandbox};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, chdir, setpgid};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What an init is made of.
pub(crate) struct Init<'a> {
    pub(crate) program: i32,
    pub(crate) channel: &'a Theirs,
    pub(crate) sandbox: &'a Sandbox,
    /// Whether it is pid 1 of a pid namespace.
    pub(crate) is_pid_1: bool,
    pub(crate) callers: &'a Callers,
    pub(crate) locks: &'a [OwnedFd],
}

impl Init<'_> {
    fn lingers(&self) -> bool {
        self.sandbox.lingering && !self.sandbox.die_with_parent
    }

    /// Lives until the program has ended, or, if it lingers, until everything inside has.
    pub(crate) fn run(self) -> ! {
        let status = match self.prepare() {
            Ok(()) => self.reap(),
            // Nobody could tell how the program ends: it is ended, with a pid namespace by the kernel.
            Err(_) => {
                let _ = sys::kill(self.program, nix::libc::SIGKILL);
                Exit::Signal(nix::libc::SIGKILL)
            }
        };
        sys::exit(status.status())
    }

    fn prepare(&self) -> nix::Result<()> {
        // In a group of its own: what is sent to the program's group is not passed on a second time.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        if self.lingers() {
            prctl::set_pdeathsig(None)?;
        }
        if !self.is_pid_1 {
            prctl::set_child_subreaper(true)?;
        }
        rights::give_up();
        sys::forward_to(self.program, &FORWARDED)?;
        sys::ignore(Signal::SIGPIPE)?;
        self.callers.restore_mask()?;
        let kept = [self.channel.as_fd().as_raw_fd()].into_iter().chain(self.sandbox.held.iter().copied());
        let kept: Vec<_> = kept.chain(self.locks.iter().map(|lock| lock.as_raw_fd())).collect();
        // Whatever owns one of them is never dropped: this process ends by _exit.
        sys::close_all_but(&kept);
        let _ = chdir("/");
        self.sandbox.filters.iter().try_for_each(|filter| sys::load_filter(filter))
    }

    fn reap(&self) -> Exit {
        // If the program was already gone, its status would be lost with somebody else's wait.
        let mut ended = Exit::Code(1);
        loop {
            let exit = match sys::wait(-1, true) {
                Ok(Waited::Exited { pid, code }) if pid == self.program => Exit::Code(code),
                Ok(Waited::Killed { pid, signal }) if pid == self.program => Exit::Signal(signal),
                Ok(Waited::Stopped { pid }) if pid == self.program => {
                    let _ = self.channel.tell(&Message::Stopped);
                    continue;
                }
                Ok(_) | Err(Errno::EINTR) => continue,
                // Nothing inside is left, or waiting is forbidden.
                Err(_) => return ended,
            };
            ended = exit;
            sys::forward_nothing();
            // The monitor may be gone.
            let _ = self.channel.tell(&Message::Ended(exit));
            if !self.lingers() {
                return ended;
            }
        }
    }
}
