//! The NAR hash of a tree, and the store path that Nix computes from it.
//!
//! Reads only; the store directory in the fingerprint is always `/nix/store`, wherever the tree
//! lies, so that our names are Nix's names (the formula is in Nix's manual, "Store path specification").

use crate::error::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Nix refuses longer names (`libstore/path.cc`, `checkName`).
const MAX_NAME: usize = 211;

/// Digits of a store path's hash: 20 bytes in base 32.
pub const HASH_DIGITS: usize = 32;

/// Hash and length of a tree's Nix archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarHash {
    /// SHA-256 of the archive.
    pub sha256: [u8; 32],
    /// Length of the archive in bytes.
    pub size: u64,
}

impl NarHash {
    /// As lock files and records write it: `sha256:<64 hex digits>` without the prefix.
    pub fn hex(&self) -> String {
        hex(&self.sha256)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Parses exactly 32 bytes of hexadecimal; `None` for anything else.
pub fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// Hashes a file, directory or link as a Nix archive: names, contents, execute bits and link
/// targets count; times, owners and other mode bits do not.
///
/// # Errors
/// When the tree cannot be read, has a name that is not UTF-8, or changes meanwhile.
pub fn hash_tree(path: &Path) -> Result<NarHash> {
    let mut encoder = nix_nar::Encoder::new(path).map_err(|e| Error::new(Kind::Io, "hash", path.display(), &e, "").with_source(e))?;
    let mut hasher = Sha256::new();
    let mut size = 0u64;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n = encoder.read(&mut buffer).map_err(|e| Error::io("hash", path, e))?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
        hasher.update(bytes);
        size += n as u64;
    }
    Ok(NarHash { sha256: hasher.finalize().into(), size })
}

/// The base name of the store path for content with this hash: `<32 digits>-<name>`.
///
/// `name` must have come out of [`sanitise_name`].
pub fn store_path_name(nar: &NarHash, name: &str) -> String {
    path_name(&format!("source:sha256:{}:/nix/store:{name}", nar.hex()), name)
}

/// Folds a fingerprint's SHA-256 to 20 bytes by XOR and writes it in Nix's base 32.
fn path_name(fingerprint: &str, name: &str) -> String {
    let digest = Sha256::digest(fingerprint.as_bytes());
    let mut folded = [0u8; 20];
    for chunk in digest.chunks(20) {
        for (f, b) in folded.iter_mut().zip(chunk) {
            *f ^= b;
        }
    }
    format!("{}-{name}", nix_base32::to_nix_base32(&folded))
}

/// Replaces what Nix does not allow in a name (anything but letters, digits and `+-._?=`) by `_`, and
/// a leading dot too; cuts at 211 bytes.
pub fn sanitise_name(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "+-._?=".contains(c) { c } else { '_' }).take(MAX_NAME).collect();
    if out.is_empty() {
        out.push('_');
    }
    if out.starts_with('.') {
        out.replace_range(..1, "_");
    }
    out
}

/// Whether a file name has the shape of a store path's base name.
pub fn is_store_path_name(name: &str) -> bool {
    let Some((hash, rest)) = name.split_at_checked(HASH_DIGITS) else { return false };
    let Some(rest) = rest.strip_prefix('-') else { return false };
    hash.bytes().all(|b| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&b)) && sanitise_name(rest) == rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// The tree behind the constants below.
    fn tree(base: &Path) -> std::path::PathBuf {
        let root = base.join("tree");
        fs::create_dir_all(root.join("usr/lib/empty")).unwrap();
        fs::write(root.join("usr/lib/libx.so.1.2"), b"not really a library\n").unwrap();
        symlink("libx.so.1.2", root.join("usr/lib/libx.so.1")).unwrap();
        fs::write(root.join("usr/tool"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("usr/tool"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::write(root.join("Zebra"), b"12345678").unwrap();
        fs::write(root.join("apple"), b"").unwrap();
        root
    }

    #[test]
    fn a_tree_has_the_hash_and_the_path_that_nix_gives_it() {
        let base = tempfile::tempdir().unwrap();
        let nar = hash_tree(&tree(base.path())).unwrap();
        assert_eq!(nar.hex(), "e9d5508db1fa1b2afb2105c69e636bc497d473fba30e27c354ab85f3b00b650e");
        assert_eq!(store_path_name(&nar, "tree"), "qf7wggi2hrj12s6rbm01pvvpxcl8lbwa-tree");
    }

    #[test]
    fn a_single_file_is_an_archive_too() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("hello.txt");
        fs::write(&file, b"hello\n").unwrap();
        let nar = hash_tree(&file).unwrap();
        assert_eq!(nar.hex(), "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13");
        assert_eq!(store_path_name(&nar, "hello.txt"), "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt");
    }

    #[test]
    fn names_keep_only_what_nix_allows() {
        assert_eq!(sanitise_name("libx11-6-2:1.8.12-1~bpo+1"), "libx11-6-2_1.8.12-1_bpo+1");
        assert_eq!(sanitise_name(".hidden/../x"), "_hidden_.._x");
        assert_eq!(sanitise_name(""), "_");
        assert_eq!(sanitise_name(&"a".repeat(500)).len(), 211);
    }

    #[test]
    fn only_store_path_names_are_taken_for_them() {
        assert!(is_store_path_name("0123456789abcdfghijklmnpqrsvwxyz-libx11-6"));
        assert!(!is_store_path_name("0123456789abcdefghijklmnpqrsvwxyz-e-is-no-digit"));
        assert!(!is_store_path_name("0123456789abcdfghijklmnpqrsvwxyz-../x"));
        assert!(!is_store_path_name("short-x"));
        assert!(!is_store_path_name("é123456789abcdfghijklmnpqrsvwxyz-x"));
    }

    #[test]
    fn hashes_are_64_hexadecimal_digits() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(parse_sha256(&"0f".repeat(31)), None);
        assert_eq!(parse_sha256(&"zz".repeat(32)), None);
        assert_eq!(parse_sha256(&"+1".repeat(32)), None);
    }
}
