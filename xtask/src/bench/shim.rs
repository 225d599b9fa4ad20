//! The shim group: a tiny program and programs with eighty libraries in eighty directories, started by this
//! machine's loader with a cache of its own, by the shim and, where `XENO_PEER_NIX_LD` names it, by nix-ld.
//! Times are interleaved; system calls are counted in a start of their own.

use super::engine::{self, Case, Timings, compare};
use super::libraries::{Libraries, Shape, cache, loader_copy};
use super::{Bench, Target};
use crate::process;
use crate::shim::apart::{self, apart};
use crate::shim::calls::Calls;
use crate::shim::size;
use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The case that everything is set beside, and ours.
const NATIVE: &str = "native, its own cache";
const SHIM: &str = "shim";
/// The same bytes as the first in other files: what their places in memory alone make of it.
const COPIES: &str = "native, other copies";
/// What the shim itself may cost: microseconds and page faults.
const COST: f64 = 30.0;
const FAULTS: f64 = 4.0;
/// How often as long as native, before the run's own spread: a program with nothing, with libraries.
const HELLO: f64 = 1.03;
const LIBRARIES: f64 = 1.0;

/// Everything that the group starts, below two short directories: a path in a loader's own string has 16 bytes.
struct Shim<'b> {
    bench: &'b Bench,
    /// The shim's base directory, with the images.
    base: TempDir,
    /// Native loaders with their caches, the installed shim, the programs.
    work: TempDir,
    /// Links for the peer; not below the programs, whose trees are searched for libraries.
    links: TempDir,
    loader: PathBuf,
    libc: (String, PathBuf),
    peer: Option<PathBuf>,
}

/// A program to start, and how.
struct Start {
    name: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the shim group's programs are for x86-64");
    }
    apart::possible()?;
    let directory = crate::target().join("bench/shim");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let short = |prefix: &str| tempfile::Builder::new().prefix(prefix).rand_bytes(3).tempdir_in("/tmp").context("make a short directory");
    let peer = std::env::var_os("XENO_PEER_NIX_LD").map(PathBuf::from);
    let shim = Shim {
        bench,
        base: short("x")?,
        work: short("y")?,
        links: short("z")?,
        loader: crate::elf::native()?.1,
        libc: ("libc.so.6".to_owned(), libc()?),
        peer,
    };
    if shim.peer.is_none() {
        println!("no peer: XENO_PEER_NIX_LD names no nix-ld\n");
    }
    shim.install()?;
    let mut targets = Vec::new();
    for shape in [Shape::None, Shape::Flat, Shape::Tree] {
        targets.extend(shim.shape(&Libraries::below(&directory, shape)?, shape)?);
    }
    let distribution = bench.xeno.parent().context("xeno is in no directory")?;
    targets.extend(size::reports(distribution)?.into_iter().map(|report| {
        let what = format!("size, {}", report.machine);
        Target { what, figure: report.bytes as f64, bound: size::LARGEST as f64, unit: "bytes", at_least: false }
    }));
    Ok(targets)
}

/// The libc that this process runs with.
fn libc() -> Result<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").context("read /proc/self/maps")?;
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.find(|path| path.ends_with("/libc.so.6")).map(PathBuf::from).context("xtask runs with another libc than glibc")
}

