//! The question and the answer: what does this ELF need, and which exact files are it?
//!
//! Reads an ELF ([`elf`]), answers as glibc's and musl's loaders would ([`closure`]) and says
//! which rule found each file ([`resolution`]). It never writes a file and never fetches:
//! where libraries come from is behind the trait [`provider::Provider`].

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")
)]

pub mod answer;
pub mod arch;
pub mod builtin;
pub mod closure;
pub mod elf;
pub mod files;
pub mod hints;
pub mod ldcache;
pub mod machine;
pub mod map;
pub mod named;
pub mod needs;
pub mod provider;
pub mod resolution;
pub mod search;
pub mod system;
pub mod tree;
pub mod versions;
