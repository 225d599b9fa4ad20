//! `xeno patch`: words in, plans shown or carried out. Where bytes go and what a tree needs is decided by
//! `patcher` and `wrap`.

mod auto;
mod files;
mod interrupt;
mod show;
mod sources;
mod trial;
mod verify;
pub(crate) mod words;

use crate::failure::Failure;
use patcher::commit::Settings;
use patcher::{Options, Way};
use words::PatchArgs;

/// Wrong usage.
const USAGE: u8 = 2;
/// Anything else that went wrong.
const FAILED: u8 = 1;

/// Of more files than this it is not told who uses them: every process would have to be asked for each.
const USERS_MOST: usize = 32;

/// Does what the words say.
pub(crate) fn run(args: &PatchArgs) -> Result<u8, Failure> {
    if let Some(objection) = args.objection() {
        return Err(Failure::own(format!("patch: {objection}")).with_status(USAGE));
    }
    let done = match () {
        () if args.auto => auto::run(args),
        () if args.verify.is_some() && !args.edits_something() && !args.undo => verify::run(args),
        () => files::run(args),
    };
    let status = if interrupt::is_wanted() { interrupt::STATUS } else { FAILED };
    done.map_err(|failure| failure.with_status(status))
}

fn options(args: &PatchArgs) -> Options {
    let way = if args.in_place { Way::InPlace } else { Way::Replace };
    Options { way, recycle_debug: args.recycle_debug, undo: !args.no_undo, ..Options::default() }
}

fn settings(args: &PatchArgs) -> Settings {
    Settings { durable: !args.no_sync, keep_times: args.keep_times, ..Settings::default() }
}

/// One line of JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|e| Failure::own(format!("write the report as JSON: {e}")))?;
    anstream::println!("{json}");
    Ok(())
}
