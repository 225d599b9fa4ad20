//! Applies a plan to the calling process, undoes it where it fails, and says what became of the
//! process. Decides nothing about the root.

use crate::apply::{self, Failed};
use crate::error::PlanError;
use crate::host::{Caller, HostRoot, WorkingDirectory};
use crate::op::{Op, Plan};
use crate::refusal::{Facts, Refusal, judge};
use crate::root::PrivateRoot;
use std::fmt;
use std::path::PathBuf;

/// What the process is after a failed [`PrivateRoot::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it was before.
    Untouched,
    /// In new namespaces, but every path and the working directory lead to the same files as
    /// before, so another way to run the program may follow. The ids may be unmapped (`nobody`).
    SameFiles,
    /// Neither in the new root nor back in the old one: the process must end.
    Lost,
}

/// A private root that could not be entered.
#[derive(Debug)]
pub enum EnterError {
    /// It could not even be planned.
    Plan(PlanError),
    /// A step failed.
    Step(Box<StepError>),
}

/// The step that failed, why, and what it left behind.
#[derive(Debug)]
pub struct StepError {
    step: String,
    cause: String,
    state: State,
    refusal: Option<Refusal>,
}

impl EnterError {
    /// What the process is now.
    pub fn state(&self) -> State {
        match self {
            EnterError::Plan(_) => State::Untouched,
            EnterError::Step(error) => error.state,
        }
    }

    /// Why this system refuses private roots, where that is what happened.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            EnterError::Plan(_) => None,
            EnterError::Step(error) => error.refusal.as_ref(),
        }
    }
}

impl From<PlanError> for EnterError {
    fn from(error: PlanError) -> EnterError {
        EnterError::Plan(error)
    }
}

impl std::error::Error for EnterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EnterError::Plan(error) => error.source(),
            EnterError::Step(_) => None,
        }
    }
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            EnterError::Plan(error) => return error.fmt(f),
            EnterError::Step(error) => error,
        };
        write!(f, "entering the private root: {}: {}", error.step, error.cause)?;
        if let Some(refusal) = &error.refusal {
            write!(f, ": {refusal}")?;
        }
        match error.state {
            State::Untouched | State::SameFiles => Ok(()),
            State::Lost => f.write_str("; the old root could not be restored, giving up"),
        }
    }
}

impl Plan {
    /// Applies the steps to the calling process. A failed step is undone as [`State`] tells.
    ///
    /// # Errors
    /// [`EnterError::Step`].
    pub fn enter(&self) -> Result<(), EnterError> {
        if log::log_enabled!(log::Level::Debug) {
            for op in &self.ops {
                log::debug!("private root: {op}");
            }
        }
        apply::apply(&self.ops).map_err(|failed| {
            let state = match failed {
                Failed { index: 0, .. } => State::Untouched,
                Failed { lost: None, .. } => State::SameFiles,
                Failed { lost: Some(errno), .. } => {
                    log::debug!("private root: going back failed: {errno}");
                    State::Lost
                }
            };
            EnterError::Step(Box::new(self.explain(failed, state)))
        })
    }

    fn explain(&self, failed: Failed, state: State) -> StepError {
        let op = self.ops.get(failed.index);
        let refusal = failed.fault.refused().zip(op).and_then(|(errno, op)| judge(&Facts::gather(), op, errno));
        let cause = failed.fault.to_string();
        let step = op.map_or_else(String::new, Op::to_string);
        StepError { step, cause, state, refusal }
    }
}

/// Whether private roots can be entered here, found out by a child process that tries it.
///
/// It costs about as much as entering; the way to run a program is to call
/// [`PrivateRoot::enter`] and look at the error.
///
/// # Errors
/// Why not, and what to do.
pub fn probe() -> Result<(), Refusal> {
    let unreadable = |error: PlanError| Refusal::unknown(error.to_string());
    let caller = Caller::at(WorkingDirectory { path: PathBuf::from("/"), identity: None });
    let host = HostRoot::read().map_err(unreadable)?;
    let plan = PrivateRoot::new().plan(&host, &caller).map_err(unreadable)?;
    let failed = match apply::apply_in_child(&plan.ops) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failed)) => failed,
        Err(errno) => return Err(Refusal::unknown(format!("no child process: {}", errno.desc()))),
    };
    let error = plan.explain(failed, State::Untouched);
    Err(error.refusal.unwrap_or_else(|| Refusal::unknown(format!("{}: {}", error.step, error.cause))))
}
