//! Where the segments of a loader go: the mappings to make, in order, as the kernel makes them for an
//! interpreter (`fs/binfmt_elf.c`, `load_elf_interp`). Refuses whatever is no loader.

use crate::elf::{
    Class, ET_DYN, Header, Machine, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_PHDR, Refusal, Segment, of_kind, segments,
};

/// The most address space of a loader, bytes.
pub const SPAN_MAX: usize = 64 << 20;
/// Bytes of headers that are read of a loader: its ELF header and its program headers must lie in them.
pub const HEADERS_MAX: usize = 768;

/// One loadable segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// From the loader's base, bytes; a multiple of the page size.
    pub start: usize,
    /// Length of the part that is mapped from the file, bytes; a multiple of the page size.
    pub mapped: usize,
    /// Where in the file it begins, bytes; a multiple of the page size.
    pub offset: usize,
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
    /// What is to be zero in its last page: from the loader's base, start and length in bytes.
    pub zero: (usize, usize),
    /// Pages of zeros behind it: from the loader's base, start and length in bytes.
    pub blank: (usize, usize),
}

/// A loader's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan<'h> {
    /// Its program headers, every one of them checked.
    headers: &'h [u8],
    class: Class,
    page: usize,
    /// The address space of all of it, bytes; a multiple of the page size.
    pub span: usize,
    /// What to add to a base for the load bias: the negated first page of the first segment (nearly always 0).
    pub first: usize,
    /// Its entry, a link-time address.
    pub entry: usize,
    /// Its program headers, a link-time address, and their count.
    pub table: (usize, u16),
}

