//! A sandbox that was not started, in the words that scripts know; where the kernel refuses sandboxes altogether,
//! the reason and the remedy behind them.

use super::complaint::{Stop, errno};
use super::options::Step as Asked;
use fhs_env::{Failed, Fault, Op, Source, StartError, Step, Upper};
use nix::errno::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What mount(2) means by ENOSPC.
const TOO_MANY: &str = "Limit exceeded (ENOSPC). (Hint: Check that /proc/sys/fs/mount-max is sufficient, typically 100000)";

/// What the words depend on beside the failure.
pub(super) struct Scene<'a> {
    pub(super) steps: &'a [Asked],
    /// The sources that are directories.
    pub(super) directories: &'a [PathBuf],
}

/// The text for standard error.
pub(super) fn told(error: &StartError, scene: &Scene<'_>) -> Stop {
    let fault = error.fault();
    let text = match (error.failed(), fault) {
        (Failed::Step(step), fault) => step_failed(step, fault.and_then(Fault::errno)),
        (Failed::Op(op), Some(fault)) => scene.op_failed(op, fault),
        _ => None,
    };
    // Whether the kernel refuses sandboxes does not show in what the host has or has not.
    let general = !matches!(fault, Some(Fault::Source(_) | Fault::Parents(_) | Fault::Place(_) | Fault::Read(_) | Fault::Write(_)));
    match (text, error.refusal().filter(|_| general)) {
        (Some(text), None) => Stop::Complaint(text),
        (Some(text), Some(refusal)) => Stop::of(&[&text, b": ", refusal.to_string().as_bytes()]),
        (None, _) => error.to_string().into(),
    }
}

fn text(parts: &[&[u8]], number: Errno) -> Option<Vec<u8>> {
    Some([&parts.concat(), b": ".as_slice(), errno(number).as_bytes()].concat())
}

fn step_failed(step: &Step, number: Option<Errno>) -> Option<Vec<u8>> {
    let exactly = |words: &str| Some(words.as_bytes().to_vec());
    if *step == Step::AssertNoUserNamespaces {
        return exactly("creation of new user namespaces was not disabled as requested");
    }
    let number = number?;
    let simply = |words: &str| text(&[words.as_bytes()], number);
    match (step, number) {
        (Step::Namespaces(kinds), Errno::EINVAL) if kinds.user => {
            exactly("Creating new namespace failed, likely because the kernel does not support user namespaces.")
        }
        (Step::Namespaces(kinds), Errno::EPERM | Errno::EACCES) if kinds.user => {
            exactly("No permissions to create a new namespace, likely because the kernel does not allow non-privileged user namespaces.")
        }
        (Step::Namespaces(_), Errno::ENOSPC) => {
            exactly("Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)")
        }
        (Step::Namespaces(_), _) => simply("Creating new namespace failed"),
        (Step::JoinUser(_), Errno::EINVAL) => {
            exactly("Joining the specified user namespace failed, it might not be a descendant of the current user namespace.")
        }
        (Step::JoinUser(_), _) => simply("Joining specified user namespace failed"),
        (Step::JoinPid(_), _) => simply("Setting pidns failed"),
        (Step::DenySetgroups, _) => simply("error writing to setgroups"),
        (Step::MapUser { .. }, _) => simply("setting up uid map"),
        (Step::MapGroup { .. }, _) => simply("setting up gid map"),
        (Step::Become { uid: Some(uid), .. }, _) => simply(&format!("unable to switch to uid {uid}")),
        (Step::Become { .. }, _) => simply("unable to switch to gid"),
        (Step::LimitUserNamespaces(_), _) => simply("cannot open /proc/sys/user/max_user_namespaces"),
        (Step::Loopback, _) => simply("loopback: Failed RTM_NEWLINK"),
        (Step::HostName(name), _) => text(&[b"Can't set hostname to ", name.as_bytes()], number),
        (Step::Slave, _) => simply("Failed to make / slave"),
        (Step::SecondUserNamespace, _) => simply("unshare user ns"),
        (Step::NoNewPrivileges, _) => simply("prctl(PR_SET_NO_NEW_PRIVS) failed"),
        (Step::Capabilities(_), _) => simply("capset failed"),
        (Step::NewSession, _) => simply("setsid"),
        (Step::Lock(path), Errno::EAGAIN) => text(&[b"Unable to lock file ", path.as_os_str().as_bytes()], number),
        (Step::Lock(path), _) => text(&[b"Unable to open lock file ", path.as_os_str().as_bytes()], number),
        (Step::Tell, _) => simply("Write to info_fd"),
        (Step::WorkingDirectory { paths, .. }, _) => {
            text(&[b"Can't chdir to ", paths.first().map(|path| path.as_os_str().as_bytes()).unwrap_or_default()], number)
        }
        (Step::FileLabel(_), _) => simply("--file-label setup failed"),
        (Step::ExecLabel(label), _) => text(&[b"label_exec ", label.as_bytes()], number),
        (Step::Filter { .. }, Errno::EINVAL) => exactly(
            "Unable to set up system call filtering as requested: prctl(PR_SET_SECCOMP) reported EINVAL. \
             (Hint: this requires a kernel configured with CONFIG_SECCOMP and CONFIG_SECCOMP_FILTER.)",
        ),
        (Step::Filter { .. }, _) => simply("prctl(PR_SET_SECCOMP)"),
        (Step::Exec(file), _) => text(&[b"execvp ", file.as_bytes()], number),
        _ => None,
    }
}

