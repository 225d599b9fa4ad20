//! Programs that carry something behind their last segment, or were laid out by a linker of their own.
//! Each is built by its own tool from a source of ours, once, and kept in the cache.

use super::stage::Subject;
use crate::{corpus, process};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One program that is made.
pub(super) struct Payload {
    pub(super) name: &'static str,
    /// Rows of `tests/corpus.tsv` that it is made with.
    pub(super) needs: &'static [&'static str],
    /// Commands and their Debian packages.
    packages: &'static [(&'static str, &'static str)],
    pub(super) ci: bool,
    arguments: &'static [&'static str],
    expect: &'static str,
    build: fn(&Kit<'_>, &Path) -> Result<()>,
}

/// What a build may use.
struct Kit<'k> {
    cache: &'k Path,
    work: &'k Path,
}

const PIP: (&str, &str) = ("/usr/bin/pip3", "python3-pip");
const PYTHON: &str = "/usr/bin/python3";

/// All of them. CI takes what is small and needs no further download.
pub(super) const PAYLOADS: &[Payload] = &[
    Payload {
        name: "bun-compiled",
        needs: &["bun-1.1.0"],
        packages: &[],
        ci: false,
        arguments: &[],
        expect: "payload 42",
        build: |kit, to| {
            let bun = corpus::program("bun-1.1.0", kit.cache)?;
            kit.run(&bun, &["build", "--compile", &source("app.js"), "--outfile", &to.display().to_string()])
        },
    },
    Payload {
        name: "node-sea",
        needs: &["node-wheel"],
        packages: &[("npm", "npm"), ("node", "nodejs")],
        ci: false,
        arguments: &[],
        expect: "payload 42",
        build: node_sea,
    },
    Payload {
        name: "pyinstaller",
        needs: &[],
        packages: &[PIP, ("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "libpython3.11"), ("objdump", "binutils")],
        ci: false,
        arguments: &[],
        expect: "payload [40, 2] 2d711642",
        build: |kit, to| {
            kit.pip("pyinstaller==6.22.3")?;
            let flags = ["-m", "PyInstaller", "--onefile", "--log-level", "ERROR", "--name", "app", "--distpath", "out"];
            kit.run(PYTHON, &[&flags[..], &[&source("app.py")]].concat())?;
            place(&kit.work.join("out/app"), to)
        },
    },
    Payload {
        name: "unzipsfx",
        needs: &[],
        packages: &[("unzipsfx", "unzip"), (PYTHON, "python3")],
        ci: true,
        arguments: &["-t"],
        expect: "No errors detected",
        build: |kit, to| {
            kit.run(PYTHON, &["-m", "zipfile", "-c", "a.zip", &source("app.js")])?;
            let starter = process::find("unzipsfx").context("find unzipsfx")?;
            join(&[&starter, &kit.work.join("a.zip")], to)
        },
    },
    Payload {
        name: "lisp-image",
        needs: &[],
        packages: &[("sbcl", "sbcl")],
        ci: true,
        arguments: &[],
        expect: "payload 42",
        build: |kit, to| {
            kit.run("sbcl", &["--non-interactive", "--no-userinit", "--no-sysinit", "--load", &source("app.lisp")])?;
            place(&kit.work.join("app"), to)
        },
    },
    Payload {
        name: "ocaml-custom",
        needs: &[],
        packages: &[("ocamlc", "ocaml-nox"), ("gcc", "gcc")],
        ci: true,
        arguments: &[],
        expect: "payload 42",
        build: |kit, to| {
            fs::copy(source("app.ml"), kit.work.join("app.ml")).context("copy a source")?;
            kit.run("ocamlc", &["-custom", "-o", "app", "app.ml"])?;
            place(&kit.work.join("app"), to)
        },
    },
    Payload { name: "dart-aot", needs: &["sass"], packages: &[], ci: true, arguments: &["--version"], expect: "1.108.2", build: dart_aot },
    Payload {
        name: "tcc",
        needs: &[],
        packages: &[("tcc", "tcc"), ("/usr/include/stdio.h", "libc6-dev")],
        ci: true,
        arguments: &[],
        expect: "compiled 42",
        build: |kit, to| kit.run("tcc", &["-o", &to.display().to_string(), &source("tool.c")]),
    },
    Payload {
        name: "zig",
        needs: &[],
        packages: &[PIP],
        ci: false,
        arguments: &[],
        expect: "compiled 42",
        build: |kit, to| zig(kit, to, &["tool.zig"]),
    },
    Payload {
        name: "zig-c",
        needs: &[],
        packages: &[PIP],
        ci: false,
        arguments: &[],
        expect: "compiled 42",
        build: |kit, to| zig(kit, to, &["tool.c", "-target", "x86_64-linux-gnu.2.31"]),
    },
    Payload {
        name: "go-internal",
        needs: &[],
        packages: &[("go", "golang-go"), ("gcc", "gcc")],
        ci: false,
        arguments: &[],
        expect: "compiled 42 root",
        build: |kit, to| {
            let to = to.display().to_string();
            kit.run("go", &["build", "-ldflags=-linkmode=internal", "-o", &to, &source("app.go")])
        },
    },
];

/// Builds one unless the cache has it.
pub(super) fn build(payload: &Payload, cache: &Path) -> Result<Subject> {
    let tree = cache.join("made").join(payload.name);
    if !tree.join(payload.name).exists() {
        process::need(payload.packages)?;
        let work = tempfile::Builder::new().prefix(".make-").tempdir_in(cache).context("make a directory to build in")?;
        let finished = work.path().join("finished");
        fs::create_dir(&finished).context("make a directory to build in")?;
        let file = finished.join(payload.name);
        (payload.build)(&Kit { cache, work: work.path() }, &file).with_context(|| format!("make {}", payload.name))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).with_context(|| format!("nothing was made for {}", payload.name))?;
        fs::create_dir_all(cache.join("made")).context("make a directory for what is made")?;
        fs::rename(&finished, &tree).with_context(|| format!("rename to {}", tree.display()))?;
    }
    let arguments = payload.arguments.iter().map(|word| (*word).to_owned()).collect();
    Ok(Subject { arguments, expect: Some(payload.expect.to_owned()), ..Subject::alone(payload.name, &tree) })
}

impl Kit<'_> {
    /// Runs a tool in the work directory, which is also its home.
    fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.work).env("HOME", self.work).env("PYTHONPATH", self.work.join("pip"));
        command.env("GO111MODULE", "off").env("GOCACHE", self.work.join("cache")).env("ZIG_LOCAL_CACHE_DIR", self.work.join("cache"));
        command.env("ZIG_GLOBAL_CACHE_DIR", self.work.join("cache"));
        process::output(&mut command).map(drop)
    }

    /// Installs a package of pip's into the work directory. Its configuration is the user's own.
    fn pip(&self, package: &str) -> Result<()> {
        let mut command = Command::new(PYTHON);
        command.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target"]).arg(self.work.join("pip")).arg(package);
        process::output(&mut command).map(drop)
    }
}

