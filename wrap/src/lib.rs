//! Keeps a Resolution as an artefact: a tree whose files find each other and the rest by themselves
//! ([`tree`]), one file that names every library of its closure by its path ([`freeze`]), or a root as an image for
//! containers ([`oci`]).
//!
//! Everything is decided first, as a value that prints itself; only [`tree::commit`] changes files, through
//! `patcher::commit`, and [`oci::write`] makes them, through `store::atomic`. This crate prints nothing, fetches nothing
//! itself and runs nothing.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")
)]
#![deny(unsafe_code)]

mod error;
pub mod freeze;
pub mod oci;
mod parallel;
mod progress;
pub mod tree;

pub use error::{Error, Kind, Unfreezable};
pub use progress::{Progress, Silent};
