//! `xeno steam-run`: a program for desktops or games in the environment with the predefined set, which is built when
//! it is first needed; beside the whole host, or in a sandbox.

use crate::env;
use crate::environment;
use crate::failure::{Failure, OneLine};
use fhs_env::Access;
use fhs_env::policy::{BusRules, Profile};
use launch::fhs::host::{HostView, OWN_TOPS};
use launch::fhs::mode::{Mode, SandboxOptions};
use launch::fhs::start::What;
use launch::fhs::{Environment, games, registry};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use store::cache::Cache;
use store::root::{Places, StoreRoot};

/// What the environment is called.
const NAME: &str = "steam-run";

/// What a sandboxed program may talk to on the session bus.
const BUS: [&str; 2] = ["org.freedesktop.Notifications", "org.freedesktop.ScreenSaver"];

pub(crate) const EXAMPLES: &str = "\
Examples:
  xeno steam-run -- ./game                       beside everything of this machine: isolates nothing
  xeno steam-run --sandbox -- ./game             with a home of its own, and the directory of the game
  xeno steam-run --sandbox --no-network --share ~/saves --home ~/homes/game -- ./game
  xeno steam-run --sandbox --dry-run -- ./game   every step, and what this system cannot enforce

The environment has the libraries that programs for desktops and games expect of any Linux, 64 and 32 bit, from the \
archive; it is built when it is first needed. Graphics drivers are this machine's where it has any.

In a sandbox the program sees its own directory (or only itself, if it lies in a directory of many), the display and \
sound servers, the network, and on the session bus, if xdg-dbus-proxy is installed, notifications and the screen saver. What this \
system cannot enforce is said; with --require nothing starts then.

Exit status: the program's own; 125 if xeno itself failed, 126 if the program could not be started, 127 if there is no \
such program.";

/// `xeno steam-run`.
#[derive(clap::Args)]
pub(crate) struct SteamRunArgs {
    /// Show only what is listed, and refuse dangerous system calls
    #[arg(long)]
    sandbox: bool,
    /// Sandbox: show this path too, to be written; with :ro behind it, to be read
    #[arg(long, value_name = "PATH[:ro]", requires = "sandbox")]
    share: Vec<OsString>,
    /// Sandbox: use this directory as the home [default: one in the store]
    #[arg(long, value_name = "DIR", requires = "sandbox")]
    home: Option<PathBuf>,
    /// Sandbox: give it game controllers and cameras; with them it can also read every key and type into your session
    #[arg(long, requires = "sandbox")]
    devices: bool,
    /// Sandbox: without the network
    #[arg(long, requires = "sandbox")]
    no_network: bool,
    /// Sandbox: refuse system calls as flatpak-like, chromium-ok (programs with sandboxes of their own) or none
    #[arg(long, value_name = "PROFILE", requires = "sandbox", default_value = "flatpak-like", value_parser = |s: &str| s.parse::<Profile>())]
    seccomp: Profile,
    /// Sandbox: start nothing unless all of it can be enforced; most 32-bit programs have no sockets then
    #[arg(long, requires = "sandbox")]
    require: bool,
    /// Give it a /tmp of its own, as a sandbox always has
    #[arg(long)]
    private_tmp: bool,
    /// Build the environment again from the archive's newest packages
    #[arg(long)]
    update: bool,
    /// Fetch nothing
    #[arg(long)]
    offline: bool,
    /// Say how it would be started, and start nothing
    #[arg(long)]
    dry_run: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROG [ARG]...")]
    command: Vec<OsString>,
}