impl Scene<'_> {
    fn op_failed(&self, op: &Op, fault: &Fault) -> Option<Vec<u8>> {
        match (op, fault) {
            (_, Fault::Source(number)) => text(&[b"Can't find source path ", &source(op)], *number),
            (_, Fault::OtherFile) => Some(b"Race condition binding dirfd".to_vec()),
            (Op::Link { path, .. }, Fault::OtherLink(found)) => {
                let holds = [b": existing destination is ", found.as_os_str().as_bytes()].concat();
                Some([b"Can't make symlink at ", bytes(path), &holds].concat())
            }
            (Op::Stack, fault) => Some([b"Failed to mount tmpfs: ", mount_error(fault.errno()?).as_bytes()].concat()),
            (Op::PivotRoot, fault) => text(&[b"pivot_root"], fault.errno()?),
            (op, Fault::Parents(number)) => text(&[b"Can't mkdir parents for ", bytes(self.asked_for(op)?)], *number),
            (op, Fault::Read(number) | Fault::Write(number)) => text(&[b"Can't write data to file ", bytes(place(op)?)], *number),
            (op, Fault::Place(number)) => self.place_failed(op, *number),
            (op, Fault::Mount(number)) => mount_failed(op, *number),
            (op, Fault::Restrict(number) | Fault::Step(number)) => restrict_failed(op, *number),
            _ => None,
        }
    }

    fn place_failed(&self, op: &Op, number: Errno) -> Option<Vec<u8>> {
        let path = place(op)?;
        let simply = |words: &str| text(&[words.as_bytes(), bytes(path)], number);
        match op {
            Op::Bind { source: Source::Path(from), .. } if !self.directories.contains(from) => simply("Can't create file at "),
            Op::BindContent { .. } => simply("Can't create file at "),
            Op::MakeFile { .. } => simply("Can't create file "),
            Op::Link { .. } if number == Errno::EEXIST => {
                Some([b"Can't make symlink at ", bytes(path), b": destination exists and is not a symlink"].concat())
            }
            Op::Link { .. } => simply("Can't make symlink at "),
            Op::Mode { .. } | Op::ReadOnly(_) => restrict_failed(op, number),
            // One of those above a path that was asked for.
            Op::MakeDirectory { .. } if self.asked_for(op) != Some(path) => {
                text(&[b"Can't mkdir parents for ", bytes(self.asked_for(op)?)], number)
            }
            _ => simply("Can't mkdir "),
        }
    }

    /// The path that was asked for: an operation may make a directory above it.
    fn asked_for<'a>(&'a self, op: &'a Op) -> Option<&'a Path> {
        let Op::MakeDirectory { path, mode } = op else { return place(op) };
        let is_it = |step: &Asked| matches!(step, Asked::Directory { to, mode: asked } if to == path && asked == mode);
        if self.steps.iter().any(is_it) {
            return Some(path);
        }
        let below = self.steps.iter().find_map(|step| match step {
            Asked::Directory { to, .. } | Asked::Tmpfs { to, .. } | Asked::File { to, .. } | Asked::BindData { to, .. } => {
                (to != path && to.starts_with(path)).then_some(to.as_path())
            }
            _ => None,
        });
        below.or(Some(path))
    }
}

