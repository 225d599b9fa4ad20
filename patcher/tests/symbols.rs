//! Laws of renaming dynamic symbols and of clearing their versions: what a loader finds afterwards,
//! by its own rules, in files built here by hand (both classes, both byte orders) and by the compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

use patcher::FileOffset;
use patcher::symbols::{Patch, SymbolEdit, has_versions, patches};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that has nothing but what knows symbols: two undefined and `names` defined ones, both hash
/// tables, versions (each symbol's is its value) and a relocation for each symbol.
struct Synthetic {
    is_64: bool,
    big_endian: bool,
}

const UNDEFINED: [&str; 2] = ["needed_one", "needed_two"];
const SYMBOLS: usize = 0x400;
const VERSIONS: usize = 0x800;
const GNU_HASH: usize = 0xa00;
const HASH: usize = 0xc00;
const RELOCATIONS: usize = 0x1000;
const STRINGS: usize = 0x1800;
const END: usize = 0x3000;
const BUCKETS: u32 = 5;
const BLOOM: u32 = 2;
const SHIFT: u32 = 6;

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381u32, |h, b| h.wrapping_mul(33).wrapping_add(b.into()))
}

fn sysv_hash(name: &str) -> u32 {
    let mut h = 0u32;
    for b in name.bytes() {
        h = (h << 4).wrapping_add(b.into());
        let g = h & 0xf000_0000;
        h ^= g >> 24;
        h &= !g;
    }
    h
}

impl Synthetic {
    fn word(&self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    fn put(&self, file: &mut [u8], at: usize, size: usize, n: u64) {
        let bytes = n.to_le_bytes();
        let place = &mut file[at..at + size];
        place.copy_from_slice(&bytes[..size]);
        if self.big_endian {
            place.reverse();
        }
    }

    fn get(&self, file: &[u8], at: usize, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&file[at..at + size]);
        if self.big_endian {
            bytes[..size].reverse();
        }
        u64::from_le_bytes(bytes)
    }

    fn symbol(&self, index: usize) -> usize {
        SYMBOLS + index * if self.is_64 { 24 } else { 16 }
    }

