//! One program that names every library of its closure by its path, so that it needs no search path.
//! Decides only; libraries are not changed, and the loader itself is never named.
//!
//! **Why the whole closure.** A library keeps its bare needs. glibc answers a bare name with a library that is
//! loaded already and has it as its `DT_SONAME` (`elf/dl-load.c`, `_dl_map_object`), and it loads breadth first: all
//! that the program itself names is there before the first need of a library is looked at. So every file of the
//! closure is named by the program, in the order in which they were loaded before, which keeps the order in which
//! symbols are looked up.

use crate::error::{Error, Unfreezable};
use patcher::Edit;
use resolver::answer::{self, Extent, Native, Sources};
use resolver::closure::{Environment, comes_with_the_loader};
use resolver::files::{Files, Found};
use resolver::needs::Libc;
use resolver::resolution::{Library, Resolution};
use resolver::tree::Shared;
use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What becomes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Another interpreter, where the one it names does not answer: as it is, and as it will be.
    pub interpreter: Option<(String, PathBuf)>,
    /// The needs as they are.
    pub old: Vec<String>,
    /// The needs as they will be, in order.
    pub new: Vec<Need>,
    /// What the user should know.
    pub remarks: Vec<String>,
}

/// A need of the frozen program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// As it is: the loader, what the loader answers itself, or a path already.
    Kept(String),
    /// A file, and the name it was asked for by.
    File {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Whether the program itself asks for it, or only a library.
        direct: bool,
    },
}

impl Need {
    fn bytes(&self) -> &[u8] {
        match self {
            Need::Kept(name) => name.as_bytes(),
            Need::File { path, .. } => path.as_os_str().as_bytes(),
        }
    }
}

/// Where the libraries of a freeze may come from, and how they are found.
pub struct Question<'q> {
    /// As for `xeno run`.
    pub sources: &'q Sources<'q>,
    /// What the user's environment adds to the search.
    pub environment: &'q Environment,
    /// Directories that are nobody's own.
    pub shared: &'q Shared,
}

/// Works out the frozen form of a program or library.
///
/// # Errors
/// [`Error::Load`]; [`Error::Incomplete`] if a library of the closure is missing; [`Error::Unfreezable`] if one is asked
/// for by a name that is not its soname.
pub fn plan(program: &Path, question: &Question<'_>) -> Result<Frozen, Error> {
    let failed = |source| Error::Load { path: program.to_owned(), source };
    let program = &std::fs::canonicalize(program).map_err(|e| failed(e.into()))?;
    let files = Files::default();
    let extent = Extent { native: true, optional: false };
    let answer = answer::answer(program, question.sources, question.environment, question.shared, &files, extent).map_err(failed)?;
    let resolution = &answer.resolution;
    let mut frozen = Frozen { interpreter: None, old: resolution.needs.needed.clone(), new: Vec::new(), remarks: Vec::new() };
    let incomplete = |reason: String| Error::Incomplete { path: program.to_owned(), reason };
    match &answer.native {
        Native::Static | Native::NotAProgram => {
            frozen.remarks.push(answer::sentence(&answer.native));
            frozen.new = frozen.old.iter().cloned().map(Need::Kept).collect();
            return Ok(frozen);
        }
        Native::OtherMachine { .. } => return Err(incomplete(answer::sentence(&answer.native))),
        Native::Runs | Native::NoLoader(_) | Native::NotALoader(..) | Native::Fails(_) => {}
    }
    if !resolution.is_complete() {
        return Err(incomplete(answer::first_fault(resolution)));
    }
    let libc = resolution.libc_set.as_ref().map_or(Libc::Glibc, |set| set.libc);
    let loader = resolution.libc_set.as_ref().map(|set| set.loader.clone());
    frozen.interpreter =
        resolution.needs.interpreter.clone().zip(loader).filter(|(old, new)| resolution.needs.kind.has_loader() && Path::new(old) != new);
    frozen.new = needs(resolution);
    for need in &mut frozen.new {
        // A search path may be relative; a need must mean the same from everywhere.
        if let Need::File { path, .. } = need
            && let Ok(absolute) = std::path::absolute(&*path)
        {
            *path = absolute;
        }
    }
    match libc {
        Libc::Glibc => check_names(program, resolution, &files)?,
        Libc::Musl => frozen.remarks.push(
            "musl knows a library that is loaded by its path again only when a search finds the same file: what libraries \
             need by bare names is still searched for, so the run path has to stay"
                .to_owned(),
        ),
    }
    if resolution.libraries.iter().any(|l| l.path.components().any(|c| c.as_os_str() == "glibc-hwcaps")) {
        frozen.remarks.push("a library was chosen for this machine's processor; older ones cannot run the result".to_owned());
    }
    Ok(frozen)
}

