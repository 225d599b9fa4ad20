//! What is said to whoever reads standard error: each line begins as `bwrap`'s lines do, as scripts look for that.
//! Collects and words; prints nothing.

use nix::errno::Errno;
use std::io;

/// Why the words are not all taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The usage was asked for.
    Help,
    /// There is no command.
    Usage,
    /// The version was asked for.
    Version,
    /// Something is wrong: the text after `bwrap: `, without a line end, as names of files are any bytes.
    Complaint(Vec<u8>),
}

impl Stop {
    /// From parts.
    pub(super) fn of(parts: &[&[u8]]) -> Stop {
        Stop::Complaint(parts.concat())
    }

    /// A failed call of the system, in its own words.
    pub(super) fn system(what: &[u8], error: &io::Error) -> Stop {
        Stop::of(&[what, b": ", reason(error).as_bytes()])
    }
}

impl From<&str> for Stop {
    fn from(text: &str) -> Stop {
        Stop::Complaint(text.as_bytes().to_vec())
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Complaint(text.into_bytes())
    }
}

/// The levels of syslog(3) that `--level-prefix` shows.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Error = 3,
    Warning = 4,
}

/// Lines for standard error.
#[derive(Default)]
pub(super) struct Told {
    level_prefix: bool,
    lines: Vec<u8>,
}

impl Told {
    /// Whether the lines from here on begin with their level.
    pub(super) fn with_level(&mut self, on: bool) {
        self.level_prefix = on;
    }

    pub(super) fn say(&mut self, level: Level, text: &[u8]) {
        if self.level_prefix {
            self.lines.extend_from_slice(format!("<{}>", level as u8).as_bytes());
        }
        self.lines.extend_from_slice(b"bwrap: ");
        self.lines.extend_from_slice(text);
        self.lines.push(b'\n');
    }

    /// What was said since it was taken last.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }
}

/// strerror(3) as glibc has it, also where the C library of this program words it differently.
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errno(Errno::from_raw(number)),
        None => error.to_string(),
    }
}

/// The same for a number.
pub(super) fn errno(errno: Errno) -> String {
    match errno {
        Errno::EBUSY => "Device or resource busy".to_owned(),
        Errno::ELOOP => "Too many levels of symbolic links".to_owned(),
        Errno::ENAMETOOLONG => "File name too long".to_owned(),
        Errno::ENOMEM => "Cannot allocate memory".to_owned(),
        Errno::EXDEV => "Invalid cross-device link".to_owned(),
        _ => {
            let text = io::Error::from(errno).to_string();
            text.rsplit_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
        }
    }
}
