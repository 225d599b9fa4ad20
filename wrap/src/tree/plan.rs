//! What is to become of a tree, as a value: each file's new interpreter and run path, why, and what
//! cannot be answered. Prints itself and serialises; changes nothing.

use super::walk::Item;
use patcher::{Edit, RpathTag};
use resolver::needs::{Kind, Libc};
use serde::{Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A tree and what becomes of each of its files.
///
/// As JSON: `root`, `files_seen`, `worlds`, `files` and `passed_over`, each with the fields of its type here; paths as
/// text, with `U+FFFD` for what is not UTF-8.
#[derive(Clone, Debug, Serialize)]
pub struct TreePlan {
    /// The tree, links resolved.
    #[serde(serialize_with = "text")]
    pub root: PathBuf,
    /// How many regular files were looked at.
    pub files_seen: usize,
    /// Whose libraries answer, for each architecture and C library of the tree.
    pub worlds: Vec<WorldChoice>,
    /// The ELF files, sorted by path, hard links once.
    pub files: Vec<FilePlan>,
    /// What could not be looked at.
    pub passed_over: Vec<PassedOver>,
}

/// Whose libraries answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// This machine's.
    Host,
    /// An archive's.
    Archive,
}

/// The choice for one architecture and C library.
#[derive(Clone, Debug, Serialize)]
pub struct WorldChoice {
    /// The architecture's short name.
    pub arch: String,
    /// The C library.
    pub libc: Libc,
    /// Whose libraries.
    pub world: World,
    /// The loader that programs get which have none.
    #[serde(serialize_with = "maybe_text")]
    pub loader: Option<PathBuf>,
    /// Why not another world, one sentence each.
    pub passed_over: Vec<String>,
}

/// Something of the tree that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// What.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// One file and what becomes of it.
#[derive(Clone, Debug, Serialize)]
pub struct FilePlan {
    /// The file.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// Its other names in the tree (hard links).
    #[serde(serialize_with = "texts")]
    pub other_names: Vec<PathBuf>,
    /// How many names it has outside of the tree; those keep the old content.
    pub names_outside: u64,
    /// What kind of file it is.
    pub kind: Kind,
    /// Another interpreter.
    pub interpreter: Option<Interpreter>,
    /// Another run path.
    pub run_path: Option<RunPath>,
    /// Needs that get the name under which a file of the tree lies.
    pub renamed: Vec<Renamed>,
    /// What answers each need.
    pub needs: Vec<Answer>,
    /// What the patcher says of the edit: what is lost by it, whether it cannot be undone.
    pub notes: Vec<String>,
    /// What keeps the file from working.
    pub problems: Vec<Problem>,
}

impl FilePlan {
    /// A file to which nothing happens.
    pub(super) fn untouched(item: &Item) -> FilePlan {
        FilePlan {
            path: item.path.clone(),
            other_names: item.other_names.clone(),
            names_outside: item.names_outside,
            kind: item.needs.kind,
            interpreter: None,
            run_path: None,
            renamed: Vec::new(),
            needs: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// Another `PT_INTERP`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    /// As it is.
    pub old: String,
    /// As it will be.
    #[serde(serialize_with = "text")]
    pub new: PathBuf,
}

/// Another `DT_RUNPATH` or `DT_RPATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunPath {
    /// `RUNPATH`, or `RPATH` where libraries that cannot be patched must inherit it.
    pub tag: Tag,
    /// As it is.
    pub old: Option<String>,
    /// As it will be.
    #[serde(serialize_with = "os_text")]
    pub new: OsString,
}

/// Which tag holds the run path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tag {
    /// `DT_RUNPATH`.
    #[serde(rename = "RUNPATH")]
    Runpath,
    /// `DT_RPATH`.
    #[serde(rename = "RPATH")]
    Rpath,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Tag::Runpath { "RUNPATH" } else { "RPATH" })
    }
}

/// A need under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// The name as it is.
    pub old: String,
    /// The name of the file.
    pub new: String,
}

/// What answers a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The name that is needed.
    pub name: String,
    /// The file; none for what the loader answers itself and for what is missing.
    #[serde(serialize_with = "maybe_text")]
    pub file: Option<PathBuf>,
    /// The rule that found it, in words.
    pub rule: String,
}

/// A need that is not, or wrongly, answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Problem {
    /// Nothing has it.
    Missing {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
        /// The package that has it, as far as the local indexes know.
        package: Option<String>,
    },
    /// What has the name lacks a symbol version.
    Version {
        /// The name.
        name: String,
        /// The version that is not there.
        version: String,
        /// The file that was passed over for it.
        #[serde(serialize_with = "text")]
        found: PathBuf,
        /// The newest version of the same family that it has.
        newest: Option<String>,
    },
    /// Two directories must each come before the other.
    Order {
        /// The name.
        name: String,
        /// The file that is wanted.
        #[serde(serialize_with = "text")]
        wanted: PathBuf,
        /// The directory in which another of that name is found first.
        #[serde(serialize_with = "text")]
        first: PathBuf,
    },
    /// The file cannot be edited.
    Refused {
        /// Why, as the patcher says it.
        reason: String,
    },
    /// A directory whose name would read as something else in a run path.
    Unnameable {
        /// The directory.
        #[serde(serialize_with = "text")]
        directory: PathBuf,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing { name, reason, package: None } => write!(f, "{name} is missing: {reason}"),
            Problem::Missing { name, reason, package: Some(package) } => write!(f, "{name} is missing: {reason}; {package} has it"),
            Problem::Version { name, version, found, newest: Some(newest) } => {
                write!(f, "{version} of {name} is missing: {} has {newest}", found.display())
            }
            Problem::Version { name, version, found, newest: None } => {
                write!(f, "{version} of {name} is missing: {} defines no such version", found.display())
            }
            Problem::Order { name, wanted, first } => {
                write!(f, "{name} should be {}, but {} has another and is needed before it", wanted.display(), first.display())
            }
            Problem::Refused { reason } => write!(f, "it cannot be edited and stays as it is: {reason}"),
            Problem::Unnameable { directory } => write!(f, "{} cannot be named in a run path: it holds ':' or '$'", directory.display()),
        }
    }
}

