//! What stays in memory beside a program that sleeps: the proportional shares (`Pss` of `/proc/PID/smaps_rollup`,
//! proc_pid_smaps(5)) of the processes above it. The program's own is not counted: its libraries are shared with the
//! host's programs in one root and with nobody in another, which is no cost of either.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Supervisors, and their KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Idle {
    pub(super) kib: u64,
    /// Of these, what is no page of a file and cannot be dropped.
    pub(super) anonymous: u64,
    pub(super) processes: usize,
}

impl Idle {
    /// More than there can be.
    pub(super) const MOST: Idle = Idle { kib: u64::MAX, anonymous: u64::MAX, processes: usize::MAX };
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
    let supervisors = tree.split_last().map_or(tree, |(_, supervisors)| supervisors);
    let mut sum = Idle { kib: 0, anonymous: 0, processes: supervisors.len() };
    for pid in supervisors {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path} (root may)"))?;
        let field = |name: &str| field(&text, name).with_context(|| format!("{path} has no {name}"));
        sum.kib += field("Pss:")?;
        sum.anonymous += field("Pss_Anon:")?;
    }
    Ok(sum)
}

fn field(rollup: &str, name: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
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
        let rollup = "00400000-7fff rollup\nRss:   12 kB\nPss:    9 kB\nPss_Dirty: 3 kB\nPss_Anon: 2 kB\n";
        assert_eq!((field(rollup, "Pss:"), field(rollup, "Pss_Anon:"), field(rollup, "Swap:")), (Some(9), Some(2), None));
    }

    #[test]
    fn what_waits_for_a_program_is_counted_and_the_program_is_not() {
        let found = idle(Command::new("sh").args(["-c", "sleep 60; :"])).unwrap();
        assert_eq!(found.processes, 1);
        assert!(found.kib >= found.anonymous && found.anonymous > 0, "{found:?}");
        assert_eq!(idle(Command::new("sleep").arg("60")).unwrap(), Idle { kib: 0, anonymous: 0, processes: 0 });
    }
}
