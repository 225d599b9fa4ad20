//! What the file is to say, edit by edit: needs, paths and flags as values, without a thought of where
//! their bytes will lie.

use crate::codec::Dyn;
use crate::edit::{Edit, RpathTag};
use crate::error::Error;
use crate::record::{Kind, Record};
use crate::strings::Strings;
use crate::symbols::{self, SymbolEdit};
use crate::table::TABLES;
use crate::view::{INTERPRETER_MAX, View, tag};
use object::elf::{DF_1_NODEFLIB, ET_DYN};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// A value of the dynamic section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number or an address.
    Number(u64),
    /// A string that stands in the base of the string table, at this position.
    Old(u64),
    /// A string that has no place yet.
    New(Vec<u8>),
}

/// An entry of the dynamic section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tag: u64,
    pub(crate) value: Value,
    /// Which entry of the original it is.
    pub(crate) was: Option<usize>,
}

/// Bytes of a table that keeps its place and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// Offset in the original.
    pub(crate) offset: u64,
    pub(crate) new: Vec<u8>,
    pub(crate) why: String,
    pub(crate) kind: Kind,
}

/// The state that edits change.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The file as it is.
    current: &'a View<'a>,
    pub(crate) entries: Vec<Entry>,
    strings: Strings<'a>,
    pub(crate) interpreter: Option<Vec<u8>>,
    pub(crate) os_abi: u8,
    pub(crate) exec_stack: Option<bool>,
    /// The descriptor of the resolution cache's note; `None` for no such note.
    pub(crate) cache: Option<Vec<u8>>,
    /// Where the original has such a note that the edits make untrue.
    pub(crate) stale_cache: Option<Range<u64>>,
    /// Where the original has such a note.
    first_cache: Option<Range<u64>>,
    /// File names of version needs that change: where they stand, and the new name.
    version_files: BTreeMap<u64, Vec<u8>>,
    renames: Vec<(Vec<u8>, Vec<u8>)>,
    unversioned: Vec<Vec<u8>>,
    /// Table bytes that earlier edits changed.
    kept: Vec<Patch>,
    pub(crate) changed: bool,
}

/// The draft's answer: what is to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The entries with their final values, `DT_NULL` not included; `DT_STRTAB` and `DT_STRSZ` as in
    /// the original.
    pub(crate) entries: Vec<(Dyn, Option<usize>)>,
    /// What each entry's string is to read, if it is one.
    pub(crate) texts: Vec<Option<Vec<u8>>>,
    /// A string table that is longer than the original's, and so needs another place.
    pub(crate) table: Option<Vec<u8>>,
    /// Tables and strings that keep their place.
    pub(crate) patches: Vec<Patch>,
    /// Strings overwritten at their old place: nobody reads them there if the table moves.
    pub(crate) wiped: Vec<Patch>,
    /// Whether all of a table that moves is to be wiped out at its old place.
    pub(crate) clobber: bool,
}

