//! Runs one program in the bare root under ptrace and records what every process of it had mapped when
//! it ended: the exit stop comes before the kernel lets go of the maps, so no short run is missed.

use super::bare::Bare;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No row may take longer, downloads included.
const LIMIT: Duration = Duration::from_secs(600);
/// How long a row of the kind `alive` has to live.
const LIFE: Duration = Duration::from_secs(5);

/// A file that a process had mapped, as the process named it, and its device and inode.
pub(super) type Mapped = (PathBuf, (u64, u64));

/// What was seen of one run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// `None`: it still ran when it was killed; 128 + n for signal n.
    pub(super) status: Option<i32>,
    /// It was killed because the limit was reached, not because it had lived long enough.
    pub(super) overdue: bool,
    /// Standard output, then standard error.
    pub(super) text: String,
    /// `/proc/<pid>/exe` → the ELF files that process had mapped.
    pub(super) processes: BTreeMap<PathBuf, BTreeSet<Mapped>>,
    /// From the first exec of `program` (or the start) to the end.
    pub(super) took: Duration,
}

/// Starts it; `program` is the path whose exec starts the five seconds, `alive` says they count.
pub(super) fn watch(spec: &Bare, program: &Path, alive: bool, output: &Path) -> Result<Seen> {
    let file = |name: &str| fs::File::create(output.join(name)).with_context(|| format!("create {name}"));
    let mut child = Command::new(std::env::current_exe().context("find xtask")?)
        .args(["enter-bare-root", &serde_json::to_string(spec).context("describe the root")?])
        .stdin(Stdio::piped())
        .stdout(file("stdout")?)
        .stderr(file("stderr")?)
        .spawn()
        .context("start the entering process")?;
    let main = Pid::from_raw(i32::try_from(child.id()).context("a process id out of range")?);
    let options = Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(main, options).context("attach to the entering process")?;
    drop(child.stdin.take());

    let mut seen = Seen::default();
    let mut tasks = BTreeSet::from([main]);
    let begun = Instant::now();
    let (mut started, mut killed, mut status) = (None::<Instant>, false, None);
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                let over = begun.elapsed() > LIMIT;
                let lived = alive && started.is_some_and(|at| at.elapsed() > LIFE);
                // A main process that is gone leaves no one whose end is waited for.
                if !killed && (over || lived || status.is_some()) {
                    (killed, seen.overdue) = (true, over && status.is_none());
                    for task in &tasks {
                        look(*task, &mut seen.processes);
                    }
                    for task in &tasks {
                        kill(*task, Signal::SIGKILL).ok();
                    }
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            Ok(WaitStatus::PtraceEvent(task, _, event)) => {
                tasks.insert(task);
                match event {
                    nix::libc::PTRACE_EVENT_EXIT => look(task, &mut seen.processes),
                    nix::libc::PTRACE_EVENT_EXEC if started.is_none() => {
                        let exe = fs::read_link(format!("/proc/{task}/exe")).ok();
                        started = (exe.as_deref() == Some(program)).then(Instant::now);
                    }
                    _ => {}
                }
                ptrace::cont(task, None).ok();
            }
            Ok(WaitStatus::Stopped(task, signal)) => {
                tasks.insert(task);
                // The first stop of a new child is ptrace's own and is not delivered.
                ptrace::cont(task, Some(signal).filter(|s| *s != Signal::SIGSTOP && *s != Signal::SIGTRAP)).ok();
            }
            Ok(WaitStatus::Exited(task, code)) => {
                tasks.remove(&task);
                if task == main && !killed {
                    status = Some(code);
                }
            }
            Ok(WaitStatus::Signaled(task, signal, _)) => {
                tasks.remove(&task);
                if task == main && !killed {
                    status = Some(128 + signal as i32);
                }
            }
            Ok(WaitStatus::PtraceSyscall(task)) => {
                ptrace::cont(task, None).ok();
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error).context("wait for the program"),
        }
    }
    seen.status = status;
    seen.took = started.unwrap_or(begun).elapsed();
    for name in ["stdout", "stderr"] {
        let bytes = fs::read(output.join(name)).with_context(|| format!("read {name}"))?;
        seen.text.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(seen)
}

/// Adds the ELF files that a task has mapped now. A task that is gone adds nothing.
fn look(task: Pid, processes: &mut BTreeMap<PathBuf, BTreeSet<Mapped>>) {
    let proc = PathBuf::from(format!("/proc/{task}"));
    let (Ok(exe), Ok(maps)) = (fs::read_link(proc.join("exe")), fs::read_to_string(proc.join("maps"))) else { return };
    let mapped = processes.entry(exe).or_default();
    for (file, executable) in files(&maps) {
        let inside = proc.join("root").join(file.0.strip_prefix("/").unwrap_or(&file.0));
        if !mapped.contains(&file) && is_elf(&inside).unwrap_or(executable) {
            mapped.insert(file);
        }
    }
}

/// `None` if it cannot be read: it was removed since. Then what is mapped as code counts as ELF.
fn is_elf(path: &Path) -> Option<bool> {
    let mut magic = [0; 4];
    let mut file = fs::File::open(path).ok()?;
    Some(file.read_exact(&mut magic).is_ok() && &magic == b"\x7fELF")
}

/// The file mappings of a `/proc/<pid>/maps` text (proc(5)): `range perms offset major:minor inode path`.
/// Anonymous memory, memfds and devices are no files. Each comes with whether any part of it may be executed.
fn files(maps: &str) -> BTreeMap<Mapped, bool> {
    let mut found = BTreeMap::new();
    let all = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let executable = fields.next()?.contains('x');
        let mut fields = fields.skip(1);
        let (major, minor) = fields.next()?.split_once(':')?;
        let inode: u64 = fields.next()?.parse().ok()?;
        let device = (u64::from_str_radix(major, 16).ok()?, u64::from_str_radix(minor, 16).ok()?);
        let path = line.get(line.find('/')?..)?;
        let file = inode != 0 && !path.starts_with("/memfd:") && !path.starts_with("/dev/") && !path.starts_with("/SYSV");
        file.then(|| ((PathBuf::from(path), (nix::sys::stat::makedev(device.0, device.1), inode)), executable))
    });
    for (file, executable) in all {
        *found.entry(file).or_default() |= executable;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_maps_text_count() {
        let maps = "00400000-00401000 r-xp 00000000 fd:01 42                         /app/with space/x\n\
                    7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
                    7f0000002000-7f0000003000 rw-s 00000000 00:01 7                  /memfd:jit (deleted)\n\
                    00401000-00402000 rw-p 00001000 fd:01 42                         /app/with space/x\n\
                    7ffc00000000-7ffc00001000 rw-p 00000000 00:00 0                  [stack]\n";
        let expected = ((PathBuf::from("/app/with space/x"), (nix::sys::stat::makedev(0xfd, 1), 42)), true);
        assert_eq!(files(maps).into_iter().collect::<Vec<_>>(), [expected]);
    }
}
