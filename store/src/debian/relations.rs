//! The relations of a suite's packages, over the suite itself and what amends it; fetched and indexed when first asked for.

use super::archive::{Archive, Found, State};
use crate::error::{Error, Kind, Result};
use crate::index::relations::{Provided, RelationIndex, Relations};
use crate::version;
use resolver::arch::Arch;
use std::sync::Arc;

/// One suite for one architecture.
pub(super) struct Related {
    /// The suite itself first, then what amends it.
    pockets: Vec<(String, Arc<State>, RelationIndex)>,
}

/// A package, where it was found, and its relations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) found: Found,
    pub(super) relations: Relations,
}

impl Related {
    /// The newest version of a package.
    pub(super) fn get(&self, name: &str) -> Option<Known> {
        self.pockets
            .iter()
            .filter_map(|(pocket, state, index)| {
                let relations = index.get(name)?;
                let found = Found { name: name.to_owned(), pocket: pocket.clone(), base: state.base.clone(), file: relations.file.clone() };
                Some(Known { found, relations })
            })
            // Of equal versions the first: the suite itself.
            .reduce(|best, next| if version::compare(&next.found.file.version, &best.found.file.version).is_gt() { next } else { best })
    }

    /// Who stands for a name, sorted.
    pub(super) fn providers(&self, name: &str) -> Vec<Provided> {
        let mut all: Vec<Provided> = self.pockets.iter().flat_map(|(_, _, index)| index.providers(name)).collect();
        all.sort_by(|a, b| (&a.package, &a.version).cmp(&(&b.package, &b.version)));
        all.dedup();
        all
    }

    pub(super) fn essential(&self) -> Vec<String> {
        self.pockets.first().map(|(_, _, index)| index.essential()).unwrap_or_default()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.pockets.first().map(|(_, _, index)| index.names()).unwrap_or_default()
    }
}

impl Archive {
    /// A suite's relations for an architecture; `None` if the suite is gone, has no such architecture, or (offline) is not stored.
    pub(super) fn related(&self, suite: &str, arch: Arch) -> Result<Option<Related>> {
        let Some(debian) = arch.debian() else { return Ok(None) };
        let states = self.pocket_states(suite)?;
        match states.first() {
            Some((name, state)) if name == suite && state.relations(debian).is_some() => {}
            _ => return Ok(None),
        }
        if !self.offline {
            let sources = states.iter().filter_map(|(name, state)| Some((name.as_str(), state, state.relations(debian)?)));
            self.build_missing(suite, debian, sources.collect())?;
        }
        let mut pockets = Vec::new();
        for (name, state) in &states {
            let Some(source) = state.relations(debian) else { continue };
            match RelationIndex::open(&source.index_path(&self.root)) {
                Ok(index) => pockets.push((name.clone(), state.clone(), index)),
                Err(_) if name != suite => {}
                Err(_) if self.offline => return Ok(None),
                Err(error) => {
                    let cause = format!("an index that was just made cannot be read ({})", error.cause());
                    let remedy = format!("delete {} and try again", self.root.index_dir().display());
                    return Err(Error::new(Kind::Malformed, "open the index of", suite, cause, remedy));
                }
            }
        }
        Ok(Some(Related { pockets }))
    }
}
