//! Which payload lies behind, or in, an ELF file, and how the program finds it. Recognises formats by
//! their structure (a trailer whose sizes fit the file), never by one string, and looks only at the
//! ends: a file of a gigabyte costs a few pages. Extracts nothing and changes nothing.
//!
//! How a payload is found decides what a patcher may do: [`FoundBy`] says it, each family's file says
//! which reader it comes from.

mod appimage;
mod archive;
mod bun;
mod dart;
mod deno;
mod makeself;
mod nexe;
mod node;
mod notes;
mod nuitka;
mod ocaml;
mod outline;
mod pkg;
mod pyinstaller;
mod sbcl;
mod view;
mod zip;

pub use makeself::recognise_script;
pub use outline::{OwnedOutline, outline};

use std::fmt;
use std::ops::Range;
use view::{View, WINDOW};

/// What lies behind, or in, an ELF file that is not the ELF file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The format.
    pub kind: Kind,
    /// Where it lies, in bytes of the file: never empty, never past the end.
    pub range: Range<u64>,
    /// How its reader finds it.
    pub found_by: FoundBy,
}

/// How a program finds its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// Only by distances from the end of the file: bytes may be put before it, none behind it.
    End,
    /// Only by absolute file offsets, or by a search from the start: bytes may be put behind it, none
    /// before it.
    Start,
    /// By a trailer at the end that holds absolute offsets: a second copy at the end satisfies both.
    Both,
    /// At the end that the ELF file's own headers tell, computed from the section headers (`e_shoff +
    /// e_shnum * e_shentsize`): bytes may be put behind it; before it only together with headers that
    /// tell the new end.
    AfterSectionHeaders,
    /// In a segment, a section or a note, by address or by name: as safe as the rest of the program.
    Loaded,
    /// Nobody knows: both ends must stay true.
    Unknown,
}

/// The format of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An AppImage, type 1 or 2; see `appimage.rs`.
    AppImage(Image),
    /// A PyInstaller archive; see `pyinstaller.rs`.
    PyInstaller,
    /// A Nuitka onefile payload; see `nuitka.rs`.
    Nuitka,
    /// The module graph of `bun build --compile`; see `bun.rs`.
    Bun,
    /// The data of `deno compile`; see `deno.rs`.
    Deno,
    /// Data that libsui embedded for some other program; see `deno.rs`.
    Sui,
    /// The virtual file system of vercel's pkg and its successors; see `pkg.rs`.
    Pkg,
    /// A nexe bundle; see `nexe.rs`.
    Nexe,
    /// The blob of a Node.js single executable application; see `node.rs`.
    NodeSea,
    /// The snapshot of `dart compile exe`; see `dart.rs`.
    Dart,
    /// An SBCL core; see `sbcl.rs`.
    Sbcl,
    /// OCaml bytecode behind its interpreter; see `ocaml.rs`.
    OCaml,
    /// A zip archive; see `zip.rs`.
    Zip,
    /// A 7z archive; see `archive.rs`.
    SevenZip,
    /// A RAR archive; see `archive.rs`.
    Rar,
    /// The archives of a makeself script; see `makeself.rs`.
    Makeself,
    /// Bytes behind the ELF file of a format not known here.
    UnknownOverlay,
}

/// The file system of an AppImage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// Type 1: the whole file is an ISO 9660 image.
    Iso9660,
    /// Type 2 with squashfs.
    Squashfs,
    /// Type 2 with DwarFS.
    Dwarfs,
}

/// The facts about the ELF part that recognition needs.
#[derive(Debug, Clone)]
pub struct Outline<'a> {
    /// The whole file; may be a mapping of any size, it is read only where needed.
    pub file: &'a [u8],
    /// Whether the class is ELFCLASS64.
    pub is_64: bool,
    /// Whether the data is ELFDATA2MSB.
    pub big_endian: bool,
    /// The end of the last byte that a header, a segment or a section covers.
    pub elf_end: u64,
    /// The section header table.
    pub section_headers: Option<Range<u64>>,
    /// Name and file range of each section, in the table's order; empty ranges for SHT_NOBITS.
    pub sections: &'a [(&'a [u8], Range<u64>)],
    /// The file ranges of PT_NOTE segments.
    pub notes: &'a [Range<u64>],
}

impl<'a> Outline<'a> {
    fn view(&self) -> View<'a> {
        View(self.file)
    }

    /// What lies behind the ELF file.
    fn overlay(&self) -> Range<u64> {
        let end = self.file.len() as u64;
        self.elf_end.min(end)..end
    }

    /// A payload of the overlay, if the range fits there: a size that reaches into the program or past
    /// the end is not the size of a payload.
    fn behind(&self, kind: Kind, range: Range<u64>, found_by: FoundBy) -> Option<Payload> {
        let overlay = self.overlay();
        let fits = overlay.start <= range.start && range.start < range.end && range.end <= overlay.end;
        fits.then_some(Payload { kind, range, found_by })
    }
}

