//! Puts a loader into memory as the kernel would have put it there, and reads the program where the kernel has
//! put it.

use crate::arch::MACHINE;
use crate::memory;
use crate::sys::{self, File, Protection};
use ld_shim::elf::{PF_R, PF_W, PT_DYNAMIC, PT_LOAD, PT_PHDR, Segment, segments};
use ld_shim::load::{Load, Plan};
use ld_shim::needs::{self, Memory, Needs};
use core::slice;

/// Maps a loader whose file begins at `offset` of `file`; its load bias.
///
/// # Errors
/// An errno value of mmap(2).
pub(crate) fn map(file: &File, offset: u64, plan: &Plan) -> Result<usize, i32> {
    // The first mapping takes the whole span, so that the kernel chooses a place where all of it fits; the
    // others go over it.
    let span = plan.span as usize;
    let Some((first, rest)) = plan.loads().split_first() else { return Err(linux_raw_sys::errno::ENOEXEC as i32) };
    // SAFETY: nothing is mapped over.
    let base = unsafe { file.map(None, span, Protection::of_segment(first.flags), offset + first.offset)? };
    let mut end = first.start + first.mapped;
    fill(base, first)?;
    for load in rest {
        let at = base + load.start as usize;
        if load.start > end {
            // SAFETY: a gap in the span that was just mapped.
            unsafe { sys::protect(base + end as usize, (load.start - end) as usize, Protection::NONE) };
        }
        if load.mapped > 0 {
            // SAFETY: inside the span that was just mapped.
            unsafe { file.map(Some(at), load.mapped as usize, Protection::of_segment(load.flags), offset + load.offset)? };
        }
        fill(base, load)?;
        end = load.blank.0 + load.blank.1;
    }
    Ok(base.wrapping_sub(plan.first as usize))
}

/// Zeros behind the part of a segment that comes from the file.
fn fill(base: usize, load: &Load) -> Result<(), i32> {
    let (start, length) = load.zero;
    if length > 0 {
        // SAFETY: the plan allows it in writable segments only; they are mapped, and ours alone.
        unsafe { memory::zero((base + start as usize) as *mut u8, length as usize) };
    }
    let (start, length) = load.blank;
    if length > 0 {
        // SAFETY: inside the span that was just mapped.
        unsafe { sys::map_zeros(Some(base + start as usize), length as usize, Protection::of_segment(load.flags))? };
    }
    Ok(())
}

/// A program: where the kernel has mapped it, or in its file.
pub(crate) struct Program<'m> {
    table: &'m [u8],
    /// What is added to its addresses; unused in a file.
    bias: u64,
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
        let linked = segments(bytes, MACHINE.class).find(|s| s.kind == PT_PHDR).map(|s| s.address);
        let bias = linked.map_or(0, |linked| (table as u64).wrapping_sub(linked));
        Program { table: bytes, bias, file: None }
    }

    /// The program in a file; without headers, and so without needs, if it is none for this machine.
    pub(crate) fn in_file(bytes: &'m [u8]) -> Program<'m> {
        let table = needs::file(bytes, MACHINE).map_or(&[][..], |file| file.table);
        Program { table, bias: 0, file: Some(bytes) }
    }

    /// What it needs; `None` of what is no program.
    pub(crate) fn needs(&self) -> Option<Needs<'_, Program<'m>>> {
        Needs::read(self, self.table, MACHINE.class)
    }

    fn address(&self, linked: u64) -> usize {
        self.bias.wrapping_add(linked) as usize
    }

    #[inline(never)]
    fn load(&self, linked: u64) -> Option<Segment> {
        segments(self.table, MACHINE.class).find(|s| s.kind == PT_LOAD && s.reach(linked).is_some())
    }

    /// Its dynamic section.
    pub(crate) fn dynamic(&self) -> Option<&[u8]> {
        let segment = segments(self.table, MACHINE.class).find(|s| s.kind == PT_DYNAMIC)?;
        self.from(segment.address)?.get(..usize::try_from(segment.file_size).ok()?)
    }

    /// Overwrites entries of the dynamic section of a mapped program: index, tag, value.
    ///
    /// # Safety
    /// The indices lie in the section.
    pub(crate) unsafe fn set_dynamic(&self, page: usize, entries: [(usize, u64, usize); 2]) -> Option<()> {
        let segment = segments(self.table, MACHINE.class).find(|s| s.kind == PT_DYNAMIC)?;
        let load = self.load(segment.address).filter(|_| self.file.is_none())?;
        let start = self.address(segment.address);
        let (from, to) = (start & !(page - 1), (start + segment.file_size as usize + page - 1) & !(page - 1));
        let writable = load.flags & PF_W != 0;
        // SAFETY: pages of the program's own, which nobody executes: a dynamic section is data.
        if !writable && !unsafe { sys::protect(from, to - from, Protection::WRITE) } {
            return None;
        }
        for (index, tag, value) in entries {
            let entry = (start as *mut usize).wrapping_add(2 * index);
            // SAFETY: inside the section, by the caller, and writable.
            unsafe {
                *entry = tag as usize;
                *entry.add(1) = value;
            }
        }
        if !writable {
            // SAFETY: as they were.
            unsafe { sys::protect(from, to - from, Protection::of_segment(load.flags)) };
        }
        Some(())
    }

    /// What the loader will add to addresses of the program.
    pub(crate) fn bias(&self) -> usize {
        self.bias as usize
    }
}

impl Memory for Program<'_> {
    #[inline(never)]
    fn from(&self, address: u64) -> Option<&[u8]> {
        let segment = self.load(address).filter(|s| s.flags & PF_R != 0)?;
        let (distance, rest) = segment.reach(address)?;
        let rest = usize::try_from(rest).ok()?;
        match self.file {
            Some(bytes) => {
                let start = usize::try_from(segment.offset.checked_add(distance)?).ok()?;
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
    word.contains(&b'/').then_some(())?;
    // SAFETY: arguments end in a NUL.
    let path = unsafe { slice::from_raw_parts(word.as_ptr(), word.len() + 1) };
    let file = sys::open(path, true).ok()?;
    let length = usize::try_from(file.status()?.size).ok().filter(|n| *n > 0)?;
    // SAFETY: nothing is mapped over.
    let at = unsafe { file.map(None, length, Protection::READ, 0).ok()? };
    // SAFETY: mapped just now, for good.
    Some((file, unsafe { slice::from_raw_parts(at as *const u8, length) }))
}
