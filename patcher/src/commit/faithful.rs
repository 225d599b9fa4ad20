//! Gives a new file what the old one had besides its bytes: owner, extended attributes (ACLs and
//! capabilities among them), mode, on request the times. What cannot be given is told, never passed over.

use super::error::CommitError;
use super::source::Source;
use super::sys;
use super::{Lost, Settings};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Set-user-ID and set-group-ID bit.
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// What the kernel takes away on a write, and on a change of owner.
const CAPABILITY: &[u8] = b"security.capability";

/// Attributes that vouch for bytes: true of the old ones only, so that a copy would keep the file from being opened
/// or started (IMA appraisal); the kernel makes new ones where it is told to.
const VOUCH: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// Makes `to` a successor of `source`. Its bytes must be complete: each write clears capabilities and set-id bits.
pub(super) fn succeed(source: &Source, to: &File, settings: &Settings, lost: &mut Vec<Lost>) -> Result<(), CommitError> {
    let step = |operation, e| CommitError::io(operation, source.path())(e);
    // The order matters: chown(2) clears capabilities and set-id bits, an ACL changes the mode.
    let mode = own(source, to, lost).map_err(|e| step("giving an owner to the successor of", e))?;
    attributes(source, to, lost).map_err(|e| step("giving its attributes to the successor of", e))?;
    sys::set_mode(to, mode).map_err(|e| step("giving a mode to the successor of", e))?;
    if settings.keep_times {
        sys::set_times(to, source.meta()).map_err(|e| step("giving its times to the successor of", e))?;
    }
    // chmod(2): the set-group-ID bit of a group the caller is not in is dropped without a word.
    let have = to.metadata().map_err(|e| step("looking at the successor of", e))?.mode() & 0o7777;
    let wanted = source.meta().mode() & 0o7777;
    if have != wanted {
        lost.push(Lost::Mode { wanted, have });
    }
    Ok(())
}

/// Gives the owner as far as the caller may, and says which mode goes with it: a set-id bit belongs to an owner, and
/// under another one it would give away the rights of that one.
fn own(source: &Source, to: &File, lost: &mut Vec<Lost>) -> io::Result<u32> {
    let (wanted, have) = (source.meta(), to.metadata()?);
    let mut mode = wanted.mode() & 0o7777;
    if (wanted.uid(), wanted.gid()) == (have.uid(), have.gid()) {
        return Ok(mode);
    }
    let attempts = [(Some(wanted.uid()), Some(wanted.gid())), (None, Some(wanted.gid()))];
    for (uid, gid) in attempts {
        match sys::set_owner(to, uid, gid) {
            Ok(()) => break,
            // EINVAL: an owner that the caller's user namespace has no number for.
            Err(e) if refused(&e) => {}
            Err(e) => return Err(e),
        }
    }
    let have = to.metadata()?;
    if (wanted.uid(), wanted.gid()) != (have.uid(), have.gid()) {
        lost.push(Lost::Owner { wanted: (wanted.uid(), wanted.gid()), have: (have.uid(), have.gid()) });
    }
    if wanted.uid() != have.uid() {
        mode &= !SET_UID;
    }
    if wanted.gid() != have.gid() {
        mode &= !SET_GID;
    }
    Ok(mode)
}

fn attributes(source: &Source, to: &File, lost: &mut Vec<Lost>) -> io::Result<()> {
    let wanted: BTreeSet<Vec<u8>> = sys::attributes(source.file())?.into_iter().collect();
    let have: BTreeSet<Vec<u8>> = sys::attributes(to)?.into_iter().collect();
    // What the new file has by itself is inherited from its directory: a default ACL, a label.
    for name in have.difference(&wanted).filter(|name| !name.starts_with(b"security.")) {
        tolerate(sys::remove_attribute(to, name), name, lost)?;
    }
    for name in &wanted {
        if VOUCH.contains(&name.as_slice()) {
            lost.push(Lost::Attribute { name: shown(name), cause: "it vouches for the old bytes".to_owned() });
            continue;
        }
        let Some(value) = sys::attribute(source.file(), name)? else { continue };
        if have.contains(name) && sys::attribute(to, name)?.as_ref() == Some(&value) {
            continue;
        }
        tolerate(sys::set_attribute(to, name, &value), name, lost)?;
    }
    Ok(())
}

/// What a caller or a file system may refuse is told; what is wrong with the disk is an error.
fn tolerate(result: io::Result<()>, name: &[u8], lost: &mut Vec<Lost>) -> io::Result<()> {
    match result {
        Err(e) if refused(&e) => lost.push(Lost::Attribute { name: shown(name), cause: e.to_string() }),
        other => return other,
    }
    Ok(())
}

fn refused(error: &io::Error) -> bool {
    [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS].iter().any(|errno| sys::is(error, *errno))
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// What writing to a file takes from it (`file_remove_privs`, fs/inode.c): capabilities always, set-id bits unless the
/// writer has `CAP_FSETID`. Kept here to be given back.
#[derive(Debug)]
pub(super) struct Privileges {
    mode: u32,
    set_ids: bool,
    capability: Option<Vec<u8>>,
}

impl Privileges {
    /// Reads them, and makes sure that they can be given back by doing so now: nothing is lost yet.
    pub(super) fn of(source: &Source, writable: &File) -> Result<Privileges, CommitError> {
        let meta = source.meta();
        let mode = meta.mode() & 0o7777;
        let held = |what| CommitError::Privileges { path: source.path().to_owned(), what };
        let capability = sys::attribute(source.file(), CAPABILITY).map_err(CommitError::io("reading the attributes of", source.path()))?;
        let privileges = Privileges { mode, set_ids: mode & (SET_UID | SET_GID) != 0, capability };
        // chmod(2) by somebody outside the group drops the set-group-ID bit: not even to be tried.
        let user = sys::effective_user();
        if user != 0 && (privileges.set_ids && meta.uid() != user || mode & SET_GID != 0 && !sys::in_group(meta.gid())) {
            return Err(held("set-id bits"));
        }
        if privileges.set_ids && sys::set_mode(writable, mode).is_err() {
            return Err(held("set-id bits"));
        }
        if let Some(value) = &privileges.capability
            && sys::set_attribute(writable, CAPABILITY, value).is_err()
        {
            return Err(held("capabilities"));
        }
        Ok(privileges)
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.set_ids || self.capability.is_some()
    }

    /// Gives them back after writing.
    pub(super) fn restore(&self, file: &File) -> io::Result<()> {
        if self.set_ids && file.metadata()?.mode() & 0o7777 != self.mode {
            sys::set_mode(file, self.mode)?;
        }
        match &self.capability {
            Some(value) => sys::set_attribute(file, CAPABILITY, value),
            None => Ok(()),
        }
    }
}

/// What a plain copy of `source` does not have and a reader of it might expect.
pub(super) fn mode_of_a_copy(source: &Source, to: &File, path: &Path, lost: &mut Vec<Lost>) -> Result<(), CommitError> {
    // As cp(1): the copy belongs to whoever makes it, so set-id bits and capabilities stay behind.
    let wanted = source.meta().mode() & 0o7777;
    let have = wanted & 0o777;
    sys::set_mode(to, have).map_err(CommitError::io("giving a mode to", path))?;
    if have != wanted {
        lost.push(Lost::Mode { wanted, have });
    }
    let names = sys::attributes(source.file()).map_err(CommitError::io("reading the attributes of", source.path()))?;
    if names.iter().any(|name| name == CAPABILITY) {
        lost.push(Lost::Attribute { name: shown(CAPABILITY), cause: "a copy does not take it along".to_owned() });
    }
    Ok(())
}
