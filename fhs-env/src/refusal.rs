//! Why a system refuses private roots, told from the failed step, its errno and a few facts of
//! the kernel; and what an entered root costs its program. Judges only: the facts are gathered
//! when something has failed, never on the way in.

use crate::op::Op;
use crate::sys;
use nix::errno::Errno;
use std::fmt;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// `user.max_user_namespaces` is 0 (RHEL 7, hardened hosts).
    UserNamespacesOff,
    /// `kernel.unprivileged_userns_clone` is 0 (older Debian, hardened kernels).
    UnprivilegedCloneOff,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 23.10 and later).
    AppArmor,
    /// A seccomp filter, as container engines install it.
    Seccomp,
    /// A security module other than AppArmor denied the mount.
    SecurityModule,
    /// The process runs in a chroot: no user namespace may be made there (`user_namespaces(7)`).
    Chroot,
    /// As [`Cause::Chroot`] onto a mount point, which looks like a root from within, or a security
    /// module's rule: the kernel answers both alike (`create_user_ns` in `kernel/user_namespace.c`).
    ChrootOrModule,
    /// The user has no id in the user namespace that the process is in.
    UnmappedId,
    /// `/proc` is not mounted, so the ids cannot be mapped.
    NoProc,
    /// The process has more than one thread.
    Threads,
    /// Too many namespaces exist, or they are nested too deeply.
    Limit,
    /// The kernel was built without what is needed.
    Kernel,
    /// None of the known reasons.
    Unknown,
}

/// A refusal in words: prints its reason and remedy in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What stands in the way.
    pub cause: Cause,
    detail: Option<String>,
}

impl Refusal {
    pub(crate) fn of(cause: Cause) -> Refusal {
        Refusal { cause, detail: None }
    }

    pub(crate) fn unknown(detail: String) -> Refusal {
        Refusal { cause: Cause::Unknown, detail: Some(detail) }
    }

    /// Why, as a clause.
    pub fn reason(&self) -> &str {
        let known = match self.cause {
            Cause::UserNamespacesOff => "user namespaces are switched off (user.max_user_namespaces is 0)",
            Cause::UnprivilegedCloneOff => "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0)",
            Cause::AppArmor => "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
            Cause::Seccomp => "a seccomp filter, as containers have it, refuses namespaces",
            Cause::SecurityModule => "a security module denies the mount",
            Cause::Chroot => "the process runs in a chroot, where the kernel makes no user namespace",
            Cause::ChrootOrModule => "the process runs in a chroot, or a security module forbids user namespaces",
            Cause::UnmappedId => "the user has no id in the user namespace that the process is in",
            Cause::NoProc => "/proc is not mounted",
            Cause::Threads => "the calling process has more than one thread",
            Cause::Limit => "there are too many namespaces, or they are nested too deeply",
            Cause::Kernel => "the kernel was built without namespaces",
            Cause::Unknown => "the kernel does not say why",
        };
        self.detail.as_deref().unwrap_or(known)
    }

    /// What can be done, as a clause.
    pub fn remedy(&self) -> &'static str {
        match self.cause {
            Cause::UserNamespacesOff => "as root: sysctl -w user.max_user_namespaces=15000",
            Cause::UnprivilegedCloneOff => "as root: sysctl -w kernel.unprivileged_userns_clone=1",
            Cause::AppArmor => {
                "as root: give xeno an AppArmor profile that says `userns,`, \
                 or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Cause::Seccomp => {
                "start the container with a profile that allows unshare and mount \
                 (such as --security-opt seccomp=unconfined), or run outside of it"
            }
            Cause::SecurityModule => "ask its audit log for the rule, or run outside its confinement",
            Cause::Chroot => "enter that tree with pivot_root (bwrap, systemd-nspawn) instead of chroot",
            Cause::ChrootOrModule => {
                "enter that tree with pivot_root (bwrap, systemd-nspawn) instead of chroot, or ask the module's audit log for the rule"
            }
            Cause::UnmappedId => "map it when that namespace is made (unshare --map-current-user)",
            Cause::NoProc => "mount it: mount -t proc proc /proc",
            Cause::Threads => "enter before starting threads",
            Cause::Limit => "raise user.max_user_namespaces and user.max_mnt_namespaces, or nest less",
            Cause::Kernel => "use a kernel with CONFIG_USER_NS, CONFIG_NAMESPACES and CONFIG_TMPFS",
            Cause::Unknown => "run as root, or run the program without a private root",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason(), self.remedy())
    }
}

impl std::error::Error for Refusal {}