impl Shim<'_> {
    fn xeno(&self, words: &[&str]) -> Result<String> {
        let mut xeno = Command::new(&self.bench.xeno);
        xeno.arg("shim").args(words).env_clear().envs(self.bench.environment());
        process::output(&mut xeno)
    }

    fn base(&self) -> String {
        self.base.path().display().to_string()
    }

    /// The shim where the programs look for their loader.
    fn installed(&self) -> PathBuf {
        self.work.path().join("ld-shim")
    }

    fn install(&self) -> Result<()> {
        let at = self.installed().display().to_string();
        self.xeno(&["install", "--into", &self.base(), "--at", &at, "--arch", "x86_64"]).map(|_| ())
    }

    fn shape(&self, libraries: &Libraries, shape: Shape) -> Result<Vec<Target>> {
        let mut found: Vec<(String, PathBuf)> = libraries.all().collect();
        found.push(self.libc.clone());
        println!("### {}: {} libraries\n", shape.name(), found.len());
        let starts = self.starts(libraries, shape, &found)?;
        let cases = starts.iter().map(|start| Case::new(&start.name, &[&start.program.to_string_lossy()], &start.environment));
        let all = compare(&cases.collect::<Result<Vec<_>>>()?, self.bench.effort)?;
        let counted = starts.iter().map(|start| Ok((start.name.as_str(), Calls::of(&start.program, &start.environment)?)));
        let counted = counted.collect::<Result<Vec<_>>>()?;
        table(&all, &counted);
        same_libraries(&counted, &found)?;
        targets(&all, &counted, shape, found.len())
    }

    fn starts(&self, libraries: &Libraries, shape: Shape, found: &[(String, PathBuf)]) -> Result<Vec<Start>> {
        let path = |name: &str| self.work.path().join(name);
        let start = |name: &str, interpreter: &Path, file: &str, more: &[(&str, String)]| -> Result<Start> {
            let program = path(&format!("{}-{file}", shape.name()));
            libraries.program(interpreter, &program)?;
            let mut environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
            environment.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            Ok(Start { name: name.to_owned(), program, environment })
        };
        let native = |name: &str, file: &str| -> Result<(Start, PathBuf)> {
            let (own, loader) = (path(&format!("{file}-{}", shape as u8)), path(&format!("{}-ld-{file}", shape.name())));
            fs::write(&own, cache(found)?).context("write a cache")?;
            loader_copy(&self.loader, &own, &loader)?;
            Ok((start(name, &loader, file, &[])?, own))
        };
        let (first, own) = native(NATIVE, "one")?;
        let ours = start(SHIM, &self.installed(), "shim", &[])?;
        self.add(&ours.program, &own)?;
        let mut starts = vec![first, ours, native(COPIES, "two")?.0];
        if shape == Shape::None {
            starts.push(start("native, this machine's cache", &self.loader, "plain", &[])?);
        }
        if let Some(peer) = &self.peer {
            let links = self.links.path().join(shape.name());
            fs::create_dir(&links).context("make a directory of links")?;
            for (soname, library) in found {
                std::os::unix::fs::symlink(library, links.join(soname)).with_context(|| format!("link {soname}"))?;
            }
            let directories = found.iter().filter_map(|(_, library)| Some(library.parent()?.display().to_string())).collect::<Vec<_>>();
            let under = |name: &str, file: &str, directories: String| {
                let loader = self.loader.display().to_string();
                start(name, peer, file, &[("NIX_LD", loader), ("NIX_LD_LIBRARY_PATH", directories)])
            };
            starts.push(under("nix-ld, one directory of links", "links", links.display().to_string())?);
            if shape != Shape::None {
                starts.push(under("nix-ld, a directory each", "each", directories.join(":"))?);
            }
        }
        Ok(starts)
    }

    /// Adds a program's image on a machine whose cache is this one: the same answers as the native loader's.
    fn add(&self, program: &Path, cache: &Path) -> Result<()> {
        let program = program.display().to_string();
        apart(CloneFlags::empty(), || {
            apart::bind(cache, Path::new("/etc/ld.so.cache"))?;
            self.xeno(&["add", "--into", &self.base(), &program])
        })
        .map(|_| ())
    }
}

fn table(all: &[Timings], counted: &[(&str, Calls)]) {
    let Some(first) = all.first() else { return };
    println!(
        "| case | min µs | median µs | cpu µs | faults | × cpu | × min | calls | opens | failed |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for t in all {
        let name = t.name.trim_end_matches(" (again)");
        let calls = counted.iter().find(|(counted, _)| *counted == name).map(|(_, calls)| calls.clone()).unwrap_or_default();
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.3} | {:.3} | {} | {} | {} |",
            t.name,
            t.minimum(),
            t.median(),
            cpu(t),
            engine::median(&t.faults),
            cpu(t) / cpu(first),
            t.minimum() / first.minimum(),
            calls.all,
            calls.opens,
            calls.failed.len()
        );
    }
    println!();
    for t in all {
        let list = t.processor.iter().map(|us| format!("{us:.0}")).collect::<Vec<_>>().join(" ");
        println!("raw cpu of rounds, µs: {}: {list}", t.name);
    }
    println!();
}

