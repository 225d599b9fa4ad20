//! Gives a program a terminal of its own and joins it to the caller's: what the program does to its terminal, putting
//! input into it included, stays there. Sizes, signals, job control and the end of input go through; the caller's
//! terminal is given back as it was, however the program ends. Interprets nothing of what passes.

use super::fork::run_in_child;
use super::relay::Relay;
use crate::sandbox::Exit;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getpgrp, getpid, getppid, isatty, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A proxy that could not be set up, or that lost its way. The caller's terminal is as it was.
#[derive(Debug, thiserror::Error)]
#[error("giving the program a terminal of its own: {step}: {}; start it without a terminal (from a pipe)", errno.desc())]
pub struct PtyError {
    step: &'static str,
    errno: Errno,
}

/// What is done for the program, by signal: told to the child.
pub(super) const FORWARDED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

fn failed<E: Into<FromErrno>>(step: &'static str) -> impl Fn(E) -> PtyError {
    move |error| PtyError { step, errno: error.into().0 }
}

/// The two libraries' numbers of errors.
struct FromErrno(Errno);

impl From<Errno> for FromErrno {
    fn from(errno: Errno) -> FromErrno {
        FromErrno(errno)
    }
}

impl From<rustix::io::Errno> for FromErrno {
    fn from(errno: rustix::io::Errno) -> FromErrno {
        FromErrno(Errno::from_raw(errno.raw_os_error()))
    }
}

impl From<std::io::Error> for FromErrno {
    fn from(error: std::io::Error) -> FromErrno {
        FromErrno(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }
}

/// The caller's terminal while the proxy has it; given back when this is dropped.
struct Caller {
    terminal: OwnedFd,
    saved: Termios,
    /// Whether keys are read from it. If not, only output is passed on, and keys go to whoever reads them.
    reads: bool,
}

impl Caller {
    /// The terminal among the first three descriptors; input's first.
    fn find() -> Result<Option<Caller>, PtyError> {
        let [reads, others @ ..] = TERMINALS.map(|fd| isatty(fd()).unwrap_or(false));
        let found = match (reads, others) {
            (true, _) => TERMINALS[0](),
            (_, [true, _]) => TERMINALS[1](),
            (_, [_, true]) => TERMINALS[2](),
            _ => return Ok(None),
        };
        let terminal = found.try_clone_to_owned().map_err(failed("keeping the caller's terminal"))?;
        let saved = tcgetattr(&terminal).map_err(failed("reading the caller's terminal"))?;
        Ok(Some(Caller { terminal, saved, reads }))
    }

    /// Whether it is this process group's turn: in the background the terminal is somebody else's.
    fn in_front(&self) -> bool {
        tcgetpgrp(&self.terminal).is_ok_and(|group| group.as_raw_nonzero().get() == getpgrp().as_raw())
    }

    /// What the program's terminal does, must not be done twice. Nothing in the background.
    fn take(&self) -> rustix::io::Result<()> {
        if !self.in_front() {
            return Ok(());
        }
        let mut modes = self.saved.clone();
        if self.reads {
            modes.make_raw();
        } else {
            modes.output_modes.remove(OutputModes::OPOST);
        }
        tcsetattr(&self.terminal, OptionalActions::Now, &modes)
    }

    fn give_back(&self) {
        if self.in_front()
            && let Err(errno) = tcsetattr(&self.terminal, OptionalActions::Now, &self.saved)
        {
            log::debug!("terminal: giving it back: {errno}");
        }
    }

    fn pass_size(&self, master: BorrowedFd<'_>) {
        if let Err(errno) = tcgetwinsize(&self.terminal).and_then(|size| tcsetwinsize(master, size)) {
            log::debug!("terminal: passing its size: {errno}");
        }
    }

    /// The same terminal, opened anew: reading and writing must not wait, and that is a property of an opening,
    /// which the caller's shell shares.
    fn reopened(&self) -> Result<OwnedFd, PtyError> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.terminal.as_raw_fd());
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = open(path.as_str(), flags, Mode::empty()).or_else(|_| open("/dev/tty", flags, Mode::empty()));
        match opened {
            Ok(opened) => Ok(opened),
            // Both are missing in odd places only; then a slow terminal makes everything wait for it.
            Err(_) => self.terminal.try_clone().map_err(failed("keeping the caller's terminal")),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.give_back();
    }
}

const TERMINALS: [fn() -> BorrowedFd<'static>; 3] = [rustix::stdio::stdin, rustix::stdio::stdout, rustix::stdio::stderr];

/// The signals that the proxy waits for, blocked; as before when this is dropped.
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    fn block() -> nix::Result<Signals> {
        let own = [Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGTSTP];
        let heard: SigSet = own.into_iter().chain(FORWARDED).collect();
        // Giving the terminal back must not stop a proxy in the background (`tcsetattr(3)`).
        let blocked: SigSet = heard.iter().chain([Signal::SIGTTOU]).collect();
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        match SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) {
            Ok(fd) => Ok(Signals { fd, before }),
            Err(errno) => before.thread_set_mask().and(Err(errno)),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Err(errno) = self.before.thread_set_mask() {
            log::debug!("terminal: signals stay blocked: {errno}");
        }
    }
}

/// The status of a process that could not take its terminal; as of tools that start others (`timeout(1)`).
const NOT_STARTED: u8 = 125;

