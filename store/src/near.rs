//! Which names were perhaps meant by one that is not there: for messages only, nothing is ever done with a guess.

/// A name is near if it takes at most one change for each so many letters.
const LETTERS_A_CHANGE: usize = 3;

/// The names nearest to `wanted`, nearest first, at most `count`: those of few changes, and those it is the beginning of.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    // The distance costs the product of the lengths.
    let wanted: String = wanted.chars().take(128).collect();
    let limit = (wanted.chars().count() / LETTERS_A_CHANGE).max(1);
    let mut near: Vec<(usize, &str)> = names
        .filter(|name| name.len() <= 256)
        .filter_map(|name| {
            let grown = wanted.len() > 2 && name.starts_with(&*wanted);
            if !grown && name.len().abs_diff(wanted.len()) > 4 * limit {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&wanted, name);
            (grown || distance <= limit).then_some((if grown { distance.min(limit) } else { distance }, name))
        })
        .collect();
    near.sort_by_key(|(distance, name)| (*distance, name.len(), *name));
    near.into_iter().take(count).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_near_and_other_words_are_not() {
        let names = ["bash", "dash", "libssl3", "libssl-dev", "zsh"];
        assert_eq!(nearest("bsah", names.into_iter(), 3), ["bash"]);
        assert_eq!(nearest("libssl", names.into_iter(), 3), ["libssl3", "libssl-dev"]);
        assert_eq!(nearest("quite-another", names.into_iter(), 3), [""; 0]);
        assert_eq!(nearest(&"x".repeat(1 << 20), names.into_iter(), 3), [""; 0]);
    }
}
