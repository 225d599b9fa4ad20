//! Search paths as text: splitting, dynamic string tokens, and the directories they become
//! (ld.so(8), "Dynamic string tokens"; glibc `elf/dl-load.c`, `_dl_dst_substitute`, `fillin_rpath`).

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

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces. Any other `$` stands for
/// itself, and so does a token name that runs on into a longer identifier (`$ORIGINAL`).
pub fn expand(text: &str, tokens: &Tokens<'_>) -> String {
    let origin = tokens.origin.to_string_lossy();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, token) = rest.split_at(at);
        out.push_str(before);
        let names = [("ORIGIN", &*origin), ("LIB", tokens.lib), ("PLATFORM", tokens.platform)];
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
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = token.get(1..).unwrap_or("");
            }
        }
    }
    out.push_str(rest);
    out
}

/// Splits `DT_RPATH`/`DT_RUNPATH` text at colons; an empty element is the current directory.
pub fn directories(text: &str, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    split(text, &[':'], tokens)
}

/// Splits `LD_LIBRARY_PATH`, which may also be separated by semicolons. An empty string is no path
/// at all (`_dl_init_paths`), an empty element within is the current directory.
pub fn library_path(text: &str, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    if text.is_empty() { Vec::new() } else { split(text, &[':', ';'], tokens) }
}

fn split(text: &str, separators: &[char], tokens: &Tokens<'_>) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    for element in text.split(separators) {
        let expanded = expand(element, tokens);
        let directory = PathBuf::from(if expanded.is_empty() { "." } else { &expanded });
        // fillin_rpath drops a directory that is already in the list.
        if !out.contains(&directory) {
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
        assert_eq!(directories("/a::/b:/a", &tokens()), [Path::new("/a"), Path::new("."), Path::new("/b")]);
        assert_eq!(library_path("", &tokens()), Vec::<PathBuf>::new());
        assert_eq!(library_path("/a;/b", &tokens()), [Path::new("/a"), Path::new("/b")]);
    }
}
