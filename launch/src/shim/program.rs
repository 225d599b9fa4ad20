//! The image of one program: its key, its place, what it has to answer. Compares it with what lies there, and
//! writes it; what the program needs is a Resolution made elsewhere.

use super::base::{Base, Owner, directory_of};
use super::data::{self, Links};
use super::image::{self, Content, Finds, Fresh, Image};
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
use resolver::resolution::{Resolution, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
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
    owner: Owner,
    /// Links that it needs and that are not there: path and target.
    links: Vec<(PathBuf, PathBuf)>,
    key: Key,
    /// What its loader finds.
    finds: Finds,
}

/// What lies at a planned image's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Just this image.
    Same,
    /// Nothing.
    Absent,
    /// An image of the same program that answers otherwise, or a damaged one.
    Differs,
    /// No image at all.
    Foreign,
    /// An image of another program whose key begins alike.
    Taken,
    /// An image that the shim would not follow: somebody else may write to it.
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
    Ok(Planned { path: PathBuf::from(path), bytes, owner, links: links.made, key, finds: content.finds })
}

impl Planned {
    pub(super) fn of(path: &str, bytes: Vec<u8>, links: Links, content: Content) -> Planned {
        Planned { path: PathBuf::from(path), bytes, owner: Owner::Base, links: links.made, key: content.key, finds: content.finds }
    }

    /// The first of the files it names that ordinary users cannot read, so that only root could start the program.
    pub fn closed_to_others(&self) -> Option<PathBuf> {
        let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
        for path in self.finds.paths().into_iter().chain(self.links.iter().map(|(_, target)| target.as_path())) {
            for at in path.ancestors() {
                if !seen.insert(at.to_owned()) {
                    break;
                }
                let wanted = if at.is_dir() { 0o001 } else { 0o004 };
                if fs::metadata(at).is_ok_and(|meta| meta.mode() & wanted == 0) {
                    return Some(at.to_owned());
                }
            }
        }
        None
    }

    /// What lies at its place.
    pub fn standing(&self) -> Standing {
        if fs::symlink_metadata(&self.path).is_err() {
            return Standing::Absent;
        }
        let Some(bytes) = Mapped::open(&self.path).ok().filter(|bytes| image::is_one(bytes)) else { return Standing::Foreign };
        if !image::is_trusted(&self.path, self.owner) {
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
        let refused = |cause: String, remedy: &str| Err(Error::new(Kind::Own, "write the image", subject(), cause, remedy));
        let standing = self.standing();
        let (user, owner) = (nix::unistd::geteuid(), fs::symlink_metadata(&self.path).ok().map(|meta| meta.uid()));
        match (standing, owner.filter(|owner| !user.is_root() && *owner != user.as_raw())) {
            (Standing::Same, _) => return Ok(()),
            (_, Some(owner)) => {
                return refused(format!("uid {owner} has put something there"), "have root remove it, or use `sudo xeno shim add`");
            }
            (Standing::Taken, _) => {
                let cause = "the image of another program has the same name there";
                return refused(cause.to_owned(), "use another base directory for one of them (--into)");
            }
            (Standing::Foreign, _) => {
                let cause = "something else is there, which is no image";
                return refused(cause.to_owned(), "remove it, or use another base directory (--into)");
            }
            (Standing::Absent | Standing::Differs | Standing::Untrusted, None) => {}
        }
        for (link, target) in &self.links {
            // Another `xeno shim add` may have made the same one meanwhile.
            let there =
                || fs::symlink_metadata(link).is_ok_and(|meta| data::is_ours(&meta)) && fs::read_link(link).is_ok_and(|to| to == *target);
            installed::make_link(link, target).or_else(|e| if there() { Ok(()) } else { Err(super::told(e)) })?;
        }
        installed::put_file(&self.path, &self.bytes, 0o444).map_err(super::told)
    }
}

/// Variables that name another loader to the shim, ahead of the image for every program (nix-ld's).
pub const OVERRIDES: [&str; 5] = ["NIX_LD", "NIX_LD_x86_64_linux", "NIX_LD_i686_linux", "NIX_LD_aarch64_linux", "NIX_LD_riscv64_linux"];

/// The images that a shim would look for when this user starts a program, in its order; the last is for every
/// program.
pub fn candidates(base: &Base, key: Key, arch: Arch, libc: Libc) -> Vec<PathBuf> {
    let user = nix::unistd::geteuid();
    let own = (!user.is_root()).then(|| base.image(key, Owner::User(user.as_raw())));
    [Some(base.image(key, Owner::Base)), own, Some(base.everybody(arch, libc))].into_iter().flatten().map(PathBuf::from).collect()
}

/// What an installed shim would do with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It starts it from this image: with just its Resolution, or with what somebody else resolved for it.
    Starts(PathBuf),
    /// Not: why, as the rest of "the shim ".
    Not(String),
}

