//! Downloads files whose size and SHA-256 are known beforehand: in parallel, resumable, once even if two
//! processes want the same, and visible under their final name only after they were checked whole.
//!
//! Knows no archive layout and trusts nothing a server says.

use crate::apt::Proxies;
use crate::atomic::{discard, open_part, publish, still_named};
use crate::error::{Error, Kind, Result};
use crate::nar::hex;
use crate::progress::Progress;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once: enough to hide the latency of small files, few enough for any mirror.
const WORKERS: usize = 6;

/// Pauses before the second and later attempts.
const BACKOFF: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// How long another process may hold a download without its file growing.
const PATIENCE: Duration = Duration::from_secs(120);

/// One file to fetch.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name for reports.
    pub label: String,
    /// Where it may be, best first; a later address is used if the earlier has no such file.
    pub addresses: Vec<String>,
    /// Its exact length in bytes.
    pub size: u64,
    /// What it must hash to.
    pub sha256: [u8; 32],
}

/// A file that was fetched and checked. It stays readable when another process, done with it, removes its name.
#[derive(Clone, Debug)]
pub struct Fetched {
    file: Arc<File>,
    path: PathBuf,
}

impl Fetched {
    /// Reads from the start; readers do not disturb each other.
    pub fn reader(&self) -> FetchedReader {
        FetchedReader { file: self.file.clone(), at: 0 }
    }

    /// Removes its name: what it was needed for is done.
    pub fn discard(&self) {
        discard(&self.path);
    }
}

/// See [`Fetched::reader`].
pub struct FetchedReader {
    file: Arc<File>,
    at: u64,
}

impl Read for FetchedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Fetches files.
pub struct Fetcher {
    proxies: Proxies,
    progress: Arc<dyn Progress>,
    agents: Mutex<HashMap<Option<String>, ureq::Agent>>,
}

/// An opened source, the offset at which it starts, and the length of the whole as far as the source says.
struct Opened {
    body: Box<dyn Read>,
    offset: u64,
    length: Option<u64>,
}

impl Fetcher {
    /// Uses these proxies, or where they say nothing the variables `http_proxy`, `https_proxy` and `no_proxy`.
    pub fn new(proxies: Proxies, progress: Arc<dyn Progress>) -> Fetcher {
        Fetcher { proxies, progress, agents: Mutex::new(HashMap::new()) }
    }

    /// Fetches a file of unknown size and content into memory; at most `limit` bytes.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Network`], [`Kind::Size`] if it is longer.
    pub fn small(&self, address: &str, limit: u64) -> Result<Vec<u8>> {
        self.attempts(|| {
            let mut bytes = Vec::new();
            let mut body = self.open(address, 0)?.body.take(limit + 1);
            body.read_to_end(&mut bytes).map_err(|e| network(address, &e.to_string()).with_source(e))?;
            if bytes.len() as u64 > limit {
                return Err(Error::new(Kind::Size, "fetch", address, format!("longer than {limit} bytes"), "use another mirror"));
            }
            Ok(bytes)
        })
    }

