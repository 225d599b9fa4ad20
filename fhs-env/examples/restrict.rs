//! Starts a program under single parts of a sandbox's policy; made for the tests, and to try things by hand.
//!
//! ```text
//! restrict [--pty] [--read PATH]… [--write PATH]… [--scoped] -- PROGRAM [ARGUMENT]…
//! restrict --bus FILTER ADDRESS DIRECTORY
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use fhs_env::policy::{self, BusProxy, BusRules, Files, Landlock, Restricted};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

#[derive(Default)]
struct Parts {
    pty: bool,
    files: Option<Files>,
    scoped: bool,
}

fn start(parts: Parts, command: &[OsString]) -> u8 {
    let landlock = Landlock { files: parts.files, scoped: parts.scoped };
    match landlock.restrict() {
        Ok(Restricted::Fully) => {}
        Ok(came) => eprintln!("restrict: landlock: {came:?}"),
        Err(error) => {
            eprintln!("restrict: {error}");
            return 125;
        }
    }
    let Some((program, arguments)) = command.split_first() else { return 125 };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("restrict: {}: {error}", program.display());
    127
}

/// Holds a filter of a bus that lets nothing pass, says its socket, and waits until it is killed.
fn bus(words: Vec<OsString>) -> ExitCode {
    let [filter, address, directory] = words.as_slice() else { return ExitCode::from(125) };
    match BusProxy::start(filter.as_ref(), address, directory.as_ref(), &BusRules::default()) {
        Ok(proxy) => {
            println!("{}", proxy.socket().display());
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("restrict: {error}");
            ExitCode::from(125)
        }
    }
}

fn main() -> ExitCode {
    let mut parts = Parts::default();
    let mut words = std::env::args_os().skip(1);
    let command: Vec<OsString> = loop {
        let Some(word) = words.next() else { return ExitCode::from(125) };
        match word.to_str() {
            Some("--") => break words.collect(),
            Some("--pty") => parts.pty = true,
            Some("--bus") => return bus(words.collect()),
            Some("--scoped") => parts.scoped = true,
            Some("--read") => parts.files.get_or_insert_default().readable.extend(words.next().map(Into::into)),
            Some("--write") => parts.files.get_or_insert_default().writable.extend(words.next().map(Into::into)),
            _ => {
                eprintln!("restrict: what is {}?", word.display());
                return ExitCode::from(125);
            }
        }
    };
    if !parts.pty {
        return ExitCode::from(start(parts, &command));
    }
    match policy::behind(|| start(parts, &command)) {
        Ok(fhs_env::Exit::Code(code)) => ExitCode::from(code),
        Ok(fhs_env::Exit::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("restrict: {error}");
            ExitCode::from(125)
        }
    }
}
