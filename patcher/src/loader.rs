//! The copy of a program interpreter that looks for libraries where it is told, by strings it was
//! built with: for glibc the path of its cache, its default directories and its preload file; for
//! musl the path of its directory list. It needs no environment variable, so none can leak.
//!
//! The strings are found by structure, as every distribution builds in other paths. What a C library itself
//! looks for at such paths is moved in the same way ([`libc_copy`]).

use crate::elf::Elf;
use crate::error::{Error, Shown};
use crate::fixed::replaced;
use crate::plan::{FileOffset, Plan, Write};
use crate::text::{self, Text};
use std::collections::BTreeMap;

/// What the copy reads instead of what it was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderStrings {
    /// glibc: its `ld.so.cache`. At most 16 bytes fit into an unpatched build.
    pub cache: String,
    /// glibc: its `ld.so.preload`; `None` leaves the system's.
    pub preload: Option<String>,
    /// musl: the file that lists library directories, one a line or separated by colons.
    pub musl_path: String,
    /// glibc: directories that are searched last and live, in place of those it was built with. Each has to
    /// fit into one of them; slashes fill the rest. None leaves nothing to be searched.
    pub directories: Vec<String>,
}

/// Whose program interpreter a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderFamily {
    /// The GNU C library's `ld.so`.
    Glibc,
    /// musl's `libc.so`, which is its own loader.
    Musl,
}

/// `ET_DYN`.
const ET_DYN: u16 = 3;

/// No loader comes near it (the largest seen have 1 MiB); it bounds the work for hostile files.
const LOADER_MAX: usize = 64 << 20;
/// How `LD_SO_CACHE` ends (`elf/dl-cache.h`); what stands before is the build's `sysconfdir`.
const CACHE: &[u8] = b"/ld.so.cache";
/// How `preload_file` ends (`elf/rtld.c`); nixpkgs calls it `ld-nix.so.preload`.
const PRELOAD: &[u8] = b".so.preload";
/// How musl's format for its list of directories begins and ends (`ldso/dynlink.c`,
/// `load_library`); the architecture stands between.
const LIST: (&[u8], &[u8]) = (b"%.*s/etc/ld-musl-", b".path");

/// Tells whose loader `file` is, by the one string each must have.
///
/// # Errors
/// [`Error::NotALoader`], and those of [`Elf::parse`].
pub fn loader_family(file: &[u8]) -> Result<LoaderFamily, Error> {
    family(file, &Elf::parse(file)?)
}

fn family(file: &[u8], elf: &Elf) -> Result<LoaderFamily, Error> {
    let not = |reason| Err(Error::NotALoader { reason });
    if elf.header.e_type != ET_DYN {
        return not("the file is not position-independent");
    }
    if elf.interpreter().is_some() {
        return not("the file has a program interpreter itself");
    }
    if file.len() > LOADER_MAX {
        return not("the file is larger than 64 MiB");
    }
    // A static-pie program names the cache too, for its own dlopen; only rtld.c preloads.
    let glibc = !caches(file, elf)?.is_empty() && !preloads(file, elf)?.is_empty();
    let musl = !lists(file, elf)?.is_empty();
    match (glibc, musl) {
        (true, false) => Ok(LoaderFamily::Glibc),
        (false, true) => Ok(LoaderFamily::Musl),
        (false, false) => not("the file names neither glibc's library cache nor musl's directory list"),
        (true, true) => not("the file names both glibc's library cache and musl's directory list"),
    }
}

/// Copies a loader with other strings. The copy keeps the length and layout of `file`.
///
/// # Errors
/// [`Error`]: `file` is no loader, is built in a way that is not understood, or a string does
/// not fit.
pub fn loader_copy(file: &[u8], strings: &LoaderStrings) -> Result<(Vec<u8>, Plan), Error> {
    let elf = Elf::parse(file)?;
    let changes = match family(file, &elf)? {
        LoaderFamily::Glibc => glibc(file, &elf, strings)?,
        LoaderFamily::Musl => musl(file, &elf, strings)?,
    };
    let plan = Plan::in_place_only(file.len() as u64, &elf, changes)?;
    let copy = plan.apply(file)?;
    plan.verify(file, &copy)?;
    Ok((copy, plan))
}

