//! Finds the tables that know dynamic symbols, through `PT_DYNAMIC` and the loaded segments, and
//! edits copies of them. Section headers are asked only for a length that nothing else tells.

use super::hash::GnuHeader;
use super::{Patch, unable};
use crate::codec::{Codec, Dyn};
use crate::elf::Elf;
use crate::error::Error;
use crate::plan::FileOffset;
use crate::view::tag;
use object::elf::{PT_DYNAMIC, SHT_DYNSYM};

// gABI, "Dynamic Section", figure "Dynamic Array Tags".
const DT_PLTRELSZ: u64 = 2;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
pub(super) const DT_SYMENT: u64 = 11;
const DT_REL: u64 = 17;
const DT_RELSZ: u64 = 18;
const DT_PLTREL: u64 = 20;
const DT_JMPREL: u64 = 23;
pub(super) const DT_SYMTAB_SHNDX: u64 = 34;
// GNU extensions (binutils, include/elf/common.h).
pub(super) const DT_VERSYM: u64 = 0x6fff_fff0;
// What is ordered or packed otherwise.
const DT_ANDROID_REL: u64 = 0x6000_000f;
const DT_ANDROID_RELA: u64 = 0x6000_0011;
const DT_MIPS_GOTSYM: u64 = 0x7000_0013;
const DT_MIPS_XHASH: u64 = 0x7000_0036;

const EM_MIPS: u16 = 8;
const EM_S390: u16 = 22;
const EM_ALPHA: u16 = 0x9026;

/// The NUL-terminated text at `start`, without its NUL.
pub(super) fn text(strings: &[u8], start: usize) -> Option<&[u8]> {
    let rest = strings.get(start..)?;
    rest.get(..memchr::memchr(0, rest)?)
}

/// Part of the file, and what it becomes.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    pub(super) words: Codec,
    offset: usize,
    pub(super) old: &'a [u8],
    pub(super) new: Vec<u8>,
    what: &'static str,
}

impl Table<'_> {
    /// Entries of `size` bytes in a new order: at each position, the position it comes from.
    pub(super) fn reorder(&mut self, order: &[usize], size: usize) {
        let before = self.new.clone();
        for (place, from) in self.new.chunks_exact_mut(size).zip(order) {
            if let Some(entry) = before.get(from * size..(from + 1) * size) {
                place.copy_from_slice(entry);
            }
        }
    }

    /// The runs of bytes that differ. Runs with little between them count as one.
    pub(super) fn differences(self) -> Vec<Patch> {
        const LITTLE: usize = 32;
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (at, _) in self.old.iter().zip(&self.new).enumerate().filter(|(_, (old, new))| old != new) {
            match runs.last_mut() {
                Some(run) if at - run.end <= LITTLE => run.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
        let patch = |run: std::ops::Range<usize>| {
            let bytes = self.new.get(run.clone())?.to_vec();
            Some((FileOffset((self.offset + run.start) as u64), bytes, self.what.to_owned()))
        };
        runs.into_iter().filter_map(patch).collect()
    }
}

/// A table of relocations of `entry` bytes.
pub(super) struct Relocations<'a> {
    pub(super) table: Table<'a>,
    entry: usize,
}

impl Relocations<'_> {
    /// The largest symbol position one of them names.
    fn largest_symbol(&self) -> Option<usize> {
        let words = self.table.words;
        let infos = (0..).step_by(self.entry).map_while(|at| words.get_word(self.table.old, at + words.word()));
        infos.filter_map(|info| usize::try_from(info >> symbol_shift(words)).ok()).max()
    }

    /// Makes them follow symbols that moved: at each old position, the new one.
    pub(super) fn follow(&mut self, moved_to: &[usize]) -> Result<(), Error> {
        let words = self.table.words;
        let shift = symbol_shift(words);
        for at in (0..self.table.new.len()).step_by(self.entry) {
            let place = at + words.word();
            let Some(info) = words.get_word(&self.table.new, place) else { break };
            let old = info >> shift;
            let to = usize::try_from(old).ok().and_then(|old| moved_to.get(old));
            let to = *to.ok_or_else(|| unable(format!("a relocation names the symbol {old}, which does not exist")))? as u64;
            if to != old {
                let info = info & ((1 << shift) - 1) | to << shift;
                words.set_word(&mut self.table.new, place, info).ok_or_else(|| unable("a relocation table is too short"))?;
            }
        }
        Ok(())
    }
}

/// `ELF32_R_SYM` and `ELF64_R_SYM` (gABI, "Relocation").
fn symbol_shift(words: Codec) -> u32 {
    if words.is_64 { 32 } else { 8 }
}

/// The dynamic section, and the tables it points to.
pub(super) struct Dynamic<'a> {
    file: &'a [u8],
    pub(super) words: Codec,
    elf: Elf,
    entries: Vec<Dyn>,
}

