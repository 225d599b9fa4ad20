//! Each file is read once: a memory of what was found at a path.

use crate::elf::{self, LoadError};
use crate::needs::Needs;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What lies at a path, as a loader sees it.
#[derive(Clone, Debug)]
pub enum Found {
    /// No file, or none that may be read.
    Nothing,
    /// A file that is no loadable ELF, with the reason.
    Bad(String),
    /// An ELF file.
    Elf(Rc<Needs>),
}

/// The memory.
#[derive(Debug, Default)]
pub struct Files {
    seen: RefCell<HashMap<PathBuf, Found>>,
    identities: RefCell<HashMap<PathBuf, Option<Identity>>>,
}

/// Device and inode: what a loader compares to see that it has a file already (`l_dev`, `l_ino`).
pub type Identity = (u64, u64);

impl Files {
    /// Looks at a path, once.
    pub fn look(&self, path: &Path) -> Found {
        if let Some(found) = self.seen.borrow().get(path) {
            return found.clone();
        }
        let found = match elf::load(path) {
            Ok(needs) => Found::Elf(Rc::new(needs)),
            Err(LoadError::Io(e)) if matches!(e.kind(), std::io::ErrorKind::InvalidInput) => Found::Bad("not a regular file".to_owned()),
            Err(LoadError::Io(_)) => Found::Nothing,
            Err(LoadError::Elf(e)) => Found::Bad(e.to_string()),
        };
        // A search looks at thousands of paths that lead nowhere: those are not kept.
        if !matches!(found, Found::Nothing) {
            self.seen.borrow_mut().insert(path.to_owned(), found.clone());
        }
        found
    }

    /// Which file a path leads to; `None` if to none.
    pub fn identity(&self, path: &Path) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        *self.identities.borrow_mut().entry(path.to_owned()).or_insert_with(|| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino())))
    }

    /// Whether two paths lead to one file.
    pub fn same(&self, a: &Path, b: &Path) -> bool {
        a == b || self.identity(a).is_some_and(|id| self.identity(b) == Some(id))
    }
}
