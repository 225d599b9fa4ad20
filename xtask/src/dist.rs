//! `cargo xtask dist`: what is shipped, in `target/dist`: the static `xeno` with the loader shims in it, the shims
//! themselves, a `config.toml`, man pages and completions.
//! Mirrors come from build variables; the source names none.

use crate::{process, shims};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target whose C library can be linked in whole.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// One key of `[debian]` in `config.toml`, and the build variable that sets it.
const MIRRORS: &[(&str, &str)] = &[("mirror", "XENO_DIST_DEBIAN_MIRROR"), ("security-mirror", "XENO_DIST_SECURITY_MIRROR")];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &[])?;
    if !static_target_installed() {
        bail!("build the static xeno: no target {STATIC}; try: rustup target add {STATIC}");
    }
    let directory = directory();
    shims::build()?;
    let built = build(&["--target", STATIC], STATIC)?;
    place(&directory.join("xeno"), &fs::read(&built).with_context(|| format!("read {}", built.display()))?, true)?;
    let values = MIRRORS.iter().map(|(_, variable)| std::env::var(variable).ok()).collect::<Vec<_>>();
    place(&directory.join("config.toml"), config(&values)?.as_bytes(), false)?;
    documents(&directory)?;
    println!("dist: {}", directory.display());
    Ok(())
}

/// Man pages and completions, from the one command definition: the program writes its own.
fn documents(directory: &Path) -> Result<()> {
    let xeno = directory.join("xeno");
    let man = directory.join("man");
    fs::create_dir_all(&man).with_context(|| format!("create {}", man.display()))?;
    process::run(Command::new(&xeno).arg("man").arg(&man))?;
    for (shell, name) in [("bash", "xeno.bash"), ("zsh", "_xeno"), ("fish", "xeno.fish")] {
        let text = process::output(Command::new(&xeno).args(["completions", shell]))?;
        place(&directory.join("completions").join(name), text.as_bytes(), false)?;
    }
    Ok(())
}

/// Where [`run`] puts everything.
pub(crate) fn directory() -> PathBuf {
    crate::target().join("dist")
}

/// What is to be tried: the directory that `XENO_DIST` names, else [`directory`], freshly built.
pub(crate) fn tried() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("XENO_DIST") {
        return std::path::absolute(directory).context("find $XENO_DIST");
    }
    run(&[])?;
    Ok(directory())
}

/// A xeno to try things with: the shipped one where the static target is installed, else one linked
/// against this machine's libc.
pub(crate) fn xeno() -> Result<PathBuf> {
    if static_target_installed() {
        run(&[])?;
        return Ok(directory().join("xeno"));
    }
    shims::build()?;
    build(&[], "")
}

/// Whether the toolchain can link the static program.
pub(crate) fn static_target_installed() -> bool {
    target_installed(STATIC)
}

/// Whether the toolchain has the standard library of a target.
pub(crate) fn target_installed(target: &str) -> bool {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(crate::root());
    process::output(&mut rustc).is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}

fn build(arguments: &[&str], below: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the build finds there becomes part of the program (launch/build.rs).
    cargo.env("XENO_SHIMS", shims::directory());
    cargo.current_dir(crate::root()).args(["build", "--release", "--package", "xeno", "--bin", "xeno"]).args(arguments);
    process::run(&mut cargo)?;
    Ok(crate::target().join(below).join("release/xeno"))
}

pub(crate) fn place(path: &Path, bytes: &[u8], executable: bool) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let directory = path.parent().context("a path without directory")?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let mode = if executable { 0o755 } else { 0o644 };
    // One that becomes part of another build keeps its time, or that is built anew.
    let kept = |found: fs::Metadata| found.permissions().mode() & 0o777 == mode && fs::read(path).is_ok_and(|old| old == bytes);
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && kept(found)) {
        return Ok(());
    }
    // A running xeno is never written to: the new file replaces the old one.
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).with_context(|| format!("write {}", temporary.display()))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).context("chmod")?;
    fs::rename(&temporary, path).with_context(|| format!("rename to {}", path.display()))
}

/// The shipped configuration; a mirror that no build variable gave is a commented line.
fn config(mirrors: &[Option<String>]) -> Result<String> {
    let mut text = String::from(
        "# Where xeno finds libraries that this machine does not have. Each key can also be set by a variable:\n\
         # XENO_DEBIAN_MIRROR, XENO_DEBIAN_SECURITY_MIRROR, XENO_DEBIAN_SUITES=trixie,bookworm,bullseye\n\n[debian]\n",
    );
    for ((key, variable), value) in MIRRORS.iter().zip(mirrors) {
        match value.as_deref().filter(|value| !value.is_empty()) {
            None => text.push_str(&format!("# {key} = \"<URL of a Debian mirror>\"\n")),
            Some(url) if url.chars().any(|c| c.is_control() || c == '"' || c == '\\') => {
                bail!("{variable} holds a character that no URL has")
            }
            Some(url) => text.push_str(&format!("{key} = \"{url}\"\n")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_was_not_given_is_a_commented_line() {
        let text = config(&[Some("file:///srv/debian".into()), None]).unwrap();
        assert!(text.ends_with("[debian]\nmirror = \"file:///srv/debian\"\n# security-mirror = \"<URL of a Debian mirror>\"\n"));
    }

    #[test]
    fn a_mirror_cannot_add_lines_to_the_configuration() {
        assert_eq!(
            config(&[Some("a\"\nsuites = 1".into()), None]).unwrap_err().to_string(),
            "XENO_DIST_DEBIAN_MIRROR holds a character that no URL has"
        );
    }
}
