//! Names a program may `dlopen`, found as strings: whole NUL-delimited strings of its data that
//! have the shape of a soname. A hint is never a need: it can add a library, never fail a start.

use crate::elf::{ElfError, Image};
use crate::needs::{DlopenHint, HintSource};
use memchr::memmem;
use std::collections::BTreeSet;

/// The longest string taken for a soname.
const SONAME_MAX: usize = 80;
/// The most hints taken from one file.
const HINTS_MAX: usize = 512;

/// Finds the soname-shaped strings of a file, sorted.
///
/// Anchored: the string must be the whole of what stands between something unprintable and a NUL, so that
/// `cannot load libfoo.so.1` or a path is no hint.
///
/// # Errors
/// [`ElfError`] if the file's segments cannot be told.
pub fn strings(bytes: &[u8]) -> Result<Vec<DlopenHint>, ElfError> {
    let image = Image::new(bytes)?;
    let mut names = BTreeSet::new();
    let finder = memmem::Finder::new(b".so");
    for range in image.data_ranges() {
        for at in finder.find_iter(range) {
            if names.len() == HINTS_MAX {
                break;
            }
            let window = range.get(at.saturating_sub(SONAME_MAX)..at).unwrap_or(&[]);
            // Code may lie directly before the first string, with no NUL in between.
            let unprintable = |b: &u8| !(b' '..=b'~').contains(b);
            let Some(start) = window.iter().rposition(unprintable).map(|end| at - window.len() + end + 1) else {
                continue;
            };
            let tail = range.get(at..).unwrap_or(&[]);
            let Some(len) = memchr::memchr(0, tail.get(..SONAME_MAX).unwrap_or(tail)) else {
                continue;
            };
            let whole = range.get(start..at + len).unwrap_or(&[]);
            if let Ok(name) = std::str::from_utf8(whole)
                && is_soname(name)
            {
                names.insert(name.to_owned());
            }
        }
    }
    Ok(names
        .into_iter()
        .map(|n| DlopenHint { sonames: vec![n], source: HintSource::String, feature: String::new(), priority: "suggested".to_owned() })
        .collect())
}

/// `lib<name>.so` with at least one version number: an unversioned name is a plugin of the
/// program's own or a development link, and neither comes from a distribution.
pub fn is_soname(name: &str) -> bool {
    let Some((stem, version)) = name.split_once(".so.") else {
        return false;
    };
    stem.len() > 3
        && stem.starts_with("lib")
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.'))
        && !version.is_empty()
        && version.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_directly_behind_code_is_a_hint_and_a_part_of_one_is_none() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/bin/string-dlopen");
        let bytes = std::fs::read(path).unwrap();
        let found = |bytes: &[u8]| strings(bytes).unwrap().into_iter().flat_map(|h| h.sonames).any(|n| n == "libz.so.1");
        assert!(found(&bytes));
        let at = bytes.windows(9).position(|w| w == b"libz.so.1").unwrap();
        let mut text = bytes;
        text[at - 1] = b' ';
        assert!(!found(&text));
    }

    #[test]
    fn a_soname_has_a_stem_and_a_numeric_version() {
        for good in ["libX11.so.6", "libstdc++.so.6", "libicui18n.so.60.2", "libgtk-3.so.0"] {
            assert!(is_soname(good), "{good}");
        }
        for bad in ["libfoo.so", "foo.so.1", "lib.so.1", "libfoo.so.", "libfoo.so.%d", "a libfoo.so.1", "/usr/lib/libfoo.so.1"] {
            assert!(!is_soname(bad), "{bad}");
        }
    }
}
