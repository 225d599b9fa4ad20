//! What a sandbox forbids beside hiding files: system calls, and the roads around its namespaces. Data and pure
//! judgement, with one module a mechanism; the process itself is made by [`crate::Sandbox::start`].

mod bpf;
mod bus;
mod enforcement;
#[allow(unsafe_code, reason = "fork(2) has no safe form")]
mod fork;
mod kernel;
mod landlock;
mod profile;
mod pty;
mod relay;
mod rules;
mod terminal;

pub use bus::{BusError, BusProxy, BusRules, session_address};
pub use enforcement::{Asked, Enforcement, Gap, Measure, Unenforced};
pub use kernel::KernelFacts;
pub use landlock::{Files, Landlock, LandlockError, PATHS_MAX, Restricted};
pub use profile::{Machine, Profile, UnknownProfile, socket_call_guard, terminal_guard};
pub use pty::{PtyError, behind};
pub use rules::{Rule, When};
pub use terminal::{Terminal, TerminalFacts};