/// Does what the words say; returns only if nothing was started, or when a supervised program has ended.
pub(crate) fn run(args: &SteamRunArgs) -> Result<u8, Failure> {
    let store = StoreRoot::choose(&Places::from_env())?;
    let cache = Cache::of(&store);
    let mut environment = environment(args, &cache)?;
    environment.spec.private_tmp |= args.private_tmp;
    let mut words = args.command.clone();
    let mode = if args.sandbox { Mode::Sandbox(options(args, &store, &mut words)?) } else { Mode::Compat };
    let start = environment.prepare(What::Words(&words), &mode, &HostView::gather()?, &cache)?;
    let gaps = start.entry().enforcement().map(|enforcement| enforcement.gaps.as_slice()).unwrap_or_default();
    for gap in gaps {
        eprintln!("xeno: {}", OneLine(gap));
    }
    if args.dry_run {
        start.lines().into_iter().for_each(|line| anstream::println!("{}", OneLine(line)));
        return Ok(0);
    }
    Ok(start.start()?.status())
}

/// The environment as it was built, or as it is built now.
fn environment(args: &SteamRunArgs, cache: &Cache) -> Result<Environment, Failure> {
    let spec = games::spec()?;
    match registry::find(cache, NAME) {
        Ok(known) if known.spec == spec && !args.update => Ok(known),
        // What another version of this program asked for is still better than nothing.
        Ok(known) if args.offline => Ok(known),
        _ => {
            eprintln!("xeno: building the environment for games, which takes a while the first time");
            Ok(env::built(NAME, spec, None, args.offline)?.environment)
        }
    }
}

/// What the sandbox shows. If that is not this process's directory, it goes to the program's, or else to `/`, and says so.
/// A program that is named by a path is then named by the whole of it.
fn options(args: &SteamRunArgs, store: &StoreRoot, words: &mut [OsString]) -> Result<SandboxOptions, Failure> {
    let home = match &args.home {
        Some(home) => existing(home)?,
        None => store.make_home(OsStr::new(NAME))?,
    };
    let mut paths = args.share.iter().map(|word| shared(word)).collect::<Result<Vec<_>, _>>()?;
    let mut named = None;
    if let Some(word) = words.first_mut().filter(|word| word.as_bytes().contains(&b'/')) {
        let program = existing(Path::new(word))?;
        *word = program.clone().into_os_string();
        let above = program.parent().unwrap_or(Path::new("/"));
        let many = environment::shared_directories().contains(above);
        let own = if many { (program.clone(), Access::ReadOnly) } else { (above.to_owned(), Access::ReadWrite) };
        if !paths.iter().any(|(path, _)| program.starts_with(path)) {
            paths.push(own);
        }
        named = Some(program);
    }
    let here = std::env::current_dir().unwrap_or_default();
    if !is_shown(&here, &paths) {
        let directory = named.as_deref().and_then(Path::parent).filter(|above| is_shown(above, &paths)).unwrap_or(Path::new("/"));
        std::env::set_current_dir(directory).map_err(|e| Failure::own(format!("go to {}: {e}", directory.display())))?;
        eprintln!("xeno: it starts in {}, as the sandbox does not show {}", OneLine(directory.display()), OneLine(here.display()));
    }
    let bus = Some(BusRules { talk: BUS.map(str::to_owned).to_vec(), ..BusRules::default() });
    Ok(SandboxOptions { home, paths, devices: args.devices, network: !args.no_network, profile: args.seccomp, bus, require: args.require })
}

/// Whether a directory is the host's inside, too.
fn is_shown(directory: &Path, paths: &[(PathBuf, Access)]) -> bool {
    let top = directory.components().nth(1);
    let replaced = top.is_some_and(|top| OWN_TOPS.iter().chain(&["etc"]).any(|own| top.as_os_str() == *own));
    !replaced && paths.iter().any(|(path, _)| directory.starts_with(path))
}

/// A path of the host, links resolved: the place at which it is shown is the one it has.
fn existing(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|e| {
        let status = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 125 };
        Failure::own(format!("share {}: {e}; name what exists", path.display())).with_status(status)
    })
}

fn shared(word: &OsStr) -> Result<(PathBuf, Access), Failure> {
    match word.as_bytes().strip_suffix(b":ro") {
        Some(path) => Ok((existing(Path::new(OsStr::from_bytes(path)))?, Access::ReadOnly)),
        None => Ok((existing(Path::new(word))?, Access::ReadWrite)),
    }
}
