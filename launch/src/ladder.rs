//! The ladder: tries each rung in turn, cheapest faithful one first, and keeps the reason for each.

use crate::environments::{Environments, Wanted};
use crate::error::{Error, Kind};
use crate::fhs::entry;
use crate::fhs::host::is_own;
use crate::materials::{Inside, Materials};
use crate::program::Program;
use crate::report::Report;
use crate::room::{self, Room};
use crate::rung::{Rung, Step};
use crate::shim;
use crate::shim::base::Base;
use crate::shim::image::{Finds, Image};
use crate::shim::program::Prospect;
use crate::start::Start;
use resolver::answer::{self, Answer, Native, World};
use resolver::elf;
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Origin};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// The most executables of one tree that are covered by copies.
const COPIES_MAX: usize = 64;

/// The most optional files that are watched one by one.
const OPTIONAL_WATCHED_MAX: usize = 64;

/// The most answers of an image that a report lists: those of a program, not those of a whole machine.
const ANSWERS_MAX: usize = 256;

/// What the ladder is given.
pub struct Question<'a> {
    /// The program as found.
    pub program: &'a Program,
    /// What it needs and who has it.
    pub answer: &'a Answer,
    /// Only this rung may be taken.
    pub wanted: Option<Rung>,
    /// What the program shall see as its own name; the loader rung has to say it.
    pub argv0: &'a OsStr,
    /// Who builds environments; `None` leaves that rung out.
    pub environments: Option<&'a dyn Environments>,
}

/// A decided start with its reasons.
#[derive(Debug)]
pub struct Decision {
    /// Every rung and what became of it.
    pub steps: Vec<Step>,
    /// What to do; `None` if no rung can start it.
    pub start: Option<Start>,
    /// Files that the decision rests on.
    pub watched: Vec<PathBuf>,
    /// What the program loses.
    pub losses: Vec<String>,
    /// The whole answer for machines.
    pub report: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut say = |line: String| {
            // A line stays one, whatever the names in it contain.
            let shown: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            writeln!(f, "{shown}")
        };
        for step in &self.steps {
            say(step.to_string())?;
        }
        let Some(start) = &self.start else { return Ok(()) };
        for top in &start.extend {
            say(format!("     carry over the entries of {} one by one", top.display()))?;
        }
        for (path, target) in &start.links {
            say(format!("     link {} -> {}", path.display(), target.display()))?;
        }
        for (copy, over) in &start.binds {
            say(format!("     bind {} read-only over {}", copy.display(), over.display()))?;
        }
        if let Some(farm) = &start.farm {
            say(format!("     /usr is {}/usr", farm.display()))?;
        }
        if !start.loader.is_empty() {
            let words: Vec<_> = start.loader.iter().map(|w| w.to_string_lossy()).collect();
            say(format!("     start {} PROG", words.join(" ")))?;
        }
        for loss in &self.losses {
            say(format!("     loses: {loss}"))?;
        }
        Ok(())
    }
}

/// What a rung says of itself.
enum Verdict {
    Take(Start, String),
    Pass(String),
}

