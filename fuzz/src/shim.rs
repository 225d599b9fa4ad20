//! Images and machines from a fuzzer's bytes, and the proofs that what the loader shim decides by them keeps its
//! promises: said again, by other means. Maps and opens nothing.

use ld_shim::dynamic::{DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ, room};
use ld_shim::elf::{Class, EM_386, EM_AARCH64, EM_RISCV, EM_X86_64, Machine, PF_W, PF_X, PT_LOAD, segments};
use ld_shim::image::{RECORD, Record};
use ld_shim::load::{Plan, SPAN_MAX};
use ld_shim::needs::entries;
use ld_shim::{base, line::Line, options, variables};
use std::ops::Range;

/// Whom shims are built for.
pub const MACHINES: [Machine; 4] = [
    Machine { class: Class::Elf64, number: EM_X86_64 },
    Machine { class: Class::Elf32, number: EM_386 },
    Machine { class: Class::Elf64, number: EM_AARCH64 },
    Machine { class: Class::Elf64, number: EM_RISCV },
];

/// The sizes of pages there are (aarch64 has three), bytes.
pub const PAGES: [usize; 3] = [4096, 16384, 65536];

/// Where a record's digest of itself lies.
const DIGEST: Range<usize> = 56..64;

/// The machine that a file says it is for; the first one, if there is no shim for that.
pub fn machine(file: &[u8]) -> Machine {
    let says = |m: &&Machine| {
        let class = if m.class == Class::Elf64 { 2 } else { 1 };
        file.get(4) == Some(&class) && file.get(18..20) == Some(&m.number.to_le_bytes())
    };
    MACHINES.iter().find(says).copied().unwrap_or(MACHINES[0])
}

/// The digest that makes a record whole: 64-bit FNV-1a of the rest of it.
fn digest(record: &[u8]) -> [u8; 8] {
    let rest = record.iter().enumerate().filter(|(at, _)| !DIGEST.contains(at));
    rest.fold(0xcbf2_9ce4_8422_2325_u64, |sum, (_, byte)| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)).to_le_bytes()
}

/// The last bytes of an input as a record, and as one that somebody made whole; zeros stand in front of what is too short.
pub fn records(input: &[u8]) -> [[u8; RECORD]; 2] {
    let tail = &input[input.len().saturating_sub(RECORD)..];
    let mut record = [0; RECORD];
    record[RECORD - tail.len()..].copy_from_slice(tail);
    let mut whole = record;
    let sum = digest(&whole);
    whole[DIGEST].copy_from_slice(&sum);
    [record, whole]
}

/// A record that is believed is whole, lies in its file with all that it points at, and is written as it was read.
pub fn prove_record(record: &Record<'_>, bytes: &[u8; RECORD], size: u64) {
    assert_eq!(bytes[DIGEST], digest(bytes), "a damaged record is believed");
    assert!(record.loader < size - RECORD as u64, "the loader begins behind the end");
    let again = record.to_bytes().expect("its headers fit: they were read from one");
    assert_eq!(Record::parse(&again, size, record.machine).as_ref(), Some(record), "it is written otherwise than it was read");
}

