//! The one door to the kernel. Paths are bytes that end in a NUL; errors are errno values.

use crate::arch;
use core::mem::MaybeUninit;
use linux_raw_sys::general as raw;

/// `AT_FDCWD`, sign-extended.
const CWD: usize = raw::AT_FDCWD as isize as usize;

fn result(value: isize) -> Result<usize, i32> {
    // The last page of addresses is where the kernel puts error numbers (syscall(2)).
    if (-4095..0).contains(&value) { Err(value.unsigned_abs() as i32) } else { Ok(value as usize) }
}

/// An open file, closed when it is dropped.
pub(crate) struct File(usize);

/// What is asked about a file.
#[derive(Clone, Copy)]
pub(crate) struct Status {
    pub(crate) mode: u32,
    pub(crate) owner: u32,
    pub(crate) size: usize,
}

/// newfstatat(2), of a link itself; of what cannot be asked about, all zeros, which is no regular file.
///
/// # Safety
/// A NUL follows the path in memory.
#[inline(never)]
unsafe fn status(directory: usize, path: &[u8], flags: u32) -> Status {
    let mut stat = MaybeUninit::<Stat>::zeroed();
    let flags = flags | raw::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the kernel fills a structure of this size, or does not touch it.
    let _ = unsafe { arch::call(FSTATAT as usize, directory, path.as_ptr() as usize, stat.as_mut_ptr() as usize, flags as usize) };
    // SAFETY: zeroed and then filled; every bit pattern is a value.
    let stat = unsafe { stat.assume_init() };
    // No file that is followed is longer than an address can say.
    Status { mode: stat.st_mode, owner: stat.st_uid, size: usize::try_from(stat.st_size).unwrap_or(0) }
}

/// What is known of a file, or of a link, by its path.
///
/// # Safety
/// A NUL follows the path in memory.
pub(crate) unsafe fn status_of(path: &[u8]) -> Status {
    // SAFETY: the caller's.
    unsafe { status(CWD, path, 0) }
}

impl Status {
    /// `S_ISREG`.
    pub(crate) fn is_regular(&self) -> bool {
        self.mode & raw::S_IFMT == raw::S_IFREG
    }
}

#[cfg(target_arch = "x86")]
use raw::{__NR_fstatat64 as FSTATAT, stat64 as Stat};
#[cfg(not(target_arch = "x86"))]
use raw::{__NR_newfstatat as FSTATAT, stat as Stat};

/// `mmap2` counts in units of 4096 bytes whatever the page size, `mmap` in bytes.
const OFFSET_UNIT: usize = if cfg!(target_arch = "x86") { 4096 } else { 1 };

/// Opens a file for reading; never waits for a FIFO's other end.
///
/// # Safety
/// A NUL follows the path in memory.
pub(crate) unsafe fn open(path: &[u8], follow: bool) -> Result<File, i32> {
    let flags = raw::O_RDONLY | raw::O_CLOEXEC | raw::O_NONBLOCK | if follow { 0 } else { raw::O_NOFOLLOW };
    let path = path.as_ptr();
    // SAFETY: the caller's; the kernel reads up to the NUL.
    result(unsafe { arch::call(raw::__NR_openat as usize, CWD, path as usize, flags as usize, 0) }).map(File)
}

impl File {
    /// What is known of it.
    pub(crate) fn status(&self) -> Status {
        // SAFETY: a NUL follows the empty path.
        unsafe { status(self.0, c"".to_bytes(), raw::AT_EMPTY_PATH) }
    }

    /// Reads at an offset, as much as there is; how many bytes that were. A short read is a short file.
    pub(crate) fn read_at(&self, into: &mut [u8], offset: usize) -> usize {
        // Where a word has 32 bits, the kernel takes the offset in two of them; the upper one is zero.
        // SAFETY: the kernel writes at most `into.len()` bytes there.
        let got = unsafe { arch::call(raw::__NR_pread64 as usize, self.0, into.as_mut_ptr() as usize, into.len(), offset) };
        result(got).unwrap_or(0)
    }

