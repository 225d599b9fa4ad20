//! `cargo xtask shim-system`: every dynamic x86-64 program of /usr/bin says its version natively, twice, and through
//! the shim, which is bound over this system's loader in namespaces of their own; output, errors and status
//! must be the same. The programs see this machine's files read-only, an empty home, no network, nobody's
//! processes but their own.

use super::agree::{Agreement, agreement};
use super::apart::{self, apart, bind};
use crate::elf::{self, View};
use crate::patch::spread;
use crate::process::{self, Ended};
use crate::{dist, gate};
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DIRECTORY: &str = "/usr/bin";
/// A program that still runs then is compared by what it wrote until then.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a program whose lines came in another order is run again: its own children may race.
const MORE: usize = 100;
/// In the namespace: the images' base directory, the shim, xeno, and where a program runs.
const BASE: &str = "/tmp/xsys";
const SHIM: &str = "/tmp/ld-shim";
const XENO: &str = "/tmp/xeno";
const PLACE: &str = "/tmp/run";

/// Everything the process in the namespaces has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Inside {
    xeno: PathBuf,
    loader: PathBuf,
    programs: Vec<PathBuf>,
}

/// `shim-system`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &["--limit"])?;
    let limit = crate::option(arguments, "--limit")?.map(|n| n.parse::<usize>().with_context(|| format!("--limit {n}"))).transpose()?;
    if let Err(error) = apart::possible() {
        return gate::skip(&format!("this machine's programs under the shim: {error:#}"));
    }
    let (own, loader) = elf::native()?;
    let all = programs(Path::new(DIRECTORY), &own, &loader)?;
    let programs = spread(&all, limit.unwrap_or(all.len()));
    let count = programs.len();
    println!("shim-system: {count} of the {} dynamic programs of {DIRECTORY} that start with {}", all.len(), loader.display());
    let inside = Inside { xeno: dist::tried()?.join("xeno"), loader, programs };
    let inside = serde_json::to_string(&inside).context("describe the work")?;
    let own = std::env::current_exe().context("find xtask")?;
    // The first process after this is the namespace's first: when it ends, whatever still runs there is killed.
    let more = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    apart(more, || {
        use std::io::Write;
        let mut child = Command::new(own).arg("shim-system-inside").stdin(std::process::Stdio::piped()).spawn().context("start xtask")?;
        child.stdin.take().context("a pipe")?.write_all(inside.as_bytes()).context("tell the work")?;
        if !child.wait().context("wait")?.success() {
            bail!("shim-system: not all is as it is without the shim");
        }
        Ok(())
    })
}

/// Programs of a directory, of our own kind, that the kernel starts with this loader, each file once, sorted by path.
fn programs(directory: &Path, own: &View, loader: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut seen = BTreeSet::new();
    let mut starts = |path: &PathBuf| {
        let data = fs::metadata(path).ok().filter(|data| data.is_file() && data.mode() & 0o111 != 0)?;
        let view = elf::view(path).ok()?.filter(|view| view.world == own.world)?;
        (fs::canonicalize(view.interpreter?).ok()? == loader && seen.insert((data.dev(), data.ino()))).then_some(())
    };
    paths.retain(|path| starts(path).is_some());
    Ok(paths)
}

/// `shim-system-inside`: what [`run`] starts in the namespaces, with its description on standard input.
pub(crate) fn inside(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &[])?;
    if std::process::id() != 1 {
        bail!("only shim-system starts this");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read what to do")?;
    serde_json::from_str::<Inside>(&text).context("read what to do")?.run()
}

