//! Which file a command names: the search of `PATH`, links, and the `#!` line of a script.

use crate::error::{Error, Kind};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel reads no more than this of a script (`BINPRM_BUF_SIZE`, since Linux 5.1).
const SHEBANG_MAX: usize = 256;

/// The file to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The path that is given to `execve`, as the user's words or `PATH` lead to it.
    pub exec: PathBuf,
    /// The same with every link resolved.
    pub real: PathBuf,
    /// What the `#!` line says, if the file is a script.
    pub script: Option<Shebang>,
}

/// The first line of a script (execve(2), "Interpreter scripts").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// The rest of the line, one argument, as the kernel passes it.
    pub argument: Option<OsString>,
}

impl Program {
    /// Finds the program a word names: a path if it has a slash, else by `PATH`.
    ///
    /// # Errors
    /// `NotFound` if there is none, `CannotStart` if it is no executable regular file.
    pub fn find(word: &OsStr, search_path: Option<&OsStr>) -> Result<Program, Error> {
        let exec = if word.as_bytes().contains(&b'/') { PathBuf::from(word) } else { in_path(word, search_path)? };
        let fail = |kind, cause: &str, remedy: &str| Error::new(kind, "start", exec.display().to_string(), cause, remedy);
        let meta = match fs::metadata(&exec) {
            Ok(meta) => meta,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Err(fail(Kind::NotFound, "there is no such file", "check the path"));
            }
            Err(e) => return Err(fail(Kind::CannotStart, &e.to_string(), "check the permissions of the directories above it")),
        };
        if meta.is_dir() {
            return Err(fail(Kind::CannotStart, "it is a directory", "name a program inside it"));
        }
        if !meta.is_file() {
            return Err(fail(Kind::CannotStart, "it is no regular file", "name a program"));
        }
        if meta.permissions().mode() & 0o111 == 0 {
            return Err(fail(Kind::CannotStart, "it is not executable", "`chmod +x` it if you trust it"));
        }
        let real = fs::canonicalize(&exec).map_err(|e| Error::io("resolve", &exec, e, ""))?;
        Ok(Program { script: None, exec, real })
    }

    /// Reads the `#!` line, if there is one.
    ///
    /// # Errors
    /// `CannotStart` if the file cannot be read, or its `#!` line names no interpreter.
    pub fn read_shebang(&mut self) -> Result<(), Error> {
        let mut head = Vec::with_capacity(SHEBANG_MAX);
        let cannot = |cause: String, remedy: &str| Error::new(Kind::CannotStart, "read", self.exec.display().to_string(), cause, remedy);
        fs::File::open(&self.real)
            .and_then(|f| f.take(SHEBANG_MAX as u64).read_to_end(&mut head))
            .map_err(|e| cannot(e.to_string(), "xeno has to read a program to know what it needs"))?;
        if head.starts_with(b"#!") {
            let shebang = parse_shebang(&head)
                .ok_or_else(|| cannot("its `#!` line names no interpreter".to_owned(), "write one, or start its interpreter instead"))?;
            self.script = Some(shebang);
        }
        Ok(())
    }

    /// The file whose needs decide: the script's interpreter, or the program itself.
    pub fn binary(&self) -> &Path {
        self.script.as_ref().map_or(&self.real, |s| &s.interpreter)
    }
}

/// Parses the first line of a script as Linux does (`fs/binfmt_script.c`): blanks around both words
/// are dropped, and everything after the first word is one argument.
pub fn parse_shebang(head: &[u8]) -> Option<Shebang> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|b| matches!(b, b'\n' | 0)).next()?;
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = line.iter().position(|b| !blank(b))?;
    let end = line.iter().rposition(|b| !blank(b))? + 1;
    let line = line.get(start..end)?;
    let (word, rest) = match line.iter().position(blank) {
        Some(at) => line.split_at(at),
        None => (line, &[][..]),
    };
    let argument = rest.iter().position(|b| !blank(b)).and_then(|at| rest.get(at..)).map(|a| OsString::from_vec(a.to_vec()));
    Some(Shebang { interpreter: PathBuf::from(OsString::from_vec(word.to_vec())), argument })
}

fn in_path(word: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, Error> {
    let missing = |cause: &str| Error::new(Kind::NotFound, "start", word.display().to_string(), cause, "give its path");
    let path = search_path.filter(|p| !p.is_empty()).ok_or_else(|| missing("PATH is empty"))?;
    if word.is_empty() {
        return Err(missing("the name is empty"));
    }
    path.as_bytes()
        .split(|b| *b == b':')
        .map(|d| if d.is_empty() { PathBuf::from(".") } else { PathBuf::from(OsStr::from_bytes(d)) })
        .map(|d| d.join(word))
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| missing("no directory of PATH has it"))
}

/// A file of the same name as a missing interpreter, from `PATH`: `#!/nix/store/…/bin/bash` on a
/// machine whose bash lies elsewhere.
pub fn stand_in(interpreter: &Path, search_path: Option<&OsStr>) -> Option<PathBuf> {
    in_path(interpreter.file_name()?, search_path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shebang_is_split_as_the_kernel_splits_it() {
        let s = |t: &str| parse_shebang(t.as_bytes());
        let one = |i: &str, a: Option<&str>| Some(Shebang { interpreter: i.into(), argument: a.map(Into::into) });
        assert_eq!(s("#!/bin/sh\necho"), one("/bin/sh", None));
        assert_eq!(s("#! /usr/bin/env  -S node -x \t\n"), one("/usr/bin/env", Some("-S node -x")));
        assert_eq!(s("#!   \n"), None);
        assert_eq!(s("\x7fELF"), None);
    }
}
