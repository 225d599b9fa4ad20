//! One suite of the archive: its signed Release (fetched at most once a day), and the indexes made from what that vouches for.
//!
//! Everything network-shaped of the provider is here; choosing libraries is not.

use crate::apt::{HostApt, Proxies};
use crate::atomic::{discard, write_hint};
use crate::config::{Config, no_mirror};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetched, Fetcher, Job};
use crate::index::contents::{self, SonameIndex};
use crate::index::packages::{self, PackageFile, PackageIndex};
use crate::index::relations::{self, RelationIndex};
use crate::nar::{hex, parse_sha256};
use crate::openpgp::Keyring;
use crate::progress::Progress;
use crate::release::{Release, format_date};
use crate::root::{StoreRoot, Sub};
use crate::version;
use resolver::arch::Arch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest InRelease that is read; Debian's have 150 KB.
const MAX_INRELEASE: u64 = 8 << 20;

/// Version of [`State`]'s file; an older one is fetched anew.
const STATE_FORMAT: u32 = 1;

/// Which of the two archives a suite belongs to.
fn is_security(pocket: &str) -> bool {
    pocket.ends_with("-security")
}

/// A suite and the two that amend it, in which packages (but no new sonames) are looked for.
fn pockets(suite: &str) -> [String; 3] {
    [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")]
}

/// What a verified Release said, kept so that it need not be verified again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// Base address of the archive it came from.
    pub base: String,
    /// When it was fetched, in seconds since 1970.
    checked: i64,
    /// SHA-256 of the InRelease file.
    pub inrelease: String,
    pub date: i64,
    valid_until: Option<i64>,
    pub signer: String,
    by_hash: bool,
    /// Path, SHA-256 and length of the indexes this crate may want.
    entries: BTreeMap<String, (String, u64)>,
}

impl State {
    fn entry(&self, path: &str) -> Option<(&str, u64)> {
        self.entries.get(path).map(|(hash, size)| (hash.as_str(), *size))
    }

    fn contents(&self, arch: &str) -> Option<Source<'_>> {
        let path = format!("main/Contents-{arch}.gz");
        self.entry(&path).map(|(hash, size)| Source { path, hash, size, suffix: "sonames" })
    }

    fn packages(&self, arch: &str) -> Option<Source<'_>> {
        [".xz", ".gz"].iter().find_map(|ext| {
            let path = format!("main/binary-{arch}/Packages{ext}");
            self.entry(&path).map(|(hash, size)| Source { path, hash, size, suffix: "packages" })
        })
    }

    /// The same file, of which another index is made.
    pub(super) fn relations(&self, arch: &str) -> Option<Source<'_>> {
        self.packages(arch).map(|source| Source { suffix: "relations", ..source })
    }
}

/// A big index of the archive, and the name of the small one made from it.
pub(super) struct Source<'a> {
    path: String,
    hash: &'a str,
    size: u64,
    suffix: &'static str,
}

impl Source<'_> {
    pub(super) fn index_path(&self, root: &StoreRoot) -> PathBuf {
        root.index_dir().join(format!("{}.{}", self.hash, self.suffix))
    }
}

/// One suite for one architecture, ready to be asked.
pub(crate) struct Suite {
    pub name: String,
    pub sonames: SonameIndex,
    /// The suite itself first, then what amends it.
    pockets: Vec<(String, Arc<State>, PackageIndex)>,
}

/// A package file, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub name: String,
    pub pocket: String,
    pub base: String,
    pub file: PackageFile,
}

impl Suite {
    /// The newest version of a package over the suite and what amends it.
    pub(crate) fn package(&self, name: &str) -> Option<Found> {
        self.pockets
            .iter()
            .filter_map(|(pocket, state, index)| {
                let file = index.get(name)?;
                Some(Found { name: name.to_owned(), pocket: pocket.clone(), base: state.base.clone(), file })
            })
            // Of equal versions the first: the suite itself.
            .reduce(|best, next| if version::compare(&next.file.version, &best.file.version).is_gt() { next } else { best })
    }
}

/// Suites by name and architecture; `None` where there is no such thing.
type Suites = BTreeMap<(String, String), Option<Arc<Suite>>>;

