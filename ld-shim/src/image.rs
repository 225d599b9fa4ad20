//! An image: everything that one program, or every program of one kind, needs of the shim, in one file.
//!
//! ```text
//! 0                 what the loader reads: an ld.so.cache, or musl's list of directories and a NUL
//! record.loader     a copy of the loader, at a multiple of its segments' alignment
//! size - 1024       the record, little-endian:
//!                     0 magic   8 e_machine u16   10 class u8   11 flags u8   12 length of the headers u32
//!                    16 key   32 offset of the loader u64   40 zeros
//!                    56 FNV-1a of the record without these eight bytes
//!                   256 the loader's ELF header and program headers: what to map, and how
//! ```
//!
//! The loader finds the same file by itself: its `/etc/ld.so.cache` was overwritten with the image's path. So
//! one open and one read are all that the shim needs to know.

use crate::bytes::{u32_at, u64_at};
use crate::elf::{Class, Machine};
use crate::key::Key;
use crate::load::HEADERS_MAX;
use core::hash::Hasher;
use fnv::FnvHasher;

/// Bytes of the record at the end of an image.
pub const RECORD: usize = 1024;
/// The largest image that is accepted, bytes.
pub const SIZE_MAX: u64 = 128 << 20;
/// Which record this is; changes with its meaning.
const MAGIC: [u8; 8] = *b"xenoshm1";
/// Where the copy of the headers begins.
const HEADERS: usize = RECORD - HEADERS_MAX;
/// Where the record's own digest is.
const DIGEST: usize = 56;

/// What an image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whom its loader loads.
    pub machine: Machine,
    /// Whose image it is; all zeros for one that serves every program.
    pub key: Key,
    /// Where in the file the loader begins, bytes.
    pub loader: u64,
    /// The loader's ELF header and program headers; where it is mapped alike, of several segments made one.
    pub headers: &'a [u8],
}

/// The key of an image that serves every program.
pub const EVERYBODY: Key = Key([0; 16]);

/// Of a record: a damaged one would map its loader somewhere else.
fn sum(record: &[u8]) -> u64 {
    let mut hash = FnvHasher::default();
    for part in [record.get(..DIGEST), record.get(DIGEST + 8..)] {
        hash.write(part.unwrap_or(&[]));
    }
    hash.finish()
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Elf32 => 1,
        Class::Elf64 => 2,
    }
}

impl<'a> Record<'a> {
    /// Reads the record of an image of `size` bytes for `machine`. `None` for whatever is not exactly that.
    pub fn parse(bytes: &'a [u8], size: u64, machine: Machine) -> Option<Record<'a>> {
        let number = machine.number.to_le_bytes();
        let head = bytes.get(..RECORD)?;
        let body = size.checked_sub(RECORD as u64).filter(|_| size <= SIZE_MAX)?;
        if head.get(..8) != Some(&MAGIC) || head.get(8..10) != Some(&number) || head.get(10) != Some(&class_number(machine.class)) {
            return None;
        }
        if u64_at(head, DIGEST) != Some(sum(head)) {
            return None;
        }
        let length = u32_at(head, 12)? as usize;
        let record = Record {
            machine,
            key: Key(head.get(16..32)?.try_into().ok()?),
            loader: u64_at(head, 32)?,
            headers: head.get(HEADERS..)?.get(..length)?,
        };
        (record.loader < body).then_some(record)
    }

    /// The record as it stands in a file; `None` if the headers are too long.
    pub fn to_bytes(&self) -> Option<[u8; RECORD]> {
        let mut out = [0; RECORD];
        let mut put = |at: usize, bytes: &[u8]| {
            let room = out.get_mut(at..at + bytes.len())?;
            room.copy_from_slice(bytes);
            Some(())
        };
        put(0, &MAGIC)?;
        put(8, &self.machine.number.to_le_bytes())?;
        put(10, &[class_number(self.machine.class)])?;
        put(12, &u32::try_from(self.headers.len()).ok()?.to_le_bytes())?;
        put(16, &self.key.0)?;
        put(32, &self.loader.to_le_bytes())?;
        put(HEADERS, self.headers)?;
        let sum = sum(&out).to_le_bytes();
        out.get_mut(DIGEST..DIGEST + 8)?.copy_from_slice(&sum);
        Some(out)
    }
}

/// Whether the machine of an image's record can be told at all, and which it is: for showing one.
pub fn machine_of(record: &[u8]) -> Option<Machine> {
    let number = u16::from_le_bytes(record.get(8..10)?.try_into().ok()?);
    let class = match record.get(10)? {
        1 => Class::Elf32,
        2 => Class::Elf64,
        _ => return None,
    };
    record.starts_with(&MAGIC).then_some(Machine { class, number })
}

/// Who may have written the files that the shim follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Besides root; `None` in a secure execution, which follows nobody else.
    pub user: Option<u32>,
}

