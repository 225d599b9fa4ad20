//! For debuggers: they put a breakpoint on `_dl_debug_state` of the file that PT_INTERP names – the shim – and
//! wait there to hear of libraries. If there is one, the loader's own function of that name is made to jump to
//! ours; without a debugger, not a byte of the loader is touched.

use crate::arch::{self, MACHINE};
use crate::sys::{self, Protection};
use core::slice;
use ld_shim::bytes::{after, u32_at};
use ld_shim::dynamic::first;
use ld_shim::elf::{Class, PF_R, PF_X, PT_DYNAMIC, of_kind};
use ld_shim::load::Plan;

/// `DT_STRTAB`, `DT_SYMTAB` (gABI).
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
/// `sizeof (ElfN_Sym)`.
const SYMBOL: usize = if matches!(MACHINE.class, Class::Elf64) { 24 } else { 16 };
/// Where `st_value` is.
const VALUE: usize = if matches!(MACHINE.class, Class::Elf64) { 8 } else { 4 };

/// Makes a debugger that waits in the shim hear of the libraries of the loader at `bias`.
pub(crate) fn attend(bias: usize, plan: &Plan<'_>, page: usize) {
    // A breakpoint is another instruction in the place of the one that was compiled.
    if arch::is_debugged() {
        redirect(bias, plan, page);
    }
}

#[cold]
#[inline(never)]
fn redirect(bias: usize, plan: &Plan<'_>, page: usize) -> Option<()> {
    let end = plan.first.wrapping_add(plan.span);
    // SAFETY: what lies between is mapped, readable, and nobody else runs yet. It is not kept.
    let at = |address: usize| unsafe {
        (address >= plan.first && address < end).then(|| slice::from_raw_parts((bias.wrapping_add(address)) as *const u8, end - address))
    };
    let dynamic = of_kind(plan.headers(), MACHINE.class, PT_DYNAMIC)?;
    let section = at(dynamic.address)?.get(..dynamic.file_size)?;
    let value = |tag| first(section, MACHINE.class, tag);
    let ((_, strings), (_, symbols)) = (value(DT_STRTAB)?, value(DT_SYMTAB)?);
    // Every linker puts the strings behind the symbols; how many there are, no entry says.
    let table = at(symbols)?.get(..strings.checked_sub(symbols)?)?;
    let named = |symbol: &&[u8]| {
        let name = u32_at(symbol, 0).and_then(|offset| at(strings.checked_add(offset as usize)?));
        name.is_some_and(|name| after(name, b"_dl_debug_state\0").is_some())
    };
    let function = MACHINE.class.word_at(table.chunks_exact(SYMBOL).find(named)?, VALUE)?;
    let jump = arch::jump_to_debug_state(at(function)?)?;
    let start = bias.wrapping_add(function);
    let (from, length) = (start & !(page - 1), page.min(end - (function & !(page - 1))));
    // SAFETY: code of the loader, which does not run yet; it is never written to and executed at once.
    unsafe {
        if sys::protect(from, length, Protection::WRITE) {
            crate::memory::copy(start as *mut u8, jump.as_ptr(), jump.len());
            sys::protect(from, length, Protection::of_segment(PF_R | PF_X));
        }
    }
    Some(())
}
