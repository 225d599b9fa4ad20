//! The usage and the version, as scripts read them. Constants and lookups only.

use super::args::OPTIONS;

/// What `--version` prints. It names the version whose behaviour this is, as scripts compare it.
pub(super) const VERSION: &str = "bubblewrap 0.11.1\n";

/// Where the explanation of an option begins.
const COLUMN: usize = 33;

/// The usage.
pub(super) fn usage(own_name: &[u8]) -> Vec<u8> {
    let mut usage = [b"usage: ", own_name, b" [OPTIONS...] [--] COMMAND [ARGS...]\n\n"].concat();
    for option in OPTIONS {
        let mut line = format!("    {}", option.name);
        for value in option.values {
            line.push(' ');
            line.push_str(value);
        }
        if line.len() + 2 > COLUMN {
            line.push('\n');
            line.push_str(&" ".repeat(COLUMN));
        }
        let line = format!("{line:<COLUMN$}{}\n", option.help);
        usage.extend_from_slice(line.as_bytes());
    }
    usage
}
