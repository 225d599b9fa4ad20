//! Where two entries can be added to a dynamic section that is already mapped, so that nothing of the program
//! moves: in the `DT_NULL`s that GNU ld, gold and mold leave behind the last entry (`--spare-dynamic-tags`), else
//! over entries that no loader reads.

use crate::elf::Class;
use crate::needs::{DT_VERNEEDNUM, entries};

/// `DT_PREINIT_ARRAY` (gABI): run before every constructor, also those of libraries.
pub const DT_PREINIT_ARRAY: u64 = 32;
/// `DT_PREINIT_ARRAYSZ`, bytes.
pub const DT_PREINIT_ARRAYSZ: u64 = 33;
const DT_STRSZ: u64 = 10;
const DT_RELACOUNT: u64 = 0x6fff_fff9;
const DT_RELCOUNT: u64 = 0x6fff_fffa;

/// Entries that loaders do without: how many version needs there are (the chain ends itself), how many
/// relocations come first that could be done faster (glibc `elf/do-rel.h`), how long the strings are.
const DISPENSABLE: [u64; 4] = [DT_VERNEEDNUM, DT_RELACOUNT, DT_RELCOUNT, DT_STRSZ];

/// Two entries of a dynamic section, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For the address.
    pub address: usize,
    /// For the size.
    pub size: usize,
}

/// Where `DT_PREINIT_ARRAY` and its size go: where they are, if the program has them, else into spare
/// entries, else over dispensable ones. `None` if there are not two.
pub fn room(dynamic: &[u8], class: Class) -> Option<Room> {
    let tag = |wanted| entries(dynamic, class).take_while(|(tag, _)| *tag != 0).position(|(tag, _)| tag == wanted);
    if let (Some(address), Some(size)) = (tag(DT_PREINIT_ARRAY), tag(DT_PREINIT_ARRAYSZ)) {
        return Some(Room { address, size });
    }
    let end = entries(dynamic, class).position(|(tag, _)| tag == 0)?;
    let spare = entries(dynamic, class).skip(end).take_while(|(tag, _)| *tag == 0).count();
    // One DT_NULL has to stay the last.
    if spare >= 3 {
        return Some(Room { address: end, size: end + 1 });
    }
    let mut dispensable = DISPENSABLE.iter().filter_map(|wanted| tag(*wanted));
    Some(Room { address: dispensable.next()?, size: dispensable.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn section(tags: &[u64]) -> Vec<u8> {
        tags.iter().flat_map(|tag| [tag.to_le_bytes(), 9u64.to_le_bytes()].concat()).collect()
    }

    fn found(tags: &[u64]) -> Option<(usize, usize)> {
        room(&section(tags), Class::Elf64).map(|r| (r.address, r.size))
    }

    #[test]
    fn spare_entries_are_taken_but_for_the_last() {
        assert_eq!(found(&[1, 5, 0, 0, 0]), Some((2, 3)));
        assert_eq!(found(&[1, 5, 0, 0]), None);
    }

    #[test]
    fn an_array_that_is_there_is_replaced() {
        assert_eq!(found(&[1, DT_PREINIT_ARRAYSZ, DT_PREINIT_ARRAY, 0, 0, 0]), Some((2, 1)));
    }

    #[test]
    fn entries_that_no_loader_reads_are_the_last_resort() {
        assert_eq!(found(&[DT_STRSZ, DT_RELACOUNT, DT_VERNEEDNUM, 0]), Some((2, 1)));
        assert_eq!(found(&[DT_STRSZ, 7, 0]), None);
        assert_eq!(found(&[DT_STRSZ, 7]), None, "no end");
    }
}
