//! What becomes of a start that goes wrong: refused by the system, failing or killed at any of its system calls. It
//! says so, it ends, and nothing of it stays: whoever waits for its output sees the end of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use nix::libc;
use scene::{Scene, has};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};

fn scenes() -> Vec<Scene> {
    scene::scenes("start")
}

/// Everything a start can be asked for, and the least.
const KINDS: [&[&str]; 3] = [
    &[
        "--pid",
        "--net",
        "--uts",
        "--ipc",
        "--host-name",
        "a",
        "--user",
        "--uid",
        "7",
        "--tmpfs",
        "/dev",
        "--dev",
        "/dev",
        "--only",
        "",
        "--new-session",
    ],
    &["--supervised"],
    &[],
];
const TREE: [&str; 15] = [
    "--bind", "/usr", "/usr", "--bind", "/lib", "/lib", "--bind", "/lib64", "/lib64", "--bind", "/bin", "/bin", "--bind", "/proc", "/proc",
];
/// The system calls of all machines have smaller numbers.
const CALLS: std::ops::Range<i64> = 0..475;

fn start(scene: &Scene) -> Command {
    let mut command = scene.command("timeout");
    command.args(["-v", "-k", "1", "60"]).arg(scene.path("start")).args(TREE).args(["--chdir", "/"]);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether timeout(1) had to end it.
fn hangs(stderr: &[u8]) -> bool {
    text(stderr).contains("timeout: sending signal")
}

#[test]
fn any_system_call_that_fails_ends_the_start_or_does_not_matter() {
    for scene in scenes() {
        let mut refused = 0;
        let all = CALLS.flat_map(|number| KINDS.map(|kind| (number, kind, libc::EPERM)));
        for (number, kind, errno) in all.chain(CALLS.map(|number| (number, KINDS[0], libc::ENOSYS))) {
            let call = format!("{number}:{errno}");
            let mut command = start(&scene);
            command.args(kind).args(["--refuse", &call, "--", "/bin/echo", "ran"]);
            let Output { status, stdout, stderr } = command.output().unwrap();
            let (out, err) = (text(&stdout), text(&stderr));
            let context = format!("{} {kind:?} {call}: {status} {out} {err}", scene.who);
            assert!(!hangs(&stderr), "{context}");
            // A program that cannot even write has run, too.
            let ran = out == "ran\n" || !err.starts_with("start: ") && !status.success();
            let said = err.starts_with("start: starting the sandbox: ") && status.code() == Some(125);
            refused += i32::from(said);
            assert!(status.success() && out == "ran\n" || ran || said || err.contains("os error"), "{context}");
        }
        assert!(refused > 30, "{}: {refused}", scene.who);
    }
}

#[test]
fn any_system_call_that_kills_ends_everything() {
    for scene in scenes() {
        for number in CALLS {
            let call = format!("{number}:0");
            for kind in KINDS {
                let mut command = start(&scene);
                command.args(kind).args(["--refuse", &call, "--", "/bin/echo", "ran"]);
                let Output { status, stdout, stderr } = command.output().unwrap();
                let context = format!("{} {kind:?} {call}: {status} {} {}", scene.who, text(&stdout), text(&stderr));
                assert!(!hangs(&stderr), "{context}");
                assert!(status.success() == (text(&stdout) == "ran\n") || stdout.is_empty() || !status.success(), "{context}");
            }
        }
    }
}

/// Each system call of a trace, by its name and how often its process has made it by then.
fn calls(trace: &str) -> BTreeSet<(String, usize)> {
    let mut counts = BTreeMap::new();
    let named = trace.lines().filter_map(|line| {
        let mut words = line.split_whitespace().peekable();
        // With -f a line begins with the process id.
        let pid = words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or("");
        let (name, _) = words.next()?.split_once('(')?;
        let count = counts.entry((pid.to_owned(), name.to_owned())).and_modify(|n| *n += 1).or_insert(1);
        Some((name.to_owned(), *count))
    });
    named.collect()
}

/// Starts what says `late` after a while, and kills at each of its system calls: every process that makes it with
/// `-f`, else the monitor. What is said afterwards is said by what was left.
fn killed_at_every_call(options: &[&str], kind: &[&str], program: &str) {
    if !has("strace") {
        return;
    }
    for scene in scenes() {
        let (trace, said) = (scene.path("trace"), scene.path("said"));
        let traced = |more: &[&str]| {
            let mut command = scene.command("timeout");
            command.args(["-v", "-k", "1", "60", "strace", "-qq"]).args(options).args(more).arg(scene.path("start"));
            command.args(TREE).args(["--chdir", "/"]).args(kind).args(["--", "/bin/sh", "-c", program]);
            command.stdout(fs::File::create(&said).unwrap()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut errors = child.stderr.take().unwrap();
            let status = child.wait().unwrap();
            let before = fs::read_to_string(&said).unwrap();
            let mut stderr = Vec::new();
            // It ends when nobody is left who could write to it.
            errors.read_to_end(&mut stderr).unwrap();
            let context = format!("{} {kind:?} {more:?}: {status} {}", scene.who, text(&stderr));
            assert!(!hangs(&stderr), "{context}");
            assert_eq!(fs::read_to_string(&said).unwrap(), before, "said by what was left: {context}");
            status.success()
        };
        assert!(traced(&["-o", &trace.display().to_string()]));
        let calls = calls(&fs::read_to_string(&trace).unwrap());
        // How often a monitor is woken up differs.
        let killed = calls.iter().filter(|(name, count)| {
            let inject = format!("inject={name}:signal=KILL:when={count}");
            !traced(&["-o", "/dev/null", "-e", &inject])
        });
        let killed = killed.count();
        assert!(killed > 40, "{}: {killed} of {}", scene.who, calls.len());
    }
}

#[test]
fn a_monitor_that_is_killed_at_any_moment_leaves_nothing() {
    for kind in KINDS.into_iter().take(2) {
        killed_at_every_call(&[], kind, "/bin/sleep 0.3; echo late");
    }
}

#[test]
fn processes_that_are_killed_at_any_moment_end_the_others() {
    for kind in KINDS {
        killed_at_every_call(&["-f"], kind, "echo late");
    }
}

#[test]
fn a_refusal_is_explained() {
    let seccomp = "Operation not permitted: a seccomp filter, as containers have it, refuses namespaces; start the container \
                   with a profile that allows unshare and mount (such as --security-opt seccomp=unconfined), or run outside of it";
    for scene in scenes() {
        let user = if scene.who == "root" { "" } else { "user " };
        for (options, call, state) in [(&["--pid"][..], libc::SYS_clone, "Untouched"), (&[], libc::SYS_unshare, "Untouched")] {
            let Output { stderr, .. } =
                start(&scene).args(options).args(["--refuse", &format!("{call}:1"), "--", "/bin/true"]).output().unwrap();
            let pid = if options.is_empty() { "" } else { " pid" };
            let expected = format!("start: starting the sandbox: new namespaces: {user}mount{pid}: {seccomp} [{state}]\n");
            assert_eq!(text(&stderr), expected, "{}", scene.who);
        }
    }
}

#[test]
fn a_limit_of_zero_user_namespaces_is_named() {
    if !has("unshare") || !has("setpriv") {
        return;
    }
    for scene in scenes() {
        // In a user namespace of its own the limit is its own too; without CAP_SYS_ADMIN even id 0 needs another.
        let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin ./start --pid -- /bin/true";
        let Output { stderr, .. } = scene.command("unshare").args(["-Ur", "/bin/sh", "-c", script]).output().unwrap();
        let expected = "start: starting the sandbox: new namespaces: user mount pid: No space left on device: user namespaces are \
                        switched off (user.max_user_namespaces is 0); as root: sysctl -w user.max_user_namespaces=15000 [Untouched]\n";
        assert_eq!(text(&stderr), expected, "{}", scene.who);
    }
}
