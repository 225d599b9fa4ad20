//! The top of the tree: in compatibility mode every directory of the host that the environment has not itself,
//! in a sandbox the few that every program needs, and what was chosen, which is never what it has itself. Pure.

use super::etc::resolver_directory;
use super::{Scene, is_own};
use crate::fhs::mode::{Mode, SandboxOptions};
use fhs_env::{Access, EntryKind, Op, Source};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// The parts of `/sys` that describe devices; the rest governs the machine.
const SYS: [&str; 5] = ["/sys/block", "/sys/bus", "/sys/class", "/sys/dev", "/sys/devices"];

/// Nodes of `/dev`, by the start of their names, with which a program draws, computes and sounds. Through the others it
/// could read every key, see through the camera, and type into the session around it.
const OUTPUT: [&str; 6] = ["dri", "snd", "nvidia", "kfd", "mali", "dxg"];

fn is_output(name: &OsStr) -> bool {
    OUTPUT.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
}

/// Directories of a sandbox that are empty at first and gone at the end.
const EMPTY: [(&str, u32); 3] = [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)];

/// What a sandbox sees of the host's software.
const DATA: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];

/// The steps that fill the top of the tree.
pub fn top_level_ops(scene: &Scene<'_>) -> Vec<Op> {
    match scene.mode {
        Mode::Compat => compat(scene),
        Mode::Sandbox(options) => sandbox(scene, options),
    }
}

fn compat(scene: &Scene<'_>) -> Vec<Op> {
    let mut ops = Vec::new();
    let aside = &scene.host.aside;
    let mut hidden = Vec::new();
    for entry in &scene.host.top {
        let path = Path::new("/").join(&entry.name);
        let own = is_own(&entry.name);
        match &entry.kind {
            EntryKind::Directory if own || entry.name == "etc" => {
                let at = aside.join(&entry.name);
                hidden.push(Op::Bind { source: Source::Path(path), path: at, access: Access::ReadOnly, optional: false });
            }
            EntryKind::Directory if entry.name == "tmp" && scene.private_tmp => ops.push(Op::Tmpfs { path, mode: 0o1777, size: None }),
            EntryKind::Directory => ops.push(Op::carried(path)),
            // A swap file, a kernel image: nothing that programs use, and each would be a mount.
            EntryKind::File => {}
            // The same link, seen from aside.
            EntryKind::Symlink(target) if own => hidden.push(Op::Link { path: aside.join(&entry.name), target: relative(target) }),
            EntryKind::Symlink(target) => ops.push(Op::Link { path, target: target.clone() }),
        }
    }
    ops.extend(hidden);
    // A relative link in the host's /etc leads to its neighbours by way of `..`.
    for top in neighbours(scene) {
        ops.push(Op::Link { path: aside.join(&top), target: Path::new("..").join(&top) });
    }
    ops
}

/// The target of a link at the top, as it reads from beside it.
fn relative(target: &Path) -> PathBuf {
    target.strip_prefix("/").unwrap_or(target).to_owned()
}

/// The top-level directories, visible inside, that relative links of `/etc` lead to.
fn neighbours(scene: &Scene<'_>) -> BTreeSet<OsString> {
    let mut out = BTreeSet::new();
    for entry in &scene.host.etc {
        let Some(target) = entry.link.as_deref().filter(|target| target.is_relative()) else { continue };
        let depth = entry.name.components().count();
        let ups = target.components().take_while(|c| matches!(c, Component::ParentDir)).count();
        let first = target.components().nth(ups).map(|c| c.as_os_str().to_owned());
        let there = |top: &OsString| scene.host.top.iter().any(|e| e.name == *top && !matches!(e.kind, EntryKind::File));
        if ups == depth
            && let Some(top) = first.filter(|top| !is_own(top) && top != "etc" && there(top))
        {
            out.insert(top);
        }
    }
    out
}

fn bind(path: impl Into<PathBuf>, access: Access, optional: bool) -> Op {
    let path = path.into();
    Op::Bind { source: Source::Path(path.clone()), path, access, optional }
}

fn sandbox(scene: &Scene<'_>, options: &SandboxOptions) -> Vec<Op> {
    let mut ops = vec![Op::Proc { path: "/proc".into(), own: true }, Op::MinimalDev("/dev".into())];
    let wanted = |path: &&PathBuf| options.devices || path.file_name().is_some_and(is_output);
    ops.extend(scene.host.devices.iter().filter(wanted).map(|path| bind(path, Access::Devices, true)));
    ops.extend(SYS.map(|path| bind(path, Access::ReadOnly, true)));
    ops.extend(EMPTY.map(|(path, mode)| Op::Tmpfs { path: path.into(), mode, size: None }));
    ops.push(Op::Link { path: "/var/run".into(), target: "../run".into() });
    if let Some(runtime) = scene.runtime_directory() {
        ops.push(Op::MakeDirectory { path: runtime, mode: 0o700 });
    }
    let zones = scene.host.zoneinfo.as_deref().filter(|_| !scene.farm.zoneinfo);
    for path in DATA.iter().map(Path::new).chain(zones) {
        ops.push(Op::Bind { source: Source::Path(path.to_owned()), path: scene.seen(path), access: Access::ReadOnly, optional: true });
    }
    if options.network
        && let Some(directory) = resolver_directory(scene)
    {
        ops.push(bind(directory, Access::ReadOnly, true));
    }
    let home = scene.home();
    ops.push(Op::Bind { source: Source::Path(options.home.clone()), path: home, access: Access::ReadWrite, optional: false });
    ops
}

/// The steps that show what was chosen, to be applied when nothing is made any more: what is made at a shown path is made
/// on the host.
pub fn chosen_ops(scene: &Scene<'_>) -> Vec<Op> {
    match scene.mode {
        Mode::Compat => Vec::new(),
        Mode::Sandbox(options) => options.paths.iter().map(|(path, access)| bind(path, *access, false)).collect(),
    }
}

impl Scene<'_> {
    /// Where the user's home is inside: at its own place, unless the environment has that itself.
    pub fn home(&self) -> PathBuf {
        let user = &self.host.user;
        let top = user.home.components().nth(1).map(|c| c.as_os_str());
        let taken = |top: &OsStr| is_own(top) || ["etc", "proc", "dev", "sys", "run", "tmp"].iter().any(|t| top == *t);
        let plain = user.home.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
        if matches!(self.mode, Mode::Compat) || user.home.is_absolute() && plain && top.is_some_and(|top| !taken(top)) {
            return user.home.clone();
        }
        let name = Path::new(&user.name).file_name().unwrap_or(OsStr::new("user"));
        Path::new("/home").join(name)
    }

    /// The user's directory for sockets and the like (XDG Base Directory, "Environment variables"), if it
    /// lies where a sandbox can have one.
    pub(crate) fn runtime_directory(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.host.variables.get(OsStr::new("XDG_RUNTIME_DIR"))?);
        let plain = path.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
        (plain && (path.starts_with("/run") || path.starts_with("/tmp")) && path.components().count() > 2).then_some(path)
    }
}
