//! Where library files come from: a signed archive, a content-addressed store in Nix's formats, a lock file.
//!
//! Fetches, verifies, unpacks, remembers. It never runs what it fetched, never edits an ELF, and never
//! prints: progress goes through [`progress::Progress`], the rest through [`log`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod apt;
pub mod atomic;
pub mod cache;
pub mod config;
pub mod deb;
pub mod debian;
pub mod error;
pub mod fetch;
pub mod host;
pub mod index;
pub mod installed;
pub mod lock;
pub mod nar;
pub mod near;
pub mod openpgp;
pub mod paths;
pub mod progress;
pub mod rank;
pub mod release;
pub mod root;
pub mod version;

pub use error::{Error, Kind, Result};