impl<'a> Draft<'a> {
    /// What `current` says. `original` is the file before our last edit, whose record is `record`.
    pub(crate) fn new(current: &'a View<'a>, original: &View<'a>, record: Option<&Record>) -> Result<Draft<'a>, Error> {
        let size = original.dynamic.as_ref().map_or(0, |d| d.strings.len());
        // Renamed symbols point into what was added; the whole table is kept for them.
        let symbols = record.is_some_and(|r| r.changed.iter().any(|c| c.kind == Kind::Symbols));
        let base: Cow<'a, [u8]> = match &current.dynamic {
            Some(dynamic) if symbols => dynamic.strings.clone(),
            Some(dynamic) => match &dynamic.strings {
                Cow::Borrowed(all) => Cow::Borrowed(all.get(..size).unwrap_or(all)),
                Cow::Owned(all) => Cow::Owned(all.get(..size).unwrap_or(all).to_vec()),
            },
            None => Cow::Borrowed(&[]),
        };
        let mut entries = Vec::new();
        for (index, d) in current.entries().iter().enumerate() {
            let value = match tag::is_string(d.tag) {
                true if (d.value as usize) < base.len() => Value::Old(d.value),
                true => Value::New(current.dynamic.as_ref().map_or(Ok(Vec::new()), |all| all.text(d.value).map(<[u8]>::to_vec))?),
                false => Value::Number(d.value),
            };
            // Addresses of what an earlier edit moved, and what is relative to its own place.
            let value = match original.dynamic.as_ref().and_then(|o| o.value(d.tag)) {
                Some(value) if d.tag == tag::MIPS_RLD_MAP_REL || TABLES.iter().any(|(_, t)| *t == d.tag) => Value::Number(value),
                _ => value,
            };
            let was = match record {
                None => Some(index),
                Some(_) => original.entries().iter().position(|o| o.tag == d.tag),
            };
            entries.push(Entry { tag: d.tag, value, was });
        }
        let mut version_files = BTreeMap::new();
        if record.is_some()
            && !symbols
            && let Some(dynamic) = &current.dynamic
        {
            for file in current.version_strings()?.files.iter().filter(|f| f.file as usize >= base.len()) {
                version_files.insert(file.at.0, dynamic.text(file.file)?.to_vec());
            }
        }
        let mut kept = Vec::new();
        for changed in record.iter().flat_map(|r| &r.changed).filter(|c| c.kind.is_kept()) {
            let new = current.image.read("an edited table", changed.offset, changed.old.len() as u64)?.into_owned();
            kept.push(Patch { offset: changed.offset, new, why: "as edited before".into(), kind: changed.kind });
        }
        // Strings that earlier edits overwrote where they stood: the base has them already.
        let strings = Strings::new(base);
        let first_cache = crate::note::resolution_cache(original)?.map(|found| found.place);
        let now = crate::note::resolution_cache(current)?;
        // Somebody else's stays where it is until it is no longer true.
        let stale_cache = first_cache.clone().filter(|first| now.as_ref().is_none_or(|now| now.place != *first));
        let cache = now.filter(|now| record.is_some() && Some(&now.place) != first_cache.as_ref()).map(|now| now.descriptor);
        Ok(Draft {
            current,
            entries,
            strings,
            interpreter: current.interpreter().map(<[u8]>::to_vec),
            os_abi: current.header().os_abi,
            exec_stack: current.exec_stack(),
            cache,
            stale_cache,
            first_cache,
            version_files,
            renames: Vec::new(),
            unversioned: Vec::new(),
            kept,
            changed: false,
        })
    }

    fn text(&self, value: &Value) -> Result<Vec<u8>, Error> {
        match (value, &self.current.dynamic) {
            (Value::New(text), _) => Ok(text.clone()),
            (Value::Old(at), Some(dynamic)) => Ok(dynamic.text(*at)?.to_vec()),
            _ => Ok(Vec::new()),
        }
    }

    fn require_dynamic(&self, what: &'static str) -> Result<(), Error> {
        if self.current.is_dynamic() { Ok(()) } else { Err(Error::NotDynamic { what }) }
    }

