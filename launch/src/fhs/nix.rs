//! Paths of a Nix store: what they refer to, found as Nix itself finds it, by the hashes that occur in their files.
//! Neither Nix nor its database is asked, so that a copied store will do.

use super::packages::{Input, Source};
use super::spec::FhsSpec;
use super::walk::{self, Sort};
use crate::error::{Error, Kind};
use resolver::map::Mapped;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Digits of a hash (base 32, without e, o, t, u).
const DIGITS: usize = 32;
/// The most store paths of one closure.
const PATHS_MAX: usize = 20_000;

fn refused(path: &Path, cause: impl Into<String>) -> Error {
    Error::new(Kind::Own, "use store path", path.display().to_string(), cause, "name a path that is in the Nix store")
}

/// The trees for one path: it, its further outputs, and everything they refer to if that is asked for.
pub(super) fn inputs(path: &Path, store: &Path, spec: &FhsSpec) -> Result<Vec<Input>, Error> {
    let real = fs::canonicalize(path).map_err(|e| refused(path, e.to_string()))?;
    let name = real.strip_prefix(store).ok().and_then(|rest| rest.components().next()).map(|c| c.as_os_str().to_owned());
    let Some(name) = name else { return Err(refused(path, format!("it leads to nothing in {}", store.display()))) };
    let hashes = hashes(store)?;
    let mut names: Vec<OsString> = vec![name.clone()];
    for output in &spec.extra_outputs {
        names.extend(output_of(&name, output, store, &hashes)?);
    }
    if spec.include_closures {
        names = closure(names, store, &hashes)?;
    }
    // A store path never changes: its name is its identity.
    let input = |name: OsString| {
        let root = store.join(&name);
        let identity = name.to_string_lossy().into_owned();
        Input { label: root.display().to_string(), root, identity, source: Source::Directory }
    };
    Ok(names.into_iter().map(input).collect())
}

/// The names in a store by their hashes.
fn hashes(store: &Path) -> Result<BTreeMap<Vec<u8>, OsString>, Error> {
    let entries = fs::read_dir(store).map_err(|e| refused(store, e.to_string()))?;
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (hash, rest) = name.as_bytes().split_at_checked(DIGITS)?;
        (rest.first() == Some(&b'-') && hash.iter().all(|b| is_digit(*b))).then(|| (hash.to_vec(), name.clone()))
    });
    Ok(named.collect())
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z') && !matches!(byte, b'e' | b'o' | b't' | b'u')
}

/// The hashes of the store that occur in a path's files, links and names.
fn references(root: &Path, hashes: &BTreeMap<Vec<u8>, OsString>) -> Result<BTreeSet<OsString>, Error> {
    let mut found = BTreeSet::new();
    if fs::symlink_metadata(root).is_ok_and(|meta| meta.is_file()) {
        scan_file(root, hashes, &mut found)?;
        return Ok(found);
    }
    for (relative, sort) in walk::tree(root, &|_| true)? {
        match sort {
            Sort::File => scan_file(&root.join(&relative), hashes, &mut found)?,
            Sort::Link(target) => scan(target.as_os_str().as_bytes(), hashes, &mut found),
            Sort::Empty => {}
        }
    }
    Ok(found)
}

fn scan_file(path: &Path, hashes: &BTreeMap<Vec<u8>, OsString>, found: &mut BTreeSet<OsString>) -> Result<(), Error> {
    let file = Mapped::open(path).map_err(|e| Error::io("read", path, e, "make it readable"))?;
    scan(&file, hashes, found);
    Ok(())
}

/// Nix's own way (`src/libstore/path-references.cc`): skip to where 32 digits can end, then look them up.
fn scan(bytes: &[u8], hashes: &BTreeMap<Vec<u8>, OsString>, found: &mut BTreeSet<OsString>) {
    let mut at = 0usize;
    while let Some(window) = bytes.get(at..at.saturating_add(DIGITS)) {
        if let Some(bad) = window.iter().rposition(|b| !is_digit(*b)) {
            at += bad + 1;
            continue;
        }
        if let Some(name) = hashes.get(window) {
            found.insert(name.clone());
        }
        at += 1;
    }
}

/// Everything that paths refer to, themselves first.
fn closure(names: Vec<OsString>, store: &Path, hashes: &BTreeMap<Vec<u8>, OsString>) -> Result<Vec<OsString>, Error> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    let mut open: VecDeque<OsString> = names.into();
    while let Some(name) = open.pop_front() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if all.len() >= PATHS_MAX {
            return Err(refused(&store.join(&name), format!("its closure has more than {PATHS_MAX} paths")));
        }
        open.extend(references(&store.join(&name), hashes)?);
        all.push(name);
    }
    Ok(all)
}

/// The paths that are a certain output of the same package: named after it, and of the same build, which is seen by one of
/// the two referring to the other. Outputs that nothing connects cannot be told from another build's.
fn output_of(name: &OsString, output: &str, store: &Path, hashes: &BTreeMap<Vec<u8>, OsString>) -> Result<Vec<OsString>, Error> {
    let plain = name.as_bytes().get(DIGITS..).unwrap_or_default();
    let wanted = [plain, b"-", output.as_bytes()].concat();
    let own: PathBuf = store.join(name);
    let of_ours = references(&own, hashes)?;
    let mut found = Vec::new();
    for other in hashes.values().filter(|other| other.as_bytes().get(DIGITS..) == Some(&wanted)) {
        if of_ours.contains(other) || references(&store.join(other), hashes)?.contains(name) {
            found.push(other.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (hash, name, content) in [
            ('a', "tool-1", "uses /nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-lib-1/lib"),
            ('b', "lib-1", "and /nix/store/cccccccccccccccccccccccccccccccc-libc-2/lib"),
            ('c', "libc-2", "xx/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-lib-1: a loop"),
            ('d', "tool-1-dev", "includes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ('f', "tool-1-dev", "another build's"),
        ] {
            let root = dir.path().join(format!("{}-{name}", hash.to_string().repeat(32)));
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::write(root.join("bin/file"), content).unwrap();
        }
        dir
    }

    fn names(inputs: &[Input]) -> Vec<String> {
        inputs.iter().map(|i| i.identity.get(..1).unwrap().to_owned()).collect()
    }

    #[test]
    fn what_a_path_refers_to_is_found_by_the_hashes_in_its_files() {
        let dir = store();
        let real = fs::canonicalize(dir.path()).unwrap();
        let tool = real.join(format!("{}-tool-1", "a".repeat(32)));
        let alone = FhsSpec::default();
        assert_eq!(names(&inputs(&tool, &real, &alone).unwrap()), ["a"]);
        assert_eq!(names(&inputs(&tool.join("bin"), &real, &alone).unwrap()), ["a"], "a path below is the whole");
        let whole = FhsSpec { include_closures: true, ..FhsSpec::default() };
        assert_eq!(names(&inputs(&tool, &real, &whole).unwrap()), ["a", "b", "c"]);
        let dev = FhsSpec { extra_outputs: vec!["dev".to_owned()], ..FhsSpec::default() };
        assert_eq!(names(&inputs(&tool, &real, &dev).unwrap()), ["a", "d"]);
        assert!(inputs(Path::new("/etc"), &real, &alone).unwrap_err().to_string().contains("leads to nothing in "));
    }
}
