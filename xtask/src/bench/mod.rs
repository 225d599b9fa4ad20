//! `cargo xtask bench`: what xeno costs, beside starting the program natively and beside its peers, each
//! group in one interleaved run. Prints tables with their targets; a missing peer is an error.

mod engine;
mod fhs;
mod libraries;
mod memory;
mod patch;
mod shim;
mod subjects;

use crate::corpus::{self, bare};
use crate::{dist, process};
use anyhow::{Context, Result, bail};
use engine::{Case, Effort, Timings, compare};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What every group gets.
struct Bench {
    effort: Effort,
    xeno: PathBuf,
    /// xeno's store and home, kept from call to call: the second run is the warm one.
    home: PathBuf,
    cache: PathBuf,
}

/// One group of cases: its name, what it shows, and the function.
type Group = (&'static str, &'static str, fn(&Bench) -> Result<Vec<Target>>);

const GROUPS: &[Group] = &[
    ("hello", "a tiny program, native and under each rung, warm", hello),
    ("tree", "a program of the Qt tree, native and under the rungs that fit a host with its loader, warm", tree),
    ("which", "which package has a soname, process start included", which),
    ("index", "the soname index of one suite, from its Contents", index),
    ("inspect", "inspect of a whole tree", inspect),
    ("patch", "the drop-in patchelf and xeno patch, beside patchelf 0.19.3", patch::run),
    ("shim", "programs with one and with 81 libraries, through the loader shim and its images", shim::run),
    ("fhs", "roots of their own, as an ordinary user: beside bubblewrap, a wrapper script around it, and a floor in C", fhs::run),
];

/// A figure, the bound it has to keep, and its unit.
struct Target {
    what: String,
    figure: f64,
    bound: f64,
    unit: &'static str,
    /// The figure must not be below the bound.
    at_least: bool,
}

impl Target {
    fn met(&self) -> bool {
        if self.at_least { self.figure >= self.bound } else { self.figure <= self.bound }
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &["--rounds", "--execs", "--cpu", "--only"])?;
    let number = |flag: &str, default: usize| match crate::option(arguments, flag)? {
        Some(text) => text.parse().with_context(|| format!("{flag} {text}")),
        None => Ok(default),
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let effort = Effort { rounds: number("--rounds", 15)?, execs: number("--execs", 60)?, cpu: Some(number("--cpu", processors - 1)?) };
    let only = crate::option(arguments, "--only")?;
    if let Some(name) = only.filter(|name| !GROUPS.iter().any(|(group, ..)| group == name)) {
        let names: Vec<&str> = GROUPS.iter().map(|(group, ..)| *group).collect();
        bail!("no group `{name}`; there are: {}", names.join(", "));
    }
    let home = crate::target().join("bench/home");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let cache = std::env::var_os("XENO_CORPUS").map_or_else(|| crate::target().join("corpus"), PathBuf::from);
    let bench = Bench { effort, xeno: dist::tried()?.join("xeno"), home, cache };
    println!("{}", versions(&bench.xeno)?);
    println!("{} rounds of {} starts, processor {}\n", effort.rounds, effort.execs, effort.cpu.unwrap_or(0));
    let mut targets = Vec::new();
    for (name, what, group) in GROUPS.iter().filter(|(name, ..)| only.is_none_or(|only| only == *name)) {
        println!("## {name}: {what}\n");
        targets.extend(group(&bench).with_context(|| format!("group {name}"))?);
        println!();
    }
    println!("| target | figure | bound | |\n|---|---|---|---|");
    for t in &targets {
        let sign = if t.at_least { '≥' } else { '≤' };
        let word = if t.met() { "met" } else { "MISSED" };
        println!("| {} | {:.3} {} | {sign} {:.3} {} | {word} |", t.what, t.figure, t.unit, t.bound, t.unit);
    }
    // A figure is for people to judge: the machine may be busy, so a missed target is no failure.
    Ok(())
}

/// What was compared with what.
fn versions(xeno: &Path) -> Result<String> {
    let first = |text: String| text.lines().next().unwrap_or("").to_owned();
    let kernel = process::output(Command::new("uname").arg("-r")).map(first)?;
    let libc = process::output(Command::new("ldd").arg("--version")).map(first).unwrap_or_else(|_| "no glibc".to_owned());
    let own = process::output(Command::new(xeno).arg("--version")).map(first)?;
    let user = nix::unistd::geteuid();
    // An ordinary user's private root needs a user namespace besides, so the two are never compared.
    let who = if user.is_root() { "as root".to_owned() } else { format!("as uid {user}") };
    Ok(format!("{own}; kernel {kernel}; {libc}; {who}"))
}

impl Bench {
    /// The environment of every case, ours and the peers' alike.
    fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = bare::mirrors().into_iter().collect();
        environment.push(("HOME".to_owned(), self.home.display().to_string()));
        environment.push(("XENO_STORE".to_owned(), self.home.join("store").display().to_string()));
        environment.push(("PATH".to_owned(), "/usr/bin:/bin".to_owned()));
        environment
    }

