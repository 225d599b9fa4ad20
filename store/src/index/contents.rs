//! The soname index: which package has a library of this name, and in which directory.
//!
//! Made from `Contents-<arch>` (Debian wiki, RepositoryFormat); keeps only names that can be libraries and
//! does not judge them ([`crate::rank`] does).

use super::{Cursor, file, get_string, put_strings, put_varint, read_line};
use crate::error::{Error, Kind, Result};
use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

/// Most library names an archive may have; trixie has 64,000.
const MAX_ENTRIES: usize = 1_000_000;

/// Most bytes of names, directories and packages that are held while building (24 MiB).
const MAX_BYTES: usize = 24 << 20;

/// An open soname index.
pub struct SonameIndex {
    map: fst::Map<file::Section>,
    postings: file::Section,
    directories: file::Section,
    packages: file::Section,
}

/// One place where a library of the name lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Directory in the package, without a slash at either end: `usr/lib/x86_64-linux-gnu`.
    pub directory: String,
    /// Name of the package.
    pub package: String,
}

impl SonameIndex {
    /// Maps an index.
    ///
    /// # Errors
    /// [`Kind::Io`] if it is not there, [`Kind::Malformed`] if it is damaged.
    pub fn open(path: &Path) -> Result<SonameIndex> {
        let [map, postings, directories, packages] = file::open(path)?;
        let map = fst::Map::new(map)
            .map_err(|e| Error::new(Kind::Malformed, "open index", path.display(), e, "delete it, it will be made anew"))?;
        Ok(SonameIndex { map, postings, directories, packages })
    }

    /// All places of a name, unordered.
    pub fn get(&self, soname: &str) -> Vec<Place> {
        let Some(offset) = self.map.get(soname) else { return Vec::new() };
        self.read(offset).unwrap_or_default()
    }

    fn read(&self, offset: u64) -> Option<Vec<Place>> {
        let mut cursor = Cursor::at(self.postings.as_ref(), offset)?;
        let count = usize::try_from(cursor.varint()?).ok()?;
        let mut places = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let directory = get_string(self.directories.as_ref(), cursor.varint()?)?.to_owned();
            let package = get_string(self.packages.as_ref(), cursor.varint()?)?.to_owned();
            places.push(Place { directory, package });
        }
        Some(places)
    }
}

/// Gives each distinct string a number.
#[derive(Default)]
struct Interner {
    numbers: HashMap<String, u32>,
    bytes: usize,
}

impl Interner {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.bytes += text.len();
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn table(&self) -> Vec<u8> {
        let mut by_number: Vec<(&String, u32)> = self.numbers.iter().map(|(s, n)| (s, *n)).collect();
        by_number.sort_by_key(|(_, n)| *n);
        put_strings(by_number.iter().map(|(s, _)| s.as_str()))
    }
}

/// Reads an uncompressed `Contents` and writes its index; the order of lines does not matter to the result's meaning.
///
/// # Errors
/// [`Kind::Malformed`] if it cannot be read or has absurdly many names, or as writing files.
pub fn build(input: &mut impl BufRead, subject: &str, to: &Path) -> Result<()> {
    let bad = |cause: String| Error::new(Kind::Malformed, "index", subject, cause, "try again later, or another mirror");
    let mut directories = Interner::default();
    let mut packages = Interner::default();
    let mut entries: Vec<(Box<str>, u32, u32)> = Vec::new();
    let mut name_bytes = 0;
    let mut line = Vec::new();
    while read_line(input, &mut line).map_err(|e| bad(e.to_string()))? {
        let Some((directory, name, owners)) = library_line(&line) else { continue };
        let directory = directories.number(directory);
        for owner in owners.split(',') {
            // `section/package`, or `area/section/package`.
            let package = owner.rsplit('/').next().unwrap_or(owner);
            name_bytes += name.len() + size_of::<(Box<str>, u32, u32)>();
            entries.push((name.into(), directory, packages.number(package)));
        }
        if entries.len() > MAX_ENTRIES || name_bytes + directories.bytes + packages.bytes > MAX_BYTES {
            return Err(bad("it has absurdly many libraries".to_owned()));
        }
    }
    entries.sort_unstable();
    entries.dedup();

    let mut builder = fst::MapBuilder::memory();
    let mut postings = Vec::new();
    let mut seen: HashMap<Vec<u8>, u64> = HashMap::new();
    for same in entries.chunk_by(|a, b| a.0 == b.0) {
        let Some((name, _, _)) = same.first() else { continue };
        let mut posting = Vec::new();
        put_varint(&mut posting, same.len() as u64);
        for (_, directory, package) in same {
            put_varint(&mut posting, u64::from(*directory));
            put_varint(&mut posting, u64::from(*package));
        }
        // Many names lie in one directory of one package: they share one posting, which also keeps the map small.
        let offset = *seen.entry(posting).or_insert_with_key(|posting| {
            let offset = postings.len() as u64;
            postings.extend_from_slice(posting);
            offset
        });
        builder.insert(name.as_bytes(), offset).map_err(|e| bad(e.to_string()))?;
    }
    let map = builder.into_inner().map_err(|e| bad(e.to_string()))?;
    file::write(to, &[&map, &postings, &directories.table(), &packages.table()])
}