/// What the judgement rests on. `None` where the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) proc_mounted: bool,
    pub(crate) user_namespaces_built: bool,
    pub(crate) max_user_namespaces: Option<u64>,
    pub(crate) unprivileged_clone: Option<u64>,
    pub(crate) apparmor_restricts: Option<u64>,
    /// `Seccomp:` of `/proc/self/status`; 2 is a filter.
    pub(crate) seccomp: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// Whether `/proc/self/uid_map` has the effective user id.
    pub(crate) id_mapped: Option<bool>,
    /// Whether no mount is listed at `/`: the root directory is then no mount point.
    pub(crate) root_is_no_mount: bool,
}

impl Facts {
    pub(crate) fn gather() -> Facts {
        let number = |path| sys::read_kernel_file(path)?.trim().parse().ok();
        let status = sys::read_kernel_file("/proc/self/status");
        let field = |name: &str| {
            let mut lines = status.as_deref()?.lines();
            lines.find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        // One table of at most 1 MiB, after a failure: never read on the way in.
        let mounts = sys::read_kernel_file("/proc/self/mountinfo");
        Facts {
            proc_mounted: sys::exists("/proc/self/status"),
            user_namespaces_built: sys::exists("/proc/self/ns/user"),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: field("Seccomp:"),
            threads: field("Threads:"),
            id_mapped: sys::read_kernel_file("/proc/self/uid_map").map(|map| has_id(&map, sys::effective_ids().0)),
            root_is_no_mount: mounts.is_some_and(|table| !table.lines().any(|line| line.split(' ').nth(4) == Some("/"))),
        }
    }
}

/// Whether a map of `user_namespaces(7)` has an id: first id inside, first id outside, count.
fn has_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (first, count) = (numbers.next().flatten(), numbers.nth(1).flatten());
        first.zip(count).is_some_and(|(first, count)| u64::from(id).checked_sub(first).is_some_and(|into| into < count))
    })
}

/// Why this step was answered so; `None` where the failure is no refusal but a fault of its
/// operands (a file that vanished, a full memory).
pub(crate) fn judge(facts: &Facts, op: &Op, errno: Errno) -> Option<Refusal> {
    let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
    let off = |value: Option<u64>| value == Some(0);
    let filtered = facts.seccomp == Some(2);
    let cause = match op {
        Op::Unshare { user } => match errno {
            _ if *user && off(facts.max_user_namespaces) => Cause::UserNamespacesOff,
            Errno::EINVAL if facts.threads.is_some_and(|n| n > 1) => Cause::Threads,
            Errno::EINVAL if facts.proc_mounted && !facts.user_namespaces_built => Cause::Kernel,
            Errno::ENOSPC | Errno::EUSERS => Cause::Limit,
            // No kernel that can start this program lacks unshare(2) itself.
            Errno::ENOSYS => Cause::Seccomp,
            Errno::EPERM if *user && facts.id_mapped == Some(false) => Cause::UnmappedId,
            Errno::EPERM if *user && off(facts.unprivileged_clone) => Cause::UnprivilegedCloneOff,
            Errno::EPERM if *user && facts.root_is_no_mount => Cause::Chroot,
            _ if refused && filtered => Cause::Seccomp,
            _ if refused && facts.apparmor_restricts == Some(1) => Cause::AppArmor,
            Errno::EPERM if *user => Cause::ChrootOrModule,
            _ => Cause::Unknown,
        },
        Op::DenySetgroups | Op::MapUser(_) | Op::MapGroup(_) => match errno {
            _ if !facts.proc_mounted => Cause::NoProc,
            _ if refused && facts.apparmor_restricts == Some(1) => Cause::AppArmor,
            _ => Cause::Unknown,
        },
        Op::Slave if errno == Errno::EINVAL => Cause::Chroot,
        Op::Stack if errno == Errno::ENODEV => Cause::Kernel,
        Op::Slave | Op::Stack | Op::Bind { .. } | Op::ReadOnly(_) | Op::ChangeRoot | Op::PivotRoot if refused || errno == Errno::ENOSYS => {
            match () {
                () if facts.apparmor_restricts == Some(1) => Cause::AppArmor,
                () if filtered => Cause::Seccomp,
                () => Cause::SecurityModule,
            }
        }
        _ => return None,
    };
    Some(Refusal { cause, detail: None })
}

const ANY: &[&str] = &["top-level directories that the host makes later are not seen"];
const ORDINARY: &[&str] = &[
    "files of other owners show as nobody's, and supplementary groups as 65534",
    "setuid programs started as children stay unprivileged (sudo, fusermount)",
    "git and ssh may object to the ownership of files",
    "top-level directories that the host makes later are not seen",
];

