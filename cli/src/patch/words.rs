//! The words of `xeno patch`: their help, and the edits they ask for, in the order in which edits are made.

use crate::failure::Failure;
use clap::ArgGroup;
use patcher::{Edit, RpathTag, View};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  xeno patch --auto ./app                         make an unpacked package find its libraries here
  xeno patch --dry-run --rpath '$ORIGIN/lib' app  say where every byte would go, change nothing
  xeno patch --undo app                           give back the original, byte for byte
  xeno patch --freeze app                         name every library of its closure by its path
  xeno patch --verify app                         say whether a loader can read it

Edits are made in this order: interpreter, soname, run path, needed libraries (removed, replaced, added), executable \
stack. Several files are replaced together: if one cannot be patched, none is changed.

--json prints one object. `files` has one entry per file: `path`; `plan` with `changes`, `rung`, `old_len`, `new_len`, \
`in_place`, `segments_before` and `segments_after` (`type`, `flags`, `offset`, `vaddr`, `file_size`, `memory_size`, \
`align`), `copies` (`from_start`, `from_end`, `to`, `why`), `writes` (`offset`, `len`, `phase`, `why`, and up to 4096 \
bytes as hex in `old` and `new`) and `remarks`; `done` (null after --dry-run) with `path`, `how`, `len`, \
`links_broken`, `lost`; `users` (`pid`, `name`, `how`); `notes`.

With --verify alone each of `files` has `path`, `sound`, `problem`, `patched`, `undo`. With --auto, each of `trees` has \
`plan` (`root`, `files_seen`, `worlds`, `files`, `passed_over`), `done` (null if nothing was to be changed) with \
`files` (`path`, `outcome`) and `lost`, `failing` (`path`, `reason`) and `users`. --undo of a directory gives `files` and `lost`.

Exit status: 0 if it is done or there was nothing to do, 1 if it failed (then the files are as they were, unless the \
message says otherwise), 2 for wrong usage, 130 if it was interrupted.";

/// `xeno patch`.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("edit").multiple(true), group = ArgGroup::new("run-path"))]
pub(crate) struct PatchArgs {
    /// Start it with another loader
    #[arg(long, value_name = "PATH", group = "edit", help_heading = "Edits")]
    pub(crate) interpreter: Option<OsString>,
    /// Look for libraries in these directories, separated by colons
    #[arg(long, value_name = "PATH", groups = ["edit", "run-path"], help_heading = "Edits")]
    rpath: Option<OsString>,
    /// Look in these directories too, after those it has
    #[arg(long, value_name = "PATH", groups = ["edit", "run-path"], help_heading = "Edits")]
    add_rpath: Option<OsString>,
    /// Take the directories away
    #[arg(long, groups = ["edit", "run-path"], help_heading = "Edits")]
    remove_rpath: bool,
    /// Write them as DT_RPATH, which comes first and is inherited, not as DT_RUNPATH
    #[arg(long, requires = "run-path", help_heading = "Edits")]
    force_rpath: bool,
    /// Give a library another name
    #[arg(long, value_name = "S", group = "edit", help_heading = "Edits")]
    soname: Option<OsString>,
    /// Need this library too, before all others
    #[arg(long, value_name = "L", group = "edit", help_heading = "Edits")]
    add_needed: Vec<OsString>,
    /// Do not need this library
    #[arg(long, value_name = "L", group = "edit", help_heading = "Edits")]
    remove_needed: Vec<OsString>,
    /// Need a library under another name
    #[arg(long, value_name = "OLD=NEW", group = "edit", value_parser = pair, help_heading = "Edits")]
    replace_needed: Vec<(String, String)>,
    /// Whether the stack is executable
    #[arg(long, value_name = "yes|no", group = "edit", value_parser = yes_or_no, help_heading = "Edits")]
    exec_stack: Option<bool>,
    /// Name every library of its closure by its path, never the loader
    #[arg(long, help_heading = "Edits")]
    pub(crate) freeze: bool,

    /// Patch every program and library below the directories, so that they find what they need
    #[arg(long, conflicts_with_all = ["edit", "freeze"], help_heading = "Ways")]
    pub(crate) auto: bool,
    /// Patch the rest of a tree in which something is missing, and succeed
    #[arg(long, requires = "auto", help_heading = "Ways")]
    pub(crate) ignore_missing: bool,
    /// Give back the originals; of a directory, of all files in it that were patched
    #[arg(long, conflicts_with_all = ["edit", "freeze", "auto", "to_cache"], help_heading = "Ways")]
    pub(crate) undo: bool,
    /// Write the result into the store's cache and print its path
    #[arg(long, conflicts_with_all = ["auto", "output", "in_place", "dry_run", "json"], help_heading = "Ways")]
    pub(crate) to_cache: bool,
    /// Write the result to another file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["in_place", "auto"], help_heading = "Ways")]
    pub(crate) output: Option<PathBuf>,
    /// Change the file itself, so that its other names keep being the same file; an error where that cannot be done safely
    #[arg(long, conflicts_with = "auto", help_heading = "Ways")]
    pub(crate) in_place: bool,
    /// Fetch nothing
    #[arg(long, help_heading = "Ways")]
    pub(crate) offline: bool,

