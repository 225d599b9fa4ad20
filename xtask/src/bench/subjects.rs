//! What the patch group is tried on: a program of one gibibyte, one with three behind it that are a hole, and
//! a thousand small programs and libraries. Builds each once; never changes it again.

use crate::process;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the block that fills the large program, and how often it does.
const BLOCK: usize = 16 << 20;
const BLOCKS: usize = 64;
/// Where the sparse program's last bytes end.
const SPARSE: u64 = 3 << 30;
/// Files of the tree, and from which on they are libraries.
const FILES: usize = 1000;
const PROGRAMS: usize = 600;

/// The files, below one directory.
pub(super) struct Subjects {
    /// Some 16 KB.
    pub(super) small: PathBuf,
    /// 1 GiB of constants, dense.
    pub(super) large: PathBuf,
    /// The small one with 3 GiB behind it, of which the last 4 KiB are stored.
    pub(super) sparse: PathBuf,
    /// The directory of the thousand.
    pub(super) tree: PathBuf,
}

impl Subjects {
    /// Builds what is not there yet.
    pub(super) fn below(directory: &Path) -> Result<Subjects> {
        process::need(&[("gcc", "gcc")])?;
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let subjects = Subjects {
            small: directory.join("small"),
            large: directory.join("large"),
            sparse: directory.join("sparse"),
            tree: directory.join("tree"),
        };
        made(&subjects.small, small)?;
        made(&subjects.large, large)?;
        made(&subjects.sparse, |to| sparse(&subjects.small, to))?;
        made(&subjects.tree, tree)?;
        Ok(subjects)
    }

    /// The names of the tree's programs and of its libraries, as they stand below `tree`.
    pub(super) fn names(tree: &Path) -> (Vec<String>, Vec<String>) {
        let name = |index: usize| tree.join(format!("file-{index}")).display().to_string();
        ((0..PROGRAMS).map(name).collect(), (PROGRAMS..FILES).map(name).collect())
    }
}

/// Under another name until it is complete: an interrupted build is none.
fn made(path: &Path, make: impl Fn(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = path.with_extension("part");
    if part.is_dir() {
        fs::remove_dir_all(&part)?;
    }
    make(&part).with_context(|| format!("build {}", path.display()))?;
    fs::rename(&part, path).with_context(|| format!("rename {}", part.display()))
}

fn compile(source: &str, arguments: &[String], to: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("make a directory to build in")?;
    let file = work.path().join("source.c");
    fs::write(&file, source).context("write a source")?;
    process::output(Command::new("gcc").arg(file).arg("-o").arg(to).args(arguments)).map(|_| ())
}

fn small(to: &Path) -> Result<()> {
    compile("#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n", &["-O1".to_owned(), "-pie".into(), "-fPIE".into()], to)
}

fn large(to: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(to.parent().unwrap_or(Path::new("."))).context("make a directory to build in")?;
    let block = work.path().join("block");
    // xorshift64: nothing a file system could leave out.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    fs::write(&block, bytes).context("write a block")?;
    let assembly = work.path().join("blocks.s");
    let head = ".section .rodata.blocks,\"a\"\n.globl blocks\nblocks:\n";
    let text = format!("{head}.rept {BLOCKS}\n.incbin \"{}\"\n.endr\n.section .note.GNU-stack,\"\",@progbits\n", block.display());
    fs::write(&assembly, text).context("write the assembly")?;
    let source = "#include <stdio.h>\nextern const char blocks[];\nint main(void) { return puts(blocks[4096] ? \"a\" : \"b\") < 0; }\n";
    compile(source, &["-pie".to_owned(), "-fPIE".into(), "-x".into(), "assembler".into(), assembly.display().to_string()], to)
}

fn sparse(small: &Path, to: &Path) -> Result<()> {
    fs::copy(small, to)?;
    let mut file = File::options().write(true).open(to)?;
    file.seek(SeekFrom::Start(SPARSE - 4096))?;
    file.write_all(&[b'x'; 4096])?;
    Ok(())
}

/// Twenty kinds: with and without an index, symbols, a run path, an old hash table, few and many functions.
fn tree(to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let (programs, libraries) = Subjects::names(to);
    for (names, library) in [(programs, false), (libraries, true)] {
        let kinds = 10;
        for (index, name) in names.iter().enumerate() {
            if index >= kinds {
                let of = names.get(index % kinds).context("a kind")?;
                fs::copy(of, name).with_context(|| format!("copy {of}"))?;
                continue;
            }
            let functions: String = (0..index * 12).map(|n| format!("int function_{n}(int x) {{ return x + {n}; }}\n")).collect();
            let main = if library { "" } else { "int main(void) { return puts(\"hello\") < 0; }\n" };
            let mut arguments = vec!["-O1".to_owned()];
            arguments.extend(if library { vec!["-shared".into(), "-fPIC".into(), format!("-Wl,-soname,lib{index}.so")] } else { vec![] });
            arguments.extend((index % 2 == 1 && !library).then(|| "-no-pie".into()));
            arguments.extend((index % 3 == 1).then(|| "-s".into()));
            arguments.extend((index % 3 == 2).then(|| "-Wl,-rpath,/opt/old".into()));
            arguments.extend((index % 4 == 3).then(|| "-Wl,--hash-style=both".into()));
            arguments.extend((index % 5 == 4).then(|| "-g".into()));
            compile(&format!("#include <stdio.h>\n{functions}{main}"), &arguments, Path::new(name))?;
        }
    }
    Ok(())
}