    /// Where `st_value` is in a symbol.
    fn value_at(&self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    fn build(&self, names: &[&str]) -> Vec<u8> {
        let word = self.word();
        let mut file = vec![0; END];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(self.is_64), 1 + u8::from(self.big_endian), 1]);
        let (phoff, phsize) = if self.is_64 { (64, 56) } else { (52, 32) };
        self.put(&mut file, 16, 2, 3);
        self.put(&mut file, 18, 2, 21);
        self.put(&mut file, 20, 4, 1);
        self.put(&mut file, 24 + word, word, phoff as u64);
        let sizes = 24 + 3 * word + 4;
        for (i, n) in [phoff, phsize, 2].into_iter().enumerate() {
            self.put(&mut file, sizes + 2 * i, 2, n as u64);
        }
        self.put(&mut file, sizes + 6, 2, if self.is_64 { 64 } else { 40 });
        // PT_LOAD over everything, at another address than offset; PT_DYNAMIC at 0x200.
        let base = 0x1_0000_u64;
        for (i, (kind, offset, size)) in [(1, 0, END), (2, 0x200, 0x180)].into_iter().enumerate() {
            let at = phoff + i * phsize;
            self.put(&mut file, at, 4, kind);
            let (first, flags) = if self.is_64 { (8, 4) } else { (4, 24) };
            self.put(&mut file, at + flags, 4, 6);
            for (j, n) in [offset as u64, base + offset as u64, base + offset as u64, size as u64, size as u64].into_iter().enumerate() {
                self.put(&mut file, at + first + j * word, word, n);
            }
            self.put(&mut file, at + phsize - word, word, 0x1000);
        }
        // Strings and symbols, in the order of their buckets.
        let mut defined: Vec<&str> = names.to_vec();
        defined.sort_by_key(|name| gnu_hash(name) % BUCKETS);
        let all: Vec<&str> = [""].into_iter().chain(UNDEFINED).chain(defined.iter().copied()).collect();
        let mut end = STRINGS;
        for (i, name) in all.iter().enumerate() {
            let at = self.symbol(i);
            self.put(&mut file, at, 4, (end - STRINGS) as u64);
            // Its value is the place of its name among those given, so that it can be recognised.
            let value = names.iter().position(|n| n == name).map_or(0, |p| p as u64 + 100);
            self.put(&mut file, at + self.value_at(), word, value);
            self.put(&mut file, VERSIONS + 2 * i, 2, value.max(1));
            file[end..end + name.len()].copy_from_slice(name.as_bytes());
            end += name.len() + 1;
        }
        let first = 1 + UNDEFINED.len();
        self.put(&mut file, HASH, 4, BUCKETS.into());
        self.put(&mut file, HASH + 4, 4, all.len() as u64);
        for (i, name) in all.iter().enumerate().skip(1) {
            let bucket = HASH + 8 + 4 * (sysv_hash(name) % BUCKETS) as usize;
            let chain = HASH + 8 + 4 * BUCKETS as usize + 4 * i;
            let next = self.get(&file, bucket, 4);
            self.put(&mut file, chain, 4, next);
            self.put(&mut file, bucket, 4, i as u64);
        }
        for (i, n) in [BUCKETS, first as u32, BLOOM, SHIFT].into_iter().enumerate() {
            self.put(&mut file, GNU_HASH + 4 * i, 4, n.into());
        }
        let bits = 8 * word as u32;
        let buckets = GNU_HASH + 16 + BLOOM as usize * word;
        for (i, name) in defined.iter().enumerate() {
            let hash = gnu_hash(name);
            let at = GNU_HASH + 16 + ((hash / bits) % BLOOM) as usize * word;
            let mask = self.get(&file, at, word) | 1 << (hash % bits) | 1 << ((hash >> SHIFT) % bits);
            self.put(&mut file, at, word, mask);
            let bucket = buckets + 4 * (hash % BUCKETS) as usize;
            if self.get(&file, bucket, 4) == 0 {
                self.put(&mut file, bucket, 4, (first + i) as u64);
            }
            let last = defined.get(i + 1).is_none_or(|next| gnu_hash(next) % BUCKETS != hash % BUCKETS);
            self.put(&mut file, buckets + 4 * BUCKETS as usize + 4 * i, 4, u64::from((hash & !1) | u32::from(last)));
        }
        let rela = 3 * word;
        for i in 0..all.len() {
            let info = if self.is_64 { (i as u64) << 32 | 6 } else { (i as u64) << 8 | 6 };
            self.put(&mut file, RELOCATIONS + i * rela + word, word, info);
            let value = self.get(&file, self.symbol(i) + self.value_at(), word);
            self.put(&mut file, RELOCATIONS + i * rela + 2 * word, word, value);
        }
        let tags = [
            (4, base + HASH as u64),
            (5, base + STRINGS as u64),
            (6, base + SYMBOLS as u64),
            (10, (END - STRINGS) as u64),
            (11, if self.is_64 { 24 } else { 16 }),
            (7, base + RELOCATIONS as u64),
            (8, (all.len() * rela) as u64),
            (0x6fff_fff0, base + VERSIONS as u64),
            (0x6fff_fef5, base + GNU_HASH as u64),
        ];
        for (i, (tag, value)) in tags.into_iter().enumerate() {
            self.put(&mut file, 0x200 + 2 * i * word, word, tag);
            self.put(&mut file, 0x200 + (2 * i + 1) * word, word, value);
        }
        file
    }

    fn name<'a>(&self, file: &'a [u8], index: usize) -> &'a str {
        let start = STRINGS + self.get(file, self.symbol(index), 4) as usize;
        let end = start + file[start..].iter().position(|b| *b == 0).unwrap();
        std::str::from_utf8(&file[start..end]).unwrap()
    }

    /// `do_lookup_x` of glibc with `DT_GNU_HASH`: the symbol's position.
    fn look_up(&self, file: &[u8], name: &str) -> Option<usize> {
        let (word, hash) = (self.word(), gnu_hash(name));
        let bits = 8 * word as u32;
        let bloom = self.get(file, GNU_HASH + 16 + ((hash / bits) % BLOOM) as usize * word, word);
        if bloom >> (hash % bits) & bloom >> ((hash >> SHIFT) % bits) & 1 == 0 {
            return None;
        }
        let buckets = GNU_HASH + 16 + BLOOM as usize * word;
        let first = self.get(file, GNU_HASH + 4, 4) as usize;
        let mut index = self.get(file, buckets + 4 * (hash % BUCKETS) as usize, 4) as usize;
        while index != 0 {
            let chain = self.get(file, buckets + 4 * BUCKETS as usize + 4 * (index - first), 4) as u32;
            if chain | 1 == hash | 1 && self.name(file, index) == name {
                return Some(index);
            }
            if chain & 1 == 1 {
                return None;
            }
            index += 1;
        }
        None
    }

    /// The same with `DT_HASH`.
    fn look_up_sysv(&self, file: &[u8], name: &str) -> Option<usize> {
        let mut index = self.get(file, HASH + 8 + 4 * (sysv_hash(name) % BUCKETS) as usize, 4) as usize;
        while index != 0 && self.name(file, index) != name {
            index = self.get(file, HASH + 8 + 4 * BUCKETS as usize + 4 * index, 4) as usize;
        }
        (index != 0).then_some(index)
    }
}

