//! Why a sandbox was not started: what failed, in whichever process, and what the caller is now.

use super::plan::StartPlan;
use super::step::Step;
use crate::enter::State;
use crate::error::Fault;
use crate::op::Op;
use crate::refusal::{Facts, Refusal, judge};
use crate::sandbox::Exit;
use nix::errno::Errno;
use std::fmt;

/// Which list of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Before,
    Tree,
    After,
}

/// What went wrong, without words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Fault(Fault),
    /// A clause.
    Text(String),
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Why {
        Why::Fault(Fault::Step(errno))
    }
}

/// A step that failed, by position. This is what a child tells its monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) part: Part,
    pub(crate) index: usize,
    pub(crate) why: Why,
    /// What the process that failed is now.
    pub(crate) state: State,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing yet: what was asked for does not go together.
    Plan,
    /// The caller's own part: watching over the program.
    Monitor,
    /// A step of the process.
    Step(Step),
    /// A step of the tree.
    Op(Op),
}

/// A sandbox that was not started, or whose program was not. No process of it is left.
#[derive(Clone, Debug)]
pub struct StartError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    failed: Failed,
    why: Why,
    refusal: Option<Refusal>,
    state: State,
}

impl StartError {
    fn new(failed: Failed, why: Why, state: State) -> StartError {
        let op = match &failed {
            Failed::Step(step) => step.as_op(),
            Failed::Op(op) => Some(op.clone()),
            Failed::Plan | Failed::Monitor => None,
        };
        let errno = match &why {
            Why::Fault(fault) => fault.refused(),
            Why::Text(_) => None,
        };
        let refusal = op.zip(errno).and_then(|(op, errno)| judge(&Facts::gather(), &op, errno));
        StartError(Box::new(Inner { failed, why, refusal, state }))
    }

    pub(crate) fn plan(clause: &str) -> StartError {
        StartError::new(Failed::Plan, Why::Text(clause.to_owned()), State::Untouched)
    }

    pub(crate) fn threads(threads: u64) -> StartError {
        let why = Why::Text(format!("the calling process has {threads} threads"));
        // What unshare(2) would answer.
        let facts = Facts { threads: Some(threads), ..Facts::default() };
        let refusal = judge(&facts, &Op::Unshare { user: true }, Errno::EINVAL);
        StartError(Box::new(Inner { failed: Failed::Plan, why, refusal, state: State::Untouched }))
    }

    /// The caller's own part failed.
    pub(crate) fn monitor(why: impl Into<Why>) -> StartError {
        StartError::new(Failed::Monitor, why.into(), State::Untouched)
    }

    /// A step failed that has no position, for the caller did it.
    pub(crate) fn step(step: Step, why: impl Into<Why>) -> StartError {
        StartError::new(Failed::Step(step), why.into(), State::Untouched)
    }

    /// A hook failed.
    pub(crate) fn hook(step: Step, error: &std::io::Error) -> StartError {
        let why = match error.raw_os_error() {
            Some(errno) => Errno::from_raw(errno).into(),
            None => Why::Text(error.to_string()),
        };
        StartError::step(step, why)
    }

    /// The process that builds has ended without a word.
    pub(crate) fn ended(exit: Exit) -> StartError {
        StartError::monitor(Why::Text(match exit {
            Exit::Code(code) => format!("the process that builds it ended with status {code} and no word"),
            Exit::Signal(signal) => format!("the process that builds it was killed by signal {signal}"),
        }))
    }

    pub(crate) fn of(plan: &StartPlan, failure: Failure) -> StartError {
        let failed = match failure.part {
            Part::Before => plan.before.get(failure.index).cloned().map(Failed::Step),
            Part::Tree => plan.tree.ops.get(failure.index).cloned().map(Failed::Op),
            Part::After => plan.after.get(failure.index).cloned().map(Failed::Step),
        };
        StartError::new(failed.unwrap_or(Failed::Monitor), failure.why, failure.state)
    }

    /// What failed.
    pub fn failed(&self) -> &Failed {
        &self.0.failed
    }

    /// What the kernel said, where it said something.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.0.why {
            Why::Fault(fault) => Some(fault),
            Why::Text(_) => None,
        }
    }

    /// What the calling process is now. Where a monitor was to stay it is as it was; a process that was to become
    /// the program may be in new namespaces, and in neither root.
    pub fn state(&self) -> State {
        self.0.state
    }

    /// Why this system refuses, where that is what happened.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    fn remedy(&self) -> Option<&'static str> {
        let errno = self.fault().and_then(Fault::errno);
        Some(match (&self.0.failed, errno) {
            (Failed::Step(Step::Exec(_)), Some(Errno::ENOENT)) => "it and its interpreter must be in the new root",
            (Failed::Step(Step::Exec(_)), Some(Errno::EACCES)) => "it must be executable, on a file system that is not mounted noexec",
            (Failed::Step(Step::Exec(_)), Some(Errno::ENOEXEC)) => "it must be a program of this machine, or begin with `#!`",
            (Failed::Step(Step::WorkingDirectory { .. }), _) => "share it with the sandbox, or start in another directory",
            (Failed::Step(Step::LimitUserNamespaces(_)), _) => "/proc/sys must be writable to forbid user namespaces",
            (Failed::Step(Step::Become { .. }), Some(Errno::EINVAL)) => "map the id in the namespace that is joined",
            (Failed::Step(Step::JoinUser(_)), Some(Errno::EINVAL)) => "it must be a user namespace below the caller's",
            (Failed::Step(Step::JoinUser(_) | Step::JoinPid(_)), Some(Errno::EBADF)) => "open the namespace on that descriptor",
            (Failed::Step(Step::Capabilities(_)), Some(Errno::EPERM)) => "ask only for capabilities that the caller has",
            (Failed::Step(Step::ExecLabel(_) | Step::FileLabel(_)), _) => "labels need SELinux and a label that its policy knows",
            (Failed::Step(Step::Filter { .. }), Some(Errno::EINVAL)) => "give a valid program of struct sock_filter",
            (Failed::Step(Step::Lock(_)), Some(Errno::EAGAIN | Errno::EACCES)) => "wait until nobody writes to it",
            _ => return None,
        })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { failed, why, refusal, .. } = &*self.0;
        f.write_str("starting the sandbox: ")?;
        match failed {
            Failed::Plan => {}
            Failed::Monitor => f.write_str("watching over the program: ")?,
            Failed::Step(step) => write!(f, "{step}: ")?,
            Failed::Op(op) => write!(f, "{op}: ")?,
        }
        match why {
            Why::Fault(fault) => fault.fmt(f)?,
            Why::Text(text) => f.write_str(text)?,
        }
        match (refusal, self.remedy()) {
            (Some(refusal), _) if matches!(failed, Failed::Plan) => write!(f, "; {}", refusal.remedy()),
            (Some(refusal), _) => write!(f, ": {refusal}"),
            (None, Some(remedy)) => write!(f, "; {remedy}"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for StartError {}
