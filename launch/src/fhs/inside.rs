//! Runs a script inside an environment that is being built: its `/usr` and `/etc` writable, the packages readable, nothing
//! else of the host, no network, no rights, no descriptor of the caller's but the standard three.

use super::confine::is_multiarch;
use super::packages::Input;
use crate::error::{Error, Kind};
use fhs_env::policy::{KernelFacts, Profile};
use fhs_env::{Access, Capability, Descriptors, Exit, Namespaces, Op, Program, Sandbox, Source, StartError, Want, WorkingIn};
use std::ffi::OsString;
use std::path::Path;

/// An environment that is being built.
pub(super) struct Inside<'a> {
    /// The farm.
    pub(super) tree: &'a Path,
    /// Where its links lead.
    pub(super) store: &'a Path,
    pub(super) inputs: &'a [Input],
}

fn bind(source: &Path, path: &Path, access: Access) -> Op {
    Op::Bind { source: Source::Path(source.to_owned()), path: path.to_owned(), access, optional: false }
}

impl Inside<'_> {
    fn sandbox(&self) -> Sandbox {
        let mut ops = vec![bind(&self.tree.join("usr"), Path::new("/usr"), Access::ReadWrite)];
        ops.push(bind(&self.tree.join("usr/etc"), Path::new("/etc"), Access::ReadWrite));
        for top in super::TOPS {
            ops.push(Op::Link { path: Path::new("/").join(top), target: Path::new("usr").join(top) });
        }
        for path in ["/tmp", "/run", "/var"] {
            ops.push(Op::Tmpfs { path: path.into(), mode: 0o1777, size: None });
        }
        ops.push(Op::MinimalDev("/dev".into()));
        ops.push(Op::Proc { path: "/proc".into(), own: true });
        ops.push(bind(&self.store.join("store"), &self.store.join("store"), Access::ReadOnly));
        for input in self.inputs.iter().filter(|input| !input.root.starts_with(self.store)) {
            ops.push(bind(&input.root, &input.root, Access::ReadOnly));
        }
        let farm = super::host::Farm::look(self.tree);
        let facts = KernelFacts::gather(None);
        let machine = facts.machine.filter(|_| facts.seccomp);
        let filter = machine.and_then(|machine| Profile::FlatpakLike.program(machine, is_multiarch(&farm)));
        Sandbox {
            ops,
            // A directory among them would lead out.
            descriptors: Descriptors::Only(Vec::new()),
            filters: filter.into_iter().collect(),
            namespaces: Namespaces { user: Want::No, ipc: true, pid: true, net: true, uts: true, cgroup: Want::Try },
            capabilities: vec![Capability::DropAll],
            working_in: WorkingIn::Path("/".into()),
            new_session: true,
            die_with_parent: true,
            supervised: true,
            ..Sandbox::default()
        }
    }

    /// Starts a program and waits for it. What it prints goes to standard error.
    pub(super) fn run(&self, words: &[&str]) -> Result<Exit, StartError> {
        let mut arguments: Vec<OsString> = ["sh", "-c", "exec \"$@\" >&2 </dev/null", "sh"].map(OsString::from).to_vec();
        arguments.extend(words.iter().map(OsString::from));
        let environment = ["PATH=/usr/bin:/usr/sbin", "HOME=/tmp", "LANG=C.UTF-8", "LC_ALL=C.UTF-8"].map(OsString::from).to_vec();
        self.sandbox().start(Program { file: "/bin/sh".into(), arguments, environment }, &mut ())
    }
}

/// Runs a specification's own script.
///
/// # Errors
/// It cannot be started, or ends with another status than 0.
pub(super) fn run_hook(inside: &Inside<'_>, script: &str) -> Result<(), Error> {
    let words = ["sh", "-eu", "-c", script];
    let subject = "hooks.build";
    let remedy = "correct the script; it runs in the environment itself, which needs `sh`, and sees nothing else";
    match inside.run(&words) {
        Ok(Exit::Code(0)) => Ok(()),
        Ok(Exit::Code(code)) => Err(Error::new(Kind::Own, "run", subject, format!("it ended with status {code}"), remedy)),
        Ok(Exit::Signal(signal)) => Err(Error::new(Kind::Own, "run", subject, format!("signal {signal} ended it"), remedy)),
        Err(error) => Err(Error::new(Kind::Own, "run", subject, error.to_string(), remedy)),
    }
}
