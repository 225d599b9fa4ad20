//! The drop-in `patchelf`: its words, its order of work, its texts and its exit statuses, over the
//! patcher's plans. Decides nothing about where bytes go.

mod args;
mod intent;
mod objections;
mod run;
mod stream;
mod texts;

use args::Parsed;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

/// Does what `patchelf` does with these words, of which the first is the program's own name. The
/// result is the exit status: 0 or 1.
pub(crate) fn main(words: &[OsString]) -> u8 {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let debug = std::env::var_os("PATCHELF_DEBUG").is_some();
    let own_name = words.first().copied().unwrap_or(b"patchelf");
    let status = match args::parse(words.get(1..).unwrap_or_default(), debug) {
        Ok(Parsed::Usage { status }) => {
            complain(&texts::usage(own_name));
            status
        }
        Ok(Parsed::Version) => {
            tell(texts::VERSION.as_bytes());
            0
        }
        Ok(Parsed::Request(request)) => match run::run(&request) {
            Ok(()) => 0,
            Err(complaint) => complaint.told(),
        },
        Err(complaint) => complaint.told(),
    };
    // Whoever closed the pipe does not want the rest.
    let _ = std::io::stdout().flush();
    status
}

/// What stops the work: the text after `patchelf: `, without a line end.
#[derive(Debug, PartialEq, Eq)]
struct Complaint(Vec<u8>);

impl Complaint {
    /// From parts, as names of files are any bytes.
    fn of(parts: &[&[u8]]) -> Complaint {
        Complaint(parts.concat())
    }

    /// A failed call of the system, in its own words.
    fn system(what: &[u8], path: &[u8], error: &std::io::Error) -> Complaint {
        Complaint::of(&[what, b" '", path, b"': ", texts::reason(error).as_bytes()])
    }

    fn told(&self) -> u8 {
        complain(&[b"patchelf: ", self.0.as_slice(), b"\n"].concat());
        1
    }
}

impl From<&str> for Complaint {
    fn from(text: &str) -> Complaint {
        Complaint(text.as_bytes().to_vec())
    }
}

impl From<patcher::Error> for Complaint {
    fn from(error: patcher::Error) -> Complaint {
        Complaint(error.to_string().into_bytes())
    }
}

/// Bytes for standard output.
fn tell(bytes: &[u8]) {
    let _ = std::io::stdout().write_all(bytes);
}

/// Bytes for standard error, after all that was told.
fn complain(bytes: &[u8]) {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(bytes);
}
