//! The shim at the paths where programs expect their loader: put there, found there, taken away again. What was
//! there before is kept beside it and comes back; at no moment is there nothing.

use super::base::{Base, Owner};
use super::{embedded, image};
use crate::error::{Error, Kind};
use crate::materials::Materials;
use ld_shim::image::UNKNOWN;
use resolver::arch::Arch;
use resolver::machine::{self, Interpreter};
use resolver::map::Mapped;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::installed;

/// What is added to the name of what was there before; [`resolver::machine::SAVED`].
pub use resolver::machine::SAVED;

/// What lies at an interpreter's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A shim of ours, which looks into this base directory.
    Shim(Base),
    /// A working loader.
    Loader,
    /// Something else: what, as the rest of "there is ".
    Other(String),
}

/// One installed shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whose programs it starts.
    pub arch: Arch,
    /// Where it lies.
    pub at: PathBuf,
}

/// Looks at an interpreter's path.
pub fn look(path: &Path, arch: Arch) -> There {
    if fs::symlink_metadata(path).is_err() {
        return There::Nothing;
    }
    if let Some(base) = Base::of_shim(path) {
        return There::Shim(base);
    }
    match machine::interpreter_at(path, arch) {
        Interpreter::Loader(_) => There::Loader,
        Interpreter::Nothing => There::Other("a link that leads nowhere".to_owned()),
        Interpreter::NotALoader(why) => There::Other(format!("a file that is no loader for {arch} ({why})")),
    }
}

fn saved(at: &Path) -> PathBuf {
    let mut name = at.as_os_str().to_owned();
    name.push(SAVED);
    PathBuf::from(name)
}

/// The shim of this build that looks into `base`.
fn shim(arch: Arch, base: &Base) -> Result<Vec<u8>, Error> {
    let mut bytes = embedded(arch)?.to_vec();
    if ld_shim::base::set(&mut bytes, base.text().as_bytes()) {
        return Ok(bytes);
    }
    let cause = "the shim of this build has no place for a base directory";
    Err(Error::new(Kind::Own, "install", "the shim", cause, "build it again with cargo xtask dist"))
}

/// A shim that looks into `base`, kept among the materials.
///
/// # Errors
/// If this build has no shim for the architecture, or it cannot be written.
pub fn copy(materials: &Materials, arch: Arch, base: &Base) -> Result<PathBuf, Error> {
    materials.program("loader-shim", &shim(arch, base)?)
}

impl Site {
    /// Says why the shim is not to be put here without force; `None` if it may.
    pub fn objection(&self, base: &Base) -> Option<Error> {
        let refused = |cause: String, remedy: &str| Some(Error::new(Kind::Own, "replace", self.at.display().to_string(), cause, remedy));
        match look(&self.at, self.arch) {
            There::Nothing => None,
            There::Shim(other) if other == *base => None,
            There::Shim(other) => refused(
                format!("it is the shim of the base directory {}", other.text()),
                "uninstall that one, name its directory with --into, or replace it with --force",
            ),
            There::Loader => refused(
                format!("it is a real loader, which programs of this machine for {} start with", self.arch),
                "name another path with --at; --force replaces it and keeps it beside the shim",
            ),
            There::Other(what) => {
                refused(format!("there is {what}"), "name another path with --at; --force replaces it and keeps it beside the shim")
            }
        }
    }

    /// Whether programs of this machine start with a loader that is here, or that was before the shim.
    pub fn replaces_a_loader(&self) -> bool {
        let kept = || matches!(machine::interpreter_at(&saved(&self.at), self.arch), Interpreter::Loader(_));
        look(&self.at, self.arch) == There::Loader || kept()
    }

    /// Keeps the loader that is here beside where the shim will be, and says where it can be found from then on.
    ///
    /// # Errors
    /// If the place cannot be written to.
    pub fn keep(&self) -> Result<PathBuf, Error> {
        let saved = saved(&self.at);
        if !matches!(look(&self.at, self.arch), There::Nothing | There::Shim(_)) {
            self.keep_as(&saved)?;
        }
        fs::canonicalize(&saved).map_err(|e| Error::io("find the loader", &saved, e, ""))
    }

