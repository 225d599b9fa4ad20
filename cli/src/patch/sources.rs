//! What libraries of a patched file or tree may be: this machine's, its drivers', an archive's.

use crate::environment;
use crate::failure::Failure;
use crate::patch::words::PatchArgs;
use crate::progress::Show;
use resolver::answer::Sources;
use resolver::arch::Arch;
use resolver::closure::Environment;
use resolver::elf;
use resolver::machine;
use resolver::needs::Libc;
use resolver::provider::{Offer, Provider, Want};
use resolver::system::System;
use std::path::Path;
use std::sync::Arc;
use store::debian::{Debian, Options};
use store::host::{self, Drivers, Host};
use store::root::{Places, StoreRoot};
use wrap::freeze::{self, Frozen, Question};

/// Where libraries come from.
pub(super) struct Here {
    debian: Debian,
}

impl Here {
    pub(super) fn new(args: &PatchArgs) -> Result<Here, Failure> {
        let root = StoreRoot::choose(&Places::from_env())?;
        let options = Options { offline: args.offline, progress: Arc::new(Show::new()) };
        Ok(Here { debian: Debian::new(root, store::config::Config::from_env()?, options) })
    }

    /// The frozen form of one file. What the user's variables find is found, what they preload is not.
    pub(super) fn freeze(&self, program: &Path) -> Result<Frozen, Failure> {
        let unreadable = |e| Failure::own(format!("read {}: {e}; give a program or library", program.display()));
        let needs = elf::load(program).map_err(unreadable)?;
        let system = machine::system(needs.arch, needs.libc().unwrap_or(Libc::Glibc));
        let (here, drivers) = (Host(system.as_ref()), Drivers(system.as_ref()));
        let hints = system.as_ref().map(host::driver_sonames).unwrap_or_default();
        let archives: [&dyn Provider; 1] = [&self.debian];
        let sources = Sources { host: Some(&here), drivers: &drivers, driver_sonames: &hints, archives: &archives };
        let environment = Environment { preload: Vec::new(), ..environment::loaders() };
        let question = Question { sources: &sources, environment: &environment, shared: &environment::shared_directories() };
        Ok(freeze::plan(program, &question)?)
    }
}

impl wrap::tree::Places for Here {
    fn system(&self, arch: Arch, libc: Libc) -> Option<System> {
        machine::system(arch, libc)
    }

    fn drivers(&self, system: Option<&System>, wants: &[Want]) -> Vec<Option<Offer>> {
        Drivers(system).provide(wants).unwrap_or_default()
    }

    fn archives(&self) -> Vec<&dyn Provider> {
        vec![&self.debian]
    }

    fn package_of(&self, soname: &str, arch: Arch) -> Option<String> {
        let found = self.debian.lookup(soname, arch).into_iter().next()?;
        Some(format!("{} of {}", found.package, found.suite))
    }
}
