//! The tables of a squashfs image (kernel, `Documentation/filesystems/squashfs.rst`): superblock, inodes, directory and
//! fragment tables, as `backhand` parses them. Only tables; the tree is walked by [`super::plan`], file content is read
//! by [`super::extract`]. What a hostile image could make this keep in memory is bounded before it is read.

use super::blocks::Decoder;
use super::fault::Fault;
use backhand::compression::{CompressionAction, Compressor};
use backhand::kind::Kind;
use backhand::{BackhandError, FilesystemCompressor, Squashfs, SuperBlock};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The most inodes an image may have.
pub(super) const INODES_MAX: u32 = 1_000_000;

/// The most bytes that all compressed tables together may unpack to: a million inodes and names take 100 MiB.
const TABLES_MAX: usize = 256 << 20;

/// A block of a table (kernel, `SQUASHFS_METADATA_SIZE`), bytes.
const TABLE_BLOCK: usize = 8 << 10;

/// An image in a file.
pub(super) struct Image<'a> {
    /// The file.
    pub(super) file: &'a File,
    /// Where in the file the image lies.
    pub(super) range: Range<u64>,
    /// Its tables.
    pub(super) tables: Squashfs<'a>,
}

impl<'a> Image<'a> {
    /// Reads the tables of an image.
    ///
    /// # Errors
    /// If they cannot be read, are damaged, or are too large.
    pub(super) fn load(file: &'a File, range: Range<u64>) -> Result<Image<'a>, Fault> {
        let section = || Section { file, range: range.clone(), at: 0 };
        let kind = Kind::new_v4(&TABLES);
        LEFT.set(TABLES_MAX);
        let (superblock, _) = Squashfs::superblock_and_compression_options(&mut BufReader::new(section()), &kind).map_err(fault)?;
        if superblock.inode_count > INODES_MAX {
            return Err(Fault::Image(format!("its file system has more than {INODES_MAX} files")));
        }
        // What is named in the superblock cannot be read otherwise; better said than found out at the first block.
        let mut none = Vec::new();
        if let Err(Fault::Image(why)) = Decoder::new(superblock.compressor).decode(&[], &mut none, 0)
            && matches!(superblock.compressor, Compressor::Lzo | Compressor::Lzma)
        {
            return Err(Fault::Image(why));
        }
        LEFT.set(TABLES_MAX);
        let reader = BufReader::with_capacity(64 << 10, section());
        let tables = Squashfs::from_reader_with_offset_and_kind(reader, 0, kind).map_err(fault)?;
        Ok(Image { file, range, tables })
    }

    /// Fills `buffer` from a place of the image.
    ///
    /// # Errors
    /// If the image ends before, or the file cannot be read.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let start = self.range.start.checked_add(at);
        let end = start.and_then(|start| start.checked_add(buffer.len() as u64)).filter(|end| *end <= self.range.end);
        let (Some(start), Some(_)) = (start, end) else { return Err(damaged()) };
        self.file.read_exact_at(buffer, start).map_err(Fault::Read)
    }
}

/// The image contradicts itself.
pub(super) fn damaged() -> Fault {
    Fault::Image("its file system is damaged".to_owned())
}

fn fault(error: BackhandError) -> Fault {
    match error {
        // The end of the image in the middle of a table is the image's fault, and so is what the decoder says.
        BackhandError::StdIo(e) if !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => Fault::Read(e),
        BackhandError::TryReserveError(_) => Fault::Image("its file system is too large for this machine's memory".to_owned()),
        _ => damaged(),
    }
}

/// The part of a file that is the image.
struct Section<'a> {
    file: &'a File,
    range: Range<u64>,
    at: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.range.start.saturating_add(self.at).min(self.range.end);
        let left = usize::try_from(self.range.end - start).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..left).unwrap_or_default(), start)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.range.end - self.range.start;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

thread_local! {
    /// What the tables of the image that this thread reads may still unpack to. `backhand` takes a decompressor for
    /// the life of the process, so that its budget cannot lie in it.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Decompresses tables for `backhand`.
struct Tables;

static TABLES: Tables = Tables;

impl CompressionAction for Tables {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, compressor: Compressor) -> Result<(), BackhandError> {
        Decoder::new(compressor).decode(bytes, out, TABLE_BLOCK).map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?;
        let left = LEFT.get().checked_sub(out.len()).ok_or(BackhandError::CorruptedOrInvalidSquashfs)?;
        LEFT.set(left);
        Ok(())
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Err(BackhandError::UnsupportedCompression(String::new()))
    }
}