    /// Another installation may put its shim here meanwhile: that is not what has to be kept.
    fn keep_as(&self, saved: &Path) -> Result<(), Error> {
        installed::keep_as(&self.at, saved, &|kept| Base::of_shim(kept).is_none()).map_err(super::told)
    }

    /// Puts the shim here, which looks into `base`. What is here and is no shim is kept beside it.
    ///
    /// # Errors
    /// If this build has no shim for the architecture, or the place cannot be written to.
    pub fn put(&self, base: &Base) -> Result<(), Error> {
        let bytes = shim(self.arch, base)?;
        if let Some(parent) = self.at.parent() {
            installed::make_directory(parent, None).map_err(super::told)?;
        }
        if !matches!(look(&self.at, self.arch), There::Nothing | There::Shim(_)) {
            self.keep_as(&saved(&self.at))?;
        }
        if Mapped::open(&self.at).is_ok_and(|there| there[..] == bytes[..]) {
            return Ok(());
        }
        installed::put_file(&self.at, &bytes, 0o755).map_err(super::told)
    }

    /// Takes the shim away again and puts back what was here before; says whether something was.
    ///
    /// # Errors
    /// If what is here is not the shim of `base`, or the place cannot be written to.
    pub fn take(&self, base: &Base) -> Result<bool, Error> {
        let saved = saved(&self.at);
        match look(&self.at, self.arch) {
            There::Shim(other) if other == *base => {}
            There::Nothing => return Ok(false),
            There::Shim(other) => return Err(self.not_ours(&format!("it is the shim of {}", other.text()))),
            There::Loader => return Err(self.not_ours("it is a real loader, which somebody put there since")),
            There::Other(what) => return Err(self.not_ours(&format!("there is {what}"))),
        }
        if fs::symlink_metadata(&saved).is_ok() {
            // A link whose target went away, by an upgrade, would leave programs without any loader.
            if !saved.exists() {
                let cause = format!("{}, which was there before, leads nowhere now", saved.display());
                let remedy = "let it lead to this machine's loader, or remove it if there is none, and try again";
                return Err(Error::new(Kind::Own, "put back", self.at.display().to_string(), cause, remedy));
            }
            installed::put_back(&saved, &self.at).map_err(super::told)?;
            return Ok(true);
        }
        installed::remove(&self.at).map_err(super::told)?;
        Ok(false)
    }

    fn not_ours(&self, cause: &str) -> Error {
        Error::new(Kind::Own, "remove", self.at.display().to_string(), cause, "leave it, or remove it yourself")
    }
}

/// The shims that were installed for a base directory, wherever they lie; what is no longer one stays listed
/// until it is uninstalled. Those at the usual paths are found without the list, too.
pub fn sites(base: &Base) -> Vec<Site> {
    let text = fs::read_to_string(base.installed()).unwrap_or_default();
    let site = |line: &str| {
        let (arch, at) = line.split_once(' ')?;
        Some(Site { arch: Arch::from_short(arch)?, at: PathBuf::from(at).is_absolute().then(|| PathBuf::from(at))? })
    };
    let mut sites: Vec<Site> = text.lines().filter_map(site).collect();
    for arch in Arch::known() {
        for at in [arch.glibc_loader().map(str::to_owned), arch.musl_loader()].into_iter().flatten() {
            sites.extend(site_at(Path::new(&at), base).filter(|site| site.arch == arch && !sites.contains(site)));
        }
    }
    sites
}

/// The shim of a base directory that lies at a path, if one does.
pub fn site_at(at: &Path, base: &Base) -> Option<Site> {
    Base::of_shim(at).filter(|other| other == base)?;
    Some(Site { arch: resolver::elf::load(at).ok()?.arch, at: at.to_owned() })
}

