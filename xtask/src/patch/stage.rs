//! The place of one trial: the program's tree by hard links, with the program itself as a copy that may be
//! edited, always under the same path, so that what it says before and after can be compared word by word.

use crate::process::{self, Ended};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a program may take before it counts as hanging, and how long one that does not end is watched.
const LIMIT: Duration = Duration::from_secs(120);
const WATCHED: Duration = Duration::from_secs(5);

/// What is tried.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) name: String,
    /// Its package's tree, and the file in it.
    pub(super) tree: PathBuf,
    pub(super) path: PathBuf,
    /// What is started in place of the patched file, in the same tree: a program that needs it.
    pub(super) start: Option<PathBuf>,
    /// What is put before the program: nothing, an emulator, or the program that opens a library.
    pub(super) runner: Vec<OsString>,
    pub(super) arguments: Vec<String>,
    /// What its words must hold where they differ from run to run.
    pub(super) expect: Option<String>,
    /// It does not end by itself.
    pub(super) endless: bool,
    /// The loader's place, where it is not where the file says.
    pub(super) loader: Option<PathBuf>,
    /// The `strip` of its machine.
    pub(super) strip: String,
}

impl Subject {
    /// A program of this machine, alone in a directory.
    pub(super) fn alone(name: &str, directory: &Path) -> Subject {
        Subject {
            name: name.to_owned(),
            tree: directory.to_owned(),
            path: PathBuf::from(name),
            start: None,
            runner: Vec::new(),
            arguments: Vec::new(),
            expect: None,
            endless: false,
            loader: None,
            strip: "strip".to_owned(),
        }
    }

    /// The untouched file.
    pub(super) fn original(&self) -> PathBuf {
        self.tree.join(&self.path)
    }
}

pub(super) struct Stage<'s> {
    subject: &'s Subject,
    directory: tempfile::TempDir,
}

impl<'s> Stage<'s> {
    /// Below `parent`, which is on the file system of the tree.
    pub(super) fn new(subject: &'s Subject, parent: &Path) -> Result<Stage<'s>> {
        let directory = tempfile::Builder::new().prefix(".p").tempdir_in(parent).context("make a directory for a trial")?;
        link_tree(&subject.tree, &directory.path().join("tree"))?;
        fs::create_dir(directory.path().join("tmp")).context("make a directory for a trial")?;
        let stage = Stage { subject, directory };
        stage.put(&subject.original())?;
        Ok(stage)
    }

    /// The file that is edited and started.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("tree").join(&self.subject.path)
    }

    /// A path beside the tree.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a copy of another file in the program's place: a new file, never written through a link.
    pub(super) fn put(&self, from: &Path) -> Result<()> {
        let file = self.file();
        fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        fs::copy(from, &file).with_context(|| format!("copy {}", from.display())).map(drop)
    }

    /// Starts the program as its row says.
    pub(super) fn start(&self) -> Result<Ended> {
        let (file, tree, tmp) = (self.file(), self.beside("tree"), self.beside("tmp"));
        let mut words = self.subject.runner.clone();
        words.push(self.subject.start.as_ref().map_or(file, |other| tree.join(other)).into_os_string());
        let fill = |word: &String| word.replace("{dir}", &tree.display().to_string()).replace("{tmp}", &tmp.display().to_string());
        words.extend(self.subject.arguments.iter().map(|word| OsString::from(fill(word))));
        let (program, rest) = words.split_first().context("nothing to start")?;
        let mut command = Command::new(program);
        command.args(rest).env_clear().envs([("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("QT_QPA_PLATFORM", "offscreen")]);
        command.env("HOME", &tmp).env("TMPDIR", &tmp).current_dir(&tmp);
        match process::ended(&mut command, if self.subject.endless { WATCHED } else { LIMIT }) {
            // What the kernel will not start is an outcome of the program's, not of the harness.
            Err(error) => Ok(Ended { end: process::End::Status(126), stdout: String::new(), stderr: format!("{error:#}") }),
            ended => ended,
        }
    }
}

/// The same tree with hard links for files; links stay links.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(|| format!("look at {}", old.display()))?;
        if kind.is_dir() {
            link_tree(&old, &new)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&old).with_context(|| format!("read {}", old.display()))?;
            std::os::unix::fs::symlink(target, &new).with_context(|| format!("link {}", new.display()))?;
        } else if kind.is_file() {
            fs::hard_link(&old, &new).or_else(|_| fs::copy(&old, &new).map(drop)).with_context(|| format!("link {}", new.display()))?;
        }
    }
    Ok(())
}

/// Whether two files hold the same bytes.
pub(super) fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let open = |path: &Path| fs::File::open(path).with_context(|| format!("open {}", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    if one.metadata().context("stat")?.len() != other.metadata().context("stat")?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut a).context("read")?;
        let (Some(a), Some(b)) = (a.get(..count), b.get_mut(..count)) else { return Ok(false) };
        other.read_exact(b).context("read")?;
        if a != b {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// What changes when a file is written or replaced: inode, size and time of change of its content.
pub(super) fn identity(path: &Path) -> Result<(u64, u64, i64, i64)> {
    let data = fs::metadata(path).with_context(|| format!("stat {}", path.display()))?;
    Ok((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

/// Size in bytes.
pub(super) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("stat {}", path.display()))?.len())
}

/// Whether the owner may execute it.
pub(super) fn executable(path: &Path) -> Result<bool> {
    Ok(fs::metadata(path).with_context(|| format!("stat {}", path.display()))?.permissions().mode() & 0o100 != 0)
}
