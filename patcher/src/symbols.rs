//! Renames dynamic symbols and clears their versions: what the symbol table, its hash tables, the
//! version table and the relocations must hold afterwards. Everything is found through `PT_DYNAMIC`
//! and keeps its place and size; only the new names need room, which the caller gives.

mod hash;
mod tables;

use crate::error::{Error, Shown};
use crate::plan::FileOffset;
use crate::view::tag;
use std::collections::HashMap;
use tables::{Dynamic, Table};

/// Bytes that replace as many others: where, which, and why.
pub type Patch = (FileOffset, Vec<u8>, String);

/// What to do with the dynamic symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolEdit<'a> {
    /// Gives every symbol of these names the version index `VER_NDX_GLOBAL`, so that it is looked up
    /// by name alone.
    ClearVersion(&'a [Vec<u8>]),
    /// Renames every symbol, defined or not, that has a first name to the second.
    Rename(&'a [(Vec<u8>, Vec<u8>)]),
}

/// `VER_NDX_GLOBAL` (LSB, "Symbol Version Table").
const VER_NDX_GLOBAL: u64 = 1;

/// The patches that make the edits true of `file`, in file order; none of them meet. The edits are
/// made in the order given, each on what the earlier ones left. `intern` yields the offset in the
/// dynamic string table at which the new file has a string; it is asked once per name and edit.
///
/// # Errors
/// [`Error::Symbols`] for tables that lie outside the file or contradict each other, and for those of
/// kinds whose order cannot be changed; the errors of [`crate::Elf::parse`].
pub fn patches(file: &[u8], edits: &[SymbolEdit<'_>], mut intern: impl FnMut(&[u8]) -> u32) -> Result<Vec<Patch>, Error> {
    let Some(dynamic) = Dynamic::read(file)? else { return Ok(Vec::new()) };
    let mut symbols = Symbols::read(&dynamic)?;
    for edit in edits {
        match edit {
            SymbolEdit::ClearVersion(names) => symbols.clear_versions(names)?,
            SymbolEdit::Rename(pairs) => symbols.rename(&dynamic, pairs, &mut intern)?,
        }
    }
    Ok(symbols.differences())
}

/// Whether the file's symbols have versions at all (`DT_VERSYM`).
///
/// # Errors
/// Those of [`patches`].
pub fn has_versions(file: &[u8]) -> Result<bool, Error> {
    Ok(Dynamic::read(file)?.is_some_and(|dynamic| dynamic.value(tables::DT_VERSYM).is_some()))
}

/// Whether a dynamic symbol's name begins at a position of the string table for which `within` says
/// so. Where nothing tells how many symbols there are, the answer is yes.
pub(crate) fn any_name(file: &[u8], within: impl Fn(u64) -> bool) -> bool {
    names(file).is_none_or(|positions| positions.into_iter().any(within))
}

/// Where the names of all dynamic symbols begin; `None` if that cannot be told.
fn names(file: &[u8]) -> Option<Vec<u64>> {
    let Some(dynamic) = Dynamic::read(file).ok()? else { return Some(Vec::new()) };
    if dynamic.value(tag::SYMTAB).is_none() {
        return Some(Vec::new());
    }
    let (hash, gnu_hash) = (dynamic.sysv_hash().ok()?, dynamic.gnu_hash().ok()?);
    let count = dynamic.certain_count(hash.as_ref(), gnu_hash.as_ref())?;
    let entry = if dynamic.words.is_64 { 24 } else { 16 };
    let table = dynamic.table(tag::SYMTAB, count.checked_mul(entry)?, "the dynamic symbols").ok()??;
    let position = |symbol: &[u8]| dynamic.words.get_u32(symbol, 0).map(u64::from);
    table.old.chunks_exact(entry).map(position).collect()
}

/// The tables that know symbols by their position, as they will be.
struct Symbols<'a> {
    /// `Elf32_Sym` or `Elf64_Sym`, one after the other.
    table: Table<'a>,
    /// The size of one of them.
    entry: usize,
    names: Vec<std::borrow::Cow<'a, [u8]>>,
    versions: Option<Table<'a>>,
    /// `DT_SYMTAB_SHNDX`, the section indices that do not fit into the symbols.
    indices: Option<Table<'a>>,
    hash: Option<Table<'a>>,
    gnu_hash: Option<Table<'a>>,
    relocations: Vec<tables::Relocations<'a>>,
    reordered: bool,
}

impl<'a> Symbols<'a> {
    fn read(dynamic: &Dynamic<'a>) -> Result<Symbols<'a>, Error> {
        let words = dynamic.words;
        let entry = if words.is_64 { 24 } else { 16 };
        if dynamic.value(tables::DT_SYMENT).is_some_and(|size| size != entry as u64) {
            return Err(unable("DT_SYMENT is not the size of a symbol"));
        }
        let hash = dynamic.sysv_hash()?;
        let gnu_hash = dynamic.gnu_hash()?;
        let count = dynamic.symbol_count(hash.as_ref(), gnu_hash.as_ref())?;
        let size = count.checked_mul(entry).ok_or_else(|| unable("there are more symbols than memory"))?;
        let table = dynamic.table(tag::SYMTAB, size, "the dynamic symbols")?;
        let table = table.ok_or_else(|| unable("there is no DT_SYMTAB"))?;
        let versions = dynamic.table(tables::DT_VERSYM, count.saturating_mul(2), "the version table")?;
        let indices = dynamic.table(tables::DT_SYMTAB_SHNDX, count.saturating_mul(4), "the section indices of symbols")?;
        let strings = dynamic.strings()?;
        let names = table.old.chunks_exact(entry).enumerate().map(|(at, symbol)| {
            let name = words.get_u32(symbol, 0).and_then(|start| tables::text(strings, start as usize));
            name.map(std::borrow::Cow::Borrowed).ok_or_else(|| unable(format!("the name of symbol {at} lies outside of the string table")))
        });
        let names = names.collect::<Result<_, _>>()?;
        Ok(Symbols { table, entry, names, versions, indices, hash, gnu_hash, relocations: Vec::new(), reordered: false })
    }

    fn clear_versions(&mut self, cleared: &[Vec<u8>]) -> Result<(), Error> {
        let Some(versions) = &mut self.versions else { return Ok(()) };
        let cleared: std::collections::HashSet<&[u8]> = cleared.iter().map(Vec::as_slice).collect();
        for (at, name) in self.names.iter().enumerate() {
            if cleared.contains(name.as_ref()) {
                versions.words.set(&mut versions.new, at * 2, 2, VER_NDX_GLOBAL).ok_or_else(|| unable("the version table is too short"))?;
            }
        }
        Ok(())
    }

    fn rename(&mut self, dynamic: &Dynamic<'a>, pairs: &[(Vec<u8>, Vec<u8>)], intern: &mut impl FnMut(&[u8]) -> u32) -> Result<(), Error> {
        if let Some((_, new)) = pairs.iter().find(|(old, new)| old.is_empty() || new.is_empty() || new.contains(&0)) {
            return Err(unable(format!("{} cannot be a symbol's name", Shown(new))));
        }
        let pairs: HashMap<&[u8], &[u8]> = pairs.iter().map(|(old, new)| (old.as_slice(), new.as_slice())).collect();
        let mut interned: HashMap<&[u8], u32> = HashMap::new();
        let words = self.table.words;
        for (at, name) in self.names.iter_mut().enumerate() {
            let Some(new) = pairs.get(name.as_ref()).filter(|new| **new != name.as_ref()) else { continue };
            let place = *interned.entry(new).or_insert_with(|| intern(new));
            words.set_u32(&mut self.table.new, at * self.entry, place).ok_or_else(|| unable("the symbol table is too short"))?;
            *name = std::borrow::Cow::Owned(new.to_vec());
        }
        if interned.is_empty() {
            return Ok(());
        }
        dynamic.no_other_hash()?;
        if let Some(table) = &mut self.gnu_hash
            && let Some(order) = hash::rebuild_gnu(table, &self.names)?
        {
            self.reorder(dynamic, &order)?;
        }
        if let Some(table) = &mut self.hash {
            hash::rebuild_sysv(table, dynamic.hash_entry(), &self.names)?;
        }
        Ok(())
    }

    /// Puts the symbol that was at `order[i]` to `i`, in every table that knows it by position.
    fn reorder(&mut self, dynamic: &Dynamic<'a>, order: &[usize]) -> Result<(), Error> {
        if !self.reordered {
            // Read only now: most files need no new order, and relocations are the largest table.
            self.relocations = dynamic.relocations()?;
            self.reordered = true;
        }
        self.table.reorder(order, self.entry);
        if let Some(versions) = &mut self.versions {
            versions.reorder(order, 2);
        }
        if let Some(indices) = &mut self.indices {
            indices.reorder(order, 4);
        }
        self.names = order.iter().filter_map(|from| self.names.get(*from).cloned()).collect();
        let mut moved_to = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            if let Some(place) = moved_to.get_mut(*from) {
                *place = to;
            }
        }
        self.relocations.iter_mut().try_for_each(|table| table.follow(&moved_to))
    }

    fn differences(self) -> Vec<Patch> {
        let tables = [Some(self.table), self.versions, self.indices, self.hash, self.gnu_hash];
        let relocations = self.relocations.into_iter().map(|relocations| relocations.table);
        let mut patches: Vec<Patch> = tables.into_iter().flatten().chain(relocations).flat_map(Table::differences).collect();
        patches.sort_by_key(|patch| patch.0);
        patches
    }
}

fn unable(reason: impl Into<String>) -> Error {
    Error::Symbols { reason: reason.into() }
}
