//! What an image's tree will be on the disk: every entry once, in an order in which parents come first. Follows the
//! directory table as the kernel does (`fs/squashfs/dir.c`), with a stack of its own, and refuses every name that could
//! leave the tree; it reads no file content and writes nothing.

use super::fault::{Fault, bad};
use super::image::{INODES_MAX, damaged};
use backhand::Squashfs;
use backhand::v4::inode::InodeInner;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The most entries a tree may have.
const ENTRIES_MAX: usize = 1_000_000;
/// The deepest a directory may lie.
const DEPTH_MAX: u32 = 128;
/// The longest path below the tree; the tree's own path has to fit into `PATH_MAX` as well.
const PATH_MAX: usize = 3 << 10;
/// The most bytes all files may have.
const BYTES_MAX: u64 = 64 << 30;
/// A directory's size counts three bytes for the two entries that are not listed (kernel, `squashfs_readdir`).
const UNLISTED: u32 = 3;

/// A tree that is to be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Its entries; a parent comes before its children.
    pub(super) entries: Vec<Entry>,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Devices, pipes and sockets, which are not made.
    pub(super) passed_over: usize,
}

/// One name of the tree.
#[derive(Debug)]
pub(super) struct Entry {
    /// The index of the directory it lies in; none for the top.
    parent: Option<u32>,
    name: OsString,
    /// What it is.
    pub(super) node: Node,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A file: the number of its inode, and whether anybody may execute it.
    File { inode: u32, executable: bool },
    /// A second name of the file at this index.
    Again(u32),
    /// A symbolic link, as it stands: nothing is ever written through one.
    Link(OsString),
}

impl Plan {
    /// Walks the directories of an image.
    ///
    /// # Errors
    /// If the tree is no tree, has names that no tree can have, or exceeds a limit.
    pub(super) fn of(image: &Squashfs<'_>) -> Result<Plan, Fault> {
        let mut plan = Plan::default();
        let mut files: HashMap<u32, u32> = HashMap::new();
        let mut entered: HashSet<u32> = HashSet::from([image.root_inode.header.inode_number]);
        // A directory: its listing, its index, how deep it lies, how long its path is.
        let mut pending = vec![(listing(image, &image.root_inode.inner)?, None, 0, 0)];
        while let Some((listed, parent, depth, length)) = pending.pop() {
            let mut names: HashSet<&[u8]> = HashSet::new();
            for (number, name) in entries(listed)? {
                if plan.entries.len() == ENTRIES_MAX {
                    return bad(format!("its file system has more than {ENTRIES_MAX} names"));
                }
                let shown = || OsStr::from_bytes(name).display();
                if name.is_empty() || name.len() > 255 || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
                    return bad(format!("its file system has an entry '{}', which is no name", shown()));
                }
                if !names.insert(name) {
                    return bad(format!("its file system has an entry '{}' twice", shown()));
                }
                let length = length + name.len() + 1;
                if length > PATH_MAX {
                    return bad(format!("its file system has a path of more than {PATH_MAX} bytes"));
                }
                let inode = image.inodes.get(&number).ok_or_else(damaged)?;
                // ENTRIES_MAX fits.
                let index = u32::try_from(plan.entries.len()).map_err(|_| damaged())?;
                let node = match &inode.inner {
                    InodeInner::BasicDirectory(_) | InodeInner::ExtendedDirectory(_) => {
                        if !entered.insert(number) {
                            return bad(format!("its file system has a directory '{}' in two places", shown()));
                        }
                        if depth == DEPTH_MAX {
                            return bad(format!("its file system is deeper than {DEPTH_MAX} directories"));
                        }
                        pending.push((listing(image, &inode.inner)?, Some(index), depth + 1, length));
                        Node::Directory
                    }
                    InodeInner::BasicFile(_) | InodeInner::ExtendedFile(_) => match files.get(&number) {
                        Some(first) => Node::Again(*first),
                        None => {
                            files.insert(number, index);
                            plan.bytes = plan.bytes.saturating_add(size(&inode.inner));
                            if plan.bytes > BYTES_MAX {
                                return bad(format!("its files have more than {BYTES_MAX} bytes"));
                            }
                            Node::File { inode: number, executable: inode.header.permissions & 0o111 != 0 }
                        }
                    },
                    InodeInner::BasicSymlink(link) => Node::Link(target(&link.target_path)?),
                    InodeInner::ExtendedSymlink(link) => Node::Link(target(&link.target_path)?),
                    _ => {
                        plan.passed_over += 1;
                        continue;
                    }
                };
                plan.entries.push(Entry { parent, name: OsStr::from_bytes(name).to_owned(), node });
            }
        }
        Ok(plan)
    }

    /// The path of an entry below the tree.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        let mut names: Vec<&OsStr> = Vec::new();
        let mut next = Some(index);
        while let Some(entry) = next.and_then(|index| self.entries.get(index)) {
            names.push(&entry.name);
            next = entry.parent.and_then(|parent| usize::try_from(parent).ok());
        }
        names.iter().rev().collect()
    }
}

