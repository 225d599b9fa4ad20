//! Which world answers: the program as it stands, this machine's own libraries behind a loader
//! copy, or a whole set from an archive. The first that is complete wins; worlds are never mixed,
//! except for drivers, which only this machine can supply.

use crate::arch::Arch;
use crate::closure::{self, Backing, Environment, Search};
use crate::elf::{self, LoadError};
use crate::files::{Files, Found};
use crate::machine::{self, Interpreter};
use crate::needs::{Libc, Needs};
use crate::provider::{LibcSet, Provider, ProviderError};
use crate::resolution::{Missing, Resolution};
use crate::tree::{Shared, Tree};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where libraries may come from.
pub struct Sources<'a> {
    /// This machine's own libraries; `None` to leave them out (a lock pins an archive).
    pub host: Option<&'a dyn Provider>,
    /// This machine's drivers, asked before any archive.
    pub drivers: &'a dyn Provider,
    /// Their sonames, for libraries that open drivers by name.
    pub driver_sonames: &'a [String],
    /// Archives, best first.
    pub archives: &'a [&'a dyn Provider],
}

/// What happens if the program is just started.
#[derive(Debug)]
pub enum Native {
    /// It needs no loader.
    Static,
    /// It is no program: a library that needs nothing, an object file.
    NotAProgram,
    /// Its loader finds everything.
    Runs,
    /// No file lies at the interpreter's path.
    NoLoader(String),
    /// A file lies there that is no loader for it: path and reason.
    NotALoader(String, String),
    /// Its loader is there and fails.
    Fails(Box<Resolution>),
    /// The processor is another one.
    OtherMachine {
        /// What the program is for.
        program: Arch,
        /// What this machine is.
        host: Arch,
    },
}

/// Whose libraries the answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// The program's own loader finds them as it is.
    Native,
    /// This machine's, through a copy of its loader.
    Host,
    /// An archive's.
    Archive,
}

/// The answer with its reasons.
#[derive(Debug)]
pub struct Answer {
    /// What happens without help.
    pub native: Native,
    /// Whose libraries.
    pub world: World,
    /// The files.
    pub resolution: Resolution,
    /// The program's own tree.
    pub tree: Tree,
    /// Its executables that do not start here without help either.
    pub stranded: Vec<PathBuf>,
    /// Why not an earlier world, one sentence each.
    pub passed_over: Vec<String>,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Whether the program may run as it stands (`Native` is a world).
    pub native: bool,
    /// Whether to follow the whole tree and `dlopen` hints.
    pub optional: bool,
}

/// Answers for one program.
///
/// # Errors
/// [`LoadError`] if the program itself cannot be read as an ELF file.
pub fn answer(
    program: &Path,
    sources: &Sources<'_>,
    environment: &Environment,
    shared: &Shared,
    files: &Files,
    extent: Extent,
) -> Result<Answer, LoadError> {
    let needs = elf::load(program)?;
    if let Some(host) = Arch::host().filter(|host| !needs.arch.runs_on(*host)) {
        let native = Native::OtherMachine { program: needs.arch, host };
        return Ok(Answer { native, ..empty(program, needs) });
    }
    if needs.kind.is_static() || !needs.kind.has_loader() && needs.needed.is_empty() {
        let native = if needs.kind.is_static() { Native::Static } else { Native::NotAProgram };
        return Ok(Answer { native, ..empty(program, needs) });
    }
    let libc = needs.libc().unwrap_or(Libc::Glibc);
    let mut passed_over = Vec::new();
    let mut native_resolution = None;
    let native = match needs.interpreter.as_deref().map(|i| (i, machine::interpreter_at(Path::new(i), needs.arch))) {
        // A library is loaded by whichever loader this machine has.
        None => match machine::system(needs.arch, libc) {
            Some(system) => judge(program, &Search { files, environment, backing: Backing::Native(&system) }, &mut native_resolution)?,
            None => Native::NoLoader(needs.arch.glibc_loader().unwrap_or("ld.so").to_owned()),
        },
        Some((path, Interpreter::Nothing)) => Native::NoLoader(path.to_owned()),
        Some((path, Interpreter::NotALoader(why))) => Native::NotALoader(path.to_owned(), why),
        Some((_, Interpreter::Loader(system))) => {
            judge(program, &Search { files, environment, backing: Backing::Native(&system) }, &mut native_resolution)?
        }
    };
    if let (Native::Runs, true, Some(resolution)) = (&native, extent.native, native_resolution) {
        let tree = Tree::unwalked(program, shared);
        return Ok(Answer { native, world: World::Native, resolution, tree, stranded: Vec::new(), passed_over });
    }
    passed_over.push(sentence(&native));

    let tree = Tree::walk(program, needs.arch, shared, files);
    let stranded = stranded(&tree, program, libc, environment, files);
    let pool = |set: &LibcSet, providers: &[&dyn Provider]| {
        let backing = Backing::Pool { set, tree: &tree, providers, optional: extent.optional, drivers: sources.driver_sonames };
        closure::resolve(program, &Search { files, environment, backing })
    };
    let mut best: Option<(World, Resolution)> = None;
    if let Some(host) = sources.host {
        match host.libc_set(needs.arch, libc) {
            Ok(Some(set)) => {
                let resolution = pool(&set, &[host])?;
                if resolution.is_complete() {
                    return Ok(Answer { native, world: World::Host, resolution, tree, stranded, passed_over });
                }
                passed_over.push(format!("this machine's own libraries do not do: {}", first_fault(&resolution)));
                best = Some((World::Host, resolution));
            }
            Ok(None) => passed_over.push(format!("this machine has no {} loader for {}", name_of(libc), needs.arch)),
            Err(e) => passed_over.push(e.message),
        }
    }
    let mut refusal: Option<ProviderError> = None;
    for archive in sources.archives {
        match archive.libc_set(needs.arch, libc) {
            Ok(Some(set)) => {
                let resolution = pool(&set, &[&[sources.drivers][..], sources.archives].concat())?;
                let faults = |r: &Resolution| r.missing.len() + r.conflicts.len();
                if best.as_ref().is_none_or(|(_, b)| faults(&resolution) <= faults(b)) {
                    best = Some((World::Archive, resolution));
                }
                break;
            }
            Ok(None) => passed_over.push(format!("{} has no {} loader for {}", archive.name(), name_of(libc), needs.arch)),
            Err(e) => {
                passed_over.push(e.message.clone());
                refusal = Some(e);
            }
        }
    }
    let (world, mut resolution) = match best {
        Some(best) => best,
        None => (World::Archive, unanswered(program, &needs, libc, refusal.as_ref())),
    };
    if let (Some(refusal), false) = (&refusal, resolution.is_complete()) {
        // The loader itself: its reason is the refusal.
        for missing in resolution.missing.iter_mut().filter(|m| m.reason != refusal.message) {
            missing.reason = format!("{}, and the archive could not be asked: {}", missing.reason, refusal.message);
        }
    }
    Ok(Answer { native, world, resolution, tree, stranded, passed_over })
}

