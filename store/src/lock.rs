//! `xeno.lock`: every package file and library that a resolution used, by hash, so that the same bytes can be had again.
//!
//! Plain data and its text form; [`crate::debian::Debian`] writes it from what it used and answers from it.

use crate::error::{Error, Kind, Result};
use crate::nar::{is_store_path_name, parse_sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// The version of the way packages are unpacked; another one gives other store paths.
pub const RECIPE: u32 = 1;

/// Longest lock file that is read, in bytes.
const MAX_LOCK: u64 = 16 << 20;

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`RECIPE`].
    pub recipe: u32,
    /// Short name of the architecture (`x86_64`).
    pub arch: String,
    /// The program.
    pub target: Target,
    /// Loader and libc, if they came from packages.
    pub libc_set: Option<LockedLibcSet>,
    /// The signed indexes the packages were found in.
    #[serde(default, rename = "suite", skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<LockedSuite>,
    /// The packages, by name and architecture.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<LockedPackage>,
    /// The libraries used of them, by soname.
    #[serde(default, rename = "library", skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<LockedLibrary>,
}

/// The program a lock was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// SHA-256 of the program, 64 hexadecimal digits.
    pub sha256: String,
    /// SHA-256 of the program's tree, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
}

/// Loader and libc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedLibcSet {
    /// `glibc` or `musl`.
    pub libc: resolver::needs::Libc,
    /// Version.
    pub version: String,
    /// Base name of the store path that holds the set.
    pub store_path: String,
    /// The loader, relative to the store path.
    pub loader: String,
}

/// A signed index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedSuite {
    /// Name, such as `trixie-security`.
    pub name: String,
    /// SHA-256 of its InRelease.
    pub inrelease: String,
    /// Its `Date`, as `2026-09-12 07:55:41 UTC`.
    pub date: String,
    /// Fingerprint of the key that signed it.
    pub signer: String,
}

/// A package file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The archive's name of the architecture.
    pub arch: String,
    /// Suite it was found in.
    pub suite: String,
    /// Path below the archive's base address.
    pub pool: String,
    /// Length in bytes.
    pub size: u64,
    /// Identity.
    pub sha256: String,
    /// The key of snapshot services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// Base name of the store path it was unpacked to; packages of one set share it.
    pub store_path: String,
    /// SHA-256 of that path's Nix archive.
    pub nar_sha256: String,
}

