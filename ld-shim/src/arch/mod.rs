//! What differs from processor to processor: the first instructions, the last ones, and the system calls.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "x86", path = "x86.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
mod this;

pub(crate) use this::{MACHINE, call, jump, map};
// On RISC-V a debugger does without: glibc's function there has two bytes, and no jump is as short.
#[cfg(not(target_arch = "riscv64"))]
pub(crate) use this::{RET, debug_state, jump_over};

/// Bytes that stay free below the kernel's stack contents, into which they may be moved.
pub(crate) const ROOM: usize = 128;
