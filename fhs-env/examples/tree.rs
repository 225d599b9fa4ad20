//! Makes a tree of the ops that its words name and starts a program in it: the tree half of the crate from a shell,
//! for the tests.
//!
//! ```text
//! tree [--lack SYSCALL]... [OP WORDS...]... -- PROG ARGS...
//! ```
//! A failure is told on standard error and ends with 125.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use fhs_env::{Access, Content, Hooks, Op, Program, Sandbox, Source, Upper, WorkingIn};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

struct Silent;

impl Hooks for Silent {}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tree: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let mut sandbox = Sandbox { working_in: WorkingIn::Path("/".into()), ..Sandbox::default() };
    let mut plan = false;
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or("an op lacks a word");
        let mut path = || next().map(PathBuf::from);
        let bind = |source, path, access, optional| Op::Bind { source, path, access, optional };
        let op = match word.to_str() {
            Some("--") => break,
            Some("--plan") => {
                plan = true;
                continue;
            }
            Some("--lack") => {
                lack(&next()?)?;
                continue;
            }
            Some("as-it-is") => bind(Source::Path(path()?), path()?, Access::Unchanged, false),
            Some("read-write") => bind(Source::Path(path()?), path()?, Access::ReadWrite, false),
            Some("read-only") => bind(Source::Path(path()?), path()?, Access::ReadOnly, false),
            Some("if-there") => bind(Source::Path(path()?), path()?, Access::ReadOnly, true),
            Some("descriptor") => bind(Source::Descriptor(number(next()?)?), next()?.into(), Access::ReadOnly, false),
            Some("tmpfs") => Op::Tmpfs { path: path()?, mode: 0o755, size: None },
            Some("small") => Op::Tmpfs { path: path()?, mode: 0o1777, size: Some(1 << 16) },
            Some("devices") => Op::MinimalDev(path()?),
            Some("hosts-proc") => Op::Proc { path: path()?, own: false },
            Some("directory") => Op::MakeDirectory { path: path()?, mode: 0o700 },
            Some("file") => Op::MakeFile { path: path()?, content: Content::Bytes(next()?.into_encoded_bytes()), mode: 0o640 },
            Some("file-from") => Op::MakeFile { path: path()?, content: Content::Descriptor(number(next()?)?), mode: 0o600 },
            Some("content") => {
                let (path, bytes) = (path()?, next()?.into_encoded_bytes());
                Op::BindContent { path, content: Content::Bytes(bytes), access: Access::ReadOnly, mode: 0o444 }
            }
            Some("link") => Op::Link { path: path()?, target: path()? },
            Some("mode") => Op::Mode { path: path()?, mode: 0o500 },
            Some("make-read-only") => Op::ReadOnly(path()?),
            Some("overlay") => {
                let (path, lowers) = (path()?, next()?);
                let lowers = std::env::split_paths(&lowers).collect();
                Op::Overlay { path, lowers, upper: Upper::Memory }
            }
            Some("overlay-directory") => {
                let (path, lower, upper, work) = (path()?, path()?, path()?, path()?);
                Op::Overlay { path, lowers: vec![lower], upper: Upper::Directories { upper, work } }
            }
            // The programs of the host, and nothing else of it.
            Some("system") => {
                for top in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
                    sandbox.ops.push(Op::Link { path: PathBuf::from("/").join(top), target: PathBuf::from("usr").join(top) });
                }
                Op::Bind { source: Source::Path("/usr".into()), path: "/usr".into(), access: Access::ReadOnly, optional: false }
            }
            // As many binds as a number says.
            Some("many") => {
                let (from, count) = (path()?, number(next()?)?);
                let op = |at: i32| Op::Bind {
                    source: Source::Path(from.clone()),
                    path: format!("/many/{at}").into(),
                    access: Access::ReadOnly,
                    optional: false,
                };
                sandbox.ops.extend((1..count).map(op));
                op(0)
            }
            _ => return Err(format!("unknown op {}", word.display()).into()),
        };
        sandbox.ops.push(op);
    }
    let file = words.next().ok_or("no program")?;
    let arguments = [file.clone()].into_iter().chain(words).collect();
    let program = Program { file, arguments, environment: vec!["PATH=/usr/bin:/bin".into()] };
    if plan {
        print!("{}", sandbox.plan(&program, &Silent)?);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(sandbox.start(program, &mut Silent)?.status()))
}

fn number(word: OsString) -> Result<i32, Box<dyn Error>> {
    Ok(word.to_string_lossy().parse()?)
}

/// Makes the kernel one that has not got a system call.
fn lack(name: &OsString) -> Result<(), Box<dyn Error>> {
    let number = match name.to_str() {
        Some("openat2") => libc::SYS_openat2,
        Some("open_tree") => libc::SYS_open_tree,
        Some("mount_setattr") => libc::SYS_mount_setattr,
        Some("fsopen") => libc::SYS_fsopen,
        _ => return Err("this system call cannot be refused here".into()),
    };
    let rules = BTreeMap::from([(number, vec![])]);
    let answer = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, answer, std::env::consts::ARCH.try_into()?)?.try_into()?;
    Ok(seccompiler::apply_filter(&filter)?)
}
