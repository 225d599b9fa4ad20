//! What the fuzz targets share: edits and programs drawn from a fuzzer's bytes, what a program says to its
//! loader, and the proof that a plan did what it was asked for. Knows nothing of how the patcher works.

#[path = "../../patcher/tests/tiny/mod.rs"]
mod tiny;

pub mod ask;
pub mod base;
pub mod proof;
pub mod says;
