//! A specification as it is written: which keys there are, what each must be, and how one is laid over another.

use super::{Bind, BindAccess, FhsSpec, ITEMS_MAX, Package, Unshare, is_plain, package, refused};
use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The keys of `[fhs]`.
const KEYS: &[&str] = &[
    "name",
    "include",
    "packages",
    "multiarch",
    "base",
    "include-closures",
    "extra-outputs",
    "links",
    "files",
    "hooks",
    "profile",
    "run",
    "etc",
    "binds",
    "unshare",
    "die-with-parent",
    "chdir-to-pwd",
    "private-tmp",
    "environment",
];

const HOOKS: &[&str] = &["build", "enter"];
const UNSHARE: &[&str] = &["user", "ipc", "pid", "net", "uts", "cgroup"];
const BIND: &[&str] = &["source", "path", "access", "optional"];

/// What one file says; what it leaves open is `None`.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) include: Vec<String>,
    name: Option<String>,
    packages: Vec<Package>,
    multiarch: Vec<String>,
    base: Option<bool>,
    include_closures: Option<bool>,
    extra_outputs: Vec<String>,
    links: BTreeMap<PathBuf, PathBuf>,
    files: BTreeMap<PathBuf, String>,
    build_hook: Option<String>,
    enter_hook: Option<String>,
    profile: Option<String>,
    run: Option<Vec<String>>,
    etc: Vec<PathBuf>,
    binds: Vec<Bind>,
    unshare: BTreeMap<String, bool>,
    die_with_parent: Option<bool>,
    chdir_to_pwd: Option<bool>,
    private_tmp: Option<bool>,
    environment: BTreeMap<String, String>,
}

/// A place in a file, for errors: `tools.toml: fhs.hooks`.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    path: &'a str,
}

impl At<'_> {
    fn refuse(&self, key: impl fmt::Display, cause: impl Into<String>) -> Error {
        refused(format_args!("{}: {}.{key}", self.file, self.path), cause)
    }

    /// Every key must be one of these.
    fn check(&self, table: &Table, known: &[&str]) -> Result<(), Error> {
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let near = store::near::nearest(key, known.iter().copied(), 1);
                let meant =
                    near.first().map_or_else(|| format!("the keys are {}", known.join(", ")), |near| format!("did you mean {near}?"));
                Err(self.refuse(key, format!("there is no such key; {meant}")))
            }
        }
    }

    fn flag(&self, table: &Table, key: &str) -> Result<Option<bool>, Error> {
        table.get(key).map(|v| v.as_bool().ok_or_else(|| self.refuse(key, "it must be true or false"))).transpose()
    }

    fn text(&self, table: &Table, key: &str) -> Result<Option<String>, Error> {
        table.get(key).map(|v| self.as_text(v, key)).transpose()
    }

    fn as_text(&self, value: &Value, key: impl fmt::Display) -> Result<String, Error> {
        match value.as_str() {
            Some(text) if !text.contains('\0') => Ok(text.to_owned()),
            Some(_) => Err(self.refuse(key, "it has a NUL byte")),
            None => Err(self.refuse(key, "it must be a text")),
        }
    }

    fn texts(&self, table: &Table, key: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = table.get(key) else { return Ok(None) };
        let list = self.as_list(value, key)?;
        list.iter().map(|item| self.as_text(item, key)).collect::<Result<_, _>>().map(Some)
    }

    fn as_list<'v>(&self, value: &'v Value, key: &str) -> Result<&'v [Value], Error> {
        match value.as_array() {
            Some(list) if list.len() <= ITEMS_MAX => Ok(list),
            Some(_) => Err(self.refuse(key, format!("it has more than {ITEMS_MAX} items"))),
            None => Err(self.refuse(key, "it must be a list of texts")),
        }
    }

    fn table<'v>(&self, table: &'v Table, key: &str) -> Result<Option<&'v Table>, Error> {
        let Some(value) = table.get(key) else { return Ok(None) };
        match value.as_table() {
            Some(inner) if inner.len() <= ITEMS_MAX => Ok(Some(inner)),
            Some(_) => Err(self.refuse(key, format!("it has more than {ITEMS_MAX} items"))),
            None => Err(self.refuse(key, "it must be a table")),
        }
    }

    fn pairs(&self, table: &Table, key: &str) -> Result<BTreeMap<String, String>, Error> {
        let pairs = self.table(table, key)?.into_iter().flatten();
        pairs.map(|(k, v)| Ok((k.clone(), self.as_text(v, format_args!("{key}.{k}"))?))).collect()
    }

    fn owned_path(&self, key: &str, path: &str) -> Result<PathBuf, Error> {
        let path = PathBuf::from(path);
        let inside = ["usr", "etc", "bin", "sbin", "lib", "lib32", "lib64"];
        let top = path.components().nth(1).map(|c| c.as_os_str().to_owned());
        if is_plain(&path) && path.components().count() > 2 && top.is_some_and(|top| inside.iter().any(|i| top == *i)) {
            return Ok(path);
        }
        Err(self.refuse(key, format!("{} is no path in /usr or /etc, which is all that is built; use binds", path.display())))
    }

    fn bind(&self, value: &Value) -> Result<Bind, Error> {
        let whole = |path: String| Bind { source: path.clone().into(), path: path.into(), access: BindAccess::ReadWrite, optional: false };
        let bind = match value {
            Value::String(_) => whole(self.as_text(value, "binds")?),
            Value::Table(table) => {
                let at = At { path: "fhs.binds", ..*self };
                at.check(table, BIND)?;
                let source = at.text(table, "source")?.ok_or_else(|| at.refuse("source", "it is missing"))?;
                let access = match at.text(table, "access")?.as_deref() {
                    None | Some("read-write") => BindAccess::ReadWrite,
                    Some("read-only") => BindAccess::ReadOnly,
                    Some("devices") => BindAccess::Devices,
                    Some(other) => return Err(at.refuse("access", format!("{other} is none of read-only, read-write, devices"))),
                };
                let optional = at.flag(table, "optional")?.unwrap_or(false);
                let path = at.text(table, "path")?;
                let same = whole(source);
                Bind { path: path.map_or(same.path.clone(), PathBuf::from), access, optional, ..same }
            }
            _ => return Err(self.refuse("binds", "each must be a path or a table with source and path")),
        };
        for path in [&bind.source, &bind.path] {
            if !is_plain(path) {
                return Err(self.refuse("binds", format!("{} is no absolute path without `..`", path.display())));
            }
        }
        if bind.path == Path::new("/") {
            return Err(self.refuse("binds", "nothing can be put in place of the root"));
        }
        Ok(bind)
    }
}

