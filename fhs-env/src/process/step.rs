//! The steps around the tree that make a process with namespaces, ids and rights of its own, as data that prints
//! itself. Nothing here touches the system.

use crate::op::{Op, shown};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// A set of kinds of namespaces, `CLONE_NEW…` of `clone(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Users and groups.
    pub user: bool,
    /// Mounts.
    pub mount: bool,
    /// Process ids.
    pub pid: bool,
    /// System V IPC, message queues.
    pub ipc: bool,
    /// Network.
    pub net: bool,
    /// Host name.
    pub uts: bool,
    /// Control groups.
    pub cgroup: bool,
}

/// One step of a process on its way to the program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// `PR_SET_PDEATHSIG`: the kernel kills this process when its parent ends. The race is closed: a parent that
    /// ended before is found.
    DieWithParent,
    /// Lives on when the parent ends.
    LiveOn,
    /// `setns(2)` into the user namespace of a descriptor.
    JoinUser(RawFd),
    /// `unshare(2)` or `clone(2)`.
    Namespaces(Kinds),
    /// `setns(2)` into the pid namespace of a descriptor; takes effect for children.
    JoinPid(RawFd),
    /// Goes on in a child, which has the same parent (`CLONE_PARENT`), and ends.
    Child,
    /// Tells what was made, and waits until the hooks let it go on.
    Tell,
    /// `deny` into `/proc/self/setgroups`: without it the kernel takes no gid map from an ordinary user.
    DenySetgroups,
    /// The id map of users: one id.
    MapUser {
        /// The id inside.
        inside: u32,
        /// The id in the namespace above.
        outside: u32,
    },
    /// The id map of groups: one id.
    MapGroup {
        /// The id inside.
        inside: u32,
        /// The id in the namespace above.
        outside: u32,
    },
    /// Takes on ids of a user namespace that was joined, and keeps its capabilities for now.
    Become {
        /// The user, if it is to be another.
        uid: Option<u32>,
        /// The group, if it is to be another.
        gid: Option<u32>,
    },
    /// `user.max_user_namespaces` of this user namespace.
    LimitUserNamespaces(u32),
    /// Brings the loopback interface up.
    Loopback,
    /// `sethostname(2)`.
    HostName(OsString),
    /// The label of files that are made.
    FileLabel(OsString),
    /// Makes every mount a slave: host mounts arrive here, ours do not leave.
    Slave,
    /// A user namespace below the first, with which the program cannot undo what was set in the first.
    SecondUserNamespace,
    /// Finds out that no user namespace can be made.
    AssertNoUserNamespaces,
    /// `PR_SET_NO_NEW_PRIVS`: no exec gains anything.
    NoNewPrivileges,
    /// The capabilities, in all five sets.
    Capabilities(Kept),
    /// `setsid(2)`.
    NewSession,
    /// Takes a shared lock on a file.
    Lock(PathBuf),
    /// Forks; the child goes on as the program's process, this one stays as its init.
    Init,
    /// What the hooks do before exec.
    Hook,
    /// Changes to the first of these directories that is there.
    WorkingDirectory {
        /// The candidates.
        paths: Vec<PathBuf>,
        /// `/` and no error if none is there.
        or_root: bool,
        /// Device and inode it must have; `None` if any will do.
        identity: Option<(u64, u64)>,
    },
    /// The label of the program.
    ExecLabel(OsString),
    /// Which descriptors close on exec.
    Descriptors {
        /// Everything but the first three and `kept`.
        only: bool,
        /// Those that stay, if `only`.
        kept: Vec<RawFd>,
        /// Those that do not stay.
        closed: Vec<RawFd>,
    },
    /// Signals as the caller had them; the monitor is told that the program comes now.
    Ready,
    /// The restriction of this number.
    Restrict {
        /// Its position in the list of the sandbox.
        index: usize,
        /// Its name.
        name: String,
    },
    /// The seccomp filter of this number.
    Filter {
        /// Its position in the list of the sandbox.
        index: usize,
        /// How many instructions it has.
        instructions: usize,
    },
    /// The program takes the process over.
    Exec(OsString),
}

/// The capabilities that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All as they are.
    Untouched,
    /// These bits (`1 << CAP_…`).
    Exactly {
        /// Those that stay if the process has them.
        bits: u64,
        /// Those of them whose lack is an error.
        required: u64,
    },
}

