//! From what the words ask for and what is known of the caller: the sandbox and its program. Looks at nothing itself.

use super::complaint::Stop;
use super::options::{Changes, Fds, From, Options, Step, Variable};
use fhs_env::{Capability, Content, Join, Namespaces, Op, Program, Sandbox, Source, Upper, Want, WorkingIn};
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the result depends on beside the words.
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// This kernel lets somebody make user namespaces.
    pub(super) user_namespaces: bool,
    /// `NAME=VALUE` each.
    pub(super) environment: Vec<OsString>,
}

/// The mode of directories that a step needs and nobody asked for.
const PARENT_MODE: u32 = 0o755;

/// What contradicts itself, as far as it shows before the user namespace is settled.
fn contradiction(options: &Options) -> Option<&'static str> {
    let (unshare, fds) = (&options.unshare, &options.fds);
    let rules = [
        (fds.userns_block.is_some() && !unshare.user, "--userns-block-fd requires --unshare-user"),
        (fds.userns_block.is_some() && fds.info.is_none(), "--userns-block-fd requires --info-fd"),
        (fds.userns.is_some() && unshare.user, "--userns not compatible --unshare-user"),
        (fds.userns.is_some() && unshare.user_try, "--userns not compatible --unshare-user-try"),
        (options.disable_userns && !unshare.user, "--disable-userns requires --unshare-user"),
        // Two blanks, as scripts may have it.
        (options.disable_userns && fds.userns_block.is_some(), "--disable-userns is not compatible with  --userns-block-fd"),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule)
}

/// What is missing for an option to mean anything.
fn unmet(options: &Options, caller: &Caller, user: bool) -> Option<&'static str> {
    let ids = user || options.fds.userns.is_some();
    let rules = [
        (!ids && options.uid.is_some_and(|uid| uid != caller.uid), "Specifying --uid requires --unshare-user or --userns"),
        (!ids && options.gid.is_some_and(|gid| gid != caller.gid), "Specifying --gid requires --unshare-user or --userns"),
        (!options.unshare.uts && options.host_name.is_some(), "Specifying --hostname requires --unshare-uts"),
        (options.as_pid_1 && !options.unshare.pid, "Specifying --as-pid-1 requires --unshare-pid"),
        (options.as_pid_1 && !options.lock_files.is_empty(), "Specifying --as-pid-1 and --lock-file is not permitted"),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule)
}

/// Whether the words can be meant together; the namespaces they ask for.
pub(super) fn namespaces(options: &Options, caller: &Caller, command: &[OsString]) -> Result<Namespaces, Stop> {
    if let Some(rule) = contradiction(options) {
        return Err(rule.into());
    }
    let unshare = &options.unshare;
    let implied = caller.uid != 0 && options.fds.userns.is_none();
    let user = unshare.user || implied || (unshare.user_try && caller.user_namespaces);
    if command.is_empty() {
        return Err(Stop::Usage);
    }
    if let Some(rule) = unmet(options, caller, user) {
        return Err(rule.into());
    }
    // Ids of its own are had with a user namespace only, so it is no longer a try where they are asked for.
    let ids = options.uid.is_some() || options.gid.is_some();
    let user = match user {
        true if unshare.user || implied || ids => Want::Yes,
        true => Want::Try,
        false => Want::No,
    };
    let cgroup = match (unshare.cgroup, unshare.cgroup_try) {
        (true, _) => Want::Yes,
        (false, true) => Want::Try,
        (false, false) => Want::No,
    };
    Ok(Namespaces { user, ipc: unshare.ipc, pid: unshare.pid, net: unshare.net, uts: unshare.uts, cgroup })
}

/// The operations of the steps.
fn operations(steps: &[Step], own_pids: bool) -> Vec<Op> {
    let mut ops = Vec::with_capacity(steps.len());
    for step in steps {
        ops.extend(parents(step));
        ops.push(operation(step, own_pids));
    }
    ops
}

fn operation(step: &Step, own_pids: bool) -> Op {
    match step {
        Step::Bind { from, to, access, optional } => {
            let source = match from {
                From::Path(path) => Source::Path(path.clone()),
                From::Descriptor(fd) => Source::Descriptor(*fd),
            };
            Op::Bind { source, path: to.clone(), access: *access, optional: *optional }
        }
        Step::ReadOnly { to } => Op::ReadOnly(to.clone()),
        Step::Overlay { layers, changes, to } => {
            let upper = match changes {
                Changes::Nowhere => Upper::None,
                Changes::Memory => Upper::Memory,
                Changes::Directories { upper, work } => Upper::Directories { upper: upper.clone(), work: work.clone() },
            };
            Op::Overlay { path: to.clone(), lowers: layers.clone(), upper }
        }
        Step::Proc { to } => Op::Proc { path: to.clone(), own: own_pids },
        Step::Dev { to } => Op::MinimalDev(to.clone()),
        Step::Tmpfs { to, mode, size } => Op::Tmpfs { path: to.clone(), mode: *mode, size: *size },
        Step::MessageQueues { to } => Op::MessageQueues(to.clone()),
        Step::Directory { to, mode } => Op::MakeDirectory { path: to.clone(), mode: *mode },
        Step::File { fd, to, mode } => Op::MakeFile { path: to.clone(), content: Content::Descriptor(*fd), mode: *mode },
        Step::BindData { fd, to, mode, access } => {
            Op::BindContent { path: to.clone(), content: Content::Descriptor(*fd), access: *access, mode: *mode }
        }
        Step::Symlink { target, to } => Op::Link { path: to.clone(), target: target.clone() },
        Step::Mode { to, mode } => Op::Mode { path: to.clone(), mode: *mode },
    }
}

