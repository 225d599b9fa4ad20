//! What a process in a root of its own is given beside the root: namespaces, ids, capabilities, filters,
//! descriptors, a supervisor. Plain data; what it asks for is done by [`Sandbox::start`].

use crate::op::Op;
use crate::process::{self, Situation, StartError, StartPlan};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Whether a namespace of its own is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// The caller's is kept.
    #[default]
    No,
    /// If this kernel and user can.
    Try,
    /// Else it is an error.
    Yes,
}

/// The namespaces (`namespaces(7)`) that are made. A mount namespace always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// A user namespace. One is made in any case where the caller may not mount without.
    pub user: Want,
    /// System V IPC and POSIX message queues. Programs that share memory with a display server need the host's.
    pub ipc: bool,
    /// Process ids; a supervisor stays outside and an init inside.
    pub pid: bool,
    /// Network; only the loopback interface, brought up.
    pub net: bool,
    /// Host name.
    pub uts: bool,
    /// Control groups.
    pub cgroup: Want,
}

/// Namespaces that exist already and are joined (`setns(2)`), by inherited descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The user namespace in which the root is made.
    pub user: Option<RawFd>,
    /// A user namespace below it, joined when the root is made.
    pub user_after: Option<RawFd>,
    /// The pid namespace.
    pub pid: Option<RawFd>,
}

/// Changes to the capabilities of the program, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Keep this one, by number (`capabilities(7)`), 0 to 63; an error if the process has not got it.
    Add(u8),
    /// Do not keep this one.
    Drop(u8),
    /// Keep all there are.
    AddAll,
    /// Keep those that the caller has in effect.
    AddCallers,
    /// Keep none.
    DropAll,
}

/// Where the program starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkingIn {
    /// In the caller's working directory, by path; an error if the root does not have it.
    #[default]
    Callers,
    /// In the caller's, else in `$HOME`, else in `/`, as bubblewrap does it.
    CallersOrHome,
    /// In this directory of the new root.
    Path(PathBuf),
}

/// Which descriptors the program inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Descriptors {
    /// All that are not close-on-exec.
    #[default]
    Inherit,
    /// The first three and these; everything else is closed.
    Only(Vec<RawFd>),
}

/// A rule that a process puts on itself, for good, before it loads filters and starts the program (landlock).
pub struct Restriction {
    /// What it does, for messages: `restrict itself to …`.
    pub name: String,
    /// Applies it to the calling process, in the new root; the error is a clause.
    pub apply: Box<dyn FnMut() -> Result<(), String>>,
}

impl fmt::Debug for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Restriction").field(&self.name).finish()
    }
}

/// A sandbox to be: collects everything, does nothing until it is started.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// The tree, in order. [`Op::Stack`] is added in front where it is not there, [`Op::PivotRoot`] behind where
    /// neither it nor [`Op::ChangeRoot`] is; an empty list is an empty root.
    pub ops: Vec<Op>,
    /// The namespaces that are made.
    pub namespaces: Namespaces,
    /// The namespaces that are joined.
    pub join: Join,
    /// The user id the program sees; needs a user namespace if it is another than the caller's.
    pub uid: Option<u32>,
    /// The group id the program sees; as with `uid`.
    pub gid: Option<u32>,
    /// Somebody else writes the id maps of the user namespace, before [`Hooks::namespaces`] returns.
    pub maps_from_outside: bool,
    /// No user namespace can be made inside. Needs a user namespace of our own making.
    pub no_more_user_namespaces: bool,
    /// It is an error if a user namespace could still be made inside.
    pub assert_no_user_namespaces: bool,
    /// The host name, at most 64 bytes; needs a UTS namespace.
    pub host_name: Option<OsString>,
    /// Changes to the capabilities, in order: to none in a user namespace, and to the caller's without one. Without
    /// any change a caller that is root and has no user namespace made keeps its own, which is no isolation at all.
    pub capabilities: Vec<Capability>,
    /// What the program's process is forbidden before the filters are loaded, in order.
    pub restrictions: Vec<Restriction>,
    /// seccomp filters, each a program of `struct sock_filter` as the kernel takes it (1 to 4096 of 8 bytes), in the
    /// order they are loaded. They hold for init too, else the program would go through it with `ptrace(2)`.
    pub filters: Vec<Vec<u8>>,
    /// Where the program starts.
    pub working_in: WorkingIn,
    /// The variable `PWD` is set to where the program starts.
    pub sets_pwd: bool,
    /// A new session: the program cannot put input into the caller's terminal.
    pub new_session: bool,
    /// Everything inside dies when the caller's parent does.
    pub die_with_parent: bool,
    /// What goes on inside lives on when the program has ended or the monitor is killed, and the monitor does not
    /// wait for it, as bubblewrap has it. Otherwise nothing stays: with a pid namespace for sure, without one the
    /// program's own process dies with the monitor, and no more can be promised.
    pub lingering: bool,
    /// The program is pid 1 of its namespace, without an init.
    pub as_pid_1: bool,
    /// A monitor stays even where nothing else needs one: the exit status comes back to the caller.
    pub supervised: bool,
    /// Which descriptors the program inherits.
    pub descriptors: Descriptors,
    /// Inherited descriptors that the program does not get, whatever `descriptors` says.
    pub withheld: Vec<RawFd>,
    /// Descriptors that the longest-living process inside, init, keeps open and the program does not get. Without
    /// an init (`as_pid_1`) the program gets them.
    pub held: Vec<RawFd>,
    /// Files of the new root that init holds a shared lock on (`fcntl(2)`, `F_RDLCK`), from before the program starts.
    pub locks: Vec<PathBuf>,
    /// The security label the program runs with (SELinux, `/proc/thread-self/attr/exec`).
    pub exec_label: Option<OsString>,
    /// The security label of the files that are made in the root (`/proc/thread-self/attr/fscreate`).
    pub file_label: Option<OsString>,
}

