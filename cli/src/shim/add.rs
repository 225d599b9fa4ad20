//! `xeno shim add`: resolves programs as `xeno run` does and writes their images.

use super::words::AddArgs;
use super::{base_for, program, say};
use crate::failure::Failure;
use crate::resolving::{self, How};
use launch::materials::Materials;
use launch::shim::base::{Base, Owner};
use launch::shim::{install, program as image};
use resolver::answer::{self, Extent, Native};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use store::cache::Cache;
use store::root::{Places, StoreRoot};

/// Adds each program; the first that fails ends it.
pub(crate) fn add(args: &AddArgs) -> Result<u8, Failure> {
    for word in &args.programs {
        one(args, word)?;
    }
    Ok(0)
}

fn one(args: &AddArgs, word: &OsStr) -> Result<(), Failure> {
    let program = program(word)?;
    let base = base_for(args.into.as_deref(), &program.binary)?;
    let root = StoreRoot::choose(&Places::from_env())?;
    // What the variables of today name is found by them at every start; an image is for starts without them.
    let extent = Extent { native: false, optional: true };
    let how = How { lock: None, dry_run: false, offline: args.offline, extent, variables: false };
    let (answer, _) = resolving::answer_for(&program.binary, root.clone(), &how)?;
    if let Native::OtherMachine { .. } | Native::NotAProgram | Native::Static = answer.native {
        let why = answer::sentence(&answer.native);
        return Err(Failure::cannot_start(format!("add {}: {why}; there is nothing to add", program.exec.display())));
    }
    let owner = owner(&base)?;
    let planned = image::plan(&Materials::new(Cache::of(&root)), &answer.resolution, &base, owner, &args.live)?;
    if owner == Owner::Base {
        install::make_base(&base, false)?;
    }
    planned.write()?;
    super::warn_of_closed(&planned);
    say(format_args!("{} -> {}", program.exec.display(), planned.path.display()));
    // Nothing follows the image before the shim is where the program looks for its loader.
    let needs = &answer.resolution.needs;
    if let Some(interpreter) = needs.interpreter.as_deref().filter(|i| Base::of_shim(Path::new(i)).is_none()) {
        let name = program.exec.display();
        match super::installing_at(interpreter, needs.arch) {
            Some(install) => log::warn!("{interpreter} is not the shim: {name} starts through it once `{install}` has put it there"),
            None => log::warn!("{interpreter} depends on the current directory, so no shim can be there: use `xeno run {name}`"),
        }
    }
    Ok(())
}

/// Whose image it becomes: everybody's if the base directory is one's own, else one's own.
fn owner(base: &Base) -> Result<Owner, Failure> {
    let me = nix::unistd::geteuid();
    // The base of a test or of a single user belongs to him; the system's belongs to root.
    let mine = fs::metadata(base.directory()).is_ok_and(|meta| meta.uid() == me.as_raw());
    if me.is_root() || mine {
        return Ok(Owner::Base);
    }
    if base.users().is_dir() {
        return Ok(Owner::User(me.as_raw()));
    }
    let text = base.text();
    Err(Failure::own(format!(
        "write an image into {text}: it is not yours, and ordinary users have no place there; `sudo xeno shim add`, \
         or make such a place with `sudo xeno shim install --users`"
    )))
}
