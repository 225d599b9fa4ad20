//! A whole small dynamic program, in both classes and byte orders: headers, an interpreter, a note,
//! strings, and a writable segment with the dynamic section.

use super::Shape;

/// What the program is like.
#[derive(Clone, Copy, Debug)]
pub struct Like {
    pub shape: Shape,
    /// Empty entries behind the dynamic section's end, the closing one included.
    pub spare: usize,
    /// Zeros between the read-only segment and the next, in bytes.
    pub padding: usize,
    /// Bytes behind the program.
    pub overlay: &'static [u8],
    /// Whether section headers follow the program headers at once, as Go's link editor writes them.
    pub sections: bool,
}

impl Like {
    pub fn new(shape: Shape) -> Like {
        Like { shape, spare: 1, padding: 0, overlay: b"", sections: false }
    }
}

pub const INTERPRETER: &str = "/lib/ld-linux-tiny.so.1";
pub const SONAME: &str = "libtiny.so.1";
pub const RUNPATH: &str = "/opt/tiny/lib";
pub const NEEDED: [&str; 2] = ["libc.so.6", "libother.so.2"];

/// Where the writable segment is loaded.
const DATA: u64 = 0x20_0000;

/// The program's bytes.
pub fn program(like: Like) -> Vec<u8> {
    let put = |n: u64, size: usize| {
        let bytes = n.to_be_bytes();
        let mut bytes = bytes[8 - size..].to_vec();
        if !like.shape.big {
            bytes.reverse();
        }
        bytes
    };
    let word = if like.shape.is_64 { 8 } else { 4 };
    let (header, each) = if like.shape.is_64 { (64, 56) } else { (52, 32) };
    let count = 7;
    let (sections_at, section, sections) =
        (header + each * count, if like.shape.is_64 { 64 } else { 40 }, if like.sections { 2 } else { 0 });
    let interp_at = sections_at + section * sections;
    let interp = [INTERPRETER.as_bytes(), b"\0"].concat();
    let note_at = (interp_at + interp.len()).next_multiple_of(4);
    let note: Vec<u8> = [put(4, 4), put(16, 4), put(1, 4), b"GNU\0".to_vec(), vec![7; 16]].concat();
    let strings_at = note_at + note.len();
    let mut strings = b"\0".to_vec();
    let mut add = |text: &str| {
        let at = strings.len();
        strings.extend(text.bytes().chain([0]));
        at as u64
    };
    let (soname, runpath) = (add(SONAME), add(RUNPATH));
    let needed = NEEDED.map(&mut add);
    let end = strings_at + strings.len();
    let data_at = (end + like.padding).next_multiple_of(word);
    let data_vaddr = DATA + data_at as u64 % 0x1000;
    let entries =
        [(1, needed[0]), (1, needed[1]), (14, soname), (29, runpath), (5, strings_at as u64), (10, strings.len() as u64), (21, 0)];
    let mut dynamic: Vec<u8> = entries.iter().flat_map(|(tag, value)| [put(*tag, word), put(*value, word)].concat()).collect();
    dynamic.extend(vec![0; 2 * word * like.spare]);

    let mut out = b"\x7fELF".to_vec();
    out.extend([if like.shape.is_64 { 2 } else { 1 }, if like.shape.big { 2 } else { 1 }, 1, 0]);
    out.extend([0; 8]);
    out.extend([put(3, 2), put(if like.shape.is_64 { 62 } else { 3 }, 2), put(1, 4)].concat());
    out.extend(
        [put(0x40, word), put(header as u64, word), put(if like.sections { sections_at as u64 } else { 0 }, word), put(0, 4)].concat(),
    );
    out.extend(
        [put(header as u64, 2), put(each as u64, 2), put(count as u64, 2), put(section as u64, 2), put(sections as u64, 2), put(0, 2)]
            .concat(),
    );
    let mut segment = |p_type: u64, flags: u64, at: usize, vaddr: u64, size: usize, align: u64| {
        let wide = [at as u64, vaddr, vaddr, size as u64, size as u64].map(|n| put(n, word)).concat();
        let bytes = match like.shape.is_64 {
            true => [put(p_type, 4), put(flags, 4), wide, put(align, word)].concat(),
            false => [put(p_type, 4), wide, put(flags, 4), put(align, word)].concat(),
        };
        out.extend(bytes);
    };
    segment(6, 4, header, header as u64, each * count, 8);
    segment(3, 4, interp_at, interp_at as u64, interp.len(), 1);
    segment(1, 4, 0, 0, end, 0x1000);
    segment(1, 6, data_at, data_vaddr, dynamic.len(), 0x1000);
    segment(2, 6, data_at, data_vaddr, dynamic.len(), word as u64);
    segment(4, 4, note_at, note_at as u64, note.len(), 4);
    segment(0x6474_e551, 6, 0, 0, 0, 16);
    if like.sections {
        out.extend(vec![0; section]);
        // SHT_DYNAMIC, SHF_WRITE | SHF_ALLOC.
        out.extend([put(0, 4), put(6, 4), put(3, word), put(data_vaddr, word), put(data_at as u64, word)].concat());
        out.extend([put(dynamic.len() as u64, word), put(0, 4), put(0, 4), put(8, word), put(2 * word as u64, word)].concat());
    }
    for (at, bytes) in [(interp_at, &interp), (note_at, &note), (strings_at, &strings), (data_at, &dynamic)] {
        out.resize(at, 0);
        out.extend(bytes);
    }
    out.extend(like.overlay);
    out
}
