//! Writes the new file beside the old one under a name of its own and gives it the old one's name in
//! one step. The old file is not touched: who runs it, has it mapped or knows it by another name keeps it.

use super::error::CommitError;
use super::faithful;
use super::source::{Source, Stamp, followed, regular};
use super::sys;
use super::transfer::{Copier, Transfer};
use super::work::Work;
use super::{Done, How, Settings};
use crate::plan::Plan;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The longest name of a file on every common file system (`NAME_MAX`), in bytes.
const NAME_MOST: usize = 255;

/// Replaces the file by what the plan says: a temporary file in the same directory, flushed, renamed over it, the
/// directory flushed. A plan that changes nothing writes nothing.
///
/// # Errors
/// Any [`CommitError`]; the file is as it was and the temporary one is gone, except for [`CommitError::Unflushed`]:
/// there the new file is in its place.
pub fn replace(source: &Source, plan: &Plan, settings: &Settings) -> Result<Done, CommitError> {
    let work = Work::of(source, plan)?;
    if work.is_nothing() {
        return Ok(Done::unchanged(source));
    }
    let staged = Staged::write(source, &work, source.path().to_owned(), true, settings)?;
    publish(source, staged, settings)
}

/// Writes what the plan says to another path, also if nothing changes; a file that is there is replaced in one step, a
/// symbolic link is followed. If it is the source itself, this is a [`replace`]. The new file belongs to the caller
/// and has the source's permissions, without set-id bits; nothing else of the source comes along.
///
/// # Errors
/// As [`replace`]; [`CommitError::NotRegular`] if there is something that is no regular file.
pub fn output(source: &Source, plan: &Plan, to: &Path, settings: &Settings) -> Result<Done, CommitError> {
    let work = Work::of(source, plan)?;
    let target = followed(to).map_err(CommitError::io("following", to))?;
    let same = match std::fs::symlink_metadata(&target) {
        Ok(meta) => {
            regular(&target, &meta)?;
            let (there, source) = (Stamp::of(&meta), source.stamp());
            (there.dev, there.ino) == (source.dev, source.ino)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(CommitError::io("looking at", &target)(e)),
    };
    let staged = Staged::write(source, &work, target, same, settings)?;
    publish(source, staged, settings)
}

fn publish(source: &Source, staged: Staged, settings: &Settings) -> Result<Done, CommitError> {
    source.stamp().check(source.path())?;
    let done = staged.rename(settings.durable)?;
    if settings.durable {
        flush_name(&done.path).map_err(|source| CommitError::Unflushed { path: done.path.clone(), source })?;
    }
    Ok(done)
}

/// A complete new file under its temporary name, closed (a program that is still open for writing cannot be started:
/// ETXTBSY). Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Staged {
    temporary: Temporary,
    done: Done,
}

impl Staged {
    /// Writes and, if asked, flushes it. `same`: it will be the source's successor, not a copy.
    pub(super) fn write(source: &Source, work: &Work<'_>, target: PathBuf, same: bool, settings: &Settings) -> Result<Staged, CommitError> {
        let (temporary, file) = Temporary::beside(&target).map_err(CommitError::io("making a file beside", &target))?;
        let transfer = fill(source, work, &file).map_err(CommitError::io("writing the new file for", &target))?;
        let mut lost = Vec::new();
        if same {
            faithful::succeed(source, &file, settings, &mut lost)?;
        } else {
            faithful::mode_of_a_copy(source, &file, &target, &mut lost)?;
            if settings.keep_times {
                sys::set_times(&file, source.meta()).map_err(CommitError::io("giving its times to", &target))?;
            }
        }
        if settings.durable {
            sys::flush(&file).map_err(CommitError::io("flushing the new file for", &target))?;
        }
        let links_broken = if same { source.other_names() } else { 0 };
        let how = if same { How::Replaced(transfer) } else { How::Written(transfer) };
        Ok(Staged { temporary, done: Done { path: target, how, len: work.new_len(), links_broken, lost, unasked: 0 } })
    }

    pub(super) fn target(&self) -> &Path {
        &self.done.path
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, durable: bool) -> Result<Done, CommitError> {
        // Renamed over another file, unwritten bytes are sent to the disk at once (auto_da_alloc of ext4, the like of
        // btrfs): on 1 GiB half a second that who does not wait for the disk did not ask for. Exchanged, they are not; the
        // temporary name is then the old file's, and goes with it.
        if !durable && sys::exchange(&self.temporary.path, &self.done.path).is_ok() {
            return Ok(self.done);
        }
        sys::rename(&self.temporary.path, &self.done.path).map_err(CommitError::io("renaming the new file to", &self.done.path))?;
        self.temporary.renamed = true;
        Ok(self.done)
    }
}

fn fill(source: &Source, work: &Work<'_>, file: &File) -> io::Result<Transfer> {
    let mut copier = Copier::new(source.file(), file);
    let replaced: Vec<_> = work.moves().iter().map(|m| m.to.clone()).collect();
    let transfer = copier.whole(work.kept(), work.new_len(), &replaced)?;
    for part in work.moves() {
        copier.range(part.from.clone(), part.to.start)?;
    }
    for write in work.writes() {
        sys::write_all(file, &write.new, write.offset.0)?;
    }
    Ok(transfer)
}

/// Flushes the directory that holds a name.
pub(super) fn flush_name(path: &Path) -> io::Result<()> {
    let flushed = match sys::open_directory(directory(path)) {
        Ok(directory) => sys::flush(&directory),
        // A directory may be written to without being readable; then all of its file system is flushed.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => sys::flush_file_system(&sys::open_to_read(path)?),
        Err(e) => Err(e),
    };
    // fsync(2): EINVAL where the file system has no such thing for directories.
    flushed.or_else(|e| if sys::is(&e, Errno::INVAL) { Ok(()) } else { Err(e) })
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file under a name that nothing else has, removed again unless it is renamed.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn beside(target: &Path) -> io::Result<(Temporary, File)> {
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        loop {
            let path = directory(target).join(temporary_name(name.as_bytes(), &sys::random_name()?));
            match sys::create(&path) {
                Ok(file) => return Ok((Temporary { path, renamed: false }, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// `.NAME.xeno-RANDOM`, cut so that every file system takes it.
fn temporary_name(name: &[u8], random: &str) -> OsString {
    const MARK: &[u8] = b".xeno-";
    let most = NAME_MOST.saturating_sub(1 + MARK.len() + random.len());
    let name = name.get(..most).unwrap_or(name);
    OsString::from_vec([b".", name, MARK, random.as_bytes()].concat())
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(e) = sys::remove(&self.path) {
            log::warn!("removing {:?}: {e}; remove it by hand", self.path);
        }
    }
}
