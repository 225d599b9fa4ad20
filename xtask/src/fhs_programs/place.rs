//! Where the rows run: a machine without libraries (the corpus's bare root) or this machine, an ordinary user, a home
//! with a store that is kept from call to call and has one path on both. Starts programs and says how they ended; judges nothing.

use crate::corpus::bare::{self, Bare};
use crate::process::{self, Ended};
use crate::{corpus, dist};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// No step may take longer, downloads included.
const LIMIT: Duration = Duration::from_secs(900);

/// Where the machine without libraries has xeno.
const XENO: &str = "/opt/xeno/xeno";

pub(super) struct Place {
    cache: PathBuf,
    dist: PathBuf,
    busybox: PathBuf,
    applets: Vec<String>,
    home: PathBuf,
    /// Where pictures go.
    pub(super) pictures: PathBuf,
}

/// What a start is given besides its words.
#[derive(Clone, Default)]
pub(super) struct Given {
    /// Directories: on the host, in the root without libraries.
    pub(super) binds: Vec<(PathBuf, PathBuf)>,
    pub(super) variables: Vec<(String, String)>,
}

impl Place {
    pub(super) fn new(arguments: &[String]) -> Result<Place> {
        let cache = corpus::cache(arguments)?;
        let home = cache.join("fhs-home");
        let pictures = crate::target().join("fhs-programs");
        for directory in [&home, &pictures] {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        let (uid, gid) = bare::user();
        chown(&home, Some(uid), Some(gid)).context("give the home to its user")?;
        let busybox = bare::busybox(&cache)?;
        Ok(Place { applets: bare::applets(&busybox)?, busybox, dist: dist::tried()?, cache, home, pictures })
    }

    /// The tree of a row of the corpus, fetched, and the program's path below it.
    pub(super) fn corpus(&self, row: &str) -> Result<(PathBuf, String)> {
        corpus::run(&["--fetch-only", "--rows", row, "--dir", &self.cache.display().to_string()].map(str::to_owned))?;
        corpus::tree(row, &self.cache)
    }

    /// A directory that is kept, with its path in the cache.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.cache.join(name)
    }

    /// Writes a file into the user's home; returns its path.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.home.join(name);
        fs::write(&path, text).with_context(|| format!("write {name}"))?;
        Ok(path.display().to_string())
    }

    fn variables(&self, given: &Given) -> BTreeMap<String, String> {
        let mut environment = bare::mirrors();
        let path = "/usr/local/bin:/usr/bin:/bin:/usr/games";
        let home = self.home.display().to_string();
        let set = [
            ("HOME", home.as_str()),
            ("USER", "user"),
            ("PATH", path),
            ("LANG", "C.UTF-8"),
            ("SDL_AUDIODRIVER", "dummy"),
            ("TERM", "dumb"),
        ];
        environment.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment.extend(given.variables.iter().cloned());
        environment
    }

    /// `xeno WORDS…` where there is no library at all.
    pub(super) fn bare(&self, words: &[&str], given: &Given) -> Result<Start> {
        let work = tempfile::Builder::new().prefix("xeno-fhs-").tempdir().context("make a directory for a root")?;
        let root = work.path().join("root");
        fs::create_dir(&root).context("make the root's directory")?;
        let mut binds = vec![(self.home.clone(), self.home.clone()), (self.dist.clone(), "/opt/xeno".into())];
        binds.extend(given.binds.iter().cloned());
        let arguments = std::iter::once(XENO).chain(words.iter().copied()).map(str::to_owned).collect();
        let (uid, gid) = bare::user();
        let (busybox, applets) = (self.busybox.clone(), self.applets.clone());
        let spec = Bare { root, busybox, applets, binds, uid, gid, arguments, environment: self.variables(given) };
        let mut command = Command::new(std::env::current_exe().context("find xtask")?);
        command.args(["enter-bare-root", &serde_json::to_string(&spec).context("describe the root")?]);
        Ok(Start { command, _work: Some(work) })
    }

    /// `xeno WORDS…` on this machine.
    pub(super) fn here(&self, words: &[&str], given: &Given) -> Result<Start> {
        let (uid, gid) = bare::user();
        let mut command = Command::new(self.dist.join("xeno"));
        command.args(words).current_dir("/").env_clear().envs(self.variables(given));
        if nix::unistd::geteuid().is_root() {
            command.uid(uid).gid(gid);
        }
        Ok(Start { command, _work: None })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

/// A program about to be started.
pub(super) struct Start {
    command: Command,
    /// Removed when it has ended.
    _work: Option<tempfile::TempDir>,
}

impl Start {
    /// How it ended.
    pub(super) fn ended(mut self) -> Result<Ended> {
        process::ended(&mut self.command, LIMIT)
    }

    /// What it printed; it has to succeed.
    pub(super) fn said(mut self) -> Result<String> {
        let ended = process::ended(&mut self.command, LIMIT)?;
        if !ended.succeeded() {
            bail!("{:?} ended with {}: {}", self.command, ended.end, ended.last_line());
        }
        Ok(ended.stdout + &ended.stderr)
    }

    /// Runs beside the work, and is ended when that is done. What it wrote goes with an error of the work.
    pub(super) fn during<T>(mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let output = tempfile::NamedTempFile::new().context("make a file for what a program writes")?;
        let file = || output.reopen().context("share a file");
        self.command.stdin(Stdio::null()).stdout(file()?).stderr(file()?).process_group(0);
        let mut child = self.command.spawn().with_context(|| format!("start {:?}", self.command))?;
        let outcome = work();
        let early = end(&mut child)?;
        outcome.with_context(|| {
            let text = fs::read(output.path()).unwrap_or_default();
            format!("{early}; it said: {}", String::from_utf8_lossy(&text).trim())
        })
    }
}

/// Ends a process group; says whether its leader had ended by itself.
fn end(child: &mut Child) -> Result<String> {
    let before = child.try_wait().context("look at the program")?;
    let group = Pid::from_raw(i32::try_from(child.id()).context("a process id out of range")?);
    killpg(group, Signal::SIGTERM).ok();
    std::thread::sleep(Duration::from_millis(300));
    killpg(group, Signal::SIGKILL).ok();
    child.wait().context("wait for the program")?;
    Ok(before.map_or_else(|| "it still ran".to_owned(), |status| format!("it had ended with {status}")))
}
