//! What a task prints: a line for each file as it is done, a table at the end, or all of it as JSON.

use super::trial::{Verdict, Word};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fmt;

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Word::Ok => "ok",
            Word::Untidy => "untidy",
            Word::Refused => "refused",
            Word::Broken => "BROKEN",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}{:<22}{:>11}", self.word, self.name, self.size)?;
        match &self.growth {
            Some(growth) => {
                let output = growth.output.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
                write!(f, "{:>9}{output:>9}{:>9}", growth.in_place, growth.again)?;
            }
            None => write!(f, "{:>9}{:>9}{:>9}", "-", "-", "-")?,
        }
        let stripped = if self.stripped.is_empty() { "-".to_owned() } else { self.stripped.join("+") };
        write!(f, "  {stripped:<10} {}", self.baseline)?;
        // `{:#}` is the whole of it.
        let shown = if f.alternate() { self.faults.len() } else { 1 };
        for fault in self.faults.iter().take(shown) {
            write!(f, "\n            {}", fault.chars().take(220).collect::<String>())?;
        }
        match self.faults.len().saturating_sub(shown) {
            0 => Ok(()),
            more => write!(f, " [and {more} more]"),
        }
    }
}

/// The columns of a verdict's line. Growth is in bytes beyond the new strings.
pub(super) const HEADER: &str = "        file                         size in place --output    again  stripped   the original ends with";

/// How many files may end otherwise than ok.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    pub(super) refused: usize,
    pub(super) untidy: usize,
}

/// Prints what is left to say and fails if anything is broken, or more is refused or untidy than allowed.
pub(super) fn finish(task: &str, verdicts: &[Verdict], as_json: bool, allowed: Allowed) -> Result<()> {
    let count = |word: Word| verdicts.iter().filter(|verdict| verdict.word == word).count();
    let growths = |pick: fn(&Verdict) -> Option<u64>| median(verdicts.iter().filter_map(pick).collect());
    let medians =
        [growths(|v| v.growth.map(|g| g.in_place)), growths(|v| v.growth.and_then(|g| g.output)), growths(|v| v.growth.map(|g| g.again))];
    let [in_place, output, again] = medians;
    if as_json {
        let totals =
            json!({"ok": count(Word::Ok), "untidy": count(Word::Untidy), "refused": count(Word::Refused), "broken": count(Word::Broken)});
        let medians = json!({"in_place": in_place, "output": output, "again": again});
        let page = json!({"task": task, "rows": verdicts, "totals": totals, "median_growth": medians});
        println!("{}", serde_json::to_string_pretty(&page).context("write JSON")?);
    } else {
        let bad: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.word != Word::Ok).collect();
        if !bad.is_empty() {
            println!("\n{HEADER}");
            bad.iter().for_each(|verdict| println!("{verdict:#}"));
        }
        let shown = |median: Option<u64>| median.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let (in_place, output, again) = (shown(in_place), shown(output), shown(again));
        println!(
            "{task}: {} files: {} ok, {} untidy, {} refused, {} broken; median growth beyond the new strings: \
             {in_place} in place, {output} with --output, {again} by the second edit",
            verdicts.len(),
            count(Word::Ok),
            count(Word::Untidy),
            count(Word::Refused),
            count(Word::Broken)
        );
    }
    let untidy = count(Word::Untidy);
    let wrong = count(Word::Broken) + if untidy > allowed.untidy { untidy } else { 0 };
    if wrong > 0 {
        bail!("{task}: {wrong} of {} files are broken or untidy", verdicts.len());
    }
    if count(Word::Refused) > allowed.refused {
        bail!("{task}: {} files are refused; {} may be", count(Word::Refused), allowed.refused);
    }
    Ok(())
}

/// The middle one.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(word: Word) -> Verdict {
        Verdict { name: "x".into(), word, faults: Vec::new(), baseline: "status 0".into(), size: 1, growth: None, stripped: Vec::new() }
    }

    #[test]
    fn broken_untidy_and_too_many_refused_fail_the_task() {
        assert!(finish("t", &[verdict(Word::Ok), verdict(Word::Refused)], false, Allowed { refused: 1, untidy: 0 }).is_ok());
        for word in [Word::Untidy, Word::Broken, Word::Refused] {
            assert!(finish("t", &[verdict(Word::Ok), verdict(word)], false, Allowed::default()).is_err(), "{word}");
        }
    }

    #[test]
    fn the_median_is_of_the_sorted_values() {
        assert_eq!((median(vec![9, 1, 5]), median(Vec::new())), (Some(5), None));
    }
}
