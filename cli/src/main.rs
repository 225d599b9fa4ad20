//! `xeno`: words in, one library call, a report out. The only crate that prints; it decides nothing.
//!
//! There is no `fn main`: Rust's start-up code would ignore SIGPIPE and reopen closed standard
//! descriptors, and the foreign program would inherit both. The C entry point leaves this process as
//! its parent made it.
#![no_main]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this crate is the one that talks to people")]

mod args;
mod doctor;
mod entry;
mod environment;
mod failure;
mod inspect;
mod patch;
mod patchelf;
mod progress;
mod resolving;
mod run;
mod shim;
mod store_command;

use std::ffi::OsString;

/// The words for the drop-in `patchelf`: all of them if that is the name this was started under, those from
/// the second on for `xeno patchelf`, which tries it without a link.
fn multi_call(words: &[OsString]) -> Option<&[OsString]> {
    match words {
        [own, ..] if patchelf::is_meant(own) => Some(words),
        [_, name, ..] if name == "patchelf" => words.get(1..),
        _ => None,
    }
}

/// Parses the words and does what they say; the result is the exit status.
fn real_main(words: Vec<OsString>) -> u8 {
    if let Some(words) = multi_call(&words) {
        return patchelf::main(words);
    }
    environment::start_logging();
    let command = match args::parse(words) {
        Ok(command) => command,
        Err(status) => return status,
    };
    let result = match command {
        args::Command::Run(args) => run::run(&args),
        args::Command::Inspect(args) => inspect::inspect(&args),
        args::Command::Patch(args) => patch::run(&args),
        args::Command::Doctor(args) => doctor::doctor(&args),
        args::Command::Shim(args) => shim::run(&args),
        args::Command::Store(args) => store_command::run(&args),
        args::Command::Completions { shell } => args::completions(shell),
        args::Command::Man { directory } => args::man(&directory),
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("xeno: {failure}");
            failure.status
        }
    }
}
