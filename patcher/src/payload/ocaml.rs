//! Recognises OCaml bytecode behind its interpreter (`ocamlc -custom`). OCaml's
//! `runtime/startup_byt.c` (`read_trailer`, `caml_read_section_descriptors`,
//! `caml_seek_optional_section`) seeks from the end only: a magic of twelve bytes, the number of
//! sections, a table of names and lengths (big-endian on every machine), the sections before it.

use super::view::WINDOW;
use super::{FoundBy, Kind, Outline, Payload};

/// `EXEC_MAGIC` without its three digits of version.
const MAGIC: &[u8] = b"Caml1999X";

/// The bytecode behind the program.
pub(super) fn trailer(outline: &Outline<'_>) -> Option<Payload> {
    let view = outline.view();
    let magic = view.len().checked_sub(12)?;
    let digits = view.bytes(magic + 9, 3)?.iter().all(u8::is_ascii_digit);
    if !view.has(magic, MAGIC) || !digits {
        return None;
    }
    let count = magic.checked_sub(4)?;
    let sections = u64::from(view.u32_be(count)?);
    let table = sections.checked_mul(8).filter(|size| *size <= WINDOW).and_then(|size| count.checked_sub(size))?;
    let mut start = table;
    let mut code = false;
    for entry in 0..sections {
        let name = table + entry * 8;
        start = start.checked_sub(view.u32_be(name + 4)?.into())?;
        code |= view.has(name, b"CODE");
    }
    if !code {
        return None;
    }
    outline.behind(Kind::OCaml, start..view.len(), FoundBy::End)
}