/// What came of all programs.
#[derive(Debug, Default)]
struct Outcome {
    equal: usize,
    /// Lines about those that are equal only as far as native runs are among themselves.
    unsteady: Vec<String>,
    /// Lines about those that differ.
    different: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unsteady, different) = (self.unsteady.len(), self.different.len());
        write!(f, "{} equal, {unsteady} as unsteady as natively, {different} different", self.equal)?;
        self.unsteady.iter().chain(&self.different).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Inside {
    fn run(&self) -> Result<()> {
        self.enter().context("make the place")?;
        let (mut native, total) = (Vec::new(), self.programs.len());
        for (at, program) in self.programs.iter().enumerate() {
            progress("natively", at, total);
            native.push([version(program)?, version(program)?]);
        }
        self.xeno(&["install", "--into", BASE, "--at", SHIM, "--arch", "x86_64"])?;
        let everybodys = self.compare(&native)?;
        println!("through the image for everybody: {everybodys}");
        let without = self.images();
        let own = self.compare(&native)?;
        println!("through {} images of their own: {own}", total - without.len());
        for (program, why) in &without {
            println!("no image of its own: {}: {why}", program.display());
        }
        let different = everybodys.different.len() + own.different.len() + without.len();
        if different > 0 {
            bail!("{different} of {total} programs differ or got no image");
        }
        Ok(())
    }

    /// Runs every program under the shim, while it hides the loader.
    fn compare(&self, native: &[[Ended; 2]]) -> Result<Outcome> {
        bind(Path::new(SHIM), &self.loader)?;
        self.witness()?;
        let mut outcome = Outcome::default();
        for (at, (program, native)) in self.programs.iter().zip(native).enumerate() {
            progress("under the shim", at, self.programs.len());
            let name = program.display();
            match agreement(native, &version(program)?) {
                Agreement::Equal => outcome.equal += 1,
                Agreement::Numbers => outcome.unsteady.push(format!("its numbers differ natively too: {name}")),
                Agreement::Order(line) => match (0..MORE).find_map(|_| same_again(program, native).transpose()) {
                    Some(again) => {
                        again?;
                        outcome.unsteady.push(format!("its lines come in this order and another: {name}"));
                    }
                    None => outcome.different.push(format!("DIFFERENT {name}: another order: {line}")),
                },
                Agreement::Differs(line) => outcome.different.push(format!("DIFFERENT {name}: {line}")),
            }
        }
        umount2(&self.loader, MntFlags::MNT_DETACH).context("show the loader again")?;
        Ok(outcome)
    }

    /// What the programs see: this machine, read-only; their own /proc; a /tmp with xeno and nothing else.
    fn enter(&self) -> Result<()> {
        let none = None::<&str>;
        // Without a terminal of its own, nothing waits for one.
        nix::unistd::setsid().context("leave the terminal")?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mount /proc")?;
        let xeno = fs::read(&self.xeno).with_context(|| format!("read {}", self.xeno.display()))?;
        mount(Some("tmp"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).context("mount /tmp")?;
        fs::write(XENO, xeno).context("copy xeno")?;
        fs::set_permissions(XENO, fs::metadata(&self.loader)?.permissions()).context("chmod")?;
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, "/", none, read_only, none).context("make this machine's files read-only")
    }

    fn xeno(&self, words: &[&str]) -> Result<String> {
        let mut xeno = Command::new(XENO);
        xeno.arg("shim").args(words).env_clear().env("HOME", "/tmp/home").env("PATH", "/usr/bin:/bin").env("XENO_STORE", "/tmp/store");
        process::output(&mut xeno)
    }

    /// An image for each program; returns those that got none, and why.
    fn images(&self) -> Vec<(&PathBuf, String)> {
        let mut without = Vec::new();
        for (at, program) in self.programs.iter().enumerate() {
            progress("images", at, self.programs.len());
            if let Err(error) = self.xeno(&["add", "--into", BASE, &program.display().to_string()]) {
                without.push((program, format!("{error:#}")));
            }
        }
        without
    }

    /// Programs really start through the shim now: the loader is hidden, and what a program maps says so.
    fn witness(&self) -> Result<()> {
        if fs::read(SHIM).context("read the shim")? != fs::read(&self.loader).context("read the hidden loader's place")? {
            bail!("the shim is not where the loader was");
        }
        let maps = process::output(Command::new("/bin/cat").arg("/proc/self/maps").env_clear())?;
        let images: BTreeSet<&str> =
            maps.lines().filter_map(|line| line.split_whitespace().nth(5)).filter(|p| p.starts_with(BASE)).collect();
        if images.is_empty() {
            bail!("a program did not start through the shim; it maps:\n{maps}");
        }
        println!("\ncat's loader is now {}", images.into_iter().collect::<Vec<_>>().join(", "));
        Ok(())
    }
}

/// Whether one more run under the shim is equal to a native one.
fn same_again(program: &Path, native: &[Ended]) -> Result<Option<()>> {
    Ok((agreement(native, &version(program)?) == Agreement::Equal).then_some(()))
}

/// What a program says of its version, in an empty directory with an empty home.
fn version(program: &Path) -> Result<Ended> {
    let place = Path::new(PLACE);
    if place.exists() {
        fs::remove_dir_all(place).context("empty the place")?;
    }
    let (home, work) = (place.join("home"), place.join("work"));
    fs::create_dir_all(&home).and_then(|()| fs::create_dir(&work)).context("make the place")?;
    let mut command = Command::new(program);
    command.arg("--version").current_dir(&work).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home).env("LC_ALL", "C");
    process::ended(&mut command, LIMIT)
}

fn progress(what: &str, done: usize, of: usize) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{what} {done}/{of}    ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_this_loader_are_tried_and_each_file_once() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, of: &str| {
            let to = directory.path().join(name);
            fs::copy(crate::root().join("fixtures/bin").join(of), &to).unwrap();
            to
        };
        let program = put("a", "hello-x86_64-glibc-pie");
        put("static", "hello-x86_64-bare-static");
        put("other", "nix-hello");
        fs::write(directory.path().join("script"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("a", directory.path().join("b")).unwrap();
        // Where there is no such loader, no program of it is found.
        let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap_or_default();
        let expected = if loader.is_file() { vec![program] } else { Vec::new() };
        let own = elf::view(&crate::root().join("fixtures/bin/hello-x86_64-glibc-pie")).unwrap().unwrap();
        assert_eq!(programs(directory.path(), &own, &loader).unwrap(), expected);
    }
}