/// Splits `path<spaces>section/package[,…]` if the path can be a library that a loader would be asked for.
fn library_line(line: &[u8]) -> Option<(&str, &str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let (path, owners) = line.trim_end().rsplit_once([' ', '\t'])?;
    let path = path.trim_end();
    let (directory, name) = path.rsplit_once('/')?;
    let library = name.ends_with(".so")
        || name.match_indices(".so.").any(|(at, dot)| name.as_bytes().get(at + dot.len()).is_some_and(u8::is_ascii_digit));
    // Extension modules of Python are only ever opened by path, debug files never.
    let unwanted = name.contains(".cpython-") || directory.starts_with("usr/lib/debug/");
    (library && !unwanted).then_some((directory, name, owners))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENTS: &str = "\
bin/sh                                    shells/dash
usr/lib/x86_64-linux-gnu/libX11.so.6      libs/libx11-6
usr/lib/x86_64-linux-gnu/libX11.so.6.4.0  libs/libx11-6
usr/lib/x86_64-linux-gnu/libX11.so        libdevel/libx11-dev
usr/lib/x86_64-linux-gnu/a name with spaces.so.1\tcontrib/libs/odd,non-free/libs/other
usr/lib/x86_64-linux-gnu/blas/libblas.so.3 libs/libblas3
usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3 libs/libopenblas0-pthread
usr/lib/debug/.dwz/libX11.so.6            debug/libx11-dbg
usr/lib/python3/x.cpython-313-x86_64-linux-gnu.so python/python3-x
usr/share/man/man8/ld.so.8.gz             doc/manpages
";

    #[test]
    fn every_place_of_a_name_is_found_and_nothing_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        build(&mut CONTENTS.as_bytes(), "Contents", &path).unwrap();
        let index = SonameIndex::open(&path).unwrap();
        let places = |name: &str| {
            let mut all: Vec<String> = index.get(name).iter().map(|p| format!("{} {}", p.directory, p.package)).collect();
            all.sort();
            all
        };
        assert_eq!(places("libX11.so.6"), ["usr/lib/x86_64-linux-gnu libx11-6"]);
        assert_eq!(places("libX11.so"), ["usr/lib/x86_64-linux-gnu libx11-dev"]);
        assert_eq!(
            places("libblas.so.3"),
            ["usr/lib/x86_64-linux-gnu/blas libblas3", "usr/lib/x86_64-linux-gnu/openblas-pthread libopenblas0-pthread"]
        );
        assert_eq!(places("a name with spaces.so.1"), ["usr/lib/x86_64-linux-gnu odd", "usr/lib/x86_64-linux-gnu other"]);
        assert_eq!(places("sh"), [""; 0]);
        // `.so.8` is digits as well: a compressed manual page costs one entry and no more.
        assert_eq!(places("libnothing.so.1"), [""; 0]);
    }

    #[test]
    fn a_truncated_index_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        build(&mut CONTENTS.as_bytes(), "Contents", &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for n in [0, 7, 8, 39, 40, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..n]).unwrap();
            assert_eq!(SonameIndex::open(&path).err().map(|e| e.kind()).filter(|k| *k == Kind::Malformed), Some(Kind::Malformed), "{n}");
        }
    }

    #[test]
    fn an_empty_archive_has_an_empty_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        build(&mut &b""[..], "Contents", &path).unwrap();
        assert_eq!(SonameIndex::open(&path).unwrap().get("libc.so.6"), []);
    }
}
