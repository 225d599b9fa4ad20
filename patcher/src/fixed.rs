//! Edits that only overwrite what is there, byte for byte in its own place, for copies that must keep
//! every position. Decides where bytes go, and changes none.

use crate::elf::Elf;
use crate::error::{Error, Shown};
use crate::image::Image;
use crate::plan::{FileOffset, Phase, Plan, Write};
use crate::text::{self, Text};
use crate::view::{INTERPRETER_MAX, path_room};

/// One thing to overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overwrite {
    /// Overwrites the interpreter's path where it stands. `p_filesz` stays; the rest is filled
    /// with NULs, which the kernel allows (it wants the last byte to be one).
    Interpreter(Vec<u8>),
    /// Overwrites a NUL-terminated string in a segment that the program cannot write to, wherever
    /// it stands as a whole string. The rest is filled with NULs.
    RodataString {
        /// The string, without its NUL.
        old: Vec<u8>,
        /// What replaces it; not longer.
        new: Vec<u8>,
        /// How often it must be there.
        occurrences: usize,
    },
}

/// Works out where the edits go in `file`. Reads the headers, and the constant segments if a
/// string is to be found, so `file` may be a mapping of any size.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn overwrite(file: &[u8], edits: &[Overwrite]) -> Result<Plan, Error> {
    let elf = Elf::parse(file)?;
    let mut changes = Vec::new();
    for edit in edits {
        match edit {
            Overwrite::Interpreter(path) => changes.push(interpreter_over(file, &elf, path)?),
            Overwrite::RodataString { old, new, occurrences } => {
                let what = Shown(old).to_string();
                let bad = |reason| Error::BadText { what: what.clone(), reason };
                if old.is_empty() || old.contains(&0) || new.contains(&0) {
                    return Err(bad("a text is not empty and contains no NUL"));
                }
                let found = text::equal(file, &elf, old)?;
                if found.len() != *occurrences {
                    return Err(Error::Occurrences { what, expected: *occurrences, found: found.len() });
                }
                for place in found {
                    changes.push(replaced(place, new, "string")?);
                }
            }
        }
    }
    Plan::in_place_only(file.len() as u64, &elf, changes)
}

/// The change that puts `new` where `place` is, filled with NULs.
pub(crate) fn replaced(place: Text<'_>, new: &[u8], why: &str) -> Result<Write, Error> {
    let room = place.bytes.len();
    if new.len() > room {
        return Err(Error::DoesNotFit { what: Shown(place.bytes).to_string(), needed: new.len(), room });
    }
    let mut filled = new.to_vec();
    filled.resize(room, 0);
    Ok(Write { offset: place.offset, old: place.bytes.to_vec(), new: filled, phase: Phase::Commit, why: why.to_owned() })
}

/// The interpreter's path, without its NUL; `None` for a file that has no `PT_INTERP`.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Truncated`], [`Error::BadInterpreter`].
pub fn interpreter(file: &[u8]) -> Result<Option<&[u8]>, Error> {
    let elf = Elf::parse(file)?;
    Ok(place(file, &elf)?.map(|place| place.path))
}

/// The length of the longest path that [`Overwrite::Interpreter`] can write, in bytes without
/// the NUL; `None` for a file that has no `PT_INTERP`.
///
/// # Errors
/// Those of [`interpreter`].
pub fn interpreter_room(file: &[u8]) -> Result<Option<usize>, Error> {
    let elf = Elf::parse(file)?;
    Ok(place(file, &elf)?.map(|place| place.bytes.len().saturating_sub(1)))
}

/// The bytes an interpreter's path may use, closing NUL included.
struct Place<'a> {
    start: usize,
    bytes: &'a [u8],
    path: &'a [u8],
}

fn place<'a>(file: &'a [u8], elf: &Elf) -> Result<Option<Place<'a>>, Error> {
    let Some(segment) = elf.interpreter() else { return Ok(None) };
    let (range, bytes) = segment.bytes(file)?;
    let bad = |reason| Error::BadInterpreter { offset: segment.offset, reason };
    if !(2..=INTERPRETER_MAX).contains(&segment.file_size) {
        return Err(bad("its length is not between 2 and 4096 bytes"));
    }
    if bytes.last() != Some(&0) {
        return Err(bad("it does not end with a NUL"));
    }
    let length = bytes.iter().position(|b| *b == 0).unwrap_or_default();
    if length == 0 {
        return Err(bad("it is empty"));
    }
    let path = bytes.get(..length).unwrap_or_default();
    let room = path_room(&Image::of(file), segment, length as u64);
    let bytes = usize::try_from(room).ok().and_then(|room| bytes.get(..room)).unwrap_or(bytes);
    Ok(Some(Place { start: range.start, bytes, path }))
}

fn interpreter_over(file: &[u8], elf: &Elf, path: &[u8]) -> Result<Write, Error> {
    let what = "the interpreter".to_owned();
    if path.is_empty() || path.contains(&0) {
        return Err(Error::BadText { what, reason: "a path is not empty and contains no NUL" });
    }
    let place = place(file, elf)?.ok_or(Error::NoInterpreter)?;
    let room = place.bytes.len().saturating_sub(1);
    if path.len() > room {
        return Err(Error::DoesNotFit { what, needed: path.len(), room });
    }
    let whole = Text { offset: FileOffset(place.start as u64), bytes: place.bytes };
    replaced(whole, path, "interpreter")
}
