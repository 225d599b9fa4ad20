//! Starts a program in an environment: what its specification says is laid over what the host shows. Decides; the engine acts.

use super::Environment;
use super::entry::{self, Entrance, Entry};
use super::fold;
use super::host::HostView;
use super::mode::Mode;
use super::spec::Unshare;
use crate::error::{Error, Kind};
use fhs_env::{Exit, Op, Source, Want, WorkingIn};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use store::cache::Cache;

/// The shell that every environment with a shell has.
const SHELL: &str = "/bin/sh";

/// What is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// The specification's own program, else a shell.
    Own,
    /// A shell for a person.
    Shell,
    /// These words; the first is a path inside, or a name that is looked for in the environment's `PATH`.
    Words(&'a [OsString]),
}

/// A start that was decided on.
#[derive(Debug)]
pub struct Start {
    entry: Entry,
    words: Vec<OsString>,
    variables: Vec<(OsString, Option<OsString>)>,
}

impl Environment {
    /// Decides how to start a program.
    ///
    /// # Errors
    /// A working directory that the environment hides; a bind's place that would have to be made on the host; a sandbox
    /// that cannot be had as it is required.
    pub fn prepare(&self, what: What<'_>, mode: &Mode, host: &HostView, cache: &Cache) -> Result<Start, Error> {
        let spec = &self.spec;
        if *mode == Mode::Compat {
            self.check_places()?;
        }
        let further = self.further(host);
        let entrance = Entrance {
            farm: &self.root,
            stores: &self.stores,
            mode,
            private_tmp: spec.private_tmp,
            further: &further,
            drivers: Some(cache),
        };
        let mut entry = entrance.prepare(host)?;
        let sandbox = &mut entry.sandbox;
        fold::etc(&mut sandbox.ops, cache);
        add_namespaces(sandbox, spec.unshare);
        sandbox.die_with_parent |= spec.die_with_parent;
        sandbox.working_in = if spec.chdir_to_pwd { self.working_directory()? } else { WorkingIn::Path("/".into()) };
        sandbox.sets_pwd = true;
        let variables = spec.environment.iter().map(|(name, value)| (name.into(), Some(value.into()))).collect();
        Ok(Start { entry, words: self.words(what, host), variables })
    }

    /// The steps that the specification asks for itself.
    fn further(&self, host: &HostView) -> Vec<Op> {
        let shown =
            self.spec.etc.iter().map(|name| Op::Link { path: Path::new("/etc").join(name), target: host.aside.join("etc").join(name) });
        let binds = self.spec.binds.iter().map(|bind| Op::Bind {
            source: Source::Path(bind.source.clone()),
            path: bind.path.clone(),
            access: bind.access.into(),
            optional: bind.optional,
        });
        shown.chain(binds).collect()
    }

    /// Finds out that no bind has its place made for it in a directory of the host's, where it would stay.
    fn check_places(&self) -> Result<(), Error> {
        let mut done: Vec<(&Path, &Path)> = Vec::new();
        for bind in &self.spec.binds {
            // A bind that is optional and has no source makes nothing.
            if bind.optional && !bind.source.exists() {
                continue;
            }
            if let Some(place) = self.on_the_host(&bind.path, &done)
                && std::fs::metadata(&place).is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
            {
                let cause = format!("the place {} of a bind does not exist, and none is made on the host", place.display());
                let remedy = "make it first, or choose a place at the top of the root, such as /data";
                return Err(Error::new(Kind::CannotStart, "enter environment", &self.name, cause, remedy));
            }
            done.push((&bind.path, &bind.source));
        }
        Ok(())
    }

    /// What a path of the environment is on the host; `None` for what is the environment's own. `binds` are the places
    /// and sources so far, the last on top.
    fn on_the_host(&self, path: &Path, binds: &[(&Path, &Path)]) -> Option<PathBuf> {
        if let Some((place, source)) = binds.iter().rev().find(|(place, _)| path.starts_with(place)) {
            let below = path.strip_prefix(place).ok().filter(|below| below.as_os_str() != "")?;
            return Some(source.join(below));
        }
        let top = top_of(path);
        let name = top.file_name()?;
        let own = super::host::is_own(name) || name == "etc" || name == "tmp" && self.spec.private_tmp;
        (!own && top.is_dir()).then(|| path.to_owned())
    }

