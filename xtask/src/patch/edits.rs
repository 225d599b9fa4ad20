//! The two edits that every file gets: first a long interpreter and search path, then another search
//! path, one more needed library and, for a library, another soname. Says whether they took effect.

use crate::elf::View;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Length of the new interpreter's path, in bytes.
const INTERPRETER: usize = 120;
/// By how much the new search path is longer than the old, in bytes.
const LONGER: usize = 200;
/// Libraries that every libc package has; the first that is not yet needed is added.
const ADDED: &[&str] = &["libutil.so.1", "librt.so.1", "libdl.so.2", "libm.so.6"];

pub(super) struct Edits {
    /// `None` for a file without interpreter.
    interpreter: Option<String>,
    paths: [String; 2],
    /// The old path is a DT_RPATH, and its users rely on how that is inherited.
    force: bool,
    pub(super) added: &'static str,
    soname: Option<String>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Second,
}

impl Edits {
    /// For one file; `interpreter` is what [`long_interpreter`] made.
    pub(super) fn new(view: &View, interpreter: Option<&Path>, origin: Option<&Path>) -> Edits {
        let old = view.search().unwrap_or_default();
        let old = origin.map_or_else(|| old.to_owned(), |dir| expand(old, dir));
        let paths = ["first", "second"].map(|word| longer(&old, word));
        let needs = |name: &&&str| !view.needed.iter().any(|needed| needed == **name);
        Edits {
            interpreter: interpreter.filter(|_| view.interpreter.is_some()).map(|path| path.display().to_string()),
            paths,
            force: view.rpath.is_some() && view.runpath.is_none(),
            added: ADDED.iter().find(needs).copied().unwrap_or("libc.so.6"),
            soname: view.soname.as_ref().map(|name| format!("{name}.patched")),
        }
    }

    /// The arguments without the file.
    pub(super) fn arguments(&self, step: Step) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut push = |flag: &str, value: &str| words.extend([flag.to_owned(), value.to_owned()]);
        match step {
            Step::First => {
                if let Some(path) = &self.interpreter {
                    push("--set-interpreter", path);
                }
            }
            Step::Second => {
                push("--add-needed", self.added);
                if let Some(name) = &self.soname {
                    push("--set-soname", name);
                }
            }
        }
        push("--set-rpath", self.path(step));
        if self.force {
            words.push("--force-rpath".to_owned());
        }
        words
    }

    fn path(&self, step: Step) -> &str {
        let [first, second] = &self.paths;
        if step == Step::First { first } else { second }
    }

    /// Bytes of the strings that a step brings, each with its NUL: what a file has to grow by.
    pub(super) fn strings(&self, step: Step) -> u64 {
        let path = Some(self.path(step));
        let words = match step {
            Step::First => [path, self.interpreter.as_deref(), None],
            Step::Second => [path, Some(self.added), self.soname.as_deref()],
        };
        words.into_iter().flatten().map(|word| word.len() as u64 + 1).sum()
    }

    /// What a loader does not see of the edits up to this step.
    pub(super) fn missing(&self, step: Step, view: &View) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |what: &str, wanted: Option<&str>, got: Option<&str>| {
            if wanted.is_some() && wanted != got {
                faults.push(format!("the {what} did not change: {}", got.unwrap_or("none")));
            }
        };
        expect("interpreter", self.interpreter.as_deref(), view.interpreter.as_deref());
        expect("search path", Some(self.path(step)), if self.force { view.rpath.as_deref() } else { view.runpath.as_deref() });
        if step == Step::Second {
            expect("soname", self.soname.as_deref(), view.soname.as_deref());
            if !view.needed.iter().any(|name| name == self.added) {
                faults.push(format!("{} is not needed", self.added));
            }
        }
        faults
    }
}

/// `$ORIGIN` replaced by the directory that it means for the file in its place.
fn expand(path: &str, origin: &Path) -> String {
    let origin = origin.display().to_string();
    path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)
}

/// The path with a directory behind it that does not exist and makes it as much longer as [`LONGER`] says.
fn longer(old: &str, word: &str) -> String {
    let start = if old.is_empty() { format!("/nowhere/{word}-") } else { format!("{old}:/nowhere/{word}-") };
    let length = (old.len() + LONGER).saturating_sub(start.len());
    start + &"x".repeat(length)
}

/// A path of [`INTERPRETER`] bytes below a directory that leads to a loader.
pub(super) fn long_interpreter(directory: &Path, loader: &Path) -> Result<PathBuf> {
    interpreter_of_length(directory, loader, INTERPRETER)
}

/// A path of so many bytes below a directory that leads to a loader.
pub(super) fn interpreter_of_length(directory: &Path, loader: &Path, wanted: usize) -> Result<PathBuf> {
    let name = loader.file_name().context("a loader without a name")?;
    let used = directory.as_os_str().len() + name.len() + 2;
    let Some(length @ 1..) = wanted.checked_sub(used) else {
        bail!("{} is too long to make a path of {wanted} bytes in", directory.display());
    };
    // No name is longer than 255 bytes.
    let mut inner = directory.to_owned();
    let mut left = length;
    while left > 200 {
        inner.push("l".repeat(100));
        left -= 101;
    }
    inner.push("l".repeat(left));
    std::fs::create_dir_all(&inner).with_context(|| format!("create {}", inner.display()))?;
    let link = inner.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(loader, &link).with_context(|| format!("link {}", loader.display()))?;
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> View {
        View {
            interpreter: Some("/lib/ld.so".into()),
            runpath: Some("$ORIGIN/../lib".into()),
            needed: vec!["libutil.so.1".into()],
            soname: Some("libx.so".into()),
            ..View::default()
        }
    }

    #[test]
    fn the_new_strings_have_the_lengths_that_the_measurements_had() {
        let directory = tempfile::tempdir().unwrap();
        let link = long_interpreter(directory.path(), Path::new("/lib64/ld-linux-x86-64.so.2")).unwrap();
        assert_eq!(link.as_os_str().len(), 120);
        let edits = Edits::new(&old(), Some(&link), None);
        assert_eq!(edits.path(Step::First).len(), "$ORIGIN/../lib".len() + 200);
        assert_eq!(edits.strings(Step::First), 121 + 215);
        assert_ne!(edits.path(Step::First), edits.path(Step::Second));
    }

    #[test]
    fn a_file_that_did_not_change_is_seen_as_such() {
        let edits = Edits::new(&old(), Some(Path::new("/new")), None);
        assert_eq!(
            edits.missing(Step::Second, &old()),
            [
                "the interpreter did not change: /lib/ld.so",
                "the search path did not change: $ORIGIN/../lib",
                "the soname did not change: libx.so",
                "librt.so.1 is not needed"
            ]
        );
        let done = View {
            interpreter: Some("/new".into()),
            runpath: Some(edits.path(Step::Second).into()),
            needed: vec!["librt.so.1".into()],
            soname: Some("libx.so.patched".into()),
            ..View::default()
        };
        assert!(edits.missing(Step::Second, &done).is_empty());
    }

    #[test]
    fn a_kept_rpath_is_asked_for_by_its_flag() {
        let view = View { rpath: Some("$ORIGIN".into()), ..View::default() };
        let edits = Edits::new(&view, None, Some(Path::new("/opt/x")));
        let words = edits.arguments(Step::First);
        assert!(matches!(&words[..], [a, b, c] if a == "--set-rpath" && b.starts_with("/opt/x:/nowhere/first-x") && c == "--force-rpath"));
    }
}
