//! Which program in an AppImage's directory decides about libraries: `AppRun` itself, or, where that is a script or a
//! static launcher, the program that its desktop file names. Reads those files only, and follows nothing that leads out.

use crate::program::Program;
use resolver::elf;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest desktop file that is read, bytes.
const DESKTOP_MAX: u64 = 1 << 20;

/// Makes the program that `AppRun` will start the one whose needs decide, where `AppRun` has none of its own.
pub(super) fn judge(directory: &Path, program: &mut Program, search_path: Option<&OsStr>) {
    let Ok(directory) = fs::canonicalize(directory) else { return };
    let own = program.binary.starts_with(&directory);
    if own && elf::load(&program.binary).is_ok_and(|needs| !needs.kind.is_static()) {
        return;
    }
    if let Some(inner) = named(&directory, search_path) {
        log::debug!("{} starts {}", program.exec.display(), inner.display());
        program.binary = inner;
    }
}

/// The ELF file of the directory, whose links are resolved, that its desktop file names in `Exec` (Desktop Entry Specification, "Recognized desktop
/// entry keys"), looked for where launchers do.
fn named(directory: &Path, search_path: Option<&OsStr>) -> Option<PathBuf> {
    let mut desktops: Vec<PathBuf> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    desktops.retain(|path| path.extension() == Some(OsStr::new("desktop")));
    desktops.sort();
    desktops.iter().filter_map(|desktop| command(&text(desktop)?)).find_map(|command| {
        let name = Path::new(&command).file_name()?;
        ["usr/bin", "bin", "usr/sbin", "usr/games", ""].iter().find_map(|below| {
            let path =
                fs::canonicalize(directory.join(below).join(name)).ok().filter(|path| path.starts_with(directory) && path.is_file())?;
            let mut program = Program::at(path.clone(), path);
            program.read_shebang(search_path).ok()?;
            (program.binary.starts_with(directory) && elf::load(&program.binary).is_ok()).then_some(program.binary)
        })
    })
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    // Neither a pipe nor anything outside: the tree has plain files and links only, and a link may lead anywhere.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::File::open(path).ok()?.take(DESKTOP_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first word of `Exec` in the group `[Desktop Entry]`, without the quotes it may stand in.
fn command(desktop: &str) -> Option<String> {
    let group = desktop.lines().map(str::trim).skip_while(|line| *line != "[Desktop Entry]").skip(1);
    let exec = group.take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim_end() == "Exec").then(|| value.trim_start())
    })?;
    let word = match exec.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => exec.split_ascii_whitespace().next(),
    };
    word.filter(|word| !word.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_first_word_of_exec_in_its_group() {
        let said = |text: &str| command(text);
        assert_eq!(said("[Desktop Entry]\nName=A\nExec=app --flag %U\n"), Some("app".to_owned()));
        assert_eq!(said("# x\n[Desktop Entry]\nExec = \"my app\" %f"), Some("my app".to_owned()));
        assert_eq!(said("[Desktop Action new]\nExec=other\n[Desktop Entry]\nExec=app\n"), Some("app".to_owned()));
        assert_eq!(said("[Desktop Entry]\nName=A\n[Desktop Action new]\nExec=other\n"), None);
        assert_eq!(said("Exec=app\n"), None);
    }
}
