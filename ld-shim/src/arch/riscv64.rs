//! RISC-V, 64 bits: the places where a register matters (RISC-V ELF psABI; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_RISCV, Machine};

/// Whom this shim's loaders load.
pub(crate) const MACHINE: Machine = Machine { class: Class::Elf64, number: EM_RISCV };

/// Where the kernel jumps to: the stack pointer is all there is.
///
/// # Safety
/// Called by nobody but the kernel.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "mv ra, zero",         // the outermost frame has no caller
        "mv s0, zero",
        "mv a0, sp",           // argc, argv, envp, auxv lie from here upwards
        "addi sp, sp, -{room}", // they may be moved down a little, and must not meet our own frames
        "andi sp, sp, -16",    // the alignment of every call
        "call {enter}",
        "unimp",               // it does not return
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
        "mv sp, a1", // the stack as the kernel made it
        "mv t1, a0",
        "mv a0, zero", // no function for atexit
        "mv ra, zero", // the outermost frame
        "mv s0, zero",
        "jr t1",
    )
}

/// A system call of at most four arguments; the result is negative for an error.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    naked_asm!(
        "mv a7, a0", // the number
        "mv a0, a1", // the arguments, each one register on
        "mv a1, a2",
        "mv a2, a3",
        "mv a3, a4",
        "ecall",
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
        "li a7, {number}", // everything else is where it should be
        "ecall",
        "ret",
        number = const linux_raw_sys::general::__NR_mmap,
    )
}
