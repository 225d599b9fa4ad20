//! What is told while a sandbox starts and when it has ended: JSON for `--info-fd` and `--json-status-fd`, and the
//! waiting of `--block-fd` and `--userns-block-fd`.

use super::inherited;
use super::options::{Fds, Unshare};
use fhs_env::{Exit, Hooks, Made, Moments};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::RawFd;

/// The names of namespaces that can be told, in their order.
const NAMES: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];

/// Descriptors that something is told to, or that are waited for.
pub(super) struct Report {
    info: Option<RawFd>,
    status: Option<RawFd>,
    userns_block: Option<RawFd>,
    block: Option<RawFd>,
    unshare: Unshare,
    /// The status descriptor, once something was told to it.
    opened: Option<File>,
}

impl Report {
    pub(super) fn new(fds: &Fds, unshare: Unshare) -> Report {
        let Fds { info, json_status, userns_block, block, .. } = *fds;
        Report { info, status: json_status, userns_block, block, unshare, opened: None }
    }

    /// The namespaces that are new, by name, each with its number.
    fn new_ones<'a>(&self, made: &'a Made) -> impl Iterator<Item = &'a (&'static str, u64)> {
        let unshare = self.unshare;
        let is_new = move |name: &str| match name {
            "cgroup" => unshare.cgroup || unshare.cgroup_try,
            "ipc" => unshare.ipc,
            "net" => unshare.net,
            "pid" => unshare.pid,
            "uts" => unshare.uts,
            name => name == "mnt",
        };
        let named = |wanted: &'static str| made.namespaces.iter().find(move |(name, _)| *name == wanted);
        NAMES.into_iter().filter(move |name| is_new(name)).filter_map(named)
    }

    fn info(&self, made: &Made) -> String {
        let lines: String = self.new_ones(made).map(|(name, number)| format!(",\n    \"{name}-namespace\": {number}")).collect();
        format!("{{\n    \"child-pid\": {}{lines}\n}}\n", made.pid)
    }

    fn line(&self, made: &Made) -> String {
        let parts: String = self.new_ones(made).map(|(name, number)| format!(", \"{name}-namespace\": {number}")).collect();
        format!("{{ \"child-pid\": {}{parts} }}\n", made.pid)
    }
}

/// Reads one byte, or sees the end, or that there is nothing to wait for.
fn wait_for(fd: RawFd) {
    if let Ok(mut file) = inherited::take(fd) {
        let _ = file.read(&mut [0]);
    }
}

impl Hooks for Report {
    fn wanted(&self) -> Moments {
        let told = self.info.is_some() || self.status.is_some() || self.userns_block.is_some();
        Moments { namespaces: told, exited: self.status.is_some() }
    }

    fn namespaces(&mut self, made: &Made) -> io::Result<()> {
        if let Some(fd) = self.info {
            inherited::take(fd)?.write_all(self.info(made).as_bytes())?;
        }
        if let Some(fd) = self.status {
            let mut file = inherited::take(fd)?;
            file.write_all(self.line(made).as_bytes())?;
            self.opened = Some(file);
        }
        if let Some(fd) = self.userns_block {
            wait_for(fd);
        }
        Ok(())
    }

    fn before_exec(&mut self) -> io::Result<()> {
        if let Some(fd) = self.block {
            wait_for(fd);
        }
        Ok(())
    }

    fn exited(&mut self, exit: Exit) {
        if let Some(file) = &mut self.opened {
            // The program has ended: nobody can be helped by a failure any more.
            let _ = file.write_all(format!("{{ \"exit-code\": {} }}\n", exit.status()).as_bytes());
        }
    }

    fn descriptors(&self) -> Vec<RawFd> {
        [self.info, self.status, self.userns_block, self.block].into_iter().flatten().collect()
    }
}