impl Written {
    /// Reads one file's text.
    pub(super) fn parse(text: &str, file: &str, directory: Option<&Path>) -> Result<Written, Error> {
        let whole: Table = toml::from_str(text).map_err(|e| {
            let line = text.bytes().take(e.span().map_or(0, |s| s.start)).filter(|b| *b == b'\n').count() + 1;
            refused(format_args!("{file}:{line}"), e.message().to_owned())
        })?;
        let top = At { file, path: "" };
        if let Some(key) = whole.keys().find(|key| *key != "fhs") {
            return Err(refused(file, format!("there is no table [{key}]; everything is in [fhs]")));
        }
        let Some(table) = top.table(&whole, "fhs")? else { return Err(refused(file, "it has no table [fhs]")) };
        let at = At { file, path: "fhs" };
        at.check(table, KEYS)?;
        let mut written = Written {
            include: at.texts(table, "include")?.unwrap_or_default(),
            name: at.text(table, "name")?,
            multiarch: at.texts(table, "multiarch")?.unwrap_or_default(),
            base: at.flag(table, "base")?,
            include_closures: at.flag(table, "include-closures")?,
            extra_outputs: at.texts(table, "extra-outputs")?.unwrap_or_default(),
            profile: at.text(table, "profile")?,
            die_with_parent: at.flag(table, "die-with-parent")?,
            chdir_to_pwd: at.flag(table, "chdir-to-pwd")?,
            private_tmp: at.flag(table, "private-tmp")?,
            environment: at.pairs(table, "environment")?,
            ..Written::default()
        };
        if let Some(name) = &written.name
            && !crate::fhs::registry::is_name(name)
        {
            return Err(at.refuse("name", format!("{name:?} is no name: letters, digits, and . _ - inside")));
        }
        for word in at.texts(table, "packages")?.unwrap_or_default() {
            written.packages.push(package(&word, directory)?);
        }
        for word in &written.multiarch {
            match package(word, None)? {
                Package::Archive { arch: None, .. } => {}
                _ => return Err(at.refuse("multiarch", format!("{word} is no plain name of an archive's package"))),
            }
        }
        for (path, target) in at.pairs(table, "links")? {
            if target.is_empty() {
                return Err(at.refuse("links", format!("{path} leads to nothing")));
            }
            written.links.insert(at.owned_path("links", &path)?, target.into());
        }
        for (path, content) in at.pairs(table, "files")? {
            written.files.insert(at.owned_path("files", &path)?, content);
        }
        if let Some(hooks) = at.table(table, "hooks")? {
            let at = At { file, path: "fhs.hooks" };
            at.check(hooks, HOOKS)?;
            written.build_hook = at.text(hooks, "build")?;
            written.enter_hook = at.text(hooks, "enter")?;
        }
        written.run = match table.get("run") {
            Some(Value::String(_)) => at.text(table, "run")?.map(|word| vec![word]),
            _ => at.texts(table, "run")?,
        };
        for name in at.texts(table, "etc")?.unwrap_or_default() {
            if !is_plain(&Path::new("/").join(&name)) || name.starts_with('/') || name.is_empty() {
                return Err(at.refuse("etc", format!("{name:?} is no name below /etc")));
            }
            written.etc.push(name.into());
        }
        for value in table.get("binds").map(|v| at.as_list(v, "binds")).transpose()?.unwrap_or_default() {
            written.binds.push(at.bind(value)?);
        }
        if let Some(unshare) = at.table(table, "unshare")? {
            let at = At { file, path: "fhs.unshare" };
            at.check(unshare, UNSHARE)?;
            for key in UNSHARE {
                if let Some(flag) = at.flag(unshare, key)? {
                    written.unshare.insert((*key).to_owned(), flag);
                }
            }
        }
        if let Some(bad) = written.environment.keys().find(|k| k.is_empty() || k.contains(['=', '\0'])) {
            return Err(at.refuse("environment", format!("{bad:?} is no variable's name")));
        }
        Ok(written)
    }

