//! `cargo xtask shim-size` and `shim-system`: whether the loader shim is as small and as plain as promised, and
//! whether this machine's programs do under it what they do without. They judge the files of the
//! distribution and share no code with what they judge.

mod agree;
pub(crate) mod apart;
pub(crate) mod calls;
pub(crate) mod headers;
pub(crate) mod size;
pub(crate) mod system;
