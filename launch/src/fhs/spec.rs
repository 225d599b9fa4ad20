//! What an environment is made of and how it is entered: the table `[fhs]`, checked. Nothing is looked up here but the
//! specification files themselves ([`load`]).
//!
//! It holds everything nixpkgs' `buildFHSEnv` takes, in plain names. Unknown keys are errors.

use crate::error::{Error, Kind};
use fhs_env::Access;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

mod written;

use written::Written;

/// The longest specification file (bytes).
const FILE_MAX: u64 = 1 << 20;
/// The most files that include each other.
const FILES_MAX: usize = 64;
/// The most items of one list or table.
pub(super) const ITEMS_MAX: usize = 10_000;

/// A package and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Package {
    /// By name from the archive, with everything it depends on.
    Archive {
        /// Its name.
        name: String,
        /// Debian's name of the architecture; `None` is this machine's.
        arch: Option<String>,
    },
    /// A directory with `usr`, or with `bin`, `lib`, `share` of its own.
    Directory(PathBuf),
    /// A path of a Nix store.
    Nix(PathBuf),
}

/// A host path that is shown inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub path: PathBuf,
    /// How it may be used.
    pub access: BindAccess,
    /// Nothing is done if the source does not exist.
    pub optional: bool,
}

/// As [`Access`], in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindAccess {
    /// `read-only`
    ReadOnly,
    /// `read-write`
    ReadWrite,
    /// `devices`
    Devices,
}

impl From<BindAccess> for Access {
    fn from(access: BindAccess) -> Access {
        match access {
            BindAccess::ReadOnly => Access::ReadOnly,
            BindAccess::ReadWrite => Access::ReadWrite,
            BindAccess::Devices => Access::Devices,
        }
    }
}

/// Namespaces of its own; an FHS environment is no sandbox, so all are false unless they are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are those of namespaces(7)")]
pub struct Unshare {
    pub user: bool,
    pub ipc: bool,
    pub pid: bool,
    pub net: bool,
    pub uts: bool,
    pub cgroup: bool,
}

/// A specification, checked, with everything it includes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FhsSpec {
    /// What the environment is called where nothing else is said.
    pub name: Option<String>,
    /// For this machine's architecture, unless they say another; first come, first served where files collide.
    pub packages: Vec<Package>,
    /// Archive packages for this machine's architecture and its 32-bit one.
    pub multiarch: Vec<String>,
    /// Whether the packages that every other uses without saying so are added (`Essential: yes`) if any come from the archive.
    pub base: bool,
    /// Whether everything a Nix store path refers to is put into the root, too.
    pub include_closures: bool,
    /// Outputs of Nix packages besides the one that is named: `dev`, `man`, …
    pub extra_outputs: Vec<String>,
    /// Links to make in `/usr` or `/etc`: path and target. They come before the packages.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Files to make in `/usr` or `/etc`: path and content. They come before the packages.
    pub files: BTreeMap<PathBuf, String>,
    /// A shell script that is run inside while the root is built, `/usr` and `/etc` writable, without network.
    pub build_hook: Option<String>,
    /// A shell script that is run inside at each start, in the shell that becomes the program.
    pub enter_hook: Option<String>,
    /// Shell lines for `/etc/profile`, run before the program.
    pub profile: Option<String>,
    /// What `run` starts if nothing is named; words that are named are started in its place. None is a shell.
    pub run: Vec<String>,
    /// Further names of the host's `/etc` that are shown.
    pub etc: Vec<PathBuf>,
    /// Further paths of the host.
    pub binds: Vec<Bind>,
    /// Namespaces.
    pub unshare: Unshare,
    /// The program dies with the process that started it.
    pub die_with_parent: bool,
    /// It starts in the caller's directory, and not at all where that is hidden; if this is false, in `/`.
    pub chdir_to_pwd: bool,
    /// `/tmp` is its own.
    pub private_tmp: bool,
    /// Variables to set.
    pub environment: BTreeMap<String, String>,
}

