//! What each profile refuses: one table of system calls with their numbers on five instruction sets and the
//! group each belongs to, and one of groups with the answer each profile gives. Pure; applies nothing.

use nix::errno::Errno;
use std::fmt;

/// When a call is refused. Arguments are compared on their low 32 bits, as the kernel reads what is compared
/// here: the upper half of an `ioctl` request or of a clone flag must not hide the lower (CVE-2019-10063).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If the argument has any of these bits.
    AnyBit {
        /// Which, from 0.
        argument: u8,
        /// The bits.
        mask: u32,
    },
    /// If the argument is one of these.
    OneOf {
        /// Which, from 0.
        argument: u8,
        /// The values.
        values: &'static [u32],
    },
    /// If the argument is none of these.
    NoneOf {
        /// Which, from 0.
        argument: u8,
        /// The values.
        values: &'static [u32],
    },
}

/// One refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in `syscalls(2)`.
    pub call: &'static str,
    /// Its number on the instruction set asked about.
    pub number: u32,
    /// When it is refused.
    pub when: When,
    /// What the program is told.
    pub errno: Errno,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {:?}", self.call, self.number, self.errno)?;
        let list = |f: &mut fmt::Formatter<'_>, values: &[u32]| values.iter().try_for_each(|value| write!(f, " {value:#x}"));
        match self.when {
            When::Always => Ok(()),
            When::AnyBit { argument, mask } => write!(f, " if argument {argument} has any bit of {mask:#x}"),
            When::OneOf { argument, values } => {
                write!(f, " if argument {argument} is one of")?;
                list(f, values)
            }
            When::NoneOf { argument, values } => {
                write!(f, " if argument {argument} is none of")?;
                list(f, values)
            }
        }
    }
}

/// Whose numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    X86_64,
    I386,
    Aarch64,
    Arm,
    Riscv64,
}

/// How strict a list of rules is; [`super::Profile`] is what users choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// All groups.
    Everything,
    /// Without those that a program needs to put its own children into sandboxes, and to look into them when
    /// they crash.
    NestedSandboxes,
    /// Only what puts input into a terminal.
    Terminal,
    /// Only sockets by `socketcall(2)`.
    SocketCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Of the machine: modules, other kernels, swap, accounting, quotas, its log.
    Administration,
    /// The kernel's key rings are not divided by any namespace.
    Keys,
    /// Placement in the memory of NUMA machines: tells about, and moves, what other processes share.
    Placement,
    /// Large interfaces that are rich in flaws, or that pass requests on where no filter sees them (io_uring).
    Surface,
    /// Namespaces, mounts and roots.
    Namespaces,
    /// `clone`, whose flags are an argument.
    Fork,
    /// `clone3`, whose flags lie in memory, where no filter can read them. "No such call" makes every C library
    /// fall back to `clone`.
    Fork3,
    /// The new mount interface: "no such call" makes its users fall back to `mount`.
    NewMounts,
    /// Looking into other processes.
    Tracing,
    /// Input into a terminal.
    Ioctl,
    /// Families of sockets.
    Socket,
    /// The same by `socketcall(2)`, where the family lies in memory. C libraries that run on Linux before 4.3, which is
    /// how distributions build theirs for i386, make all sockets so: refused only where that is worth it.
    SocketCall,
    /// Other systems' behaviour, and memory layouts that are easy to guess.
    Personality,
    /// Segments that only 16- and 32-bit programs use.
    Segments,
}

/// `TIOCSTI` and `TIOCLINUX` (`ioctl_tty(2)`, `ioctl_console(2)`); the same numbers on all five.
const TERMINAL_INPUT: &[u32] = &[0x5412, 0x541c];
/// `CLONE_NEWTIME` is not among them: in `clone` its bit is part of the exit signal.
const NEW_NAMESPACES: u32 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// `AF_UNSPEC`, `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`.
const FAMILIES: &[u32] = &[0, 1, 2, 10, 16];
/// `SYS_SOCKET` (`linux/net.h`).
const MAKE_SOCKET: &[u32] = &[1];
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question for the present one.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

