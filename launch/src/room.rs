//! Where a private root can hold something that the host has not: beside the host's top-level entries,
//! or directly below one of the few that hold software only.

use crate::start::Start;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Carrying over a directory costs one mount for each entry.
const ENTRIES_MAX: usize = 48;

/// What a path would need to exist in a private root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: its first component is none of the host's.
    Free,
    /// Its top-level directory has to be carried over entry by entry.
    Beside(PathBuf),
    /// The host has something there.
    Taken,
}

/// Looks where a path would lie.
pub fn at(path: &Path) -> Room {
    let plain = path.is_absolute() && path.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    let mut components = path.components().skip(1);
    let (Some(first), Some(second), true) = (components.next(), components.next(), plain) else { return Room::Taken };
    let top = Path::new("/").join(first);
    match fs::symlink_metadata(&top) {
        Err(_) => Room::Free,
        Ok(meta) if meta.is_dir() && holds_software(&top) && fs::symlink_metadata(top.join(second)).is_err() => {
            let small = fs::read_dir(&top).is_ok_and(|entries| entries.take(ENTRIES_MAX + 1).count() <= ENTRIES_MAX);
            if small { Room::Beside(top) } else { Room::Taken }
        }
        Ok(_) => Room::Taken,
    }
}

/// A directory that programs only read: what is carried over cannot have new entries.
fn holds_software(top: &Path) -> bool {
    ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu"].iter().any(|t| top == Path::new(t))
}

/// The path a file of a store has on its home system: what follows the store path, which holds
/// distribution trees below `usr`.
pub fn path_at_home(stored: &Path) -> Option<PathBuf> {
    let parts: Vec<Component<'_>> = stored.components().collect();
    let usr = parts.iter().rposition(|c| c.as_os_str() == "usr")?;
    Some(Path::new("/").join(parts.get(usr..)?.iter().collect::<PathBuf>()))
}

impl Start {
    /// Sees to it that the private root has room for a path; false if it cannot have.
    pub fn make_room(&mut self, path: &Path) -> bool {
        match at(path) {
            Room::Free => true,
            Room::Beside(top) => {
                if !self.extend.contains(&top) {
                    self.extend.push(top);
                }
                true
            }
            Room::Taken => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_top_level_entry_is_free_and_the_hosts_are_not() {
        assert_eq!(at(Path::new("/no-such-top-level/store/ld.so")), Room::Free);
        for taken in ["/etc/no-such-file", "/no-such-top-level", "relative/ld.so", "/tmp/x/ld.so", "/no-such/../etc/x"] {
            assert_eq!(at(Path::new(taken)), Room::Taken, "{taken}");
        }
    }

    #[test]
    fn room_can_be_made_beside_software_of_the_host() {
        let usr = fs::read_dir("/usr").map(Iterator::count).unwrap_or(0);
        let expected = if usr > 0 && usr <= ENTRIES_MAX { Room::Beside("/usr".into()) } else { at(Path::new("/usr/no-such/x")) };
        assert_eq!(at(Path::new("/usr/no-such/x")), expected);
        assert_eq!(at(Path::new("/usr/bin/no-such")), Room::Taken);
    }

    #[test]
    fn the_path_at_home_follows_the_store_path() {
        let stored = Path::new("/usr/local/xeno/store/abc-glibc-set/usr/lib/x86_64-linux-gnu/gconv");
        assert_eq!(path_at_home(stored), Some("/usr/lib/x86_64-linux-gnu/gconv".into()));
        assert_eq!(path_at_home(Path::new("/store/abc/lib/gconv")), None);
    }
}
