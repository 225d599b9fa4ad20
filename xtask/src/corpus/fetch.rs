//! Downloads what the chosen rows need, through the registries' own clients; what is there is kept.
//! A package appears under its final name only when it is whole.

use super::table::{Registry, Row};
use crate::process;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Fetches two packages at a time; prints a line for each. Fails if any is missing afterwards.
pub(crate) fn fetch(rows: &[&Row], cache: &Path) -> Result<()> {
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    let mut packages: BTreeMap<PathBuf, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        packages.entry(row.tree(cache)).or_default().push(row);
    }
    let has = |registry| rows.iter().any(|row| row.registry == registry);
    if has(Registry::Npm) {
        process::need(&[("npm", "npm"), ("node", "nodejs"), ("tar", "tar")])?;
    }
    if has(Registry::Pypi) && process::output(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        process::need(&[("/usr/bin/python3", "python3"), ("/usr/bin/pip3", "python3-pip")])?;
    }
    let queue = Mutex::new(packages.into_iter());
    let failed = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.next());
                    let Some((tree, rows)) = next else { break };
                    let Some(first) = rows.first() else { continue };
                    let subject = format!("{} {}@{}", first.registry.name(), first.package, first.version);
                    match package(&tree, &rows, cache) {
                        Ok(word) => println!("{word} {subject}"),
                        Err(error) => {
                            println!("FAIL {subject}: {error:#}");
                            failed.lock().map(|mut count| *count += 1).ok();
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(0) => Ok(()),
        _ => bail!("some packages could not be fetched"),
    }
}

fn package(tree: &Path, rows: &[&Row], cache: &Path) -> Result<&'static str> {
    if rows.iter().all(|row| tree.join(&row.path).exists()) {
        return Ok("have");
    }
    let Some(row) = rows.first() else { bail!("no row") };
    let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(cache).context("make a directory to fetch into")?;
    match row.registry {
        Registry::Npm => npm(row, work.path())?,
        Registry::Pypi => pypi(row, work.path())?,
        Registry::Apt => apt(row, work.path())?,
    }
    for row in rows {
        let path = work.path().join(&row.path);
        let packed = work.path().join(format!("{}.br", row.path));
        if !path.exists() && packed.exists() {
            unbrotli(&packed, &path)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(|| format!("no {} in it", row.path))?;
    }
    // The harness starts programs as another user, who has to get into the tree.
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).context("chmod")?;
    fs::create_dir_all(tree.parent().unwrap_or(cache)).context("create the registry's directory")?;
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    fs::rename(work.keep(), tree).with_context(|| format!("rename to {}", tree.display()))?;
    Ok("got ")
}

fn npm(row: &Row, work: &Path) -> Result<()> {
    let name = format!("{}@{}", row.package, row.version);
    process::output(Command::new("npm").args(["pack", "--silent", &name]).current_dir(work))?;
    for archive in files(work, "tgz")? {
        process::output(Command::new("tar").arg("xzf").arg(&archive).current_dir(work))?;
        fs::remove_file(&archive).context("remove the archive")?;
    }
    Ok(())
}

/// The tags of wheels that an x86-64 glibc system takes.
const PLATFORMS: &[&str] = &[
    "manylinux1",
    "manylinux2010",
    "manylinux2014",
    "manylinux_2_5",
    "manylinux_2_12",
    "manylinux_2_17",
    "manylinux_2_24",
    "manylinux_2_27",
    "manylinux_2_28",
    "manylinux_2_31",
    "manylinux_2_34",
    "manylinux_2_35",
    "linux",
];

fn pypi(row: &Row, work: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]);
    for platform in PLATFORMS {
        pip.args(["--platform", &format!("{platform}_x86_64")]);
    }
    pip.args(["--platform", "any", &format!("{}=={}", row.package, row.version)]);
    process::output(pip.current_dir(work))?;
    for wheel in files(work, "whl")? {
        process::output(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work))?;
        fs::remove_file(&wheel).context("remove the wheel")?;
    }
    executable(work)
}

fn apt(row: &Row, work: &Path) -> Result<()> {
    let download = || process::output(Command::new("apt-get").args(["download", "-qq"]).args(row.package.split(',')).current_dir(work));
    if download().is_err() {
        process::run(Command::new("apt-get").args(["update", "-qq", "-o", "DPkg::Lock::Timeout=300"]))?;
        download()?;
    }
    for archive in files(work, "deb")? {
        process::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(work))?;
        fs::remove_file(&archive).context("remove the package")?;
    }
    Ok(())
}

fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("the client wrote no .{extension} file");
    }
    Ok(found)
}

/// Python's unpacker drops the modes that a wheel records: every ELF file becomes executable again.
fn executable(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            executable(&entry.path())?;
        } else if kind.is_file() {
            let mut magic = [0; 4];
            let read = fs::File::open(entry.path())?.read(&mut magic)?;
            let mode = if read == 4 && &magic == b"\x7fELF" { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// npm's client needs node, and node has the decompressor.
fn unbrotli(from: &Path, to: &Path) -> Result<()> {
    let script = "const z=require('zlib'),f=require('fs');f.createReadStream(process.argv[1])\
                  .pipe(z.createBrotliDecompress()).pipe(f.createWriteStream(process.argv[2]))";
    process::output(Command::new("node").args(["-e", script]).arg(from).arg(to)).map(drop)
}
