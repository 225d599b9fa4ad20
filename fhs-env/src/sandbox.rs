//! What a process in a root of its own is given beside the root: namespaces, ids, capabilities, filters,
//! descriptors, a supervisor. Plain data; what it asks for is done by [`Sandbox::start`].

use crate::op::Op;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Whether a namespace of its own is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// The caller's is kept.
    #[default]
    No,
    /// If this kernel and user can.
    Try,
    /// Else it is an error.
    Yes,
}

/// The namespaces (`namespaces(7)`) that are made. A mount namespace always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// A user namespace. One is made in any case where the caller may not mount without.
    pub user: Want,
    /// System V IPC and POSIX message queues. Programs that share memory with a display server need the host's.
    pub ipc: bool,
    /// Process ids; a supervisor stays outside and an init inside.
    pub pid: bool,
    /// Network; only the loopback interface, brought up.
    pub net: bool,
    /// Host name.
    pub uts: bool,
    /// Control groups.
    pub cgroup: Want,
}

/// Namespaces that exist already and are joined (`setns(2)`), by inherited descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The user namespace in which the root is made.
    pub user: Option<RawFd>,
    /// A user namespace below it, joined when the root is made.
    pub user_after: Option<RawFd>,
    /// The pid namespace.
    pub pid: Option<RawFd>,
}

/// Changes to the capabilities of the program, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Keep this one, by number (`capabilities(7)`).
    Add(u8),
    /// Do not keep this one.
    Drop(u8),
    /// Keep all.
    AddAll,
    /// Keep none.
    DropAll,
}

/// Where the program starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkingIn {
    /// In the caller's working directory, by path; an error if the root does not have it.
    #[default]
    Callers,
    /// In the caller's, else in `$HOME`, else in `/`, as bubblewrap does it.
    CallersOrHome,
    /// In this directory of the new root.
    Path(PathBuf),
}

/// Which descriptors the program inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Descriptors {
    /// All that are not close-on-exec.
    #[default]
    Inherit,
    /// The first three and these; everything else is closed.
    Only(Vec<RawFd>),
}

/// A sandbox to be: collects everything, does nothing until it is started.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Sandbox {
    /// The tree, in order.
    pub ops: Vec<Op>,
    /// The namespaces that are made.
    pub namespaces: Namespaces,
    /// The namespaces that are joined.
    pub join: Join,
    /// The user id the program sees; needs a user namespace if it is another than the caller's.
    pub uid: Option<u32>,
    /// The group id the program sees.
    pub gid: Option<u32>,
    /// No user namespace can be made inside.
    pub no_more_user_namespaces: bool,
    /// The host name; needs a UTS namespace.
    pub host_name: Option<OsString>,
    /// Changes to the capabilities, in order. Without any: none are kept, but for a caller that is root and
    /// asks for no user namespace.
    pub capabilities: Vec<Capability>,
    /// seccomp filters, each a program of `struct sock_filter` as the kernel takes it, in the order they are loaded.
    pub filters: Vec<Vec<u8>>,
    /// Where the program starts.
    pub working_in: WorkingIn,
    /// A new session: the program cannot put input into the caller's terminal.
    pub new_session: bool,
    /// Everything inside dies when the caller's parent does.
    pub die_with_parent: bool,
    /// The program is pid 1 of its namespace, without an init.
    pub as_pid_1: bool,
    /// Which descriptors the program inherits.
    pub descriptors: Descriptors,
}

/// What runs inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// A path of the new root, or a name that is looked for in the `PATH` of `environment`, as `execvp(3)` does.
    pub file: OsString,
    /// The arguments; the first is the name the program sees as its own.
    pub arguments: Vec<OsString>,
    /// The whole environment, `NAME=VALUE` each.
    pub environment: Vec<OsString>,
}
