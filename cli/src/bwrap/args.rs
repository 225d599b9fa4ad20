//! `bwrap`'s command line: one table of options, and what each of them adds. Words are taken in order; the first
//! mistake ends the work before anything is started. Reads descriptors only through the function it is given.

use super::capabilities;
use super::complaint::{Level, Stop, Told};
use super::numbers;
use super::options::{Changes, Fds, From, Options, Step, Unshare, Variable};
use fhs_env::Access;
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The most words, those of files included: more than anybody needs, and 64 MiB of pointers at most.
pub(super) const WORDS_MAX: usize = 1 << 20;

/// One option.
pub(super) struct Opt {
    pub(super) name: &'static str,
    /// The words that must follow it, as the usage calls them.
    pub(super) values: &'static [&'static str],
    /// What the usage says of it.
    pub(super) help: &'static str,
    effect: Effect,
}

/// What an option does, with the words that followed it.
type Effect = fn(&mut Parser<'_>, &[&[u8]]) -> Result<(), Stop>;

const fn opt(name: &'static str, values: &'static [&'static str], help: &'static str, effect: Effect) -> Opt {
    Opt { name, values, help, effect }
}

const BIND: &[&str] = &["SRC", "DEST"];
const DATA: &[&str] = &["FD", "DEST"];
const FD: &[&str] = &["FD"];
const DEST: &[&str] = &["DEST"];

/// Every option, in the order of the usage.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Opt] = &[
    opt("--help", &[], "Show this text", |_, _| Err(Stop::Help)),
    opt("--version", &[], "Show the version", |_, _| Err(Stop::Version)),
    opt("--args", FD, "Take more options from FD, each ended by NUL", |p, v| p.file_of_words(v)),
    opt("--argv0", &["VALUE"], "The name COMMAND sees as its own", |p, v| p.argv0(v)),
    opt("--level-prefix", &[], "Begin messages with their level: <3> errors, <4> warnings", |p, _| on(&mut p.options.level_prefix)),
    opt("--unshare-all", &[], "A new namespace of every kind; user and cgroup if they can be had", |p, _| p.unshare_all()),
    opt("--share-net", &[], "Keep the network namespace after all", |p, _| p.unshare(|n| n.net = false)),
    opt("--unshare-user", &[], "A new user namespace; implied for ordinary users", |p, _| p.unshare(|n| n.user = true)),
    opt("--unshare-user-try", &[], "A new user namespace if one can be had", |p, _| p.unshare(|n| n.user_try = true)),
    opt("--unshare-ipc", &[], "A new IPC namespace", |p, _| p.unshare(|n| n.ipc = true)),
    opt("--unshare-pid", &[], "A new PID namespace", |p, _| p.unshare(|n| n.pid = true)),
    opt("--unshare-net", &[], "A new network namespace: loopback only", |p, _| p.unshare(|n| n.net = true)),
    opt("--unshare-uts", &[], "A new UTS namespace", |p, _| p.unshare(|n| n.uts = true)),
    opt("--unshare-cgroup", &[], "A new cgroup namespace", |p, _| p.unshare(|n| n.cgroup = true)),
    opt("--unshare-cgroup-try", &[], "A new cgroup namespace if one can be had", |p, _| p.unshare(|n| n.cgroup_try = true)),
    opt("--userns", FD, "Join this user namespace instead of making one", |p, v| p.last_fd("--userns", v, |f| &mut f.userns)),
    opt("--userns2", FD, "Join this one, a child of that of --userns, when all is set up", |p, v| p.last_fd("--userns2", v, |f| &mut f.userns2)),
    opt("--disable-userns", &[], "Let nobody inside make user namespaces", |p, _| on(&mut p.options.disable_userns)),
    opt("--assert-userns-disabled", &[], "Start only if nobody inside can make user namespaces", |p, _| on(&mut p.options.assert_userns_disabled)),
    opt("--pidns", FD, "Join this PID namespace; --unshare-pid makes one below it", |p, v| p.last_fd("--pidns", v, |f| &mut f.pidns)),
    opt("--uid", &["UID"], "The user id inside (needs --unshare-user or --userns)", |p, v| p.id("uid", v, |o| &mut o.uid)),
    opt("--gid", &["GID"], "The group id inside (needs --unshare-user or --userns)", |p, v| p.id("gid", v, |o| &mut o.gid)),
    opt("--hostname", &["NAME"], "The host name inside (needs --unshare-uts)", |p, v| p.host_name(v)),
    opt("--chdir", &["DIR"], "Start in DIR", |p, v| p.directory(v)),
    opt("--clearenv", &[], "Start with an empty environment", |p, _| p.variable(Variable::Clear)),
    opt("--setenv", &["VAR", "VALUE"], "Set a variable", |p, v| p.set_variable(v)),
    opt("--unsetenv", &["VAR"], "Remove a variable", |p, v| p.unset_variable(v)),
    opt("--lock-file", DEST, "Hold a read lock on DEST as long as anything runs inside", |p, v| p.lock_file(v)),
    opt("--sync-fd", FD, "Hold FD open as long as anything runs inside", |p, v| p.last_fd("--sync-fd", v, |f| &mut f.sync)),
    opt("--bind", BIND, "Show the host's SRC at DEST", |p, v| p.bind(v, Access::ReadWrite, false)),
    opt("--bind-try", BIND, "The same, unless there is no SRC", |p, v| p.bind(v, Access::ReadWrite, true)),
    opt("--dev-bind", BIND, "Show SRC at DEST, device nodes included", |p, v| p.bind(v, Access::Devices, false)),
    opt("--dev-bind-try", BIND, "The same, unless there is no SRC", |p, v| p.bind(v, Access::Devices, true)),
    opt("--ro-bind", BIND, "Show SRC at DEST, read-only", |p, v| p.bind(v, Access::ReadOnly, false)),
    opt("--ro-bind-try", BIND, "The same, unless there is no SRC", |p, v| p.bind(v, Access::ReadOnly, true)),
    opt("--bind-fd", DATA, "Show what FD is open on, a directory or O_PATH, at DEST", |p, v| p.bind_fd(v, Access::ReadWrite)),
    opt("--ro-bind-fd", DATA, "The same, read-only", |p, v| p.bind_fd(v, Access::ReadOnly)),
    opt("--remount-ro", DEST, "Make the mount at DEST read-only, not those below it", |p, v| p.to(v, |to| Step::ReadOnly { to })),
    opt("--overlay-src", &["SRC"], "A layer, above those before it, of the overlay that follows", |p, v| p.layer(v)),
    opt("--overlay", &["RWSRC", "WORKDIR", "DEST"], "An overlay at DEST; changes go to RWSRC, WORKDIR is empty and beside it", |p, v| p.overlay(v)),
    opt("--tmp-overlay", DEST, "An overlay at DEST; changes go with the sandbox", |p, v| p.simple_overlay("--tmp-overlay", v, Changes::Memory)),
    opt("--ro-overlay", DEST, "An overlay at DEST, read-only", |p, v| p.simple_overlay("--ro-overlay", v, Changes::Nowhere)),
    opt("--exec-label", &["LABEL"], "The SELinux label of COMMAND", |p, v| p.label("--exec-label", v, |o| &mut o.exec_label)),
    opt("--file-label", &["LABEL"], "The SELinux label of what is made for the sandbox", |p, v| p.label("--file-label", v, |o| &mut o.file_label)),
    opt("--proc", DEST, "A proc file system at DEST", |p, v| p.to(v, |to| Step::Proc { to })),
    opt("--dev", DEST, "A small /dev at DEST", |p, v| p.to(v, |to| Step::Dev { to })),
    opt("--tmpfs", DEST, "An empty tmpfs at DEST", |p, v| p.tmpfs(v)),
    opt("--mqueue", DEST, "The POSIX message queues at DEST", |p, v| p.to(v, |to| Step::MessageQueues { to })),
    opt("--dir", DEST, "A directory at DEST", |p, v| p.make_directory(v)),
    opt("--file", DATA, "A file at DEST with what FD holds", |p, v| p.file(v)),
    opt("--bind-data", DATA, "The same, as a mount of its own", |p, v| p.bind_data(v, Access::ReadWrite)),
    opt("--ro-bind-data", DATA, "The same, read-only", |p, v| p.bind_data(v, Access::ReadOnly)),
    opt("--symlink", BIND, "A symbolic link at DEST that holds SRC", |p, v| p.symlink(v)),
    opt("--seccomp", FD, "Filter system calls by the program FD holds; the last one counts", |p, v| p.filter(v)),
    opt("--add-seccomp-fd", FD, "The same; all of them count", |p, v| p.add_filter(v)),
    opt("--block-fd", FD, "Before COMMAND starts, wait until FD can be read", |p, v| p.last_fd("--block-fd", v, |f| &mut f.block)),
    opt("--userns-block-fd", FD, "Wait for FD while somebody else maps the ids", |p, v| p.last_fd("--userns-block-fd", v, |f| &mut f.userns_block)),
    opt("--info-fd", FD, "Tell FD the process and its namespaces, as JSON", |p, v| p.last_fd("--info-fd", v, |f| &mut f.info)),
    opt("--json-status-fd", FD, "Tell FD start and exit status, a line of JSON each", |p, v| p.last_fd("--json-status-fd", v, |f| &mut f.json_status)),
    opt("--new-session", &[], "A session of its own, without a terminal", |p, _| on(&mut p.options.new_session)),
    opt("--die-with-parent", &[], "Kill all of it when the caller dies", |p, _| on(&mut p.options.die_with_parent)),
    opt("--as-pid-1", &[], "COMMAND itself is process 1 of the PID namespace", |p, _| on(&mut p.options.as_pid_1)),
    opt("--cap-add", &["CAP"], "Keep this capability, or ALL", |p, v| p.capability(v, capabilities::added)),
    opt("--cap-drop", &["CAP"], "Do not keep it, or ALL", |p, v| p.capability(v, capabilities::dropped)),
    opt("--perms", &["OCTAL"], "The mode of what the next option makes", |p, v| p.mode_of_next(v)),
    opt("--size", &["BYTES"], "The size of the next --tmpfs", |p, v| p.size_of_next(v)),
    opt("--chmod", &["OCTAL", "PATH"], "Change the mode of PATH", |p, v| p.change_mode(v)),
];

/// Reads all that an inherited descriptor holds and closes it.
pub(super) type Read<'a> = &'a mut dyn FnMut(RawFd) -> io::Result<Vec<u8>>;

/// Takes the words after the program's name: what is asked for, and the command. What was to be told meanwhile is
/// in `told`, also after a mistake.
pub(super) fn parse(words: &[&[u8]], read: Read<'_>, told: &mut Told) -> Result<(Options, Vec<OsString>), Stop> {
    let mut parser = Parser { options: Options::default(), told, read, words: words.len(), next: Next::default(), in_file: false };
    let command = parser.words(words)?;
    if !parser.next.layers.is_empty() {
        return Err(LAYER_ALONE.into());
    }
    Ok((parser.options, command.iter().map(|word| os(word)).collect()))
}

const LAYER_ALONE: &str = "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay";

/// What the option after this one is told.
#[derive(Default)]
struct Next {
    mode: Option<u32>,
    size: Option<u64>,
    layers: Vec<PathBuf>,
}

struct Parser<'a> {
    options: Options,
    told: &'a mut Told,
    read: Read<'a>,
    /// How many words there are so far.
    words: usize,
    next: Next,
    in_file: bool,
}

