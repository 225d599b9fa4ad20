//! The words of `xeno env` and their help.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  xeno env build -p bash -p coreutils -p libc6:i386 --name tools
  xeno env enter tools                        a shell in it
  xeno env run tools ./installer --help       a program in it
  xeno env list
  xeno env rm tools

An environment is a root as programs of other distributions expect it: /usr, /lib64, both loaders, a library cache, made \
from packages of the archive and kept in the store. It shows everything else of this machine and isolates nothing.

Exit status: for `run` and `enter` the program's own; 125 if xeno itself failed, 126 if the program could not be \
started, 127 if there is no such program or environment.";

const BUILD_EXAMPLES: &str = "\
Examples:
  xeno env build tools.toml
  xeno env build -p bash --multiarch libgl1 --name games
  xeno env build tools.toml --lock tools.lock      the same packages again, or the lock that gives them

A specification is a TOML file with one table; every key may be left out:

  [fhs]
  name = \"tools\"
  include = [\"base.toml\"]               # what this one says lies over what those say
  packages = [\"bash\", \"libc6:i386\", \"dir:./tree\", \"nix:/nix/store/…-hello\"]
  multiarch = [\"libgl1\"]                # 64 and 32 bit
  base = true                           # with the packages that all others use (Essential: yes)
  include-closures = false              # with everything a Nix path refers to
  extra-outputs = [\"dev\"]               # of Nix paths
  run = [\"bash\"]                        # what `run` starts if nothing is named
  profile = \"export A=1\"                # lines of /etc/profile, run before the program
  etc = [\"my.conf\"]                     # further entries of this machine's /etc
  binds = [\"/srv\", { source = \"/a\", path = \"/b\", access = \"read-only\", optional = true }]
  private-tmp = false
  chdir-to-pwd = true
  die-with-parent = false
  unshare = { user = false, ipc = false, pid = false, net = false, uts = false, cgroup = false }
  environment = { LANG = \"C.UTF-8\" }
  links = { \"/usr/bin/vi\" = \"busybox\" }
  files = { \"/etc/motd\" = \"hello\" }
  hooks.build = \"…\"                     # a script, run in the root that is being built, /usr and /etc writable
  hooks.enter = \"…\"                     # a script, run at each start in the shell that becomes the program

--json prints one object: `name`, `root`, `packages`, `collisions` (`path`, `kept`, `dropped`), `notes`.

Exit status: 0 if it is built, 125 if not.";

/// `xeno env`.
#[derive(clap::Args)]
pub(crate) struct EnvArgs {
    #[command(subcommand)]
    pub(crate) command: EnvCommand,
}

/// What `xeno env` can do.
#[derive(clap::Subcommand)]
pub(crate) enum EnvCommand {
    /// Build an environment, or find that it is built
    #[command(after_help = BUILD_EXAMPLES)]
    Build(BuildArgs),
    /// Start a shell in an environment
    Enter(EnterArgs),
    /// Start a program in an environment
    Run(RunArgs),
    /// Show which environments there are
    List(ListArgs),
    /// Remove environments; programs that run in them lose their files
    Rm(RmArgs),
    /// Write an environment for other machines
    Export(ExportArgs),
}

/// `xeno env build`.
#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// A specification (TOML)
    #[arg(value_name = "SPEC", required_unless_present_any = ["package", "multiarch"])]
    pub(crate) spec: Option<PathBuf>,
    /// Add a package: a name of the archive (NAME or NAME:ARCH), dir:PATH, or nix:PATH
    #[arg(short, long, value_name = "PKG")]
    pub(crate) package: Vec<String>,
    /// Add a package of the archive, 64 and 32 bit
    #[arg(long, value_name = "PKG")]
    pub(crate) multiarch: Vec<String>,
    /// Call it so [default: what the specification or its file is called, else default]
    #[arg(long, value_name = "N")]
    pub(crate) name: Option<String>,
    /// Use the packages this lock file names; write it if it does not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `xeno env enter`.
#[derive(clap::Args)]
pub(crate) struct EnterArgs {
    /// Say how it would be entered, and start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The environment
    #[arg(value_name = "N", default_value = super::DEFAULT)]
    pub(crate) name: String,
}

/// `xeno env run`.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Say how it would be started, and start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The environment
    #[arg(value_name = "N")]
    pub(crate) name: String,
    /// The program and its arguments [default: what the specification says, else a shell]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROG [ARG]...")]
    pub(crate) command: Vec<OsString>,
}

/// `xeno env list`.
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Print one line of JSON: a list of objects with `name`, `root`, `packages`, `problem`
    #[arg(long)]
    pub(crate) json: bool,
}

/// `xeno env rm`.
#[derive(clap::Args)]
pub(crate) struct RmArgs {
    /// The environments
    #[arg(required = true, value_name = "N")]
    pub(crate) names: Vec<String>,
}

/// `xeno env export`.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Write an OCI image layout into this directory, which must be empty or not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) oci: PathBuf,
    /// The environment
    #[arg(value_name = "N")]
    pub(crate) name: String,
}
