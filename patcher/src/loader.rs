//! The copy of a program interpreter that looks for libraries where it is told, by strings it was
//! built with: for glibc the path of its cache, its default directories and its preload file; for
//! musl the path of its directory list. It needs no environment variable, so none can leak.
//!
//! The strings are found by structure, as every distribution builds in other paths.

use crate::elf::Elf;
use crate::error::{Error, Shown};
use crate::fixed::replaced;
use crate::plan::{Plan, Write};
use crate::text::{self, Text};

/// What the copy reads instead of what it was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderStrings {
    /// glibc: its `ld.so.cache`. At most 16 bytes fit into an unpatched build.
    pub cache: String,
    /// glibc: its `ld.so.preload`; `None` leaves the system's.
    pub preload: Option<String>,
    /// musl: the file that lists library directories, one a line or separated by colons.
    pub musl_path: String,
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
    for directory in directories {
        changes.push(replaced(directory, &nowhere(directory.bytes.len()), "default directory")?);
    }
    Ok(changes)
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
        let offset = crate::plan::FileOffset(t.offset.0 + skipped as u64);
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
