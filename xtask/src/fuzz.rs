//! `cargo xtask fuzz`: builds the targets of `fuzz/` with the pinned toolchain and runs them for a number of
//! inputs or of minutes. The corpus that grows and the inputs that break a target stay below `target/fuzz`.

use crate::process;
use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each with the inputs that CI gives it: half a minute's worth on a slow machine.
const TARGETS: &[(&str, u64)] = &[("read", 150_000), ("plan", 60_000), ("patch", 6_000), ("shim", 100_000)];

/// What `-C passes=sancov-module` adds for libFuzzer (llvm/lib/Transforms/Instrumentation/SanitizerCoverage.cpp):
/// counters of edges, their table, and the operands of comparisons. Stable options all; no sanitizer, which would
/// need another toolchain and finds little in a crate without unsafe code.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// Inputs are cut to this many bytes: a small program and what is asked of it.
const INPUT_MAX: u32 = 12_288;
/// A target's memory, in MiB, and a single input's time, in seconds: milliseconds do, but machines are shared.
const MEMORY: u32 = 512;
const TIME: u32 = 30;
/// A target's address space, in bytes: what is asked for and never touched counts too.
const ADDRESSES: u64 = 4 << 30;

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Inputs(u64),
    Minutes(u64),
    /// As many inputs as CI gives each target.
    Share,
}

/// `fuzz`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (length, targets) = chosen(arguments)?;
    let built = build()?;
    let places = Places { seeds: crate::root().join("fuzz/seeds"), fixtures: crate::root().join("fixtures/bin"), grown: below() };
    for (name, share) in targets {
        places.fuzz(&built.join(name), name, length, share)?;
    }
    Ok(())
}

/// The share of CI: every target, always the same inputs.
pub(crate) fn ci() -> Result<()> {
    if process::find("c++").is_none() {
        return crate::gate::skip("fuzzing: libFuzzer is C++ and there is no compiler (apt-get install g++)");
    }
    run(&[])
}

fn chosen(arguments: &[String]) -> Result<(Length, Vec<(&'static str, u64)>)> {
    let (mut flags, mut names, mut rest) = (Vec::new(), Vec::new(), arguments.iter().cloned());
    while let Some(word) = rest.next() {
        if word.starts_with('-') {
            flags.push(word);
            flags.extend(rest.next());
        } else {
            names.push(word);
        }
    }
    crate::only(&flags, &[], &["--runs", "--minutes"])?;
    let number = |flag: &str| -> Result<Option<u64>> {
        let value = crate::option(&flags, flag)?;
        value.map(|n| n.parse().with_context(|| format!("{flag} {n}"))).transpose()
    };
    let length = match (number("--runs")?, number("--minutes")?) {
        (Some(_), Some(_)) => bail!("--runs and --minutes exclude each other"),
        (Some(runs), None) => Length::Inputs(runs),
        (None, Some(minutes)) => Length::Minutes(minutes),
        (None, None) => Length::Share,
    };
    if let Some(unknown) = names.iter().find(|name| !TARGETS.iter().any(|(target, _)| target == name)) {
        let known: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
        bail!("no fuzz target is called {unknown}; there are {}", known.join(", "));
    }
    Ok((length, TARGETS.iter().copied().filter(|(target, _)| names.is_empty() || names.iter().any(|name| name == target)).collect()))
}

fn below() -> PathBuf {
    crate::target().join("fuzz")
}

/// The directory of the built targets.
fn build() -> Result<PathBuf> {
    let version =
        process::output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").current_dir(crate::root()))?;
    // With a target named, build scripts and macros are spared the coverage.
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--bins", "--target", host]).current_dir(crate::root().join("fuzz"));
    cargo.env("CARGO_TARGET_DIR", below()).env("RUSTFLAGS", COVERAGE.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut cargo)?;
    Ok(below().join(host).join("release"))
}

struct Places {
    seeds: PathBuf,
    fixtures: PathBuf,
    grown: PathBuf,
}

impl Places {
    fn fuzz(&self, target: &Path, name: &str, length: Length, share: u64) -> Result<()> {
        let make = |directory: &Path| fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()));
        let broken = self.grown.join("broken");
        make(&broken)?;
        let mut command = Command::new(target);
        command.args([format!("-rss_limit_mb={MEMORY}"), format!("-timeout={TIME}"), format!("-max_len={INPUT_MAX}")]);
        command.arg(format!("-artifact_prefix={}/{name}-", broken.display())).arg("-verbosity=0").env("RUST_BACKTRACE", "0");
        // What a run learns helps the next one, but for CI, where every run is the same.
        let fresh = tempfile::tempdir().context("make a directory for a corpus")?;
        let corpus = match length {
            Length::Share => fresh.path().to_owned(),
            _ => self.grown.join("corpus").join(name),
        };
        make(&corpus)?;
        match length {
            Length::Share => command.args([format!("-runs={share}"), "-seed=1".to_owned()]),
            Length::Inputs(runs) => command.arg(format!("-runs={runs}")),
            Length::Minutes(minutes) => command.arg(format!("-max_total_time={}", minutes * 60)),
        };
        let seeds = self.seeds.join(name);
        command.arg(corpus).args(seeds.is_dir().then_some(seeds)).arg(&self.fixtures);
        let before = getrlimit(Resource::RLIMIT_AS).context("getrlimit")?;
        setrlimit(Resource::RLIMIT_AS, ADDRESSES.min(before.1), before.1).context("setrlimit")?;
        let begun = std::time::Instant::now();
        let outcome = process::run(&mut command);
        setrlimit(Resource::RLIMIT_AS, before.0, before.1).context("setrlimit")?;
        outcome.with_context(|| {
            format!("the input that broke `{name}` is in {}; give it to {} to see it again", broken.display(), target.display())
        })?;
        println!("fuzz {name}: nothing found in {} s", begun.elapsed().as_secs());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<(Length, Vec<&'static str>)> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        chosen(&words).map(|(length, targets)| (length, targets.into_iter().map(|(name, _)| name).collect()))
    }

    #[test]
    fn without_names_all_targets_run_for_what_ci_gives_them() {
        assert_eq!(asked(&[]).unwrap(), (Length::Share, vec!["read", "plan", "patch", "shim"]));
        assert_eq!(asked(&["plan", "--runs", "7"]).unwrap(), (Length::Inputs(7), vec!["plan"]));
        assert_eq!(asked(&["--minutes", "60"]).unwrap().0, Length::Minutes(60));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for words in [&["no-such"][..], &["--runs", "1", "--minutes", "1"], &["--runs", "x"], &["--run", "1"]] {
            assert!(asked(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn every_target_has_a_file_that_opens_with_its_invariants() {
        for (name, _) in TARGETS {
            let text = fs::read_to_string(crate::root().join("fuzz/targets").join(format!("{name}.rs"))).unwrap();
            assert!(text.starts_with("//!") && text.contains("nvariants") && text.lines().count() <= 80, "{name}");
        }
    }
}
