//! What distributions make when packages are installed, and nobody does here: who the system is, its certificates, where
//! fonts and locales are, the profile, names that a package leaves to a choice. Adds nothing where a package has its own.

use super::HOST;
use super::layout::{Layout, Node};
use super::packages::{Input, Source};
use super::spec::FhsSpec;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most bytes of certificates that are joined.
const CERTIFICATES_MAX: u64 = 16 << 20;

/// Commands of POSIX and of the archive that are a choice of several packages' (what `update-alternatives` would have made),
/// each with who can be it, the best first.
const CHOICES: &[(&str, &[&str])] = &[
    ("awk", &["gawk", "mawk", "original-awk", "busybox"]),
    ("c++", &["g++", "clang++"]),
    ("c89", &["c89-gcc"]),
    ("c99", &["c99-gcc"]),
    ("cc", &["gcc", "clang", "tcc"]),
    ("editor", &["nano", "vim.basic", "vim.tiny", "nvi", "ed"]),
    ("ex", &["vim.basic", "vim.tiny", "nex"]),
    ("nc", &["nc.openbsd", "nc.traditional"]),
    ("pager", &["less", "more"]),
    ("vi", &["vim.basic", "vim.tiny", "nvi", "busybox"]),
    ("which", &["which.gnu", "which.debianutils"]),
];

/// Lays down what the specification says itself, before any package.
pub(super) fn first(spec: &FhsSpec) -> Layout {
    let mut layout = Layout::default();
    for top in super::TOPS.iter().chain(&["etc"]) {
        layout.make_directory(&format!("usr/{top}"));
    }
    let own = |path: &Path| super::layout::at_home_of_root(path);
    for (path, target) in &spec.links {
        layout.add(own(path), Node::Link(target.clone()));
    }
    for (path, content) in &spec.files {
        layout.add(own(path), Node::Bytes(content.clone().into_bytes()));
    }
    if let Some(profile) = &spec.profile {
        layout.add("usr/etc/profile", Node::Bytes(profile_text(profile).into_bytes()));
    }
    layout
}

/// `/etc/profile`: what packages add (`/etc/profile.d`), then the specification's own lines.
fn profile_text(own: &str) -> String {
    format!(
        "for part in /etc/profile.d/*.sh; do\n    if [ -r \"$part\" ]; then\n        . \"$part\"\n    fi\ndone\nunset part\n{}\n",
        own.trim_end()
    )
}

/// Adds everything else, behind the packages.
pub(super) fn add(layout: &mut Layout, inputs: &[Input]) {
    layout.add("usr/etc/profile", Node::Bytes(profile_text("").into_bytes()));
    choices(layout, inputs);
    os_release(layout);
    certificates(layout);
    fonts(layout);
    // The loader's locale functions look for one archive; its format's number is checked by them, and another one is as good as none.
    layout.add("usr/lib/locale/locale-archive", Node::Link(Path::new(HOST).join("usr/lib/locale/locale-archive")));
}

fn choices(layout: &mut Layout, inputs: &[Input]) {
    for (name, candidates) in CHOICES {
        if !layout.has(format!("usr/bin/{name}"))
            && let Some(chosen) = candidates.iter().find(|c| layout.has(format!("usr/bin/{c}")))
        {
            layout.add_link(&format!("usr/bin/{name}"), &format!("usr/bin/{chosen}"));
        }
    }
    // A command that is called after itself and its package (`which.debianutils`) waits for a choice among its like.
    for package in inputs.iter().filter(|i| i.source == Source::Package).filter_map(|i| i.label.split(' ').next()) {
        let suffix = format!(".{package}");
        for directory in ["usr/bin", "usr/sbin"] {
            let named: Vec<String> = layout
                .below(directory)
                .filter_map(|(name, _)| name.to_str()?.strip_suffix(&suffix).map(str::to_owned))
                .filter(|name| !name.is_empty() && !name.contains('/'))
                .collect();
            for name in named {
                layout.add_link(&format!("{directory}/{name}"), &format!("{directory}/{name}{suffix}"));
            }
        }
    }
}

/// os-release(5).
fn os_release(layout: &mut Layout) {
    let text = "NAME=\"xeno environment\"\nPRETTY_NAME=\"xeno environment\"\nID=xeno\nID_LIKE=debian\n";
    layout.add("usr/lib/os-release", Node::Bytes(text.as_bytes().to_vec()));
    layout.add_link("usr/etc/os-release", "usr/lib/os-release");
}

/// Joins the packages' certificates as their own scripts would, where the host's are not shown instead.
fn certificates(layout: &mut Layout) {
    if layout.has("usr/etc/ssl/certs/ca-certificates.crt") {
        return;
    }
    let mut joined: Vec<u8> = Vec::new();
    for (name, node) in layout.below("usr/share/ca-certificates") {
        let Node::Source(file) = node else { continue };
        let length = fs::metadata(file).map_or(u64::MAX, |meta| meta.len());
        if !name.as_bytes().ends_with(b".crt") || length.saturating_add(joined.len() as u64) > CERTIFICATES_MAX {
            continue;
        }
        let Ok(bytes) = fs::read(file) else { continue };
        joined.extend_from_slice(&bytes);
        if !joined.ends_with(b"\n") {
            joined.push(b'\n');
        }
    }
    if !joined.is_empty() {
        layout.add("usr/etc/ssl/certs/ca-certificates.crt", Node::Bytes(joined));
    }
}

