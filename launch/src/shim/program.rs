//! The image of one program: its key, its place, what it has to answer. Compares it with what lies there, and
//! writes it; what the program needs is a Resolution made elsewhere.

use super::base::{Base, Owner, directory_of};
use super::data::{self, Links};
use super::image::{self, Content, Finds, Image};
use super::machine;
use crate::error::{Error, Kind};
use crate::materials::{self, Materials};
use ld_shim::key::Key;
use ld_shim::needs::key_of_file;
use resolver::arch::Arch;
use resolver::closure::comes_with_the_loader;
use resolver::elf;
use resolver::map::Mapped;
use resolver::needs::Libc;
use resolver::provider::LibcSet;
use resolver::resolution::Resolution;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use store::installed;

/// The soname of glibc's C library.
const LIBC: &str = "libc.so.6";
/// The most files of a set's directory that are looked at.
const SET_MAX: usize = 20_000;

/// An image that is to be: decided, and not yet written.
#[derive(Debug)]
pub struct Planned {
    /// Where it goes.
    pub path: PathBuf,
    /// Its bytes.
    bytes: Vec<u8>,
    /// Links that it needs and that are not there: path and target.
    links: Vec<(PathBuf, PathBuf)>,
    key: Key,
}

/// What lies at a planned image's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Just this image.
    Same,
    /// Nothing.
    Absent,
    /// An image of the same program that answers otherwise, or something unreadable.
    Differs,
    /// An image of another program whose key begins alike.
    Taken,
    /// A file that the shim would not follow: somebody else may write to it, or it is none.
    Untrusted,
}

/// The key of the program at a path, all links of which are resolved.
///
/// # Errors
/// If it cannot be read or is no program that has a loader.
pub fn key(program: &Path, arch: Arch) -> Result<Key, Error> {
    let bytes = Mapped::open(program).map_err(|e| Error::io("read", program, e, ""))?;
    key_at(&bytes, program, arch)
}

fn key_at(bytes: &[u8], place: &Path, arch: Arch) -> Result<Key, Error> {
    machine(arch).and_then(|machine| key_of_file(bytes, machine, &directory_of(place))).ok_or_else(|| {
        let cause = "it has no interpreter or no dynamic section that the shim could read";
        Error::new(Kind::CannotStart, "name the image of", place.display().to_string(), cause, "`xeno inspect` it")
    })
}

/// What the loader of a resolution has to find.
fn finds(materials: &Materials, resolution: &Resolution, set: &LibcSet, links: &mut Links) -> Result<Finds, Error> {
    let mut answers = materials::answers(resolution);
    if set.libc == Libc::Musl {
        return Ok(Finds::Directories(materials.directories_of(&answers)?));
    }
    companions(set, resolution.needs.arch, &mut answers);
    move_data(materials, set, &mut answers, links)?;
    Ok(Finds::Answers(answers))
}

/// Adds what belongs to the libc and is opened without being named anywhere: NSS modules, libgcc_s for
/// `pthread_cancel`.
pub(super) fn companions(set: &LibcSet, arch: Arch, answers: &mut BTreeMap<String, PathBuf>) {
    for directory in &set.directories {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let mut names: Vec<String> = entries
            .take(SET_MAX)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| comes_with_the_loader(name) && !answers.contains_key(name))
            .collect();
        names.sort();
        for name in names {
            let path = directory.join(&name);
            if elf::load(&path).is_ok_and(|needs| needs.arch == arch && needs.soname.as_deref() == Some(name.as_str())) {
                answers.insert(name, path);
            }
        }
    }
}

/// Answers libc by a copy where its data lies elsewhere.
pub(super) fn move_data(
    materials: &Materials,
    set: &LibcSet,
    answers: &mut BTreeMap<String, PathBuf>,
    links: &mut Links,
) -> Result<(), Error> {
    if let Some(libc) = answers.get_mut(LIBC) {
        *libc = data::libc(materials, set, libc, links)?;
    }
    Ok(())
}

/// Live directories as a loader's strings take them: themselves where they fit, else links to them.
pub(super) fn live(content: &mut Content, directories: &[PathBuf], base: &Base, path: &str, links: &mut Links) -> Result<(), Error> {
    let mut plain = Vec::new();
    for directory in directories {
        let text = directory.to_str().filter(|d| d.starts_with('/') && !d.chars().any(|c| c.is_control() || c == ':'));
        plain.push(text.map(str::to_owned).ok_or_else(|| {
            let cause = "it is no absolute path without colons and control characters";
            Error::new(Kind::Own, "search live in", directory.display().to_string(), cause, "name it by its absolute path")
        })?);
    }
    let kept = std::mem::take(&mut content.live);
    content.live = [kept.clone(), plain].concat();
    if directories.is_empty() || matches!(content.finds, Finds::Directories(_)) || image::compose(content, path, &base.nothing()).is_ok() {
        return Ok(());
    }
    let short = directories.iter().map(|directory| links.short(directory, usize::MAX)).collect::<Result<Vec<String>, Error>>()?;
    content.live = [kept, short].concat();
    Ok(())
}