impl Default for FhsSpec {
    fn default() -> FhsSpec {
        FhsSpec {
            name: None,
            packages: Vec::new(),
            multiarch: Vec::new(),
            base: true,
            include_closures: false,
            extra_outputs: Vec::new(),
            links: BTreeMap::new(),
            files: BTreeMap::new(),
            build_hook: None,
            enter_hook: None,
            profile: None,
            run: Vec::new(),
            etc: Vec::new(),
            binds: Vec::new(),
            unshare: Unshare::default(),
            die_with_parent: false,
            chdir_to_pwd: true,
            private_tmp: false,
            environment: BTreeMap::new(),
        }
    }
}

/// An error of a specification: where, and what.
fn refused(subject: impl std::fmt::Display, cause: impl Into<String>) -> Error {
    Error::new(Kind::Own, "read specification", subject.to_string(), cause, "`xeno env build --help` shows one")
}

/// Reads a specification file and everything it includes.
///
/// # Errors
/// Files that cannot be read or include each other, anything [`parse`] refuses.
pub fn load(path: &Path) -> Result<FhsSpec, Error> {
    let mut open = Vec::new();
    let mut read = 0;
    load_written(path, &mut open, &mut read)?.finish(path)
}

fn load_written(path: &Path, open: &mut Vec<PathBuf>, read: &mut usize) -> Result<Written, Error> {
    let shown = &path.display();
    let real = fs::canonicalize(path).map_err(|e| refused(shown, e.to_string()))?;
    if open.contains(&real) {
        let chain: Vec<String> = open.iter().chain([&real]).map(|p| p.display().to_string()).collect();
        return Err(refused(shown, format!("it includes itself: {}", chain.join(" -> "))));
    }
    *read += 1;
    if *read > FILES_MAX {
        return Err(refused(shown, format!("more than {FILES_MAX} files include each other")));
    }
    let meta = fs::metadata(&real).map_err(|e| refused(shown, e.to_string()))?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(refused(shown, format!("it is no file of at most {FILE_MAX} bytes")));
    }
    let text = fs::read_to_string(&real).map_err(|e| refused(shown, e.to_string()))?;
    let directory = real.parent().unwrap_or(Path::new("/")).to_owned();
    let mut whole = Written::parse(&text, &shown.to_string(), Some(&directory))?;
    open.push(real);
    for included in std::mem::take(&mut whole.include) {
        let other = load_written(&directory.join(&included), open, read)?;
        whole = whole.over(other);
    }
    open.pop();
    Ok(whole)
}

/// Reads a specification's text, which may include no other and name no relative path. `subject` is its name for errors.
///
/// # Errors
/// Text that is no TOML, unknown keys, values of another type, names and paths that cannot be.
pub fn parse(text: &str, subject: &str) -> Result<FhsSpec, Error> {
    let written = Written::parse(text, subject, None)?;
    if let Some(included) = written.include.first() {
        return Err(refused(subject, format!("it includes {included}, which only a file can")));
    }
    written.finish(Path::new(subject))
}

/// Reads a package as the specification and `-p` write it: `NAME`, `NAME:ARCH`, `dir:PATH` or `nix:PATH`.
///
/// # Errors
/// A name no package can have, a relative path without a directory it is relative to.
pub fn package(word: &str, directory: Option<&Path>) -> Result<Package, Error> {
    let place = |path: &str| match directory {
        Some(directory) => Ok(directory.join(path)),
        None if path.starts_with('/') => Ok(PathBuf::from(path)),
        None => Err(refused(word, "the path is relative")),
    };
    if let Some(path) = word.strip_prefix("dir:") {
        return place(path).map(Package::Directory);
    }
    if let Some(path) = word.strip_prefix("nix:") {
        return place(path).map(Package::Nix);
    }
    let (name, arch) = word.split_once(':').map_or((word, None), |(name, arch)| (name, Some(arch)));
    // Debian policy 5.6.1, and a little more room for archives that are not Debian's.
    let fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.');
    let plain = name.len() >= 2 && name.len() <= 128 && name.bytes().all(fine) && !name.starts_with(['+', '-', '.']);
    if !plain {
        return Err(refused(word, "no package is called so: names have small letters, digits, + - and ."));
    }
    if let Some(arch) = arch
        && resolver::arch::Arch::from_debian(arch).is_none()
    {
        return Err(refused(word, format!("there is no architecture {arch}; there are amd64, i386, arm64 and riscv64")));
    }
    Ok(Package::Archive { name: name.to_owned(), arch: arch.map(str::to_owned) })
}

