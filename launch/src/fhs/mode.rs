//! What an environment promises the host: nothing, or a sandbox. Two arms that are never blurred; plain data.

use crate::error::{Error, Kind};
use fhs_env::Access;
use fhs_env::policy::{BusRules, Profile};
use std::path::{Path, PathBuf};

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
    /// Whether input devices and cameras are given, too: with them a program can read every key and type into the
    /// session around it.
    pub devices: bool,
    /// Whether the host's network can be reached.
    pub network: bool,
    /// The system calls that are refused.
    pub profile: Profile,
    /// What may be said on the session bus; `None` does not share it.
    pub bus: Option<BusRules>,
    /// It does not start unless all of this can be enforced.
    pub require: bool,
}

/// What a sandbox has of its own: at one of these, or above, nothing of the host can be shown.
const OWN: [&str; 12] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/dev", "/sys", "/run", "/tmp"];
/// What is seen here depends on who looks: nothing of the host's can be shown below either.
const PROCESSES: &str = "/proc";

impl SandboxOptions {
    /// Whether all that was chosen can be shown.
    ///
    /// # Errors
    /// A path at or above what the sandbox has of its own: the files made for the program would be made on the host, and
    /// all that a sandbox hides would be seen. A path of processes, or one that is not absolute and plain.
    pub fn check(&self) -> Result<(), Error> {
        self.paths.iter().try_for_each(|(path, _)| match unfit(path) {
            None => Ok(()),
            Some((cause, remedy)) => Err(Error::new(Kind::CannotStart, "share", path.display().to_string(), cause, remedy)),
        })
    }
}

fn unfit(path: &Path) -> Option<(String, &'static str)> {
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Some(("it is no whole path".to_owned(), "name it from the top, without .."));
    }
    if path.starts_with(PROCESSES) {
        return Some((format!("a sandbox has a {PROCESSES} of its own, of its own processes"), "start the program beside the whole host"));
    }
    let own = OWN.iter().chain([&PROCESSES]).find(|own| Path::new(own).starts_with(path))?;
    let cause = match Path::new(own) == path {
        true => format!("a sandbox has a {own} of its own"),
        false => format!("a sandbox has {own} of its own, which lies below"),
    };
    Some((cause, "share the directories below it that the program needs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shared_at_or_above_what_a_sandbox_has_itself() {
        let why = |path: &str| {
            let options = SandboxOptions { paths: vec![(path.into(), Access::ReadWrite)], ..SandboxOptions::default() };
            options.check().err().map(|e| e.to_string())
        };
        let below = "share the directories below it that the program needs";
        assert_eq!(why("/"), Some(format!("share /: a sandbox has /usr of its own, which lies below; {below}")));
        for own in ["/usr", "/bin", "/lib64", "/etc", "/etc/", "/dev", "/sys", "/run", "/tmp", "/."] {
            assert!(why(own).is_some_and(|why| why.contains("of its own")), "{own}");
        }
        assert!(why("/proc/17").is_some_and(|why| why.contains("of its own processes")));
        assert!(why("x").is_some() && why("/home/../etc").is_some());
        for fit in ["/home", "/home/ann/game", "/tmp/x", "/run/media/ann", "/etcetera", "/var/lib", "/dev/input", "/opt"] {
            assert_eq!(why(fit), None, "{fit}");
        }
    }
}
