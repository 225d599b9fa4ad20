//! The provider `debian`: from a soname to a file in the store, through signed indexes or a lock file.
//!
//! The newest suite supplies loader and libc; older suites only fill in names that newer ones lack. It does not
//! read symbol versions: the resolver checks those.

mod archive;
pub mod closure;
mod depends;
mod install;
mod libc;
mod locked;
mod relations;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::index::contents::Place;
use crate::lock::Lock;
use crate::paths::StorePath;
use crate::progress::{Progress, Silent};
use crate::rank::{penalty, rank};
use crate::root::StoreRoot;
use archive::{Archive, Found, Suite, lock};
use install::Group;
use resolver::arch::{Arch, Class, Endian};
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Offer, Origin, Package, Provider, ProviderError, Want};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Candidates of one name that are tried before it counts as missing.
const MAX_TRIES: usize = 4;

/// An optional library is fetched only if its package is smaller (bytes).
const OPTIONAL_SIZE: u64 = 4 << 20;

/// How the provider works.
#[derive(Clone)]
pub struct Options {
    /// Use only what the store holds.
    pub offline: bool,
    /// Told of downloads.
    pub progress: Arc<dyn Progress>,
}

impl Default for Options {
    fn default() -> Self {
        Options { offline: false, progress: Arc::new(Silent) }
    }
}

/// A place of a library, as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name that was asked for.
    pub soname: String,
    /// Suite whose index has it.
    pub suite: String,
    /// Package that holds it.
    pub package: String,
    /// Directory in the package: `usr/lib/x86_64-linux-gnu`.
    pub directory: String,
    /// 0 for the public library directory of a plain package; the smallest is tried first.
    pub penalty: u32,
    /// Why it is not 0; empty if it is.
    pub why: String,
}

/// Debian's archive as a source of libraries.
pub struct Debian {
    archive: Archive,
    lock: Option<Lock>,
    /// What was installed, by the package it is offered as.
    used: Mutex<BTreeMap<Package, (Group, StorePath)>>,
    /// The libc sets that were found, so that their libraries are offered from them.
    sets: Mutex<BTreeMap<(String, Libc), Option<libc::Set>>>,
    /// Set once an optional package could not be had for a reason that may pass.
    partial: AtomicBool,
}

/// One name's way through the candidates.
struct Search<'w> {
    want: &'w Want,
    suite: Option<Arc<Suite>>,
    places: Vec<Place>,
    total: usize,
}

impl Debian {
    /// Does nothing yet.
    pub fn new(root: StoreRoot, config: Config, options: Options) -> Debian {
        Debian {
            archive: Archive::new(root, config, options.offline, options.progress),
            lock: None,
            used: Mutex::default(),
            sets: Mutex::default(),
            partial: AtomicBool::new(false),
        }
    }

    /// Whether an optional package could not be had this time: another try may find more.
    pub fn is_partial(&self) -> bool {
        self.partial.load(Ordering::Relaxed)
    }

    /// Answers only from the lock from now on: its packages, by hash, into the store paths it names.
    ///
    /// # Errors
    /// [`Kind::Malformed`] if it names an architecture unknown here.
    pub fn with_lock(mut self, lock: Lock) -> Result<Debian> {
        if Arch::from_short(&lock.arch).is_none() {
            let cause = format!("unknown architecture '{}'", lock.arch);
            return Err(Error::new(Kind::Malformed, "follow lock", "xeno.lock", cause, "make it anew"));
        }
        self.lock = Some(lock);
        Ok(self)
    }

    /// Fetches every suite's Release now and makes the indexes of these architectures. One line for each suite.
    ///
    /// # Errors
    /// When a suite cannot be fetched or verified; a suite that is gone is a warning.
    pub fn update(&self, arches: &[Arch]) -> Result<Vec<String>> {
        if self.archive.offline {
            return Err(Error::new(Kind::Offline, "update", "the index", "offline mode forbids it", "leave --offline out"));
        }
        let mut lines = Vec::new();
        for suite in &self.archive.config.debian.suites {
            for pocket in [suite.clone(), format!("{suite}-updates"), format!("{suite}-security")] {
                if let Some(state) = self.archive.state(&pocket, true)? {
                    lines.push(format!("{pocket}: {} (signed by {})", crate::release::format_date(state.date), state.signer));
                }
            }
            for arch in arches {
                self.archive.suite(suite, *arch, false)?;
            }
        }
        Ok(lines)
    }

