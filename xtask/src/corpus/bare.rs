//! The bare root: static busybox, /proc, /dev, /tmp, a home, xeno, the program's tree; no library
//! directory at all. Made in a mount namespace of its own, entered by pivot_root (a chroot would forbid
//! nested user namespaces), left to an ordinary user. Runs in a process of its own that then becomes xeno.

use crate::process;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chdir, geteuid, getgid, getuid, pivot_root, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ordinary user of the root when root makes it: an id that owns nothing on the host.
const ORDINARY: u32 = 64_210;

/// Everything the entering process has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bare {
    /// An empty directory of the host on which the root is built.
    pub(crate) root: PathBuf,
    /// The static busybox, and the names it answers to.
    pub(crate) busybox: PathBuf,
    pub(crate) applets: Vec<String>,
    /// (on the host, in the root); directories.
    pub(crate) binds: Vec<(PathBuf, PathBuf)>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) arguments: Vec<String>,
    /// The whole environment.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Whom the programs run as: an unprivileged id if we are root, else ourselves.
pub(crate) fn user() -> (u32, u32) {
    if geteuid().is_root() { (ORDINARY, ORDINARY) } else { (getuid().as_raw(), getgid().as_raw()) }
}

/// `xtask enter-bare-root SPEC`: waits until standard input is closed (the parent has attached by then),
/// then becomes the program in the root. Returns only on failure.
pub(crate) fn enter(arguments: &[String]) -> Result<()> {
    let spec: Bare = serde_json::from_str(arguments.first().map_or("", String::as_str)).context("read the root's description")?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for the parent")?;
    spec.build().context("build the bare root")?;
    let [program, rest @ ..] = &spec.arguments[..] else { bail!("no program") };
    let error = Command::new(program).args(rest).env_clear().envs(&spec.environment).exec();
    Err(error).with_context(|| format!("start {program}"))
}

impl Bare {
    fn build(&self) -> Result<()> {
        if geteuid().is_root() {
            unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
        } else {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context("unshare user and mount namespace")?;
            fs::write("/proc/self/setgroups", "deny").context("deny setgroups")?;
            fs::write("/proc/self/uid_map", format!("{0} {0} 1", self.uid)).context("map the user")?;
            fs::write("/proc/self/gid_map", format!("{0} {0} 1", self.gid)).context("map the group")?;
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none).context("make mounts private")?;
        mount(Some("bare"), &self.root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755")).context("mount a tmpfs")?;
        self.fill()?;
        for (from, to) in [("/proc", "proc"), ("/dev", "dev")] {
            self.bind(Path::new(from), Path::new(to))?;
        }
        let tmp = self.directory("tmp")?;
        mount(Some("tmp"), &tmp, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777")).context("mount /tmp")?;
        for (from, to) in &self.binds {
            self.bind(from, to.strip_prefix("/").unwrap_or(to))?;
        }
        chdir(&self.root).context("enter the root")?;
        pivot_root(".", ".").context("pivot_root")?;
        umount2(".", MntFlags::MNT_DETACH).context("let go of the old root")?;
        chdir("/tmp").context("enter /tmp")?;
        if geteuid().is_root() {
            setgroups(&[]).context("drop groups")?;
            setgid(Gid::from_raw(self.gid)).context("drop the group")?;
            setuid(Uid::from_raw(self.uid)).context("drop root")?;
        }
        fs::create_dir("/tmp/work").context("create /tmp/work")
    }

    /// busybox with its names, and the few files of /etc that programs look up.
    fn fill(&self) -> Result<()> {
        let bin = self.directory("bin")?;
        fs::copy(&self.busybox, bin.join("busybox")).context("copy busybox")?;
        fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755)).context("chmod busybox")?;
        for name in &self.applets {
            symlink("busybox", bin.join(name)).with_context(|| format!("link {name}"))?;
        }
        symlink("/bin/env", self.directory("usr/bin")?.join("env")).context("link env")?;
        let etc = self.directory("etc")?;
        let write = |name: &str, text: String| fs::write(etc.join(name), text).with_context(|| format!("write /etc/{name}"));
        write("passwd", format!("root:x:0:0::/:/bin/sh\nuser:x:{}:{}::/home/user:/bin/sh\n", self.uid, self.gid))?;
        write("group", format!("root:x:0:\nuser:x:{}:\n", self.gid))?;
        write("hosts", fs::read_to_string("/etc/hosts").unwrap_or_else(|_| "127.0.0.1 localhost\n".to_owned()))?;
        write("resolv.conf", fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {name} in the root"))?;
        Ok(path)
    }

    fn bind(&self, from: &Path, to: &Path) -> Result<()> {
        let path = self.root.join(to);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), &path, None::<&str>, recursive, None::<&str>).with_context(|| format!("bind {}", from.display()))
    }
}

/// A static busybox: installed here, or the package unpacked into the cache.
pub(crate) fn busybox(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("busybox-static/bin/busybox");
    if !path.exists() {
        let work = tempfile::Builder::new().prefix(".busybox-").tempdir_in(cache).context("make a directory")?;
        process::output(Command::new("apt-get").args(["download", "-qq", "busybox-static"]).current_dir(work.path()))?;
        let unpacked = cache.join("busybox-static");
        for entry in fs::read_dir(work.path())? {
            process::output(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(&unpacked))?;
        }
    }
    // Where /bin and /usr/bin are one, the package may carry it in the latter.
    [path, cache.join("busybox-static/usr/bin/busybox")].into_iter().find(|p| p.exists()).context("the package has no busybox")
}

/// The names that a busybox answers to, its own left out.
pub(crate) fn applets(busybox: &Path) -> Result<Vec<String>> {
    let list = process::output(Command::new(busybox).arg("--list"))?;
    Ok(list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

/// The mirrors for the programs' own xeno: those of the environment, else those of this host's apt.
pub(crate) fn mirrors() -> BTreeMap<String, String> {
    let names = ["XENO_DEBIAN_MIRROR", "XENO_DEBIAN_SECURITY_MIRROR", "XENO_DEBIAN_SUITES", "http_proxy", "https_proxy", "no_proxy"];
    let mut found: BTreeMap<String, String> =
        names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    if !found.contains_key("XENO_DEBIAN_MIRROR") {
        let format = ["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(LABEL)", "Created-By: Packages"];
        let targets = process::output(Command::new("apt-get").args(format)).unwrap_or_default();
        found.extend(mirrors_of(&targets));
    }
    found
}

/// Picks the archive and its security archive from apt's list of index targets, by label.
fn mirrors_of(targets: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in targets.lines() {
        let mut fields = line.split(' ');
        let (Some(uri), Some(_), Some(label)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let name = match label {
            "Debian" => "XENO_DEBIAN_MIRROR",
            "Debian-Security" => "XENO_DEBIAN_SECURITY_MIRROR",
            _ => continue,
        };
        found.entry(name.to_owned()).or_insert_with(|| uri.trim_end_matches('/').to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_told_apart_by_their_label() {
        let text = "file:///srv/d/ bookworm Debian\nfile:///srv/x/ any Other\nfile:///srv/s/ bookworm-security Debian-Security\n";
        let mirrors = mirrors_of(text);
        assert_eq!(mirrors.get("XENO_DEBIAN_MIRROR").map(String::as_str), Some("file:///srv/d"));
        assert_eq!(mirrors.get("XENO_DEBIAN_SECURITY_MIRROR").map(String::as_str), Some("file:///srv/s"));
        assert_eq!(mirrors.len(), 2);
    }
}
