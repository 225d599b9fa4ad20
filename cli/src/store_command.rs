//! `xeno store`: looks into the archive's indexes and says where things are kept.

use crate::args::{StoreArgs, StoreCommand};
use crate::failure::Failure;
use crate::progress::Show;
use resolver::arch::Arch;
use std::sync::Arc;
use store::debian::{Debian, Options};
use store::root::{Places, StoreRoot};

/// Does what was asked.
pub(crate) fn run(args: &StoreArgs) -> Result<u8, Failure> {
    let root = StoreRoot::choose(&Places::from_env())?;
    match &args.command {
        StoreCommand::Path => {
            anstream::println!("{}", root.path().display());
            Ok(0)
        }
        StoreCommand::Update { arch } => {
            for line in debian(root)?.update(&[architecture(arch.as_deref())?])? {
                anstream::println!("{line}");
            }
            Ok(0)
        }
        StoreCommand::Which { arch, soname } => which(&debian(root)?, architecture(arch.as_deref())?, soname),
    }
}

fn which(debian: &Debian, arch: Arch, soname: &str) -> Result<u8, Failure> {
    debian.ensure_index(arch)?;
    let candidates = debian.lookup(soname, arch);
    for c in &candidates {
        anstream::println!("{} {} /{}/{}  ({})", c.package, c.suite, c.directory, c.soname, c.why);
    }
    if candidates.is_empty() {
        return Err(Failure::own(format!("look up {soname}: no suite has it for {arch}; check the name's version number")));
    }
    Ok(0)
}

fn architecture(name: Option<&str>) -> Result<Arch, Failure> {
    match name {
        None => Arch::host().ok_or_else(|| Failure::own("this machine's architecture has no archive; name one with --arch")),
        Some(name) => Arch::from_short(name)
            .or_else(|| Arch::from_debian(name))
            .ok_or_else(|| Failure::own(format!("look for {name}: no such architecture; there are x86_64, i686, aarch64 and riscv64"))),
    }
}

fn debian(root: StoreRoot) -> Result<Debian, Failure> {
    Ok(Debian::new(root, store::config::Config::from_env()?, Options { offline: false, progress: Arc::new(Show::new()) }))
}
