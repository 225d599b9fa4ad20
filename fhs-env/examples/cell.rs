//! A sandbox with everything that this crate has, around one program: what an application's sandbox is made of, for
//! the tests of what gets out of it. Every wall can be left out, to see which one holds.
//!
//! ```text
//! cell [OPTIONS] -- PROGRAM [ARGUMENT]…
//! ```

#![allow(clippy::print_stderr, reason = "an example talks")]

use fhs_env::policy::{self, Files, Landlock, Machine, Profile};
use fhs_env::{Access, Capability, Descriptors, Op, Program, Sandbox, Source, Want, WorkingIn};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is left out.
struct Open {
    descriptors: bool,
    landlock: bool,
    proc: bool,
    /// Not a wall but a door: the program has a terminal of its own.
    pty: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cell: {error}");
            ExitCode::from(125)
        }
    }
}

fn bind(source: OsString, path: OsString, access: Access) -> Op {
    Op::Bind { source: Source::Path(source.into()), path: path.into(), access, optional: false }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut sandbox = Sandbox::default();
    let made = &mut sandbox.namespaces;
    (made.user, made.cgroup) = (Want::Yes, Want::Try);
    (made.pid, made.net, made.ipc, made.uts) = (true, true, true, true);
    sandbox.capabilities = vec![Capability::DropAll];
    sandbox.working_in = WorkingIn::Path("/".into());
    let mut open = Open { descriptors: false, landlock: false, proc: false, pty: false };
    let mut profile = Profile::FlatpakLike;
    let mut writable: Vec<PathBuf> = ["/tmp", "/dev", "/proc"].map(Into::into).to_vec();
    let mut ops = vec![Op::Tmpfs { path: "/tmp".into(), mode: 0o1777, size: None }, Op::MinimalDev("/dev".into())];

    let mut words = std::env::args_os().skip(1);
    let (mut all, mut one) = (false, None);
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or("an option lacks its argument");
        match word.to_str() {
            Some("--ro") => ops.push(bind(next()?, next()?, Access::ReadOnly)),
            Some("--rw") => {
                let (from, to) = (next()?, next()?);
                writable.push(to.clone().into());
                ops.push(bind(from, to, Access::ReadWrite));
            }
            Some("--tmpfs") => ops.push(Op::Tmpfs { path: next()?.into(), mode: 0o755, size: None }),
            Some("--share-pid") => sandbox.namespaces.pid = false,
            Some("--share-net") => sandbox.namespaces.net = false,
            Some("--share-ipc") => sandbox.namespaces.ipc = false,
            Some("--host-proc") => open.proc = true,
            Some("--pty") => open.pty = true,
            Some("--inherit") => open.descriptors = true,
            Some("--no-landlock") => open.landlock = true,
            Some("--profile") => profile = next()?.to_string_lossy().parse()?,
            // Namespaces alone.
            Some("--bare") => (open.landlock, profile) = (true, Profile::None),
            Some("--all-capabilities") => all = true,
            Some("--") => {
                one = Some(next()?);
                break;
            }
            _ => return Err(format!("what is {}?", word.display()).into()),
        }
    }
    let file = one.ok_or("no program")?;
    ops.push(Op::Proc { path: "/proc".into(), own: !open.proc });
    sandbox.ops = ops;
    if all {
        sandbox.capabilities = vec![Capability::AddAll];
    }
    if !open.descriptors {
        sandbox.descriptors = Descriptors::Only(Vec::new());
    }
    if !open.landlock {
        let files = Files { readable: vec!["/".into()], writable };
        sandbox.restrictions.push(Landlock { files: Some(files), scoped: true }.restriction());
    }
    let machine = Machine::here().ok_or("the system calls of this machine are not known")?;
    sandbox.filters.extend(profile.program(machine, true));
    let arguments = [file.clone()].into_iter().chain(words).collect();
    let program = Program { file, arguments, environment: vec!["PATH=/usr/bin:/bin".into()] };
    let start = || match sandbox.start(program, &mut ()) {
        Ok(exit) => exit.status(),
        Err(error) => {
            eprintln!("cell: {error}");
            125
        }
    };
    let status = if open.pty { policy::behind(start)?.status() } else { start() };
    Ok(ExitCode::from(status))
}
