//! Any bytes are read as a file. Invariants:
//! 1. Nothing panics, hangs or takes memory beyond what the file's size explains.
//! 2. What a payload is said to cover lies in the file.
//! 3. Patches of symbol tables lie in the file and do not meet.
//! 4. A plan that undoes can be carried out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patcher::payload::{outline, recognise, recognise_script};
use patcher::symbols::{SymbolEdit, patches};
use patcher::{Elf, View};

fuzz_target!(|file: &[u8]| {
    if let Ok(elf) = Elf::parse(file) {
        for segment in &elf.segments {
            let _ = (segment.range(), segment.memory(), segment.bytes(file), segment.is_constant());
        }
        let _ = (elf.sections.iter().map(|s| s.range()).count(), elf.interpreter(), elf.loads().count());
    }
    if let Ok(view) = View::parse(file) {
        let _ = (view.interpreter(), view.soname(), view.rpath(), view.runpath(), view.needed(), view.exec_stack());
        let _ = (view.header(), view.sections().len(), view.is_dynamic(), view.entries().len());
    }
    let _ = (patcher::interpreter(file), patcher::interpreter_room(file), patcher::loader_family(file));
    let payloads = outline(file).map(|o| recognise(&o.outline())).unwrap_or_default();
    for payload in payloads.iter().chain(&recognise_script(file)) {
        assert!(payload.range.start < payload.range.end && payload.range.end <= file.len() as u64, "{payload:?}");
    }
    let names = [b"printf".to_vec(), b"puts".to_vec(), b"environ".to_vec(), b"".to_vec()];
    let pairs = names.clone().map(|name| (name, b"another".to_vec()));
    for edit in [SymbolEdit::ClearVersion(&names), SymbolEdit::Rename(&pairs)] {
        let mut free = 0;
        for (offset, new, why) in patches(file, &[edit], |_| 1).unwrap_or_default() {
            let end = offset.0 + new.len() as u64;
            assert!(offset.0 >= free && end <= file.len() as u64, "{why} at {offset}, {} bytes", new.len());
            free = end;
        }
    }
    let _ = patcher::symbols::has_versions(file);
    if let Ok(plan) = patcher::undo(file)
        && plan.new_len() < 1 << 24
    {
        let before = plan.apply(file).expect("it was made for this file");
        assert_eq!(plan.verify(file, &before), Ok(()));
    }
});
