//! `cargo xtask demo`: a program built for another distribution, started directly and under xeno.
//! Fails if the direct start works (then there is nothing to show) or the run does not.

use crate::dist;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Interpreter and RUNPATH of this file lie in a `/nix/store` that does not exist.
const PROGRAM: &str = "fixtures/bin/nix-hello";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &[])?;
    let xeno = dist::xeno()?;
    println!("\nA program built by Nix, started directly:\n\n  $ {PROGRAM}");
    match Command::new(crate::root().join(PROGRAM)).current_dir(crate::root()).status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("  {PROGRAM}: {} (its interpreter is what does not exist)", strerror(&error));
        }
        Err(error) => return Err(error).context(format!("start {PROGRAM}")),
        Ok(status) => bail!("{PROGRAM} started by itself ({status}): this machine has its /nix/store, so there is nothing to show"),
    }
    println!("\nThe same file under xeno:\n\n  $ xeno run -- {PROGRAM}");
    let done = Command::new(&xeno)
        .args(["run", "--", PROGRAM])
        .current_dir(crate::root())
        .output()
        .with_context(|| format!("start {}", xeno.display()))?;
    for line in String::from_utf8_lossy(&done.stdout).lines().chain(String::from_utf8_lossy(&done.stderr).lines()) {
        println!("  {line}");
    }
    println!("  exit status {}\n", done.status.code().map_or_else(|| done.status.to_string(), |code| code.to_string()));
    if !done.status.success() {
        bail!("{PROGRAM} did not run under xeno");
    }
    Ok(())
}

/// The system's words without Rust's number behind them.
fn strerror(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