    /// Fetches all jobs into `directory`, each to a file named by its hash; the results are in the order of the jobs.
    ///
    /// # Errors
    /// Each job has its own: [`Kind::NotFound`], [`Kind::Network`], [`Kind::Size`], [`Kind::Hash`], [`Kind::DiskFull`].
    pub fn all(&self, what: &str, directory: &Path, jobs: &[Job]) -> Vec<Result<Fetched>> {
        let total = jobs.iter().map(|j| j.size).sum();
        self.progress.start(what, jobs.len() as u64, total);
        let next = AtomicUsize::new(0);
        let fatal: Mutex<Option<Error>> = Mutex::new(None);
        let results: Vec<Mutex<Option<Result<Fetched>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        thread::scope(|scope| {
            for _ in 0..WORKERS.min(jobs.len()) {
                scope.spawn(|| {
                    while let Some((job, slot)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        jobs.get(at).zip(results.get(at))
                    } {
                        let stopped = lock(&fatal).as_ref().map(Error::duplicate);
                        let result = match stopped {
                            Some(error) => Err(error),
                            None => self.one(directory, job),
                        };
                        if let Err(error) = &result
                            && matches!(error.kind(), Kind::Network | Kind::DiskFull)
                        {
                            lock(&fatal).get_or_insert_with(|| error.duplicate());
                        }
                        *lock(slot) = Some(result);
                    }
                });
            }
        });
        self.progress.finish();
        let unstarted = || Err(Error::new(Kind::Network, "fetch", what, "it was not started", "try again"));
        results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(unstarted)).collect()
    }

    fn one(&self, directory: &Path, job: &Job) -> Result<Fetched> {
        let name = hex(&job.sha256);
        let done = directory.join(&name);
        let part_path = directory.join(format!("{name}.part"));
        let fetched = |file: File| Fetched { file: Arc::new(file), path: done.clone() };
        // Only checked files ever get the final name.
        let complete = || {
            let file = crate::root::open_nofollow(&done).ok()?;
            file.metadata().is_ok_and(|m| m.is_file() && m.len() == job.size).then_some(file)
        };
        let mut part = loop {
            if let Some(file) = complete() {
                self.progress.advance(job.size);
                return Ok(fetched(file));
            }
            let mut part = open_part(&part_path)?;
            self.wait_for(&part, &part_path, &job.label)?;
            if still_named(&part, &part_path) {
                match complete() {
                    None => break part,
                    Some(_) => discard(&part_path),
                }
            } else if part.metadata().is_ok_and(|m| m.len() == job.size) && hash_whole(&mut part).is_ok_and(|h| h == job.sha256) {
                // Whoever held the lock finished it and may be done with it already; here it is still open.
                self.progress.advance(job.size);
                release(&part, &part_path)?;
                return Ok(fetched(part));
            }
        };
        let mut reported = 0;
        let outcome = self.attempts(|| self.continue_part(&mut part, &part_path, job, &mut reported));
        match outcome {
            Ok(()) => {
                publish(&part, &part_path, &done)?;
                release(&part, &part_path)?;
                Ok(fetched(part))
            }
            Err(error) => {
                // What has arrived is worth keeping only for a later attempt over the network.
                if error.kind() != Kind::Network {
                    discard(&part_path);
                }
                Err(error)
            }
        }
    }

    /// Takes the lock of a download (see [`release`] for when it is given back); another process that makes progress is waited for.
    fn wait_for(&self, part: &File, path: &Path, label: &str) -> Result<()> {
        let length = || part.metadata().map_or(0, |m| m.len());
        let mut seen = (length(), Instant::now());
        let mut told = false;
        loop {
            match part.try_lock() {
                Ok(()) => return Ok(()),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
            }
            if !told {
                self.progress.note(&format!("{label}: another xeno is fetching it, waiting"));
                told = true;
            }
            if length() != seen.0 {
                seen = (length(), Instant::now());
            } else if seen.1.elapsed() > PATIENCE {
                let remedy = "end that process and try again";
                return Err(Error::new(Kind::Network, "fetch", label, "another process holds it and makes no progress", remedy));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Hashes what is there, fetches the rest, checks the whole.
    fn continue_part(&self, part: &mut File, path: &Path, job: &Job, reported: &mut u64) -> Result<()> {
        let disk = |e| Error::io("write", path, e);
        let mut hasher = Sha256::new();
        let mut have = part.seek(SeekFrom::End(0)).map_err(disk)?;
        if have > job.size {
            part.set_len(0).map_err(disk)?;
            have = 0;
        }
        let resumed = have > 0;
        part.seek(SeekFrom::Start(0)).map_err(disk)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut left = have;
        while left > 0 {
            let n = part.read(&mut buffer).map_err(disk)?;
            let chunk = buffer.get(..n).filter(|c| !c.is_empty()).ok_or_else(|| disk(io::ErrorKind::UnexpectedEof.into()))?;
            hasher.update(chunk);
            left = left.saturating_sub(n as u64);
        }
        let mut tell = |have: u64| {
            if have > *reported {
                self.progress.advance(have - *reported);
                *reported = have;
            }
        };
        tell(have);
        if have < job.size {
            let (address, opened) = self.open_first(job, have)?;
            if let Some(length) = opened.length.filter(|l| *l != job.size) {
                return Err(wrong_size(address, &format!("{length} bytes instead of {}", job.size)));
            }
            if opened.offset != have {
                // The server does not resume: from the start, then.
                part.set_len(0).map_err(disk)?;
                hasher = Sha256::new();
                have = 0;
            }
            part.seek(SeekFrom::Start(have)).map_err(disk)?;
            let mut body = opened.body;
            loop {
                let n = body.read(&mut buffer).map_err(|e| network(address, &e.to_string()).with_source(e))?;
                let Some(chunk) = buffer.get(..n).filter(|c| !c.is_empty()) else { break };
                have += n as u64;
                if have > job.size {
                    return Err(wrong_size(address, &format!("more than {} bytes", job.size)));
                }
                hasher.update(chunk);
                part.write_all(chunk).map_err(disk)?;
                tell(have);
            }
            if have < job.size {
                return Err(network(address, &format!("the connection ended after {have} of {} bytes", job.size)));
            }
        }
        if <[u8; 32]>::from(hasher.finalize()) == job.sha256 {
            return Ok(());
        }
        part.set_len(0).map_err(disk)?;
        let error = Error::new(
            Kind::Hash,
            "verify",
            &job.label,
            "its content is not what the archive signed",
            "try again later, or use another mirror",
        );
        // The damage may be in what an earlier run left: once more, from the start.
        if resumed { self.continue_part(part, path, job, reported) } else { Err(error) }
    }

    fn open_first<'j>(&self, job: &'j Job, offset: u64) -> Result<(&'j str, Opened)> {
        let mut missing = None;
        for address in &job.addresses {
            match self.open(address, offset) {
                Ok(opened) => return Ok((address, opened)),
                Err(error) if error.kind() == Kind::NotFound => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| Error::new(Kind::NotFound, "fetch", &job.label, "no address is known for it", "update the index")))
    }

    fn open(&self, address: &str, offset: u64) -> Result<Opened> {
        if let Some(path) = local_path(address) {
            let mut file = File::open(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => not_found(address),
                _ => Error::io("open", &path, e),
            })?;
            file.seek(SeekFrom::Start(offset)).map_err(|e| Error::io("read", &path, e))?;
            let length = file.metadata().ok().map(|m| m.len());
            return Ok(Opened { body: Box::new(file), offset, length });
        }
        let agent = self.agent(address)?;
        let mut request = agent.get(address);
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        let response = request.call().map_err(|e| failed_request(address, e))?;
        let status = response.status().as_u16();
        let starts_at = response
            .headers()
            .get("content-range")
            .and_then(|v| v.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok());
        let offset = match status {
            200 => 0,
            206 if starts_at == Some(offset) => offset,
            // Not the part that was asked for, or none: ask for the whole.
            206 | 416 if offset > 0 => return self.open(address, 0),
            404 | 410 => return Err(not_found(address)),
            408 | 425 | 429 | 500..=599 => return Err(network(address, &format!("the server answered {status}"))),
            _ => {
                let remedy = "check the mirror's address and the proxy";
                return Err(Error::new(Kind::NotFound, "fetch", address, format!("the server answered {status}"), remedy));
            }
        };
        let length = response.body().content_length().map(|rest| rest.saturating_add(offset));
        Ok(Opened { body: Box::new(response.into_body().into_reader()), offset, length })
    }

    fn agent(&self, address: &str) -> Result<ureq::Agent> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let authority = rest.split('/').next().unwrap_or("");
        let host = authority.rsplit('@').next().unwrap_or("");
        let host = host.rsplit_once(':').map_or(host, |(h, _)| h);
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            let remedy = "use an http, https or file address, or an absolute path";
            return Err(Error::new(Kind::Config, "fetch", address, "not an address xeno can fetch from", remedy));
        }
        let proxy = self.proxies.of(scheme, host).map(str::to_owned);
        let mut agents = lock(&self.agents);
        if let Some(agent) = agents.get(&proxy) {
            return Ok(agent.clone());
        }
        let mut builder = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("xeno/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(20)))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(30)));
        builder = match proxy.as_deref() {
            None => builder.proxy(ureq::Proxy::try_from_env()),
            Some("DIRECT") => builder.proxy(None),
            Some(proxy) => builder
                .proxy(Some(ureq::Proxy::new(proxy).map_err(|e| {
                    Error::new(Kind::Config, "use proxy", proxy, e, "correct Acquire::http::Proxy in apt's configuration")
                })?)),
        };
        let agent: ureq::Agent = builder.build().into();
        agents.insert(proxy, agent.clone());
        Ok(agent)
    }

    /// Repeats what failed for the network's sake.
    fn attempts<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        for pause in BACKOFF {
            match work() {
                Err(error) if error.kind() == Kind::Network && error.remedy() == RETRIED => {
                    log::debug!("{error}");
                    thread::sleep(pause);
                }
                other => return other,
            }
        }
        work()
    }
}

