//! Work in a mount namespace of its own, in a thread of its own: what is mounted there is seen by the programs
//! that the work starts and by nobody else. Needs root; enters no user namespace.

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use std::path::Path;

/// Fails, with what to do, where namespaces are not ours to make.
pub(crate) fn possible() -> Result<()> {
    if !geteuid().is_root() {
        bail!("a loader cannot be hidden by an ordinary user; try: as root");
    }
    Ok(())
}

/// Does the work after unsharing mounts, and what else is asked for; nothing mounted there reaches the host.
/// Linux lets each thread have its own (unshare(2); only CLONE_NEWUSER needs a process of one thread).
pub(crate) fn apart<T: Send>(more: CloneFlags, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    possible()?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | more).context("unshare the mount namespace")?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none).context("make mounts private")?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the work apart died"))?
    })
}

/// Shows `from` at `at`, which must exist and be of its kind.
pub(crate) fn bind(from: &Path, at: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(Some(from), at, none, MsFlags::MS_BIND, none).with_context(|| format!("bind {} to {}", from.display(), at.display()))
}
