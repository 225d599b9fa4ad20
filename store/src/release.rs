//! Reads a Release file whose signature was checked: which indexes it vouches for, and for how long.
//!
//! Only SHA-256 counts; the weaker lists are not read.

use crate::error::{Error, Kind, Result};
use crate::nar::parse_sha256;
use std::collections::BTreeMap;

/// How far a mirror's clock may be ahead of ours, seconds; apt's `Acquire::Max-FutureTime` is the same.
const CLOCK_SKEW: i64 = 10;

/// Most entries a Release file may list; Debian's have about 1,500.
const MAX_ENTRIES: usize = 100_000;

/// Size and hash of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
}

/// The fields of a Release file that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `Suite`, such as `stable`.
    pub suite: String,
    /// `Codename`, such as `trixie`.
    pub codename: String,
    /// `Date`, in seconds since 1970.
    pub date: i64,
    /// `Valid-Until`; frozen suites carry none.
    pub valid_until: Option<i64>,
    /// `Acquire-By-Hash`.
    pub by_hash: bool,
    /// The list `SHA256`, by path below the suite's directory.
    pub entries: BTreeMap<String, IndexEntry>,
}

impl Release {
    /// Parses the signed text.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for a missing or unreadable field, a bad hash, or too many entries.
    pub fn parse(text: &str, subject: &str) -> Result<Release> {
        let bad = |cause: String| Error::new(Kind::Malformed, "read", subject, cause, "try again later, or another mirror");
        let mut release = Release {
            suite: String::new(),
            codename: String::new(),
            date: i64::MIN,
            valid_until: None,
            by_hash: false,
            entries: BTreeMap::new(),
        };
        let mut in_sha256 = false;
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix(' ') {
                if !in_sha256 {
                    continue;
                }
                let mut words = entry.split_ascii_whitespace();
                let (Some(hash), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next()) else {
                    return Err(bad(format!("entry '{entry}' has not three words")));
                };
                let (Some(sha256), Ok(size)) = (parse_sha256(hash), size.parse()) else {
                    return Err(bad(format!("entry '{entry}' has no hash or size")));
                };
                if path.starts_with('/') || path.split('/').any(|c| c.is_empty() || c == "." || c == "..") {
                    return Err(bad(format!("entry '{path}' leaves its directory")));
                }
                release.entries.insert(path.to_owned(), IndexEntry { sha256, size });
                if release.entries.len() > MAX_ENTRIES {
                    return Err(bad(format!("more than {MAX_ENTRIES} entries")));
                }
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            in_sha256 = key == "SHA256";
            let date = |what: &str| parse_date(value).ok_or_else(|| bad(format!("{what} '{value}' is no date")));
            match key {
                "Suite" => value.clone_into(&mut release.suite),
                "Codename" => value.clone_into(&mut release.codename),
                "Date" => release.date = date("Date")?,
                "Valid-Until" => release.valid_until = Some(date("Valid-Until")?),
                "Acquire-By-Hash" => release.by_hash = value == "yes",
                _ => {}
            }
        }
        if release.date == i64::MIN {
            return Err(bad("it has no Date".to_owned()));
        }
        if release.entries.is_empty() {
            return Err(bad("it lists no SHA256 hashes".to_owned()));
        }
        Ok(release)
    }

    /// Refuses a Release file for another suite than the one asked for: a mirror must not pass off one
    /// signed suite as another.
    ///
    /// # Errors
    /// [`Kind::Signature`].
    pub fn check_name(&self, asked: &str, subject: &str) -> Result<()> {
        if asked == self.codename || asked == self.suite {
            return Ok(());
        }
        let cause = format!("it is signed as '{}' ('{}'), not '{asked}'", self.codename, self.suite);
        Err(Error::new(Kind::Signature, "verify", subject, cause, "use another mirror"))
    }

