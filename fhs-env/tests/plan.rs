//! The order of steps, as text: what is planned for a given host and caller, and what is refused.

#![allow(clippy::unwrap_used)]

use fhs_env::{Caller, EntryKind, HostEntry, HostRoot, PlanError, PrivateRoot, WorkingDirectory};

fn entry(name: &str, kind: EntryKind) -> HostEntry {
    HostEntry { name: name.into(), kind }
}

fn host() -> HostRoot {
    HostRoot {
        entries: vec![
            entry(".dockerenv", EntryKind::File),
            entry("bin", EntryKind::Symlink("usr/bin".into())),
            entry("lib", EntryKind::Directory),
            entry("proc", EntryKind::Directory),
            entry("usr", EntryKind::Directory),
        ],
        extended: vec![(
            "lib".into(),
            vec![
                entry("libz.so.1", EntryKind::Symlink("libz.so.1.3".into())),
                entry("libz.so.1.3", EntryKind::File),
                entry("modules", EntryKind::Directory),
            ],
        )],
    }
}

fn user() -> Caller {
    Caller { uid: 1000, gid: 100, user_namespace: true, cwd: WorkingDirectory { path: "/usr/src".into(), identity: Some((1, 2)) } }
}

#[track_caller]
fn steps(root: &PrivateRoot, caller: &Caller, expected: &str) {
    assert_eq!(root.plan(&host(), caller).unwrap().to_string(), expected);
}

#[test]
fn an_ordinary_user_gets_a_user_namespace_and_every_entry_of_the_host() {
    let mut root = PrivateRoot::new();
    root.symlink("/.xeno/64.so", "/srv/cache/ld.so")
        .file("/.xeno/64.cache", "twelve bytes")
        .symlink("/nix/store/x-glibc/lib/ld-linux-x86-64.so.2", "/.xeno/64.so")
        .bind_read_only("/srv/cache/app", "/usr/games/app");
    steps(
        &root,
        &user(),
        "\
unshare user and mount namespace
deny setgroups
map user 1000 to itself
map group 100 to itself
mount a tmpfs on /
bind /.dockerenv as it is
link /bin -> usr/bin
bind /lib as it is
bind /proc as it is
bind /usr as it is
directory /.xeno (mode 0755)
file /.xeno/64.cache (12 bytes, mode 0444)
link /.xeno/64.so -> /srv/cache/ld.so
directory /nix (mode 0755)
directory /nix/store (mode 0755)
directory /nix/store/x-glibc (mode 0755)
directory /nix/store/x-glibc/lib (mode 0755)
link /nix/store/x-glibc/lib/ld-linux-x86-64.so.2 -> /.xeno/64.so
bind /srv/cache/app at /usr/games/app read-only
make / read-only
change root
change directory to /usr/src
",
    );
}

#[test]
fn root_gets_a_mount_namespace_alone_that_takes_mounts_and_gives_none() {
    let root_user = Caller { uid: 0, gid: 0, user_namespace: false, cwd: WorkingDirectory { path: "/".into(), identity: None } };
    steps(
        &PrivateRoot::new(),
        &root_user,
        "\
unshare mount namespace
make every mount a slave
mount a tmpfs on /
bind /.dockerenv as it is
link /bin -> usr/bin
bind /lib as it is
bind /proc as it is
bind /usr as it is
make / read-only
change root
change directory to /
",
    );
}

#[test]
fn an_extended_directory_is_carried_over_entry_by_entry() {
    let mut root = PrivateRoot::new();
    root.extend("/lib").symlink("/lib/ld-linux.so.2", "/.xeno/32.so");
    let text = root.plan(&host(), &user()).unwrap().to_string();
    let part: Vec<&str> = text.lines().filter(|line| line.contains("/lib")).collect();
    assert_eq!(
        part,
        [
            "directory /lib (mode 0755)",
            "link /lib/libz.so.1 -> libz.so.1.3",
            "bind /lib/libz.so.1.3 as it is",
            "bind /lib/modules as it is",
            "link /lib/ld-linux.so.2 -> /.xeno/32.so",
        ]
    );
}

#[track_caller]
fn refused(root: &PrivateRoot, expected: &str) -> PlanError {
    let error = root.plan(&host(), &user()).unwrap_err();
    assert_eq!(error.to_string(), expected);
    error
}

#[test]
fn nothing_is_added_below_an_entry_of_the_host() {
    let error = refused(
        PrivateRoot::new().symlink("/lib/ld-linux.so.2", "/x"),
        "adding /lib/ld-linux.so.2 to the private root: the host has its own /lib, which would be \
         hidden; choose another way to run the program",
    );
    assert!(matches!(error, PlanError::Occupied { .. }));
    // A link of the host's cannot be extended either: it would have to become a directory.
    refused(
        PrivateRoot::new().extend("/bin").directory("/bin/x"),
        "adding /bin/x to the private root: the host has its own /bin, which would be hidden; \
         choose another way to run the program",
    );
}

#[test]
fn nothing_of_an_extended_directory_is_replaced() {
    refused(
        PrivateRoot::new().extend("/lib").file("/lib/libz.so.1", ""),
        "adding /lib/libz.so.1 to the private root: the host has its own /lib/libz.so.1, which \
         would be hidden; choose another way to run the program",
    );
}

#[test]
fn one_path_has_one_content() {
    let mut root = PrivateRoot::new();
    root.file("/a/b", "1").file("/a/b", "1").directory("/a");
    assert!(root.plan(&host(), &user()).is_ok(), "asking twice is asking once");
    root.file("/a/b", "2");
    let error = refused(
        &root,
        "adding /a/b to the private root: it is asked for twice with different contents; give \
         each path one content",
    );
    assert!(matches!(error, PlanError::Clash { .. }));
    refused(
        PrivateRoot::new().symlink("/a", "/b").file("/a/b", ""),
        "adding /a to the private root: it is asked for twice with different contents; give each \
         path one content",
    );
}

#[test]
fn a_path_is_absolute_and_stays_where_it_is_put() {
    for (path, reason) in [
        ("a", "it is not absolute"),
        ("", "it is empty"),
        ("/", "it is the root itself"),
        ("/a/../b", "it contains `..`"),
        ("/a\0b", "it contains a NUL"),
        ("./a", "it is not absolute"),
    ] {
        let error = PrivateRoot::new().directory(path).plan(&host(), &user()).unwrap_err();
        assert!(matches!(&error, PlanError::BadPath { reason: r, .. } if *r == reason), "{error}");
    }
    let long = format!("/{}", "a/".repeat(3000));
    let error = PrivateRoot::new().directory(long).plan(&host(), &user()).unwrap_err();
    assert!(error.to_string().contains("it is longer than 4095 bytes"));
}

#[test]
fn memory_is_not_filled_with_one_file() {
    let error = PrivateRoot::new().file("/a", vec![0; (16 << 20) + 1]).plan(&host(), &user()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "adding /a to the private root: 16777217 exceeds the limit of 16777216 bytes; make it \
         smaller"
    );
}

#[test]
fn no_name_can_forge_a_line_of_the_plan() {
    let mut root = PrivateRoot::new();
    root.directory("/a\nchange root");
    let text = root.plan(&host(), &user()).unwrap().to_string();
    assert!(text.contains("\ndirectory \"/a\\nchange root\" (mode 0755)\n"), "{text}");
}
