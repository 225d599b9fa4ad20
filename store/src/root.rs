//! Chooses the directory that holds the store, with a handful of system calls and without creating anything.
//!
//! It never reads what is in the store, and never uses a place that another user could have prepared.

use crate::error::{Error, Kind, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Everything the choice depends on; plain data, so that tests need no environment.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `$XENO_STORE`: if set, the only candidate.
    pub explicit: Option<OsString>,
    /// `$XDG_DATA_HOME`.
    pub data_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<OsString>,
    /// Effective user id.
    pub uid: u32,
    /// The place of uid 0: `/var/lib/xeno`.
    pub system: PathBuf,
    /// World-writable directories, best first: `/var/tmp`, `/tmp`.
    pub temporary: Vec<PathBuf>,
}

impl Places {
    /// Reads the environment.
    pub fn from_env() -> Places {
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
        Places {
            explicit: var("XENO_STORE"),
            data_home: var("XDG_DATA_HOME"),
            home: var("HOME"),
            runtime_dir: var("XDG_RUNTIME_DIR"),
            uid: nix::unistd::geteuid().as_raw(),
            system: PathBuf::from("/var/lib/xeno"),
            temporary: vec![PathBuf::from("/var/tmp"), PathBuf::from("/tmp")],
        }
    }

    /// The candidates in order; XDG says that a relative value must be ignored.
    fn candidates(&self) -> Vec<(PathBuf, Trust)> {
        let absolute = |v: &Option<OsString>| v.as_ref().map(PathBuf::from).filter(|p| p.is_absolute());
        let mut list = Vec::new();
        if self.uid == 0 {
            list.push((self.system.clone(), Trust::Inherited));
        } else if let Some(data) = absolute(&self.data_home) {
            list.push((data.join("xeno"), Trust::Inherited));
        } else if let Some(home) = absolute(&self.home) {
            list.push((home.join(".local/share/xeno"), Trust::Inherited));
        }
        if let Some(run) = absolute(&self.runtime_dir) {
            list.push((run.join("xeno"), Trust::Inherited));
        }
        for directory in &self.temporary {
            list.push((directory.join(format!("xeno-{}", self.uid)), Trust::Private));
        }
        list
    }
}

/// Whether the place lies where others may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Its parent belongs to us or to root; the owner's modes are respected.
    Inherited,
    /// Its parent is world-writable: it must be ours alone, made with mode 0700, no symlink.
    Private,
}

/// A sub-directory of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// Store paths: `<32 digits>-<name>`.
    Store,
    /// Things that carry physical absolute paths; made and read by `launch`.
    Cache,
    /// Archive indexes and the records of what was unpacked from what.
    Index,
    /// Partial and finished downloads.
    Download,
    /// The homes of sandboxed programs, one directory each.
    Home,
}

impl Sub {
    fn name(self) -> &'static str {
        match self {
            Sub::Store => "store",
            Sub::Cache => "cache",
            Sub::Index => "index",
            Sub::Download => "download",
            Sub::Home => "home",
        }
    }
}

/// The chosen directory. It may not exist yet: [`StoreRoot::make`] creates what is written to.
#[derive(Clone, Debug)]
pub struct StoreRoot {
    path: PathBuf,
    trust: Trust,
    uid: u32,
    skipped: Vec<(PathBuf, String)>,
}

impl StoreRoot {
    /// Takes the first place that is (or can be made) writable and executable.
    ///
    /// # Errors
    /// [`Kind::NoPlace`] if `$XENO_STORE` cannot be used, or nothing else can.
    pub fn choose(places: &Places) -> Result<StoreRoot> {
        if let Some(explicit) = &places.explicit {
            let path = absolute(explicit)?;
            return match usable(&path, Trust::Inherited, places.uid) {
                Ok(()) => Ok(StoreRoot { path, trust: Trust::Inherited, uid: places.uid, skipped: Vec::new() }),
                Err(reason) => Err(Error::new(Kind::NoPlace, "use store", path.display(), reason, "set XENO_STORE to another directory")),
            };
        }
        let mut skipped = Vec::new();
        for (path, trust) in places.candidates() {
            match usable(&path, trust, places.uid) {
                Ok(()) => return Ok(StoreRoot { path, trust, uid: places.uid, skipped }),
                Err(reason) => skipped.push((path, reason)),
            }
        }
        let tried: Vec<String> = skipped.iter().map(|(p, why)| format!("{} ({why})", p.display())).collect();
        Err(Error::new(
            Kind::NoPlace,
            "find a place for",
            "the store",
            if tried.is_empty() { "HOME is not set".to_owned() } else { format!("tried {}", tried.join(", ")) },
            "set XENO_STORE to a writable directory that is not mounted noexec",
        ))
    }

