//! Puts a loader into memory as the kernel would have put it there, and reads the program where the kernel has
//! put it.

use crate::arch::MACHINE;
use crate::memory;
use crate::sys::{self, File, Protection};
use core::slice;
use ld_shim::bytes;
use ld_shim::elf::{PF_R, PF_W, PT_DYNAMIC, PT_PHDR, Segment, loaded_at, of_kind};
use ld_shim::load::{Load, Plan};
use ld_shim::needs::{self, Memory, Needs};

/// Maps a loader whose file begins at `offset` of `file`; its load bias.
///
/// # Errors
/// An errno value of mmap(2).
pub(crate) fn map(file: &File, offset: usize, plan: &Plan<'_>) -> Result<usize, i32> {
    let mut base = None;
    let mut end = 0;
    for load in plan.loads() {
        let protection = Protection::of_segment(load.flags);
        let start = match base {
            // The first mapping takes the whole span, so that the kernel chooses a place where all of it fits.
            // SAFETY: nothing is mapped over.
            None => unsafe { file.map(None, plan.span, protection, offset + load.offset)? },
            Some(base) => {
                // SAFETY: inside the span that was just mapped.
                unsafe {
                    if load.start > end {
                        sys::protect(base + end, load.start - end, Protection::NONE);
                    }
                    if load.mapped > 0 {
                        file.map(Some(base + load.start), load.mapped, protection, offset + load.offset)?;
                    }
                }
                base
            }
        };
        base = Some(start);
        fill(start, &load)?;
        end = load.blank.0 + load.blank.1;
    }
    Ok(base.unwrap_or(0).wrapping_sub(plan.first))
}

/// Zeros behind the part of a segment that comes from the file.
fn fill(base: usize, load: &Load) -> Result<(), i32> {
    let (start, length) = load.zero;
    if length > 0 {
        // SAFETY: the plan allows it in writable segments only; they are mapped, and ours alone.
        unsafe { memory::zero((base + start) as *mut u8, length) };
    }
    let (start, length) = load.blank;
    if length > 0 {
        // SAFETY: inside the span that was just mapped.
        unsafe { sys::map_zeros(Some(base + start), length, Protection::of_segment(load.flags))? };
    }
    Ok(())
}

/// A program: where the kernel has mapped it, or in its file.
pub(crate) struct Program<'m> {
    table: &'m [u8],
    /// What is added to its addresses; unused in a file.
    bias: usize,
    /// Its file, mapped as a whole, if it is not loaded.
    file: Option<&'m [u8]>,
}

impl<'m> Program<'m> {
    /// The program whose headers lie at `table`.
    ///
    /// # Safety
    /// `table` and `count` are AT_PHDR and AT_PHNUM of this process.
    pub(crate) unsafe fn mapped(table: usize, count: usize) -> Program<'static> {
        // SAFETY: the kernel mapped the headers; programs keep them.
        let bytes = unsafe { slice::from_raw_parts(table as *const u8, count * MACHINE.class.segment_size()) };
        // glibc's rtld.c and musl's dynlink.c do the same: without PT_PHDR the program lies where it was linked.
        let linked = of_kind(bytes, MACHINE.class, PT_PHDR).map(|s| s.address);
        let bias = linked.map_or(0, |linked| table.wrapping_sub(linked));
        Program { table: bytes, bias, file: None }
    }

    /// The program in a file; without headers, and so without needs, if it is none for this machine.
    #[inline(never)]
    pub(crate) fn in_file(bytes: &'m [u8]) -> Program<'m> {
        let table = needs::file(bytes, MACHINE).map_or(&[][..], |file| file.table);
        Program { table, bias: 0, file: Some(bytes) }
    }

    /// What it needs; `None` of what is no program.
    #[inline(never)]
    pub(crate) fn needs(&self) -> Option<Needs<'_, Program<'m>>> {
        Needs::read(self, self.table, MACHINE.class)
    }

    fn address(&self, linked: usize) -> usize {
        self.bias.wrapping_add(linked)
    }

    fn load(&self, linked: usize) -> Option<Segment> {
        loaded_at(self.table, MACHINE.class, linked)
    }

    /// Its dynamic section.
    pub(crate) fn dynamic(&self) -> Option<&[u8]> {
        let segment = of_kind(self.table, MACHINE.class, PT_DYNAMIC)?;
        self.from(segment.address)?.get(..segment.file_size)
    }

    /// Overwrites entries of the dynamic section of a mapped program: index, tag, value. False if it cannot be
    /// written to.
    ///
    /// # Safety
    /// The section has `length` bytes at `start`, the indices lie in it, and nobody holds a reference to it.
    pub(crate) unsafe fn set_dynamic(&self, start: usize, length: usize, page: usize, entries: [(usize, usize, usize); 2]) -> bool {
        let (from, to) = (start & !(page - 1), (start + length + page - 1) & !(page - 1));
        let flags = self.load(start.wrapping_sub(self.bias)).unwrap_or_default().flags;
        // SAFETY: pages of the program's own, which nobody executes now: a dynamic section is data.
        if flags & PF_W == 0 && !unsafe { sys::protect(from, to - from, Protection::WRITE) } {
            return false;
        }
        for (index, tag, value) in entries {
            // Volatile: it is the loader that reads it.
            // SAFETY: inside the section, by the caller, and writable.
            unsafe { (start as *mut [usize; 2]).wrapping_add(index).write_volatile([tag, value]) };
        }
        if flags & PF_W == 0 {
            // SAFETY: as they were.
            unsafe { sys::protect(from, to - from, Protection::of_segment(flags)) };
        }
        true
    }

    /// What the loader will add to addresses of the program.
    pub(crate) fn bias(&self) -> usize {
        self.bias
    }
}

impl Memory for Program<'_> {
    #[inline(never)]
    fn from(&self, address: usize) -> Option<&[u8]> {
        let segment = self.load(address).filter(|s| s.flags & PF_R != 0)?;
        let (distance, rest) = segment.reach(address)?;
        match self.file {
            Some(bytes) => {
                let start = segment.offset.checked_add(distance)?;
                bytes.get(start..start.saturating_add(rest).min(bytes.len()))
            }
            // SAFETY: the kernel mapped the file part of the segment, readable.
            None => Some(unsafe { slice::from_raw_parts(self.address(address) as *const u8, rest) }),
        }
    }
}

/// The file of a program that was named on the command line, and all of its bytes. `None` for a name that the
/// loader would look for in its libraries, and for what cannot be read: the loader says why.
pub(crate) fn named(word: &[u8]) -> Option<(File, &'static [u8])> {
    bytes::has(word, b'/').then_some(())?;
    // SAFETY: arguments end in a NUL.
    let file = unsafe { sys::open(word, true) }.ok()?;
    let length = file.status().size;
    // SAFETY: nothing is mapped over.
    let at = unsafe { file.map(None, length, Protection::READ, 0).ok()? };
    // SAFETY: mapped just now, for good.
    Some((file, unsafe { slice::from_raw_parts(at as *const u8, length) }))
}
