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
use ld_shim::needs::entries;

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

/// A text in memory of its own that ends in a NUL: the parts one behind the other, with room for a [`Note`] in
/// front of it. `None` if there is no memory.
pub(crate) fn text<'p>(parts: impl Iterator<Item = &'p [u8]> + Clone) -> Option<*mut u8> {
    let length: usize = parts.clone().map(<[u8]>::len).sum();
    // SAFETY: nothing is mapped over.
    let room = unsafe { sys::map_zeros(None, size_of::<Note>() + length + 1, Protection::WRITE).ok()? };
    let start = (room + size_of::<Note>()) as *mut u8;
    let mut at = start;
    for part in parts {
        // SAFETY: the parts' lengths were counted, and zeros follow.
        unsafe {
            memory::copy(at, part.as_ptr(), part.len());
            at = at.add(part.len());
        }
    }
    Some(start)
}

/// Adds the entry `text` (made by [`text`]) to the environment until the libraries are loaded. False, and
/// nothing changed, if the program's dynamic section has no room for that.
pub(crate) fn add(stack: &mut Stack, program: &Program<'_>, page: usize, text: *mut u8) -> bool {
    let Some(section) = program.dynamic() else { return false };
    let Some(room) = dynamic::room(section, MACHINE.class) else { return false };
    let value = |wanted| entries(section, MACHINE.class).take_while(|e| e.0 != 0).find(|e| e.0 == wanted).map(|e| e.1 as usize);
    let own = value(DT_PREINIT_ARRAY).zip(value(DT_PREINIT_ARRAYSZ));
    let (own, own_count) = own.map_or((0, 0), |(address, size)| (address.wrapping_add(program.bias()), size / WORD));
    let note = text.wrapping_sub(size_of::<Note>()).cast::<Note>();
    // SAFETY: `text` left room for it, aligned as a page is.
    unsafe { note.write(Note { array: leave, own: own as *const _, own_count }) };
    let array = (note as usize).wrapping_sub(program.bias());
    let entries = [(room.address, DT_PREINIT_ARRAY, array), (room.size, DT_PREINIT_ARRAYSZ, WORD)];
    // SAFETY: the indices are of this section.
    if unsafe { program.set_dynamic(page, entries) }.is_none() {
        return false;
    }
    stack.add_variable(text);
    true
}

/// What the loader runs first: the entry goes, and the program's own functions have their turn.
extern "C" fn leave(count: usize, arguments: *mut usize, environment: *mut usize) {
    // SAFETY: the loader hands on the environment that the entry was added to; the note lies before its text;
    // the loader has relocated the program's own array by now.
    unsafe {
        let note = &*remove_variable(environment).wrapping_sub(size_of::<Note>()).cast::<Note>();
        for index in 0..note.own_count {
            (*note.own.add(index))(count, arguments, environment);
        }
    }
}
