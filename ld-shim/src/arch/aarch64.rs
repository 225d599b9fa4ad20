//! AArch64: the places where a register matters, and what a debugger waits for (AAPCS64; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_AARCH64, Machine};
use ld_shim::jump;

/// Whom this shim's loaders load.
pub(crate) const MACHINE: Machine = Machine { class: Class::Elf64, number: EM_AARCH64 };

/// Where the kernel jumps to: the stack pointer is all there is.
///
/// # Safety
/// Called by nobody but the kernel.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "bti c",               // a place that may be jumped to
        "mov x29, xzr",        // the outermost frame has no caller
        "mov x30, xzr",
        "mov x0, sp",          // argc, argv, envp, auxv lie from here upwards
        "sub x9, x0, {room}",  // they may be moved down a little, and must not meet our own frames
        "mov sp, x9",          // 16 bytes aligned, as it was
        "bl {enter}",
        "brk #1",              // it does not return
        room = const super::ROOM,
        enter = sym crate::enter,
    )
}

/// Leaves this program for good, as the kernel would have entered the loader.
///
/// # Safety
/// `entry` is code, `stack` holds argc, argv, envp, auxv.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn jump(entry: usize, stack: *mut usize) -> ! {
    naked_asm!(
        "mov sp, x1",   // the stack as the kernel made it
        "mov x16, x0",  // a register that may be jumped through to any `bti c`
        "mov x0, xzr",  // no function for atexit
        "mov x29, xzr", // the outermost frame
        "mov x30, xzr",
        "br x16",
    )
}

/// A system call of at most four arguments; the result is negative for an error.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    naked_asm!(
        "mov x8, x0", // the number
        "mov x0, x1", // the arguments, each one register on
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "svc #0",
        "ret",
    )
}

/// mmap(2), the one call of six arguments.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn map(at: usize, length: usize, protection: usize, how: usize, file: usize, offset: usize) -> isize {
    naked_asm!(
        "mov x8, #{number}", // everything else is where it should be
        "svc #0",
        "ret",
        number = const linux_raw_sys::general::__NR_mmap,
    )
}

/// Where the function lies at which a debugger waits: by arithmetic, since a table of addresses would have to be relocated.
///
/// # Safety
/// None is needed.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn debug_state() -> *const u8 {
    naked_asm!(
        "adrp x0, {debug_state}",
        "add x0, x0, :lo12:{debug_state}",
        "ret",
        debug_state = sym crate::debug::_dl_debug_state,
    )
}

/// The instruction that is there unless a debugger has put a breakpoint over it.
pub(crate) const RET: [u8; 4] = jump::RET_AARCH64.to_le_bytes();

/// What makes a function of the loader jump there.
pub(crate) fn jump_over(_: &[u8], at: usize, target: usize) -> Option<[u8; 4]> {
    jump::aarch64(at, target)
}
