//! The functions that the compiler calls by itself (`memcpy` and its kin), which a libc would supply, and two of
//! them by names of our own: the compiler may call its own ones through a table of addresses, which somebody
//! would have to relocate. Volatile accesses, so that the loops are not recognised and replaced by calls of
//! themselves. Words where it matters.

const WORD: usize = size_of::<usize>();

/// Copies upwards: what overlaps may only be moved down.
///
/// # Safety
/// `count` bytes can be read at `from` and written at `to`.
#[inline(never)]
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's; words only where both are aligned.
    unsafe {
        let mut at = 0;
        if (to as usize | from as usize).is_multiple_of(WORD) {
            while at + WORD <= count {
                to.add(at).cast::<usize>().write_volatile(from.add(at).cast::<usize>().read_volatile());
                at += WORD;
            }
        }
        while at < count {
            to.add(at).write_volatile(from.add(at).read_volatile());
            at += 1;
        }
    }
}

/// Zeros.
///
/// # Safety
/// `count` bytes can be written at `to`.
#[inline(never)]
pub(crate) unsafe fn zero(to: *mut u8, count: usize) {
    // SAFETY: the caller's.
    unsafe { fill(to, 0, count) }
}

/// memcpy(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { copy(to, from, count) };
    to
}

/// memmove(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's; the order of the bytes is chosen so that none is overwritten before it is read.
    unsafe {
        if (to as usize) <= from as usize || (to as usize) >= (from as usize).saturating_add(count) {
            copy(to, from, count);
            return to;
        }
        let mut left = count;
        while left > 0 {
            left -= 1;
            to.add(left).write_volatile(from.add(left).read_volatile());
        }
    }
    to
}

/// memset(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { fill(to, byte as u8, count) };
    to
}

unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    let word = usize::from_ne_bytes([byte; WORD]);
    // SAFETY: the caller's; words only where they are aligned.
    unsafe {
        let mut at = 0;
        while at < count && !(to as usize + at).is_multiple_of(WORD) {
            to.add(at).write_volatile(byte);
            at += 1;
        }
        while at + WORD <= count {
            to.add(at).cast::<usize>().write_volatile(word);
            at += WORD;
        }
        while at < count {
            to.add(at).write_volatile(byte);
            at += 1;
        }
    }
}

/// memcmp(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller's.
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

/// bcmp(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(a, b, count) }
}

/// strlen(3), into which the compiler turns every search for a NUL.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's: there is a NUL.
    unsafe {
        while text.add(length).read_volatile() != 0 {
            length += 1;
        }
    }
    length
}