    /// The first place that exists, writable or not; for questions that change nothing.
    pub fn read_only(places: &Places) -> Option<StoreRoot> {
        let candidates = match &places.explicit {
            Some(explicit) => vec![(absolute(explicit).ok()?, Trust::Inherited)],
            None => places.candidates(),
        };
        candidates.into_iter().find_map(|(path, trust)| {
            let fd = open_dir(&path, trust).ok()?;
            check_owner(&fd, trust, places.uid).ok()?;
            Some(StoreRoot { path, trust, uid: places.uid, skipped: Vec::new() })
        })
    }

    /// A directory that the caller vouches for; nothing is checked.
    pub fn at(path: impl Into<PathBuf>) -> StoreRoot {
        let uid = nix::unistd::geteuid().as_raw();
        StoreRoot { path: path.into(), trust: Trust::Inherited, uid, skipped: Vec::new() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Better places that were passed over, each with a reason fit for a report.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        &self.skipped
    }

    /// A sub-directory's path; it may not exist.
    pub fn sub(&self, sub: Sub) -> PathBuf {
        self.path.join(sub.name())
    }

    /// Where the store paths lie.
    pub fn store_dir(&self) -> PathBuf {
        self.sub(Sub::Store)
    }

    /// Where things with physical paths lie.
    pub fn cache_dir(&self) -> PathBuf {
        self.sub(Sub::Cache)
    }

    /// Where indexes and records lie.
    pub fn index_dir(&self) -> PathBuf {
        self.sub(Sub::Index)
    }

    /// Creates a sub-directory (and the root) if it is missing, and returns its path.
    ///
    /// # Errors
    /// [`Kind::Io`] or [`Kind::DiskFull`] if it cannot be created, [`Kind::NoPlace`] if a private
    /// place turns out to belong to somebody else.
    pub fn make(&self, sub: Sub) -> Result<PathBuf> {
        let path = self.sub(sub);
        if path.is_dir() {
            return Ok(path);
        }
        let private = self.trust == Trust::Private;
        if private {
            match fs::DirBuilder::new().mode(0o700).create(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io("create", &self.path, e)),
                _ => {}
            }
            // Whoever won a race for the name: look at the directory that is there now.
            let checked =
                open_dir(&self.path, self.trust).map_err(|e| e.desc().to_owned()).and_then(|fd| check_owner(&fd, self.trust, self.uid));
            if let Err(reason) = checked {
                let remedy = "set XENO_STORE to a directory of your own";
                return Err(Error::new(Kind::NoPlace, "use store", self.path.display(), reason, remedy));
            }
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(if private { 0o700 } else { 0o755 })
            .create(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        Ok(path)
    }
}

impl StoreRoot {
    /// Creates a home for sandboxed programs if it is missing, for its owner's eyes only, and returns its path.
    ///
    /// # Errors
    /// [`Kind::Config`] if `name` is no single name, and as [`StoreRoot::make`].
    pub fn make_home(&self, name: &OsStr) -> Result<PathBuf> {
        let single = Path::new(name).components().eq([Component::Normal(name)]);
        if !single {
            return Err(Error::new(Kind::Config, "make the home", name.display(), "it is no single name", "choose another name"));
        }
        let path = self.make(Sub::Home)?.join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("create", &path, e)),
            _ => Ok(path),
        }
    }
}

fn absolute(value: &OsString) -> Result<PathBuf> {
    std::path::absolute(value).map_err(|e| Error::io("use store", Path::new(value), e))
}

fn open_dir(path: &Path, trust: Trust) -> Result<OwnedFd, Errno> {
    let mut flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    if trust == Trust::Private {
        flags |= OFlag::O_NOFOLLOW;
    }
    nix::fcntl::open(path, flags, Mode::empty())
}

