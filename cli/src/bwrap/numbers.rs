//! Numbers as the words of `bwrap` spell them, which is how `strtol(3)` and its kin read them. What does not fit
//! is refused, where C would wrap around.

/// What `strtol(3)` passes over before a number.
fn unsigned_part(word: &[u8]) -> Option<(bool, &[u8])> {
    let blanks = word.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    match word.get(blanks..)? {
        [b'-', rest @ ..] => Some((true, rest)),
        [b'+', rest @ ..] => Some((false, rest)),
        rest => Some((false, rest)),
    }
}

fn digits(text: &[u8], base: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        sum.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// A descriptor or an id: 0 to 2147483647, in decimal.
pub(super) fn small(word: &[u8]) -> Option<i32> {
    let (negative, text) = unsigned_part(word)?;
    let value = i32::try_from(digits(text, 10)?).ok()?;
    (!negative || value == 0).then_some(value)
}

/// Mode bits: 0 to 07777, in octal.
pub(super) fn mode(word: &[u8]) -> Option<u32> {
    let (negative, text) = unsigned_part(word)?;
    let value = u32::try_from(digits(text, 8)?).ok()?;
    (value <= 0o7777 && (!negative || value == 0)).then_some(value)
}

/// A number of bytes above zero: decimal, octal after `0`, hexadecimal after `0x`; it begins with a digit.
pub(super) fn bytes(word: &[u8]) -> Option<u64> {
    let value = based(word)?;
    (value > 0).then_some(value)
}

/// A number in the base that its beginning says; it begins with a digit.
fn based(word: &[u8]) -> Option<u64> {
    match word {
        [b'0', b'x' | b'X', rest @ ..] => digits(rest, 16),
        [b'0'] => Some(0),
        [b'0', rest @ ..] => digits(rest, 8),
        _ => digits(word, 10),
    }
}

/// The number at the beginning of a word that begins with a digit, whatever follows.
pub(super) fn leading(word: &[u8]) -> Option<u64> {
    let (base, text) = match word {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', ..] => (8, word),
        _ => (10, word),
    };
    let end = text.iter().take_while(|byte| char::from(**byte).is_digit(base)).count();
    if end == 0 { Some(0) } else { digits(text.get(..end)?, base) }
}
