//! Whether a program did under the shim what it did natively. It was run natively at least twice, so that what
//! differs from run to run by itself is known: only there, and only in its numbers, may the run under the
//! shim differ.

use crate::process::Ended;

/// What came of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Output, errors and status are those of one of the native runs.
    Equal,
    /// As equal as the native runs are among themselves: numbers differ, where theirs do.
    Numbers,
    /// The same lines in another order, as of children that race; the first line that stands elsewhere.
    Order(String),
    /// The first line that differs.
    Differs(String),
}

/// Compares a run under the shim with native ones.
pub(super) fn agreement(native: &[Ended], shim: &Ended) -> Agreement {
    let [first, second, ..] = native else { return Agreement::Differs("it was not run twice".to_owned()) };
    if native.contains(shim) {
        return Agreement::Equal;
    }
    if shim.end != first.end && shim.end != second.end {
        return Agreement::Differs(format!("{} natively, {} under the shim: {}", first.end, shim.end, shim.last_line()));
    }
    for (stream, of) in [("stdout", (|ended| &ended.stdout) as fn(&Ended) -> &String), ("stderr", |ended| &ended.stderr)] {
        if let Some(line) = difference([of(first), of(second)], of(shim)) {
            let line = format!("{stream}: {line}");
            let reordered = native
                .iter()
                .any(|native| sorted(&native.stdout) == sorted(&shim.stdout) && sorted(&native.stderr) == sorted(&shim.stderr));
            return if reordered { Agreement::Order(line) } else { Agreement::Differs(line) };
        }
    }
    Agreement::Numbers
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The first line that differs without the native runs' leave.
fn difference([first, second]: [&String; 2], shim: &str) -> Option<String> {
    let (mut first, mut second, mut shim) = (first.lines(), second.lines(), shim.lines());
    loop {
        match (first.next(), second.next(), shim.next()) {
            (None, _, None) | (_, None, None) => return None,
            (Some(a), b, Some(c)) if a == c || b == Some(c) => {}
            (Some(a), Some(b), Some(c)) if a != b && plain(a) == plain(b) && plain(b) == plain(c) => {}
            (a, _, c) => {
                let shown = |line: Option<&str>| line.map_or_else(|| "no more lines".to_owned(), |line| format!("`{line}`"));
                return Some(format!("{} natively, {} under the shim", shown(a), shown(c)));
            }
        }
    }
}

/// `#` for every run of digits: process ids, times, addresses of hexadecimal digits only behind `0x`.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut hexadecimal = false;
    for c in line.chars() {
        let digit = c.is_ascii_digit() || hexadecimal && c.is_ascii_hexdigit();
        hexadecimal = digit && hexadecimal || c == 'x' && plain.ends_with('#');
        match digit {
            true if plain.ends_with('#') => {}
            true => plain.push('#'),
            false => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::End;

    fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended { end: End::Status(code), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_run_like_any_native_one_is_equal() {
        let native = [ended(0, "a\n", ""), ended(0, "b\n", ""), ended(0, "c\n", "")];
        for run in &native {
            assert_eq!(agreement(&native, run), Agreement::Equal);
        }
    }

    #[test]
    fn numbers_may_differ_only_where_they_differ_natively() {
        let native = [ended(1, "v1\n", "prog[17]: at 0x7ffcab\n"), ended(1, "v1\n", "prog[29]: at 0x7ffdbe\n")];
        assert_eq!(agreement(&native, &ended(1, "v1\n", "prog[3]: at 0x7ff011\n")), Agreement::Numbers);
        assert_eq!(
            agreement(&native, &ended(1, "v2\n", "prog[3]: at 0x7ff011\n")),
            Agreement::Differs("stdout: `v1` natively, `v2` under the shim".into())
        );
        assert_eq!(
            agreement(&native, &ended(1, "v1\n", "other[3]: at 0x7ff011\n")),
            Agreement::Differs("stderr: `prog[17]: at 0x7ffcab` natively, `other[3]: at 0x7ff011` under the shim".into())
        );
    }

    #[test]
    fn the_same_lines_in_another_order_are_no_equality_and_no_difference() {
        let native = [ended(0, "a\nb\n", ""), ended(0, "a\nb\n", "")];
        let order = agreement(&native, &ended(0, "b\na\n", ""));
        assert_eq!(order, Agreement::Order("stdout: `a` natively, `b` under the shim".into()));
    }

    #[test]
    fn a_line_more_or_less_and_another_status_are_differences() {
        let native = ended(0, "a\n", "");
        let differs = |shim: &Ended| match agreement(&[native.clone(), native.clone()], shim) {
            Agreement::Differs(line) => line,
            other => format!("{other:?}"),
        };
        assert_eq!(differs(&ended(0, "a\nb\n", "")), "stdout: no more lines natively, `b` under the shim");
        assert_eq!(differs(&ended(0, "", "")), "stdout: `a` natively, no more lines under the shim");
        assert_eq!(differs(&ended(127, "", "no\n")), "status 0 natively, status 127 under the shim: no");
    }
}