fn apply(file: &mut [u8], patches: &[Patch]) {
    let mut end = 0;
    for (FileOffset(offset), new, why) in patches {
        assert!(*offset as usize >= end, "patches meet or are out of order: {why}");
        end = *offset as usize + new.len();
        file[*offset as usize..end].copy_from_slice(new);
    }
}

/// Finds a text, with its NUL, in the string table or puts it at its free end.
fn interned(file: &mut [u8], strings: std::ops::Range<usize>, text: &[u8]) -> u32 {
    let whole: Vec<u8> = text.iter().copied().chain([0]).collect();
    let found = file[strings.clone()].windows(whole.len()).position(|w| w == whole);
    found.unwrap_or_else(|| {
        let used = file[strings.clone()].iter().rposition(|b| *b != 0).unwrap();
        let start = used + 2;
        file[strings.start + start..strings.start + start + whole.len()].copy_from_slice(&whole);
        start
    }) as u32
}

fn pairs(texts: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    texts.iter().map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).collect()
}

fn every_kind() -> impl Iterator<Item = Synthetic> {
    [(false, false), (false, true), (true, false), (true, true)].into_iter().map(|(is_64, big_endian)| Synthetic { is_64, big_endian })
}

fn edited(file: &[u8], edits: &[SymbolEdit<'_>]) -> Vec<u8> {
    let mut after = file.to_vec();
    let made = patches(file, edits, |text| interned(&mut after, STRINGS..END, text)).unwrap();
    apply(&mut after, &made);
    after
}

const NAMES: [&str; 12] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"];

#[test]
fn a_renamed_symbol_is_found_by_its_new_name_alone_in_every_class_and_byte_order() {
    for kind in every_kind() {
        let before = kind.build(&NAMES);
        let renames = pairs(&[("alpha", "omega"), ("mu", "a_longer_name_than_before"), ("needed_one", "asked_for"), ("no_such", "other")]);
        let after = edited(&before, &[SymbolEdit::Rename(&renames)]);
        let expected = |name: &str| match name {
            "omega" => Some(0),
            "a_longer_name_than_before" => Some(11),
            "alpha" | "mu" => None,
            name => NAMES.iter().position(|n| *n == name),
        };
        for name in NAMES.into_iter().chain(["omega", "a_longer_name_than_before", "no_such", "other", "asked_for"]) {
            let value = |index: Option<usize>| index.map(|i| kind.get(&after, kind.symbol(i) + kind.value_at(), kind.word()));
            let wanted = expected(name).map(|place| place as u64 + 100);
            assert_eq!(value(kind.look_up(&after, name)), wanted, "DT_GNU_HASH {name}");
            let wanted = if name == "asked_for" { Some(0) } else { wanted };
            assert_eq!(value(kind.look_up_sysv(&after, name)), wanted, "DT_HASH {name}");
        }
        // What knows symbols by position still means the same ones.
        let rela = 3 * kind.word();
        for i in 0..15 {
            let info = kind.get(&after, RELOCATIONS + i * rela + kind.word(), kind.word());
            let (symbol, kind_of) = if kind.is_64 { (info >> 32, info & 0xffff_ffff) } else { (info >> 8, info & 0xff) };
            let addend = kind.get(&after, RELOCATIONS + i * rela + 2 * kind.word(), kind.word());
            let value = kind.get(&after, kind.symbol(symbol as usize) + kind.value_at(), kind.word());
            assert_eq!((value, kind_of), (addend, 6), "relocation {i}");
            let symbol = kind.get(&after, kind.symbol(i) + kind.value_at(), kind.word());
            assert_eq!(kind.get(&after, VERSIONS + 2 * i, 2), symbol.max(1), "version of symbol {i}");
        }
    }
}

#[test]
fn renamed_back_every_byte_of_the_tables_is_as_it_was() {
    // The order within a bucket is free, so one symbol per bucket makes the tables the only ones.
    for kind in every_kind() {
        let before = kind.build(&["alpha", "beta"]);
        let there = edited(&before, &[SymbolEdit::Rename(&pairs(&[("alpha", "beta"), ("beta", "alpha")]))]);
        assert_ne!(there, before);
        let back = edited(&there, &[SymbolEdit::Rename(&pairs(&[("beta", "alpha"), ("alpha", "beta")]))]);
        assert_eq!(back, before);
    }
}

#[test]
fn names_that_are_not_there_change_nothing() {
    for kind in every_kind() {
        let before = kind.build(&NAMES);
        let renames = pairs(&[("alph", "x"), ("alphaa", "y"), ("beta", "beta")]);
        let made = patches(&before, &[SymbolEdit::Rename(&renames), SymbolEdit::ClearVersion(&[b"nobody".to_vec()])], |_| {
            panic!("nothing to intern")
        });
        assert_eq!(made, Ok(Vec::new()));
    }
}

#[test]
fn a_cleared_version_is_the_global_one_and_the_others_stay() {
    for kind in every_kind() {
        let before = kind.build(&NAMES);
        let after = edited(&before, &[SymbolEdit::ClearVersion(&[b"gamma".to_vec(), b"nobody".to_vec()])]);
        let changed: Vec<usize> = (0..END).filter(|at| before[*at] != after[*at]).collect();
        let gamma = kind.look_up(&before, "gamma").unwrap();
        let low = VERSIONS + 2 * gamma + usize::from(kind.big_endian);
        assert_eq!((changed, kind.get(&after, VERSIONS + 2 * gamma, 2)), (vec![low], 1));
        assert_eq!(has_versions(&before), Ok(true));
    }
}

#[test]
fn a_version_cleared_before_a_rename_follows_its_symbol() {
    for kind in every_kind() {
        let before = kind.build(&NAMES);
        let renames = pairs(&[("gamma", "omega"), ("delta", "digamma")]);
        let after = edited(&before, &[SymbolEdit::ClearVersion(&[b"gamma".to_vec()]), SymbolEdit::Rename(&renames)]);
        for (name, version) in [("omega", 1), ("digamma", 103), ("alpha", 100)] {
            let index = kind.look_up(&after, name).unwrap();
            assert_eq!(kind.get(&after, VERSIONS + 2 * index, 2), version, "{name}");
        }
    }
}

#[test]
fn a_table_that_leaves_the_file_or_contradicts_itself_is_refused() {
    for kind in every_kind() {
        let whole = kind.build(&NAMES);
        let word = kind.word();
        let renames = pairs(&[("alpha", "omega"), ("beta", "digamma"), ("gamma", "stigma"), ("mu", "nu")]);
        let dynamic = |tag: usize| 0x200 + (2 * tag + 1) * word;
        let cases: [(&str, usize, usize, u64); 12] = [
            ("DT_HASH far away", dynamic(0), word, u64::MAX >> 8),
            ("DT_STRTAB far away", dynamic(1), word, 0x2_0000),
            ("DT_SYMTAB at the end", dynamic(2), word, 0x1_0000 + END as u64 - 8),
            ("DT_STRSZ too long", dynamic(3), word, END as u64),
            ("DT_SYMENT", dynamic(4), word, 17),
            ("DT_RELASZ", dynamic(6), word, 0xffff_0000),
            ("no bucket in DT_HASH", HASH, 4, 0),
            ("more symbols than bytes", HASH + 4, 4, 0x7fff_ffff),
            ("no bucket in DT_GNU_HASH", GNU_HASH, 4, 0),
            ("no bloom word", GNU_HASH + 8, 4, 0),
            ("a bloom filter of 8 GiB", GNU_HASH + 8, 4, 0x7fff_ffff),
            ("a bucket below the first symbol", GNU_HASH + 4, 4, 1000),
        ];
        for (what, at, size, n) in cases {
            let mut file = whole.clone();
            kind.put(&mut file, at, size, n);
            let made = patches(&file, &[SymbolEdit::Rename(&renames)], |_| 1);
            assert!(made.is_err(), "{what}: {made:?}");
        }
        let mut file = whole.clone();
        kind.put(&mut file, kind.symbol(5), 4, 0xffff_fff0);
        let error = patches(&file, &[SymbolEdit::Rename(&renames)], |_| 1).unwrap_err().to_string();
        assert_eq!(error, "changing dynamic symbols: the name of symbol 5 lies outside of the string table; this file is left alone");
    }
}

#[test]
fn no_changed_byte_of_the_tables_makes_it_panic() {
    let renames = pairs(&[("alpha", "omega"), ("mu", "nu")]);
    for kind in every_kind() {
        let whole = kind.build(&NAMES);
        for at in (0..0x180).chain(0x200..0x300).chain(GNU_HASH..GNU_HASH + 0x60).chain(HASH..HASH + 0x70).chain(SYMBOLS..SYMBOLS + 0x40) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                let _ = patches(&file, &[SymbolEdit::ClearVersion(&[b"alpha".to_vec()]), SymbolEdit::Rename(&renames)], |_| 1);
            }
        }
        for end in (0..END).step_by(97) {
            let _ = patches(&whole[..end], &[SymbolEdit::Rename(&renames)], |_| 1);
        }
    }
}

