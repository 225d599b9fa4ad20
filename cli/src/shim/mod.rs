//! `xeno shim`: words in, images and installations made by `launch`, what became of them told.

mod add;
mod install;
mod show;
mod status;
pub(crate) mod words;

use crate::failure::{Failure, OneLine};
use launch::program::Program;
use launch::shim::base::{Base, Owner};
use launch::shim::image;
use launch::shim::program::Planned;
use resolver::arch::Arch;
use resolver::elf;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use words::{ShimArgs, ShimCommand};

/// Something is out of date or not to be trusted.
const NOT_WELL: u8 = 1;

/// Does what the words say.
pub(crate) fn run(args: &ShimArgs) -> Result<u8, Failure> {
    match &args.command {
        ShimCommand::Install(args) => install::install(args),
        ShimCommand::Uninstall(args) => install::uninstall(args),
        ShimCommand::Status(args) => status::status(args),
        ShimCommand::Add(args) => add::add(args),
        ShimCommand::Show(args) => show::show(args),
    }
}

/// The program a word names; a file of that name in the current directory comes before `PATH`.
pub(crate) fn program(word: &OsStr) -> Result<Program, Failure> {
    let path = env::var_os("PATH");
    let bare = !word.as_encoded_bytes().contains(&b'/') && Path::new(word).exists();
    let here = Path::new(".").join(word);
    let mut program = Program::find(if bare { here.as_os_str() } else { word }, path.as_deref())?;
    program.read_shebang(path.as_deref())?;
    Ok(program)
}

/// The command that puts the shim at a program's interpreter; `None` of a path that is no certain place.
pub(crate) fn installing_at(interpreter: &str, arch: Arch) -> Option<String> {
    let usual = |path: &str| path == interpreter;
    if arch.glibc_loader().is_some_and(usual) {
        return Some("xeno shim install".to_owned());
    }
    if arch.musl_loader().as_deref().is_some_and(usual) {
        return Some("xeno shim install --musl".to_owned());
    }
    interpreter.starts_with('/').then(|| format!("xeno shim install --at {interpreter}"))
}

/// The base directory for a program: the one that was named, else that of the shim that starts it, else the usual.
pub(crate) fn base_for(into: Option<&Path>, binary: &Path) -> Result<Base, Failure> {
    let interpreter = elf::load(binary).ok().and_then(|needs| Some(PathBuf::from(needs.interpreter?)));
    // A program may name any file as its interpreter: only a shim that root or this user has put there says where
    // something is to be written.
    let trusted = interpreter.filter(|path| {
        let followed = |owner| fs::canonicalize(path).is_ok_and(|real| image::is_trusted(&real, owner));
        followed(Owner::User(0)) || fs::metadata(path).is_ok_and(|meta| meta.uid() == 0) && followed(Owner::Base)
    });
    let shims = trusted.and_then(|path| Base::of_shim(&path));
    match (into, shims) {
        (Some(named), shims) => {
            let named = Base::at(named)?;
            if let Some(other) = shims.filter(|other| *other != named) {
                log::warn!("the shim that starts {} looks into {}, not into {}", binary.display(), other.text(), named.text());
            }
            Ok(named)
        }
        (None, Some(shims)) => Ok(shims),
        (None, None) => Ok(Base::default()),
    }
}

/// Root's images are for everybody, who then has to be able to read what they name.
fn warn_of_closed(planned: &Planned) {
    if nix::unistd::geteuid().is_root()
        && let Some(path) = planned.closed_to_others()
    {
        let path = path.display();
        log::warn!("{path} cannot be read by ordinary users, who cannot start what needs it: `chmod o+rX {path}` lets them");
    }
}

/// One line, whatever a hostile name in it contains.
fn say(line: impl fmt::Display) {
    anstream::println!("{}", OneLine(line));
}

/// One line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|e| Failure::own(format!("write the report as JSON: {e}")))?;
    anstream::println!("{json}");
    Ok(())
}
