//! What was found, checked against itself: versions, worlds, and loader and libc as one set.

use super::{Backing, Walk};
use crate::needs::Libc;
use crate::resolution::{Conflict, Rule};
use crate::versions;
use std::collections::BTreeSet;
use std::path::Path;

impl Walk<'_, '_> {
    /// Checks what was found against itself.
    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        let mut out = Vec::new();
        for node in &self.nodes {
            let files: BTreeSet<&str> = node.needs.version_needs.iter().map(|n| n.file.as_str()).collect();
            // musl binds a versioned symbol by its name and never compares versions.
            for file in files.into_iter().filter(|_| self.libc == Libc::Glibc) {
                let Some((path, defined)) = self.versions_of(file) else { continue };
                for version in versions::lacking(&node.needs, file, defined) {
                    out.push(Conflict::Version {
                        object: node.name.clone(),
                        file: file.to_owned(),
                        version: version.to_owned(),
                        found: path.to_owned(),
                        newest: versions::newest(defined, version).map(str::to_owned),
                    });
                }
            }
            if let Some(libc) = node.needs.libc().filter(|l| *l != self.libc) {
                out.push(Conflict::OtherLibc { object: node.name.clone(), libc });
            }
        }
        if let (Backing::Pool { set, .. }, Some(libc)) = (&self.search.backing, self.names.get("libc.so.6").and_then(|i| self.node(*i)))
            && libc.rule != Rule::LibcSet
            && !set.directories.iter().any(|d| self.search.files.same(&d.join("libc.so.6"), &libc.path))
        {
            out.push(Conflict::LibcSet { loader: set.loader.clone(), libc: libc.path.clone() });
        }
        out
    }

    /// Where the versions needed of a file are defined: in the library of that name, or the loader.
    fn versions_of(&self, file: &str) -> Option<(&Path, &BTreeSet<String>)> {
        if let Some(node) = self.names.get(file).and_then(|i| self.node(*i)) {
            return Some((&node.path, &node.needs.version_defs));
        }
        let loader = match &self.search.backing {
            Backing::Native(system) => &system.loader,
            Backing::Pool { set, .. } => &set.loader,
        };
        let needs = self.loader_needs.as_ref().filter(|_| self.loader_names.contains(file))?;
        Some((loader, &needs.version_defs))
    }
}
