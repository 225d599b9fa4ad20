//! glibc's `ld.so.cache`: read as ld.so reads it, written as ldconfig writes it
//! (glibc `sysdeps/generic/dl-cache.h`, `elf/dl-cache.c`, `elf/cache.c`).
//!
//! Reading accepts all three layouts in use: old alone, old followed by new (`ldconfig -c compat`,
//! the default before 2.32) and new alone. Writing gives the new one, which every glibc since 2.2
//! accepts. Values are in the byte order of the file's machine.

use crate::arch::{Arch, Class, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, Endian};
use std::cmp::Ordering;
use std::collections::HashSet;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// `sizeof (struct cache_file_new)`.
const HEADER: usize = 48;
/// `sizeof (struct file_entry_new)`.
const ENTRY: usize = 24;
/// `sizeof (struct file_entry)`, the old one.
const OLD_ENTRY: usize = 12;
/// `DL_CACHE_HWCAP_EXTENSION`: the low half of `hwcap` is an index of a glibc-hwcaps name.
const HWCAP_EXTENSION: u64 = 1 << 62;
/// `cache_extension_magic`.
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
/// `cache_extension_tag_glibc_hwcaps`.
const TAG_HWCAPS: u32 = 1;

/// One line of `ldconfig -p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The soname that is looked up.
    pub soname: String,
    /// The file.
    pub path: String,
    /// `FLAG_*` of `ldconfig.h`: library type and the architecture's ABI.
    pub flags: u32,
    /// The `glibc-hwcaps` subdirectory the file lies in.
    pub hwcaps: Option<String>,
    /// Bits of the pre-2.33 hwcap scheme; 0 for a file that suits every processor.
    pub legacy_hwcap: u64,
}

