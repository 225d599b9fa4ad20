//! The last step: a decided [`Start`] becomes the program. No process of ours stays behind and the
//! environment is not touched: `execv` hands on exactly the variables this process was given.

use crate::error::{Error, Kind};
use crate::rung::Rung;
use fhs_env::{EnterError, PrivateRoot, State};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Everything that has to be done to start one program; plain data, so that it can be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The rung.
    pub rung: Rung,
    /// Top-level directories of the host to which something is added.
    pub extend: Vec<PathBuf>,
    /// Links the private root has beside the host's entries: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Copies that hide originals: copy and original.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// The loader rung: the loader and its options, up to but not including the program.
    pub loader: Vec<OsString>,
    /// The fhs rung: the farm of the environment.
    pub farm: Option<PathBuf>,
}

impl Start {
    /// Starting without any help.
    pub fn direct() -> Start {
        Start { rung: Rung::Direct, extend: Vec::new(), links: Vec::new(), binds: Vec::new(), loader: Vec::new(), farm: None }
    }

    /// The private root this start needs; `None` on the rungs that need none.
    pub fn root(&self) -> Option<PrivateRoot> {
        if self.links.is_empty() && self.binds.is_empty() {
            return None;
        }
        let mut root = PrivateRoot::new();
        for top in &self.extend {
            root.extend(top);
        }
        for (path, target) in &self.links {
            root.symlink(path, target);
        }
        for (copy, over) in &self.binds {
            root.bind_read_only(copy, over);
        }
        Some(root)
    }

    /// Enters the private root, if there is one.
    ///
    /// # Errors
    /// [`Blocked`], which says whether another rung may still be tried by this process.
    pub fn enter(&self) -> Result<(), Blocked> {
        let Some(root) = self.root() else { return Ok(()) };
        root.enter().map_err(|e| Blocked { retry: !matches!(e.state(), State::Lost), error: e })
    }

    /// Becomes the program; returns only to say why that failed. `exec` is the path as the user or
    /// `PATH` gives it, `argv` begins with the name the program shall see as its own.
    pub fn exec(&self, exec: &Path, argv: &[OsString]) -> Error {
        self.exec_with(exec, argv, &[])
    }

    /// The same with some variables set, or (`None`) unset.
    pub fn exec_with(&self, exec: &Path, argv: &[OsString], variables: &[(OsString, Option<OsString>)]) -> Error {
        if let Some(farm) = &self.farm {
            return crate::fhs::entry::become_program(farm, exec, argv, variables);
        }
        let (file, argv) = match self.loader.split_first() {
            None => (exec, argv.to_vec()),
            Some((loader, options)) => {
                let mut line = vec![loader.clone()];
                line.extend(options.iter().cloned());
                line.push(exec.as_os_str().to_owned());
                line.extend(argv.iter().skip(1).cloned());
                (Path::new(loader), line)
            }
        };
        let c = |s: &OsStr| CString::new(s.as_bytes());
        let words: Result<Vec<CString>, _> = argv.iter().map(|a| c(a)).collect();
        let (Ok(path), Ok(words)) = (c(file.as_os_str()), words) else {
            return Error::new(Kind::CannotStart, "start", exec.display().to_string(), "an argument contains a NUL", "");
        };
        let Err(errno) = if variables.is_empty() {
            nix::unistd::execv(&path, &words)
        } else {
            let Ok(environment) = environment(variables) else {
                return Error::new(Kind::CannotStart, "start", exec.display().to_string(), "a variable contains a NUL", "");
            };
            nix::unistd::execve(&path, &words, &environment)
        };
        let remedy = match errno {
            nix::errno::Errno::ENOENT => "the interpreter it names does not exist; `xeno inspect` it",
            nix::errno::Errno::ENOEXEC => "it is neither a program for this machine nor a script with a `#!` line",
            nix::errno::Errno::EACCES => "it or its file system may not be executed (`mount | grep noexec`)",
            nix::errno::Errno::E2BIG => "its arguments and environment are too long for this kernel",
            _ => "",
        };
        Error::new(Kind::CannotStart, "start", exec.display().to_string(), errno.desc(), remedy)
    }
}

/// This process's environment with some variables set or unset, as execve(2) takes it.
fn environment(variables: &[(OsString, Option<OsString>)]) -> Result<Vec<CString>, std::ffi::NulError> {
    let kept = std::env::vars_os().filter(|(name, _)| variables.iter().all(|(changed, _)| changed != name));
    let set = variables.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    kept.chain(set).map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())).collect()
}

/// A private root that could not be entered.
#[derive(Debug)]
pub struct Blocked {
    /// Whether this process is still fit to try another rung.
    pub retry: bool,
    /// What went wrong.
    pub error: EnterError,
}
