//! What the fuzz targets share: edits and programs drawn from a fuzzer's bytes, what a program says to its
//! loader, and the proofs that a plan did what it was asked for, and that the loader shim reads nothing wrongly.
//! Knows nothing of how the patcher and the shim work.

#[path = "../../patcher/tests/tiny/mod.rs"]
mod tiny;

pub mod ask;
pub mod base;
pub mod proof;
pub mod says;
pub mod shim;
