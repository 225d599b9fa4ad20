//! i386: the places where a register matters, and what a debugger waits for (System V i386 psABI, "Process Initialization"; syscall(2)).

use core::arch::naked_asm;
use ld_shim::elf::{Class, EM_386, Machine};

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
        "mov eax, 192",        // __NR_mmap2
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
        "call 2f",
        "2: popl %eax",       // where this instruction is
        "addl $({debug_state} - 2b), %eax",
        "ret",
        debug_state = sym _dl_debug_state,
        options(att_syntax),  // the other syntax has no difference of two symbols
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
    if !(endbr || ret && matches!(next, 0x66 | 0x0f | 0x8d | 0x90 | 0xcc)) {
        return None;
    }
    // SAFETY: it only says where something is.
    let distance = (unsafe { debug_state() } as usize).wrapping_sub(function.as_ptr() as usize + 5) as isize;
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}
