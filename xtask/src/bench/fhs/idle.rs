//! What a process and all below it keep in memory while nothing happens: the sum of their proportional shares
//! (`Pss` of `/proc/PID/smaps_rollup`, proc_pid_smaps_rollup(5)).

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processes and KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Idle {
    pub(super) kib: u64,
    pub(super) processes: usize,
}

impl Idle {
    /// More than there can be.
    pub(super) const MOST: Idle = Idle { kib: u64::MAX, processes: usize::MAX };
}

/// Starts a command whose last process is `sleep`, waits until that is there and asleep, and adds up. Ends all of them.
pub(super) fn idle(command: &mut Command) -> Result<Idle> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("start it")?;
    let outcome = settled(child.id());
    let tree = below(child.id());
    // From the leaves up: a supervisor ends when its program does, and nobody is left without one.
    for pid in tree.iter().rev() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).context("a process id out of range")?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
    let ended = child.wait_with_output().context("wait for it")?;
    outcome.with_context(|| String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn settled(root: u32) -> Result<Idle> {
    let begun = Instant::now();
    let mut last = None;
    loop {
        let tree = below(root);
        let sleeps = tree.last().is_some_and(|leaf| fs::read_to_string(format!("/proc/{leaf}/comm")).is_ok_and(|comm| comm == "sleep\n"));
        // A sum that stays the same is one of processes that have stopped starting.
        let sum = if sleeps { Some(sum(&tree)?) } else { None };
        if sum.is_some() && sum == last {
            return sum.context("no sum");
        }
        last = sum;
        if begun.elapsed() > Duration::from_secs(10) {
            bail!("no `sleep` at rest after 10 s");
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn sum(tree: &[u32]) -> Result<Idle> {
    let mut kib = 0;
    for pid in tree {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path} (root may)"))?;
        kib += share(&text).with_context(|| format!("{path} has no Pss"))?;
    }
    Ok(Idle { kib, processes: tree.len() })
}

fn share(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// A process and its descendants, parents first.
fn below(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)?))
        })
        .collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(pid) = tree.get(at).copied() {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        at += 1;
    }
    tree
}

/// The fourth field of proc_pid_stat(5); the second is a name in parentheses that may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        assert_eq!(parent("41 (a) S 7 (b) R 12 41 0"), Some(12));
        assert_eq!(share("00400000-7fff rollup\nRss:   12 kB\nPss:    9 kB\nPss_Dirty: 3 kB\n"), Some(9));
    }

    #[test]
    fn a_shell_and_its_child_are_counted() {
        let found = idle(Command::new("sh").args(["-c", "sleep 60; :"])).unwrap();
        assert_eq!(found.processes, 2);
        assert!(found.kib > 0);
    }
}
