//! AppImages without FUSE: the files of a type 2 image are unpacked once by content, and `AppRun` is started from there
//! with the words and variables that the image's own runtime would give it.
//!
//! Recognised by structure, never by a name's ending. What cannot be read here is either left to the image's own
//! runtime or refused with the reason. Nothing of an image is run, or believed, while it is unpacked.

mod blocks;
mod extract;
mod fault;
mod image;
mod inside;
mod place;
mod plan;
mod words;

use crate::error::{Error, Kind};
use crate::program::Program;
use fault::Fault;
use nix::unistd::{AccessFlags, access};
use patcher::payload::{self, Image, Payload};
use resolver::map::Mapped;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use store::cache::Cache;
use store::progress::Progress;

/// Images larger than this, in bytes, are worth a line while they are unpacked.
const WORTH_A_NOTE: u64 = 32 << 20;

/// An AppImage whose files are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The words for `AppRun`; the first is its name for itself.
    pub words: Vec<OsString>,
    /// The variables to set (or, with `None`, to unset) for it.
    pub variables: Vec<(OsString, Option<OsString>)>,
}

impl App {
    /// Unpacks the AppImage that a command names, unless that was done before; `None` where the program is none, where
    /// the words are for the image's own runtime, or where only that can read its file system.
    ///
    /// # Errors
    /// If the image is damaged, exceeds a limit or cannot be read here at all, or its files cannot be written.
    pub fn of(program: &Program, command: &[OsString], cache: &Cache, progress: &dyn Progress) -> Result<Option<App>, Error> {
        let real = program.real.as_path();
        if !marked(real) {
            return Ok(None);
        }
        let Some(words) = words::words(command) else { return Ok(None) };
        let directory = match place::recall(cache, real) {
            Some(directory) => directory,
            None => match found(real).map_err(|fault| fault.of(real))? {
                Some(image) => unpack(cache, real, image, progress).map_err(|fault| fault.of(real))?,
                None => return Ok(None),
            },
        };
        let argv0 = command.first().map(OsString::as_os_str).unwrap_or_default();
        let variables = words::variables(real, &directory, argv0, std::env::current_dir().ok());
        Ok(Some(App { directory, words, variables }))
    }

    /// `AppRun`, not yet looked into.
    ///
    /// # Errors
    /// If there is none, or it is no program.
    pub fn program(&self) -> Result<Program, Error> {
        let start = self.directory.join("AppRun");
        if !start.exists() {
            let subject = self.directory.display().to_string();
            let remedy = "its author has to add one; the programs in that directory can be started by themselves";
            return Err(Error::new(Kind::CannotStart, "start the AppImage unpacked in", subject, "it has no AppRun", remedy));
        }
        Program::find(start.as_os_str(), None)
    }

    /// Sees to it that the program inside is the one whose needs decide, where `AppRun` is only a launcher. `program` is
    /// what [`App::program`] gave, with its `#!` line read.
    pub fn judge(&self, program: &mut Program, search_path: Option<&OsStr>) {
        inside::judge(&self.directory, program, search_path);
    }
}

/// Whether a file begins as an AppImage does (AppImage specification, "Type 1 image format", "Type 2 image format").
fn marked(path: &Path) -> bool {
    let mut head = [0; 11];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
        && head.starts_with(b"\x7fELF")
        && matches!(head, [.., b'A', b'I', 1 | 2])
}

/// Where the image lies; `None` where the file has none, or one that its own runtime has to read.
fn found(path: &Path) -> Result<Option<std::ops::Range<u64>>, Fault> {
    let file = Mapped::open(path).map_err(Fault::Read)?;
    let Some(outline) = payload::outline(&file) else { return Ok(None) };
    let outline = outline.outline();
    let payloads = payload::recognise(&outline);
    let image = payloads.into_iter().find_map(|Payload { kind, range, .. }| match kind {
        payload::Kind::AppImage(image) => Some((image, range)),
        _ => None,
    });
    match image {
        Some((Image::Squashfs, range)) => Ok(Some(range)),
        // Its own runtime unpacks this one where there is no FUSE.
        Some((Image::Dwarfs, _)) => Ok(None),
        Some((Image::Iso9660, _)) if access("/dev/fuse", AccessFlags::R_OK | AccessFlags::W_OK).is_ok() => Ok(None),
        Some((Image::Iso9660, _)) => Err(Fault::Elsewhere),
        // A runtime without an image, which is told by a variable where one is.
        None if outline.elf_end == file.len() as u64 => Ok(None),
        None => fault::bad("it is marked as an AppImage, and there is no file system where its runtime would look"),
    }
}

fn unpack(cache: &Cache, real: &Path, image: std::ops::Range<u64>, progress: &dyn Progress) -> Result<PathBuf, Fault> {
    let size = image.end - image.start;
    if size > WORTH_A_NOTE {
        progress.note(&format!("unpacking {} ({:.1} MB), this once", real.display(), size as f64 / 1e6));
    }
    let mut file = File::open(real).map_err(Fault::Read)?;
    let (directory, passed_over) = place::unpack(cache, real, &mut file, image)?;
    if passed_over > 0 {
        log::warn!("{} has {passed_over} devices, pipes or sockets, which are not made", real.display());
    }
    Ok(directory)
}