fn judge(program: &Path, search: &Search<'_>, keep: &mut Option<Resolution>) -> Result<Native, LoadError> {
    let resolution = closure::resolve(program, search)?;
    if resolution.is_complete() {
        *keep = Some(resolution);
        return Ok(Native::Runs);
    }
    Ok(Native::Fails(Box::new(resolution)))
}

/// The tree's executables of the program's own world whose loader is missing or fails: the ones a way
/// of applying has to cover, since the program may start them.
fn stranded(tree: &Tree, program: &Path, libc: Libc, environment: &Environment, files: &Files) -> Vec<PathBuf> {
    let mut systems: BTreeMap<String, Interpreter> = BTreeMap::new();
    let mut out = Vec::new();
    for member in tree.members.iter().filter(|m| m.starts && m.path != program) {
        let Found::Elf(needs) = files.look(&member.path) else { continue };
        let Some(path) = needs.interpreter.clone().filter(|_| needs.libc() == Some(libc)) else { continue };
        let loader = systems.entry(path.clone()).or_insert_with(|| machine::interpreter_at(Path::new(&path), needs.arch));
        let starts = match loader {
            Interpreter::Loader(system) => {
                let search = Search { files, environment, backing: Backing::Native(system) };
                closure::resolve(&member.path, &search).is_ok_and(|r| r.is_complete())
            }
            Interpreter::Nothing | Interpreter::NotALoader(_) => false,
        };
        if !starts {
            out.push(member.path.clone());
        }
    }
    out
}

fn empty(program: &Path, needs: Needs) -> Answer {
    let resolution = Resolution::of(program, needs);
    Answer {
        native: Native::Static,
        world: World::Native,
        resolution,
        tree: Tree::default(),
        stranded: Vec::new(),
        passed_over: Vec::new(),
    }
}

/// Nothing could answer at all: the loader itself is what is missing.
fn unanswered(program: &Path, needs: &Needs, libc: Libc, refusal: Option<&ProviderError>) -> Resolution {
    let name = needs.interpreter.clone().unwrap_or_else(|| format!("a {} loader", name_of(libc)));
    let reason = refusal
        .map_or_else(|| format!("nothing that was searched has a {} loader for {}", name_of(libc), needs.arch), |e| e.message.clone());
    let needed_by = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Resolution { missing: vec![Missing { name, needed_by, reason }], ..empty(program, needs.clone()).resolution }
}

/// One plain sentence on what happens without help.
pub fn sentence(native: &Native) -> String {
    match native {
        Native::Static => "it is static: it needs no loader and no library".to_owned(),
        Native::NotAProgram => "it is no program and needs nothing".to_owned(),
        Native::Runs => "its loader finds everything".to_owned(),
        Native::NoLoader(path) => format!("its interpreter {path} does not exist here"),
        Native::NotALoader(path, why) => format!("{path} is there, but {why}"),
        Native::Fails(resolution) => format!("its loader fails here: {}", first_fault(resolution)),
        Native::OtherMachine { program, host } => format!("it is for {program}, and this machine is {host}"),
    }
}

/// The first thing that is wrong with a resolution, in the order a loader would meet it.
pub fn first_fault(resolution: &Resolution) -> String {
    let more = (resolution.missing.len() + resolution.conflicts.len()).saturating_sub(1);
    let first = match (resolution.missing.first(), resolution.conflicts.first()) {
        (Some(m), _) => format!("{} (needed by {}) is missing: {}", m.name, m.needed_by, m.reason),
        (None, Some(c)) => c.to_string(),
        (None, None) => "nothing is wrong".to_owned(),
    };
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}

fn name_of(libc: Libc) -> &'static str {
    match libc {
        Libc::Glibc => "glibc",
        Libc::Musl => "musl",
    }
}
