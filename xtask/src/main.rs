//! `cargo xtask`: the one table of the project's tasks, which people and CI call alike.
//! A task prints what it did and ends with the status its callers test; it decides nothing that a
//! crate should decide.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to its caller")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic"))]

mod bench;
mod corpus;
mod demo;
mod dist;
mod elf;
mod fhs_programs;
mod fixtures;
mod fuzz;
mod gate;
mod patch;
mod process;
mod shim;
mod shims;

use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;

/// One row of the table.
struct Task {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task { name: "demo", arguments: "", help: "one foreign program: fails when started directly, runs under xeno", run: demo::run },
    Task { name: "test", arguments: "[ARGS of cargo test]", help: "build target/dist, then run every test against it", run: gate::test },
    Task { name: "ci", arguments: "", help: "format, clippy, fixtures --check, test", run: gate::ci },
    Task { name: "dist", arguments: "", help: "the static xeno and its config.toml into target/dist", run: dist::run },
    Task {
        name: "fixtures",
        arguments: "[--check]",
        help: "build fixtures/bin from fixtures/src, or rebuild elsewhere and compare",
        run: fixtures::run,
    },
    Task {
        name: "corpus",
        arguments: "[--dir DIR] [--ci | --all | --rows a,b] [--warm] [--fetch-only]",
        help: "run real programs in a bare root and print the pass table",
        run: corpus::run,
    },
    Task {
        name: "patch-corpus",
        arguments: "[--ci | --all | ROW…] [--tool PATH] [--dir DIR] [--json]",
        help: "patch real and made programs twice, strip them; they must do what they did",
        run: patch::corpus,
    },
    Task {
        name: "patch-foreign",
        arguments: "[ARCH…] [--tool PATH] [--json]",
        help: "the same for programs of other machines, under qemu",
        run: patch::foreign,
    },
    Task {
        name: "patch-system",
        arguments: "[--limit N] [--tool PATH] [--json]",
        help: "patch a copy of every dynamic ELF file of this machine and ask its loader",
        run: patch::system,
    },
    Task {
        name: "patch-property",
        arguments: "[--runs N] [--seed S] [--tool PATH]",
        help: "link programs with random flags, make random edits; they must do what they did",
        run: patch::property,
    },
    Task {
        name: "shim-size",
        arguments: "",
        help: "the built loader shims: at most 16 KiB each, nothing to relocate, nothing writable and executable",
        run: shim::size::run,
    },
    Task {
        name: "shim-system",
        arguments: "[--limit N]",
        help: "every program of /usr/bin says its version natively and through the shim; it must say the same",
        run: shim::system::run,
    },
    Task {
        name: "fhs-programs",
        arguments: "[--dir DIR] [--rows a,b]",
        help: "real programs in environments: drawn, 32-bit beside 64-bit, in a sandbox, exported; their screenshots are to be looked at",
        run: fhs_programs::run,
    },
    Task {
        name: "fuzz",
        arguments: "[--runs N | --minutes M] [read] [plan] [patch] [shim]",
        help: "give the patcher and the shim files and requests that nobody would make",
        run: fuzz::run,
    },
    Task {
        name: "bench",
        arguments: "[--rounds N] [--execs N] [--cpu N] [--only GROUP]",
        help: "interleaved timings against native starts and peers, with targets",
        run: bench::run,
    },
    Task {
        name: "enter-bare-root",
        arguments: "JSON",
        help: "what `corpus` starts: becomes a program in a root without libraries",
        run: corpus::bare::enter,
    },
    Task { name: "shim-system-inside", arguments: "", help: "what `shim-system` starts in its namespaces", run: shim::system::inside },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        None => {
            println!("{}", table());
            return ExitCode::SUCCESS;
        }
        Some((name, rest)) => match TASKS.iter().find(|task| task.name == name) {
            Some(task) => (task.run)(rest),
            None => Err(anyhow::anyhow!("no task `{name}`\n{}", table())),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> String {
    let mut text = String::from("usage: cargo xtask TASK\n");
    for task in TASKS {
        text.push_str(&format!("\n  {} {}\n      {}", task.name, task.arguments, task.help));
    }
    text
}

/// The top of the source tree.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The value behind `flag`, if the flag is there.
fn option<'a>(arguments: &'a [String], flag: &str) -> Result<Option<&'a str>> {
    match arguments.iter().position(|a| a == flag) {
        None => Ok(None),
        Some(at) => match arguments.get(at + 1) {
            Some(value) => Ok(Some(value)),
            None => bail!("{flag} needs a value"),
        },
    }
}

/// Fails on an argument that the task does not know.
fn only(arguments: &[String], flags: &[&str], options: &[&str]) -> Result<()> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if options.contains(&argument.as_str()) {
            rest.next();
        } else if !flags.contains(&argument.as_str()) {
            bail!("unknown argument `{argument}`\n{}", table());
        }
    }
    Ok(())
}
