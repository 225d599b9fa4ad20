//! Environments of a scene, made of this machine's own files: programs with all they load, and its 32-bit libc.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::support::{Scene, both_streams, copy, succeeds};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use xeno_tests::{peer, skip};

/// A package below the scene: programs of this machine, and all that they and `more` load.
pub fn package(scene: &Scene, programs: &[&str], more: &[&Path]) -> PathBuf {
    let package = scene.path("package");
    let (bin, lib) = (package.join("usr/bin"), package.join("usr/lib/x86_64-linux-gnu"));
    let own: Vec<PathBuf> = programs.iter().map(|name| fs::canonicalize(peer(name).unwrap()).unwrap()).collect();
    let mut needed = BTreeSet::new();
    for program in own.iter().map(PathBuf::as_path).chain(more.iter().copied()) {
        let listed = succeeds(Command::new("ldd").arg(program));
        needed.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for (name, program) in programs.iter().zip(&own) {
        copy(program, &bin.join(name));
    }
    for library in &needed {
        copy(&fs::canonicalize(library).unwrap(), &lib.join(library.file_name().unwrap()));
    }
    let loader = "ld-linux-x86-64.so.2";
    fs::create_dir_all(package.join("usr/lib64")).unwrap();
    symlink(Path::new("../lib/x86_64-linux-gnu").join(loader), package.join("usr/lib64").join(loader)).unwrap();
    symlink("bash", bin.join("sh")).unwrap();
    package
}

/// A package with the 32-bit C library; `None`, with a skip, where this machine has none.
pub fn narrow(scene: &Scene) -> Option<PathBuf> {
    let Some(from) =
        ["/lib32", "/usr/lib/i386-linux-gnu", "/lib/i386-linux-gnu"].iter().find(|at| Path::new(at).join("libc.so.6").exists())
    else {
        skip("this machine has no 32-bit libc (apt install libc6-i386)");
        return None;
    };
    let into = scene.path("narrow").join("usr/lib/i386-linux-gnu");
    for name in ["ld-linux.so.2", "libc.so.6", "libm.so.6"] {
        copy(&fs::canonicalize(Path::new(from).join(name)).unwrap(), &into.join(name));
    }
    Some(scene.path("narrow"))
}

/// Builds an environment of these directories.
pub fn build(scene: &Scene, name: &str, packages: &[&Path]) {
    let mut command = scene.say(&["env", "build", "--name", name, "--offline"]);
    for package in packages {
        command.arg("-p").arg(format!("dir:{}", package.display()));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both_streams(&output));
}
