//! A variable that only the loader sees: an entry of the environment that is there when the loader reads it and
//! gone before the first constructor runs. The program's `DT_PREINIT_ARRAY` is what runs in between (gABI,
//! "Initialization and Termination Functions"; glibc `elf/dl-init.c`): after the libraries are loaded, before
//! any of their constructors, and before libc has looked at the environment.

use crate::arch::MACHINE;
use crate::memory;
use crate::place::Program;
use crate::stack::{Stack, remove_variable};
use crate::sys::{self, Protection};
use ld_shim::dynamic::{self, DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ};
use ld_shim::needs::{DT_RPATH, DT_STRTAB};

const WORD: usize = size_of::<usize>();

/// What stands before the added entry's text, so that the function finds it by that entry alone: there is no
/// other place to keep it.
#[repr(C)]
struct Note {
    /// The one element of the array that the loader runs.
    array: extern "C" fn(usize, *mut usize, *mut usize),
    /// The array that the program brought itself, and how many elements it has.
    own: *const extern "C" fn(usize, *mut usize, *mut usize),
    own_count: usize,
}

/// A text in memory of its own, with room for a [`Note`] in front of it and zeros behind.
pub(crate) struct Text {
    start: *mut u8,
    length: usize,
}

impl Text {
    /// Room for `most` bytes and a NUL; `None` if there is no memory.
    pub(crate) fn new(most: usize) -> Option<Text> {
        // SAFETY: nothing is mapped over.
        let room = unsafe { sys::map_zeros(None, size_of::<Note>() + most + 1, Protection::WRITE).ok()? };
        Some(Text { start: (room + size_of::<Note>()) as *mut u8, length: 0 })
    }

    /// Adds a part; all of them together are no longer than was said.
    pub(crate) fn add(&mut self, part: &[u8]) {
        // SAFETY: the caller has counted.
        unsafe { memory::copy(self.start.add(self.length), part.as_ptr(), part.len()) };
        self.length += part.len();
    }

    /// Its first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}

/// Adds the entry `text` (that of a [`Text`]) to the environment until the libraries are loaded. Nothing is
/// changed if the program's dynamic section has no room for that: a leak would be worse.
///
/// With `as_run_path`, `text` is a path and becomes the program's run path, if it has no DT_RPATH of its own and no
/// array in the place; beside a DT_RUNPATH it has no effect. For musl, which runs no such array, and for secure
/// executions, where loaders want no variable. It is asked for libraries of libraries and for `dlopen`, too (glibc
/// `elf/dl-load.c`; musl `ldso/dynlink.c`, `fixup_rpath`).
#[inline(never)]
pub(crate) fn add(stack: &mut Stack, program: &Program<'_>, page: usize, text: *mut u8, as_run_path: bool) {
    let Some(section) = program.dynamic() else { return };
    let (start, length) = (section.as_ptr() as usize, section.len());
    let Some((_, strings)) = dynamic::first(section, MACHINE.class, DT_STRTAB) else { return };
    let Some(room) = dynamic::room(section, MACHINE.class) else { return };
    if as_run_path && (room.own.1 > 0 || dynamic::first(section, MACHINE.class, DT_RPATH).is_some()) {
        return;
    }
    let relative = |address: usize| address.wrapping_sub(program.bias());
    let entries = if as_run_path {
        // Counted from the program's strings, wherever it lies.
        let path = relative(text as usize).wrapping_sub(strings);
        [(room.address, DT_RPATH, path), (room.size, DT_RPATH, path)]
    } else {
        let own = if room.own.1 == 0 { 0 } else { program.bias().wrapping_add(room.own.0) };
        let note = text.wrapping_sub(size_of::<Note>()).cast::<Note>();
        // SAFETY: [`Text`] left room for it, aligned as a page is.
        unsafe { note.write(Note { array: leave, own: own as *const _, own_count: room.own.1 / WORD }) };
        [(room.address, DT_PREINIT_ARRAY, relative(note as usize)), (room.size, DT_PREINIT_ARRAYSZ, WORD)]
    };
    // SAFETY: the section is the program's, the indices are of it, and it is not looked at any more.
    if unsafe { program.set_dynamic(start, length, page, entries) } && !as_run_path {
        stack.add_variable(text);
    }
}

/// What the loader runs first: the entry goes, and the program's own functions have their turn.
extern "C" fn leave(count: usize, arguments: *mut usize, environment: *mut usize) {
    // SAFETY: the loader hands on the environment that the entry was added to; the note lies before its text;
    // the loader has relocated the program's own array by now.
    unsafe {
        let Some(text) = remove_variable(environment) else { return };
        let note = &*text.wrapping_sub(size_of::<Note>()).cast::<Note>();
        for index in 0..note.own_count {
            (*note.own.add(index))(count, arguments, environment);
        }
    }
}
