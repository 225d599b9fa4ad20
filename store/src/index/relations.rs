//! The relations index: what each package of an archive needs and stands for, and where its file lies.
//!
//! Made from the same `Packages` as [`super::packages`], but only where whole packages are wanted: it holds packages
//! for all architectures as well, and it is several times larger. It decides nothing.

use super::packages::{PackageFile, Stanza, read_record};
use super::{Cursor, file, get_string, put_strings, put_text, put_varint, read_line};
use crate::error::{Error, Kind, Result};
use crate::version;
use fst::Streamer;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

/// Most packages an archive may have; trixie has 69,000.
const MAX_PACKAGES: usize = 300_000;

/// Most bytes of names, records and relations held while building (96 MiB).
const MAX_BYTES: usize = 96 << 20;

/// How a package of one architecture serves packages of another (Debian policy, "Multi-Arch").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiArch {
    /// It serves its own only.
    No,
    /// It serves its own only, and can be there for several.
    Same,
    /// It serves every one.
    Foreign,
    /// It serves every one that asks for `name:any`.
    Allowed,
}

/// What an archive says of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relations {
    /// Its file.
    pub file: PackageFile,
    /// Whom it serves.
    pub multi_arch: MultiArch,
    /// `Pre-Depends` and `Depends` as they are written, joined by a comma.
    pub depends: String,
    /// `Provides` as it is written.
    pub provides: String,
}

/// Reads one item of `Provides`: the name, and the version of it if one is said.
pub(crate) fn provided_item(item: &str) -> Option<(String, Option<String>)> {
    let item = item.trim();
    let (name, rest) = item.split_once([' ', '(']).unwrap_or((item, ""));
    let name = name.split_once(':').map_or(name, |(plain, _)| plain);
    let version = rest.rsplit_once('=').map(|(_, version)| version.trim_end_matches(')').trim().to_owned());
    (!name.is_empty()).then(|| (name.to_owned(), version))
}

/// A package that stands for a name that is not its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The package.
    pub package: String,
    /// The version of the name that it stands for, if it says one.
    pub version: Option<String>,
}

/// An open relations index.
pub struct RelationIndex {
    map: fst::Map<file::Section>,
    records: file::Section,
    provided: fst::Map<file::Section>,
    providers: file::Section,
    essential: file::Section,
}

impl RelationIndex {
    /// Maps an index.
    ///
    /// # Errors
    /// [`Kind::Io`] if it is not there, [`Kind::Malformed`] if it is damaged.
    pub fn open(path: &Path) -> Result<RelationIndex> {
        let [map, records, provided, providers, essential] = file::open(path)?;
        let damaged = |e: fst::Error| Error::new(Kind::Malformed, "open index", path.display(), e, "delete it, it will be made anew");
        let (map, provided) = (fst::Map::new(map).map_err(damaged)?, fst::Map::new(provided).map_err(damaged)?);
        Ok(RelationIndex { map, records, provided, providers, essential })
    }

    /// The newest version of a package in this archive.
    pub fn get(&self, name: &str) -> Option<Relations> {
        let mut cursor = Cursor::at(self.records.as_ref(), self.map.get(name)?)?;
        let file = read_record(name, &mut cursor)?;
        let multi_arch = match cursor.varint()? {
            1 => MultiArch::Same,
            2 => MultiArch::Foreign,
            3 => MultiArch::Allowed,
            _ => MultiArch::No,
        };
        Some(Relations { file, multi_arch, depends: cursor.text()?.to_owned(), provides: cursor.text()?.to_owned() })
    }

    /// The packages that stand for a name, sorted by theirs.
    pub fn providers(&self, name: &str) -> Vec<Provided> {
        self.provided.get(name).and_then(|at| self.read_providers(at)).unwrap_or_default()
    }

