//! The words of a direct invocation, `ld-shim [OPTION]... PROG [ARG]...`, as glibc's own loader reads them
//! (`elf/rtld.c`, `dl_main`): where the program stands among them. The options themselves are the loader's.

use crate::bytes::after;

/// What a direct invocation asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Which word is the program, the first one being the shim itself; `None` if there is none.
    pub program: Option<usize>,
    /// `--library-path` is among the options.
    pub library_path: bool,
}

/// Reads the words, the first of which (index 0) is the shim's own name.
#[inline(never)]
pub fn read<'a>(word: impl Fn(usize) -> Option<&'a [u8]>) -> Invocation {
    let mut found = Invocation::default();
    let mut index = 1;
    while let Some(option) = word(index) {
        if after(option, b"--").is_none() {
            found.program = Some(index);
            break;
        }
        // musl writes the value into the same word, too.
        found.library_path |= after(option, b"--library-path").is_some();
        index += 1 + usize::from(takes_a_value(option));
    }
    found
}

/// The options of every glibc that take the next word. One text, as a table of slices would hold addresses,
/// which somebody would have to relocate.
const WITH_VALUE: &[u8] = b"--library-path --inhibit-rpath --audit --preload --argv0 --glibc-hwcaps-prepend --glibc-hwcaps-mask";

fn takes_a_value(option: &[u8]) -> bool {
    WITH_VALUE.split(|b| *b == b' ').any(|known| known == option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Invocation {
        read(|index| line.split(' ').nth(index).map(str::as_bytes))
    }

    #[test]
    fn the_program_is_the_first_word_that_is_no_option() {
        assert_eq!(of("ld /bin/true --version").program, Some(1));
        assert_eq!(of("ld --list /bin/true").program, Some(2));
        assert_eq!(of("ld --library-path /a:/b --argv0 x ./p a").program, Some(5));
        assert_eq!(of("ld --library-path").program, None);
        assert_eq!(of("ld").program, None);
    }

    #[test]
    fn what_the_user_says_about_libraries_is_seen() {
        assert!(of("ld --library-path /a p").library_path && !of("ld p --library-path /a").library_path);
        assert!(of("ld --library-path=/a p").library_path);
    }
}
