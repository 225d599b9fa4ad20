//! The door to the kernel for what concerns processes: births, signals, filters, descriptors by number. Thin calls,
//! no decisions.

use super::plan::INSTRUCTION;
use super::step::Kinds;
use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

// ---- births and deaths ----

pub(crate) fn flags(kinds: Kinds) -> CloneFlags {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWUSER, kinds.user);
    flags.set(CloneFlags::CLONE_NEWNS, kinds.mount);
    flags.set(CloneFlags::CLONE_NEWPID, kinds.pid);
    flags.set(CloneFlags::CLONE_NEWIPC, kinds.ipc);
    flags.set(CloneFlags::CLONE_NEWNET, kinds.net);
    flags.set(CloneFlags::CLONE_NEWUTS, kinds.uts);
    flags.set(CloneFlags::CLONE_NEWCGROUP, kinds.cgroup);
    flags
}

/// Forks into new namespaces: 0 in the child. With `sibling` the child's parent is the caller's.
///
/// The process must have one thread: no lock is held by another then, and the child may do as it likes.
pub(crate) fn clone(kinds: Kinds, sibling: bool) -> nix::Result<i32> {
    let parent = if sibling { CloneFlags::CLONE_PARENT } else { CloneFlags::empty() };
    let flags = (flags(kinds) | parent).bits() | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has a copy of the memory, and without a stack it goes on on the copy of this
    // one, as fork(2) has it. All other arguments are unused then. (The C library's cache of the thread's id is
    // stale in the child; only its abort() reads it.)
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    Errno::result(pid).map(|pid| pid as i32)
}

/// Ends the process at once; nothing is dropped or flushed.
pub(crate) fn exit(status: u8) -> ! {
    // SAFETY: always; it ends the process.
    unsafe { libc::_exit(i32::from(status)) }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Nothing,
    Exited { pid: i32, code: u8 },
    Killed { pid: i32, signal: i32 },
    Stopped { pid: i32 },
}

/// `waitpid(2)` for a child, or for any with -1; stopped ones count. (nix has no words for real-time signals.)
pub(crate) fn wait(pid: i32, block: bool) -> nix::Result<Waited> {
    let mut status: c_int = 0;
    let options = libc::WUNTRACED | if block { 0 } else { libc::WNOHANG };
    // SAFETY: the pointer is to a live integer.
    let pid = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, options) })?;
    Ok(if pid == 0 {
        Waited::Nothing
    } else if libc::WIFEXITED(status) {
        Waited::Exited { pid, code: libc::WEXITSTATUS(status) as u8 }
    } else if libc::WIFSIGNALED(status) {
        Waited::Killed { pid, signal: libc::WTERMSIG(status) }
    } else if libc::WIFSTOPPED(status) {
        Waited::Stopped { pid }
    } else {
        Waited::Nothing
    })
}

