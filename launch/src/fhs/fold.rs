//! The links of an environment's `/etc`, sixty or more, made once and kept as a directory by its content, so that a start
//! costs one bind instead of a link each. What is seen inside is the same.

use crate::error::Error;
use fhs_env::{Access, Op, Source};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use store::cache::Cache;

/// The kind of cache entry.
const KIND: &str = "etc";
const ETC: &str = "/etc";

/// The links of `/etc` by their path relative to it, and which steps make them; `None` if other steps have a part in it.
fn links(ops: &[Op]) -> Option<(BTreeMap<PathBuf, PathBuf>, BTreeSet<usize>)> {
    let (mut links, mut steps) = (BTreeMap::new(), BTreeSet::new());
    for (at, op) in ops.iter().enumerate() {
        let inside = |path: &Path| path.starts_with(ETC);
        match op {
            Op::MakeDirectory { path, mode: 0o755 } if path == Path::new(ETC) => drop(steps.insert(at)),
            Op::Link { path, target } if inside(path) => {
                let relative = path.strip_prefix(ETC).ok()?.to_owned();
                let plain = relative.components().count() > 0 && relative.components().all(|c| matches!(c, Component::Normal(_)));
                // A link through another link is for the engine to follow.
                if !plain || relative.ancestors().skip(1).any(|above| links.contains_key(above)) {
                    return None;
                }
                // Paths sort by their components: what is below one comes right behind it.
                let from = (Bound::Included(relative.as_path()), Bound::Unbounded);
                let below = links.range::<Path, _>(from).next().is_some_and(|(other, _): (&PathBuf, _)| other.starts_with(&relative));
                if below || links.insert(relative, target.clone()).is_some() {
                    return None;
                }
                steps.insert(at);
            }
            Op::Bind { path, .. }
            | Op::Tmpfs { path, .. }
            | Op::Overlay { path, .. }
            | Op::MakeDirectory { path, .. }
            | Op::MakeFile { path, .. }
            | Op::BindContent { path, .. }
            | Op::Mode { path, .. }
            | Op::ReadOnly(path)
                if inside(path) =>
            {
                return None;
            }
            _ => {}
        }
    }
    (links.len() > 1).then_some((links, steps))
}

/// Replaces the steps that link in `/etc` by one bind. Where the store cannot be written to, they stay.
pub(super) fn etc(ops: &mut Vec<Op>, cache: &Cache) {
    let Some((links, steps)) = links(ops) else { return };
    match directory(&links, cache) {
        Ok(directory) => {
            let first = steps.first().copied().unwrap_or_default();
            let bind = Op::Bind { source: Source::Path(directory), path: ETC.into(), access: Access::ReadOnly, optional: false };
            let kept = std::mem::take(ops).into_iter().enumerate();
            ops.extend(kept.filter_map(|(at, op)| match () {
                () if at == first => Some(bind.clone()),
                () if steps.contains(&at) => None,
                () => Some(op),
            }));
        }
        Err(error) => log::debug!("{error}"),
    }
}

/// Finds or makes the directory.
fn directory(links: &BTreeMap<PathBuf, PathBuf>, cache: &Cache) -> Result<PathBuf, Error> {
    let mut hash = Sha256::new();
    for path in links.iter().flat_map(|(path, target)| [path, target]) {
        hash.update((path.as_os_str().len() as u64).to_le_bytes());
        hash.update(path.as_os_str().as_bytes());
    }
    let name = hash.finalize().iter().take(20).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    });
    cache.put_built(KIND, &name, |tree| {
        for (path, target) in links {
            let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
            above.reverse();
            let made = above.into_iter().try_for_each(|above| tree.add_dir(above)).and_then(|()| tree.add_link(path, target));
            made.map_err(|e| Error::io("build", path, e, "free some space, or point XENO_STORE to another disk"))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn link(path: &str, target: &str) -> Op {
        Op::Link { path: path.into(), target: target.into() }
    }

    #[test]
    fn links_of_etc_become_one_bind_in_their_place_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let before = [
            link("/bin", "usr/bin"),
            Op::MakeDirectory { path: "/etc".into(), mode: 0o755 },
            link("/etc/passwd", "/.host/etc/passwd"),
            link("/etc/ssl/certs", "/.host/etc/ssl/certs"),
            Op::Tmpfs { path: "/tmp".into(), mode: 0o1777, size: None },
            link("/etc/mtab", "../proc/self/mounts"),
        ];
        let mut ops = before.to_vec();
        etc(&mut ops, &cache);
        let [bin, bind, tmp] = &ops[..] else { panic!("{ops:?}") };
        assert_eq!((bin, tmp), (&before[0], &before[4]));
        let Op::Bind { source: Source::Path(made), path, access: Access::ReadOnly, optional: false } = bind else { panic!("{bind}") };
        assert_eq!(path, Path::new("/etc"));
        assert_eq!(fs::read_link(made.join("ssl/certs")).unwrap(), Path::new("/.host/etc/ssl/certs"));
        assert_eq!(fs::read_link(made.join("mtab")).unwrap(), Path::new("../proc/self/mounts"));
        let mut again = before.to_vec();
        etc(&mut again, &cache);
        assert_eq!(again, ops);
        assert_eq!(cache.names(KIND).len(), 1);
    }

    #[test]
    fn where_anything_else_has_a_part_in_etc_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (link("/etc/a", "x"), link("/etc/b", "y"));
        for other in [
            Op::Tmpfs { path: "/etc/c".into(), mode: 0o755, size: None },
            Op::ReadOnly("/etc".into()),
            link("/etc/a/inside", "z"),
            link("/etc/a", "again"),
            link("/etc/../usr", "z"),
        ] {
            let before = vec![a.clone(), b.clone(), other];
            let mut ops = before.clone();
            etc(&mut ops, &Cache::at(dir.path()));
            assert_eq!(ops, before);
        }
        // A link in the place of a directory, with a name between them that sorts so by its bytes alone.
        let before = [link("/etc/a/inside", "x"), link("/etc/a-b", "y"), link("/etc/a", "z")];
        let mut ops = before.to_vec();
        etc(&mut ops, &Cache::at(dir.path()));
        assert_eq!(ops, before);
    }
}
