//! `xeno`: words in, one library call, a report out. The only crate that prints; it decides nothing.
//!
//! There is no `fn main`: Rust's start-up code would ignore SIGPIPE and reopen closed standard
//! descriptors, and the foreign program would inherit both. The C entry point leaves this process as
//! its parent made it.
#![no_main]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this crate is the one that talks to people")]

mod args;
mod bwrap;
mod doctor;
mod entry;
mod env;
mod environment;
mod failure;
mod inspect;
mod patch;
mod patchelf;
mod progress;
mod resolving;
mod root_for_run;
mod run;
mod shim;
mod steam_run;
mod store_command;

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What a drop-in does with its words.
type DropIn = fn(&[OsString]) -> u8;

/// The drop-in that is meant, and its words: all of them if this was started under its name, those from the second
/// on for `xeno patchelf` or `xeno bwrap`, which tries it without a link.
fn multi_call(words: &[OsString]) -> Option<(DropIn, &[OsString])> {
    const DROP_INS: [(&str, DropIn); 2] = [("patchelf", patchelf::main), ("bwrap", bwrap::main)];
    let named = |name: &OsStr| DROP_INS.into_iter().find(|(known, _)| name == *known).map(|(_, drop_in)| drop_in);
    let own = words.first().and_then(|own| named(Path::new(own).file_name()?));
    let second = || words.get(1).and_then(|name| Some((named(name)?, words.get(1..)?)));
    own.map(|drop_in| (drop_in, words)).or_else(second)
}

/// Parses the words and does what they say; the result is the exit status.
fn real_main(words: Vec<OsString>) -> u8 {
    if let Some((drop_in, words)) = multi_call(&words) {
        return drop_in(words);
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
        args::Command::Env(args) => env::run(&args),
        args::Command::SteamRun(args) => steam_run::run(&args),
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
