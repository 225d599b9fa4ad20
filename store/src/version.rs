//! Compares Debian versions as Debian policy 5.6.12 says; accepts any text and never fails.

use std::cmp::Ordering;

/// Orders two versions: epoch, upstream version, revision.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split(a);
    let (epoch_b, upstream_b, revision_b) = split(b);
    number(epoch_a, epoch_b).then_with(|| part(upstream_a, upstream_b)).then_with(|| part(revision_a, revision_b))
}

fn split(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    // An absent revision is the same as revision 0.
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

/// Alternates between a run of non-digits and a run of digits.
fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = run(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = run(b, |c| !c.is_ascii_digit());
        let (digits_a, rest_a) = run(rest_a, u8::is_ascii_digit);
        let (digits_b, rest_b) = run(rest_b, u8::is_ascii_digit);
        let order = text(text_a, text_b).then_with(|| number(digits_a, digits_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn run(bytes: &[u8], wanted: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|c| !wanted(c)).unwrap_or(bytes.len()))
}

/// A tilde sorts before the end, the end before letters, letters before everything else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

fn text(a: &[u8], b: &[u8]) -> Ordering {
    (0..a.len().max(b.len())).map(|i| weight(a.get(i)).cmp(&weight(b.get(i)))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// Numbers of any length.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let trim = |n: &[u8]| n.iter().position(|c| *c != b'0').map_or(n.len(), |at| at);
    let (a, b) = (a.get(trim(a)..).unwrap_or_default(), b.get(trim(b)..).unwrap_or_default());
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_policy_says() {
        // Debian policy 5.6.12: `~~`, `~~a`, `~`, the empty part, `a`.
        let rising = ["1~~", "1~~a", "1~", "1", "1a"];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        for (smaller, larger) in [
            ("1.9", "1.10"),
            ("2.36-9+deb12u9", "2.36-9+deb12u14"),
            ("9.9-1", "1:0.1-1"),
            ("1.0", "1.0+dfsg"),
            ("1.0a", "1.0+"),
            ("2.41~rc1-1", "2.41-1"),
            ("1.2.3-1", "1.2.3-1+b1"),
            ("1.2.3-1~deb13u1", "1.2.3-1"),
            ("1-1-1", "1-1-2"),
            ("99999999999999999999998", "99999999999999999999999"),
        ] {
            assert_eq!(compare(smaller, larger), Ordering::Less, "{smaller} < {larger}");
            assert_eq!(compare(larger, smaller), Ordering::Greater, "{larger} > {smaller}");
        }
        for (a, b) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.007", "1.7"), ("", "")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} = {b}");
        }
    }
}