/// Whether a path is absolute and goes only down.
pub(super) fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().skip(1).all(|c| matches!(c, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

impl FhsSpec {
    /// Whether anything comes from the archive.
    pub fn needs_archive(&self) -> bool {
        !self.multiarch.is_empty() || self.packages.iter().any(|p| matches!(p, Package::Archive { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, "t.toml").unwrap_err().to_string()
    }

    #[test]
    fn everything_can_be_said() {
        let spec = parse(
            r#"
[fhs]
name = "tools"
packages = ["bash", "libc6:i386", "dir:/srv/app", "nix:/nix/store/abc-hello"]
multiarch = ["libgl1"]
base = false
include-closures = true
extra-outputs = ["dev"]
profile = "export A=1"
run = "bash"
etc = ["foo", "bar/baz"]
binds = ["/srv", { source = "/data", path = "/mnt/data", access = "read-only", optional = true }]
die-with-parent = true
chdir-to-pwd = false
private-tmp = true
unshare = { pid = true }
environment = { LANG = "C.UTF-8" }

[fhs.links]
"/usr/bin/vi" = "busybox"
[fhs.files]
"/etc/motd" = "hello\n"
[fhs.hooks]
build = "ln -s a /usr/bin/b"
enter = "umask 077"
"#,
            "t.toml",
        )
        .unwrap();
        let archive = |name: &str, arch: Option<&str>| Package::Archive { name: name.to_owned(), arch: arch.map(str::to_owned) };
        assert_eq!(
            spec,
            FhsSpec {
                name: Some("tools".to_owned()),
                packages: vec![
                    archive("bash", None),
                    archive("libc6", Some("i386")),
                    Package::Directory("/srv/app".into()),
                    Package::Nix("/nix/store/abc-hello".into())
                ],
                multiarch: vec!["libgl1".to_owned()],
                base: false,
                include_closures: true,
                extra_outputs: vec!["dev".to_owned()],
                links: BTreeMap::from([("/usr/bin/vi".into(), "busybox".into())]),
                files: BTreeMap::from([("/etc/motd".into(), "hello\n".to_owned())]),
                build_hook: Some("ln -s a /usr/bin/b".to_owned()),
                enter_hook: Some("umask 077".to_owned()),
                profile: Some("export A=1".to_owned()),
                run: vec!["bash".to_owned()],
                etc: vec!["foo".into(), "bar/baz".into()],
                binds: vec![
                    Bind { source: "/srv".into(), path: "/srv".into(), access: BindAccess::ReadWrite, optional: false },
                    Bind { source: "/data".into(), path: "/mnt/data".into(), access: BindAccess::ReadOnly, optional: true },
                ],
                unshare: Unshare { pid: true, ..Unshare::default() },
                die_with_parent: true,
                chdir_to_pwd: false,
                private_tmp: true,
                environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
            }
        );
    }

    #[test]
    fn what_is_left_open_isolates_nothing() {
        assert_eq!(parse("[fhs]", "t").unwrap(), FhsSpec::default());
        assert_eq!(FhsSpec::default().unshare, Unshare::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        let help = "; `xeno env build --help` shows one";
        assert_eq!(
            error("[fhs]\npackges = []"),
            format!("read specification t.toml: fhs.packges: there is no such key; did you mean packages?{help}")
        );
        assert_eq!(
            error("[fhs.hooks]\nquite-other = ''"),
            format!("read specification t.toml: fhs.hooks.quite-other: there is no such key; the keys are build, enter{help}")
        );
        assert_eq!(error("[fsh]"), format!("read specification t.toml: there is no table [fsh]; everything is in [fhs]{help}"));
        assert_eq!(error("[fhs]\nbase = 1"), format!("read specification t.toml: fhs.base: it must be true or false{help}"));
        assert!(error("[fhs]\nx = ").starts_with("read specification t.toml:2: "), "{}", error("[fhs]\nx = "));
    }

    #[test]
    fn nothing_it_names_can_leave_its_place() {
        for (text, cause) in [
            ("packages = ['../x']", "no package is called so"),
            ("packages = ['-rf']", "no package is called so"),
            ("packages = ['a:b:c']", "no package is called so"),
            ("packages = ['bash:vax']", "there is no architecture vax"),
            ("packages = ['dir:x']", "the path is relative"),
            ("multiarch = ['bash:i386']", "is no plain name"),
            ("name = '../x'", "is no name"),
            ("etc = ['../shadow']", "is no name below /etc"),
            ("etc = ['/shadow']", "is no name below /etc"),
            ("binds = ['relative']", "is no absolute path"),
            ("binds = ['/a/../b']", "is no absolute path"),
            ("binds = [{ source = '/a', path = '/' }]", "in place of the root"),
            ("binds = [{ source = '/a', acess = 'x' }]", "did you mean access?"),
            ("links = { '/home/x' = 'y' }", "is no path in /usr or /etc"),
            ("links = { '/usr/../x' = 'y' }", "is no path in /usr or /etc"),
            ("links = { '/usr' = 'y' }", "is no path in /usr or /etc"),
            ("files = { 'etc/x' = 'y' }", "is no path in /usr or /etc"),
            ("environment = { 'A=B' = 'c' }", "is no variable's name"),
            ("links = { '/usr/x' = 'y' }\nfiles = { '/usr/x' = 'y' }", "is both a link and a file"),
        ] {
            let said = error(&format!("[fhs]\n{text}"));
            assert!(said.contains(cause), "{text}: {said}");
        }
        assert!(error("[fhs]\nprofile = \"a\\u0000\"").contains("it has a NUL byte"));
        assert!(error(&format!("[fhs]\nmultiarch = [{}]", "'ab',".repeat(ITEMS_MAX + 1))).contains("more than 10000 items"));
    }

    #[test]
    fn an_including_file_lies_over_the_included_and_loops_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(
            "base.toml",
            "[fhs]\nname = 'base'\npackages = ['bash']\nprofile = 'A=1'\nprivate-tmp = true\nunshare = { pid = true, ipc = true }",
        );
        write("top.toml", "[fhs]\ninclude = ['base.toml']\nname = 'top'\npackages = ['dir:x']\nprofile = 'B=2'\nunshare = { ipc = false }");
        let spec = load(&dir.path().join("top.toml")).unwrap();
        assert_eq!(spec.name.as_deref(), Some("top"));
        let real = fs::canonicalize(dir.path()).unwrap();
        assert_eq!(spec.packages, [Package::Directory(real.join("x")), Package::Archive { name: "bash".to_owned(), arch: None }]);
        assert_eq!(spec.profile.as_deref(), Some("A=1\nB=2"));
        assert_eq!((spec.private_tmp, spec.unshare.pid, spec.unshare.ipc), (true, true, false));
        write("a.toml", "[fhs]\ninclude = ['b.toml']");
        write("b.toml", "[fhs]\ninclude = ['a.toml']");
        let said = load(&dir.path().join("a.toml")).unwrap_err().to_string();
        assert!(said.contains("it includes itself: ") && said.contains("a.toml -> ") && said.contains("b.toml -> "), "{said}");
        // A tree without loops that grows exponentially ends as well.
        for n in 0..20 {
            write(&format!("n{n}.toml"), &format!("[fhs]\ninclude = ['n{0}.toml', 'n{0}.toml']", n + 1));
        }
        write("n20.toml", "[fhs]");
        assert!(load(&dir.path().join("n0.toml")).unwrap_err().to_string().contains("more than 64 files include each other"));
    }
}
