//! What `bwrap` is given by mistake or with intent: it names what is wrong in one line, starts nothing, and changes
//! nothing of the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bwrap_peer;

use bwrap_peer::{Outcome, Room};

/// Refused with this text, nothing printed, and the directory as it was.
#[track_caller]
fn refused(room: &Room, line: &str, text: &str) -> Outcome {
    let before = room.by_ours("true");
    let ours = room.by_ours(line);
    assert_eq!((ours.status, ours.stdout.as_str()), (1, ""), "{line}: {ours:?}");
    assert_eq!(ours.stderr, format!("bwrap: {text}\n"), "{line}");
    assert_eq!(ours.left, before.left, "{line}");
    ours
}

#[test]
fn five_thousand_binds_are_made() {
    for room in Room::all() {
        let line = "for i in $(seq 5000); do printf '%s\\0' --ro-bind tree/file /many/$i; done >a; $B $R --args 3 --proc /proc sh -c 'ls /many | wc -l; cat /many/5000' 3<a; rm a";
        let ours = room.by_ours(line);
        assert_eq!((ours.stdout.as_str(), ours.stderr.as_str()), ("5000\ncontent\n", ""), "{ours:?}");
    }
}

#[test]
fn a_list_of_words_that_never_ends_is_not_read_forever() {
    for room in Room::all() {
        refused(&room, "$B --args 3 true 3</dev/zero", "Can't read --args data: File too large");
        refused(&room, "$B --add-seccomp-fd 3 true 3</dev/zero", "Can't read seccomp data: File too large");
        refused(&room, "$B --seccomp 3 true 3</dev/zero", "Can't read seccomp data: File too large");
    }
}

#[test]
fn more_words_than_anybody_needs_are_refused() {
    for room in Room::all() {
        refused(&room, "head -c 2000000 /dev/zero | $B --args 0 true", "Exceeded maximum number of arguments 1048576");
    }
}

#[test]
fn filters_are_what_the_kernel_takes() {
    for room in Room::all() {
        for bytes in ["", "x", "1234567"] {
            let text = if bytes.is_empty() { continue } else { "Invalid seccomp data, must be multiple of 8" };
            refused(&room, &format!("$B --ro-bind / / --seccomp 3 true 3< <(printf '{bytes}')"), text);
        }
        let ours = room.by_ours("$B --ro-bind / / --seccomp 3 true 3</dev/null");
        assert_eq!(ours.status, 1, "{ours:?}");
        let ours = room.by_ours("head -c 40000 /dev/zero >f; $B --ro-bind / / --seccomp 3 true 3<f; echo $?; rm f");
        assert_eq!(ours.stdout, "1\n", "{ours:?}");
    }
}

#[test]
fn a_name_of_a_program_is_no_option() {
    for room in Room::all() {
        let line = "mkdir bin; printf '#!/bin/sh\\necho mine' >bin/--bind; chmod 755 bin/--bind; PATH=$D/bin:$PATH $B --ro-bind / / -- --bind / /; rm -r bin";
        assert_eq!(room.by_ours(line).stdout, "mine\n");
        refused(&room, "PATH=/usr/bin:/bin $B --ro-bind / / -- --bind / /", "execvp --bind: No such file or directory");
        refused(&room, "PATH=/usr/bin:/bin $B --ro-bind / / $'no\\nsuch %s'", "execvp no\nsuch %s: No such file or directory");
    }
}

#[test]
fn sources_that_cannot_be_had_are_named() {
    for room in Room::all() {
        refused(&room, "$B $R --ro-bind tree/dangling /x true", "Can't find source path tree/dangling: No such file or directory");
        refused(&room, "$B $R --bind tree/file/below /x true", "Can't find source path tree/file/below: Not a directory");
        refused(&room, "$B $R --bind-try tree/file/below /x true", "Can't find source path tree/file/below: Not a directory");
        refused(&room, "$B $R --bind '' /x true", "Can't find source path : No such file or directory");
        let long = "n".repeat(300);
        refused(&room, &format!("$B $R --bind {long} /x true"), &format!("Can't find source path {long}: File name too long"));
        refused(&room, &format!("$B $R --dir /{long} true"), &format!("Can't mkdir /{long}: File name too long"));
        let ours = room.by_ours("ln -s loop loop; $B $R --bind loop /x true; rm loop");
        assert_eq!(ours.stderr, "bwrap: Can't find source path loop: Too many levels of symbolic links\n");
        if !room.is_root() {
            refused(&room, "$B $R --bind /proc/1/cwd/none /x true", "Can't find source path /proc/1/cwd/none: Permission denied");
        }
    }
}