/// A library that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedLibrary {
    /// The name it was asked for by.
    pub soname: String,
    /// Base name of its store path.
    pub store_path: String,
    /// Path in it.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Lock {
    /// Parses and checks a lock file's text. `subject` is its name for errors.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for anything that does not follow the format, [`Kind::Drift`] for another schema or recipe.
    pub fn parse(text: &str, subject: &str) -> Result<Lock> {
        let bad = |cause: String| Error::new(Kind::Malformed, "read lock", subject, cause, "restore it, or make it anew without --lock");
        // The numbers first: a newer file may have fields this version does not know.
        #[derive(Deserialize)]
        struct Versions {
            schema: u32,
            recipe: u32,
        }
        let versions: Versions = toml::from_str(text).map_err(|e| bad(e.message().to_owned()))?;
        if versions.schema != SCHEMA || versions.recipe != RECIPE {
            let cause = format!(
                "it has schema {} and recipe {}, this xeno knows schema {SCHEMA} and recipe {RECIPE}",
                versions.schema, versions.recipe
            );
            return Err(Error::new(Kind::Drift, "follow lock", subject, cause, "use the xeno that wrote it, or make it anew"));
        }
        let lock: Lock = toml::from_str(text).map_err(|e| {
            let line = text.bytes().take(e.span().map_or(0, |s| s.start)).filter(|b| *b == b'\n').count() + 1;
            bad(format!("line {line}: {}", e.message()))
        })?;
        lock.check().map_err(bad)?;
        Ok(lock)
    }

    fn check(&self) -> Result<(), String> {
        let hash = |what: &str, text: &str| match parse_sha256(text) {
            Some(_) => Ok(()),
            None => Err(format!("'{text}' of {what} is no SHA-256")),
        };
        let relative = |path: &str| {
            let fine = !path.is_empty() && !path.split('/').any(|c| c.is_empty() || c == "." || c == "..");
            if fine { Ok(()) } else { Err(format!("'{path}' is no relative path")) }
        };
        let store_path = |name: &str| if is_store_path_name(name) { Ok(()) } else { Err(format!("'{name}' is no store path")) };
        hash("the target", &self.target.sha256)?;
        let mut paths = BTreeSet::new();
        for p in &self.packages {
            hash(&p.name, &p.sha256)?;
            hash(&p.name, &p.nar_sha256)?;
            relative(&p.pool)?;
            store_path(&p.store_path)?;
            if !crate::config::is_suite_name(&p.suite) {
                return Err(format!("'{}' is no suite", p.suite));
            }
            paths.insert(p.store_path.as_str());
        }
        for l in &self.libraries {
            hash(&l.soname, &l.sha256)?;
            relative(&l.path)?;
            if !paths.contains(l.store_path.as_str()) {
                return Err(format!("no package has the store path of {}", l.soname));
            }
        }
        if let Some(set) = &self.libc_set {
            relative(&set.loader)?;
            if !paths.contains(set.store_path.as_str()) {
                return Err("no package has the store path of the libc set".to_owned());
            }
        }
        Ok(())
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// As [`Lock::parse`], or [`Kind::Io`].
    pub fn load(path: &Path) -> Result<Lock> {
        let failed = |e| Error::io("read lock", path, e);
        let subject = path.display().to_string();
        if fs::metadata(path).map_err(failed)?.len() > MAX_LOCK {
            return Err(Error::new(Kind::Malformed, "read lock", subject, "larger than 16 MiB", "name another file"));
        }
        Lock::parse(&fs::read_to_string(path).map_err(failed)?, &subject)
    }

    /// The text: the same lock always gives the same bytes.
    ///
    /// # Errors
    /// Never for a lock that was read or made here.
    pub fn to_toml(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|e| Error::new(Kind::Malformed, "write lock", "xeno.lock", e, ""))?;
        Ok(format!("# Written by xeno; keep it with the program it was made for.\n{body}"))
    }

    /// Writes a lock file.
    ///
    /// # Errors
    /// [`Kind::Io`] or [`Kind::DiskFull`].
    pub fn save(&self, path: &Path) -> Result<()> {
        crate::atomic::write_file(path, self.to_toml()?.as_bytes(), 0o644)
    }

    /// Refuses another program than the one the lock was made for.
    ///
    /// # Errors
    /// [`Kind::Drift`].
    pub fn check_target(&self, sha256: &str) -> Result<()> {
        if self.target.sha256 == sha256 {
            return Ok(());
        }
        let cause = format!("it was made for the program with SHA-256 {}, this one has {sha256}", self.target.sha256);
        Err(Error::new(Kind::Drift, "follow lock", "xeno.lock", cause, "make the lock anew for the changed program"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let (a, b, c, d) = ("ab".repeat(32), "cd".repeat(32), "ef".repeat(32), "01".repeat(32));
        format!(
            "# Written by xeno; keep it with the program it was made for.
schema = 1
recipe = 1
arch = \"x86_64\"

[target]
sha256 = \"{a}\"

[libc-set]
libc = \"glibc\"
version = \"2.41\"
store-path = \"0123456789abcdfghijklmnpqrsvwxyz-set\"
loader = \"usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\"

[[suite]]
name = \"trixie\"
inrelease = \"{a}\"
date = \"2026-09-12 07:55:41 UTC\"
signer = \"ABCD\"

[[package]]
name = \"libc6\"
version = \"2.41-12\"
arch = \"amd64\"
suite = \"trixie\"
pool = \"pool/main/g/glibc/libc6_2.41-12_amd64.deb\"
size = 5
sha256 = \"{b}\"
store-path = \"0123456789abcdfghijklmnpqrsvwxyz-set\"
nar-sha256 = \"{c}\"

[[library]]
soname = \"libm.so.6\"
store-path = \"0123456789abcdfghijklmnpqrsvwxyz-set\"
path = \"usr/lib/x86_64-linux-gnu/libm.so.6\"
sha256 = \"{d}\"
"
        )
    }

    #[test]
    fn a_lock_survives_a_round_trip_byte_for_byte() {
        let lock = Lock::parse(&text(), "t").unwrap();
        assert_eq!(lock.to_toml().unwrap(), text());
    }

    #[test]
    fn another_schema_or_recipe_is_drift_even_with_unknown_fields() {
        let newer = text().replace("schema = 1", "schema = 2\nnovelty = 1");
        assert_eq!(Lock::parse(&newer, "t").unwrap_err().kind(), Kind::Drift);
        let other = text().replace("recipe = 1", "recipe = 7");
        assert_eq!(Lock::parse(&other, "t").unwrap_err().kind(), Kind::Drift);
    }

    #[test]
    fn nothing_in_a_lock_can_leave_the_store() {
        for (from, to) in [
            ("pool/main", "../main"),
            ("path = \"usr/lib", "path = \"/usr/lib"),
            ("loader = \"usr", "loader = \"usr/.."),
            ("store-path = \"0123456789abcdfghijklmnpqrsvwxyz-set\"\nnar", "store-path = \"../x\"\nnar"),
            ("suite = \"trixie\"", "suite = \"../x\""),
        ] {
            let error = Lock::parse(&text().replace(from, to), "t").unwrap_err();
            assert_eq!(error.kind(), Kind::Malformed, "{from}: {error}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let error = Lock::parse(&text().replace("size = 5", "sizes = 5"), "xeno.lock").unwrap_err();
        assert!(error.to_string().starts_with("read lock xeno.lock: line 27: unknown field `sizes`"), "{error}");
    }

    #[test]
    fn a_lock_serves_one_program_only() {
        let lock = Lock::parse(&text(), "t").unwrap();
        assert!(lock.check_target(&"ab".repeat(32)).is_ok());
        assert_eq!(lock.check_target(&"cd".repeat(32)).unwrap_err().kind(), Kind::Drift);
    }
}
