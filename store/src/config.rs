//! `config.toml` and the variables that override it: which mirror, which suites, which extra keys.
//!
//! Names no mirror of its own, and knows no key silently: an unknown one is an error with file and line.

use crate::error::{Error, Kind, Result};
use serde::Deserialize;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The suites tried when nothing is configured, newest first.
const DEFAULT_SUITES: &[&str] = &["trixie", "bookworm", "bullseye"];

/// How old an InRelease may get before it is fetched again, in hours.
const DEFAULT_REFRESH_HOURS: u32 = 24;

/// What is configured, after all files and variables were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The provider `debian`.
    pub debian: DebianConfig,
    /// The files that were read, the strongest first.
    pub files: Vec<PathBuf>,
}

/// Section `[debian]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianConfig {
    /// Mirror of the archive: `http`, `https` or `file` address, or a directory.
    pub mirror: Option<String>,
    /// Mirror of the security archive.
    pub security_mirror: Option<String>,
    /// Suites by codename, newest first; never empty.
    pub suites: Vec<String>,
    /// A keyring (OpenPGP, binary or armoured) trusted besides the embedded one.
    pub keyring: Option<PathBuf>,
    /// Hours after which a suite's InRelease is fetched again.
    pub refresh_hours: u32,
    /// The mirror of the shipped configuration: used only if the host's apt names none.
    pub shipped_mirror: Option<String>,
    /// The same for the security archive.
    pub shipped_security_mirror: Option<String>,
}

impl Default for DebianConfig {
    fn default() -> Self {
        DebianConfig {
            mirror: None,
            security_mirror: None,
            suites: DEFAULT_SUITES.iter().map(|s| (*s).to_owned()).collect(),
            keyring: None,
            refresh_hours: DEFAULT_REFRESH_HOURS,
            shipped_mirror: None,
            shipped_security_mirror: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    debian: DebianSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DebianSection {
    mirror: Option<String>,
    security_mirror: Option<String>,
    suites: Option<Vec<String>>,
    keyring: Option<PathBuf>,
    refresh_hours: Option<u32>,
}

impl Config {
    /// Reads the process's environment and the files it leads to.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_env() -> Result<Config> {
        let exe = std::env::current_exe().ok();
        Config::load(&|name| std::env::var_os(name), exe.as_deref().and_then(Path::parent))
    }

    /// The user's file is the first that exists of `$XENO_CONFIG`, `$XDG_CONFIG_HOME/xeno/config.toml`
    /// (or `~/.config/…`) and `/etc/xeno/config.toml`. `config.toml` beside the executable fills in
    /// what it leaves open. Variables (`XENO_DEBIAN_…`) win over both.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unknown key, a wrong type, an unusable suite name, or a
    /// `$XENO_CONFIG` that cannot be read.
    pub fn load(vars: &dyn Fn(&str) -> Option<OsString>, exe_dir: Option<&Path>) -> Result<Config> {
        let var = |name: &str| vars(name).filter(|v| !v.is_empty());
        let mut config = Config::default();
        let mut user = DebianSection::default();
        for (path, must_exist) in user_files(&var) {
            if let Some(section) = read(&path, must_exist)? {
                user = section;
                config.files.push(path);
                break;
            }
        }
        let mut shipped = DebianSection::default();
        if let Some(path) = exe_dir.map(|d| d.join("config.toml"))
            && !config.files.contains(&path)
            && let Some(section) = read(&path, false)?
        {
            shipped = section;
            config.files.push(path);
        }

        let text = |name: &str| match var(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Error::new(Kind::Config, "read", name, "not UTF-8", "set it anew")),
        };
        let d = &mut config.debian;
        d.mirror = text("XENO_DEBIAN_MIRROR")?.or(user.mirror);
        d.security_mirror = text("XENO_DEBIAN_SECURITY_MIRROR")?.or(user.security_mirror);
        d.keyring = var("XENO_DEBIAN_KEYRING").map(PathBuf::from).or(user.keyring).or(shipped.keyring);
        d.shipped_mirror = shipped.mirror;
        d.shipped_security_mirror = shipped.security_mirror;
        if let Some(suites) = match text("XENO_DEBIAN_SUITES")? {
            Some(list) => Some(list.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()),
            None => user.suites.or(shipped.suites),
        } {
            d.suites = suites;
        }
        if let Some(hours) = match text("XENO_DEBIAN_REFRESH_HOURS")? {
            Some(hours) => Some(
                hours.parse().map_err(|e| Error::new(Kind::Config, "read", "XENO_DEBIAN_REFRESH_HOURS", e, "give a number of hours"))?,
            ),
            None => user.refresh_hours.or(shipped.refresh_hours),
        } {
            d.refresh_hours = hours;
        }
        check_suites(&d.suites)?;
        Ok(config)
    }
}

fn user_files(var: &dyn Fn(&str) -> Option<OsString>) -> Vec<(PathBuf, bool)> {
    if let Some(path) = var("XENO_CONFIG") {
        return vec![(PathBuf::from(path), true)];
    }
    let absolute = |name| var(name).map(PathBuf::from).filter(|p: &PathBuf| p.is_absolute());
    let home = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|h| h.join(".config")));
    home.map(|h| h.join("xeno/config.toml")).into_iter().chain([PathBuf::from("/etc/xeno/config.toml")]).map(|p| (p, false)).collect()
}