#[test]
fn destinations_that_cannot_be_are_named() {
    for room in Room::all() {
        refused(&room, "$B $R --bind tree/file / true", "Can't create file at /: Is a directory");
        refused(&room, "$B $R --bind tree /x --dir /x/file/y true", "Can't mkdir /x/file/y: Not a directory");
        refused(&room, "$B $R --symlink l /l --dir /l true", "Can't mkdir /l: Too many levels of symbolic links");
        refused(&room, "$B $R --symlink a /b --symlink b /a --bind tree /a/x true", "Can't mkdir /a/x: Too many levels of symbolic links");
        refused(&room, "$B --ro-bind / / --dir /no-such-directory true", "Can't mkdir /no-such-directory: Read-only file system");
        refused(
            &room,
            "$B --ro-bind / / --file 3 /no-such-file true 3</dev/null",
            "Can't create file /no-such-file: Read-only file system",
        );
    }
}

#[test]
fn dots_and_the_kernels_links_stay_inside() {
    for room in Room::all() {
        for to in [
            "/../../../../../..$D/empty/made",
            "/proc/self/cwd/empty/made",
            "/proc/self/root$D/empty/made",
            "/proc/1/root$D/empty/made",
            "/proc/self/fd/7/made",
        ] {
            for words in ["--dir", "--tmpfs", "--bind tree", "--file 3", "--symlink a", "--proc", "--dev"] {
                let line = format!("$B $R --bind /proc /proc {words} {to} true 3</dev/null 7<empty >/dev/null 2>&1; ls -A empty");
                let ours = room.by_ours(&line);
                assert_eq!(ours.stdout, "", "{words} {to}: {ours:?}");
            }
        }
    }
}

#[test]
fn descriptors_that_are_closed_or_of_the_wrong_kind_are_named() {
    for room in Room::all() {
        refused(&room, "$B $R --file 77 /f true", "Can't write data to file /f: Bad file descriptor");
        refused(&room, "$B $R --file 7 /f --file 7 /g true 7</dev/null", "Can't write data to file /g: Bad file descriptor");
        refused(&room, "$B $R --file 7 /f true 7<tree", "Can't write data to file /f: Is a directory");
        refused(&room, "$B $R --bind-data 7 /f true 7>/dev/null", "Can't write data to file /f: Bad file descriptor");
        refused(&room, "$B --args 7 true 7>/dev/null", "Can't read --args data: Bad file descriptor");
        refused(&room, "$B --args 7 --args 7 true 7</dev/null", "Can't read --args data: Bad file descriptor");
        refused(&room, "$B $R --bind-fd 7 /x true 7< <(true)", "Can't find source path /proc/self/fd/7: No such file or directory");
        refused(&room, "$B --ro-bind / / --userns 77 true", "Joining specified user namespace failed: Bad file descriptor");
        refused(&room, "$B --ro-bind / / --json-status-fd 77 true", "Write to info_fd: Bad file descriptor");
        refused(&room, "$B --ro-bind / / --lock-file /no/such true", "Unable to open lock file /no/such: No such file or directory");
    }
}

#[test]
fn what_fails_leaves_no_process() {
    for room in Room::all() {
        let failing = [
            "--unshare-all --ro-bind / / --chdir /no/where",
            "--unshare-all --proc /proc --remount-ro /none",
            "--unshare-pid --ro-bind / / --json-status-fd 77",
            "--unshare-pid --ro-bind / / --lock-file /no/such",
            "--unshare-pid --ro-bind / / --seccomp 8",
        ];
        for words in failing {
            // Whoever is left of it has the pipe open.
            let line = format!("printf 12345678 >f; $B {words} true 8<f 2>/dev/null | cat; echo ${{PIPESTATUS[0]}}; rm f");
            assert_eq!(room.by_ours(&line).stdout, "1\n", "{words}");
        }
    }
}

#[test]
fn large_numbers_are_numbers() {
    for room in Room::all() {
        let half = "--size (for tmpfs) is limited to 9223372036854775807";
        refused(&room, "$B --size 9223372036854775808 --tmpfs /x true", half);
        refused(&room, "$B --size 0xffffffffffffffff --tmpfs /x true", half);
        refused(&room, "$B --size 99999999999999999999999999 --tmpfs /x true", "--size takes a non-zero number of bytes");
        refused(&room, "$B --perms 17777777777777777777777 --dir /x true", "--perms takes an octal argument <= 07777");
        refused(&room, "$B --chmod 77777777777777777777777777 /x true", "--chmod takes an octal argument <= 07777");
        refused(&room, "$B --uid 99999999999999999999 true", "Invalid uid: 99999999999999999999");
        refused(&room, "$B --block-fd 2147483648 true", "Invalid fd: 2147483648");
        let ours = room.by_ours("$B $R --size 9223372036854775807 --tmpfs /x --perms 7777 --dir /y stat -c %a /y");
        assert_eq!((ours.status, ours.stdout.as_str()), (0, "1777\n"), "{ours:?}");
    }
}
