//! Passes bytes both ways between two terminals, with a bounded buffer each way, and never waits for one of them
//! alone: a program that does not read must not keep its own output from the reader.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes each way.
const BUFFER: usize = 1 << 14;
/// How often the output of a program that has ended is asked for: more than a terminal of the kernel's holds.
const LAST_ROUNDS: u32 = 256;

/// Bytes that were read and not yet written.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
}

impl Buffer {
    fn wants_more(&self) -> bool {
        !self.ended && self.bytes.len() < BUFFER
    }

    fn fill(&mut self, from: BorrowedFd<'_>) {
        let mut chunk = [0u8; BUFFER];
        let room = BUFFER.saturating_sub(self.bytes.len());
        match read(from, chunk.get_mut(..room).unwrap_or_default()) {
            Ok(0) if room > 0 => self.ended = true,
            Ok(n) => self.bytes.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: nobody has the other side of the terminal open any more.
            Err(_) => self.ended = true,
        }
    }

    /// Whether it could be written to at all.
    fn drain(&mut self, to: BorrowedFd<'_>) -> bool {
        while !self.bytes.is_empty() {
            match write(to, &self.bytes) {
                Ok(n) => drop(self.bytes.drain(..n.min(self.bytes.len()))),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

/// The two terminals.
pub(super) struct Relay {
    master: OwnedFd,
    /// Kept open, so that the terminal lives on while no program has it open.
    _slave: OwnedFd,
    outer: OwnedFd,
    keys: Buffer,
    output: Buffer,
    /// Whether keys are for the program now.
    in_front: bool,
    hung_up: bool,
}

impl Relay {
    /// `reads`: keys are read from the outer terminal, too.
    pub(super) fn new((master, slave): (OwnedFd, OwnedFd), outer: OwnedFd, reads: bool) -> Relay {
        let keys = Buffer { ended: !reads, ..Buffer::default() };
        Relay { master, _slave: slave, outer, keys, output: Buffer::default(), in_front: false, hung_up: false }
    }

    pub(super) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Keys are read in the foreground alone: in the background they are somebody else's, and reading stops the process.
    pub(super) fn set_in_front(&mut self, in_front: bool) {
        self.in_front = in_front;
    }

    fn wants_keys(&self) -> bool {
        self.in_front && self.keys.wants_more()
    }

    /// Whether the outer terminal is gone.
    pub(super) fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Waits until a signal is there or bytes can be passed on, and passes them on.
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub(super) fn wait(relay: Option<&mut Relay>, signals: BorrowedFd<'_>) -> nix::Result<()> {
        let none = PollTimeout::NONE;
        let Some(relay) = relay else {
            let mut only = [PollFd::new(signals, PollFlags::POLLIN)];
            return poll(&mut only, none).map(drop).or_else(interrupted);
        };
        let mut flags = [PollFlags::empty(), PollFlags::empty()];
        let [master, outer] = &mut flags;
        master.set(PollFlags::POLLIN, relay.output.wants_more());
        master.set(PollFlags::POLLOUT, !relay.keys.bytes.is_empty());
        outer.set(PollFlags::POLLIN, relay.wants_keys());
        outer.set(PollFlags::POLLOUT, !relay.output.bytes.is_empty());
        // One whose flags are empty would still wake this with POLLHUP, again and again.
        let [master, outer] = flags;
        let mut fds = vec![PollFd::new(signals, PollFlags::POLLIN)];
        let ends = [(relay.master.as_fd(), master), (relay.outer.as_fd(), outer)];
        fds.extend(ends.into_iter().filter(|(_, flags)| !flags.is_empty()).map(|(fd, flags)| PollFd::new(fd, flags)));
        poll(&mut fds, none).map(drop).or_else(interrupted)?;
        relay.pass();
        Ok(())
    }

    /// Neither end makes this wait: both are opened so.
    fn pass(&mut self) {
        if self.output.wants_more() {
            self.output.fill(self.master.as_fd());
        }
        if self.wants_keys() {
            self.keys.fill(self.outer.as_fd());
            self.hung_up |= self.keys.ended;
        }
        if !self.keys.drain(self.master.as_fd()) {
            self.keys.bytes.clear();
        }
        if !self.output.drain(self.outer.as_fd()) {
            self.hung_up = true;
            self.output.bytes.clear();
        }
    }

    /// Passes on what the program had written before it ended; waits for a terminal that is stopped, but not against
    /// a signal that asks for the end.
    pub(super) fn finish(&mut self, signals: &SignalFd) {
        // What others go on writing is not the program's any more.
        for _ in 0..LAST_ROUNDS {
            if self.output.wants_more() {
                self.output.fill(self.master.as_fd());
            }
            if self.output.bytes.is_empty() || !self.output.drain(self.outer.as_fd()) {
                return;
            }
            if !self.output.bytes.is_empty() {
                let mut both = [PollFd::new(self.outer.as_fd(), PollFlags::POLLOUT), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                if poll(&mut both, PollTimeout::NONE).is_err_and(|errno| errno != Errno::EINTR) {
                    return;
                }
                while let Ok(Some(told)) = signals.read_signal() {
                    if super::pty::FORWARDED.iter().any(|signal| u32::try_from(*signal as i32) == Ok(told.ssi_signo)) {
                        return;
                    }
                }
            }
        }
    }
}

fn interrupted(errno: Errno) -> nix::Result<()> {
    if errno == Errno::EINTR { Ok(()) } else { Err(errno) }
}
