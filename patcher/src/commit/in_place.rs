//! Changes a file where it lies: fresh bytes behind the end, then one pwrite(2) inside one page that
//! makes them true. There is no journal: whoever stops before that write leaves the old file, perhaps
//! with bytes behind its end that nothing refers to.

use super::error::CommitError;
use super::faithful::Privileges;
use super::source::{Source, Stamp};
use super::sys;
use super::transfer::Copier;
use super::users;
use super::work::{Span, Work};
use super::{Done, How, Lost, Settings};
use crate::plan::{Phase, Plan};
use rustix::io::Errno;
use std::fs::File;
use std::io;

/// Changes the file itself: its inode, its other names, mode, owner and attributes stay. A plan that changes nothing
/// writes nothing.
///
/// Killed anywhere, the file is to a loader the old one or the new one. With [`Settings::durable`] the same holds for
/// a power failure as far as the disk writes a page at once (a disk with sectors of 512 bytes may tear one that
/// crosses a sector).
///
/// # Errors
/// [`CommitError::InUse`], [`CommitError::Privileges`], [`CommitError::Unfit`] before anything is written, and a
/// replace is the way out; otherwise any [`CommitError`]: the file is then as it was, except for
/// [`CommitError::NotUndone`].
pub fn in_place(source: &Source, plan: &Plan, settings: &Settings) -> Result<Done, CommitError> {
    let work = Work::of(source, plan)?;
    if work.is_nothing() {
        return Ok(Done::unchanged(source));
    }
    if let Some(reason) = work.unfit_in_place() {
        return Err(CommitError::Unfit { path: source.path().to_owned(), reason });
    }
    let (file, unasked) = open(source)?;
    let privileges = Privileges::of(source, &file)?;
    let patch = Patch { source, work, file, privileges, settings };
    let mut lost = patch.commit()?;
    if settings.keep_times
        && let Err(e) = sys::set_times(&patch.file, source.meta())
    {
        lost.push(Lost::Times { cause: e.to_string() });
    }
    Ok(Done { path: source.path().to_owned(), how: How::InPlace, len: patch.work.new_len(), links_broken: 0, lost, unasked })
}

/// Opens the file for writing if nobody can see it change: neither a process that uses it nor another writer of ours.
/// Also, how many processes could not be asked.
fn open(source: &Source) -> Result<(File, usize), CommitError> {
    let path = source.path();
    let in_use = |users| CommitError::InUse { path: path.to_owned(), users };
    // Asked while only the source's own descriptor is open. The answer is one call; asking all processes is thousands.
    let alone = sys::is_alone(source.file());
    let file = match sys::open_to_write(path) {
        Ok(file) => file,
        Err(e) if sys::is(&e, Errno::TXTBSY) => return Err(in_use(users::of(&source.stamp(), path))),
        Err(e) => return Err(CommitError::io("opening for writing", path)(e)),
    };
    // Two programs that append at once would write through each other; the lock goes with the open file.
    if !sys::lock(&file).map_err(CommitError::io("locking", path))? {
        return Err(CommitError::Locked { path: path.to_owned() });
    }
    let meta = file.metadata().map_err(CommitError::io("looking at", path))?;
    if Stamp::of(&meta) != source.stamp() {
        return Err(CommitError::Changed { path: path.to_owned() });
    }
    if alone {
        return Ok((file, 0));
    }
    let users = users::of(&source.stamp(), path);
    if users.list.is_empty() { Ok((file, users.unreadable)) } else { Err(in_use(users)) }
}

/// One change in place, and what is needed to undo it.
struct Patch<'a> {
    source: &'a Source,
    work: Work<'a>,
    file: File,
    privileges: Privileges,
    settings: &'a Settings,
}

