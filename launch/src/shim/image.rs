//! Images as bytes (their layout is told in `ld_shim::image`): composed of what a loader is to find, and read
//! back. Where they lie and who may write them is not decided here.

use super::base::{Base, Owner};
use super::{arch_of, machine, segments};
use crate::error::{Error, Kind};
use crate::materials;
use ld_shim::elf::{Machine, Refusal};
use ld_shim::image::{EVERYBODY, RECORD, Record, SIZE_MAX, machine_of};
use ld_shim::key::Key;
use ld_shim::load::{HEADERS_MAX, Plan};
use patcher::{LoaderFamily, LoaderStrings, Overwrite};
use resolver::arch::Arch;
use resolver::ldcache;
use resolver::map::Mapped;
use resolver::needs::Libc;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The smallest page: a loader's place in its image is a multiple of its segments' alignment, and at least of this.
const PAGE: u64 = 4096;
/// The largest alignment of a segment that is believed: pages of 64 KiB, and huge ones.
const ALIGN_MAX: u64 = 2 << 20;

/// What a loader is to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finds {
    /// glibc: each name's file.
    Answers(BTreeMap<String, PathBuf>),
    /// musl: where it looks, in this order.
    Directories(Vec<PathBuf>),
}

impl Finds {
    /// Every file or directory that it names.
    pub(super) fn paths(&self) -> Vec<&Path> {
        match self {
            Finds::Answers(answers) => answers.values().map(PathBuf::as_path).collect(),
            Finds::Directories(directories) => directories.iter().map(PathBuf::as_path).collect(),
        }
    }
}

/// Everything that an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whom the loader loads.
    pub arch: Arch,
    /// The loader to be copied.
    pub loader: PathBuf,
    /// What it finds.
    pub finds: Finds,
    /// Directories that are searched last, by what they hold at that moment.
    pub live: Vec<String>,
    /// Whose image it is; [`EVERYBODY`] for all.
    pub key: Key,
}

/// The image of `content` that lies at `path`; `nothing` is a path at which there is no file.
///
/// # Errors
/// If the loader cannot be read or is of an unknown make, or a path does not fit into it.
pub fn compose(content: &Content, path: &str, nothing: &str) -> Result<Vec<u8>, Error> {
    let (loader, family) = loader_copy(content, path, nothing)?;
    let subject = || content.loader.display().to_string();
    let bad = |cause: String| Error::new(Kind::Own, "make an image with", subject(), cause, "");
    let machine = machine(content.arch).ok_or_else(|| bad(format!("there is no shim for {}", content.arch)))?;
    let mut out = match (&content.finds, family) {
        (Finds::Answers(answers), LoaderFamily::Glibc) => materials::cache_of(answers, content.arch)?,
        (Finds::Directories(directories), LoaderFamily::Musl) => {
            let live = content.live.iter().map(PathBuf::from);
            let mut list = materials::list_of(&directories.iter().cloned().chain(live).collect::<Vec<_>>());
            list.push(0);
            list
        }
        _ => return Err(bad("it is the other C library's loader".to_owned())),
    };
    let align = alignment(&loader).map_err(&bad)?;
    pad(&mut out, align);
    let place = out.len() as u64;
    out.extend_from_slice(&loader);
    note(content, &mut out).map_err(&bad)?;
    let headers = segments::merged(headers(&loader).map_err(&bad)?, machine);
    if let Some(refusal) = refusal(&headers, machine) {
        return Err(bad(format!("it {}", String::from_utf8_lossy(refusal.text()))));
    }
    let record = Record { machine, key: content.key, loader: place, headers: &headers };
    out.extend_from_slice(&record.to_bytes().ok_or_else(|| bad("its headers are too long".to_owned()))?);
    if out.len() as u64 > SIZE_MAX {
        return Err(bad(format!("the image would have more than {SIZE_MAX} bytes")));
    }
    Ok(out)
}

