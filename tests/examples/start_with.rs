//! Starts a program with an environment that no library call would make: `start_with PROGRAM ARGS…`
//! reads NUL-terminated entries from standard input and hands on exactly these.

use std::ffi::CString;
use std::io::Read;

fn main() {
    let words: Vec<CString> = std::env::args().skip(1).filter_map(|word| CString::new(word).ok()).collect();
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    bytes.pop();
    let environment: Vec<CString> = bytes.split(|b| *b == 0).filter_map(|entry| CString::new(entry).ok()).collect();
    if let (Some(program), Ok(_)) = (words.first(), read) {
        // Returns only if it failed.
        let _ = nix::unistd::execve(program, &words, &environment);
    }
    std::process::exit(125);
}
