//! Works out, from a sandbox and a few facts of the caller, which process does what in which order. Pure data in,
//! pure data out, but that it waits for threads that are ending; what does not go together is refused here, before
//! anything has happened.

use super::error::StartError;
use super::step::{Kept, Kinds, Step};
use crate::op::{Op, Plan};
use crate::sandbox::{Capability, Descriptors, Hooks, Program, Sandbox, Want, WorkingIn};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// How often, a millisecond apart, it is looked whether the caller's other threads are gone.
const LOOKS_MAX: usize = 100;
/// `__NEW_UTS_LEN` of `<linux/utsname.h>`.
const HOST_NAME_MAX: usize = 64;
/// `BPF_MAXINSNS` of `<linux/bpf_common.h>`, of `sizeof(struct sock_filter)` bytes each.
const FILTER_MAX: usize = 4096;
pub(crate) const INSTRUCTION: usize = 8;

/// What the plan depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The effective user id.
    pub(crate) uid: u32,
    /// The effective group id.
    pub(crate) gid: u32,
    /// Whether the caller is root and may mount.
    pub(crate) may_mount: bool,
    /// The capabilities in effect, as bits.
    pub(crate) capabilities: u64,
    /// Whether user namespaces exist and are not switched off. Only asked for where one is to be tried.
    pub(crate) user_namespaces: bool,
    /// Whether control group namespaces exist. Only asked for where one is to be tried.
    pub(crate) cgroup_namespaces: bool,
    /// Paths that lead to the working directory; the one that is preferred comes first. Only asked for where the
    /// program starts there.
    pub(crate) working_directory: Vec<PathBuf>,
    /// Its device and inode; `None` for `/`, which is another directory in every root.
    pub(crate) directory: Option<(u64, u64)>,
    /// Threads of the caller; 1 where that is unknown.
    pub(crate) threads: u64,
    /// Whether the caller leads its process group, as every job of a shell does: such a process cannot make a
    /// session (`setsid(2)`).
    pub(crate) leads_group: bool,
}

/// How the process that builds the root comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// It is the caller.
    InPlace,
    /// It is a child of the caller, born into these namespaces.
    Child(Kinds),
}

/// Who does what, in order. Prints one step a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPlan {
    pub(crate) birth: Birth,
    /// Before the tree, in the process that builds.
    pub(crate) before: Vec<Step>,
    /// The tree.
    pub(crate) tree: Plan,
    /// Behind the tree, up to [`Step::Exec`]; what follows [`Step::Init`] is done by a child.
    pub(crate) after: Vec<Step>,
    pub(crate) threads: u64,
}

impl StartPlan {
    /// Whether a process of the caller's outlives the start of the program.
    pub fn is_supervised(&self) -> bool {
        self.birth != Birth::InPlace
    }

    /// Whether an init is the parent of the program.
    pub fn has_init(&self) -> bool {
        self.after.contains(&Step::Init)
    }

    /// Whether the pid of the builder is told by it, as it is no direct child.
    pub(crate) fn has_intermediates(&self) -> bool {
        self.before.contains(&Step::Child)
    }
}

impl fmt::Display for StartPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.birth {
            Birth::InPlace => {}
            Birth::Child(kinds) if kinds == Kinds::default() => writeln!(f, "stay as monitor, go on in a child")?,
            Birth::Child(kinds) => writeln!(f, "stay as monitor, go on in a child in new namespaces: {kinds}")?,
        }
        self.before.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        self.tree.fmt(f)?;
        self.after.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The ids of a first and, where there is one, a second user namespace.
struct Ids {
    first: (u32, u32),
    second: Option<(u32, u32)>,
}

