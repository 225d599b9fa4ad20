//! Looks at the caller and at what is to be shown of the host, then starts the sandbox. Ends as the program ends.

use super::args;
use super::complaint::{Stop, Told};
use super::failure::{self, Scene};
use super::inherited;
use super::labels;
use super::options::{Options, Step};
use super::plan::{self, Caller};
use super::report::Report;
use nix::unistd::{getegid, geteuid, getgid, getuid};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where links lead that depend on who follows them (`proc(5)`, `/proc/self`).
const KERNELS_OWN: [&str; 2] = ["/proc", "/dev"];

/// Starts what is asked for. Returns when the program has ended, with its status, or when it was not started;
/// where nobody has to stay, this process is the program.
pub(super) fn run(words: &[&[u8]], told: &mut Told) -> Result<u8, Stop> {
    if (getuid(), getgid()) != (geteuid(), getegid()) {
        return Err("the program has the set-user-id or set-group-id bit, and needs no privileges; remove it with chmod ug-s".into());
    }
    let (mut options, command) = args::parse(words, &mut inherited::read, told)?;
    let caller = caller(&options);
    let namespaces = plan::namespaces(&options, &caller, &command)?;
    for label in [&options.exec_label, &options.file_label].into_iter().flatten() {
        labels::check(label)?;
    }
    if let Some(fd) = options.fds.seccomp {
        options.filters = vec![args::filter(fd, &mut inherited::read)?];
    }
    let directories = sources(&mut options)?;
    let program = plan::program(&options, &caller, command);
    if program.file.is_empty() {
        return Err("execvp : No such file or directory".into());
    }
    let mut report = Report::new(&options.fds, options.unshare);
    let steps = std::mem::take(&mut options.steps);
    let sandbox = plan::sandbox(options, &steps, &caller, namespaces);
    // Nothing of it may come after what the program says.
    let _ = std::io::stderr().write_all(&told.take());
    match sandbox.start(program, &mut report) {
        Ok(exit) => Ok(exit.status()),
        Err(error) => Err(failure::told(&error, &Scene { steps: &steps, directories: &directories })),
    }
}

fn caller(options: &Options) -> Caller {
    let environment = std::env::vars_os().map(|(name, value)| [name.as_os_str(), OsStr::new("="), &value].into_iter().collect());
    Caller {
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
        user_namespaces: options.unshare.user_try && user_namespaces(),
        environment: environment.collect::<Vec<OsString>>(),
    }
}

/// Whether this kernel has user namespaces and does not say that nobody may make any (`user_namespaces(7)`).
fn user_namespaces() -> bool {
    let says = |path: &str, word: &str| fs::read_to_string(path).is_ok_and(|text| text.trim_end() == word);
    fs::exists("/proc/self/ns/user").unwrap_or(false)
        && !says("/sys/module/user_namespace/parameters/enable", "N")
        && !says("/proc/sys/user/max_user_namespaces", "0")
}

/// Whether everything is there, before anything is made: those that are directories. What a path of the kernel's
/// leads to is found now, as it may be another thing in another process.
fn sources(options: &mut Options) -> Result<Vec<PathBuf>, Stop> {
    let mut directories = Vec::new();
    for (path, optional) in options.steps.iter_mut().flat_map(Step::sources) {
        if KERNELS_OWN.iter().any(|own| path.starts_with(own))
            && let Ok(found) = fs::canonicalize(&path)
        {
            *path = found;
        }
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => directories.push(path.clone()),
            Ok(_) => {}
            Err(error) if optional && error.kind() == ErrorKind::NotFound => {}
            // In its own user namespace a user may see more.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(Stop::system(&[b"Can't find source path ", path.as_os_str().as_bytes()].concat(), &error)),
        }
    }
    Ok(directories)
}
