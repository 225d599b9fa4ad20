//! Whole packages by name, with everything they depend on: solved from the relations, installed like any other package.
//!
//! One version of a name for each architecture, from the newest suite whose version will do. Recommendations and conflicts
//! do not count: nothing is installed over anything else. Maintainer scripts are not run.

use super::Debian;
use super::archive::Found;
use super::depends::{self, Alternative, Clause};
use super::install::Group;
use super::relations::{Known, Related};
use crate::error::{Error, Kind, Result};
use crate::index::relations::MultiArch;
use crate::lock::Lock;
use crate::nar::hex;
use crate::paths::StorePath;
use resolver::arch::Arch;
use resolver::provider::Package;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// The most packages of one closure; a whole desktop has 3,000.
const MAX_PACKAGES: usize = 20_000;

/// Names that are shown when one is not found.
const NEAR_NAMES: usize = 3;

/// A package that is wanted for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// For which architecture.
    pub arch: Arch,
}

/// Packages that need nothing outside of them, those that were wanted first, then as their dependencies led to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    packages: Vec<Found>,
}

/// A package in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Which.
    pub package: Package,
    /// Its tree.
    pub stored: StorePath,
    found: Found,
}

/// What is asked while a closure is solved.
trait World {
    /// The suites, newest first, as numbers.
    fn suites(&self) -> usize;
    fn package(&self, suite: usize, name: &str, arch: Arch) -> Result<Option<Known>>;
    /// Who stands for a name: the package, and the version it stands for.
    fn providers(&self, suite: usize, name: &str, arch: Arch) -> Result<Vec<(String, Option<String>)>>;
}

/// A suite for an architecture; `None` where there is no such thing.
type Opened = Option<Rc<Related>>;

/// The archive, whose suites are opened when they are asked.
struct Suites<'a> {
    debian: &'a Debian,
    open: RefCell<BTreeMap<(usize, Arch), Opened>>,
}

impl<'a> Suites<'a> {
    fn new(debian: &'a Debian) -> Suites<'a> {
        Suites { debian, open: RefCell::default() }
    }

    fn related(&self, suite: usize, arch: Arch) -> Result<Opened> {
        if let Some(known) = self.open.borrow().get(&(suite, arch)) {
            return Ok(known.clone());
        }
        let related = match self.debian.archive.config.debian.suites.get(suite) {
            Some(name) => self.debian.archive.related(name, arch)?.map(Rc::new),
            None => None,
        };
        self.open.borrow_mut().insert((suite, arch), related.clone());
        Ok(related)
    }
}

impl World for Suites<'_> {
    fn suites(&self) -> usize {
        self.debian.archive.config.debian.suites.len()
    }

    fn package(&self, suite: usize, name: &str, arch: Arch) -> Result<Option<Known>> {
        Ok(self.related(suite, arch)?.and_then(|related| related.get(name)))
    }

    fn providers(&self, suite: usize, name: &str, arch: Arch) -> Result<Vec<(String, Option<String>)>> {
        let related = self.related(suite, arch)?;
        Ok(related.map(|r| r.providers(name).into_iter().map(|p| (p.package, p.version)).collect()).unwrap_or_default())
    }
}

/// A closure being put together.
struct Solver<'w> {
    world: &'w dyn World,
    /// The architecture that packages for all architectures count as.
    native: Arch,
    chosen: Vec<(Known, Arch)>,
    /// Where in `chosen` packages of a name are.
    by_name: BTreeMap<String, Vec<usize>>,
    /// Which of `chosen` stand for a name that is not theirs.
    by_provided: BTreeMap<String, Vec<(usize, Option<String>)>>,
    /// Clauses of one alternative, then those with a choice: what others need for certain decides first.
    plain: VecDeque<(usize, Clause)>,
    open: VecDeque<(usize, Clause)>,
}

