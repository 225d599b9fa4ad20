//! The base directory: where images, links to directories and the list of installations lie, and under which
//! names. Only paths; what lies there is read and written elsewhere.

use crate::error::{Error, Kind};
use ld_shim::base;
use ld_shim::key::{Key, system_name};
use resolver::arch::Arch;
use resolver::map::Mapped;
use resolver::needs::Libc;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where the list of installed shims lies.
const INSTALLED: &str = "installed";
/// A preload list that nobody makes: no image's name is so short.
const NOTHING: &str = "-";

/// A base directory; it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Absolute, with its closing slash.
    text: String,
}

/// Whose image it is, as far as its place depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root's, or whoever the base directory belongs to: for everybody who starts the program.
    Base,
    /// An ordinary user's own, by his number.
    User(u32),
}

impl Default for Base {
    fn default() -> Base {
        Base { text: base::DEFAULT.to_owned() }
    }
}

impl Base {
    /// The base at a directory.
    ///
    /// # Errors
    /// If the path cannot be one: too long, not plain, not text.
    pub fn at(directory: &Path) -> Result<Base, Error> {
        let shown = directory.display().to_string();
        let bad = |cause: String| Error::new(Kind::Own, "use the base directory", shown.clone(), cause, "name another one with --into");
        let absolute = std::path::absolute(directory).map_err(|e| bad(e.to_string()))?;
        if absolute.components().any(|c| matches!(c, Component::ParentDir | Component::CurDir)) {
            return Err(bad("its path contains `..`".to_owned()));
        }
        let mut text = absolute.to_str().map(str::to_owned).ok_or_else(|| bad("its path is no text".to_owned()))?;
        if text.chars().any(|c| c.is_control() || matches!(c, ':' | '$' | '%')) {
            return Err(bad("its path contains a character that a loader's path cannot".to_owned()));
        }
        if !text.ends_with('/') {
            text.push('/');
        }
        if text.len() > base::LONGEST {
            return Err(bad(format!("its path has {} bytes, and the shim has room for {}", text.len(), base::LONGEST)));
        }
        Ok(Base { text })
    }

    /// The base that the shim at an interpreter's path looks into; `None` if the file there is no shim of ours.
    pub fn of_shim(path: &Path) -> Option<Base> {
        let bytes = Mapped::open(path).ok()?;
        // A shim has some ten thousand bytes: what is larger is not searched for its mark.
        if bytes.len() > 1 << 20 || !bytes.starts_with(b"\x7fELF") {
            return None;
        }
        let text = std::str::from_utf8(base::of(&bytes)?).ok()?;
        Base::at(Path::new(text)).ok()
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        Path::new(&self.text)
    }

    /// The directory with its closing slash.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The directory of the entries that ordinary users make.
    pub fn users(&self) -> PathBuf {
        PathBuf::from(format!("{}{}", self.text, base::USERS))
    }

    /// Where an owner's files lie, with the closing slash.
    pub(crate) fn of(&self, owner: Owner) -> String {
        match owner {
            Owner::Base => self.text.clone(),
            Owner::User(_) => format!("{}{}", self.text, base::USERS),
        }
    }

    /// The path of a program's image.
    pub fn image(&self, key: Key, owner: Owner) -> String {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        match owner {
            Owner::Base => format!("{}{}", self.text, text(&key.name())),
            Owner::User(uid) => format!("{}{}{}", self.text, base::USERS, text(&key.user_name(uid))),
        }
    }

    /// The path of the image for every program of a kind.
    pub fn everybody(&self, arch: Arch, libc: Libc) -> String {
        let name = system_name(arch.bits() == 64, libc == Libc::Musl);
        format!("{}{}", self.text, String::from_utf8_lossy(name))
    }

    /// A path at which nothing is.
    pub(crate) fn nothing(&self) -> String {
        format!("{}{NOTHING}", self.text)
    }

    /// The list of installed shims.
    pub(crate) fn installed(&self) -> PathBuf {
        PathBuf::from(format!("{}{INSTALLED}", self.text))
    }

    /// Whether a name in the directory is that of an image: a program's, or everybody's.
    pub fn is_image(name: &str) -> bool {
        let digits = name.len() == 6 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() && !b"eotu".contains(&b));
        digits || ["gnu64", "gnu32", "musl64", "musl32"].contains(&name)
    }

    /// Whether a name in the directory for ordinary users is that of an image.
    pub fn is_user_image(name: &str) -> bool {
        name.len() == 4 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() && !b"eotu".contains(&b))
    }

    /// Whether a name is that of a link to a directory, as [`super::data`] makes them.
    pub fn is_link(name: &str) -> bool {
        name.strip_prefix('e').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// The directory of a program's path, as its key has it.
pub(crate) fn directory_of(path: &Path) -> Vec<u8> {
    path.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_of_the_default_base_fits_into_sixteen_bytes() {
        let base = Base::default();
        let amd64 = Arch::from_short("x86_64").unwrap();
        let key = Key([7; 16]);
        for path in [base.image(key, Owner::Base), base.image(key, Owner::User(1000)), base.everybody(amd64, Libc::Musl)] {
            assert!(path.len() <= "/etc/ld.so.cache".len(), "{path}");
        }
        assert_eq!(base.everybody(amd64, Libc::Glibc), "/opt/xeno/gnu64");
        assert!(base.nothing().len() <= "/etc/ld.so.preload".len());
    }

    #[test]
    fn a_base_is_absolute_plain_and_short() {
        assert_eq!(Base::at(Path::new("/tmp/x1")).unwrap().text(), "/tmp/x1/");
        let error = |path: &str| Base::at(Path::new(path)).unwrap_err().to_string();
        assert!(error("/a/../b").contains("contains `..`"));
        assert!(error("/a:b").contains("a character that a loader's path cannot"));
        let long = format!("/{}", "x".repeat(60));
        assert!(error(&long).contains("has 62 bytes, and the shim has room for 47"), "{}", error(&long));
    }

    #[test]
    fn names_of_images_and_links_are_never_each_others() {
        let names = ["14flfh", "gnu64", "musl32", "e0", "e12", "installed", "u", "-", "eeeeee"];
        let images: Vec<&str> = names.into_iter().filter(|n| Base::is_image(n)).collect();
        let links: Vec<&str> = names.into_iter().filter(|n| Base::is_link(n)).collect();
        assert_eq!((images.as_slice(), links.as_slice()), (["14flfh", "gnu64", "musl32"].as_slice(), ["e0", "e12"].as_slice()));
    }
}
