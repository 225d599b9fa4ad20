//! The environment's `/etc`: the farm's files and the host's, as links into a bind of the host's `/etc`, so that
//! a file that is replaced by rename is followed. A sandbox is shown few of them, bound one by one, and a user
//! database that holds nobody else. Pure.

use super::drivers::is_drivers;
use super::{Farm, HostView, Scene, is_own};
use crate::fhs::mode::Mode;
use fhs_env::{Access, Content, Op, Source};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Who has the last word on a file of `/etc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefer {
    /// Who is there, which network, which policy: the machine's.
    Host,
    /// How programs are set up: the environment's, where it says anything.
    Farm,
}

/// What is shown of the host's `/etc`. Never its `ld.so.*`: they name libraries of another root.
const SHOWN: &[(&str, Prefer)] = &[
    ("alsa", Prefer::Farm),
    ("asound.conf", Prefer::Farm),
    ("bash.bashrc", Prefer::Farm),
    ("bashrc", Prefer::Farm),
    ("ca-certificates", Prefer::Host),
    ("ca-certificates.conf", Prefer::Host),
    ("cups", Prefer::Host),
    ("dconf", Prefer::Host),
    ("fonts", Prefer::Farm),
    ("group", Prefer::Host),
    ("gshadow", Prefer::Host),
    ("host.conf", Prefer::Host),
    ("hostname", Prefer::Host),
    ("hosts", Prefer::Host),
    ("inputrc", Prefer::Farm),
    ("krb5.conf", Prefer::Host),
    ("krb5.conf.d", Prefer::Host),
    ("localtime", Prefer::Host),
    ("login.defs", Prefer::Host),
    ("machine-id", Prefer::Host),
    ("mime.types", Prefer::Farm),
    ("networks", Prefer::Host),
    ("nsswitch.conf", Prefer::Host),
    ("os-release", Prefer::Farm),
    ("pam.conf", Prefer::Host),
    ("pam.d", Prefer::Host),
    ("passwd", Prefer::Host),
    ("pipewire", Prefer::Farm),
    ("pki", Prefer::Host),
    ("protocols", Prefer::Farm),
    ("pulse", Prefer::Farm),
    ("resolv.conf", Prefer::Host),
    ("rpc", Prefer::Farm),
    ("services", Prefer::Farm),
    ("shadow", Prefer::Host),
    ("shells", Prefer::Host),
    ("subgid", Prefer::Host),
    ("subuid", Prefer::Host),
    ("sudoers", Prefer::Host),
    ("sudoers.d", Prefer::Host),
    ("timezone", Prefer::Host),
    ("zoneinfo", Prefer::Host),
];

/// The directory to whose entries both have their share; below it, keys stay out of sight.
pub(crate) const SHARED: &str = "ssl";
const KEYS: &str = "ssl/private";
/// Where programs built for the farm's distribution look for certificates.
const CERTIFICATES: &str = "ssl/certs";

/// Files that may appear while the program runs: a link to nothing is no file yet.
const MAY_APPEAR: [&str; 4] = ["hosts", "localtime", "machine-id", "resolv.conf"];

/// What a sandbox sees of the host's `/etc`.
const IN_SANDBOX: [&str; 10] = [
    "alsa",
    "asound.conf",
    "ca-certificates",
    "fonts",
    "host.conf",
    "localtime",
    "machine-id",
    "pki/ca-trust",
    "pki/tls/certs",
    "timezone",
];

/// What a sandbox with the network sees besides.
const FOR_NETWORK: [&str; 2] = ["hosts", "services"];

/// Whether an environment shows this entry of `/etc` (or of [`SHARED`] in it).
pub(crate) fn is_shown(name: &Path) -> bool {
    // As texts: both are plain, and this is asked of every entry at every start.
    let listed = SHOWN.iter().any(|(shown, _)| name.as_os_str() == *shown);
    // Each shell of that family has files of its own name here.
    listed
        || name.as_os_str().as_bytes().starts_with(b"zsh")
        || name.as_os_str() == "zinputrc"
        || name.as_os_str() == "zprofile"
        || in_shared(name)
}

fn in_shared(name: &Path) -> bool {
    name.parent() == Some(Path::new(SHARED)) && name != Path::new(KEYS)
}

fn preferred(name: &Path) -> Prefer {
    let listed = SHOWN.iter().find(|(shown, _)| name.as_os_str() == *shown).map(|(_, prefer)| *prefer);
    listed.unwrap_or(if name == Path::new(CERTIFICATES) { Prefer::Host } else { Prefer::Farm })
}

/// The name below `/etc` that the target of a link in `/etc/<directory>` leads through, if it does.
pub(crate) fn through(directory: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = if target.is_absolute() { PathBuf::from("/") } else { Path::new("/etc").join(directory) };
    for component in target.components() {
        match component {
            Component::Normal(part) => at.push(part),
            Component::ParentDir => {
                at.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
        if at.parent() == Some(Path::new("/etc")) {
            return at.file_name().map(PathBuf::from);
        }
    }
    None
}

/// The steps that make `/etc`.
pub fn etc_ops(scene: &Scene<'_>) -> Vec<Op> {
    let mut ops = vec![Op::MakeDirectory { path: "/etc".into(), mode: 0o755 }];
    let mut taken: BTreeSet<PathBuf> = BTreeSet::new();
    match scene.mode {
        Mode::Compat => shown_to_all(scene, &mut ops, &mut taken),
        Mode::Sandbox(options) => shown_to_sandbox(scene, options.network, &mut ops, &mut taken),
    }
    let drivers_say = |name: &Path| scene.drivers.is_some_and(|drivers| is_drivers(drivers, name));
    for name in scene.farm.etc.iter().filter(|name| name.as_os_str() != SHARED && !drivers_say(name)) {
        if taken.insert(name.clone()) {
            ops.push(Op::Link { path: Path::new("/etc").join(name), target: Path::new("/usr/etc").join(name) });
        }
    }
    ops.push(Op::Link { path: "/etc/mtab".into(), target: "../proc/self/mounts".into() });
    ops
}

fn farm_says(farm: &Farm, name: &Path) -> bool {
    farm.etc.iter().any(|own| own == name)
}

fn shown_to_all(scene: &Scene<'_>, ops: &mut Vec<Op>, taken: &mut BTreeSet<PathBuf>) {
    let there = |name: &Path| scene.host.etc.iter().any(|entry| entry.name == name);
    for entry in &scene.host.etc {
        // A host without certificates has a directory for them all the same.
        let empty = scene.host.certificates.is_none() && farm_says(scene.farm, Path::new(CERTIFICATES));
        let others = entry.name == Path::new(CERTIFICATES) && (empty || bundle_elsewhere(scene.host).is_some());
        if others || farm_says(scene.farm, &entry.name) && preferred(&entry.name) == Prefer::Farm {
            continue;
        }
        let aside = scene.host.aside.join("etc").join(&entry.name);
        let target = entry.link.as_deref().and_then(|target| hidden(scene, target)).unwrap_or(aside);
        ops.push(Op::Link { path: Path::new("/etc").join(&entry.name), target });
        taken.insert(entry.name.clone());
    }
    for name in MAY_APPEAR.iter().map(Path::new).filter(|name| !there(name)) {
        ops.push(Op::Link { path: Path::new("/etc").join(name), target: scene.host.aside.join("etc").join(name) });
        taken.insert(name.to_owned());
    }
    if let Some(bundle) = bundle_elsewhere(scene.host).filter(|_| !farm_says(scene.farm, Path::new(CERTIFICATES))) {
        ops.push(Op::Link { path: "/etc/ssl/certs/ca-certificates.crt".into(), target: scene.seen(bundle) });
        taken.insert(CERTIFICATES.into());
    }
}

/// The host's certificates, if it keeps them under a name that the farm's programs do not know.
fn bundle_elsewhere(host: &HostView) -> Option<&Path> {
    host.certificates.as_deref().filter(|bundle| *bundle != Path::new("/etc/ssl/certs/ca-certificates.crt"))
}

/// Where the target of a link leads that would meet the environment's files instead of the host's. Such a link
/// is not followed when it changes; all others are.
fn hidden(scene: &Scene<'_>, target: &Path) -> Option<PathBuf> {
    let top = target.components().nth(1).filter(|_| target.is_absolute())?;
    let same_there = scene.farm.zoneinfo && target.starts_with("/usr/share/zoneinfo");
    (is_own(top.as_os_str()) && !same_there).then(|| scene.seen(target))
}

fn shown_to_sandbox(scene: &Scene<'_>, network: bool, ops: &mut Vec<Op>, taken: &mut BTreeSet<PathBuf>) {
    let user = &scene.host.user;
    let database = [
        ("passwd", passwd(scene)),
        ("group", format!("root:x:0:\n{}:x:{}:\nnogroup:x:65534:\n", field(OsStr::new(&user.name)), user.gid).into_bytes()),
        ("nsswitch.conf", b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n".to_vec()),
    ];
    for (name, content) in database {
        ops.push(Op::MakeFile { path: Path::new("/etc").join(name), content: Content::Bytes(content), mode: 0o444 });
        taken.insert(name.into());
    }
    let names = IN_SANDBOX.iter().chain(FOR_NETWORK.iter().filter(|_| network)).map(PathBuf::from);
    let shared = scene.host.etc.iter().map(|entry| entry.name.clone()).filter(|name| in_shared(name));
    for name in names.chain(shared) {
        let none = name == Path::new(CERTIFICATES) && scene.host.certificates.is_none();
        if farm_says(scene.farm, &name) && (none || preferred(&name) == Prefer::Farm) {
            continue;
        }
        let path = Path::new("/etc").join(&name);
        let bind = Op::Bind { source: Source::Path(path.clone()), path, access: Access::ReadOnly, optional: true };
        // The link itself, as its name for the zone is the only one there is.
        ops.push(bind);
        taken.insert(name);
    }
    if network {
        ops.push(resolver_of_sandbox(scene));
        taken.insert("resolv.conf".into());
    }
}

/// A resolver that keeps its file in a directory of its own is followed there; another's file is bound, and
/// stays as it is.
fn resolver_of_sandbox(scene: &Scene<'_>) -> Op {
    let own = Path::new("/etc/resolv.conf");
    let entry = scene.host.etc.iter().find(|entry| entry.name == Path::new("resolv.conf"));
    let target = entry.and_then(|entry| entry.link.as_deref()).map(|target| normal(&Path::new("/etc").join(target)));
    match target.filter(|target| target.starts_with("/run") && target.components().count() > 3) {
        Some(target) => Op::Link { path: own.into(), target },
        None => Op::Bind { source: Source::Path(own.into()), path: own.into(), access: Access::ReadOnly, optional: true },
    }
}

/// The directory that the resolver's file lies in, if it is one of its own.
pub(crate) fn resolver_directory(scene: &Scene<'_>) -> Option<PathBuf> {
    match resolver_of_sandbox(scene) {
        Op::Link { target, .. } => target.parent().map(Path::to_owned),
        _ => None,
    }
}

/// A path without `..`: the host's links above it were made by its administrator, who means what the text says.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// `passwd(5)` of root, the user and nobody.
fn passwd(scene: &Scene<'_>) -> Vec<u8> {
    let user = &scene.host.user;
    let home = scene.home();
    let mut out = Vec::new();
    if user.uid != 0 {
        out.extend_from_slice(b"root:x:0:0:root:/:/bin/sh\n");
    }
    let shell = if user.shell.as_os_str().is_empty() { Path::new("/bin/sh") } else { &user.shell };
    let line = format!(
        "{}:x:{}:{}::{}:{}\n",
        field(OsStr::new(&user.name)),
        user.uid,
        user.gid,
        field(home.as_os_str()),
        field(shell.as_os_str())
    );
    out.extend_from_slice(line.as_bytes());
    if user.uid != 65534 {
        out.extend_from_slice(b"nobody:x:65534:65534::/:/bin/false\n");
    }
    out
}

/// What can stand in a field: a colon or a newline would begin another one.
fn field(text: &OsStr) -> String {
    text.to_string_lossy().chars().filter(|c| *c != ':' && !c.is_control()).collect()
}
