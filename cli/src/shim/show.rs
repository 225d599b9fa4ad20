//! `xeno shim show`: what an image answers, read back from it.

use super::words::ShowArgs;
use super::{base_for, print_json, program, say};
use crate::failure::Failure;
use launch::shim::base::{Base, Owner};
use launch::shim::image::{Finds, Fresh, Image};
use launch::shim::program as image;
use resolver::elf;
use resolver::needs::Libc;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An image for machines.
#[derive(Serialize)]
pub(crate) struct ImageRow {
    pub(crate) path: String,
    arch: String,
    libc: Libc,
    /// Hexadecimal; none of an image for every program.
    key: Option<String>,
    loader: String,
    answers: BTreeMap<String, String>,
    directories: Vec<String>,
    live: Vec<String>,
    bytes: u64,
    /// What changed since it was made; none if nothing did.
    pub(crate) out_of_date: Option<String>,
}

impl ImageRow {
    pub(crate) fn new(image: &Image, path: &Path, base: &Base) -> ImageRow {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let content = &image.content;
        let (answers, directories) = match &content.finds {
            Finds::Answers(answers) => (answers.iter().map(|(n, p)| (n.clone(), text(p))).collect(), Vec::new()),
            Finds::Directories(directories) => (BTreeMap::new(), directories.iter().map(|d| text(d)).collect()),
        };
        ImageRow {
            path: text(path),
            arch: content.arch.to_string(),
            libc: image.libc,
            key: (!image.is_for_everybody()).then(|| content.key.0.iter().map(|b| format!("{b:02x}")).collect()),
            loader: text(&content.loader),
            answers,
            directories,
            live: content.live.clone(),
            bytes: image.size,
            out_of_date: match image.fresh(path, base) {
                Fresh::Yes => None,
                Fresh::No(why) => Some(why),
            },
        }
    }

    /// Whom it is for, in words.
    pub(crate) fn title(&self) -> String {
        let libc = if self.libc == Libc::Musl { "musl" } else { "glibc" };
        let whom = if self.key.is_some() { "one program" } else { "every program that has none of its own" };
        format!("{}: for {whom} ({}, {libc})", self.path, self.arch)
    }
}

/// Prints what an image answers.
pub(crate) fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let given = PathBuf::from(&args.subject);
    let (path, base) = match Image::load(&given) {
        Ok(_) => {
            let path = std::path::absolute(&given).unwrap_or(given);
            let base = base_of(&path, args.into.as_deref())?;
            (path, base)
        }
        Err(_) => of_program(args)?,
    };
    let row = ImageRow::new(&Image::load(&path)?, &path, &base);
    if args.json {
        print_json(&row)?;
        return Ok(0);
    }
    say(row.title());
    say(format_args!("  loader       a copy of {}", row.loader));
    for (name, file) in &row.answers {
        say(format_args!("    {name:<28} {file}"));
    }
    for directory in &row.directories {
        say(format_args!("  looks into   {directory}"));
    }
    for directory in &row.live {
        let leads = std::fs::read_link(directory.trim_end_matches('/')).map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        say(format_args!("  live         {directory}{leads}"));
    }
    if let Some(why) = &row.out_of_date {
        say(format_args!("  out of date  {why}"));
    }
    Ok(0)
}

/// The base directory an image lies in.
fn base_of(path: &Path, into: Option<&Path>) -> Result<Base, Failure> {
    if let Some(into) = into {
        return Ok(Base::at(into)?);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let users =
        parent.file_name().is_some_and(|name| name == "u") && path.file_name().and_then(|n| n.to_str()).is_some_and(Base::is_user_image);
    Ok(Base::at(if users { parent.parent().unwrap_or(parent) } else { parent })?)
}

/// The image that a program would get, in the order in which the shim looks.
fn of_program(args: &ShowArgs) -> Result<(PathBuf, Base), Failure> {
    let program = program(&args.subject)?;
    let base = base_for(args.into.as_deref(), &program.binary)?;
    let needs = elf::load(&program.binary)
        .map_err(|e| Failure::cannot_start(format!("read {}: {e}; name a program or an image", program.binary.display())))?;
    let key = image::key(&program.binary, needs.arch)?;
    let everybody = base.everybody(needs.arch, needs.libc().unwrap_or(Libc::Glibc));
    let user = nix::unistd::geteuid();
    let own = [Some(Owner::Base), (!user.is_root()).then_some(Owner::User(user.as_raw()))];
    for path in own.into_iter().flatten().map(|owner| PathBuf::from(base.image(key, owner))) {
        // Another program's image may have the same name.
        if path.exists() && Image::load(&path)?.content.key == key {
            return Ok((path, base));
        }
    }
    if Path::new(&everybody).exists() {
        return Ok((PathBuf::from(everybody), base));
    }
    let name = program.exec.display();
    Err(Failure::own(format!("show {name}: {} has no image for it; make one with `xeno shim add {name}`", base.text())))
}