    fn case(&self, name: &str, words: &[&str]) -> Result<Case> {
        Case::new(name, words, &self.environment())
    }

    /// `xeno run [--strategy S] -- words`.
    fn under(&self, name: &str, strategy: &str, words: &[&str]) -> Result<Case> {
        let xeno = self.xeno.to_string_lossy().into_owned();
        let mut all = vec![xeno.as_str(), "run"];
        if !strategy.is_empty() {
            all.extend(["--strategy", strategy]);
        }
        all.push("--");
        all.extend(words);
        self.case(name, &all)
    }

    /// Runs a group and prints its table; every later case is set beside the first.
    fn table(&self, cases: &[Case], effort: Effort) -> Result<Vec<Timings>> {
        let all = compare(cases, effort)?;
        let Some(first) = all.first() else { bail!("no case") };
        println!("| case | min ms | median ms | cpu ms | faults | over the first, min ms | × median |\n|---|---|---|---|---|---|---|");
        for t in &all {
            println!(
                "| {} | {:.3} | {:.3} | {:.3} | {:.0} | {:+.3} | {:.2} |",
                t.name,
                t.minimum() / 1e3,
                t.median() / 1e3,
                engine::median(&t.processor) / 1e3,
                engine::median(&t.faults),
                (t.minimum() - first.minimum()) / 1e3,
                t.median() / first.median()
            );
        }
        if let Some(again) = all.get(1) {
            println!(
                "\nspread of one case against itself: × {:.3} (median), × {:.3} (min)",
                ratio(again, first),
                again.minimum() / first.minimum()
            );
        }
        for t in &all {
            let list = t.middle.iter().map(|us| format!("{us:.0}")).collect::<Vec<_>>().join(" ");
            println!("raw medians of rounds, µs: {}: {list}", t.name);
        }
        Ok(all)
    }

    /// A row of the corpus, fetched: the program's path.
    fn program(&self, name: &str) -> Result<String> {
        corpus::run(&["--fetch-only", "--rows", name, "--dir", &self.cache.display().to_string()].map(str::to_owned))?;
        Ok(corpus::program(name, &self.cache)?.display().to_string())
    }
}

fn ratio(a: &Timings, b: &Timings) -> f64 {
    a.median() / b.median()
}

/// Milliseconds of `name` over the first case, by minima.
fn over(all: &[Timings], name: &str, bound: f64, subject: &str) -> Result<Target> {
    let native = all.first().context("no case")?;
    let case = all.iter().find(|t| t.name == name).with_context(|| format!("no case {name}"))?;
    let figure = (case.minimum() - native.minimum()) / 1e3;
    Ok(Target { what: format!("{subject}, {name}: over native"), figure, bound, unit: "ms", at_least: false })
}

fn hello(bench: &Bench) -> Result<Vec<Target>> {
    let bin = crate::root().join("fixtures/bin");
    let path = |name: &str| bin.join(name).display().to_string();
    let (native, foreign) = (path("hello-x86_64-glibc-pie"), path("guix-hello"));
    let cases = [
        bench.case("native", &[&native])?,
        bench.under("xeno run (direct)", "direct", &[&native])?,
        bench.under("xeno run (view)", "view", &[&foreign])?,
        bench.under("xeno run (overlay)", "overlay", &[&native])?,
    ];
    let all = bench.table(&cases, bench.effort)?;
    Ok(vec![
        over(&all, "xeno run (direct)", 1.0, "hello")?,
        over(&all, "xeno run (view)", 2.0, "hello")?,
        over(&all, "xeno run (overlay)", 2.0, "hello")?,
    ])
}

fn tree(bench: &Bench) -> Result<Vec<Target>> {
    let program = bench.program("lrelease")?;
    // The native start needs what a desktop has; the peer must be there, so it is installed.
    process::need(&[
        ("/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0", "libglib2.0-0"),
        ("/usr/lib/x86_64-linux-gnu/libgssapi_krb5.so.2", "libgssapi-krb5-2"),
        ("/usr/lib/x86_64-linux-gnu/libbrotlidec.so.1", "libbrotli1"),
        ("/usr/lib/x86_64-linux-gnu/libzstd.so.1", "libzstd1"),
    ])?;
    let words = [program.as_str(), "-version"];
    let cases = [
        bench.case("native", &words)?,
        bench.under("xeno run (direct)", "direct", &words)?,
        bench.under("xeno run (overlay)", "overlay", &words)?,
    ];
    let effort = Effort { execs: bench.effort.execs.div_ceil(3), ..bench.effort };
    let all = bench.table(&cases, effort)?;
    Ok(vec![over(&all, "xeno run (direct)", 1.0, "tree")?, over(&all, "xeno run (overlay)", 2.0, "tree")?])
}