/// Takes the process over. Returns only with the reason why not.
///
/// The lists are those of [`super::exec::Words`]: pointers to strings, and a null one at the end.
pub(crate) fn execve(file: &CStr, arguments: &[*const c_char], environment: &[*const c_char]) -> Errno {
    debug_assert!(arguments.last().is_some_and(|p| p.is_null()) && environment.last().is_some_and(|p| p.is_null()));
    // SAFETY: `Words` owns the strings, keeps them beside the pointers, and ends both lists with a null pointer.
    unsafe { libc::execve(file.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

// ---- signals ----

/// `kill(2)`.
pub(crate) fn kill(pid: i32, signal: c_int) -> nix::Result<()> {
    // SAFETY: it takes no pointer.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Whether a signal is ignored by this process.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all bytes zero is a valid value of this plain struct.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; the other pointer is to a live struct.
    let asked = unsafe { libc::sigaction(signal as c_int, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Makes a signal do what it does by default; returns what it did.
pub(crate) fn make_default(signal: Signal) -> nix::Result<SigAction> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default runs no code of this process.
    unsafe { sigaction(signal, &action) }
}

/// Makes a signal do nothing.
pub(crate) fn ignore(signal: Signal) -> nix::Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring runs no code of this process.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Gives back what [`make_default`] took.
pub(crate) fn restore(signal: Signal, action: &SigAction) {
    // SAFETY: the action was in force before, and its handler, where it has one, is still there.
    let _ = unsafe { sigaction(signal, action) };
}

/// Whom [`forward`] sends what it gets.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    let before = Errno::last_raw();
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid pointer.
    let code = unsafe { (*info).si_code };
    let program = PROGRAM.load(Ordering::Relaxed);
    // Positive codes are the kernel's: the terminal sends them to the program itself (sigaction(2)).
    if code <= 0 && program > 0 {
        let _ = kill(program, signal);
    }
    Errno::set_raw(before);
}

/// Sends the program what processes send to this one, from now on.
pub(crate) fn forward_to(program: i32, signals: &[Signal]) -> nix::Result<()> {
    PROGRAM.store(program, Ordering::Relaxed);
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::SigAction(forward), flags, SigSet::all());
    // SAFETY: the handler reads what the kernel gives it and an atomic, and calls kill(2): all async-signal-safe.
    signals.iter().try_for_each(|signal| unsafe { sigaction(*signal, &action) }.map(drop))
}

/// The program has ended: nothing is sent to its number any more.
pub(crate) fn forward_nothing() {
    PROGRAM.store(0, Ordering::Relaxed);
}

// ---- namespaces, filters, the network ----

/// `setns(2)` by a number that was inherited.
pub(crate) fn join(fd: RawFd, kind: CloneFlags) -> nix::Result<()> {
    // SAFETY: it takes no pointer; a number that is no descriptor is answered with EBADF.
    Errno::result(unsafe { libc::setns(fd, kind.bits()) }).map(drop)
}

/// Loads a seccomp filter, 8 bytes an instruction.
pub(crate) fn load_filter(filter: &[u8]) -> nix::Result<()> {
    let len = u16::try_from(filter.len() / INSTRUCTION).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions of 8 bytes from the pointer, which has as many, at any alignment,
    // and writes nothing (seccomp_prepare_user_filter).
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
    Errno::result(result).map(drop)
}

/// Sets `IFF_UP` of `lo`; its addresses come by themselves (`inetdev_event`, `init_loopback`).
pub(crate) fn bring_up_loopback(socket: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: all bytes zero is a valid value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as c_char;
    }
    // SAFETY: both requests read and write one `struct ifreq`, which the pointer is to (netdevice(7)); the first
    // has filled the flags that are read in between.
    unsafe {
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw mut request))?;
    }
    Ok(())
}

// ---- descriptors by number ----

/// Whether a descriptor closes on exec; `None` if there is none of this number.
pub(crate) fn closes_on_exec(fd: RawFd) -> Option<bool> {
    // SAFETY: F_GETFD takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags >= 0).then_some(flags & libc::FD_CLOEXEC != 0)
}

/// Lets a descriptor close on exec, or not.
pub(crate) fn close_on_exec(fd: RawFd, closes: bool) -> nix::Result<()> {
    let flags = if closes { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes no pointer.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(drop)
}

/// Lets all descriptors from a number on close on exec (`close_range(2)`, since Linux 5.11).
pub(crate) fn close_all_on_exec(first: RawFd) -> nix::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: it takes no pointer.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) }).map(drop)
}

/// Closes a descriptor that nothing of this process owns.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: it takes no pointer. The callers say why nothing owns it.
    unsafe { libc::close(fd) };
}

/// Closes all descriptors from 3 on but those. Nothing of this process may own any of them.
pub(crate) fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    let mut done = true;
    for next in kept.iter().copied().chain([RawFd::MAX]) {
        if next > first {
            // SAFETY: it takes no pointer; that nothing owns them is the caller's word.
            done &= unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) } == 0;
        }
        first = next.saturating_add(1);
    }
    if !done {
        descriptors().into_iter().filter(|fd| *fd > 2 && !kept.contains(fd)).for_each(close);
    }
}

/// The numbers of all descriptors there are.
pub(crate) fn descriptors() -> Vec<RawFd> {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        names.collect()
    });
    // Without /proc: as many as most processes may have at all.
    listed.unwrap_or_else(|_| (0..1024).collect())
}
