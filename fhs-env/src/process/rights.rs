//! Ids and capabilities of the calling process: takes on, gives up. Which ones is decided by the plan.

use super::step::Kept;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// The capabilities in effect.
pub(crate) fn effective() -> u64 {
    capabilities(None).map_or(0, |sets| sets.effective.bits())
}

/// Takes on ids of the user namespace. The capabilities stay: they are needed for the tree
/// (`capabilities(7)`, "Effect of user ID changes on capabilities").
pub(crate) fn become_ids(uid: Option<u32>, gid: Option<u32>) -> nix::Result<()> {
    let sets = capabilities(None).map_err(errno)?;
    prctl::set_keepcaps(true)?;
    if let Some(group) = gid.map(Gid::from_raw) {
        setresgid(group, group, group)?;
    }
    if let Some(user) = uid.map(Uid::from_raw) {
        setresuid(user, user, user)?;
    }
    prctl::set_keepcaps(false)?;
    set_capabilities(None, sets).map_err(errno)?;
    // A process that changed its ids may not open its own files in /proc (`proc(5)`, dumpable).
    prctl::set_dumpable(true)
}

/// Gives up all capabilities but those that stay, in the bounding, permitted, effective and inheritable sets, and
/// raises those that stay in the ambient set: they survive the exec of a program that is not root's.
pub(crate) fn keep(kept: Kept) -> nix::Result<()> {
    let has = capabilities(None).map_err(errno)?;
    // What a caller lets be inherited goes on to a program that is not root's, as bubblewrap has it.
    let Kept::Exactly { bits, required } = kept else { return raise(has.effective) };
    let kept = CapabilitySet::from_bits_retain(bits) & has.permitted;
    if required & !kept.bits() != 0 {
        return Err(Errno::EPERM);
    }
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // There is no capability of this number, nor of a greater one.
            Err(rustix::io::Errno::INVAL) => break,
            // Without CAP_SETPCAP. What counts is that none can be gained (PR_SET_NO_NEW_PRIVS).
            Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(errno(error)),
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    match set_capabilities(None, sets) {
        // Some containers forbid capset(2); nothing is lost where there is nothing to give up.
        Err(rustix::io::Errno::PERM) if has.permitted == kept && has.inheritable == kept => {}
        result => result.map_err(errno)?,
    }
    if kept.is_empty() {
        return match clear_ambient_capability_set() {
            // Before Linux 4.3 there is no such set.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(errno(error)),
        };
    }
    raise(kept)
}

/// Raises capabilities in the ambient set, as far as they are permitted and inheritable.
fn raise(kept: CapabilitySet) -> nix::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(one) {
            continue;
        }
        match configure_capability_in_ambient_set(one, true) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(errno(error)),
        }
    }
    Ok(())
}

/// Gives up all capabilities, where that can be done: an init needs none.
pub(crate) fn give_up() {
    let none = CapabilitySet::empty();
    let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    let _ = clear_ambient_capability_set();
}