    /// Alone: say whether the files are sound. After a patch, =full compares every byte with the plan
    #[arg(long, value_name = "full", num_args = 0..=1, require_equals = true, default_missing_value = "quick", value_parser = ["quick", "full"])]
    pub(crate) verify: Option<String>,
    /// Start original and result with these arguments, and patch only if both do the same within ten seconds
    #[arg(long, value_name = "ARGS", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with_all = ["auto", "dry_run", "undo"])]
    pub(crate) run_check: Option<String>,
    /// Say what would be written where, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print what is done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not wait for the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Keep access and modification times
    #[arg(long)]
    pub(crate) keep_times: bool,
    /// Allow debug information to be given up for room
    #[arg(long)]
    pub(crate) recycle_debug: bool,
    /// Keep nothing in the file that could undo the edit
    #[arg(long)]
    pub(crate) no_undo: bool,
    /// The files; with --auto, directories
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write it as OLD=NEW".to_owned()),
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

impl PatchArgs {
    /// Whether an edit is asked for.
    pub(crate) fn edits_something(&self) -> bool {
        self.freeze
            || self.interpreter.is_some()
            || self.soname.is_some()
            || self.changes_run_path()
            || !(self.add_needed.is_empty() && self.remove_needed.is_empty() && self.replace_needed.is_empty())
            || self.exec_stack.is_some()
    }

    fn changes_run_path(&self) -> bool {
        self.rpath.is_some() || self.add_rpath.is_some() || self.remove_rpath
    }

    /// The edits for one file, without those of a freeze.
    pub(crate) fn edits(&self, file: &[u8]) -> Result<Vec<Edit>, Failure> {
        let bytes = |word: &OsString| word.clone().into_vec();
        let mut edits = Vec::new();
        edits.extend(self.interpreter.as_ref().map(|path| Edit::Interpreter(bytes(path))));
        edits.extend(self.soname.as_ref().map(|name| Edit::Soname(bytes(name))));
        let tag = if self.force_rpath { RpathTag::Rpath } else { RpathTag::Runpath };
        if self.remove_rpath {
            edits.push(Edit::RemoveRpath);
        } else if let Some(value) = &self.rpath {
            edits.push(Edit::Rpath { value: bytes(value), tag });
        } else if let Some(more) = &self.add_rpath {
            let view = View::parse(file)?;
            let now = view.runpath()?.or(view.rpath()?).unwrap_or_default();
            let value = if now.is_empty() { bytes(more) } else { [now, b":", more.as_bytes()].concat() };
            edits.push(Edit::Rpath { value, tag });
        }
        let list = |words: &[OsString]| words.iter().map(bytes).collect::<Vec<_>>();
        if !self.remove_needed.is_empty() {
            edits.push(Edit::RemoveNeeded(list(&self.remove_needed)));
        }
        if !self.replace_needed.is_empty() {
            let pairs = self.replace_needed.iter().map(|(old, new)| (old.clone().into_bytes(), new.clone().into_bytes()));
            edits.push(Edit::ReplaceNeeded(pairs.collect()));
        }
        if !self.add_needed.is_empty() {
            edits.push(Edit::AddNeeded(list(&self.add_needed)));
        }
        edits.extend(self.exec_stack.map(Edit::ExecStack));
        Ok(edits)
    }

    /// What is wrong with the words as a whole, which no single one of them shows.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        let alone = self.verify.is_some() && !self.edits_something() && !self.undo && !self.auto;
        match () {
            () if self.auto && self.verify.is_some() => Some("--auto verifies each program itself; drop --verify"),
            () if self.output.is_some() && self.files.len() > 1 => Some("--output takes the result of one file; name one file"),
            () if self.to_cache && self.files.len() > 1 => Some("--to-cache takes one file; name one file"),
            () if self.run_check.is_some() && !self.edits_something() => Some("--run-check compares before an edit; name an edit"),
            () if alone && (self.output.is_some() || self.in_place || self.to_cache || self.dry_run) => {
                Some("--verify alone changes nothing; name an edit, or drop the other options")
            }
            () if !(alone || self.edits_something() || self.undo || self.auto) => {
                Some("nothing to do; name an edit, --freeze, --auto, --undo or --verify")
            }
            () => None,
        }
    }
}
