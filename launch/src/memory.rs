//! The decision cache: a start that was decided once is done again without asking, as long as every
//! file it rested on is still the same one.
//!
//! A memory is a small file of NUL-terminated fields. It is read with a handful of system calls,
//! never trusted beyond its shape, and dropped as soon as one stat differs; deciding again is the
//! only way it is renewed, so an updated program is always noticed.

use crate::error::Error;
use crate::rung::Rung;
use crate::start::Start;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use store::cache::Cache;

/// First field; changes whenever the meaning of the rest does.
const VERSION: &[u8] = b"xeno start 5";
/// The subdirectory of the cache.
const KIND: &str = "start";
/// The largest memory that is read, bytes.
const SIZE_MAX: u64 = 4 << 20;

/// What identifies a question: everything that may change its answer and is not a watched file.
#[derive(Clone, Debug)]
pub struct Key {
    pub(crate) name: String,
}

impl Key {
    /// The key of a question by its parts: program, environment that loaders read, strategy, lock …
    pub fn new(parts: &[&OsStr]) -> Key {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut name = String::with_capacity(40);
        for byte in hash.finalize().iter().take(20) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Key { name }
    }

    /// The name of the report that belongs to this decision.
    fn report(&self) -> String {
        format!("{}.json", self.name)
    }
}

/// What is compared to see that a file is still the one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// `None` where there is no file: a loader that appears later changes the answer as well.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let m = fs::metadata(path).ok()?;
        Some(Stamp { dev: m.dev(), ino: m.ino(), size: m.size(), mtime: (m.mtime(), m.mtime_nsec()), ctime: (m.ctime(), m.ctime_nsec()) })
    }

    pub(crate) fn text(stamp: Option<Stamp>) -> String {
        match stamp {
            None => "-".to_owned(),
            Some(s) => format!("{}:{}:{}:{}.{}:{}.{}", s.dev, s.ino, s.size, s.mtime.0, s.mtime.1, s.ctime.0, s.ctime.1),
        }
    }
}

/// What is remembered of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// What to do.
    pub start: &'a Start,
    /// The files it rests on.
    pub watched: &'a [PathBuf],
    /// The answer for machines.
    pub report: &'a str,
    /// When the first of the files was looked at.
    pub begun: SystemTime,
    /// How long it is good for; for ever if nothing that may pass had a part in it.
    pub lasts: Option<Duration>,
}

/// Remembers a decision, unless one of its files has changed since it was begun.
///
/// # Errors
/// When the memory cannot be written; the caller may go on without.
pub fn store(cache: &Cache, key: &Key, decided: &Decided<'_>) -> Result<(), Error> {
    let Decided { start, watched, report, begun, lasts } = *decided;
    // A file that changed while the question was answered may not be the one that was asked about.
    let made = |path: &Path| path.starts_with(cache.root());
    if watched.iter().any(|path| !made(path) && changed_since(path, begun)) {
        return Ok(());
    }
    let mut out: Vec<u8> = Vec::new();
    let mut field = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.push(0);
    };
    field(VERSION);
    field(start.rung.name().as_bytes());
    if let Some(lasts) = lasts {
        field(b"until");
        field(seconds(begun + lasts).to_string().as_bytes());
        field(b"");
    }
    for (tag, pairs) in [("link", &start.links), ("bind", &start.binds)] {
        for (a, b) in pairs {
            field(tag.as_bytes());
            field(a.as_os_str().as_bytes());
            field(b.as_os_str().as_bytes());
        }
    }
    for top in &start.extend {
        field(b"extend");
        field(top.as_os_str().as_bytes());
        field(b"");
    }
    if let Some(farm) = &start.farm {
        field(b"farm");
        field(farm.as_os_str().as_bytes());
        field(b"");
    }
    for word in &start.loader {
        field(b"loader");
        field(word.as_bytes());
        field(b"");
    }
    for path in watched {
        field(b"file");
        field(path.as_os_str().as_bytes());
        field(Stamp::text(Stamp::of(path)).as_bytes());
    }
    field(b"end");
    let fail = |e| Error::own("remember", "the decision", e);
    // The report first: a start that is recalled has one.
    cache.replace(KIND, &key.report(), report.as_bytes(), 0o600).map_err(fail)?;
    cache.replace(KIND, &key.name, &out, 0o600).map_err(fail)?;
    Ok(())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a file was touched after `begun`: what was read of it since then may not be what it is now.
pub(crate) fn changed_since(path: &Path, begun: SystemTime) -> bool {
    // The kernel stamps files with a clock that lags by up to a tick.
    let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(Duration::from_millis(20));
    let seconds = i64::try_from(begun.as_secs()).unwrap_or(i64::MAX);
    fs::metadata(path).is_ok_and(|m| (m.ctime(), m.ctime_nsec()) >= (seconds, i64::from(begun.subsec_nanos())))
}

