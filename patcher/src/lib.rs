//! Changes bytes of an ELF file: bytes and [`Edit`]s go in, a [`Plan`] that prints itself comes
//! out, and bytes follow from the plan.
//!
//! This crate prints nothing, writes no file, and knows neither where libraries come from nor how
//! programs are started. No edit of it moves a byte: what is replaced keeps its place and length.
//!
//! ```
//! # fn patch(bytes: &mut [u8]) -> Result<(), patcher::Error> {
//! use patcher::Edit;
//!
//! let plan = patcher::plan(bytes, &[Edit::InterpreterInPlace(b"/.xeno/64.so".to_vec())])?;
//! print!("{plan}");
//! let before = bytes.to_vec();
//! plan.apply(bytes)?;
//! plan.verify(&before, bytes)
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![forbid(unsafe_code)]

mod edit;
mod elf;
mod error;
mod loader;
pub mod payload;
mod plan;
mod text;

pub use edit::{Edit, interpreter, interpreter_room, plan};
pub use elf::{Elf, Header, Segment};
pub use error::{Error, Kind};
pub use loader::{LoaderFamily, LoaderStrings, loader_copy, loader_family};
pub use plan::{Change, FileOffset, Plan};
