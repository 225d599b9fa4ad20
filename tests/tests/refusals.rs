//! Machines that refuse namespaces, each made on purpose: every command names the reason and what to do about it,
//! and `xeno run` starts the program another way, saying what that loses.
//! Everything is done as an ordinary user, who is root of a namespace for as long as the machine is being made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fhs_real;
mod support;

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Output};
use support::{Rung, Scene, USER, both_streams, is_root, succeeds};
use xeno_tests::{peer, repository};

/// A way to refuse.
struct Way {
    name: &'static str,
    how: How,
    /// What xeno has to say about it.
    reason: &'static str,
    remedy: &'static str,
}

enum How {
    /// A shell script that ends in the command `"$@"`, started by an ordinary user.
    Script(&'static str),
    /// These system calls fail so in the command and all it starts.
    Filter(&'static [nix::libc::c_long], i32),
}

/// id 0 without this capability is as little allowed to mount as anybody.
const WITHOUT: &str = "setpriv --bounding-set=-sys_admin";

const MOUNTS: &[nix::libc::c_long] = &[
    nix::libc::SYS_mount,
    nix::libc::SYS_fsopen,
    nix::libc::SYS_fsmount,
    nix::libc::SYS_open_tree,
    nix::libc::SYS_move_mount,
    nix::libc::SYS_mount_setattr,
];

/// As the default filters of container engines do it, without the right to make namespaces.
const CONTAINER: &[nix::libc::c_long] = &[
    nix::libc::SYS_unshare,
    nix::libc::SYS_setns,
    nix::libc::SYS_clone,
    nix::libc::SYS_mount,
    nix::libc::SYS_umount2,
    nix::libc::SYS_pivot_root,
    nix::libc::SYS_fsopen,
    nix::libc::SYS_fsmount,
    nix::libc::SYS_open_tree,
    nix::libc::SYS_move_mount,
    nix::libc::SYS_mount_setattr,
];

const FILTERED: (&str, &str) = (
    "a seccomp filter, as containers have it, refuses namespaces",
    "start the container with a profile that allows unshare and mount (such as --security-opt seccomp=unconfined), or run outside of it",
);

const WAYS: &[Way] = &[
    Way { name: "a container's filter", how: How::Filter(CONTAINER, nix::libc::EPERM), reason: FILTERED.0, remedy: FILTERED.1 },
    Way {
        name: "a filter that knows no unshare",
        how: How::Filter(&[nix::libc::SYS_unshare], nix::libc::ENOSYS),
        reason: FILTERED.0,
        remedy: FILTERED.1,
    },
    Way { name: "a filter against mounts alone", how: How::Filter(MOUNTS, nix::libc::EPERM), reason: FILTERED.0, remedy: FILTERED.1 },
    Way {
        name: "no user namespaces",
        how: How::Script("exec unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec $0 \"$@\"' \"$WITHOUT\" \"$@\""),
        reason: "user namespaces are switched off (user.max_user_namespaces is 0)",
        remedy: "as root: sysctl -w user.max_user_namespaces=15000",
    },
    Way {
        name: "one user namespace, which is taken",
        how: How::Script(
            "exec unshare -Ur sh -c 'echo 1 >/proc/sys/user/max_user_namespaces && exec unshare -Ur $0 \"$@\"' \"$WITHOUT\" \"$@\"",
        ),
        reason: "there are too many namespaces, or they are nested too deeply",
        remedy: "raise user.max_user_namespaces and user.max_mnt_namespaces, or nest less",
    },
    Way {
        name: "as deep as the kernel lets us",
        how: How::Script(
            "echo 'unshare -Ur true 2>/dev/null || exec $WITHOUT \"$@\"; exec unshare -Ur sh \"$0\" \"$@\"' >deeper && exec sh \"$PWD/deeper\" \"$@\"",
        ),
        reason: "there are too many namespaces, or they are nested too deeply",
        remedy: "raise user.max_user_namespaces and user.max_mnt_namespaces, or nest less",
    },
    Way {
        name: "an id that is not mapped",
        how: How::Script("exec unshare -U \"$@\""),
        reason: "the user has no id in the user namespace that the process is in",
        remedy: "map it when that namespace is made (unshare --map-current-user)",
    },
    Way {
        name: "a chroot",
        how: How::Script(
            "exec unshare -Urm sh -c 'mkdir -p root && for top in /*; do
                if [ -L $top ]; then cp -P $top root/; elif [ -d $top ]; then mkdir -p root$top && mount --rbind $top root$top; fi || exit 9
             done; exec chroot root $0 \"$@\"' \"$WITHOUT\" \"$@\"",
        ),
        reason: "the process runs in a chroot, where the kernel makes no user namespace",
        remedy: "enter that tree with pivot_root (bwrap, systemd-nspawn) instead of chroot",
    },
    Way {
        name: "a chroot onto a mount point",
        how: How::Script(
            "exec unshare -Urm sh -c 'mkdir -p root && mount --rbind / root && exec chroot root $0 \"$@\"' \"$WITHOUT\" \"$@\"",
        ),
        reason: "the process runs in a chroot, or a security module forbids user namespaces",
        remedy: "enter that tree with pivot_root (bwrap, systemd-nspawn) instead of chroot, or ask the module's audit log for the rule",
    },
    // Two switches that this kernel does not have are files that say so, and the refusal is a chroot's.
    Way {
        name: "a kernel with unprivileged_userns_clone",
        how: How::Script(
            "exec unshare -Urm sh -c 'mount -t tmpfs none /proc/sys/kernel && echo 0 >/proc/sys/kernel/unprivileged_userns_clone &&
             mkdir -p root && mount --rbind / root && exec chroot root $0 \"$@\"' \"$WITHOUT\" \"$@\"",
        ),
        reason: "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0)",
        remedy: "as root: sysctl -w kernel.unprivileged_userns_clone=1",
    },
    Way {
        name: "AppArmor",
        how: How::Script(
            "exec unshare -Urm sh -c 'mount -t tmpfs none /proc/sys/kernel &&
             echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns &&
             mkdir -p root && mount --rbind / root && exec chroot root $0 \"$@\"' \"$WITHOUT\" \"$@\"",
        ),
        reason: "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
        remedy: "as root: give xeno an AppArmor profile that says `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    },
    Way {
        name: "no /proc",
        how: How::Script("exec unshare -Urm sh -c 'mount -t tmpfs none /proc && exec $0 \"$@\"' \"$WITHOUT\" \"$@\""),
        reason: "/proc is not mounted",
        remedy: "mount it: mount -t proc proc /proc",
    },
];

/// The scene of an ordinary user; `None`, with a skip, where there can be none or a tool is missing.
fn scene() -> Option<Scene> {
    if let Err(refusal) = fhs_env::probe() {
        xeno_tests::skip(&refusal.to_string());
        return None;
    }
    (peer("unshare").is_some() && peer("setpriv").is_some()).then_some(())?;
    Scene::new(is_root().then_some(USER))
}

/// `xeno WORDS…` on a machine that refuses so.
fn on(scene: &Scene, way: &Way, words: &[&str]) -> Output {
    match way.how {
        How::Script(script) => {
            let place = tempfile::Builder::new().prefix("way-").tempdir_in(scene.path("")).unwrap();
            chown(place.path(), scene.user, scene.user).unwrap();
            let mut command = scene.command("/bin/sh");
            command.current_dir(place.path()).env("WITHOUT", WITHOUT).env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
            command.args(["-c", script, "sh"]).arg(scene.xeno()).args(words).output().unwrap()
        }
        How::Filter(calls, errno) => filtered(calls, errno, || scene.say(words).output().unwrap()),
    }
}

/// Does the work in a thread for whose system calls, and those of its children, the filter holds.
fn filtered<T: Send>(calls: &[nix::libc::c_long], errno: i32, work: impl FnOnce() -> T + Send) -> T {
    // clone(2) makes processes too; only its namespaces are refused. Their flags are in its first argument.
    let namespaces: Vec<SeccompRule> = [nix::libc::CLONE_NEWUSER, nix::libc::CLONE_NEWNS]
        .map(|flag| u64::try_from(flag).unwrap())
        .map(|flag| SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag).unwrap())
        .map(|condition| SeccompRule::new(vec![condition]).unwrap())
        .into();
    let rules: BTreeMap<_, _> =
        calls.iter().map(|call| (*call, if *call == nix::libc::SYS_clone { namespaces.clone() } else { Vec::new() })).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let errno = SeccompAction::Errno(u32::try_from(errno).unwrap());
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).unwrap().try_into().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            apply_filter(&filter).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn doctor_names_the_reason_and_the_remedy_and_what_still_works() {
    let Some(scene) = scene() else { return };
    assert!(succeeds(&mut scene.say(&["doctor"])).contains("ok     kernel       private roots can be made, so `xeno run` has every way\n"));
    for way in WAYS {
        let output = on(&scene, way, &["doctor"]);
        let said = text(&output.stdout);
        let told = format!("note   kernel       private roots are refused: {}\n                    {}", way.reason, way.remedy);
        assert!(said.contains(&told), "{}: {}", way.name, both_streams(&output));
        assert!(said.contains("\nnote   ways         `xeno env`, `xeno steam-run` and `xeno bwrap` cannot start; `xeno run` is left with"));
        assert_eq!(output.status.code(), Some(0), "{}: {}", way.name, both_streams(&output));
    }
}

#[test]
fn doctor_says_it_to_machines_too() {
    let Some(scene) = scene() else { return };
    let output = on(&scene, &WAYS[0], &["doctor", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kernel = &said["steps"][0];
    assert_eq!(kernel["step"], "kernel");
    assert_eq!(kernel["state"], "note");
    assert_eq!(kernel["text"], format!("private roots are refused: {}", FILTERED.0));
    assert_eq!(kernel["fix"], FILTERED.1);
    assert_eq!(said["starts"], true);
}

#[test]
fn doctor_names_the_program_that_the_apparmor_profile_has_to_name() {
    let Some(scene) = scene() else { return };
    let way = WAYS.iter().find(|way| way.name == "AppArmor").unwrap();
    let said = text(&on(&scene, way, &["doctor"]).stdout);
    let told = format!("; packaging/apparmor/xeno is such a profile, to name {}\n", scene.xeno().display());
    assert!(said.contains(&told), "{said}");
}

#[test]
fn run_starts_the_program_through_its_loader_and_says_why_and_what_that_loses() {
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::View, "app/bin/hello").display().to_string();
    let found_itself = format!(" exe={program} ");
    let said = succeeds(&mut scene.run(&program, &[]));
    assert!(said.starts_with("hello tls=42 ctor=1 libm=5 unwind=1 ") && said.contains(&found_itself), "{said}");
    for way in WAYS {
        let output = on(&scene, way, &["run", &program]);
        let (said, warned) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}: {}", way.name, both_streams(&output));
        // It runs, and has lost what was said.
        assert!(said.starts_with("hello tls=42 ctor=1 libm=5 unwind=1 ") && !said.contains(&found_itself), "{}: {said}", way.name);
        let told = format!("namespaces are refused: {}; {}\n", way.reason, way.remedy);
        assert!(warned.contains(&told), "{}: {warned}", way.name);
        assert!(warned.contains("started through its loader: "), "{}: {warned}", way.name);
    }
}

#[test]
fn dry_run_says_of_each_private_root_why_it_was_passed_over() {
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::View, "app/bin/hello").display().to_string();
    for way in WAYS {
        let output = on(&scene, way, &["run", "--dry-run", &program]);
        let told = format!("namespaces are refused: {}; {}\n", way.reason, way.remedy);
        assert!(text(&output.stdout).contains(&told), "{}: {}", way.name, both_streams(&output));
    }
}

#[test]
fn the_drop_in_ends_with_one_line_that_names_the_reason() {
    let Some(scene) = scene() else { return };
    for way in WAYS {
        let output = on(&scene, way, &["bwrap", "--ro-bind", "/", "/", "/bin/true"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {}", way.name, both_streams(&output));
        assert!(said.starts_with("bwrap: ") && said.lines().count() == 1, "{}: {said}", way.name);
        assert!(said.contains(&format!("{}; {}", way.reason, way.remedy)), "{}: {said}", way.name);
    }
}

#[test]
fn an_environment_ends_with_one_line_that_names_the_reason() {
    let Some(scene) = scene() else { return };
    let package = fhs_real::package(&scene, &["bash", "true"], &[]);
    fhs_real::build(&scene, "tools", &[&package]);
    succeeds(&mut scene.say(&["env", "run", "tools", "--", "true"]));
    for way in WAYS {
        let output = on(&scene, way, &["env", "run", "tools", "--", "true"]);
        let line = support::refused(way.name, &output, 126);
        assert!(line.contains(&format!("{}; {}", way.reason, way.remedy)), "{}: {line}", way.name);
    }
}

/// What a parser older than 4 does not know is left out for it, and has to be there.
#[test]
fn the_apparmor_profile_is_accepted_by_its_parser_and_allows_user_namespaces() {
    let profile = fs::read_to_string(repository().join("packaging/apparmor/xeno")).unwrap();
    let rules: Vec<&str> = profile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(
        rules,
        [
            "abi <abi/4.0>,",
            "include <tunables/global>",
            "profile xeno /{usr/,usr/local/,opt/xeno/}bin/xeno flags=(unconfined) {",
            "userns,",
            "include if exists <local/xeno>",
            "}"
        ]
    );
    let Some(parser) = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"].iter().find(|path| fs::metadata(path).is_ok()) else {
        xeno_tests::skip("apparmor_parser is not installed");
        return;
    };
    let version = succeeds(Command::new(parser).arg("--version"));
    let old = version.lines().next().is_some_and(|line| line.contains("version 2.") || line.contains("version 3."));
    let known: String = profile
        .lines()
        .filter(|line| !old || !(line.contains("userns,") || line.starts_with("abi ")))
        .fold(String::new(), |all, line| all + line + "\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("xeno");
    fs::write(&file, known).unwrap();
    let output = Command::new(parser).args(["--skip-kernel-load", "--skip-cache"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", both_streams(&output));
}
