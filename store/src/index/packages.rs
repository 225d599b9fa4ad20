//! The package index: where a package's file lies in the pool, and its size and hash.
//!
//! Made from `Packages` (Debian policy, chapter 5); packages for all architectures are left out, as they
//! hold no library of any.

use super::{Cursor, file, put_text, put_varint, read_line};
use crate::error::{Error, Kind, Result};
use crate::nar::{hex, parse_sha256};
use crate::version;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// Most packages an archive may have; trixie has 69,000.
const MAX_PACKAGES: usize = 300_000;

/// Most bytes of records held while building (40 MiB).
const MAX_BYTES: usize = 40 << 20;

/// An open package index.
pub struct PackageIndex {
    map: fst::Map<file::Section>,
    records: file::Section,
}

/// What an archive says of one package file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Version.
    pub version: String,
    /// Architecture, as the archive writes it.
    pub arch: String,
    /// Path below the archive's base address: `pool/main/…`.
    pub filename: String,
    /// Length in bytes.
    pub size: u64,
    /// Identity.
    pub sha256: [u8; 32],
    /// The key of snapshot services, if the archive states it; 40 hexadecimal digits.
    pub sha1: Option<String>,
}

impl PackageIndex {
    /// Maps an index.
    ///
    /// # Errors
    /// [`Kind::Io`] if it is not there, [`Kind::Malformed`] if it is damaged.
    pub fn open(path: &Path) -> Result<PackageIndex> {
        let [map, records] = file::open(path)?;
        let map = fst::Map::new(map)
            .map_err(|e| Error::new(Kind::Malformed, "open index", path.display(), e, "delete it, it will be made anew"))?;
        Ok(PackageIndex { map, records })
    }

    /// The newest version of a package in this archive.
    pub fn get(&self, name: &str) -> Option<PackageFile> {
        read_record(name, &mut Cursor::at(self.records.as_ref(), self.map.get(name)?)?)
    }
}

/// Reads what [`Stanza::record`] wrote.
pub(super) fn read_record(name: &str, cursor: &mut Cursor<'_>) -> Option<PackageFile> {
    let version = cursor.text()?.to_owned();
    let arch = cursor.text()?.to_owned();
    let filename = match cursor.varint()? {
        0 => cursor.text()?.to_owned(),
        _ => format!("{}{}", cursor.text()?, usual_name(name, &version, &arch)),
    };
    let size = cursor.varint()?;
    let sha256 = cursor.take(32)?.try_into().ok()?;
    let sha1 = match cursor.varint()? {
        0 => None,
        _ => Some(hex(cursor.take(20)?)),
    };
    Some(PackageFile { version, arch, filename, size, sha256, sha1 })
}

/// Reads an uncompressed `Packages` and writes its index.
///
/// # Errors
/// [`Kind::Malformed`] if it cannot be read, a needed field is missing, or it is absurdly large.
pub fn build(input: &mut impl BufRead, subject: &str, to: &Path) -> Result<()> {
    let bad = |cause: String| Error::new(Kind::Malformed, "index", subject, cause, "try again later, or another mirror");
    // Offsets into one buffer: tens of thousands of small allocations would cost as much again.
    let mut packages: BTreeMap<Box<str>, usize> = BTreeMap::new();
    let mut records: Vec<u8> = Vec::new();
    let mut name_bytes = 0;
    let mut stanza = Stanza::default();
    let mut line = Vec::new();
    loop {
        let more = read_line(input, &mut line).map_err(|e| bad(e.to_string()))?;
        if more && !line.is_empty() {
            stanza.line(&line);
            continue;
        }
        if !stanza.name.is_empty() && stanza.file.arch != "all" {
            stanza.check().map_err(|field| bad(format!("package '{}' has no usable {field}", stanza.name)))?;
            name_bytes += stanza.name.len() + 64;
            if packages.len() > MAX_PACKAGES || name_bytes + records.len() > MAX_BYTES {
                return Err(bad("it has absurdly many packages".to_owned()));
            }
            let newer = packages.get(stanza.name.as_str()).is_none_or(|offset| {
                let old = Cursor::at(&records, *offset as u64).and_then(|mut c| c.text()).unwrap_or_default();
                version::compare(&stanza.file.version, old) == Ordering::Greater
            });
            if newer {
                let offset = records.len();
                stanza.record(&mut records);
                packages.insert(std::mem::take(&mut stanza.name).into_boxed_str(), offset);
            }
        }
        stanza = Stanza::default();
        if !more {
            break;
        }
    }
    let mut builder = fst::MapBuilder::memory();
    for (name, offset) in &packages {
        builder.insert(name.as_bytes(), *offset as u64).map_err(|e| bad(e.to_string()))?;
    }
    let map = builder.into_inner().map_err(|e| bad(e.to_string()))?;
    file::write(to, &[&map, &records])
}

