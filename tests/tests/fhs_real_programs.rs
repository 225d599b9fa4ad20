//! Programs of this machine in environments made of this machine's own files: a 32-bit one beside a 64-bit one, and a
//! shell on a terminal. Nothing is downloaded; what needs the archive is in `cargo xtask fhs-programs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fhs_real;
mod support;

use fhs_real::{build, narrow, package};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use support::{Scene, succeeds};
use xeno_tests::{fixture, peer};

#[test]
fn a_32_bit_program_runs_beside_a_64_bit_one() {
    for scene in Scene::all() {
        let Some(narrow) = narrow(&scene) else { return };
        let (narrow_program, wide_program) = (fixture("hello-i686-glibc-pie"), fixture("hello-x86_64-glibc-pie"));
        build(&scene, "both", &[&package(&scene, &["bash", "ls"], &[&wide_program]), &narrow]);
        let script =
            format!("{} && {} && ls -d /lib64/ld-linux-x86-64.so.2 /lib/ld-linux.so.2", narrow_program.display(), wide_program.display());
        let said = succeeds(&mut scene.say(&["env", "run", "both", "--", "sh", "-c", &script]));
        let lines: Vec<&str> = said.lines().map(|line| line.split(" unwind=").next().unwrap()).collect();
        assert_eq!(
            lines,
            ["hello tls=42 ctor=1 libm=5", "hello tls=42 ctor=1 libm=5", "/lib/ld-linux.so.2", "/lib64/ld-linux-x86-64.so.2"],
            "{said}"
        );
    }
}

/// A conversation with a program on a terminal of its own, which script(1) makes.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command, words: &str) -> Terminal {
        command.args(["--quiet", "--return", "--flush", "--command", words, "/dev/null"]);
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { script, keys, screen, seen: String::new() }
    }

    /// Types this, and waits until what appears after it contains that.
    #[track_caller]
    fn types(&mut self, keys: &str, until: &str) {
        let before = self.seen.len();
        self.keys.write_all(keys.as_bytes()).unwrap();
        let begun = Instant::now();
        while !self.seen[before..].contains(until) {
            match self.screen.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() < Duration::from_secs(60) => {}
                Err(_) => panic!("{keys:?} was typed and {until:?} did not appear: {}", self.seen.escape_debug()),
            }
        }
    }

    /// Types the last words, and waits for the end.
    fn ends(mut self, keys: &str) -> Option<i32> {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.script.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn a_shell_on_a_terminal_stops_continues_and_interrupts_its_jobs() {
    let Some(script) = peer("script") else { return };
    for scene in Scene::all() {
        build(&scene, "tools", &[&package(&scene, &["bash", "cat", "tty"], &[])]);
        // Whoever runs the tests may have them ignore what a terminal sends.
        let line = format!("env --default-signal=INT,QUIT {} env enter tools", scene.xeno().display());
        let mut terminal = Terminal::start(scene.command(&script), &line);
        // A prompt that what is typed does not contain: when it appears, the shell has its terminal back.
        terminal.types("PS1='<$((6 * 7))>'\n", "<42>");
        terminal.types("tty\n", "/dev/pts/");
        terminal.types("\n", "<42>");
        // What is typed is seen once, and once more when `cat` writes it.
        terminal.types("sh -c 'echo reading; exec cat'\n", "reading\r\n");
        terminal.types("first\n", "first\r\nfirst\r\n");
        terminal.types("\x1a", "<42>");
        terminal.types("echo stopped-$(($? - 128))\n", "stopped-20\r\n<42>");
        terminal.types("fg\n", "exec cat'\r\n");
        terminal.types("second\n", "second\r\nsecond\r\n");
        terminal.types("\x03", "<42>");
        terminal.types("echo interrupted-$(($? - 128))\n", "interrupted-2\r\n<42>");
        assert_eq!(terminal.ends("exit 3\n"), Some(3));
    }
}
