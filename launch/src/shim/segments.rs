//! What of a loader is mapped in one piece. Link editors part what is only read from what is executed
//! (`-z separate-code`), which costs two mappings more at every start; whatever lies in memory as it lies in the
//! file and is never written to can be mapped at once, readable and executable, as it was before there was that
//! option. The loader's own headers, which it reads itself, stay as they are.

use ld_shim::elf::{Class, Machine, PF_R, PF_W, PT_LOAD, Segment, segments};

/// `PT_NULL`.
const PT_NULL: u32 = 0;

/// Program headers in which the leading segments that are mapped alike are one. `headers` is an ELF header with
/// all that follows it up to the end of the program headers; of anything else, the same.
pub(super) fn merged(headers: &[u8], machine: Machine) -> Vec<u8> {
    let mut out = headers.to_vec();
    let class = machine.class;
    let Some(start) = ld_shim::elf::Header::parse(headers, machine).ok().map(|header| header.table) else { return out };
    let Some(table) = headers.get(start..) else { return out };
    let loads: Vec<(usize, Segment)> = segments(table, class).enumerate().filter(|(_, s)| s.kind == PT_LOAD).collect();
    let Some((first_index, first)) = loads.first() else { return out };
    let count = loads.iter().take_while(|(_, segment)| is_alike(first, segment)).count();
    let flags = loads.iter().take(count).fold(PF_R, |flags, (_, segment)| flags | segment.flags);
    let Some((_, last)) = loads.get(..count).and_then(<[_]>::last).filter(|_| count > 1) else { return out };
    let Some(length) = (last.offset + last.file_size).checked_sub(first.offset) else { return out };
    let mut put = |index: usize, at: usize, bytes: &[u8]| {
        let place = start + index * class.segment_size() + at;
        if let Some(room) = out.get_mut(place..place + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    };
    let (flags_at, file_size_at) = match class {
        Class::Elf64 => (4, 32),
        Class::Elf32 => (24, 16),
    };
    let word = (length as u64).to_le_bytes();
    let word = word.get(..class.word()).unwrap_or(&word);
    put(*first_index, flags_at, &flags.to_le_bytes());
    put(*first_index, file_size_at, word);
    put(*first_index, file_size_at + class.word(), word);
    for (index, _) in loads.get(1..count).unwrap_or(&[]) {
        put(*index, 0, &PT_NULL.to_le_bytes());
    }
    out
}

/// Whether a segment is never written to, has nothing but what is in the file, and lies as far from the first one
/// in memory as in the file.
fn is_alike(first: &Segment, segment: &Segment) -> bool {
    segment.flags & PF_W == 0
        && segment.memory_size == segment.file_size
        && segment.address.wrapping_sub(segment.offset) == first.address.wrapping_sub(first.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::machine;
    use ld_shim::load::Plan;
    use resolver::arch::Arch;
    use resolver::needs::Libc;

    #[test]
    fn a_loader_is_mapped_in_two_pieces_and_nothing_else_of_it_changes() {
        let machine = machine(Arch::host().unwrap()).unwrap();
        let Some(system) = resolver::machine::system(Arch::host().unwrap(), Libc::Glibc) else { return };
        let bytes = std::fs::read(&system.loader).unwrap();
        let merged = merged(&bytes[..768], machine);
        let (before, after) = (Plan::of(&bytes[..768], machine, 4096).unwrap(), Plan::of(&merged, machine, 4096).unwrap());
        assert_eq!((before.span, before.first, before.entry, before.table), (after.span, after.first, after.entry, after.table));
        let writable = |plan: &Plan<'_>| plan.loads().filter(|load| load.flags & PF_W != 0).collect::<Vec<_>>();
        assert_eq!(writable(&before), writable(&after));
        let read: Vec<_> = after.loads().filter(|load| load.flags & PF_W == 0).collect();
        assert_eq!(read.len(), 1);
        // Every page of the pieces is where it was.
        let end = before.loads().filter(|load| load.flags & PF_W == 0).map(|load| load.start + load.mapped).max();
        assert_eq!(Some(read[0].start + read[0].mapped), end);
        assert_eq!((read[0].start, read[0].offset), (0, 0));
    }

    #[test]
    fn what_lies_elsewhere_in_memory_than_in_the_file_stays_by_itself() {
        let alike = Segment { kind: PT_LOAD, flags: PF_R, offset: 0x1000, address: 0x1000, file_size: 9, memory_size: 9, align: 0x1000 };
        let first = Segment { offset: 0, address: 0, ..alike };
        assert!(is_alike(&first, &alike));
        assert!(!is_alike(&first, &Segment { address: 0x2000, ..alike }));
        assert!(!is_alike(&first, &Segment { memory_size: 10, ..alike }));
        assert!(!is_alike(&first, &Segment { flags: PF_R | PF_W, ..alike }));
    }

    #[test]
    fn what_is_no_loader_comes_back_as_it_was() {
        let machine = machine(Arch::host().unwrap()).unwrap();
        assert_eq!(merged(b"no loader", machine), b"no loader");
        assert_eq!(merged(b"", machine), b"");
    }
}
