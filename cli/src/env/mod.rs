//! `xeno env`: words in, environments built and entered by `launch`, what became of them told.

mod export;
pub(crate) mod words;

use crate::failure::{Failure, OneLine};
use crate::progress::Show;
use launch::fhs::host::HostView;
use launch::fhs::mode::Mode;
use launch::fhs::spec::{self, FhsSpec};
use launch::fhs::start::What;
use launch::fhs::{self, Built, Environment, Sources, registry};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use store::cache::Cache;
use store::debian::{Debian, Options};
use store::lock::Lock;
use store::root::{Places, StoreRoot};
use words::{BuildArgs, EnvArgs, EnvCommand, ExportArgs, ListArgs, RmArgs};

/// What an environment is called if nobody says.
const DEFAULT: &str = "default";
/// Collisions that are shown; `--json` shows all.
const COLLISIONS_SHOWN: usize = 10;

/// Does what the words say.
pub(crate) fn run(args: &EnvArgs) -> Result<u8, Failure> {
    match &args.command {
        EnvCommand::Build(args) => build(args),
        EnvCommand::Enter(args) => enter(&args.name, What::Shell, args.dry_run),
        EnvCommand::Run(args) => {
            let what = if args.command.is_empty() { What::Own } else { What::Words(&args.command) };
            enter(&args.name, what, args.dry_run)
        }
        EnvCommand::List(args) => list(args),
        EnvCommand::Rm(args) => remove(args),
        EnvCommand::Export(args) => export_named(args),
    }
}

fn store() -> Result<StoreRoot, Failure> {
    Ok(StoreRoot::choose(&Places::from_env())?)
}

/// The cache of the store that is there, also if it is another's.
fn cache() -> Result<Cache, Failure> {
    let places = Places::from_env();
    let store = StoreRoot::read_only(&places).map_or_else(|| StoreRoot::choose(&places), Ok)?;
    Ok(Cache::of(&store))
}

/// One line, whatever a hostile name in it contains.
fn say(line: impl fmt::Display) {
    anstream::println!("{}", OneLine(line));
}

fn build(args: &BuildArgs) -> Result<u8, Failure> {
    let mut spec = match &args.spec {
        Some(path) => spec::load(path)?,
        None => FhsSpec::default(),
    };
    let here = std::env::current_dir().ok();
    for word in &args.package {
        spec.packages.push(spec::package(word, here.as_deref())?);
    }
    for word in &args.multiarch {
        match spec::package(word, None)? {
            spec::Package::Archive { name, arch: None } => spec.multiarch.push(name),
            _ => return Err(Failure::own(format!("add {word}: --multiarch takes names of the archive's packages; use --package"))),
        }
    }
    let stem = args.spec.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str()).filter(|stem| registry::is_name(stem));
    let name = args.name.as_deref().or(spec.name.as_deref()).or(stem).unwrap_or(DEFAULT).to_owned();
    let built = built(&name, spec, args.lock.as_deref(), args.offline)?;
    if args.json {
        print_built(&built)?;
        return Ok(0);
    }
    let environment = &built.environment;
    say(format_args!("{}: {} packages in {}", environment.name, environment.packages.len(), environment.root.display()));
    for collision in built.collisions.iter().take(COLLISIONS_SHOWN) {
        say(format_args!("  {} is {}'s, not {}'s", collision.path.display(), collision.kept, collision.dropped));
    }
    if let Some(more) = built.collisions.len().checked_sub(COLLISIONS_SHOWN).filter(|more| *more > 0) {
        say(format_args!("  and {more} more files that two packages have"));
    }
    Ok(0)
}

/// Builds an environment with this machine's sources, following a lock or writing one.
pub(crate) fn built(name: &str, spec: FhsSpec, lock: Option<&Path>, offline: bool) -> Result<Built, Failure> {
    let store = store()?;
    let debian = Debian::new(store.clone(), store::config::Config::from_env()?, Options { offline, progress: Arc::new(Show::new()) });
    let known = lock.filter(|path| path.exists()).map(Lock::load).transpose()?;
    let sources = Sources { debian: &debian, lock: known.as_ref(), nix_store: Path::new("/nix/store") };
    let built = fhs::build(name, spec, &sources, &store)?;
    if let (Some(path), None, Some(made)) = (lock, &known, &built.lock) {
        made.save(path)?;
    }
    for note in &built.notes {
        log::warn!("{note}");
    }
    Ok(built)
}

fn print_built(built: &Built) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Collision<'a> {
        path: &'a Path,
        kept: &'a str,
        dropped: &'a str,
    }
    #[derive(Serialize)]
    struct Report<'a> {
        name: &'a str,
        root: &'a Path,
        packages: &'a [String],
        collisions: Vec<Collision<'a>>,
        notes: &'a [String],
    }
    let collisions = built.collisions.iter().map(|c| Collision { path: &c.path, kept: &c.kept, dropped: &c.dropped }).collect();
    let Environment { name, root, packages, .. } = &built.environment;
    crate::shim::print_json(&Report { name, root, packages, collisions, notes: &built.notes })
}

/// Starts something in an environment; returns only if it could not, was not to be started, or was supervised.
fn enter(name: &str, what: What<'_>, dry_run: bool) -> Result<u8, Failure> {
    let cache = cache()?;
    let environment = registry::find(&cache, name)?;
    let start = environment.prepare(what, &Mode::Compat, &HostView::gather()?, &cache)?;
    if dry_run {
        start.lines().into_iter().for_each(say);
        return Ok(0);
    }
    Ok(start.start()?.status())
}

fn list(args: &ListArgs) -> Result<u8, Failure> {
    #[derive(Serialize)]
    struct Row {
        name: String,
        root: Option<std::path::PathBuf>,
        packages: Vec<String>,
        problem: Option<String>,
    }
    let cache = cache()?;
    let row = |name: String| match registry::find(&cache, &name) {
        Ok(found) => Row { name, root: Some(found.root), packages: found.packages, problem: None },
        Err(error) => Row { name, root: None, packages: Vec::new(), problem: Some(error.to_string()) },
    };
    let rows: Vec<Row> = registry::names(&cache).into_iter().map(row).collect();
    if args.json {
        crate::shim::print_json(&rows)?;
        return Ok(0);
    }
    for row in rows {
        match (row.problem, row.root) {
            (None, Some(root)) => say(format_args!("{}: {} packages in {}", row.name, row.packages.len(), root.display())),
            (problem, _) => say(problem.unwrap_or(row.name)),
        }
    }
    Ok(0)
}

fn remove(args: &RmArgs) -> Result<u8, Failure> {
    let cache = Cache::of(&store()?);
    args.names.iter().try_for_each(|name| registry::remove(&cache, name))?;
    Ok(0)
}

fn export_named(args: &ExportArgs) -> Result<u8, Failure> {
    let environment = registry::find(&cache()?, &args.name)?;
    export::export(exported(environment), &args.oci)
}

/// What of an environment goes to other machines.
fn exported(environment: Environment) -> export::Exported {
    let Environment { name, root, spec, stores, .. } = environment;
    let path = ("PATH".into(), "/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin".into());
    let variables = std::iter::once(path).chain(spec.environment.iter().map(|(name, value)| (name.into(), value.into()))).collect();
    let command = if spec.run.is_empty() { vec!["/bin/sh".into()] } else { spec.run.iter().map(Into::into).collect() };
    // A Nix closure is found by its absolute paths.
    let trees = stores.iter().filter(|store| store.starts_with("/nix")).map(|store| (store.clone(), store.clone())).collect();
    export::Exported { name, root, from: stores, trees, host: fhs::HOST.into(), variables, command }
}
