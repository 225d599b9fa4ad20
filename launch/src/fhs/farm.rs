//! The farm: an environment's `/usr` as a directory of links in the store's cache, named by everything it was made from.
//! It is built beside its place and renamed into it when it is whole and on the disk.

use super::inside::{self, Inside};
use super::layout::{Collision, Layout, Node};
use super::libraries::{self, Libraries};
use super::packages::{Input, small};
use super::spec::FhsSpec;
use super::{indexes, parts};
use crate::error::{Error, Kind};
use resolver::arch::Arch;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use store::atomic::TreeBuilder;
use store::cache::Cache;
use store::root::StoreRoot;

/// The kind of cache entry.
pub(super) const KIND: &str = "fhs";
/// Changes with every change of how a farm is made from the same packages.
const RULE: &str = "environment farm 2";
/// What depends on every library.
const CACHE: &str = "usr/etc/ld.so.cache";
const CONF: &str = "usr/etc/ld.so.conf";

/// A farm that is there.
#[derive(Debug)]
pub(super) struct Farm {
    pub(super) root: PathBuf,
    /// What is worth telling of how it was made; empty if it was there already.
    pub(super) notes: Vec<String>,
    pub(super) collisions: Vec<Collision>,
}

/// Names a farm by what it is made from.
fn key(spec: &FhsSpec, inputs: &[Input], native: Arch) -> Result<String, Error> {
    // Everything that is read when it is built; the rest of the specification is about entering it.
    let made_from = (&spec.links, &spec.files, &spec.build_hook, &spec.profile);
    let text = serde_json::to_vec(&made_from).map_err(|e| Error::own("build", "the environment", e))?;
    let mut hash = Sha256::new();
    hash.update(format!("{RULE}\n{native}\n{}\n", text.len()));
    hash.update(&text);
    for input in inputs {
        let root = input.root.as_os_str().as_bytes();
        hash.update(format!("{} {} {:?}\n", root.len(), input.identity, input.source));
        hash.update(root);
    }
    Ok(hash.finalize().iter().take(20).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

/// The directories that an environment replaces: what lies there on the host cannot be linked to.
fn check_places(store: &StoreRoot, inputs: &[Input]) -> Result<(), Error> {
    let hidden = |path: &Path| {
        let top = path.components().nth(1).map(|c| c.as_os_str().to_owned());
        top.is_some_and(|top| super::host::OWN_TOPS.iter().chain(&["etc"]).any(|own| top == *own))
    };
    let refuse = |path: &Path, what: &str, remedy: &str| {
        Err(Error::new(
            Kind::Own,
            "build",
            "the environment",
            format!("{what} {} is in a directory that it replaces", path.display()),
            remedy,
        ))
    };
    if hidden(store.path()) {
        return refuse(store.path(), "the store", "point XENO_STORE to another place");
    }
    match inputs.iter().find(|input| hidden(&input.root)) {
        Some(input) => refuse(&input.root, "the directory", "copy it to another place"),
        None => Ok(()),
    }
}

/// Finds the farm of these trees, or builds it.
///
/// # Errors
/// A tree that cannot be read, a disk that is full, a hook that fails. Nothing is left then.
pub(super) fn make(spec: &FhsSpec, inputs: &[Input], store: &StoreRoot) -> Result<Farm, Error> {
    let native = Arch::host().ok_or_else(|| {
        Error::new(Kind::Own, "build", "the environment", "this machine's architecture is none that xeno knows", "use another machine")
    })?;
    check_places(store, inputs)?;
    let cache = Cache::of(store);
    let key = key(spec, inputs, native)?;
    let (mut notes, mut collisions) = (Vec::new(), Vec::new());
    let root = cache.put_built(KIND, &key, |tree| {
        let mut layout = parts::first(spec);
        layout.fill(inputs)?;
        collisions = layout.collisions(inputs);
        parts::add(&mut layout, inputs);
        let mut counted = libraries::of(&layout, native, small(native));
        add_links(&mut layout, &counted);
        write(tree, &layout)?;
        let room = Inside { tree: tree.path(), store: store.path(), inputs };
        notes.extend(indexes::make(&layout, &room)?);
        // A script may bring libraries of its own, or take some away.
        if let Some(script) = &spec.build_hook {
            inside::run_hook(&room, script)?;
            counted = count_again(tree, native)?;
        }
        put(tree, Path::new(CACHE), &Node::Bytes(counted.cache))?;
        put(tree, Path::new(CONF), &Node::Bytes(counted.conf.into_bytes()))
    })?;
    Ok(Farm { root, notes, collisions })
}

/// Adds the links that libraries need, and keeps the places of what depends on all of them free.
fn add_links(layout: &mut Layout, counted: &Libraries) {
    for (path, target) in &counted.links {
        layout.add(path.clone(), Node::Link(target.clone()));
    }
    layout.remove(CACHE);
    layout.remove(CONF);
}

/// Looks at what a script left, takes rights and stale caches away, and counts the libraries.
fn count_again(tree: &TreeBuilder, native: Arch) -> Result<Libraries, Error> {
    let mut built = Layout::of_written(tree.path())?;
    for directory in built.directories() {
        tree.set_mode(Path::new(directory), 0o755).map_err(|e| failed(Path::new(directory), e))?;
    }
    // What the script put in place of a directory could lead out of the tree.
    if let Some(lost) = super::TOPS.iter().chain(&["etc"]).find(|top| !built.make_directory(&format!("usr/{top}"))) {
        let cause = format!("it put something else in place of the directory /usr/{lost}");
        return Err(Error::new(Kind::Own, "run", "hooks.build", cause, "correct the script"));
    }
    for stale in [CACHE, CONF].iter().filter(|path| built.has(path)) {
        tree.remove(Path::new(stale)).map_err(|e| failed(Path::new(stale), e))?;
    }
    let before: HashSet<OsString> = built.nodes().map(|(path, _)| path.to_owned()).collect();
    for path in &before {
        let meta = fs::symlink_metadata(tree.path().join(path)).map_err(|e| failed(Path::new(path), e))?;
        let mode = meta.permissions().mode();
        if meta.is_file() && mode & 0o7022 != 0 {
            tree.set_mode(Path::new(path), mode & 0o755).map_err(|e| failed(Path::new(path), e))?;
        }
    }
    let counted = libraries::of(&built, native, small(native));
    add_links(&mut built, &counted);
    for (path, node) in built.nodes().filter(|(path, _)| !before.contains(*path)) {
        put(tree, Path::new(path), node)?;
    }
    Ok(counted)
}

fn failed(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        // Full disks have a remedy of their own.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => store::Error::io("build", path, error).into(),
        _ => Error::io("build", path, error, "try again, or point XENO_STORE to another disk"),
    }
}

fn write(tree: &TreeBuilder, layout: &Layout) -> Result<(), Error> {
    for directory in layout.directories() {
        tree.add_dir(Path::new(directory)).map_err(|e| failed(Path::new(directory), e))?;
    }
    layout.nodes().try_for_each(|(path, node)| put(tree, Path::new(path), node))?;
    // It can be looked through as a root of its own.
    super::TOPS.iter().chain(&["etc"]).try_for_each(|top| put(tree, Path::new(top), &Node::Link(Path::new("usr").join(top))))
}

fn put(tree: &TreeBuilder, path: &Path, node: &Node) -> Result<(), Error> {
    let written = match node {
        Node::Source(target) | Node::Link(target) => tree.add_link(path, target),
        Node::Bytes(bytes) => tree.add_file(path).and_then(|mut file| file.write_all(bytes)).and_then(|()| tree.set_mode(path, 0o444)),
        Node::Empty => tree.add_dir(path),
    };
    written.map_err(|e| failed(path, e))
}
