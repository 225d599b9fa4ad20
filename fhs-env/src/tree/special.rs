//! The file systems of the kernel's own: proc, a minimal `/dev`, overlays.

use super::{PARENT_MODE, TEMPORARY, Tree};
use crate::error::Fault;
use crate::op::{Access, Op, Source, Upper};
use crate::sys;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What in proc acts on the whole machine (`proc(5)`), and what tells whether the process could write there: of
/// `sys` the kernel says that nobody may (`proc_sys_permission`), while root may write its files.
const MACHINE_WIDE: &[(&str, &str)] =
    &[("sys", "sys/kernel/core_pattern"), ("sysrq-trigger", "sysrq-trigger"), ("irq", "irq"), ("bus", "bus")];
/// The device nodes that reveal and change nothing (`null(4)`, `full(4)`, `random(4)`, `tty(4)`).
const HARMLESS: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// The links a `/dev` has (`Documentation/admin-guide/devices.rst`, "Compulsory links").
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("fd", "/proc/self/fd"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

impl Tree {
    pub(super) fn proc(&mut self, path: &Path, own: bool) -> Result<(), Fault> {
        if own {
            self.mount(path, |at| sys::mount_at(at, "proc", sys::NOSUID_NODEV | sys::NOEXEC, ""))?;
        } else {
            self.bind(&Source::Path("/proc".into()), path, Access::ReadWrite)?;
        }
        for (name, probe) in MACHINE_WIDE {
            let place = path.join(name);
            let found = match self.open(&place) {
                Ok(found) => found,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(Fault::Place(errno)),
            };
            // One that may not be written anyway stays as it is: a proc that is covered in part is none that may be
            // mounted again inside (`mount_too_revealing` in `fs/namespace.c`).
            if self.open(&path.join(probe)).map_or(true, |probe| sys::may_write(probe.as_fd())) {
                self.bind_opened(found.as_fd(), &place, Access::ReadOnly)?;
            }
        }
        Ok(())
    }

    pub(super) fn minimal_dev(&mut self, path: &Path) -> Result<(), Fault> {
        self.apply(&Op::Tmpfs { path: path.to_owned(), mode: PARENT_MODE, size: None })?;
        for name in HARMLESS {
            self.bind(&Source::Path(Path::new("/dev").join(name)), &path.join(name), Access::Devices)?;
        }
        for (name, target) in DEVICE_LINKS {
            self.make_link(&path.join(name), Path::new(target))?;
        }
        self.make_directory(&path.join("shm"), PARENT_MODE)?;
        let pts = path.join("pts");
        self.mount(&pts, |at| sys::mount_at(at, "devpts", sys::NOSUID | sys::NOEXEC, "newinstance,ptmxmode=0666,mode=620"))?;
        // Under its name there may be another terminal here, as there is where the name is one of another `/dev/pts`.
        if let Some((terminal, identity)) = sys::terminal() {
            let same = |name: &Path| self.source(name).ok().filter(|found| sys::identity_of(found.as_fd()) == Ok(identity));
            if let Some(found) = same(&terminal).or_else(|| same(Path::new("/dev/console"))) {
                self.bind_opened(found.as_fd(), &path.join("console"), Access::Devices)?;
            }
        }
        Ok(())
    }

    pub(super) fn overlay(&mut self, path: &Path, lowers: &[PathBuf], upper: &Upper) -> Result<(), Fault> {
        self.last = None;
        let open = |layer: &PathBuf| self.source(layer).map_err(Fault::Source);
        let lowers: Vec<OwnedFd> = lowers.iter().map(open).collect::<Result<_, _>>()?;
        let place = OsStr::new(TEMPORARY);
        let memory = match upper {
            Upper::Memory => Some(self.memory(place)?),
            _ => None,
        };
        let below = |holder: &OwnedFd| ["upper", "work"].map(|name| sys::place_of(holder.as_fd()).join(name));
        let opened = match upper {
            Upper::Directories { upper, work } => Some([open(upper)?, open(work)?]),
            _ => None,
        };
        let directories = match (&opened, &memory) {
            (Some(opened), _) => Some(opened.each_ref().map(|layer| sys::place_of(layer.as_fd()))),
            (_, Some(memory)) => Some(below(memory)),
            _ => None,
        };
        let upper = directories.as_ref().map(|[upper, work]| (upper.as_path(), work.as_path()));
        let result = self.mount_overlay(path, &lowers, upper);
        if let Some(memory) = &memory {
            // The overlay keeps its own hold of the directories.
            sys::detach(memory.as_fd())?;
            sys::remove_directory_at(self.base.as_fd(), place)?;
        }
        result
    }

    fn mount_overlay(&mut self, path: &Path, lowers: &[OwnedFd], upper: Option<(&Path, &Path)>) -> Result<(), Fault> {
        match sys::new_overlay(lowers, upper).map_err(Fault::Mount)? {
            Some(tree) => {
                let at = self.make_directory(path, PARENT_MODE)?;
                sys::attach(tree.as_fd(), at.as_fd()).map_err(Fault::Mount)?;
                self.covered(path)
            }
            None => {
                let lowers: Vec<PathBuf> = lowers.iter().map(|layer| sys::place_of(layer.as_fd())).collect();
                let options = classic_options(&lowers, upper);
                self.mount(path, |at| sys::mount_at(at, "overlay", sys::NOTHING, OsStr::from_bytes(&options)))
            }
        }
    }

    /// A tmpfs for the changes to an overlay, which is seen nowhere else; its directories are `upper` and `work`.
    fn memory(&self, place: &OsStr) -> Result<OwnedFd, Fault> {
        sys::directory_at(self.base.as_fd(), place, Mode::from_bits_truncate(0o700))?;
        let at = sys::open_name(self.base.as_fd(), place)?;
        sys::mount_at(at.as_fd(), "tmpfs", sys::NOSUID_NODEV, "mode=0755").map_err(Fault::Mount)?;
        // Again: what was opened before lies under the mount.
        let mounted = sys::open_name(self.base.as_fd(), place)?;
        for layer in ["upper", "work"] {
            sys::directory_at(mounted.as_fd(), OsStr::new(layer), Mode::from_bits_truncate(PARENT_MODE))?;
        }
        Ok(mounted)
    }
}

/// The options of an overlay as one text (`Documentation/filesystems/overlayfs.rst`); a comma, colon or backslash in a
/// name is escaped.
fn classic_options(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> Vec<u8> {
    let escaped = |path: &Path, special: &[u8]| -> Vec<u8> {
        let bytes = path.as_os_str().as_bytes().iter();
        bytes.flat_map(|b| special.contains(b).then_some(b'\\').into_iter().chain([*b])).collect()
    };
    let lowers: Vec<Vec<u8>> = lowers.iter().rev().map(|lower| escaped(lower, b":,\\")).collect();
    let mut options = [b"userxattr,lowerdir=".as_slice(), &lowers.join(b":".as_slice())].concat();
    if let Some((upper, work)) = upper {
        for (key, path) in [(b",upperdir=".as_slice(), upper), (b",workdir=", work)] {
            options.extend_from_slice(key);
            options.extend(escaped(path, b",\\"));
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_layer_comes_first_and_separators_in_names_are_escaped() {
        let lowers = ["/low".into(), "/a:b,c\\d".into()];
        let options = classic_options(&lowers, Some((Path::new("/u,p"), Path::new("/w:k"))));
        assert_eq!(options, br"userxattr,lowerdir=/a\:b\,c\\d:/low,upperdir=/u\,p,workdir=/w:k");
    }
}