/// Why bytes are no cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt ld.so.cache: at offset {offset:#x}, {what}")]
pub struct CacheError {
    /// Bytes from the start of the file.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// `_DL_CACHE_DEFAULT_ID` of an architecture (each `dl-cache.h` below `sysdeps/`); a file with other
/// flags is passed over by its loader. `None` where xeno knows no such value.
pub fn flags_of(arch: Arch) -> Option<u32> {
    const ELF_LIBC6: u32 = 3;
    match (arch.machine, arch.class) {
        (EM_386, Class::Elf32) => Some(ELF_LIBC6),
        (EM_X86_64, Class::Elf64) => Some(0x0300 | ELF_LIBC6),
        (EM_X86_64, Class::Elf32) => Some(0x0800 | ELF_LIBC6),
        (EM_ARM, Class::Elf32) => Some(0x0900 | ELF_LIBC6),
        (EM_AARCH64, Class::Elf64) => Some(0x0a00 | ELF_LIBC6),
        (EM_RISCV, Class::Elf64) => Some(0x1000 | ELF_LIBC6),
        _ => None,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl Reader<'_> {
    fn u32(&self, at: usize) -> Result<u32, CacheError> {
        let raw: [u8; 4] = self
            .bytes
            .get(at..at.saturating_add(4))
            .and_then(|b| b.try_into().ok())
            .ok_or(CacheError { offset: at, what: "the file ends inside a value" })?;
        Ok(if self.endian == Endian::Little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    fn string(&self, at: usize) -> Result<String, CacheError> {
        let rest = self.bytes.get(at..).ok_or(CacheError { offset: at, what: "a string lies outside the file" })?;
        let rest = rest.get(..4096).unwrap_or(rest);
        let end = memchr::memchr(0, rest).ok_or(CacheError { offset: at, what: "a string does not end" })?;
        Ok(String::from_utf8_lossy(rest.get(..end).unwrap_or(rest)).into_owned())
    }
}

/// Reads a cache.
///
/// # Errors
/// [`CacheError`] for bytes that are no cache or contradict themselves.
pub fn parse(bytes: &[u8], endian: Endian) -> Result<Vec<Entry>, CacheError> {
    let whole = Reader { bytes, endian };
    if bytes.starts_with(NEW_MAGIC) {
        return parse_new(&whole);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return Err(CacheError { offset: 0, what: "no cache magic" });
    }
    let count = whole.u32(12)? as usize;
    let end = count.checked_mul(OLD_ENTRY).and_then(|n| n.checked_add(16)).filter(|end| *end <= bytes.len());
    let Some(end) = end else {
        return Err(CacheError { offset: 12, what: "the entries run past the end" });
    };
    // ALIGN_CACHE: the new cache follows at the alignment of its header, 8 bytes.
    let new = Reader { bytes: bytes.get(end.next_multiple_of(8)..).unwrap_or(&[]), endian };
    if new.bytes.starts_with(NEW_MAGIC) {
        return parse_new(&new);
    }
    (0..count)
        .map(|i| {
            let at = 16 + i * OLD_ENTRY;
            Ok(Entry {
                flags: whole.u32(at)?,
                soname: whole.string(end + whole.u32(at + 4)? as usize)?,
                path: whole.string(end + whole.u32(at + 8)? as usize)?,
                hwcaps: None,
                legacy_hwcap: 0,
            })
        })
        .collect()
}

/// The new layout: string offsets count from its own header.
fn parse_new(r: &Reader<'_>) -> Result<Vec<Entry>, CacheError> {
    let count = r.u32(20)? as usize;
    if count.checked_mul(ENTRY).and_then(|n| n.checked_add(HEADER)).is_none_or(|end| end > r.bytes.len()) {
        return Err(CacheError { offset: 20, what: "the entries run past the end" });
    }
    let names = hwcaps_names(r)?;
    (0..count)
        .map(|i| {
            let at = HEADER + i * ENTRY;
            let hwcap = u64::from(r.u32(at + 16)?) | u64::from(r.u32(at + 20)?) << 32;
            let hwcap = if r.endian == Endian::Little { hwcap } else { hwcap.rotate_left(32) };
            let extended = hwcap & HWCAP_EXTENSION != 0;
            let hwcaps = if extended {
                let index = (hwcap & 0xffff_ffff) as usize;
                Some(names.get(index).cloned().ok_or(CacheError { offset: at + 16, what: "an unknown glibc-hwcaps index" })?)
            } else {
                None
            };
            Ok(Entry {
                flags: r.u32(at)?,
                soname: r.string(r.u32(at + 4)? as usize)?,
                path: r.string(r.u32(at + 8)? as usize)?,
                hwcaps,
                legacy_hwcap: if extended { 0 } else { hwcap },
            })
        })
        .collect()
}

fn hwcaps_names(r: &Reader<'_>) -> Result<Vec<String>, CacheError> {
    let at = r.u32(32)? as usize;
    // Before 2.33 the field was unused and zero.
    if at == 0 || r.u32(at)? != EXTENSION_MAGIC {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for i in 0..(r.u32(at + 4)? as usize).min(64) {
        let section = at + 8 + i * 16;
        if r.u32(section)? == TAG_HWCAPS {
            let (offset, size) = (r.u32(section + 8)? as usize, r.u32(section + 12)? as usize);
            for n in 0..(size / 4).min(1024) {
                names.push(r.string(r.u32(offset.saturating_add(n * 4))? as usize)?);
            }
        }
    }
    Ok(names)
}

/// Writes a cache that answers each `(soname, path)` for `arch`, first come, first served.
/// `None` if the loader's flags for that architecture are not known.
///
/// # Errors
/// None; names with a NUL cannot be stored and are left out, as no loader could ask for them.
pub fn serialise(entries: &[(&str, &[u8])], arch: Arch) -> Option<Vec<u8>> {
    let mixed: Vec<(Arch, &str, &[u8])> = entries.iter().map(|(soname, path)| (arch, *soname, *path)).collect();
    if mixed.is_empty() { flags_of(arch).map(|_| write(&mut [], arch.endian)) } else { serialise_mixed(&mixed) }
}

/// The same for loaders of several architectures that share one cache: each finds its own entries by their flags
/// (glibc `elf/dl-cache.c`, `search_cache`). `None` if the flags of one are not known, or they differ in byte order.
pub fn serialise_mixed(entries: &[(Arch, &str, &[u8])]) -> Option<Vec<u8>> {
    let endian = entries.first().map_or(Endian::Little, |(arch, ..)| arch.endian);
    let mut sorted: Vec<(u32, &str, &[u8])> = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    for (arch, soname, path) in entries {
        let flags = flags_of(*arch).filter(|_| arch.endian == endian)?;
        if !soname.contains('\0') && !path.contains(&0) && seen.insert((flags, *soname)) {
            sorted.push((flags, soname, path));
        }
    }
    Some(write(&mut sorted, endian))
}

fn write(sorted: &mut [(u32, &str, &[u8])], endian: Endian) -> Vec<u8> {
    // search_cache is a binary search over descending _dl_cache_libcmp.
    sorted.sort_by(|a, b| compare(b.1.as_bytes(), a.1.as_bytes()).then(b.0.cmp(&a.0)));

    let word = |v: usize| {
        let v = u32::try_from(v).unwrap_or(u32::MAX);
        if endian == Endian::Little { v.to_le_bytes() } else { v.to_be_bytes() }
    };
    let mut strings: Vec<u8> = Vec::new();
    let strings_at = HEADER + sorted.len() * ENTRY;
    let mut table: Vec<u8> = Vec::with_capacity(sorted.len() * ENTRY);
    for (flags, soname, path) in sorted.iter() {
        let path_at = strings_at + strings.len();
        strings.extend_from_slice(path);
        strings.push(0);
        // A path that ends in the soname holds it already: ldconfig shares the tail as well.
        let soname_at = if path.ends_with(soname.as_bytes()) {
            path_at + path.len() - soname.len()
        } else {
            let at = strings_at + strings.len();
            strings.extend_from_slice(soname.as_bytes());
            strings.push(0);
            at
        };
        table.extend_from_slice(&word(*flags as usize));
        table.extend_from_slice(&word(soname_at));
        table.extend_from_slice(&word(path_at));
        table.extend_from_slice(&[0; 12]); // osversion and hwcap: suits every kernel and processor
    }
    let mut out = Vec::with_capacity(strings_at + strings.len());
    out.extend_from_slice(NEW_MAGIC);
    out.extend_from_slice(&word(sorted.len()));
    out.extend_from_slice(&word(strings.len()));
    // cache_file_new_flags_endian_little = 2, _big = 3; older loaders ignore the byte.
    out.push(if endian == Endian::Little { 2 } else { 3 });
    out.resize(HEADER, 0); // padding, no extension, unused
    out.extend_from_slice(&table);
    out.extend_from_slice(&strings);
    out
}

/// `_dl_cache_libcmp`: bytes compare as bytes, runs of digits as numbers.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let at = |s: &[u8], i: usize| s.get(i).copied().unwrap_or(0);
    let number = |s: &[u8], mut i: usize| {
        let mut value = 0i32;
        while at(s, i).is_ascii_digit() {
            value = value.wrapping_mul(10).wrapping_add(i32::from(at(s, i) - b'0'));
            i += 1;
        }
        (value, i)
    };
    let (mut i, mut j) = (0, 0);
    while at(a, i) != 0 {
        match (at(a, i).is_ascii_digit(), at(b, j).is_ascii_digit()) {
            (true, true) => {
                let ((x, next_i), (y, next_j)) = (number(a, i), number(b, j));
                if x != y {
                    return x.cmp(&y);
                }
                (i, j) = (next_i, next_j);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if at(a, i) != at(b, j) => return at(a, i).cmp(&at(b, j)),
            (false, false) => {
                i += 1;
                j += 1;
            }
        }
    }
    at(a, i).cmp(&at(b, j))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amd64() -> Arch {
        Arch::from_short("x86_64").unwrap()
    }

    #[test]
    fn digits_compare_as_numbers_and_sort_after_nothing() {
        assert_eq!(compare(b"libfoo.so.9", b"libfoo.so.10"), Ordering::Less);
        assert_eq!(compare(b"libfoo1.so", b"libfoo.so"), Ordering::Greater);
        assert_eq!(compare(b"liba.so", b"libb.so"), Ordering::Less);
        assert_eq!(compare(b"liba.so", b"liba.so"), Ordering::Equal);
        assert_eq!(compare(b"liba.so.1", b"liba.so"), Ordering::Greater);
    }

    #[test]
    fn what_is_written_is_read_back_in_search_order() {
        let bytes = serialise(
            &[("liba.so.1", b"/x/liba.so.1".as_slice()), ("libb.so.10", b"/y/other".as_slice()), ("libb.so.9", b"/z/libb.so.9".as_slice())],
            amd64(),
        )
        .unwrap();
        let back = parse(&bytes, Endian::Little).unwrap();
        let rows: Vec<_> = back.iter().map(|e| (e.soname.as_str(), e.path.as_str(), e.flags)).collect();
        assert_eq!(rows, [("libb.so.10", "/y/other", 0x303), ("libb.so.9", "/z/libb.so.9", 0x303), ("liba.so.1", "/x/liba.so.1", 0x303)]);
    }

    #[test]
    fn the_first_of_two_answers_wins() {
        let bytes = serialise(&[("liba.so.1", b"/first".as_slice()), ("liba.so.1", b"/second".as_slice())], amd64()).unwrap();
        let back = parse(&bytes, Endian::Little).unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].path, "/first");
    }

    #[test]
    fn one_cache_answers_loaders_of_two_classes() {
        let i686 = Arch::from_short("i686").unwrap();
        let entries: [(Arch, &str, &[u8]); 4] = [
            (i686, "liba.so.1", b"/32/liba.so.1"),
            (amd64(), "liba.so.1", b"/64/liba.so.1"),
            (amd64(), "liba.so.1", b"/late/liba.so.1"),
            (amd64(), "libb.so.2", b"/64/libb.so.2"),
        ];
        let back = parse(&serialise_mixed(&entries).unwrap(), Endian::Little).unwrap();
        let rows: Vec<_> = back.iter().map(|e| (e.path.as_str(), e.flags)).collect();
        assert_eq!(rows, [("/64/libb.so.2", 0x303), ("/64/liba.so.1", 0x303), ("/32/liba.so.1", 3)]);
        assert_eq!(serialise_mixed(&[(Arch { machine: 9, ..amd64() }, "liba.so", b"/a")]), None);
    }

    #[test]
    fn the_old_layout_and_the_two_in_one_are_read() {
        let new = serialise(&[("liba.so.1", b"/x/liba.so.1".as_slice())], amd64()).unwrap();
        let mut old = b"ld.so-1.7.0\0".to_vec();
        old.extend_from_slice(&1u32.to_le_bytes());
        for v in [3u32, 0, 9] {
            old.extend_from_slice(&v.to_le_bytes());
        }
        let mut both = old.clone();
        old.extend_from_slice(b"libo.so.1\0/o/libo.so.1\0".get(1..).unwrap());
        let mut alone = b"ld.so-1.7.0\0".to_vec();
        alone.extend_from_slice(&1u32.to_le_bytes());
        for v in [3u32, 0, 10] {
            alone.extend_from_slice(&v.to_le_bytes());
        }
        alone.extend_from_slice(b"libo.so.1\0/o/libo.so.1\0");
        let got = parse(&alone, Endian::Little).unwrap();
        assert_eq!((got[0].soname.as_str(), got[0].path.as_str()), ("libo.so.1", "/o/libo.so.1"));
        both.resize(both.len().next_multiple_of(8), 0);
        both.extend_from_slice(&new);
        assert_eq!(parse(&both, Endian::Little).unwrap()[0].path, "/x/liba.so.1");
    }

    #[test]
    fn every_truncation_is_an_error_and_no_panic() {
        let bytes = serialise(&[("liba.so.1", b"/x/liba.so.1".as_slice())], amd64()).unwrap();
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], Endian::Little).is_err(), "{end}");
        }
    }
}