fn zig(kit: &Kit<'_>, to: &Path, arguments: &[&str]) -> Result<()> {
    kit.pip("ziglang==0.17.1")?;
    let (name, rest) = arguments.split_first().context("no source")?;
    let emit = format!("-femit-bin={}", to.display());
    kit.run(PYTHON, &[&["-m", "ziglang", "build-exe", &source(name), "-lc", "-fno-lld", &emit], rest].concat())
}

/// The runtime, padded to 64 KiB, the snapshot, its offset and a mark: what `dart compile exe` writes
/// (pkg/dart2native/lib/dart2native.dart, writeAppendedExecutable).
fn dart_aot(kit: &Kit<'_>, to: &Path) -> Result<()> {
    let runtime = corpus::program("sass", kit.cache)?;
    let snapshot = runtime.with_file_name("sass.snapshot");
    let mut bytes = fs::read(&runtime).with_context(|| format!("read {}", runtime.display()))?;
    bytes.resize(bytes.len().next_multiple_of(65536), 0);
    let offset = bytes.len() as u64;
    bytes.extend(fs::read(&snapshot).with_context(|| format!("read {}", snapshot.display()))?);
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0xdc, 0xdc, 0xf6, 0xf6, 0, 0, 0, 0]);
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

fn node_sea(kit: &Kit<'_>, to: &Path) -> Result<()> {
    const FUSE: &str = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
    let node = corpus::program("node-wheel", kit.cache)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(kit.work).arg("postject@1.0.0-alpha.6");
    process::output(npm.current_dir(kit.work))?;
    let script = source("app.js");
    let settings = format!("{{\"main\":\"{script}\",\"output\":\"sea.blob\",\"disableExperimentalSEAWarning\":true}}");
    fs::write(kit.work.join("sea.json"), settings).context("write sea.json")?;
    kit.run(&node, &["--experimental-sea-config", "sea.json"])?;
    let copy = kit.work.join("app");
    place(&node, &copy)?;
    kit.run(&node, &["node_modules/postject/dist/cli.js", "app", "NODE_SEA_BLOB", "sea.blob", "--sentinel-fuse", FUSE])?;
    place(&copy, to)
}

/// A source of ours.
fn source(name: &str) -> String {
    crate::root().join("fixtures/src/patch").join(name).display().to_string()
}

fn place(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).context("chmod")
}

fn join(parts: &[&PathBuf], to: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(fs::read(part).with_context(|| format!("read {}", part.display()))?);
    }
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_payload_is_made_with_is_a_row_of_the_table_and_in_ci_one_that_ci_has() {
        let rows = corpus::rows().unwrap();
        for payload in PAYLOADS {
            for name in payload.needs {
                let row = rows.iter().find(|row| row.name == *name).unwrap();
                assert!(row.ci || !payload.ci, "{} needs {name}, which CI does not download", payload.name);
            }
        }
        assert!(PAYLOADS.iter().filter(|payload| payload.ci).count() >= 4);
    }
}
