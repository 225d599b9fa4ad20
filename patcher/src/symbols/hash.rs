//! The two hash tables over dynamic symbols, filled anew in the space they have. Neither grows.

use super::tables::Table;
use super::unable;
use crate::codec::Codec;
use crate::error::Error;
use std::borrow::Cow;

/// The hash of `DT_GNU_HASH` (glibc, `_dl_new_hash`).
pub(super) fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |h: u32, byte| h.wrapping_mul(33).wrapping_add(u32::from(*byte)))
}

/// The hash of `DT_HASH` (gABI, "Hash Table").
pub(super) fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |h: u32, byte| {
        let h = (h << 4).wrapping_add(u32::from(*byte));
        let top = h & 0xf000_0000;
        (h ^ (top >> 24)) & !top
    })
}

/// The four words at the start of a `DT_GNU_HASH` table, and where its parts begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct GnuHeader {
    pub(super) buckets: u32,
    pub(super) first_symbol: u32,
    pub(super) bloom_words: u32,
    pub(super) shift: u32,
    pub(super) buckets_at: usize,
    pub(super) chains_at: usize,
}

impl GnuHeader {
    pub(super) const SIZE: usize = 16;

    /// Reads it from the start of `bytes`, which may be longer than the table. `None` where it does
    /// not fit, has no bucket or no bloom word: glibc would divide by these.
    pub(super) fn read(words: Codec, bytes: &[u8]) -> Option<GnuHeader> {
        let at = |index: usize| words.get_u32(bytes, index * 4);
        let (buckets, first_symbol, bloom_words, shift) = (at(0)?, at(1)?, at(2)?, at(3)?);
        if buckets == 0 || bloom_words == 0 {
            return None;
        }
        let bloom = (bloom_words as usize).checked_mul(words.word())?;
        let buckets_at = Self::SIZE.checked_add(bloom)?;
        let chains_at = (buckets as usize).checked_mul(4)?.checked_add(buckets_at)?;
        (chains_at <= bytes.len()).then_some(GnuHeader { buckets, first_symbol, bloom_words, shift, buckets_at, chains_at })
    }
}

/// Fills a `DT_GNU_HASH` table for symbols of these names. Its symbols must stand in the order of
/// their buckets, so the answer may be a new order: at each position, the position from which the
/// symbol comes. `None` if they may stay.
///
/// # Errors
/// [`Error::Symbols`] for a table whose parts do not fit its header.
pub(super) fn rebuild_gnu(table: &mut Table<'_>, names: &[Cow<'_, [u8]>]) -> Result<Option<Vec<usize>>, Error> {
    let words = table.words;
    let header = GnuHeader::read(words, &table.new).ok_or_else(|| unable("DT_GNU_HASH: hash table header out of range"))?;
    let chains = (table.new.len() - header.chains_at) / 4;
    if chains == 0 {
        // No symbol is in it, and what it says the first one is means nothing.
        return Ok(None);
    }
    let first = header.first_symbol as usize;
    if first.checked_add(chains) != Some(names.len()) {
        return Err(unable("DT_GNU_HASH and the symbol table differ in length"));
    }
    let mut hashed: Vec<(u32, u32, usize)> = names
        .iter()
        .enumerate()
        .skip(first)
        .map(|(at, name)| {
            let hash = gnu_hash(name);
            (hash % header.buckets, hash, at)
        })
        .collect();
    // A stable order moves no more symbols than it must.
    hashed.sort_by_key(|(bucket, _, _)| *bucket);

    let body = table.new.get_mut(GnuHeader::SIZE..).unwrap_or_default();
    body.fill(0);
    let mut filled = || {
        let bits = words.word() as u32 * 8;
        let mut last_bucket = None;
        for (index, (bucket, hash, _)) in hashed.iter().enumerate() {
            let word = GnuHeader::SIZE + ((hash / bits) % header.bloom_words) as usize * words.word();
            // glibc shifts a 32-bit hash; a shift of 32 or more would be undefined there.
            let second = hash.checked_shr(header.shift).unwrap_or(0);
            let mask = words.get_word(&table.new, word)? | 1 << (hash % bits) | 1 << (second % bits);
            words.set_word(&mut table.new, word, mask)?;
            if last_bucket != Some(*bucket) {
                words.set_u32(&mut table.new, header.buckets_at + *bucket as usize * 4, u32::try_from(first + index).ok()?)?;
                last_bucket = Some(*bucket);
            }
            // The lowest bit ends a chain.
            let ends = hashed.get(index + 1).is_none_or(|(next, _, _)| next != bucket);
            words.set_u32(&mut table.new, header.chains_at + index * 4, (hash & !1) | u32::from(ends))?;
        }
        Some(())
    };
    filled().ok_or_else(|| unable("DT_GNU_HASH is shorter than its header says"))?;
    let order: Vec<usize> = (0..first).chain(hashed.iter().map(|(_, _, from)| *from)).collect();
    Ok(order.iter().enumerate().any(|(to, from)| to != *from).then_some(order))
}

/// Fills a `DT_HASH` table of words of `entry` bytes for symbols of these names. The undefined ones
/// are in it too.
///
/// # Errors
/// [`Error::Symbols`] for a table whose parts do not fit its header.
pub(super) fn rebuild_sysv(table: &mut Table<'_>, entry: usize, names: &[Cow<'_, [u8]>]) -> Result<(), Error> {
    let words = table.words;
    let mut filled = || {
        let buckets = words.get(&table.new, 0, entry)?;
        let chains_at = 2 + usize::try_from(buckets).ok()?;
        table.new.get_mut(2 * entry..)?.fill(0);
        // Symbol 0 is no symbol and is also the end of every chain.
        for (at, name) in names.iter().enumerate().skip(1) {
            let bucket = (2 + usize::try_from(u64::from(sysv_hash(name)).checked_rem(buckets)?).ok()?) * entry;
            let next = words.get(&table.new, bucket, entry)?;
            words.set(&mut table.new, (chains_at + at) * entry, entry, next)?;
            words.set(&mut table.new, bucket, entry, at as u64)?;
        }
        Some(())
    };
    filled().ok_or_else(|| unable("DT_HASH is shorter than its header says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_abi() {
        // The words are those that the functions of the gABI and of glibc give.
        assert_eq!((gnu_hash(b""), gnu_hash(b"a"), gnu_hash(b"printf")), (5381, 177_670, 0x156b_2bb8));
        assert_eq!((sysv_hash(b""), sysv_hash(b"a"), sysv_hash(b"printf")), (0, 97, 0x0779_05a6));
    }

    #[test]
    fn a_header_without_buckets_or_bloom_is_none() {
        let words = Codec { is_64: true, big_endian: false };
        let header = |numbers: [u32; 4]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).chain([0; 64]).collect() };
        assert!(GnuHeader::read(words, &header([1, 1, 1, 6])).is_some());
        assert!(GnuHeader::read(words, &header([0, 1, 1, 6])).is_none());
        assert!(GnuHeader::read(words, &header([1, 1, 0, 6])).is_none());
        assert!(GnuHeader::read(words, &header([u32::MAX, 1, u32::MAX, 6])).is_none());
        assert!(GnuHeader::read(words, &[0; 15]).is_none());
    }
}