impl<'h> Plan<'h> {
    /// The loader's program headers.
    pub fn headers(&self) -> &'h [u8] {
        self.headers
    }

    /// The mappings, lowest first.
    pub fn loads(&self) -> impl Iterator<Item = Load> + '_ {
        let mut end = 0;
        segments(self.headers, self.class).filter(|s| s.kind == PT_LOAD).map_while(move |segment| {
            let load = self.load(&segment, end)?;
            end = load.blank.0 + load.blank.1;
            Some(load)
        })
    }

    /// Plans the mappings of the loader whose file begins with `head`, for pages of `page` bytes.
    ///
    /// # Errors
    /// [`Refusal`]: it is no loader for this machine.
    pub fn of(head: &'h [u8], machine: Machine, page: usize) -> Result<Plan<'h>, Refusal> {
        let class = machine.class;
        let header = Header::parse(head, machine)?;
        if header.kind != ET_DYN {
            return Err(Refusal::NotMovable);
        }
        let end = header.table.checked_add(usize::from(header.segments) * class.segment_size());
        let headers = end.and_then(|end| head.get(header.table..end)).ok_or(Refusal::BadSegments)?;
        if of_kind(headers, class, PT_INTERP).is_some() {
            return Err(Refusal::HasInterpreter);
        }
        let first = of_kind(headers, class, PT_LOAD).ok_or(Refusal::BadSegments)?;
        of_kind(headers, class, PT_DYNAMIC).ok_or(Refusal::NoDynamic)?;
        // Where there is no PT_PHDR, the table lies in the segment that maps it.
        let address = match of_kind(headers, class, PT_PHDR) {
            Some(segment) => segment.address,
            None => first.address.wrapping_add(header.table.wrapping_sub(first.offset)),
        };
        let mut plan = Plan {
            headers,
            class,
            page,
            span: 0,
            first: first.address & !(page - 1),
            entry: header.entry,
            table: (address, header.segments),
        };
        let entry = header.entry.wrapping_sub(plan.first);
        let (mut has_entry, mut flags) = (false, 0);
        for segment in segments(headers, class).filter(|s| s.kind == PT_LOAD) {
            if segment.flags & (PF_W | PF_X) == PF_W | PF_X {
                return Err(Refusal::WritableCode);
            }
            let load = plan.load(&segment, plan.span).ok_or(Refusal::BadSegments)?;
            plan.span = load.blank.0 + load.blank.1;
            flags |= load.flags;
            has_entry |= load.flags & PF_X != 0 && entry >= load.start && entry - load.start < load.mapped;
        }
        if plan.span > SPAN_MAX {
            Err(Refusal::BadSegments)
        } else if !has_entry {
            Err(Refusal::NoEntry)
        } else if flags & PF_W == 0 {
            // Every loader relocates itself; the shim does not, and must not start itself.
            Err(Refusal::NothingWritten)
        } else {
            Ok(plan)
        }
    }

    /// The mapping of one segment, of which those before it end at `below`.
    #[inline(never)]
    fn load(&self, segment: &Segment, below: usize) -> Option<Load> {
        let page = self.page;
        let up = |n: usize| n.checked_add(page - 1).map(|n| n & !(page - 1));
        let address = segment.address.checked_sub(self.first)?;
        let within = address & (page - 1);
        // The gABI: p_vaddr and p_offset are congruent modulo the page size, else nothing could be mapped.
        let same_page = segment.offset & (page - 1) == within;
        let file_end = address.checked_add(segment.file_size)?;
        let end = address.checked_add(segment.memory_size)?;
        let start = address - within;
        if !same_page || end < file_end || end > SPAN_MAX || start < below || segment.offset > SPAN_MAX {
            return None;
        }
        let mapped_end = if segment.file_size == 0 { start } else { up(file_end)? };
        // To the end of the page, as the kernel does (`padzero`): glibc's loader takes its first memory from there.
        let tail = if end > file_end && segment.file_size > 0 { mapped_end - file_end } else { 0 };
        // What is to be zero in a page of the file can only be made so where the page is written to.
        if tail > 0 && segment.flags & PF_W == 0 {
            return None;
        }
        Some(Load {
            start,
            mapped: mapped_end - start,
            offset: segment.offset - within,
            flags: segment.flags & (PF_R | PF_W | PF_X),
            zero: (file_end, tail),
            blank: (mapped_end, up(end)?.saturating_sub(mapped_end)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::EM_X86_64;
    use std::vec::Vec;

    const AMD64: Machine = Machine { class: Class::Elf64, number: EM_X86_64 };

    /// A header and program headers: kind, flags, offset, address, file size, memory size.
    fn file(kind: u16, table: &[[u64; 6]]) -> Vec<u8> {
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        out.extend(kind.to_le_bytes());
        out.extend(EM_X86_64.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(0x1010u64.to_le_bytes());
        out.extend(64u64.to_le_bytes());
        out.extend([0; 12]);
        out.extend([64, 0, 56, 0, u8::try_from(table.len()).unwrap(), 0, 0, 0, 0, 0, 0, 0]);
        out.truncate(64);
        for [kind, flags, offset, address, file_size, memory_size] in table {
            out.extend(u32::try_from(*kind).unwrap().to_le_bytes());
            out.extend(u32::try_from(*flags).unwrap().to_le_bytes());
            for word in [*offset, *address, *address, *file_size, *memory_size, 0x1000] {
                out.extend(word.to_le_bytes());
            }
        }
        out
    }

    const LOADER: [[u64; 6]; 4] = [
        [1, 4, 0, 0, 0x500, 0x500],
        [1, 5, 0x1000, 0x1000, 0x800, 0x800],
        [1, 6, 0x1e00, 0x2e00, 0x300, 0x2300],
        [2, 6, 0x1e80, 0x2e80, 0x100, 0x100],
    ];

    #[test]
    fn segments_are_mapped_by_pages_and_the_rest_is_zero() {
        let file = file(3, &LOADER);
        let plan = Plan::of(&file, AMD64, 0x1000).unwrap();
        let blank = |start, length| (start, length);
        assert_eq!(
            plan.loads().collect::<Vec<_>>(),
            [
                Load { start: 0, mapped: 0x1000, offset: 0, flags: 4, zero: (0x500, 0), blank: blank(0x1000, 0) },
                Load { start: 0x1000, mapped: 0x1000, offset: 0x1000, flags: 5, zero: (0x1800, 0), blank: blank(0x2000, 0) },
                Load { start: 0x2000, mapped: 0x2000, offset: 0x1000, flags: 6, zero: (0x3100, 0xf00), blank: blank(0x4000, 0x2000) },
            ]
        );
        assert_eq!((plan.span, plan.first, plan.entry, plan.table), (0x6000, 0, 0x1010, (64, 4)));
    }

    #[test]
    fn a_program_is_no_loader() {
        let mut with_interpreter = LOADER.to_vec();
        with_interpreter.push([3, 4, 0x200, 0x200, 8, 8]);
        let refused = |kind, table: &[[u64; 6]]| Plan::of(&file(kind, table), AMD64, 0x1000).err().unwrap();
        assert_eq!(refused(3, &with_interpreter), Refusal::HasInterpreter);
        assert_eq!(refused(2, &LOADER), Refusal::NotMovable);
        assert_eq!(refused(3, &LOADER[..3]), Refusal::NoDynamic);
    }

    #[test]
    fn a_library_is_no_loader_and_neither_is_the_shim() {
        let mut library = file(3, &LOADER);
        library[24..32].fill(0);
        assert_eq!(Plan::of(&library, AMD64, 0x1000), Err(Refusal::NoEntry));
        let read_only = [LOADER[0], LOADER[1], [2, 4, 0x1e0, 0x1e0, 0x100, 0x100]];
        assert_eq!(Plan::of(&file(3, &read_only), AMD64, 0x1000), Err(Refusal::NothingWritten));
    }

    #[test]
    fn segments_that_no_loader_has_are_refused() {
        let with = |change: &dyn Fn(&mut Vec<[u64; 6]>)| {
            let mut table = LOADER.to_vec();
            change(&mut table);
            Plan::of(&file(3, &table), AMD64, 0x1000).unwrap_err()
        };
        assert_eq!(with(&|t| t[2][1] = 7), Refusal::WritableCode);
        assert_eq!(with(&|t| t[2][2] = 0x1e01), Refusal::BadSegments, "not congruent");
        assert_eq!(with(&|t| t[1][3] = 0), Refusal::BadSegments, "overlapping");
        assert_eq!(with(&|t| t[2][5] = u64::MAX), Refusal::BadSegments, "around the end of memory");
        assert_eq!(with(&|t| t[2][5] = 0x200), Refusal::BadSegments, "smaller than its file part");
        assert_eq!(with(&|t| t[2][1] = 4), Refusal::BadSegments, "zeros in a page that is not written to");
        assert_eq!(with(&|t| t.extend([[1, 4, 0, 1 << 40, 1, 1]])), Refusal::BadSegments, "too far");
        let mut endless = file(3, &LOADER);
        endless[56..58].fill(0xff);
        assert_eq!(Plan::of(&endless, AMD64, 0x1000), Err(Refusal::BadSegments), "more headers than were read");
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let whole = file(3, &LOADER);
        for end in 0..whole.len() {
            assert!(Plan::of(&whole[..end], AMD64, 0x1000).is_err(), "{end}");
        }
    }
}