impl Solver<'_> {
    fn solve(world: &dyn World, native: Arch, wanted: &[Wanted]) -> Result<Vec<Found>> {
        let empty = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut solver = Solver {
            world,
            native,
            chosen: empty.0,
            by_name: empty.1,
            by_provided: empty.2,
            plain: VecDeque::new(),
            open: VecDeque::new(),
        };
        for want in wanted {
            let alternative = Alternative { name: want.name.clone(), qualifier: None, version: None };
            if solver.is_satisfied(&alternative, want.arch) {
                continue;
            }
            match solver.candidate(&alternative, want.arch)? {
                Some((known, arch)) => solver.choose(known, arch)?,
                None => return Err(not_there(&want.name, want.arch)),
            }
        }
        while let Some((asker, clause)) = solver.plain.pop_front().or_else(|| solver.open.pop_front()) {
            solver.satisfy(asker, &clause)?;
        }
        Ok(solver.chosen.into_iter().map(|(known, _)| known.found).collect())
    }

    fn satisfy(&mut self, asker: usize, clause: &Clause) -> Result<()> {
        let Some((asking, arch)) = self.chosen.get(asker).map(|(known, arch)| (known.found.name.clone(), *arch)) else { return Ok(()) };
        if clause.iter().any(|alternative| self.is_satisfied(alternative, arch)) {
            return Ok(());
        }
        for alternative in clause {
            if let Some((known, arch)) = self.candidate(alternative, arch)? {
                return self.choose(known, arch);
            }
        }
        let taken = clause.iter().find_map(|a| self.chosen.get(*self.by_name.get(&a.name)?.first()?));
        let needs = depends::shown(clause);
        let cause = match taken {
            Some((known, _)) => {
                let (name, version) = (&known.found.name, &known.found.file.version);
                format!("it needs {needs}, {name} {version} is taken already, and no suite has another that would do")
            }
            None => format!("it needs {needs}, which no suite has"),
        };
        let remedy = "name another suite in [debian] suites, or leave the package out";
        Err(Error::new(Kind::NotFound, "find what is needed by package", format!("{asking} ({arch})"), cause, remedy))
    }

    fn is_satisfied(&self, alternative: &Alternative, asking: Arch) -> bool {
        let serves = |at: &usize| self.chosen.get(*at).is_some_and(|(known, arch)| self.serves(known, *arch, alternative, asking));
        let own = self.by_name.get(&alternative.name).into_iter().flatten();
        own.clone().any(|at| serves(at) && self.chosen.get(*at).is_some_and(|(known, _)| alternative.accepts(&known.found.file.version)))
            || self
                .by_provided
                .get(&alternative.name)
                .into_iter()
                .flatten()
                .any(|(at, version)| serves(at) && stands_for(alternative, version.as_deref()))
    }

    /// Whether a package of one architecture is one for an asker of another.
    fn serves(&self, known: &Known, arch: Arch, alternative: &Alternative, asking: Arch) -> bool {
        match alternative.qualifier.as_deref() {
            Some("any") if matches!(known.relations.multi_arch, MultiArch::Allowed | MultiArch::Foreign) => return true,
            Some("any") | None => {}
            Some(named) => return arch.debian() == Some(named),
        }
        // A package for all architectures is data to anybody: apt is stricter and calls it one of the native architecture.
        arch == asking || known.relations.multi_arch == MultiArch::Foreign || known.found.file.arch == "all"
    }

    /// The package that would be taken: of the newest suite, by its own name before others that stand for it.
    fn candidate(&self, alternative: &Alternative, asking: Arch) -> Result<Option<(Known, Arch)>> {
        let arches: &[Arch] = match alternative.qualifier.as_deref().and_then(Arch::from_debian) {
            Some(named) => &[named],
            // What serves every architecture is wanted once, as a native package.
            None if asking == self.native => &[self.native],
            None => &[self.native, asking],
        };
        for suite in 0..self.world.suites() {
            for arch in arches {
                if let Some(known) = self.world.package(suite, &alternative.name, *arch)?
                    && self.may_choose(&known, *arch, alternative, asking)
                    && alternative.accepts(&known.found.file.version)
                {
                    return Ok(Some((known, *arch)));
                }
            }
            for arch in arches {
                for (package, version) in self.world.providers(suite, &alternative.name, *arch)? {
                    if stands_for(alternative, version.as_deref())
                        && let Some(known) = self.world.package(suite, &package, *arch)?
                        && self.may_choose(&known, *arch, alternative, asking)
                    {
                        return Ok(Some((known, *arch)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// One version of a name and architecture, no second.
    fn may_choose(&self, known: &Known, arch: Arch, alternative: &Alternative, asking: Arch) -> bool {
        let taken = self.by_name.get(&known.found.name).into_iter().flatten();
        let mut taken = taken.filter_map(|at| self.chosen.get(*at));
        self.serves(known, arch, alternative, asking) && !taken.any(|(other, a)| *a == arch && other.found != known.found)
    }

    fn choose(&mut self, known: Known, arch: Arch) -> Result<()> {
        let name = known.found.name.clone();
        if self.chosen.iter().any(|(other, _)| other.found == known.found) {
            return Ok(());
        }
        if self.chosen.len() >= MAX_PACKAGES {
            let cause = format!("it needs more than {MAX_PACKAGES} packages");
            return Err(Error::new(Kind::Malformed, "find what is needed by", name, cause, "name fewer packages"));
        }
        let clauses = depends::parse(&known.relations.depends).map_err(|item| {
            let cause = format!("it depends on '{item}', which cannot be understood");
            Error::new(Kind::Malformed, "read the relations of", &name, cause, "leave the package out")
        })?;
        let at = self.chosen.len();
        for (provided, version) in provides(&known) {
            self.by_provided.entry(provided).or_default().push((at, version));
        }
        self.by_name.entry(name).or_default().push(at);
        // A package for all architectures needs what native ones do.
        let arch = if known.found.file.arch == "all" { self.native } else { arch };
        self.chosen.push((known, arch));
        for clause in clauses {
            let queue = if clause.len() == 1 { &mut self.plain } else { &mut self.open };
            queue.push_back((at, clause));
        }
        Ok(())
    }
}

/// What a package stands for besides itself.
fn provides(known: &Known) -> Vec<(String, Option<String>)> {
    known.relations.provides.split(',').filter_map(crate::index::relations::provided_item).collect()
}

/// A name that is stood for without a version satisfies no versioned dependency (Debian policy 7.5).
fn stands_for(alternative: &Alternative, version: Option<&str>) -> bool {
    match version {
        Some(version) => alternative.accepts(version),
        None => alternative.version.is_none(),
    }
}

fn not_there(name: &str, arch: Arch) -> Error {
    let remedy = "check the name; libraries are found with `xeno store which SONAME`";
    Error::new(Kind::NotFound, "find package", format!("{name} ({arch})"), "no suite has it", remedy)
}

impl Closure {
    /// Names and versions, in order: `bash 5.2.15-2+b8 amd64`.
    pub fn lines(&self) -> Vec<String> {
        self.packages.iter().map(|f| format!("{} {} {}", f.name, f.file.version, f.file.arch)).collect()
    }

    /// Bytes of the package files.
    pub fn size(&self) -> u64 {
        self.packages.iter().map(|found| found.file.size).sum()
    }
}

impl Debian {
    /// Works out what is needed to have packages. `essential` adds those that every package uses without saying so.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a package that no suite has, with the names nearest to it, and for a dependency that cannot
    /// be satisfied; else as fetching the index.
    pub fn closure(&self, wanted: &[Wanted], essential: bool) -> Result<Closure> {
        let native = Arch::host().or(wanted.first().map(|w| w.arch));
        let Some(native) = native else { return Ok(Closure { packages: Vec::new() }) };
        let suites = Suites::new(self);
        if !(0..suites.suites()).any(|suite| suites.related(suite, native).is_ok_and(|related| related.is_some())) {
            // Of an error the first suite's own is the one to show.
            suites.related(0, native)?;
            return Err(self.no_index(native));
        }
        let mut all = wanted.to_vec();
        if essential && let Some(related) = self.newest(&suites, native)? {
            all.extend(related.essential().into_iter().map(|name| Wanted { name, arch: native }));
        }
        let missing = |error: Error| self.with_near_names(error, &suites, wanted);
        Ok(Closure { packages: Solver::solve(&suites, native, &all).map_err(missing)? })
    }

    fn newest(&self, suites: &Suites<'_>, arch: Arch) -> Result<Opened> {
        for suite in 0..suites.suites() {
            if let Some(related) = suites.related(suite, arch)? {
                return Ok(Some(related));
            }
        }
        Ok(None)
    }

    /// Adds the names that were perhaps meant.
    fn with_near_names(&self, error: Error, suites: &Suites<'_>, wanted: &[Wanted]) -> Error {
        let asked = wanted.iter().find(|w| error.subject() == format!("{} ({})", w.name, w.arch) && error.cause() == "no suite has it");
        let Some(asked) = asked else { return error };
        let names: BTreeSet<String> =
            (0..suites.suites()).filter_map(|s| suites.related(s, asked.arch).ok().flatten()).flat_map(|r| r.names()).collect();
        let near = crate::near::nearest(&asked.name, names.iter().map(String::as_str), NEAR_NAMES);
        if near.is_empty() {
            return error;
        }
        let cause = format!("no suite has it; there are {}", near.join(", "));
        Error::new(error.kind(), "find package", error.subject(), cause, error.remedy())
    }

    /// Brings a closure into the store: found there, or fetched, checked and unpacked, all at once.
    ///
    /// # Errors
    /// As fetching and unpacking; nothing is half-installed.
    pub fn install_closure(&self, closure: &Closure) -> Result<Vec<Installed>> {
        let groups: Vec<Group> = closure.packages.iter().cloned().map(Group::single).collect();
        let stored = self.archive.install(&groups).into_iter().zip(&closure.packages);
        stored.map(|(stored, found)| Ok(Installed { package: super::package_of(found), stored: stored?, found: found.clone() })).collect()
    }

    /// Writes down a closure for [`Debian::install_locked_closure`]. `digest` identifies the question it answers.
    pub fn lock_closure(&self, installed: &[Installed], digest: &[u8; 32], arch: Arch) -> Lock {
        let members = installed.iter().map(|i| super::locked::locked_package(&i.found, &i.stored));
        self.lock_of(arch.to_string(), hex(digest), members.collect())
    }

    /// The closure that a lock names, byte for byte.
    ///
    /// # Errors
    /// [`Kind::Drift`] if the lock answers another question or cannot be followed exactly.
    pub fn install_locked_closure(&self, lock: &Lock, digest: &[u8; 32]) -> Result<Vec<Installed>> {
        lock.check_target(&hex(digest))?;
        let names: Vec<&str> = lock.packages.iter().map(|p| p.store_path.as_str()).collect();
        let mut all = Vec::new();
        for (group, stored) in self.install_locked(lock, &names)? {
            let Some(found) = group.members.into_iter().next() else { continue };
            all.push(Installed { package: super::package_of(&found), stored, found });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::packages::PackageFile;
    use crate::index::relations::Relations;

    /// Packages written as `name version arch; Depends; Provides; Multi-Arch`, a list for each suite.
    struct Written(Vec<Vec<Known>>);

    fn written(suites: &[&[&str]]) -> Written {
        let known = |text: &&str| {
            let mut fields = text.split(';').map(str::trim);
            let head: Vec<&str> = fields.next().unwrap().split(' ').collect();
            let file = PackageFile {
                version: head[1].to_owned(),
                arch: head[2].to_owned(),
                filename: format!("{}_{}_{}", head[0], head[1], head[2]),
                size: 1,
                sha256: [0; 32],
                sha1: None,
            };
            let depends = fields.next().unwrap_or("").to_owned();
            let provides = fields.next().unwrap_or("").to_owned();
            let multi_arch = match fields.next().unwrap_or("") {
                "same" => MultiArch::Same,
                "foreign" => MultiArch::Foreign,
                "allowed" => MultiArch::Allowed,
                _ => MultiArch::No,
            };
            let found = Found { name: head[0].to_owned(), pocket: "s".to_owned(), base: String::new(), file: file.clone() };
            Known { found, relations: Relations { file, multi_arch, depends, provides } }
        };
        Written(suites.iter().map(|suite| suite.iter().map(known).collect()).collect())
    }

    impl World for Written {
        fn suites(&self) -> usize {
            self.0.len()
        }
        fn package(&self, suite: usize, name: &str, arch: Arch) -> Result<Option<Known>> {
            let fits = |k: &&Known| k.found.name == name && (k.found.file.arch == "all" || Some(&*k.found.file.arch) == arch.debian());
            Ok(self.0[suite].iter().find(fits).cloned())
        }
        fn providers(&self, suite: usize, name: &str, arch: Arch) -> Result<Vec<(String, Option<String>)>> {
            let fits = |k: &&Known| k.found.file.arch == "all" || Some(&*k.found.file.arch) == arch.debian();
            let own =
                |k: &Known| provides(k).into_iter().filter(|(n, _)| n == name).map(|(_, v)| (k.found.name.clone(), v)).collect::<Vec<_>>();
            Ok(self.0[suite].iter().filter(fits).flat_map(own).collect())
        }
    }

    fn arch(name: &str) -> Arch {
        Arch::from_debian(name).unwrap()
    }

    fn solve(suites: &[&[&str]], wanted: &[&str]) -> std::result::Result<Vec<String>, String> {
        let wanted: Vec<Wanted> = wanted
            .iter()
            .map(|w| {
                let (name, a) = w.split_once(':').unwrap_or((w, "amd64"));
                Wanted { name: name.to_owned(), arch: arch(a) }
            })
            .collect();
        let solved = Solver::solve(&written(suites), arch("amd64"), &wanted).map_err(|e| e.to_string())?;
        Ok(solved.iter().map(|f| format!("{} {} {}", f.name, f.file.version, f.file.arch)).collect())
    }

    #[test]
    fn a_closure_has_what_is_needed_and_loops_end() {
        let suite: &[&str] = &["a 1 amd64; b, c (>= 2)", "b 1 amd64; a", "c 2 amd64", "d 1 amd64"];
        assert_eq!(solve(&[suite], &["a"]).unwrap(), ["a 1 amd64", "b 1 amd64", "c 2 amd64"]);
    }

    #[test]
    fn of_alternatives_the_one_that_is_there_anyway_is_taken_else_the_first() {
        let suite: &[&str] = &["a 1 amd64; x | y, z", "x 1 amd64", "y 1 amd64", "z 1 amd64; y"];
        assert_eq!(solve(&[suite], &["a"]).unwrap(), ["a 1 amd64", "z 1 amd64", "y 1 amd64"]);
        let suite: &[&str] = &["a 1 amd64; gone | x | y", "x 1 amd64", "y 1 amd64"];
        assert_eq!(solve(&[suite], &["a"]).unwrap(), ["a 1 amd64", "x 1 amd64"]);
    }

    #[test]
    fn a_name_that_others_stand_for_is_found_and_a_version_only_where_it_is_said() {
        let suite: &[&str] = &["a 1 amd64; awk", "gawk 2 amd64; ; awk", "b 1 amd64; awk (>= 1)"];
        assert_eq!(solve(&[suite], &["a"]).unwrap(), ["a 1 amd64", "gawk 2 amd64"]);
        assert!(solve(&[suite], &["b"]).unwrap_err().starts_with("find what is needed by package b (x86_64): it needs awk (>= 1), "));
        let suite: &[&str] = &["b 1 amd64; awk (>= 1)", "gawk 2 amd64; ; awk (= 1.5)"];
        assert_eq!(solve(&[suite], &["b"]).unwrap(), ["b 1 amd64", "gawk 2 amd64"]);
    }

    #[test]
    fn a_32_bit_package_gets_32_bit_libraries_and_native_tools() {
        let suite: &[&str] = &[
            "app 1 i386; lib (>= 1), tool, perl:any, data",
            "lib 1 i386; ; ; same",
            "lib 1 amd64; ; ; same",
            "tool 1 i386; ; ; foreign",
            "tool 1 amd64; lib; ; foreign",
            "perl 1 amd64; ; ; allowed",
            "perl 1 i386; ; ; allowed",
            "data 1 all; tool",
        ];
        let expected = ["app 1 i386", "lib 1 i386", "tool 1 amd64", "perl 1 amd64", "data 1 all", "lib 1 amd64"];
        assert_eq!(solve(&[suite], &["app:i386"]).unwrap(), expected);
    }

    #[test]
    fn an_older_suite_fills_in_what_newer_ones_lack_and_no_name_is_there_twice() {
        let (new, old): (&[&str], &[&str]) =
            (&["lib 2 amd64", "b 1 amd64; lib"], &["lib 1 amd64", "app 1 amd64; lib (= 1)", "old 1 amd64"]);
        assert_eq!(solve(&[new, old], &["old"]).unwrap(), ["old 1 amd64"]);
        assert_eq!(solve(&[new, old], &["app"]).unwrap(), ["app 1 amd64", "lib 1 amd64"]);
        assert_eq!(
            solve(&[new, old], &["lib", "app"]).unwrap_err(),
            "find what is needed by package app (x86_64): it needs lib (= 1), lib 2 is taken already, and no suite has another that \
             would do; name another suite in [debian] suites, or leave the package out"
        );
    }

    #[test]
    fn a_package_that_is_not_there_is_an_error_that_names_it() {
        assert!(solve(&[&[]], &["bsah"]).unwrap_err().starts_with("find package bsah (x86_64): no suite has it; "));
    }
}