fn which(bench: &Bench) -> Result<Vec<Target>> {
    process::need(&[("apt-file", "apt-file")])?;
    let peer = process::output(Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}", "apt-file"]))?;
    if process::output(Command::new("apt-file").args(["search", "libX11.so.6"])).is_err() {
        process::run(Command::new("apt-file").arg("update"))?;
    }
    println!("peer: {peer}\n");
    let xeno = bench.xeno.display().to_string();
    let effort = Effort { rounds: bench.effort.rounds.min(5), execs: 2, ..bench.effort };
    let cases = [
        bench.case("xeno store which", &[&xeno, "store", "which", "libX11.so.6"])?,
        bench.case("apt-file search", &["/usr/bin/apt-file", "search", "libX11.so.6"])?,
    ];
    let all = bench.table(&cases, effort)?;
    let (Some(own), Some(apt)) = (all.first(), all.last()) else { bail!("no case") };
    let what = "soname lookup, process start included".to_owned();
    let times = apt.median() / own.median();
    Ok(vec![
        Target { what, figure: own.minimum() / 1e3, bound: 2.0, unit: "ms", at_least: false },
        Target { what: format!("times faster than {peer}"), figure: times, bound: 500.0, unit: "×", at_least: true },
    ])
}

fn index(bench: &Bench) -> Result<Vec<Target>> {
    let store = tempfile::tempdir().context("make a store")?;
    let suite = std::env::var("XENO_DEBIAN_SUITES").ok().and_then(|suites| suites.split(',').next().map(str::to_owned));
    let suite = suite.unwrap_or_else(|| "trixie".to_owned());
    let mut update = Command::new(&bench.xeno);
    update.args(["store", "update"]).env_clear().envs(bench.environment());
    update.env("XENO_STORE", store.path()).env("XENO_DEBIAN_SUITES", &suite);
    let (before, begun) = (engine::usage()?, Instant::now());
    process::output(&mut update)?;
    let (wall, busy) = (begun.elapsed().as_secs_f64(), (engine::usage()?.0 - before.0) / 1e6);
    println!("{suite}: {wall:.2} s with its downloads, of which {busy:.2} s on a processor (signatures, unpacking, building)");
    let mut sizes = Vec::new();
    indexes(store.path(), &mut sizes)?;
    for (path, size) in &sizes {
        println!("{:>9} bytes {}", size, path.strip_prefix(store.path()).unwrap_or(path).display());
    }
    let sonames = sizes.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sonames"));
    let figure = sonames.map(|(_, size)| *size).max().context("the store holds no *.sonames")? as f64 / 1e6;
    Ok(vec![
        Target { what: format!("soname index of {suite}"), figure, bound: 2.5, unit: "MB", at_least: false },
        Target { what: "processor time to fetch, verify and build it".to_owned(), figure: busy, bound: 2.0, unit: "s", at_least: false },
    ])
}

fn indexes(directory: &Path, found: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_dir() {
            indexes(&entry.path(), found)?;
        } else if entry.path().to_string_lossy().contains("index") {
            found.push((entry.path(), data.len()));
        }
    }
    Ok(())
}

/// A copy beside a program that names an interpreter no host has, so that its whole tree is looked at.
fn foreign(program: &str) -> Result<String> {
    let usual = b"/lib64/ld-linux-x86-64.so.2";
    let mut bytes = fs::read(program).with_context(|| format!("read {program}"))?;
    let at = bytes.windows(usual.len()).position(|w| w == usual).context("it names another interpreter")?;
    bytes.splice(at..at + 6, *b"/no64x");
    let copy = format!("{program}-foreign");
    fs::write(&copy, bytes).with_context(|| format!("write {copy}"))?;
    fs::set_permissions(&copy, fs::metadata(program)?.permissions()).context("chmod")?;
    Ok(copy)
}

fn inspect(bench: &Bench) -> Result<Vec<Target>> {
    let program = foreign(&bench.program("designer")?)?;
    let command = || {
        let mut command = Command::new(&bench.xeno);
        command.args(["inspect", &program, "--json"]).env_clear().envs(bench.environment());
        command
    };
    memory::peak(&mut command())?; // fetches nothing the second time
    let runs = (0..bench.effort.rounds).map(|_| memory::peak(&mut command())).collect::<Result<Vec<_>>>()?;
    let fastest = runs.iter().map(|run| run.0 * 1e3).fold(f64::INFINITY, f64::min);
    let middle = engine::median(&runs.iter().map(|run| run.0 * 1e3).collect::<Vec<_>>());
    let peak = runs.iter().map(|run| run.1).max().unwrap_or(0) as f64 / 1024.0;
    println!("wall: min {fastest:.1} ms, median {middle:.1} ms; anonymous memory: peak {peak:.1} MiB");
    Ok(vec![
        Target { what: "inspect of the whole tree".to_owned(), figure: middle, bound: 150.0, unit: "ms", at_least: false },
        Target { what: "inspect, peak anonymous memory".to_owned(), figure: peak, bound: 64.0, unit: "MiB", at_least: false },
    ])
}
