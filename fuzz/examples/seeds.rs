//! Writes the seeds of the fuzz targets anew: `cargo run --example seeds`, in this directory. Those that
//! exist already in fixtures/bin are not written again; the targets are given that directory as well.
fn main() {}
