//! What a program sees behind the terminal proxy, and what the caller's terminal is afterwards. Each test is the
//! terminal: it holds the other side, types, and reads the screen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use scene::skip;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

fn example(name: &str) -> PathBuf {
    let built = std::env::current_exe().unwrap().parent().unwrap().join("../examples").join(name);
    assert!(built.exists(), "{} is missing; run `cargo build --examples`", built.display());
    built
}

/// The terminal of somebody who starts programs.
struct Desk {
    master: File,
    slave: OwnedFd,
    screen: String,
}

impl Desk {
    fn new() -> Option<Desk> {
        if !Path::new("/usr/bin/setsid").exists() {
            skip("setsid is not installed");
            return None;
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&slave, size(33, 101)).unwrap();
        // Something that is not the default has to come back.
        let mut modes = tcgetattr(&slave).unwrap();
        modes.local_modes.remove(LocalModes::ECHOK);
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        Some(Desk { master: File::from(master), slave, screen: String::new() })
    }

    fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    fn side(&self) -> Stdio {
        self.slave.try_clone().unwrap().into()
    }

    /// A command whose terminal this is, started as a shell would.
    fn command(&self, words: &[&str]) -> Command {
        // Whoever runs the tests may have them ignore what a terminal sends.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,QUIT", "setsid", "--ctty"])
            .args(words)
            .stdin(self.side())
            .stdout(self.side())
            .stderr(self.side());
        command
    }

    fn proxied(&self, words: &[&str]) -> Command {
        let example = example("restrict");
        let before = [example.to_str().unwrap(), "--pty", "--"];
        self.command(&before.iter().chain(words).copied().collect::<Vec<_>>())
    }