/// The plan for a situation that is given as data.
pub(crate) fn plan(sandbox: &Sandbox, program: &Program, hooks: &dyn Hooks, here: &Situation) -> Result<StartPlan, StartError> {
    let kinds = kinds(sandbox, here);
    check(sandbox, program, &kinds, here)?;
    // A thread that was joined is in /proc for a moment longer (do_exit clears its tid before release_task).
    if here.threads > 1 && !alone_within(LOOKS_MAX, super::threads) {
        return Err(StartError::threads(here.threads));
    }
    let has_init = has_init(sandbox);
    let needs_child = has_init || kinds.pid || sandbox.join.pid.is_some() || (sandbox.new_session && here.leads_group);
    let supervised = sandbox.supervised || needs_child || hooks.wanted().exited;

    let mut before = Vec::new();
    // While the root is made nothing of it may outlive the monitor, whatever is wanted later.
    let dies = supervised || sandbox.die_with_parent;
    before.extend(dies.then_some(Step::DieWithParent));
    let birth = enter(sandbox, kinds, supervised, dies, &mut before);
    before.extend(hooks.wanted().namespaces.then_some(Step::Tell));

    let (uid, gid) = (sandbox.uid.unwrap_or(here.uid), sandbox.gid.unwrap_or(here.gid));
    let ids = ids(sandbox, &kinds, (uid, gid));
    if let Some(ids) = &ids {
        before.push(Step::DenySetgroups);
        before.push(Step::MapUser { inside: ids.first.0, outside: here.uid });
        before.push(Step::MapGroup { inside: ids.first.1, outside: here.gid });
    }
    if sandbox.join.user.is_some() && (sandbox.uid.is_some() || sandbox.gid.is_some()) {
        before.push(Step::Become { uid: sandbox.uid, gid: sandbox.gid });
        before.extend(dies.then_some(Step::DieWithParent));
    }
    before.extend(sandbox.no_more_user_namespaces.then_some(Step::LimitUserNamespaces(1)));
    before.extend(kinds.net.then_some(Step::Loopback));
    before.extend(sandbox.host_name.clone().map(Step::HostName));
    // Another user namespace makes its copy of the mounts a slave by itself (CL_SHARED_TO_SLAVE).
    before.extend((!kinds.user && sandbox.join.user.is_none()).then_some(Step::Slave));
    before.extend(sandbox.file_label.clone().map(Step::FileLabel));

    let mut after = Vec::new();
    after.extend(sandbox.join.user_after.map(Step::JoinUser));
    if let Some(Ids { first, second: Some(second) }) = ids {
        after.push(Step::SecondUserNamespace);
        after.push(Step::MapUser { inside: second.0, outside: first.0 });
        after.push(Step::MapGroup { inside: second.1, outside: first.1 });
    }
    let assert = sandbox.no_more_user_namespaces || sandbox.assert_no_user_namespaces;
    after.extend(assert.then_some(Step::AssertNoUserNamespaces));
    after.push(Step::NoNewPrivileges);
    let in_user_namespace = kinds.user || sandbox.join.user.is_some() || sandbox.join.user_after.is_some();
    after.push(Step::Capabilities(kept(&sandbox.capabilities, in_user_namespace, here.capabilities)));
    after.extend(sandbox.new_session.then_some(Step::NewSession));
    after.extend(sandbox.locks.iter().cloned().map(Step::Lock));
    if has_init {
        after.extend([Step::Init, Step::DieWithParent]);
    }
    after.push(Step::Hook);
    after.push(working_directory(sandbox, program, here));
    after.extend(sandbox.exec_label.clone().map(Step::ExecLabel));
    after.extend(descriptors(sandbox, hooks, has_init));
    // Ids and capabilities that change may clear what was set before (commit_creds).
    let lingers = sandbox.lingering && !sandbox.die_with_parent;
    after.extend((dies && !lingers).then_some(Step::DieWithParent));
    after.extend((dies && lingers && !has_init).then_some(Step::LiveOn));
    after.push(Step::Ready);
    let restrictions = sandbox.restrictions.iter().enumerate();
    after.extend(restrictions.map(|(index, one)| Step::Restrict { index, name: one.name.clone() }));
    let filters = sandbox.filters.iter().enumerate();
    after.extend(filters.map(|(index, filter)| Step::Filter { index, instructions: filter.len() / INSTRUCTION }));
    after.push(Step::Exec(program.file.clone()));
    Ok(StartPlan { birth, before, tree: Plan { ops: tree(&sandbox.ops) }, after, threads: 1 })
}

