//! The key of a program: 128 bits of what it needs and where it lies, and the names of images that follow
//! from it. Never of a file's content, which would have to be read in whole at every start.

use core::hash::Hasher;
use fnv::FnvHasher;

/// Nix's base-32 digits: no `e`, `o`, `t`, `u`, so that no key is a word, and none is one of [`system_name`].
const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// What identifies a program at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

/// Makes a key of tagged parts: parts do not run into each other. Two FNV-1a hashes that begin differently; a
/// program made to have another one's key gets its libraries, as it could have named them itself.
pub struct Keying {
    hashes: [FnvHasher; 2],
    /// How many bytes may still be hashed.
    left: usize,
}

/// The most bytes that make a key, with eight for each part: a hostile file may name one text a million times.
const BYTES_MAX: usize = 1 << 20;

impl Default for Keying {
    fn default() -> Keying {
        Keying::new()
    }
}

impl Keying {
    /// Nothing said yet.
    pub fn new() -> Keying {
        let hashes = [FnvHasher::with_key(0xcbf2_9ce4_8422_2325), FnvHasher::with_key(0x6c62_272e_07bb_0142)];
        Keying { hashes, left: BYTES_MAX }
    }

    /// Adds one part under a tag. `None` once it is more than any program says.
    #[inline(never)]
    pub fn part(&mut self, tag: u8, bytes: &[u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len() + 8)?;
        // The length, too: no part ends in the middle of another.
        for hash in &mut self.hashes {
            hash.write(&((bytes.len() as u32) << 8 | u32::from(tag)).to_le_bytes());
            hash.write(bytes);
        }
        Some(())
    }

    /// The key of all parts.
    pub fn finish(&self) -> Key {
        let [a, b] = &self.hashes;
        let mut key = [0; 16];
        let (first, second) = key.split_at_mut(8);
        first.copy_from_slice(&a.finish().to_le_bytes());
        second.copy_from_slice(&b.finish().to_le_bytes());
        Key(key)
    }
}

fn digits<const N: usize>(mut bits: u32) -> [u8; N] {
    let mut name = [b'0'; N];
    for digit in &mut name {
        *digit = DIGITS.get((bits & 31) as usize).copied().unwrap_or(b'0');
        bits >>= 5;
    }
    name
}

impl Key {
    fn bits(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    /// The name of the image in the base directory: 30 bits. Two programs of one name are told apart by the
    /// whole key in the image.
    pub fn name(self) -> [u8; 6] {
        digits(self.bits())
    }

    /// The name of an ordinary user's own image: 20 bits of key and user.
    pub fn user_name(self, uid: u32) -> [u8; 4] {
        let mut keying = Keying::new();
        // Two short parts are never too much.
        let _ = keying.part(b'k', &self.0);
        let _ = keying.part(b'u', &uid.to_le_bytes());
        digits(keying.finish().bits())
    }
}

/// The name of the image for programs that have none of their own.
pub fn system_name(sixty_four: bool, musl: bool) -> &'static [u8] {
    match (sixty_four, musl) {
        (true, false) => b"gnu64",
        (false, false) => b"gnu32",
        (true, true) => b"musl64",
        (false, true) => b"musl32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(u8, &[u8])]) -> Key {
        let mut keying = Keying::new();
        parts.iter().for_each(|(tag, bytes)| keying.part(*tag, bytes).unwrap());
        keying.finish()
    }

    #[test]
    fn a_key_stays_the_same_from_version_to_version() {
        let key = key(&[(b'n', b"libc.so.6"), (b'd', b"/app/bin")]);
        assert_eq!(core::str::from_utf8(&key.name()).unwrap(), "2hqh5j");
        assert_eq!(core::str::from_utf8(&key.user_name(1000)).unwrap(), "fc49");
        assert_ne!(key.user_name(1000), key.user_name(1001));
    }

    #[test]
    fn more_than_any_program_says_has_no_key() {
        let mut keying = Keying::new();
        assert!((0..8).all(|_| keying.part(b'r', &[b'x'; 100_000]).is_some()));
        assert!((0..8).any(|_| keying.part(b'r', &[b'x'; 100_000]).is_none()));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(key(&[(b'n', b"ab"), (b'n', b"c")]), key(&[(b'n', b"a"), (b'n', b"bc")]));
        assert_ne!(key(&[(b'n', b"a")]), key(&[(b'r', b"a")]));
    }
}
