//! Running other programs: one line says what ran and how it failed. No shell is involved.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fmt;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command with the caller's terminal; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command quietly and returns its standard output; on failure the error ends with the last
/// line it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
        bail!("{} ended with {}: {last}", shown(command), done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
    /// It still ran when its time was over, and was killed.
    Alive,
}

/// How a program ended and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.end == End::Status(0)
    }

    /// The last line that says something, standard error first.
    pub(crate) fn last_line(&self) -> &str {
        let said = |text: &'_ str| !text.trim().is_empty();
        self.stderr.lines().rfind(|l| said(l)).or_else(|| self.stdout.lines().rfind(|l| said(l))).unwrap_or("no message").trim()
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Status(code) => write!(f, "status {code}"),
            End::Signal(number) => write!(f, "signal {number}"),
            End::Alive => f.write_str("still running"),
        }
    }
}

/// Runs a command in a process group of its own, without input, and says how it ended, whatever that was.
/// When `limit` is over the whole group is killed. An error means only that it could not be started.
pub(crate) fn ended(command: &mut Command, limit: Duration) -> Result<Ended> {
    let file = || tempfile::tempfile().context("make a file for what a program writes");
    let (mut stdout, mut stderr) = (file()?, file()?);
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(stdout.try_clone().context("share a file")?).stderr(stderr.try_clone().context("share a file")?);
    let begun = Instant::now();
    let mut child = loop {
        match command.spawn() {
            // Another thread's child may still hold the descriptor through which the file was written.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && begun.elapsed() < limit.min(Duration::from_secs(5)) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            child => break child.with_context(|| format!("start {}", shown(command)))?,
        }
    };
    let mut pause = Duration::from_micros(200);
    let end = loop {
        if let Some(status) = child.try_wait().context("wait for a program")? {
            break match (status.code(), status.signal()) {
                (Some(code), _) => End::Status(code),
                (None, signal) => End::Signal(signal.unwrap_or(0)),
            };
        }
        if begun.elapsed() > limit {
            let group = Pid::from_raw(i32::try_from(child.id()).context("a process id out of range")?);
            killpg(group, Signal::SIGKILL).ok();
            child.wait().context("wait for a program")?;
            break End::Alive;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let text = |file: &mut std::fs::File| -> Result<String> {
        let mut bytes = Vec::new();
        file.rewind().context("read what a program wrote")?;
        file.read_to_end(&mut bytes).context("read what a program wrote")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Ended { end, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

/// Whether `PATH` has an executable of this name.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Installs the Debian packages whose commands are missing. Needs root; otherwise the error is the
/// line to type.
pub(crate) fn need(commands: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = commands
        .iter()
        .filter(|(command, _)| if command.starts_with('/') { !Path::new(command).exists() } else { find(command).is_none() })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || find("apt-get").is_none() {
        bail!("not installed: {0}; try: sudo apt-get install {0}", missing.join(" "));
    }
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()))
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"][..], &missing].concat())
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
