//! What becomes of processes: who is started where with which rights, how it ends, and that nothing stays. Tried as
//! root and as an ordinary user, in processes of their own, through `examples/start.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use scene::{Scene, has, said};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

fn scenes() -> Vec<Scene> {
    scene::scenes("start")
}

/// Ends a test that would wait for ever; 124 is nothing that anything here exits with.
const PATIENCE: [&str; 4] = ["-k", "1", "-v", "60"];

impl Scene {
    fn start(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = self.command("timeout");
        command.args(PATIENCE).arg(self.path("start")).args(options).arg("--").args(program);
        command
    }

    /// With `$S` for the example.
    fn shell(&self, script: &str) -> Command {
        let mut command = self.command("timeout");
        command.args(PATIENCE).args(["/bin/sh", "-c", script]).env("S", self.path("start"));
        command
    }
}

/// What a sandbox can have of supervisors.
const SUPERVISED: [&[&str]; 3] = [&["--supervised"], &["--pid"], &["--pid", "--new-session"]];

/// A root that is not the host's: enough for a shell.
const SMALL: [&str; 18] = [
    "--bind", "/usr", "/usr", "--bind", "/lib", "/lib", "--bind", "/lib64", "/lib64", "--bind", "/bin", "/bin", "--bind", "/proc", "/proc",
    "--bind", "/tmp", "/tmp",
];

fn small<'a>(options: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().chain(options).copied().collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_status_comes_back_and_a_signal_as_128_and_its_number() {
    for scene in scenes() {
        for options in SUPERVISED.into_iter().chain([&["--pid", "--as-pid-1"][..]]) {
            for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)] {
                let done = scene.start(options, &["/bin/sh", "-c", script]).output().unwrap();
                assert_eq!(done.status.code(), Some(code), "{} {options:?} {script}: {}", scene.who, text(&done.stderr));
            }
        }
        for options in SUPERVISED {
            // 34 is a real-time signal.
            for (script, code) in [("kill -TERM $$", 143), ("kill -KILL $$", 137), ("kill -34 $$", 162)] {
                let done = scene.start(options, &["/bin/sh", "-c", script]).output().unwrap();
                assert_eq!(done.status.code(), Some(code), "{} {options:?} {script}: {}", scene.who, text(&done.stderr));
            }
        }
    }
}

#[test]
fn without_a_reason_for_a_supervisor_the_caller_becomes_the_program() {
    for scene in scenes() {
        for options in ["", "--net --ipc --uts", "--die-with-parent --new-session"] {
            // setsid(2) fails for a group leader, so the shell's child is asked for.
            let script = format!("sh -c 'echo $$; exec $S {options} -- /bin/sh -c \"echo \\$\\$\"'; true");
            let ids = said(&mut scene.shell(&script));
            let ids: Vec<&str> = ids.lines().collect();
            assert!(ids.len() == 2 && ids.first() == ids.last(), "{} {options}: {ids:?}", scene.who);
        }
        let done = scene.shell("exec $S -- /bin/sh -c 'kill -KILL $$'").output().unwrap();
        assert!(done.status.signal() == Some(9) || done.status.code() == Some(137), "{}: {:?}", scene.who, done.status);
    }
}

#[test]
fn the_program_has_an_init_unless_it_is_to_be_pid_1() {
    for scene in scenes() {
        let pid = |options: &[&str]| said(&mut scene.start(options, &["/bin/sh", "-c", "echo $$"]));
        assert_eq!(pid(&["--pid"]), "2\n", "{}", scene.who);
        assert_eq!(pid(&["--pid", "--as-pid-1"]), "1\n", "{}", scene.who);
    }
}

#[test]
fn init_reaps_what_is_left_over() {
    for scene in scenes() {
        let script = "for i in 1 2 3 4 5 6 7 8; do (true &); done; sleep 0.3; cat /proc/[0-9]*/stat | grep -c ') Z '; true";
        assert_eq!(said(&mut scene.start(&["--pid", "--proc", "/proc"], &["/bin/sh", "-c", script])), "0\n", "{}", scene.who);
    }
}

