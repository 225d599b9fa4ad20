//! The words of `xeno shim` and their help.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  sudo xeno shim install                     let foreign programs start by themselves
  sudo xeno shim install --users             let ordinary users add programs of their own, too
  xeno shim add ./tool                       work out what ./tool needs, and remember it
  xeno shim show ./tool                      what its loader will find
  xeno shim status                           what is installed, and what is out of date
  sudo xeno shim uninstall                   take everything away, put back what was there

A program whose interpreter is the shim gets the image that `add` made for it, else the one for every program \
of its kind (gnu64, gnu32, musl64, musl32), which `install` makes. Between the two, nix-ld's variables mean what they mean there (NIX_LD, \
NIX_LD_LIBRARY_PATH, with _<system>, NIX_LD_LOG), unless rights are gained. Nothing comes from the current directory.

`show --json` prints one object: `path`, `arch`, `libc`, `key` (null if it is for every program), `loader`, `answers` \
(soname and file; glibc), `directories` (musl), `live`, `bytes`, `out_of_date` (null or what changed). `status --json`: \
`base`, `problem`, `shims` (`path`, `arch`, `problem`), `images` (`path`, `problem`), `users`.

Exit status: 0 if it is done; for `status` 1 if something is out of date or not to be trusted; 125 if xeno failed, \
126 and 127 as for `xeno run`.";

const INSTALL_EXAMPLES: &str = "\
Examples:
  sudo xeno shim install
  sudo xeno shim install --library libz.so.1 --library libGL.so.1 --live /run/opengl-driver/lib
  xeno shim install --into /tmp/x1 --at /tmp/x1/ld.so    a private one, for programs that name /tmp/x1/ld.so

A real loader is replaced only with --force: it is kept beside the shim as PATH.xeno-saved, and the machine's own \
programs go on through the image for every program, which then has this machine's libraries.";

/// `xeno shim`.
#[derive(clap::Args)]
pub(crate) struct ShimArgs {
    #[command(subcommand)]
    pub(crate) command: ShimCommand,
}

/// What `xeno shim` can do.
#[derive(clap::Subcommand)]
pub(crate) enum ShimCommand {
    /// Put the shim where programs expect their loader
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(InstallArgs),
    /// Take the shim away and put back what was there
    Uninstall(UninstallArgs),
    /// Say what is installed where, and what is out of date
    Status(StatusArgs),
    /// Work out what programs need and write their images
    Add(AddArgs),
    /// Say what the loader of a program, or an image, will find
    Show(ShowArgs),
}

/// `xeno shim install`.
#[derive(clap::Args)]
pub(crate) struct InstallArgs {
    /// The directory for images; with its longest name a path in it must have at most 16 bytes
    #[arg(long, value_name = "DIR", default_value = ld_shim::base::DEFAULT)]
    pub(crate) into: PathBuf,
    /// Put the shim at this path [default: where programs of the architecture expect their loader]
    #[arg(long, value_name = "PATH")]
    pub(crate) at: Option<PathBuf>,
    /// For programs of this architecture: x86_64, i686, aarch64 or riscv64 [default: this machine's, and i686 on
    /// x86_64 where it has no loader]
    #[arg(long, value_name = "A")]
    pub(crate) arch: Vec<String>,
    /// For programs that were built against musl
    #[arg(long)]
    pub(crate) musl: bool,
    /// Replace a real loader, which is kept beside the shim
    #[arg(long)]
    pub(crate) force: bool,
    /// Let ordinary users add programs of their own
    #[arg(long)]
    pub(crate) users: bool,
    /// Give every program this library, too
    #[arg(long, value_name = "SONAME")]
    pub(crate) library: Vec<String>,
    /// Let every program find what this directory holds at that moment (drivers)
    #[arg(long, value_name = "DIR")]
    pub(crate) live: Vec<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `xeno shim uninstall`.
#[derive(clap::Args)]
pub(crate) struct UninstallArgs {
    /// The directory for images
    #[arg(long, value_name = "DIR", default_value = ld_shim::base::DEFAULT)]
    pub(crate) into: PathBuf,
    /// Take only the shim at this path away, and keep the images
    #[arg(long, value_name = "PATH")]
    pub(crate) at: Option<PathBuf>,
}

/// `xeno shim status`.
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// The directory for images
    #[arg(long, value_name = "DIR", default_value = ld_shim::base::DEFAULT)]
    pub(crate) into: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `xeno shim add`.
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// The directory for images [default: that of the shim at the program's interpreter, else /opt/xeno/]
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Let it find what this directory holds at that moment (drivers)
    #[arg(long, value_name = "DIR")]
    pub(crate) live: Vec<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
    /// The programs
    #[arg(required = true, value_name = "PROG")]
    pub(crate) programs: Vec<OsString>,
}

/// `xeno shim show`.
#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The directory for images [default: that of the shim at the program's interpreter, else /opt/xeno/]
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A program or an image
    #[arg(value_name = "PROG|IMAGE")]
    pub(crate) subject: OsString,
}
