//! What a program may open later: the rest of its tree, what its notes declare, what its strings name.

use super::{Backing, Hit, Node, Slot, Walk, display_name};
use crate::files::Found;
use crate::hints;
use crate::map::Mapped;
use crate::needs::DlopenHint;
use crate::provider::Origin;
use crate::resolution::Rule;
use std::collections::BTreeSet;

/// Libraries that are only a switchboard: they open the machine's drivers by names of their own.
const DISPATCHERS: &[&str] = &[
    "libGL.so.1",
    "libGLX.so.0",
    "libEGL.so.1",
    "libGLESv1_CM.so.1",
    "libGLESv2.so.2",
    "libOpenGL.so.0",
    "libGLdispatch.so.0",
    "libvulkan.so.1",
    "libOpenCL.so.1",
    "libvdpau.so.1",
    "libcuda.so.1",
];

impl Walk<'_, '_> {
    /// Follows what may be opened later: the rest of the tree, notes and strings.
    pub(super) fn optional(&mut self) {
        let Backing::Pool { tree, optional: true, drivers, .. } = &self.search.backing else {
            return;
        };
        let (members, drivers) = (tree.members.clone(), drivers.to_vec());
        self.later = true;
        let first = self.nodes.len();
        for member in members {
            let Found::Elf(needs) = self.search.files.look(&member.path) else {
                continue;
            };
            let identity = self.search.files.identity(&member.path);
            let known = identity.is_some_and(|id| self.by_identity.contains_key(&id));
            if known || needs.kind.is_static() || needs.libc().is_some_and(|l| l != self.libc) {
                continue;
            }
            let name = needs.soname.clone().unwrap_or_else(|| display_name(&member.path));
            // A file of the tree answers to its name only once something has opened it, so its
            // name is not entered: another search may still find another file.
            let program = display_name(&member.path);
            let rule = Rule::OwnTree;
            if let Some(id) = identity {
                self.by_identity.insert(id, self.nodes.len());
            }
            self.nodes.push(Node {
                name: if member.starts { program } else { name },
                path: member.path,
                needs,
                loader: None,
                asker: None,
                rule,
                origin: Origin::OwnTree,
            });
        }
        self.run(first);

        let mut wanted: Vec<(String, usize)> = Vec::new();
        for index in 0..self.nodes.len() {
            for hint in self.hints_of(index) {
                wanted.extend(hint.sonames.into_iter().map(|name| (name, index)));
            }
        }
        let dispatched = |name: &str| DISPATCHERS.contains(&name);
        if wanted.iter().any(|(name, _)| dispatched(name)) || self.names.keys().any(|name| dispatched(name)) {
            wanted.extend(drivers.into_iter().map(|name| (name, 0)));
        }
        let before = self.missing.len();
        let start = self.nodes.len();
        let mut slots = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, asker) in wanted {
            if !name.contains('/') && !self.is_loaded(&name) && seen.insert(name.clone()) {
                let hit = self.look_up(&name, asker);
                slots.push(Slot { name, asker, hit, preload: false });
            }
        }
        self.ask_providers(&mut slots);
        for mut slot in slots {
            let by = self.node(slot.asker).map(|n| n.name.clone()).unwrap_or_default();
            if let Hit::File(_, _, rule, _) = &mut slot.hit {
                *rule = Rule::DlopenHint(by);
            }
            self.load(slot);
        }
        // A string that names nothing was no name.
        self.missing.truncate(before);
        self.run(start);
    }

    /// Notes of every object; strings only of the program's own files, since a distribution's
    /// libraries come with what they open.
    fn hints_of(&self, index: usize) -> Vec<DlopenHint> {
        let Some(node) = self.node(index) else {
            return Vec::new();
        };
        let mut hints = node.needs.dlopen_notes.clone();
        if node.origin == Origin::OwnTree
            && let Ok(bytes) = Mapped::open(&node.path)
        {
            // The dynamic string table holds the file's own name and its needs: no hint is in those.
            let plain = |name: &String| node.needs.soname.as_ref() != Some(name) && !node.needs.needed.contains(name);
            hints.extend(hints::strings(&bytes).unwrap_or_default().into_iter().filter(|h| h.sonames.iter().all(plain)));
        }
        hints
    }
}
