//! `--run-check`: original and result are started one after the other at the same path, a copy beside
//! links to their neighbours, so that `$ORIGIN` leads where it did. What each did is compared.

use super::interrupt;
use crate::failure::Failure;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use store::atomic::TreeBuilder;
use store::cache::Cache;
use store::root::{Places, StoreRoot, Sub};

/// How long each may run.
const TIME_MOST: Duration = Duration::from_secs(10);
/// How much of what each prints is compared.
const OUTPUT_MOST: u64 = 16 << 20;
/// The most neighbours that get a link.
const NEIGHBOURS_MOST: usize = 4096;

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    /// It could not be started: errno's text.
    NotStarted(String),
    /// It was still running at the end; how much it had printed by then is chance.
    Ran,
    Ended {
        status: String,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
}

impl Deed {
    /// Whether the program itself ran, as against a loader that gave up (status 127, elf/rtld.c).
    fn began(&self) -> bool {
        match self {
            Deed::NotStarted(_) => false,
            Deed::Ran => true,
            Deed::Ended { status, .. } => status != "exit status 127",
        }
    }

    fn text(&self) -> String {
        match self {
            Deed::NotStarted(why) => format!("could not be started ({why})"),
            Deed::Ran => "was still running after ten seconds".to_owned(),
            Deed::Ended { status, stdout, stderr } => {
                format!("ended with {status}, {} bytes of output and {} of messages", stdout.len(), stderr.len())
            }
        }
    }
}

/// Runs both; `Ok` says what they had in common.
pub(super) fn compare(path: &Path, original: &[u8], patched: &[u8], words: &str) -> Result<String, Failure> {
    let root = StoreRoot::choose(&Places::from_env())?;
    let place = TreeBuilder::new(&root.make(Sub::Cache)?)?;
    let real = std::fs::canonicalize(path).map_err(|e| Failure::own(format!("run check of {}: {e}", path.display())))?;
    let copy = Copy::beside(place.path(), &real)?;
    let before = copy.run(original, words)?;
    let after = copy.run(patched, words)?;
    let name = path.display();
    if before.began() && before != after || !after.began() {
        return Err(Failure::own(format!(
            "run check of {name}: the original {}, the result {}; nothing was changed",
            before.text(),
            after.text()
        )));
    }
    Ok(match before.began() {
        true => format!("run check: both {}, with the same content", after.text().trim_start_matches("was ")),
        false => format!("run check: the original {}, the result {}", before.text(), after.text()),
    })
}

/// Where a copy is started.
struct Copy {
    cache: Cache,
    directory: String,
    name: String,
}

impl Copy {
    fn beside(place: &Path, real: &Path) -> Result<Copy, Failure> {
        let text = |name: Option<&std::ffi::OsStr>| name.and_then(|n| n.to_str()).unwrap_or("x").to_owned();
        let (own, name) = (real.parent().unwrap_or(Path::new("/")), text(real.file_name()));
        let directory = text(own.file_name());
        let cache = Cache::at(place);
        link(&cache, ".", "around", own.parent().unwrap_or(Path::new("/")), &directory)?;
        link(&cache, "around", &directory, own, &name)?;
        Ok(Copy { cache, directory: format!("around/{directory}"), name })
    }

    fn run(&self, bytes: &[u8], words: &str) -> Result<Deed, Failure> {
        let program = self.cache.fill(&self.directory, &self.name, 0o755, |out| out.write_all(bytes))?;
        let mut command = Command::new(&program);
        command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = match interrupt::unblocked(|| command.spawn()) {
            Ok(child) => child,
            Err(e) => return Ok(Deed::NotStarted(e.to_string())),
        };
        wait(child).map_err(|e| Failure::own(format!("run check: waiting for {}: {e}", self.name)))
    }
}

/// A directory of links to all entries of another but one.
fn link(cache: &Cache, kind: &str, name: &str, from: &Path, except: &str) -> Result<(), Failure> {
    let entries = std::fs::read_dir(from).into_iter().flatten().flatten();
    let found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| name != except)
        .take(NEIGHBOURS_MOST)
        .collect();
    let links: Vec<(&str, &Path)> = found.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    cache.put_links(kind, name, &links)?;
    Ok(())
}

fn wait(mut child: Child) -> io::Result<Deed> {
    let readers = (reader(child.stdout.take()), reader(child.stderr.take()));
    let end = Instant::now() + TIME_MOST;
    let status: Option<ExitStatus> = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= end || interrupt::is_wanted() => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    // What it started goes with it, and closes the pipes.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
    }
    if status.is_none() {
        child.wait()?;
    }
    // A process that left the group may keep the pipe open for ever.
    let [stdout, stderr] = [readers.0, readers.1].map(|reader| reader.recv_timeout(Duration::from_secs(1)).unwrap_or_default());
    Ok(match status {
        None => Deed::Ran,
        Some(status) => {
            let text = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            };
            Deed::Ended { status: text, stdout, stderr }
        }
    })
}

fn reader(pipe: Option<impl Into<OwnedFd>>) -> Receiver<Vec<u8>> {
    let pipe = pipe.map(|pipe| File::from(pipe.into()));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read so far is compared; the rest is read so that nobody waits for a full pipe.
            let _ = Read::by_ref(&mut pipe).take(OUTPUT_MOST).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        // Nobody waits any more if this one was too slow.
        let _ = sender.send(bytes);
    });
    receiver
}
