//! What the user's environment says: variables, the home directory, how much to log.

use log::{Level, LevelFilter, Log, Metadata, Record};
use resolver::closure::Environment;
use resolver::tree::Shared;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the loaders read of the environment.
pub(crate) fn loaders() -> Environment {
    let text = |name: &str| env::var_os(name).map(|v| v.to_string_lossy().into_owned());
    Environment {
        library_path: text("LD_LIBRARY_PATH"),
        // ld.so(8): separated by blanks or colons.
        preload: text("LD_PRELOAD")
            .map(|v| v.split([' ', ':', '\t']).filter(|p| !p.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default(),
    }
}

/// The same, as it was given: part of the question a decision answers.
pub(crate) fn loader_variables() -> [OsString; 2] {
    ["LD_LIBRARY_PATH", "LD_PRELOAD"].map(|name| env::var_os(name).unwrap_or_default())
}

/// Every variable that configures where libraries come from, joined: part of the question as well. An installed
/// shim follows nix-ld's.
pub(crate) fn configuration() -> OsString {
    let mut out = OsString::new();
    let own = ["XENO_CONFIG", "XENO_DEBIAN_MIRROR", "XENO_DEBIAN_SECURITY_MIRROR", "XENO_DEBIAN_SUITES", "XENO_DEBIAN_KEYRING"];
    for name in own.into_iter().chain(launch::shim::program::OVERRIDES) {
        out.push(env::var_os(name).unwrap_or_default());
        out.push("\n");
    }
    out
}

/// The directories that are nobody's own.
pub(crate) fn shared_directories() -> Shared {
    let home = env::var_os("HOME").map(PathBuf::from);
    let downloads = env::var_os("XDG_DOWNLOAD_DIR").map(PathBuf::from);
    Shared::new(home.as_deref(), downloads.as_deref())
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The crates below speak for themselves at length; only ours speak to the user.
        let ours = ["xeno", "launch", "resolver", "store", "patcher", "fhs_env"];
        ours.iter().any(|name| metadata.target().split("::").next() == Some(name))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let label = match record.level() {
                Level::Error | Level::Warn => "warning: ",
                Level::Info | Level::Debug | Level::Trace => "",
            };
            eprintln!("xeno: {label}{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// Warnings go to standard error; `XENO_LOG=debug` shows more, `XENO_LOG=off` nothing.
pub(crate) fn start_logging() {
    let level = env::var("XENO_LOG").ok().and_then(|v| v.parse().ok()).unwrap_or(LevelFilter::Warn);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
