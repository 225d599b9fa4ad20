//! `xeno doctor`: walks the way of a program from the kernel to its symbol versions, and stops at the first thing
//! that is wrong, with the remedy. Changes and fetches nothing.

use crate::args::DoctorArgs;
use crate::environment;
use crate::failure::{Failure, OneLine};
use crate::shim;
use fhs_env::{Cause, Refusal};
use launch::program::Program;
use launch::shim::base::{Base, Owner};
use launch::shim::image::{Finds, Fresh, Image, is_trusted};
use launch::shim::install::{self, There};
use launch::shim::program::{self as images, OVERRIDES};
use resolver::arch::Arch;
use resolver::closure::{self, Backing, Search};
use resolver::elf;
use resolver::files::Files;
use resolver::machine::{self, Interpreter};
use resolver::needs::{Kind, Libc, Needs};
use resolver::resolution::Resolution;
use resolver::system::System;
use serde::Serialize;
use std::env;
use std::path::{Path, PathBuf};

/// It would not start as it is.
const WRONG: u8 = 1;

/// What became of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Not as it could be, and nothing that this depends on.
    Note,
    Wrong,
}

/// One step of the way.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    state: State,
    text: String,
    fix: Option<String>,
}

/// The whole examination.
#[derive(Debug, Serialize)]
struct Examination {
    program: Option<String>,
    starts: bool,
    steps: Vec<Step>,
}

/// The end of the way: nothing more is to be looked at.
struct End;

#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
}

impl Walk {
    fn ok(&mut self, step: &'static str, text: impl Into<String>) {
        self.steps.push(Step { step, state: State::Ok, text: text.into(), fix: None });
    }

    fn note(&mut self, step: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.steps.push(Step { step, state: State::Note, text: text.into(), fix: Some(fix.into()) });
    }

    fn wrong(&mut self, step: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Result<(), End> {
        self.steps.push(Step { step, state: State::Wrong, text: text.into(), fix: Some(fix.into()) });
        Err(End)
    }
}

/// Examines a program, or the machine alone.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let mut walk = Walk::default();
    kernel(&mut walk);
    // How it ended is in the steps.
    let _ = match &args.program {
        Some(word) => {
            let program = shim::program(word)?;
            follow(&mut walk, &program)
        }
        None => shims(&mut walk),
    };
    let starts = walk.steps.iter().all(|s| s.state != State::Wrong);
    let program = args.program.as_ref().map(|word| word.to_string_lossy().into_owned());
    let examination = Examination { program, starts, steps: walk.steps };
    if args.json {
        shim::print_json(&examination)?;
    } else {
        print(&examination);
    }
    Ok(if starts { 0 } else { WRONG })
}

fn print(examination: &Examination) {
    for step in &examination.steps {
        let state = match step.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Wrong => "WRONG",
        };
        anstream::println!("{state:<6} {:<12} {}", step.step, OneLine(&step.text));
        if let Some(fix) = step.fix.as_ref().filter(|fix| !fix.is_empty()) {
            anstream::println!("       {:<12} {}", "", OneLine(fix));
        }
    }
    if let Some(program) = &examination.program {
        let verdict = if examination.starts { "starts as it is" } else { "does not start as it is" };
        anstream::println!("{} {verdict}", OneLine(program));
    }
}

fn kernel(walk: &mut Walk) {
    let refusal = match fhs_env::probe() {
        Ok(()) => return walk.ok("kernel", "private roots can be made, so `xeno run` has every way"),
        Err(refusal) => refusal,
    };
    walk.note("kernel", format!("private roots are refused: {}", refusal.reason()), remedy(&refusal));
    walk.note(
        "ways",
        "`xeno env`, `xeno steam-run` and `xeno bwrap` cannot start; `xeno run` is left with direct, shim and loader, and under \
         the last a program does not find itself (/proc/self/exe) and foreign programs that it starts are not helped",
        "a shim needs no private root: `xeno shim install`, `xeno shim add PROG`",
    );
}

/// What to do about it, on this machine.
fn remedy(refusal: &Refusal) -> String {
    if refusal.cause != Cause::AppArmor {
        return refusal.remedy().to_owned();
    }
    // The profile is found by the path of the program.
    let own = env::current_exe().map_or_else(|_| "xeno".to_owned(), |path| path.display().to_string());
    format!("{}; packaging/apparmor/xeno is such a profile, to name {own}", refusal.remedy())
}

