//! `xeno run`: finds the program, recalls or makes the decision, and becomes the program.

use crate::args::RunArgs;
use crate::environment;
use crate::failure::{Failure, OneLine};
use crate::progress::Show;
use crate::resolving::{self, How};
use crate::root_for_run::Builder;
use launch::appimage::App;
use launch::ladder::{self, Decision, Question};
use launch::materials::Materials;
use launch::memory::{self, Decided, Key};
use launch::program::Program;
use launch::rung::Rung;
use launch::start::Start;
use resolver::answer::{self, Answer, Extent, Native, World};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, SystemTime};
use store::cache::Cache;
use store::root::{Places, StoreRoot};

/// How long an answer is good for that some source could not contribute to.
const PARTIAL_LASTS: Duration = Duration::from_secs(15 * 60);

/// Starts a program; returns only if it could not, or was not to be started.
pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let search_path = env::var_os("PATH");
    let word = args.command.first().cloned().unwrap_or_default();
    let mut program = Program::find(&word, search_path.as_deref())?;
    let root = StoreRoot::choose(&Places::from_env())?;
    let begun = SystemTime::now();
    let cache = Cache::of(&root);
    // The program in an AppImage is the one that is started.
    let app = App::of(&program, &args.command, &cache, &Show::new())?;
    if let Some(app) = &app {
        program = app.program()?;
    }
    let words = app.as_ref().map_or(args.command.as_slice(), |app| &app.words);
    let exec = |start: &Start, program: &Program| -> Failure {
        let variables: &[(OsString, Option<OsString>)] = app.as_ref().map_or(&[], |app| &app.variables);
        start.exec_with(&program.exec, words, variables).into()
    };
    let key = key(args, &program, &word, root.path());
    let pinned = args.lock.as_ref().is_none_or(|lock| lock.exists());
    if !args.dry_run
        && pinned
        && let Some(start) = memory::recall(&cache, &key)
    {
        report(|| memory::recall_report(&cache, &key))?;
        match start.enter() {
            Ok(()) => return Err(exec(&start, &program)),
            Err(blocked) if !blocked.retry => return Err(Failure::cannot_start(blocked.error.to_string())),
            // What the kernel allowed once it refuses now: decide again.
            Err(_) => memory::forget(&cache, &key),
        }
    }
    for (place, why) in root.skipped() {
        log::warn!("the store is kept in {}, as {} {why}", root.path().display(), place.display());
    }
    if fhs_env::mounted_noexec(&program.real).unwrap_or(false) {
        return Err(Failure::cannot_start(format!(
            "start {}: its file system is mounted noexec; copy it to one that is not, or remount it",
            program.exec.display()
        )));
    }
    // A script whose interpreter is nowhere may still have one in an environment.
    let lost = match program.read_shebang(search_path.as_deref()) {
        Err(error) if program.lost.is_none() => return Err(error.into()),
        read => read.err(),
    };
    if let Some(app) = &app {
        app.judge(&mut program, search_path.as_deref());
    }
    let store = root.clone();
    let (answer, whole) = match &program.lost {
        Some(interpreter) => (launch::environments::lost(&program, interpreter), true),
        None => resolving::answer_for(&program.binary, root, &how(args))?,
    };
    let builder = Builder { store, offline: args.offline, dry_run: args.dry_run };
    let decide = |wanted| {
        let question = Question { program: &program, answer: &answer, wanted, argv0: &word, environments: Some(&builder) };
        ladder::decide(&question, &Materials::new(cache.clone()))
    };
    let decision = decide(args.strategy)?;
    if args.dry_run {
        if let Some(app) = &app {
            let shown = format_args!("{}: an AppImage, unpacked in {}", word.display(), app.directory.display());
            anstream::println!("{}", OneLine(shown));
        }
        print(&program, &answer, &decision);
        return Ok(if decision.start.is_some() { 0 } else { 126 });
    }
    report(|| Some(decision.report.clone()))?;
    let Some(start) = &decision.start else {
        return Err(lost.map_or_else(|| refusal(&program, &answer, &decision), Failure::from));
    };
    announce(start, &decision);
    let mut watched = decision.watched.clone();
    watched.extend(args.lock.clone());
    watched.extend(store::config::Config::from_env()?.files);
    // What holds only this time is not remembered: a stand-in that PATH chose, a last resort that
    // nobody asked for. What a source could not contribute to is tried again after a while.
    let lasting = program.stand_in.is_none() && (start.rung != Rung::Loader || args.strategy.is_some());
    let lasts = (!whole).then_some(PARTIAL_LASTS);
    let decided = Decided { start, watched: &watched, report: &decision.report, begun, lasts };
    if lasting && let Err(e) = memory::store(&cache, &key, &decided) {
        log::info!("{e}");
    }
    match start.enter() {
        Ok(()) => Err(exec(start, &program)),
        Err(blocked) if blocked.retry && args.strategy.is_none() => {
            memory::forget(&cache, &key);
            log::warn!("{}", blocked.error);
            let decision = decide(Some(Rung::Loader))?;
            let Some(start) = &decision.start else { return Err(refusal(&program, &answer, &decision)) };
            announce(start, &decision);
            Err(exec(start, &program))
        }
        Err(blocked) => {
            memory::forget(&cache, &key);
            Err(Failure::cannot_start(blocked.error.to_string()))
        }
    }
}