    /// Makes sure that the newest suite's index is there for an architecture.
    ///
    /// # Errors
    /// As [`Debian::update`]; [`Kind::Offline`] if it is not and may not be fetched.
    pub fn ensure_index(&self, arch: Arch) -> Result<()> {
        for suite in &self.archive.config.debian.suites {
            if self.archive.suite(suite, arch, false)?.is_some() {
                return Ok(());
            }
        }
        Err(self.no_index(arch))
    }

    /// Where a library lies, as the indexes in the store say; best first, newest suite first. Fetches nothing.
    pub fn lookup(&self, soname: &str, arch: Arch) -> Vec<Candidate> {
        let Some(debian) = arch.debian() else { return Vec::new() };
        let mut candidates = Vec::new();
        for suite in &self.archive.config.debian.suites {
            let Some(index) = self.archive.stored_sonames(suite, debian) else { continue };
            let places = index.get(soname);
            for libc in [Libc::Glibc, Libc::Musl] {
                for (place, penalty, why) in rank(soname, places.clone(), arch, libc) {
                    let candidate = Candidate {
                        soname: soname.to_owned(),
                        suite: suite.clone(),
                        package: place.package,
                        directory: place.directory,
                        penalty,
                        why: why.to_owned(),
                    };
                    let known = |c: &Candidate| c.suite == *suite && c.package == candidate.package && c.directory == candidate.directory;
                    if !candidates.iter().any(known) {
                        candidates.push(candidate);
                    }
                }
            }
        }
        candidates
    }

    /// What the user should know, each once: suites that are gone, unsafe settings of the host's apt, …
    pub fn warnings(&self) -> Vec<String> {
        self.archive.warnings()
    }

    fn no_index(&self, arch: Arch) -> Error {
        if self.archive.offline {
            let cause = "the store has no index and offline mode forbids to fetch one";
            Error::new(Kind::Offline, "look up libraries for", arch, cause, "run once without --offline")
        } else {
            let suites = self.archive.config.debian.suites.join(", ");
            let cause = format!("none of the suites {suites} has this architecture");
            Error::new(Kind::NotFound, "look up libraries for", arch, cause, "name other suites in [debian] suites")
        }
    }

    fn answer(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>> {
        if let Some(lock) = &self.lock {
            return self.answer_from(lock, wants);
        }
        let mut searches: Vec<Search<'_>> = Vec::with_capacity(wants.len());
        for want in wants {
            searches.push(self.search(want)?);
        }
        let mut offers: Vec<Option<Offer>> = wants.iter().map(|_| None).collect();
        // All first choices are fetched together; second choices only for names whose first had no such file.
        for round in 0..MAX_TRIES {
            let mut groups: Vec<Group> = Vec::new();
            let mut plan: Vec<(usize, &Search<'_>, Place, usize)> = Vec::new();
            for (at, search) in searches.iter().enumerate() {
                let (Some(None), Some(suite)) = (offers.get(at), &search.suite) else { continue };
                let Some(place) = search.places.get(round) else { continue };
                let Some(group) = self.group(suite, &place.package, search.want)? else { continue };
                if search.want.optional && group.size() > OPTIONAL_SIZE && !self.stored(&group) {
                    continue;
                }
                let group_at = groups.iter().position(|g| *g == group).unwrap_or_else(|| {
                    groups.push(group);
                    groups.len() - 1
                });
                plan.push((at, search, place.clone(), group_at));
            }
            if plan.is_empty() {
                break;
            }
            let stored = self.archive.install(&groups);
            for (at, search, place, group_at) in plan {
                let (Some(group), Some(result)) = (groups.get(group_at), stored.get(group_at)) else { continue };
                let stored = match result {
                    Ok(stored) => stored,
                    Err(error) if search.want.optional => {
                        log::info!("{error}");
                        self.partial.store(true, Ordering::Relaxed);
                        continue;
                    }
                    Err(error) => return Err(error.duplicate()),
                };
                let offer = self.offer(search, group, stored, &place, round);
                if let (Some(slot), Some(offer)) = (offers.get_mut(at), offer) {
                    *slot = Some(offer);
                }
            }
        }
        Ok(offers)
    }

    /// Finds the first suite that has the name. An optional name makes no further suite be fetched.
    fn search<'w>(&self, want: &'w Want) -> Result<Search<'w>> {
        let nothing = Search { want, suite: None, places: Vec::new(), total: 0 };
        let plain = !want.soname.is_empty() && !want.soname.contains('/') && want.arch.debian().is_some();
        if !plain {
            return Ok(nothing);
        }
        let mut any_index = false;
        for suite in &self.archive.config.debian.suites {
            let local = want.optional && any_index;
            let Some(suite) = self.archive.suite(suite, want.arch, local)? else { continue };
            any_index = true;
            let mut soname = want.soname.as_str();
            if want.libc == Libc::Musl && libc::is_musl_libc(soname, want.arch) {
                soname = "libc.so";
            }
            let places: Vec<Place> = rank(soname, suite.sonames.get(soname), want.arch, want.libc).into_iter().map(|(p, _, _)| p).collect();
            if !places.is_empty() {
                let total = places.len();
                return Ok(Search { want, suite: Some(suite), places, total });
            }
        }
        if !any_index && !want.optional {
            return Err(self.no_index(want.arch));
        }
        Ok(nothing)
    }