/// Recalls a start, if every file it rests on is unchanged.
pub fn recall(cache: &Cache, key: &Key) -> Option<Start> {
    let path = cache.path(KIND, &key.name);
    let meta = fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() <= SIZE_MAX)?;
    // Another user's memory would be another user's program.
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return None;
    }
    parse(&fs::read(&path).ok()?)
}

fn parse(bytes: &[u8]) -> Option<Start> {
    let mut fields = bytes.split(|b| *b == 0);
    if fields.next()? != VERSION {
        return None;
    }
    let rung: Rung = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mut start = Start { rung, ..Start::direct() };
    loop {
        let tag = fields.next()?;
        if tag == b"end" {
            return Some(start);
        }
        let (first, second) = (fields.next()?, fields.next()?);
        let path = |b: &[u8]| PathBuf::from(OsStr::from_bytes(b));
        match tag {
            b"link" => start.links.push((path(first), path(second))),
            b"until" if std::str::from_utf8(first).ok()?.parse::<u64>().ok()? > seconds(SystemTime::now()) => {}
            b"farm" => start.farm = Some(path(first)),
            b"extend" => start.extend.push(path(first)),
            b"bind" => start.binds.push((path(first), path(second))),
            b"loader" => start.loader.push(OsString::from(OsStr::from_bytes(first))),
            b"file" if Stamp::text(Stamp::of(&path(first))).as_bytes() == second => {}
            _ => return None,
        }
    }
}

/// The report that was stored with a start.
pub fn recall_report(cache: &Cache, key: &Key) -> Option<String> {
    fs::read_to_string(cache.path(KIND, &key.report())).ok()
}

/// Forgets a decision that turned out not to work.
pub fn forget(cache: &Cache, key: &Key) {
    cache.forget(KIND, &key.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begun after every change the test makes.
    fn decided<'a>(start: &'a Start, watched: &'a [PathBuf]) -> Decided<'a> {
        Decided { start, watched, report: "{}", begun: SystemTime::now() + Duration::from_secs(60), lasts: None }
    }

    fn start() -> Start {
        Start {
            rung: Rung::Overlay,
            extend: vec!["/usr".into()],
            links: vec![("/.xeno/64.so".into(), "/s/ld.so".into())],
            binds: vec![("/c/copy".into(), "/app/it's a\nname".into())],
            loader: vec!["/ld.so".into(), "--argv0".into()],
            farm: Some("/c/fhs/key".into()),
        }
    }

    #[test]
    fn what_was_stored_is_recalled_until_a_watched_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("program");
        let absent = dir.path().join("absent");
        fs::write(&watched, "one").unwrap();
        let (key, cache) = (Key::new(&[OsStr::new("a"), OsStr::new("b")]), Cache::at(dir.path()));
        store(&cache, &key, &decided(&start(), &[watched.clone(), absent.clone()])).unwrap();
        assert_eq!(recall(&cache, &key), Some(start()));
        fs::write(&absent, "").unwrap();
        assert_eq!(recall(&cache, &key), None, "a file that appears is a change");
        fs::remove_file(&absent).unwrap();
        assert_eq!(recall(&cache, &key), Some(start()));
        fs::write(&watched, "three").unwrap();
        assert_eq!(recall(&cache, &key), None);
    }

    #[test]
    fn a_program_that_changed_while_it_was_asked_about_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let cache = Cache::at(dir.path().join("cache"));
        let key = Key::new(&[OsStr::new("a")]);
        let begun = SystemTime::now();
        fs::write(&program, "new").unwrap();
        store(&cache, &key, &Decided { begun, ..decided(&start(), &[program]) }).unwrap();
        assert_eq!(recall(&cache, &key), None);
    }

    #[test]
    fn what_lasts_for_a_time_is_recalled_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, key, start) = (Cache::at(dir.path()), Key::new(&[OsStr::new("a")]), start());
        let lasting = |seconds| Decided { begun: SystemTime::now(), lasts: Some(Duration::from_secs(seconds)), ..decided(&start, &[]) };
        store(&cache, &key, &lasting(600)).unwrap();
        assert_eq!(recall(&cache, &key), Some(start.clone()));
        store(&cache, &key, &lasting(0)).unwrap();
        assert_eq!(recall(&cache, &key), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[&str]| Key::new(&parts.iter().map(OsStr::new).collect::<Vec<_>>()).name;
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    #[test]
    fn a_damaged_memory_is_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (key, cache) = (Key::new(&[OsStr::new("a")]), Cache::at(dir.path()));
        store(&cache, &key, &decided(&start(), &[])).unwrap();
        let whole = fs::read(cache.path(KIND, &key.name)).unwrap();
        for end in 0..whole.len() - 1 {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
    }
}
