//! What the fhs rung asks of whoever builds environments: the ladder itself fetches nothing.

use crate::program::Program;
use resolver::answer::{Answer, Native, World};
use resolver::arch::{Arch, Class, Endian};
use resolver::needs::{Kind, Needs};
use resolver::resolution::{Missing, Resolution};
use resolver::tree::Tree;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Builds environments for programs that need a root: with the archive's base system and what they name.
pub trait Environments {
    /// The farm of an environment with the archive's base system and what has these libraries and this
    /// interpreter; `None` where nothing may be built now and one would be.
    ///
    /// # Errors
    /// Why there can be none, as a clause.
    fn farm(&self, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, String>;
}

/// What a program needs of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The architecture of its libraries.
    pub arch: Arch,
    /// Libraries by the names they are asked for, but for those of its own tree.
    pub libraries: Vec<&'a str>,
    /// The path of an interpreter.
    pub interpreter: Option<&'a Path>,
}

/// The answer for a script whose interpreter is nowhere.
pub fn lost(program: &Program, interpreter: &Path) -> Answer {
    let name = interpreter.display().to_string();
    let needs = Needs {
        arch: Arch::host().unwrap_or(Arch { class: Class::Elf64, endian: Endian::Little, machine: 0 }),
        kind: Kind::Other,
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        rpath: None,
        runpath: None,
        nodeflib: false,
        version_needs: Vec::new(),
        version_defs: BTreeSet::new(),
        dlopen_notes: Vec::new(),
        executable_stack: false,
    };
    let needed_by = program.real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let reason = "it does not exist, and no directory of PATH has one of that name".to_owned();
    let missing = vec![Missing { name: name.clone(), needed_by, reason }];
    Answer {
        native: Native::NoLoader(name),
        world: World::Archive,
        resolution: Resolution { missing, ..Resolution::of(&program.real, needs) },
        tree: Tree::default(),
        stranded: Vec::new(),
        passed_over: Vec::new(),
    }
}
