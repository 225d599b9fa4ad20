//! The steps that make and enter a private root, as data that prints itself.
//! Nothing here touches the system.

use std::fmt;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// How a bound tree may be used. But for the first, set-user-id bits do not work in it (`MS_NOSUID`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the host has it, in every respect.
    Unchanged,
    /// Nothing in it can be changed, nor in what is mounted below it.
    ReadOnly,
    /// As the host has it, without device nodes.
    ReadWrite,
    /// As the host has it, device nodes included.
    Devices,
}

/// What is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path of the old root, looked up when its step is applied; links are followed.
    Path(PathBuf),
    /// What an inherited descriptor refers to. The path it was opened by must still lead to the same
    /// device and inode.
    Descriptor(RawFd),
}

/// Where the content of a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Here.
    Bytes(Vec<u8>),
    /// Read from an inherited descriptor to its end, which is then closed.
    Descriptor(RawFd),
}

/// Where changes to an overlay go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upper {
    /// Nowhere: it is read-only.
    None,
    /// Into a tmpfs that goes with the root.
    Memory,
    /// Into a directory of the host.
    Directories {
        /// The changed files.
        upper: PathBuf,
        /// An empty directory of the same file system, for overlayfs itself.
        work: PathBuf,
    },
}

/// One step. Paths of things in the new root are written as the program will see them; they are resolved
/// inside of it, whatever links they meet, and their parents are made (mode 0755).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// `unshare(2)`: a mount namespace, and a user namespace where the caller may not mount.
    Unshare {
        /// Also `CLONE_NEWUSER`.
        user: bool,
    },
    /// `deny` into `/proc/self/setgroups`: without it the kernel takes no gid map from an ordinary
    /// user (`user_namespaces(7)`).
    DenySetgroups,
    /// Maps the caller's user id to itself.
    MapUser(u32),
    /// Maps the caller's group id to itself.
    MapGroup(u32),
    /// Makes every mount a slave, so that host mounts arrive here and none of ours leaves. A user
    /// namespace does this by itself (`CL_SHARED_TO_SLAVE`).
    Slave,
    /// Mounts an empty tmpfs on top of `/` and steps into it.
    Stack,
    /// Makes the new tree the root, with the old one out of sight below it: can be undone.
    ChangeRoot,
    /// Binds a file or a tree, with everything mounted below it: a bind of a part of a tree with locked mounts is
    /// refused (`mount_namespaces(7)`).
    Bind {
        /// What.
        source: Source,
        /// Where; it is made if there is nothing, a directory or an empty file as the source is one.
        path: PathBuf,
        /// How it may be used.
        access: Access,
        /// Nothing is done if the source does not exist (`ENOENT` only).
        optional: bool,
    },
    /// Mounts an empty tmpfs, nosuid and nodev.
    Tmpfs {
        /// Where.
        path: PathBuf,
        /// Mode bits of its root.
        mode: u32,
        /// The most bytes it may hold; `None` is the kernel's default, half of the memory.
        size: Option<u64>,
    },
    /// The proc file system; what in it concerns the whole machine is read-only.
    Proc {
        /// Where.
        path: PathBuf,
        /// Mounts that of the process's own, new pid namespace; else the host's is bound.
        own: bool,
    },
    /// A minimal `/dev`: the harmless device nodes of the host, a pts instance of its own, shm.
    MinimalDev(PathBuf),
    /// Mounts the POSIX message queues of the process's IPC namespace (`mq_overview(7)`).
    MessageQueues(PathBuf),
    /// Mounts an overlay of directories (overlayfs).
    Overlay {
        /// Where.
        path: PathBuf,
        /// The layers, paths of the old root, the lowest first.
        lowers: Vec<PathBuf>,
        /// Where changes go.
        upper: Upper,
    },
    /// A directory of given mode. One that is there is kept as it is.
    MakeDirectory {
        /// Where.
        path: PathBuf,
        /// Mode bits.
        mode: u32,
    },
    /// A file, which must not exist yet, or is emptied and written. With [`Content::Bytes`] that is done to files on the
    /// new root's own tmpfs alone: one that was bound there, or lies below what was, is never touched.
    MakeFile {
        /// Where.
        path: PathBuf,
        /// What it holds.
        content: Content,
        /// Mode bits.
        mode: u32,
    },
    /// Binds a file that exists nowhere else.
    BindContent {
        /// Where.
        path: PathBuf,
        /// What it holds.
        content: Content,
        /// How it may be used.
        access: Access,
        /// Mode bits.
        mode: u32,
    },
    /// A symbolic link; one that holds the same is kept as it is.
    Link {
        /// Where the link is.
        path: PathBuf,
        /// What it holds.
        target: PathBuf,
    },
    /// Changes the mode of what is there.
    Mode {
        /// Where.
        path: PathBuf,
        /// Mode bits.
        mode: u32,
    },
    /// Makes the mount at this very path read-only, not those below it.
    ReadOnly(PathBuf),
    /// Makes the new tree the root and detaches the old one: nothing of it can be reached any more.
    PivotRoot,
    /// Returns to the working directory, by path.
    WorkingDirectory {
        /// Its path.
        path: PathBuf,
        /// Device and inode it must have; `None` for `/`, which is a new directory.
        identity: Option<(u64, u64)>,
    },
}

