//! Looks at the host and at a farm: a few directories are listed, a few links are read. Nothing is changed, and
//! what cannot be read is not there.

use super::etc::{SHARED, is_shown, through};
use super::variables::READ;
use super::{EtcEntry, Farm, HostView, User};
use crate::error::{Error, Kind};
use fhs_env::HostRoot;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most entries that are looked at in one directory.
const ENTRIES_MAX: usize = 4096;
/// The most links of `/etc` that are followed within it.
const LINKS_MAX: usize = 64;
/// The most bytes of the user database that are read.
const DATABASE_MAX: u64 = 1 << 20;
/// Names for the directory that the host does not have: inside another environment the first is taken.
const ASIDE: [&str; 6] = ["/.host", "/.host1", "/.host2", "/.host3", "/.host4", "/.host5"];

/// Where distributions keep their certificates in one file, the name that most programs know first.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Where time zones are kept.
const ZONES: [&str; 2] = ["/usr/share/zoneinfo", "/etc/zoneinfo"];

/// Nodes and directories of `/dev` for graphics, computing, cameras, sound and game controllers, by the start of
/// their names (Documentation/admin-guide/devices.txt of the kernel, and the drivers' own).
const DEVICES: [&str; 11] = ["dri", "snd", "input", "nvidia", "kfd", "video", "mali", "hidraw", "uinput", "dxg", "js"];

impl HostView {
    /// Looks at this host. Costs some twenty system calls.
    ///
    /// # Errors
    /// If `/` cannot be listed or every name for the directory aside is taken.
    pub fn gather() -> Result<HostView, Error> {
        let top = HostRoot::read().map_err(|e| Error::own("look at", "/", e))?.entries;
        let taken = |name: &&&str| top.iter().any(|e| Path::new("/").join(&e.name) == Path::new(name));
        let aside = ASIDE.iter().find(|name| !taken(name)).map(PathBuf::from).ok_or_else(|| {
            let cause = "every name for the directory that shows the host is taken";
            Error::new(Kind::CannotStart, "enter", "the environment", cause, "leave one of the environments around it first")
        })?;
        let set = |name: &&str| Some((OsString::from(name), std::env::var_os(name)?));
        let variables: BTreeMap<OsString, OsString> = READ.iter().filter_map(set).collect();
        let user = user(&variables);
        let exists = |path: &&&str| fs::metadata(path).is_ok();
        Ok(HostView {
            top,
            etc: etc(Path::new("/etc")),
            devices: devices(),
            aside,
            user,
            variables,
            zoneinfo: ZONES.iter().find(exists).map(PathBuf::from),
            certificates: BUNDLES.iter().find(exists).map(PathBuf::from),
        })
    }
}

impl Farm {
    /// Looks at a farm.
    pub fn look(root: &Path) -> Farm {
        let etc = root.join("usr/etc");
        let mut names: Vec<PathBuf> = names(&etc).map(PathBuf::from).collect();
        names.extend(self::names(&etc.join(SHARED)).map(|name| Path::new(SHARED).join(name)));
        names.sort();
        Farm {
            root: root.to_owned(),
            etc: names,
            zoneinfo: fs::metadata(root.join("usr/share/zoneinfo")).is_ok(),
            locale_archive: fs::metadata(root.join("usr/lib/locale/locale-archive")).is_ok(),
        }
    }
}

fn names(directory: &Path) -> impl Iterator<Item = OsString> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().take(ENTRIES_MAX).map(|entry| entry.file_name())
}

/// What is shown of a directory that is somebody's `/etc`.
fn etc(directory: &Path) -> Vec<EtcEntry> {
    let shared = names(&directory.join(SHARED)).map(|name| Path::new(SHARED).join(name));
    let mut wanted: Vec<PathBuf> = names(directory).map(PathBuf::from).chain(shared).filter(|name| is_shown(name)).collect();
    let mut known: BTreeSet<PathBuf> = wanted.iter().cloned().collect();
    let mut out = Vec::new();
    let mut followed = 0;
    while let Some(name) = wanted.pop() {
        let link = fs::read_link(directory.join(&name)).ok();
        if let Some(target) = &link
            && let Some(next) = through(name.parent().unwrap_or(Path::new("")), target)
            && next.as_os_str() != SHARED
            && fs::symlink_metadata(directory.join(&next)).is_ok()
            && followed < LINKS_MAX
            && known.insert(next.clone())
        {
            followed += 1;
            wanted.push(next);
        }
        out.push(EtcEntry { name, link });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn devices() -> Vec<PathBuf> {
    let known = |name: &OsString| DEVICES.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()));
    let mut found: Vec<PathBuf> = names(Path::new("/dev")).filter(known).map(|name| Path::new("/dev").join(name)).collect();
    found.sort();
    found
}

/// The user by `passwd(5)`, else by the variables that `login(1)` sets.
fn user(variables: &BTreeMap<OsString, OsString>) -> User {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let variable = |name: &str| variables.get(std::ffi::OsStr::new(name)).filter(|v| !v.is_empty());
    let mut text = Vec::new();
    let file = fs::File::open("/etc/passwd").and_then(|file| file.take(DATABASE_MAX).read_to_end(&mut text));
    let text = if file.is_ok() { String::from_utf8_lossy(&text) } else { "".into() };
    let row =
        text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row.get(2).and_then(|id| id.parse().ok()) == Some(uid));
    let field = |at: usize| row.as_ref().and_then(|row| row.get(at)).filter(|v| !v.is_empty()).map(|v| (*v).to_owned());
    let named = || variable("USER").or_else(|| variable("LOGNAME")).map(|v| v.to_string_lossy().into_owned());
    User {
        uid,
        gid,
        name: field(0).or_else(named).unwrap_or_else(|| "user".to_owned()),
        home: variable("HOME").map(PathBuf::from).or_else(|| field(5).map(PathBuf::from)).unwrap_or_default(),
        shell: field(6).map(PathBuf::from).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_etc_bring_what_they_lead_through_and_a_loop_ends() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("passwd"), "").unwrap();
        fs::write(at("ld.so.preload"), "").unwrap();
        fs::create_dir_all(at("ssl/private")).unwrap();
        fs::create_dir(at("ssl/certs")).unwrap();
        symlink("/etc/static/fonts", at("fonts")).unwrap();
        symlink("/store/x/etc", at("static")).unwrap();
        symlink("/etc/loop2", at("hosts")).unwrap();
        symlink("hosts", at("loop2")).unwrap();
        symlink("../run/resolve/stub", at("resolv.conf")).unwrap();
        let found: Vec<String> = etc(dir.path())
            .into_iter()
            .map(|e| format!("{}{}", e.name.display(), e.link.map(|t| format!(" -> {}", t.display())).unwrap_or_default()))
            .collect();
        assert_eq!(
            found,
            [
                "fonts -> /etc/static/fonts",
                "hosts -> /etc/loop2",
                "loop2 -> hosts",
                "passwd",
                "resolv.conf -> ../run/resolve/stub",
                "ssl/certs",
                "static -> /store/x/etc"
            ]
        );
    }
}
