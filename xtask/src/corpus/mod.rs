//! `cargo xtask corpus`: fetches real programs and runs them under xeno in a root that has no library,
//! as an unprivileged user, then prints and writes the pass table. Fails if any row fails.

pub(crate) mod bare;
pub(crate) mod fetch;
pub(crate) mod table;
mod verdict;
mod watch;

use crate::dist;
use anyhow::{Context, Result, bail};
use bare::Bare;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use table::{End, Row};
use verdict::{Report, Verdict};

/// The table of real programs.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let path = crate::root().join("tests/corpus.tsv");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    table::parse(&text).with_context(|| format!("parse {}", path.display()))
}

/// Where a row's program lies once it is fetched.
pub(crate) fn program(name: &str, cache: &Path) -> Result<PathBuf> {
    tree(name, cache).map(|(tree, path)| tree.join(path))
}

/// A row's tree, and its program below that.
pub(crate) fn tree(name: &str, cache: &Path) -> Result<(PathBuf, String)> {
    let row = rows()?.into_iter().find(|row| row.name == name).with_context(|| format!("no row is called {name}"))?;
    Ok((row.tree(cache), row.path))
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &["--ci", "--all", "--fetch-only", "--warm"], &["--dir", "--rows"])?;
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let rows = rows()?;
    let chosen = choose(&rows, crate::option(arguments, "--rows")?, has("--ci"))?;
    let cache = cache(arguments)?;

    let mut needed = chosen.clone();
    needed.extend(rows.iter().filter(|row| chosen.iter().any(|c| c.with.contains(&row.name))));
    fetch::fetch(&needed, &cache)?;
    if has("--fetch-only") {
        return Ok(());
    }
    let place = Place::new(&cache, dist::tried()?, has("--warm"))?;
    let mut verdicts = Vec::new();
    for row in chosen.iter().filter(|row| row.end != End::Support) {
        let verdict = place.run(row, &rows).with_context(|| format!("run {}", row.name))?;
        println!("{verdict}");
        verdicts.push(verdict);
    }
    let class = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.class.clone()).unwrap_or_default();
    let report = crate::target().join("corpus/report.md");
    fs::create_dir_all(crate::target().join("corpus")).context("create the report's directory")?;
    fs::write(&report, verdict::page(&verdicts, class)).with_context(|| format!("write {}", report.display()))?;
    let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed()).map(|v| v.name.as_str()).collect();
    println!("corpus: {} of {} pass; {}", verdicts.len() - failed.len(), verdicts.len(), report.display());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Where downloads are kept: `--dir`, else `$XENO_CORPUS`, else below the target directory.
pub(crate) fn cache(arguments: &[String]) -> Result<PathBuf> {
    let cache = match crate::option(arguments, "--dir")? {
        Some(directory) => PathBuf::from(directory),
        None => std::env::var_os("XENO_CORPUS").map_or_else(|| crate::target().join("corpus"), PathBuf::from),
    };
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    cache.canonicalize().with_context(|| format!("find {}", cache.display()))
}

fn choose<'a>(rows: &'a [Row], names: Option<&str>, ci: bool) -> Result<Vec<&'a Row>> {
    match names {
        Some(names) => names
            .split(',')
            .map(|name| rows.iter().find(|row| row.name == name).with_context(|| format!("no row is called {name}")))
            .collect(),
        None => Ok(rows.iter().filter(|row| row.run && (!ci || row.ci)).collect()),
    }
}

/// What all rows of one call share: busybox, xeno, a home that begins empty.
struct Place {
    cache: PathBuf,
    dist: PathBuf,
    busybox: PathBuf,
    applets: Vec<String>,
    home: PathBuf,
    mirrors: BTreeMap<String, String>,
}

impl Place {
    fn new(cache: &Path, dist: PathBuf, warm: bool) -> Result<Place> {
        let home = cache.join("home");
        if !warm && home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("empty {}", home.display()))?;
        }
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let (uid, gid) = bare::user();
        std::os::unix::fs::chown(&home, Some(uid), Some(gid)).context("give the home to its user")?;
        let busybox = bare::busybox(cache)?;
        Ok(Place { cache: cache.to_owned(), dist, applets: bare::applets(&busybox)?, busybox, home, mirrors: bare::mirrors() })
    }

    fn run(&self, row: &Row, rows: &[Row]) -> Result<Verdict> {
        let work = tempfile::Builder::new().prefix("xeno-row-").tempdir().context("make a directory for the row")?;
        let root = work.path().join("root");
        fs::create_dir(&root).context("make the root's directory")?;
        // A library is tried as its users have it: installed into the tree of the program that opens it.
        let others: Vec<&Row> = row.with.iter().filter_map(|name| rows.iter().find(|r| &r.name == name)).collect();
        let started = others.first().copied().unwrap_or(row);
        let program = Path::new("/app").join(&started.path);
        let mut binds = vec![
            (self.home.clone(), PathBuf::from("/home/user")),
            (self.dist.clone(), PathBuf::from("/opt/xeno")),
            (started.tree(&self.cache), PathBuf::from("/app")),
        ];
        let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/app"));
        let modules: Vec<&Row> = others.iter().copied().skip(1).chain((!others.is_empty()).then_some(row)).collect();
        let module = |row: &Row| prefix.join("lib/modules").join(&row.name);
        binds.extend(modules.iter().map(|row| (row.tree(&self.cache), module(row))));
        let report = self.home.join("report.json");
        if report.exists() {
            fs::remove_file(&report).context("remove the last report")?;
        }
        let mut environment = self.mirrors.clone();
        let set = [("HOME", "/home/user"), ("USER", "user"), ("PATH", "/bin:/usr/bin"), ("XENO_REPORT", "/home/user/report.json")];
        environment.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !modules.is_empty() {
            let paths: Vec<String> = modules.iter().map(|row| module(row).display().to_string()).collect();
            environment.insert("PYTHONPATH".to_owned(), paths.join(":"));
        }
        let mut words = ["/opt/xeno/xeno", "run", "--"].map(str::to_owned).to_vec();
        words.push(program.display().to_string());
        words.extend(row.arguments.iter().map(|a| a.replace("{dir}", "/app").replace("{tmp}", "/tmp/work")));
        let (uid, gid) = bare::user();
        let spec =
            Bare { root, busybox: self.busybox.clone(), applets: self.applets.clone(), binds, uid, gid, arguments: words, environment };
        let seen = watch::watch(&spec, &program, row.end == End::Alive, work.path())?;
        let report = Report::parse(&fs::read_to_string(&report).unwrap_or_default());
        Ok(verdict::judge(row, &program, &seen, &report, &spec.binds))
    }
}
