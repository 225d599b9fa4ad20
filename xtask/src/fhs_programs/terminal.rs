//! A conversation with a program on a terminal of its own: what is typed, and what has to appear before the next is
//! typed. script(1) makes the terminal.

use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(super) struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts a command, which is words that need no quoting.
    pub(super) fn start(words: &str, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Result<Terminal> {
        process::need(&[("script", "bsdutils")])?;
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", words, "/dev/null"]);
        let mut script = prepare(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start script")?;
        let keys = script.stdin.take().context("no keyboard")?;
        let mut output = script.stdout.take().context("no screen")?;
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if send.send(bytes.get(..read).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal { script, keys, screen, seen: String::new() })
    }

    /// Types this, and waits until something that was not on the screen before contains that.
    pub(super) fn types(&mut self, keys: &str, until: &str) -> Result<()> {
        let before = self.seen.len();
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).context("type")?;
        let begun = Instant::now();
        while !self.seen.get(before..).is_some_and(|new| new.contains(until)) {
            match self.screen.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() < Duration::from_secs(30) => {}
                Err(_) => bail!("{keys:?} was typed and {until:?} did not appear: {:?}", self.seen),
            }
        }
        Ok(())
    }

    /// Types the last words; returns the exit status.
    pub(super) fn ends(mut self, keys: &str) -> Result<i32> {
        self.keys.write_all(keys.as_bytes()).context("type")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.script.try_wait().context("wait for script")? {
                return status.code().context("script was killed");
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("{keys:?} was typed and the session went on: {:?}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_answers_and_its_status_comes_back() {
        let mut terminal = Terminal::start("/bin/sh", |command| command.env("PS1", "$ ")).unwrap();
        terminal.types("echo it-is-$((6 * 7))\n", "it-is-42").unwrap();
        assert_eq!(terminal.ends("exit 3\n").unwrap(), 3);
    }
}
