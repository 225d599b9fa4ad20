//! The process outside: the caller, while the program runs in its child. Passes signals on, tells the hooks, stops
//! and goes on with the program, and knows how it ended. When it returns, nothing of the sandbox is left, unless the
//! sandbox lingers.

use super::channel::{Ours, Received};
use super::error::StartError;
use super::plan::StartPlan;
use super::report::Message;
use super::signals::{Held, ends};
use super::step::Step;
use super::sys::{self, Waited};
use super::{job, made};
use crate::sandbox::{Exit, Hooks, Made, Sandbox};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::Path;

/// What the monitor knows.
pub(crate) struct Monitor<'a> {
    plan: &'a StartPlan,
    hooks: &'a mut dyn Hooks,
    signals: &'a Held,
    channel: Option<Ours>,
    /// The process that builds: it becomes the program or its init.
    main: i32,
    /// Those before it, which end when the next one goes on.
    before: Vec<i32>,
    /// The program's process, where it is known.
    program: Option<i32>,
    lingers: bool,
    new_session: bool,
    error: Option<StartError>,
    exit: Option<Exit>,
}

impl<'a> Monitor<'a> {
    pub(crate) fn new(
        sandbox: &Sandbox,
        plan: &'a StartPlan,
        hooks: &'a mut dyn Hooks,
        signals: &'a Held,
        channel: Ours,
        main: i32,
    ) -> Monitor<'a> {
        Monitor {
            plan,
            hooks,
            signals,
            channel: Some(channel),
            main,
            before: Vec::new(),
            program: None,
            lingers: sandbox.lingering && !sandbox.die_with_parent,
            new_session: sandbox.new_session,
            error: None,
            exit: None,
        }
    }

    /// Watches until the program has ended, or was not started.
    pub(crate) fn watch(mut self) -> Result<Exit, StartError> {
        let watched = self.until_the_end();
        self.before.iter().for_each(|pid| _ = sys::wait(*pid, false));
        if let Err(errno) = watched {
            self.end_everything();
            return Err(self.error.unwrap_or_else(|| StartError::monitor(errno)));
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let exit = self.exit.unwrap_or(Exit::Code(1));
        if self.program.is_some() && self.hooks.wanted().exited {
            self.hooks.exited(exit);
        }
        Ok(exit)
    }

    fn until_the_end(&mut self) -> nix::Result<()> {
        loop {
            self.poll()?;
            self.read_channel()?;
            while let Some(came) = self.signals.next()? {
                self.pass_on(came.signal, came.by_process);
            }
            if self.reap()? || (self.lingers && self.exit.is_some() && self.error.is_none()) {
                return Ok(());
            }
        }
    }

    fn poll(&self) -> nix::Result<()> {
        let mut fds = vec![PollFd::new(self.signals.fd().as_fd(), PollFlags::POLLIN)];
        fds.extend(self.channel.as_ref().map(|channel| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes everything that was said.
    fn read_channel(&mut self) -> nix::Result<()> {
        while let Some(channel) = &self.channel {
            let (message, sender) = match channel.receive()? {
                Received::Nothing => return Ok(()),
                Received::End => {
                    self.channel = None;
                    return Ok(());
                }
                Received::Message(message, sender) => (message, sender),
            };
            match message {
                // A program says nothing anything but that it could not be started: it may have got at the line of its init.
                _ if self.program == Some(sender) && !matches!(message, Message::Failed(_)) => {}
                Message::Here if self.program.is_none() => self.before.push(std::mem::replace(&mut self.main, sender)),
                Message::Made if self.program.is_none() => self.tell()?,
                Message::Program if self.program.is_none() => self.program = Some(sender),
                Message::Failed(failure) if self.error.is_none() && self.exit.is_none() => {
                    self.error = Some(StartError::of(self.plan, failure));
                    self.end_everything();
                }
                Message::Ended(exit) if self.exit.is_none() => self.exit = Some(exit),
                Message::Stopped => self.stop_along(),
                Message::Here | Message::Made | Message::Program | Message::Failed(_) | Message::Ended(_) => {}
            }
        }
        Ok(())
    }

    /// Tells the hooks what was made, with the caller's own signals: they may wait.
    fn tell(&mut self) -> nix::Result<()> {
        let path = format!("/proc/{}/ns", self.main);
        let hooks = &mut *self.hooks;
        let pid = self.main;
        let told = self.signals.as_before(|| made(Path::new(&path)).and_then(|namespaces| hooks.namespaces(&Made { pid, namespaces })));
        match (told, &self.channel) {
            (Ok(()), Some(channel)) => match channel.go() {
                // It has ended meanwhile, and will say why.
                Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Ok(()),
                Err(errno) => Err(errno),
            },
            (Ok(()), None) => Ok(()),
            (Err(error), _) => {
                self.error = Some(StartError::hook(Step::Tell, &error));
                self.end_everything();
                Ok(())
            }
        }
    }

    /// What the terminal sends, it sends to the program as well, unless that has a session of its own.
    fn pass_on(&mut self, signal: i32, by_process: bool) {
        if signal == libc::SIGCHLD || !(by_process || self.new_session) {
            // Before the program runs nobody there could do anything about it.
            if self.program.is_none() && ends(signal) {
                self.end_by(signal);
            }
            return;
        }
        if self.program.is_none() && ends(signal) {
            self.end_by(signal);
        } else {
            let _ = sys::kill(self.main, signal);
        }
    }

    fn end_by(&mut self, signal: i32) {
        self.exit = Some(Exit::Signal(signal));
        self.end_everything();
    }

    /// Kills what builds. With a pid namespace the kernel kills all in it; without one, what it has started so far
    /// dies with it.
    fn end_everything(&self) {
        let _ = sys::kill(self.main, libc::SIGKILL);
    }

    /// Whether the process has ended.
    fn reap(&mut self) -> nix::Result<bool> {
        let exit = match sys::wait(self.main, false) {
            Ok(Waited::Exited { code, .. }) => Exit::Code(code),
            Ok(Waited::Killed { signal, .. }) => Exit::Signal(signal),
            Ok(Waited::Stopped { .. }) => {
                if !self.plan.has_init() {
                    self.stop_along();
                }
                return Ok(false);
            }
            Ok(Waited::Nothing) | Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        // What it said before it ended may have come after the last look.
        let main = self.main;
        self.read_channel()?;
        if self.main != main {
            return Ok(false);
        }
        if self.plan.has_intermediates() && self.channel.is_some() && self.program.is_none() && exit == Exit::Code(0) {
            // It goes on in a child, which will speak.
            return Ok(false);
        }
        if self.program.is_none() && self.error.is_none() && self.exit.is_none() {
            self.error = Some(StartError::ended(exit));
        }
        self.exit = self.exit.or(Some(exit));
        Ok(true)
    }

    fn stop_along(&self) {
        if let Some(program) = self.program {
            job::stop_along(program);
        }
    }
}
