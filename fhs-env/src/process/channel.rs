//! The line between the monitor and the processes inside: packets over a pair of sockets, with the sender's process
//! id from the kernel. Nothing is waited for here that the caller did not ask for.

use super::report::{Message, PACKET};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recv, recvmsg, send, setsockopt, socketpair,
};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What says: go on.
const GO: &[u8] = b"G";

/// The monitor's end.
pub(crate) struct Ours(OwnedFd);
/// The end of the processes inside.
pub(crate) struct Theirs(OwnedFd);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing yet.
    Nothing,
    /// Nobody is there any more who could say anything.
    End,
    /// A message, and the process id of its sender.
    Message(Message, i32),
}

/// Makes a line.
pub(crate) fn pair() -> nix::Result<(Ours, Theirs)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // A sender's id is that of the receiver's pid namespace (unix(7), SCM_CREDENTIALS).
    setsockopt(&ours, PassCred, &true)?;
    Ok((Ours(ours), Theirs(theirs)))
}

impl AsFd for Ours {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ours {
    /// The next message, if there is one.
    pub(crate) fn receive(&self) -> nix::Result<Received> {
        let mut bytes = [0u8; PACKET];
        let mut space = cmsg_space!(UnixCredentials);
        loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let (length, sender) = match recvmsg::<()>(self.0.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ECONNRESET) => return Ok(Received::End),
                Err(errno) => return Err(errno),
                Ok(received) => {
                    let sender = received.cmsgs().into_iter().flatten().find_map(|control| match control {
                        ControlMessageOwned::ScmCredentials(who) => Some(who.pid()),
                        _ => None,
                    });
                    (received.bytes, sender)
                }
            };
            if length == 0 {
                return Ok(Received::End);
            }
            // What cannot be understood was not sent by us.
            if let Some(message) = bytes.get(..length).and_then(Message::parse) {
                return Ok(Received::Message(message, sender.unwrap_or(0)));
            }
        }
    }

    /// Lets the process inside go on.
    pub(crate) fn go(&self) -> nix::Result<()> {
        send(self.0.as_raw_fd(), GO, MsgFlags::MSG_NOSIGNAL).map(drop)
    }
}

impl AsFd for Theirs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Theirs {
    pub(crate) fn tell(&self, message: &Message) -> nix::Result<()> {
        // write(2), which is the likelier one to be allowed by a filter.
        match nix::unistd::write(&self.0, &message.to_bytes()) {
            Err(Errno::EINTR) => self.tell(message),
            result => result.map(drop),
        }
    }

    /// Waits until the monitor says so.
    pub(crate) fn wait(&self) -> nix::Result<()> {
        loop {
            match recv(self.0.as_raw_fd(), &mut [0u8; 8], MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Ok(0) => return Err(Errno::EPIPE),
                result => return result.map(drop),
            }
        }
    }

    /// Whether the monitor has ended: nobody else has its end.
    pub(crate) fn is_orphaned(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut fds, PollTimeout::ZERO).is_ok() && fds.iter().any(|fd| fd.revents().is_some_and(|events| events.intersects(gone)))
    }
}