fn loader_copy(content: &Content, path: &str, nothing: &str) -> Result<(Vec<u8>, LoaderFamily), Error> {
    let bytes = Mapped::open(&content.loader).map_err(|e| Error::io("read the loader", &content.loader, e, ""))?;
    let fail = |e: patcher::Error| {
        let remedy = match e.kind() {
            patcher::Kind::DoesNotFit => "use a base directory with a shorter path (--into), or fewer --live directories",
            _ => "",
        };
        Error::new(Kind::Own, "make an image with", content.loader.display().to_string(), e.to_string(), remedy)
    };
    let family = patcher::loader_family(&bytes).map_err(fail)?;
    let strings = LoaderStrings {
        cache: path.to_owned(),
        preload: Some(nothing.to_owned()),
        musl_path: path.to_owned(),
        directories: content.live.clone(),
    };
    Ok((with_remedy(patcher::loader_copy(&bytes, &strings).map_err(fail)?.0), family))
}

/// glibc's loader says what is missing, but not what to do (`elf/dl-catch.c`, `fatal_error`; what `dlerror` says is
/// another text). The copy does; a loader that puts it otherwise keeps its words.
fn with_remedy(loader: Vec<u8>) -> Vec<u8> {
    const OLD: &[u8] = b"error while loading shared libraries";
    const NEW: &[u8] = b"loading shared libs; see xeno doctor";
    let edit = Overwrite::RodataString { old: OLD.to_vec(), new: NEW.to_vec(), occurrences: 1 };
    let changed = patcher::overwrite(&loader, &[edit]).and_then(|plan| plan.apply(&loader));
    changed.unwrap_or(loader)
}

/// Why the shim would not map a loader with these headers.
fn refusal(headers: &[u8], machine: Machine) -> Option<Refusal> {
    Plan::of(headers, machine, 4096).err()
}

/// What the shim does not read, right before the record: where the loader was copied from and the live
/// directories, one a line, and the length of that text in four bytes. So an image tells by itself whether it
/// is still what would be made today.
fn note(content: &Content, out: &mut Vec<u8>) -> Result<(), String> {
    let loader = content.loader.to_str().filter(|path| !path.contains('\n')).ok_or("its path is no text of one line")?;
    let lines: Vec<&str> = std::iter::once(loader).chain(content.live.iter().map(String::as_str)).collect();
    let text = lines.join("\n");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&u32::try_from(text.len()).map_err(|e| e.to_string())?.to_le_bytes());
    Ok(())
}

/// The note of an image's bytes without their record.
fn note_of(body: &[u8]) -> Option<(PathBuf, Vec<String>)> {
    let (text, length) = body.split_at_checked(body.len().checked_sub(4)?)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let text = std::str::from_utf8(text.get(text.len().checked_sub(length)?..)?).ok()?;
    let mut lines = text.split('\n').map(str::to_owned);
    Some((PathBuf::from(lines.next().filter(|path| path.starts_with('/'))?), lines.collect()))
}

fn pad(out: &mut Vec<u8>, align: u64) {
    let length = (out.len() as u64).next_multiple_of(align);
    out.resize(usize::try_from(length).unwrap_or(out.len()), 0);
}

/// The largest alignment of a segment.
fn alignment(loader: &[u8]) -> Result<u64, String> {
    let elf = patcher::Elf::parse(loader).map_err(|e| e.to_string())?;
    let largest = elf.segments.iter().filter(|s| s.p_type == ld_shim::elf::PT_LOAD).map(|s| s.align).max().unwrap_or(0).max(PAGE);
    if largest.is_power_of_two() && largest <= ALIGN_MAX {
        return Ok(largest);
    }
    Err(format!("a segment is aligned to {largest:#x}"))
}

/// The ELF header and the program headers, and what stands between them.
fn headers(loader: &[u8]) -> Result<&[u8], String> {
    let elf = patcher::Elf::parse(loader).map_err(|e| e.to_string())?;
    let table = u64::from(elf.header.segment_count) * u64::from(elf.header.segment_size);
    let end = elf.header.segments_at.saturating_add(table);
    usize::try_from(end)
        .ok()
        .filter(|end| *end <= HEADERS_MAX)
        .and_then(|end| loader.get(..end))
        .ok_or_else(|| format!("its headers end at {end:#x}, and an image has room for {HEADERS_MAX:#x}"))
}

/// An image as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is made of.
    pub content: Content,
    /// Whose loader it has.
    pub libc: Libc,
    /// Bytes.
    pub size: u64,
}

