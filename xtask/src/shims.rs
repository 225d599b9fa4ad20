//! Builds the loader shim for every machine it serves: its own profile, its own linker script, the linker that
//! comes with the toolchain, so that no cross compiler is needed.

use crate::{dist, gate, process};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine's short name, and the target whose `core` is linked. No libc is: any Linux target would do.
const MACHINES: &[(&str, &str)] = &[
    ("x86_64", "x86_64-unknown-linux-musl"),
    ("i686", "i686-unknown-linux-musl"),
    ("aarch64", "aarch64-unknown-linux-musl"),
    ("riscv64", "riscv64gc-unknown-linux-gnu"),
];

/// What rustc is told, each for one reason.
const FLAGS: &[&str] = &[
    // The toolchain's own linker, and nothing of any libc's.
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-self-contained=no",
    "-Ctarget-feature=-crt-static",
    // It lies where the kernel puts it, and nobody relocates it: no table of addresses may arise.
    "-Crelocation-model=pie",
    "-Cjump-tables=no",
    "-Crelro-level=off",
    "-Clink-arg=-ztext",
    "-Clink-arg=-zrodynamic",
    "-Clink-arg=--no-dynamic-linker",
    // What is called once is inlined; what is called often is not. Found by trying.
    "-Cllvm-args=-inline-threshold=40",
    // Nothing unwinds.
    "-Cforce-unwind-tables=no",
    "-Clink-arg=--no-eh-frame-hdr",
    "-Clink-arg=--hash-style=gnu",
    "-Clink-arg=--build-id=none",
    // The one name that others look for: debuggers.
    "-Clink-arg=--export-dynamic-symbol=_dl_debug_state",
];

/// Where they are put.
pub(crate) fn directory() -> PathBuf {
    dist::directory().join("ld-shim")
}

/// Builds the shim of every machine whose target is installed.
pub(crate) fn build() -> Result<()> {
    for (machine, target) in MACHINES {
        if dist::target_installed(target) {
            let built = build_for(target)?;
            dist::place(&directory().join(machine), &fs::read(&built).with_context(|| format!("read {}", built.display()))?, true)?;
        } else {
            gate::skip(&format!("the shim for {machine}: its target is not installed (rustup target add {target})"))?;
        }
    }
    Ok(())
}

/// Clippy for the program half, which a plain `cargo clippy` does not see.
pub(crate) fn clippy() -> Result<()> {
    for (_, target) in MACHINES.iter().filter(|(_, target)| dist::target_installed(target)) {
        let mut cargo = cargo(&["clippy"], target);
        process::run(cargo.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Cargo for the program half, in a directory of its own: other flags would make it build everything else anew.
fn cargo(words: &[&str], target: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(crate::root()).args(words);
    cargo.args(["--profile", "shim", "--package", "ld-shim", "--bin", "ld-shim", "--features", "program", "--target", target]);
    cargo.arg("--target-dir").arg(crate::target().join("shim"));
    cargo
}

fn build_for(target: &str) -> Result<PathBuf> {
    let script = crate::root().join("ld-shim/link.ld");
    let script = script.to_str().filter(|path| !path.contains('\x1f')).context("the tree's path is no text")?;
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push(format!("-Clink-arg=-T{script}"));
    process::run(cargo(&["build"], target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS"))?;
    let built = crate::target().join("shim").join(target).join("shim/ld-shim");
    if !Path::new(&built).is_file() {
        bail!("cargo built no {}", built.display());
    }
    Ok(built)
}
