//! Starts a program in a root, namespaces and rights of its own: the caller becomes it, or watches over it. The
//! order is worked out first ([`StartPlan`]), done by `build`, watched by `monitor` and `init`.

mod build;
mod channel;
mod error;
mod exec;
mod init;
mod job;
mod monitor;
mod plan;
mod report;
mod rights;
mod signals;
mod step;
#[allow(unsafe_code, reason = "clone(2), signal handlers, seccomp filters and descriptors by number have no safe form")]
mod sys;

pub use error::{Failed, StartError};
pub use plan::StartPlan;
pub use step::{Kept, Kinds, Step};

pub(crate) use plan::{Situation, plan};

use crate::enter::State;
use crate::sandbox::{Exit, Hooks, Program, Sandbox, Want, WorkingIn};
use build::{Builder, Parent};
use monitor::Monitor;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use plan::Birth;
use report::Message;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The namespaces of a process that are told, by the names of `/proc/PID/ns` (`namespaces(7)`).
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
/// What a process ends with that could not tell what failed (`env(1)`, "Exit status").
const NOT_STARTED: u8 = 126;

impl Situation {
    /// The calling process; only what the plan of this sandbox depends on.
    pub(crate) fn here(sandbox: &Sandbox) -> Situation {
        let (uid, gid) = crate::sys::effective_ids();
        let try_user = sandbox.namespaces.user == Want::Try;
        let try_cgroup = sandbox.namespaces.cgroup == Want::Try;
        let stays = matches!(sandbox.working_in, WorkingIn::Callers | WorkingIn::CallersOrHome);
        Situation {
            uid,
            gid,
            may_mount: uid == 0 && crate::sys::may_mount(),
            capabilities: rights::effective(),
            user_namespaces: try_user && user_namespaces(),
            cgroup_namespaces: try_cgroup && crate::sys::exists("/proc/self/ns/cgroup"),
            working_directory: if stays { working_directory() } else { Vec::new() },
            directory: if stays { directory() } else { None },
            threads: threads(),
            leads_group: nix::unistd::getpgrp() == getpid(),
        }
    }
}

/// Whether the kernel has user namespaces that are not switched off.
fn user_namespaces() -> bool {
    let says = |path: &str, off: &str| crate::sys::read_kernel_file(path).is_some_and(|text| text.trim() == off);
    crate::sys::exists("/proc/self/ns/user")
        && !says("/proc/sys/user/max_user_namespaces", "0")
        && !says("/sys/module/user_namespace/parameters/enable", "N")
}

/// The shell's path of the working directory, if it is right, then the kernel's.
fn working_directory() -> Vec<PathBuf> {
    let here = crate::sys::identity(Path::new("."));
    let shells = std::env::var_os("PWD").map(PathBuf::from);
    let shells = shells.filter(|path| path.is_absolute() && here.is_ok() && crate::sys::identity(path) == here);
    let kernels = crate::sys::getcwd().ok().filter(|path| path.is_absolute());
    let mut paths: Vec<PathBuf> = shells.into_iter().chain(kernels).collect();
    paths.dedup();
    paths
}

fn directory() -> Option<(u64, u64)> {
    let here = crate::sys::identity(Path::new(".")).ok()?;
    (crate::sys::identity(Path::new("/")) != Ok(here)).then_some(here)
}

/// How many threads this process has: each is a link of the directory, which has two of its own.
fn threads() -> u64 {
    std::fs::metadata("/proc/self/task").map_or(1, |found| found.nlink().saturating_sub(2).max(1))
}

/// The namespaces of a process, by its directory in `/proc`.
pub(crate) fn made(directory: &Path) -> io::Result<Vec<(&'static str, u64)>> {
    let mut found = Vec::with_capacity(NAMESPACES.len());
    for name in NAMESPACES {
        match std::fs::metadata(directory.join(name)) {
            Ok(namespace) => found.push((name, namespace.ino())),
            // This kernel does not have it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Does what the plan says.
pub(crate) fn start(sandbox: Sandbox, plan: StartPlan, program: Program, hooks: &mut dyn Hooks) -> Result<Exit, StartError> {
    if log::log_enabled!(log::Level::Debug) {
        plan.to_string().lines().for_each(|line| log::debug!("sandbox: {line}"));
    }
    let parent = getppid().as_raw();
    let mut builder = Builder {
        sandbox,
        plan: &plan,
        program,
        hooks,
        monitor: None,
        parent: Parent::Is(parent),
        proc: None,
        locks: Vec::new(),
        exec: None,
        state: State::Untouched,
    };
    match plan.birth {
        Birth::InPlace => {
            let failure = builder.run();
            Err(StartError::of(&plan, failure))
        }
        Birth::Child(kinds) => supervise(builder, kinds, parent),
    }
}

fn supervise(mut builder: Builder<'_>, kinds: Kinds, parent: i32) -> Result<Exit, StartError> {
    let plan = builder.plan;
    let dies = builder.sandbox.die_with_parent;
    let before = if dies { die_with(parent).map_err(StartError::monitor)? } else { None };
    let signals = signals::Held::take().map_err(StartError::monitor)?;
    let (ours, theirs) = channel::pair().map_err(StartError::monitor)?;
    let born = if kinds == Kinds::default() { Step::Child } else { Step::Namespaces(kinds) };
    let main = sys::clone(kinds, false).map_err(|errno| StartError::step(born, errno))?;
    if main == 0 {
        drop(ours);
        builder.monitor = Some((theirs, signals.callers()));
        builder.parent = Parent::Monitor;
        builder.state = State::SameFiles;
        let failure = builder.run();
        if let Some((channel, _)) = &builder.monitor {
            let _ = channel.tell(&Message::Failed(failure));
        }
        sys::exit(NOT_STARTED);
    }
    drop(theirs);
    let kept = builder.hooks.descriptors();
    // Not closed on exec, so passed on by whoever started this process, and owned by nothing in it. Somebody may
    // wait for their other ends.
    let inherited = sys::descriptors().into_iter().filter(|fd| *fd > 2 && !kept.contains(fd));
    inherited.filter(|fd| sys::closes_on_exec(*fd) == Some(false)).for_each(sys::close);
    let exit = Monitor::new(&builder.sandbox, plan, builder.hooks, &signals, ours, main).watch();
    if dies {
        let _ = prctl::set_pdeathsig(before);
    }
    exit
}

/// Lets this process die with its parent; returns what it did before when that dies.
fn die_with(parent: i32) -> nix::Result<Option<Signal>> {
    let before = prctl::get_pdeathsig()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != parent {
        sys::kill(getpid().as_raw(), nix::libc::SIGKILL)?;
        return Err(Errno::ESRCH);
    }
    Ok(before)
}
