//! Job control: a program in a sandbox stops and goes on as one without does, for the shell that started it and for
//! a shell inside. Each test is a terminal: it types and reads the screen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use scene::{Scene, has};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

const STOP: &str = "\x1a";
const INTERRUPT: &str = "\x03";

/// An interactive shell at a terminal.
struct Desk {
    master: File,
    screen: String,
    /// All that was on it, for a test that fails.
    shown: String,
    shell: Child,
}

impl Desk {
    /// The shell says `ready` and its status at each prompt; `$S` is the example.
    fn new(scene: &Scene) -> Desk {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave: OwnedFd = ioctl_tiocgptpeer(&master, flags).unwrap();
        let side = || Stdio::from(slave.try_clone().unwrap());
        let mut command = scene.command("setsid");
        command.args(["-c", "-w", "timeout", "--foreground", "-k", "1", "60", "bash", "--norc", "--noprofile", "-i"]);
        command.env("S", scene.path("start")).env("PS1", "ready-$?.").env("HISTFILE", "").env("TERM", "dumb");
        let shell = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let mut desk = Desk { master: File::from(master), screen: String::new(), shown: String::new(), shell };
        desk.wait_for("ready-0.");
        desk
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads the screen up to these words, which must come.
    #[track_caller]
    fn wait_for(&mut self, words: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.screen.find(words) {
                let rest = self.screen.split_off(at + words.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            match self.master.read(&mut bytes) {
                Ok(n) if n > 0 => {
                    let text = String::from_utf8_lossy(&bytes[..n]);
                    self.screen.push_str(&text);
                    self.shown.push_str(&text);
                }
                // The other side is closed.
                _ => panic!("no {words:?} in {:?}, at the end of {:?}", self.screen, self.shown),
            }
        }
    }

    fn leave(mut self) {
        self.types("exit\n");
        self.shell.wait().unwrap();
    }
}

fn desks() -> Vec<(Scene, Desk)> {
    if !has("bash") || !has("setsid") {
        return Vec::new();
    }
    let scenes = scene::scenes("start").into_iter();
    scenes.map(|scene| (Desk::new(&scene), scene)).map(|(desk, scene)| (scene, desk)).collect()
}

/// What can stand between the shell and the program.
const SUPERVISED: [&str; 3] = ["", "--supervised", "--pid"];

#[test]
fn a_stopped_program_gives_the_terminal_back_and_is_continued() {
    for (_scene, mut desk) in desks() {
        for options in SUPERVISED {
            // (No command of the shell: one that is stopped between vfork and exec keeps the shell from stopping.)
            desk.types(&format!("$S {options} -- bash -c 'echo st\"\"arted; read x; echo got $x'\n"));
            desk.wait_for("started");
            desk.types(STOP);
            desk.wait_for("Stopped");
            // 128 and SIGTSTP.
            desk.wait_for("ready-148.");
            desk.types("echo typed at the sh\"\"ell\n");
            desk.wait_for("typed at the shell");
            desk.wait_for("ready-0.");
            desk.types("fg\n");
            desk.types("what was typed at the program\n");
            desk.wait_for("got what was typed at the program");
            desk.wait_for("ready-0.");
        }
        desk.leave();
    }
}

#[test]
fn what_the_terminal_sends_arrives_once_and_ends_no_monitor() {
    for (_scene, mut desk) in desks() {
        for options in SUPERVISED {
            // (No `read`: a signal just before it is seen when it returns.)
            let program = "trap \"echo inter\\\"\\\"rupted\" INT; echo st\"\"arted; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; echo go\"\"ne; exit 5";
            desk.types(&format!("$S {options} -- sh -c '{program}'\n"));
            desk.wait_for("started");
            desk.types(INTERRUPT);
            desk.wait_for("interrupted");
            let between = desk.wait_for("gone");
            assert!(!between.contains("interrupted"), "{options}: {between}");
            desk.wait_for("ready-5.");
            desk.types(&format!("$S {options} -- sh -c 'echo st\"\"arted; exec sleep 50'\n"));
            desk.wait_for("started");
            desk.types(INTERRUPT);
            desk.wait_for("ready-130.");
        }
        desk.leave();
    }
}

#[test]
fn a_shell_inside_has_job_control_and_can_be_suspended() {
    for (_scene, mut desk) in desks() {
        for options in SUPERVISED {
            desk.types(&format!("PS1='inner-$?.' $S {options} -- bash --norc --noprofile -i\n"));
            desk.wait_for("inner-0.");
            // A job of the shell inside.
            desk.types("sleep 50\n");
            std::thread::sleep(std::time::Duration::from_millis(200));
            desk.types(STOP);
            desk.wait_for("Stopped");
            desk.wait_for("inner-148.");
            desk.types("kill -KILL %1; while kill -0 %1 2>/dev/null; do sleep 0.05; done; jobs >/dev/null; true\n");
            desk.wait_for("inner-0.");
            // The shell inside itself.
            desk.types("suspend -f\n");
            desk.wait_for("Stopped");
            desk.wait_for("ready-");
            desk.types("fg\n");
            desk.types("echo back in\"\"side\n");
            desk.wait_for("back inside");
            desk.types("exit 9\n");
            desk.wait_for("ready-9.");
        }
        desk.leave();
    }
}