#[test]
fn nothing_outlives_the_program_unless_it_lingers() {
    for scene in scenes() {
        let program = ["/bin/sh", "-c", "(sleep 2; echo late) & (setsid sh -c 'sleep 2; echo late') & exit 3"];
        let done = scene.start(&["--pid"], &program).output().unwrap();
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(3), String::new()), "{}", scene.who);

        let program = ["/bin/sh", "-c", "(sleep 0.5; echo late) & exit 3"];
        for options in [&["--pid", "--lingering"][..], &["--pid", "--lingering", "--hold", "2"]] {
            let done = scene.start(options, &program).output().unwrap();
            assert_eq!((done.status.code(), text(&done.stdout)), (Some(3), "late\n".into()), "{}", scene.who);
        }
    }
}

/// Starts something that says `ready`, and gives what its monitor is.
fn running(mut command: Command) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{command:?}");
    (child, output)
}

fn kill(child: &std::process::Child, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// All that is still said until nobody is left who could.
fn rest(mut output: BufReader<std::process::ChildStdout>) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_monitor_that_is_killed_takes_everything_with_it() {
    for scene in scenes() {
        let script = "(setsid sh -c 'sleep 20; echo late') & echo ready; sleep 20; echo late";
        for options in [&["--pid"][..], &["--pid", "--user", "--uid", "7"]] {
            let mut command = scene.command(scene.path("start"));
            command.args(options).args(["--", "/bin/sh", "-c", script]);
            let (mut child, output) = running(command);
            kill(&child, nix::sys::signal::SIGKILL);
            assert_eq!(rest(output), "", "{}", scene.who);
            child.wait().unwrap();
        }
        // Without a pid namespace it is the program's own process, and no more was promised.
        let mut command = scene.command(scene.path("start"));
        command.args(["--supervised", "--", "/bin/sh", "-c", "echo ready; exec sleep 20"]);
        let (mut child, output) = running(command);
        kill(&child, nix::sys::signal::SIGKILL);
        assert_eq!(rest(output), "", "{}", scene.who);
        child.wait().unwrap();
    }
}

#[test]
fn everything_dies_with_the_callers_parent_where_that_is_asked_for() {
    for scene in scenes() {
        for options in ["--die-with-parent", "--die-with-parent --pid", "--die-with-parent --supervised --lingering"] {
            let script = format!("$S {options} -- /bin/sh -c 'echo ready; exec sleep 20' & wait");
            let mut command = scene.command("/bin/sh");
            command.args(["-c", &script]).env("S", scene.path("start"));
            let (mut child, output) = running(command);
            kill(&child, nix::sys::signal::SIGKILL);
            assert_eq!(rest(output), "", "{} {options}", scene.who);
            child.wait().unwrap();
        }
    }
}

#[test]
fn a_signal_to_the_monitor_reaches_the_program_once() {
    let program = "n=0; trap 'n=$((n+1))' USR1; trap 'echo $n; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    for scene in scenes() {
        for options in SUPERVISED {
            let mut command = scene.command(scene.path("start"));
            command.args(options).args(["--", "/bin/sh", "-c", program]);
            let (mut child, output) = running(command);
            kill(&child, nix::sys::signal::SIGUSR1);
            std::thread::sleep(std::time::Duration::from_millis(300));
            kill(&child, nix::sys::signal::SIGTERM);
            assert_eq!(rest(output), "1\n", "{} {options:?}", scene.who);
            assert_eq!(child.wait().unwrap().code(), Some(5), "{} {options:?}", scene.who);
        }
        for (signal, code) in [(nix::sys::signal::SIGTERM, 143), (nix::sys::signal::SIGHUP, 129), (nix::sys::signal::SIGINT, 130)] {
            let mut command = scene.command(scene.path("start"));
            command.args(["--pid", "--", "/bin/sh", "-c", "echo ready; exec sleep 20"]);
            let (mut child, output) = running(command);
            kill(&child, signal);
            assert_eq!(rest(output), "", "{}", scene.who);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{}", scene.who);
        }
    }
}

