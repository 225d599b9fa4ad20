//! The images for programs that have none of their own: this machine's libraries as its own loader finds them,
//! or an archive's libc and the libraries that were named.

use super::base::{Base, Owner};
use super::data::Links;
use super::image::{self, Content, Finds};
use super::program::{Planned, companions, live, move_data};
use crate::error::{Error, Kind};
use crate::materials::{self, Materials};
use ld_shim::image::EVERYBODY;
use resolver::arch::Arch;
use resolver::needs::Libc;
use resolver::provider::LibcSet;
use resolver::system::System;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the libraries come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// This machine's own.
    Host {
        /// What its loader consults.
        system: &'a System,
        /// Whether its directories are searched too, so that what is installed later is found: where the shim
        /// replaces the loader of the machine's own programs.
        later: bool,
    },
    /// A set, and files for the names that were asked for and whatever they need.
    Set {
        /// The loader and what belongs to it.
        set: &'a LibcSet,
        /// Each name's file.
        answers: BTreeMap<String, PathBuf>,
    },
}

/// Plans the image for every program of an architecture and C library.
///
/// # Errors
/// If a path does not fit, or materials cannot be made.
pub fn plan(materials: &Materials, source: Source<'_>, arch: Arch, base: &Base, live_in: &[PathBuf]) -> Result<Planned, Error> {
    let mut links = Links::beside(base, Owner::Base);
    let mut kept = Vec::new();
    let (loader, libc, finds) = match source {
        Source::Host { system, later } => {
            if later && system.libc == Libc::Glibc {
                kept = system.directories.iter().map(|d| d.to_string_lossy().into_owned()).collect();
            }
            (system.loader.clone(), system.libc, of_system(system))
        }
        Source::Set { set, mut answers } => {
            let finds = if set.libc == Libc::Musl {
                let mut directories = materials.directories_of(&answers)?;
                directories.extend(set.directories.iter().cloned());
                Finds::Directories(directories)
            } else {
                materials::add_loader(set, &mut answers);
                companions(set, arch, &mut answers);
                move_data(materials, set, &mut answers, &mut links)?;
                Finds::Answers(answers)
            };
            (set.loader.clone(), set.libc, finds)
        }
    };
    let path = base.everybody(arch, libc);
    let loader = std::path::absolute(&loader).map_err(|e| Error::io("find the loader", &loader, e, ""))?;
    let mut content = Content { arch, loader, finds, live: kept, key: EVERYBODY };
    live(&mut content, live_in, base, &path, &mut links)?;
    let bytes = image::compose(&content, &path, &base.nothing())?;
    Ok(Planned::of(&path, bytes, links, content))
}

/// What this machine's own loader finds by name.
fn of_system(system: &System) -> Finds {
    if system.libc == Libc::Musl {
        return Finds::Directories(system.directories.clone());
    }
    let cached = system.cached_sonames().filter_map(|name| Some((name.to_owned(), system.cached(name)?)));
    Finds::Answers(cached.collect())
}

/// The names of `wanted` that this machine's own loader would not find.
pub fn unknown_to<'a>(system: &System, wanted: &'a [String]) -> Vec<&'a str> {
    let in_directory = |name: &str| system.directories.iter().any(|d| d.join(name).exists());
    let known = |name: &str| system.cached(name).is_some() || system.libc == Libc::Musl && in_directory(name);
    wanted.iter().map(String::as_str).filter(|name| !known(name)).collect()
}

/// Whether this machine's own libraries are worth answering with: its loader knows some by name, and all of
/// `wanted`.
///
/// # Errors
/// The reason why not.
pub fn serves(system: &System, wanted: &[String]) -> Result<(), Error> {
    let refused = |cause: String| Err(Error::new(Kind::Own, "answer with", system.loader.display().to_string(), cause, ""));
    if system.libc == Libc::Glibc && system.cached("libc.so.6").is_none() {
        return refused("its cache does not even name its libc".to_owned());
    }
    match unknown_to(system, wanted).first() {
        Some(name) => refused(format!("it does not find {name}")),
        None => Ok(()),
    }
}
