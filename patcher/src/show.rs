//! Segment maps as text, as `readelf -l` orders their columns. Decides nothing.

use crate::elf::Segment;
use object::elf::{
    PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_PROPERTY, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR, PT_TLS,
};
use std::fmt;

/// The names the gABI and GNU give to types; others are shown as numbers.
const NAMES: &[(u32, &str)] = &[
    (PT_NULL.0, "NULL"),
    (PT_LOAD.0, "LOAD"),
    (PT_DYNAMIC.0, "DYNAMIC"),
    (PT_INTERP.0, "INTERP"),
    (PT_NOTE.0, "NOTE"),
    (PT_PHDR.0, "PHDR"),
    (PT_TLS.0, "TLS"),
    (PT_GNU_EH_FRAME.0, "GNU_EH_FRAME"),
    (PT_GNU_STACK.0, "GNU_STACK"),
    (PT_GNU_RELRO.0, "GNU_RELRO"),
    (PT_GNU_PROPERTY.0, "GNU_PROPERTY"),
];

/// One line per segment.
pub(crate) fn segments(f: &mut fmt::Formatter<'_>, segments: &[Segment]) -> fmt::Result {
    for s in segments {
        let name = NAMES.iter().find(|(p_type, _)| *p_type == s.p_type).map(|(_, name)| *name);
        let name = name.map_or_else(|| format!("{:#x}", s.p_type), str::to_owned);
        let flag = |bit: u32, letter: char| if s.flags & bit != 0 { letter } else { '-' };
        let flags: String = [flag(4, 'r'), flag(2, 'w'), flag(1, 'x')].iter().collect();
        let at = (s.offset, s.vaddr, s.file_size, s.memory_size, s.align);
        writeln!(f, "  {name:<13}{:<11} {:#018x} {:#09x} {:#09x} {flags} {:#x}", at.0.to_string(), at.1, at.2, at.3, at.4)?;
    }
    Ok(())
}
