//! What the processes of a sandbox tell its monitor, as bytes: one message a packet. Hostile bytes are read too, as
//! a program may come to write in its init's name; they end in `None`, never in more memory than a packet has.

use super::error::{Failure, Part, Why};
use crate::enter::State;
use crate::error::Fault;
use crate::sandbox::Exit;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The most bytes of a packet; longer texts are cut.
pub(crate) const PACKET: usize = 4096;
/// The bytes of a packet before its text.
const HEAD: usize = 16;

/// One message. Who sent it comes with it from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The sender goes on in the place of the process that was born.
    Here,
    /// The namespaces exist; the sender waits.
    Made,
    /// The sender is about to become the program.
    Program,
    /// A step failed.
    Failed(Failure),
    /// The program ended.
    Ended(Exit),
    /// The program was stopped.
    Stopped,
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut head = |tag: u8, a: u8, b: u8, index: usize, number: i32| {
            bytes.extend([tag, a, b, 0]);
            bytes.extend(u64::try_from(index).unwrap_or(u64::MAX).to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
        };
        match self {
            Message::Here => head(b'H', 0, 0, 0, 0),
            Message::Made => head(b'M', 0, 0, 0, 0),
            Message::Program => head(b'P', 0, 0, 0, 0),
            Message::Stopped => head(b'S', 0, 0, 0, 0),
            Message::Ended(Exit::Code(code)) => head(b'C', *code, 0, 0, 0),
            Message::Ended(Exit::Signal(signal)) => head(b'K', 0, 0, 0, *signal),
            Message::Failed(failure) => {
                let part = match failure.part {
                    Part::Before => 0,
                    Part::Tree => 1,
                    Part::After => 2,
                };
                let (tag, number, text) = match &failure.why {
                    Why::Fault(Fault::Step(errno)) => (b'e', *errno as i32, &[][..]),
                    Why::Fault(Fault::Source(errno)) => (b's', *errno as i32, &[][..]),
                    Why::Fault(Fault::Parents(errno)) => (b'p', *errno as i32, &[][..]),
                    Why::Fault(Fault::Place(errno)) => (b'a', *errno as i32, &[][..]),
                    Why::Fault(Fault::Read(errno)) => (b'r', *errno as i32, &[][..]),
                    Why::Fault(Fault::Write(errno)) => (b'w', *errno as i32, &[][..]),
                    Why::Fault(Fault::Mount(errno)) => (b'm', *errno as i32, &[][..]),
                    Why::Fault(Fault::Restrict(errno)) => (b'o', *errno as i32, &[][..]),
                    Why::Fault(Fault::OtherDirectory) => (b'd', 0, &[][..]),
                    Why::Fault(Fault::OtherFile) => (b'f', 0, &[][..]),
                    Why::Fault(Fault::OtherLink(target)) => (b'l', 0, target.as_os_str().as_bytes()),
                    Why::Text(text) => (b't', 0, text.as_bytes()),
                };
                head(tag, part, 0, failure.index, number);
                bytes.extend(text.get(..text.len().min(PACKET - HEAD)).unwrap_or_default());
            }
        }
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
        let (head, text) = bytes.split_at_checked(HEAD)?;
        let (&[tag, a, ..], rest) = head.split_first_chunk::<4>()?;
        let (index, number) = rest.split_first_chunk::<8>()?;
        let index = usize::try_from(u64::from_ne_bytes(*index)).ok()?;
        let number = i32::from_ne_bytes(number.try_into().ok()?);
        let why = match tag {
            b'H' => return Some(Message::Here),
            b'M' => return Some(Message::Made),
            b'P' => return Some(Message::Program),
            b'S' => return Some(Message::Stopped),
            b'C' => return Some(Message::Ended(Exit::Code(a))),
            b'K' if (1..=64).contains(&number) => return Some(Message::Ended(Exit::Signal(number))),
            b'e' => Why::Fault(Fault::Step(Errno::from_raw(number))),
            b's' => Why::Fault(Fault::Source(Errno::from_raw(number))),
            b'p' => Why::Fault(Fault::Parents(Errno::from_raw(number))),
            b'a' => Why::Fault(Fault::Place(Errno::from_raw(number))),
            b'r' => Why::Fault(Fault::Read(Errno::from_raw(number))),
            b'w' => Why::Fault(Fault::Write(Errno::from_raw(number))),
            b'm' => Why::Fault(Fault::Mount(Errno::from_raw(number))),
            b'o' => Why::Fault(Fault::Restrict(Errno::from_raw(number))),
            b'd' => Why::Fault(Fault::OtherDirectory),
            b'f' => Why::Fault(Fault::OtherFile),
            b'l' => Why::Fault(Fault::OtherLink(PathBuf::from(OsStr::from_bytes(text)))),
            b't' => Why::Text(String::from_utf8_lossy(text).into_owned()),
            _ => return None,
        };
        let part = match a {
            0 => Part::Before,
            1 => Part::Tree,
            2 => Part::After,
            _ => return None,
        };
        // The process that failed is gone; the one that reads is as it was.
        Some(Message::Failed(Failure { part, index, why, state: State::Untouched }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: Why) -> Message {
        Message::Failed(Failure { part: Part::Tree, index: 4711, why, state: State::Untouched })
    }

    #[test]
    fn what_is_told_is_what_is_understood() {
        for message in [
            Message::Here,
            Message::Made,
            Message::Program,
            Message::Stopped,
            Message::Ended(Exit::Code(255)),
            Message::Ended(Exit::Signal(64)),
            failed(Errno::ENOSPC.into()),
            failed(Why::Fault(Fault::Source(Errno::ENOENT))),
            failed(Why::Fault(Fault::Parents(Errno::ENOTDIR))),
            failed(Why::Fault(Fault::Place(Errno::EROFS))),
            failed(Why::Fault(Fault::Read(Errno::EIO))),
            failed(Why::Fault(Fault::Write(Errno::ENOSPC))),
            failed(Why::Fault(Fault::Mount(Errno::ENODEV))),
            failed(Why::Fault(Fault::Restrict(Errno::EINVAL))),
            failed(Why::Fault(Fault::OtherDirectory)),
            failed(Why::Fault(Fault::OtherFile)),
            failed(Why::Fault(Fault::OtherLink(PathBuf::from(OsStr::from_bytes(b"/a\nb\xff"))))),
            failed(Why::Text("the reason".into())),
        ] {
            assert_eq!(Message::parse(&message.to_bytes()), Some(message));
        }
    }

    #[test]
    fn a_long_text_is_cut_to_a_packet() {
        let bytes = failed(Why::Text("x".repeat(10_000))).to_bytes();
        assert_eq!(bytes.len(), PACKET);
        assert_eq!(Message::parse(&bytes), Some(failed(Why::Text("x".repeat(PACKET - HEAD)))));
    }

    #[test]
    fn bytes_that_mean_nothing_are_nothing() {
        let whole = failed(Errno::EPERM.into()).to_bytes();
        for end in 0..HEAD {
            assert_eq!(Message::parse(&whole[..end]), None);
        }
        assert_eq!(Message::parse(&[0; HEAD]), None);
        assert_eq!(Message::parse(&[b'e', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