/// What is made: what is asked for, what this system has of what is to be tried, and what mounting needs.
fn kinds(sandbox: &Sandbox, here: &Situation) -> Kinds {
    let asked = sandbox.namespaces;
    let user = match asked.user {
        Want::Yes => true,
        Want::Try => here.user_namespaces || !here.may_mount,
        Want::No => !here.may_mount,
    };
    let cgroup = match asked.cgroup {
        Want::Yes => true,
        Want::Try => here.cgroup_namespaces,
        Want::No => false,
    };
    Kinds { user: user && sandbox.join.user.is_none(), mount: true, pid: asked.pid, ipc: asked.ipc, net: asked.net, uts: asked.uts, cgroup }
}

/// How the namespaces come to be; the steps that a birth into them cannot do are added.
fn enter(sandbox: &Sandbox, kinds: Kinds, supervised: bool, dies: bool, before: &mut Vec<Step>) -> Birth {
    let child = |before: &mut Vec<Step>| {
        before.push(Step::Child);
        before.extend(dies.then_some(Step::DieWithParent));
    };
    let joins = sandbox.join.user.is_some();
    before.extend(sandbox.join.user.map(Step::JoinUser));
    let Some(pid_namespace) = sandbox.join.pid else {
        if !supervised {
            before.push(Step::Namespaces(kinds));
            return Birth::InPlace;
        }
        if !joins {
            return Birth::Child(kinds);
        }
        before.push(Step::Namespaces(kinds));
        if kinds.pid {
            child(before);
        }
        return Birth::Child(Kinds::default());
    };
    let others = Kinds { pid: false, ..kinds };
    if joins {
        before.push(Step::Namespaces(others));
    }
    before.push(Step::JoinPid(pid_namespace));
    child(before);
    if kinds.pid {
        before.push(Step::Namespaces(Kinds { pid: true, ..Kinds::default() }));
        child(before);
    }
    Birth::Child(if joins { Kinds::default() } else { others })
}

fn has_init(sandbox: &Sandbox) -> bool {
    !sandbox.as_pid_1 && (sandbox.namespaces.pid || !sandbox.locks.is_empty() || !sandbox.held.is_empty())
}

/// Which ids are mapped, where it is our business. A pts instance can only be mounted where id 0 is mapped
/// (`mknod_ptmx` of fs/devpts); then the wanted ids are those of a second namespace.
fn ids(sandbox: &Sandbox, kinds: &Kinds, wanted: (u32, u32)) -> Option<Ids> {
    if !kinds.user || sandbox.maps_from_outside {
        return None;
    }
    let needs_root = sandbox.ops.iter().any(|op| matches!(op, Op::MinimalDev(_)));
    let first = if needs_root { (0, 0) } else { wanted };
    let second = (first != wanted || sandbox.no_more_user_namespaces).then_some(wanted);
    Some(Ids { first, second })
}

fn tree(ops: &[Op]) -> Vec<Op> {
    let has = |wanted: &[Op]| ops.iter().any(|op| wanted.contains(op));
    let mut all = Vec::with_capacity(ops.len() + 2);
    all.extend((!has(&[Op::Stack])).then_some(Op::Stack));
    all.extend_from_slice(ops);
    all.extend((!has(&[Op::PivotRoot, Op::ChangeRoot])).then_some(Op::PivotRoot));
    all
}

fn kept(changes: &[Capability], in_user_namespace: bool, callers: u64) -> Kept {
    if changes.is_empty() && !in_user_namespace {
        return Kept::Untouched;
    }
    let (mut bits, mut required) = (if in_user_namespace { 0 } else { callers }, 0);
    for change in changes {
        match change {
            Capability::Add(number) => {
                bits |= bit(*number);
                required |= bit(*number);
            }
            Capability::Drop(number) => bits &= !bit(*number),
            Capability::AddAll => bits = u64::MAX,
            Capability::AddCallers => bits |= callers,
            Capability::DropAll => bits = 0,
        }
        required &= bits;
    }
    Kept::Exactly { bits, required }
}

fn bit(number: u8) -> u64 {
    1u64.checked_shl(u32::from(number)).unwrap_or(0)
}

