//! `cargo xtask patch-property`: programs and libraries linked with flags drawn at random, edited one to five
//! times at random; after each edit they must say it and do what they did. A seed names a case for good.

use super::random::Random;
use super::stage::{self, Stage, Subject};
use super::structure::{self, Complaints};
use super::tool::{Answer, Tool};
use super::trial::{Verdict, Word};
use super::{edits, matrix, opener, parallel, report};
use crate::elf::{self, View};
use crate::process::{self, End, Ended};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How many cases without `--runs`, and the first of them without `--seed`.
const RUNS: u64 = 120;
const SEED: u64 = 1;
const LIMIT: Duration = Duration::from_secs(120);

/// `patch-property`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &["--runs", "--seed", "--tool"])?;
    let number = |flag: &str, otherwise: u64| -> Result<u64> {
        let given = crate::option(arguments, flag)?;
        given.map_or(Ok(otherwise), |n| n.parse().with_context(|| format!("{flag} {n}")))
    };
    let (runs, seed) = (number("--runs", RUNS)?, number("--seed", SEED)?);
    process::need(matrix::PACKAGES)?;
    let given = crate::option(arguments, "--tool")?;
    let tool = Tool::chosen(given)?;
    let again = given.map_or_else(String::new, |path| format!(" --tool {path}"));
    let work = tempfile::Builder::new().prefix("xp-").tempdir().context("make a directory to work in")?;
    let place = Place { work: work.path(), opener: opener(work.path())?, tool: &tool };
    let seeds: Vec<u64> = (seed..seed.saturating_add(runs)).collect();
    let one = |seed: &u64| {
        let mut case = Case::new(&mut Random::new(*seed));
        let name = format!("seed {seed}");
        let verdict = place.trial(&mut case, *seed).unwrap_or_else(|error| Some(Verdict::untried(&name, &error)));
        Ok((verdict, case))
    };
    let tell = |(verdict, case): &(Option<Verdict>, Case)| {
        if let Some(verdict) = verdict.as_ref().filter(|v| v.word != Word::Ok) {
            println!("{verdict:#}\n{case}    cargo xtask patch-property --{} --runs 1{again}\n", verdict.name);
        }
    };
    let tried = parallel(&seeds, one, tell)?;
    let verdicts: Vec<Verdict> = tried.into_iter().filter_map(|(verdict, _)| verdict).collect();
    println!("patch-property: seeds {seed} to {}; {} could not be linked or did not work", seed + runs - 1, runs - verdicts.len() as u64);
    if verdicts.len() as u64 * 2 < runs {
        bail!("patch-property: most cases could not be built, so they prove nothing");
    }
    // Where a link editor left no room, .dynamic leaves its segment, and analysers remark on what stays.
    let allowed = report::Allowed { untidy: verdicts.len() / 10, ..Default::default() };
    report::finish("patch-property", &verdicts, false, allowed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Program,
    Library,
    StaticPie,
}

/// One case: how the file is made, and how it is edited.
#[derive(Debug)]
struct Case {
    output: Output,
    narrow: bool,
    flags: Vec<String>,
    exports: u64,
    strip_before: bool,
    strip_after: Option<&'static str>,
    edits: u64,
    /// What was done, for who wants to do it again by hand.
    done: Vec<String>,
    random: Random,
}

