//! What is promised on which kernel: a table of kernels that are written down, not asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fhs_env::policy::{Asked, Enforcement, KernelFacts, Machine, Measure, Profile, Terminal, TerminalFacts};
use fhs_env::{Cause, Namespaces, Want};

/// A recent kernel with everything, asked by an ordinary user.
fn recent() -> KernelFacts {
    KernelFacts {
        machine: Some(Machine::X86_64),
        seccomp: true,
        landlock: 7,
        namespaces: ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"].map(str::to_owned).to_vec(),
        may_mount: false,
        user_namespaces_refused: None,
        terminal_input: true,
        bus_proxy: Some("/usr/bin/xdg-dbus-proxy".into()),
    }
}

/// A sandbox that wants everything.
fn everything() -> Asked {
    Asked {
        namespaces: Namespaces { user: Want::Yes, ipc: true, pid: true, net: true, uts: true, cgroup: Want::Try },
        profile: Profile::FlatpakLike,
        multiarch: false,
        socket_calls_refused: false,
        files: true,
        scoped: true,
        terminal: Terminal::Proxy,
        bus: true,
    }
}

fn gaps(asked: &Asked, facts: &KernelFacts) -> Vec<String> {
    Enforcement::judge(asked, facts).gaps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_recent_kernel_keeps_every_promise() {
    let judged = Enforcement::judge(&everything(), &recent());
    assert_eq!(judged.gaps, []);
    assert!(judged.required().is_ok());
    let kept: Vec<String> = judged.kept.iter().map(ToString::to_string).collect();
    assert_eq!(
        kept,
        [
            "hiding the host's files",
            "a pid namespace of its own",
            "a net namespace of its own",
            "a ipc namespace of its own",
            "a uts namespace of its own",
            "a cgroup namespace of its own",
            "refusing system calls (flatpak-like)",
            "refusing rare families of sockets",
            "restricting files by landlock",
            "restricting device control by landlock",
            "keeping abstract sockets of the host away",
            "keeping signals from processes of the host",
            "keeping input from the caller's terminal",
            "sharing the session bus through a filter",
        ]
    );
}

#[test]
fn what_is_not_asked_is_neither_kept_nor_missing() {
    let judged =
        Enforcement::judge(&Asked { profile: Profile::None, ..Asked::default() }, &KernelFacts { landlock: 0, seccomp: false, ..recent() });
    assert_eq!((judged.kept, judged.gaps), (vec![Measure::Hiding], vec![]));
}

#[test]
fn every_gap_says_why_and_what_to_do() {
    let no_net = Asked { namespaces: Namespaces { net: false, ..everything().namespaces }, ..everything() };
    let rows: &[(&str, Asked, KernelFacts, &[&str])] = &[
        (
            "old landlock, network shared",
            no_net,
            KernelFacts { landlock: 4, ..recent() },
            &[
                "not enforced: restricting device control by landlock: the kernel has landlock 4 and this needs 5; use Linux 6.10 or later, with landlock in its lsm= list",
                "not enforced: keeping abstract sockets of the host away: the kernel has landlock 4 and this needs 6; use Linux 6.12 or later, with landlock in its lsm= list, or start it without the network",
            ],
        ),
        (
            "no landlock",
            everything(),
            KernelFacts { landlock: 0, ..recent() },
            &[
                "not enforced: restricting files by landlock: the kernel has no landlock, or it is switched off; use Linux 6.2 or later, with landlock in its lsm= list",
                "not enforced: restricting device control by landlock: the kernel has no landlock, or it is switched off; use Linux 6.10 or later, with landlock in its lsm= list",
            ],
        ),
        (
            "32-bit programs",
            Asked { multiarch: true, ..everything() },
            recent(),
            &[
                "not enforced: refusing rare families of sockets: 32-bit calls can make any by socketcall; require it, which keeps most 32-bit programs from any socket",
            ],
        ),
        (
            "32-bit programs whose socketcall is refused",
            Asked { multiarch: true, socket_calls_refused: true, ..everything() },
            recent(),
            &[],
        ),
        (
            "32-bit programs where they have no socketcall",
            Asked { multiarch: true, ..everything() },
            KernelFacts { machine: Some(Machine::Aarch64), ..recent() },
            &[],
        ),
        (
            "no filters",
            Asked { terminal: Terminal::Filter, ..everything() },
            KernelFacts { seccomp: false, ..recent() },
            &[
                "not enforced: refusing system calls (flatpak-like): the kernel takes no seccomp filters; use one with CONFIG_SECCOMP_FILTER",
                "not enforced: refusing rare families of sockets: the kernel takes no seccomp filters; use one with CONFIG_SECCOMP_FILTER",
                "not enforced: keeping input from the caller's terminal: the kernel takes no seccomp filters; use one with CONFIG_SECCOMP_FILTER",
            ],
        ),
        (
            "another machine",
            everything(),
            KernelFacts { machine: None, ..recent() },
            &[
                "not enforced: refusing system calls (flatpak-like): the system calls of this machine are not known; choose the profile none",
                "not enforced: refusing rare families of sockets: the system calls of this machine are not known; choose the profile none",
            ],
        ),
        (
            "no user namespaces",
            Asked { namespaces: Namespaces { pid: true, ..Namespaces::default() }, profile: Profile::None, ..Asked::default() },
            KernelFacts { user_namespaces_refused: Some(Cause::UserNamespacesOff), ..recent() },
            &[
                "not enforced: hiding the host's files: user namespaces are switched off (user.max_user_namespaces is 0); as root: sysctl -w user.max_user_namespaces=15000",
                "not enforced: a pid namespace of its own: user namespaces are switched off (user.max_user_namespaces is 0); as root: sysctl -w user.max_user_namespaces=15000",
            ],
        ),
        (
            "no user namespaces, but root needs none",
            Asked { namespaces: Namespaces { pid: true, ..Namespaces::default() }, profile: Profile::None, ..Asked::default() },
            KernelFacts { user_namespaces_refused: Some(Cause::UserNamespacesOff), may_mount: true, ..recent() },
            &[],
        ),
        (
            "no cgroup namespaces",
            everything(),
            KernelFacts { namespaces: ["user", "mnt", "pid", "net", "ipc", "uts"].map(str::to_owned).to_vec(), ..recent() },
            &["not enforced: a cgroup namespace of its own: the kernel was built without it; use another kernel"],
        ),
        (
            "no filter for the bus",
            everything(),
            KernelFacts { bus_proxy: None, ..recent() },
            &[
                "not enforced: sharing the session bus through a filter: xdg-dbus-proxy is not installed; install it, or the session bus is not shared",
            ],
        ),
        (
            "a shared terminal",
            Asked { terminal: Terminal::Shared, ..everything() },
            recent(),
            &[
                "not enforced: keeping input from the caller's terminal: it is shared as it is; let it have a terminal or a session of its own",
            ],
        ),
        (
            "a shared terminal that takes no input",
            Asked { terminal: Terminal::Shared, ..everything() },
            KernelFacts { terminal_input: false, ..recent() },
            &[],
        ),
    ];
    for (name, asked, facts, expected) in rows {
        assert_eq!(gaps(asked, facts), *expected, "{name}");
        assert_eq!(Enforcement::judge(asked, facts).required().is_ok(), expected.is_empty(), "{name}");
    }
}

#[test]
fn what_is_required_and_missing_is_one_line() {
    let error = Enforcement::judge(&everything(), &KernelFacts { bus_proxy: None, ..recent() }).required().unwrap_err();
    assert_eq!(
        error.to_string(),
        "starting the sandbox: not all that is required can be enforced: not enforced: sharing the session bus through a filter: \
         xdg-dbus-proxy is not installed; install it, or the session bus is not shared"
    );
}

#[test]
fn whoever_types_gets_a_terminal_of_their_own() {
    let facts = |interactive, any, filters| TerminalFacts { interactive, any, filters };
    assert_eq!(Terminal::choose(facts(true, true, true)), Terminal::Proxy);
    assert_eq!(Terminal::choose(facts(true, true, false)), Terminal::Proxy);
    assert_eq!(Terminal::choose(facts(false, true, true)), Terminal::Filter);
    assert_eq!(Terminal::choose(facts(false, true, false)), Terminal::NewSession);
    assert_eq!(Terminal::choose(facts(false, false, true)), Terminal::Absent);
}

#[test]
fn this_system_is_asked_without_a_change() {
    let facts = KernelFacts::gather(std::env::var_os("PATH").as_deref());
    assert!(facts.namespaces.contains(&"mnt".to_owned()));
    assert_eq!(facts, KernelFacts::gather(std::env::var_os("PATH").as_deref()));
    assert_eq!(KernelFacts::gather(None).bus_proxy, None);
}