/// Plans the image of the program that a resolution is about.
///
/// # Errors
/// If the resolution is not complete, or has no loader, or a path does not fit.
pub fn plan(materials: &Materials, resolution: &Resolution, base: &Base, owner: Owner, live_in: &[PathBuf]) -> Result<Planned, Error> {
    let program = &resolution.program;
    let refused =
        |cause: String| Error::new(Kind::CannotStart, "make an image for", program.display().to_string(), cause, "`xeno inspect` it");
    if !resolution.is_complete() {
        return Err(refused(resolver::answer::first_fault(resolution)));
    }
    let set = resolution.libc_set.as_ref().ok_or_else(|| refused("it is static and needs no loader".to_owned()))?;
    let key = key(program, resolution.needs.arch)?;
    let path = base.image(key, owner);
    let mut links = Links::beside(base, owner);
    let finds = finds(materials, resolution, set, &mut links)?;
    let mut content = Content { arch: resolution.needs.arch, loader: set.loader.clone(), finds, live: Vec::new(), key };
    live(&mut content, live_in, base, &path, &mut links)?;
    let bytes = image::compose(&content, &path, &base.nothing())?;
    Ok(Planned { path: PathBuf::from(path), bytes, links: links.made, key })
}

impl Planned {
    pub(super) fn of(path: &str, bytes: Vec<u8>, links: Links, key: Key) -> Planned {
        Planned { path: PathBuf::from(path), bytes, links: links.made, key }
    }

    /// What lies at its place.
    pub fn standing(&self) -> Standing {
        if fs::symlink_metadata(&self.path).is_err() {
            return Standing::Absent;
        }
        let Ok(bytes) = Mapped::open(&self.path) else { return Standing::Untrusted };
        if !image::is_trusted(&self.path) {
            return Standing::Untrusted;
        }
        if bytes[..] == self.bytes {
            return Standing::Same;
        }
        match Image::parse(&bytes) {
            Ok(image) if image.content.key != self.key => Standing::Taken,
            _ => Standing::Differs,
        }
    }

    /// Writes it and its links, unless just this image is there.
    ///
    /// # Errors
    /// If another program's image has its place, or it cannot be written.
    pub fn write(&self) -> Result<(), Error> {
        let subject = || self.path.display().to_string();
        match self.standing() {
            Standing::Same => return Ok(()),
            Standing::Taken => {
                let cause = "the image of another program has the same name there";
                return Err(Error::new(
                    Kind::Own,
                    "write the image",
                    subject(),
                    cause,
                    "use another base directory for one of them (--into)",
                ));
            }
            Standing::Absent | Standing::Differs | Standing::Untrusted => {}
        }
        for (link, target) in &self.links {
            installed::make_link(link, target).map_err(materials::own)?;
        }
        installed::put_file(&self.path, &self.bytes, 0o444).map_err(materials::own)
    }
}

/// The directory of images for a private root in which nothing is installed, named by its content: the
/// program's own image, and one for whatever it starts. `inside` is the base directory there; `program` is what
/// is started – the program, or a copy of it with another interpreter that hides it.
///
/// # Errors
/// As [`plan`].
pub fn private(materials: &Materials, resolution: &Resolution, inside: &Base, program: &Path) -> Result<PathBuf, Error> {
    let set = resolution.libc_set.as_ref().ok_or_else(|| {
        Error::new(
            Kind::CannotStart,
            "make an image for",
            resolution.program.display().to_string(),
            "it needs no loader",
            "start it directly",
        )
    })?;
    let arch = resolution.needs.arch;
    let bytes = Mapped::open(program).map_err(|e| Error::io("read", program, e, ""))?;
    let own = key_at(&bytes, &resolution.program, arch)?;
    let mut links = Links::anew(inside.text());
    let finds = finds(materials, resolution, set, &mut links)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (path, key) in [(inside.image(own, Owner::Base), own), (inside.everybody(arch, set.libc), ld_shim::image::EVERYBODY)] {
        let content = Content { arch, loader: set.loader.clone(), finds: finds.clone(), live: Vec::new(), key };
        files.push((name_of(&path), image::compose(&content, &path, &inside.nothing())?));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let links: Vec<(String, PathBuf)> =
        links.made.iter().map(|(path, target)| (name_of(&path.to_string_lossy()), target.clone())).collect();
    let links: Vec<(&str, &Path)> = links.iter().map(|(name, target)| (name.as_str(), target.as_path())).collect();
    materials.tree("shim", &files, &links)
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
