//! Enters a farm with what this host shows, and execs a program in it: the pieces of an environment from a shell.
//! The tests of the crate use it, as entering needs a process of its own.
//!
//! ```text
//! host_view [--sandbox HOME] [--path PATH] [--network] [--require] [--private-tmp] [--drivers CACHE] [--plan] FARM -- PROG ARGS...
//! host_view connect SOCKET
//! ```
//! `--plan` prints the steps. `connect` says what a server at a socket sends; a name that begins with `@` is abstract.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use fhs_env::policy::Profile;
use fhs_env::{Access, Hooks, Op, Program, Sandbox, Source};
use launch::fhs::confine::{Confinement, is_multiarch};
use launch::fhs::host::{self, Farm, HostView, OWN_TOPS, Scene, drivers};
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
    let (host, farm) = (HostView::gather()?, Farm::look(&farm));
    let mode = if sandbox { Mode::Sandbox(options.clone()) } else { Mode::Compat };
    let mut confinement = sandbox.then(|| Confinement::prepare(&options, is_multiarch(&farm), &host)).transpose()?;
    let bus = confinement.as_ref().and_then(Confinement::bus_socket).map(PathBuf::from);
    let scene = Scene { host: &host, mode: &mode, farm: &farm, private_tmp, drivers: None, bus: bus.as_deref() };
    let drivers = cache.map(|cache| drivers::prepare(&scene, &cache)).transpose()?.flatten();
    let scene = Scene { drivers: drivers.as_ref(), ..scene };
    let mut start = Sandbox::default();
    start.ops.push(Op::Bind {
        source: Source::Path(farm.root.join("usr")),
        path: "/usr".into(),
        access: Access::ReadOnly,
        optional: false,
    });
    for top in OWN_TOPS.iter().filter(|top| **top != "usr" && farm.root.join("usr").join(top).is_dir()) {
        start.ops.push(Op::Link { path: PathBuf::from("/").join(top), target: PathBuf::from("usr").join(top) });
    }
    start.ops.extend(host::ops(&scene, []));
    if plan {
        start.ops.iter().for_each(|op| println!("{op}"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(confinement) = &confinement {
        confinement.enforcement.gaps.iter().for_each(|gap| eprintln!("{gap}"));
        confinement.apply(&scene, &options, &mut start);
    }
    let changed = host::variables(&scene);
    let kept = std::env::vars_os().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let set = changed.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let pair = |(name, value): (OsString, OsString)| [name, value].join("=".as_ref());
    let program =
        Program { file: words.first().cloned().ok_or("no program")?, arguments: words, environment: kept.chain(set).map(pair).collect() };
    let hooks: &mut dyn Hooks = match &mut confinement {
        Some(confinement) => confinement,
        None => &mut (),
    };
    let exit = start.start(program, hooks)?;
    Ok(ExitCode::from(exit.status()))
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
