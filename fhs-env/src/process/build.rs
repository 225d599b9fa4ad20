//! Does the steps of a plan, in order, in the calling process: which becomes the program, or its init, or says which
//! step failed. Decides nothing.

use super::channel::Theirs;
use super::error::{Failure, Part, Why};
use super::exec::{Exec, set_variable};
use super::init::Init;
use super::plan::{Birth, StartPlan};
use super::report::Message;
use super::rights;
use super::signals::Callers;
use super::step::{Kinds, Step};
use super::{made, sys};
use crate::apply;
use crate::enter::State;
use crate::error::Fault;
use crate::sandbox::{Hooks, Made, Program, Sandbox};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, getpid, getppid, sethostname, setsid, write};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// With whom this process ends.
pub(crate) enum Parent {
    /// The process of this id.
    Is(i32),
    /// Who has the other end of the line to the monitor: an id means nothing across pid namespaces.
    Monitor,
}

/// The process that does the steps.
pub(crate) struct Builder<'a> {
    pub(crate) sandbox: Sandbox,
    pub(crate) plan: &'a StartPlan,
    pub(crate) program: Program,
    pub(crate) hooks: &'a mut dyn Hooks,
    /// The line to the monitor, if there is one, and the caller's signals.
    pub(crate) monitor: Option<(Theirs, Callers)>,
    pub(crate) parent: Parent,
    /// `/proc` of the host, as a place; the new root may have none.
    pub(crate) proc: Option<OwnedFd>,
    pub(crate) locks: Vec<OwnedFd>,
    /// Ready when the environment is.
    pub(crate) exec: Option<Exec>,
    /// What the process is, as its caller would see it.
    pub(crate) state: State,
}