impl Case {
    fn new(random: &mut Random) -> Case {
        let output = *random.of(&[Output::Program, Output::Program, Output::Program, Output::Library, Output::Library, Output::StaticPie]);
        let narrow = output == Output::Program && random.one_in(6);
        let linker = if narrow { "bfd" } else { *random.of(&["bfd", "gold", "lld", "mold"]) };
        let mut flags = vec![format!("-fuse-ld={linker}"), (*random.of(&["-O0", "-O2"])).to_owned()];
        let mut add = |words: &&str| flags.extend(words.split_whitespace().map(str::to_owned));
        match output {
            Output::Program => add(random.of(&["-pie -fPIE", "-no-pie -fno-pie"])),
            Output::Library => add(random.of(&["-shared -fPIC", "-shared -fPIC -Wl,-soname,liblibrary.so.1"])),
            Output::StaticPie => add(&"-static-pie -fPIE"),
        }
        add(random.of(&[
            "",
            "-Wl,-z,max-page-size=0x1000",
            "-Wl,-z,max-page-size=0x4000",
            "-Wl,-z,max-page-size=0x10000",
            "-Wl,-z,max-page-size=0x200000",
        ]));
        add(random.of(&["", "-Wl,-z,separate-code", "-Wl,-z,noseparate-code"]));
        add(random.of(&["", "-Wl,--hash-style=sysv", "-Wl,--hash-style=gnu", "-Wl,--hash-style=both"]));
        add(random.of(&["", "-Wl,--build-id=none", "-Wl,--build-id=sha1", "-Wl,--build-id=0x00"]));
        add(random.of(&["", "-Wl,-z,now", "-Wl,-z,lazy"]));
        add(random.of(&["", "", "-Wl,-z,norelro"]));
        add(random.of(&["", "", "-Wl,--gc-sections"]));
        add(random.of(&["", "", "-g"]));
        if linker == "bfd" || linker == "lld" {
            add(random.of(&["", "-Wl,-z,pack-relative-relocs"]));
        }
        if linker == "lld" {
            add(random.of(&["", "-Wl,--no-rosegment", "-Wl,-z,separate-loadable-segments"]));
        }
        if output == Output::Program {
            add(random.of(&["", "-rdynamic"]));
        }
        if !narrow {
            add(random.of(&["", "", "-Wl,-rpath,$ORIGIN/../lib", "-Wl,-rpath,/nowhere/at/all:/nor/there -Wl,--disable-new-dtags"]));
        }
        Case {
            output,
            narrow,
            flags,
            exports: *random.of(&[0, 1, 7, 64]) + random.below(337) * random.below(2),
            strip_before: random.one_in(4),
            // What a static PIE reads of itself at its old place is in no section any more, and strip(1) drops it.
            strip_after: if output == Output::StaticPie {
                None
            } else {
                *random.of(&[None, Some("--strip-all"), Some("--strip-debug"), Some("--strip-unneeded")])
            },
            edits: 1 + random.below(5),
            done: Vec::new(),
            random: random.clone(),
        }
    }

