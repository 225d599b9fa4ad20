//! What a loader reads of an ELF file: interpreter, needed names, soname and search path, found through
//! program headers alone. Written apart from the crates, because it judges them. Changes nothing.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Types of segments and tags of the dynamic section (gABI, chapters "Program Header" and "Dynamic Section").
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Longest table or string that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// `e_type` of an executable at a fixed address and of a shared object (or PIE).
pub(crate) const ET_EXEC: u64 = 2;
pub(crate) const ET_DYN: u64 = 3;

/// A file as its loader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// `EI_CLASS` and `EI_DATA`, then `e_machine`: who can run it.
    pub(crate) world: (u8, u8, u64),
    /// `e_type`.
    pub(crate) kind: u64,
    pub(crate) interpreter: Option<String>,
    /// There is a PT_DYNAMIC.
    pub(crate) dynamic: bool,
    pub(crate) needed: Vec<String>,
    pub(crate) soname: Option<String>,
    pub(crate) rpath: Option<String>,
    pub(crate) runpath: Option<String>,
}

impl View {
    /// The search path that glibc uses: DT_RPATH counts only without DT_RUNPATH (ld.so(8)).
    pub(crate) fn search(&self) -> Option<&str> {
        self.runpath.as_deref().or(self.rpath.as_deref())
    }
}

/// Reads a file; `None` if it is no executable or shared object.
pub(crate) fn view(path: &Path) -> Result<Option<View>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut start = [0; 20];
    if file.read_exact_at(&mut start, 0).is_err() || !start.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let [_, _, _, _, class @ (1 | 2), data @ (1 | 2), ..] = start else { return Ok(None) };
    let image = Image { file, wide: class == 2, big: data == 2, loads: Vec::new() };
    let kind = image.number(&start, 16, 2)?;
    if kind != ET_EXEC && kind != ET_DYN {
        return Ok(None);
    }
    let world = (class, data, image.number(&start, 18, 2)?);
    let view = image.read(View { world, kind, ..View::default() });
    view.map(Some).with_context(|| format!("read {} as its loader does", path.display()))
}

/// This machine's own kind of programs, and its loader: xtask's.
pub(crate) fn native() -> Result<(View, PathBuf)> {
    let own = view(&std::env::current_exe().context("find xtask")?)?.context("xtask is no ELF file")?;
    let loader =
        own.interpreter.as_deref().map(std::fs::canonicalize).context("xtask has no loader")?.context("find this system's loader")?;
    Ok((own, loader))
}

struct Image {
    file: File,
    wide: bool,
    big: bool,
    /// Address, offset and length in the file of each PT_LOAD.
    loads: Vec<(u64, u64, u64)>,
}

impl Image {
    fn read(mut self, mut view: View) -> Result<View> {
        let word = if self.wide { 8 } else { 4 };
        let header = self.bytes(0, if self.wide { 64 } else { 52 })?;
        let table = self.number(&header, if self.wide { 32 } else { 28 }, word)?;
        let (size, count) = if self.wide { (54, 56) } else { (42, 44) };
        let (size, count) = (self.number(&header, size, 2)?, self.number(&header, count, 2)?);
        let headers = self.bytes(table, size.saturating_mul(count))?;
        let (mut interpreter, mut dynamic) = (None, None);
        for header in headers.chunks_exact(usize::try_from(size).unwrap_or(1).max(1)) {
            let at: [usize; 3] = if self.wide { [8, 16, 32] } else { [4, 8, 16] };
            let [offset, address, length] = at.map(|at| self.number(header, at, word));
            let (offset, address, length) = (offset?, address?, length?);
            match self.number(header, 0, 4)? {
                PT_LOAD => self.loads.push((address, offset, length)),
                PT_INTERP => interpreter = Some((offset, length)),
                PT_DYNAMIC => dynamic = Some((address, length)),
                _ => {}
            }
        }
        if let Some((offset, length)) = interpreter {
            view.interpreter = Some(text(&self.bytes(offset, length)?));
        }
        if let Some((address, length)) = dynamic {
            view.dynamic = true;
            self.dynamic(&self.bytes(self.offset(address)?, length)?, word, &mut view)?;
        }
        Ok(view)
    }

    fn dynamic(&self, section: &[u8], word: usize, view: &mut View) -> Result<()> {
        let mut entries = Vec::new();
        for entry in section.chunks_exact(2 * word) {
            match (self.number(entry, 0, word)?, self.number(entry, word, word)?) {
                (0, _) => break,
                found => entries.push(found),
            }
        }
        let Some((_, strings)) = entries.iter().find(|(tag, _)| *tag == DT_STRTAB) else { return Ok(()) };
        for (tag, value) in &entries {
            let string = || self.string(strings.wrapping_add(*value));
            match *tag {
                DT_NEEDED => view.needed.push(string()?),
                DT_SONAME => view.soname = Some(string()?),
                DT_RPATH => view.rpath = Some(string()?),
                DT_RUNPATH => view.runpath = Some(string()?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where the byte that is loaded at an address lies in the file.
    fn offset(&self, address: u64) -> Result<u64> {
        let holds = |(start, _, length): &&(u64, u64, u64)| address.checked_sub(*start).is_some_and(|into| into < *length);
        let (start, offset, _) = self.loads.iter().find(holds).with_context(|| format!("nothing is loaded at {address:#x}"))?;
        Ok(offset + (address - start))
    }

    fn string(&self, address: u64) -> Result<String> {
        let offset = self.offset(address)?;
        let mut bytes = vec![0; 16384];
        let read = self.file.read_at(&mut bytes, offset).context("read a string")?;
        bytes.truncate(read);
        Ok(text(&bytes))
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        if length > LONGEST {
            bail!("a table of {length} bytes");
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut bytes, offset).with_context(|| format!("read {length} bytes at {offset:#x}"))?;
        Ok(bytes)
    }

    /// The number of `size` bytes at a place of a table.
    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Result<u64> {
        let field = bytes.get(at..at + size).with_context(|| format!("a table ends before byte {}", at + size))?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.big { field.iter().fold(0, join) } else { field.iter().rev().fold(0, join) })
    }
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> View {
        view(&crate::root().join("fixtures/bin").join(name)).unwrap().unwrap()
    }

    #[test]
    fn interpreter_search_path_and_needed_names_are_read_in_both_classes() {
        let wide = fixture("nix-hello");
        assert!(wide.interpreter.unwrap().ends_with("-glibc-2.40-66/lib/ld-linux-x86-64.so.2"));
        assert!(wide.runpath.unwrap().starts_with("/nix/store/xqpjz7v3r9w4y2k1m5n8d0b6c3a4f7gh-glibc-2.40-66/lib:"));
        assert_eq!(wide.needed, ["libm.so.6", "libgcc_s.so.1", "libc.so.6"]);
        let narrow = fixture("nix-hello-i686");
        assert_eq!((narrow.world.0, narrow.kind), (1, ET_DYN));
        assert!(narrow.interpreter.unwrap().ends_with("/lib/ld-linux.so.2"));
        assert_eq!(fixture("app-tree/lib/libapp.so.1").soname.as_deref(), Some("libapp.so.1"));
    }

    #[test]
    fn a_text_and_a_static_program_are_told_apart() {
        assert_eq!(view(&crate::root().join("Cargo.toml")).unwrap(), None);
        let bare = fixture("hello-x86_64-bare-static");
        assert_eq!((bare.kind, bare.dynamic, bare.interpreter), (ET_EXEC, false, None));
    }
}
