//! What `bwrap`'s words ask for, as plain data: steps in their order, everything else by the last word said.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What is bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum From {
    Path(PathBuf),
    Descriptor(RawFd),
}

/// Where changes to an overlay go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changes {
    Nowhere,
    Memory,
    Directories { upper: PathBuf, work: PathBuf },
}

/// One operation on the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bind {
        from: From,
        to: PathBuf,
        access: fhs_env::Access,
        optional: bool,
    },
    ReadOnly {
        to: PathBuf,
    },
    /// The lowest layer first.
    Overlay {
        layers: Vec<PathBuf>,
        changes: Changes,
        to: PathBuf,
    },
    Proc {
        to: PathBuf,
    },
    Dev {
        to: PathBuf,
    },
    Tmpfs {
        to: PathBuf,
        mode: u32,
        size: Option<u64>,
    },
    MessageQueues {
        to: PathBuf,
    },
    Directory {
        to: PathBuf,
        mode: u32,
    },
    File {
        fd: RawFd,
        to: PathBuf,
        mode: u32,
    },
    BindData {
        fd: RawFd,
        to: PathBuf,
        mode: u32,
        access: fhs_env::Access,
    },
    Symlink {
        target: PathBuf,
        to: PathBuf,
    },
    Mode {
        to: PathBuf,
        mode: u32,
    },
}

impl Step {
    /// The paths of the host that must be there, in the order in which they are asked for; whether one may be missing.
    pub(super) fn sources(&mut self) -> Vec<(&mut PathBuf, bool)> {
        match self {
            Step::Bind { from: From::Path(path), optional, .. } => vec![(path, *optional)],
            Step::Overlay { layers, changes, .. } => {
                let writable = match changes {
                    Changes::Directories { upper, work } => vec![upper, work],
                    _ => Vec::new(),
                };
                // Those that take changes first, then the highest layer.
                writable.into_iter().chain(layers.iter_mut().rev()).map(|path| (path, false)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A change to the environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Clear,
    Set(OsString, OsString),
    Unset(OsString),
}

/// Descriptors by what they are for.
#[derive(Debug, Default)]
pub(super) struct Fds {
    pub(super) sync: Option<RawFd>,
    pub(super) block: Option<RawFd>,
    pub(super) userns_block: Option<RawFd>,
    pub(super) info: Option<RawFd>,
    pub(super) json_status: Option<RawFd>,
    pub(super) seccomp: Option<RawFd>,
    pub(super) userns: Option<RawFd>,
    pub(super) userns2: Option<RawFd>,
    pub(super) pidns: Option<RawFd>,
}

/// The namespaces that were named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unshare {
    pub(super) user: bool,
    pub(super) user_try: bool,
    pub(super) ipc: bool,
    pub(super) pid: bool,
    pub(super) net: bool,
    pub(super) uts: bool,
    pub(super) cgroup: bool,
    pub(super) cgroup_try: bool,
}

/// All that was said before the command.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) steps: Vec<Step>,
    pub(super) unshare: Unshare,
    pub(super) fds: Fds,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) host_name: Option<OsString>,
    pub(super) disable_userns: bool,
    pub(super) assert_userns_disabled: bool,
    /// The filters of `--add-seccomp-fd`, read already.
    pub(super) filters: Vec<Vec<u8>>,
    pub(super) capabilities: Vec<fhs_env::Capability>,
    pub(super) variables: Vec<Variable>,
    pub(super) directory: Option<PathBuf>,
    pub(super) argv0: Option<OsString>,
    pub(super) lock_files: Vec<PathBuf>,
    pub(super) exec_label: Option<OsString>,
    pub(super) file_label: Option<OsString>,
    pub(super) new_session: bool,
    pub(super) die_with_parent: bool,
    pub(super) as_pid_1: bool,
    pub(super) level_prefix: bool,
}
