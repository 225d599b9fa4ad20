//! Starts a program in a sandbox: the process half of the crate from a shell. The tests use it, as a start needs a
//! process of its own.
//!
//! ```text
//! start [OPTIONS] -- PROG ARGS...
//! ```
//! Without an option that makes a tree, the host's `/` is bound as it is. A failure is told on standard error with
//! what the process is then, and ends with 125.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use fhs_env::{
    Access, Capability, Descriptors, Exit, Hooks, Made, Moments, Op, Program, Restriction, Sandbox, Source, StartError, Want, WorkingIn,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// What is printed or waited for.
#[derive(Default)]
struct Told {
    info: bool,
    status: bool,
    block: bool,
    fail: bool,
}

impl Hooks for Told {
    fn wanted(&self) -> Moments {
        Moments { namespaces: self.info || self.fail, exited: self.status }
    }

    fn namespaces(&mut self, made: &Made) -> io::Result<()> {
        if self.fail {
            return Err(io::Error::other("the hook said no"));
        }
        println!("pid {}", made.pid);
        made.namespaces.iter().for_each(|(name, id)| println!("{name} {id}"));
        Ok(())
    }

    fn before_exec(&mut self) -> io::Result<()> {
        if self.block {
            io::stdin().read_line(&mut String::new())?;
        }
        Ok(())
    }

    fn exited(&mut self, exit: Exit) {
        println!("exited {exit:?}");
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("start: {error}");
            ExitCode::from(125)
        }
    }
}

