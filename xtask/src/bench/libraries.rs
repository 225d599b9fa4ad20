//! What the shim group starts: eighty small libraries, each in a directory of its own, and programs that need
//! them, linked with any interpreter; a loader copy with a cache of its own, the fair native reference.
//! Builds libraries once and keeps them; decides nothing about figures.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Libraries of a set.
pub(super) const COUNT: usize = 80;
/// Libraries that the program of a tree needs itself, and how many further ones each of them brings.
const ROOTS: usize = 8;
const BRANCHES: usize = 3;
/// Functions that each library exports.
const FUNCTIONS: usize = 8;
/// Where glibc's loader looks for its cache (ldconfig(8)).
const CACHE: &[u8] = b"/etc/ld.so.cache";

/// How a program reaches the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It needs none of them.
    None,
    /// It needs all of them itself.
    Flat,
    /// It needs eight; the others are needed by libraries, some by two.
    Tree,
}

impl Shape {
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::None => "hello",
            Shape::Flat => "flat80",
            Shape::Tree => "tree80",
        }
    }

    /// What the program needs.
    fn roots(self) -> std::ops::Range<usize> {
        match self {
            Shape::None => 0..0,
            Shape::Flat => 0..COUNT,
            Shape::Tree => 0..ROOTS,
        }
    }

    /// What a library needs: always later ones, so that they can be linked from the last to the first.
    fn needs(self, library: usize) -> Vec<usize> {
        if self != Shape::Tree {
            return Vec::new();
        }
        let first = ROOTS + library * BRANCHES;
        let mut needs: Vec<usize> = (first..first + BRANCHES).filter(|need| *need < COUNT).collect();
        // The neighbour too: most libraries are then needed twice, as real ones are.
        needs.extend((library + 1 < COUNT && !needs.contains(&(library + 1))).then_some(library + 1));
        needs
    }
}

/// The libraries of one shape, on the disk.
pub(super) struct Libraries {
    shape: Shape,
    directory: PathBuf,
}

impl Libraries {
    /// Builds what is not there yet, below `directory`. Needs gcc.
    pub(super) fn below(directory: &Path, shape: Shape) -> Result<Libraries> {
        process::need(&[("gcc", "gcc")])?;
        let libraries = Libraries { shape, directory: directory.join(shape.name()) };
        if !libraries.directory.exists() {
            let part = Libraries { shape, directory: directory.join(format!("{}.part", shape.name())) };
            if part.directory.exists() {
                fs::remove_dir_all(&part.directory).context("remove an interrupted build")?;
            }
            fs::create_dir_all(&part.directory).with_context(|| format!("create {}", part.directory.display()))?;
            part.build()?;
            fs::rename(&part.directory, &libraries.directory).context("rename a finished build")?;
        }
        Ok(libraries)
    }

    fn build(&self) -> Result<()> {
        let last = self.all().count();
        for index in (0..last).rev() {
            let path = self.path(index);
            fs::create_dir_all(path.parent().context("a library without a directory")?)?;
            let needs = self.shape.needs(index);
            let mut flags = vec!["-shared".to_owned(), "-fPIC".into(), format!("-Wl,-soname,{}", soname(index))];
            flags.extend(self.reached());
            compile(&library(index, &needs), &flags, needs.iter().map(|need| self.path(*need)), &path)?;
        }
        Ok(())
    }

    /// Links the program with this interpreter.
    pub(super) fn program(&self, interpreter: &Path, to: &Path) -> Result<()> {
        let mut flags = vec!["-pie".to_owned(), "-fPIE".into(), format!("-Wl,--dynamic-linker={}", interpreter.display())];
        flags.extend(self.reached());
        compile(&main(self.shape), &flags, self.shape.roots().map(|root| self.path(root)), to)
    }

    /// Every library: its soname and its path.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let count = if self.shape == Shape::None { 0 } else { COUNT };
        (0..count).map(|index| (soname(index), self.path(index)))
    }

    /// Where the linker finds what libraries need; nothing of it stays in the file.
    fn reached(&self) -> Option<String> {
        let directories: Vec<String> = self.all().filter_map(|(_, path)| Some(path.parent()?.display().to_string())).collect();
        (!directories.is_empty()).then(|| format!("-Wl,-rpath-link,{}", directories.join(":")))
    }

    /// In a directory whose name is as long as those of a store.
    fn path(&self, index: usize) -> PathBuf {
        let digits = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.directory.join(format!("{digits:016x}{:016x}-part{index:02}-1.0", digits.rotate_left(29))).join("lib").join(soname(index))
    }
}

fn soname(index: usize) -> String {
    format!("libpart{index:02}.so.1")
}

/// Functions, data with a relocation, and calls into every library it needs.
fn library(index: usize, needs: &[usize]) -> String {
    let declared: String = needs.iter().map(|need| format!("int part{need}_0(int);\n")).collect();
    let calls: String = needs.iter().map(|need| format!(" + part{need}_0(x)")).collect();
    let functions: String = (0..FUNCTIONS - 1)
        .map(|n| format!("int part{index}_{n}(int x) {{ return x * {} + part{index}_table[x & 63]; }}\n", n + 2))
        .collect();
    format!(
        "{declared}int part{index}_table[64] = {{ {index} }};\nint *part{index}_place = part{index}_table;\n{functions}\
         int part{index}_{}(int x) {{ return x{calls}; }}\n",
        FUNCTIONS - 1
    )
}

fn main(shape: Shape) -> String {
    let declared: String = shape.roots().map(|root| format!("int part{root}_0(int);\n")).collect();
    let calls: String = shape.roots().map(|root| format!(" + part{root}_0(n)")).collect();
    format!("#include <unistd.h>\n{declared}int main(int n, char **v) {{ return write(1, \"ok\\n\", 3) != 3 || (n{calls}) == 123456; }}\n")
}

