//! x86-64: the three places where a register matters (System V psABI, "Process Initialization"; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_X86_64, Machine};

/// Whom this shim's loaders load.
pub(crate) const MACHINE: Machine = Machine { class: Class::Elf64, number: EM_X86_64 };

/// Where the kernel jumps to: the stack pointer is all there is.
///
/// # Safety
/// Called by nobody but the kernel.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",        // the outermost frame has no caller
        "mov rdi, rsp",        // argc, argv, envp, auxv lie from here upwards
        "sub rsp, {room}",     // they may be moved down a little, and must not meet our own frames
        "and rsp, -16",        // the alignment of every call
        "call {enter}",
        "ud2",                 // it does not return
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
        "mov rsp, rsi",        // the stack as the kernel made it
        "xor edx, edx",        // no function for atexit
        "xor ebp, ebp",        // the outermost frame
        "jmp rdi",
    )
}

/// A system call; the result is negative for an error.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    naked_asm!(
        "mov rax, rdi",        // the number
        "mov rdi, rsi",        // the arguments, each one register on
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",         // the kernel keeps rcx for itself
        "mov r8, r9",
        "mov r9, [rsp + 8]",   // the seventh argument of a function is on the stack
        "syscall",
        "ret",
    )
}