/// Whatever is to be mapped lies in the span that is reserved for it, page by page and in order, in no place twice, and
/// never writable and executable at once; what is asked of a file at `offset` is a number.
pub fn prove_plan(plan: &Plan<'_>, class: Class, page: usize, offset: usize) {
    let on_pages = |n: usize| n.is_multiple_of(page);
    let (mut end, mut count, mut entered) = (0, 0, false);
    for load in plan.loads() {
        assert!(on_pages(load.start) && on_pages(load.mapped) && on_pages(load.offset), "within a page: {load:x?}");
        assert!(load.start >= end, "over what was mapped before, up to {end:#x}: {load:x?}");
        let mapped_end = load.start + load.mapped;
        assert!(load.blank.0 == mapped_end && on_pages(load.blank.1), "zeros elsewhere: {load:x?}");
        end = mapped_end + load.blank.1;
        assert!(end <= plan.span, "beyond the span of {:#x}: {load:x?}", plan.span);
        assert!(load.flags & (PF_W | PF_X) != PF_W | PF_X, "written and executed: {load:x?}");
        if load.zero.1 > 0 {
            assert!(load.flags & PF_W != 0 && load.zero.0 >= load.start && load.zero.0 + load.zero.1 == mapped_end, "{load:x?}");
        }
        assert!(offset.checked_add(load.offset).and_then(|start| start.checked_add(load.mapped)).is_some(), "{load:x?}");
        let entry = plan.entry.wrapping_sub(plan.first);
        entered |= load.flags & PF_X != 0 && (load.start..mapped_end).contains(&entry);
        count += 1;
    }
    assert_eq!(count, segments(plan.headers(), class).filter(|s| s.kind == PT_LOAD).count(), "a segment is not mapped");
    assert!(entered, "the entry {:#x} is not mapped", plan.entry);
    assert!(end == plan.span && plan.span <= SPAN_MAX, "{:#x} of {:#x}", end, plan.span);
}

/// Entries that are added to a dynamic section lie in it, are two, and leave it with an end.
pub fn prove_section(bytes: &[u8], class: Class) {
    let Some(room) = room(bytes, class) else { return };
    let mut tags: Vec<usize> = entries(bytes, class).map(|(tag, _)| tag).collect();
    assert!(room.address < tags.len() && room.size < tags.len() && room.address != room.size, "{room:?} of {}", tags.len());
    let taken = [tags[room.address], tags[room.size]];
    assert!(room.own == (0, 0) || taken == [DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ], "{room:?} is {taken:x?}");
    let ended = tags.contains(&0);
    (tags[room.address], tags[room.size]) = (DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ);
    let end = tags.iter().position(|tag| *tag == 0);
    assert_eq!(end.is_some(), ended, "{room:?}: no DT_NULL is left");
    assert!(end.is_none_or(|end| room.address < end && room.size < end), "{room:?}: behind the end");
}

/// An environment, a command line and names are read as `getenv`, ld.so and a terminal would read them.
pub fn prove_texts(input: &[u8]) {
    let words: Vec<&[u8]> = input.split(|byte| *byte == 0).collect();
    let found = variables::read(words.iter().copied());
    let first = |name: &[u8]| words.iter().find_map(|entry| entry.strip_prefix(name));
    let own = |name: &str| first(&[name.as_bytes(), variables::SYSTEM].concat()).or(first(format!("{name}=").as_bytes()));
    assert_eq!(found.user, first(b"LD_LIBRARY_PATH="));
    assert_eq!(found.loader, own("NIX_LD").filter(|path| !path.is_empty()));
    assert_eq!(found.libraries, own("NIX_LD_LIBRARY_PATH"));
    if let Some(program) = options::read(|index| words.get(index).copied()).program {
        assert!(program > 0 && !words[program].starts_with(b"--"), "word {program} is the program");
    }
    let mut line = Line::new();
    line.name(input).say(b"; try ").name(input).say(b"`");
    let (last, text) = line.end().split_last().expect("it has a beginning");
    assert!(*last == b'\n' && !text.iter().any(|byte| *byte < b' ' || *byte == 0x7f) && text.ends_with(b"`"), "not one whole line");
}

/// Another base directory is read back, and nothing else of the file changes; one that is refused changes nothing.
pub fn prove_base(file: &[u8], directory: &[u8]) {
    let mut after = file.to_vec();
    let done = base::set(&mut after, directory);
    assert!(if done { base::of(&after) == Some(directory) } else { after == file }, "{}", directory.escape_ascii());
    let changed = || file.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let (first, last) = (changed().min().unwrap_or(0), changed().max().unwrap_or(0));
    assert!(after.len() == file.len() && last - first <= base::LONGEST, "{first}..={last} of it changed");
}
