//! Classic Linux roots for programs that want one: a specification becomes a farm of links in the store, and
//! a farm becomes the few steps that enter it. It prints nothing and fetches only through the store.

pub mod mode;