/// A name in which control characters are escaped.
struct Name<'a>(&'a OsStr);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(Path::new(self.0)).fmt(f)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.user, "user"),
            (self.mount, "mount"),
            (self.pid, "pid"),
            (self.ipc, "ipc"),
            (self.net, "net"),
            (self.uts, "uts"),
            (self.cgroup, "cgroup"),
        ];
        let names: Vec<&str> = all.into_iter().filter_map(|(has, name)| has.then_some(name)).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::DieWithParent => f.write_str("die with the parent"),
            Step::LiveOn => f.write_str("live on without the parent"),
            Step::JoinUser(fd) => write!(f, "join the user namespace of descriptor {fd}"),
            Step::Namespaces(kinds) => write!(f, "new namespaces: {kinds}"),
            Step::JoinPid(fd) => write!(f, "join the pid namespace of descriptor {fd}"),
            Step::Child => f.write_str("go on in a child"),
            Step::Tell => f.write_str("tell what was made"),
            Step::DenySetgroups => f.write_str("deny setgroups"),
            Step::MapUser { inside, outside } => write!(f, "map user {inside} to {outside}"),
            Step::MapGroup { inside, outside } => write!(f, "map group {inside} to {outside}"),
            Step::Become { uid, gid } => {
                f.write_str("become")?;
                uid.iter().try_for_each(|uid| write!(f, " user {uid}"))?;
                gid.iter().try_for_each(|gid| write!(f, " group {gid}"))
            }
            Step::LimitUserNamespaces(n) => write!(f, "at most {n} user namespaces below this one"),
            Step::Loopback => f.write_str("bring up the loopback interface"),
            Step::HostName(name) => write!(f, "host name {}", Name(name)),
            Step::FileLabel(label) => write!(f, "label new files {}", Name(label)),
            Step::Slave => f.write_str("make every mount a slave"),
            Step::SecondUserNamespace => f.write_str("new namespaces: user, below the first"),
            Step::AssertNoUserNamespaces => f.write_str("find out that no user namespace can be made"),
            Step::NoNewPrivileges => f.write_str("no new privileges"),
            Step::Capabilities(Kept::Untouched) => f.write_str("capabilities as they are"),
            Step::Capabilities(Kept::Exactly { bits: 0, .. }) => f.write_str("no capabilities"),
            Step::Capabilities(Kept::Exactly { bits, .. }) => write!(f, "capabilities {bits:#x}"),
            Step::NewSession => f.write_str("new session"),
            Step::Lock(path) => write!(f, "lock {}", shown(path)),
            Step::Init => f.write_str("stay as init, go on in a child"),
            Step::Hook => f.write_str("run the hooks"),
            Step::WorkingDirectory { paths, or_root, .. } => {
                f.write_str("change directory to ")?;
                for (at, path) in paths.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { " or " }, shown(path))?;
                }
                match (or_root, paths.is_empty()) {
                    (true, false) => f.write_str(" or /"),
                    (true, true) => f.write_str("/"),
                    (false, _) => Ok(()),
                }
            }
            Step::ExecLabel(label) => write!(f, "label the program {}", Name(label)),
            Step::Descriptors { only, kept, closed } => {
                f.write_str(if *only { "close descriptors, but for 0 1 2" } else { "close descriptors" })?;
                let list = if *only { kept } else { closed };
                list.iter().try_for_each(|fd| write!(f, " {fd}"))
            }
            Step::Ready => f.write_str("signals as the caller had them"),
            Step::Restrict { name, .. } => write!(f, "restrict itself to {name}"),
            Step::Filter { instructions, .. } => write!(f, "seccomp filter of {instructions} instructions"),
            Step::Exec(file) => write!(f, "start {}", Name(file)),
        }
    }
}

impl Step {
    /// The op of the same meaning, for what judges refusals.
    pub(crate) fn as_op(&self) -> Option<Op> {
        Some(match self {
            Step::Namespaces(kinds) => Op::Unshare { user: kinds.user },
            Step::SecondUserNamespace => Op::Unshare { user: true },
            Step::DenySetgroups => Op::DenySetgroups,
            Step::MapUser { inside, .. } => Op::MapUser(*inside),
            Step::MapGroup { inside, .. } => Op::MapGroup(*inside),
            Step::Slave => Op::Slave,
            // Refused for the same reasons as a mount: rights that a user namespace gave are not there.
            Step::Loopback | Step::HostName(_) => Op::Stack,
            _ => return None,
        })
    }
}
