//! Classic Linux roots for programs that want one: a specification becomes a farm of links in the store, and
//! a farm becomes the few steps that enter it. It prints nothing and fetches only through the store.
//!
//! Inside, `/usr` is the farm's, the links of `/etc` lead into it (`/usr/etc`) or to the host's entries, and what else
//! of the host is needed there – its `/etc`, the fonts and locales of its `/usr` – is found below [`HOST`].

pub mod confine;
pub mod entry;
pub mod host;
pub mod mode;

/// Where the host's own `/etc` and `/usr` are found inside: `/.host/etc`, `/.host/usr`.
pub const HOST: &str = "/.host";