    /// Lays this one over one it includes: its words win, its lists come first, its scripts run after.
    pub(super) fn over(mut self, mut below: Written) -> Written {
        let then = |below: Option<String>, own: Option<String>| match (below, own) {
            (Some(below), Some(own)) => Some(format!("{below}\n{own}")),
            (below, own) => own.or(below),
        };
        self.name = self.name.or(below.name);
        self.packages.append(&mut below.packages);
        self.multiarch.append(&mut below.multiarch);
        self.base = self.base.or(below.base);
        self.include_closures = self.include_closures.or(below.include_closures);
        self.extra_outputs.append(&mut below.extra_outputs);
        below.links.append(&mut self.links);
        self.links = below.links;
        below.files.append(&mut self.files);
        self.files = below.files;
        self.build_hook = then(below.build_hook, self.build_hook);
        self.enter_hook = then(below.enter_hook, self.enter_hook);
        self.profile = then(below.profile, self.profile);
        self.run = self.run.or(below.run);
        self.etc.append(&mut below.etc);
        self.binds.append(&mut below.binds);
        below.unshare.append(&mut self.unshare);
        self.unshare = below.unshare;
        self.die_with_parent = self.die_with_parent.or(below.die_with_parent);
        self.chdir_to_pwd = self.chdir_to_pwd.or(below.chdir_to_pwd);
        self.private_tmp = self.private_tmp.or(below.private_tmp);
        below.environment.append(&mut self.environment);
        self.environment = below.environment;
        self
    }

    /// Fills in what nobody said.
    pub(super) fn finish(self, file: &Path) -> Result<FhsSpec, Error> {
        let default = FhsSpec::default();
        let total = self.packages.len() + self.multiarch.len() + self.links.len() + self.files.len() + self.binds.len();
        if total > ITEMS_MAX {
            return Err(refused(file.display(), format!("with what it includes it has more than {ITEMS_MAX} items")));
        }
        if let Some(both) = self.links.keys().find(|path| self.files.contains_key(*path)) {
            return Err(refused(file.display(), format!("{} is both a link and a file", both.display())));
        }
        let namespace = |name: &str| self.unshare.get(name).copied().unwrap_or(false);
        Ok(FhsSpec {
            name: self.name,
            packages: self.packages,
            multiarch: self.multiarch,
            base: self.base.unwrap_or(default.base),
            include_closures: self.include_closures.unwrap_or(default.include_closures),
            extra_outputs: self.extra_outputs,
            links: self.links,
            files: self.files,
            build_hook: self.build_hook,
            enter_hook: self.enter_hook,
            profile: self.profile,
            run: self.run.unwrap_or_default(),
            etc: self.etc,
            binds: self.binds,
            unshare: Unshare {
                user: namespace("user"),
                ipc: namespace("ipc"),
                pid: namespace("pid"),
                net: namespace("net"),
                uts: namespace("uts"),
                cgroup: namespace("cgroup"),
            },
            die_with_parent: self.die_with_parent.unwrap_or(default.die_with_parent),
            chdir_to_pwd: self.chdir_to_pwd.unwrap_or(default.chdir_to_pwd),
            private_tmp: self.private_tmp.unwrap_or(default.private_tmp),
            environment: self.environment,
        })
    }
}
