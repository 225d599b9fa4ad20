//! Moves bytes from one file to another without holding them: shared where the file system can
//! (`FICLONE`), else copied by the kernel (copy_file_range(2)), else through one buffer. Holes stay
//! holes. Knows offsets only, neither plans nor names.

use super::sys;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;

/// The most that passes through memory at a time, in bytes.
const BUFFER: usize = 256 * 1024;

/// The most one call is asked to copy, in bytes: a signal is answered between two.
const AT_ONCE: u64 = 256 << 20;

/// How the greater part of a new file's bytes came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// They are the original's own blocks, shared until one of the two is changed.
    Shared,
    /// They were copied.
    Copied,
}

/// Copies from one file into another one (or to another place in the same one).
pub(super) struct Copier<'a> {
    from: &'a File,
    to: &'a File,
    /// Whether copy_file_range(2) may still be asked.
    kernel: bool,
    /// Whether holes can be asked for.
    holes: bool,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a File, to: &'a File) -> Copier<'a> {
        Copier { from, to, kernel: true, holes: true, buffer: Vec::new() }
    }

    /// Gives the new, empty target the first `kept` bytes of the original and the length `len`
    /// (`kept <= len`); what follows is a hole. `replaced` are ranges that will be copied over, in order
    /// and without overlap: they need not come along.
    pub(super) fn whole(&mut self, kept: u64, len: u64, replaced: &[Range<u64>]) -> io::Result<Transfer> {
        if kept > 0 && self.shares()? {
            // The original may be longer than what is kept, and then its end must not come back.
            sys::set_len(self.to, kept)?;
            sys::set_len(self.to, len)?;
            for range in replaced {
                self.clear(range.start.min(kept)..range.end.min(kept))?;
            }
            return Ok(Transfer::Shared);
        }
        sys::set_len(self.to, len)?;
        let mut at = 0;
        for range in replaced {
            self.range(at..range.start.min(kept), at)?;
            at = range.end.max(at);
        }
        self.range(at..kept, at)?;
        Ok(Transfer::Copied)
    }

    fn shares(&self) -> io::Result<bool> {
        match sys::clone_whole(self.from, self.to) {
            Ok(()) => Ok(true),
            Err(e) if refused(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Copies a range of the original to `at`, where the target has a hole; holes of the original are passed over.
    pub(super) fn range(&mut self, range: Range<u64>, at: u64) -> io::Result<()> {
        let mut next = range.start;
        while next < range.end {
            let Some(data) = self.data(next)?.filter(|data| *data < range.end) else { return Ok(()) };
            let end = self.hole(data, range.end);
            self.dense(data..end, at + (data - range.start))?;
            next = end;
        }
        Ok(())
    }

    fn data(&mut self, at: u64) -> io::Result<Option<u64>> {
        if !self.holes {
            return Ok(Some(at));
        }
        match sys::next_data(self.from, at) {
            Err(e) if refused(&e) => {
                self.holes = false;
                Ok(Some(at))
            }
            other => other,
        }
    }

    /// The end of the data at `at`, at most `end`; what cannot be told apart is data.
    fn hole(&mut self, at: u64, end: u64) -> u64 {
        let hole = if self.holes { sys::next_hole(self.from, at).ok() } else { None };
        hole.filter(|hole| *hole > at).map_or(end, |hole| hole.min(end))
    }

    fn dense(&mut self, range: Range<u64>, to: u64) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let left = range.end - at;
            let target = to + (at - range.start);
            let moved = if self.kernel { self.by_kernel(at, target, left)? } else { 0 };
            // copy_file_range(2): some file systems answer 0 where there are bytes.
            at += if moved > 0 { moved.min(left) } else { self.by_memory(at, target, left)? };
        }
        Ok(())
    }

    fn by_kernel(&mut self, at: u64, target: u64, left: u64) -> io::Result<u64> {
        let len = usize::try_from(left.min(AT_ONCE)).unwrap_or(BUFFER);
        match sys::copy_some(self.from, at, self.to, target, len) {
            Err(e) if refused(&e) => {
                self.kernel = false;
                Ok(0)
            }
            other => other,
        }
    }

    fn by_memory(&mut self, at: u64, target: u64, left: u64) -> io::Result<u64> {
        self.buffer.resize(BUFFER, 0);
        let most = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        let part = self.buffer.get_mut(..most).unwrap_or_default();
        let read = sys::read_some(self.from, part, at)?;
        if read == 0 {
            // Somebody cut the original short meanwhile.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sys::write_all(self.to, self.buffer.get(..read).unwrap_or_default(), target)?;
        Ok(read as u64)
    }

    /// Makes a range of the target read as zeros, where possible as a hole.
    fn clear(&mut self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match sys::punch(self.to, range.start, range.end - range.start) {
            Err(e) if refused(&e) => {}
            other => return other,
        }
        self.buffer.clear();
        self.buffer.resize(BUFFER, 0);
        let mut at = range.start;
        while at < range.end {
            let most = usize::try_from(range.end - at).map_or(BUFFER, |left| left.min(BUFFER));
            sys::write_all(self.to, self.buffer.get(..most).unwrap_or_default(), at)?;
            at += most as u64;
        }
        Ok(())
    }
}

/// Whether an answer means "not between these files" or "not by this kernel", as against a failure of
/// the medium: the list of coreutils' copy.c (`is_CLONENOTSUP`).
fn refused(error: &io::Error) -> bool {
    const ANSWERS: [Errno; 9] =
        [Errno::NOSYS, Errno::NOTTY, Errno::INVAL, Errno::BADF, Errno::XDEV, Errno::TXTBSY, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP];
    ANSWERS.iter().any(|errno| sys::is(error, *errno))
}