/// What a program loses in a private root: sentences without a full stop, for people.
/// An ordinary user, who needs a user namespace, loses more than root.
pub fn losses(user_namespace: bool) -> &'static [&'static str] {
    if user_namespace { ORDINARY } else { ANY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Facts {
        Facts { proc_mounted: true, user_namespaces_built: true, threads: Some(1), ..Facts::default() }
    }

    fn cause(facts: &Facts, op: &Op, errno: Errno) -> Option<Cause> {
        judge(facts, op, errno).map(|r| r.cause)
    }

    const UNSHARE: Op = Op::Unshare { user: true };

    #[test]
    fn a_zero_limit_is_named_before_anything_else() {
        let facts = Facts { max_user_namespaces: Some(0), seccomp: Some(2), ..plain() };
        assert_eq!(cause(&facts, &UNSHARE, Errno::ENOSPC), Some(Cause::UserNamespacesOff));
        let text = judge(&facts, &UNSHARE, Errno::ENOSPC).unwrap().to_string();
        assert_eq!(
            text,
            "user namespaces are switched off (user.max_user_namespaces is 0); \
             as root: sysctl -w user.max_user_namespaces=15000"
        );
    }

    #[test]
    fn ubuntus_restriction_is_named_at_whichever_step_it_bites() {
        let facts = Facts { apparmor_restricts: Some(1), ..plain() };
        for op in [UNSHARE, Op::DenySetgroups, Op::MapUser(1000), Op::Stack] {
            for errno in [Errno::EPERM, Errno::EACCES] {
                assert_eq!(cause(&facts, &op, errno), Some(Cause::AppArmor), "{op}: {errno}");
            }
        }
    }

    #[test]
    fn a_filter_is_blamed_only_for_a_refusal() {
        let facts = Facts { seccomp: Some(2), ..plain() };
        assert_eq!(cause(&facts, &UNSHARE, Errno::EPERM), Some(Cause::Seccomp));
        assert_eq!(cause(&plain(), &UNSHARE, Errno::ENOSYS), Some(Cause::Seccomp));
        assert_eq!(cause(&facts, &UNSHARE, Errno::ENOMEM), Some(Cause::Unknown));
    }

    #[test]
    fn the_remaining_causes_follow_from_errno_and_facts() {
        let clone_off = Facts { unprivileged_clone: Some(0), ..plain() };
        let chroot = Facts { root_is_no_mount: true, ..plain() };
        let threads = Facts { threads: Some(3), ..plain() };
        let not_built = Facts { user_namespaces_built: false, ..plain() };
        let unmapped = Facts { id_mapped: Some(false), ..plain() };
        let no_proc = Facts::default();
        let rows = [
            (&clone_off, &UNSHARE, Errno::EPERM, Cause::UnprivilegedCloneOff),
            (&chroot, &UNSHARE, Errno::EPERM, Cause::Chroot),
            (&chroot, &Op::Slave, Errno::EINVAL, Cause::Chroot),
            (&threads, &UNSHARE, Errno::EINVAL, Cause::Threads),
            (&not_built, &UNSHARE, Errno::EINVAL, Cause::Kernel),
            (&no_proc, &Op::DenySetgroups, Errno::ENOENT, Cause::NoProc),
            (&plain(), &UNSHARE, Errno::EUSERS, Cause::Limit),
            (&plain(), &Op::Stack, Errno::EACCES, Cause::SecurityModule),
            (&unmapped, &UNSHARE, Errno::EPERM, Cause::UnmappedId),
            (&plain(), &UNSHARE, Errno::EPERM, Cause::ChrootOrModule),
            (&plain(), &Op::Unshare { user: false }, Errno::EPERM, Cause::Unknown),
        ];
        for (facts, op, errno, expected) in rows {
            assert_eq!(cause(facts, op, errno), Some(expected), "{op}: {errno}");
        }
    }

    #[test]
    fn an_id_is_mapped_from_the_first_to_before_the_end_of_a_range() {
        let map = "         0       1000          1\n       100     100000        50\n";
        let found: Vec<u32> = [0, 1, 99, 100, 149, 150].into_iter().filter(|id| has_id(map, *id)).collect();
        assert_eq!(found, [0, 100, 149]);
        assert!(has_id("0 0 4294967295", 4711));
        assert!(!has_id("", 65534));
    }

    #[test]
    fn a_missing_file_is_no_refusal() {
        let bind = Op::carried("/a");
        assert_eq!(cause(&plain(), &bind, Errno::ENOENT), None);
    }
}