/// A directory in a world-writable place is ours only if we own it and nobody else may write to it.
fn check_owner(fd: &OwnedFd, trust: Trust, uid: u32) -> Result<(), String> {
    if trust == Trust::Inherited {
        return Ok(());
    }
    let stat = nix::sys::stat::fstat(fd).map_err(|e| e.desc().to_owned())?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFDIR {
        return Err("not a directory".to_owned());
    }
    if stat.st_uid != uid {
        return Err(format!("belongs to uid {}", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err("writable by others".to_owned());
    }
    Ok(())
}

/// `Ok` if the directory, or the nearest existing ancestor in which it would be made, is writable and not noexec.
fn usable(path: &Path, trust: Trust, uid: u32) -> Result<(), String> {
    let mut at = path;
    loop {
        // Only the place itself must not be a symlink; /tmp may be one.
        let trust_here = if at == path { trust } else { Trust::Inherited };
        match open_dir(at, trust_here) {
            Ok(fd) => {
                check_owner(&fd, trust_here, uid)?;
                let vfs = fstatvfs(&fd).map_err(|e| e.desc().to_owned())?;
                if vfs.flags().contains(FsFlags::ST_NOEXEC) {
                    return Err("mounted noexec".to_owned());
                }
                if vfs.flags().contains(FsFlags::ST_RDONLY) {
                    return Err("mounted read-only".to_owned());
                }
                return writable(at);
            }
            Err(Errno::ENOENT) => match at.parent() {
                Some(parent) if parent != Path::new("") => at = parent,
                _ => return Err("does not exist".to_owned()),
            },
            // O_NOFOLLOW with O_DIRECTORY on a symlink: ENOTDIR (open(2)).
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err("not a directory of its own".to_owned()),
            Err(e) => return Err(e.desc().to_owned()),
        }
    }
}

fn writable(path: &Path) -> Result<(), String> {
    let access = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    match nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, access, AtFlags::AT_EACCESS) {
        Ok(()) => Ok(()),
        Err(Errno::EACCES | Errno::EPERM) => Err("not writable".to_owned()),
        Err(Errno::EROFS) => Err("mounted read-only".to_owned()),
        Err(e) => Err(e.desc().to_owned()),
    }
}

/// Opens a file for reading without following a link at its last component.
pub(crate) fn open_nofollow(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A place that even root cannot use: a file is in the way.
    fn blocked(base: &Path) -> PathBuf {
        let file = base.join("file");
        fs::write(&file, b"").unwrap();
        file.join("xeno")
    }

    fn places(base: &Path) -> Places {
        Places {
            home: Some(base.join("home").into()),
            uid: nix::unistd::geteuid().as_raw(),
            system: base.join("var/lib/xeno"),
            temporary: vec![base.join("tmp")],
            ..Places::default()
        }
    }

    #[test]
    fn the_explicit_place_is_the_only_candidate_and_is_not_created() {
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.explicit = Some(base.path().join("a/b").into());
        let root = StoreRoot::choose(&p).unwrap();
        assert_eq!(root.path(), base.path().join("a/b"));
        assert!(!root.path().exists());
        let bad = blocked(base.path());
        p.explicit = Some(bad.clone().into());
        let error = StoreRoot::choose(&p).unwrap_err();
        assert_eq!(error.kind(), Kind::NoPlace);
        assert_eq!(
            error.to_string(),
            format!("use store {}: not a directory of its own; set XENO_STORE to another directory", bad.display())
        );
    }

    #[test]
    fn root_uses_the_system_place_and_others_their_data_home() {
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.uid = 0;
        assert_eq!(StoreRoot::choose(&p).unwrap().path(), base.path().join("var/lib/xeno"));
        p.uid = 1000;
        assert_eq!(StoreRoot::choose(&p).unwrap().path(), base.path().join("home/.local/share/xeno"));
        p.data_home = Some(base.path().join("data").into());
        assert_eq!(StoreRoot::choose(&p).unwrap().path(), base.path().join("data/xeno"));
        p.data_home = Some("relative".into());
        assert_eq!(StoreRoot::choose(&p).unwrap().path(), base.path().join("home/.local/share/xeno"));
    }

    #[test]
    fn a_link_in_a_shared_directory_is_passed_over_with_the_reason() {
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.system = blocked(base.path());
        p.home = None;
        p.temporary.push(base.path().join("second"));
        fs::create_dir(base.path().join("tmp")).unwrap();
        symlink(base.path(), base.path().join(format!("tmp/xeno-{}", p.uid))).unwrap();
        let root = StoreRoot::choose(&p).unwrap();
        assert_eq!(root.path(), base.path().join(format!("second/xeno-{}", p.uid)));
        let last = root.skipped().last().unwrap();
        assert_eq!(last.1, "not a directory of its own");
    }

    #[test]
    fn a_shared_place_that_others_may_write_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.system = blocked(base.path());
        p.home = None;
        let place = base.path().join(format!("tmp/xeno-{}", p.uid));
        fs::create_dir_all(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let error = StoreRoot::choose(&p).unwrap_err();
        assert!(error.to_string().contains("(writable by others)"), "{error}");
    }

    #[test]
    fn make_gives_a_private_place_mode_0700() {
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.system = blocked(base.path());
        p.home = None;
        fs::create_dir(base.path().join("tmp")).unwrap();
        let root = StoreRoot::choose(&p).unwrap();
        let made = root.make(Sub::Index).unwrap();
        assert_eq!(made, root.path().join("index"));
        assert_eq!(fs::metadata(root.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_home_is_its_owners_alone_and_has_a_single_name() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let mut p = places(base.path());
        p.explicit = Some(base.path().join("s").into());
        let root = StoreRoot::choose(&p).unwrap();
        let home = root.make_home(OsStr::new("games")).unwrap();
        assert_eq!(home, base.path().join("s/home/games"));
        assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(root.make_home(OsStr::new("games")).unwrap(), home);
        for name in ["", ".", "..", "a/b", "/a"] {
            assert_eq!(root.make_home(OsStr::new(name)).unwrap_err().kind(), Kind::Config, "{name}");
        }
    }

    #[test]
    fn reading_never_creates_and_finds_only_what_exists() {
        let base = tempfile::tempdir().unwrap();
        let p = places(base.path());
        assert!(StoreRoot::read_only(&p).is_none());
        let root = StoreRoot::choose(&p).unwrap();
        root.make(Sub::Store).unwrap();
        assert_eq!(StoreRoot::read_only(&p).unwrap().path(), root.path());
    }
}