struct Row(&'static str, [Option<u16>; 5], Group);

const fn all(name: &'static str, number: u16, group: Group) -> Row {
    Row(name, [Some(number); 5], group)
}

/// x86_64, i386, arm; and aarch64 and riscv64, which share one table (`asm-generic/unistd.h`).
const fn each(name: &'static str, x86_64: u16, i386: u16, arm: u16, generic: u16, group: Group) -> Row {
    Row(name, [Some(x86_64), Some(i386), Some(generic), Some(arm), Some(generic)], group)
}

const fn x86(name: &'static str, x86_64: u16, i386: u16, group: Group) -> Row {
    Row(name, [Some(x86_64), Some(i386), None, None, None], group)
}

const fn i386(name: &'static str, number: u16, group: Group) -> Row {
    Row(name, [None, Some(number), None, None, None], group)
}

use Group::{
    Administration, Fork, Fork3, Ioctl, Keys, Namespaces, NewMounts, Personality, Placement, Segments, Socket, SocketCall, Surface, Tracing,
};

#[rustfmt::skip]
const CALLS: &[Row] = &[
    each("syslog", 103, 103, 103, 116, Administration),
    Row("uselib", [Some(134), Some(86), None, Some(86), None], Administration),
    each("acct", 163, 51, 51, 89, Administration),
    each("quotactl", 179, 131, 131, 60, Administration),
    all("quotactl_fd", 443, Administration),
    each("swapon", 167, 87, 87, 224, Administration),
    each("swapoff", 168, 115, 115, 225, Administration),
    each("reboot", 169, 88, 88, 142, Administration),
    each("kexec_load", 246, 283, 347, 104, Administration),
    Row("kexec_file_load", [Some(320), None, Some(294), Some(401), Some(294)], Administration),
    each("init_module", 175, 128, 128, 105, Administration),
    each("finit_module", 313, 350, 379, 273, Administration),
    each("delete_module", 176, 129, 129, 106, Administration),
    each("nfsservctl", 180, 169, 169, 42, Administration),
    x86("iopl", 172, 110, Administration),
    x86("ioperm", 173, 101, Administration),
    each("add_key", 248, 286, 309, 217, Keys),
    each("request_key", 249, 287, 310, 218, Keys),
    each("keyctl", 250, 288, 311, 219, Keys),
    each("move_pages", 279, 317, 344, 239, Placement),
    each("mbind", 237, 274, 319, 235, Placement),
    each("get_mempolicy", 239, 275, 320, 236, Placement),
    each("set_mempolicy", 238, 276, 321, 237, Placement),
    all("set_mempolicy_home_node", 450, Placement),
    each("migrate_pages", 256, 294, 400, 238, Placement),
    each("bpf", 321, 357, 386, 280, Surface),
    each("userfaultfd", 323, 374, 388, 282, Surface),
    each("fanotify_init", 300, 338, 367, 262, Surface),
    each("lookup_dcookie", 212, 253, 249, 18, Surface),
    each("open_by_handle_at", 304, 342, 371, 265, Surface),
    each("perf_event_open", 298, 336, 364, 241, Surface),
    all("io_uring_setup", 425, Surface),
    all("io_uring_enter", 426, Surface),
    all("io_uring_register", 427, Surface),
    each("unshare", 272, 310, 337, 97, Namespaces),
    each("setns", 308, 346, 375, 268, Namespaces),
    each("mount", 165, 21, 21, 40, Namespaces),
    i386("umount", 22, Namespaces),
    each("umount2", 166, 52, 52, 39, Namespaces),
    each("pivot_root", 155, 217, 218, 41, Namespaces),
    each("chroot", 161, 61, 61, 51, Namespaces),
    each("clone", 56, 120, 120, 220, Fork),
    all("clone3", 435, Fork3),
    all("open_tree", 428, NewMounts),
    all("move_mount", 429, NewMounts),
    all("fsopen", 430, NewMounts),
    all("fsconfig", 431, NewMounts),
    all("fsmount", 432, NewMounts),
    all("fspick", 433, NewMounts),
    all("mount_setattr", 442, NewMounts),
    all("open_tree_attr", 467, NewMounts),
    each("ptrace", 101, 26, 26, 117, Tracing),
    each("process_vm_readv", 310, 347, 376, 270, Tracing),
    each("process_vm_writev", 311, 348, 377, 271, Tracing),
    all("pidfd_getfd", 438, Tracing),
    each("ioctl", 16, 54, 54, 29, Ioctl),
    each("socket", 41, 359, 281, 198, Socket),
    i386("socketcall", 102, SocketCall),
    each("personality", 135, 136, 136, 92, Personality),
    x86("modify_ldt", 154, 123, Segments),
    i386("vm86", 166, Segments),
    i386("vm86old", 113, Segments),
];

/// `multiarch`: 32-bit programs are welcome, and segments with them.
fn refused(group: Group, strictness: Strictness, multiarch: bool) -> Option<(When, Errno)> {
    let always = |errno| Some((When::Always, errno));
    let nested = strictness == Strictness::NestedSandboxes;
    match group {
        SocketCall if strictness == Strictness::SocketCall => Some((When::OneOf { argument: 0, values: MAKE_SOCKET }, Errno::EAFNOSUPPORT)),
        SocketCall => None,
        _ if strictness == Strictness::SocketCall => None,
        Ioctl => Some((When::OneOf { argument: 1, values: TERMINAL_INPUT }, Errno::EPERM)),
        _ if strictness == Strictness::Terminal => None,
        Namespaces | Fork | Fork3 | Tracing if nested => None,
        Segments if multiarch => None,
        Fork => Some((When::AnyBit { argument: 0, mask: NEW_NAMESPACES }, Errno::EPERM)),
        Fork3 | NewMounts => always(Errno::ENOSYS),
        Socket => Some((When::NoneOf { argument: 0, values: FAMILIES }, Errno::EAFNOSUPPORT)),
        Personality => Some((When::NoneOf { argument: 0, values: PERSONALITIES }, Errno::EPERM)),
        Administration | Keys | Placement | Surface | Namespaces | Tracing | Segments => always(Errno::EPERM),
    }
}

/// What is refused to programs of one instruction set, in the table's order.
pub(crate) fn rules(strictness: Strictness, numbers: Numbers, multiarch: bool) -> Vec<Rule> {
    let column = numbers as usize;
    let rows = CALLS.iter().filter_map(|Row(call, numbers, group)| {
        let number = u32::from((*numbers.get(column)?)?);
        let (when, errno) = refused(*group, strictness, multiarch)?;
        Some(Rule { call, number, when, errno })
    });
    rows.collect()
}