/// How an image stands to the files it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It would be made just so today.
    Yes,
    /// Not: what changed, as the rest of "… is out of date: ".
    No(String),
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// One sentence, as the rest of "… is no image: ".
    pub fn parse(bytes: &[u8]) -> Result<Image, String> {
        let cut = || "it is too short".to_owned();
        let start = bytes.len().checked_sub(RECORD).ok_or_else(cut)?;
        let (body, tail) = bytes.split_at_checked(start).ok_or_else(cut)?;
        let machine = machine_of(tail).ok_or("it does not end as one, or is of another version of xeno")?;
        let record = Record::parse(tail, bytes.len() as u64, machine).ok_or("its record contradicts itself")?;
        let arch = arch_of(machine);
        let copy = usize::try_from(record.loader).ok().and_then(|at| body.get(at..)).ok_or_else(cut)?;
        let own = headers(copy).map(|headers| segments::merged(headers, machine));
        if own.as_deref() != Ok(record.headers) || refusal(record.headers, machine).is_some() {
            return Err("its loader is none".to_owned());
        }
        let (loader, live) = note_of(body).ok_or("it does not say whose loader it has")?;
        let (libc, finds) = if bytes.starts_with(b"glibc-ld.so.cache") {
            let entries = ldcache::parse(body, arch.endian).map_err(|e| e.to_string())?;
            (Libc::Glibc, Finds::Answers(entries.into_iter().map(|e| (e.soname, PathBuf::from(e.path))).collect()))
        } else {
            let list = ld_shim::bytes::until_nul(body, body.len()).unwrap_or(&[]);
            let list = std::str::from_utf8(list).map_err(|_| "its list of directories is no text")?;
            let mut directories: Vec<PathBuf> = list.split(['\n', ':']).filter(|d| !d.is_empty()).map(PathBuf::from).collect();
            directories.truncate(directories.len().saturating_sub(live.len()));
            (Libc::Musl, Finds::Directories(directories))
        };
        let content = Content { arch, loader, finds, live, key: record.key };
        Ok(Image { content, libc, size: bytes.len() as u64 })
    }

    /// Reads the image at a path.
    ///
    /// # Errors
    /// If there is none.
    pub fn load(path: &Path) -> Result<Image, Error> {
        let bytes = Mapped::open(path).map_err(|e| Error::io("read the image", path, e, "`xeno shim status` lists those there are"))?;
        let bad = |cause| Error::new(Kind::Own, "read the image", path.display().to_string(), cause, "make it again with `xeno shim add`");
        Image::parse(&bytes).map_err(bad)
    }

    /// Whether it serves every program.
    pub fn is_for_everybody(&self) -> bool {
        self.content.key == EVERYBODY
    }

    /// Whether the image that lies at `path` would be made the same of today's files.
    pub fn fresh(&self, path: &Path, base: &Base) -> Fresh {
        let stale = |text: String| Fresh::No(text);
        let named = self.content.finds.paths();
        let lost = named.iter().filter(|path| !path.exists()).count();
        if let Some(first) = named.iter().find(|path| !path.exists()) {
            let more = if lost > 1 { format!(" (and {} more)", lost - 1) } else { String::new() };
            return stale(format!("{} is gone{more}", first.display()));
        }
        let Some(text) = path.to_str() else { return stale("its path is no text".to_owned()) };
        match (compose(&self.content, text, &base.nothing()), Mapped::open(path)) {
            (Ok(today), Ok(bytes)) if today == bytes[..] => Fresh::Yes,
            (Ok(_), Ok(_)) => stale(format!("{} is another one than it was made of", self.content.loader.display())),
            (Err(e), _) => stale(e.to_string()),
            (_, Err(e)) => stale(e.to_string()),
        }
    }
}

/// Whether a file is an image, be it a damaged one or another version's: it ends as one, or begins as one.
pub fn is_one(bytes: &[u8]) -> bool {
    let tail = bytes.len().checked_sub(RECORD).and_then(|start| bytes.get(start..));
    tail.is_some_and(|tail| machine_of(tail).is_some()) || bytes.starts_with(b"glibc-ld.so.cache")
}

/// Whether this user's shim follows the file at a path, which is that of an image of `owner`.
pub fn is_trusted(path: &Path, owner: Owner) -> bool {
    let trust = ld_shim::image::Trust { user: Some(nix::unistd::geteuid().as_raw()) };
    let users = matches!(owner, Owner::User(_));
    std::fs::symlink_metadata(path).is_ok_and(|meta| trust.in_file(meta.mode(), meta.uid(), users))
}

