//! `$XENO_STORE/cache`: files that hold physical paths or that can be made again, most of them named
//! by their content. Everything goes through [`crate::atomic`]; nothing here is ever half-written.

use crate::atomic::{self, TreeBuilder};
use crate::error::{Error, Result};
use crate::root::{StoreRoot, Sub};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The cache of one store.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    /// The store it belongs to, which knows how a shared place must be made.
    store: Option<StoreRoot>,
}

impl Cache {
    /// The cache at a directory, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into(), store: None }
    }

    /// The cache of a store; it is made when the first entry is written.
    pub fn of(store: &StoreRoot) -> Cache {
        Cache { root: store.cache_dir(), store: Some(store.clone()) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an entry lies, whether it exists or not.
    pub fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    fn directory(&self, kind: &str) -> Result<PathBuf> {
        let directory = self.root.join(kind);
        if let Some(store) = &self.store {
            store.make(Sub::Cache)?;
        }
        fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, e))?;
        // Whoever writes clears away what a killed process left in the same place.
        atomic::sweep(&directory, None);
        Ok(directory)
    }

    /// Writes an entry, replacing one of the same name.
    ///
    /// # Errors
    /// As [`atomic::write_file`].
    pub fn replace(&self, kind: &str, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        self.fill(kind, name, mode, |out| out.write_all(bytes))
    }

    /// Writes an entry that is named by its content: one that exists is left alone.
    ///
    /// # Errors
    /// As [`atomic::write_file`].
    pub fn put(&self, kind: &str, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        let path = self.path(kind, name);
        if path.exists() { Ok(path) } else { self.replace(kind, name, bytes, mode) }
    }

    /// Writes an entry whose content is produced as it is written.
    ///
    /// # Errors
    /// As [`atomic::write_file_with`].
    pub fn fill(
        &self,
        kind: &str,
        name: &str,
        mode: u32,
        fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> Result<PathBuf> {
        let path = self.directory(kind)?.join(name);
        atomic::write_file_with(&path, mode, fill)?;
        Ok(path)
    }

    /// Makes a directory of symbolic links (name and target) that is named by its content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_links(&self, kind: &str, name: &str, links: &[(&str, &Path)]) -> Result<PathBuf> {
        let path = self.path(kind, name);
        if !path.exists() {
            let tree = TreeBuilder::new(&self.directory(kind)?)?;
            for (link, target) in links {
                tree.add_link(Path::new(link), target).map_err(|e| Error::io("link", &path.join(link), e))?;
            }
            atomic::commit_trees(vec![(tree, path.clone())])?;
        }
        Ok(path)
    }

    /// Makes a directory of read-only files and symbolic links that is named by its content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_tree(&self, kind: &str, name: &str, files: &[(&str, &[u8])], links: &[(&str, &Path)]) -> Result<PathBuf> {
        let path = self.path(kind, name);
        if !path.exists() {
            let tree = TreeBuilder::new(&self.directory(kind)?)?;
            for (file, bytes) in files {
                let failed = |e| Error::io("write", &path.join(file), e);
                tree.add_file(Path::new(file)).and_then(|mut out| out.write_all(bytes)).map_err(failed)?;
                tree.set_mode(Path::new(file), 0o444).map_err(failed)?;
            }
            for (link, target) in links {
                tree.add_link(Path::new(link), target).map_err(|e| Error::io("link", &path.join(link), e))?;
            }
            atomic::commit_trees(vec![(tree, path.clone())])?;
        }
        Ok(path)
    }

    /// Makes a directory that is named by its content, of whatever `build` puts into it; one that exists is left alone.
    ///
    /// # Errors
    /// Whatever `build` reports, or when it cannot be written; nothing of it is left then.
    pub fn put_built<E: From<Error>>(
        &self,
        kind: &str,
        name: &str,
        build: impl FnOnce(&TreeBuilder) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.path(kind, name);
        if !path.exists() {
            let tree = TreeBuilder::new(&self.directory(kind)?)?;
            build(&tree)?;
            atomic::commit_trees(vec![(tree, path.clone())])?;
        }
        Ok(path)
    }

    /// Removes a directory; it is no error if there is none. It is out of sight at once, and a killed process leaves
    /// nothing that is not swept later.
    ///
    /// # Errors
    /// When it cannot be renamed or removed.
    pub fn forget_tree(&self, kind: &str, name: &str) -> Result<()> {
        atomic::discard_tree(&self.path(kind, name))
    }

    /// The names of the entries of one kind, sorted; what is being written is none.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(kind)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| !n.starts_with('.')).collect();
        names.sort();
        names
    }

    /// Removes an entry; it is no error if there is none.
    pub fn forget(&self, kind: &str, name: &str) {
        atomic::discard(&self.path(kind, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_named_by_content_is_written_once_and_a_farm_appears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let path = cache.put("loader", "k", b"one", 0o555).unwrap();
        cache.put("loader", "k", b"two", 0o555).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        cache.replace("loader", "k", b"two", 0o555).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let farm = cache.put_links("links", "f", &[("liba.so.1", Path::new("/x/liba.so.1.2"))]).unwrap();
        assert_eq!(fs::read_link(farm.join("liba.so.1")).unwrap(), Path::new("/x/liba.so.1.2"));
        cache.forget("loader", "k");
        assert!(!path.exists());
        assert_eq!(cache.names("links"), ["f"]);
        cache.forget_tree("links", "f").unwrap();
        cache.forget_tree("links", "f").unwrap();
        assert_eq!(fs::read_dir(cache.root().join("links")).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_whose_building_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let built = |ok: bool| {
            cache.put_built("tree", "t", |tree| {
                tree.add_dir(Path::new("d")).unwrap();
                tree.add_file(Path::new("d/f")).unwrap().write_all(b"x").unwrap();
                if ok { Ok(()) } else { Err(Error::new(crate::Kind::Malformed, "build", "t", "half of it is missing", "")) }
            })
        };
        assert_eq!(built(false).unwrap_err().kind(), crate::Kind::Malformed);
        assert_eq!(fs::read_dir(cache.root().join("tree")).unwrap().count(), 0);
        assert_eq!(fs::read(built(true).unwrap().join("d/f")).unwrap(), b"x");
    }
}
