//! One file after the other: looked at, planned, committed in place where the plan allows it, else
//! replaced. The first that fails ends the work; earlier ones stay changed.

use super::args::Request;
use super::intent::Steps;
use super::objections::Sections;
use super::{Complaint, complain, stream, texts};
use patcher::commit::{self, CommitError, CommitKind, Done, Settings, Source};
use patcher::{Options, Plan, View, Way};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Does what the request says with each of its files.
pub(super) fn run(request: &Request) -> Result<(), Complaint> {
    let debug = |text: &str| {
        if request.debug {
            complain(text.as_bytes());
        }
    };
    for name in &request.files {
        debug(&format!("patching ELF file '{}'\n", name.escape_ascii()));
        patch(request, name, &debug)?;
    }
    Ok(())
}

fn patch(request: &Request, name: &[u8], debug: &dyn Fn(&str)) -> Result<(), Complaint> {
    let source = opened(name)?;
    let file = source.bytes();
    let sections = Sections::read(file)?;
    let view = View::parse(file);
    let edits = Steps::new(request, &sections, &view, file).edits(debug)?;

    let output = request.output.as_deref().map(|to| if to.is_empty() { name } else { to });
    if edits.is_empty() && output.is_none() {
        return Ok(());
    }
    let way = if output.is_some() { Way::Replace } else { Way::InPlace };
    let options = Options { way, page_size: request.page_size, clobber: !request.keep_old_sections, ..Options::default() };
    let plan = patcher::plan_with(file, &edits, &options)?;
    if !plan.is_empty() {
        sections.oddities().iter().for_each(|oddity| complain(oddity.as_bytes()));
        debug(&plan.to_string());
    }
    match output.map(|to| Path::new(OsStr::from_bytes(to))) {
        Some(to) => write(&source, &plan, to),
        None if plan.is_empty() => Ok(()),
        None => change(&source, &plan, &options, &edits, debug),
    }
}

fn opened(name: &[u8]) -> Result<Source, Complaint> {
    let path = Path::new(OsStr::from_bytes(name));
    let found = std::fs::metadata(path).map_err(|error| Complaint::system(b"getting info about", name, &error))?;
    if found.is_dir() {
        return Err(Complaint::of(&[b"reading '", name, b"': Is a directory"]));
    }
    // What has no length has no header, be it empty or a device.
    if found.len() == 0 {
        return Err("missing ELF header".into());
    }
    Source::open(path).map_err(|error| match error {
        CommitError::Io { source, .. } => Complaint::system(b"opening", name, &source),
        error => error.into(),
    })
}

/// After a power failure a file is the old one or the new one. `XENO_DURABLE=1` waits until it is the new one for good;
/// `XENO_DURABLE=0` leaves it to the kernel when the disk is written, as `patchelf` does.
fn settings() -> Settings {
    let wanted = std::env::var_os("XENO_DURABLE");
    let says = |digit: &str| wanted.as_ref().is_some_and(|wanted| wanted == digit);
    Settings { durable: !says("0"), settled: says("1"), ..Settings::default() }
}

fn write(source: &Source, plan: &Plan, to: &Path) -> Result<(), Complaint> {
    let Some(device) = stream::at(to) else {
        return commit::output(source, plan, to, &settings()).map(|_| ()).map_err(Complaint::from);
    };
    let name = to.as_os_str().as_bytes();
    let device = device.map_err(|error| Complaint::system(b"opening", name, &error))?;
    let bytes = plan.apply(source.bytes())?;
    plan.verify(source.bytes(), &bytes)?;
    stream::write(device, &bytes).map_err(|error| Complaint::system(b"writing", name, &error))
}

/// Changes the file, whose owner says with its mode whether it may be: also where a replace would ask nobody.
fn change(source: &Source, plan: &Plan, options: &Options, edits: &[patcher::Edit], debug: &dyn Fn(&str)) -> Result<(), Complaint> {
    let path = source.path();
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK)
        .map_err(|error| Complaint::system(b"opening", path.as_os_str().as_bytes(), &error.into()))?;
    if plan.in_place() {
        match commit::in_place(source, plan, &settings()) {
            Ok(done) => return said(&done, debug),
            // Somebody would see the bytes change, or privileges would go: the way out is another file of the same name.
            Err(error) if matches!(error.kind(), CommitKind::InUse | CommitKind::Privileges | CommitKind::Unfit) => {
                debug(&format!("{error}\n"));
            }
            Err(error) => return Err(error.into()),
        }
        let plan = patcher::plan_with(source.bytes(), edits, &Options { way: Way::Replace, ..*options })?;
        return said(&commit::replace(source, &plan, &settings())?, debug);
    }
    said(&commit::replace(source, plan, &settings())?, debug)
}

/// What the person would not expect goes to standard error.
fn said(done: &Done, debug: &dyn Fn(&str)) -> Result<(), Complaint> {
    let path = done.path.as_os_str().as_bytes().escape_ascii();
    if done.links_broken > 0 {
        complain(format!("warning: '{path}' was replaced; its other names ({}) keep the old content\n", done.links_broken).as_bytes());
    }
    for lost in &done.lost {
        complain(format!("warning: '{path}': {lost}\n").as_bytes());
    }
    debug(&format!("wrote '{path}', {} bytes\n", done.len));
    Ok(())
}

impl From<CommitError> for Complaint {
    fn from(error: CommitError) -> Complaint {
        match &error {
            // The system's own words, without the number that Rust adds.
            CommitError::Io { operation, path, source } => {
                Complaint(format!("{operation} '{}': {}", path.display(), texts::reason(source)).into_bytes())
            }
            _ => Complaint(error.to_string().into_bytes()),
        }
    }
}
