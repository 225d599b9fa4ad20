//! The program under trial: anything that takes patchelf's arguments. Says whether it did what it was
//! told, refused in good order, or died.

use crate::{dist, process};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No edit may take longer.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) struct Tool {
    path: PathBuf,
    /// Holds the link by which xeno is called `patchelf`.
    _link: Option<tempfile::TempDir>,
}

/// How an edit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// A status of its own, with its last line.
    Refused(String),
    /// Killed by a signal or the limit.
    Died(String),
}

impl Tool {
    /// `--tool PATH`, else the shipped xeno under the name `patchelf`.
    pub(super) fn chosen(given: Option<&str>) -> Result<Tool> {
        if let Some(path) = given {
            let path = std::path::absolute(path).with_context(|| format!("find {path}"))?;
            if !path.is_file() {
                bail!("--tool {}: no such file", path.display());
            }
            return Ok(Tool { path, _link: None });
        }
        let link = tempfile::Builder::new().prefix("xeno-tool-").tempdir().context("make a directory for a link")?;
        let path = link.path().join("patchelf");
        std::os::unix::fs::symlink(dist::tried()?.join("xeno"), &path).context("link xeno as patchelf")?;
        Ok(Tool { path, _link: Some(link) })
    }

    /// Runs it on one file.
    pub(super) fn edit(&self, arguments: &[String], file: &Path) -> Result<Answer> {
        let ended = process::ended(Command::new(&self.path).args(arguments).arg(file).env_remove("PATCHELF_DEBUG"), LIMIT)?;
        let line = ended.last_line().to_owned();
        Ok(match ended.end {
            process::End::Status(0) => Answer::Done,
            process::End::Status(_) => Answer::Refused(line),
            end => Answer::Died(format!("{end}: {line}")),
        })
    }
}