impl Patch<'_> {
    fn commit(&self) -> Result<Vec<Lost>, CommitError> {
        // Read before anything is written: the map shows the file as it is.
        let before_fresh = self.work.before_fresh();
        let span = self.work.commit_span();
        let mut committed = false;
        let result = self.prepare().and_then(|()| match &span {
            Some(span) => self.make_true(span, &mut committed),
            None => self.flush(),
        });
        if let Err(source) = result {
            let path = self.source.path().to_owned();
            if let Some(span) = span.filter(|_| committed)
                && sys::write_all(&self.file, &span.old, span.at).is_err()
            {
                return Err(CommitError::Unflushed { path, source });
            }
            return Err(match self.undo(committed, &before_fresh) {
                Ok(()) => CommitError::Io { operation: "changing in place", path, source },
                Err(undoing) => CommitError::NotUndone { path, source, undoing },
            });
        }
        // The new file is true; what fails now loses nothing that a loader reads.
        Ok(self.clean())
    }

    /// Everything that nobody reads yet, and the room for it first.
    fn prepare(&self) -> io::Result<()> {
        let (old, new) = (self.work.old_len(), self.work.new_len());
        for write in self.work.phase(Phase::Fresh).filter(|w| !w.new.is_empty()) {
            let end = write.offset.0 + write.new.len() as u64;
            let start = write.offset.0.max(old);
            if end > start {
                reserve(&self.file, start, end - start)?;
            }
        }
        if new > old {
            sys::set_len(&self.file, new)?;
        }
        let mut copier = Copier::new(self.source.file(), &self.file);
        for part in self.work.moves() {
            copier.range(part.from.clone(), part.to.start)?;
        }
        let mut wrote = new > old || !self.work.moves().is_empty();
        for write in self.work.phase(Phase::Fresh) {
            sys::write_all(&self.file, &write.new, write.offset.0)?;
            wrote = true;
        }
        if wrote {
            self.privileges.restore(&self.file)?;
            if self.settings.durable {
                sys::flush_data(&self.file)?;
            }
        }
        Ok(())
    }

    /// The one write. A short one (a signal cannot cause it within a page, a strange file system can) is completed.
    fn make_true(&self, span: &Span, committed: &mut bool) -> io::Result<()> {
        let wrote = sys::write_some(&self.file, &span.new, span.at)?;
        *committed = true;
        let rest = span.new.get(wrote..).ok_or(io::ErrorKind::WriteZero)?;
        sys::write_all(&self.file, rest, span.at + wrote as u64)?;
        self.privileges.restore(&self.file)?;
        self.flush()
    }

    /// Nobody waits for the disk twice who did not ask for it, unless what follows would take away what the old file needs.
    fn flush(&self) -> io::Result<()> {
        let settled = self.settings.settled || self.privileges.any() || self.work.takes_away();
        match (self.settings.durable && settled, self.privileges.any()) {
            (false, _) => Ok(()),
            // Mode and attributes are no data.
            (true, true) => sys::flush(&self.file),
            (true, false) => sys::flush_data(&self.file),
        }
    }

    /// What nobody reads any more, and what could not be done about it.
    fn clean(&self) -> Vec<Lost> {
        let mut lost = Vec::new();
        let mut writes = self.work.phase(Phase::After).peekable();
        let shorter = self.work.new_len() < self.work.old_len();
        if writes.peek().is_none() && !shorter {
            return lost;
        }
        let wiped = writes.try_for_each(|write| sys::write_all(&self.file, &write.new, write.offset.0));
        // What earlier edits put behind the end and nobody reads any more.
        if let Err(e) = wiped.and_then(|()| if shorter { sys::set_len(&self.file, self.work.new_len()) } else { Ok(()) }) {
            lost.push(Lost::Hygiene { cause: e.to_string() });
        }
        // It worked twice: a second try is worth it before a program is left without its privileges.
        if let Err(e) = self.privileges.restore(&self.file).or_else(|_| self.privileges.restore(&self.file)) {
            lost.push(Lost::Privileges { cause: e.to_string() });
        }
        lost
    }

    /// The old file again, once its page is. A page that was written and taken back is flushed before what it refers
    /// to goes: otherwise a power failure could leave one that refers to nothing.
    fn undo(&self, committed: bool, before_fresh: &[(u64, Vec<u8>)]) -> io::Result<()> {
        if committed && self.settings.durable {
            sys::flush_data(&self.file)?;
        }
        for (at, old) in before_fresh {
            sys::write_all(&self.file, old, *at)?;
        }
        sys::set_len(&self.file, self.work.old_len())?;
        self.privileges.restore(&self.file)?;
        // Who compares times sees that nothing happened; only the owner can set them.
        if let Err(e) = sys::set_times(&self.file, self.source.meta()) {
            log::debug!("times of {:?}: {e}", self.source.path());
        }
        Ok(())
    }
}

/// Takes the room now. Where a file system cannot (EOPNOTSUPP), the write itself will say that the disk is full.
fn reserve(file: &File, at: u64, len: u64) -> io::Result<()> {
    match sys::reserve(file, at, len) {
        Err(e) if [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].iter().any(|errno| sys::is(&e, *errno)) => Ok(()),
        other => other,
    }
}