/// Whom the kernel shows as the owner where the user namespace does not know the true one, such as root in an
/// ordinary user's sandbox (`DEFAULT_OVERFLOWUID`; user_namespaces(7)).
pub const UNKNOWN: u32 = 65534;

impl Trust {
    /// Whether a file is a regular one of somebody trusted that nobody else can write to. In the base directory that
    /// may, without a secure execution, be somebody unknown here: the directory is not for everybody to write to. In
    /// the users' one (`users`), where everybody may put something, it is the user alone, and only if he is somebody.
    #[inline(never)]
    pub fn in_file(self, mode: u32, owner: u32, users: bool) -> bool {
        const S_IFMT: u32 = 0o170_000;
        const S_IFREG: u32 = 0o100_000;
        let own = self.user == Some(owner);
        let trusted = match owner {
            UNKNOWN => self.user.is_some() && !users,
            0 => own || !users,
            _ => own,
        };
        mode & (S_IFMT | 0o022) == S_IFREG && trusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::EM_X86_64;

    const AMD64: Machine = Machine { class: Class::Elf64, number: EM_X86_64 };

    fn record() -> Record<'static> {
        Record { machine: AMD64, key: Key([7; 16]), loader: 0x1000, headers: b"\x7fELF" }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = record().to_bytes().unwrap();
        assert_eq!(Record::parse(&bytes, 0x9000, AMD64), Some(record()));
        assert_eq!(machine_of(&bytes), Some(AMD64));
    }

    #[test]
    fn an_image_that_is_not_exactly_one_is_none() {
        let good = record().to_bytes().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(Record::parse(&bytes, 0x9000, AMD64), None, "a damaged byte is seen");
            // And a record that was written so by somebody.
            let sum = sum(&bytes);
            bytes[DIGEST..DIGEST + 8].copy_from_slice(&sum.to_le_bytes());
            Record::parse(&bytes, 0x9000, AMD64).is_none()
        };
        assert!(with(0, b'X') && with(8, 3) && with(10, 1) && with(13, 0xff) && with(39, 1), "magic, machine, class, headers, loader");
        assert_eq!(Record::parse(&good, 0x1000, AMD64), None, "the loader lies behind the end");
        assert_eq!(Record::parse(&good, SIZE_MAX + 1, AMD64), None);
        assert_eq!(Record::parse(&good, 5, AMD64), None);
        assert_eq!(Record::parse(&good[..RECORD - 1], 0x9000, AMD64), None);
    }

    #[test]
    fn only_roots_files_are_trusted_by_everybody_and_ones_own_only_where_nothing_is_gained() {
        let (user, secure) = (Trust { user: Some(1000) }, Trust { user: None });
        assert!(user.in_file(0o100_644, 0, false) && user.in_file(0o100_600, 1000, false) && secure.in_file(0o100_444, 0, false));
        assert!(!secure.in_file(0o100_644, 1000, false) && !user.in_file(0o100_644, 1001, false));
        assert!(!user.in_file(0o100_664, 0, false) && !user.in_file(0o100_646, 0, false), "somebody else can write to it");
        assert!(
            !user.in_file(0o040_755, 0, false) && !user.in_file(0o120_777, 0, false) && !user.in_file(0o010_600, 0, false),
            "no regular file"
        );
    }

    #[test]
    fn roots_files_are_trusted_where_root_is_unknown_but_nobodys_own_are_nobodys() {
        let (user, secure, nobody) = (Trust { user: Some(1000) }, Trust { user: None }, Trust { user: Some(UNKNOWN) });
        assert!(user.in_file(0o100_644, UNKNOWN, false) && !secure.in_file(0o100_644, UNKNOWN, false));
        assert!(user.in_file(0o100_644, 1000, true) && !user.in_file(0o100_664, 1000, true));
        assert!(!user.in_file(0o100_644, UNKNOWN, true) && !user.in_file(0o100_644, 0, true), "everybody can put that there");
        assert!(!nobody.in_file(0o100_644, UNKNOWN, true), "that may be anybody's");
    }
}
