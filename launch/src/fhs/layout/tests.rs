//! Where files come to lie, written down.

use super::*;
use std::os::unix::fs::symlink;

const ELF64: &[u8] = &[0x7f, b'E', b'L', b'F', 2, 1];
const ELF32: &[u8] = &[0x7f, b'E', b'L', b'F', 1, 1];

/// A tree of files (`path`, content) and links (`path -> target`).
fn tree(entries: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (entry, content) in entries {
        let (path, target) = entry.split_once(" -> ").map_or((*entry, None), |(path, target)| (path, Some(target)));
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
    dir
}

fn input(dir: &tempfile::TempDir, label: &str, source: Source) -> Input {
    Input { label: label.to_owned(), root: dir.path().to_owned(), identity: String::new(), source }
}

fn laid_out(inputs: &[Input]) -> Layout {
    let mut layout = Layout::default();
    layout.fill(inputs).unwrap();
    layout
}

/// Every path and what it is: `=` and the path in its tree, or `->` and what the link holds.
fn lines(layout: &Layout, trees: &[&tempfile::TempDir]) -> Vec<String> {
    let shown = |node: &Node| match node {
        Node::Source(file) => {
            let inside = trees.iter().find_map(|t| file.strip_prefix(t.path()).ok());
            format!("= {}", inside.unwrap_or(file).display())
        }
        Node::Link(target) => format!("-> {}", target.display()),
        Node::Bytes(bytes) => format!(": {}", bytes.escape_ascii()),
        Node::Empty => "/".to_owned(),
    };
    layout.nodes().map(|(path, node)| format!("{} {}", path.display(), shown(node))).collect()
}

#[test]
fn a_packages_root_is_merged_and_its_links_lead_where_their_targets_lie() {
    let t = tree(&[
        ("bin/sh -> dash", b""),
        ("bin/dash", b"x"),
        ("sbin -> usr/sbin", b""),
        ("usr/lib64 -> ../lib64", b""),
        ("lib/x86_64-linux-gnu/libz.so.1 -> ../../usr/lib/x86_64-linux-gnu/libz.so.1.2", b""),
        ("usr/lib/x86_64-linux-gnu/libz.so.1.2", ELF64),
        ("usr/lib/x86_64-linux-gnu/libz.so -> /lib/x86_64-linux-gnu/libz.so.1", b""),
        ("lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld.so", b""),
        ("etc/tool.conf", b""),
        ("etc/os-release -> ../usr/lib/os-release", b""),
        ("usr/lib/tool/conf -> /etc/tool.conf", b""),
        ("usr/lib/tool/state -> ../../../var/lib/tool", b""),
        ("usr/share/doc/tool/copyright", b""),
        ("var/lib/tool/x", b""),
        ("usr/bin/up -> ../../../../../bin/dash", b""),
    ]);
    let layout = laid_out(&[input(&t, "p", Source::Package)]);
    assert_eq!(
        lines(&layout, &[&t]),
        [
            "usr/bin/dash = bin/dash",
            "usr/bin/sh -> dash",
            "usr/bin/up -> dash",
            "usr/etc/os-release -> ../lib/os-release",
            "usr/etc/tool.conf = etc/tool.conf",
            "usr/lib/tool/conf -> /etc/tool.conf",
            "usr/lib/tool/state -> /var/lib/tool",
            "usr/lib/x86_64-linux-gnu/libz.so -> libz.so.1",
            "usr/lib/x86_64-linux-gnu/libz.so.1 -> libz.so.1.2",
            "usr/lib/x86_64-linux-gnu/libz.so.1.2 = usr/lib/x86_64-linux-gnu/libz.so.1.2",
            "usr/lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld.so",
        ]
    );
    assert_eq!(layout.file("usr/lib/x86_64-linux-gnu/libz.so".as_ref()), Some(&*t.path().join("usr/lib/x86_64-linux-gnu/libz.so.1.2")));
    assert_eq!(layout.file("usr/lib/tool/state".as_ref()), None);
}

#[test]
fn a_plain_directory_goes_below_usr_and_its_libraries_by_class() {
    let t = tree(&[
        ("bin/tool", b"x"),
        ("bin/alias -> tool", b""),
        ("bin/far -> ../opt/app/far", b""),
        ("lib/liba.so.1.0", ELF64),
        ("lib/liba.so.1 -> liba.so.1.0", b""),
        ("lib/libb.so.1", ELF32),
        ("lib/script.so", b"text"),
        ("lib/tool/plugin.so", ELF64),
        ("lib64 -> lib", b""),
        ("share/x", b""),
        ("opt/app/far", b""),
        ("README", b""),
    ]);
    let layout = laid_out(&[input(&t, "d", Source::Directory)]);
    assert_eq!(
        lines(&layout, &[&t]),
        [
            "usr/bin/alias -> tool",
            "usr/bin/far = bin/far",
            "usr/bin/tool = bin/tool",
            "usr/lib/script.so = lib/script.so",
            "usr/lib/tool/plugin.so = lib/tool/plugin.so",
            "usr/lib32/libb.so.1 = lib/libb.so.1",
            "usr/lib64/liba.so.1 -> liba.so.1.0",
            "usr/lib64/liba.so.1.0 = lib/liba.so.1.0",
            "usr/share/x = share/x",
        ]
    );
}

#[test]
fn what_a_profiles_links_lead_to_is_merged() {
    let package = tree(&[("bin/tool", b""), ("share/man/man1/tool.1", b"")]);
    let bin = format!("bin -> {}", package.path().join("bin").display());
    let man = format!("share/man -> {}", package.path().join("share/man").display());
    let again = tree(&[(&bin, b""), (&man, b""), ("share/own", b"")]);
    let layout = laid_out(&[input(&again, "d", Source::Directory)]);
    let paths: Vec<String> = layout.nodes().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(paths, ["usr/bin/tool", "usr/share/man/man1/tool.1", "usr/share/own"]);
    let circle = tree(&[]);
    for name in ["bin", "share"] {
        symlink(circle.path(), circle.path().join(name)).unwrap();
    }
    assert_eq!(laid_out(&[input(&circle, "d", Source::Directory)]).nodes().count(), 0);
}

#[test]
fn of_two_files_the_first_stays_and_a_real_difference_is_told() {
    let a = tree(&[("usr/bin/x", b"one"), ("usr/share/same", b"s"), ("usr/share/thing", b"file"), ("usr/lib/l -> m", b"")]);
    let b = tree(&[("bin/x", b"two"), ("usr/share/same", b"s"), ("usr/share/thing/inside", b""), ("usr/lib/l -> m", b"")]);
    let inputs = [input(&a, "a", Source::Package), input(&b, "b", Source::Package)];
    let layout = laid_out(&inputs);
    assert_eq!(
        lines(&layout, &[&a, &b]),
        ["usr/bin/x = usr/bin/x", "usr/lib/l -> m", "usr/share/same = usr/share/same", "usr/share/thing = usr/share/thing"]
    );
    let told: Vec<String> =
        layout.collisions(&inputs).iter().map(|c| format!("{}: {} not {}", c.path.display(), c.kept, c.dropped)).collect();
    assert_eq!(told, ["/usr/bin/x: a not b", "/usr/share/thing/inside: another not b"]);
}
