//! From a Resolution to a started program: the ladder of `xeno run`.
//!
//! Chooses the cheapest rung that is faithful, makes what that rung needs ([`materials`]), remembers
//! the choice ([`memory`]) and replaces the process by the program ([`start`]). It never resolves,
//! fetches or prints.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")
)]

pub mod appimage;
pub mod environments;
pub mod error;
pub mod fhs;
pub mod ladder;
pub mod materials;
pub mod memory;
pub mod program;
pub mod report;
pub mod room;
pub mod rung;
pub mod shim;
pub mod start;

pub use error::{Error, Kind};