    /// Refuses a file past its `Valid-Until` (one without is good for ever) and one of the future.
    ///
    /// # Errors
    /// [`Kind::Expired`], naming both dates.
    pub fn check_valid(&self, now: i64, subject: &str) -> Result<()> {
        match self.valid_until {
            Some(until) if until < now => Err(Error::new(
                Kind::Expired,
                "verify",
                subject,
                format!("it was valid until {}, and now is {}", format_date(until), format_date(now)),
                "use a mirror that is kept up to date, or correct this machine's clock",
            )),
            _ if self.date > now.saturating_add(CLOCK_SKEW) => Err(Error::new(
                Kind::Expired,
                "verify",
                subject,
                format!("it is dated {}, and now is {}", format_date(self.date), format_date(now)),
                "correct this machine's clock",
            )),
            _ => Ok(()),
        }
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from 1970-01-01 to a civil date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Parses `Sat, 09 Aug 2025 09:16:30 UTC` (Debian wiki, RepositoryFormat: RFC 2822 date in UTC).
pub fn parse_date(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let _weekday = words.next()?.strip_suffix(',')?;
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|m| *m == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|p| p.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let zone = words.next()?;
    let valid = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && clock.next().is_none()
        && words.next().is_none()
        && matches!(zone, "UTC" | "GMT" | "Z" | "+0000");
    valid.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `2025-08-09 09:16:30 UTC`.
pub fn format_date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let doe = shifted.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Origin: Debian
Suite: oldoldstable
Codename: bullseye
Date: Sat, 09 Aug 2025 09:16:30 UTC
Acquire-By-Hash: yes
MD5Sum:
 00000000000000000000000000000000 1 main/Contents-amd64.gz
SHA256:
 0874a7f1a6a162c83080a32ac43263bde1288becef95ec0e76d1172a16b0d9f1 10324023 main/Contents-amd64.gz
";

    #[test]
    fn only_the_sha256_list_counts() {
        let release = Release::parse(TEXT, "t").unwrap();
        assert_eq!(release.date, 1_754_730_990);
        assert!(release.by_hash);
        assert_eq!(release.entries.len(), 1);
        assert_eq!(release.entries["main/Contents-amd64.gz"].size, 10_324_023);
    }

    #[test]
    fn a_frozen_suite_without_valid_until_never_expires() {
        assert!(Release::parse(TEXT, "t").unwrap().check_valid(i64::MAX, "t").is_ok());
    }

    #[test]
    fn an_expired_one_names_both_dates() {
        let text = TEXT.replace("Acquire", "Valid-Until: Sat, 16 Aug 2025 09:16:30 UTC\nAcquire");
        let release = Release::parse(&text, "t").unwrap();
        assert!(release.check_valid(1_755_335_790, "t").is_ok());
        let error = release.check_valid(1_755_335_791, "InRelease").unwrap_err();
        assert_eq!(error.kind(), Kind::Expired);
        assert_eq!(error.cause(), "it was valid until 2025-08-16 09:16:30 UTC, and now is 2025-08-16 09:16:31 UTC");
    }

    #[test]
    fn one_of_the_future_is_refused_beyond_the_skew_of_clocks() {
        let release = Release::parse(TEXT, "t").unwrap();
        assert!(release.check_valid(1_754_730_990 - CLOCK_SKEW, "t").is_ok());
        let error = release.check_valid(1_754_730_989 - CLOCK_SKEW, "t").unwrap_err();
        assert_eq!((error.kind(), error.remedy()), (Kind::Expired, "correct this machine's clock"));
    }

    #[test]
    fn one_suite_cannot_stand_for_another() {
        let release = Release::parse(TEXT, "t").unwrap();
        assert!(release.check_name("bullseye", "t").is_ok());
        assert!(release.check_name("oldoldstable", "t").is_ok());
        assert_eq!(release.check_name("trixie", "t").unwrap_err().kind(), Kind::Signature);
    }

    #[test]
    fn paths_that_leave_their_directory_are_refused() {
        let text = TEXT.replace(" main/Contents-amd64.gz", " ../Contents-amd64.gz");
        assert_eq!(Release::parse(&text, "t").unwrap_err().kind(), Kind::Malformed);
    }

    #[test]
    fn dates_survive_a_round_trip() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Thu, 29 Feb 2024 23:59:59 UTC", 1_709_251_199),
            ("Sun, 01 Mar 2026 00:00:00 GMT", 1_772_323_200),
        ] {
            assert_eq!(parse_date(text), Some(seconds));
        }
        assert_eq!(format_date(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(format_date(1_772_323_200), "2026-03-01 00:00:00 UTC");
        assert_eq!(parse_date("Sat, 09 Aug 2025 09:16 UTC"), None);
        assert_eq!(parse_date("Sat, 99999999999999999999 Aug 2025 09:16:30 UTC"), None);
        assert_eq!(parse_date("Sat, 09 Aug 2025 09:16:30 CET"), None);
    }
}