/// Tells fontconfig of the host's fonts; without a configuration of its own, of everything.
fn fonts(layout: &mut Layout) {
    let head = "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"urn:fontconfig:fonts.dtd\">\n<fontconfig>\n";
    let directory = |path: &str| format!("  <dir>{path}</dir>\n");
    let hosts =
        [format!("{HOST}/usr/share/fonts"), format!("{HOST}/usr/local/share/fonts"), "/run/current-system/sw/share/X11/fonts".to_owned()];
    let hosts: String = hosts.iter().map(|path| directory(path)).collect();
    if layout.has("usr/etc/fonts/fonts.conf") {
        let text = format!("{head}{hosts}</fontconfig>\n");
        layout.add("usr/etc/fonts/conf.d/05-host.conf", Node::Bytes(text.into_bytes()));
        return;
    }
    let own: String = ["/usr/share/fonts", "/usr/local/share/fonts"].map(directory).concat();
    let homes = "  <dir prefix=\"xdg\">fonts</dir>\n  <dir>~/.fonts</dir>\n";
    let rest = "  <include ignore_missing=\"yes\">/usr/etc/fonts/conf.d</include>\n  <cachedir prefix=\"xdg\">fontconfig</cachedir>\n";
    let text = format!("{head}{own}{hosts}{homes}{rest}</fontconfig>\n");
    layout.add(OsString::from("usr/etc/fonts/fonts.conf"), Node::Bytes(text.into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layout: &Layout, path: &str) -> String {
        let node = layout.nodes().find(|(p, _)| *p == path).map(|(_, node)| node.clone());
        match node {
            Some(Node::Bytes(bytes)) => String::from_utf8(bytes).unwrap(),
            Some(Node::Link(target)) => format!("-> {}", target.display()),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn package(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Input>) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), content).unwrap();
        }
        let input = Input {
            label: "debianutils 5 amd64".to_owned(),
            root: dir.path().to_owned(),
            identity: "p".to_owned(),
            source: Source::Package,
        };
        (dir, vec![input])
    }

    #[test]
    fn names_that_are_a_choice_are_chosen_and_certificates_joined() {
        let files = [
            ("usr/bin/mawk", ""),
            ("usr/bin/which.debianutils", ""),
            ("sbin/tool.debianutils", ""),
            ("usr/share/ca-certificates/b.crt", "B"),
            ("usr/share/ca-certificates/a/a.crt", "A\n"),
            ("usr/share/ca-certificates/readme", "no"),
        ];
        let (_dir, inputs) = package(&files);
        let mut layout = Layout::default();
        layout.fill(&inputs).unwrap();
        add(&mut layout, &inputs);
        assert_eq!(text(&layout, "usr/bin/awk"), "-> mawk");
        assert_eq!(text(&layout, "usr/bin/which"), "-> which.debianutils");
        assert_eq!(text(&layout, "usr/sbin/tool"), "-> tool.debianutils");
        assert_eq!(text(&layout, "usr/etc/ssl/certs/ca-certificates.crt"), "A\nB\n");
        assert_eq!(text(&layout, "usr/etc/os-release"), "-> ../lib/os-release");
        assert!(text(&layout, "usr/etc/fonts/fonts.conf").contains("<dir>/.host/usr/share/fonts</dir>"));
    }

    #[test]
    fn a_packages_own_stays_and_the_specification_comes_before_it() {
        let (dir, inputs) =
            package(&[("etc/fonts/fonts.conf", "own"), ("usr/lib/os-release", "ID=p"), ("usr/bin/vi", ""), ("usr/bin/x", "")]);
        let spec = FhsSpec {
            links: [("/bin/x".into(), "vi".into())].into(),
            files: [("/etc/motd".into(), "hello".to_owned())].into(),
            profile: Some("A=1\n".to_owned()),
            ..FhsSpec::default()
        };
        let mut layout = first(&spec);
        layout.fill(&inputs).unwrap();
        add(&mut layout, &inputs);
        assert_eq!(text(&layout, "usr/bin/x"), "-> vi");
        assert_eq!(text(&layout, "usr/etc/motd"), "hello");
        assert!(text(&layout, "usr/etc/profile").ends_with("unset part\nA=1\n"));
        assert_eq!(layout.file("usr/lib/os-release".as_ref()), Some(&*dir.path().join("usr/lib/os-release")));
        assert!(text(&layout, "usr/etc/fonts/conf.d/05-host.conf").contains("<dir>/.host/usr/share/fonts</dir>"));
        let told: Vec<String> = layout.collisions(&inputs).iter().map(|c| format!("{} {}", c.path.display(), c.kept)).collect();
        assert_eq!(told, ["/usr/bin/x the specification"]);
    }
}