    /// Makes one edit.
    ///
    /// # Errors
    /// [`Error::NotDynamic`], [`Error::NoInterpreter`], [`Error::BadText`], and those of reading.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<(), Error> {
        match edit {
            Edit::Interpreter(path) => self.set_interpreter(path),
            Edit::Soname(name) => self.set_soname(name),
            Edit::Rpath { value, tag } => self.set_rpath(value, *tag),
            Edit::RemoveRpath => {
                self.require_dynamic("removing the run path")?;
                self.retain(|entry, _| Ok(![tag::RPATH, tag::RUNPATH].contains(&entry.tag)))?;
                self.forget_cache();
                Ok(())
            }
            Edit::AddNeeded(names) => {
                self.require_dynamic("adding a needed library")?;
                names.iter().try_for_each(|name| text(name, "a needed library"))?;
                let new = |name: &Vec<u8>| Entry { tag: tag::NEEDED, value: Value::New(name.clone()), was: None };
                self.entries.splice(0..0, names.iter().map(new));
                self.changed |= !names.is_empty();
                self.forget_cache();
                Ok(())
            }
            Edit::RemoveNeeded(names) => {
                self.require_dynamic("removing a needed library")?;
                if self.retain(|entry, text| Ok(entry.tag != tag::NEEDED || !names.contains(&text?)))? {
                    self.forget_cache();
                }
                Ok(())
            }
            Edit::ReplaceNeeded(pairs) => self.replace_needed(pairs),
            Edit::OsAbi(abi) => {
                self.changed |= self.os_abi != *abi;
                self.os_abi = *abi;
                Ok(())
            }
            Edit::ExecStack(wanted) => {
                self.changed |= self.exec_stack != Some(*wanted);
                self.exec_stack = Some(*wanted);
                Ok(())
            }
            Edit::NoDefaultLib => self.no_default_lib(),
            Edit::DebugTag => {
                self.require_dynamic("adding DT_DEBUG")?;
                if !self.entries.iter().any(|e| e.tag == tag::DEBUG) {
                    self.insert(tag::DEBUG, Value::Number(0));
                }
                Ok(())
            }
            Edit::ClearSymbolVersion(names) => {
                self.require_dynamic("clearing a symbol's version")?;
                self.unversioned.extend(names.iter().cloned());
                Ok(())
            }
            Edit::RenameSymbols(pairs) => {
                self.require_dynamic("renaming symbols")?;
                pairs.iter().try_for_each(|(_, new)| text(new, "a symbol"))?;
                self.renames.extend(pairs.iter().cloned());
                Ok(())
            }
            Edit::ResolutionCache(descriptor) => {
                self.require_dynamic("adding a resolution cache")?;
                if self.cache.as_ref() != Some(descriptor) {
                    // A loader reads the first one it finds.
                    self.stale_cache = self.first_cache.clone();
                    self.changed = true;
                }
                self.cache = Some(descriptor.clone());
                Ok(())
            }
        }
    }

    /// A resolution cache is true only for the needs and the run path it was made for.
    fn forget_cache(&mut self) {
        self.cache = None;
        self.stale_cache = self.first_cache.clone();
    }

    fn insert(&mut self, tag: u64, value: Value) {
        self.entries.insert(0, Entry { tag, value, was: None });
        self.changed = true;
    }

    /// Keeps the entries for which `keep` says so; whether any went.
    fn retain(&mut self, keep: impl Fn(&Entry, Result<Vec<u8>, Error>) -> Result<bool, Error>) -> Result<bool, Error> {
        let mut kept = Vec::new();
        for entry in &self.entries {
            if keep(entry, self.text(&entry.value))? {
                kept.push(entry.clone());
            }
        }
        let gone = kept.len() < self.entries.len();
        self.changed |= gone;
        self.entries = kept;
        Ok(gone)
    }

    fn set_interpreter(&mut self, path: &[u8]) -> Result<(), Error> {
        if path.is_empty() {
            return Ok(());
        }
        let old = self.interpreter.as_ref().ok_or(Error::NoInterpreter)?;
        text(path, "the interpreter")?;
        if path.len() as u64 >= INTERPRETER_MAX {
            return Err(Error::DoesNotFit { what: "the interpreter".into(), needed: path.len(), room: INTERPRETER_MAX as usize - 1 });
        }
        if old != path {
            self.interpreter = Some(path.to_vec());
            self.changed = true;
        }
        Ok(())
    }

    fn set_soname(&mut self, name: &[u8]) -> Result<(), Error> {
        if self.current.header().e_type != ET_DYN.0 {
            return Ok(());
        }
        self.require_dynamic("setting the soname")?;
        text(name, "the soname")?;
        let Some(index) = self.entries.iter().rposition(|e| e.tag == tag::SONAME) else {
            self.insert(tag::SONAME, Value::New(name.to_vec()));
            return Ok(());
        };
        self.set_text(index, name)
    }

    fn set_text(&mut self, index: usize, new: &[u8]) -> Result<(), Error> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        if self.text(&entry.value)? == new {
            return Ok(());
        }
        if let Some(entry) = self.entries.get_mut(index) {
            entry.value = Value::New(new.to_vec());
            self.changed = true;
        }
        Ok(())
    }

    fn set_rpath(&mut self, value: &[u8], wanted: RpathTag) -> Result<(), Error> {
        self.require_dynamic("setting the run path")?;
        text(value, "the run path")?;
        let last = |entries: &[Entry], tag: u64| entries.iter().rposition(|e| e.tag == tag);
        let (to, from) = match wanted {
            RpathTag::Runpath => (tag::RUNPATH, tag::RPATH),
            RpathTag::Rpath => (tag::RPATH, tag::RUNPATH),
        };
        let read = last(&self.entries, tag::RUNPATH).or(last(&self.entries, tag::RPATH));
        let old = read.and_then(|i| self.entries.get(i)).cloned();
        // Without --force-rpath a file that has both keeps both; with it, DT_RUNPATH always goes.
        let convert = last(&self.entries, from).filter(|_| wanted == RpathTag::Rpath || last(&self.entries, to).is_none());
        if let Some(entry) = convert.and_then(|i| self.entries.get_mut(i)) {
            entry.tag = to;
            self.changed = true;
        }
        let Some(old) = old else {
            if !value.is_empty() {
                self.insert(to, Value::New(value.to_vec()));
                self.forget_cache();
            }
            return Ok(());
        };
        let text = self.text(&old.value)?;
        if text == value {
            return Ok(());
        }
        self.changed = true;
        self.forget_cache();
        let place = match old.value {
            Value::Old(at) if !self.is_shared(at)? => Some(at),
            _ => None,
        };
        let mut new = Value::New(value.to_vec());
        if let Some(at) = place {
            let fits = value.len() <= text.len();
            self.strings.overwrite(at as usize, text.len(), fits.then_some(value));
            if fits {
                new = Value::Old(at);
            }
        }
        for entry in self.entries.iter_mut().filter(|e| [tag::RPATH, tag::RUNPATH].contains(&e.tag)) {
            entry.value = new.clone();
        }
        Ok(())
    }

    /// Whether anything but one entry reads the end of the string at `at`.
    fn is_shared(&self, at: u64) -> Result<bool, Error> {
        let Some(string) = self.strings.whole(at as usize) else { return Ok(true) };
        let within = |position: u64| (string.start as u64..=string.end as u64).contains(&position);
        let entries = self.entries.iter().filter(|e| matches!(e.value, Value::Old(p) if within(p))).count();
        let versions = self.current.version_strings()?;
        let version = versions.files.iter().chain(&versions.names).any(|v| within(v.file));
        Ok(entries > 1 || version || symbols::any_name(self.current.image.base(), within))
    }

    fn replace_needed(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        self.require_dynamic("replacing a needed library")?;
        pairs.iter().try_for_each(|(_, new)| text(new, "a needed library"))?;
        let replacement = |old: &[u8]| pairs.iter().find(|(from, to)| from == old && to != old).map(|(_, to)| to.clone());
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index).filter(|e| e.tag == tag::NEEDED) else { continue };
            if let Some(new) = replacement(&self.text(&entry.value)?) {
                self.set_text(index, &new)?;
                self.forget_cache();
            }
        }
        let Some(dynamic) = &self.current.dynamic else { return Ok(()) };
        for file in self.current.version_strings()?.files {
            let name = match self.version_files.get(&file.at.0) {
                Some(name) => name.clone(),
                None => dynamic.text(file.file)?.to_vec(),
            };
            if let Some(new) = replacement(&name) {
                self.version_files.insert(file.at.0, new);
                self.changed = true;
                self.forget_cache();
            }
        }
        Ok(())
    }

    fn no_default_lib(&mut self) -> Result<(), Error> {
        self.require_dynamic("setting DF_1_NODEFLIB")?;
        let flag = DF_1_NODEFLIB.0;
        let entry = self.entries.iter_mut().find(|e| e.tag == tag::FLAGS_1);
        match entry.map(|e| &mut e.value) {
            Some(Value::Number(flags)) => {
                self.changed |= *flags & flag == 0;
                *flags |= flag;
            }
            _ => self.insert(tag::FLAGS_1, Value::Number(flag)),
        }
        Ok(())
    }

    /// The bytes all this comes to, over `base`, the file as it is, and `original`.
    ///
    /// # Errors
    /// Those of the symbol tables.
    pub(crate) fn finish(&mut self, base: &[u8], original: &View<'_>, clobber: bool) -> Result<Content, Error> {
        let codec = original.header().codec;
        let mut patches = std::mem::take(&mut self.kept);
        for (at, name) in std::mem::take(&mut self.version_files) {
            let position = u32::try_from(self.strings.intern(&name)).map_err(|_| too_long())?;
            patches.push(Patch {
                offset: at,
                new: codec.u32(position).to_vec(),
                why: "the file of a needed version".into(),
                kind: Kind::Text,
            });
        }
        let symbol_edits = [SymbolEdit::ClearVersion(&self.unversioned), SymbolEdit::Rename(&self.renames)];
        if !self.unversioned.is_empty() || !self.renames.is_empty() {
            // Where an earlier edit moved the tables, those of the original are edited, and move with it.
            let table = |view: &View<'_>, tag: u64| view.dynamic.as_ref().and_then(|d| d.value(tag));
            let moved = TABLES.iter().any(|(_, tag)| table(self.current, *tag) != table(original, *tag));
            let refused = || Error::Refused {
                reason: "the file is too large for its symbols to be edited again; undo the earlier edit first".into(),
            };
            let first = if moved { Some(original.image.get(0, original.image.size()).ok_or_else(refused)?) } else { None };
            let base = first.as_deref().unwrap_or(base);
            let strings = &mut self.strings;
            for (offset, new, why) in symbols::patches(base, &symbol_edits, |name| strings.intern(name) as u32)? {
                self.changed = true;
                patches.push(Patch { offset: offset.0, new, why, kind: Kind::Symbols });
            }
        }
        let mut entries = Vec::new();
        let mut texts = Vec::new();
        for entry in &self.entries {
            texts.push(match &entry.value {
                Value::Number(_) => None,
                Value::Old(at) => Some(self.strings.text(*at as usize)),
                Value::New(text) => Some(text.clone()),
            });
            let value = match (&entry.value, original.dynamic.as_ref()) {
                (_, Some(dynamic)) if entry.tag == tag::STRTAB => dynamic.strings_address,
                (_, Some(dynamic)) if entry.tag == tag::STRSZ => dynamic.strings.len() as u64,
                (Value::Number(n) | Value::Old(n), _) => *n,
                (Value::New(text), _) => self.strings.intern(text),
            };
            entries.push((Dyn { tag: entry.tag, value }, entry.was));
        }
        let old_size = original.dynamic.as_ref().map_or(0, |d| d.strings.len());
        let strings_at = original.dynamic.as_ref().map_or(0, |d| d.strings_at);
        let place = |(at, new): &(usize, Vec<u8>)| Patch {
            offset: strings_at + *at as u64,
            new: new.clone(),
            why: "the old run path is overwritten".into(),
            kind: Kind::Text,
        };
        let wiped = self.strings.overwritten().iter().filter(|(at, _)| *at < old_size).map(place).collect();
        let table = (self.strings.size() > old_size).then(|| self.strings.bytes());
        if self.strings.size() as u64 > u64::from(u32::MAX) {
            return Err(too_long());
        }
        Ok(Content { entries, texts, table, patches, wiped, clobber })
    }
}

fn too_long() -> Error {
    Error::DoesNotFit { what: "the string table".into(), needed: usize::MAX, room: u32::MAX as usize }
}

/// A text that can stand in a string table.
fn text(bytes: &[u8], what: &'static str) -> Result<(), Error> {
    match bytes.contains(&0) {
        true => Err(Error::BadText { what: what.into(), reason: "it contains a NUL" }),
        false => Ok(()),
    }
}