fn bind(source: OsString, path: OsString, access: Access) -> Op {
    Op::Bind { source: Source::Path(source.into()), path: path.into(), access, optional: false }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let mut sandbox = Sandbox::default();
    let mut told = Told::default();
    let mut plan = false;
    let mut program = None;
    while let Some(flag) = args.next() {
        let mut next = || args.next().ok_or("an option lacks its argument");
        let number = |word: OsString| word.to_string_lossy().parse::<u32>();
        let descriptor = |word: OsString| word.to_string_lossy().parse::<RawFd>();
        let made = &mut sandbox.namespaces;
        match flag.to_str() {
            Some("--plan") => plan = true,
            Some("--info") => told.info = true,
            Some("--status") => told.status = true,
            Some("--block") => told.block = true,
            Some("--fail-hook") => told.fail = true,
            Some("--refuse") => seccompiler::apply_filter(&refusing(&next()?)?)?,
            Some("--filter") => {
                let words = refusing(&next()?)?.into_iter();
                let bytes = |i: seccompiler::sock_filter| [&i.code.to_ne_bytes()[..], &[i.jt, i.jf], &i.k.to_ne_bytes()].concat();
                sandbox.filters.push(words.flat_map(bytes).collect());
            }
            Some("--bad-filter") => sandbox.filters.push(vec![255; 8]),
            Some("--restrict") => {
                let name = next()?.to_string_lossy().into_owned();
                let answer = if name == "nothing" { Ok(()) } else { Err("it cannot be done here".to_owned()) };
                sandbox.restrictions.push(Restriction { name, apply: Box::new(move || answer.clone()) });
            }
            Some("--bind") => sandbox.ops.push(bind(next()?, next()?, Access::ReadWrite)),
            Some("--tmpfs") => sandbox.ops.push(Op::Tmpfs { path: next()?.into(), mode: 0o755, size: None }),
            Some("--dev") => sandbox.ops.push(Op::MinimalDev(next()?.into())),
            Some("--proc") => sandbox.ops.push(Op::Proc { path: next()?.into(), own: true }),
            Some("--chroot") => sandbox.ops.push(Op::ChangeRoot),
            Some("--user") => made.user = Want::Yes,
            Some("--user-try") => made.user = Want::Try,
            Some("--cgroup-try") => made.cgroup = Want::Try,
            Some("--ipc") => made.ipc = true,
            Some("--pid") => made.pid = true,
            Some("--net") => made.net = true,
            Some("--uts") => made.uts = true,
            Some("--join-user") => sandbox.join.user = Some(descriptor(next()?)?),
            Some("--join-user-after") => sandbox.join.user_after = Some(descriptor(next()?)?),
            Some("--join-pid") => sandbox.join.pid = Some(descriptor(next()?)?),
            Some("--uid") => sandbox.uid = Some(number(next()?)?),
            Some("--gid") => sandbox.gid = Some(number(next()?)?),
            Some("--maps-from-outside") => sandbox.maps_from_outside = true,
            Some("--no-more-user-namespaces") => sandbox.no_more_user_namespaces = true,
            Some("--assert-no-user-namespaces") => sandbox.assert_no_user_namespaces = true,
            Some("--host-name") => sandbox.host_name = Some(next()?),
            Some("--cap-add") => sandbox.capabilities.push(match next()?.to_str() {
                Some("all") => Capability::AddAll,
                Some("callers") => Capability::AddCallers,
                word => Capability::Add(word.ok_or("no number")?.parse()?),
            }),
            Some("--cap-drop") => sandbox.capabilities.push(match next()?.to_str() {
                Some("all") => Capability::DropAll,
                word => Capability::Drop(word.ok_or("no number")?.parse()?),
            }),
            Some("--chdir") => sandbox.working_in = WorkingIn::Path(next()?.into()),
            Some("--or-home") => sandbox.working_in = WorkingIn::CallersOrHome,
            Some("--pwd") => sandbox.sets_pwd = true,
            Some("--new-session") => sandbox.new_session = true,
            Some("--die-with-parent") => sandbox.die_with_parent = true,
            Some("--lingering") => sandbox.lingering = true,
            Some("--as-pid-1") => sandbox.as_pid_1 = true,
            Some("--supervised") => sandbox.supervised = true,
            Some("--only") => {
                let list = next()?.to_string_lossy().into_owned();
                let numbers = list.split(',').filter(|word| !word.is_empty()).map(str::parse);
                sandbox.descriptors = Descriptors::Only(numbers.collect::<Result<_, _>>()?);
            }
            Some("--withhold") => sandbox.withheld.push(descriptor(next()?)?),
            Some("--hold") => sandbox.held.push(descriptor(next()?)?),
            Some("--lock") => sandbox.locks.push(next()?.into()),
            Some("--exec-label") => sandbox.exec_label = Some(next()?),
            Some("--") => {
                program = Some(next()?);
                break;
            }
            _ => return Err(format!("unknown option {}", flag.display()).into()),
        }
    }
    if !sandbox.ops.iter().any(|op| matches!(op, Op::Bind { .. } | Op::Tmpfs { .. })) {
        sandbox.ops.insert(0, Op::carried("/"));
    }
    let file = program.ok_or("no program")?;
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let program = Program { arguments: [file.clone()].into_iter().chain(args).collect(), file, environment: environment.collect() };
    if plan {
        print!("{}", sandbox.plan(&program, &told)?);
        return Ok(ExitCode::SUCCESS);
    }
    match sandbox.start(program, &mut told) {
        Ok(exit) => Ok(ExitCode::from(exit.status())),
        Err(error) => {
            let state = StartError::state(&error);
            Err(format!("{error} [{state:?}]").into())
        }
    }
}

/// A filter that answers one system call, `NAME=NUMBER:ERRNO`, with an error, and kills for errno 0.
fn refusing(word: &OsString) -> Result<BpfProgram, Box<dyn Error>> {
    let word = word.to_str().ok_or("not UTF-8")?;
    let (call, errno) = word.split_once(':').ok_or("no errno")?;
    let errno: u32 = errno.parse()?;
    let answer = if errno == 0 { SeccompAction::KillProcess } else { SeccompAction::Errno(errno) };
    let rules = BTreeMap::from([(call.parse()?, vec![])]);
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, answer, std::env::consts::ARCH.try_into()?)?.try_into()?)
}
