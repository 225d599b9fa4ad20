//! A directory of freshly built objects, what the resolver says of them, and what the installed
//! loader says.
#![allow(dead_code, reason = "each law file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use resolver::closure::{self, Backing, Environment, Search};
use resolver::files::Files;
use resolver::machine::{self, Interpreter};
use resolver::resolution::{Resolution, Rule};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of freshly built objects.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) environment: Vec<(&'static str, String)>,
    compiler: &'static str,
}

impl Lab {
    /// For glibc, or whatever libc the machine's own compiler uses.
    pub(crate) fn new() -> Lab {
        Lab::with("cc")
    }

    /// For the libc of a given compiler.
    pub(crate) fn with(compiler: &'static str) -> Lab {
        Lab { dir: tempfile::tempdir().unwrap(), environment: Vec::new(), compiler }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        let path = self.dir.path().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn cc(&self, output: &str, source: &str, arguments: &[String]) -> PathBuf {
        let (out, c) = (self.path(output), self.path("source.c"));
        fs::write(&c, source).unwrap();
        let result = Command::new(self.compiler).args(["-Wl,--no-as-needed", "-o"]).arg(&out).arg(&c).args(arguments).output().unwrap();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        out
    }

    /// A library `output` with a soname, needing others (paths below the lab).
    pub(crate) fn library(&self, output: &str, soname: &str, needed: &[&str], flags: &[&str]) -> PathBuf {
        let mut arguments = vec!["-shared".to_owned(), "-fPIC".to_owned()];
        if !soname.is_empty() {
            arguments.push(format!("-Wl,-soname,{soname}"));
        }
        self.link(output, "int here;", arguments, needed, flags)
    }

    /// A program needing libraries.
    pub(crate) fn program(&self, output: &str, needed: &[&str], flags: &[&str]) -> PathBuf {
        self.link(output, "int main(void){return 0;}", vec!["-Wl,--unresolved-symbols=ignore-all".to_owned()], needed, flags)
    }

    pub(crate) fn link(&self, output: &str, source: &str, mut arguments: Vec<String>, needed: &[&str], flags: &[&str]) -> PathBuf {
        arguments.extend(needed.iter().map(|n| self.dir.path().join(n).display().to_string()));
        arguments.extend(flags.iter().map(|f| f.replace("{dir}", &self.dir.path().display().to_string())));
        // The linker wants to see the libraries of libraries; where they are at run time is the test.
        arguments.push("-Wl,--allow-shlib-undefined".to_owned());
        self.cc(output, source, &arguments)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        let value = value.replace("{dir}", &self.dir.path().display().to_string());
        self.environment.push((name, value));
    }

    /// What the resolver says.
    pub(crate) fn resolve(&self, program: &Path) -> Resolution {
        let get = |name: &str| self.environment.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        let environment = Environment {
            library_path: get("LD_LIBRARY_PATH"),
            preload: get("LD_PRELOAD").map(|p| p.split(':').map(str::to_owned).collect()).unwrap_or_default(),
        };
        let files = Files::default();
        let needs = resolver::elf::load(program).unwrap();
        let Interpreter::Loader(system) = machine::interpreter_at(Path::new(needs.interpreter.as_deref().unwrap()), needs.arch) else {
            panic!("this machine's own loader was not understood");
        };
        closure::resolve(program, &Search { files: &files, environment: &environment, backing: Backing::Native(&system) }).unwrap()
    }

    /// What the loader says: name and path in load order, `not found` for a missing one.
    pub(crate) fn loader(&self, program: &Path) -> Vec<(String, String)> {
        let mut command = Command::new(program);
        command.env_clear().env("LD_TRACE_LOADED_OBJECTS", "1").current_dir(self.dir.path());
        let output = command.envs(self.environment.iter().map(|(n, v)| (*n, v.as_str()))).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|l| !l.contains("linux-vdso") && !l.contains("/ld-linux"))
            .map(|line| {
                let line = line.trim();
                let (name, rest) = line.split_once(" => ").unwrap_or((line.split(" (").next().unwrap(), line));
                (name.to_owned(), rest.split(" (0x").next().unwrap().trim().to_owned())
            })
            .collect()
    }

    /// Resolves and requires that the loader agrees on every name, path and position.
    pub(crate) fn agreed(&self, program: &Path) -> Resolution {
        let resolution = self.resolve(program);
        let real = |p: &str| fs::canonicalize(self.dir.path().join(p)).map_or(p.to_owned(), |p| p.display().to_string());
        let mut ours: Vec<String> = resolution.libraries.iter().map(|l| real(&l.path.display().to_string())).collect();
        let said = self.loader(program);
        let theirs: Vec<String> = said.iter().filter(|(_, p)| p != "not found").map(|(_, p)| real(p)).collect();
        ours.retain(|p| !p.contains("/ld-linux"));
        assert_eq!(ours, theirs, "paths in load order, resolver against loader");
        let mut missing: Vec<&str> = resolution.missing.iter().map(|m| m.name.as_str()).collect();
        let mut absent: Vec<&str> = said.iter().filter(|(_, p)| p == "not found").map(|(n, _)| n.as_str()).collect();
        missing.sort_unstable();
        absent.sort_unstable();
        absent.dedup();
        assert_eq!(missing, absent, "missing names, resolver against loader");
        resolution
    }
}

pub(crate) fn rule_of<'r>(resolution: &'r Resolution, name: &str) -> &'r Rule {
    &resolution.libraries.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("{name} is not in the closure")).rule
}

pub(crate) fn file_of(resolution: &Resolution, name: &str) -> String {
    let library = resolution.libraries.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("{name} is not in the closure"));
    let mut parts: Vec<_> = library.path.components().rev().take(2).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    parts.reverse();
    parts.join("/")
}

pub(crate) const OLD: &str = "-Wl,--disable-new-dtags";
pub(crate) const NEW: &str = "-Wl,--enable-new-dtags";
