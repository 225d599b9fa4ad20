//! One compressed block of a squashfs image → its bytes, never more than it may hold (kernel, `fs/squashfs/*_wrapper.c`).
//! Every decompressor is pure Rust. `lzo` and the old `lzma` are named and refused: the type 2 runtime reads neither.

use super::fault::{Fault, bad};
use backhand::compression::Compressor;
use ruzstd::decoding::FrameDecoder;
use std::io::Read;

/// Memory an xz block may ask for, in KiB: its dictionary is no larger than a block, 1 MiB.
const XZ_MEMORY: u32 = 16 << 10;

/// The largest window a zstd frame may ask for, bytes: no block is larger.
const ZSTD_WINDOW: u64 = 1 << 20;

/// Decompresses blocks one after the other.
pub(super) struct Decoder {
    compressor: Compressor,
    /// Its tables are worth keeping from one block to the next.
    zstd: Option<Box<FrameDecoder>>,
}

impl Decoder {
    pub(super) fn new(compressor: Compressor) -> Decoder {
        Decoder { compressor, zstd: None }
    }

    /// Replaces `out` by the content of a block.
    ///
    /// # Errors
    /// If the block is damaged, holds more than `limit` bytes, or is compressed in a way that is not read.
    pub(super) fn decode(&mut self, block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
        out.clear();
        let whole = match self.compressor {
            Compressor::Gzip => gzip(block, out, limit),
            Compressor::Xz => xz(block, out, limit),
            Compressor::Zstd => self.zstd(block, out, limit),
            Compressor::Lz4 => {
                out.resize(limit, 0);
                lz4_flex::block::decompress_into(block, out).ok().map(|length| out.truncate(length))
            }
            Compressor::Lzo => return bad("its file system is compressed with lzo, which is not read"),
            Compressor::Lzma => return bad("its file system is compressed with lzma, which is not read"),
            Compressor::Uncompressed => None,
        };
        whole.ok_or_else(|| Fault::Image("a block of its file system is damaged".to_owned()))
    }

    fn zstd(&mut self, block: &[u8], out: &mut Vec<u8>, limit: usize) -> Option<()> {
        let decoder = self.zstd.get_or_insert_with(|| {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(ZSTD_WINDOW);
            Box::new(decoder)
        });
        out.resize(limit, 0);
        let length = decoder.decode_all(block, out).ok()?;
        out.truncate(length);
        Some(())
    }
}

fn gzip(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Option<()> {
    out.resize(limit, 0);
    let mut inflate = flate2::Decompress::new(true);
    let status = inflate.decompress(block, out, flate2::FlushDecompress::Finish).ok()?;
    out.truncate(usize::try_from(inflate.total_out()).ok()?);
    (status == flate2::Status::StreamEnd).then_some(())
}

fn xz(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Option<()> {
    let reader = lzma_rust2::XzReader::new_mem_limit(block, false, XZ_MEMORY);
    // One byte more than allowed tells too much from enough.
    reader.take(limit as u64 + 1).read_to_end(out).ok()?;
    (out.len() <= limit).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 bytes of `a`.
    const BLOCKS: [(Compressor, &[u8]); 3] = [
        (Compressor::Gzip, b"\x78\x9c\x4b\x4c\xa4\x0c\x00\x00\x14\x8d\x18\x41"),
        (Compressor::Zstd, b"\x28\xb5\x2f\xfd\x20\x40\x45\x00\x00\x10\x61\x61\x01\x00\x93\x00\x16"),
        (Compressor::Lz4, b"\x1f\x61\x01\x00\x27\x50\x61\x61\x61\x61\x61"),
    ];

    #[test]
    fn a_block_is_what_was_compressed_and_never_more_than_the_limit() {
        for (compressor, block) in BLOCKS {
            let mut out = Vec::new();
            Decoder::new(compressor).decode(block, &mut out, 64).unwrap();
            assert_eq!(out, [b'a'; 64], "{compressor:?}");
            assert!(Decoder::new(compressor).decode(block, &mut out, 63).is_err(), "{compressor:?}");
        }
    }

    #[test]
    fn a_block_that_is_cut_anywhere_is_damaged_and_never_read_beyond() {
        for (compressor, block) in BLOCKS {
            for end in 0..block.len() {
                let mut out = Vec::new();
                let whole = Decoder::new(compressor).decode(&block[..end], &mut out, 64).is_ok() && out.len() == 64;
                assert!(!whole, "{compressor:?} {end}");
            }
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let said = |compressor| Decoder::new(compressor).decode(b"x", &mut Vec::new(), 8).unwrap_err().to_string();
        assert_eq!(said(Compressor::Lzo), "its file system is compressed with lzo, which is not read");
        assert_eq!(said(Compressor::Lzma), "its file system is compressed with lzma, which is not read");
    }
}
