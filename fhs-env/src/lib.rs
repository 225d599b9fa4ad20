//! Gives a program a file tree of its own: a list of operations is planned first (pure data that
//! prints itself), then applied to the calling process, which execs afterwards ([`PrivateRoot`]), or
//! to a process with namespaces and rights of its own, which the caller watches over ([`Sandbox`]).
//!
//! This crate resolves no packages, reads no ELF file and prints nothing.
//! It is shaped like [`std::process::Command`]: a builder collects what the root shall hold, and
//! one call acts.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::os::unix::process::CommandExt;
//!
//! let mut root = fhs_env::PrivateRoot::new();
//! root.symlink("/lib64/ld-linux-x86-64.so.2", "/srv/store/glibc/lib/ld-linux-x86-64.so.2");
//! print!("{}", root.plan_here()?);
//! root.enter()?;
//! Err(std::process::Command::new("/opt/app/bin/app").exec())?
//! # }
//! ```
//!
//! # The root, and why it is built so
//!
//! A tmpfs is mounted **on `/` itself**. A lookup of `/` starts at the process's root and is not
//! redirected by a mount on top of it, so for everybody the files stay as they were; only `/..`
//! leads up into the new mount (`follow_dotdot` in `fs/namei.c` ends in mount traversal). There
//! the tree is built, and `chroot(".")` then makes it the root. This is how the kernel enters its
//! first root (`init/do_mounts.c`: move the mount onto `/`, then chroot), and it differs from a
//! chroot into a directory: `current_chrooted` (`fs/namespace.c`) follows the mounts stacked on
//! `/`, finds the process at the top of the stack, and so allows nested user namespaces. Compared
//! with `pivot_root(2)` it needs no directory, works on an initramfs, saves the unmounting of the
//! old tree (an RCU grace period), and changes nothing visible until its one last step, which can
//! be undone.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![deny(unsafe_code)]

mod apply;
mod enter;
mod error;
mod host;
mod op;
pub mod policy;
mod process;
mod refusal;
mod root;
mod sandbox;
#[allow(unsafe_code, reason = "the one door to the kernel: fork(2) has no safe form")]
mod sys;
mod tree;

pub use enter::{EnterError, State, StepError, probe};
pub use error::{Fault, PlanError};
pub use host::{Caller, EntryKind, HostEntry, HostRoot, WorkingDirectory, mounted_noexec};
pub use op::{Access, Content, Op, Plan, Source, Upper};
pub use process::{Failed, Kept, Kinds, StartError, StartPlan, Step};
pub use refusal::{Cause, Refusal, losses};
pub use root::PrivateRoot;
pub use sandbox::{Capability, Descriptors, Exit, Hooks, Join, Made, Moments, Namespaces, Program, Restriction, Sandbox, Want, WorkingIn};
pub use sys::inherited;
