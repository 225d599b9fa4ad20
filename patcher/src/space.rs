//! Which bytes of a file are spoken for, and where there is room. Measures; takes nothing.

use crate::elf::{Elf, Segment};
use crate::image::Image;
use std::ops::Range;

/// The bytes that headers, segments and sections cover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space {
    /// Ascending, apart from each other.
    used: Vec<Range<u64>>,
}

/// Where the last byte that any header, segment or section covers ends.
pub(crate) fn covered_end(elf: &Elf) -> u64 {
    covers(elf).map(|r| r.end).max().unwrap_or_default()
}

fn covers(elf: &Elf) -> impl Iterator<Item = Range<u64>> {
    let headers = [0..elf.header.codec.header_size(), elf.segment_table(), elf.section_table()];
    let segments = elf.segments.iter().filter(|s| s.p_type != 0).map(Segment::range);
    let sections = elf.sections.iter().map(|s| s.range());
    let there = |r: Range<u64>| r.start.min(elf.file_size)..r.end.min(elf.file_size);
    headers.into_iter().chain(segments).chain(sections).map(there).filter(|r| !r.is_empty())
}

impl Space {
    pub(crate) fn of(elf: &Elf) -> Space {
        let mut all: Vec<Range<u64>> = covers(elf).collect();
        all.sort_by_key(|r| r.start);
        let mut used: Vec<Range<u64>> = Vec::new();
        for range in all {
            match used.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => used.push(range),
            }
        }
        Space { used }
    }

    /// Whether nobody has any of `range`.
    pub(crate) fn is_free(&self, range: &Range<u64>) -> bool {
        !self.used.iter().any(|used| used.start < range.end && range.start < used.end)
    }

    /// What is spoken for, ascending, apart from each other.
    pub(crate) fn used(&self) -> &[Range<u64>] {
        &self.used
    }

    /// The end of everything.
    pub(crate) fn end(&self) -> u64 {
        self.used.last().map_or(0, |r| r.end)
    }

    /// Takes `range` out of what is spoken for.
    pub(crate) fn release(&mut self, range: &Range<u64>) {
        let mut left = Vec::new();
        for used in self.used.drain(..) {
            for part in [used.start..used.end.min(range.start), used.start.max(range.end)..used.end] {
                if !part.is_empty() {
                    left.push(part);
                }
            }
        }
        left.sort_by_key(|r| r.start);
        self.used = left;
    }

    /// Both together.
    pub(crate) fn and(mut self, other: &Space) -> Space {
        self.occupy_all(other.used.iter().cloned());
        self
    }

    /// Adds `range` to what is spoken for.
    pub(crate) fn occupy(&mut self, range: Range<u64>) {
        self.occupy_all([range]);
    }

    /// Adds all of `ranges`, empty ones too: they divide what is free.
    pub(crate) fn occupy_all(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) {
        self.used.extend(ranges);
        self.used.sort_by_key(|r| r.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(self.used.len());
        for range in self.used.drain(..) {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        self.used = joined;
    }

    /// The free bytes from `at` on, up to the next that are spoken for; nothing behind the end.
    pub(crate) fn free_from(&self, at: u64) -> Range<u64> {
        at..self.used.iter().find(|r| r.end > at).map_or(at, |next| next.start.max(at))
    }

    /// As [`Space::free_from`], but behind the end everything is free.
    pub(crate) fn free_behind(&self, at: u64) -> Range<u64> {
        at..self.used.iter().find(|r| r.end > at).map_or(u64::MAX >> 1, |next| next.start.max(at))
    }

    /// Every free stretch between what is spoken for.
    pub(crate) fn gaps(&self) -> Vec<Range<u64>> {
        self.used.windows(2).filter_map(|pair| Some(pair.first()?.end..pair.last()?.start)).filter(|r| !r.is_empty()).collect()
    }
}

/// The memory page `page` may extend a segment into: up to the page where the next one begins.
pub(crate) fn memory_room(elf: &Elf, load: &Segment, page: u64) -> u64 {
    let end = load.memory().end;
    let above = elf.loads().filter(|s| s.vaddr > load.vaddr).map(|s| s.vaddr / page * page).min();
    above.unwrap_or(u64::MAX).saturating_sub(end)
}

/// The bytes behind `load` in the file that it could be extended over: padding, all zero, whose
/// addresses are free too. Not for a load with memory behind its bytes: that has to stay zero.
pub(crate) fn slack(image: &Image<'_>, elf: &Elf, space: &Space, load: &Segment, page: u64) -> Range<u64> {
    let end = load.range().end;
    if !load.is_load() || load.file_size == 0 || load.file_size != load.memory_size {
        return end..end;
    }
    let free = space.free_from(end);
    let size = (free.end - free.start).min(memory_room(elf, load, page)).min(SLACK_MAX);
    if image.is_zero(end..end + size) { end..end + size } else { end..end }
}

/// Padding is less than the largest page; bounds what is read.
pub(crate) const SLACK_MAX: u64 = 2 << 20;