impl FilePlan {
    /// Whether anything changes.
    pub fn changes(&self) -> bool {
        self.interpreter.is_some() || self.run_path.is_some() || !self.renamed.is_empty()
    }

    /// What to ask the patcher for.
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        edits.extend(self.interpreter.as_ref().map(|i| Edit::Interpreter(i.new.as_os_str().as_bytes().to_vec())));
        edits.extend(self.run_path.as_ref().map(|path| {
            let tag = if path.tag == Tag::Runpath { RpathTag::Runpath } else { RpathTag::Rpath };
            if path.new.is_empty() { Edit::RemoveRpath } else { Edit::Rpath { value: path.new.as_bytes().to_vec(), tag } }
        }));
        if !self.renamed.is_empty() {
            let pairs = self.renamed.iter().map(|r| (r.old.clone().into_bytes(), r.new.clone().into_bytes()));
            edits.push(Edit::ReplaceNeeded(pairs.collect()));
        }
        edits
    }
}

impl TreePlan {
    /// The files that change.
    pub fn changed(&self) -> impl Iterator<Item = &FilePlan> {
        self.files.iter().filter(|file| file.changes())
    }

    /// How many needs are not answered.
    pub fn problems(&self) -> usize {
        self.files.iter().map(|file| file.problems.len()).sum()
    }

    fn short<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.root).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path)
    }
}

impl fmt::Display for TreePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.files.iter().filter(|file| file.kind.has_loader() || file.kind.is_static()).count();
        let counts = (self.files_seen, programs, self.files.len() - programs, self.changed().count());
        let many = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
        let [programs, libraries] = [many(counts.1, "program", "programs"), many(counts.2, "library", "libraries")];
        let files = many(counts.0, "file", "files");
        writeln!(f, "{}: {files}, {programs}, {libraries}; {} to change", self.root.display(), counts.3)?;
        for choice in &self.worlds {
            let whose = if choice.world == World::Host { "this machine's" } else { "the archive's" };
            let libc = if choice.libc == Libc::Glibc { "glibc" } else { "musl" };
            write!(f, "  {} for {libc}: {whose} libraries", choice.arch)?;
            match &choice.loader {
                Some(loader) => writeln!(f, ", loader {}", loader.display())?,
                None => writeln!(f, ", no loader")?,
            }
            for reason in &choice.passed_over {
                writeln!(f, "    {reason}")?;
            }
            if choice.world == World::Archive {
                writeln!(
                    f,
                    "    the result needs the store where it is, and looks for what it opens by name in this machine's directories"
                )?;
            }
        }
        for file in self.files.iter().filter(|file| file.changes() || !file.problems.is_empty()) {
            write!(f, "{}", Shown { plan: self, file })?;
        }
        for other in &self.passed_over {
            writeln!(f, "passed over {}: {}", self.short(&other.path).display(), other.reason)?;
        }
        Ok(())
    }
}

/// One file as lines.
struct Shown<'p> {
    plan: &'p TreePlan,
    file: &'p FilePlan,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { plan, file } = self;
        writeln!(f, "{}", plan.short(&file.path).display())?;
        for name in &file.other_names {
            writeln!(f, "  also          {}", plan.short(name).display())?;
        }
        if file.names_outside > 0 && file.changes() {
            writeln!(f, "  note          {} names outside of the tree keep the old content", file.names_outside)?;
        }
        if let Some(interpreter) = &file.interpreter {
            writeln!(f, "  interpreter   {} -> {}", interpreter.old, interpreter.new.display())?;
        }
        if let Some(path) = &file.run_path {
            let old = path.old.as_deref().unwrap_or("(none)");
            writeln!(f, "  {:<12}  {old} -> {}", path.tag.to_string(), Path::new(&path.new).display())?;
        }
        for renamed in &file.renamed {
            writeln!(f, "  needs         {} -> {}", renamed.old, renamed.new)?;
        }
        for answer in file.needs.iter().filter(|_| file.changes()) {
            if let Some(found) = &answer.file {
                writeln!(f, "    {:<24} {}  ({})", answer.name, plan.short(found).display(), answer.rule)?;
            }
        }
        file.notes.iter().try_for_each(|note| writeln!(f, "  note          {note}"))?;
        file.problems.iter().try_for_each(|problem| writeln!(f, "  problem       {problem}"))
    }
}

fn os_text<S: Serializer>(value: &OsStr, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Path::new(value).display())
}

fn text<S: Serializer>(value: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&value.display())
}

fn maybe_text<S: Serializer>(value: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|path| path.display().to_string()).serialize(to)
}

fn texts<S: Serializer>(values: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(|path| path.display().to_string()))
}
