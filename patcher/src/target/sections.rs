//! Section headers and symbols of the new file: no loader reads them, but strip(1), debuggers and
//! analysers do, and stay true.

use super::{Build, Cursor};
use crate::elf::Section;
use crate::error::Error;
use crate::note;
use crate::plan::Phase;
use object::elf::SHT_DYNAMIC;
use std::ops::Range;

impl Build<'_> {
    /// Writes the section headers that changed, in place or as a whole; where the table is then.
    pub(super) fn section_headers(&mut self, cursor: &mut Cursor, named: bool) -> Result<u64, Error> {
        let (elf, codec) = (&self.view.elf, self.view.elf.header.codec);
        self.symbols()?;
        if self.sections == elf.sections && !self.choice.table.displaces_sections {
            return Ok(elf.header.sections_at);
        }
        let each = codec.section_size();
        if named && self.sections.len() > elf.sections.len() {
            let index = self.view.elf.names_index();
            let old = self.sections.get(index).copied().unwrap_or(Section {
                name: 0,
                sh_type: 0,
                flags: 0,
                addr: 0,
                offset: 0,
                size: 0,
                link: 0,
                info: 0,
                align: 0,
                entry_size: 0,
            });
            let mut names = self.view.image.read("the section names", old.offset, old.size)?.into_owned();
            names.extend(note::SECTION);
            names.push(0);
            let size = names.len() as u64;
            let to = self.unloaded(cursor, size)?;
            if let Some(section) = self.sections.get_mut(index) {
                (section.offset, section.size) = (to, size);
            }
            self.put(to, names, Phase::Fresh, "section names");
        }
        if self.choice.at_once || self.choice.table.displaces_sections || self.sections.len() > elf.sections.len() {
            let bytes: Vec<u8> = self.sections.iter().flat_map(|s| codec.put_section(s)).collect();
            let to = self.unloaded(cursor, bytes.len() as u64)?;
            self.put(to, bytes, Phase::Fresh, "section headers");
            return Ok(to);
        }
        for (index, (new, old)) in self.sections.clone().iter().zip(&elf.sections).enumerate() {
            if new != old {
                self.put(elf.header.sections_at + index as u64 * each, codec.put_section(new), Phase::Commit, "section header");
            }
        }
        Ok(elf.header.sections_at)
    }

    /// A place for bytes that only tools read: behind the area, or in another free stretch.
    fn unloaded(&mut self, cursor: &mut Cursor, size: u64) -> Result<u64, Error> {
        if let Ok((to, _)) = cursor.take(size, 8) {
            return Ok(to);
        }
        let spare = |free: &Range<u64>| {
            let at = free.start.checked_next_multiple_of(8)?;
            (at.checked_add(size)? <= free.end).then_some(at)
        };
        let at = self.spare.iter().find_map(spare).ok_or_else(|| Error::Refused { reason: "the section headers have no room".into() })?;
        self.spare = self.spare.iter().map(|free| if free.contains(&at) { at + size..free.end } else { free.clone() }).collect();
        Ok(at)
    }

    /// Symbols that stand for a section that moved, or for the dynamic section, follow it: only
    /// tools read them, but those complain.
    fn symbols(&mut self) -> Result<(), Error> {
        const SHT_SYMTAB: u32 = 2;
        const SHN_ABS: usize = 0xfff1;
        let dynamic = self.view.elf.sections.iter().position(|s| s.sh_type == SHT_DYNAMIC.0);
        let codec = self.view.elf.header.codec;
        let (each, value_at, index_at) = if codec.is_64 { (24usize, 8usize, 6usize) } else { (16, 4, 14) };
        let moved: Vec<(usize, Range<u64>, u64)> = self
            .view
            .elf
            .sections
            .iter()
            .zip(&self.sections)
            .enumerate()
            .filter(|(_, (old, new))| old.addr != new.addr && new.sh_type != 0)
            .map(|(i, (old, new))| (i, old.addr..old.addr.saturating_add(old.size.max(1)), new.addr))
            .collect();
        let tables: Vec<Section> =
            self.view.elf.sections.iter().filter(|s| s.sh_type == SHT_SYMTAB && s.size <= SYMBOLS_MAX).copied().collect();
        for table in tables.iter().filter(|_| !moved.is_empty()) {
            let Some(bytes) = self.view.image.get(table.offset, table.size) else { continue };
            let mut left = FOLLOWING_MAX;
            for (n, symbol) in bytes.chunks_exact(each).enumerate() {
                let index = codec.number(symbol.get(index_at..index_at + 2).unwrap_or_default()) as usize;
                let value = codec.number(symbol.get(value_at..value_at + codec.word()).unwrap_or_default());
                // `_DYNAMIC` is absolute in what many link editors write.
                let absolute = |i: usize, start: u64| index == SHN_ABS && value == start && dynamic == Some(i);
                let found = moved.iter().find(|(i, old, _)| *i == index || absolute(*i, old.start));
                let Some((_, old, new)) = found.filter(|(_, old, _)| old.contains(&value)) else { continue };
                if left == 0 {
                    break;
                }
                left -= 1;
                let at = table.offset + (n * each + value_at) as u64;
                self.put(at, codec.address(new.wrapping_add(value - old.start)), Phase::After, "symbol of a section that moved");
            }
        }
        Ok(())
    }
}

/// Larger tables of symbols are left as they are: only tools read them.
const SYMBOLS_MAX: u64 = 32 << 20;

/// A handful of symbols stand for sections that move; more are nobody's.
const FOLLOWING_MAX: usize = 4096;
