//! The fhs group: what it costs to make a root and to start a program in it. Everything runs as an ordinary user;
//! the peers are apt's bubblewrap, a wrapper script around it, and a C program that only does the mounts.

mod idle;
mod libraries;
mod mounts;
mod user;

use super::engine::{Case, Effort, Step, Timings};
use super::{Bench, Target};
use crate::process;
use anyhow::{Context, Result};
use mounts::{Floor, bubblewrap, usual};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Libraries of the environment that is built and entered.
const LIBRARIES: usize = 1000;
/// The environment's name.
const NAME: &str = "bench";
/// The program that is started everywhere; the environment has a copy.
const TRUE: &str = "/usr/bin/true";

/// Everything below one directory that belongs to the user.
struct Fhs<'b> {
    bench: &'b Bench,
    directory: TempDir,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Target>> {
    process::need(&[("bwrap", "bubblewrap"), ("gcc", "gcc"), ("/usr/include/stdio.h", "libc6-dev"), ("bash", "bash")])?;
    let directory = tempfile::Builder::new().prefix("xeno-fhs-").permissions(Permissions::from_mode(0o755)).tempdir();
    let directory = directory.context("make a directory for a user")?;
    user::give(directory.path())?;
    let fhs = Fhs { bench, directory };
    let mut targets = user::ordinary(|| fhs.timed())?;
    targets.extend(fhs.memory()?);
    Ok(targets)
}

