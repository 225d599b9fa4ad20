//! This machine's own loaders: which are installed, and what each consults.

use crate::arch::Arch;
use crate::builtin;
use crate::elf;
use crate::map::Mapped;
use crate::needs::{Kind, Libc};
use crate::system::System;
use std::path::{Path, PathBuf};

/// What is added to the path of a loader that was kept when the shim took its place (`xeno shim install --force`).
pub const SAVED: &str = ".xeno-saved";

/// What lies at an interpreter's path.
#[derive(Debug)]
pub enum Interpreter {
    /// No file.
    Nothing,
    /// A file that is no loader (a stub that only prints a message, a script, a wrong architecture),
    /// with the reason.
    NotALoader(String),
    /// A working loader.
    Loader(Box<System>),
}

/// Looks at the file at an interpreter's path and, if it is a loader for `arch`, reads what it
/// consults. A loader is an `ET_DYN` file without an interpreter of its own that holds the strings
/// only a loader has.
pub fn interpreter_at(path: &Path, arch: Arch) -> Interpreter {
    let bytes = match Mapped::open(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Interpreter::Nothing,
        Err(e) => return Interpreter::NotALoader(e.to_string()),
    };
    let needs = match elf::parse(&bytes) {
        Ok(needs) => needs,
        Err(e) => return Interpreter::NotALoader(e.to_string()),
    };
    if needs.arch != arch {
        return Interpreter::NotALoader(format!("it is for {}, the program is for {arch}", needs.arch));
    }
    // musl's libc.so, which is its loader, may have no soname and then looks like a static program.
    if !matches!(needs.kind, Kind::Library | Kind::StaticPie) || needs.interpreter.is_some() {
        return Interpreter::NotALoader("it is no program interpreter".to_owned());
    }
    // What stands for a loader without being one says so (ld-shim's base.rs).
    if memchr::memmem::find(&bytes, b"xeno shim base:\0").is_some() {
        return Interpreter::NotALoader("it is xeno's shim, which starts the loader that it was told".to_owned());
    }
    // A static program names the cache too, for its own dlopen; only a loader preloads.
    if let Some(strings) = builtin::glibc(&bytes).filter(|s| s.preload.is_some()) {
        let directories = strings.directories.iter().map(PathBuf::from).collect();
        return Interpreter::Loader(Box::new(System::glibc(arch, path.to_owned(), Some(Path::new(&strings.cache)), directories)));
    }
    // musl names its path file after the architecture (ldso/dynlink.c).
    let path_file = arch.musl_name().and_then(|name| std::fs::read_to_string(format!("/etc/ld-musl-{name}.path")).ok());
    if memchr::memmem::find(&bytes, b"/etc/ld-musl-").is_some() {
        return Interpreter::Loader(Box::new(System::musl(arch, path.to_owned(), path_file.as_deref())));
    }
    Interpreter::NotALoader("it is neither glibc's nor musl's loader (a placeholder that prints a message?)".to_owned())
}

/// The loader this machine's own programs use, for an architecture and a C library: at the path the
/// psABI gives it, or – where distributions keep it elsewhere – the one `/bin/sh` or `/usr/bin/env` names, or
/// what was kept of one of these when the shim took its place.
pub fn system(arch: Arch, libc: Libc) -> Option<System> {
    let usual = match libc {
        Libc::Glibc => arch.glibc_loader().map(str::to_owned),
        Libc::Musl => arch.musl_loader(),
    };
    let named = ["/bin/sh", "/usr/bin/env"].iter().filter_map(|p| elf::load(Path::new(p)).ok()?.interpreter);
    let kept = |path: String| [format!("{path}{SAVED}"), path].into_iter().rev();
    usual.into_iter().chain(named).flat_map(kept).find_map(|path| match interpreter_at(Path::new(&path), arch) {
        Interpreter::Loader(system) if system.libc == libc => Some(*system),
        _ => None,
    })
}