/// Without a program: the shims at the usual places.
fn shims(walk: &mut Walk) -> Result<(), End> {
    let Some(host) = Arch::host() else {
        return walk.wrong("machine", "this machine's architecture is not known", "use another machine");
    };
    for arch in Arch::known().filter(|arch| arch.runs_on(host)) {
        for path in [arch.glibc_loader().map(str::to_owned), arch.musl_loader()].into_iter().flatten() {
            match install::look(Path::new(&path), arch) {
                There::Loader => walk.ok("interpreter", format!("{path} is a real loader")),
                There::Nothing => {
                    walk.note("interpreter", format!("{path} does not exist"), "`xeno run PROG`, or `sudo xeno shim install`")
                }
                There::Other(what) => walk.note("interpreter", format!("{path}: there is {what}"), "`xeno run PROG`"),
                There::Shim(base) => {
                    walk.ok("interpreter", format!("{path} is xeno's shim, which looks into {}", base.text()));
                    base_directory(walk, &base)?;
                    for image in install::images(&base) {
                        image_itself(walk, &image, &base)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn base_directory(walk: &mut Walk, base: &Base) -> Result<(), End> {
    let text = base.text();
    if !base.directory().is_dir() {
        return walk.wrong("shim", format!("{text} does not exist"), "`sudo xeno shim install` makes it");
    }
    if let Some(why) = install::distrust(base.directory()) {
        return walk.wrong("shim", format!("{text} {why}"), format!("`sudo chown root {text}; sudo chmod 755 {text}`"));
    }
    walk.ok("shim", format!("{text} can be written to by its owner alone"));
    Ok(())
}

/// Whether an image is one, is followed, and is up to date.
fn image_itself(walk: &mut Walk, path: &Path, base: &Base) -> Result<(), End> {
    let shown = path.display();
    let users = path.parent() != Some(base.directory());
    if let Some(why) = install::distrust(path).filter(|_| !users) {
        return walk.wrong(
            "image",
            format!("{shown} is not followed: it {why}"),
            format!("remove it, and make it again ({})", again(path)),
        );
    }
    match Image::load(path) {
        Err(e) => walk.wrong("image", e.to_string(), format!("remove it, and make it again ({})", again(path))),
        Ok(image) => match image.fresh(path, base) {
            Fresh::Yes => {
                walk.ok("image", format!("{shown} is as it would be made today"));
                Ok(())
            }
            Fresh::No(why) => walk.wrong("image", format!("{shown} is out of date: {why}"), format!("make it again ({})", again(path))),
        },
    }
}

fn again(image: &Path) -> &'static str {
    let everybody = Image::load(image).is_ok_and(|image| image.is_for_everybody());
    if everybody { "`xeno shim install`" } else { "`xeno shim add PROG`" }
}

/// The way of a program.
fn follow(walk: &mut Walk, program: &Program) -> Result<(), End> {
    let path = program.binary.as_path();
    let shown = program.exec.display().to_string();
    let run = format!("`xeno run {shown}` starts it without changing anything");
    if fhs_env::mounted_noexec(&program.real).unwrap_or(false) {
        return walk.wrong("program", format!("its file system is mounted noexec: {shown}"), "copy it to one that is not, or remount it");
    }
    if let Some((missing, found)) = &program.stand_in {
        let text = format!("it is a script, and its interpreter {} does not exist ({} does)", missing.display(), found.display());
        return walk.wrong("program", text, run);
    }
    let needs = match elf::load(path) {
        Ok(needs) => needs,
        Err(e) => return walk.wrong("program", format!("{} cannot be read: {e}", path.display()), "get an intact copy of it"),
    };
    if let Some(host) = Arch::host().filter(|host| !needs.arch.runs_on(*host)) {
        let fix = "run it under an emulator such as qemu-user";
        return walk.wrong("program", format!("it is for {}, and this machine is {host}", needs.arch), fix);
    }
    walk.ok("program", format!("{} is made for {}", path.display(), needs.arch));
    let Some(interpreter) = needs.interpreter.clone() else {
        if matches!(needs.kind, Kind::Library | Kind::Other) {
            let fix = "start a program that needs it; `xeno inspect` shows what it needs itself";
            return walk.wrong("program", format!("{shown} is a library or a part of one, no program"), fix);
        }
        walk.ok("interpreter", "it needs none");
        return Ok(());
    };
    let system = match machine::interpreter_at(Path::new(&interpreter), needs.arch) {
        Interpreter::Loader(system) => {
            walk.ok("interpreter", format!("{interpreter} is a real loader"));
            *system
        }
        Interpreter::Nothing => {
            let fix = match shim::installing_at(&interpreter, needs.arch) {
                Some(install) => format!("{run}; `sudo {install}` and `xeno shim add {shown}` let it start by itself"),
                None => run,
            };
            return walk.wrong("interpreter", format!("{interpreter} does not exist"), fix);
        }
        Interpreter::NotALoader(why) => match Base::of_shim(Path::new(&interpreter)) {
            None => return walk.wrong("interpreter", format!("{interpreter} is no loader: {why}"), run),
            Some(base) => through_shim(walk, program, &needs, &interpreter, &base)?,
        },
    };
    libraries(walk, path, &system, &shown)
}

/// The shim and the image it takes; what its loader consults.
fn through_shim(walk: &mut Walk, program: &Program, needs: &Needs, interpreter: &str, base: &Base) -> Result<System, End> {
    let shown = program.exec.display();
    let add = format!("`xeno shim add {shown}`");
    walk.ok("interpreter", format!("{interpreter} is xeno's shim, which looks into {}", base.text()));
    if let Some(why) = install::distrust(Path::new(interpreter)).filter(|_| !Path::new(interpreter).is_symlink()) {
        walk.note("interpreter", format!("{interpreter} {why}"), "`sudo chown root` it and `sudo chmod 755` it");
    }
    base_directory(walk, base)?;
    let libc = needs.libc().unwrap_or(Libc::Glibc);
    let Ok(key) = images::key(&program.binary, needs.arch) else {
        walk.wrong("image", format!("{shown} has headers that the shim cannot read"), "get an intact copy of it")?;
        return Err(End);
    };
    let candidates = images::candidates(base, key, needs.arch, libc);
    let everybody = candidates.last().cloned().unwrap_or_default();
    // What others put into the users' directory is passed over.
    let followed = |path: &Path| path.parent() == Some(base.directory()) || is_trusted(path, Owner::User(0));
    let own =
        |path: &PathBuf| *path != everybody && followed(path) && Image::load(path).map_or(path.exists(), |image| image.content.key == key);
    let taken = match candidates.iter().find(|path| own(path)) {
        Some(path) => path.clone(),
        None => {
            if let Some(name) = OVERRIDES.iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
                walk.wrong("image", format!("it has no image, and {name} names another loader"), format!("{add}, or unset {name}"))?;
            }
            if !everybody.exists() {
                let text = format!("it has no image in {}, and there is none for every program", base.text());
                walk.wrong("image", text, add.as_str())?;
            }
            walk.note("image", format!("it has none of its own: it gets {}", everybody.display()), format!("{add} makes one"));
            everybody
        }
    };
    image_itself(walk, &taken, base)?;
    match Image::load(&taken) {
        Ok(image) => Ok(system_of(&image, &taken)),
        Err(e) => {
            walk.wrong("image", e.to_string(), add)?;
            Err(End)
        }
    }
}

/// What the loader of an image consults.
fn system_of(image: &Image, path: &Path) -> System {
    let content = &image.content;
    let live = content.live.iter().map(PathBuf::from);
    match &content.finds {
        Finds::Answers(_) => System::glibc(content.arch, content.loader.clone(), Some(path), live.collect()),
        Finds::Directories(directories) => {
            let all: Vec<String> = directories.iter().cloned().chain(live).map(|d| d.to_string_lossy().into_owned()).collect();
            System::musl(content.arch, content.loader.clone(), Some(&all.join("\n")))
        }
    }
}

/// What the loader will find.
fn libraries(walk: &mut Walk, path: &Path, system: &System, shown: &str) -> Result<(), End> {
    let (files, environment) = (Files::default(), environment::loaders());
    let search = Search { files: &files, environment: &environment, backing: Backing::Native(system) };
    let resolution: Resolution = match closure::resolve(path, &search) {
        Ok(resolution) => resolution,
        Err(e) => return walk.wrong("libraries", e.to_string(), "get an intact copy of it"),
    };
    let fix = format!("`xeno run {shown}` finds it elsewhere; `xeno inspect {shown}` says where");
    let more = |count: usize| if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    if let Some(first) = resolution.missing.first() {
        let text = format!("{} (needed by {}) is missing: {}{}", first.name, first.needed_by, first.reason, more(resolution.missing.len()));
        return walk.wrong("libraries", text, fix);
    }
    walk.ok("libraries", format!("{} found", resolution.libraries.len()));
    if let Some(first) = resolution.conflicts.first() {
        return walk.wrong("versions", format!("{first}{}", more(resolution.conflicts.len())), fix);
    }
    walk.ok("versions", "every symbol version that is needed is there");
    Ok(())
}
