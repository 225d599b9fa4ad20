//! What a program says it needs, read where it lies – mapped by the kernel, or in its file – and the key that
//! follows from it. Reads nothing that the loader will not read as well, so no page is touched in vain.

use crate::bytes::{after, u16_at, u32_at, until_nul};
use crate::dynamic::first;
use crate::elf::{Class, PT_DYNAMIC, PT_INTERP, loaded_at, of_kind};
use crate::key::{Key, Keying};

/// The longest name, bytes (`PATH_MAX`).
const NAME_MAX: usize = 4096;
/// The longest run path, bytes.
const PATHS_MAX: usize = 1 << 17;
/// The most entries of a dynamic section, and of version needs.
const ENTRIES_MAX: usize = 1 << 16;

/// `DT_NEEDED`.
pub const DT_NEEDED: usize = 1;
/// `DT_STRTAB`.
pub const DT_STRTAB: usize = 5;
/// `DT_RPATH`.
pub const DT_RPATH: usize = 15;
/// `DT_RUNPATH`.
pub const DT_RUNPATH: usize = 29;
/// `DT_VERNEED`.
const DT_VERNEED: usize = 0x6fff_fffe;
/// `DT_VERNEEDNUM`.
pub const DT_VERNEEDNUM: usize = 0x6fff_ffff;

/// Link-time addresses and what stands there.
pub trait Memory {
    /// Everything from an address to the end of the file part of its segment.
    fn from(&self, address: usize) -> Option<&[u8]>;
}

/// A program's file in memory, with its program headers.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The whole file.
    pub bytes: &'a [u8],
    /// Its program headers.
    pub table: &'a [u8],
    /// Its class.
    pub class: Class,
}

impl Memory for File<'_> {
    fn from(&self, address: usize) -> Option<&[u8]> {
        let segment = loaded_at(self.table, self.class, address)?;
        let (distance, rest) = segment.reach(address)?;
        let start = segment.offset.checked_add(distance)?;
        let end = start.checked_add(rest)?;
        self.bytes.get(start..end.min(self.bytes.len()))
    }
}

/// A program's dynamic section.
#[derive(Clone, Copy)]
pub struct Needs<'m, M> {
    memory: &'m M,
    class: Class,
    /// `PT_INTERP`, without its NUL.
    pub interpreter: &'m [u8],
    entries: &'m [u8],
    /// From the first string to the end of the segment.
    strings: &'m [u8],
}

impl<'m, M: Memory> Needs<'m, M> {
    /// Reads what the program with these headers needs; `None` of one that has no interpreter or no dynamic
    /// section, or whose parts lie outside of its segments.
    pub fn read(memory: &'m M, table: &[u8], class: Class) -> Option<Needs<'m, M>> {
        let part = |kind| of_kind(table, class, kind);
        let interpreter = until_nul(memory.from(part(PT_INTERP)?.address)?, NAME_MAX)?;
        let dynamic = part(PT_DYNAMIC)?;
        let size = dynamic.memory_size.min(ENTRIES_MAX * class.entry_size());
        let whole = memory.from(dynamic.address)?;
        let entries = whole.get(..size).unwrap_or(whole);
        let (_, strings) = first(entries, class, DT_STRTAB)?;
        Some(Needs { memory, class, interpreter, entries, strings: memory.from(strings)? })
    }

    /// Tag and value of each entry, up to `DT_NULL`.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize)> + 'm {
        entries(self.entries, self.class).take_while(|(tag, _)| *tag != 0)
    }