    fn build(&self, place: &Path, file: &Path) -> Result<()> {
        let sources = crate::root().join("fixtures/src/patch");
        let exports = place.with_extension("c");
        let text = (0..self.exports).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "int exported_{n}(void) {{ return {n}; }}");
            text
        });
        fs::write(&exports, text).with_context(|| format!("write {}", exports.display()))?;
        let source = if self.output == Output::Library { "foreign-library.c" } else { "program.c" };
        let mut command = Command::new(if self.narrow { "i686-linux-gnu-gcc" } else { "gcc" });
        command.args(&self.flags).arg("-o").arg(file).arg(sources.join(source)).arg(&exports);
        command.args(if self.narrow { matrix::NARROW } else { &[] });
        process::output(command.arg("-lm"))?;
        if self.strip_before {
            process::output(Command::new("strip").arg(file))?;
        }
        Ok(())
    }

    /// The next edit: patchelf's words, and what a loader must read afterwards.
    fn edit(&mut self, now: &View, place: &Path) -> Result<(Vec<String>, View)> {
        let mut wanted = now.clone();
        let random = &mut self.random;
        let long = |random: &mut Random| format!("/nowhere/{}", "x".repeat(random.below(300) as usize));
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let force = now.rpath.is_some() && now.runpath.is_none();
        let library = (!self.narrow).then_some("libdl.so.2").filter(|name| !now.needed.iter().any(|n| n == name));
        let done = match random.below(10) {
            0 | 1 if let Some(old) = &now.interpreter => {
                let loader = fs::canonicalize(old).with_context(|| format!("find {old}"))?;
                let length = place.as_os_str().len() + old.len() + 8 + random.below(300) as usize;
                let link = edits::interpreter_of_length(place, &loader, length)?.display().to_string();
                wanted.interpreter = Some(link.clone());
                words(&["--set-interpreter", &link])
            }
            2 if !self.narrow => {
                (wanted.rpath, wanted.runpath) = (None, None);
                words(&["--remove-rpath"])
            }
            3 if let Some(name) = library => {
                wanted.needed.insert(0, name.to_owned());
                words(&["--add-needed", name])
            }
            4 if now.needed.iter().any(|n| n == "libdl.so.2") => {
                wanted.needed.retain(|name| name != "libdl.so.2");
                words(&["--remove-needed", "libdl.so.2"])
            }
            5 if self.output == Output::Library => {
                let name = format!("lib{}.so", "s".repeat(1 + random.below(80) as usize));
                wanted.soname = Some(name.clone());
                words(&["--set-soname", &name])
            }
            6 => {
                let plain = random.of(&["--add-debug-tag", "--clear-execstack", "--set-os-abi Linux"]);
                plain.split(' ').map(str::to_owned).collect()
            }
            7 if self.output == Output::Program => words(&["--clear-symbol-version", "printf"]),
            8 if self.exports > 1 && self.output == Output::Library => {
                let map = place.with_extension("map");
                fs::write(&map, format!("exported_0 renamed_{}\n", "r".repeat(random.below(40) as usize))).context("write a map")?;
                words(&["--rename-dynamic-symbols", &map.display().to_string()])
            }
            _ => {
                let old = now.search().filter(|_| self.narrow || random.one_in(2)).map(|old| format!("{old}:")).unwrap_or_default();
                let path = old + &long(random);
                *(if force { &mut wanted.rpath } else { &mut wanted.runpath }) = Some(path.clone());
                if !force && now.runpath.is_none() {
                    wanted.rpath = None;
                }
                let mut done = words(&["--set-rpath", &path]);
                done.extend(force.then(|| "--force-rpath".to_owned()));
                done
            }
        };
        Ok((done, wanted))
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compiler = if self.narrow { "i686-linux-gnu-gcc" } else { "gcc" };
        writeln!(
            f,
            "    {compiler} {} ({} exports){}",
            self.flags.join(" "),
            self.exports,
            if self.strip_before { "; strip" } else { "" }
        )?;
        self.done.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

struct Place<'p> {
    work: &'p Path,
    opener: PathBuf,
    tool: &'p Tool,
}

impl Place<'_> {
    /// `None` for flags that this machine cannot link, or whose program does not work unpatched.
    fn trial(&self, case: &mut Case, seed: u64) -> Result<Option<Verdict>> {
        let name = format!("seed {seed}");
        let place = self.work.join(seed.to_string());
        fs::create_dir_all(&place).context("make a directory for a case")?;
        let mut subject = Subject::alone(&format!("case-{seed}"), &place);
        if case.build(&place, &subject.original()).is_err() {
            return Ok(None);
        }
        if case.output == Output::Library {
            let function = if case.exports > 1 { format!("exported_{}", case.exports / 2) } else { "library".to_owned() };
            subject.runner.push(self.opener.clone().into());
            subject.arguments.push(function);
        }
        let original = subject.original();
        let mut stage = Stage::new(&subject, self.work)?;
        let baseline = stage.start()?;
        let Some(mut view) = elf::view(&original)?.filter(|_| baseline.end == End::Status(0)) else { return Ok(None) };
        let mut verdict = Verdict { word: Word::Ok, faults: Vec::new(), baseline: baseline.end.to_string(), ..Verdict::empty(&name) };
        let trial = Trial { baseline, complaints: structure::complaints(&original)?, tool: self.tool };
        verdict.size = stage::size(&original)?;
        for _ in 0..case.edits {
            let (words, wanted) = case.edit(&view, &place)?;
            case.done.push(format!("patchelf {}", words.join(" ")));
            match trial.edit(&mut stage, &words)? {
                Some((word, fault)) => verdict.fault(word, fault),
                None => trial.holds(&stage, &wanted, &trial.complaints, &mut verdict)?,
            }
            if verdict.word != Word::Ok {
                return Ok(Some(verdict));
            }
            view = wanted;
        }
        if let Some(how) = case.strip_after {
            case.done.push(format!("strip {how}"));
            trial.strip(&stage, &original, how, &view, &mut verdict)?;
        }
        Ok(Some(verdict))
    }
}

