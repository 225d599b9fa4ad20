//! Builds the smallest ELF files that have what a test is about, in both classes and byte orders.

#![allow(unreachable_pub, dead_code)] // each test file uses a part of it

pub mod dynamic;

/// `PT_LOAD`, `PT_INTERP`.
pub const PT_LOAD: u32 = 1;
pub const PT_INTERP: u32 = 3;
/// `PF_X`, `PF_W`, `PF_R`.
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;

/// One segment and its bytes.
pub struct Part {
    pub p_type: u32,
    pub flags: u32,
    pub bytes: Vec<u8>,
}

pub fn load(bytes: &[u8]) -> Part {
    Part { p_type: PT_LOAD, flags: PF_R, bytes: bytes.to_vec() }
}

pub fn writable(bytes: &[u8]) -> Part {
    Part { p_type: PT_LOAD, flags: PF_R | PF_W, bytes: bytes.to_vec() }
}

pub fn interp(bytes: &[u8]) -> Part {
    Part { p_type: PT_INTERP, flags: PF_R, bytes: bytes.to_vec() }
}

/// Class and byte order.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub is_64: bool,
    pub big: bool,
}

pub const LITTLE_64: Shape = Shape { is_64: true, big: false };

pub const SHAPES: [Shape; 4] =
    [LITTLE_64, Shape { is_64: true, big: true }, Shape { is_64: false, big: false }, Shape { is_64: false, big: true }];

struct Out {
    shape: Shape,
    bytes: Vec<u8>,
}

impl Out {
    fn half(&mut self, value: u16) {
        self.bytes.extend(if self.shape.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend(if self.shape.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// An address, offset or size: as wide as the class.
    fn wide(&mut self, value: u64) {
        if self.shape.is_64 {
            self.bytes.extend(if self.shape.big { value.to_be_bytes() } else { value.to_le_bytes() });
        } else {
            self.word(u32::try_from(value).unwrap());
        }
    }
}

/// The file offset of the first part's bytes.
pub fn first_byte(shape: Shape, parts: usize) -> usize {
    if shape.is_64 { 64 + 56 * parts } else { 52 + 32 * parts }
}

/// An `ET_DYN` file whose parts follow the program headers in order.
pub fn elf(shape: Shape, parts: &[Part]) -> Vec<u8> {
    let mut out = Out { shape, bytes: b"\x7fELF".to_vec() };
    out.bytes.extend([if shape.is_64 { 2 } else { 1 }, if shape.big { 2 } else { 1 }, 1, 0]);
    out.bytes.extend([0; 8]);
    out.half(3); // ET_DYN
    out.half(if shape.is_64 { 62 } else { 3 });
    out.word(1);
    out.wide(0x1000); // e_entry
    out.wide(if shape.is_64 { 64 } else { 52 }); // e_phoff
    out.wide(0); // e_shoff
    out.word(0); // e_flags
    out.half(if shape.is_64 { 64 } else { 52 });
    out.half(if shape.is_64 { 56 } else { 32 });
    out.half(u16::try_from(parts.len()).unwrap());
    out.half(0);
    out.half(0);
    out.half(0);
    let mut at = first_byte(shape, parts.len()) as u64;
    for part in parts {
        let size = part.bytes.len() as u64;
        out.word(part.p_type);
        if shape.is_64 {
            out.word(part.flags);
        }
        out.wide(at); // p_offset
        out.wide(at); // p_vaddr
        out.wide(at); // p_paddr
        out.wide(size); // p_filesz
        out.wide(size); // p_memsz
        if !shape.is_64 {
            out.word(part.flags);
        }
        out.wide(1); // p_align
        at += size;
    }
    for part in parts {
        out.bytes.extend(&part.bytes);
    }
    out.bytes
}
