//! Packages become store paths: unpacked, hashed, named by content; and the same package is found again without unpacking.
//!
//! What it is given has been verified already. A record is only a hint: it counts if its path is there.

use crate::atomic::{TreeBuilder, write_hint};
use crate::deb::{Limits, Unpacker};
use crate::error::{Error, Result};
use crate::fetch::Fetched;
use crate::lock::RECIPE;
use crate::nar::{NarHash, hash_tree, hex, is_store_path_name, parse_sha256, sanitise_name, store_path_name};
use crate::root::{StoreRoot, Sub};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// A tree in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePath {
    /// Where it lies now.
    pub path: PathBuf,
    /// Its base name, the same on every machine.
    pub name: String,
    /// Its content.
    pub nar: NarHash,
}

#[derive(Serialize, Deserialize)]
struct Record {
    path: String,
    nar: String,
    size: u64,
}

/// Identifies the result of unpacking these packages (by SHA-256, in this order) with this version's recipe.
pub fn key(packages: &[[u8; 32]]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("xeno recipe {RECIPE}\n"));
    packages.iter().for_each(|p| hasher.update(p));
    hex(&hasher.finalize())
}

fn record_path(root: &StoreRoot, key: &str) -> PathBuf {
    root.index_dir().join(format!("{key}.path"))
}

/// What these packages were unpacked to, if it is still there: one small read and one `stat`.
pub fn find(root: &StoreRoot, packages: &[[u8; 32]]) -> Option<StorePath> {
    let text = fs::read(record_path(root, &key(packages))).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    if !is_store_path_name(&record.path) {
        return None;
    }
    let path = root.store_dir().join(&record.path);
    let there = fs::symlink_metadata(&path).ok()?.is_dir();
    let nar = NarHash { sha256: parse_sha256(&record.nar)?, size: record.size };
    there.then_some(StorePath { path, name: record.path, nar })
}

/// Remembers what these packages were unpacked to.
///
/// # Errors
/// As writing files.
pub fn remember(root: &StoreRoot, packages: &[[u8; 32]], stored: &StorePath) -> Result<()> {
    root.make(Sub::Index)?;
    let record = Record { path: stored.name.clone(), nar: stored.nar.hex(), size: stored.nar.size };
    let text = serde_json::to_vec(&record).map_err(|e| Error::new(crate::Kind::Io, "write", &stored.name, e, ""))?;
    write_hint(&record_path(root, &key(packages)), &text)
}

/// Unpacks packages over each other beside the store paths; [`crate::atomic::commit_trees`] gives the tree its name.
/// Each package is a verified file and its name for errors.
///
/// # Errors
/// As [`Unpacker::add`].
pub fn unpack(root: &StoreRoot, name: &str, packages: &[(Fetched, String)]) -> Result<(TreeBuilder, StorePath)> {
    let directory = root.make(Sub::Store)?;
    let tree = TreeBuilder::new(&directory)?;
    let mut unpacker = Unpacker::new(&tree, Limits::default());
    for (file, subject) in packages {
        unpacker.add(file.reader(), subject)?;
    }
    unpacker.finish()?;
    let nar = hash_tree(tree.path())?;
    let name = store_path_name(&nar, &sanitise_name(name));
    Ok((tree, StorePath { path: directory.join(&name), name, nar }))
}