impl Builder<'_> {
    /// Does everything. Returns only with what failed.
    pub(crate) fn run(&mut self) -> Failure {
        match self.steps() {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn steps(&mut self) -> Result<Infallible, Failure> {
        let plan = self.plan;
        for (index, step) in plan.before.iter().enumerate() {
            self.step(step).map_err(|why| Failure { part: Part::Before, index, why, state: self.state })?;
        }
        // The new root may have no /proc.
        if let Some(index) = plan.after.iter().position(|step| matches!(step, Step::MapUser { .. } | Step::ExecLabel(_))) {
            let opened = self.proc().map(drop);
            opened.map_err(|errno| Failure { part: Part::After, index, why: errno.into(), state: self.state })?;
        }
        apply::apply(&plan.tree.ops).map_err(|failed| {
            let state = if failed.lost.is_some() { State::Lost } else { self.state };
            Failure { part: Part::Tree, index: failed.index, why: Why::Fault(failed.fault), state }
        })?;
        self.state = State::Lost;
        for (index, step) in plan.after.iter().enumerate() {
            self.step(step).map_err(|why| Failure { part: Part::After, index, why, state: self.state })?;
        }
        // No plan is without an exec at its end.
        let index = plan.after.len().saturating_sub(1);
        Err(Failure { part: Part::After, index, why: Errno::ENOEXEC.into(), state: self.state })
    }

    fn step(&mut self, step: &Step) -> Result<(), Why> {
        match step {
            Step::DieWithParent => self.die_with_parent()?,
            Step::LiveOn => prctl::set_pdeathsig(None)?,
            Step::JoinUser(fd) => {
                sys::join(*fd, CloneFlags::CLONE_NEWUSER)?;
                self.entered();
                // What changed its capabilities may not open its own files in /proc.
                prctl::set_dumpable(true)?;
            }
            Step::Namespaces(kinds) => {
                unshare(sys::flags(*kinds))?;
                self.entered();
            }
            Step::JoinPid(fd) => sys::join(*fd, CloneFlags::CLONE_NEWPID)?,
            Step::Child => self.go_on_in_a_child()?,
            Step::Tell => self.tell()?,
            Step::DenySetgroups => self.put("self/setgroups", b"deny")?,
            Step::MapUser { inside, outside } => self.put("self/uid_map", format!("{inside} {outside} 1").as_bytes())?,
            Step::MapGroup { inside, outside } => self.put("self/gid_map", format!("{inside} {outside} 1").as_bytes())?,
            Step::Become { uid, gid } => rights::become_ids(*uid, *gid)?,
            Step::LimitUserNamespaces(limit) => self.put("sys/user/max_user_namespaces", format!("{limit}").as_bytes())?,
            Step::Loopback => {
                let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
                sys::bring_up_loopback(any.as_fd())?;
            }
            Step::HostName(name) => sethostname(name)?,
            Step::FileLabel(label) => self.put("thread-self/attr/fscreate", label.as_bytes())?,
            Step::Slave => crate::sys::make_slave()?,
            Step::SecondUserNamespace => unshare(CloneFlags::CLONE_NEWUSER)?,
            Step::AssertNoUserNamespaces => {
                if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
                    return Err(Why::Text("one could still be made".into()));
                }
            }
            Step::NoNewPrivileges => prctl::set_no_new_privs()?,
            Step::Capabilities(kept) => rights::keep(*kept)?,
            Step::NewSession => setsid().map(drop)?,
            Step::Lock(path) => self.lock(path)?,
            Step::Init => self.stay_as_init()?,
            Step::Hook => self.hooks.before_exec().map_err(|error| told(&error))?,
            Step::WorkingDirectory { paths, or_root, identity } => self.working_directory(paths, *or_root, *identity)?,
            Step::ExecLabel(label) => self.put("thread-self/attr/exec", label.as_bytes())?,
            Step::Descriptors { only, kept, closed } => descriptors(*only, kept, closed)?,
            Step::Ready => self.ready()?,
            Step::Restrict { index, .. } => {
                if let Some(restriction) = self.sandbox.restrictions.get_mut(*index) {
                    (restriction.apply)().map_err(Why::Text)?;
                }
            }
            Step::Filter { index, .. } => {
                let filter = self.sandbox.filters.get(*index).ok_or(Errno::EINVAL)?;
                sys::load_filter(filter)?;
            }
            Step::Exec(_) => return Err(self.exec.as_ref().map_or(Errno::ENOEXEC, Exec::run).into()),
        }
        Ok(())
    }

    /// The process is in other namespaces, but sees the same files.
    fn entered(&mut self) {
        self.state = State::SameFiles;
    }

    /// Opened at the first use, which is before the root changes if there is one after.
    fn put(&mut self, path: &str, bytes: &[u8]) -> nix::Result<()> {
        let proc = self.proc()?;
        let file = openat(proc, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        write(&file, bytes).map(drop)
    }

    pub(crate) fn proc(&mut self) -> nix::Result<&OwnedFd> {
        if self.proc.is_none() {
            self.proc = Some(open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
        }
        self.proc.as_ref().ok_or(Errno::ENOENT)
    }

    fn die_with_parent(&self) -> nix::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let orphaned = match (&self.parent, &self.monitor) {
            (Parent::Monitor, Some((channel, _))) => channel.is_orphaned(),
            (Parent::Monitor, None) => false,
            (Parent::Is(pid), _) => getppid().as_raw() != *pid,
        };
        if orphaned {
            // The signal that would have come.
            sys::kill(getpid().as_raw(), libc::SIGKILL)?;
            sys::exit(1);
        }
        Ok(())
    }

    fn go_on_in_a_child(&mut self) -> nix::Result<()> {
        if sys::clone(Kinds::default(), true)? != 0 {
            sys::exit(0);
        }
        match &self.monitor {
            Some((channel, _)) => channel.tell(&Message::Here),
            None => Ok(()),
        }
    }

    fn tell(&mut self) -> Result<(), Why> {
        match &self.monitor {
            Some((channel, _)) => {
                channel.tell(&Message::Made)?;
                Ok(channel.wait()?)
            }
            None => {
                let pid = getpid().as_raw();
                let namespaces = made(Path::new("/proc/self/ns")).map_err(|error| told(&error))?;
                self.hooks.namespaces(&Made { pid, namespaces }).map_err(|error| told(&error))
            }
        }
    }

    fn lock(&mut self, path: &Path) -> nix::Result<()> {
        let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let whole = libc::flock { l_type: libc::F_RDLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(&file, FcntlArg::F_SETLK(&whole))?;
        self.locks.push(file);
        Ok(())
    }

    fn stay_as_init(&mut self) -> nix::Result<()> {
        let here = getpid().as_raw();
        // Until init is under the filters, the program must not get at it: it would go around them.
        prctl::set_dumpable(false)?;
        let program = sys::clone(Kinds::default(), false)?;
        let Some((channel, callers)) = &self.monitor else { return Ok(()) };
        if program != 0 {
            let is_pid_1 = here == 1 && matches!(self.plan.birth, Birth::Child(_));
            let init = Init { program, channel, sandbox: &self.sandbox, plan: self.plan, is_pid_1, callers, locks: &self.locks };
            init.run();
        }
        prctl::set_dumpable(true)?;
        self.parent = Parent::Is(here);
        Ok(())
    }

    fn working_directory(&mut self, paths: &[PathBuf], or_root: bool, identity: Option<(u64, u64)>) -> Result<(), Why> {
        let mut result = Err(Errno::ENOENT);
        for path in paths.iter().map(PathBuf::as_path).chain(or_root.then_some(Path::new("/"))) {
            let there = chdir(path);
            if there.is_ok() {
                if identity.is_some_and(|wanted| crate::sys::identity(Path::new(".")) != Ok(wanted)) {
                    return Err(Why::Fault(Fault::OtherDirectory));
                }
                if self.sandbox.sets_pwd {
                    set_variable(&mut self.program.environment, "PWD", path.as_os_str());
                }
                return Ok(());
            }
            // The path that is preferred says why.
            result = result.or_else(|first| if first == Errno::ENOENT { there } else { Err(first) });
        }
        Ok(result?)
    }

    /// The last that is done without filters: signals as the caller had them, words of the exec, and the monitor
    /// knows that from here on they are passed on.
    fn ready(&mut self) -> nix::Result<()> {
        self.exec = Some(Exec::of(&self.program)?);
        if let Some((channel, callers)) = &self.monitor {
            channel.tell(&Message::Program)?;
            callers.restore()?;
        }
        Ok(())
    }
}

fn told(error: &std::io::Error) -> Why {
    match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).into(),
        None => Why::Text(error.to_string()),
    }
}

fn descriptors(only: bool, kept: &[RawFd], closed: &[RawFd]) -> nix::Result<()> {
    if only {
        if sys::close_all_on_exec(3).is_err() {
            let all = sys::descriptors().into_iter().filter(|fd| *fd > 2);
            all.for_each(|fd| _ = sys::close_on_exec(fd, true));
        }
        kept.iter().filter(|fd| **fd > 2).try_for_each(|fd| sys::close_on_exec(*fd, false))?;
    }
    // One that was closed meanwhile is closed.
    closed.iter().for_each(|fd| _ = sys::close_on_exec(*fd, true));
    Ok(())
}