/// The directories above what a step makes, where they are to be as closed to group and others as that is.
fn parents(step: &Step) -> Vec<Op> {
    let (to, mode) = match step {
        Step::Tmpfs { to, mode, .. } | Step::Directory { to, mode } | Step::File { to, mode, .. } | Step::BindData { to, mode, .. } => {
            (to, *mode)
        }
        _ => return Vec::new(),
    };
    let closed = |bits: u32| if mode & bits == 0 { bits } else { 0 };
    let parent_mode = PARENT_MODE & !(closed(0o070) | closed(0o007));
    if parent_mode == PARENT_MODE {
        return Vec::new();
    }
    let mut above: Vec<&Path> = to.ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
    above.reverse();
    above.into_iter().map(|path| Op::MakeDirectory { path: path.to_owned(), mode: parent_mode }).collect()
}

/// The sandbox. Its hooks are not part of it.
pub(super) fn sandbox(options: Options, steps: &[Step], caller: &Caller, namespaces: Namespaces) -> Sandbox {
    let fds = &options.fds;
    // A fresh proc file system shows the process's pid namespace; the host's may not be mounted again by everybody.
    let own_pids = namespaces.pid || fds.pidns.is_some();
    Sandbox {
        ops: operations(steps, own_pids),
        join: Join { user: fds.userns, user_after: fds.userns2, pid: fds.pidns },
        uid: options.uid,
        gid: options.gid,
        maps_from_outside: fds.userns_block.is_some(),
        no_more_user_namespaces: options.disable_userns,
        assert_no_user_namespaces: options.assert_userns_disabled,
        capabilities: capabilities(&options, caller, namespaces),
        working_in: options.directory.clone().map_or(WorkingIn::CallersOrHome, WorkingIn::Path),
        sets_pwd: true,
        new_session: options.new_session,
        die_with_parent: options.die_with_parent,
        lingering: true,
        as_pid_1: options.as_pid_1,
        withheld: withheld(fds, steps),
        held: fds.sync.into_iter().collect(),
        namespaces,
        host_name: options.host_name,
        filters: options.filters,
        locks: options.lock_files,
        exec_label: options.exec_label,
        file_label: options.file_label,
        ..Sandbox::default()
    }
}

/// A root caller that is root inside keeps what it has also in a user namespace, unless told otherwise. Everybody
/// else has nothing but what is asked for: the exec of a program that is not root's would take the rest away.
fn capabilities(options: &Options, caller: &Caller, namespaces: Namespaces) -> Vec<Capability> {
    let user = namespaces.user != Want::No || options.fds.userns.is_some();
    let is_root = caller.uid == 0 && (options.uid.unwrap_or(0) == 0 || !options.capabilities.is_empty());
    let own = (is_root && user).then_some(Capability::AddCallers);
    own.into_iter().chain(options.capabilities.iter().copied()).collect()
}

/// The descriptors that are for us, and not for the program. The standard ones always are for both.
fn withheld(fds: &Fds, steps: &[Step]) -> Vec<RawFd> {
    let steps = steps.iter().filter_map(|step| match step {
        Step::Bind { from: From::Descriptor(fd), .. } | Step::File { fd, .. } | Step::BindData { fd, .. } => Some(*fd),
        _ => None,
    });
    let namespaces = [fds.userns, fds.userns2, fds.pidns].into_iter().flatten().filter(|fd| *fd > 2);
    steps.chain(namespaces).collect()
}

/// The program, its arguments and its environment.
pub(super) fn program(options: &Options, caller: &Caller, command: Vec<OsString>) -> Program {
    let file = command.first().cloned().unwrap_or_default();
    let mut arguments = command;
    if let (Some(name), Some(first)) = (&options.argv0, arguments.first_mut()) {
        first.clone_from(name);
    }
    let mut environment = caller.environment.clone();
    for change in &options.variables {
        match change {
            Variable::Clear => environment.clear(),
            Variable::Unset(name) => environment.retain(|entry| !is_named(entry, name)),
            Variable::Set(name, value) => {
                let entry: OsString = [name.as_os_str(), OsStr::new("="), value].into_iter().collect();
                match environment.iter_mut().find(|entry| is_named(entry, name)) {
                    Some(there) => *there = entry,
                    None => environment.push(entry),
                }
            }
        }
    }
    Program { file, arguments, environment }
}

fn is_named(entry: &OsStr, name: &OsStr) -> bool {
    entry.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}
