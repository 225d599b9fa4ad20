//! The C entry point, the one place of this crate with `unsafe`; and where memory comes from.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

/// Keeps what it gets from the kernel for the next use.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Called by the C library's start-up code.
// SAFETY: the name is the one the C library calls, with this signature (ISO C, "Program startup"),
// and no other function of the program has it.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let words = (0..usize::try_from(argc).unwrap_or(0))
        .map(|i| {
            // SAFETY: argv has argc entries, each a NUL-terminated string that lives as long as the process.
            let word = unsafe { CStr::from_ptr(*argv.add(i)) };
            OsString::from_vec(word.to_bytes().to_vec())
        })
        .collect();
    reserve_standard_descriptors();
    c_int::from(crate::real_main(words))
}

/// Fills closed standard descriptors with `/dev/null` until the program starts: otherwise the first
/// file that is opened would become its standard error, and a message would be written into it. They
/// close on exec, so that the program gets them closed, as its parent meant it.
fn reserve_standard_descriptors() {
    for descriptor in 0..3 {
        // SAFETY: fcntl with F_GETFD reads one flag and takes no pointer.
        let closed = unsafe { nix::libc::fcntl(descriptor, nix::libc::F_GETFD) } < 0;
        if closed {
            // SAFETY: the path is a NUL-terminated constant. The descriptor is left open on purpose.
            unsafe { nix::libc::open(c"/dev/null".as_ptr(), nix::libc::O_RDWR | nix::libc::O_CLOEXEC) };
        }
    }
}