/// `name_version_arch.deb`, without the epoch (deb-version(7)).
fn usual_name(name: &str, version: &str, arch: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, v)| v);
    format!("{name}_{version}_{arch}.deb")
}

/// One package's lines, as far as they say where its file is.
pub(super) struct Stanza {
    pub(super) name: String,
    pub(super) file: PackageFile,
    has_hash: bool,
}

impl Default for Stanza {
    fn default() -> Self {
        let text = String::new;
        let file = PackageFile { version: text(), arch: text(), filename: text(), size: 0, sha256: [0; 32], sha1: None };
        Stanza { name: text(), file, has_hash: false }
    }
}

impl Stanza {
    pub(super) fn line(&mut self, line: &[u8]) {
        // Descriptions need not concern us, in whatever encoding they are.
        let Ok(line) = std::str::from_utf8(line) else { return };
        let Some((key, value)) = line.split_once(": ") else { return };
        match key {
            "Package" => value.clone_into(&mut self.name),
            "Version" => value.clone_into(&mut self.file.version),
            "Architecture" => value.clone_into(&mut self.file.arch),
            "Filename" => value.clone_into(&mut self.file.filename),
            "Size" => self.file.size = value.parse().unwrap_or(0),
            "SHA256" => {
                if let Some(hash) = parse_sha256(value) {
                    self.file.sha256 = hash;
                    self.has_hash = true;
                }
            }
            "SHA1" if value.len() == 40 && value.bytes().all(|b| b.is_ascii_hexdigit()) => {
                self.file.sha1 = Some(value.to_owned());
            }
            _ => {}
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let path = &self.file.filename;
        if self.file.version.is_empty() {
            return Err("Version");
        }
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|c| c == ".." || c.is_empty()) {
            return Err("Filename");
        }
        if self.file.size == 0 {
            return Err("Size");
        }
        if self.has_hash { Ok(()) } else { Err("SHA256") }
    }

    pub(super) fn record(&self, out: &mut Vec<u8>) {
        put_text(out, &self.file.version);
        put_text(out, &self.file.arch);
        // Nearly every file is called as the archive's rules say, and then only its directory need be kept.
        let usual = usual_name(&self.name, &self.file.version, &self.file.arch);
        match self.file.filename.strip_suffix(&usual) {
            Some(directory) => {
                put_varint(out, 1);
                put_text(out, directory);
            }
            None => {
                put_varint(out, 0);
                put_text(out, &self.file.filename);
            }
        }
        put_varint(out, self.file.size);
        out.extend_from_slice(&self.file.sha256);
        let sha1: Option<Vec<u8>> =
            self.file.sha1.as_ref().and_then(|text| (0..20).map(|i| u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok()).collect());
        put_varint(out, u64::from(sha1.is_some()));
        out.extend_from_slice(&sha1.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, version: &str, arch: &str, path: &str) -> String {
        let hash = "ab".repeat(32);
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nFilename: {path}\nSize: 1234\nDescription: x\n y: z\nSHA256: {hash}\n\n"
        )
    }

    fn open(text: &str) -> Result<PackageIndex> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        build(&mut text.as_bytes(), "Packages", &path)?;
        PackageIndex::open(&path)
    }

    #[test]
    fn a_package_is_found_with_all_it_takes_to_fetch_it() {
        let text = stanza("libx", "1:1.2-3", "amd64", "pool/main/libx/libx_1.2-3_amd64.deb")
            .replace("Size", "SHA1: 0123456789abcdef0123456789abcdef01234567\nSize");
        let found = open(&text).unwrap().get("libx").unwrap();
        assert_eq!(
            found,
            PackageFile {
                version: "1:1.2-3".to_owned(),
                arch: "amd64".to_owned(),
                filename: "pool/main/libx/libx_1.2-3_amd64.deb".to_owned(),
                size: 1234,
                sha256: [0xab; 32],
                sha1: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            }
        );
    }

    #[test]
    fn of_two_versions_the_newer_counts_and_all_means_no_library() {
        let text = stanza("a", "1.10", "amd64", "p/2") + &stanza("a", "1.9", "amd64", "p/1") + &stanza("docs", "1", "all", "p/3");
        let index = open(&text).unwrap();
        assert_eq!(index.get("a").unwrap().filename, "p/2");
        assert_eq!(index.get("docs"), None);
        assert_eq!(index.get("b"), None);
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        for path in ["/etc/passwd", "pool/../../x", "pool//x"] {
            assert_eq!(open(&stanza("a", "1", "amd64", path)).err().unwrap().kind(), Kind::Malformed);
        }
    }

    #[test]
    fn a_stanza_without_hash_is_refused() {
        let text = stanza("a", "1", "amd64", "p").replace("SHA256", "SHA255");
        assert_eq!(
            open(&text).err().unwrap().to_string(),
            "index Packages: package 'a' has no usable SHA256; try again later, or another mirror"
        );
    }
}