/// A file's size, bytes.
pub(super) fn size(inode: &InodeInner) -> u64 {
    match inode {
        InodeInner::BasicFile(file) => file.file_size.into(),
        InodeInner::ExtendedFile(file) => file.file_size,
        _ => 0,
    }
}

fn target(bytes: &[u8]) -> Result<OsString, Fault> {
    if bytes.is_empty() || bytes.contains(&0) {
        return bad("its file system has a link to no usable name");
    }
    Ok(OsStr::from_bytes(bytes).to_owned())
}

/// The bytes of the directory table that list one directory.
fn listing<'a>(image: &'a Squashfs<'_>, directory: &InodeInner) -> Result<&'a [u8], Fault> {
    let (block, offset, size) = match directory {
        InodeInner::BasicDirectory(d) => (d.block_index, d.block_offset, u32::from(d.file_size)),
        InodeInner::ExtendedDirectory(d) => (d.block_index, d.block_offset, d.file_size),
        _ => return Err(damaged()),
    };
    let Some(length) = size.checked_sub(UNLISTED).filter(|length| *length > 0) else { return Ok(&[]) };
    let (blocks, bytes) = &image.dir_blocks;
    let start = blocks.get(&u64::from(block)).and_then(|start| usize::try_from(*start).ok()?.checked_add(offset.into()));
    let end = start.and_then(|start| start.checked_add(usize::try_from(length).ok()?));
    start.zip(end).and_then(|(start, end)| bytes.get(start..end)).ok_or_else(damaged)
}

/// The inode number and name of each entry of a listing: runs of at most 256 entries behind a header of count, block
/// and inode number (kernel, `struct squashfs_dir_header`, `squashfs_dir_entry`).
fn entries(mut listed: &[u8]) -> Result<Vec<(u32, &[u8])>, Fault> {
    let mut found = Vec::new();
    while !listed.is_empty() {
        let [count, _, first] = take::<12>(&mut listed).map(words)?;
        if count > 255 || found.len() > INODES_MAX as usize {
            return Err(damaged());
        }
        for _ in 0..=count {
            let [_, _, low, high, _, _, size_low, size_high] = take::<8>(&mut listed)?;
            let number = first.checked_add_signed(i16::from_le_bytes([low, high]).into()).ok_or_else(damaged)?;
            let length = usize::from(u16::from_le_bytes([size_low, size_high])) + 1;
            let (name, rest) = listed.split_at_checked(length).ok_or_else(damaged)?;
            found.push((number, name));
            listed = rest;
        }
    }
    Ok(found)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Fault> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or_else(damaged)?;
    *bytes = rest;
    Ok(*head)
}

fn words([a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12]) -> [u32; 3] {
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of a listing: names of the inodes that follow `first`.
    fn run(first: u32, names: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [names.len() as u32 - 1, 0, first] {
            out.extend(word.to_le_bytes());
        }
        for (offset, name) in names.iter().enumerate() {
            for half in [0, offset as u16, 2, name.len() as u16 - 1] {
                out.extend(half.to_le_bytes());
            }
            out.extend(name.as_bytes());
        }
        out
    }

    #[test]
    fn a_listing_is_runs_of_names_counted_from_a_first_inode() {
        let listed = [run(7, &["a", "bc"]), run(40, &["d"])].concat();
        assert_eq!(entries(&listed).unwrap(), [(7, &b"a"[..]), (8, b"bc"), (40, b"d")]);
        assert_eq!(entries(&[]).unwrap(), []);
    }

    #[test]
    fn a_listing_that_is_cut_or_counts_below_zero_is_damaged() {
        let listed = run(7, &["a", "bc"]);
        for end in 1..listed.len() {
            assert!(entries(&listed[..end]).is_err(), "{end}");
        }
        let mut below = run(0, &["a"]);
        below[14..16].copy_from_slice(&(-1_i16).to_le_bytes());
        assert!(entries(&below).is_err());
    }
}
