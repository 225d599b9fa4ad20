//! `xeno inspect`: what a program is, what it needs, where each thing would come from, and one plain
//! sentence on whether it runs here. Fetches nothing.

use crate::args::InspectArgs;
use crate::environment;
use crate::failure::{Failure, OneLine};
use anstyle::{AnsiColor, Style};
use launch::program::Program;
use launch::report::Report;
use launch::shim::base::Base;
use patcher::payload::{self, Payload};
use resolver::answer::{self, Answer, Extent, Native, Sources, World};
use resolver::elf;
use resolver::files::Files;
use resolver::machine;
use resolver::map::Mapped;
use resolver::needs::{Kind, Libc, Needs};
use resolver::provider::{Origin, Provider};
use resolver::resolution::{Library, Resolution};
use serde::Serialize;
use std::env;
use std::path::Path;
use store::debian::{Debian, Options};
use store::host::{self, Drivers, Host};
use store::root::{Places, StoreRoot};

/// Prints what is known of a program.
pub(crate) fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let word = if Path::new(&args.program).exists() { Path::new(".").join(&args.program) } else { args.program.clone().into() };
    let mut program = match Program::find(word.as_os_str(), env::var_os("PATH").as_deref()) {
        Ok(program) => program,
        // A library need not be executable to be looked at.
        Err(e) => match std::fs::canonicalize(&word) {
            Ok(real) if real.is_file() => Program::at(word.clone(), real),
            _ => return Err(e.into()),
        },
    };
    program.read_shebang(env::var_os("PATH").as_deref())?;
    let unreadable = |e: elf::LoadError| {
        Failure::cannot_start(format!("read {}: {e}; `xeno inspect` reads Linux programs and scripts", program.binary.display()))
    };
    let needs = elf::load(&program.binary).map_err(unreadable)?;
    let system = machine::system(needs.arch, needs.libc().unwrap_or(Libc::Glibc));
    let hints = system.as_ref().map(host::driver_sonames).unwrap_or_default();
    let debian = StoreRoot::read_only(&Places::from_env()).map(|root| -> Result<Debian, Failure> {
        let options = Options { offline: true, ..Options::default() };
        Ok(Debian::new(root, store::config::Config::from_env()?, options))
    });
    let debian = debian.transpose()?;
    let archives: Vec<&dyn Provider> = debian.iter().map(|d| d as &dyn Provider).collect();
    let (here, drivers) = (Host(system.as_ref()), Drivers(system.as_ref()));
    let sources = Sources { host: Some(&here), drivers: &drivers, driver_sonames: &hints, archives: &archives };
    let extent = Extent { native: true, optional: true };
    let answer =
        answer::answer(&program.binary, &sources, &environment::loaders(), &environment::shared_directories(), &Files::default(), extent)
            .map_err(unreadable)?;
    let payloads = payloads(&program)?;
    if args.json {
        let inspection = Inspection { report: Report::new(&answer, &[], &[]), payload: payloads.iter().map(PayloadRow::new).collect() };
        let json = serde_json::to_string(&inspection).map_err(|e| Failure::own(format!("write the report as JSON: {e}")))?;
        anstream::println!("{json}");
        return Ok(0);
    }
    heading(&program, &needs, &answer, &payloads);
    if args.tree {
        tree(&answer.resolution);
    } else {
        list(&answer);
    }
    faults(&answer, debian.as_ref());
    Ok(0)
}

/// What `--json` prints: the report and what the file carries besides.
#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    report: Report,
    payload: Vec<PayloadRow>,
}

/// One payload for machines.
#[derive(Serialize)]
struct PayloadRow {
    kind: &'static str,
    found_by: &'static str,
    start: u64,
    end: u64,
    text: String,
}

impl PayloadRow {
    fn new(payload: &Payload) -> PayloadRow {
        PayloadRow {
            kind: payload.kind.id(),
            found_by: payload.found_by.id(),
            start: payload.range.start,
            end: payload.range.end,
            text: payload.to_string(),
        }
    }
}

/// What lies behind or in the program; of a script, behind the script and not in its interpreter.
fn payloads(program: &Program) -> Result<Vec<Payload>, Failure> {
    let path = if program.script.is_some() { &program.real } else { &program.binary };
    let file = Mapped::open(path).map_err(|e| Failure::cannot_start(format!("read {}: {e}", path.display())))?;
    if program.script.is_some() {
        return Ok(payload::recognise_script(&file).into_iter().collect());
    }
    Ok(payload::outline(&file).map(|outline| payload::recognise(&outline.outline())).unwrap_or_default())
}

/// One line that shows names found in files.
fn say(line: std::fmt::Arguments<'_>) {
    anstream::println!("{}", OneLine(line));
}

