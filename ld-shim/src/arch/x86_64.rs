//! x86-64: the places where a register matters, and what a debugger waits for (System V psABI, "Process Initialization"; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_X86_64, Machine};
use ld_shim::jump;

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
        "mov rsp, rsi", // the stack as the kernel made it
        "xor edx, edx", // no function for atexit
        "xor ebp, ebp", // the outermost frame
        "jmp rdi",
    )
}

/// A system call of at most four arguments; the result is negative for an error.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    naked_asm!(
        "mov rax, rdi", // the number
        "mov rdi, rsi", // the arguments, each one register on
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8", // the kernel keeps rcx for itself
        "syscall",
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
        "mov r10, rcx", // the kernel keeps rcx for itself
        "mov eax, {number}", // everything else is where it should be
        "syscall",
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
        "lea rax, [rip + {debug_state}]",
        "ret",
        debug_state = sym crate::debug::_dl_debug_state,
    )
}

/// The instruction that is there unless a debugger has put a breakpoint over it.
pub(crate) const RET: [u8; 1] = [jump::RET_X86];
/// What makes a function of the loader jump there.
pub(crate) use jump::x86 as jump_over;