/// What runs inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// A path of the new root, or a name that is looked for in the `PATH` of `environment`, as `execvp(3)` does.
    pub file: OsString,
    /// The arguments; the first is the name the program sees as its own.
    pub arguments: Vec<OsString>,
    /// The whole environment, `NAME=VALUE` each.
    pub environment: Vec<OsString>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The status as a shell has it: 128 + n for the signal n.
    pub fn status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |n| 128u8.saturating_add(n)),
        }
    }
}

/// The process that builds the root, when its namespaces exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its process id, as the caller sees it. It is init, or the program's own process.
    pub pid: i32,
    /// The namespaces it is in, by the names of `/proc/PID/ns`, each with the inode number that identifies it.
    pub namespaces: Vec<(&'static str, u64)>,
}

/// Which hooks are called that cost something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// [`Hooks::namespaces`]; costs a wait for the caller's process.
    pub namespaces: bool,
    /// [`Hooks::exited`]; costs a monitor.
    pub exited: bool,
}

/// What is told, and waited for, while a sandbox is started. `()` is told nothing.
pub trait Hooks {
    /// Which of the others are called.
    fn wanted(&self) -> Moments {
        Moments::default()
    }

    /// The namespaces exist. Nothing goes on before this returns; id maps may be written meanwhile.
    ///
    /// # Errors
    /// End everything.
    fn namespaces(&mut self, _made: &Made) -> io::Result<()> {
        Ok(())
    }

    /// In the program's own process, inside, when all is done but the descriptors, restrictions and filters.
    ///
    /// # Errors
    /// End everything.
    fn before_exec(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The program was started and has ended.
    fn exited(&mut self, _exit: Exit) {}

    /// The inherited descriptors that the hooks use: the program does not get them, and the monitor, which closes
    /// all others that it inherited, keeps them.
    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }
}

impl Hooks for () {}

impl Sandbox {
    /// What [`Sandbox::start`] would do, for printing; nothing is done.
    ///
    /// # Errors
    /// [`StartError`] where things do not go together.
    pub fn plan(&self, program: &Program, hooks: &dyn Hooks) -> Result<StartPlan, StartError> {
        process::plan(self, program, hooks, &Situation::here(self))
    }

    /// Builds the root and starts the program in it. The process must have one thread.
    ///
    /// Where no supervisor is needed, the calling process becomes the program: it returns only with an error.
    /// It is needed for a pid namespace, for hooks that want the exit status, for locks and held descriptors, and
    /// where one is asked for; then this returns when the program has ended. The monitor forwards signals, stops
    /// and continues with the program, and closes the descriptors it inherited, but for the first three and those
    /// of the hooks.
    ///
    /// # Errors
    /// [`StartError`]: what failed, in whichever process; [`StartError::state`] says what the caller is then.
    pub fn start(self, program: Program, hooks: &mut dyn Hooks) -> Result<Exit, StartError> {
        let plan = self.plan(&program, hooks)?;
        process::start(self, plan, program, hooks)
    }
}