    /// The caller's directory, unless the environment has another in its place.
    fn working_directory(&self) -> Result<WorkingIn, Error> {
        let lost = |cause: String| Error::new(Kind::CannotStart, "enter environment", &self.name, cause, "go to another directory first");
        let here = std::env::current_dir().map_err(|e| lost(format!("the working directory has no path ({e})")))?;
        let top = here.components().nth(1).map(|c| c.as_os_str().to_owned());
        let replaced = top.is_some_and(|top| super::host::OWN_TOPS.iter().chain(&["etc"]).any(|own| top == *own));
        let bound = self.spec.binds.iter().any(|bind| here.starts_with(&bind.path));
        if replaced && !bound {
            let cause =
                format!("the working directory {} is hidden, as the environment has its own {}", here.display(), top_of(&here).display());
            return Err(lost(cause));
        }
        Ok(WorkingIn::Callers)
    }

    /// The words of the program: behind a shell that sets things up, if there is anything to set up.
    fn words(&self, what: What<'_>, host: &HostView) -> Vec<OsString> {
        let words: Vec<OsString> = match what {
            What::Words(words) => words.to_vec(),
            What::Own if !self.spec.run.is_empty() => self.spec.run.iter().map(OsString::from).collect(),
            What::Own | What::Shell => vec![self.shell(&host.user.shell).into()],
        };
        let mut script = String::new();
        if self.spec.profile.is_some() {
            script.push_str(". /etc/profile\n");
        }
        if let Some(hook) = &self.spec.enter_hook {
            script.push_str(hook);
            script.push('\n');
        }
        if script.is_empty() {
            return words;
        }
        script.push_str("exec \"$@\"");
        let shell = [SHELL, "-c", &script, "sh"].map(OsString::from);
        shell.into_iter().chain(words).collect()
    }

    /// The user's shell if the environment has it, else one that it has.
    fn shell(&self, users: &Path) -> PathBuf {
        let own = users.components().nth(1).is_some_and(|top| super::host::OWN_TOPS.iter().any(|own| top.as_os_str() == *own));
        let there = if own { entry::has(&self.root, users) } else { users.is_file() };
        let usual = [Path::new("/bin/bash"), Path::new(SHELL)];
        let first = usual.into_iter().find(|shell| entry::has(&self.root, shell)).unwrap_or(Path::new(SHELL));
        if there && users.is_absolute() { users.to_owned() } else { first.to_owned() }
    }
}

fn top_of(path: &Path) -> PathBuf {
    path.components().take(2).collect()
}

fn add_namespaces(sandbox: &mut fhs_env::Sandbox, unshare: Unshare) {
    let namespaces = &mut sandbox.namespaces;
    let want = |asked: bool, known: Want| if asked { Want::Yes } else { known };
    namespaces.user = want(unshare.user, namespaces.user);
    namespaces.cgroup = want(unshare.cgroup, namespaces.cgroup);
    namespaces.ipc |= unshare.ipc;
    namespaces.net |= unshare.net;
    namespaces.uts |= unshare.uts;
    if unshare.pid && !namespaces.pid {
        namespaces.pid = true;
        // The host's /proc shows processes that the program cannot reach.
        let end = sandbox.ops.iter().rposition(|op| !matches!(op, Op::ReadOnly(_) | Op::PivotRoot | Op::ChangeRoot)).map_or(0, |at| at + 1);
        sandbox.ops.insert(end, Op::Proc { path: "/proc".into(), own: true });
    }
}

impl Start {
    /// What is started, and the steps that make its root; one line each.
    pub fn lines(&self) -> Vec<String> {
        let words: Vec<String> = self.words.iter().map(|word| word.to_string_lossy().escape_debug().to_string()).collect();
        let steps = self.entry.sandbox.ops.iter().map(|op| format!("  {op}"));
        let set = self.entry.variables.iter().chain(&self.variables).map(|(name, value)| match value {
            Some(value) => format!("  set {}={}", name.to_string_lossy(), value.to_string_lossy()),
            None => format!("  unset {}", name.to_string_lossy()),
        });
        std::iter::once(format!("start {}", words.join(" "))).chain(steps).chain(set).collect()
    }

    /// What this system cannot enforce of a sandbox; nothing of any other environment.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Starts it. Without a supervisor this process becomes the program, and this returns only with an error.
    ///
    /// # Errors
    /// As [`Entry::start`].
    pub fn start(self) -> Result<Exit, Error> {
        let file = self.words.first().cloned().unwrap_or_default();
        self.entry.start(OsStr::new(&file), &self.words, &self.variables)
    }
}