fn working_directory(sandbox: &Sandbox, program: &Program, here: &Situation) -> Step {
    match &sandbox.working_in {
        WorkingIn::Callers => Step::WorkingDirectory { paths: here.working_directory.clone(), or_root: false, identity: here.directory },
        WorkingIn::CallersOrHome => {
            let home = program.environment.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"HOME="));
            let home = home.filter(|home| !home.is_empty()).map(|home| PathBuf::from(OsStr::from_bytes(home)));
            Step::WorkingDirectory { paths: here.working_directory.iter().cloned().chain(home).collect(), or_root: true, identity: None }
        }
        WorkingIn::Path(path) => Step::WorkingDirectory { paths: vec![path.clone()], or_root: false, identity: None },
    }
}

fn descriptors(sandbox: &Sandbox, hooks: &dyn Hooks, has_init: bool) -> Option<Step> {
    let mut closed = sandbox.withheld.clone();
    closed.extend(hooks.descriptors());
    if has_init {
        closed.extend(&sandbox.held);
    }
    match &sandbox.descriptors {
        Descriptors::Inherit if closed.is_empty() => None,
        Descriptors::Inherit => Some(Step::Descriptors { only: false, kept: Vec::new(), closed }),
        Descriptors::Only(kept) => {
            let mut kept: Vec<_> = kept.iter().copied().filter(|fd| !closed.contains(fd)).collect();
            if !has_init {
                kept.extend(&sandbox.held);
            }
            Some(Step::Descriptors { only: true, kept, closed })
        }
    }
}

/// Whether one thread is left within so many looks.
fn alone_within(looks: usize, count: impl Fn() -> u64) -> bool {
    (0..looks).any(|look| {
        if look > 0 {
            sleep(Duration::from_millis(1));
        }
        count() <= 1
    })
}

