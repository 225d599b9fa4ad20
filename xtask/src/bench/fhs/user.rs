//! Work done as an ordinary user, in a thread of its own: the kernel keeps ids for each thread, and a program is
//! started with those of the thread that starts it. Changes nothing for the rest of the process.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use rustix::thread::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Nobody in particular; has no home and no files.
const USER: u32 = 65534;

/// Does the work in `/` as an ordinary user: [`USER`] if the caller is root, else the caller.
pub(super) fn ordinary<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS).context("unshare the working directory")?;
            std::env::set_current_dir("/").context("change directory to /")?;
            if geteuid().is_root() {
                let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
                set_thread_groups(&[]).context("give up groups")?;
                set_thread_res_gid(group, group, group).context("become another group")?;
                set_thread_res_uid(user, user, user).context("become another user")?;
            }
            work()
        });
        thread.join().map_err(|_| anyhow!("the work of an ordinary user died"))?
    })
}

/// Lets the user of [`ordinary`] start a command, in `/`.
pub(super) fn by(command: &mut Command) -> &mut Command {
    if geteuid().is_root() {
        command.uid(USER).gid(USER);
    }
    command.current_dir("/")
}

/// Gives a directory to the user of [`ordinary`].
pub(super) fn give(directory: &Path) -> Result<()> {
    if geteuid().is_root() {
        chown(directory, Some(USER), Some(USER)).with_context(|| format!("give {} to a user", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn programs_of_the_thread_are_the_users_and_the_process_stays_who_it_was() {
        let id = || process::output(Command::new("id").arg("-u")).map(|text| text.trim().to_owned());
        let before = id().unwrap();
        let expected = if geteuid().is_root() { USER.to_string() } else { before.clone() };
        assert_eq!(ordinary(id).unwrap(), expected);
        assert_eq!(id().unwrap(), before);
    }
}