    fn read_providers(&self, at: u64) -> Option<Vec<Provided>> {
        let mut cursor = Cursor::at(self.providers.as_ref(), at)?;
        let count = usize::try_from(cursor.varint()?).ok()?;
        let mut found = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let (package, version) = (cursor.text()?.to_owned(), cursor.text()?);
            found.push(Provided { package, version: (!version.is_empty()).then(|| version.to_owned()) });
        }
        Some(found)
    }

    /// The packages that others use without saying so (`Essential: yes`; Debian policy 3.8), sorted.
    pub fn essential(&self) -> Vec<String> {
        (0..).map_while(|number| get_string(self.essential.as_ref(), number)).map(str::to_owned).collect()
    }

    /// Every package's name, sorted.
    pub fn names(&self) -> Vec<String> {
        let (mut names, mut stream) = (Vec::with_capacity(self.map.len().min(MAX_PACKAGES)), self.map.stream());
        while let Some((name, _)) = stream.next() {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        names
    }
}

#[derive(Default)]
struct Whole {
    stanza: Stanza,
    depends: String,
    provides: String,
    multi_arch: u64,
    essential: bool,
}

impl Whole {
    fn line(&mut self, line: &[u8]) {
        self.stanza.line(line);
        let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(": ")) else { return };
        match key {
            "Depends" | "Pre-Depends" => {
                if !self.depends.is_empty() {
                    self.depends.push_str(", ");
                }
                self.depends.push_str(value.trim());
            }
            "Provides" => value.trim().clone_into(&mut self.provides),
            "Essential" => self.essential = value.trim() == "yes",
            "Multi-Arch" => {
                self.multi_arch = match value.trim() {
                    "same" => 1,
                    "foreign" => 2,
                    "allowed" => 3,
                    _ => 0,
                };
            }
            _ => {}
        }
    }
}

/// What is gathered before it is written.
#[derive(Default)]
struct Building {
    packages: BTreeMap<Box<str>, usize>,
    records: Vec<u8>,
    /// Name, then who stands for it with which version.
    provided: BTreeMap<Box<str>, BTreeMap<Box<str>, Box<str>>>,
    essential: BTreeSet<Box<str>>,
    bytes: usize,
}

impl Building {
    fn add(&mut self, whole: &Whole) {
        let name = whole.stanza.name.as_str();
        let older = self.packages.get(name).is_some_and(|offset| {
            let known = Cursor::at(&self.records, *offset as u64).and_then(|mut c| c.text()).unwrap_or_default();
            version::compare(&whole.stanza.file.version, known) != Ordering::Greater
        });
        if older {
            return;
        }
        if self.packages.insert(name.into(), self.records.len()).is_some() {
            self.provided.values_mut().for_each(|by| drop(by.remove(name)));
            self.essential.remove(name);
        }
        whole.stanza.record(&mut self.records);
        put_varint(&mut self.records, whole.multi_arch);
        put_text(&mut self.records, &whole.depends);
        put_text(&mut self.records, &whole.provides);
        self.bytes += name.len() + 64;
        for (virtual_name, version) in whole.provides.split(',').filter_map(provided_item) {
            let version = version.unwrap_or_default();
            self.bytes += virtual_name.len() + name.len() + version.len() + 128;
            self.provided.entry(virtual_name.into()).or_default().insert(name.into(), version.into());
        }
        if whole.essential {
            self.essential.insert(name.into());
        }
    }
}