/// Decides how to start a program.
///
/// # Errors
/// When materials that a rung needs cannot be made. That no rung fits is a [`Decision`] without a start.
pub fn decide(question: &Question<'_>, materials: &Materials) -> Result<Decision, Error> {
    let climb = Climb { q: question, materials, private_images: RefCell::default() };
    let mut steps: Vec<Step> = Vec::new();
    let mut start = None;
    for rung in Rung::LADDER {
        if start.is_some() {
            break;
        }
        if let Some(wanted) = question.wanted.filter(|w| *w != rung) {
            steps.push(Step { rung, taken: false, why: format!("--strategy {wanted}") });
            continue;
        }
        let verdict = match rung {
            Rung::Direct => climb.direct(),
            Rung::Shim => climb.shim()?,
            Rung::View | Rung::Overlay => climb.private_root(rung)?,
            Rung::Fhs => climb.fhs()?,
            Rung::Loader => climb.loader()?,
        };
        let (taken, why) = match verdict {
            Verdict::Take(found, why) => {
                start = Some(found);
                (true, why)
            }
            Verdict::Pass(why) => (false, why),
        };
        steps.push(Step { rung, taken, why });
    }
    let shim = start.iter().filter(|s| s.rung == Rung::Shim).flat_map(|_| climb.mapped_by_shim());
    let shim: Vec<PathBuf> = shim.collect();
    let copies: Vec<&Path> = start.iter().flat_map(copies_of).chain(shim.iter().map(PathBuf::as_path)).collect();
    let report = Report::new(question.answer, &steps, &copies).to_json();
    let user_namespace = nix::unistd::geteuid().as_raw() != 0;
    let private = |s: &Start| s.root().is_some() || s.rung == Rung::Fhs;
    let losses = start.as_ref().map(|s| s.rung.losses(private(s), user_namespace)).unwrap_or_default();
    Ok(Decision { watched: climb.watched(start.as_ref()), steps, start, losses, report })
}

/// Files of ours that the program will map in place of others.
fn copies_of(start: &Start) -> impl Iterator<Item = &Path> {
    let links = start.links.iter().map(|(_, target)| target.as_path());
    links.chain(start.binds.iter().map(|(copy, _)| copy.as_path())).chain(start.loader.first().map(Path::new))
}

struct Climb<'a> {
    q: &'a Question<'a>,
    materials: &'a Materials,
    /// The images of a private root with a shim.
    private_images: RefCell<Vec<PathBuf>>,
}