fn heading(program: &Program, needs: &Needs, answer: &Answer, payloads: &[Payload]) {
    let (good, bad) = (Style::new().fg_color(Some(AnsiColor::Green.into())), Style::new().fg_color(Some(AnsiColor::Red.into())));
    let kind = match needs.kind {
        Kind::Executable => "program",
        Kind::PieExecutable => "program (position-independent)",
        Kind::Static => "static program",
        Kind::StaticPie => "static program (position-independent)",
        Kind::Library => "library",
        Kind::Other => "ELF file that no loader takes",
    };
    let libc = match needs.libc() {
        Some(Libc::Glibc) => " for glibc",
        Some(Libc::Musl) => " for musl",
        None => "",
    };
    if let Some(script) = &program.script {
        say(format_args!("{}: script for {}", program.exec.display(), script.interpreter.display()));
        show_payloads(payloads);
    }
    say(format_args!("{}: {} {kind}{libc}", program.binary.display(), needs.arch));
    if let Some(interpreter) = &needs.interpreter {
        say(format_args!("  interpreter  {interpreter}"));
    }
    for (label, path) in [("RPATH", &needs.rpath), ("RUNPATH", &needs.runpath)] {
        if let Some(path) = path {
            say(format_args!("  {label:<11}  {path}"));
        }
    }
    if let Some(root) = &answer.tree.root {
        say(format_args!("  own tree     {}{}", root.display(), if answer.tree.truncated { " (too large, seen in part)" } else { "" }));
    }
    if program.script.is_none() {
        show_payloads(payloads);
    }
    let sentence = OneLine(answer::sentence(&answer.native));
    match (&answer.native, answer.world) {
        (Native::NotAProgram, _) => say(format_args!("  {sentence}")),
        (Native::Static | Native::Runs, _) => anstream::println!("  {good}runs here{good:#}: {sentence}"),
        // Whether the shim was told what it needs is the doctor's business.
        (Native::NotALoader(interpreter, _), _) if Base::of_shim(Path::new(interpreter)).is_some() => {
            say(format_args!("  {interpreter} is xeno's shim: `xeno doctor {}` says whether it starts by itself", program.exec.display()));
        }
        (_, World::Host) if answer.resolution.is_complete() => {
            anstream::println!("  {bad}does not run here as it is{bad:#}: {sentence}");
            anstream::println!("  {good}`xeno run` starts it{good:#} with this machine's own libraries");
        }
        (_, World::Archive) if answer.resolution.is_complete() => {
            anstream::println!("  {bad}does not run here as it is{bad:#}: {sentence}");
            anstream::println!("  {good}`xeno run` starts it{good:#} with libraries from the store");
        }
        _ => anstream::println!("  {bad}does not run here{bad:#}: {sentence}"),
    }
}

fn show_payloads(payloads: &[Payload]) {
    for payload in payloads {
        say(format_args!("  payload      {payload}"));
    }
}

fn origin(library: &Library) -> String {
    match &library.origin {
        Origin::Package(p) => format!("{}, {} {} of {}", library.rule, p.name, p.version, p.suite),
        Origin::Driver | Origin::Host | Origin::OwnTree => library.rule.to_string(),
    }
}

fn list(answer: &Answer) {
    let resolution = &answer.resolution;
    if let Some(set) = &resolution.libc_set {
        let version = if set.version.is_empty() { String::new() } else { format!(" (libc {})", set.version) };
        say(format_args!("  loader       {}{version}", set.loader.display()));
    }
    for (title, libraries) in [("needs", &resolution.libraries), ("may open", &resolution.optional)] {
        if !libraries.is_empty() {
            say(format_args!("  {title}:"));
        }
        for library in libraries {
            say(format_args!("    {:<28} {}  ({})", library.name, library.path.display(), origin(library)));
        }
    }
}

fn tree(resolution: &Resolution) {
    let program = resolution.program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    say(format_args!("  {program}"));
    branch(resolution, &program, 0, 2);
}

/// Each library stands below the object that asked for it first. Who asks comes before what is asked
/// for, so looking only at what follows ends even if a name occurs twice.
fn branch(resolution: &Resolution, asker: &str, after: usize, depth: usize) {
    // Deeper than this, the end of the line says more than its indentation.
    let indent = depth.min(40) * 2;
    for (index, library) in resolution.libraries.iter().enumerate().skip(after).filter(|(_, l)| l.needed_by == asker) {
        say(format_args!("{:indent$}{} => {}  ({})", "", library.name, library.path.display(), origin(library)));
        branch(resolution, &library.name, index + 1, depth + 1);
    }
    for missing in resolution.missing.iter().filter(|m| m.needed_by == asker) {
        say(format_args!("{:indent$}{} => not found", "", missing.name));
    }
}

fn faults(answer: &Answer, debian: Option<&Debian>) {
    let resolution = &answer.resolution;
    for (title, missing) in [("missing", &resolution.missing), ("missing, optional", &resolution.optional_missing)] {
        for m in missing {
            let known = debian.and_then(|d| d.lookup(&m.name, resolution.needs.arch).into_iter().next());
            // Only an answer from the archive brings it: worlds are not mixed.
            let fetched = if answer.world == World::Archive || title == "missing" { ", `xeno run` fetches it" } else { "" };
            let reason = known.map_or_else(|| m.reason.clone(), |c| format!("{} of {} has it{fetched}", c.package, c.suite));
            say(format_args!("  {title}: {} (needed by {}): {reason}", m.name, m.needed_by));
        }
    }
    for conflict in &resolution.conflicts {
        say(format_args!("  conflict: {conflict}"));
    }
}
