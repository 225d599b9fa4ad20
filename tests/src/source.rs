//! The repository's own text: which files there are, and Rust text with comments, strings or test
//! modules blanked out, so that a guard sees only what it guards. A lexer of a page, no parser.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below the top that belongs to the repository, as a path relative to it, in order.
pub fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&crate::repository(), Path::new(""), &mut found);
    found.sort();
    found
}

fn walk(top: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(top.join(below)).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(_) if path == Path::new("target") || path == Path::new(".git") => {}
            Ok(kind) if kind.is_dir() => walk(top, &path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// The text of a file of the repository; empty if it is not text.
pub fn text(path: &Path) -> String {
    fs::read_to_string(crate::repository().join(path)).unwrap_or_default()
}

/// What [`blank`] replaces by spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// Comments, doc comments among them.
    Comments,
    /// Comments and string literals.
    CommentsAndStrings,
}

/// Rust text of the same length and lines, with what is asked for replaced by spaces.
pub fn blank(text: &str, what: Blank) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let at = |index: usize| bytes.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let hide = |c: char| if c == '\n' { '\n' } else { ' ' };
    while i < bytes.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..).find(|&k| k >= bytes.len() || at(k) == '\n').unwrap_or(i),
            ('/', '*') => end_of_block_comment(&bytes, i),
            ('"', _) => {
                let end = end_of_string(&bytes, i);
                string(&bytes, i, end, what, &mut out);
                i = end;
                continue;
            }
            ('r', '"' | '#') if !at(i.wrapping_sub(1)).is_alphanumeric() && raw_hashes(&bytes, i + 1).is_some() => {
                let hashes = raw_hashes(&bytes, i + 1).unwrap_or(0);
                let end = end_of_raw(&bytes, i + 1 + hashes + 1, hashes);
                string(&bytes, i, end, what, &mut out);
                i = end;
                continue;
            }
            // A character literal, not a lifetime: it closes after one character or an escape.
            ('\'', '\\') => {
                let end = (i + 3..).find(|&k| k >= bytes.len() || at(k) == '\'').unwrap_or(i) + 1;
                out.extend((i..end.min(bytes.len())).map(|k| hide(at(k))));
                i = end;
                continue;
            }
            ('\'', _) if at(i + 2) == '\'' => {
                out.push_str("   ");
                i += 3;
                continue;
            }
            (c, _) => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        out.extend((i..end.min(bytes.len())).map(|k| hide(at(k))));
        i = end;
    }
    out
}

fn string(bytes: &[char], from: usize, to: usize, what: Blank, out: &mut String) {
    for k in from..to.min(bytes.len()) {
        let c = bytes.get(k).copied().unwrap_or(' ');
        let keep = what == Blank::Comments || c == '\n';
        out.push(if keep { c } else { ' ' });
    }
}

fn end_of_block_comment(bytes: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0_usize, from);
    while i < bytes.len() {
        match (bytes.get(i), bytes.get(i + 1)) {
            (Some('/'), Some('*')) => (depth, i) = (depth + 1, i + 2),
            (Some('*'), Some('/')) => (depth, i) = (depth.saturating_sub(1), i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn end_of_string(bytes: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < bytes.len() {
        match bytes.get(i) {
            Some('\\') => i += 2,
            Some('"') => return i + 1,
            _ => i += 1,
        }
    }
    i
}

fn raw_hashes(bytes: &[char], from: usize) -> Option<usize> {
    let hashes = bytes.iter().skip(from).take_while(|c| **c == '#').count();
    (bytes.get(from + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw(bytes: &[char], from: usize, hashes: usize) -> usize {
    let closes = |k: usize| bytes.get(k) == Some(&'"') && (1..=hashes).all(|h| bytes.get(k + h) == Some(&'#'));
    (from..bytes.len()).find(|&k| closes(k)).map_or(bytes.len(), |k| k + hashes + 1)
}

/// The text without its `#[cfg(test)]` modules. Give it text whose comments and strings are blank, or
/// braces in them are counted.
pub fn without_tests(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (mut depth, mut end) = (0_i32, from.len());
        for (index, c) in from.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == '}' || c == ';') && depth == 0 {
                end = index + 1;
                break;
            }
        }
        let (gone, after) = from.split_at(end);
        out.extend(gone.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether `word` stands in the text with no letter, digit or `_` on either side.
pub fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_lines_stay() {
        let text = "a // x\nb \"s\\\"// t\" /* c /* d */ e */ 'x' r#\"q\"#\nfn f<'a>() {}";
        let got = blank(text, Blank::CommentsAndStrings);
        assert_eq!(got.split_whitespace().collect::<Vec<_>>(), ["a", "b", "fn", "f<'a>()", "{}"]);
        assert_eq!(got.lines().count(), 3);
        assert!(blank(text, Blank::Comments).contains("// t"));
        assert!(!blank(text, Blank::Comments).contains("// x"));
    }

    #[test]
    fn a_test_module_is_cut_with_its_braces() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}";
        assert_eq!(without_tests(text), "fn a() {}\n\n\n\n\nfn c() {}");
    }

    #[test]
    fn a_word_is_not_part_of_a_longer_one() {
        assert!(has_word("an unsafe block", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
    }
}
