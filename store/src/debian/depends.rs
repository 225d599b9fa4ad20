//! Dependency fields (Debian policy 7.1): text to clauses, and whether a version satisfies one. It looks nothing up.

use crate::version;
use std::cmp::Ordering;
use std::fmt;

/// Alternatives of which one is enough, the preferred first.
pub(super) type Clause = Vec<Alternative>;

/// One package that would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) name: String,
    /// What follows a colon: an architecture, or `any`.
    pub(super) qualifier: Option<String>,
    pub(super) version: Option<(Relation, String)>,
}

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Earlier,
    EarlierOrEqual,
    Exactly,
    LaterOrEqual,
    Later,
}

impl Relation {
    fn parse(text: &str) -> Option<Relation> {
        // `<` and `>` mean what `<=` and `>=` do; they are obsolete, not gone.
        Some(match text {
            "<<" => Relation::Earlier,
            "<=" | "<" => Relation::EarlierOrEqual,
            "=" => Relation::Exactly,
            ">=" | ">" => Relation::LaterOrEqual,
            ">>" => Relation::Later,
            _ => return None,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Relation::Earlier => "<<",
            Relation::EarlierOrEqual => "<=",
            Relation::Exactly => "=",
            Relation::LaterOrEqual => ">=",
            Relation::Later => ">>",
        }
    }
}

impl Alternative {
    fn parse(text: &str) -> Option<Alternative> {
        let text = text.trim();
        let (head, rest) = text.find([' ', '(', '[', '<']).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
        let (name, qualifier) = head.split_once(':').map_or((head, None), |(name, q)| (name, Some(q.to_owned())));
        if name.is_empty() {
            return None;
        }
        let version = match rest.trim_start().strip_prefix('(') {
            Some(inside) => {
                let inside = inside.split_once(')')?.0.trim();
                let (relation, version) = inside.split_at_checked(inside.find(|c| !matches!(c, '<' | '=' | '>'))?)?;
                Some((Relation::parse(relation)?, version.trim().to_owned()))
            }
            None => None,
        };
        Some(Alternative { name: name.to_owned(), qualifier, version })
    }

    /// Whether a version will do.
    pub(super) fn accepts(&self, found: &str) -> bool {
        let Some((relation, wanted)) = &self.version else { return true };
        let order = version::compare(found, wanted);
        match relation {
            Relation::Earlier => order == Ordering::Less,
            Relation::EarlierOrEqual => order != Ordering::Greater,
            Relation::Exactly => order == Ordering::Equal,
            Relation::LaterOrEqual => order != Ordering::Less,
            Relation::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.version {
            Some((relation, version)) => write!(f, " ({} {version})", relation.text()),
            None => Ok(()),
        }
    }
}

/// Parses a field; the text of an item that cannot be understood is the error.
pub(super) fn parse(field: &str) -> Result<Vec<Clause>, String> {
    let items = field.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let clause: Option<Clause> = item.split('|').map(Alternative::parse).collect();
            clause.filter(|clause| !clause.is_empty()).ok_or_else(|| item.to_owned())
        })
        .collect()
}

/// A clause as it was written.
pub(super) fn shown(clause: &Clause) -> String {
    clause.iter().map(Alternative::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_clauses_of_alternatives() {
        let clauses = parse("libc6 (>= 2.36), perl:any, debconf (>= 0.5) | debconf-2.0 , x(<<1)").unwrap();
        let texts: Vec<String> = clauses.iter().map(shown).collect();
        assert_eq!(texts, ["libc6 (>= 2.36)", "perl:any", "debconf (>= 0.5) | debconf-2.0", "x (<< 1)"]);
        assert_eq!(parse(""), Ok(Vec::new()));
        for bad in ["a (2.0)", "a (>= 1", "|", "(>= 1)", "a | "] {
            assert_eq!(parse(bad), Err(bad.trim().to_owned()), "{bad}");
        }
    }

    #[test]
    fn versions_compare_as_policy_says() {
        let accepts = |clause: &str, version: &str| parse(clause).unwrap()[0][0].accepts(version);
        for (clause, version, expected) in [
            ("a (>= 2.36)", "2.36-9", true),
            ("a (>= 2.36)", "2.36~rc1", false),
            ("a (<< 3)", "3", false),
            ("a (= 1:2-3)", "1:2-3", true),
            ("a (<= 1)", "1~", true),
            ("a (>> 1)", "1", false),
            ("a", "0", true),
        ] {
            assert_eq!(accepts(clause, version), expected, "{clause} {version}");
        }
    }
}
