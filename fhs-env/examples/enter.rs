//! Enters a private root and execs a program in it: the crate's whole interface from a shell.
//! The tests of the crate use it, as entering needs a process of its own.
//!
//! ```text
//! enter [--symlink PATH TARGET] [--file PATH TEXT] [--directory PATH] [--extend TOP]
//!       [--bind COPY OVER] [--plan] [--probe] [--refuse SYSCALL] [--lack SYSCALL] [--or-else] -- PROG ARGS...
//! ```
//! `--plan` prints the steps, `--probe` asks whether private roots work, `--refuse` makes the
//! kernel answer EPERM to one system call, `--lack` ENOSYS, `--or-else` runs the program even if entering failed
//! and left the files as they were.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use fhs_env::{PrivateRoot, State};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("enter: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let mut root = PrivateRoot::new();
    let (mut plan, mut probe, mut or_else) = (false, false, false);
    let mut program = None;
    while let Some(flag) = args.next() {
        let mut next = || args.next().ok_or("an option lacks its argument");
        match flag.to_str() {
            Some("--symlink") => drop(root.symlink(next()?, next()?)),
            Some("--file") => drop(root.file(next()?, next()?.into_encoded_bytes())),
            Some("--directory") => drop(root.directory(next()?)),
            Some("--extend") => drop(root.extend(next()?)),
            Some("--bind") => drop(root.bind_read_only(next()?, next()?)),
            Some("--plan") => plan = true,
            Some("--probe") => probe = true,
            Some("--or-else") => or_else = true,
            Some("--refuse") => refuse(&next()?, libc::EPERM)?,
            Some("--lack") => refuse(&next()?, libc::ENOSYS)?,
            Some("--") => {
                program = Some(next()?);
                break;
            }
            _ => return Err(format!("unknown option {}", flag.display()).into()),
        }
    }
    if plan {
        print!("{}", root.plan_here()?);
        return Ok(ExitCode::SUCCESS);
    }
    if probe {
        fhs_env::probe()?;
        println!("private roots work");
        return Ok(ExitCode::SUCCESS);
    }
    let program = program.ok_or("no program")?;
    if let Err(error) = root.enter() {
        eprintln!("enter: {error} [{:?}]", error.state());
        if !or_else || error.state() == State::Lost {
            return Ok(ExitCode::from(126));
        }
    }
    Err(Command::new(program).args(args).exec().into())
}

/// Installs a seccomp filter that answers an error to one system call.
fn refuse(name: &OsString, errno: i32) -> Result<(), Box<dyn Error>> {
    let number = match name.to_str() {
        Some("unshare") => libc::SYS_unshare,
        Some("mount") => libc::SYS_mount,
        Some("chroot") => libc::SYS_chroot,
        Some("chdir") => libc::SYS_chdir,
        Some("openat2") => libc::SYS_openat2,
        Some("open_tree") => libc::SYS_open_tree,
        Some("mount_setattr") => libc::SYS_mount_setattr,
        Some("move_mount") => libc::SYS_move_mount,
        Some("symlinkat") => libc::SYS_symlinkat,
        _ => return Err("this system call cannot be refused here".into()),
    };
    let filter: BpfProgram = SeccompFilter::new(
        BTreeMap::from([(number, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    Ok(seccompiler::apply_filter(&filter)?)
}
