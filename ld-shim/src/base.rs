//! The base directory, which stands in the shim itself: a marked constant that an installation elsewhere
//! overwrites in its copy. No variable and no file says where images are looked for.

/// Where images lie unless an installation says otherwise. Short, since an image's path replaces the
/// loader's `/etc/ld.so.cache`.
pub const DEFAULT: &str = "/opt/xeno/";
/// What stands before the directory in the file, so that it can be found.
pub const MARK: [u8; 16] = *b"xeno shim base:\0";
/// The most bytes of a base directory, its closing slash included.
pub const LONGEST: usize = 47;
/// The subdirectory of the entries that ordinary users make for themselves.
pub const USERS: &str = "u/";

/// The marked constant: mark, directory, NULs.
#[repr(C)]
pub struct Marked {
    mark: [u8; 16],
    directory: [u8; LONGEST + 1],
}

impl Marked {
    /// The constant with the default directory.
    pub const fn new() -> Marked {
        let mut directory = [0; LONGEST + 1];
        let text = DEFAULT.as_bytes();
        let (head, _) = directory.split_at_mut(text.len());
        head.copy_from_slice(text);
        Marked { mark: MARK, directory }
    }

    /// The directory, with its closing slash.
    pub fn directory(&self) -> &[u8] {
        super::bytes::until_nul(&self.directory, LONGEST + 1).unwrap_or(&[])
    }
}

impl Default for Marked {
    fn default() -> Marked {
        Marked::new()
    }
}

/// Where the one marked directory of a shim's file begins.
fn place(file: &[u8]) -> Option<usize> {
    let mut found = file.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let (at, _) = found.next()?;
    found.next().is_none().then_some(at + MARK.len())
}

/// The base directory of a shim's file; `None` if the file is no shim.
pub fn of(file: &[u8]) -> Option<&[u8]> {
    let start = place(file)?;
    super::bytes::until_nul(file.get(start..)?, LONGEST + 1)
}

/// Overwrites the base directory of a shim's file. False, and nothing changed, if the file is no shim or the
/// directory is not an absolute path of at most [`LONGEST`] bytes that ends in a slash.
#[must_use]
pub fn set(file: &mut [u8], directory: &[u8]) -> bool {
    let absolute = directory.first() == Some(&b'/') && directory.last() == Some(&b'/');
    let Some(start) = place(file).filter(|_| absolute && directory.len() <= LONGEST && !directory.contains(&0)) else { return false };
    let Some(room) = file.get_mut(start..start + LONGEST + 1) else { return false };
    room.fill(0);
    for (to, from) in room.iter_mut().zip(directory) {
        *to = *from;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn file() -> Vec<u8> {
        let marked = Marked::new();
        let mut file = b"\x7fELF".to_vec();
        file.extend(marked.mark);
        file.extend(marked.directory);
        file
    }

    #[test]
    fn a_copy_of_the_shim_can_look_elsewhere() {
        let mut file = file();
        assert_eq!(of(&file), Some(b"/opt/xeno/".as_slice()));
        assert!(set(&mut file, b"/.xeno/s/"));
        assert_eq!(of(&file), Some(b"/.xeno/s/".as_slice()));
    }

    #[test]
    fn a_directory_that_could_be_anywhere_is_refused() {
        let mut file = file();
        for bad in [b"relative/".as_slice(), b"/no-slash", b"", b"/\0/", &[b'/'; LONGEST + 1]] {
            assert!(!set(&mut file, bad), "{bad:?}");
        }
        assert_eq!(of(&file), Some(b"/opt/xeno/".as_slice()));
        assert_eq!(of(b"no shim"), None);
        assert!(!set(&mut b"no shim".to_vec(), b"/x/"));
    }
}