fn mount_failed(op: &Op, number: Errno) -> Option<Vec<u8>> {
    let cause = mount_error(number);
    let mounted = |what: &str, path: &Path| {
        Some([format!("Can't mount {what} on /newroot").as_bytes(), bytes(path), b": ", cause.as_bytes()].concat())
    };
    match op {
        Op::Bind { .. } | Op::BindContent { .. } => {
            let words = [b"Can't bind mount /oldroot".as_slice(), &source(op), b" on /newroot", bytes(place(op)?)].concat();
            Some([&words, b": Unable to mount source on destination: ".as_slice(), cause.as_bytes()].concat())
        }
        Op::Tmpfs { path, .. } => mounted("tmpfs", path),
        Op::Proc { path, .. } => mounted("proc", path),
        Op::MinimalDev(path) => mounted("devpts", &path.join("pts")),
        Op::MessageQueues(path) => mounted("mqueue", path),
        Op::Overlay { path, lowers, upper } => {
            let names = layers(lowers, upper).map(bytes).collect::<Vec<_>>().join(b":".as_slice());
            let cause = if number == Errno::ELOOP { "Overlay directories may not overlap" } else { &cause };
            Some([b"Can't make overlay mount on /newroot", bytes(path), b" with options ", &names, b": ", cause.as_bytes()].concat())
        }
        _ => None,
    }
}

fn restrict_failed(op: &Op, number: Errno) -> Option<Vec<u8>> {
    let path = place(op)?;
    match op {
        Op::Mode { mode, .. } => text(&[format!("Can't chmod 0{mode:o} ").as_bytes(), bytes(path)], number),
        Op::ReadOnly(_) if number == Errno::EINVAL => {
            let unknown = [b": Unable to find \"/newroot", bytes(path), b"\" in mount table"].concat();
            Some([b"Can't remount readonly on /newroot", bytes(path), &unknown].concat())
        }
        Op::ReadOnly(_) => text(&[b"Can't remount readonly on /newroot", bytes(path), b": realpath(destination)"], number),
        Op::Bind { .. } | Op::BindContent { .. } => {
            let words = [b"Can't bind mount /oldroot".as_slice(), &source(op), b" on /newroot", bytes(path)].concat();
            text(&[&words, b": Unable to remount destination \"/newroot", bytes(path), b"\" with correct flags"], number)
        }
        // What else was mounted there.
        _ => mount_failed(op, number),
    }
}

/// Where an operation takes effect.
fn place(op: &Op) -> Option<&Path> {
    match op {
        Op::Bind { path, .. }
        | Op::Tmpfs { path, .. }
        | Op::Proc { path, .. }
        | Op::Overlay { path, .. }
        | Op::MakeDirectory { path, .. }
        | Op::MakeFile { path, .. }
        | Op::BindContent { path, .. }
        | Op::Link { path, .. }
        | Op::Mode { path, .. }
        | Op::MinimalDev(path)
        | Op::MessageQueues(path)
        | Op::ReadOnly(path) => Some(path),
        _ => None,
    }
}

/// What of the host is shown.
fn source(op: &Op) -> Vec<u8> {
    match op {
        Op::Bind { source: Source::Path(path), .. } => bytes(path).to_vec(),
        Op::Bind { source: Source::Descriptor(fd), .. } => format!("/proc/self/fd/{fd}").into_bytes(),
        Op::Overlay { lowers, upper, .. } => {
            let missing = layers(lowers, upper).find(|path| !path.exists());
            missing.or(lowers.first().map(PathBuf::as_path)).map(bytes).unwrap_or_default().to_vec()
        }
        _ => Vec::new(),
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn mount_error(number: Errno) -> String {
    if number == Errno::ENOSPC { TOO_MANY.to_owned() } else { errno(number) }
}

/// All paths of the host that an overlay is made of, those that take changes first.
fn layers<'a>(lowers: &'a [PathBuf], upper: &'a Upper) -> impl Iterator<Item = &'a Path> {
    let writable = match upper {
        Upper::Directories { upper, work } => [Some(upper), Some(work)],
        _ => [None, None],
    };
    writable.into_iter().flatten().chain(lowers.iter().rev()).map(PathBuf::as_path)
}
