//! Prints what a copy of a loader would have changed, and writes the copy where a path is given.
//!
//! ```text
//! loader_copy LD_SO [COPY]
//! ```

#![allow(clippy::print_stdout, reason = "it is a program")]

use patcher::LoaderStrings;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let from = args.next().ok_or("give the path of an ld.so")?;
    let file = std::fs::read(from)?;
    let strings = LoaderStrings {
        cache: "/.xeno/64.cache".into(),
        preload: Some("/.xeno/preload".into()),
        musl_path: "/.xeno/64.path".into(),
        directories: Vec::new(),
    };
    let (copy, plan) = patcher::loader_copy(&file, &strings)?;
    print!("{plan}");
    if let Some(to) = args.next() {
        std::fs::write(to, copy)?;
    }
    Ok(())
}