/// Writes the list of installed shims.
///
/// # Errors
/// If it cannot be written, or a path has no place in it.
pub fn record(base: &Base, sites: &[Site]) -> Result<(), Error> {
    if sites.is_empty() {
        return installed::remove(&base.installed()).map_err(super::told);
    }
    let mut text = String::new();
    for site in sites {
        let (Some(arch), Some(at)) = (site.arch.short(), site.at.to_str().filter(|at| !at.contains('\n'))) else {
            let cause = "its path is no text of one line";
            return Err(Error::new(Kind::Own, "remember", site.at.display().to_string(), cause, "name another path with --at"));
        };
        text.push_str(&format!("{arch} {at}\n"));
    }
    installed::put_file(&base.installed(), text.as_bytes(), 0o644).map_err(super::told)
}

/// Makes the base directory, and the one for ordinary users' own entries if it is wanted.
///
/// # Errors
/// If they cannot be made, or others could change what is in them: an image is followed because of where it lies.
pub fn make_base(base: &Base, users: bool) -> Result<(), Error> {
    let directory = base.directory();
    installed::make_directory(directory, None).map_err(super::told)?;
    let real = fs::canonicalize(directory).map_err(|e| Error::io("find", directory, e, ""))?;
    if let Some(why) = distrust(&real) {
        let cause = format!("it {why}, who could change what programs load");
        return Err(Error::new(Kind::Own, "use the base directory", base.text(), cause, "name another one with --into"));
    }
    // What a killed process left.
    store::atomic::sweep(base.directory(), None);
    if users {
        installed::make_directory(&base.users(), Some(0o1777)).map_err(super::told)?;
    }
    Ok(())
}

/// Every image of a base directory, users' own included, in the order of their names.
pub fn images(base: &Base) -> Vec<PathBuf> {
    let names = |directory: &Path, wanted: fn(&str) -> bool| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.filter(|e| e.file_name().to_str().is_some_and(wanted)).map(|e| e.path()).collect();
        found.sort();
        found
    };
    [names(base.directory(), Base::is_image), names(&base.users(), Base::is_user_image)].concat()
}

/// Removes the images, links and lists of a base directory and, if nothing else is in it, the directory. What
/// ordinary users keep there stays. Says whether the directory is gone.
///
/// # Errors
/// If something cannot be removed.
pub fn clear(base: &Base) -> Result<bool, Error> {
    let mut doomed = vec![base.installed()];
    doomed.extend(images(base).into_iter().filter(|path| path.parent() == Some(base.directory())));
    let entries = fs::read_dir(base.directory()).into_iter().flatten().flatten();
    doomed.extend(entries.filter(|e| e.file_name().to_str().is_some_and(Base::is_link)).map(|e| e.path()));
    for path in doomed {
        installed::remove(&path).map_err(super::told)?;
    }
    installed::remove_empty(&base.users());
    Ok(installed::remove_empty(base.directory()))
}

/// Why the shim would not follow what lies in a base directory, as the rest of "it "; `None` if it would.
pub fn distrust(path: &Path) -> Option<String> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) => return Some(format!("cannot be looked at: {e}")),
    };
    if meta.file_type().is_symlink() {
        return Some("is a symbolic link".to_owned());
    }
    if meta.is_dir() {
        let others = meta.mode() & 0o022 != 0;
        let me = nix::unistd::geteuid();
        // In an ordinary user's sandbox root is unknown; outside of it that is the number of a user, too.
        let own = meta.uid() == 0 || meta.uid() == me.as_raw() || meta.uid() == UNKNOWN && !me.is_root();
        return match (own, others) {
            (false, _) => Some(format!("belongs to uid {}", meta.uid())),
            (true, true) if meta.mode() & 0o1000 == 0 => Some("can be written to by others".to_owned()),
            (true, _) => None,
        };
    }
    (!image::is_trusted(path, Owner::Base)).then(|| format!("has mode {:o} and belongs to uid {}", meta.mode() & 0o7777, meta.uid()))
}