impl Parser<'_> {
    /// Takes options up to the first word that is none; what is left.
    fn words<'w>(&mut self, mut rest: &'w [&'w [u8]]) -> Result<&'w [&'w [u8]], Stop> {
        self.count(0)?;
        while let Some((word, after)) = rest.split_first() {
            if *word == b"--" {
                return Ok(after);
            }
            if !word.starts_with(b"-") {
                break;
            }
            let unknown = || Stop::of(&[b"Unknown option ", word]);
            let option = OPTIONS.iter().find(|option| option.name.as_bytes() == *word).ok_or_else(unknown)?;
            if option.name == "--args" && self.in_file {
                return Err("--args not supported in arguments file".into());
            }
            let (values, after) = after.split_at_checked(option.values.len()).ok_or_else(|| option.missing())?;
            (option.effect)(self, values)?;
            self.told.with_level(self.options.level_prefix);
            self.after(option.name)?;
            rest = after;
        }
        Ok(rest)
    }

    fn count(&mut self, more: usize) -> Result<(), Stop> {
        self.words = self.words.saturating_add(more);
        if self.words <= WORDS_MAX { Ok(()) } else { Err(format!("Exceeded maximum number of arguments {WORDS_MAX}").into()) }
    }

    /// What was said for the next option only must have been used by it.
    fn after(&self, name: &str) -> Result<(), Stop> {
        let modifies = matches!(name, "--perms" | "--size");
        if !modifies && self.next.mode.is_some() {
            return Err("--perms must be followed by an option that creates a file".into());
        }
        if !modifies && self.next.size.is_some() {
            return Err("--size must be followed by --tmpfs".into());
        }
        if name != "--overlay-src" && !self.next.layers.is_empty() {
            return Err(LAYER_ALONE.into());
        }
        Ok(())
    }

    fn only_the_last(&mut self, name: &str) {
        self.told.say(Level::Warning, format!("Only the last {name} option will take effect").as_bytes());
    }

    fn unshare(&mut self, change: fn(&mut Unshare)) -> Result<(), Stop> {
        change(&mut self.options.unshare);
        Ok(())
    }

    fn unshare_all(&mut self) -> Result<(), Stop> {
        let Unshare { user, cgroup, .. } = self.options.unshare;
        self.options.unshare = Unshare { user, user_try: true, ipc: true, pid: true, net: true, uts: true, cgroup, cgroup_try: true };
        Ok(())
    }

    /// Options from a file. A word that is no option ends them, and the rest of the file counts for nothing.
    fn file_of_words(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let fd = descriptor(first(values))?;
        let data = (self.read)(fd).map_err(|error| Stop::system(b"Can't read --args data", &error))?;
        let words: Vec<&[u8]> = match data.as_slice() {
            [] => Vec::new(),
            data => data.strip_suffix(b"\0").unwrap_or(data).split(|byte| *byte == 0).collect(),
        };
        self.count(words.len())?;
        self.in_file = true;
        self.words(&words)?;
        self.in_file = false;
        Ok(())
    }

    fn argv0(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        match self.options.argv0.replace(os(first(values))) {
            None => Ok(()),
            Some(_) => Err("--argv0 used multiple times".into()),
        }
    }

    fn last_fd(&mut self, name: &str, values: &[&[u8]], place: fn(&mut Fds) -> &mut Option<RawFd>) -> Result<(), Stop> {
        if place(&mut self.options.fds).is_some() {
            self.only_the_last(name);
        }
        *place(&mut self.options.fds) = Some(descriptor(first(values))?);
        Ok(())
    }

    fn id(&mut self, name: &str, values: &[&[u8]], place: fn(&mut Options) -> &mut Option<u32>) -> Result<(), Stop> {
        if place(&mut self.options).is_some() {
            self.only_the_last(&format!("--{name}"));
        }
        let word = first(values);
        let wrong = || Stop::of(&[b"Invalid ", name.as_bytes(), b": ", word]);
        let id = numbers::small(word).and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong)?;
        *place(&mut self.options) = Some(id);
        Ok(())
    }

    fn host_name(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        if self.options.host_name.replace(os(first(values))).is_some() {
            self.only_the_last("--hostname");
        }
        Ok(())
    }

    fn directory(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        if self.options.directory.replace(path(first(values))).is_some() {
            self.only_the_last("--chdir");
        }
        Ok(())
    }

    fn label(&mut self, name: &str, values: &[&[u8]], place: fn(&mut Options) -> &mut Option<OsString>) -> Result<(), Stop> {
        if place(&mut self.options).replace(os(first(values))).is_some() {
            self.only_the_last(name);
        }
        Ok(())
    }

    fn variable(&mut self, change: Variable) -> Result<(), Stop> {
        self.options.variables.push(change);
        Ok(())
    }

    fn set_variable(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let name = variable_name(first(values)).ok_or("setenv failed")?;
        self.variable(Variable::Set(name, os(second(values))))
    }

    fn unset_variable(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let name = variable_name(first(values)).ok_or("unsetenv failed")?;
        self.variable(Variable::Unset(name))
    }

    fn lock_file(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        self.options.lock_files.push(path(first(values)));
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Stop> {
        self.options.steps.push(step);
        Ok(())
    }

    fn to(&mut self, values: &[&[u8]], step: fn(PathBuf) -> Step) -> Result<(), Stop> {
        self.step(step(inside(first(values))))
    }

    fn bind(&mut self, values: &[&[u8]], access: Access, optional: bool) -> Result<(), Stop> {
        self.step(Step::Bind { from: From::Path(path(first(values))), to: inside(second(values)), access, optional })
    }

    fn bind_fd(&mut self, values: &[&[u8]], access: Access) -> Result<(), Stop> {
        let from = From::Descriptor(descriptor(first(values))?);
        self.step(Step::Bind { from, to: inside(second(values)), access, optional: false })
    }

    fn layer(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        self.next.layers.push(path(first(values)));
        Ok(())
    }

    fn overlay(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let [upper, work, to] = values else { return Ok(()) };
        let layers = self.layers("--overlay", 1)?;
        let changes = Changes::Directories { upper: path(upper), work: path(work) };
        self.step(Step::Overlay { layers, changes, to: inside(to) })
    }

    fn simple_overlay(&mut self, name: &str, values: &[&[u8]], changes: Changes) -> Result<(), Stop> {
        let layers = self.layers(name, if changes == Changes::Nowhere { 2 } else { 1 })?;
        self.step(Step::Overlay { layers, changes, to: inside(first(values)) })
    }

    fn layers(&mut self, name: &str, least: usize) -> Result<Vec<PathBuf>, Stop> {
        let least_word = if least == 1 { "one" } else { "two" };
        if self.next.layers.len() < least {
            return Err(format!("{name} requires at least {least_word} --overlay-src").into());
        }
        Ok(std::mem::take(&mut self.next.layers))
    }

    fn tmpfs(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let (mode, size) = (self.next.mode.take().unwrap_or(0o755), self.next.size.take());
        self.step(Step::Tmpfs { to: inside(first(values)), mode, size })
    }

    fn make_directory(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let mode = self.next.mode.take().unwrap_or(0o755);
        self.step(Step::Directory { to: inside(first(values)), mode })
    }

    fn file(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let fd = descriptor(first(values))?;
        let mode = self.next.mode.take().unwrap_or(0o666);
        self.step(Step::File { fd, to: inside(second(values)), mode })
    }

    fn bind_data(&mut self, values: &[&[u8]], access: Access) -> Result<(), Stop> {
        let fd = descriptor(first(values))?;
        let mode = self.next.mode.take().unwrap_or(0o600);
        self.step(Step::BindData { fd, to: inside(second(values)), mode, access })
    }

    fn symlink(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        self.step(Step::Symlink { target: path(first(values)), to: inside(second(values)) })
    }

    fn change_mode(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        let mode = numbers::mode(first(values)).ok_or("--chmod takes an octal argument <= 07777")?;
        self.step(Step::Mode { to: inside(second(values)), mode })
    }

    fn filter(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        if !self.options.filters.is_empty() {
            return Err("--seccomp cannot be combined with --add-seccomp-fd".into());
        }
        self.last_fd("--seccomp", values, |fds| &mut fds.seccomp)
    }

    fn add_filter(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        if self.options.fds.seccomp.is_some() {
            return Err("--add-seccomp-fd cannot be combined with --seccomp".into());
        }
        let filter = filter(descriptor(first(values))?, self.read)?;
        self.options.filters.push(filter);
        Ok(())
    }

    fn capability(&mut self, values: &[&[u8]], named: fn(&[u8]) -> Option<fhs_env::Capability>) -> Result<(), Stop> {
        let unknown = || Stop::of(&[b"unknown cap: ", first(values)]);
        self.options.capabilities.push(named(first(values)).ok_or_else(unknown)?);
        Ok(())
    }

    fn mode_of_next(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        if self.next.mode.is_some() {
            return Err("--perms given twice for the same action".into());
        }
        self.next.mode = Some(numbers::mode(first(values)).ok_or("--perms takes an octal argument <= 07777")?);
        Ok(())
    }

    fn size_of_next(&mut self, values: &[&[u8]]) -> Result<(), Stop> {
        /// What half of an address space holds.
        const SIZE_MAX: u64 = (usize::MAX >> 1) as u64;
        if self.next.size.is_some() {
            return Err("--size given twice for the same action".into());
        }
        let size = numbers::bytes(first(values)).ok_or("--size takes a non-zero number of bytes")?;
        if size > SIZE_MAX {
            return Err(format!("--size (for tmpfs) is limited to {SIZE_MAX}").into());
        }
        self.next.size = Some(size);
        Ok(())
    }
}