struct Trial<'t> {
    baseline: Ended,
    complaints: Complaints,
    tool: &'t Tool,
}

impl Trial<'_> {
    fn edit(&self, stage: &mut Stage<'_>, words: &[String]) -> Result<Option<(Word, String)>> {
        let (file, kept) = (stage.file(), stage.beside("kept"));
        fs::copy(&file, &kept).context("keep the state before an edit")?;
        Ok(match self.tool.edit(words, &file)? {
            Answer::Done => None,
            Answer::Died(how) => Some((Word::Broken, format!("the tool died: {how}"))),
            Answer::Refused(why) if stage::same_bytes(&file, &kept)? => Some((Word::Refused, why)),
            Answer::Refused(why) => Some((Word::Broken, format!("refused, but the file was changed: {why}"))),
        })
    }

    fn holds(&self, stage: &Stage<'_>, wanted: &View, known: &Complaints, verdict: &mut Verdict) -> Result<()> {
        match elf::view(&stage.file()) {
            Ok(Some(view)) if view == *wanted => {}
            Ok(view) => verdict.fault(Word::Broken, format!("a loader reads {view:?} instead of {wanted:?}")),
            Err(error) => verdict.fault(Word::Broken, format!("no loader can read it: {error:#}")),
        }
        let ended = stage.start()?;
        if ended != self.baseline {
            verdict.fault(Word::Broken, format!("{}, `{}` instead of `{}`", ended.end, ended.last_line(), self.baseline.last_line()));
        }
        if let Some(new) = structure::new(known, &structure::complaints(&stage.file())?) {
            verdict.fault(Word::Untidy, new);
        }
        Ok(())
    }

    /// What strip(1) makes of the edited file, where it makes something good of the original.
    fn strip(&self, stage: &Stage<'_>, original: &Path, how: &str, wanted: &View, verdict: &mut Verdict) -> Result<()> {
        let edited = stage.beside("edited");
        fs::rename(stage.file(), &edited).context("keep the edited file")?;
        fs::copy(&edited, stage.file()).context("copy the edited file")?;
        let strip = || process::ended(Command::new("strip").arg(how).arg(stage.file()), LIMIT);
        stage.put(original)?;
        if !strip()?.succeeded() || stage.start()? != self.baseline {
            return Ok(());
        }
        let known = &self.complaints | &structure::complaints(&stage.file())?;
        stage.put(&edited)?;
        let done = strip()?;
        if !done.succeeded() {
            verdict.fault(Word::Broken, format!("strip {how}: {}", done.last_line()));
            return Ok(());
        }
        self.holds(stage, wanted, &known, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_a_case_for_good() {
        let case = |seed| Case::new(&mut Random::new(seed)).to_string();
        assert_eq!(case(7), case(7));
        assert_ne!(case(7), case(8));
    }

    #[test]
    fn every_linker_and_every_kind_of_output_comes_up() {
        let all: String = (0..200).map(|seed| Case::new(&mut Random::new(seed)).to_string()).collect();
        for word in ["=bfd", "=gold", "=lld", "=mold", "-shared", "-static-pie", "-no-pie", "i686", "relocs", "0x200000", "sysv"] {
            assert!(all.contains(word), "{word}");
        }
    }
}
