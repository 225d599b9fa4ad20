//! `cargo xtask fhs-programs`: real programs in environments and in `steam-run`, each with what has to be seen of it.
//! Downloads packages. Pictures go to `target/fhs-programs`; whether they show the right thing, people have to judge.

mod display;
mod game;
mod place;

use crate::process;
use anyhow::{Context, Result, bail};
use display::Display;
use place::{Given, Place};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A row: its name, what it proves, and the function, which returns what was seen.
type Row = (&'static str, &'static str, fn(&Place) -> Result<String>);

const ROWS: &[Row] = &[
    ("designer", "a large Qt program draws where the machine has no library at all", designer),
    ("glx", "OpenGL in software, of this machine and where it has none", glx),
    ("game", "a game as vendors pack them draws in a sandbox that shows nothing of the home", game::game),
    ("classes", "a 32-bit program beside a 64-bit one", classes),
    ("browser", "a browser's build for other machines says its version", browser),
    ("podman", "an exported environment runs unchanged", podman),
];

/// What the large Qt program wants of its system.
const DESKTOP: &str = r#"[fhs]
packages = [
    "bash", "coreutils", "libgl1", "libegl1", "libopengl0", "libfontconfig1", "fonts-dejavu-core", "libdbus-1-3",
    "libglib2.0-0", "libgssapi-krb5-2", "libxkbcommon-x11-0", "libxcb-cursor0", "libxcb-icccm4", "libxcb-image0",
    "libxcb-keysyms1", "libxcb-randr0", "libxcb-render-util0", "libxcb-shape0", "libxcb-sync1", "libxcb-xfixes0",
    "libxcb-xkb1", "libx11-xcb1", "libsm6", "libice6", "libzstd1", "libbrotli1", "xkb-data",
]
"#;

/// Two worlds.
const CLASSES: &str = "[fhs]\npackages = [\"bash\", \"coreutils\"]\nmultiarch = [\"libc6\"]\n";

