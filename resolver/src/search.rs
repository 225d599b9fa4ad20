//! Search paths as text: splitting, dynamic string tokens, and the directories they become
//! (ld.so(8), "Dynamic string tokens"; glibc `elf/dl-load.c`, `_dl_dst_substitute`, `fillin_rpath`).

use crate::needs::Libc;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the tokens stand for in one object.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    /// The directory of the object, links resolved.
    pub origin: &'a Path,
    /// `$LIB`.
    pub lib: &'a str,
    /// `$PLATFORM`.
    pub platform: &'a str,
}

/// The most directories taken from one search path; a longer one is nobody's.
const DIRECTORIES_MAX: usize = 4096;

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces. Any other `$` stands for
/// itself, and so does a token name that runs on into a longer identifier (`$ORIGINAL`).
pub fn expand(text: &str, tokens: &Tokens<'_>) -> OsString {
    let mut out = OsString::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, token) = rest.split_at(at);
        out.push(before);
        let names = [("ORIGIN", tokens.origin.as_os_str()), ("LIB", tokens.lib.as_ref()), ("PLATFORM", tokens.platform.as_ref())];
        let hit = names.iter().find_map(|(name, value)| {
            let body = token.strip_prefix('$')?;
            if let Some(after) = body.strip_prefix('{').and_then(|b| b.strip_prefix(name)).and_then(|b| b.strip_prefix('}')) {
                return Some((after, *value));
            }
            let after = body.strip_prefix(name)?;
            let runs_on = after.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            (!runs_on).then_some((after, *value))
        });
        match hit {
            Some((after, value)) => {
                out.push(value);
                rest = after;
            }
            None => {
                out.push("$");
                rest = token.get(1..).unwrap_or("");
            }
        }
    }
    out.push(rest);
    out
}

/// The directories of `DT_RPATH`/`DT_RUNPATH` text. glibc: an empty text is none (`decompose_rpath`),
/// an empty element the current directory. musl: separated by newlines too, an empty element is none,
/// and `$ORIGIN` is the only token: a text with another is ignored whole (`fixup_rpath`).
pub fn directories(text: &str, libc: Libc, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    match libc {
        Libc::Glibc if text.is_empty() => Vec::new(),
        Libc::Glibc => split(text, &[':'], |e| expand(e, tokens), true),
        Libc::Musl => {
            let foreign = text.replace("${ORIGIN}", "").replace("$ORIGIN", "").contains('$');
            if foreign { Vec::new() } else { split(text, &[':', '\n'], |e| expand(e, tokens), false) }
        }
    }
}

/// The directories of `LD_LIBRARY_PATH`. glibc: separated by colons or semicolons, expanded with the
/// program's tokens; an empty string is no path at all (`_dl_init_paths`), an empty element within is
/// the current directory. musl: as it stands, separated by colons or newlines.
pub fn library_path(text: &str, libc: Libc, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    match libc {
        Libc::Glibc if text.is_empty() => Vec::new(),
        Libc::Glibc => split(text, &[':', ';'], |e| expand(e, tokens), true),
        Libc::Musl => split(text, &[':', '\n'], |e| e.into(), false),
    }
}

fn split(text: &str, separators: &[char], expand: impl Fn(&str) -> OsString, empty_is_here: bool) -> Vec<PathBuf> {
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let mut out: Vec<PathBuf> = Vec::new();
    for element in text.split(separators).filter(|e| empty_is_here || !e.is_empty()).take(DIRECTORIES_MAX) {
        let expanded = expand(element);
        let directory = if expanded.is_empty() { PathBuf::from(".") } else { PathBuf::from(expanded) };
        // fillin_rpath drops a directory that is already in the list.
        if seen.insert(directory.clone()) {
            out.push(directory);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens<'static> {
        Tokens { origin: Path::new("/app/bin"), lib: "lib64", platform: "x86_64" }
    }

    #[test]
    fn tokens_expand_with_and_without_braces() {
        assert_eq!(expand("$ORIGIN/../$LIB/${PLATFORM}", &tokens()), "/app/bin/../lib64/x86_64");
        assert_eq!(expand("${ORIGIN}x", &tokens()), "/app/binx");
    }

    #[test]
    fn a_longer_identifier_is_no_token() {
        assert_eq!(expand("$ORIGINAL/$LIBRARY/$x/$", &tokens()), "$ORIGINAL/$LIBRARY/$x/$");
        assert_eq!(expand("${ORIGIN", &tokens()), "${ORIGIN");
    }

    #[test]
    fn an_empty_element_is_the_current_directory() {
        assert_eq!(directories("/a::/b:/a", Libc::Glibc, &tokens()), [Path::new("/a"), Path::new("."), Path::new("/b")]);
        assert_eq!(library_path("", Libc::Glibc, &tokens()), Vec::<PathBuf>::new());
        assert_eq!(library_path("/a;/b", Libc::Glibc, &tokens()), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn an_empty_text_is_no_path() {
        assert_eq!(directories("", Libc::Glibc, &tokens()), Vec::<PathBuf>::new());
    }

    #[test]
    fn musl_knows_one_token_and_no_current_directory() {
        assert_eq!(directories("/a::$ORIGIN/lib\n/b", Libc::Musl, &tokens()), ["/a", "/app/bin/lib", "/b"].map(Path::new));
        assert_eq!(directories("/a:$LIB", Libc::Musl, &tokens()), Vec::<PathBuf>::new());
        assert_eq!(library_path("/a;/b:/c", Libc::Musl, &tokens()), ["/a;/b", "/c"].map(Path::new));
    }

    #[test]
    fn a_hostile_path_of_a_million_elements_is_cut() {
        let text: String = (0..200_000).map(|i| format!("/{i}:")).collect();
        assert_eq!(directories(&text, Libc::Glibc, &tokens()).len(), DIRECTORIES_MAX);
    }
}
