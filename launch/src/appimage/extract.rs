//! Writes a planned tree: directories, then file contents in the order they lie in the image, links last, so that no
//! write can go through one. Files end as 0444 or 0555, as no mode bit of the image but "executable" is taken over: no
//! setuid, nothing that others may write. Reads only what the image's tables name.

use super::blocks::Decoder;
use super::fault::Fault;
use super::image::{Image, damaged};
use super::plan::{Node, Plan, size};
use backhand::DataSize;
use backhand::v4::inode::InodeInner;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use store::atomic::TreeBuilder;

/// A file whose tail lies in no fragment (kernel, `SQUASHFS_INVALID_FRAG`).
const NO_FRAGMENT: u32 = u32::MAX;

/// Where the content of a file lies.
struct Content<'a> {
    start: u64,
    blocks: &'a [DataSize],
    size: u64,
    /// The fragment that holds its tail, and where in it.
    fragment: u32,
    offset: u32,
}

/// Writes a tree.
///
/// # Errors
/// If the image is damaged, or something cannot be read or written.
pub(super) fn extract(image: &Image<'_>, plan: &Plan, tree: &TreeBuilder) -> Result<(), Fault> {
    let mut files = Vec::new();
    for (index, entry) in plan.entries.iter().enumerate() {
        match &entry.node {
            Node::Directory => tree.add_dir(&plan.path(index)).map_err(Fault::Write)?,
            Node::File { inode, executable } => files.push((index, content(image, *inode)?, *executable)),
            Node::Again(_) | Node::Link(_) => {}
        }
    }
    // Each fragment is unpacked once if all its files come one after the other.
    files.sort_by_key(|(_, content, _)| (content.fragment, content.start));
    let superblock = &image.tables.superblock;
    let mut reader = Reader { image, decoder: Decoder::new(superblock.compressor), packed: Vec::new(), block: Vec::new(), fragment: None };
    for (index, content, executable) in &files {
        let path = plan.path(*index);
        let mut out = tree.add_file(&path).map_err(Fault::Write)?;
        reader.copy(content, &mut out)?;
        tree.set_mode(&path, if *executable { 0o555 } else { 0o444 }).map_err(Fault::Write)?;
    }
    for (index, entry) in plan.entries.iter().enumerate() {
        let path = plan.path(index);
        match &entry.node {
            Node::Again(first) => {
                let first = usize::try_from(*first).map_err(|_| damaged())?;
                tree.add_hard_link(&path, &plan.path(first)).map_err(Fault::Write)?;
            }
            Node::Link(target) => tree.add_link(&path, Path::new(target)).map_err(Fault::Write)?,
            Node::Directory | Node::File { .. } => {}
        }
    }
    Ok(())
}

fn content<'a>(image: &'a Image<'_>, inode: u32) -> Result<Content<'a>, Fault> {
    let inner = &image.tables.inodes.get(&inode).ok_or_else(damaged)?.inner;
    let size = size(inner);
    match inner {
        InodeInner::BasicFile(f) => {
            Ok(Content { start: f.blocks_start.into(), blocks: &f.block_sizes, size, fragment: f.frag_index, offset: f.block_offset })
        }
        InodeInner::ExtendedFile(f) => {
            Ok(Content { start: f.blocks_start, blocks: &f.block_sizes, size, fragment: f.frag_index, offset: f.block_offset })
        }
        _ => Err(damaged()),
    }
}

struct Reader<'a> {
    image: &'a Image<'a>,
    decoder: Decoder,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// The last fragment, unpacked.
    fragment: Option<(u32, Vec<u8>)>,
}

impl Reader<'_> {
    fn copy(&mut self, content: &Content<'_>, out: &mut File) -> Result<(), Fault> {
        let block_size = u64::from(self.image.tables.superblock.block_size);
        let (mut at, mut left) = (content.start, content.size);
        for stored in content.blocks {
            let length = left.min(block_size);
            if length == 0 {
                return Err(damaged());
            }
            if stored.size() == 0 {
                // A hole (kernel, `squashfs_read_data` of length 0).
                let by = i64::try_from(length).map_err(|_| damaged())?;
                out.seek(SeekFrom::Current(by)).map_err(Fault::Write)?;
            } else {
                self.unpack(at, *stored)?;
                if self.block.len() as u64 != length {
                    return Err(damaged());
                }
                out.write_all(&self.block).map_err(Fault::Write)?;
            }
            at = at.checked_add(stored.size().into()).ok_or_else(damaged)?;
            left -= length;
        }
        if left > 0 {
            let start = usize::try_from(content.offset).map_err(|_| damaged())?;
            let end = start.checked_add(usize::try_from(left).map_err(|_| damaged())?).ok_or_else(damaged)?;
            let tail = self.fragment(content.fragment)?.get(start..end).ok_or_else(damaged)?;
            out.write_all(tail).map_err(Fault::Write)?;
        }
        // A hole at the end has no bytes of its own.
        out.set_len(content.size).map_err(Fault::Write)
    }

    /// Puts one stored block, unpacked, into `self.block`.
    fn unpack(&mut self, at: u64, stored: DataSize) -> Result<(), Fault> {
        let limit = usize::try_from(self.image.tables.superblock.block_size).map_err(|_| damaged())?;
        let length = usize::try_from(stored.size()).ok().filter(|length| *length <= limit).ok_or_else(damaged)?;
        self.packed.resize(length, 0);
        self.image.read(at, &mut self.packed)?;
        if stored.uncompressed() {
            std::mem::swap(&mut self.packed, &mut self.block);
            return Ok(());
        }
        self.decoder.decode(&self.packed, &mut self.block, limit)
    }

    fn fragment(&mut self, index: u32) -> Result<&[u8], Fault> {
        if self.fragment.as_ref().is_none_or(|(last, _)| *last != index) {
            let fragments = self.image.tables.fragments.as_deref().filter(|_| index != NO_FRAGMENT);
            let found = fragments.and_then(|all| all.get(usize::try_from(index).ok()?)).ok_or_else(damaged)?;
            self.unpack(found.start, found.size)?;
            self.fragment = Some((index, std::mem::take(&mut self.block)));
        }
        self.fragment.as_ref().map(|(_, bytes)| bytes.as_slice()).ok_or_else(damaged)
    }
}
