//! The pure half of the shim: what a program needs (its key), what an image is, where a loader's segments
//! go, which variables count, what is said when nothing helps. Decides; maps, opens and calls nothing, and
//! allocates nothing, so that the program half ([`main.rs`](../src/main.rs)) can use it before any loader ran.
#![no_std]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")
)]

pub mod base;
pub mod bytes;
pub mod dynamic;
pub mod elf;
pub mod image;
pub mod jump;
pub mod key;
pub mod line;
pub mod load;
pub mod needs;
pub mod options;
pub mod variables;

#[cfg(test)]
extern crate std;
