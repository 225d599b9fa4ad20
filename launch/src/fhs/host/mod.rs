//! What of the host an environment shows: top-level directories, the files of /etc that follow the host's,
//! drivers, sockets, variables. The host is looked at once ([`HostView::gather`]); the steps that follow from
//! it are pure functions of what was seen. It knows nothing of packages and starts nothing.

pub mod drivers;
mod etc;
mod gather;
mod sockets;
mod top_level;
mod variables;

pub use etc::etc_ops;
pub use sockets::{Address, Service, Socket, socket_ops, sockets};
pub use top_level::{chosen_ops, top_level_ops};
pub use variables::variables;

use super::mode::Mode;
use drivers::{Drivers, driver_ops};
use fhs_env::{Access, HostEntry, Op, Source};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The top-level names that an environment has itself; everything else at the top is the host's.
pub const OWN_TOPS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The host as far as environments show it. Plain data: a test writes it down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    /// The entries of `/`, sorted by name.
    pub top: Vec<HostEntry>,
    /// The entries of `/etc` that environments show, and those that links among them lead through; sorted.
    pub etc: Vec<EtcEntry>,
    /// Nodes of `/dev` that a sandboxed program can be given as well: graphics, sound; input and cameras if chosen.
    pub devices: Vec<PathBuf>,
    /// A directory that the host does not have: what the environment hides of the host is seen there.
    pub aside: PathBuf,
    /// The variables that say where something of the host is (each module names its own), as far as they are set.
    pub variables: BTreeMap<OsString, OsString>,
    /// Who enters.
    pub user: User,
    /// Where the host keeps its time zones, if anywhere.
    pub zoneinfo: Option<PathBuf>,
    /// The file with all certificates the host trusts, if it has one.
    pub certificates: Option<PathBuf>,
}

/// An entry of `/etc`, or of a directory in it that host and farm share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcEntry {
    /// Its name below `/etc`.
    pub name: PathBuf,
    /// What it holds if it is a symbolic link.
    pub link: Option<PathBuf>,
}

/// Who enters an environment (`passwd(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The login name.
    pub name: String,
    /// The home directory: `$HOME`, else what the user database says.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

/// What the environment has itself, as far as it bears on what is shown of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Farm {
    /// The directory in the store.
    pub root: PathBuf,
    /// Names below its `usr/etc`: every entry, and for directories that the host adds to also theirs
    /// (`ssl/openssl.cnf`); sorted.
    pub etc: Vec<PathBuf>,
    /// Whether it has `/usr/share/zoneinfo`.
    pub zoneinfo: bool,
    /// Whether it has `/usr/lib/locale/locale-archive`.
    pub locale_archive: bool,
}

/// The question: what is shown of this host, in this mode, beside this farm.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The host.
    pub host: &'a HostView,
    /// Everything, or what is listed.
    pub mode: &'a Mode,
    /// The environment.
    pub farm: &'a Farm,
    /// `/tmp` is the program's own. A sandbox's always is.
    pub private_tmp: bool,
    /// The host's drivers for this farm ([`drivers::prepare`]).
    pub drivers: Option<&'a Drivers>,
    /// The socket of a filter for the session bus, which a sandbox has in place of the bus.
    pub bus: Option<&'a Path>,
}

impl Scene<'_> {
    /// Where a path of the host is seen inside: what the environment hides is seen aside.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let mut parts = path.components().skip(1);
        match parts.next() {
            Some(top) if is_own(top.as_os_str()) || top.as_os_str() == "etc" => {
                self.host.aside.join(path.strip_prefix("/").unwrap_or(path))
            }
            _ => path.to_owned(),
        }
    }
}

/// Whether a top-level name is the environment's own.
pub(crate) fn is_own(top: &OsStr) -> bool {
    OWN_TOPS.iter().any(|own| top == *own)
}

/// The steps that show the host, to be applied when `/usr` and the links into it are there. `store` shows the store:
/// behind the home, which may hide it. What was chosen comes behind everything that makes a file or a link, and what it
/// covers of the rest is shown again.
pub fn ops(scene: &Scene<'_>, store: impl IntoIterator<Item = Op>) -> Vec<Op> {
    let mut ops = top_level_ops(scene);
    ops.extend(store);
    ops.extend(etc_ops(scene));
    ops.extend(driver_ops(scene));
    ops.extend(socket_ops(scene));
    let chosen = chosen_ops(scene);
    let covers = |above: &Op, below: &Path| matches!(above, Op::Bind { path, .. } if below != path && below.starts_with(path));
    let covered = |op: &&Op| match op {
        // What is shown at its own place is there below a chosen path, too: nothing is made for it.
        Op::Bind { source: Source::Path(source), path, access: Access::ReadOnly, .. } => {
            source == path && chosen.iter().any(|above| covers(above, path))
        }
        _ => false,
    };
    let again: Vec<Op> = ops.iter().filter(covered).cloned().collect();
    ops.extend(chosen);
    ops.extend(again);
    ops
}
