//! `xeno env export --oci DIR NAME`: an environment as an OCI image layout, for whoever outgrows one machine. A directory
//! that has anything in it is never written into; the new one appears whole or not at all.

use crate::failure::{Failure, OneLine};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use store::atomic::{TreeBuilder, commit_trees};
use wrap::oci::{self, Config, Plan, Sources};

/// What is exported.
pub(crate) struct Exported {
    /// The environment's name.
    pub(crate) name: String,
    /// Its root: the farm.
    pub(crate) root: PathBuf,
    /// Where the files behind its links may lie: the store, and directories that its specification names.
    pub(crate) from: Vec<PathBuf>,
    /// Trees that have to keep their path, such as a closure below `/nix/store`: the path inside, and where it is.
    pub(crate) trees: Vec<(PathBuf, PathBuf)>,
    /// Where it finds what it has of its host; nothing of that is exported.
    pub(crate) host: PathBuf,
    /// The variables that entering it sets; none of the caller's.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// What it starts where nothing else is asked for.
    pub(crate) command: Vec<OsString>,
}

/// Writes the layout; the result is the exit status.
pub(crate) fn export(exported: Exported, out: &Path) -> Result<u8, Failure> {
    let shown = out.display();
    let out = std::path::absolute(out).map_err(|e| Failure::own(format!("export to {shown}: {e}; name a directory")))?;
    if fs::symlink_metadata(&out).is_ok() && !fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(Failure::own(format!("export to {shown}: it is no empty directory; name another, or remove it")));
    }
    let Some(parent) = out.parent().filter(|parent| parent.is_dir()) else {
        return Err(Failure::own(format!("export to {shown}: the directory above it does not exist; make it first")));
    };
    let Exported { name, root, from, trees, host, variables, command } = exported;
    let plan = Plan::of(&Sources { root, trees, from, without: vec![host] })?;
    let architecture = oci::platform(std::env::consts::ARCH).to_owned();
    let config = Config { name, architecture, variables, command, ..Config::default() };
    let tree = TreeBuilder::new(parent)?;
    let digest = oci::write(&plan, &config, &tree)?;
    commit_trees(vec![(tree, out)])?;
    anstream::println!("{}", OneLine(format_args!("{shown}: {} paths, manifest sha256:{digest}", plan.items.len())));
    Ok(0)
}
