//! The strings compiled into a glibc loader: where its cache is, and which directories it falls
//! back to. Found by structure, so that any distribution's build is read (nixpkgs' and Guix' hold
//! store paths, Debian's multiarch ones).

/// What one loader was built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// `LD_SO_CACHE`: an absolute path that ends in `/ld.so.cache`.
    pub cache: String,
    /// The file of libraries to preload everywhere, an absolute path that ends in
    /// `.so.preload` (nixpkgs calls it `ld-nix.so.preload`).
    pub preload: Option<String>,
    /// `system_dirs` (glibc `elf/dl-load.c`): each ends with a slash.
    pub directories: Vec<String>,
}

/// Reads the strings of a glibc loader; `None` if the bytes hold no such cache path.
pub fn glibc(bytes: &[u8]) -> Option<Builtin> {
    let cache = absolute_ending_in(bytes, b"/ld.so.cache\0")?;
    let preload = absolute_ending_in(bytes, b".so.preload\0");
    Some(Builtin { cache, preload, directories: system_directories(bytes) })
}

/// The whole NUL-delimited string that ends in `suffix` and begins with a slash.
fn absolute_ending_in(bytes: &[u8], suffix: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(bytes, suffix).find_map(|at| {
        let start = memchr::memrchr(0, bytes.get(..at)?)? + 1;
        let text = bytes.get(start..at + suffix.len() - 1)?;
        (text.first() == Some(&b'/')).then(|| String::from_utf8(text.to_vec()).ok()).flatten()
    })
}

/// `system_dirs` is one run of NUL-terminated absolute directories, each with its closing slash;
/// the first run with a `lib` directory in it is it.
fn system_directories(bytes: &[u8]) -> Vec<String> {
    for at in memchr::memmem::find_iter(bytes, b"/\0") {
        let head = bytes.get(..at).unwrap_or(&[]);
        let start = memchr::memrchr(0, head).map_or(0, |nul| nul + 1);
        let mut run = Vec::new();
        for piece in bytes.get(start..).unwrap_or(&[]).split(|b| *b == 0) {
            match std::str::from_utf8(piece) {
                Ok(text) if piece.len() > 1 && text.starts_with('/') && text.ends_with('/') => run.push(text.to_owned()),
                _ => break,
            }
        }
        if run.iter().any(|d| d.split('/').any(|part| part.starts_with("lib"))) {
            return run;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_and_the_directories_are_found_by_structure() {
        let debian = b"x\0/usr/bin/\0\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0foo\0cannot open /etc/ld.so.cache\0/etc/ld.so.cache\0/etc/ld.so.preload\0";
        assert_eq!(
            glibc(debian),
            Some(Builtin {
                cache: "/etc/ld.so.cache".into(),
                preload: Some("/etc/ld.so.preload".into()),
                directories: ["/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/", "/usr/lib/"].map(String::from).into(),
            })
        );
        let store = b"\0/nix/store/abc-glibc-2.40/lib/\0\0/nix/store/abc-glibc-2.40/etc/ld.so.cache\0";
        let found = glibc(store).unwrap();
        assert_eq!(found.directories, ["/nix/store/abc-glibc-2.40/lib/"]);
        assert_eq!(found.cache, "/nix/store/abc-glibc-2.40/etc/ld.so.cache");
        assert_eq!(glibc(b"no loader"), None);
    }
}
