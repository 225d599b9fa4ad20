//! xeno
fn main() {}