impl<'a> Dynamic<'a> {
    /// `None` for a file without `PT_DYNAMIC`.
    pub(super) fn read(file: &'a [u8]) -> Result<Option<Dynamic<'a>>, Error> {
        let elf = Elf::parse(file)?;
        let words = elf.header.codec;
        let Some(segment) = elf.segment(PT_DYNAMIC.0) else { return Ok(None) };
        let (_, bytes) = segment.bytes(file)?;
        let entries = words.dynamic(bytes).into_iter().take_while(|entry| entry.tag != tag::NULL).collect();
        Ok(Some(Dynamic { file, words, elf, entries }))
    }

    /// The value of a tag. Of several the last counts, as for glibc (`elf_get_dynamic_info`).
    pub(super) fn value(&self, tag: u64) -> Option<u64> {
        self.entries.iter().rev().find(|entry| entry.tag == tag).map(|entry| entry.value)
    }

    /// Where an address lies in the file, and how many bytes of its segment follow there.
    fn place(&self, address: u64) -> Option<(usize, usize)> {
        let (offset, room) = self.elf.offset_of(address)?;
        let offset = usize::try_from(offset).ok()?;
        Some((offset, usize::try_from(room).ok()?.min(self.file.len().checked_sub(offset)?)))
    }

    /// `size` bytes at a tag's address; `None` if there is no such tag.
    pub(super) fn table(&self, tag: u64, size: usize, what: &'static str) -> Result<Option<Table<'a>>, Error> {
        let Some(address) = self.value(tag) else { return Ok(None) };
        self.bytes(address, size, what).map(Some)
    }

    fn bytes(&self, address: u64, size: usize, what: &'static str) -> Result<Table<'a>, Error> {
        let outside = || unable(format!("{what}, {size} bytes at address {address:#x}, lie outside of what is loaded from the file"));
        let (offset, room) = self.place(address).ok_or_else(outside)?;
        let old = self.file.get(offset..offset.saturating_add(size)).filter(|_| size <= room).ok_or_else(outside)?;
        Ok(Table { words: self.words, offset, old, new: old.to_vec(), what })
    }

    /// The string table.
    pub(super) fn strings(&self) -> Result<&'a [u8], Error> {
        let (Some(address), Some(size)) = (self.value(tag::STRTAB), self.value(tag::STRSZ)) else {
            return Err(unable("there is no DT_STRTAB or no DT_STRSZ"));
        };
        let outside = || unable("DT_STRTAB lies outside of what is loaded from the file");
        let (offset, room) = self.place(address).ok_or_else(outside)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= room).ok_or_else(outside)?;
        self.file.get(offset..offset + size).ok_or_else(outside)
    }

    /// The size of a word of `DT_HASH`: 4, but 8 on the two machines whose ABI was written otherwise
    /// (glibc, `Elf_Symndx` of alpha and s390x).
    pub(super) fn hash_entry(&self) -> usize {
        if self.words.is_64 && [EM_S390, EM_ALPHA].contains(&self.elf.header.machine) { 8 } else { 4 }
    }

    /// `DT_HASH`, whole.
    pub(super) fn sysv_hash(&self) -> Result<Option<Table<'a>>, Error> {
        const WHAT: &str = "DT_HASH";
        let entry = self.hash_entry();
        let Some(head) = self.table(tag::HASH, 2 * entry, WHAT)? else { return Ok(None) };
        let count = |at: usize| self.words.get(head.old, at * entry, entry).and_then(|n| usize::try_from(n).ok());
        let size = count(0)
            .filter(|buckets| *buckets > 0)
            .and_then(|buckets| buckets.checked_add(count(1)?)?.checked_add(2)?.checked_mul(entry))
            .ok_or_else(|| unable("DT_HASH: hash table header out of range"))?;
        self.table(tag::HASH, size, WHAT)
    }

