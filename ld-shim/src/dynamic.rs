//! Where two entries can be added to a dynamic section that is already mapped, so that nothing of the program
//! moves: in the `DT_NULL`s that GNU ld, gold and mold leave behind the last entry (`--spare-dynamic-tags`), else
//! over entries that no loader reads.

use crate::elf::Class;
use crate::needs::{DT_VERNEEDNUM, entries};

/// `DT_PREINIT_ARRAY` (gABI): run before every constructor, also those of libraries.
pub const DT_PREINIT_ARRAY: usize = 32;
/// `DT_PREINIT_ARRAYSZ`, bytes.
pub const DT_PREINIT_ARRAYSZ: usize = 33;
const DT_STRSZ: usize = 10;
const DT_RELACOUNT: usize = 0x6fff_fff9;

/// Two entries of a dynamic section, by index, and what is in them now if they are the program's own array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For the address.
    pub address: usize,
    /// For the size.
    pub size: usize,
    /// The program's own array, a link-time address, and its bytes; (0, 0) if it has none.
    pub own: (usize, usize),
}

/// The first entry with a tag, and its value; of `DT_NULL`, the first of them, else only entries before it.
#[inline(never)]
pub fn first(dynamic: &[u8], class: Class, wanted: usize) -> Option<(usize, usize)> {
    for (index, (tag, value)) in entries(dynamic, class).enumerate() {
        if tag == wanted {
            return Some((index, value));
        }
        if tag == 0 {
            break;
        }
    }
    None
}

/// Where `DT_PREINIT_ARRAY` and its size go: where they are, if the program has them, else into spare
/// entries, else over entries that loaders do without: how many version needs there are (the chain ends itself),
/// and how many relocations come first that could be done faster (glibc `elf/do-rel.h`), or how long the strings
/// are. `None` if there are not two.
pub fn room(dynamic: &[u8], class: Class) -> Option<Room> {
    let of = |tag| first(dynamic, class, tag);
    if let (Some((address, own)), Some((size, bytes))) = (of(DT_PREINIT_ARRAY), of(DT_PREINIT_ARRAYSZ)) {
        return Some(Room { address, size, own: (own, bytes) });
    }
    let (end, _) = of(0)?;
    // One DT_NULL has to stay the last.
    let spare = dynamic.get(end * class.entry_size()..(end + 3) * class.entry_size());
    let (address, size) = if spare.is_some_and(|bytes| bytes.iter().all(|b| *b == 0)) {
        (end, end + 1)
    } else {
        (of(DT_VERNEEDNUM)?.0, of(DT_RELACOUNT).or(of(DT_STRSZ))?.0)
    };
    Some(Room { address, size, own: (0, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn section(tags: &[usize]) -> Vec<u8> {
        tags.iter().flat_map(|tag| [tag.to_le_bytes(), if *tag == 0 { 0 } else { 9usize }.to_le_bytes()].concat()).collect()
    }

    fn found(tags: &[usize]) -> Option<(usize, usize)> {
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
        assert_eq!(found(&[DT_STRSZ, 7, DT_RELACOUNT, DT_VERNEEDNUM, 0]), Some((3, 2)));
        assert_eq!(found(&[DT_STRSZ, 7, DT_VERNEEDNUM, 0]), Some((2, 0)));
        assert_eq!(found(&[DT_STRSZ, 7, 0]), None);
        assert_eq!(found(&[DT_STRSZ, 7]), None, "no end");
    }
}
