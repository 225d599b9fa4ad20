//! x86-64: the places where a register matters, and what a debugger waits for (System V psABI, "Process Initialization"; syscall(2)).

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
        "mov eax, 9",   // __NR_mmap; everything else is where it should be
        "syscall",
        "ret",
    )
}

/// Where a debugger waits, by this very name; whoever calls it, nothing happens.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _dl_debug_state() {
    naked_asm!("ret")
}

/// Where that function lies: by arithmetic, since a table of addresses would have to be relocated.
///
/// # Safety
/// None is needed.
#[unsafe(naked)]
unsafe extern "C" fn debug_state() -> *const u8 {
    naked_asm!(
        "lea rax, [rip + {debug_state}]",
        "ret",
        debug_state = sym _dl_debug_state,
    )
}

/// Whether a debugger waits there: its breakpoint is another byte.
pub(crate) fn is_debugged() -> bool {
    const RET: u8 = 0xc3;
    // SAFETY: the function's only byte.
    unsafe { debug_state().read_volatile() != RET }
}

/// The instruction that goes over a function like ours in the loader. `None` if that has no room for it.
pub(crate) fn jump_to_debug_state(function: &[u8]) -> Option<[u8; 5]> {
    // `ret` and padding (no instruction begins like that in the next function), or `endbr` and `ret`.
    let (ret, next) = (*function.first()? == 0xc3, *function.get(1)?);
    let endbr = function.get(..3) == Some(&[0xf3, 0x0f, 0x1e]) && function.get(4) == Some(&0xc3);
    if !(endbr || ret && matches!(next, 0x66 | 0x0f | 0x90 | 0xcc)) {
        return None;
    }
    // SAFETY: it only says where something is.
    let distance = (unsafe { debug_state() } as usize).wrapping_sub(function.as_ptr() as usize + 5) as isize;
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}