/// Everything that may change the decision and is not a file it watches.
fn key(args: &RunArgs, program: &Program, word: &OsStr, store: &Path) -> Key {
    let [library_path, preload] = environment::loader_variables();
    let strategy = args.strategy.map_or("", Rung::name);
    let user = nix::unistd::geteuid().to_string();
    let lock = args.lock.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).unwrap_or_default();
    let variables = environment::configuration();
    let home = env::var_os("HOME").unwrap_or_default();
    Key::new(&[
        home.as_os_str(),
        OsStr::new(launch::materials::free_directory()),
        variables.as_os_str(),
        lock.as_os_str(),
        program.real.as_os_str(),
        word,
        library_path.as_os_str(),
        preload.as_os_str(),
        OsStr::new(strategy),
        OsStr::new(&user),
        store.as_os_str(),
    ])
}

/// How a program that is to be run is asked about.
fn how(args: &RunArgs) -> How<'_> {
    let pinned = args.lock.is_some();
    let forced = args.strategy.is_some_and(|s| s != Rung::Direct);
    let extent = Extent { native: !pinned && !forced, optional: true };
    How { lock: args.lock.as_deref(), dry_run: args.dry_run, offline: args.offline, extent, variables: true }
}

/// `XENO_REPORT=FILE` receives the answer for machines.
fn report(json: impl FnOnce() -> Option<String>) -> Result<(), Failure> {
    let Some(path) = env::var_os("XENO_REPORT").filter(|p| !p.is_empty()) else { return Ok(()) };
    if let Some(json) = json() {
        store::atomic::write_file(Path::new(&path), json.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The last rung is not faithful, and the user should know before the program goes astray.
fn announce(start: &Start, decision: &Decision) {
    if start.rung == Rung::Loader {
        let why = decision.steps.iter().find(|s| matches!(s.rung, Rung::View | Rung::Overlay) && s.why.contains("namespaces"));
        if let Some(step) = why {
            log::warn!("{}", step.why);
        }
        log::warn!("started through its loader: {}", decision.losses.join("; "));
    }
}

/// Why nothing can start it, with the first thing to do about it.
fn refusal(program: &Program, answer: &Answer, decision: &Decision) -> Failure {
    let resolution = &answer.resolution;
    let why = match &answer.native {
        Native::OtherMachine { .. } => format!("{}; run it under an emulator such as qemu-user", answer::sentence(&answer.native)),
        _ if !resolution.is_complete() => {
            // A missing library says itself why the archive has none; a symbol version cannot: the last
            // world that was passed over after this machine's own is the archive's.
            let archive = answer.passed_over.last().filter(|_| answer.world == World::Host && resolution.missing.is_empty());
            let archive = archive.map(|why| format!(", and the archive did not help: {why}")).unwrap_or_default();
            format!("{}{archive}; `xeno inspect` shows the rest", answer::first_fault(resolution))
        }
        _ => match decision.steps.iter().find(|s| !s.why.starts_with("--strategy")) {
            Some(step) => format!("{}: {}; `--dry-run` shows every way that was tried", step.rung, step.why),
            None => "no way of starting it was left; drop --strategy".to_owned(),
        },
    };
    Failure::cannot_start(format!("start {}: {why}", program.exec.display()))
}

/// `--dry-run`.
fn print(program: &Program, answer: &Answer, decision: &Decision) {
    anstream::println!("{}", OneLine(format_args!("{}: {}", program.exec.display(), answer::sentence(&answer.native))));
    for reason in answer.passed_over.iter().skip(1) {
        anstream::println!("  {}", OneLine(reason));
    }
    anstream::print!("{decision}");
}
