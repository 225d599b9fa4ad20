//! What a sandbox forbids beside hiding files: system calls, and the roads around its namespaces. Data and pure
//! judgement, with one module a mechanism; the process itself is made by [`crate::Sandbox::start`].

mod bpf;
mod profile;
mod rules;

pub use profile::{Machine, Profile, UnknownProfile, terminal_guard};
pub use rules::{Rule, When};
