//! Which file a command names: the search of `PATH`, links, and the `#!` line of a script.

use crate::error::{Error, Kind};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel reads no more than this of a script (`BINPRM_BUF_SIZE`, since Linux 5.1).
const SHEBANG_MAX: usize = 256;

/// How many interpreters are followed (`BINPRM_MAX_RECURSION` allows four rewrites).
const INTERPRETERS_MAX: usize = 4;

/// The file to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The path that is given to `execve`, as the user's words or `PATH` lead to it.
    pub exec: PathBuf,
    /// The same with every link resolved.
    pub real: PathBuf,
    /// What the `#!` line says, if the file is a script.
    pub script: Option<Shebang>,
    /// The file whose needs decide: the last interpreter of a script, what `env` will start for it, or
    /// the program itself; links resolved.
    pub binary: PathBuf,
    /// An interpreter that does not exist, and the file of the same name that `PATH` has.
    pub stand_in: Option<(PathBuf, PathBuf)>,
    /// An interpreter that does not exist, and `PATH` has no file of its name either.
    pub lost: Option<PathBuf>,
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
        Ok(Program::at(exec, real))
    }

    /// A file that was found already.
    pub fn at(exec: PathBuf, real: PathBuf) -> Program {
        Program { binary: real.clone(), exec, real, script: None, stand_in: None, lost: None }
    }

    /// Reads the `#!` line, if there is one, and follows it to the program that will run: through
    /// scripts whose interpreter is a script, through `env`, and from an interpreter that does not
    /// exist to a file of the same name in `PATH`.
    ///
    /// # Errors
    /// `CannotStart` if a file cannot be read, a `#!` line names no interpreter, nothing of its name is
    /// to be had, or there are more than the kernel follows (`ELOOP`).
    pub fn read_shebang(&mut self, search_path: Option<&OsStr>) -> Result<(), Error> {
        let subject = self.exec.display().to_string();
        let cannot = |cause: String, remedy: &str| Error::new(Kind::CannotStart, "start", subject.clone(), cause, remedy);
        let mut current = self.real.clone();
        for _ in 0..=INTERPRETERS_MAX {
            let mut head = Vec::with_capacity(SHEBANG_MAX);
            fs::File::open(&current).and_then(|f| f.take(SHEBANG_MAX as u64).read_to_end(&mut head)).map_err(|e| {
                cannot(format!("{} cannot be read: {e}", current.display()), "xeno has to read a program to know what it needs")
            })?;
            if !head.starts_with(b"#!") {
                self.binary = fs::canonicalize(&current).unwrap_or(current);
                return Ok(());
            }
            let shebang = parse_shebang(&head)
                .ok_or_else(|| cannot("its `#!` line names no interpreter".to_owned(), "write one, or start its interpreter instead"))?;
            current = shebang.interpreter.clone();
            if !current.exists() {
                let Some(found) = stand_in(&current, search_path) else {
                    let cause =
                        format!("its interpreter {} does not exist, and no directory of PATH has one of that name", current.display());
                    self.script.get_or_insert(shebang);
                    self.lost = Some(current);
                    return Err(cannot(cause, "install it"));
                };
                self.stand_in.get_or_insert((current, found.clone()));
                current = found;
            }
            // env(1) starts what its line names, and that is the program to judge.
            if current.file_name() == Some(OsStr::new("env"))
                && let Some(found) = env_word(shebang.argument.as_deref()).and_then(|word| in_path(&word, search_path).ok())
            {
                current = found;
            }
            self.script.get_or_insert(shebang);
        }
        Err(cannot("its interpreter is a script whose interpreter is a script, and so on".to_owned(), "start the last interpreter instead"))
    }
}

/// The command in env's one argument: the first word that is neither an option nor an assignment.
fn env_word(argument: Option<&OsStr>) -> Option<OsString> {
    let text = argument?.to_str()?;
    let word = |w: &&str| !w.starts_with('-') && !w.contains('=');
    let text = text.strip_prefix("-S").unwrap_or(text);
    text.split_ascii_whitespace().find(word).map(OsString::from)
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
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file()) && faccessat(AT_FDCWD, p, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok())
        .ok_or_else(|| missing("no directory of PATH has it"))
}

/// A file of the same name as a missing interpreter, from `PATH`: `#!/nix/store/…/bin/bash` on a
/// machine whose bash lies elsewhere.
fn stand_in(interpreter: &Path, search_path: Option<&OsStr>) -> Option<PathBuf> {
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

    #[test]
    fn env_starts_its_first_word_that_is_no_option() {
        let word = |t: &str| env_word(Some(OsStr::new(t)));
        assert_eq!(word("node"), Some("node".into()));
        assert_eq!(word("-S FOO=1 node --flag"), Some("node".into()));
        assert_eq!(word("-i"), None);
        assert_eq!(env_word(None), None);
    }

    #[test]
    fn scripts_are_followed_to_the_last_interpreter_and_no_further_than_the_kernel_goes() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, line: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!{line}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let inner = script("inner", "/bin/sh");
        let outer = script("outer", inner.to_str().unwrap());
        let mut program = Program::find(outer.as_os_str(), None).unwrap();
        program.read_shebang(None).unwrap();
        assert_eq!(program.binary, fs::canonicalize("/bin/sh").unwrap());
        assert_eq!(program.script.unwrap().interpreter, inner);
        let endless = dir.path().join("endless");
        script("endless", endless.to_str().unwrap());
        let mut program = Program::find(endless.as_os_str(), None).unwrap();
        assert_eq!(program.read_shebang(None).unwrap_err().kind(), Kind::CannotStart);
    }

    #[test]
    fn an_interpreter_that_is_nowhere_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        fs::write(&path, "#!/usr/bin/no-such-interpreter -x\n").unwrap();
        let mut program = Program::at(path.clone(), path.clone());
        assert_eq!(program.read_shebang(Some(OsStr::new("/bin"))).unwrap_err().kind(), Kind::CannotStart);
        assert_eq!((program.lost, program.stand_in, program.binary), (Some("/usr/bin/no-such-interpreter".into()), None, path));
    }

    #[test]
    fn a_missing_interpreter_has_a_stand_in_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        fs::write(&path, "#!/no-such-place/bin/sh\n").unwrap();
        let mut program = Program::at(path.clone(), path);
        program.read_shebang(Some(OsStr::new("/bin"))).unwrap();
        assert_eq!(program.stand_in, Some(("/no-such-place/bin/sh".into(), "/bin/sh".into())));
    }
}
