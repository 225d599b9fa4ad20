//! Which processes run a file or have it mapped, from `/proc`, by device and inode: whatever name,
//! mount namespace or deletion separates them from it. Sees what the caller may see and counts the rest.

use super::error::CommitError;
use super::source::{Stamp, followed};
use super::sys;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a process uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is its program.
    Runs,
    /// It has it in memory: a library, or a file it reads.
    Maps,
}

/// A process that uses the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id, as seen from the caller's PID namespace.
    pub pid: u32,
    /// What `/proc/PID/comm` calls it; at most 15 bytes, control characters escaped.
    pub name: String,
    /// How.
    pub how: Use,
}

/// The processes that use a file, and how many could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Those that do.
    pub list: Vec<User>,
    /// Those whose maps the caller may not read (another user's); 1 if there is no `/proc`.
    pub unreadable: usize,
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 5;
        if self.list.is_empty() {
            return write!(f, "a process runs it that this user cannot see");
        }
        for (at, user) in self.list.iter().take(MOST).enumerate() {
            let how = if user.how == Use::Runs { "running" } else { "mapped" };
            write!(f, "{}process {} ({}) has it {how}", if at > 0 { ", " } else { "" }, user.pid, user.name)?;
        }
        if self.list.len() > MOST {
            write!(f, " and {} more", self.list.len() - MOST)?;
        }
        Ok(())
    }
}

/// Who runs `path` or has it mapped; links are followed. Of the caller itself only that it runs it:
/// it may have mapped the file to read it.
///
/// # Errors
/// [`CommitError::Io`] if there is no such file.
pub fn users(path: &Path) -> Result<Users, CommitError> {
    let real = followed(path).map_err(CommitError::io("following", path))?;
    let meta = std::fs::metadata(&real).map_err(CommitError::io("looking at", &real))?;
    Ok(of(&Stamp::of(&meta), &real))
}

/// As [`users`], for a file that is known already.
pub(super) fn of(stamp: &Stamp, path: &Path) -> Users {
    let wanted = Wanted {
        dev: stamp.dev,
        ino: stamp.ino,
        dev_text: sys::device_in_maps(stamp.dev),
        ino_text: stamp.ino.to_string(),
        path: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        caller: std::process::id(),
    };
    let mut users = Users::default();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Users { unreadable: 1, ..users } };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match wanted.used_by(pid, &entry.path()) {
            Ok(Some(how)) => users.list.push(User { pid, name: name(&entry.path()), how }),
            // A process that ended meanwhile (ENOENT, ESRCH) uses nothing.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => users.unreadable += 1,
            Ok(None) | Err(_) => {}
        }
    }
    users.list.sort_by_key(|user| user.pid);
    users
}

struct Wanted {
    dev: u64,
    ino: u64,
    dev_text: String,
    ino_text: String,
    path: PathBuf,
    caller: u32,
}

impl Wanted {
    fn used_by(&self, pid: u32, proc: &Path) -> io::Result<Option<Use>> {
        // The link is the kernel's own: it leads to the file whatever its name is now.
        // Kernel threads and zombies have neither it nor maps.
        if self.is(&std::fs::metadata(proc.join("exe"))?) {
            return Ok(Some(Use::Runs));
        }
        if pid == self.caller {
            return Ok(None);
        }
        let mut maps = BufReader::new(File::open(proc.join("maps"))?);
        let mut line = Vec::new();
        while maps.read_until(b'\n', &mut line)? > 0 {
            if self.is_in(&line, proc) {
                return Ok(Some(Use::Maps));
            }
            line.clear();
        }
        Ok(None)
    }

    /// Reads one line of `/proc/PID/maps` (proc_pid_maps(5)): addresses, permissions, offset, device, inode, path.
    fn is_in(&self, line: &[u8], proc: &Path) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(6, |b| *b == b' ');
        let addresses = fields.next().unwrap_or_default();
        let (Some(dev), Some(ino)) = (fields.nth(2), fields.next()) else { return false };
        if ino != self.ino_text.as_bytes() {
            return false;
        }
        if dev == self.dev_text.as_bytes() {
            return true;
        }
        // On btrfs and on overlays stat(2) shows another device than the maps do. Then the path decides, or,
        // where the caller may follow it, the kernel's own link to what is mapped.
        let path = fields.next().unwrap_or_default().trim_ascii_start();
        path == self.path.as_os_str().as_bytes()
            || std::str::from_utf8(addresses)
                .is_ok_and(|range| std::fs::metadata(proc.join("map_files").join(range)).is_ok_and(|meta| self.is(&meta)))
    }

    fn is(&self, meta: &std::fs::Metadata) -> bool {
        let stamp = Stamp::of(meta);
        (stamp.dev, stamp.ino) == (self.dev, self.ino)
    }
}

fn name(proc: &Path) -> String {
    let comm = std::fs::read(proc.join("comm")).unwrap_or_default();
    String::from_utf8_lossy(comm.trim_ascii_end()).escape_debug().to_string()
}