/// Builds with the machine's C compiler; skips, saying why, where there is none.
fn compiled(compiler: &str, words: &[&str]) -> bool {
    match Command::new(compiler).args(words).output() {
        Ok(done) => {
            assert!(done.status.success(), "{compiler} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
            true
        }
        Err(error) => {
            assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "skipped, but XENO_REQUIRE_ALL=1: {compiler}: {error}");
            eprintln!("skipped: {compiler}: {error}");
            false
        }
    }
}

const LIBRARY: &str = "\
#define F(n) int f##n(void) { return n; }
#define T(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7) F(n##8) F(n##9)
T(1) T(2) T(3) T(4) T(5) T(6) T(7) T(8) T(9)
int (*table[])(void) = { f10, f25, f99 };
int through_table(void) { return table[0]() * 10000 + table[1]() * 100 + table[2](); }
int through_plt(void) { return f42(); }
";

const ASKER: &str = "\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) { puts(dlerror()); return 1; }
    for (int i = 2; i < argc; i++) {
        int (*f)(void) = (int (*)(void))dlsym(library, argv[i]);
        int (*versioned)(void) = (int (*)(void))dlvsym(library, argv[i], \"XENO_1\");
        if (f) printf(\"%s=%d%s \", argv[i], f(), versioned == f ? \"@XENO_1\" : \"\"); else printf(\"%s=none \", argv[i]);
    }
    return 0;
}
";

/// A library with ninety functions of one version, and a program that asks the loader for them.
fn library(directory: &Path, style: &str) -> Option<(PathBuf, PathBuf)> {
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    fs::write(at("library.c"), LIBRARY).unwrap();
    fs::write(at("asker.c"), ASKER).unwrap();
    fs::write(at("map"), "XENO_1 { global: *; };\n").unwrap();
    let script = format!("-Wl,--version-script={}", at("map"));
    // The soname's tails are the strings that new names can be.
    let words = [
        "-shared",
        "-fPIC",
        "-O0",
        "-Wl,-soname,one_more_name",
        &format!("-Wl,--hash-style={style}"),
        &script,
        "-o",
        &at("library.so"),
        &at("library.c"),
    ];
    (compiled("cc", &words) && compiled("cc", &["-o", &at("asker"), &at("asker.c"), "-ldl"]))
        .then(|| (at("library.so").into(), at("asker").into()))
}

fn answer(asker: &Path, library: &Path, names: &[&str]) -> String {
    let done = Command::new(asker).arg(library).args(names).env("LD_BIND_NOW", "1").output().unwrap();
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

#[test]
fn the_real_loader_finds_a_renamed_symbol_with_its_version_and_not_the_old_name() {
    for style in ["gnu", "sysv", "both"] {
        let directory = tempfile::tempdir().unwrap();
        let Some((path, asker)) = library(directory.path(), style) else { return };
        let mut file = fs::read(&path).unwrap();
        assert_eq!(answer(&asker, &path, &["f10", "more_name"]), "f10=10@XENO_1 more_name=none");
        let renames = pairs(&[("f10", "more_name"), ("f42", "name"), ("through_plt", "e")]);
        let strings = string_table(&file);
        let made = patches(&file, &[SymbolEdit::Rename(&renames)], |text| interned(&mut file.clone(), strings.clone(), text)).unwrap();
        apply(&mut file, &made);
        fs::write(&path, file).unwrap();
        assert_eq!(
            answer(&asker, &path, &["f10", "more_name", "f42", "name", "through_plt", "e", "f11", "through_table"]),
            "f10=none more_name=10@XENO_1 f42=none name=42@XENO_1 through_plt=none e=42@XENO_1 f11=11@XENO_1 through_table=102599@XENO_1",
            "{style}"
        );
    }
}

#[test]
fn names_may_be_passed_round_among_all_symbols() {
    let directory = tempfile::tempdir().unwrap();
    let Some((path, asker)) = library(directory.path(), "both") else { return };
    let mut file = fs::read(&path).unwrap();
    let names: Vec<String> = (10..100).map(|n| format!("f{n}")).collect();
    let renames: Vec<(Vec<u8>, Vec<u8>)> =
        (0..90).map(|i| (names[i].clone().into_bytes(), names[(i + 1) % 90].clone().into_bytes())).collect();
    let strings = string_table(&file);
    let made = patches(&file, &[SymbolEdit::Rename(&renames)], |text| interned(&mut file.clone(), strings.clone(), text)).unwrap();
    apply(&mut file, &made);
    fs::write(&path, file).unwrap();
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let expected: Vec<String> = (10..100).map(|n| format!("f{n}={}@XENO_1", if n == 10 { 99 } else { n - 1 })).collect();
    assert_eq!(answer(&asker, &path, &asked), expected.join(" "));
    // The table is filled by relocations, which follow the functions and not the names.
    assert_eq!(answer(&asker, &path, &["through_table"]), "through_table=102599@XENO_1");
}

/// The string table of a little-endian 64-bit library, by its dynamic section; this library's first
/// segment maps it at its own offset.
fn string_table(file: &[u8]) -> std::ops::Range<usize> {
    let n = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let (phoff, count) = (n(32) as usize, usize::from(file[56]));
    let dynamic = (0..count).map(|i| phoff + 56 * i).find(|at| file[*at] == 2).unwrap();
    let entries = (n(dynamic + 8) as usize..).step_by(16);
    let value = |tag: u64| entries.clone().map(|at| (n(at), n(at + 8))).find(|(t, _)| *t == tag).unwrap().1 as usize;
    value(5)..value(5) + value(10)
}
