//! The process between the monitor and the program: pid 1 of a pid namespace, or the holder of locks and
//! descriptors. Reaps what is left over, passes signals on, tells how the program ended, and ends with it.

use super::channel::Theirs;
use super::error::{Failure, Part};
use super::plan::StartPlan;
use super::report::Message;
use super::rights;
use super::signals::{Callers, FORWARDED};
use super::step::Step;
use super::sys::{self, Waited};
use crate::enter::State;
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
    pub(crate) plan: &'a StartPlan,
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
            Err(failure) => {
                let _ = self.channel.tell(&Message::Failed(failure));
                let _ = sys::kill(self.program, nix::libc::SIGKILL);
                Exit::Signal(nix::libc::SIGKILL)
            }
        };
        sys::exit(status.status())
    }

    fn prepare(&self) -> Result<(), Failure> {
        let failed = |step: &dyn Fn(&Step) -> bool, errno: Errno| {
            let index = self.plan.after.iter().position(step).unwrap_or(0);
            Failure { part: Part::After, index, why: errno.into(), state: State::Untouched }
        };
        self.take_over().map_err(|errno| failed(&|step| *step == Step::Init, errno))?;
        for (at, filter) in self.sandbox.filters.iter().enumerate() {
            let is = |step: &Step| matches!(step, Step::Filter { index, .. } if *index == at);
            sys::load_filter(filter).map_err(|errno| failed(&is, errno))?;
        }
        // From here on the program may look at it (`ptrace(2)`), and others at its namespaces.
        prctl::set_dumpable(true).map_err(|errno| failed(&|step| *step == Step::Init, errno))
    }

    fn take_over(&self) -> nix::Result<()> {
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
        Ok(())
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