fn compile(source: &str, flags: &[String], libraries: impl Iterator<Item = PathBuf>, to: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("make a directory to build in")?;
    let file = work.path().join("source.c");
    fs::write(&file, source).context("write a source")?;
    let mut gcc = Command::new("gcc");
    // Every library named is needed, and all symbols are bound at the start, as stores build.
    gcc.args(["-O1", "-Wl,-z,now", "-Wl,--no-as-needed"]).args(flags).arg(&file).args(libraries).arg("-o").arg(to);
    process::output(&mut gcc).map(|_| ())
}

/// A loader that reads its cache at `cache`, which must not be longer than the path it replaces.
pub(super) fn loader_copy(loader: &Path, cache: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(loader).with_context(|| format!("read {}", loader.display()))?;
    let bytes = with_cache(bytes, cache.to_str().context("a cache's path")?.as_bytes())
        .with_context(|| format!("change the cache's path in a copy of {}", loader.display()))?;
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).context("chmod")
}

fn with_cache(mut bytes: Vec<u8>, cache: &[u8]) -> Result<Vec<u8>> {
    let string = [CACHE, b"\0"].concat();
    let mut places = bytes.windows(string.len()).enumerate().filter(|(_, window)| *window == string).map(|(at, _)| at);
    let (Some(at), None) = (places.next(), places.next()) else { bail!("it does not name {} once", String::from_utf8_lossy(CACHE)) };
    if cache.len() > CACHE.len() {
        bail!("{} is longer than {}", String::from_utf8_lossy(cache), String::from_utf8_lossy(CACHE));
    }
    let mut field = cache.to_vec();
    field.resize(string.len(), 0);
    bytes.splice(at..at + string.len(), field);
    Ok(bytes)
}

/// An `ld.so.cache` with these libraries of x86-64 and no others: `struct cache_file_new` of glibc's
/// `dl-cache.h`, whose entries stand in descending order of their names.
pub(super) fn cache(libraries: &[(String, PathBuf)]) -> Result<Vec<u8>> {
    /// `FLAG_ELF_LIBC6 | FLAG_X8664_LIB64`.
    const X86_64: i32 = 0x0303;
    let mut sorted = libraries.to_vec();
    // Their numbers have equally many digits: then glibc's order is that of the bytes.
    sorted.sort_by(|(a, _), (b, _)| b.cmp(a));
    let (mut strings, mut entries) = (Vec::new(), Vec::new());
    let begin = 48 + 24 * sorted.len();
    for (soname, path) in &sorted {
        let mut put = |text: &[u8]| -> Result<[u8; 4]> {
            let at = u32::try_from(begin + strings.len()).context("a cache of 4 GiB")?;
            strings.extend_from_slice(text);
            strings.push(0);
            Ok(at.to_le_bytes())
        };
        let (key, value) = (put(soname.as_bytes())?, put(path.as_os_str().as_encoded_bytes())?);
        entries.extend([&X86_64.to_le_bytes()[..], &key, &value, &[0; 12]].concat());
    }
    let counts = [u32::try_from(sorted.len())?.to_le_bytes(), u32::try_from(strings.len())?.to_le_bytes()].concat();
    // Little-endian; no extensions.
    Ok([b"glibc-ld.so.cache1.1".as_slice(), &counts, &[2], &[0; 19], &entries, &strings].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_tree_reaches_every_library_from_eight() {
        let mut open: Vec<usize> = Shape::Tree.roots().collect();
        assert_eq!(open.len(), 8);
        let mut reached = BTreeSet::new();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                assert!(Shape::Tree.needs(next).iter().all(|need| *need > next));
                open.extend(Shape::Tree.needs(next));
            }
        }
        assert_eq!(reached.len(), 80);
        assert_eq!(Shape::Tree.needs(0), [8, 9, 10, 1]);
    }

    #[test]
    fn a_loaders_one_cache_path_is_replaced_by_a_shorter_one() {
        let changed = with_cache(b"ab/etc/ld.so.cache\0cd".to_vec(), b"/tmp/x").unwrap();
        assert_eq!(changed, b"ab/tmp/x\0\0\0\0\0\0\0\0\0\0\0cd");
        assert!(with_cache(b"ab/etc/ld.so.cache\0".to_vec(), b"/tmp/longer/than/16").is_err());
        assert!(with_cache(b"/etc/ld.so.cache\0/etc/ld.so.cache\0".to_vec(), b"/tmp/x").is_err());
        assert!(with_cache(b"/nix/etc/ld.so.conf\0".to_vec(), b"/tmp/x").is_err());
    }

    #[test]
    fn a_cache_is_what_glibc_calls_one() {
        let bytes = cache(&[("a.so".into(), "/l/a.so".into()), ("b.so".into(), "/l/b.so".into())]).unwrap();
        assert_eq!(&bytes[..20], b"glibc-ld.so.cache1.1");
        assert_eq!(&bytes[20..29], [2, 0, 0, 0, 26, 0, 0, 0, 2]);
        // Behind the header of 48 bytes: flags, then where name and path begin; the last name first.
        assert_eq!(&bytes[48..60], [3, 3, 0, 0, 96, 0, 0, 0, 101, 0, 0, 0]);
        assert_eq!(&bytes[96..], b"b.so\0/l/b.so\0a.so\0/l/a.so\0");
    }

    #[test]
    fn a_library_calls_what_it_needs() {
        let text = library(3, &[17]);
        assert!(text.starts_with("int part17_0(int);\nint part3_table[64] = { 3 };\n"), "{text}");
        assert!(text.ends_with("int part3_7(int x) { return x + part17_0(x); }\n"), "{text}");
    }
}