impl Climb<'_> {
    fn direct(&self) -> Verdict {
        if let Some((missing, _)) = &self.q.program.stand_in {
            return Verdict::Pass(format!("the script's interpreter {} does not exist", missing.display()));
        }
        match &self.q.answer.native {
            Native::Runs if self.q.answer.world != World::Native => {
                Verdict::Pass("its libraries are pinned, or another strategy was asked for".to_owned())
            }
            Native::Static | Native::Runs => Verdict::Take(Start::direct(), answer::sentence(&self.q.answer.native)),
            other if self.q.wanted == Some(Rung::Direct) => {
                Verdict::Take(Start::direct(), format!("--strategy direct, although {}", answer::sentence(other)))
            }
            other => Verdict::Pass(answer::sentence(other)),
        }
    }

    /// The base directory of the shim at the program's interpreter, if there is one.
    fn installed_base(&self) -> Option<Base> {
        let interpreter = self.q.answer.resolution.needs.interpreter.as_deref()?;
        Base::of_shim(Path::new(interpreter))
    }

    fn shim(&self) -> Result<Verdict, Error> {
        let resolution = &self.q.answer.resolution;
        let Some(interpreter) = resolution.needs.interpreter.as_deref() else {
            return Ok(Verdict::Pass("it names no interpreter".to_owned()));
        };
        if let Some(why) = self.unhelpable() {
            return Ok(Verdict::Pass(why));
        }
        let why = match (self.installed_base(), &self.q.program.stand_in) {
            (None, _) => format!("no shim is installed at {interpreter}"),
            (_, Some((missing, _))) => format!("the script's interpreter {} does not exist", missing.display()),
            (Some(base), None) => match shim::program::prospect(self.materials, resolution, &base) {
                Ok(Prospect::Starts(image)) => {
                    let start = Start { rung: Rung::Shim, ..Start::direct() };
                    return Ok(Verdict::Take(start, format!("the shim at {interpreter} gives it what {} says", image.display())));
                }
                Ok(Prospect::Not(why)) => format!("the shim at {interpreter} {why}"),
                Err(e) => format!("the shim at {interpreter} cannot help: {e}"),
            },
        };
        if self.q.wanted == Some(Rung::Shim) { self.private_root(Rung::Shim) } else { Ok(Verdict::Pass(why)) }
    }

    /// The images that a shim looks for, and their libraries: files that are mapped in place of the resolution's.
    fn mapped_by_shim(&self) -> Vec<PathBuf> {
        let mut out = self.private_images.borrow().clone();
        out.extend(self.candidates());
        let answers = |path: &PathBuf| match Image::load(path).ok()?.content.finds {
            Finds::Answers(answers) if answers.len() <= ANSWERS_MAX => Some(answers.into_values().collect::<Vec<_>>()),
            _ => None,
        };
        let named: Vec<PathBuf> = out.iter().filter_map(answers).flatten().collect();
        out.retain(|path| path.exists());
        out.extend(named);
        out
    }

    /// The images that an installed shim would look for.
    fn candidates(&self) -> Vec<PathBuf> {
        let resolution = &self.q.answer.resolution;
        let arch = resolution.needs.arch;
        let libc = resolution.needs.libc().unwrap_or(Libc::Glibc);
        let Some(base) = self.installed_base() else { return Vec::new() };
        let key = shim::program::key(&resolution.program, arch);
        key.map(|key| shim::program::candidates(&base, key, arch, libc)).unwrap_or_default()
    }

    /// Puts a shim where the loader copy of a private root lies otherwise, and images where it looks.
    fn private_shim(&self, start: &mut Start, inside: &Inside) -> Result<(), Error> {
        let resolution = &self.q.answer.resolution;
        let base = Base::at(&inside.images())?;
        start.links.push((PathBuf::from(&inside.loader), shim::install::copy(self.materials, resolution.needs.arch, &base)?));
        // Its key is that of the file the kernel will map: the copy, where one hides the program.
        let hidden = start.binds.iter().find(|(_, over)| *over == self.q.program.binary).map(|(copy, _)| copy.as_path());
        let images = shim::program::private(self.materials, resolution, &base, hidden.unwrap_or(&self.q.program.binary))?;
        let names = std::fs::read_dir(&images).into_iter().flatten().flatten().map(|entry| entry.path());
        self.private_images.borrow_mut().extend(names.filter(|path| !path.is_symlink()));
        start.links.push((inside.images(), images));
        Ok(())
    }

    /// Why no private root or loader can help at all.
    fn hopeless(&self) -> Option<String> {
        let resolution = &self.q.answer.resolution;
        let incomplete = !resolution.needs.kind.is_static() && !resolution.is_complete();
        self.unhelpable().or_else(|| incomplete.then(|| answer::first_fault(resolution)))
    }

    /// Why no loader can help, whatever libraries there are.
    fn unhelpable(&self) -> Option<String> {
        let resolution = &self.q.answer.resolution;
        if let Native::NotAProgram = self.q.answer.native {
            return Some("it is no program".to_owned());
        }
        if let Native::OtherMachine { .. } = self.q.answer.native {
            return Some("no loader makes another processor of this one".to_owned());
        }
        let idle = resolution.needs.kind.is_static() && self.q.program.stand_in.is_none();
        idle.then(|| "a static program has no loader to stand in for".to_owned())
    }

    /// *view* where the interpreter's path is free, *overlay* where something lies there; *shim* does either, and
    /// has a shim where they have a loader copy.
    fn private_root(&self, rung: Rung) -> Result<Verdict, Error> {
        if let Some(why) = self.hopeless() {
            return Ok(Verdict::Pass(why));
        }
        let resolution = &self.q.answer.resolution;
        let overlay = rung == Rung::Overlay;
        let mut start = Start { rung, ..Start::direct() };
        if let Some((missing, found)) = &self.q.program.stand_in {
            if !start.make_room(missing) {
                return Ok(Verdict::Pass(format!(
                    "{} lies below a directory of the host's, where nothing can be added",
                    missing.display()
                )));
            }
            start.links.push((missing.clone(), found.clone()));
        }
        let why = match (&resolution.libc_set, resolution.needs.interpreter.as_deref()) {
            // The stand-in of a missing interpreter may be this machine's own.
            _ if self.q.answer.world == World::Native && !overlay && !start.links.is_empty() => {
                "the script's interpreter can be added in a private root".to_owned()
            }
            (Some(set), Some(interpreter)) => {
                let free = room::at(Path::new(interpreter)) != Room::Taken;
                if free == overlay && rung != Rung::Shim {
                    let why = if free {
                        "the interpreter's path is free: view does it"
                    } else {
                        "something lies at the interpreter's path, or a directory above it is the host's"
                    };
                    return Ok(Verdict::Pass(why.to_owned()));
                }
                let inside = Inside::free(resolution.needs.arch, set.libc);
                if rung != Rung::Shim {
                    let copy = self.materials.loader(&set.loader, &inside)?;
                    start.links.push((PathBuf::from(&inside.loader), copy));
                    start.links.push((PathBuf::from(&inside.libraries), self.materials.libraries(resolution, set.libc)?));
                    self.add_data(&mut start, set);
                }
                if let Some(why) = self.cover(&mut start, &inside, set.libc, &self.q.program.binary)? {
                    return Ok(Verdict::Pass(why));
                }
                if rung == Rung::Shim {
                    self.private_shim(&mut start, &inside)?;
                }
                let world = match resolution.libc_set.as_ref().map(|s| s.version.as_str()) {
                    Some(version) if !version.is_empty() => format!(" (libc {version})"),
                    _ => String::new(),
                };
                match (rung, free) {
                    (Rung::Shim, true) => format!("a shim can be added at {interpreter} in a private root{world}"),
                    (_, true) => format!("{interpreter} can be added in a private root{world}"),
                    (_, false) => format!("a copy that names {} hides the program{world}", inside.loader),
                }
            }
            // A static interpreter of a script, or one the host's loader can run.
            _ if overlay => return Ok(Verdict::Pass("it names no interpreter".to_owned())),
            _ if start.links.is_empty() => return Ok(Verdict::Pass("it names no interpreter".to_owned())),
            _ => "the script's interpreter can be added in a private root".to_owned(),
        };
        if let Err(refusal) = fhs_env::probe() {
            return Ok(Verdict::Pass(format!("namespaces are refused: {refusal}")));
        }
        Ok(Verdict::Take(start, why))
    }

    /// The data that libc looks for at paths compiled into it, and that must be of its own build: gconv
    /// modules and locales. Added where the host has none at those paths; where it has, its own are
    /// found, as no directory of the host's is ever hidden.
    fn add_data(&self, start: &mut Start, set: &LibcSet) {
        for directory in [&set.gconv, &set.locale].into_iter().flatten() {
            if let Some(home) = room::path_at_home(directory)
                && start.make_room(&home)
            {
                start.links.push((home, directory.clone()));
            }
        }
    }

    /// Gives the program and every executable of its tree that needs it a loader: a link where its interpreter's path is free, else
    /// a copy over it. Returns the reason if the program itself cannot be covered.
    fn cover(&self, start: &mut Start, inside: &Inside, libc: Libc, program: &Path) -> Result<Option<String>, Error> {
        let stranded = self.q.answer.stranded.iter().map(PathBuf::as_path);
        let mut linked: BTreeSet<PathBuf> = BTreeSet::new();
        for (index, path) in std::iter::once(program).chain(stranded).enumerate() {
            let own = index == 0;
            let Ok(needs) = elf::load(path) else { continue };
            let Some(interpreter) = needs.interpreter.as_deref().filter(|_| needs.libc() == Some(libc)) else { continue };
            let interpreter = Path::new(interpreter);
            if start.make_room(interpreter) {
                if linked.insert(interpreter.to_owned()) {
                    start.links.push((interpreter.to_owned(), PathBuf::from(&inside.loader)));
                }
                continue;
            }
            if start.binds.len() == COPIES_MAX {
                log::warn!("more than {COPIES_MAX} executables in the program's tree: the rest keep this machine's loader");
                break;
            }
            match self.materials.executable(path, inside)? {
                Some(copy) => start.binds.push((copy, path.to_owned())),
                None if own => return Ok(Some(format!("its interpreter string is too short for {}", inside.loader))),
                None => {}
            }
        }
        Ok(None)
    }

    /// Why the program needs paths that this host has not; `None` if it names none.
    fn path_that_is_missing(&self) -> Option<(String, Option<&Path>)> {
        let program = self.q.program;
        if let Some(path) = program.lost.as_deref().or(program.stand_in.as_ref().map(|(missing, _)| missing.as_path())) {
            return Some((format!("the script's interpreter {} does not exist here", path.display()), Some(path)));
        }
        let missing = self.q.answer.resolution.missing.iter().find(|missing| missing.name.contains('/'))?;
        Some((format!("{} names {} by its path, which does not exist here", missing.needed_by, missing.name), None))
    }

    /// An environment, where the program names files by paths of a usual root, or where it was asked for.
    fn fhs(&self) -> Result<Verdict, Error> {
        if let Native::NotAProgram | Native::OtherMachine { .. } = self.q.answer.native {
            return Ok(Verdict::Pass(answer::sentence(&self.q.answer.native)));
        }
        let asked = self.q.wanted == Some(Rung::Fhs);
        let (why, interpreter) = match self.path_that_is_missing() {
            Some((why, interpreter)) => (why, interpreter),
            None if asked => ("--strategy fhs".to_owned(), None),
            None => return Ok(Verdict::Pass("it names no path that is missing here".to_owned())),
        };
        let own = |path: &Path| path.components().nth(1).is_some_and(|top| is_own(top.as_os_str()));
        let interpreter = interpreter.filter(|path| own(path));
        if interpreter.is_none() && (self.q.program.lost.is_some() || self.q.program.stand_in.is_some()) {
            return Ok(Verdict::Pass(format!("{why}, and an environment has no such path")));
        }
        if let Some(loader) = self.q.answer.resolution.needs.interpreter.as_deref().map(Path::new)
            && !own(loader)
            && !loader.exists()
        {
            return Ok(Verdict::Pass(format!("no environment has its interpreter {}", loader.display())));
        }
        let Some(environments) = self.q.environments else { return Ok(Verdict::Pass("no environment can be built".to_owned())) };
        if let Err(refusal) = fhs_env::probe() {
            return Ok(Verdict::Pass(format!("namespaces are refused: {refusal}")));
        }
        let resolution = &self.q.answer.resolution;
        let foreign = resolution.libraries.iter().filter(|library| library.origin != Origin::OwnTree && library.origin != Origin::Driver);
        let missing = resolution.missing.iter().map(|missing| missing.name.rsplit('/').next().unwrap_or_default());
        let mut libraries: Vec<&str> = foreign.map(|library| library.name.rsplit('/').next().unwrap_or_default()).collect();
        if self.q.program.lost.is_none() {
            libraries.extend(missing);
        }
        let wanted = Wanted { arch: resolution.needs.arch, libraries, interpreter };
        let farm = match environments.farm(&wanted) {
            Ok(farm) => farm,
            Err(error) if asked => {
                let subject = self.q.program.exec.display().to_string();
                return Err(Error::new(Kind::CannotStart, "build an environment for", subject, error, ""));
            }
            Err(error) => return Ok(Verdict::Pass(format!("{why}, and no environment can be built: {error}"))),
        };
        if let (Some(farm), Some(path)) = (&farm, interpreter)
            && !entry::has(farm, path)
        {
            return Ok(Verdict::Pass(format!("{why}, nor in the environment that was built")));
        }
        let note = if farm.is_none() { " (an environment would be built)" } else { "" };
        Ok(Verdict::Take(Start { rung: Rung::Fhs, farm, ..Start::direct() }, format!("{why}{note}")))
    }

    fn loader(&self) -> Result<Verdict, Error> {
        if let Some(why) = self.hopeless() {
            return Ok(Verdict::Pass(why));
        }
        if self.q.program.binary != self.q.program.real {
            return Ok(Verdict::Pass("a script cannot be given to a loader, nor can a launcher".to_owned()));
        }
        let resolution = &self.q.answer.resolution;
        let Some(set) = &resolution.libc_set else { return Ok(Verdict::Pass("it needs no loader".to_owned())) };
        let mut path = OsString::new();
        for directory in self.materials.directories(resolution)? {
            if directory.as_os_str().as_encoded_bytes().contains(&b':') {
                return Err(Error::new(
                    Kind::CannotStart,
                    "start",
                    resolution.program.display().to_string(),
                    format!("{} has a colon in its name, which no library path can hold", directory.display()),
                    "move it",
                ));
            }
            if !path.is_empty() {
                path.push(":");
            }
            path.push(directory);
        }
        let mut loader: Vec<OsString> = vec![set.loader.clone().into_os_string()];
        if set.libc == Libc::Glibc {
            loader.push("--inhibit-cache".into());
        }
        // --argv0 came with glibc 2.33; an older loader would take it for the program.
        if set.libc == Libc::Musl || !older_than_2_33(&set.version) {
            loader.extend(["--argv0".into(), self.q.argv0.to_owned()]);
        }
        loader.extend(["--library-path".into(), path]);
        let start = Start { rung: Rung::Loader, loader, ..Start::direct() };
        Ok(Verdict::Take(start, "the last resort: the loader is started by hand".to_owned()))
    }

    /// What the decision rests on: the program, the libraries of its closure, this machine's loader
    /// and cache, and everything of ours that it uses.
    fn watched(&self, start: Option<&Start>) -> Vec<PathBuf> {
        let resolution = &self.q.answer.resolution;
        let mut out: Vec<PathBuf> = vec![self.q.program.real.clone()];
        let mut watch = |path: &Path| {
            if !out.iter().any(|p| p == path) {
                out.push(path.to_owned());
            }
        };
        watch(&self.q.program.binary);
        if let Some(farm) = start.and_then(|s| s.farm.as_deref()) {
            watch(farm);
        }
        if let Some(script) = &self.q.program.script {
            watch(&script.interpreter);
        }
        if let Some(interpreter) = &resolution.needs.interpreter {
            watch(Path::new(interpreter));
        }
        watch(Path::new("/etc/ld.so.cache"));
        if let Some(set) = &resolution.libc_set {
            watch(&set.loader);
        }
        // What may be opened later counts too where it is little. Hundreds of stats would cost more than
        // the start itself: there, a replaced file is seen by its directory, this machine's own by its cache.
        let optional = Some(&resolution.optional).filter(|o| o.len() <= OPTIONAL_WATCHED_MAX);
        for library in resolution.libraries.iter().chain(optional.into_iter().flatten()) {
            watch(&library.path);
        }
        for top in start.iter().flat_map(|s| s.extend.iter()) {
            watch(top);
        }
        // An image that appears or is made again changes what the shim does.
        self.candidates().iter().for_each(|image| watch(image));
        // A file added to or removed from the tree changes its directory.
        self.q.answer.tree.directories.iter().for_each(|d| watch(d));
        for (copy, over) in start.iter().flat_map(|s| s.binds.iter()) {
            watch(over);
            watch(copy);
        }
        for (path, target) in start.iter().flat_map(|s| s.links.iter()) {
            watch(target);
            // Inside another private root the name is taken.
            watch(path);
        }
        out
    }
}

fn older_than_2_33(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (2, 33) && !version.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv0_is_an_option_since_glibc_2_33() {
        assert!(older_than_2_33("2.31") && !older_than_2_33("2.33") && !older_than_2_33("2.41") && !older_than_2_33(""));
    }
}
