//! The one command definition: parsing, help, man pages and completions all come from it.

use crate::env::words::{EXAMPLES as ENV_EXAMPLES, EnvArgs};
use crate::failure::Failure;
use crate::patch::words::{EXAMPLES as PATCH_EXAMPLES, PatchArgs};
use crate::shim::words::{EXAMPLES as SHIM_EXAMPLES, ShimArgs};
use crate::steam_run::{EXAMPLES as STEAM_RUN_EXAMPLES, SteamRunArgs};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use launch::rung::Rung;
use std::ffi::OsString;
use std::path::PathBuf;

const RUN_EXAMPLES: &str = "\
Examples:
  xeno run ./tool --version          start a program built for another distribution
  xeno run --dry-run ./tool          say how it would be started, and why so
  xeno run --lock xeno.lock ./tool   pin the libraries it gets

Exit status: the program's own; 125 if xeno itself failed, 126 if the program could not be
started, 127 if there is no such program.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  xeno inspect ./tool           what it is, what it needs, and whether it runs here
  xeno inspect --tree ./tool    who needs what
  xeno inspect --json ./tool    the same for machines

Exit status: 0 if the program could be read, 125 to 127 as for `xeno run`.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  xeno doctor ./tool           every step from the kernel to the symbol versions, up to the first that fails
  xeno doctor --json ./tool    the same for machines
  xeno doctor                  the machine alone: private roots, loaders, shims and their images

--json prints one object: `program`, `starts`, and `steps` with `step`, `state` (ok, note, wrong), `text` and `fix`.

Exit status: 0 if it would start as it is, 1 if not, 125 to 127 as for `xeno run`.";

const STORE_EXAMPLES: &str = "\
Examples:
  xeno store which libssl.so.1.1    which package has a library
  xeno store update                 refresh the archive's indexes
  xeno store path                   where everything is kept";

/// Runs foreign Linux binaries on any Linux.
#[derive(Parser)]
#[command(name = "xeno", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a foreign program
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Say what a program is, what it needs and whether it runs here
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Change programs and libraries so that they find what they need
    #[command(after_help = PATCH_EXAMPLES)]
    Patch(Box<PatchArgs>),
    /// Install a loader that starts foreign programs without help, and tell it what they need
    #[command(after_help = SHIM_EXAMPLES)]
    Shim(ShimArgs),
    /// Build and enter roots as programs of other distributions expect them
    #[command(after_help = ENV_EXAMPLES)]
    Env(Box<EnvArgs>),
    /// Start a program for desktops or games with the libraries it expects of any Linux
    #[command(after_help = STEAM_RUN_EXAMPLES)]
    SteamRun(SteamRunArgs),
    /// Say what keeps a program from starting as it is, and what to do about it
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Look into the store and the archive's indexes
    #[command(after_help = STORE_EXAMPLES)]
    Store(StoreArgs),
    /// Print shell completions
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        directory: PathBuf,
    },
}

/// `xeno run`.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Take this way of starting it only: direct, shim, view, overlay, fhs or loader
    #[arg(long, value_name = "S", value_parser = |s: &str| s.parse::<Rung>())]
    pub(crate) strategy: Option<Rung>,
    /// Say how it would be started and why, and start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Use the libraries this lock file names; write it if it does not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROG [ARG]...")]
    pub(crate) command: Vec<OsString>,
}

/// `xeno inspect`.
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// Show who needs what, as a tree
    #[arg(long, conflicts_with = "json")]
    pub(crate) tree: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The program
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
}

/// `xeno doctor`.
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The program
    #[arg(value_name = "PROG")]
    pub(crate) program: Option<OsString>,
}

/// `xeno store`.
#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

/// What `xeno store` can do.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Say which packages of the archive hold a library
    Which {
        /// The architecture: x86_64, i686, aarch64 or riscv64
        #[arg(long)]
        arch: Option<String>,
        /// The library's name as programs need it
        soname: String,
    },
    /// Refresh the archive's indexes
    Update {
        /// The architecture: x86_64, i686, aarch64 or riscv64
        #[arg(long)]
        arch: Option<String>,
    },
    /// Print the store's directory
    Path,
}

/// Parses the words; help, version and mistakes are printed here.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Command, u8> {
    // `xeno patch` starts no program, whose statuses it would have to keep clear of.
    let usage = if words.get(1).is_some_and(|word| word == "patch") { 2 } else { 125 };
    let matches = Cli::command().try_get_matches_from(words);
    match matches.and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => Ok(cli.command),
        Err(error) => {
            // A closed pipe is not worth a second message.
            let _ = error.print();
            Err(if error.use_stderr() { usage } else { 0 })
        }
    }
}

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    clap_complete::generate(shell, &mut Cli::command(), "xeno", &mut std::io::stdout());
    Ok(0)
}

/// Writes one man page for each command.
pub(crate) fn man(directory: &std::path::Path) -> Result<u8, Failure> {
    let failed =
        |e: std::io::Error| Failure::own(format!("write man pages into {}: {e}; name a directory that exists", directory.display()));
    let command = Cli::command();
    let mut pages = vec![("xeno".to_owned(), command.clone())];
    pages.extend(command.get_subcommands().filter(|s| !s.is_hide_set()).map(|s| (format!("xeno-{}", s.get_name()), s.clone())));
    for (name, command) in pages {
        let mut page = Vec::new();
        // clap wants a name that lives for ever; a process that writes four pages can afford it.
        let title: &'static str = Box::leak(name.clone().into_boxed_str());
        clap_mangen::Man::new(command.name(title).bin_name(name.replacen('-', " ", 1))).render(&mut page).map_err(failed)?;
        store::atomic::write_file(&directory.join(format!("{name}.1")), &page, 0o644).map_err(Failure::from)?;
    }
    Ok(0)
}