/// Runs `child` in a process of its own, in a new session whose terminal is a new one wherever the caller's first
/// three descriptors are terminals, and passes everything between the two until that process ends. Its status is
/// what `child` returns, if it does. Without any terminal there is just the process.
///
/// The process must have one thread.
///
/// # Errors
/// [`PtyError`]; the child has not run if its step is not "passing on".
pub fn behind(child: impl FnOnce() -> u8) -> Result<Exit, PtyError> {
    let caller = Caller::find()?;
    let mut terminal = None;
    if let Some(caller) = &caller {
        let (master, slave) = new_terminal()?;
        tcsetattr(&slave, OptionalActions::Now, &caller.saved).map_err(failed("setting the new terminal"))?;
        caller.pass_size(master.as_fd());
        terminal = Some((master, slave));
    }
    let signals = Signals::block().map_err(failed("waiting for signals"))?;
    let proxy = getpid();
    let pid = run_in_child(|| {
        // What is behind the terminal ends with it, whatever signals it ignores.
        if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != proxy {
            return NOT_STARTED;
        }
        // The proxy's end is closed here, so that the terminal hangs up when the proxy is killed.
        let slave = terminal.take().map(|(_, slave)| slave);
        if signals.before.thread_set_mask().is_err() || slave.is_some_and(|slave| adopt(&slave).is_err()) {
            return NOT_STARTED;
        }
        child()
    });
    let pid = pid.map_err(failed("starting a process"))?;
    Proxy { caller: caller.as_ref(), pid, signals: &signals.fd }.run(terminal)
}

fn new_terminal() -> Result<(OwnedFd, OwnedFd), PtyError> {
    let step = failed::<rustix::io::Errno>("making a terminal");
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(&step)?;
    unlockpt(&master).map_err(&step)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(&step)?;
    let flags = OFlag::from_bits_retain(fcntl(&master, FcntlArg::F_GETFL).map_err(failed("making a terminal"))?);
    fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed("making a terminal"))?;
    Ok((master, slave))
}

/// Makes the terminal the calling process's own, in the place of each that it has.
fn adopt(slave: &OwnedFd) -> nix::Result<()> {
    setsid()?;
    rustix::process::ioctl_tiocsctty(slave).map_err(|errno| FromErrno::from(errno).0)?;
    let [input, output, error] = TERMINALS.map(|fd| isatty(fd()).unwrap_or(false));
    if input {
        dup2_stdin(slave)?;
    }
    if output {
        dup2_stdout(slave)?;
    }
    if error {
        dup2_stderr(slave)?;
    }
    Ok(())
}

/// The waiting process.
struct Proxy<'a> {
    caller: Option<&'a Caller>,
    pid: Pid,
    signals: &'a SignalFd,
}

impl Proxy<'_> {
    fn run(&self, terminal: Option<(OwnedFd, OwnedFd)>) -> Result<Exit, PtyError> {
        let mut relay = match (self.caller, terminal) {
            (Some(caller), Some(terminal)) => {
                caller.take().map_err(failed("taking the caller's terminal")).inspect_err(|_| self.tell(Signal::SIGKILL))?;
                let mut relay = Relay::new(terminal, caller.reopened()?, caller.reads);
                relay.set_in_front(caller.in_front());
                Some(relay)
            }
            _ => None,
        };
        loop {
            Relay::wait(relay.as_mut(), self.signals.as_fd()).map_err(failed("passing on"))?;
            while let Ok(Some(told)) = self.signals.read_signal() {
                let signal = i32::try_from(told.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
                if let Some(exit) = signal.map_or(Ok(None), |signal| self.hear(signal, relay.as_mut()))? {
                    if let Some(relay) = &mut relay {
                        relay.finish(self.signals);
                    }
                    return Ok(exit);
                }
            }
            // The caller's terminal is gone. The program's goes with it, and that tells its session.
            if relay.as_ref().is_some_and(Relay::hung_up) {
                relay = None;
                self.tell(Signal::SIGHUP);
            }
        }
    }

    fn tell(&self, signal: Signal) {
        if let Err(errno) = kill(self.pid, signal) {
            log::debug!("terminal: telling {} of {signal}: {errno}", self.pid);
        }
    }

    /// The exit, when that is what happened.
    fn hear(&self, signal: Signal, relay: Option<&mut Relay>) -> Result<Option<Exit>, PtyError> {
        match signal {
            Signal::SIGCHLD => return self.reap(relay),
            Signal::SIGWINCH => self.size(relay.as_deref()),
            Signal::SIGCONT => self.resume(relay),
            Signal::SIGTSTP => self.stop(relay),
            signal => self.tell(signal),
        }
        Ok(None)
    }

    fn reap(&self, mut relay: Option<&mut Relay>) -> Result<Option<Exit>, PtyError> {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Some(Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)))),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Some(Exit::Signal(signal as i32))),
                Ok(WaitStatus::Stopped(..)) => {
                    self.stop(relay.as_deref_mut());
                    self.tell(Signal::SIGCONT);
                    return Ok(None);
                }
                Ok(_) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(PtyError { step: "waiting for the program", errno }),
            }
        }
    }

    /// Stops with the program; the caller's shell goes on, in its own terminal.
    fn stop(&self, relay: Option<&mut Relay>) {
        if let Some(caller) = self.caller {
            caller.give_back();
        }
        if let Err(errno) = raise(Signal::SIGSTOP) {
            log::debug!("terminal: stopping: {errno}");
        }
        self.resume(relay);
    }

    fn resume(&self, mut relay: Option<&mut Relay>) {
        if let Some(caller) = self.caller
            && let Err(errno) = caller.take()
        {
            log::debug!("terminal: taking it again: {errno}");
        }
        if let (Some(caller), Some(relay)) = (self.caller, relay.as_deref_mut()) {
            relay.set_in_front(caller.in_front());
        }
        self.size(relay.as_deref());
    }

    fn size(&self, relay: Option<&Relay>) {
        if let (Some(caller), Some(relay)) = (self.caller, relay) {
            caller.pass_size(relay.master());
        }
    }
}