    fn keys(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the screen shows this.
    fn until(&mut self, text: &str) {
        let mut chunk = [0u8; 4096];
        while !self.screen.contains(text) {
            let n = self.master.read(&mut chunk).unwrap();
            self.screen.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
        self.screen = self.screen.split_once(text).unwrap().1.to_owned();
    }

    /// Waits for the end while the screen is read, and says what it showed.
    fn end(&mut self, mut child: Child) -> (ExitStatus, String) {
        let marker = "\u{4}the-end\n";
        let mut slave = File::from(self.slave.try_clone().unwrap());
        let waiting = std::thread::spawn(move || {
            let status = child.wait().unwrap();
            slave.write_all(marker.as_bytes()).unwrap();
            status
        });
        let mut chunk = [0u8; 4096];
        while !self.screen.contains("\u{4}the-end") {
            let n = self.master.read(&mut chunk).unwrap();
            self.screen.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
        let shown = self.screen.split('\u{4}').next().unwrap().to_owned();
        self.screen.clear();
        (waiting.join().unwrap(), shown)
    }

    /// What a shell would read next.
    fn input_left(&mut self) -> Vec<u8> {
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.slave));
        let mut modes = tcgetattr(&self.slave).unwrap();
        modes.local_modes.remove(LocalModes::ICANON);
        tcsetattr(&self.slave, OptionalActions::Now, &modes).unwrap();
        let file = nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty()).unwrap();
        let mut bytes = [0u8; 64];
        let n = nix::unistd::read(&file, &mut bytes).unwrap_or(0);
        bytes[..n].to_vec()
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn the_program_has_another_terminal_of_the_same_size_as_its_controlling_one() {
    let Some(mut desk) = Desk::new() else { return };
    let outer = rustix::termios::ttyname(desk.slave.as_fd(), Vec::new()).unwrap().into_string().unwrap();
    let before = desk.modes();
    let child =
        desk.proxied(&["sh", "-c", "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo all; (echo direct) >/dev/tty"]).spawn().unwrap();
    let (status, shown) = desk.end(child);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(status.success(), "{shown}");
    assert!(lines[0].starts_with("/dev/pts/") && lines[0] != outer, "{lines:?}");
    assert_eq!(lines[1..], ["33 101", "all", "direct"]);
    assert_eq!(desk.modes(), before);
}

#[test]
fn keys_that_mean_signals_and_the_end_of_input_reach_the_program() {
    let Some(mut desk) = Desk::new() else { return };
    let child = desk
        .proxied(&["sh", "-c", "trap 'echo interrupted; hit=1' INT; echo ready; while [ -z \"$hit\" ]; do sleep 0.05; done; echo end; cat"])
        .spawn()
        .unwrap();
    desk.until("ready");
    desk.keys("\u{3}");
    desk.until("interrupted");
    desk.until("end");
    desk.keys("line\n");
    desk.until("line\r\nline\r\n");
    desk.keys("\u{4}");
    let (status, shown) = desk.end(child);
    assert!(status.success(), "{shown}");
}

#[test]
fn a_change_of_size_goes_through() {
    let Some(mut desk) = Desk::new() else { return };
    let child = desk.proxied(&["sh", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"]).spawn().unwrap();
    desk.until("ready");
    tcsetwinsize(&desk.master, size(44, 55)).unwrap();
    let (status, shown) = desk.end(child);
    assert_eq!((status.code(), shown.trim()), (Some(0), "44 55"));
}

#[test]
fn the_status_is_the_programs_and_the_terminal_is_given_back_however_it_ends() {
    let Some(mut desk) = Desk::new() else { return };
    let before = desk.modes();
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 128 + 15), ("kill -SEGV $$", 128 + 11), ("stty raw -echo; exit 0", 0)] {
        let child = desk.proxied(&["sh", "-c", script]).spawn().unwrap();
        assert_eq!(desk.end(child).0.code(), Some(code), "{script}");
        assert_eq!(desk.modes(), before, "{script}");
    }
    let child = desk.proxied(&["/nowhere/program"]).spawn().unwrap();
    let (status, shown) = desk.end(child);
    assert_eq!((status.code(), desk.modes()), (Some(127), before), "{shown}");
}

#[test]
fn a_signal_to_the_proxy_is_told_to_the_program() {
    let Some(mut desk) = Desk::new() else { return };
    let before = desk.modes();
    let child = desk.proxied(&["sh", "-c", "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done"]).spawn().unwrap();
    desk.until("ready");
    assert_ne!(desk.modes(), before, "it is the proxy's meanwhile");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    let (status, shown) = desk.end(child);
    assert_eq!((status.code(), shown.trim()), (Some(5), "told"));
    assert_eq!(desk.modes(), before);
}

#[test]
fn what_hangs_up_hangs_up_the_program() {
    let Some(mut desk) = Desk::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("hung-up");
    let script = format!("trap 'echo >{}; exit 0' HUP; echo ready; while :; do sleep 0.05; done", marker.display());
    let mut child = desk.proxied(&["sh", "-c", &script]).spawn().unwrap();
    desk.until("ready");
    drop(desk);
    child.wait().unwrap();
    assert!(marker.exists());
}

#[test]
fn a_killed_proxy_takes_the_program_along_whatever_it_ignores() {
    let Some(desk) = Desk::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    // The program holds the one writing end; its end is the end of the file.
    let script = format!("trap '' HUP TERM; exec 9>{}; echo started >&9; while :; do read x; done", fifo.display());
    let mut child = desk.proxied(&["sh", "-c", &script]).spawn().unwrap();
    let mut reader = File::open(&fifo).unwrap();
    let mut first = [0; 8];
    reader.read_exact(&mut first).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_proxy_in_the_background_leaves_the_terminal_alone() {
    let Some(mut desk) = Desk::new() else { return };
    let before = desk.modes();
    let example = example("restrict");
    // A shell with jobs that sets no modes of its own starts it in the background and goes on.
    let script = format!("set -m; {} --pty -- sh -c 'echo ran' & wait $!; echo status $?", example.display());
    let child = desk.command(&["sh", "-c", &script]).spawn().unwrap();
    desk.until("status 0");
    assert_eq!(desk.modes(), before);
    let (status, _) = desk.end(child);
    assert!(status.success());
}

#[test]
fn much_input_and_much_output_at_once_arrive_whole() {
    let Some(mut desk) = Desk::new() else { return };
    // The program writes before it reads: neither direction may wait for the other.
    let script = "stty raw -echo; echo ready; head -c 300000 /dev/zero | tr '\\0' o; head -c 200000 | tr -cd i | wc -c; echo done";
    let child = desk.proxied(&["sh", "-c", script]).spawn().unwrap();
    desk.until("ready\n");
    let mut typist = desk.master.try_clone().unwrap();
    let typing = std::thread::spawn(move || typist.write_all(&[b'i'; 200_000]).unwrap());
    let (status, shown) = desk.end(child);
    typing.join().unwrap();
    assert!(status.success());
    assert_eq!(shown.matches('o').count(), 300_000 + 1, "and the one of `done`");
    assert!(shown.trim_start_matches('o').starts_with("200000\n"), "{}", &shown[300_000..]);
}

#[test]
fn a_pipe_stays_a_pipe_beside_the_terminal() {
    let Some(mut desk) = Desk::new() else { return };
    let script = "test -t 0 || echo piped; test -t 1 && echo terminal; cat";
    let line = format!("echo through | {} --pty -- sh -c '{script}'", example("restrict").display());
    let child = desk.command(&["sh", "-c", &line]).spawn().unwrap();
    let (status, shown) = desk.end(child);
    assert!(status.success());
    assert_eq!(shown.lines().collect::<Vec<_>>(), ["piped", "terminal", "through"]);
}

#[test]
fn without_any_terminal_there_is_just_the_program() {
    let mut command = Command::new("setsid");
    let out = command.arg("-w").arg(example("restrict")).args(["--pty", "--", "sh", "-c", "tty; cat; exit 3"]).output().unwrap();
    assert_eq!((String::from_utf8(out.stdout).unwrap().as_str(), out.status.code()), ("not a tty\n", Some(3)));
}

#[test]
fn input_that_the_program_puts_into_its_terminal_is_read_by_nobody_outside() {
    let Some(mut desk) = Desk::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let typist = dir.path().join("type");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/src/escape/type.c");
    match Command::new("cc").arg("-o").arg(&typist).arg(source).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => return skip("cc is not installed"),
    }
    let attempt = [typist.to_str().unwrap(), "0", "rm -rf\n"];
    let child = desk.command(&attempt).spawn().unwrap();
    let (_, shown) = desk.end(child);
    if !shown.contains("typed") {
        return skip("this kernel takes no input by TIOCSTI (dev.tty.legacy_tiocsti is 0)");
    }
    assert_eq!(desk.input_left(), b"rm -rf\n", "the control: the shell would read it");

    let Some(mut desk) = Desk::new() else { return };
    let child = desk.proxied(&attempt).spawn().unwrap();
    let (_, shown) = desk.end(child);
    assert!(shown.contains("typed"), "into its own: {shown}");
    assert_eq!(desk.input_left(), b"");
}

#[test]
fn a_sandbox_behind_it_has_job_control_and_the_terminal_comes_back() {
    if let Err(refusal) = fhs_env::probe() {
        return skip(&refusal.to_string());
    }
    let Some(mut desk) = Desk::new() else { return };
    let before = desk.modes();
    let example = example("cell");
    let system = ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
    let mut words = vec![example.to_str().unwrap(), "--pty"];
    words.extend(system.flat_map(|path| ["--ro", path, path]));
    // Jobs in the foreground, one stopped and one interrupted by keys, by a shell of its own.
    let job = |word: &str| format!("sh -c 'echo {word}; exec sleep 600'");
    let script = format!("set -m; stty size; {}; echo stopped $?; kill -KILL %1; {}; echo not reached", job("one"), job("two"));
    words.extend(["--", "sh", "-c", &script]);
    let child = desk.command(&words).spawn().unwrap();
    desk.until("33 101");
    desk.until("one");
    desk.keys("\u{1a}");
    desk.until("stopped");
    desk.until("two");
    desk.keys("\u{3}");
    let (status, shown) = desk.end(child);
    assert_eq!(status.code(), Some(128 + 2), "a shell ends when its job is interrupted: {shown}");
    assert_eq!(desk.modes(), before);
}