fn glibc(file: &[u8], elf: &Elf, strings: &LoaderStrings) -> Result<Vec<Write>, Error> {
    let cache = one(caches(file, elf)?, "the path of the library cache")?;
    let mut changes = vec![replaced(cache, path(&strings.cache)?, "library cache")?];
    if let Some(preload) = &strings.preload {
        let found = one(preloads(file, elf)?, "the path of the preload list")?;
        changes.push(replaced(found, path(preload)?, "preload list")?);
    }
    let directories = default_directories(file, elf)?;
    // A loader without any would be a static one or a stranger: its answers could not be trusted.
    if directories.is_empty() {
        return Err(Error::Occurrences { what: "the default directories".into(), expected: 1, found: 0 });
    }
    let live = live(&directories, &strings.directories)?;
    for directory in directories {
        let new = live.get(directory.bytes).cloned().unwrap_or_else(|| nowhere(directory.bytes.len()));
        changes.push(replaced(directory, &new, "default directory")?);
    }
    Ok(changes)
}

/// Which default directory each live one replaces. `elf/dl-usage.c` may hold the same directories once more;
/// both are replaced alike.
fn live<'a>(directories: &[Text<'a>], wanted: &[String]) -> Result<BTreeMap<&'a [u8], Vec<u8>>, Error> {
    let mut slots: Vec<&[u8]> = Vec::new();
    for directory in directories {
        if !slots.contains(&directory.bytes) {
            slots.push(directory.bytes);
        }
    }
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for directory in wanted {
        let mut text = path(directory)?.to_vec();
        if text.last() != Some(&b'/') {
            text.push(b'/');
        }
        texts.push(text);
    }
    // The longest first, each into the shortest that it fits into: so none takes the only place of another.
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let mut chosen = BTreeMap::new();
    for mut text in texts {
        let room = slots.iter().map(|slot| slot.len()).max().unwrap_or(0);
        let fitting = slots.iter().enumerate().filter(|(_, slot)| slot.len() >= text.len());
        let best = fitting.min_by_key(|(_, slot)| slot.len()).map(|(index, _)| index);
        let best = best.ok_or_else(|| Error::DoesNotFit { what: Shown(&text).to_string(), needed: text.len(), room })?;
        let slot = slots.remove(best);
        text.resize(slot.len(), b'/');
        chosen.insert(slot, text);
    }
    Ok(chosen)
}

/// The copy of a C library that looks for its data in other directories than those it was built with: every
/// constant path in or below a directory `from` leads to `to` instead. A slash fills what `to` is shorter, as
/// the lengths of some of these paths are compiled in elsewhere (glibc's `_nl_default_locale_path`).
///
/// # Errors
/// [`Error::DoesNotFit`] if `to` is longer than `from`; [`Error::Occurrences`] if no path of the library leads
/// to one of them; those of [`Elf::parse`].
pub fn libc_copy(file: &[u8], moves: &[(String, String)]) -> Result<(Vec<u8>, Plan), Error> {
    let elf = Elf::parse(file)?;
    let mut changes = Vec::new();
    for (from, to) in moves {
        let (old, mut new) = (path(from)?, path(to)?.to_vec());
        if new.len() > old.len() {
            return Err(Error::DoesNotFit { what: Shown(old).to_string(), needed: new.len(), room: old.len() });
        }
        new.resize(old.len(), b'/');
        let places = below(file, &elf, old)?;
        if places.is_empty() {
            return Err(Error::Occurrences { what: Shown(old).to_string(), expected: 1, found: 0 });
        }
        for place in places {
            changes.push(replaced(place, &new, "directory of data")?);
        }
    }
    let plan = Plan::in_place_only(file.len() as u64, &elf, changes)?;
    let copy = plan.apply(file)?;
    plan.verify(file, &copy)?;
    Ok((copy, plan))
}

/// Every place in the constant segments where a path in or below `directory` begins; the directory's part.
fn below<'a>(file: &'a [u8], elf: &Elf, directory: &[u8]) -> Result<Vec<Text<'a>>, Error> {
    let mut found = BTreeMap::new();
    for segment in elf.segments.iter().filter(|s| s.is_constant()) {
        let (range, bytes) = segment.bytes(file)?;
        for hit in memchr::memmem::find_iter(bytes, directory) {
            let end = hit + directory.len();
            if matches!(bytes.get(end), Some(0 | b'/')) {
                found.insert(range.start + hit, bytes.get(hit..end).unwrap_or_default());
            }
        }
    }
    Ok(found.into_iter().map(|(offset, bytes)| Text { offset: FileOffset(offset as u64), bytes }).collect())
}

