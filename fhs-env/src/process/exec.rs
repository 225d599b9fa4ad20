//! The words of an exec, made ready beforehand: behind the filters nothing is computed any more.

use super::sys;
use crate::sandbox::Program;
use nix::errno::Errno;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;

/// Where a name is looked for if there is no `PATH` (`execvp(3)`).
const PATH: &[u8] = b"/bin:/usr/bin";
/// What runs a file that has no format the kernel knows (`execvp(3)`).
const SHELL: &[u8] = b"/bin/sh";

/// Strings, and pointers to them with a null pointer at the end.
pub(crate) struct Words {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Words {
    fn new(strings: Vec<CString>) -> Words {
        // A string's bytes stay where they are when the list of strings moves.
        let pointers = strings.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Words { strings, pointers }
    }
}

/// An exec to be.
pub(crate) struct Exec {
    files: Vec<CString>,
    arguments: Words,
    environment: Words,
}

fn word(bytes: &[u8]) -> nix::Result<CString> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

fn words(list: &[OsString]) -> nix::Result<Words> {
    Ok(Words::new(list.iter().map(|one| word(one.as_bytes())).collect::<nix::Result<_>>()?))
}

/// The value of a variable.
fn variable<'a>(environment: &'a [OsString], name: &[u8]) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| entry.as_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

/// Sets a variable.
pub(crate) fn set_variable(environment: &mut Vec<OsString>, name: &str, value: &OsStr) {
    let is = |entry: &OsString| entry.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    let mut entry = OsString::from(name);
    entry.push("=");
    entry.push(value);
    match environment.iter_mut().find(|entry| is(entry)) {
        Some(found) => *found = entry,
        None => environment.push(entry),
    }
}

/// The files to try, in order: the name itself if it has a slash, else one in each directory of `PATH`.
fn candidates(file: &OsStr, environment: &[OsString]) -> Vec<Vec<u8>> {
    let file = file.as_bytes();
    if file.contains(&b'/') {
        return vec![file.to_vec()];
    }
    let path = variable(environment, b"PATH").unwrap_or(PATH);
    let join = |directory: &[u8]| match directory {
        b"" => file.to_vec(),
        _ => [directory, b"/", file].concat(),
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

impl Exec {
    pub(crate) fn of(program: &Program) -> nix::Result<Exec> {
        let files = candidates(&program.file, &program.environment);
        Ok(Exec {
            files: files.iter().map(|file| word(file)).collect::<nix::Result<_>>()?,
            arguments: words(&program.arguments)?,
            environment: words(&program.environment)?,
        })
    }

    /// Takes the process over. Returns only with the reason why not: the first that is not just absence.
    pub(crate) fn run(&self) -> Errno {
        let mut refused = None;
        for file in &self.files {
            match sys::execve(file, &self.arguments.pointers, &self.environment.pointers) {
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
                Errno::EACCES => refused = Some(Errno::EACCES),
                Errno::ENOEXEC => return self.run_by_shell(file),
                errno => return errno,
            }
        }
        refused.unwrap_or(Errno::ENOENT)
    }

    fn run_by_shell(&self, file: &CString) -> Errno {
        let Ok(shell) = CString::new(SHELL) else { return Errno::ENOEXEC };
        let arguments = self.arguments.strings.iter().skip(1).cloned();
        let words = Words::new([shell.clone(), file.clone()].into_iter().chain(arguments).collect());
        match sys::execve(&shell, &words.pointers, &self.environment.pointers) {
            Errno::ENOENT => Errno::ENOEXEC,
            errno => errno,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(file: &str, environment: &[&str]) -> Vec<String> {
        let environment: Vec<OsString> = environment.iter().map(OsString::from).collect();
        candidates(OsStr::new(file), &environment).into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn a_name_is_looked_for_in_the_path_of_the_new_environment() {
        assert_eq!(tried("a", &["XPATH=/x", "PATH=/b::/c/"]), ["/b/a", "a", "/c//a"]);
        assert_eq!(tried("a", &[]), ["/bin/a", "/usr/bin/a"]);
        assert_eq!(tried("./a", &["PATH=/b"]), ["./a"]);
        assert_eq!(tried("/a", &["PATH=/b"]), ["/a"]);
    }

    #[test]
    fn a_variable_that_is_set_takes_the_place_of_the_old_one() {
        let mut environment: Vec<OsString> = ["PWDX=1", "PWD=/a", "Z="].map(OsString::from).into();
        set_variable(&mut environment, "PWD", OsStr::new("/b"));
        set_variable(&mut environment, "NEW", OsStr::new("1"));
        assert_eq!(environment, ["PWDX=1", "PWD=/b", "Z=", "NEW=1"]);
    }
}