#[cfg(test)]
mod tests {
    use super::*;
    use resolver::machine;

    fn content(finds: Finds, loader: PathBuf) -> Content {
        Content { arch: Arch::host().unwrap(), loader, finds, live: Vec::new(), key: Key([7; 16]) }
    }

    /// This machine's glibc, if it has one.
    fn glibc() -> Option<Content> {
        let system = machine::system(Arch::host()?, Libc::Glibc)?;
        let answers = [("libx.so.1", "/x/libx.so.1"), ("liby.so", "/y/other")];
        Some(content(Finds::Answers(answers.map(|(n, p)| (n.to_owned(), PathBuf::from(p))).into()), system.loader))
    }

    #[test]
    fn an_image_is_read_back_as_it_was_made() {
        let Some(mut content) = glibc() else { return };
        content.live = vec!["/x/e0/".to_owned()];
        let bytes = compose(&content, "/x/14flfh", "/x/-").unwrap();
        let image = Image::parse(&bytes).unwrap();
        assert_eq!((&image.content, image.libc, image.size), (&content, Libc::Glibc, bytes.len() as u64));
        let record = Record::parse(&bytes[bytes.len() - RECORD..], bytes.len() as u64, machine(Arch::host().unwrap()).unwrap());
        assert_eq!(record.unwrap().loader % 4096, 0);
        let copy = &bytes[usize::try_from(record.unwrap().loader).unwrap()..];
        let holds = |text: &[u8]| copy.windows(text.len()).any(|window| window == text);
        assert!(holds(b"\0/x/14flfh\0"), "its loader reads the image itself");
        assert!(!holds(b"\0/etc/ld.so.cache\0"));
    }

    #[test]
    fn an_image_is_out_of_date_once_its_loader_is_another_or_a_library_is_gone() {
        let Some(mut content) = glibc() else { return };
        let dir = tempfile::Builder::new().prefix("x").rand_bytes(3).tempdir_in("/tmp").unwrap();
        let (loader, library) = (dir.path().join("ld.so"), dir.path().join("libx.so.1"));
        std::fs::copy(&content.loader, &loader).unwrap();
        std::fs::write(&library, "").unwrap();
        content.loader = loader.clone();
        content.finds = Finds::Answers([("libx.so.1".to_owned(), library.clone())].into());
        let (base, path) = (Base::at(dir.path()).unwrap(), dir.path().join("14flfh"));
        std::fs::write(&path, compose(&content, path.to_str().unwrap(), &base.nothing()).unwrap()).unwrap();
        let fresh = || Image::load(&path).unwrap().fresh(&path, &base);
        assert_eq!(fresh(), Fresh::Yes);
        let mut other = std::fs::read(&loader).unwrap();
        other.push(0);
        std::fs::write(&loader, &other).unwrap();
        assert_eq!(fresh(), Fresh::No(format!("{} is another one than it was made of", loader.display())));
        std::fs::write(&loader, &other[..other.len() - 1]).unwrap();
        assert_eq!(fresh(), Fresh::Yes);
        std::fs::remove_file(&library).unwrap();
        assert_eq!(fresh(), Fresh::No(format!("{} is gone", library.display())));
    }

    #[test]
    fn a_path_that_is_too_long_for_the_loader_is_refused_with_its_length() {
        let Some(content) = glibc() else { return };
        let error = compose(&content, "/a/path/that/is/much/too/long/for/it/x", "/x/-").unwrap_err().to_string();
        assert!(error.contains("use a base directory with a shorter path (--into)"), "{error}");
        assert!(error.contains("16"), "{error}");
    }

    #[test]
    fn no_damage_to_an_image_makes_reading_it_fail_otherwise_than_by_saying_so() {
        let Some(content) = glibc() else { return };
        let whole = compose(&content, "/x/14flfh", "/x/-").unwrap();
        assert!(Image::parse(&[]).is_err());
        for cut in [1, 3, 4, 5, 100, 2047, 2048, 2049, 3000, whole.len() - 1] {
            assert!(Image::parse(&whole[cut..][..whole.len() - cut - 1]).is_err(), "{cut}");
        }
        let mut state = 1u32;
        for _ in 0..500 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = bytes.len() - 1 - (state as usize >> 8) % 2200;
                bytes[at] = (state >> 24) as u8;
            }
            let _ = Image::parse(&bytes);
        }
    }
}