    /// The packages that must be installed for this one: its libc set if it is part of that, else itself.
    fn group(&self, suite: &Suite, package: &str, want: &Want) -> Result<Option<Group>> {
        if libc::is_set_member(package, want.libc)
            && let Some(set) = self.set(want.arch, want.libc)?
        {
            return Ok(Some(set.group));
        }
        Ok(suite.package(package).map(Group::single))
    }

    fn stored(&self, group: &Group) -> bool {
        crate::paths::find(&self.archive.root, &group.hashes()).is_some()
    }

    fn offer(&self, search: &Search<'_>, group: &Group, stored: &StorePath, place: &Place, round: usize) -> Option<Offer> {
        let want = search.want;
        let soname = if want.libc == Libc::Musl && libc::is_musl_libc(&want.soname, want.arch) { "libc.so" } else { &want.soname };
        let file = locate(&stored.path, &place.directory, soname, want.arch)?;
        let member = group.members.iter().find(|m| m.name == place.package)?;
        let package = package_of(member);
        lock(&self.used).insert(package.clone(), (group.clone(), stored.clone()));
        let suite = search.suite.as_ref().map_or("", |s| s.name.as_str());
        let mut why = match search.total {
            1 => format!("{suite}: {}, the only candidate", place.package),
            n if round == 0 => format!("{suite}: {}, best of {n} candidates", place.package),
            n => format!("{suite}: {}, number {} of {n} candidates, as the better ones have no such file", place.package, round + 1),
        };
        if let Some((_, reason)) = penalty(place, want.arch, want.libc).filter(|(cost, _)| *cost > 0) {
            why.push_str(&format!(" ({reason} {})", place.directory));
        }
        if member.pocket != suite {
            why.push_str(&format!(", version from {}", member.pocket));
        }
        Some(Offer { file, origin: Origin::Package(package), why })
    }
}

fn package_of(found: &Found) -> Package {
    Package { name: found.name.clone(), version: found.file.version.clone(), arch: found.file.arch.clone(), suite: found.pocket.clone() }
}

/// The file of a name in a store path: in the directory the index names or (a later version may have moved) the same
/// with or without `usr/`. It must be an ELF file of the architecture and must lie in the store path.
fn locate(store_path: &Path, directory: &str, name: &str, arch: Arch) -> Option<PathBuf> {
    let other = match directory.strip_prefix("usr/") {
        Some(short) => short.to_owned(),
        None => format!("usr/{directory}"),
    };
    [directory, &other].into_iter().map(|d| store_path.join(d).join(name)).find(|file| inside(store_path, file) && is_elf_for(file, arch))
}

fn inside(store_path: &Path, file: &Path) -> bool {
    let (Ok(real), Ok(base)) = (fs::canonicalize(file), fs::canonicalize(store_path)) else { return false };
    real.starts_with(base)
}

/// Class, byte order and machine as `elf/dl-load.c`'s `open_verify` compares them; text stubs of linkers fail this.
fn is_elf_for(file: &Path, arch: Arch) -> bool {
    let mut head = [0u8; 20];
    if File::open(file).and_then(|mut f| f.read_exact(&mut head)).is_err() {
        return false;
    }
    let [0x7f, b'E', b'L', b'F', class, data, .., m0, m1] = head else { return false };
    let machine = if data == 2 { u16::from_be_bytes([m0, m1]) } else { u16::from_le_bytes([m0, m1]) };
    let class_fits = class == if arch.class == Class::Elf64 { 2 } else { 1 };
    let data_fits = data == if arch.endian == Endian::Little { 1 } else { 2 };
    class_fits && data_fits && machine == arch.machine
}

impl Provider for Debian {
    fn name(&self) -> &'static str {
        "debian"
    }

    fn provide(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>, ProviderError> {
        Ok(self.answer(wants)?)
    }

    fn libc_set(&self, arch: Arch, libc: Libc) -> Result<Option<LibcSet>, ProviderError> {
        Ok(self.install_set(arch, libc)?)
    }
}
