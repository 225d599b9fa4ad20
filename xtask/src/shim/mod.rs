//! `cargo xtask shim-size` and `shim-system`: whether the loader shim is as small and as plain as promised, and
//! whether this machine's programs do under it what they do without. They judge the files of the
//! distribution and share no code with what they judge.

mod agree;
pub(crate) mod apart;
pub(crate) mod calls;
pub(crate) mod headers;
pub(crate) mod size;
pub(crate) mod system;

use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// This machine's glibc loader: the one that started xtask.
pub(crate) fn loader() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find xtask")?;
    let bytes = fs::read(&own).with_context(|| format!("read {}", own.display()))?;
    let headers = headers::Headers::parse(&bytes)?.context("xtask is no ELF file")?;
    let path = headers.interpreter(&bytes)?.context("xtask has no loader")?;
    fs::canonicalize(&path).with_context(|| format!("find {path}"))
}
