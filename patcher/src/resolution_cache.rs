//! The descriptor of the note `.note.nixos.ldcache`: for each needed library, where the run path has
//! it, so that a loader that knows the note need not search. Looks whether files are there, and reads
//! and changes none.

use crate::shrink::entries;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The note's owner, without its NUL.
pub const OWNER: &[u8] = b"NixOS";
/// The note's type.
pub const TYPE: u32 = 0x63a8_6cb6;
/// The note's section.
pub const SECTION: &str = ".note.nixos.ldcache";

/// Why there is nothing to write into the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nothing {
    /// No library is needed, or there is no run path.
    NothingToResolve,
    /// Not one needed library was found.
    NothingFound,
}

/// What the file system says about a path.
pub trait Probe {
    /// Whether this process may read the file.
    fn readable(&self, path: &Path) -> bool;
    /// Whether there is anything at the path.
    fn exists(&self, path: &Path) -> bool;
    /// Whether there is a directory at the path.
    fn is_directory(&self, path: &Path) -> bool;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Probe for ThisMachine {
    fn readable(&self, path: &Path) -> bool {
        // Opening is the question itself; a pipe or device without a peer must not be waited for.
        std::fs::metadata(path).is_ok_and(|found| found.is_dir() || (found.is_file() && std::fs::File::open(path).is_ok()))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

/// The descriptor for a file that needs these libraries and searches this run path: pairs of
/// NUL-terminated texts (needed name, places joined by colons), sorted by name, and a NUL. A place is
/// `=` and the path of a file that is there, or `?` and a directory in which the loader must look
/// itself: a relative or empty one, one with a `$` token, one that does not exist yet, one with a
/// `glibc-hwcaps` below it. Needed
/// names with a slash are not searched for and not listed.
///
/// # Errors
/// [`Nothing`], with the reason.
pub fn descriptor(needed: &[&[u8]], run_path: &[u8], probe: &impl Probe) -> Result<Vec<u8>, Nothing> {
    if needed.is_empty() || entries(run_path).next().is_none() {
        return Err(Nothing::NothingToResolve);
    }
    // A name that is needed twice gets every place twice, as in patchelf.
    let searched: Vec<&[u8]> = needed.iter().copied().filter(|name| !name.contains(&b'/')).collect();
    let mut places: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    for directory in entries(run_path) {
        let here = Path::new(OsStr::from_bytes(directory));
        let at_start = !directory.starts_with(b"/")
            || directory.contains(&b'$')
            || !probe.is_directory(here)
            || probe.exists(&here.join("glibc-hwcaps"));
        for name in &searched {
            if at_start {
                places.entry(name).or_default().push([b"?", directory].concat());
                continue;
            }
            let path = [directory, b"/", name].concat();
            if probe.readable(Path::new(OsStr::from_bytes(&path))) {
                places.entry(name).or_default().push([b"=", path.as_slice()].concat());
            }
        }
    }
    if places.is_empty() {
        return Err(Nothing::NothingFound);
    }
    let mut descriptor = Vec::new();
    for (name, places) in places {
        descriptor.extend_from_slice(name);
        descriptor.push(0);
        descriptor.extend_from_slice(&places.join(&b':'));
        descriptor.push(0);
    }
    descriptor.push(0);
    Ok(descriptor)
}
