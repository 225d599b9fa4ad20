//! The steps that make and enter a private root, as data that prints itself.
//! Nothing here touches the system.

use std::fmt;
use std::path::{Path, PathBuf};

/// One step. Paths of things in the new root are written as the program will see them.
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
    /// An empty directory, mode 0755.
    Directory(PathBuf),
    /// A symbolic link.
    Symlink {
        /// Where the link is.
        path: PathBuf,
        /// What it holds.
        target: PathBuf,
    },
    /// A small file of given content, mode 0444.
    File {
        /// Where the file is.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Binds a host directory at its own path with everything mounted below it. A non-recursive
    /// bind of a tree with locked mounts is refused (`mount_namespaces(7)`).
    BindTree(PathBuf),
    /// Binds a host file that is not a directory at its own path.
    BindFile(PathBuf),
    /// Makes the tmpfs, and nothing below it, read-only.
    ReadOnlyRoot,
    /// Makes the new tree the root: the one step that others can see, and the last but for those
    /// that need it.
    ChangeRoot,
    /// Binds `copy` over the existing file `over` and makes it read-only.
    BindReadOnly {
        /// The file that will be seen.
        copy: PathBuf,
        /// The file that it hides.
        over: PathBuf,
    },
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
            Op::Directory(path) => write!(f, "directory {}", shown(path)),
            Op::Symlink { path, target } => write!(f, "link {} -> {}", shown(path), shown(target)),
            Op::File { path, bytes } => write!(f, "file {} ({} bytes)", shown(path), bytes.len()),
            Op::BindTree(path) => write!(f, "bind tree {}", shown(path)),
            Op::BindFile(path) => write!(f, "bind file {}", shown(path)),
            Op::ReadOnlyRoot => f.write_str("make / read-only"),
            Op::ChangeRoot => f.write_str("change root"),
            Op::BindReadOnly { copy, over } => {
                write!(f, "bind {} read-only over {}", shown(copy), shown(over))
            }
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
