//! Run paths: how a directory is written in one, and in which order directories must stand. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// A directory of the tree as seen from `origin`, which lies in the tree too; `None` if no run path can say it.
pub(crate) fn relative(origin: &Path, directory: &Path) -> Option<OsString> {
    let common = origin.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    let up = origin.components().count() - common;
    let mut text = OsString::from("$ORIGIN");
    for _ in 0..up {
        text.push("/..");
    }
    for component in directory.components().skip(common) {
        let Component::Normal(name) = component else { return None };
        text.push("/");
        text.push(name);
    }
    let rest = text.as_bytes().get("$ORIGIN".len()..)?;
    sayable(rest).then_some(text)
}

/// A directory outside of the tree; `None` if no run path can say it.
pub(crate) fn absolute(directory: &Path) -> Option<OsString> {
    let text = directory.as_os_str();
    (directory.is_absolute() && sayable(text.as_bytes())).then(|| text.to_owned())
}

/// `:` ends an entry (musl: so does a newline), `;` does for some loaders, and `$` begins a token.
fn sayable(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b':' | b';' | b'$' | b'\n' | 0))
}

/// Joins entries.
pub(crate) fn join(entries: &[OsString]) -> OsString {
    OsString::from_vec(entries.iter().map(|entry| entry.as_bytes()).collect::<Vec<_>>().join(&b':'))
}

/// The order of `count` directories in which each `before` pair `(a, b)` has `a` first, otherwise as they are; the pairs
/// that could not be kept, as they contradict others.
pub(crate) fn order(count: usize, before: &[(usize, usize)]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut left: Vec<usize> = (0..count).collect();
    let mut placed: Vec<usize> = Vec::with_capacity(count);
    let mut broken = Vec::new();
    while !left.is_empty() {
        let waits = |d: usize, left: &[usize]| before.iter().any(|(a, b)| *b == d && *a != d && left.contains(a));
        let at = left.iter().position(|d| !waits(*d, &left)).unwrap_or(0);
        let next = left.remove(at);
        broken.extend(before.iter().filter(|(a, b)| *b == next && *a != next && left.contains(a)));
        placed.push(next);
    }
    (placed, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_tree_is_said_from_the_origin() {
        let from = |a: &str, b: &str| relative(Path::new(a), Path::new(b)).map(|t| t.into_string().unwrap());
        assert_eq!(from("/t/bin", "/t/lib").as_deref(), Some("$ORIGIN/../lib"));
        assert_eq!(from("/t/lib", "/t/lib").as_deref(), Some("$ORIGIN"));
        assert_eq!(from("/t", "/t/lib/x").as_deref(), Some("$ORIGIN/lib/x"));
        assert_eq!(from("/t/a/b", "/t").as_deref(), Some("$ORIGIN/../.."));
        assert_eq!(from("/t/bin", "/t/a:b"), None);
        assert_eq!(from("/t/bin", "/t/a$LIB"), None);
        // What is strange above both is not said at all.
        assert_eq!(from("/t:u/bin", "/t:u/lib").as_deref(), Some("$ORIGIN/../lib"));
        assert_eq!(absolute(Path::new("/a:b")), None);
    }

    #[test]
    fn directories_keep_their_order_unless_one_must_come_first() {
        assert_eq!(order(3, &[]), (vec![0, 1, 2], vec![]));
        assert_eq!(order(3, &[(2, 0)]), (vec![1, 2, 0], vec![]));
        assert_eq!(order(2, &[(0, 1), (1, 0)]), (vec![0, 1], vec![(1, 0)]));
    }
}
