//! A game as its vendor would pack it: one directory with a launcher, the program, the libraries it does not trust the
//! system for, and its data. Made from the distribution's packages; drawn in a sandbox that shows nothing of the home.

use super::display::Display;
use super::place::Place;
use super::shown_on;
use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The game, its data, and the libraries that the vendor brings.
const PACKAGES: &[&str] = &["blobby", "blobby-data", "liblua5.2-0", "libphysfs1", "libtinyxml2.6.2v5"];

/// What the vendor starts it with.
const LAUNCHER: &str = "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\ncd \"$here\" || exit 1\n\
                        LD_LIBRARY_PATH=\"$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\" exec ./bin/blobby \"$@\"\n";

/// A file of the home that a sandbox must not show.
const SECRET: &str = "diary.txt";

pub(super) fn game(place: &Place) -> Result<String> {
    let directory = unpacked(place)?;
    let launcher = directory.join("start.sh").display().to_string();
    let home = place.home().display().to_string();
    place.file(SECRET, "dear diary")?;
    let display = Display::start()?;
    let given = shown_on(&display, Vec::new());
    let share = directory.display().to_string();

    // The same question with and without a sandbox: the answer to the first shows that it can be asked.
    let question = format!("ls -A {home}; cat {home}/{SECRET}; find / -xdev -name {SECRET} 2>/dev/null; true");
    let ask = ["--", "/bin/sh", "-c", question.as_str()];
    let compatible = place.here(&[&["steam-run"][..], &ask].concat(), &given)?.said()?;
    if !compatible.contains("dear diary") {
        bail!("without a sandbox the home is not to be seen: {compatible}");
    }
    let sandboxed = ["steam-run", "--sandbox", "--share", &share];
    let hidden = place.here(&[&sandboxed[..], &ask].concat(), &given)?.ended()?;
    if hidden.stdout.contains(SECRET) || hidden.stdout.contains("dear diary") {
        bail!("the sandbox shows the home: {}", hidden.stdout);
    }

    let picture = place.pictures.join("game.png");
    let start = place.here(&[&sandboxed[..], &["--", &launcher]].concat(), &given)?;
    let colours = start.during(|| display.drawn("Blobby", 1000, &picture))?;
    Ok(format!("{colours} colours, {}; nothing of the home was seen", picture.display()))
}

/// Packs the tarball where there is none yet, and unpacks it outside of the home.
fn unpacked(place: &Place) -> Result<PathBuf> {
    let kept = place.kept("fhs-game");
    let (archive, directory) = (kept.join("blobby-1.0.tar.gz"), kept.join("blobby-1.0"));
    if !archive.exists() {
        fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
        let work = tempfile::tempdir_in(&kept).context("make a directory to pack in")?;
        pack(work.path(), &archive)?;
    }
    if !directory.exists() {
        process::output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&kept))?;
    }
    Ok(directory)
}

fn pack(work: &Path, archive: &Path) -> Result<()> {
    process::output(Command::new("apt-get").args(["download", "-qq"]).args(PACKAGES).current_dir(work))?;
    let root = work.join("root");
    for entry in fs::read_dir(work).context("read what was downloaded")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::output(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&root))?;
        }
    }
    let game = work.join("blobby-1.0");
    fs::create_dir_all(game.join("bin")).context("make the game's directory")?;
    let moved = [("usr/games/blobby", "bin/blobby"), ("usr/lib/x86_64-linux-gnu", "lib"), ("usr/share/blobby", "data")];
    for (from, to) in moved {
        fs::rename(root.join(from), game.join(to)).with_context(|| format!("move {from}"))?;
    }
    fs::write(game.join("start.sh"), LAUNCHER).context("write the launcher")?;
    process::output(Command::new("chmod").args(["-R", "a+rX"]).arg(&game))?;
    process::output(Command::new("chmod").arg("755").arg(game.join("start.sh")))?;
    process::output(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(work).arg("blobby-1.0")).map(|_| ())
}