fn musl(file: &[u8], elf: &Elf, strings: &LoaderStrings) -> Result<Vec<Write>, Error> {
    let list = one(lists(file, elf)?, "the path of the directory list")?;
    let new = path(&strings.musl_path)?;
    // It is a format for printf, whose arguments then stay unused.
    if new.contains(&b'%') {
        return Err(Error::BadText { what: Shown(list.bytes).to_string(), reason: "the path contains a `%`" });
    }
    let mut changes = vec![replaced(list, new, "directory list")?];
    for directories in default_lists(file, elf)? {
        let parts: Vec<Vec<u8>> = directories.bytes.split(|b| *b == b':').map(|part| nowhere(part.len())).collect();
        changes.push(replaced(directories, &parts.join(&b':'), "default directories")?);
    }
    Ok(changes)
}

fn caches<'a>(file: &'a [u8], elf: &Elf) -> Result<Vec<Text<'a>>, Error> {
    let mut found = text::ending(file, elf, CACHE)?;
    found.retain(|t| t.bytes.starts_with(b"/"));
    Ok(found)
}

fn preloads<'a>(file: &'a [u8], elf: &Elf) -> Result<Vec<Text<'a>>, Error> {
    let mut found = text::ending(file, elf, PRELOAD)?;
    found.retain(|t| t.bytes.starts_with(b"/"));
    Ok(found)
}

fn lists<'a>(file: &'a [u8], elf: &Elf) -> Result<Vec<Text<'a>>, Error> {
    let mut found = text::ending(file, elf, LIST.1)?;
    found.retain(|t| t.bytes.starts_with(LIST.0));
    Ok(found)
}

/// glibc's `system_dirs` (`elf/dl-load.c`; a second one in `elf/dl-usage.c` serves `--help`): one
/// `char` array of absolute directories, each with a closing slash and a NUL. Their lengths are
/// compiled in elsewhere, so each must keep its own.
fn default_directories<'a>(file: &'a [u8], elf: &Elf) -> Result<Vec<Text<'a>>, Error> {
    let found = text::ending(file, elf, b"/")?;
    // The array is not aligned: printable bytes of something else may stand right before it.
    let from_slash = |t: Text<'a>| {
        let skipped = t.bytes.iter().position(|b| *b == b'/')?;
        let offset = FileOffset(t.offset.0 + skipped as u64);
        Some(Text { offset, bytes: t.bytes.get(skipped..)? })
    };
    Ok(found.into_iter().filter_map(from_slash).filter(|t| is_library_directory(t.bytes)).collect())
}

/// musl's default `sys_path` (`ldso/dynlink.c`): absolute directories separated by colons.
fn default_lists<'a>(file: &'a [u8], elf: &Elf) -> Result<Vec<Text<'a>>, Error> {
    let mut found = text::ending(file, elf, b"lib")?;
    let whole = |t: &Text<'_>| t.bytes.contains(&b':') && t.bytes.split(|b| *b == b':').all(is_library_directory);
    found.retain(whole);
    Ok(found)
}

/// An absolute path one of whose components begins with `lib` (`lib`, `lib64`, `libx32`).
fn is_library_directory(path: &[u8]) -> bool {
    path.starts_with(b"/") && path.split(|b| *b == b'/').any(|part| part.starts_with(b"lib"))
}

fn one<'a>(found: Vec<Text<'a>>, what: &str) -> Result<Text<'a>, Error> {
    match found.as_slice() {
        [only] => Ok(*only),
        many => Err(Error::Occurrences { what: what.to_owned(), expected: 1, found: many.len() }),
    }
}

/// A directory that is nowhere, in exactly `length` bytes: below `/.xeno`, which holds nothing of
/// that name, or, where that is too long, one that nobody makes.
fn nowhere(length: usize) -> Vec<u8> {
    const LONG: &[u8] = b"/.xeno/-";
    const SHORT: &[u8] = b"/.x";
    let (start, fill) = if length > LONG.len() { (LONG, b'-') } else { (SHORT, b'/') };
    let mut path: Vec<u8> = start.iter().copied().take(length).collect();
    path.resize(length, fill);
    if let Some(last) = path.last_mut() {
        *last = b'/';
    }
    path
}

fn path(text: &str) -> Result<&[u8], Error> {
    let bytes = text.as_bytes();
    if bytes.starts_with(b"/") && !bytes.contains(&0) {
        return Ok(bytes);
    }
    let reason = "it is not an absolute path without a NUL";
    Err(Error::BadText { what: Shown(bytes).to_string(), reason })
}
