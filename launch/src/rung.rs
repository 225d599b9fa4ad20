//! The rungs of the ladder and the record of why each was taken or passed over.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A way of starting a program, cheapest and most faithful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// `execve`, nothing else.
    Direct,
    /// `execve` too: the loader shim at the interpreter's path knows what the program needs. Where none is
    /// installed and it was asked for, a private root in which it is.
    Shim,
    /// A private root in which the interpreter's path holds a loader copy.
    View,
    /// A private root in which copies of the executables with another interpreter hide the originals.
    Overlay,
    /// An environment: a root with a `/usr` of its own, for what names files by paths that this host has not.
    Fhs,
    /// The loader started by hand, with the program as its argument.
    Loader,
}

impl Rung {
    /// Every rung, in the order they are tried.
    pub const LADDER: [Rung; 6] = [Rung::Direct, Rung::Shim, Rung::View, Rung::Overlay, Rung::Fhs, Rung::Loader];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Direct => "direct",
            Rung::Shim => "shim",
            Rung::View => "view",
            Rung::Overlay => "overlay",
            Rung::Fhs => "fhs",
            Rung::Loader => "loader",
        }
    }

    /// What the program loses on this rung, one sentence each; in a private root, or without one.
    pub fn losses(self, private_root: bool, user_namespace: bool) -> Vec<String> {
        let mut losses: Vec<String> = Vec::new();
        if private_root {
            losses.extend(fhs_env::losses(user_namespace).iter().map(|s| (*s).to_owned()));
        }
        match self {
            Rung::Overlay => losses.push("the program cannot replace its own executables while it runs (EBUSY)".to_owned()),
            Rung::Fhs => losses
                .push("this machine's /usr, /bin and /lib are hidden: programs that it starts from there are the environment's".to_owned()),
            Rung::Loader => {
                losses.push("/proc/self/exe is the loader, so a program that looks for itself there goes astray".to_owned());
                losses.push("foreign programs that it starts as children are not helped".to_owned());
            }
            Rung::Direct | Rung::Shim | Rung::View => {}
        }
        losses
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rung {
    type Err = String;
    fn from_str(s: &str) -> Result<Rung, String> {
        let names = || Rung::LADDER.map(Rung::name).join(", ");
        Rung::LADDER.into_iter().find(|r| r.name() == s).ok_or_else(|| format!("no such strategy; there are {}", names()))
    }
}

/// What became of one rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The rung.
    pub rung: Rung,
    /// Whether it was taken.
    pub taken: bool,
    /// Why, or why not.
    pub why: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:<8} {}", if self.taken { "->" } else { "  " }, self.rung.name(), self.why)
    }
}
