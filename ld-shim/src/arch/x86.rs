//! i386: the places where a register matters, and what a debugger waits for (System V i386 psABI, "Process Initialization"; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_386, Machine};
use ld_shim::jump;

/// Whom this shim's loaders load.
pub(crate) const MACHINE: Machine = Machine { class: Class::Elf32, number: EM_386 };

/// Where the kernel jumps to: the stack pointer is all there is.
///
/// # Safety
/// Called by nobody but the kernel.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",        // the outermost frame has no caller
        "mov eax, esp",        // argc, argv, envp, auxv lie from here upwards
        "sub esp, {room}",     // they may be moved down a little, and must not meet our own frames
        "and esp, -16",        // the alignment of every call,
        "sub esp, 12",         // counted with its argument
        "push eax",
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
        "mov eax, [esp + 4]", // the entry
        "mov esp, [esp + 8]", // the stack as the kernel made it
        "xor edx, edx",       // no function for atexit
        "xor ebp, ebp",       // the outermost frame
        "jmp eax",
    )
}

/// A system call of at most four arguments; the result is negative for an error. A fifth one is zero: the upper
/// half of the offset that the fourth one may be.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    naked_asm!(
        "push ebx", // the caller's registers that the kernel takes arguments in
        "push esi",
        "push edi",
        "mov eax, [esp + 16]", // the number: behind three registers and the return address
        "mov ebx, [esp + 20]",
        "mov ecx, [esp + 24]",
        "mov edx, [esp + 28]",
        "mov esi, [esp + 32]",
        "xor edi, edi",
        "int 0x80", // the one entry that every processor and kernel has
        "pop edi",
        "pop esi",
        "pop ebx",
        "ret",
    )
}

/// mmap2(2), the one call of six arguments.
///
/// # Safety
/// As the call itself.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn map(at: usize, length: usize, protection: usize, how: usize, file: usize, offset: usize) -> isize {
    naked_asm!(
        "push ebp", // the caller's registers that the kernel takes arguments in
        "push ebx",
        "push esi",
        "push edi",
        "mov eax, {number}",
        "mov ebx, [esp + 20]", // behind four registers and the return address
        "mov ecx, [esp + 24]",
        "mov edx, [esp + 28]",
        "mov esi, [esp + 32]",
        "mov edi, [esp + 36]",
        "mov ebp, [esp + 40]",
        "int 0x80",
        "pop edi",
        "pop esi",
        "pop ebx",
        "pop ebp",
        "ret",
        number = const linux_raw_sys::general::__NR_mmap2,
    )
}

/// Where the function lies at which a debugger waits: by arithmetic, since a table of addresses would have to be relocated.
///
/// # Safety
/// None is needed.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn debug_state() -> *const u8 {
    naked_asm!(
        "call 2f",
        "2: popl %eax",       // where this instruction is
        "addl $({debug_state} - 2b), %eax",
        "ret",
        debug_state = sym crate::debug::_dl_debug_state,
        options(att_syntax),  // the other syntax has no difference of two symbols
    )
}

/// The instruction that is there unless a debugger has put a breakpoint over it.
pub(crate) const RET: [u8; 1] = [jump::RET_X86];
/// What makes a function of the loader jump there.
pub(crate) use jump::x86 as jump_over;
