//! What this system can enforce, as plain data that a test can write down. Gathering it asks the kernel in ways
//! that change nothing, and starts nothing.

use super::{Machine, landlock};
use crate::refusal::Cause;
use crate::sys;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The program that filters a D-Bus connection.
pub(crate) const BUS_PROXY: &str = "xdg-dbus-proxy";

/// What the judgement of [`super::Enforcement`] rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFacts {
    /// The machine this program is compiled for, where its system calls are known.
    pub machine: Option<Machine>,
    /// The kernel takes seccomp filters (`CONFIG_SECCOMP_FILTER`).
    pub seccomp: bool,
    /// The version of landlock, 0 for none.
    pub landlock: u8,
    /// The namespaces that the kernel was built with, by the names of `/proc/PID/ns`.
    pub namespaces: Vec<String>,
    /// The caller may mount without a user namespace (`CAP_SYS_ADMIN`).
    pub may_mount: bool,
    /// A setting that keeps ordinary users from making user namespaces. Others, such as a filter or a security
    /// module, show only when one is made.
    pub user_namespaces_refused: Option<Cause>,
    /// Whoever has a terminal may put input into it (`dev.tty.legacy_tiocsti`; always before Linux 6.2).
    pub terminal_input: bool,
    /// Where the D-Bus filter program is installed.
    pub bus_proxy: Option<PathBuf>,
}

impl KernelFacts {
    /// Asks this system. `path` is the value of `PATH`, in whose directories the D-Bus filter is looked for.
    pub fn gather(path: Option<&OsStr>) -> KernelFacts {
        let number = |file: &str| sys::read_kernel_file(file)?.trim().parse::<u64>().ok();
        // Without a proc file system nothing is known, and whoever starts the sandbox will be told.
        let unknown = !sys::exists("/proc/self");
        let built = |name: &String| unknown || sys::exists(&format!("/proc/self/ns/{name}"));
        let namespaces = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"].map(str::to_owned);
        let user_namespaces_refused = match () {
            () if number("/proc/sys/user/max_user_namespaces") == Some(0) => Some(Cause::UserNamespacesOff),
            () if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) => Some(Cause::UnprivilegedCloneOff),
            () => None,
        };
        let mut directories = path.map(std::env::split_paths).into_iter().flatten().filter(|dir| dir.is_absolute());
        KernelFacts {
            machine: Machine::here(),
            seccomp: unknown || sys::exists("/proc/sys/kernel/seccomp/actions_avail"),
            landlock: landlock::version(),
            namespaces: namespaces.into_iter().filter(built).collect(),
            may_mount: sys::may_mount(),
            user_namespaces_refused,
            terminal_input: number("/proc/sys/dev/tty/legacy_tiocsti") != Some(0),
            bus_proxy: directories.find_map(|dir| Some(dir.join(BUS_PROXY)).filter(|file| file.is_file())),
        }
    }
}