/// Says what the shim of a base would do with the program that a resolution is about.
///
/// # Errors
/// As [`plan`].
pub fn prospect(materials: &Materials, resolution: &Resolution, base: &Base) -> Result<Prospect, Error> {
    let name = resolution.program.display();
    let user = nix::unistd::geteuid();
    let not = |why: String| Ok(Prospect::Not(why));
    let arch = resolution.needs.arch;
    let key = key(&resolution.program, arch)?;
    let by_variables = resolution.libraries.iter().any(|library| matches!(library.rule, Rule::LibraryPath | Rule::Preload));
    let old = |path: &Path, why: &str| {
        Prospect::Not(format!("has an image for it, {}, that is out of date{why}: `xeno shim add {name}` makes it again", path.display()))
    };
    for owner in [Some(Owner::Base), (!user.is_root()).then_some(Owner::User(user.as_raw()))].into_iter().flatten() {
        let path = PathBuf::from(base.image(key, owner));
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if !image::is_trusted(&path, owner) {
            if owner == Owner::Base {
                let shown = path.display();
                return not(format!("does not trust {shown}, which others may write to: `xeno shim add {name}` makes it again"));
            }
            continue;
        }
        let Ok(image) = Image::load(&path) else { return Ok(old(&path, "")) };
        if image.content.key != key {
            continue;
        }
        if let Fresh::No(why) = image.fresh(&path, base) {
            return Ok(old(&path, &format!(" ({why})")));
        }
        // Somebody else's answers come from his store, and where this user's sources have not everything there is
        // nothing to compare with: the files are those that were complete for the same needs.
        if meta.uid() != user.as_raw() || !resolution.is_complete() {
            return Ok(Prospect::Starts(path));
        }
        // What it searches live is the choice of whoever made it.
        let live: Vec<PathBuf> = image.content.live.iter().map(PathBuf::from).collect();
        let planned = plan(materials, resolution, base, owner, &live)?;
        // Variables of today have no part in an image: with them the loader still finds what they name.
        let same = planned.standing() == Standing::Same || by_variables && suffices(&image, resolution, &planned.finds);
        return Ok(if same { Prospect::Starts(path) } else { old(&path, "") });
    }
    if !resolution.is_complete() {
        return not(format!("has no image for it, and {}", resolver::answer::first_fault(resolution)));
    }
    let libc = resolution.libc_set.as_ref().map_or(Libc::Glibc, |set| set.libc);
    let everybody = PathBuf::from(base.everybody(arch, libc));
    let add = format!("`xeno shim add {name}` makes one, and it starts by itself");
    if OVERRIDES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return not(format!("has no image for it, and NIX_LD names another loader: {add}"));
    }
    if !image::is_trusted(&everybody, Owner::Base) {
        return not(format!("has no image for it: {add}"));
    }
    let expected = Finds::Answers(materials::answers(resolution));
    match Image::load(&everybody) {
        Ok(image) if image.is_for_everybody() && suffices(&image, resolution, &expected) => match image.fresh(&everybody, base) {
            Fresh::Yes => Ok(Prospect::Starts(everybody)),
            Fresh::No(why) => not(format!("has none for it, and {} is out of date ({why}): {add}", everybody.display())),
        },
        _ => not(format!("has no image for it, and the one for every program does not answer just so: {add}")),
    }
}

/// Whether an image gives a program what is expected, beside what its loader finds by itself.
fn suffices(image: &Image, resolution: &Resolution, expected: &Finds) -> bool {
    let (Finds::Answers(answers), Finds::Answers(expected)) = (&image.content.finds, expected) else { return false };
    let same = |a: &Path, b: &Path| a == b || fs::canonicalize(a).ok().zip(fs::canonicalize(b).ok()).is_some_and(|(a, b)| a == b);
    let loader = resolution.libc_set.as_ref().is_some_and(|set| same(&set.loader, &image.content.loader));
    let by_itself = |rule: &Rule| matches!(rule, Rule::Path | Rule::Preload | Rule::Rpath(_) | Rule::LibraryPath | Rule::Runpath(_));
    let answered = |name: &String| answers.get(name).zip(expected.get(name)).is_some_and(|(a, b)| same(a, b));
    loader && resolution.libraries.iter().all(|library| by_itself(&library.rule) || answered(&library.name))
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
    // A program that another interpreter was written into is not seen to be musl's by its name.
    let everybody = [Libc::Glibc, Libc::Musl].into_iter().filter(|libc| *libc == Libc::Glibc || set.libc == Libc::Musl);
    let everybody = everybody.map(|libc| (inside.everybody(arch, libc), ld_shim::image::EVERYBODY));
    for (path, key) in std::iter::once((inside.image(own, Owner::Base), own)).chain(everybody) {
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
