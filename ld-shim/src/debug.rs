//! For debuggers: they put a breakpoint on `_dl_debug_state` of the file that PT_INTERP names – the shim – and
//! wait there to hear of libraries. If there is one, the loader's own function of that name is made to jump to
//! ours; without a debugger, not a byte of the loader is touched.

use crate::arch::{self, MACHINE};
use crate::sys::{self, Protection};
use core::arch::naked_asm;
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

/// Where a debugger waits, by this very name; whoever calls it, nothing happens.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn _dl_debug_state() {
    naked_asm!("ret")
}

/// Makes a debugger that waits in the shim hear of the libraries of the loader at `bias`.
pub(crate) fn attend(bias: usize, plan: &Plan<'_>, page: usize) {
    // A breakpoint is another instruction in the place of the one that was compiled.
    // SAFETY: the function's only instruction.
    let (state, there) = unsafe { (arch::debug_state(), arch::debug_state().cast::<[u8; arch::RET.len()]>().read_volatile()) };
    if there != arch::RET {
        redirect(bias, plan, page, state as usize);
    }
}

/// A loader that was mapped just now.
struct Mapped {
    base: usize,
    first: usize,
    span: usize,
}

impl Mapped {
    /// Everything from a link-time address on. It is not kept: the loader will write to some of it.
    #[inline(never)]
    fn at(&self, address: usize) -> Option<&[u8]> {
        let rest = self.span.checked_sub(address.wrapping_sub(self.first)).filter(|rest| *rest <= self.span)?;
        // SAFETY: the whole span is mapped, and nobody else runs yet.
        Some(unsafe { slice::from_raw_parts((self.base + self.span - rest) as *const u8, rest) })
    }
}

#[cold]
#[inline(never)]
fn redirect(bias: usize, plan: &Plan<'_>, page: usize, state: usize) -> Option<()> {
    let loader = Mapped { base: bias.wrapping_add(plan.first), first: plan.first, span: plan.span };
    let dynamic = of_kind(plan.headers(), MACHINE.class, PT_DYNAMIC)?;
    let section = loader.at(dynamic.address)?.get(..dynamic.file_size)?;
    let (_, strings) = first(section, MACHINE.class, DT_STRTAB)?;
    let (_, symbols) = first(section, MACHINE.class, DT_SYMTAB)?;
    // Every linker puts the strings behind the symbols; how many there are, no entry says.
    let table = loader.at(symbols)?.get(..strings.checked_sub(symbols)?)?;
    let names = loader.at(strings)?;
    let named = |symbol: &&[u8]| {
        let name = u32_at(symbol, 0).and_then(|offset| names.get(offset as usize..));
        name.is_some_and(|name| after(name, b"_dl_debug_state\0").is_some())
    };
    let function = loader.at(MACHINE.class.word_at(table.chunks_exact(SYMBOL).find(named)?, VALUE)?)?;
    let start = function.as_ptr() as usize;
    let jump = arch::jump_over(function, start, state)?;
    // SAFETY: code of the loader, which does not run yet; it is never written to and executed at once. A function
    // of sixteen bytes and less lies in one page.
    unsafe {
        if sys::protect(start & !(page - 1), page, Protection::WRITE) {
            crate::memory::copy(start as *mut u8, jump.as_ptr(), jump.len());
            sys::protect(start & !(page - 1), page, Protection::of_segment(PF_R | PF_X));
        }
    }
    Some(())
}
