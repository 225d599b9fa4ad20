//! Symbol versions: what each object needs of another must be defined there
//! (`VERNEED` ⊆ `VERDEF`; glibc `elf/dl-version.c`, `_dl_check_map_versions`).

use crate::needs::Needs;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The versions `needs` wants of `file` that `defined` lacks. A file that defines no versions at all
/// satisfies every need (the loader warns and goes on), and a weak need is no need.
pub fn lacking<'a>(needs: &'a Needs, file: &str, defined: &BTreeSet<String>) -> Vec<&'a str> {
    if defined.is_empty() {
        return Vec::new();
    }
    needs
        .version_needs
        .iter()
        .filter(|n| n.file == file)
        .flat_map(|n| &n.versions)
        .filter(|v| !v.weak && !defined.contains(&v.name))
        .map(|v| v.name.as_str())
        .collect()
}

/// The newest version of the same family (`GLIBC_`, `GLIBCXX_`, …) among those defined.
pub fn newest<'a>(defined: &'a BTreeSet<String>, like: &str) -> Option<&'a str> {
    let family = like.rsplit_once('_').map_or(like, |(family, _)| family);
    let of_family = |v: &&String| v.rsplit_once('_').is_some_and(|(f, rest)| f == family && rest.starts_with(|c: char| c.is_ascii_digit()));
    defined.iter().filter(of_family).max_by(|a, b| compare(a, b)).map(String::as_str)
}

/// Compares two version names of one family by the numbers in them.
pub fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |s: &str| -> Vec<u64> {
        let tail = s.rsplit_once('_').map_or(s, |(_, tail)| tail);
        tail.split('.').map(|n| n.parse().unwrap_or(0)).collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_greatest_by_number_not_by_letter() {
        let defined: BTreeSet<String> =
            ["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_2.4", "GLIBC_PRIVATE", "GLIBCXX_3.4.30"].map(String::from).into();
        assert_eq!(newest(&defined, "GLIBC_2.38"), Some("GLIBC_2.36"));
        assert_eq!(newest(&defined, "GLIBCXX_3.4.31"), Some("GLIBCXX_3.4.30"));
        assert_eq!(newest(&defined, "OPENSSL_3"), None);
    }
}
