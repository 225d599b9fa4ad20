//! The predefined set: what programs for desktops and games expect of any Linux, as a specification that comes with
//! the program (`games.toml`).

use super::spec::{self, FhsSpec};
use crate::error::Error;

const TEXT: &str = include_str!("games.toml");

/// The specification.
///
/// # Errors
/// None, as a test reads it; the type is that of every other specification.
pub fn spec() -> Result<FhsSpec, Error> {
    spec::parse(TEXT, "the predefined set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_predefined_set_is_a_specification_that_names_nothing_twice() {
        let spec = spec().unwrap();
        let names: BTreeSet<&String> = spec.multiarch.iter().collect();
        assert_eq!(names.len(), spec.multiarch.len());
        assert!(spec.multiarch.iter().any(|name| name == "libgl1"), "32-bit programs draw, too");
        let twice: Vec<&spec::Package> =
            spec.packages.iter().filter(|p| matches!(p, spec::Package::Archive { name, .. } if names.contains(name))).collect();
        assert_eq!(twice, Vec::<&spec::Package>::new(), "a package of both architectures is one of this machine's");
        assert_eq!(spec.environment.get("GTK_IM_MODULE").map(String::as_str), Some("xim"));
    }
}
