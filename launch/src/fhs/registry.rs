//! Environments by name: what each was made from, and where its farm is. A record is one file; it is there or not.

use super::Environment;
use super::farm;
use super::spec::FhsSpec;
use crate::error::{Error, Kind};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use store::cache::Cache;

/// The kind of cache entry.
const KIND: &str = "environment";
/// The version of the record's format.
const FORMAT: u32 = 1;
/// The largest record that is read (bytes).
const RECORD_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    farm: String,
    spec: FhsSpec,
    packages: Vec<String>,
    stores: Vec<PathBuf>,
}

/// Whether an environment can be called so: letters, digits, `.`, `_` and `-`, no sign at the beginning, at most 64.
pub fn is_name(name: &str) -> bool {
    let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    name.len() <= 64 && name.bytes().all(fine) && name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
}

fn file(name: &str) -> Result<String, Error> {
    if is_name(name) {
        return Ok(format!("{name}.json"));
    }
    let cause = "no environment can be called so: letters, digits, and . _ - inside, at most 64";
    Err(Error::new(Kind::Own, "use environment", name, cause, "choose another name"))
}

/// Whether an environment can be called so, with the reason.
pub(super) fn check(name: &str) -> Result<(), Error> {
    file(name).map(drop)
}

fn key_of(environment: &Environment) -> String {
    environment.root.file_name().map(|key| key.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes an environment down under its name, in place of another.
///
/// # Errors
/// When it cannot be written.
pub(super) fn save(cache: &Cache, environment: &Environment) -> Result<(), Error> {
    let record = Record {
        format: FORMAT,
        farm: key_of(environment),
        spec: environment.spec.clone(),
        packages: environment.packages.clone(),
        stores: environment.stores.clone(),
    };
    let text = serde_json::to_vec(&record).map_err(|e| Error::own("write environment", &environment.name, e))?;
    cache.replace(KIND, &file(&environment.name)?, &text, 0o644)?;
    Ok(())
}

/// Finds an environment.
///
/// # Errors
/// There is none of this name, or its farm is gone.
pub fn find(cache: &Cache, name: &str) -> Result<Environment, Error> {
    let path = cache.path(KIND, &file(name)?);
    let again = "build it again with `xeno env build`";
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() <= RECORD_MAX => {}
        Ok(_) => return Err(Error::new(Kind::Own, "use environment", name, "its record is damaged", again)),
        Err(_) => {
            let all = names(cache);
            let near = store::near::nearest(name, all.iter().map(String::as_str), 1);
            let cause = near.first().map_or_else(|| "there is none".to_owned(), |near| format!("there is none; did you mean {near}?"));
            return Err(Error::new(
                Kind::NotFound,
                "use environment",
                name,
                cause,
                "`xeno env list` shows all, `xeno env build` makes one",
            ));
        }
    }
    let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e, again))?;
    let record: Record = serde_json::from_slice(&bytes)
        .ok()
        .filter(|r: &Record| r.format == FORMAT)
        .ok_or_else(|| Error::new(Kind::Own, "use environment", name, "its record is damaged, or of another version of xeno", again))?;
    let plain = record.farm.len() == 40 && record.farm.bytes().all(|c| c.is_ascii_hexdigit());
    let root = cache.path(farm::KIND, &record.farm);
    if !plain || !root.join("usr").is_dir() {
        return Err(Error::new(Kind::Own, "use environment", name, "its directory in the store is gone", again));
    }
    Ok(Environment { name: name.to_owned(), root, spec: record.spec, packages: record.packages, stores: record.stores })
}

/// The names of all environments, sorted.
pub fn names(cache: &Cache) -> Vec<String> {
    cache.names(KIND).iter().filter_map(|file| file.strip_suffix(".json")).filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// Forgets an environment, and removes its farm if no other uses it. Programs that run in it lose their files.
///
/// # Errors
/// There is none of this name, or it cannot be removed.
pub fn remove(cache: &Cache, name: &str) -> Result<(), Error> {
    let record = file(name)?;
    let farm = match find(cache, name) {
        Ok(environment) => Some(key_of(&environment)),
        Err(error) if error.kind() == Kind::NotFound => return Err(error),
        // Of a damaged record nothing but the name is left to remove.
        Err(_) => None,
    };
    cache.forget(KIND, &record);
    let Some(farm) = farm else { return Ok(()) };
    let used = names(cache).iter().any(|other| find(cache, other).is_ok_and(|e| key_of(&e) == farm));
    if !used {
        cache.forget_tree(farm::KIND, &farm)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(cache: &Cache, name: &str, key: &str) -> Environment {
        let root = cache.path(farm::KIND, key);
        fs::create_dir_all(root.join("usr")).unwrap();
        let spec = FhsSpec { profile: Some("A=1".to_owned()), ..FhsSpec::default() };
        Environment { name: name.to_owned(), root, spec, packages: vec!["bash 5 amd64".to_owned()], stores: vec!["/s".into()] }
    }

    #[test]
    fn an_environment_is_found_as_it_was_saved_and_its_farm_goes_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let key = "ab".repeat(20);
        let (one, two) = (environment(&cache, "one", &key), environment(&cache, "two", &key));
        save(&cache, &one).unwrap();
        save(&cache, &two).unwrap();
        assert_eq!(find(&cache, "one").unwrap(), one);
        assert_eq!(names(&cache), ["one", "two"]);
        remove(&cache, "one").unwrap();
        assert!(two.root.exists());
        remove(&cache, "two").unwrap();
        assert!(!two.root.exists());
        assert_eq!(remove(&cache, "two").unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn what_cannot_be_used_says_why_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let key = "cd".repeat(20);
        save(&cache, &environment(&cache, "tools", &key)).unwrap();
        assert_eq!(
            find(&cache, "tolls").unwrap_err().to_string(),
            "use environment tolls: there is none; did you mean tools?; `xeno env list` shows all, `xeno env build` makes one"
        );
        for name in ["", "../x", "-x", "a/b", &"x".repeat(65)] {
            assert!(find(&cache, name).unwrap_err().to_string().contains("no environment can be called so"), "{name}");
        }
        fs::remove_dir_all(cache.path(farm::KIND, &key)).unwrap();
        assert!(find(&cache, "tools").unwrap_err().to_string().contains("its directory in the store is gone"));
        cache.replace(KIND, "tools.json", b"{}", 0o644).unwrap();
        assert!(find(&cache, "tools").unwrap_err().to_string().contains("damaged"));
        remove(&cache, "tools").unwrap();
        assert_eq!(names(&cache), [""; 0]);
    }
}