/// Finds the payloads of a program. Empty: none; an overlay that nobody knows is
/// [`Kind::UnknownOverlay`]. In ascending order of their place.
pub fn recognise(outline: &Outline<'_>) -> Vec<Payload> {
    let mut found = Vec::new();
    let overlay = outline.overlay();
    if !overlay.is_empty() {
        // Only one reader finds its trailer at the very end. Those with a magic of their own come
        // before those with a size alone, and before formats that others embed.
        let trailers = [
            bun::trailer,
            deno::trailer,
            deno::sui_trailer,
            dart::trailer,
            sbcl::trailer,
            ocaml::trailer,
            nexe::trailer,
            pyinstaller::trailer,
            nuitka::trailer,
            pkg::trailer,
            zip::trailer,
        ];
        found.extend(trailers.iter().find_map(|recognise| recognise(outline)));
        if found.is_empty() {
            found.extend(archive::head(outline));
        }
    }
    found.extend(appimage::image(outline));
    found.extend(notes::payloads(outline));
    found.extend(outline.sections.iter().filter_map(|(name, range)| section(outline, name, range)));
    let rest = unknown(outline, &found);
    found.extend(rest);
    found.sort_by_key(|payload| (payload.range.start, payload.range.end));
    found.dedup();
    found
}

/// What a section holds.
fn section(outline: &Outline<'_>, name: &[u8], range: &Range<u64>) -> Option<Payload> {
    bun::section(outline, name, range)
        .or_else(|| sbcl::section(outline, name, range))
        .or_else(|| pyinstaller::section(outline, range))
        .or_else(|| nuitka::section(outline, name, range))
}

/// The parts of the overlay that no known payload covers, without padding.
fn unknown(outline: &Outline<'_>, known: &[Payload]) -> Vec<Payload> {
    let overlay = outline.overlay();
    let mut taken: Vec<(u64, u64)> = known.iter().map(|p| (p.range.start, p.range.end)).filter(|(_, end)| *end > overlay.start).collect();
    taken.sort_unstable();
    // Beside a payload zeros fill a page or the block of a file system image. Alone only as many as no
    // trailer fits into: patchelf leaves one such byte behind many libraries.
    let padding = if taken.is_empty() { 16 } else { WINDOW };
    let mut rest = Vec::new();
    let mut at = overlay.start;
    for (start, end) in taken.into_iter().chain([(overlay.end, overlay.end)]) {
        if at < start && !is_padding(outline.view(), at..start, padding) {
            rest.push(Payload { kind: Kind::UnknownOverlay, range: at..start, found_by: FoundBy::Unknown });
        }
        at = at.max(end);
    }
    rest
}

fn is_padding(view: View<'_>, range: Range<u64>, longest: u64) -> bool {
    range.end - range.start <= longest && view.slice(range).is_some_and(|bytes| bytes.iter().all(|b| *b == 0))
}

impl Kind {
    /// One word for machines: lower case, digits and `-`.
    pub fn id(self) -> &'static str {
        match self {
            Kind::AppImage(Image::Iso9660) => "appimage-1",
            Kind::AppImage(_) => "appimage-2",
            Kind::PyInstaller => "pyinstaller",
            Kind::Nuitka => "nuitka",
            Kind::Bun => "bun",
            Kind::Deno => "deno",
            Kind::Sui => "sui",
            Kind::Pkg => "pkg",
            Kind::Nexe => "nexe",
            Kind::NodeSea => "node-sea",
            Kind::Dart => "dart",
            Kind::Sbcl => "sbcl",
            Kind::OCaml => "ocaml",
            Kind::Zip => "zip",
            Kind::SevenZip => "7z",
            Kind::Rar => "rar",
            Kind::Makeself => "makeself",
            Kind::UnknownOverlay => "unknown-overlay",
        }
    }

    /// The format's name and what the bytes are.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::AppImage(Image::Iso9660) => ("AppImage type 1", "ISO 9660"),
            Kind::AppImage(Image::Squashfs) => ("AppImage", "squashfs"),
            Kind::AppImage(Image::Dwarfs) => ("AppImage", "DwarFS"),
            Kind::PyInstaller => ("PyInstaller", "archive"),
            Kind::Nuitka => ("Nuitka", "onefile payload"),
            Kind::Bun => ("bun", "module graph"),
            Kind::Deno => ("deno", "compiled program"),
            Kind::Sui => ("libsui", "embedded data"),
            Kind::Pkg => ("pkg", "virtual file system"),
            Kind::Nexe => ("nexe", "bundle"),
            Kind::NodeSea => ("Node.js single executable", "blob"),
            Kind::Dart => ("Dart", "snapshot"),
            Kind::Sbcl => ("SBCL", "core"),
            Kind::OCaml => ("OCaml", "bytecode"),
            Kind::Zip => ("zip", "archive"),
            Kind::SevenZip => ("7z", "archive"),
            Kind::Rar => ("RAR", "archive"),
            Kind::Makeself => ("makeself", "archive"),
            Kind::UnknownOverlay => ("unknown overlay", "data"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

impl FoundBy {
    /// One word for machines: lower case and `-`.
    pub fn id(self) -> &'static str {
        match self {
            FoundBy::End => "end",
            FoundBy::Start => "start",
            FoundBy::Both => "both",
            FoundBy::AfterSectionHeaders => "after-section-headers",
            FoundBy::Loaded => "loaded",
            FoundBy::Unknown => "unknown",
        }
    }
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FoundBy::End => "found from the end of the file",
            FoundBy::Start => "found from the start of the file",
            FoundBy::Both => "found by a trailer at the end that holds file offsets",
            FoundBy::AfterSectionHeaders => "found right after the section headers",
            FoundBy::Loaded => "found by address or section name",
            FoundBy::Unknown => "not known how it is found",
        })
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, what) = self.kind.words();
        let size = self.range.end.saturating_sub(self.range.start);
        write!(f, "{name} ({what} at {:#x}, {}), {}", self.range.start, Size(size), self.found_by)
    }
}

/// A size in the unit that leaves one to three digits; decimal units, rounded down.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        match units.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None if self.0 == 1 => f.write_str("1 byte"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}