/// A path in which control characters are escaped, so that no name can forge a line.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        if text.chars().any(char::is_control) { write!(f, "{:?}", self.0) } else { f.write_str(&text) }
    }
}

pub(crate) fn shown(path: &Path) -> impl fmt::Display + '_ {
    Shown(path)
}

impl Access {
    fn suffix(self) -> &'static str {
        match self {
            Access::Unchanged => " as it is",
            Access::ReadOnly => " read-only",
            Access::ReadWrite => "",
            Access::Devices => " with devices",
        }
    }
}

impl Op {
    /// Binds a path of the host at its own place, as it is.
    pub fn carried(path: impl Into<PathBuf>) -> Op {
        let path = path.into();
        Op::Bind { source: Source::Path(path.clone()), path, access: Access::Unchanged, optional: false }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Descriptor(fd) => write!(f, "descriptor {fd}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Unshare { user: true } => f.write_str("unshare user and mount namespace"),
            Op::Unshare { user: false } => f.write_str("unshare mount namespace"),
            Op::DenySetgroups => f.write_str("deny setgroups"),
            Op::MapUser(id) => write!(f, "map user {id} to itself"),
            Op::MapGroup(id) => write!(f, "map group {id} to itself"),
            Op::Slave => f.write_str("make every mount a slave"),
            Op::Stack => f.write_str("mount a tmpfs on /"),
            Op::ChangeRoot => f.write_str("change root"),
            Op::Bind { source, path, access, optional } => {
                f.write_str("bind ")?;
                match source {
                    Source::Path(from) if from == path => write!(f, "{}", shown(path))?,
                    Source::Path(from) => write!(f, "{} at {}", shown(from), shown(path))?,
                    Source::Descriptor(fd) => write!(f, "descriptor {fd} at {}", shown(path))?,
                }
                f.write_str(access.suffix())?;
                f.write_str(if *optional { ", if it exists" } else { "" })
            }
            Op::Tmpfs { path, mode, size: None } => write!(f, "tmpfs {} (mode {mode:04o})", shown(path)),
            Op::Tmpfs { path, mode, size: Some(size) } => write!(f, "tmpfs {} (mode {mode:04o}, {size} bytes)", shown(path)),
            Op::Proc { path, own: true } => write!(f, "proc {}", shown(path)),
            Op::Proc { path, own: false } => write!(f, "the host's proc {}", shown(path)),
            Op::MinimalDev(path) => write!(f, "minimal devices {}", shown(path)),
            Op::MessageQueues(path) => write!(f, "message queues {}", shown(path)),
            Op::Overlay { path, lowers, upper } => {
                write!(f, "overlay {} of", shown(path))?;
                for lower in lowers {
                    write!(f, " {}", shown(lower))?;
                }
                match upper {
                    Upper::None => f.write_str(", read-only"),
                    Upper::Memory => f.write_str(", changes in memory"),
                    Upper::Directories { upper, work } => write!(f, ", changes in {} by {}", shown(upper), shown(work)),
                }
            }
            Op::MakeDirectory { path, mode } => write!(f, "directory {} (mode {mode:04o})", shown(path)),
            Op::MakeFile { path, content, mode } => write!(f, "file {} ({content}, mode {mode:04o})", shown(path)),
            Op::BindContent { path, content, access, mode } => {
                write!(f, "bind {content} at {} (mode {mode:04o}){}", shown(path), access.suffix())
            }
            Op::Link { path, target } => write!(f, "link {} -> {}", shown(path), shown(target)),
            Op::Mode { path, mode } => write!(f, "mode {mode:04o} of {}", shown(path)),
            Op::ReadOnly(path) => write!(f, "make {} read-only", shown(path)),
            Op::PivotRoot => f.write_str("change root, detach the old one"),
            Op::WorkingDirectory { path, .. } => write!(f, "change directory to {}", shown(path)),
        }
    }
}

/// The whole way into a private root. Made by [`crate::PrivateRoot::plan`]; prints one step a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) ops: Vec<Op>,
}

impl Plan {
    /// The steps, in the order in which they are applied.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in &self.ops {
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}