/// Gives a finished download's lock back at once, not with the last of its batch: of two processes that fetch the
/// same files, each would hold what the other waits for.
fn release(file: &File, path: &Path) -> Result<()> {
    file.unlock().map_err(|e| Error::io("unlock", path, e))
}

fn hash_whole(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let n = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..n).filter(|c| !c.is_empty()) else { return Ok(hasher.finalize().into()) };
        hasher.update(chunk);
    }
}

/// The remedy of failures that may pass; also marks them as worth another attempt.
const RETRIED: &str = "check the network and try again: what has arrived is kept";

fn network(address: &str, cause: &str) -> Error {
    Error::new(Kind::Network, "fetch", address, cause, RETRIED)
}

fn not_found(address: &str) -> Error {
    Error::new(Kind::NotFound, "fetch", address, "the mirror has no such file", "update the index, or use another mirror")
}

fn wrong_size(address: &str, cause: &str) -> Error {
    Error::new(Kind::Size, "fetch", address, cause, "the mirror is damaged or being updated: try again later")
}

fn failed_request(address: &str, error: ureq::Error) -> Error {
    match error {
        ureq::Error::HostNotFound => {
            let remedy = "check the network, the mirror's name and the proxy, or use --offline";
            Error::new(Kind::Network, "fetch", address, "the host's name cannot be resolved", remedy)
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Error::new(Kind::Config, "fetch", address, &error, "correct the mirror's address").with_source(error)
        }
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
            let remedy = "correct this machine's clock, or use an http mirror: what it sends is verified all the same";
            Error::new(Kind::Network, "fetch", address, &error, remedy).with_source(error)
        }
        other => network(address, &other.to_string()).with_source(other),
    }
}

/// `file:///dir`, `file:/dir` and plain absolute paths.
fn local_path(address: &str) -> Option<PathBuf> {
    let path = match address.strip_prefix("file:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => address,
    };
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_download_is_no_longer_locked_while_others_of_its_batch_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fs::write(&source, "content").unwrap();
        let job = Job {
            label: "content".to_owned(),
            addresses: vec![source.display().to_string()],
            size: 7,
            sha256: Sha256::digest("content").into(),
        };
        let fetcher = Fetcher::new(Proxies::default(), Arc::new(crate::progress::Silent));
        let fetched = fetcher.all("one file", directory.path(), std::slice::from_ref(&job));
        // The batch is still held here; another process that opened the same file gets its lock.
        assert!(fetched.first().unwrap().is_ok());
        let other = File::open(directory.path().join(hex(&job.sha256))).unwrap();
        other.try_lock().unwrap();
    }
}