/// Reads an uncompressed `Packages` and writes its relations.
///
/// # Errors
/// [`Kind::Malformed`] if it cannot be read, a needed field is missing, or it is absurdly large.
pub fn build(input: &mut impl BufRead, subject: &str, to: &Path) -> Result<()> {
    let bad = |cause: String| Error::new(Kind::Malformed, "index", subject, cause, "try again later, or another mirror");
    let mut building = Building::default();
    let mut whole = Whole::default();
    let mut line = Vec::new();
    loop {
        let more = read_line(input, &mut line).map_err(|e| bad(e.to_string()))?;
        if more && !line.is_empty() {
            whole.line(&line);
            continue;
        }
        if !whole.stanza.name.is_empty() {
            whole.stanza.check().map_err(|field| bad(format!("package '{}' has no usable {field}", whole.stanza.name)))?;
            building.add(&whole);
            if building.packages.len() > MAX_PACKAGES || building.bytes + building.records.len() > MAX_BYTES {
                return Err(bad("it has absurdly many packages".to_owned()));
            }
        }
        whole = Whole::default();
        if !more {
            break;
        }
    }
    let mut map = fst::MapBuilder::memory();
    for (name, offset) in &building.packages {
        map.insert(name.as_bytes(), *offset as u64).map_err(|e| bad(e.to_string()))?;
    }
    let (mut provided, mut providers) = (fst::MapBuilder::memory(), Vec::new());
    for (name, by) in &building.provided {
        provided.insert(name.as_bytes(), providers.len() as u64).map_err(|e| bad(e.to_string()))?;
        put_varint(&mut providers, by.len() as u64);
        for (package, version) in by {
            put_text(&mut providers, package);
            put_text(&mut providers, version);
        }
    }
    let (map, provided) = (map.into_inner(), provided.into_inner());
    let (map, provided) = (map.map_err(|e| bad(e.to_string()))?, provided.map_err(|e| bad(e.to_string()))?);
    let essential = put_strings(building.essential.iter().map(|name| &**name));
    file::write(to, &[&map, &building.records, &provided, &providers, &essential])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> RelationIndex {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        build(&mut text.as_bytes(), "Packages", &path).unwrap();
        RelationIndex::open(&path).unwrap()
    }

    fn stanza(name: &str, version: &str, arch: &str, more: &str) -> String {
        let hash = "ab".repeat(32);
        format!("Package: {name}\nVersion: {version}\nArchitecture: {arch}\nFilename: p/{name}\nSize: 1\nSHA256: {hash}\n{more}\n")
    }

    #[test]
    fn a_package_says_what_it_needs_and_whom_it_serves() {
        let text = stanza("tool", "1:2-3", "amd64", "Depends: libc6 (>= 2.36), awk\nPre-Depends: init | other\nMulti-Arch: foreign\n")
            + &stanza("data", "1", "all", "");
        let index = open(&text);
        let tool = index.get("tool").unwrap();
        assert_eq!(tool.depends, "libc6 (>= 2.36), awk, init | other");
        assert_eq!((tool.multi_arch, tool.file.version.as_str()), (MultiArch::Foreign, "1:2-3"));
        let data = index.get("data").unwrap();
        assert_eq!((data.file.arch.as_str(), data.multi_arch, data.depends.as_str()), ("all", MultiArch::No, ""));
        assert_eq!(index.get("none"), None);
        assert_eq!(index.names(), ["data", "tool"]);
    }

    #[test]
    fn who_stands_for_a_name_is_known_with_the_version() {
        let text =
            stanza("mawk", "1", "amd64", "Provides: awk\n") + &stanza("gawk", "2", "amd64", "Provides: awk (= 2.0), other:any (= 3)\n");
        let index = open(&text);
        let awk = |package: &str, version: Option<&str>| Provided { package: package.to_owned(), version: version.map(str::to_owned) };
        assert_eq!(index.providers("awk"), [awk("gawk", Some("2.0")), awk("mawk", None)]);
        assert_eq!(index.providers("other"), [awk("gawk", Some("3"))]);
        assert_eq!(index.providers("none"), []);
    }

    #[test]
    fn of_two_versions_the_newer_counts_and_essential_packages_are_listed() {
        let text = stanza("a", "1.10", "amd64", "Essential: yes\nDepends: new\n") + &stanza("a", "1.9", "amd64", "Depends: old\n");
        let index = open(&text);
        assert_eq!(index.get("a").unwrap().depends, "new");
        assert_eq!(index.essential(), ["a"]);
    }
}
