//! AArch64: the three places where a register matters (AAPCS64; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_AARCH64, Machine};

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
        "mov sp, x1",          // the stack as the kernel made it
        "mov x16, x0",         // a register that may be jumped through to any `bti c`
        "mov x0, xzr",         // no function for atexit
        "mov x29, xzr",        // the outermost frame
        "mov x30, xzr",
        "br x16",
    )
}

/// A system call; the result is negative for an error.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    naked_asm!(
        "mov x8, x0",          // the number
        "mov x0, x1",          // the arguments, each one register on
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc #0",
        "ret",
    )
}
