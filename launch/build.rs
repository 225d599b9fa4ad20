//! Writes the table of the loader shims that go into this build: those of the directory that `XENO_SHIMS` names
//! (`cargo xtask dist` sets it), or none. Builds nothing itself.
#![allow(clippy::expect_used, reason = "a build script fails by panicking")]

use std::fmt::Write;
use std::path::PathBuf;

/// The file names, which are the architectures' short names.
const ARCHITECTURES: [&str; 4] = ["x86_64", "i686", "aarch64", "riscv64"];

fn main() {
    println!("cargo::rerun-if-env-changed=XENO_SHIMS");
    let mut rows = String::new();
    if let Some(directory) = std::env::var_os("XENO_SHIMS").filter(|d| !d.is_empty()) {
        for arch in ARCHITECTURES {
            let path = PathBuf::from(&directory).join(arch);
            println!("cargo::rerun-if-changed={}", path.display());
            if path.is_file() {
                writeln!(rows, "    ({arch:?}, include_bytes!({path:?})),").expect("a String takes everything");
            }
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("shims.rs");
    std::fs::write(out, format!("&[\n{rows}]\n")).expect("write the table of shims");
}
