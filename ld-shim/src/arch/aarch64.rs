//! AArch64: the places where a register matters, and what a debugger waits for (AAPCS64; syscall(2)).

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
        "mov x8, #222", // __NR_mmap; everything else is where it should be
        "svc #0",
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
        "adrp x0, {debug_state}",
        "add x0, x0, :lo12:{debug_state}",
        "ret",
        debug_state = sym _dl_debug_state,
    )
}

/// Whether a debugger waits there: its breakpoint is another instruction.
pub(crate) fn is_debugged() -> bool {
    const RET: u32 = 0xd65f_03c0;
    // SAFETY: the function's only instruction.
    unsafe { debug_state().cast::<u32>().read_volatile() != RET }
}

/// The instruction that goes over a function like ours in the loader: `b`. `None` if that is too far away.
pub(crate) fn jump_to_debug_state(function: &[u8]) -> Option<[u8; 4]> {
    // SAFETY: it only says where something is.
    let distance = (unsafe { debug_state() } as usize).wrapping_sub(function.as_ptr() as usize) as isize;
    // 26 bits of words.
    let reachable = (-(1 << 27)..1 << 27).contains(&distance);
    reachable.then(|| (0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff).to_le_bytes())
}
