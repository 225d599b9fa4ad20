//! What `bwrap`'s words come to, written down: the steps as `XENO_LOG=debug` shows them, without a run of the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bwrap_peer;

use bwrap_peer::Room;

/// The steps of a line, with the ids and the directory of whoever runs it replaced.
fn steps(room: &Room, words: &str) -> String {
    let ours = room.by_ours(&format!("XENO_LOG=debug $B {words}"));
    let ids = [nix::unistd::getuid().to_string(), nix::unistd::getgid().to_string()];
    let (uid, gid) = room.user.map_or((ids[0].clone(), ids[1].clone()), |user| (user.to_string(), user.to_string()));
    let steps = ours.stderr.lines().filter_map(|line| line.strip_prefix("xeno: sandbox: "));
    let steps = steps.map(|line| line.replace(&format!("to {uid}"), "to UID").replace(&format!("user {uid} "), "user UID "));
    let steps =
        steps.map(|line| line.replace(&format!("group to {gid}"), "group to GID").replace(&format!("group {gid} to"), "group GID to"));
    steps.map(|line| line + "\n").collect()
}

#[test]
fn a_simple_line_is_few_steps_and_no_supervisor() {
    for room in Room::all().iter().filter(|room| !room.is_root()) {
        let expected = "\
new namespaces: user mount
deny setgroups
map user UID to UID
map group GID to UID
mount a tmpfs on /
bind / read-only
change root, detach the old one
no new privileges
no capabilities
run the hooks
change directory to DIR or /nowhere or /
signals as the caller had them
start true
";
        assert_eq!(steps(room, "--ro-bind / / true"), expected);
    }
}

#[test]
fn root_keeps_its_user_namespace_and_its_capabilities() {
    for room in Room::all().iter().filter(|room| room.is_root()) {
        let expected = "\
new namespaces: mount
make every mount a slave
mount a tmpfs on /
bind / read-only
change root, detach the old one
no new privileges
capabilities as they are
run the hooks
change directory to DIR or /nowhere or /
signals as the caller had them
start true
";
        assert_eq!(steps(room, "--ro-bind / / true"), expected);
    }
}

#[test]
fn everything_at_once_in_its_order() {
    for room in Room::all().iter().filter(|room| !room.is_root()) {
        let words = "--unshare-all --hostname inside --die-with-parent --new-session --cap-add CAP_NET_RAW \
                     --proc /proc --dev /dev --perms 0700 --tmpfs /a/b --size 4096 --tmpfs /t --mqueue /q --dir /d --symlink t /l \
                     --file 3 /f --ro-bind-data 4 /g --bind tree /x --dev-bind-try none /y --chmod 0711 /d --remount-ro / \
                     --chdir /d -- true 3</dev/null 4</dev/null";
        let expected = "\
stay as monitor, go on in a child in new namespaces: user mount pid ipc net uts cgroup
die with the parent
deny setgroups
map user 0 to UID
map group 0 to UID
bring up the loopback interface
host name inside
mount a tmpfs on /
proc /proc
minimal devices /dev
directory /a (mode 0700)
tmpfs /a/b (mode 0700)
tmpfs /t (mode 0755, 4096 bytes)
message queues /q
directory /d (mode 0755)
link /l -> t
file /f (descriptor 3, mode 0666)
bind descriptor 4 at /g (mode 0600) read-only
bind tree at /x
bind none at /y with devices, if it exists
mode 0711 of /d
make / read-only
change root, detach the old one
new namespaces: user, below the first
map user UID to 0
map group GID to 0
no new privileges
capabilities 0x2000
new session
stay as init, go on in a child
die with the parent
run the hooks
change directory to /d
close descriptors 3 4
die with the parent
signals as the caller had them
start true
";
        assert_eq!(steps(room, words), expected);
    }
}

#[test]
fn nothing_is_said_unless_it_is_asked_for() {
    for room in Room::all() {
        assert_eq!(room.by_ours("$B --ro-bind / / true").stderr, "");
    }
}
