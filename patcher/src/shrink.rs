//! What `--shrink-rpath` keeps of a run path: the directories that hold a needed library of the same
//! machine. Reads the first bytes of candidates and changes nothing.

use crate::codec::Codec;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a library that could be the needed one could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShrinkError {
    /// It is there and cannot be read.
    #[error("shrinking the run path: {doing} '{}': {source}; make it readable, or take its directory off the run path", path.display())]
    Unreadable {
        /// The operation: `getting info about`, `opening` or `reading`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there and no ELF file.
    #[error("shrinking the run path: '{}' {reason}; remove it, or take its directory off the run path", path.display())]
    NotElf {
        /// Which.
        path: PathBuf,
        /// What gives it away.
        reason: NotElf,
    },
}

/// How a file shows that it is no ELF file, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotElf {
    /// Less than the smaller of the two ELF headers.
    #[error("has less than an ELF header")]
    Short,
    /// `EI_MAG0` to `EI_MAG3`.
    #[error("is not an ELF file")]
    Magic,
    /// `EI_VERSION`.
    #[error("has an unknown ELF version")]
    Version,
    /// `EI_CLASS`.
    #[error("is neither a 32-bit nor a 64-bit ELF file")]
    Class,
}

/// What became of one entry of the run path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Relative or beginning with a token: known only when the program starts.
    Unknowable,
    /// Holds the first copy of a needed library.
    Holds,
    /// Does not begin with an allowed prefix.
    NotAllowed,
    /// Holds no library that is needed and was not found before.
    Useless,
}

impl Verdict {
    /// Whether the entry stays.
    pub fn keeps(&self) -> bool {
        matches!(self, Verdict::Unknowable | Verdict::Holds)
    }
}

/// The entries of a run path. An empty text has none, and an empty last entry is none.
pub fn entries(run_path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = run_path.strip_suffix(b":").unwrap_or(run_path);
    whole.split(|byte| *byte == b':').take(if run_path.is_empty() { 0 } else { usize::MAX })
}

/// `sizeof (Elf32_Ehdr)`.
const HEADER: usize = 52;

/// `e_machine`, from the start of a file.
fn machine(head: &[u8]) -> Result<u16, NotElf> {
    let head = head.get(..HEADER).ok_or(NotElf::Short)?;
    let [b'\x7f', b'E', b'L', b'F', class, data, version, ..] = head else { return Err(NotElf::Magic) };
    if *version != 1 {
        return Err(NotElf::Version);
    }
    if !matches!(class, 1 | 2) {
        return Err(NotElf::Class);
    }
    let codec = Codec { is_64: *class == 2, big_endian: *data == 2 };
    Ok(codec.get(head, 18, 2).unwrap_or_default() as u16)
}

/// The machine of the library at `path`; `None` if there is nothing.
fn machine_at(path: &Path) -> Result<Option<u16>, ShrinkError> {
    let unreadable = |doing, source| ShrinkError::Unreadable { doing, path: path.to_owned(), source };
    let not = |reason| ShrinkError::NotElf { path: path.to_owned(), reason };
    // A name that is there but is a pipe must not be waited for.
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => return Err(not(NotElf::Short)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable("getting info about", error)),
    }
    let mut head = Vec::with_capacity(HEADER);
    let file = std::fs::File::open(path).map_err(|error| unreadable("opening", error))?;
    file.take(HEADER as u64).read_to_end(&mut head).map_err(|error| unreadable("reading", error))?;
    machine(&head).map(Some).map_err(not)
}

/// Judges each entry of `run_path` for a file of this `e_machine` that needs these libraries. Each
/// library counts for the first entry that has it, as the loader takes it from there. Where
/// `prefixes` is not empty, absolute entries must begin with one of them, byte for byte. A library
/// of another machine is passed over; a needed name with a slash is looked for below the entry all
/// the same, as patchelf does.
///
/// # Errors
/// [`ShrinkError`] for the first candidate that is there and cannot be read, or is no ELF file: to
/// drop its directory would be a guess.
pub fn judge<'a>(
    run_path: &'a [u8],
    needed: &[&[u8]],
    e_machine: u16,
    prefixes: &[&[u8]],
) -> Result<Vec<(&'a [u8], Verdict)>, ShrinkError> {
    let mut missing: Vec<&[u8]> = needed.to_vec();
    let mut verdicts = Vec::new();
    for entry in entries(run_path) {
        let verdict = if !entry.is_empty() && !entry.starts_with(b"/") {
            Verdict::Unknowable
        } else if !prefixes.is_empty() && !prefixes.iter().any(|prefix| entry.starts_with(prefix)) {
            Verdict::NotAllowed
        } else {
            let before = missing.len();
            let mut kept = Vec::new();
            for library in missing {
                let path = [entry, b"/", library].concat();
                if machine_at(Path::new(std::ffi::OsStr::from_bytes(&path)))? != Some(e_machine) {
                    kept.push(library);
                }
            }
            missing = kept;
            if missing.len() < before { Verdict::Holds } else { Verdict::Useless }
        };
        verdicts.push((entry, verdict));
    }
    Ok(verdicts)
}

/// The run path that is left: the kept entries, joined by colons.
///
/// # Errors
/// Those of [`judge`].
pub fn shrink(run_path: &[u8], needed: &[&[u8]], e_machine: u16, prefixes: &[&[u8]]) -> Result<Vec<u8>, ShrinkError> {
    let verdicts = judge(run_path, needed, e_machine, prefixes)?;
    let kept = verdicts.into_iter().filter(|(_, verdict)| verdict.keeps()).map(|(entry, _)| entry);
    Ok(kept.fold(Vec::new(), |path, entry| appended(&path, entry)))
}

/// A run path with one more entry at its end.
pub fn appended(run_path: &[u8], entry: &[u8]) -> Vec<u8> {
    match run_path {
        [] => entry.to_vec(),
        _ => [run_path, b":", entry].concat(),
    }
}
