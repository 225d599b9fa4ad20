//! `cargo xtask test` and `ci`: the checks that decide whether a change may land, in order.
//! What needs the network runs only when `XENO_TEST_NETWORK=1` says that there is one.

use crate::{corpus, dist, fixtures, fuzz, patch, process, shim, shims};
use anyhow::{Result, bail};
use std::process::Command;

pub(crate) fn test(arguments: &[String]) -> Result<()> {
    let mut cargo = cargo(&["test", "--workspace"]);
    if dist::static_target_installed() {
        dist::run(&[])?;
        cargo.env("XENO_DIST", dist::directory());
    } else {
        skip("the static xeno: its target is not installed (rustup target add x86_64-unknown-linux-musl)")?;
    }
    process::run(cargo.args(arguments))?;
    if dist::static_target_installed() {
        shim::size::check(&dist::directory())?;
        shim::system::run(&["--limit".to_owned(), "120".to_owned()])?;
    }
    fuzz::ci()?;
    if std::env::var_os("XENO_TEST_NETWORK").is_some_and(|value| value == "1") {
        corpus::run(&["--ci".to_owned()])?;
        patch::ci()
    } else {
        skip("real programs, in a bare root and patched: they are downloaded, and XENO_TEST_NETWORK is not 1")
    }
}

pub(crate) fn ci(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &[])?;
    process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    process::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    shims::clippy()?;
    fixtures::run(&["--check".to_owned()])?;
    test(&[])
}

/// A skip says why; where everything is required it is a failure (as in `xeno-tests`).
pub(crate) fn skip(reason: &str) -> Result<()> {
    if std::env::var_os("XENO_REQUIRE_ALL").is_some_and(|value| value == "1") {
        bail!("skipped, but XENO_REQUIRE_ALL=1: {reason}");
    }
    println!("skipped: {reason}");
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(crate::root());
    cargo
}