/// What the browser's build links, which its package does not bring.
const BROWSER: &str = "[fhs]\npackages = [\"bash\", \"libnss3\", \"libnspr4\", \"libexpat1\", \"libfontconfig1\", \"fonts-dejavu-core\"]\n";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::only(arguments, &[], &["--dir", "--rows"])?;
    let chosen: Option<Vec<&str>> = crate::option(arguments, "--rows")?.map(|names| names.split(',').collect());
    if let Some(name) = chosen.iter().flatten().find(|name| !ROWS.iter().any(|(row, ..)| row == *name)) {
        bail!("no row `{name}`; there are: {}", ROWS.iter().map(|(row, ..)| *row).collect::<Vec<_>>().join(", "));
    }
    let place = Place::new(arguments)?;
    let mut failed = Vec::new();
    for (name, proves, row) in ROWS.iter().filter(|(name, ..)| chosen.as_ref().is_none_or(|chosen| chosen.contains(name))) {
        match row(&place) {
            Ok(seen) => println!("pass {name}: {proves}: {seen}"),
            Err(error) => {
                println!("FAIL {name}: {proves}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// What a program needs that draws.
fn shown_on(display: &Display, binds: Vec<(PathBuf, PathBuf)>) -> Given {
    let sockets = PathBuf::from("/tmp/.X11-unix");
    let binds = binds.into_iter().chain([(sockets.clone(), sockets)]).collect();
    Given { binds, variables: vec![("DISPLAY".to_owned(), display.name())] }
}

fn designer(place: &Place) -> Result<String> {
    let (tree, program) = place.corpus("designer")?;
    let specification = place.file("desktop.toml", DESKTOP)?;
    place.bare(&["env", "build", &specification, "--name", "desktop"], &Given::default())?.said()?;
    let display = Display::start()?;
    let given = shown_on(&display, vec![(tree, PathBuf::from("/app"))]);
    let picture = place.pictures.join("designer.png");
    let words = ["env", "run", "desktop", "--", &format!("/app/{program}")];
    let colours = place.bare(&words, &given)?.during(|| display.drawn("Designer", 100, &picture))?;
    Ok(format!("{colours} colours, {}", picture.display()))
}

/// Copies of this machine's programs, without its libraries.
fn copies(place: &Place, names: &[&str]) -> Result<PathBuf> {
    let directory = place.kept("fhs-glx");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    for name in names {
        let program = process::find(name).with_context(|| format!("find {name}"))?;
        fs::copy(&program, directory.join(name)).with_context(|| format!("copy {name}"))?;
    }
    Ok(directory)
}

fn glx(place: &Place) -> Result<String> {
    process::need(&[("glxinfo", "mesa-utils"), ("glxgears", "mesa-utils")])?;
    let tree = copies(place, &["glxinfo", "glxgears"])?;
    let display = Display::start()?;
    let picture = place.pictures.join("glxgears.png");
    let given = shown_on(&display, vec![(tree.clone(), PathBuf::from("/app"))]);
    let mut seen = Vec::new();
    for (machine, tree) in [("without libraries", Path::new("/app")), ("this one", tree.as_path())] {
        let program = |name: &str| tree.join(name).display().to_string();
        let start = |words: &[&str]| if machine == "this one" { place.here(words, &given) } else { place.bare(words, &given) };
        let info = start(&["steam-run", "--", &program("glxinfo"), "-B"])?.said()?;
        let renderer = info.lines().find_map(|line| line.trim().strip_prefix("OpenGL renderer string: "));
        let renderer = renderer.with_context(|| format!("glxinfo says: {info}"))?;
        if !renderer.contains("llvmpipe") {
            bail!("a machine {machine}: drawn by {renderer}");
        }
        let colours = start(&["steam-run", "--", &program("glxgears")])?.during(|| display.drawn("glxgears", 20, &picture))?;
        seen.push(format!("a machine {machine}: {renderer}, gears of {colours} colours"));
    }
    Ok(format!("{}, {}", seen.join("; "), picture.display()))
}

fn classes(place: &Place) -> Result<String> {
    let specification = place.file("classes.toml", CLASSES)?;
    place.bare(&["env", "build", &specification, "--name", "classes"], &Given::default())?.said()?;
    let given = Given { binds: vec![(crate::root().join("fixtures/bin"), PathBuf::from("/fixtures"))], ..Given::default() };
    let script = "/fixtures/hello-i686-glibc-pie && /fixtures/hello-x86_64-glibc-pie";
    let said = place.bare(&["env", "run", "classes", "--", "/bin/sh", "-c", script], &given)?.said()?;
    if said.matches("hello tls=42 ctor=1").count() != 2 {
        bail!("they said: {said}");
    }
    Ok("both said hello".to_owned())
}

fn browser(place: &Place) -> Result<String> {
    let (tree, program) = place.corpus("chromium")?;
    let specification = place.file("browser.toml", BROWSER)?;
    place.bare(&["env", "build", &specification, "--name", "browser"], &Given::default())?.said()?;
    let given = Given { binds: vec![(tree, PathBuf::from("/app"))], ..Given::default() };
    let said = place.bare(&["env", "run", "browser", "--", &format!("/app/{program}"), "--version"], &given)?.said()?;
    let version = said.lines().find(|line| line.starts_with("Chromium ")).with_context(|| format!("it said: {said}"))?;
    Ok(version.trim().to_owned())
}

fn podman(place: &Place) -> Result<String> {
    process::need(&[("podman", "podman"), ("runc", "runc")])?;
    let specification = place.file("classes.toml", CLASSES)?;
    place.here(&["env", "build", &specification, "--name", "classes"], &Given::default())?.said()?;
    let image = place.home().join("image");
    if image.exists() {
        fs::remove_dir_all(&image).context("remove the last image")?;
    }
    let directory = image.display().to_string();
    place.here(&["env", "export", "--oci", &directory, "classes"], &Given::default())?.said()?;
    let mut podman = Command::new("podman");
    podman.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--network", "none"]);
    podman.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=10000:10000"]);
    podman.arg(format!("oci:{directory}")).args(["/bin/bash", "-c", "echo $((6 * 7)) from ${BASH_VERSION%%.*}; ls / | tr '\\n' ' '"]);
    let said = process::output(&mut podman)?;
    if !said.starts_with("42 from 5") {
        bail!("it said: {said}");
    }
    Ok(said.trim().replace('\n', "; "))
}