    /// `DT_GNU_HASH`, whole: its length follows from the chain that ends last.
    pub(super) fn gnu_hash(&self) -> Result<Option<Table<'a>>, Error> {
        let Some(address) = self.value(tag::GNU_HASH) else { return Ok(None) };
        let out_of_range = || unable("DT_GNU_HASH: hash table header out of range");
        let (offset, room) = self.place(address).ok_or_else(out_of_range)?;
        let rest = self.file.get(offset..).and_then(|rest| rest.get(..room)).ok_or_else(out_of_range)?;
        let header = GnuHeader::read(self.words, rest).ok_or_else(out_of_range)?;
        let buckets = (0..header.buckets as usize).filter_map(|index| self.words.get_u32(rest, header.buckets_at + index * 4));
        let last = buckets.filter(|first| *first != 0).max();
        let mut chains = 0usize;
        if let Some(last) = last {
            let start =
                last.checked_sub(header.first_symbol).ok_or_else(|| unable("a bucket of DT_GNU_HASH names a symbol that is not in it"))?;
            let ends = |index: &usize| self.words.get_u32(rest, header.chains_at + index * 4).is_none_or(|hash| hash & 1 == 1);
            // Ends at the latest where the segment does.
            chains = (start as usize..).find(ends).unwrap_or_default() + 1;
        }
        let size = header.chains_at + chains.checked_mul(4).ok_or_else(out_of_range)?;
        self.bytes(address, size, "DT_GNU_HASH").map(Some)
    }

    /// How many symbols there are. The gABI says it in `DT_HASH` only; without it, the last of
    /// `DT_GNU_HASH` is the last of all. A program that defines none has an empty one; then it is
    /// said by the section header, and by the relocations if there is none.
    pub(super) fn symbol_count(&self, hash: Option<&Table<'a>>, gnu_hash: Option<&Table<'a>>) -> Result<usize, Error> {
        if hash.is_some_and(|table| self.words.get(table.old, self.hash_entry(), self.hash_entry()).is_none()) {
            return Err(unable("DT_HASH: hash table header out of range"));
        }
        if let Some(count) = self.certain_count(hash, gnu_hash) {
            return Ok(count);
        }
        Ok(self.relocations()?.iter().filter_map(Relocations::largest_symbol).max().map_or(1, |last| last + 1))
    }

    /// How many symbols there are by a hash table or the section header; relocations tell only of those
    /// they name.
    pub(super) fn certain_count(&self, hash: Option<&Table<'a>>, gnu_hash: Option<&Table<'a>>) -> Option<usize> {
        if let Some(table) = hash {
            let entry = self.hash_entry();
            return usize::try_from(self.words.get(table.old, entry, entry)?).ok();
        }
        if let Some(table) = gnu_hash
            && let Some(header) = GnuHeader::read(self.words, table.old)
            && table.old.len() > header.chains_at
        {
            return Some(header.first_symbol as usize + (table.old.len() - header.chains_at) / 4);
        }
        self.counted_by_section()
    }

    /// The number of symbols by the section header of type `SHT_DYNSYM` at `DT_SYMTAB`.
    fn counted_by_section(&self) -> Option<usize> {
        let address = self.value(tag::SYMTAB)?;
        let section = self.elf.sections.iter().find(|s| s.sh_type == SHT_DYNSYM.0 && s.addr == address)?;
        usize::try_from(section.size / if self.words.is_64 { 24 } else { 16 }).ok()
    }

    /// Refuses the hash table of MIPS, whose order is the global offset table's.
    pub(super) fn no_other_hash(&self) -> Result<(), Error> {
        match self.value(DT_MIPS_XHASH) {
            Some(_) => Err(unable("its DT_MIPS_XHASH is tied to the global offset table")),
            None => Ok(()),
        }
    }

    /// The relocation tables that name symbols, none of them overlapping another.
    ///
    /// # Errors
    /// [`Error::Symbols`] for those that are packed or whose symbols have an order of their own.
    pub(super) fn relocations(&self) -> Result<Vec<Relocations<'a>>, Error> {
        for tag in [DT_ANDROID_REL, DT_ANDROID_RELA] {
            if self.value(tag).is_some() {
                return Err(unable("its relocations are packed, and the symbols they name cannot change places"));
            }
        }
        if self.value(DT_MIPS_GOTSYM).is_some() || (self.elf.header.machine == EM_MIPS && self.words.is_64) {
            return Err(unable("the order of its symbols is that of its global offset table"));
        }
        let pair = 2 * self.words.word();
        let plt_entry = if self.value(DT_PLTREL) == Some(DT_RELA) { pair + self.words.word() } else { pair };
        let tags = [(DT_RELA, DT_RELASZ, pair + self.words.word()), (DT_REL, DT_RELSZ, pair), (DT_JMPREL, DT_PLTRELSZ, plt_entry)];
        let mut tables: Vec<Relocations<'a>> = Vec::new();
        for (tag, size, entry) in tags {
            let size = usize::try_from(self.value(size).unwrap_or(0)).map_err(|_| unable("a relocation table is larger than memory"))?;
            if size == 0 {
                continue;
            }
            if let Some(table) = self.table(tag, size, "the relocations")? {
                tables.push(Relocations { table, entry });
            }
        }
        // On some machines DT_RELASZ counts those of DT_JMPREL too: what two tables share belongs to
        // the earlier one.
        tables.sort_by_key(|relocations| relocations.table.offset);
        let mut taken = 0;
        let mut own = Vec::new();
        for mut relocations in tables {
            let table = &mut relocations.table;
            let shared = taken.max(table.offset) - table.offset;
            taken = taken.max(table.offset + table.old.len());
            if shared >= table.old.len() {
                continue;
            }
            if shared % relocations.entry != 0 {
                return Err(unable("two relocation tables overlap"));
            }
            table.offset += shared;
            table.old = table.old.get(shared..).unwrap_or_default();
            table.new = table.old.to_vec();
            own.push(relocations);
        }
        Ok(own)
    }
}