    /// Maps a part of the file privately. With `at`, exactly there, over whatever is mapped.
    ///
    /// # Safety
    /// With `at`, nothing that is used lies there.
    pub(crate) unsafe fn map(&self, at: Option<usize>, length: usize, flags: Protection, offset: usize) -> Result<usize, i32> {
        let fixed = if at.is_some() { raw::MAP_FIXED } else { 0 };
        let how = raw::MAP_PRIVATE | fixed;
        // SAFETY: the caller's.
        let call = || unsafe { arch::map(at.unwrap_or(0), length, flags.0 as usize, how as usize, self.0, offset / OFFSET_UNIT) };
        result(call())
    }
}

impl Drop for File {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: nothing is mapped by the descriptor itself.
        let _ = unsafe { arch::call(raw::__NR_close as usize, self.0, 0, 0, 0) };
    }
}

/// How memory may be used.
#[derive(Clone, Copy)]
pub(crate) struct Protection(u32);

impl Protection {
    /// Not at all.
    pub(crate) const NONE: Protection = Protection(raw::PROT_NONE);
    /// Read and written.
    pub(crate) const WRITE: Protection = Protection(raw::PROT_READ | raw::PROT_WRITE);
    /// Read.
    pub(crate) const READ: Protection = Protection(raw::PROT_READ);

    /// What a segment's `p_flags` ask for.
    pub(crate) fn of_segment(flags: u32) -> Protection {
        use ld_shim::elf::{PF_R, PF_W, PF_X};
        let pick = |flag, protection| if flags & flag != 0 { protection } else { 0 };
        Protection(pick(PF_R, raw::PROT_READ) | pick(PF_W, raw::PROT_WRITE) | pick(PF_X, raw::PROT_EXEC))
    }
}

/// Maps zeros. With `at`, exactly there, over whatever is mapped.
///
/// # Safety
/// With `at`, nothing that is used lies there.
pub(crate) unsafe fn map_zeros(at: Option<usize>, length: usize, protection: Protection) -> Result<usize, i32> {
    let fixed = if at.is_some() { raw::MAP_FIXED } else { 0 };
    let how = raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | fixed;
    // SAFETY: the caller's.
    result(unsafe { arch::map(at.unwrap_or(0), length, protection.0 as usize, how as usize, usize::MAX, 0) })
}

/// mprotect(2).
///
/// # Safety
/// The pages stay usable for those who use them.
pub(crate) unsafe fn protect(at: usize, length: usize, protection: Protection) -> bool {
    // SAFETY: the caller's.
    result(unsafe { arch::call(raw::__NR_mprotect as usize, at, length, protection.0 as usize, 0) }).is_ok()
}

/// The path of an open file, or of the running program, by the kernel; without a NUL.
pub(crate) fn path_of<'b>(file: Option<&File>, into: &'b mut [MaybeUninit<u8>]) -> Option<&'b [u8]> {
    // Slashes where a number has no digit: the kernel refuses leading zeros (`fs/proc/util.c`).
    let mut path = *b"/proc/self/fd//////////0\0";
    match file {
        None => path = *b"/proc/self/exe\0\0\0\0\0\0\0\0\0\0\0",
        Some(File(number)) => {
            let mut number = *number;
            for digit in path.get_mut(14..24)?.iter_mut().rev() {
                if number > 0 {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
            }
        }
    }
    let (room, most) = (into.as_mut_ptr() as usize, into.len());
    // SAFETY: the path ends in a NUL; the kernel writes at most that many bytes.
    let got = result(unsafe { arch::call(raw::__NR_readlinkat as usize, CWD, path.as_ptr() as usize, room, most) });
    // A path that fills the room may be cut off.
    let filled = into.get(..got.ok().filter(|n| *n < most)?)?;
    // SAFETY: the kernel has written that many.
    Some(unsafe { core::slice::from_raw_parts(filled.as_ptr().cast(), filled.len()) })
}

/// Says something on standard error; if that is closed, to nobody.
pub(crate) fn say(text: &[u8]) {
    // SAFETY: the kernel reads the text.
    let _ = unsafe { arch::call(raw::__NR_write as usize, 2, text.as_ptr() as usize, text.len(), 0) };
}

/// Ends this process.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        // SAFETY: nothing follows.
        let _ = unsafe { arch::call(raw::__NR_exit_group as usize, usize::from(status), 0, 0, 0) };
    }
}