    fn string(&self, offset: usize, most: usize) -> Option<&'m [u8]> {
        until_nul(self.strings.get(offset..)?, most)
    }

    /// The names of `DT_NEEDED`, in order.
    pub fn libraries(&self) -> impl Iterator<Item = &'m [u8]> + '_ {
        self.entries().filter(|(tag, _)| *tag == DT_NEEDED).filter_map(|(_, offset)| self.string(offset, NAME_MAX))
    }

    /// Whether it was linked against musl: by its interpreter's name, as everybody tells.
    pub fn is_musl(&self) -> bool {
        let name = self.interpreter.rsplit(|byte| *byte == b'/').next();
        name.is_some_and(|name| after(name, b"ld-musl").is_some())
    }

    /// The key of this program in `directory`; `None` if a name lies outside of its segments.
    #[inline(never)]
    pub fn key(&self, directory: &[u8]) -> Option<Key> {
        let mut keying = Keying::new();
        keying.part(b'i', self.interpreter)?;
        keying.part(b'd', directory)?;
        let mut versions = None;
        for (tag, value) in self.entries() {
            match tag {
                DT_NEEDED => keying.part(b'n', self.string(value, NAME_MAX)?)?,
                DT_RPATH => keying.part(b'r', self.string(value, PATHS_MAX)?)?,
                DT_RUNPATH => keying.part(b'R', self.string(value, PATHS_MAX)?)?,
                DT_VERNEED => versions = Some(value),
                _ => {}
            }
        }
        if let Some(at) = versions {
            self.versions(at, &mut keying)?;
        }
        Some(keying.finish())
    }

    /// `Verneed` and `Vernaux` (gABI supplement, "Symbol Versioning"): both are chains of relative offsets.
    fn versions(&self, at: usize, keying: &mut Keying) -> Option<()> {
        let mut file = self.memory.from(at)?;
        loop {
            let need = file.first_chunk::<16>()?;
            keying.part(b'f', self.string(u32_at(need, 4)? as usize, NAME_MAX)?)?;
            let mut version = file.get(u32_at(need, 8)? as usize..)?;
            for _ in 0..u16_at(need, 2)? {
                let aux = version.first_chunk::<16>()?;
                keying.part(b'v', self.string(u32_at(aux, 8)? as usize, NAME_MAX)?)?;
                version = version.get(u32_at(aux, 12)? as usize..)?;
            }
            // Nearer to the end each time.
            match u32_at(need, 12)? {
                0 => return Some(()),
                next => file = file.get(next as usize..)?,
            }
        }
    }
}

/// Tag and value of each entry of a dynamic section, `DT_NULL`s and what follows them included.
pub fn entries(bytes: &[u8], class: Class) -> impl Iterator<Item = (usize, usize)> + '_ {
    bytes.chunks_exact(class.entry_size()).filter_map(move |e| Some((class.word_at(e, 0)?, class.word_at(e, class.word())?)))
}

/// The key of a program's file in `directory`; `None` of a file that has none.
pub fn key_of_file(bytes: &[u8], machine: crate::elf::Machine, directory: &[u8]) -> Option<Key> {
    let file = file(bytes, machine)?;
    Needs::read(&file, file.table, machine.class)?.key(directory)
}

/// A program's file with its headers; `None` if it is none for `machine`.
pub fn file(bytes: &[u8], machine: crate::elf::Machine) -> Option<File<'_>> {
    let header = crate::elf::Header::parse(bytes, machine).ok()?;
    let start = header.table;
    let table = bytes.get(start..start.checked_add(usize::from(header.segments) * machine.class.segment_size())?)?;
    Some(File { bytes, table, class: machine.class })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{EM_386, EM_AARCH64, EM_RISCV, EM_X86_64, Machine};
    use std::path::Path;
    use std::vec::Vec;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bin").join(name)).unwrap()
    }

    const ALL: [(&str, Machine); 4] = [
        ("hello-x86_64-glibc-pie", Machine { class: Class::Elf64, number: EM_X86_64 }),
        ("hello-i686-glibc-nopie", Machine { class: Class::Elf32, number: EM_386 }),
        ("hello-aarch64-glibc-pie", Machine { class: Class::Elf64, number: EM_AARCH64 }),
        ("hello-riscv64-glibc-pie", Machine { class: Class::Elf64, number: EM_RISCV }),
    ];

    #[test]
    fn programs_of_every_machine_have_a_key_that_depends_on_their_directory() {
        for (name, machine) in ALL {
            let bytes = fixture(name);
            let key = |d: &[u8]| key_of_file(&bytes, machine, d).unwrap();
            assert_eq!(key(b"/a"), key(b"/a"), "{name}");
            assert_ne!(key(b"/a"), key(b"/b"), "{name}");
        }
    }

    #[test]
    fn needs_are_read_as_they_stand() {
        let bytes = fixture("soname-tree/bin/app");
        let machine = ALL[0].1;
        let file = file(&bytes, machine).unwrap();
        let needs = Needs::read(&file, file.table, machine.class).unwrap();
        assert_eq!(needs.libraries().next().map(<[u8]>::to_vec), Some(b"libinner.so.1".to_vec()));
        assert!(!needs.is_musl());
    }

    #[test]
    fn a_static_program_has_no_key() {
        assert_eq!(key_of_file(&fixture("hello-x86_64-bare-static"), ALL[0].1, b"/"), None);
    }

    #[test]
    fn no_damage_makes_it_read_outside_or_run_for_ever() {
        let whole = fixture("hello-x86_64-glibc-pie");
        for end in (0..whole.len()).step_by(97) {
            let _ = key_of_file(&whole[..end], ALL[0].1, b"/");
        }
        let mut state = 1u32;
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len().min(0x1000);
                bytes[at] = (state >> 24) as u8;
            }
            let _ = key_of_file(&bytes, ALL[0].1, b"/");
        }
    }
}