#[derive(Clone)]
struct Mirrors {
    archive: String,
    security: Option<String>,
}

/// The archive as this process sees it.
pub(crate) struct Archive {
    pub root: StoreRoot,
    pub config: Config,
    pub offline: bool,
    pub progress: Arc<dyn Progress>,
    mirrors: OnceLock<Result<Mirrors>>,
    fetcher: OnceLock<Fetcher>,
    proxies: OnceLock<Proxies>,
    states: Mutex<BTreeMap<String, Option<Arc<State>>>>,
    suites: Mutex<Suites>,
    warnings: Mutex<Vec<String>>,
}

impl Archive {
    pub(crate) fn new(root: StoreRoot, config: Config, offline: bool, progress: Arc<dyn Progress>) -> Archive {
        Archive {
            root,
            config,
            offline,
            progress,
            mirrors: OnceLock::new(),
            fetcher: OnceLock::new(),
            proxies: OnceLock::new(),
            states: Mutex::default(),
            suites: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    pub(crate) fn warn(&self, text: String) {
        let mut warnings = lock(&self.warnings);
        if !warnings.contains(&text) {
            self.progress.note(&text);
            warnings.push(text);
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// The mirrors: of the configuration, else of the host's apt, else of the shipped configuration.
    fn mirrors(&self) -> Result<&Mirrors> {
        self.mirrors.get_or_init(|| self.find_mirrors()).as_ref().map_err(Error::duplicate)
    }

    fn find_mirrors(&self) -> Result<Mirrors> {
        let d = &self.config.debian;
        let trim = |text: &String| text.trim_end_matches('/').to_owned();
        // An archive on this machine has nothing to do with the host's sources and proxies.
        let local = d.mirror.as_ref().is_some_and(|m| m.starts_with("file:") || m.starts_with('/'));
        let host = if local { HostApt::default() } else { HostApt::read(&d.suites, d.mirror.is_none() || d.security_mirror.is_none()) };
        let _ = self.proxies.set(host.proxies);
        for warning in host.warnings {
            self.warn(warning);
        }
        let archive = d.mirror.as_ref().map(trim).or(host.mirror).or_else(|| d.shipped_mirror.as_ref().map(trim));
        let security =
            d.security_mirror.as_ref().map(trim).or(host.security_mirror).or_else(|| d.shipped_security_mirror.as_ref().map(trim));
        let Some(archive) = archive else { return Err(no_mirror()) };
        if security.is_none() {
            self.warn("no security mirror is known, so security updates are left out; add security-mirror to [debian]".to_owned());
        }
        Ok(Mirrors { archive, security })
    }

    /// The base address for a suite; `None` if no security mirror is known.
    pub(crate) fn base(&self, pocket: &str) -> Result<Option<&str>> {
        let mirrors = self.mirrors()?;
        Ok(if is_security(pocket) { mirrors.security.as_deref() } else { Some(&mirrors.archive) })
    }

    pub(crate) fn fetcher(&self) -> Result<&Fetcher> {
        self.mirrors()?;
        Ok(self.fetcher.get_or_init(|| Fetcher::new(self.proxies.get().cloned().unwrap_or_default(), self.progress.clone())))
    }

    fn state_path(&self, pocket: &str) -> PathBuf {
        self.root.index_dir().join(format!("{pocket}.release"))
    }

    fn stored_state(&self, pocket: &str) -> Option<State> {
        let state: State = serde_json::from_slice(&fs::read(self.state_path(pocket)).ok()?).ok()?;
        let sound = state.format == STATE_FORMAT && state.entries.values().all(|(h, _)| parse_sha256(h).is_some());
        sound.then_some(state)
    }

    /// The suite's Release, if it exists: from the store if it is recent, else from the mirror. `force` asks the mirror in any case.
    pub(crate) fn state(&self, pocket: &str, force: bool) -> Result<Option<Arc<State>>> {
        if !force && let Some(known) = lock(&self.states).get(pocket) {
            return Ok(known.clone());
        }
        let state = self.load_state(pocket, force)?.map(Arc::new);
        lock(&self.states).insert(pocket.to_owned(), state.clone());
        Ok(state)
    }

    fn load_state(&self, pocket: &str, force: bool) -> Result<Option<State>> {
        let stored = self.stored_state(pocket);
        let now = now();
        if self.offline {
            if let Some(state) = &stored
                && state.valid_until.is_some_and(|until| until < now)
            {
                self.warn(format!("the stored index of {pocket} was valid until {}", format_date(state.valid_until.unwrap_or(now))));
            }
            return Ok(stored);
        }
        if let Some(state) = &stored {
            let age = now - state.checked;
            let configured = if is_security(pocket) { &self.config.debian.security_mirror } else { &self.config.debian.mirror };
            let same_mirror = configured.as_ref().is_none_or(|c| c.trim_end_matches('/') == state.base);
            let recent = (0..i64::from(self.config.debian.refresh_hours) * 3600).contains(&age);
            if !force && recent && same_mirror && state.valid_until.is_none_or(|until| until >= now) {
                return Ok(stored);
            }
        }
        let Some(base) = self.base(pocket)? else { return Ok(stored) };
        match self.fetch_state(base, pocket, stored.as_ref(), now) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == Kind::NotFound => {
                let rest = if stored.is_some() { "its stored index is used" } else { "it is left out" };
                self.warn(format!("{pocket} is not on the mirror {base}: {rest}"));
                Ok(stored)
            }
            Err(error) if error.kind() == Kind::Network => match stored {
                Some(state) if state.valid_until.is_none_or(|until| until >= now) => {
                    self.warn(format!("{error}; the index of {pocket} from {} is used", format_date(state.date)));
                    Ok(Some(state))
                }
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn fetch_state(&self, base: &str, pocket: &str, stored: Option<&State>, now: i64) -> Result<State> {
        let address = format!("{base}/dists/{pocket}/InRelease");
        let bytes = self.fetcher()?.small(&address, MAX_INRELEASE)?;
        let inrelease = hex(&Sha256::digest(&bytes));
        let mut state = match stored {
            // Verified before, and not a byte has changed.
            Some(state) if state.inrelease == inrelease && state.base == base => State { checked: now, ..state.clone() },
            _ => {
                let mut keyring = Keyring::embedded()?;
                if let Some(extra) = &self.config.debian.keyring {
                    keyring.add_file(extra)?;
                }
                let verified = keyring.verify(&bytes, &address, now)?;
                let release = Release::parse(&verified.text, &address)?;
                release.check_name(pocket, &address)?;
                release.check_valid(now, &address)?;
                State {
                    format: STATE_FORMAT,
                    base: base.to_owned(),
                    checked: now,
                    inrelease,
                    date: release.date,
                    valid_until: release.valid_until,
                    signer: verified.signer,
                    by_hash: release.by_hash,
                    entries: wanted_entries(&release),
                }
            }
        };
        if state.valid_until.is_some_and(|until| until < now) {
            let release = Release { valid_until: state.valid_until, ..empty_release() };
            release.check_valid(now, &address)?;
        }
        if let Some(old) = stored
            && old.date > state.date
        {
            // A mirror that lags, or one that wants to hide an update: the newer index is kept.
            self.warn(format!(
                "the mirror {base} has {pocket} of {}, older than the stored one of {}: the stored one is used",
                format_date(state.date),
                format_date(old.date)
            ));
            state = old.clone();
        }
        self.root.make(Sub::Index)?;
        let text = serde_json::to_vec(&state).map_err(|e| Error::new(Kind::Io, "write", pocket, e, ""))?;
        write_hint(&self.state_path(pocket), &text)?;
        if let Some(old) = stored {
            self.discard_unnamed(old, &state);
        }
        Ok(state)
    }

    /// Indexes that only the old Release named are no longer reachable.
    fn discard_unnamed(&self, old: &State, new: &State) {
        for (path, (hash, _)) in &old.entries {
            if !new.entries.values().any(|(h, _)| h == hash) {
                let made: &[&str] = if path.contains("Contents") { &["sonames"] } else { &["packages", "relations"] };
                made.iter().for_each(|suffix| discard(&self.root.index_dir().join(format!("{hash}.{suffix}"))));
            }
        }
    }

    /// A suite's Release as this run or the store knows it.
    pub(crate) fn known_state(&self, pocket: &str) -> Option<Arc<State>> {
        let known = lock(&self.states).get(pocket).cloned().flatten();
        known.or_else(|| self.stored_state(pocket).map(Arc::new))
    }

    /// A suite's indexes for an architecture; `None` if the suite is gone or has no such architecture. Fetches and
    /// builds what is missing, unless `local` or offline.
    pub(crate) fn suite(&self, suite: &str, arch: Arch, local: bool) -> Result<Option<Arc<Suite>>> {
        let Some(debian) = arch.debian() else { return Ok(None) };
        let key = (suite.to_owned(), debian.to_owned());
        if let Some(known) = lock(&self.suites).get(&key) {
            return Ok(known.clone());
        }
        let opened = if local || self.offline { self.open_local(suite, debian) } else { self.open_suite(suite, debian)? };
        let opened = opened.map(Arc::new);
        if opened.is_some() || !local {
            lock(&self.suites).insert(key, opened.clone());
        }
        Ok(opened)
    }

    /// Only the soname index of a suite, as it lies in the store: for questions that must be answered at once.
    pub(crate) fn stored_sonames(&self, suite: &str, arch: &str) -> Option<SonameIndex> {
        let state = self.stored_state(suite)?;
        SonameIndex::open(&state.contents(arch)?.index_path(&self.root)).ok()
    }

    fn open_local(&self, suite: &str, arch: &str) -> Option<Suite> {
        let states = pockets(suite).map(|p| self.stored_state(&p).map(|s| (p, Arc::new(s))));
        self.assemble(suite, arch, states.into_iter().flatten().collect())
    }

    /// The Releases of a suite and of what amends it, as far as there are any.
    pub(super) fn pocket_states(&self, suite: &str) -> Result<Vec<(String, Arc<State>)>> {
        let names = pockets(suite);
        if self.offline {
            return Ok(names.into_iter().filter_map(|p| self.stored_state(&p).map(|s| (p, Arc::new(s)))).collect());
        }
        let states: Vec<Result<Option<Arc<State>>>> = thread::scope(|scope| {
            let threads: Vec<_> = names.iter().map(|p| scope.spawn(|| self.state(p, false))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or(Ok(None))).collect()
        });
        let mut found = Vec::new();
        for (name, state) in names.into_iter().zip(states) {
            if let Some(state) = state? {
                found.push((name, state));
            }
        }
        Ok(found)
    }

    fn open_suite(&self, suite: &str, arch: &str) -> Result<Option<Suite>> {
        let found = self.pocket_states(suite)?;
        match found.first() {
            Some((name, state)) if name == suite && state.contents(arch).is_some() => {}
            _ => return Ok(None),
        }
        let mut sources = Vec::new();
        for (name, state) in &found {
            let contents = if name == suite { state.contents(arch) } else { None };
            sources.extend(contents.into_iter().chain(state.packages(arch)).map(|source| (name.as_str(), state, source)));
        }
        self.build_missing(suite, arch, sources)?;
        match self.assemble(suite, arch, found) {
            Some(suite) => Ok(Some(suite)),
            None => Err(Error::new(
                Kind::Malformed,
                "open the index of",
                suite,
                "an index that was just made cannot be read",
                format!("delete {} and try again", self.root.index_dir().display()),
            )),
        }
    }

    fn assemble(&self, suite: &str, arch: &str, states: Vec<(String, Arc<State>)>) -> Option<Suite> {
        let (first, main) = states.first()?;
        if first != suite {
            return None;
        }
        let sonames = SonameIndex::open(&main.contents(arch)?.index_path(&self.root)).ok()?;
        let mut pockets = Vec::new();
        for (name, state) in states {
            let Some(source) = state.packages(arch) else { continue };
            match PackageIndex::open(&source.index_path(&self.root)) {
                Ok(index) => pockets.push((name, state, index)),
                Err(_) if name != suite => {}
                Err(_) => return None,
            }
        }
        Some(Suite { name: suite.to_owned(), sonames, pockets })
    }

    /// Fetches the big indexes whose small ones are missing or unreadable, and makes those.
    pub(super) fn build_missing(&self, suite: &str, arch: &str, sources: Vec<(&str, &Arc<State>, Source<'_>)>) -> Result<()> {
        let index_dir = self.root.make(Sub::Index)?;
        let mut tasks = Vec::new();
        for (name, state, source) in sources {
            let path = source.index_path(&self.root);
            let sound = match source.suffix {
                "sonames" => SonameIndex::open(&path).is_ok(),
                "relations" => RelationIndex::open(&path).is_ok(),
                _ => PackageIndex::open(&path).is_ok(),
            };
            if !sound {
                tasks.push(((job(name, state, &source)?, source, path), name));
            }
        }
        if tasks.is_empty() {
            return Ok(());
        }
        crate::atomic::sweep(&index_dir, None);
        let downloads = self.root.make(Sub::Download)?;
        let jobs: Vec<Job> = tasks.iter().map(|((job, _, _), _)| job.clone()).collect();
        let files = self.fetcher()?.all(&format!("index of {suite} ({arch})"), &downloads, &jobs);
        let mut ready = Vec::new();
        for ((task, pocket), file) in tasks.iter().zip(files) {
            match file {
                Ok(file) => ready.push((task, file)),
                // A mirror in the middle of an update lists what it does not have yet. That must not stop everything;
                // an attacker on the way gains nothing, as he could withhold the whole suite.
                Err(error) if *pocket != suite && matches!(error.kind(), Kind::NotFound | Kind::Size | Kind::Hash) => {
                    self.warn(format!("{error}; {pocket} ({arch}) is left out this time"));
                }
                Err(error) => return Err(error),
            }
        }
        // One after the other: each needs tens of megabytes, and memory is promised to stay small.
        let built: Result<()> = ready.iter().try_for_each(|((job, source, path), file)| build(file, &job.label, source, path));
        ready.iter().for_each(|(_, file)| file.discard());
        built
    }
}

fn stopped(suite: &str) -> Error {
    Error::new(Kind::Malformed, "index", suite, "the index could not be read", "try again later, or another mirror")
}

fn job(pocket: &str, state: &State, source: &Source<'_>) -> Result<Job> {
    let plain = format!("{}/dists/{pocket}/{}", state.base, source.path);
    let mut addresses = Vec::new();
    if state.by_hash
        && let Some((directory, _)) = source.path.rsplit_once('/')
    {
        addresses.push(format!("{}/dists/{pocket}/{directory}/by-hash/SHA256/{}", state.base, source.hash));
    }
    addresses.push(plain);
    let sha256 = parse_sha256(source.hash).ok_or_else(|| stopped(pocket))?;
    Ok(Job { label: format!("{pocket}/{}", source.path), addresses, size: source.size, sha256 })
}

fn build(file: &Fetched, label: &str, source: &Source<'_>, to: &Path) -> Result<()> {
    let input = file.reader();
    let mut reader: Box<dyn BufRead> = if source.path.ends_with(".xz") {
        Box::new(BufReader::with_capacity(256 * 1024, lzma_rust2::XzReader::new(BufReader::with_capacity(64 * 1024, input), true)))
    } else {
        Box::new(BufReader::with_capacity(256 * 1024, flate2::read::MultiGzDecoder::new(input)))
    };
    match source.suffix {
        "sonames" => contents::build(&mut reader, label, to),
        "relations" => relations::build(&mut reader, label, to),
        _ => packages::build(&mut reader, label, to),
    }
}

/// Of a thousand entries the dozen that may be wanted.
fn wanted_entries(release: &Release) -> BTreeMap<String, (String, u64)> {
    let known = |arch: &str| Arch::from_debian(arch).is_some();
    release
        .entries
        .iter()
        .filter(|(path, _)| {
            let contents = path.strip_prefix("main/Contents-").and_then(|p| p.strip_suffix(".gz")).is_some_and(known);
            let packages = path
                .strip_prefix("main/binary-")
                .and_then(|p| p.strip_suffix("/Packages.xz").or_else(|| p.strip_suffix("/Packages.gz")))
                .is_some_and(known);
            contents || packages
        })
        .map(|(path, entry)| (path.clone(), (hex(&entry.sha256), entry.size)))
        .collect()
}

fn empty_release() -> Release {
    Release { suite: String::new(), codename: String::new(), date: 0, valid_until: None, by_hash: false, entries: BTreeMap::new() }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