#[test]
fn a_signal_before_the_program_runs_ends_everything() {
    for scene in scenes() {
        for options in [&["--pid"][..], &["--supervised"], &["--hold", "2"]] {
            let mut command = scene.command(scene.path("start"));
            command.args(options).args(["--info", "--block", "--status", "--", "/bin/echo", "ran"]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            // What the program would wait for does not come.
            let _input = child.stdin.take();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.starts_with("uts") {
                line.clear();
                assert_ne!(output.read_line(&mut line).unwrap(), 0);
            }
            kill(&child, nix::sys::signal::SIGTERM);
            let status = child.wait().unwrap();
            // While a hook runs the caller's signals are its own.
            let ended = status.code() == Some(143) || status.signal() == Some(15);
            assert_eq!((rest(output), ended), (String::new(), true), "{} {options:?}: {status}", scene.who);
        }
    }
}

#[test]
fn the_callers_signals_stay_as_they_were() {
    // Bit 12, SIGPIPE, is what the Rust runtime of the example ignores.
    let of = |text: String| -> Vec<(String, u64)> {
        let pair = |line: &str| {
            let (name, bits) = line.split_once(':')?;
            Some((name.to_owned(), u64::from_str_radix(bits.trim(), 16).ok()? & !(1 << 12)))
        };
        text.lines().filter_map(pair).collect()
    };
    for scene in scenes() {
        let script = |start: &str| format!("trap '' HUP USR1 CHLD TSTP; exec {start} /bin/grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status");
        let outside = of(said(&mut scene.shell(&script(""))));
        assert_eq!(outside.len(), 3);
        for options in ["", "--supervised", "--pid"] {
            assert_eq!(of(said(&mut scene.shell(&script(&format!("$S {options} --"))))), outside, "{} {options}", scene.who);
        }
        // Who ignores a signal does not pass it on.
        let mut command = scene.command("/bin/sh");
        command.args(["-c", "trap '' HUP; exec $S --pid -- /bin/sh -c 'echo ready; sleep 0.5; echo stayed'"]);
        command.env("S", scene.path("start"));
        let (mut child, output) = running(command);
        kill(&child, nix::sys::signal::SIGHUP);
        assert_eq!(rest(output), "stayed\n", "{}", scene.who);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn ids_host_name_and_loopback_are_as_asked_for() {
    for scene in scenes() {
        let script = "id -u; id -g; cat /proc/sys/kernel/hostname; cut -c1-3,79- /proc/self/net/if_inet6; \
                      grep -c 'host LOCAL' /proc/self/net/fib_trie";
        let options = ["--user", "--uid", "7", "--gid", "8", "--uts", "--host-name", "a-name", "--net"];
        let out = said(&mut scene.start(&options, &["/bin/sh", "-c", script]));
        assert!(out.starts_with("7\n8\na-name\n"), "{}: {out}", scene.who);
        let devices = said(&mut scene.start(&["--net"], &["/bin/cat", "/proc/self/net/dev"]));
        let names: Vec<&str> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
        assert!(names.contains(&"lo") && !names.iter().any(|name| name.starts_with("eth")), "{}: {names:?}", scene.who);
        let routes = said(&mut scene.start(&["--net"], &["/bin/cat", "/proc/self/net/fib_trie"]));
        assert!(routes.contains("127.0.0.1"), "{}: the loopback interface is down: {routes}", scene.who);
    }
}

#[test]
fn capabilities_are_none_in_a_user_namespace_and_those_asked_for_are_in_all_sets() {
    let program = ["/bin/grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status"];
    let sets = |bits: &str| {
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        names.map(|name| format!("{name}:\t{bits}\n")).concat() + "NoNewPrivs:\t1\n"
    };
    for scene in scenes() {
        for options in [&["--user"][..], &["--user", "--pid", "--uid", "0", "--gid", "0"], &["--user", "--no-more-user-namespaces"]] {
            assert_eq!(said(&mut scene.start(&small(options), &program)), sets("0000000000000000"), "{} {options:?}", scene.who);
        }
        let options =
            ["--user", "--cap-add", "all", "--cap-drop", "all", "--cap-add", "0", "--cap-add", "33", "--cap-add", "3", "--cap-drop", "3"];
        assert_eq!(said(&mut scene.start(&options, &program)), sets("0000000200000001"), "{}", scene.who);
    }
}

#[test]
fn init_has_no_capability_that_the_program_has() {
    for scene in scenes() {
        let options = ["--user", "--pid", "--proc", "/proc", "--cap-add", "all"];
        // It gives them up while the program starts, which cannot get at it before (prctl(2), PR_SET_DUMPABLE).
        let script = "for i in 1 2 3 4 5 6 7 8 9; do
                n=$(grep -c 'Cap\\(Inh\\|Prm\\|Eff\\|Amb\\):.0000000000000000' /proc/1/status); [ $n = 4 ] && break; sleep 0.1
            done
            echo $n; grep -c 'CapEff:.0000000000000000' /proc/self/status; true";
        assert_eq!(said(&mut scene.start(&options, &["/bin/sh", "-c", script])), "4\n0\n", "{}", scene.who);
    }
}

#[test]
fn only_the_descriptors_that_are_named_are_inherited() {
    for scene in scenes() {
        let list = "/bin/sh -c 'for n in 3 4 5 6 7; do [ -e /proc/self/fd/$n ] && printf \"$n \"; done; true'";
        for supervisor in ["", "--supervised", "--pid"] {
            for (options, expected) in
                [("", "5 7 "), ("--only ''", ""), ("--only 7", "7 "), ("--withhold 7", "5 "), ("--only 5,7 --withhold 5", "7 ")]
            {
                let script = format!("exec 5</ 7<.; exec $S {supervisor} {options} -- {list}");
                assert_eq!(said(&mut scene.shell(&script)), expected, "{} {supervisor} {options}", scene.who);
            }
        }
        // A descriptor that closes on exec is inherited if it is named; one that is no descriptor is an error.
        let done = scene.start(&["--only", "99"], &["/bin/true"]).output().unwrap();
        assert_eq!(text(&done.stderr), "start: starting the sandbox: close descriptors, but for 0 1 2 99: Bad file number [Lost]\n");
    }
}

#[test]
fn the_monitor_keeps_no_inherited_descriptor() {
    for scene in scenes() {
        // The program closes the fifo's end; the reader sees the end of the file though the monitor is still there.
        let script = "mkfifo f; (exec 9>f; exec $S --pid -- /bin/sh -c 'echo x >&9; exec 9>&-; read y <g') & mkfifo g; cat f; echo end; echo >g; wait";
        assert_eq!(said(&mut scene.shell(script)), "x\nend\n", "{}", scene.who);
    }
}

#[test]
fn what_is_held_is_open_as_long_as_anything_is_inside_and_the_program_does_not_have_it() {
    for scene in scenes() {
        let script = "mkfifo f; (exec 9>f; exec $S --pid --lingering --hold 9 -- /bin/sh -c '[ -e /proc/self/fd/9 ] || echo absent; (sleep 0.5; echo late) & exit 0') & cat f; echo end; wait";
        assert_eq!(said(&mut scene.shell(script)), "absent\nlate\nend\n", "{}", scene.who);
    }
}

#[test]
fn a_lock_is_held_while_the_program_runs() {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    for scene in scenes() {
        let lock = scene.path("lock");
        fs::write(&lock, "").unwrap();
        let free = || {
            let file = fs::File::open(&lock).unwrap();
            let mut wanted = libc::flock { l_type: libc::F_WRLCK as _, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
            fcntl(&file, FcntlArg::F_GETLK(&mut wanted)).unwrap();
            i32::from(wanted.l_type) == libc::F_UNLCK
        };
        assert!(free());
        for options in [&["--pid"][..], &[]] {
            let mut command = scene.command(scene.path("start"));
            command.args(options).arg("--lock").arg(&lock).args(["--", "/bin/sh", "-c", "echo ready; read x"]).stdin(Stdio::piped());
            let (mut child, output) = running(command);
            assert!(!free(), "{}", scene.who);
            drop(child.stdin.take());
            child.wait().unwrap();
            rest(output);
            assert!(free(), "{}", scene.who);
        }
        let done = scene.start(&["--pid", "--lock", "/nowhere"], &["/bin/true"]).output().unwrap();
        assert_eq!(text(&done.stderr), "start: starting the sandbox: lock /nowhere: No such file or directory [Untouched]\n");
    }
}

#[test]
fn hooks_are_told_what_there_is_inside() {
    for scene in scenes() {
        let names = "cgroup ipc mnt net pid user uts";
        let list = format!("for n in {names}; do echo $n $(readlink /proc/self/ns/$n | tr -dc 0-9); done; exit 7");
        for options in [&["--supervised"][..], &["--pid", "--net", "--ipc", "--uts"], &["--pid", "--as-pid-1"]] {
            let mut all = vec!["--info", "--status"];
            all.extend(options);
            let done = scene.start(&all, &["/bin/sh", "-c", &list]).output().unwrap();
            let out = text(&done.stdout);
            let lines: Vec<&str> = out.lines().collect();
            let [pid, told @ .., ended] = lines.as_slice() else { panic!("{out}") };
            assert!(pid.strip_prefix("pid ").is_some_and(|pid| pid.parse::<u32>().is_ok()), "{out}");
            assert_eq!(*ended, "exited Code(7)");
            let (outside, inside) = told.split_at(7);
            assert_eq!(outside, inside, "{} {options:?}", scene.who);
        }
        // Nothing is told of an end if there was no start, and a hook that fails ends everything.
        let done = scene.start(&["--status", "--pid"], &["/nowhere"]).output().unwrap();
        assert_eq!((text(&done.stdout), done.status.code()), (String::new(), Some(125)), "{}", scene.who);
        let done = scene.start(&["--fail-hook", "--pid"], &["/bin/echo", "ran"]).output().unwrap();
        let expected = "start: starting the sandbox: tell what was made: the hook said no [Untouched]\n";
        assert_eq!((text(&done.stdout), text(&done.stderr)), (String::new(), expected.into()), "{}", scene.who);
    }
}

#[test]
fn the_working_directory_is_kept_or_its_loss_is_an_error() {
    for scene in scenes() {
        let here = scene.dir.path().display().to_string();
        let pwd = ["/bin/sh", "-c", "pwd -P; echo $PWD"];
        for options in [&[][..], &["--pid"], &["--pid", "--or-home"]] {
            let out = said(scene.start(options, &pwd).env("PWD", "/nonsense").arg("x"));
            assert_eq!(out, format!("{here}\n{here}\n"), "{} {options:?}", scene.who);
        }
        fs::create_dir(scene.path("real")).unwrap();
        std::os::unix::fs::symlink("real", scene.path("link")).unwrap();
        let linked =
            said(scene.start(&["--pwd"], &["/usr/bin/printenv", "PWD"]).current_dir(scene.path("link")).env("PWD", scene.path("link")));
        assert_eq!(linked, format!("{here}/link\n"), "{}", scene.who);

        // Another directory of that name is none.
        for options in [&["--tmpfs", here.as_str()][..], &["--pid", "--tmpfs", &here]] {
            let done = scene.start(&[&["--bind", "/", "/"], options].concat(), &pwd).output().unwrap();
            let expected = format!("change directory to {here}: the path leads to another directory there");
            assert!(done.stdout.is_empty() && text(&done.stderr).contains(&expected), "{}: {}", scene.who, text(&done.stderr));
        }

        let without_tmp = &SMALL[..15];
        let done = scene.start(&[without_tmp, &["--pid"]].concat(), &pwd).output().unwrap();
        let expected = format!(
            "start: starting the sandbox: change directory to {here}: No such file or directory; share it with the sandbox, or \
             start in another directory [Untouched]\n"
        );
        assert_eq!((text(&done.stdout), text(&done.stderr)), (String::new(), expected), "{}", scene.who);
        let home = said(scene.start(&[without_tmp, &["--or-home", "--pwd"]].concat(), &pwd).env("HOME", "/usr/lib"));
        assert_eq!(home, "/usr/lib\n/usr/lib\n", "{}", scene.who);
        let home = said(scene.start(&[without_tmp, &["--or-home", "--pwd"]].concat(), &pwd).env("HOME", "/home"));
        assert_eq!(home, "/\n/\n", "{}", scene.who);
    }
}

#[test]
fn a_new_session_is_another_session() {
    for scene in scenes() {
        let session = "cut -d ' ' -f 6 /proc/self/stat";
        for supervisor in ["--supervised", "--pid --proc /proc"] {
            let script = format!("{session}; $S {supervisor} -- sh -c \"{session}\"; $S {supervisor} --new-session -- sh -c \"{session}\"");
            let out = said(&mut scene.shell(&script));
            let [outside, kept, new] = out.lines().collect::<Vec<_>>()[..] else { panic!("{out}") };
            assert!(new != outside && new != "0", "{} {supervisor}: {out}", scene.who);
            assert!(supervisor != "--supervised" || kept == outside, "{}: {out}", scene.who);
        }
    }
}

#[test]
fn no_user_namespace_can_be_made_where_that_is_forbidden() {
    if !has("unshare") {
        return;
    }
    for scene in scenes() {
        let nested = ["/bin/sh", "-c", "id -u; unshare -U true 2>&- && echo made; true"];
        assert_eq!(said(&mut scene.start(&small(&["--user", "--uid", "7", "--no-more-user-namespaces"]), &nested)), "7\n", "{}", scene.who);
        let done = scene.start(&small(&["--user", "--assert-no-user-namespaces"]), &nested).output().unwrap();
        let expected = "start: starting the sandbox: find out that no user namespace can be made: one could still be made [Lost]\n";
        assert_eq!((text(&done.stdout), text(&done.stderr)), (String::new(), expected.into()), "{}", scene.who);
        assert_eq!(said(&mut scene.start(&small(&["--user", "--uid", "7"]), &nested)), "7\nmade\n", "{}: the positive control", scene.who);
    }
}

#[test]
fn namespaces_are_joined_by_descriptor() {
    if !has("unshare") {
        return;
    }
    for scene in scenes() {
        let script = "unshare -Ur --pid --fork --kill-child sh -c 'echo ready; exec sleep 30' >f &
             mkfifo f 2>/dev/null; read x <f; p=$(cat /proc/$!/task/*/children); p=${p% }
             readlink /proc/$p/ns/user /proc/$p/ns/pid
             exec 8</proc/$p/ns/user 9</proc/$p/ns/pid
             $S --join-user 8 --join-pid 9 OPTIONS -- sh -c 'readlink /proc/self/ns/user /proc/self/ns/pid; exit 7'; echo $?
             kill -KILL $p";
        let script = format!("mkfifo f; {script}");
        let out = said(&mut scene.shell(&script.replace("OPTIONS", "--withhold 8 --withhold 9")));
        let lines: Vec<&str> = out.lines().collect();
        let [user, pid, inner_user, inner_pid, "7"] = lines[..] else { panic!("{}: {out}", scene.who) };
        assert_eq!((user, pid), (inner_user, inner_pid), "{}", scene.who);
        fs::remove_file(scene.path("f")).unwrap();

        // A pid namespace below the one that is joined.
        let out = said(&mut scene.shell(&script.replace("OPTIONS", "--pid")));
        let lines: Vec<&str> = out.lines().collect();
        let [user, pid, inner_user, inner_pid, "7"] = lines[..] else { panic!("{}: {out}", scene.who) };
        assert!(user == inner_user && pid != inner_pid, "{}: {out}", scene.who);
    }
}

#[test]
fn an_error_names_its_step_its_operand_and_the_reason_from_whichever_process() {
    for scene in scenes() {
        let bind = ["--bind", "/no\nwhere", "/x"];
        let rows: [(&[&str], &str, &str); 8] = [
            (&[], "/no/where", "start /no/where: No such file or directory; it and its interpreter must be in the new root"),
            (&[], "no-such-command", "start no-such-command: No such file or directory; it and its interpreter must be in the new root"),
            (&[], "/usr", "start /usr: Permission denied; it must be executable, on a file system that is not mounted noexec"),
            (&bind, "/bin/true", "bind \"/no\\nwhere\" at /x: what is to be bound: No such file or directory"),
            (
                &["--chdir", "/no/where"],
                "/bin/true",
                "change directory to /no/where: No such file or directory; share it with the sandbox, or start in another directory",
            ),
            (
                &["--bad-filter"],
                "/bin/true",
                "seccomp filter of 1 instructions: Invalid argument; give a valid program of struct sock_filter",
            ),
            (&["--restrict", "this"], "/bin/true", "restrict itself to this: it cannot be done here"),
            (
                &["--join-user", "99"],
                "/bin/true",
                "join the user namespace of descriptor 99: Bad file number; open the namespace on that descriptor",
            ),
        ];
        for (options, program, expected) in rows {
            for (supervisor, states) in
                [(&[][..], ["Lost", "SameFiles", "Untouched"]), (&["--pid"], ["Untouched"; 3]), (&["--supervised"], ["Untouched"; 3])]
            {
                let done = scene.start(&[options, supervisor].concat(), &[program]).env("PATH", "/usr/bin:/bin").output().unwrap();
                let err = text(&done.stderr);
                let Some((said, state)) = err.trim_end().rsplit_once(" [") else { panic!("{options:?} {supervisor:?}: {err}") };
                assert_eq!(said, format!("start: starting the sandbox: {expected}"), "{} {supervisor:?}", scene.who);
                assert!(states.contains(&state.trim_end_matches(']')), "{} {supervisor:?}: {err}", scene.who);
                assert_eq!((text(&done.stdout), done.status.code()), (String::new(), Some(125)));
            }
        }
    }
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_happens() {
    for scene in scenes() {
        let rows: [(&[&str], &str); 6] = [
            (&["--as-pid-1"], "to be pid 1 needs a pid namespace; ask for one"),
            (&["--host-name", "a"], "a host name needs a UTS namespace; ask for one"),
            (&["--join-user", "0", "--user"], "a user namespace cannot be both joined and made; ask for one of them"),
            (
                &["--pid", "--as-pid-1", "--lock", "/x"],
                "locks are held by an init, which a program that is pid 1 does not have; drop one of the two",
            ),
            (&["--cap-add", "64"], "a capability's number is 0 to 63 (capabilities(7)); choose one of those"),
            (&["--uid", "4294967295", "--user"], "the id 4294967295 means no id (setreuid(2)); choose another"),
        ];
        for (options, expected) in rows {
            let Output { stderr, status, .. } = scene.start(options, &["/bin/true"]).output().unwrap();
            assert_eq!(text(&stderr), format!("start: starting the sandbox: {expected} [Untouched]\n"), "{}", scene.who);
            assert_eq!(status.code(), Some(125));
        }
    }
}

#[test]
fn a_script_without_an_interpreter_runs_in_the_shell() {
    for scene in scenes() {
        let script = scene.path("script");
        let write = format!("printf 'echo \"$0\" \"$1\"\\n' >{0}; chmod 755 {0}", script.display());
        said(scene.command("/bin/sh").args(["-c", &write]));
        let path = format!("/nowhere:{}:/usr/bin", scene.dir.path().display());
        let out = said(scene.start(&[], &["script", "one"]).env("PATH", path));
        assert_eq!(out, format!("{} one\n", script.display()), "{}", scene.who);
    }
}
