//! nix-ld's variables, read from the environment's entries in one pass. Nothing is changed: entries that are
//! no assignments are passed over, and of two of one name the first counts, as for `getenv`.

use crate::bytes::after;

/// nix-ld's name of the system that this was built for, as its variables end, with the sign behind it.
pub const SYSTEM: &[u8] = if cfg!(target_arch = "x86_64") {
    b"_x86_64_linux="
} else if cfg!(target_arch = "x86") {
    b"_i686_linux="
} else if cfg!(target_arch = "aarch64") {
    b"_aarch64_linux="
} else {
    b"_riscv64_linux="
};

/// What nix-ld falls back to, with the NUL that ends it.
const DEFAULT: &[u8] = b"/run/current-system/sw/share/nix-ld/lib/ld.so\0";
/// The same without it; it follows.
pub const DEFAULT_LOADER: &[u8] = DEFAULT.split_at(DEFAULT.len() - 1).0;
/// The libraries beside it.
pub const DEFAULT_LIBRARIES: &[u8] = DEFAULT.split_at(DEFAULT.len() - b"/ld.so\0".len()).0;

/// What the environment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variables<'a> {
    /// `NIX_LD_<system>`, else `NIX_LD`; never empty.
    pub loader: Option<&'a [u8]>,
    /// `NIX_LD_LIBRARY_PATH_<system>`, else `NIX_LD_LIBRARY_PATH`.
    pub libraries: Option<&'a [u8]>,
    /// `LD_LIBRARY_PATH`.
    pub user: Option<&'a [u8]>,
    /// `NIX_LD_LOG` asks for more than failures.
    pub loud: bool,
}

/// Reads the variables among the entries of an environment.
#[inline(never)]
pub fn read<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Variables<'a> {
    let mut out = Variables::default();
    let (mut own_loader, mut own_libraries) = (None, None);
    for entry in entries {
        if let Some(found) = after(entry, b"LD_LIBRARY_PATH=") {
            out.user = out.user.or(Some(found));
        }
        let Some(rest) = after(entry, b"NIX_LD") else { continue };
        if let Some(found) = after(rest, b"_LOG=") {
            out.loud = is(found, b"info") || is(found, b"debug") || is(found, b"trace");
        }
        let (rest, generic, own) = match after(rest, b"_LIBRARY_PATH") {
            Some(rest) => (rest, &mut out.libraries, &mut own_libraries),
            None => (rest, &mut out.loader, &mut own_loader),
        };
        if let Some(found) = after(rest, b"=") {
            *generic = generic.or(Some(found));
        } else if let Some(found) = after(rest, SYSTEM) {
            *own = own.or(Some(found));
        }
    }
    out.loader = own_loader.or(out.loader).filter(|path| !path.is_empty());
    out.libraries = own_libraries.or(out.libraries);
    out
}

/// Whether a word is this lower-case one, in any case. By hand: core's comparison is made for long texts.
#[inline(never)]
fn is(word: &[u8], name: &[u8]) -> bool {
    word.len() == name.len() && word.iter().zip(name).all(|(a, b)| a | 0x20 == *b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn of<'a>(entries: &'a [&'a str]) -> Variables<'a> {
        read(entries.iter().map(|e| e.as_bytes()))
    }

    #[test]
    fn the_systems_own_variables_win() {
        let own = [b"NIX_LD".as_slice(), SYSTEM, b"/own"].concat();
        let path = [b"NIX_LD_LIBRARY_PATH".as_slice(), SYSTEM, b"/libs"].concat();
        let entries: Vec<&[u8]> = [b"NIX_LD=/other".as_slice(), &own, b"NIX_LD_LIBRARY_PATH=/x", &path].into();
        let found = read(entries.into_iter());
        assert_eq!((found.loader, found.libraries), (Some(b"/own".as_slice()), Some(b"/libs".as_slice())));
    }

    #[test]
    fn an_entry_that_is_no_assignment_ends_nothing() {
        assert_eq!(of(&["NIX_LD", "garbage", "", "=", "NIX_LD=/ld.so"]).loader, Some(b"/ld.so".as_slice()));
    }

    #[test]
    fn an_empty_loader_is_none_and_an_empty_path_is_one() {
        let found = of(&["NIX_LD=", "NIX_LD_LIBRARY_PATH=", "LD_LIBRARY_PATH="]);
        assert_eq!((found.loader, found.libraries, found.user), (None, Some(b"".as_slice()), Some(b"".as_slice())));
    }

    #[test]
    fn of_two_entries_of_a_name_the_first_counts_and_longer_names_are_others() {
        assert_eq!(of(&["NIX_LD=/a", "NIX_LD=/b"]).loader, Some(b"/a".as_slice()));
        assert_eq!(of(&["NIX_LDX=/a", "NIX_LD_=/b", "NIX_LD_x=/c"]).loader, None);
    }

    #[test]
    fn levels_are_words_of_any_case() {
        assert!(of(&["NIX_LD_LOG=INFO"]).loud && of(&["NIX_LD_LOG=trace"]).loud && of(&["NIX_LD_LOG=Debug"]).loud);
        assert!(!of(&["NIX_LD_LOG=off"]).loud && !of(&["NIX_LD_LOG="]).loud && !of(&[]).loud);
    }
}