/// The direct needs where they stand, then the rest of the closure in load order.
fn needs(resolution: &Resolution) -> Vec<Need> {
    let mut out: Vec<Need> = Vec::new();
    let mut named: BTreeSet<&Path> = BTreeSet::new();
    for name in &resolution.needs.needed {
        let library = resolution.libraries.iter().find(|l| !name.contains('/') && l.aliases.contains(name));
        match library {
            Some(l) if named.insert(&l.path) => out.push(Need::File { name: name.clone(), path: l.path.clone(), direct: true }),
            // Two names of one file: one is enough.
            Some(_) => {}
            None => {
                named.extend(resolution.libraries.iter().filter(|l| l.name == *name).map(|l| l.path.as_path()));
                out.push(Need::Kept(name.clone()));
            }
        }
    }
    for l in &resolution.libraries {
        if named.insert(&l.path) {
            out.push(Need::File { name: l.name.clone(), path: l.path.clone(), direct: false });
        }
    }
    out
}

/// Each bare need of each library must be the soname of what answers it: under another name it would be searched for.
fn check_names(program: &Path, resolution: &Resolution, files: &Files) -> Result<(), Error> {
    for asker in &resolution.libraries {
        let Found::Elf(needs) = files.look(&asker.path) else { continue };
        for name in needs.needed.iter().filter(|name| !name.contains('/')) {
            let answers = |l: &&Library| l.aliases.contains(name);
            let Some(library) = resolution.libraries.iter().find(answers) else { continue };
            if library.soname.as_ref() == Some(name) {
                continue;
            }
            let remedy = match comes_with_the_loader(name) {
                true => "its C library is not one of a usual build".to_owned(),
                false => format!("give that file the soname {name} first (--soname)"),
            };
            return Err(Error::Unfreezable(Box::new(Unfreezable {
                path: program.to_owned(),
                asker: asker.name.clone(),
                name: name.clone(),
                file: library.path.clone(),
                soname: library.soname.clone().map_or_else(|| "to no bare name".to_owned(), |s| format!("to {s}")),
                remedy,
            })));
        }
    }
    Ok(())
}

impl Frozen {
    /// Whether anything changes.
    pub fn changes(&self) -> bool {
        let same = self.old.len() == self.new.len() && self.old.iter().zip(&self.new).all(|(old, new)| old.as_bytes() == new.bytes());
        self.interpreter.is_some() || !same
    }

    /// What to ask the patcher for: the direct needs renamed, with the versions that are needed of them, and then all
    /// needs in their new order.
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        edits.extend(self.interpreter.as_ref().map(|(_, new)| Edit::Interpreter(new.as_os_str().as_bytes().to_vec())));
        let direct = self.new.iter().filter_map(|need| match need {
            Need::File { name, path, direct: true } => Some((name.clone().into_bytes(), path.as_os_str().as_bytes().to_vec())),
            Need::File { .. } | Need::Kept(_) => None,
        });
        let renamed: Vec<(Vec<u8>, Vec<u8>)> = direct.collect();
        let new: Vec<Vec<u8>> = self.new.iter().map(|need| need.bytes().to_vec()).collect();
        let after: Vec<Vec<u8>> = self
            .old
            .iter()
            .map(|old| {
                renamed.iter().find(|(from, _)| from == old.as_bytes()).map_or_else(|| old.clone().into_bytes(), |(_, to)| to.clone())
            })
            .collect();
        if !renamed.is_empty() {
            edits.push(Edit::ReplaceNeeded(renamed));
        }
        if after != new {
            edits.push(Edit::RemoveNeeded(after));
            edits.push(Edit::AddNeeded(new));
        }
        edits
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((old, new)) = &self.interpreter {
            writeln!(f, "interpreter {old} -> {}", new.display())?;
        }
        for need in &self.new {
            match need {
                Need::Kept(name) => writeln!(f, "needs {name}, as before")?,
                Need::File { name, path, direct: true } => writeln!(f, "needs {name} -> {}", path.display())?,
                Need::File { name, path, direct: false } => writeln!(f, "needs {name} of a library -> {}", path.display())?,
            }
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "note: {remark}"))
    }
}
