//! Changes ELF files so that their loader sees what was asked for and nothing else.
//!
//! Bytes and [`Edit`]s go in; a [`Plan`] that says where every byte goes comes out, proven against the
//! loader's view of the file before anything is written; [`commit`] carries it out. No byte of the
//! input moves: what is new finds room in place, in padding, or behind the end.
//!
//! This crate prints nothing and knows neither where libraries come from nor how programs are started.
//!
//! ```
//! # fn patch(bytes: &[u8]) -> Result<Vec<u8>, patcher::Error> {
//! use patcher::Edit;
//!
//! let plan = patcher::plan(bytes, &[Edit::Interpreter(b"/opt/glibc/lib/ld-linux-x86-64.so.2".to_vec())])?;
//! print!("{plan}");
//! let patched = plan.apply(bytes)?;
//! # assert_eq!(patcher::undo(&patched)?.apply(&patched)?, bytes);
//! # Ok(patched)
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![deny(unsafe_code)]

mod codec;
pub mod commit;
mod compose;
mod draft;
mod edit;
mod elf;
mod engine;
mod error;
mod fixed;
mod image;
mod ladder;
mod loader;
mod note;
pub mod payload;
mod plan;
mod record;
pub mod resolution_cache;
mod show;
pub mod shrink;
mod space;
mod strings;
pub mod symbols;
mod table;
mod target;
mod text;
mod verify;
mod view;

pub use codec::{Codec, Dyn};
pub use edit::{Edit, RpathTag};
pub use elf::{Elf, Header, Section, Segment};
pub use engine::{Options, plan, plan_with, undo};
pub use error::{Error, Kind};
pub use fixed::{Overwrite, interpreter, interpreter_room, overwrite};
pub use ladder::Way;
pub use loader::{LoaderFamily, LoaderStrings, libc_copy, loader_copy, loader_family};
pub use plan::{ATOMIC, Copied, FileOffset, Phase, Plan, Rung, Write};
pub use view::View;
