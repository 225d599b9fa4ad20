//! Whether a string of the dynamic string table is also a symbol's name. Errs on the side of yes: a
//! string that may be shared is not overwritten.

use crate::view::{View, tag};

/// Whether a dynamic symbol's name begins at a position for which `within` says so. The number of
/// symbols is that of the hash tables; where neither tells, the answer is yes.
pub(crate) fn symbol_name(view: &View<'_>, within: impl Fn(u64) -> bool) -> bool {
    names(view, within).unwrap_or(true)
}

fn names(view: &View<'_>, within: impl Fn(u64) -> bool) -> Option<bool> {
    let dynamic = view.dynamic.as_ref()?;
    let Some(symbols) = dynamic.value(tag::SYMTAB) else { return Some(false) };
    let codec = view.elf.header.codec;
    let each = if codec.is_64 { 24 } else { 16 };
    let (offset, room) = view.elf.offset_of(symbols)?;
    let count = match (dynamic.value(tag::HASH), dynamic.value(tag::GNU_HASH)) {
        // Alpha and s390 have eight-byte words there; asking them costs a run path its place.
        (Some(hash), _) => {
            let (at, _) = view.elf.offset_of(hash)?;
            codec.number(view.image.get(at + 4, 4)?.as_ref())
        }
        (None, Some(hash)) => gnu_count(view, hash)?,
        (None, None) => return None,
    };
    let size = count.checked_mul(each).filter(|size| *size <= room)?;
    let table = view.image.get(offset, size)?;
    Some(table.chunks_exact(each as usize).any(|symbol| within(codec.number(symbol.get(..4).unwrap_or_default()))))
}

/// The end of the last chain of the last bucket (glibc, `_dl_addr`'s way of counting).
fn gnu_count(view: &View<'_>, address: u64) -> Option<u64> {
    let codec = view.elf.header.codec;
    let (at, room) = view.elf.offset_of(address)?;
    let head = view.image.get(at, 16)?;
    let word = |n: usize| Some(codec.number(head.get(n * 4..n * 4 + 4)?));
    let (buckets, first, filters) = (word(0)?, word(1)?, word(2)?);
    let buckets_at = filters.checked_mul(codec.word() as u64)?.checked_add(16)?;
    let chains_at = buckets.checked_mul(4)?.checked_add(buckets_at)?;
    let table = view.image.get(at + buckets_at.min(room), chains_at.checked_sub(buckets_at)?)?;
    let last = table.chunks_exact(4).map(|b| codec.number(b)).max()?;
    if last < first {
        return Some(first);
    }
    let mut index = last;
    loop {
        let chain = chains_at.checked_add((index - first).checked_mul(4)?)?;
        if chain >= room {
            return None;
        }
        let hash = codec.number(view.image.get(at + chain, 4)?.as_ref());
        index += 1;
        if hash & 1 != 0 {
            return Some(index);
        }
    }
}
