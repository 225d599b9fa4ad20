//! What an environment is made of: a package with a shell, a few programs, their libraries and loader, copied from
//! this machine; and packages of small libraries that differ in name and content. Writes them below one directory.

use crate::process;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Libraries of a package.
const TOGETHER: usize = 10;
/// The programs of the first package.
const PROGRAMS: &[&str] = &["/bin/bash", "/usr/bin/true", "/usr/bin/sleep", "/usr/bin/cat", "/usr/bin/ls"];
/// The name of the library that the others are made from: only these four digits and a text of its content differ.
const PATTERN: &[u8] = b"libbench0000.so.1";

/// Writes the packages and the specification; returns the latter's path.
pub(super) fn write(directory: &Path, libraries: usize) -> Result<PathBuf> {
    let base = directory.join("base");
    programs(&base)?;
    let mut packages = vec![base];
    let model = directory.join("model");
    let source = directory.join("model.c");
    fs::write(&source, "const char name[] = \"libbench0000.so.1\";\nint here(void) { return name[8]; }\n").context("write a source")?;
    let flags = ["-O1", "-shared", "-fPIC", "-Wl,-soname,libbench0000.so.1", "-o"];
    process::output(Command::new("gcc").args(flags).arg(&model).arg(&source))?;
    let model = fs::read(&model).context("read the model")?;
    for first in (0..libraries).step_by(TOGETHER) {
        let package = directory.join(format!("package-{:03}", first / TOGETHER));
        let into = package.join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&into).with_context(|| format!("create {}", into.display()))?;
        for index in first..(first + TOGETHER).min(libraries) {
            let name = format!("libbench{index:04}.so.1");
            fs::write(into.join(format!("{name}.0")), renamed(&model, name.as_bytes())).with_context(|| format!("write {name}"))?;
            symlink(format!("{name}.0"), into.join(&name)).with_context(|| format!("link {name}"))?;
        }
        packages.push(package);
    }
    let listed: Vec<String> = packages.iter().map(|package| format!("    \"dir:{}\",\n", package.display())).collect();
    let specification = directory.join("bench.toml");
    fs::write(&specification, format!("[fhs]\npackages = [\n{}]\n", listed.concat())).context("write the specification")?;
    Ok(specification)
}

fn renamed(model: &[u8], name: &[u8]) -> Vec<u8> {
    let mut bytes = model.to_vec();
    let places: Vec<usize> = model.windows(PATTERN.len()).enumerate().filter(|(_, window)| *window == PATTERN).map(|(at, _)| at).collect();
    for at in places {
        bytes.splice(at..at + name.len(), name.iter().copied());
    }
    bytes
}

/// The programs and all that they load.
fn programs(into: &Path) -> Result<()> {
    let (bin, lib) = (into.join("usr/bin"), into.join("usr/lib/x86_64-linux-gnu"));
    for directory in [&bin, &lib, &into.join("usr/lib64")] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let mut needed = BTreeSet::new();
    for program in PROGRAMS {
        copy(Path::new(program), &bin)?;
        let listed = process::output(Command::new("ldd").arg(program))?;
        needed.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in &needed {
        copy(library, &lib)?;
    }
    let loader = needed.iter().find_map(|path| path.file_name()?.to_str().filter(|name| name.starts_with("ld-linux")));
    let loader = loader.context("the programs have no loader")?;
    symlink(format!("../lib/x86_64-linux-gnu/{loader}"), into.join("usr/lib64").join(loader)).context("link the loader")?;
    symlink("bash", bin.join("sh")).context("link the shell")
}

fn copy(of: &Path, into: &Path) -> Result<()> {
    let name = of.file_name().context("a path without a name")?;
    fs::copy(of, into.join(name)).map(|_| ()).with_context(|| format!("copy {}", of.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_a_library_is_its_own() {
        let model = b"..libbench0000.so.1..libbench0000.so.1";
        assert_eq!(renamed(model, b"libbench0123.so.1"), b"..libbench0123.so.1..libbench0123.so.1");
    }
}
