//! What a program says to its loader, and what it ought to say after an edit: a model of a page, against
//! which the patcher is held. Says nothing of symbols or of where bytes lie.

use patcher::{Edit, Error, RpathTag, View};

const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_DEBUG: u64 = 21;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;
const ET_DYN: u16 = 3;

type Text = Option<Vec<u8>>;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    interpreter: Text,
    soname: Text,
    rpath: Text,
    runpath: Text,
    needed: Vec<Vec<u8>>,
    os_abi: u8,
    exec_stack: Option<bool>,
    debug: bool,
    no_default_lib: bool,
    movable: bool,
    /// Tags that loaders read once stand there once.
    once: bool,
}

impl Says {
    /// # Errors
    /// Those of the view: a string that lies outside its table.
    pub fn of(file: &[u8]) -> Result<Says, Error> {
        let view = View::parse(file)?;
        let own = |text: Option<&[u8]>| text.map(<[u8]>::to_vec);
        let count = |tag: u64| view.entries().iter().filter(|d| d.tag == tag).count();
        Ok(Says {
            interpreter: own(view.interpreter()),
            soname: own(view.soname()?),
            rpath: own(view.rpath()?),
            runpath: own(view.runpath()?),
            needed: view.needed()?.into_iter().map(<[u8]>::to_vec).collect(),
            os_abi: view.header().os_abi,
            exec_stack: view.exec_stack(),
            debug: count(DT_DEBUG) > 0,
            no_default_lib: view.entries().iter().any(|d| d.tag == DT_FLAGS_1 && d.value & DF_1_NODEFLIB != 0),
            movable: view.header().e_type == ET_DYN,
            once: [DT_RPATH, DT_RUNPATH, DT_FLAGS_1].into_iter().all(|tag| count(tag) <= 1),
        })
    }

    /// Whether the model covers the file: no tag stands there twice that a loader reads once.
    pub fn is_plain(&self) -> bool {
        self.once
    }

    /// The same after an edit.
    pub fn after(mut self, edits: &[Edit]) -> Says {
        edits.iter().for_each(|edit| self.edit(edit));
        self
    }

    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Interpreter(path) if !path.is_empty() => self.interpreter = Some(path.clone()),
            Edit::Soname(name) if self.movable => self.soname = Some(name.clone()),
            Edit::Rpath { value, tag } => self.run_path(value, *tag),
            Edit::RemoveRpath => (self.rpath, self.runpath) = (None, None),
            Edit::AddNeeded(names) => drop(self.needed.splice(0..0, names.iter().cloned())),
            Edit::RemoveNeeded(names) => self.needed.retain(|name| !names.contains(name)),
            Edit::ReplaceNeeded(pairs) => {
                for name in &mut self.needed {
                    if let Some((_, new)) = pairs.iter().find(|(old, new)| old == name && old != new) {
                        *name = new.clone();
                    }
                }
            }
            Edit::OsAbi(abi) => self.os_abi = *abi,
            Edit::ExecStack(wanted) => self.exec_stack = Some(*wanted),
            Edit::NoDefaultLib => self.no_default_lib = true,
            Edit::DebugTag => self.debug = true,
            _ => {}
        }
    }

    fn run_path(&mut self, value: &[u8], tag: RpathTag) {
        let value = Some(value.to_vec());
        match (&self.rpath, &self.runpath, tag) {
            (None, None, _) if value.as_ref().is_some_and(Vec::is_empty) => {}
            (_, _, RpathTag::Rpath) => (self.rpath, self.runpath) = (value, None),
            // A file that has both keeps both.
            (Some(_), Some(old), RpathTag::Runpath) if Some(old) == value.as_ref() => {}
            (Some(_), Some(_), RpathTag::Runpath) => (self.rpath, self.runpath) = (value.clone(), value),
            (_, _, RpathTag::Runpath) => (self.rpath, self.runpath) = (None, value),
        }
    }
}
