//! Where ours differs from bubblewrap on purpose: each row of COMPAT.md has a test here, which fails when the
//! difference is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bwrap_peer;

use bwrap_peer::{Outcome, Room, USER};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// As everybody: what ours did, and what the peer did, if it is there and has what came with this version.
fn each(since: (u32, u32), line: &str, check: impl Fn(&Room, &Outcome, Option<&Outcome>)) {
    for room in Room::all() {
        let theirs = room.by_theirs(since, line);
        check(&room, &room.by_ours(line), theirs.as_ref());
    }
}

const ANY: (u32, u32) = (0, 0);

#[test]
fn difference_a_signal_reaches_the_program() {
    // What bubblewrap leaves behind is ended by the line itself.
    let line = "mkfifo p; $B --bind / / --unshare-pid --info-fd 3 bash -c 'trap \"exit 5\" TERM; echo >p; while :; do sleep 0.1; done' \
                3>i >/dev/null 2>&1 & b=$!; read x <p; kill $b; wait $b; echo $?; \
                kill -9 $(sed -n 's/.*child-pid\": \\([0-9]*\\).*/\\1/p' i) 2>/dev/null; rm i p";
    each(ANY, line, |_, ours, theirs| {
        assert_eq!(ours.stdout, "5\n", "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stdout == "143\n"), "{theirs:?}");
    });
}

#[test]
fn difference_without_a_pid_namespace_the_caller_is_the_program() {
    // A shell names the process that a signal has ended.
    each(
        ANY,
        "$B --ro-bind / / bash -c 'echo $$ >&3; kill -9 $$' 3>p & b=$!; wait $b; echo $?; test $(cat p) = $b; echo $?; rm p",
        |_, ours, theirs| {
            assert_eq!(ours.stdout, "137\n0\n", "{ours:?}");
            assert!(theirs.is_none_or(|theirs| theirs.stdout == "137\n1\n"), "{theirs:?}");
        },
    );
}

#[test]
fn difference_a_report_that_cannot_be_written_ends_everything() {
    for room in Room::all() {
        for fd in ["77", "3 3</dev/null", "3 3>/dev/full"] {
            let (words, redirect) = fd.split_once(' ').unwrap_or((fd, ""));
            let ours = room.by_ours(&format!("$B --ro-bind / / --info-fd {words} echo started {redirect}"));
            assert_eq!((ours.status, ours.stdout.as_str()), (1, ""));
            assert!(ours.stderr.starts_with("bwrap: Write to info_fd: "), "{}", ours.stderr);
        }
    }
}

#[test]
fn difference_links_on_the_way_to_a_destination_lead_inside() {
    each(ANY, "$B $R --dir /a/b --symlink /a/b /l --bind tree /l/x cat /a/b/x/file", |_, ours, theirs| {
        assert_eq!((ours.status, ours.stdout.as_str()), (0, "content\n"), "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.status == 1), "{theirs:?}");
    });
}

#[test]
fn difference_a_directory_is_made_where_a_link_leads_nowhere() {
    each(ANY, "$B $R --symlink a/b /l --dir /l stat -c '%F %N' /l /a/b; $B $R --symlink l /l --dir /l true", |_, ours, theirs| {
        assert_eq!(ours.stdout, "symbolic link '/l' -> 'a/b'\ndirectory '/a/b'\n", "{ours:?}");
        assert_eq!(ours.stderr, "bwrap: Can't mkdir /l: Too many levels of symbolic links\n");
        assert!(theirs.is_none_or(|theirs| theirs.status == 0 && theirs.stdout == "symbolic link '/l' -> 'a/b'\n"), "{theirs:?}");
    });
}

#[test]
fn difference_no_destination_leads_out_of_the_root() {
    // CVE-2026-87766: bubblewrap has the host at /oldroot while the root is made.
    let makers = [
        ("--dir /x/out/made", "made"),
        ("--file 3 /x/out/made", "made"),
        ("--perms 0777 --dir /x/out/made/deep", "made/deep"),
        ("--symlink target /x/out/made", "made"),
        ("--bind-data 3 /x/out/made", "made"),
        ("--tmpfs /x/out/made", "made"),
        ("--bind tree /x/out/made", "made"),
        ("--overlay-src tree --tmp-overlay /x/out/made", "made"),
    ];
    for room in Room::all() {
        for target in
            ["/oldroot$D/empty", "../../../../../../../../../../oldroot$D/empty", "../../../../../../../../../..$D/empty", "$D/empty"]
        {
            for (words, made) in makers {
                let line = format!(
                    "ln -s {target} tree/out; $B $R --bind tree /x {words} true 3</dev/null 2>&1; test -L empty/{made} -o -e empty/{made}; \
                     echo $?; rm tree/out; rm -rf empty/made"
                );
                let ours = room.by_ours(&line);
                assert!(ours.stdout.ends_with("1\n"), "{target} {words}: {ours:?}");
                // The positive control, until it is mended everywhere.
                if let Some(theirs) = room.by_theirs(ANY, &line).filter(|theirs| target.starts_with("/oldroot") && theirs.stdout != "0\n") {
                    eprintln!("{words} is confined by the installed bubblewrap too: {theirs:?}");
                }
            }
        }
    }
}

#[test]
fn difference_parents_of_a_bind_are_open_to_all() {
    each(ANY, "$B $R --bind tree /a/b/c stat -c %a /a /a/b", |_, ours, theirs| {
        assert_eq!(ours.stdout, "755\n755\n", "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stdout == "700\n700\n"), "{theirs:?}");
    });
}

#[test]
fn difference_what_acts_on_the_whole_machine_is_read_only_for_root_too() {
    each(
        ANY,
        "$B $R --proc /proc sh -c 'for f in sys/kernel/core_pattern sysrq-trigger irq bus; do test -w /proc/$f && echo $f; done'",
        |room, ours, theirs| {
            assert_eq!(ours.stdout, "", "{ours:?}");
            let writable = if room.is_root() { "sys/kernel/core_pattern\n" } else { "" };
            assert!(theirs.is_none_or(|theirs| theirs.stdout == writable), "{theirs:?}");
        },
    );
}

#[test]
fn difference_message_queues_hold_no_programs_and_no_devices() {
    each(ANY, "$B $R --unshare-ipc --proc /proc --mqueue /q grep -o ' /q [^ ]*' /proc/self/mountinfo", |_, ours, theirs| {
        assert_eq!(ours.stdout, " /q rw,nosuid,nodev,noexec,relatime\n", "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stdout == " /q rw,relatime\n"), "{theirs:?}");
    });
}

#[test]
fn difference_there_may_be_more_than_9000_words() {
    let line = "for i in $(seq 5000); do printf '%s\\0' --dir /a/$i; done >a; $B $R --args 3 sh -c 'ls /a | wc -l' 3<a; rm a";
    each(ANY, line, |_, ours, theirs| {
        assert_eq!((ours.stdout.as_str(), ours.stderr.as_str()), ("5000\n", ""), "{ours:?}");
        let refused = "bwrap: Exceeded maximum number of arguments 9000\n";
        assert!(theirs.is_none_or(|theirs| theirs.stderr == refused), "{theirs:?}");
    });
}

#[test]
fn difference_numbers_do_not_wrap_around() {
    each(
        ANY,
        "$B --ro-bind / / --unshare-user --uid 4294967296 id -u; $B --ro-bind / / --file 4294967299 /x true 3</dev/null",
        |_, ours, theirs| {
            assert_eq!(ours.stderr, "bwrap: Invalid uid: 4294967296\nbwrap: Invalid fd: 4294967299\n");
            assert!(theirs.is_none_or(|theirs| theirs.stdout == "0\n"), "{theirs:?}");
        },
    );
}

#[test]
fn difference_the_directory_keeps_its_name() {
    // bubblewrap has a file system of its own over /tmp when it looks for the name.
    each(ANY, "ln -s tree/dir short; cd short; $B --ro-bind / / sh -c 'echo $PWD'; rm ../short", |_, ours, theirs| {
        assert_eq!(ours.stdout, "DIR/short\n", "{ours:?}");
        let in_tmp = std::env::temp_dir().starts_with("/tmp");
        assert!(theirs.is_none_or(|theirs| !in_tmp || theirs.stdout == "DIR/tree/dir\n"), "{theirs:?}");
    });
}

#[test]
fn difference_capabilities_are_given_up_in_every_set() {
    each(ANY, "$B --ro-bind / / --cap-drop ALL grep CapBnd /proc/self/status", |room, ours, theirs| {
        assert_eq!(ours.stdout, "CapBnd:\t0000000000000000\n", "{ours:?}");
        assert!(theirs.is_none_or(|theirs| !room.is_root() || theirs.stdout != ours.stdout), "{theirs:?}");
    });
}

#[test]
fn difference_descriptors_of_namespaces_are_not_inherited() {
    // The first sandbox waits for a line.
    let line = "mkfifo p q; $B --ro-bind / / --unshare-user --info-fd 3 sh -c 'echo >&4; read x' 3>i 4<>q <p & exec 9>p; read x <>q; \
                c=$(sed -n 's/.*child-pid\": \\([0-9]*\\).*/\\1/p' i); \
                $B --ro-bind / / --userns 7 test -e /proc/self/fd/7 7</proc/$c/ns/user; echo $?; echo >&9; wait; rm p q i";
    each(ANY, line, |_, ours, theirs| {
        assert_eq!(ours.stdout, "1\n", "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stdout == "0\n"), "{theirs:?}");
    });
}

/// A command that setpriv starts with these capabilities, as root or not; `None` where the tests are not root's.
fn with_capabilities(room: &Room, words: &[&str], program: &std::path::Path) -> Option<Outcome> {
    if !room.is_root() {
        return None;
    }
    let setpriv = xeno_tests::peer("setpriv")?;
    let done = Command::new(setpriv)
        .args(words)
        .arg(program)
        .args(["--ro-bind", "/", "/", "grep", "-e", "CapEff", "-e", "CapPrm", "/proc/self/status"])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Outcome { status: done.status.code().unwrap_or(-1), stdout: text(&done.stdout), stderr: text(&done.stderr), left: String::new() })
}

#[test]
fn difference_root_that_may_not_mount_gets_a_user_namespace() {
    for room in Room::all() {
        let Some(ours) = with_capabilities(&room, &["--bounding-set=-sys_admin"], room.ours()) else { continue };
        assert_eq!(ours.status, 0, "{ours:?}");
        let Some(peer) = xeno_tests::peer("bwrap") else { continue };
        let theirs = with_capabilities(&room, &["--bounding-set=-sys_admin"], &peer).unwrap();
        assert_eq!((theirs.status, theirs.stderr.as_str()), (1, "bwrap: Creating new namespace failed: Operation not permitted\n"));
    }
}

#[test]
fn difference_capabilities_of_an_ordinary_user_are_taken_away_without_a_word() {
    let user = USER.to_string();
    let words = ["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"];
    for room in Room::all() {
        let Some(ours) = with_capabilities(&room, &words, room.ours()) else { continue };
        assert_eq!((ours.status, ours.stdout.as_str()), (0, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"), "{ours:?}");
        let Some(peer) = xeno_tests::peer("bwrap") else { continue };
        let theirs = with_capabilities(&room, &words, &peer).unwrap();
        assert_eq!((theirs.status, theirs.stderr.as_str()), (1, "bwrap: Unexpected capabilities but not setuid, old file caps config?\n"));
    }
}

#[test]
fn difference_set_user_id_is_refused() {
    for room in Room::all().iter().filter(|room| room.is_root()) {
        let program = room.path().join("setuid/bwrap");
        fs::create_dir(room.path().join("setuid")).unwrap();
        fs::copy(room.ours(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let done = Command::new("timeout")
            .args(["20", program.to_str().unwrap(), "--ro-bind", "/", "/", "id"])
            .uid(USER)
            .gid(USER)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            xeno_tests::skip("the directory for temporary files is mounted nosuid");
            continue;
        }
        assert_eq!(
            stderr,
            "bwrap: the program has the set-user-id or set-group-id bit, and needs no privileges; remove it with chmod ug-s\n"
        );
    }
}

#[test]
fn difference_what_is_given_is_looked_at_before_anything_is_told() {
    each(
        ANY,
        "$B $R --ro-bind none /x --info-fd 3 true 3>i; test -s i; echo $?; printf 123 >f; $B $R --seccomp 4 --info-fd 3 true 3>i 4<f; test -s i; echo $?; rm i f",
        |_, ours, theirs| {
            assert_eq!(ours.stdout, "1\n1\n", "{ours:?}");
            assert_eq!(
                ours.stderr,
                "bwrap: Can't find source path none: No such file or directory\nbwrap: Invalid seccomp data, must be multiple of 8\n"
            );
            assert!(theirs.is_none_or(|theirs| theirs.stdout == "0\n0\n" && theirs.stderr == ours.stderr), "{theirs:?}");
        },
    );
}

#[test]
fn difference_an_overlay_may_have_400_layers() {
    let mut line = String::from("mkdir l; for i in $(seq 400); do mkdir l/$i; echo $i >l/$i/file; done; $B $R");
    for layer in 1..=400 {
        write!(line, " --overlay-src l/{layer}").unwrap();
    }
    line += " --tmp-overlay /x cat /x/file; rm -r l";
    each((0, 11), &line, |_, ours, theirs| {
        assert_eq!((ours.status, ours.stdout.as_str()), (0, "400\n"), "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stdout.is_empty()), "{theirs:?}");
    });
}

#[test]
fn difference_a_refusal_names_its_cause_and_remedy() {
    let line = "unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec $0 \"$@\"' $B --unshare-user --ro-bind / / true";
    each(ANY, line, |_, ours, theirs| {
        assert_eq!(ours.status, 1);
        assert!(
            ours.stderr
                .starts_with("bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"),
            "{ours:?}"
        );
        assert!(ours.stderr.contains("user namespaces are switched off (user.max_user_namespaces is 0); "), "{ours:?}");
        assert!(theirs.is_none_or(|theirs| theirs.stderr.ends_with("exceeded (ENOSPC)\n")), "{theirs:?}");
    });
}

#[test]
fn difference_mounts_out_of_reach_are_restricted_too() {
    let Some(unshare) = xeno_tests::peer("unshare") else { return };
    for room in Room::all().iter().filter(|room| room.is_root()) {
        let script = "d=$(mktemp -d) && mkdir $d/shut $d/shut/in && mount -t tmpfs -o mode=755 none $d/shut/in && chmod 755 $d && chmod 700 $d/shut \
                      && for b in $0 bwrap; do setpriv --reuid 4711 --regid 4711 --clear-groups $b --ro-bind / / grep -o \"$d/shut/in r[wo],[^ ]*\" /proc/self/mountinfo \
                      | cut -d' ' -f2; done; umount $d/shut/in && rm -r $d";
        let done = Command::new(&unshare).args(["-m", "bash", "-c", script]).arg(room.ours()).output().unwrap();
        let stdout = String::from_utf8_lossy(&done.stdout);
        let (ours, theirs) = stdout.split_once('\n').unwrap_or_else(|| panic!("{done:?}"));
        assert_eq!(ours, "ro,nosuid,nodev,relatime", "{done:?}");
        assert!(theirs.is_empty() || theirs == "rw,relatime\n", "{done:?}");
    }
}