fn check(sandbox: &Sandbox, program: &Program, kinds: &Kinds, here: &Situation) -> Result<(), StartError> {
    let no = |text: &str| Err(StartError::plan(text));
    let (uid, gid) = (sandbox.uid.unwrap_or(here.uid), sandbox.gid.unwrap_or(here.gid));
    let joined = sandbox.join.user.is_some();
    let nul = |words: &[&OsStr]| words.iter().any(|word| word.as_bytes().contains(&0));
    if joined && sandbox.namespaces.user != Want::No {
        return no("a user namespace cannot be both joined and made; ask for one of them");
    }
    if !kinds.user && !joined && ((uid, gid) != (here.uid, here.gid)) {
        return no("other ids need a user namespace; ask for one");
    }
    if sandbox.maps_from_outside && !kinds.user {
        return no("id maps from outside need a user namespace; ask for one");
    }
    if sandbox.no_more_user_namespaces && (!kinds.user || sandbox.maps_from_outside) {
        return no("forbidding user namespaces needs one of our own making; ask for one");
    }
    if uid == u32::MAX || gid == u32::MAX {
        return no("the id 4294967295 means no id (setreuid(2)); choose another");
    }
    if let Some(name) = &sandbox.host_name {
        if !kinds.uts {
            return no("a host name needs a UTS namespace; ask for one");
        }
        if name.len() > HOST_NAME_MAX || nul(&[name.as_os_str()]) {
            return no("a host name has at most 64 bytes, none of them NUL; choose a shorter one");
        }
    }
    if sandbox.as_pid_1 && !kinds.pid {
        return no("to be pid 1 needs a pid namespace; ask for one");
    }
    if sandbox.as_pid_1 && !sandbox.locks.is_empty() {
        return no("locks are held by an init, which a program that is pid 1 does not have; drop one of the two");
    }
    for (at, filter) in sandbox.filters.iter().enumerate() {
        let instructions = filter.len() / INSTRUCTION;
        if filter.len() % INSTRUCTION != 0 || instructions == 0 || instructions > FILTER_MAX {
            let size = filter.len();
            return no(&format!("seccomp filter {} has {size} bytes; it needs 1 to {FILTER_MAX} instructions of {INSTRUCTION}", at + 1));
        }
    }
    let bad = |change: &Capability| matches!(change, Capability::Add(n) | Capability::Drop(n) if *n > 63);
    if sandbox.capabilities.iter().any(bad) {
        return no("a capability's number is 0 to 63 (capabilities(7)); choose one of those");
    }
    if program.file.is_empty() {
        return no("the program has an empty name; name one");
    }
    let words = [&program.arguments, &program.environment].into_iter().flatten().map(|word| word.as_os_str());
    if nul(&words.chain([program.file.as_os_str()]).collect::<Vec<_>>()) {
        return no("the program's name, arguments or environment hold a NUL byte; remove it");
    }
    if sandbox.working_in == WorkingIn::Callers && here.working_directory.is_empty() {
        return no("the working directory has no path, it was deleted or may not be searched; change to another directory first");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Join, Moments, Namespaces};

    struct Told;

    impl Hooks for Told {
        fn wanted(&self) -> Moments {
            Moments { namespaces: true, exited: true }
        }

        fn descriptors(&self) -> Vec<i32> {
            vec![5]
        }
    }

    fn user() -> Situation {
        Situation { uid: 1000, gid: 100, working_directory: vec!["/home/a".into()], threads: 1, ..Situation::default() }
    }

    fn root() -> Situation {
        Situation { uid: 0, gid: 0, may_mount: true, capabilities: 0b11, ..user() }
    }

    fn program() -> Program {
        Program { file: "prog".into(), arguments: vec!["prog".into()], environment: vec!["HOME=/h".into()] }
    }

    #[track_caller]
    fn steps(sandbox: &Sandbox, hooks: &dyn Hooks, here: &Situation, expected: &str) {
        assert_eq!(plan(sandbox, &program(), hooks, here).unwrap().to_string(), expected);
    }

    #[test]
    fn a_leader_of_a_group_leaves_a_new_session_to_a_child() {
        let sandbox = Sandbox { new_session: true, ..Sandbox::default() };
        let supervised = |leads_group| plan(&sandbox, &program(), &(), &Situation { leads_group, ..user() }).unwrap().is_supervised();
        assert!(supervised(true) && !supervised(false));
    }

    #[test]
    fn the_least_is_a_root_and_no_supervisor() {
        steps(
            &Sandbox::default(),
            &(),
            &user(),
            "new namespaces: user mount\n\
             deny setgroups\n\
             map user 1000 to 1000\n\
             map group 100 to 100\n\
             mount a tmpfs on /\n\
             change root, detach the old one\n\
             no new privileges\n\
             no capabilities\n\
             run the hooks\n\
             change directory to /home/a\n\
             signals as the caller had them\n\
             start prog\n",
        );
        steps(
            &Sandbox { ops: vec![Op::Stack, Op::ChangeRoot], ..Sandbox::default() },
            &(),
            &root(),
            "new namespaces: mount\n\
             make every mount a slave\n\
             mount a tmpfs on /\n\
             change root\n\
             no new privileges\n\
             capabilities as they are\n\
             run the hooks\n\
             change directory to /home/a\n\
             signals as the caller had them\n\
             start prog\n",
        );
    }

    #[test]
    fn everything_at_once_is_in_the_order_that_the_kernel_needs() {
        let sandbox = Sandbox {
            ops: vec![Op::MinimalDev("/dev".into())],
            namespaces: Namespaces { user: Want::Yes, ipc: true, pid: true, net: true, uts: true, cgroup: Want::Try },
            uid: Some(7),
            no_more_user_namespaces: true,
            host_name: Some("name".into()),
            capabilities: vec![Capability::Add(3)],
            filters: vec![vec![0; 16]],
            working_in: WorkingIn::CallersOrHome,
            new_session: true,
            descriptors: Descriptors::Only(vec![4, 5, 6]),
            held: vec![6],
            locks: vec!["/lock".into()],
            ..Sandbox::default()
        };
        steps(
            &sandbox,
            &Told,
            &Situation { cgroup_namespaces: true, ..user() },
            "stay as monitor, go on in a child in new namespaces: user mount pid ipc net uts cgroup\n\
             die with the parent\n\
             tell what was made\n\
             deny setgroups\n\
             map user 0 to 1000\n\
             map group 0 to 100\n\
             at most 1 user namespaces below this one\n\
             bring up the loopback interface\n\
             host name name\n\
             mount a tmpfs on /\n\
             minimal devices /dev\n\
             change root, detach the old one\n\
             new namespaces: user, below the first\n\
             map user 7 to 0\n\
             map group 100 to 0\n\
             find out that no user namespace can be made\n\
             no new privileges\n\
             capabilities 0x8\n\
             new session\n\
             lock /lock\n\
             stay as init, go on in a child\n\
             die with the parent\n\
             run the hooks\n\
             change directory to /home/a or /h or /\n\
             close descriptors, but for 0 1 2 4\n\
             die with the parent\n\
             signals as the caller had them\n\
             seccomp filter of 2 instructions\n\
             start prog\n",
        );
    }

    #[test]
    fn what_is_joined_is_joined_before_what_needs_its_rights() {
        let join = Join { user: Some(8), user_after: Some(10), pid: Some(9) };
        let namespaces = Namespaces { pid: true, ..Namespaces::default() };
        let sandbox = Sandbox { join, namespaces, uid: Some(7), lingering: true, as_pid_1: true, ..Sandbox::default() };
        steps(
            &sandbox,
            &(),
            &user(),
            "stay as monitor, go on in a child\n\
             die with the parent\n\
             join the user namespace of descriptor 8\n\
             new namespaces: mount\n\
             join the pid namespace of descriptor 9\n\
             go on in a child\n\
             die with the parent\n\
             new namespaces: pid\n\
             go on in a child\n\
             die with the parent\n\
             become user 7\n\
             die with the parent\n\
             mount a tmpfs on /\n\
             change root, detach the old one\n\
             join the user namespace of descriptor 10\n\
             no new privileges\n\
             no capabilities\n\
             run the hooks\n\
             change directory to /home/a\n\
             live on without the parent\n\
             signals as the caller had them\n\
             start prog\n",
        );
    }

    #[test]
    fn the_last_change_of_a_capability_counts() {
        use Capability::{Add, AddAll, AddCallers, Drop, DropAll};
        let rows: [(&[Capability], bool, Kept); 7] = [
            (&[], false, Kept::Untouched),
            (&[], true, Kept::Exactly { bits: 0, required: 0 }),
            (&[Drop(0)], false, Kept::Exactly { bits: 0b10, required: 0 }),
            (&[AddCallers, Drop(1)], true, Kept::Exactly { bits: 0b01, required: 0 }),
            (&[AddAll, Drop(0), Add(0)], true, Kept::Exactly { bits: u64::MAX, required: 1 }),
            (&[Add(5), DropAll], true, Kept::Exactly { bits: 0, required: 0 }),
            (&[DropAll, Add(5)], false, Kept::Exactly { bits: 1 << 5, required: 1 << 5 }),
        ];
        for (changes, in_user_namespace, expected) in rows {
            assert_eq!(kept(changes, in_user_namespace, 0b11), expected, "{changes:?}");
        }
    }

    #[test]
    fn more_than_one_thread_is_refused_with_its_remedy() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        let refused = plan(&Sandbox::default(), &program(), &(), &Situation { threads: 3, ..user() }).unwrap_err();
        drop(hold);
        other.join().unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "starting the sandbox: the calling process has 3 threads; enter before starting threads");
    }

    #[test]
    fn a_thread_that_is_ending_is_waited_for_and_one_that_stays_is_not() {
        let left = std::cell::Cell::new(3);
        let fewer = || left.replace(left.get() - 1);
        assert!(alone_within(3, fewer));
        assert_eq!(left.get(), 0);
        assert!(!alone_within(3, || 2));
    }

    #[test]
    fn filters_that_are_no_programs_are_refused() {
        for bytes in [0, 7, 12, 8 * 4097] {
            let sandbox = Sandbox { filters: vec![vec![0; bytes]], ..Sandbox::default() };
            let refused = plan(&sandbox, &program(), &(), &user()).unwrap_err().to_string();
            let expected = format!("starting the sandbox: seccomp filter 1 has {bytes} bytes; it needs 1 to 4096 instructions of 8");
            assert_eq!(refused, expected);
        }
    }
}
