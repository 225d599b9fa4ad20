//! The drop-in `bwrap`: bubblewrap's words, order of work, texts and exit statuses, over the sandboxes of `fhs-env`.
//! Decides nothing about how a root is made.

mod args;
mod capabilities;
mod complaint;
mod failure;
mod inherited;
mod labels;
mod numbers;
mod options;
mod plan;
mod report;
mod run;
mod texts;

use complaint::{Level, Stop, Told};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

/// Does what `bwrap` does with these words, of which the first is the program's own name. The result is the exit
/// status: the program's own, or 1.
pub(crate) fn main(words: &[OsString]) -> u8 {
    // Scripts compare standard error; only who asks for more gets it.
    if std::env::var_os("XENO_LOG").is_some() {
        crate::environment::start_logging();
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let own_name = words.first().copied().unwrap_or(b"bwrap");
    let words = words.get(1..).unwrap_or_default();
    let mut told = Told::default();
    let result = if words.is_empty() { Err(Stop::Usage) } else { run::run(words, &mut told) };
    let (status, output) = match result {
        Ok(status) => (status, Vec::new()),
        Err(Stop::Help) => (0, texts::usage(own_name)),
        Err(Stop::Version) => (0, texts::VERSION.as_bytes().to_vec()),
        Err(Stop::Usage) => {
            complain(&told.take());
            complain(&texts::usage(own_name));
            return 1;
        }
        Err(Stop::Complaint(text)) => {
            told.say(Level::Error, &text);
            (1, Vec::new())
        }
    };
    complain(&told.take());
    let mut stdout = std::io::stdout();
    // Whoever closed the pipe does not want the rest.
    let _ = stdout.write_all(&output).and_then(|()| stdout.flush());
    status
}

/// Bytes for standard error.
fn complain(bytes: &[u8]) {
    let _ = std::io::stderr().write_all(bytes);
}
