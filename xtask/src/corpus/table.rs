//! `tests/corpus.tsv`: real programs, pinned. Parses the rows; knows nothing of any one of them.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Registry {
    Npm,
    Pypi,
    /// A comma list of packages unpacked into one tree; the version is whatever the suite has.
    Apt,
}

impl Registry {
    /// As the table writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Registry::Npm => "npm",
            Registry::Pypi => "pypi",
            Registry::Apt => "apt",
        }
    }
}

/// How a row has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this exit status.
    Status(i32),
    /// It still runs five seconds after its start.
    Alive,
    /// It is no program: other rows name it in their `with` column.
    Support,
}

/// What the patch corpus does with a row's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patched {
    /// Starts it before and after.
    Started,
    /// Opens it with dlopen(3) before and after.
    Opened,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(super) registry: Registry,
    pub(super) package: String,
    pub(super) version: String,
    /// Below the package's tree.
    pub(crate) path: String,
    /// `64`, `32`, `musl` or `static`.
    pub(super) class: String,
    /// It is run in the bare root.
    pub(super) run: bool,
    /// It is patched.
    pub(crate) patched: Option<Patched>,
    /// Names of rows: the first is the program that is started, with the trees of this row and of the rest
    /// installed in its own and on its module path (`PYTHONPATH`).
    pub(super) with: Vec<String>,
    /// Small enough for CI.
    pub(crate) ci: bool,
    pub(crate) end: End,
    /// Text that standard output or error must contain.
    pub(crate) expect: Option<String>,
    /// `{dir}` is the package's tree, `{tmp}` an empty directory.
    pub(crate) arguments: Vec<String>,
}

impl Row {
    /// The package's tree below the cache directory.
    pub(crate) fn tree(&self, cache: &Path) -> PathBuf {
        cache.join(self.registry.name()).join(format!("{}@{}", self.package.replace('/', "+"), self.version))
    }
}

const HEADER: &str = "name\tregistry\tpackage\tversion\tpath\tclass\tuse\twith\tci\trc\texpect\targs";

/// Parses the table.
pub(super) fn parse(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        bail!("the first line is not the header");
    }
    let rows = lines.enumerate().map(|(at, line)| row(line).with_context(|| format!("line {}", at + 2))).collect::<Result<Vec<_>>>()?;
    for row in &rows {
        for other in &row.with {
            if !rows.iter().any(|r| &r.name == other) {
                bail!("row {} names no row: {other}", row.name);
            }
        }
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, registry, package, version, path, class, uses, with, ci, end, expect, arguments] = fields[..] else {
        bail!("{} columns instead of 12", fields.len());
    };
    let some = |text: &str| (text != "-").then(|| text.to_owned());
    Ok(Row {
        name: name.to_owned(),
        registry: match registry {
            "npm" => Registry::Npm,
            "pypi" => Registry::Pypi,
            "apt" => Registry::Apt,
            other => bail!("unknown registry {other}"),
        },
        package: package.to_owned(),
        version: version.to_owned(),
        path: path.to_owned(),
        class: class.to_owned(),
        run: uses.split(',').any(|word| word == "run"),
        patched: patched(uses)?,
        with: some(with).map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        ci: ci == "ci",
        end: match end {
            "alive" => End::Alive,
            "-" => End::Support,
            status => End::Status(status.parse().with_context(|| format!("exit status {status}"))?),
        },
        expect: some(expect),
        arguments: some(arguments).map(|text| words(&text)).transpose()?.unwrap_or_default(),
    })
}

/// The column `use`: `run`, `patch` or `dlopen`, joined by commas; `-` for a row that others need.
fn patched(uses: &str) -> Result<Option<Patched>> {
    let mut found = None;
    for word in uses.split(',') {
        match word {
            "run" | "-" => {}
            "patch" => found = Some(Patched::Started),
            "dlopen" => found = Some(Patched::Opened),
            other => bail!("unknown use {other}"),
        }
    }
    Ok(found)
}

/// Splits at spaces; single quotes keep what they hold, as in a shell.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed: {text}");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_to_start_and_how_it_ends() {
        let text = format!("{HEADER}\nx\tnpm\t@a/b\t1.0\tbin/x\t64\trun,patch\t-\tci\t0\tok\t-e 'a b' ''\n");
        let rows = parse(&text).unwrap();
        assert_eq!(rows[0].arguments, ["-e", "a b", ""]);
        assert_eq!((rows[0].run, rows[0].patched), (true, Some(Patched::Started)));
        assert_eq!(rows[0].tree(Path::new("/c")), Path::new("/c/npm/@a+b@1.0"));
        assert_eq!((rows[0].end, rows[0].ci, rows[0].expect.as_deref()), (End::Status(0), true, Some("ok")));
    }

    #[test]
    fn a_damaged_row_is_named_by_its_line() {
        let text = format!("{HEADER}\nx\tnpm\n");
        assert_eq!(format!("{:#}", parse(&text).unwrap_err()), "line 2: 2 columns instead of 12");
    }

    #[test]
    fn the_committed_table_has_twenty_programs_for_ci() {
        let rows = parse(include_str!("../../../tests/corpus.tsv")).unwrap();
        assert!(rows.iter().filter(|r| r.ci && r.run).count() >= 20);
    }
}
