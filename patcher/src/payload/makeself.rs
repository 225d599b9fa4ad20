//! Recognises what scripts carry: the archives of makeself, and a zip at the end (zipapps). makeself's
//! header (`makeself-header.sh`) counts the lines of the script (`head -n "$skip" "$0" | wc -c`) and
//! adds the sizes of the archives it lists: places counted from the start of the file. Runs nothing.

use super::view::{View, WINDOW};
use super::{FoundBy, Kind, Payload, zip};
use memchr::{memchr_iter, memmem};

/// The payload of a file that begins with `#!`.
pub fn recognise_script(file: &[u8]) -> Option<Payload> {
    if !file.starts_with(b"#!") {
        return None;
    }
    let view = View(file);
    makeself(view).or_else(|| {
        let archive = zip::archive(view)?;
        Some(Payload { kind: Kind::Zip, found_by: archive.found_by(), range: archive.range })
    })
}

fn makeself(view: View<'_>) -> Option<Payload> {
    let head = view.at_most(0, WINDOW);
    let sizes = value(head, b"\nfilesizes=\"", b'"')?;
    // Older headers write the number where it is used.
    let lines = value(head, b"\nskip=\"", b'"').or_else(|| value(head, b"\noffset=`head -n ", b' '))?;
    let lines: usize = lines.parse().ok()?;
    let start = memchr_iter(b'\n', head).nth(lines.checked_sub(1)?)? as u64 + 1;
    let size = sizes.split_ascii_whitespace().try_fold(0u64, |sum, size| sum.checked_add(size.parse().ok()?))?;
    let end = start.checked_add(size)?;
    let fits = start < end && end <= view.len();
    fits.then_some(Payload { kind: Kind::Makeself, range: start..end, found_by: FoundBy::Start })
}

/// The text between a beginning and a character, which must follow soon.
fn value<'a>(head: &'a [u8], start: &[u8], end: u8) -> Option<&'a str> {
    let rest = head.get(memmem::find(head, start)? + start.len()..)?;
    let rest = rest.get(..rest.len().min(4096))?;
    std::str::from_utf8(rest.get(..memchr::memchr(end, rest)?)?).ok()
}
