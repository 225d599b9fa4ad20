//! The dynamic string table with what is added to it and what is wiped out of it. Decides nothing
//! about where it goes.

use memchr::memmem;
use std::ops::Range;

/// A string table that grows at its end only: what was there keeps its position.
#[derive(Clone, Debug)]
pub(crate) struct Strings<'a> {
    base: std::borrow::Cow<'a, [u8]>,
    added: Vec<u8>,
    /// Bytes of the base that are replaced.
    over: Vec<(usize, Vec<u8>)>,
    /// Bytes of the base no string may be found in.
    gone: Vec<Range<usize>>,
}

impl<'a> Strings<'a> {
    pub(crate) fn new(base: std::borrow::Cow<'a, [u8]>) -> Strings<'a> {
        Strings { base, added: Vec::new(), over: Vec::new(), gone: Vec::new() }
    }

    /// The length of the table, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.base.len() + self.added.len()
    }

    /// The bytes from which the string that `at` lies in began, up to its NUL.
    pub(crate) fn whole(&self, at: usize) -> Option<Range<usize>> {
        let before = self.base.get(..at)?;
        let start = before.iter().rposition(|b| *b == 0).map_or(0, |nul| nul + 1);
        let length = memchr::memchr(0, self.base.get(at..)?)?;
        Some(start..at + length)
    }

    /// Writes over the string at `at`: `new`, its NUL, and an X for every byte that is left.
    pub(crate) fn overwrite(&mut self, at: usize, length: usize, new: Option<&[u8]>) {
        let mut bytes = vec![b'X'; length];
        if let Some(new) = new.filter(|new| new.len() <= length) {
            let with_nul = new.iter().copied().chain((new.len() < length).then_some(0));
            for (place, byte) in bytes.iter_mut().zip(with_nul) {
                *place = byte;
            }
        }
        self.gone.push(at..at + length);
        self.over.push((at, bytes));
    }

    /// The string at `at` in the base, as it will read.
    pub(crate) fn text(&self, at: usize) -> Vec<u8> {
        let over = self.over.iter().rev().find(|(start, _)| *start == at);
        let bytes = over.map_or(self.base.get(at..), |(_, bytes)| Some(bytes)).unwrap_or_default();
        bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
    }

    /// What was written over, as positions and bytes.
    pub(crate) fn overwritten(&self) -> &[(usize, Vec<u8>)] {
        &self.over
    }

    /// The position of a string, which is added if it is nowhere.
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        let wanted: Vec<u8> = text.iter().copied().chain([0]).collect();
        let free = |at: usize| !self.gone.iter().any(|gone| at < gone.end && gone.start < at + wanted.len());
        let found = memmem::find_iter(&self.base, &wanted).find(|at| free(*at));
        let found = found.or_else(|| memmem::find(&self.added, &wanted).map(|at| self.base.len() + at));
        if let Some(at) = found {
            return at as u64;
        }
        let at = self.size();
        self.added.extend(&wanted);
        at as u64
    }

    /// The whole table.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.base.to_vec();
        for (at, bytes) in &self.over {
            if let Some(place) = out.get_mut(*at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        out.extend(&self.added);
        out
    }
}
