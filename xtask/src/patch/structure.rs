//! What the tools of others say of a file's structure: `readelf` and `eu-elflint`. Only complaints that
//! the original did not raise count; numbers in them do not, since an edit may move things.

use crate::process;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// No look at a file may take longer; what is not finished by then says nothing.
const LIMIT: Duration = Duration::from_secs(120);

/// The complaints about one file.
pub(super) type Complaints = BTreeSet<String>;

/// Collects them. An absent tool says nothing; the task's list of packages is what makes it present.
pub(super) fn complaints(file: &Path) -> Result<Complaints> {
    let mut found = Complaints::new();
    if let Some(readelf) = process::find("readelf") {
        let ended = process::ended(Command::new(readelf).args(["-W", "-d", "-l", "-S"]).arg(file), LIMIT)?;
        let lines = ended.stderr.lines().chain(ended.stdout.lines());
        found.extend(lines.filter(|line| line.contains("Warning:") || line.contains("Error:")).map(|line| plain(line, file)));
        if let process::End::Signal(number) = ended.end {
            found.insert(format!("readelf died of signal {number}"));
        }
    }
    if let Some(lint) = process::find("eu-elflint") {
        let ended = process::ended(Command::new(lint).arg("--gnu-ld").arg(file), LIMIT)?;
        if ended.end != process::End::Alive {
            let lines = ended.stdout.lines().chain(ended.stderr.lines()).filter(|line| !line.trim().is_empty() && *line != "No errors");
            found.extend(lines.map(|line| format!("elflint: {}", plain(line, file))));
        }
    }
    Ok(found)
}

/// A complaint without the file's path and with `#` for every number that stands alone, in brackets or
/// after `0x`: digits that are part of a name stay.
fn plain(line: &str, file: &Path) -> String {
    let line = line.replace(&file.display().to_string(), "FILE");
    line.split_whitespace().map(numberless).collect::<Vec<_>>().join(" ").replace("[ #]", "[#]")
}

fn numberless(word: &str) -> String {
    let edge = |c: char| !c.is_ascii_alphanumeric();
    // `phdr[5]:` is a name with a number in brackets.
    let number = match word.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => word.trim_matches(edge),
    };
    let hexadecimal = number.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let decimal = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if hexadecimal || decimal { word.replacen(number, "#", 1) } else { word.to_owned() }
}

/// How many complaints are new, with the first.
pub(super) fn new(before: &Complaints, after: &Complaints) -> Option<String> {
    let mut new = after.difference(before);
    let first = new.next()?;
    Some(match new.count() {
        0 => first.clone(),
        more => format!("{first} (and {more} more)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_at_another_number_is_the_same_complaint() {
        let file = Path::new("/t/a");
        let one = plain("section [ 3] '.gnu.hash': chain 5 of 0x1f0 in /t/a", file);
        assert_eq!(one, plain("section [12] '.gnu.hash': chain 77 of 0x2 in /t/a", file));
        assert_eq!(one, "section [#] '.gnu.hash': chain # of # in FILE");
        assert_eq!(plain("phdr[14]: note at offset 7", file), "phdr[#]: note at offset #");
        assert_ne!(one, plain("section [12] '.dynstr': chain 77 of 0x2 in /t/a", file));
    }

    #[test]
    fn only_what_the_original_did_not_raise_counts() {
        let before = Complaints::from(["a".to_owned()]);
        assert_eq!(new(&before, &before), None);
        assert_eq!(new(&before, &["a", "b", "c"].map(str::to_owned).into()).as_deref(), Some("b (and 1 more)"));
    }
}