/// Only programs that open the same libraries are compared: nix-ld may reach them through links.
fn same_libraries(counted: &[(&str, Calls)], libraries: &[(String, PathBuf)]) -> Result<()> {
    for (name, calls) in counted.iter().filter(|(name, _)| [NATIVE, COPIES, SHIM].contains(name)) {
        if let Some((_, missing)) = libraries.iter().find(|(_, path)| !calls.opened.contains(path)) {
            let others: Vec<String> = calls.opened.iter().map(|path| path.display().to_string()).collect();
            bail!("{name}: it does not open {}, but {}", missing.display(), others.join(" "));
        }
    }
    Ok(())
}

/// User and system time of a start, the median over rounds: microseconds.
fn cpu(t: &Timings) -> f64 {
    engine::median(&t.processor)
}

fn targets(all: &[Timings], counted: &[(&str, Calls)], shape: Shape, libraries: usize) -> Result<Vec<Target>> {
    let case = |name: &str| all.iter().find(|t| t.name == name).with_context(|| format!("no case {name}"));
    let (native, again, copies, ours) = (case(NATIVE)?, case(&format!("{NATIVE} (again)"))?, case(COPIES)?, case(SHIM)?);
    let at_most = |what: &str, figure: f64, bound: f64, unit: &'static str| Target {
        what: format!("{}, {what}", shape.name()),
        figure,
        bound,
        unit,
        at_least: false,
    };
    let allowed = if shape == Shape::None { HELLO } else { LIBRARIES };
    let mut targets = Vec::new();
    for (what, figure) in [("cpu", cpu as fn(&Timings) -> f64), ("minimum", Timings::minimum)] {
        // What native differs by from itself, in the same files and in others, is what this run cannot tell apart.
        let [again, copies] = [again, copies].map(|t| figure(t) / figure(native));
        let spread = (again - 1.0).abs().max((copies - 1.0).abs());
        println!("spread of native, {what}: × {again:.3} the same files again, × {copies:.3} other copies of them");
        let bound = ((allowed + spread) * 1e3).round() / 1e3;
        targets.push(at_most(&format!("{what} to native ({allowed:.2} and the spread)"), figure(ours) / figure(native), bound, "×"));
    }
    if shape == Shape::None {
        let faults = |t: &Timings| engine::median(&t.faults);
        targets.push(at_most("over native, minimum", ours.minimum() - native.minimum(), COST, "µs"));
        targets.push(at_most("page faults over native", faults(ours) - faults(native), FAULTS, "faults"));
    }
    let (_, calls) = counted.iter().find(|(name, _)| *name == SHIM).context("the shim's start was not counted")?;
    for failed in &calls.failed {
        println!("failed under the shim: {failed}");
    }
    targets.push(at_most("failed opens", calls.failed.len() as f64, 0.0, "opens"));
    targets.push(at_most("opens beyond its libraries", calls.opens as f64 - libraries as f64, 2.0, "opens"));
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(name: &str, us: f64) -> Timings {
        Timings { name: name.to_owned(), fastest: vec![us], middle: vec![us], processor: vec![us], faults: vec![50.0] }
    }

    #[test]
    fn the_runs_own_spread_is_added_to_what_is_allowed() {
        let all = [timings(NATIVE, 100.0), timings(&format!("{NATIVE} (again)"), 98.0), timings(COPIES, 101.0), timings(SHIM, 104.0)];
        let calls = Calls { all: 40, opens: 3, ..Calls::default() };
        let hello = targets(&all, &[(SHIM, calls.clone())], Shape::None, 1).unwrap();
        let rows: Vec<(&str, f64, f64, bool)> = hello.iter().map(|t| (t.what.as_str(), t.figure, t.bound, t.met())).collect();
        assert_eq!(
            rows,
            [
                ("hello, cpu to native (1.03 and the spread)", 1.04, 1.05, true),
                ("hello, minimum to native (1.03 and the spread)", 1.04, 1.05, true),
                ("hello, over native, minimum", 4.0, 30.0, true),
                ("hello, page faults over native", 0.0, 4.0, true),
                ("hello, failed opens", 0.0, 0.0, true),
                ("hello, opens beyond its libraries", 2.0, 2.0, true),
            ]
        );
        let tree = targets(&all, &[(SHIM, calls)], Shape::Tree, 1).unwrap();
        assert_eq!(tree.iter().filter(|t| !t.met()).count(), 2);
    }
}
