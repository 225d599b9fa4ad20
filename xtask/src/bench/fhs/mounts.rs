//! One list of mounts, said to bubblewrap (and to the drop-in, word for word) and to the floor program; and what
//! `--dry-run` printed of an environment, said to the floor program. Mounts nothing.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// A step, as bubblewrap has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    ReadOnly { from: String, at: String },
    Link { target: String, at: String },
    Proc(String),
    Devices(String),
}

/// The host's `/usr` and `/etc`, the usual links, `/proc` and `/dev`, and read-only binds of these directories.
pub(super) fn usual(directories: &[String]) -> Vec<Mount> {
    let read_only = |from: &str, at: &str| Mount::ReadOnly { from: from.to_owned(), at: at.to_owned() };
    let link = |name: &str| Mount::Link { target: format!("usr/{name}"), at: format!("/{name}") };
    let mut mounts = vec![read_only("/usr", "/usr"), read_only("/etc", "/etc")];
    mounts.extend(["bin", "sbin", "lib", "lib64"].map(link));
    mounts.extend([Mount::Proc("/proc".to_owned()), Mount::Devices("/dev".to_owned())]);
    mounts.extend(directories.iter().enumerate().map(|(index, from)| read_only(from, &format!("/b/{index}"))));
    mounts
}

/// The words for bubblewrap and the drop-in.
pub(super) fn bubblewrap(mounts: &[Mount]) -> Vec<String> {
    let words = mounts.iter().map(|mount| match mount {
        Mount::ReadOnly { from, at } => vec!["--ro-bind", from, at],
        Mount::Link { target, at } => vec!["--symlink", target, at],
        Mount::Proc(at) => vec!["--proc", at],
        Mount::Devices(at) => vec!["--dev", at],
    });
    words.flatten().map(str::to_owned).collect()
}

/// Words for the floor program; parents are made by words of their own.
#[derive(Debug, Default)]
pub(super) struct Floor {
    words: Vec<String>,
    made: BTreeSet<String>,
}

impl Floor {
    pub(super) fn of(mounts: &[Mount]) -> Vec<String> {
        let mut floor = Floor::default();
        for mount in mounts {
            match mount {
                Mount::ReadOnly { from, at } => floor.push(at, &["ro", from]),
                Mount::Link { target, at } => floor.push(at, &["link", target]),
                Mount::Proc(at) => floor.push(at, &["proc"]),
                Mount::Devices(at) => floor.push(at, &["dev"]),
            }
        }
        floor.words
    }

    /// What `xeno env run --dry-run` printed: what is started, then a step a line. Sources that do not exist are
    /// left out where their step says so.
    pub(super) fn of_plan(text: &str, exists: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut floor = Floor::default();
        let mut last = None;
        for line in text.lines().map(str::trim).skip_while(|line| !line.starts_with("start ")).skip(1) {
            if let Some(root) = ["change root, detach the old one", "change root"].iter().find(|root| line == **root) {
                last = Some(*root);
                break;
            }
            floor.step(line, &exists).with_context(|| format!("a step that the floor program has no word for: {line}"))?;
        }
        match last {
            None => bail!("the plan does not change the root:\n{text}"),
            Some("change root") => floor.words.insert(0, "chroot".to_owned()),
            Some(_) => {}
        }
        Ok(floor.words)
    }

    fn step(&mut self, line: &str, exists: impl Fn(&str) -> bool) -> Option<()> {
        if let Some(path) = line.strip_prefix("make ").and_then(|rest| rest.strip_suffix(" read-only")) {
            self.words.extend(["readonly".to_owned(), path.to_owned()]);
            return Some(());
        }
        let (what, rest) = line.split_once(' ')?;
        let (rest, mode) = match rest.split_once(" (") {
            Some((rest, mode)) => (rest, mode),
            None => (rest, ""),
        };
        match what {
            "bind" => self.bind(rest, exists)?,
            "link" => {
                let (at, target) = rest.split_once(" -> ")?;
                self.push(at, &["link", target]);
                self.made.insert(at.to_owned());
            }
            "directory" if !self.made.contains(rest) => {
                self.push(rest, &["dir"]);
                self.made.insert(rest.to_owned());
            }
            "directory" => {}
            "tmpfs" => {
                self.push(rest, &["tmpfs"]);
                self.made.insert(rest.to_owned());
            }
            "proc" => self.push(rest.split(' ').next()?, &["proc"]),
            "file" => self.push(rest, &["file", mode.split(' ').next()?]),
            "minimal" => self.push(rest.strip_prefix("devices ")?, &["dev"]),
            _ => return None,
        }
        Some(())
    }

    fn bind(&mut self, rest: &str, exists: impl Fn(&str) -> bool) -> Option<()> {
        let (rest, optional) = rest.strip_suffix(", if it exists").map_or((rest, false), |rest| (rest, true));
        let ways = [(" read-only", "ro"), (" with devices", "devices"), (" as it is", "as")];
        let (rest, way) = ways.iter().find_map(|(end, way)| Some((rest.strip_suffix(end)?, *way))).unwrap_or((rest, "rw"));
        let (from, at) = rest.split_once(" at ").unwrap_or((rest, rest));
        if !optional || exists(from) {
            self.push(at, &[way, from]);
            self.made.insert(at.to_owned());
        }
        Some(())
    }

    fn push(&mut self, at: &str, words: &[&str]) {
        let mut parents: Vec<&Path> = Path::new(at).ancestors().skip(1).filter(|path| path.parent().is_some()).collect();
        parents.reverse();
        for parent in parents.iter().map(|parent| parent.to_string_lossy().into_owned()) {
            if !self.made.contains(&parent) {
                self.words.extend(["dir".to_owned(), parent.clone()]);
                self.made.insert(parent);
            }
        }
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self.words.push(at.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[String]) -> String {
        words.join(" ")
    }

    #[test]
    fn one_list_is_said_to_both() {
        let mounts = usual(&["/src/a".to_owned()]);
        assert_eq!(
            said(&bubblewrap(&mounts)),
            "--ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib \
             --symlink usr/lib64 /lib64 --proc /proc --dev /dev --ro-bind /src/a /b/0"
        );
        assert_eq!(
            said(&Floor::of(&mounts)),
            "ro /usr /usr ro /etc /etc link usr/bin /bin link usr/sbin /sbin link usr/lib /lib link usr/lib64 /lib64 \
             proc /proc dev /dev dir /b ro /src/a /b/0"
        );
    }

    #[test]
    fn the_floor_does_every_step_of_a_plan() {
        let plan = "a warning\nstart /usr/bin/true\n  bind /s/usr at /usr read-only\n  link /bin -> usr/bin\n  bind /dev with devices\n  \
                    bind /no, if it exists\n  bind /home as it is\n  directory /etc (mode 0755)\n  link /etc/hosts -> ../.host/etc/hosts\n  \
                    bind /etc at /.host/etc read-only\n  file /etc/x (12 bytes, mode 0444)\n  make / read-only\n  change root\n  set A=b";
        assert_eq!(
            said(&Floor::of_plan(plan, |path| path != "/no").unwrap()),
            "chroot ro /s/usr /usr link usr/bin /bin devices /dev /dev as /home /home dir /etc link ../.host/etc/hosts /etc/hosts \
             dir /.host ro /etc /.host/etc file 12 /etc/x readonly /"
        );
        let unknown = Floor::of_plan("start x\nfrobnicate /x\nchange root", |_| true).unwrap_err().to_string();
        assert_eq!(unknown, "a step that the floor program has no word for: frobnicate /x");
    }
}