impl Opt {
    /// What is said where the command line ends too early.
    fn missing(&self) -> Stop {
        let name = if self.name == "--ro-bind-fd" { "--bind-fd" } else { self.name };
        let values = match (self.name, self.values.len()) {
            ("--overlay-src", _) => return LAYER_ALONE.into(),
            ("--argv0" | "--chdir" | "--remount-ro", _) => "one argument",
            (_, 1) => "an argument",
            (_, 2) => "two arguments",
            _ => "three arguments",
        };
        format!("{name} takes {values}").into()
    }
}

/// A filter of system calls, as the kernel takes it: instructions of eight bytes.
pub(super) fn filter(fd: RawFd, read: Read<'_>) -> Result<Vec<u8>, Stop> {
    let program = read(fd).map_err(|error| Stop::system(b"Can't read seccomp data", &error))?;
    if program.len() % 8 == 0 { Ok(program) } else { Err("Invalid seccomp data, must be multiple of 8".into()) }
}

fn on(flag: &mut bool) -> Result<(), Stop> {
    *flag = true;
    Ok(())
}

fn first<'a>(values: &[&'a [u8]]) -> &'a [u8] {
    values.first().copied().unwrap_or_default()
}

fn second<'a>(values: &[&'a [u8]]) -> &'a [u8] {
    values.get(1).copied().unwrap_or_default()
}

fn os(word: &[u8]) -> OsString {
    OsString::from_vec(word.to_vec())
}

fn path(word: &[u8]) -> PathBuf {
    os(word).into()
}

/// A path of the new root: the same with and without a `/` before it.
fn inside(word: &[u8]) -> PathBuf {
    let name = word.iter().position(|byte| *byte != b'/').map_or(&[][..], |start| word.get(start..).unwrap_or_default());
    path(&[b"/", name].concat())
}

fn descriptor(word: &[u8]) -> Result<RawFd, Stop> {
    numbers::small(word).ok_or_else(|| Stop::of(&[b"Invalid fd: ", word]))
}

/// The name of a variable: not empty, and without the sign that ends it.
fn variable_name(word: &[u8]) -> Option<OsString> {
    (!word.is_empty() && !word.contains(&b'=')).then(|| os(word))
}
