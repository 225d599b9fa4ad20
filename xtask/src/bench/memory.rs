//! The peak of a program's anonymous memory: what it allocated, without the file pages it mapped.

use anyhow::{Context, Result, bail};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command to its end and returns (wall seconds, peak anonymous KiB), sampled every 200 µs from
/// `RssAnon` of `/proc/<pid>/status` (proc(5)).
pub(super) fn peak(command: &mut Command) -> Result<(f64, u64)> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start it")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        peak = peak.max(fs::read_to_string(&status).ok().and_then(|text| anonymous(&text)).unwrap_or(0));
        if let Some(ended) = child.try_wait().context("wait for it")? {
            if !ended.success() {
                bail!("it ended with {ended}");
            }
            return Ok((begun.elapsed().as_secs_f64(), peak));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn anonymous(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_anonymous_pages_count() {
        assert_eq!(anonymous("VmHWM:\t  900 kB\nRssAnon:\t     128 kB\nRssFile:\t 700 kB\n"), Some(128));
    }
}
