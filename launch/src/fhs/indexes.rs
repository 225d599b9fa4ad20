//! Indexes that programs read instead of many files, made by the packages' own tools inside the environment, as their
//! scripts would have done. Where a tool is missing or fails, that is told and the packages' files stay as they are; where
//! none could be started at all, nothing is kept that would lack its index for ever.

use super::inside::Inside;
use super::layout::Layout;
use crate::error::{Error, Kind};
use fhs_env::{Exit, Failed, Step};

/// One index.
struct Index {
    /// The directory whose files it is made of; without any, nothing is made.
    of: &'static str,
    /// How those files end.
    ending: &'static str,
    /// The file that is made; where a package has it already, it is a link to what cannot be changed.
    made: &'static str,
    /// Where the tool is: in the environment, below `usr`, or in a directory of libraries.
    tools: &'static [&'static str],
    /// Its arguments.
    arguments: &'static [&'static str],
}

const INDEXES: &[Index] = &[
    // glib-compile-schemas(1)
    Index {
        of: "usr/share/glib-2.0/schemas",
        ending: ".gschema.xml",
        made: "usr/share/glib-2.0/schemas/gschemas.compiled",
        tools: &["glib-2.0/glib-compile-schemas", "bin/glib-compile-schemas"],
        arguments: &["/usr/share/glib-2.0/schemas"],
    },
    // update-mime-database(1)
    Index {
        of: "usr/share/mime/packages",
        ending: ".xml",
        made: "usr/share/mime/mime.cache",
        tools: &["bin/update-mime-database"],
        arguments: &["/usr/share/mime"],
    },
    // gdk-pixbuf-query-loaders(1)
    Index {
        of: "gdk-pixbuf-2.0/2.10.0/loaders",
        ending: ".so",
        made: "gdk-pixbuf-2.0/2.10.0/loaders.cache",
        tools: &["gdk-pixbuf-2.0/gdk-pixbuf-query-loaders", "bin/gdk-pixbuf-query-loaders"],
        arguments: &["--update-cache"],
    },
];

/// A path below `usr`, or below any directory of libraries where it is relative to one.
fn places(layout: &Layout, path: &str) -> Vec<String> {
    if path.starts_with("usr/") {
        return vec![path.to_owned()];
    }
    let native = resolver::arch::Arch::host().and_then(|arch| arch.multiarch()).unwrap_or("");
    let all = [format!("usr/{path}"), format!("usr/lib/{native}/{path}"), format!("usr/lib64/{path}"), format!("usr/lib/{path}")];
    all.into_iter().filter(|place| layout.has(place)).collect()
}

/// Makes every index that the environment has files for; what is worth telling.
///
/// # Errors
/// The environment cannot be entered, which says nothing about its packages.
pub(super) fn make(layout: &Layout, inside: &Inside<'_>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for index in INDEXES {
        let Some(directory) = places(layout, index.of)
            .into_iter()
            .find(|directory| layout.below(directory).any(|(name, _)| name.to_string_lossy().ends_with(index.ending)))
        else {
            continue;
        };
        if !places(layout, index.made).iter().all(|made| !layout.has(made)) {
            continue;
        }
        let Some(tool) = index.tools.iter().flat_map(|tool| places(layout, tool)).next() else {
            notes.push(format!("/{directory} has no index: no package has the tool that makes it ({})", index.tools.join(" or ")));
            continue;
        };
        let program = format!("/{tool}");
        let mut words = vec![program.as_str()];
        words.extend(index.arguments);
        match inside.run(&words) {
            Ok(Exit::Code(0)) => {}
            Ok(exit) => notes.push(format!("/{directory} has no index: {program} ended with status {}", exit.status())),
            Err(error) if matches!(error.failed(), Failed::Step(Step::Exec(_))) => {
                notes.push(format!("/{directory} has no index: {error}"));
            }
            Err(error) => return Err(Error::new(Kind::CannotStart, "run", &program, error.to_string(), "")),
        }
    }
    Ok(notes)
}
