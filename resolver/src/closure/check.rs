//! What was found, checked against itself: versions, worlds, and loader and libc as one set.

use super::{Backing, Walk};
use crate::resolution::{Conflict, Rule};
use crate::versions;

impl Walk<'_, '_> {
    /// Checks what was found against itself.
    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        let mut out = Vec::new();
        for node in &self.nodes {
            let mut files: Vec<&str> = node.needs.version_needs.iter().map(|n| n.file.as_str()).collect();
            files.dedup();
            for file in files {
                let Some(found) = self.names.get(file).and_then(|i| self.node(*i)) else {
                    continue;
                };
                for version in versions::lacking(&node.needs, file, &found.needs.version_defs) {
                    out.push(Conflict::Version {
                        object: node.name.clone(),
                        file: file.to_owned(),
                        version: version.to_owned(),
                        found: found.path.clone(),
                        newest: versions::newest(&found.needs.version_defs, version).map(str::to_owned),
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
}
