//! Reads the kernel's table of mounts, for kernels that restrict only one mount at a time.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

struct Row {
    number: u64,
    parent: u64,
    at: PathBuf,
}

/// A line of `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`): number, parent, device, root, mount point, …
fn row(line: &[u8]) -> Option<Row> {
    let mut fields = line.split(|b| *b == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (number, parent) = (number()?, number()?);
    Some(Row { number, parent, at: OsString::from_vec(unescaped(fields.nth(2)?)).into() })
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits (`mangle` in `fs/proc_namespace.c`).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The mount points below the mount of this number, as paths from it.
pub(crate) fn below(table: &[u8], number: u64) -> Vec<PathBuf> {
    let rows: Vec<Row> = table.split(|b| *b == b'\n').filter_map(row).collect();
    let Some(top) = rows.iter().find(|row| row.number == number) else { return Vec::new() };
    // A parent stands before its children, but for mounts that were moved: hence until nothing is added.
    let mut known = std::collections::BTreeSet::from([number]);
    while rows.iter().filter(|row| known.contains(&row.parent)).any(|row| !known.contains(&row.number)) {
        let found: Vec<u64> = rows.iter().filter(|row| known.contains(&row.parent)).map(|row| row.number).collect();
        known.extend(found);
    }
    let inside = rows.iter().filter(|row| row.number != number && known.contains(&row.number));
    inside.filter_map(|row| row.at.strip_prefix(&top.at).ok().map(PathBuf::from)).filter(|path| !path.as_os_str().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
20 1 8:1 / / rw - ext4 /dev/a rw
30 20 8:1 / /mnt/a\\040b rw - ext4 /dev/b rw
32 31 0:5 / /mnt/a\\040b/x/y rw shared:1 - tmpfs t rw
31 30 0:4 / /mnt/a\\040b/x rw - tmpfs t rw
40 20 0:4 / /mnt/other rw - tmpfs t rw
not a row
";

    #[test]
    fn what_is_mounted_below_is_found_by_number_and_not_by_name() {
        assert_eq!(below(TABLE, 30), [PathBuf::from("x/y"), PathBuf::from("x")]);
        assert_eq!(below(TABLE, 31), [PathBuf::from("y")]);
        assert_eq!(below(TABLE, 40), Vec::<PathBuf>::new());
        assert_eq!(below(TABLE, 99), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_escaped_name_is_the_name() {
        assert_eq!(unescaped(br"a\040b\134c\9z\"), br"a b\c\9z\".to_vec());
    }
}
