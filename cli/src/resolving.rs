//! The question of `run`, `shim add` and `doctor`, asked with this machine's sources: its own libraries, its
//! drivers, the archive or a lock.

use crate::environment;
use crate::failure::Failure;
use crate::progress::Show;
use resolver::answer::{self, Answer, Extent, Sources};
use resolver::closure::Environment;
use resolver::elf::{self, LoadError};
use resolver::files::Files;
use resolver::machine;
use resolver::needs::Libc;
use resolver::provider::Provider;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use store::debian::{Debian, Options};
use store::host::{self, Drivers, Host};
use store::lock::Lock;
use store::root::StoreRoot;

/// How the question is asked.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    /// The lock to follow; it is written if it does not exist.
    pub(crate) lock: Option<&'a Path>,
    /// Nothing is written beside the store.
    pub(crate) dry_run: bool,
    /// Nothing is fetched.
    pub(crate) offline: bool,
    /// How far to look.
    pub(crate) extent: Extent,
    /// Whether the loaders' variables of this process count.
    pub(crate) variables: bool,
}

/// The archive as a source.
pub(crate) fn debian(root: StoreRoot, offline: bool) -> Result<Debian, Failure> {
    Ok(Debian::new(root, store::config::Config::from_env()?, Options { offline, progress: Arc::new(Show::new()) }))
}

/// Asks the question for one program, whose links are resolved; also says whether every source could be asked.
pub(crate) fn answer_for(binary: &Path, root: StoreRoot, how: &How<'_>) -> Result<(Answer, bool), Failure> {
    let unreadable =
        |e: LoadError| Failure::cannot_start(format!("read {}: {e}; `xeno run` starts Linux programs and scripts", binary.display()));
    let needs = elf::load(binary).map_err(unreadable)?;
    let libc = needs.libc().unwrap_or(Libc::Glibc);
    let system = machine::system(needs.arch, libc);
    let hints = system.as_ref().map(host::driver_sonames).unwrap_or_default();
    let lock = how.lock.filter(|path| path.exists()).map(Lock::load).transpose()?;
    let mut debian = debian(root, how.offline)?;
    let digest = how.lock.map(|_| sha256(binary)).transpose()?;
    if let (Some(lock), Some(digest)) = (lock.clone(), &digest) {
        lock.check_target(digest)?;
        debian = debian.with_lock(lock)?;
    }
    let (here, drivers) = (Host(system.as_ref()), Drivers(system.as_ref()));
    let archives: [&dyn Provider; 1] = [&debian];
    let host = how.lock.is_none().then_some(&here as &dyn Provider);
    let sources = Sources { host, drivers: &drivers, driver_sonames: &hints, archives: &archives };
    let shared = environment::shared_directories();
    let variables = if how.variables { environment::loaders() } else { Environment::default() };
    let answer = answer::answer(binary, &sources, &variables, &shared, &Files::default(), how.extent).map_err(unreadable)?;
    if let (Some(path), Some(digest), None) = (how.lock, &digest, &lock)
        && answer.resolution.is_complete()
        && !how.dry_run
    {
        debian.lock(&answer.resolution, digest, None)?.save(path)?;
    }
    let whole = answer.resolution.failures.is_empty() && !debian.is_partial();
    Ok((answer, whole))
}

fn sha256(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::own(format!("hash {}: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(failed)?;
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