impl Fhs<'_> {
    fn timed(&self) -> Result<Vec<Target>> {
        println!("peer: {}\n", process::output(Command::new("bwrap").arg("--version"))?.trim());
        self.prepare()?;
        let mut targets = self.whole_root()?;
        targets.extend(self.binds()?);
        targets.extend(self.building()?);
        targets.extend(self.entering()?);
        Ok(targets)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Our program where the user can reach it, the floor, the wrapper.
    fn prepare(&self) -> Result<()> {
        process::output(Command::new("cp").arg(&self.bench.xeno).arg(self.path("xeno")))?;
        let source = self.path("floor.c");
        fs::write(&source, include_str!("floor.c")).context("write the floor's source")?;
        process::output(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(self.path("floor")).arg(&source))?;
        fs::write(self.path("wrapper.sh"), include_str!("wrapper.sh")).context("write the wrapper")?;
        fs::create_dir(self.path("home")).context("make a home")
    }

    fn environment(&self) -> Vec<(String, String)> {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            variable("HOME", &self.word("home")),
            variable("XENO_STORE", &self.word("store")),
            variable("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        ]
    }

    fn case(&self, name: &str, words: Vec<String>) -> Result<Case> {
        Case::several(name, &[words], &self.environment())
    }

    /// `xeno WORDS…`
    fn ours(&self, words: &[&str]) -> Vec<String> {
        std::iter::once(self.word("xeno")).chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    fn command(&self, words: &[String]) -> Result<Command> {
        let (program, rest) = words.split_first().context("no word")?;
        let mut command = Command::new(program);
        command.args(rest).env_clear().envs(self.environment());
        Ok(command)
    }

    /// The least that can be done: the whole host, read-only.
    fn whole_root(&self) -> Result<Vec<Target>> {
        println!("### the host's whole root, read-only\n");
        let words = ["--ro-bind", "/", "/", TRUE].map(str::to_owned);
        let cases = [
            self.case("bubblewrap", [vec!["/usr/bin/bwrap".to_owned()], words.to_vec()].concat())?,
            self.case("xeno bwrap", [self.ours(&["bwrap"]), words.to_vec()].concat())?,
            self.case("true alone", vec![TRUE.to_owned()])?,
        ];
        let all = self.bench.table(&cases, self.bench.effort)?;
        let figure = named(&all, "xeno bwrap")?.minimum() / named(&all, "bubblewrap")?.minimum();
        Ok(vec![at_most("bwrap --ro-bind / / true, to bubblewrap".to_owned(), figure, 1.0, "×")])
    }

    /// Many binds, of which each has its own source.
    fn binds(&self) -> Result<Vec<Target>> {
        let sources: Vec<String> = (0..1000).map(|index| self.word(&format!("sources/{index}"))).collect();
        for source in &sources {
            fs::create_dir_all(source).with_context(|| format!("create {source}"))?;
        }
        let mut targets = Vec::new();
        let mut a_bind = Vec::new();
        let mut none: Option<[f64; 2]> = None;
        for (count, times) in [(0, None), (200, Some(10.0)), (1000, Some(40.0))] {
            println!("### {count} read-only binds, /usr, /etc, proc, dev, a pid namespace\n");
            let mounts = usual(sources.get(..count).unwrap_or_default());
            let words = [vec!["--unshare-pid".to_owned()], bubblewrap(&mounts), vec![TRUE.to_owned()]].concat();
            let floor = [vec![self.word("floor"), "pid".to_owned()], Floor::of(&mounts), vec!["--".to_owned(), TRUE.to_owned()]].concat();
            let ours = self.case("xeno bwrap", [self.ours(&["bwrap"]), words.clone()].concat())?;
            let all = self.bench.table(&[self.case("floor", floor)?, ours.clone()], fewer(self.bench.effort, count / 2))?;
            let [floor, to_floor] = [named(&all, "floor")?, named(&all, "xeno bwrap")?].map(Timings::minimum);
            println!();
            // The peer takes up to a thousand times as long, so it has a table of its own, of fewer starts.
            let peer = self.case("bubblewrap", [vec!["/usr/bin/bwrap".to_owned()], words].concat())?;
            let all = self.bench.table(&[ours, peer], fewer(self.bench.effort, count))?;
            let [ours, peer] = [named(&all, "xeno bwrap")?, named(&all, "bubblewrap")?].map(Timings::minimum);
            targets.push(at_most(format!("{count} binds, to the floor"), to_floor / floor, 1.25, "×"));
            if let Some(times) = times {
                targets.push(at_least(format!("{count} binds, times faster than bubblewrap"), peer / ours, times, "×"));
            }
            match none {
                None => none = Some([floor, to_floor]),
                Some([without, ours_without]) => a_bind.push([floor - without, to_floor - ours_without].map(|us| us / count as f64)),
            }
            println!();
        }
        if let [few, many] = a_bind.as_slice() {
            println!("a bind, µs: floor {:.1} of 200, {:.1} of 1000; xeno {:.1} of 200, {:.1} of 1000\n", few[0], many[0], few[1], many[1]);
            // The kernel's own cost of a mount grows with their number; only what we add must not.
            let figure = (many[1] / few[1]) / (many[0] / few[0]);
            targets.push(at_most("a bind of 1000 to one of 200, over the floor's".to_owned(), figure, 1.25, "×"));
        }
        Ok(targets)
    }

    /// From packages that lie there to an environment that can be entered.
    fn building(&self) -> Result<Vec<Target>> {
        println!("### an environment of {LIBRARIES} libraries, built\n");
        let specification = libraries::write(&self.path("packages"), LIBRARIES)?;
        let build = self.ours(&["env", "build", &specification.display().to_string(), "--name", NAME]);
        process::output(&mut self.command(&build)?)?;
        // Aside, not away: ext4 looks at each inode that was freed a moment ago before it gives out another
        // (`recently_deleted` in fs/ext4/ialloc.c), and a first build has no such past.
        let aside = ["/bin/mv", "--backup=numbered", "--no-target-directory", &self.word("store/cache"), &self.word("aside")];
        let steps = vec![Step::Run(aside.map(str::to_owned).to_vec()), Step::Settle(self.path("store"))];
        let case = self.case("xeno env build", build)?.after(steps);
        let effort = Effort { rounds: self.bench.effort.rounds.min(5), execs: 2, ..self.bench.effort };
        let all = self.bench.table(&[case], effort)?;
        let figure = named(&all, "xeno env build")?.median() / 1e3;
        println!();
        Ok(vec![at_most(format!("an environment of {LIBRARIES} libraries, built"), figure, 300.0, "ms")])
    }

    /// Into the environment that was built.
    fn entering(&self) -> Result<Vec<Target>> {
        println!("### the environment, entered\n");
        let plan = process::output(&mut self.command(&self.ours(&["env", "run", NAME, "--dry-run", "--", TRUE]))?)?;
        let steps = Floor::of_plan(&plan, |path| Path::new(path).exists())?;
        println!("the floor's words: {}\n", steps.join(" "));
        let root = self.root(&plan)?;
        let wrapper = vec!["/bin/bash".to_owned(), self.word("wrapper.sh"), root, TRUE.to_owned()];
        let cases = [
            self.case("floor", [vec![self.word("floor")], steps, vec!["--".to_owned(), TRUE.to_owned()]].concat())?,
            self.case("xeno env run", self.ours(&["env", "run", NAME, "--", TRUE]))?,
            self.case("wrapper around bubblewrap", wrapper)?,
        ];
        let all = self.bench.table(&cases, fewer(self.bench.effort, 40))?;
        let [floor, ours, peer] =
            [named(&all, "floor")?, named(&all, "xeno env run")?, named(&all, "wrapper around bubblewrap")?].map(Timings::minimum);
        println!();
        Ok(vec![
            at_most("an environment entered, to the floor".to_owned(), ours / floor, 1.25, "×"),
            at_least("an environment entered, times faster than a wrapper".to_owned(), peer / ours, 15.0, "×"),
        ])
    }

    /// The root whose `usr` a plan binds.
    fn root(&self, plan: &str) -> Result<String> {
        let bound = plan.lines().find_map(|line| line.trim().strip_prefix("bind ")?.split_once(" at /usr ").map(|(from, _)| from));
        let root = bound.and_then(|from| Path::new(from).parent()).context("the plan binds nothing at /usr")?;
        Ok(root.display().to_string())
    }

    /// What stays while a program sleeps.
    fn memory(&self) -> Result<Vec<Target>> {
        println!("### memory beside a program that sleeps\n\n| case | processes | PSS KiB | anonymous KiB |\n|---|---|---|---|");
        let mounts = [vec!["--unshare-pid".to_owned()], bubblewrap(&usual(&[]))].concat();
        let sleep = ["/usr/bin/sleep".to_owned(), "1000".to_owned()].to_vec();
        let measured = |name: &str, words: Vec<String>| -> Result<f64> {
            let mut least = idle::Idle::MOST;
            for _ in 0..5 {
                // An ordinary user may not look into all of them, so only they are the user's.
                let found = idle::idle(user::by(&mut self.command(&words)?))?;
                least = found.min(least);
            }
            println!("| {name} | {} | {} | {} |", least.processes, least.kib, least.anonymous);
            Ok(least.kib as f64)
        };
        let peer = measured("bubblewrap", [vec!["/usr/bin/bwrap".to_owned()], mounts.clone(), sleep.clone()].concat())?;
        let drop_in = measured("xeno bwrap", [self.ours(&["bwrap"]), mounts, sleep.clone()].concat())?;
        let ours = measured("xeno env run", [self.ours(&["env", "run", NAME, "--"]), sleep].concat())?;
        println!();
        Ok(vec![
            at_most("an idle environment, to bubblewrap".to_owned(), ours / peer, 1.0, "×"),
            at_most("an idle sandbox of the drop-in, to bubblewrap".to_owned(), drop_in / peer, 1.0, "×"),
        ])
    }
}

/// Long cases are started less often.
fn fewer(effort: Effort, binds: usize) -> Effort {
    match binds {
        0..40 => effort,
        40..200 => Effort { rounds: effort.rounds.min(10), execs: effort.execs.div_ceil(6), ..effort },
        200..1000 => Effort { rounds: effort.rounds.min(8), execs: effort.execs.div_ceil(4), ..effort },
        _ => Effort { rounds: effort.rounds.min(5), execs: effort.execs.div_ceil(30), ..effort },
    }
}

fn named<'t>(all: &'t [Timings], name: &str) -> Result<&'t Timings> {
    all.iter().find(|timings| timings.name == name).with_context(|| format!("no case {name}"))
}

fn at_most(what: String, figure: f64, bound: f64, unit: &'static str) -> Target {
    Target { what, figure, bound, unit, at_least: false }
}

fn at_least(what: String, figure: f64, bound: f64, unit: &'static str) -> Target {
    Target { what, figure, bound, unit, at_least: true }
}
