//! What the program in an AppImage is told, as the type 2 runtime tells it (`src/runtime/runtime.c`): its arguments and
//! its variables. Decides nothing about libraries; looks only whether the directories for portable use are there.

use nix::unistd::{AccessFlags, access};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The words for `AppRun`, the first of them its name for itself; `None` where they are a question to the runtime, such
/// as `--appimage-extract`, and the program is not meant at all.
pub(super) fn words(command: &[OsString]) -> Option<Vec<OsString>> {
    const UNPACK_AND_RUN: &str = "--appimage-extract-and-run";
    // The runtime looks at the first word with two dashes, wherever it stands.
    let option = command.iter().skip(1).find(|word| word.as_bytes().starts_with(b"--"));
    if option.is_some_and(|option| option.as_bytes().starts_with(b"--appimage-") && option != UNPACK_AND_RUN) {
        return None;
    }
    let asked = option.is_some_and(|option| option == UNPACK_AND_RUN);
    Some(
        command
            .iter()
            .enumerate()
            .filter(|(at, word)| *at == 0 || !asked || *word != UNPACK_AND_RUN)
            .map(|(_, word)| word.clone())
            .collect(),
    )
}

/// The variables for `AppRun`: `real` is the AppImage with every link resolved, `directory` its files, `argv0` its name
/// on the command line.
pub(super) fn variables(real: &Path, directory: &Path, argv0: &OsStr, cwd: Option<PathBuf>) -> Vec<(OsString, Option<OsString>)> {
    let beside = |suffix: &str| {
        let mut path = real.as_os_str().to_owned();
        path.push(suffix);
        Some(PathBuf::from(path)).filter(|path| path.is_dir() && access(path, AccessFlags::W_OK).is_ok()).map(OsString::from)
    };
    let set = [
        ("APPIMAGE", Some(real.as_os_str().to_owned())),
        ("APPDIR", Some(directory.as_os_str().to_owned())),
        ("ARGV0", Some(argv0.to_owned())),
        ("OWD", cwd.map(OsString::from)),
        ("HOME", beside(".home")),
        ("XDG_CONFIG_HOME", beside(".config")),
    ];
    set.into_iter().filter(|(_, value)| value.is_some()).map(|(name, value)| (name.into(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_question_to_the_runtime_is_not_for_the_program() {
        for question in ["--appimage-extract", "--appimage-help", "--appimage-offset", "--appimage-mount"] {
            assert_eq!(words(&os(&["./x", "file", question])), None, "{question}");
        }
        assert_eq!(words(&os(&["./x", "--verbose", "--appimage-help"])), Some(os(&["./x", "--verbose", "--appimage-help"])));
        assert_eq!(words(&os(&["--appimage-help"])), Some(os(&["--appimage-help"])), "that is its name");
    }

    #[test]
    fn the_wish_to_be_unpacked_is_granted_and_not_passed_on() {
        assert_eq!(words(&os(&["./x", "--appimage-extract-and-run", "a"])), Some(os(&["./x", "a"])));
    }

    #[test]
    fn home_and_configuration_lie_beside_the_file_where_it_has_such_directories() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("x");
        let names = || -> Vec<OsString> {
            variables(&image, Path::new("/d"), OsStr::new("./x"), Some("/c".into())).into_iter().map(|v| v.0).collect()
        };
        assert_eq!(names(), ["APPIMAGE", "APPDIR", "ARGV0", "OWD"]);
        fs::create_dir(dir.path().join("x.home")).unwrap();
        fs::write(dir.path().join("x.config"), "a file").unwrap();
        assert_eq!(names(), ["APPIMAGE", "APPDIR", "ARGV0", "OWD", "HOME"]);
    }
}
