//! Any bytes are an image, a loader, a program, a dynamic section, an environment, a command line, and a shim.
//! Invariants:
//! 1. Nothing panics or hangs.
//! 2. An image that is believed is whole; see `shim::prove_record`.
//! 3. A loader that is to be mapped, of an image or by itself, stays in its span; see `shim::prove_plan`.
//! 4. The key of a program is the same each time, and another one in another directory.
//! 5. Entries that are added to a dynamic section lie in it, are two, and leave it with an end.
//! 6. Of the environment's entries of one name the first counts, whatever stands before it.
//! 7. The program among the words of a command line is one of them and no option.
//! 8. Another base directory is read back, and nothing else of the file changes.
//! 9. What is said is one line.
#![no_main]

use ld_shim::elf::{Class, Machine, PT_DYNAMIC, of_kind};
use ld_shim::image::{RECORD, Record};
use ld_shim::load::{HEADERS_MAX, Plan};
use ld_shim::needs::{Needs, file, key_of_file};
use libfuzzer_sys::fuzz_target;
use xeno_fuzz::shim::{MACHINES, PAGES, machine, prove_base, prove_plan, prove_record, prove_section, prove_texts, records};

fuzz_target!(|input: &[u8]| {
    let claimed = input.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    for (record, machine) in records(input).iter().flat_map(|record| MACHINES.map(|machine| (record, machine))) {
        for size in [input.len() as u64, claimed] {
            let Some(found) = Record::parse(record, size, machine) else { continue };
            prove_record(&found, record, size);
            loader(found.headers, machine, found.loader as usize);
        }
        // What the kernel would have to map of a record that was never looked at.
        loader(&record[RECORD - HEADERS_MAX..], machine, 0);
    }
    let machine = machine(input);
    loader(input, machine, 0);
    program(input, machine);
    [Class::Elf32, Class::Elf64].into_iter().for_each(|class| prove_section(input, class));
    prove_texts(input);
    [&b"/x/"[..], &input[..input.len().min(40)]].into_iter().for_each(|directory| prove_base(input, directory));
});

fn loader(head: &[u8], machine: Machine, offset: usize) {
    for page in PAGES {
        if let Ok(plan) = Plan::of(head, machine, page) {
            prove_plan(&plan, machine.class, page, offset);
        }
    }
}

fn program(bytes: &[u8], machine: Machine) {
    let key = |directory: &[u8]| key_of_file(bytes, machine, directory);
    assert_eq!(key(b"/a"), key(b"/a"));
    assert!(key(b"/a").is_none() || key(b"/a") != key(b"/b"), "the directory does not matter");
    let Some(file) = file(bytes, machine) else { return };
    if let Some(needs) = Needs::read(&file, file.table, machine.class) {
        let _ = (needs.libraries().count(), needs.is_musl());
    }
    let dynamic = of_kind(file.table, machine.class, PT_DYNAMIC).and_then(|s| bytes.get(s.offset..s.offset.checked_add(s.file_size)?));
    prove_section(dynamic.unwrap_or(&[]), machine.class);
}