fn read(path: &Path, must_exist: bool) -> Result<Option<DebianSection>> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, path).map(Some),
        // Somebody else's file, or none: not ours to read.
        Err(e) if !must_exist && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(e) if !must_exist && e.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(e) => Err(Error::new(Kind::Config, "read", path.display(), &e, "correct or unset XENO_CONFIG").with_source(e)),
    }
}

fn parse(text: &str, path: &Path) -> Result<DebianSection> {
    toml::from_str::<File>(text).map(|f| f.debian).map_err(|e| {
        let offset = e.span().map_or(0, |s| s.start);
        let line = text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        let subject = format!("{}:{line}", path.display());
        Error::new(Kind::Config, "read", subject, e.message(), "correct or remove that line")
    })
}

/// A suite becomes part of addresses and file names.
fn check_suites(suites: &[String]) -> Result<()> {
    if suites.is_empty() {
        return Err(Error::new(Kind::Config, "read", "suites", "the list is empty", "name at least one suite"));
    }
    match suites.iter().find(|s| !is_suite_name(s)) {
        None => Ok(()),
        Some(bad) => Err(Error::new(Kind::Config, "read", "suites", format!("'{bad}' is no codename"), "use names such as trixie")),
    }
}

/// Letters, digits and `-`, not starting with `-`.
pub(crate) fn is_suite_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The error for a machine on which nothing names a mirror: it shows the two lines to add.
pub(crate) fn no_mirror() -> Error {
    Error::new(
        Kind::NoMirror,
        "find",
        "a Debian mirror",
        "neither config.toml nor this machine's apt names one",
        "add the lines  [debian]  and  mirror = \"http://HOST/debian\"  to ~/.config/xeno/config.toml, or set XENO_DEBIAN_MIRROR",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn load(vars: &[(&str, &str)], exe_dir: Option<&Path>) -> Result<Config> {
        let map: HashMap<String, OsString> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        Config::load(&|name| map.get(name).cloned(), exe_dir)
    }

    #[test]
    fn variables_win_over_the_users_file_which_wins_over_the_shipped_one() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("user.toml");
        fs::write(&user, "[debian]\nmirror = 'http://user.example.org/debian'\nrefresh-hours = 1\n").unwrap();
        let shipped = dir.path().join("config.toml");
        fs::write(&shipped, "[debian]\nmirror = 'http://shipped.example.org/debian'\nsuites = ['sid']\n").unwrap();
        let user_var = ("XENO_CONFIG", user.to_str().unwrap());
        let c = load(&[user_var], Some(dir.path())).unwrap();
        assert_eq!(c.debian.mirror.as_deref(), Some("http://user.example.org/debian"));
        assert_eq!(c.debian.shipped_mirror.as_deref(), Some("http://shipped.example.org/debian"));
        assert_eq!(c.debian.suites, ["sid"]);
        assert_eq!(c.debian.refresh_hours, 1);
        assert_eq!(c.files, [user.clone(), shipped]);
        let c = load(&[user_var, ("XENO_DEBIAN_MIRROR", "/srv/mirror"), ("XENO_DEBIAN_SUITES", "a, b")], Some(dir.path())).unwrap();
        assert_eq!(c.debian.mirror.as_deref(), Some("/srv/mirror"));
        assert_eq!(c.debian.suites, ["a", "b"]);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("c.toml");
        fs::write(&user, "[debian]\nsuites = ['trixie']\nmiror = 'x'\n").unwrap();
        let error = load(&[("XENO_CONFIG", user.to_str().unwrap())], None).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().starts_with(&format!("read {}:3: unknown field `miror`", user.display())), "{error}");
    }

    #[test]
    fn without_any_file_there_are_suites_but_no_mirror() {
        let dir = tempfile::tempdir().unwrap();
        let c = load(&[("XDG_CONFIG_HOME", dir.path().to_str().unwrap())], Some(dir.path())).unwrap();
        assert_eq!(c.debian.mirror, None);
        assert_eq!(c.debian.suites, ["trixie", "bookworm", "bullseye"]);
        assert_eq!(c.debian.refresh_hours, 24);
    }

    #[test]
    fn a_suite_cannot_leave_its_directory() {
        let error = load(&[("XENO_DEBIAN_SUITES", "trixie,../x"), ("XENO_CONFIG", "/dev/null")], None).unwrap_err();
        assert_eq!(error.to_string(), "read suites: '../x' is no codename; use names such as trixie");
    }

    #[test]
    fn without_any_mirror_the_error_shows_the_lines_to_add() {
        assert_eq!(
            no_mirror().to_string(),
            "find a Debian mirror: neither config.toml nor this machine's apt names one; add the lines  [debian]  and  \
             mirror = \"http://HOST/debian\"  to ~/.config/xeno/config.toml, or set XENO_DEBIAN_MIRROR"
        );
    }

    #[test]
    fn a_missing_explicit_file_is_an_error() {
        let error = load(&[("XENO_CONFIG", "/nonexistent/c.toml")], None).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }
}
