//! Enters a farm with what this host shows, and execs a program in it: the pieces of an environment from a shell.
//! The tests of the crate use it, as entering needs a process of its own.
//!
//! ```text
//! host_view [--sandbox HOME] [--path PATH] [--network] [--require] [--private-tmp] [--drivers CACHE] [--plan] FARM -- PROG ARGS...
//! host_view connect SOCKET
//! ```
//! `--plan` prints the steps. `connect` says what a server at a socket sends; a name that begins with `@` is abstract.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use fhs_env::Access;
use fhs_env::policy::Profile;
use launch::fhs::entry::Entrance;
use launch::fhs::host::HostView;
use launch::fhs::mode::{Mode, SandboxOptions};
use std::error::Error;
use std::ffi::OsString;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use store::cache::Cache;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("host_view: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (mut sandbox, mut options) = (false, SandboxOptions { profile: Profile::FlatpakLike, ..SandboxOptions::default() });
    let (mut plan, mut private_tmp, mut cache) = (false, false, None);
    let farm = loop {
        let word = args.next().ok_or("no farm")?;
        let mut next = || args.next().map(PathBuf::from).ok_or("an option lacks its argument");
        match word.to_str() {
            Some("connect") => return connect(&next()?),
            Some("--sandbox") => (sandbox, options.home) = (true, next()?),
            Some("--path") => options.paths.push((next()?, Access::ReadOnly)),
            Some("--network") => options.network = true,
            Some("--require") => options.require = true,
            Some("--private-tmp") => private_tmp = true,
            Some("--drivers") => cache = Some(Cache::at(next()?)),
            Some("--plan") => plan = true,
            _ => break PathBuf::from(word),
        }
    };
    let words: Vec<OsString> = args.skip(1).collect();
    let mode = if sandbox { Mode::Sandbox(options) } else { Mode::Compat };
    let entrance = Entrance { farm: &farm, stores: &[], mode: &mode, private_tmp, further: &[], drivers: cache.as_ref() };
    let entry = entrance.prepare(&HostView::gather()?)?;
    if plan {
        entry.sandbox.ops.iter().for_each(|op| println!("{op}"));
        return Ok(ExitCode::SUCCESS);
    }
    entry.enforcement().into_iter().flat_map(|e| &e.gaps).for_each(|gap| eprintln!("{gap}"));
    let file = words.first().ok_or("no program")?.clone();
    Ok(ExitCode::from(entry.start(&file, &words, &[])?.status()))
}

fn connect(path: &std::path::Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut stream = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => UnixStream::connect(path)?,
    };
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}
