//! What an environment promises the host: nothing, or a sandbox. Two arms that are never blurred; plain data.

use fhs_env::Access;
use fhs_env::policy::{BusRules, Profile};
use std::path::PathBuf;

/// How much of the host an environment shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything but what the environment has itself: home, drives, working directory. It isolates nothing.
    #[default]
    Compat,
    /// What is listed, and nothing else.
    Sandbox(SandboxOptions),
}

/// What a sandbox shows and allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxOptions {
    /// The directory of the host that stands for the user's home.
    pub home: PathBuf,
    /// Paths of the host that are shown at their own place.
    pub paths: Vec<(PathBuf, Access)>,
    /// Whether the host's network can be reached.
    pub network: bool,
    /// The system calls that are refused.
    pub profile: Profile,
    /// What may be said on the session bus; `None` does not share it.
    pub bus: Option<BusRules>,
    /// It does not start unless all of this can be enforced.
    pub require: bool,
}
