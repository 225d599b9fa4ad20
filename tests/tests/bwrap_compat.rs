//! The same command lines by bubblewrap and by ours, as root and as an ordinary user: what is printed, with which
//! status, and what the sandbox looks like inside. What came after bubblewrap 0.8 is compared where the installed one
//! has it, and has its documented result written here as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bwrap_peer;

use bwrap_peer::{Room, compare};

/// In every version that is still in use.
const OLD: (u32, u32) = (0, 8);
/// The version whose behaviour this is.
const NEW: (u32, u32) = (0, 11);

#[test]
fn words_are_taken_and_refused_alike() {
    compare(
        OLD,
        &[
            ("unknown", "$B --no-such-option true"),
            ("a dash alone", "$B - true"),
            ("unknown after known", "$B --unshare-pid --nothing true"),
            ("bind without values", "$B --bind"),
            ("bind with one value", "$B --bind /usr"),
            ("ro-bind-try with one value", "$B --ro-bind-try /usr"),
            ("dev-bind with one value", "$B --dev-bind /usr"),
            ("chdir without value", "$B --chdir"),
            ("remount-ro without value", "$B --remount-ro"),
            ("proc without value", "$B --proc"),
            ("dev without value", "$B --dev"),
            ("tmpfs without value", "$B --tmpfs"),
            ("mqueue without value", "$B --mqueue"),
            ("dir without value", "$B --dir"),
            ("file with one value", "$B --file 3"),
            ("bind-data with one value", "$B --bind-data 3"),
            ("ro-bind-data with one value", "$B --ro-bind-data 3"),
            ("symlink with one value", "$B --symlink a"),
            ("lock-file without value", "$B --lock-file"),
            ("sync-fd without value", "$B --sync-fd"),
            ("block-fd without value", "$B --block-fd"),
            ("userns-block-fd without value", "$B --userns-block-fd"),
            ("info-fd without value", "$B --info-fd"),
            ("json-status-fd without value", "$B --json-status-fd"),
            ("seccomp without value", "$B --seccomp"),
            ("add-seccomp-fd without value", "$B --add-seccomp-fd"),
            ("userns without value", "$B --userns"),
            ("userns2 without value", "$B --userns2"),
            ("pidns without value", "$B --pidns"),
            ("setenv with one value", "$B --setenv A"),
            ("unsetenv without value", "$B --unsetenv"),
            ("uid without value", "$B --uid"),
            ("gid without value", "$B --gid"),
            ("hostname without value", "$B --hostname"),
            ("cap-add without value", "$B --cap-add"),
            ("cap-drop without value", "$B --cap-drop"),
            ("perms without value", "$B --perms"),
            ("size without value", "$B --size"),
            ("chmod with one value", "$B --chmod 0755"),
            ("args without value", "$B --args"),
            ("exec-label without value", "$B --exec-label"),
            ("file-label without value", "$B --file-label"),
            ("an invalid fd", "$B --info-fd x true"),
            ("an empty fd", "$B --info-fd '' true"),
            ("a negative fd", "$B --sync-fd -1 true"),
            ("a blank before a number", "$B --ro-bind / / --uid ' +0' --unshare-user true"),
            ("an fd with more behind it", "$B --block-fd 3x true"),
            ("an invalid seccomp fd", "$B --seccomp -1 true"),
            ("an invalid uid", "$B --uid abc true"),
            ("a negative uid", "$B --uid -1 true"),
            ("an invalid gid", "$B --gid 1.5 true"),
            ("an unknown capability", "$B --cap-add CAP_NONSENSE true"),
            ("a capability without its prefix", "$B --cap-drop kill true"),
            ("a capability beyond", "$B --cap-add 64 true"),
            ("perms that are not octal", "$B --perms 0789 --dir /x true"),
            ("perms too large", "$B --perms 10000 --dir /x true"),
            ("perms twice", "$B --perms 0700 --perms 0700 --dir /x true"),
            ("perms for nothing", "$B --perms 0700 --proc /proc true"),
            ("perms for a bind", "$B --perms 0700 --bind / / true"),
            ("size twice", "$B --size 1 --size 1 --tmpfs /x true"),
            ("size for nothing", "$B --size 4096 --dir /x true"),
            ("size zero", "$B --size 0 --tmpfs /x true"),
            ("size with a unit", "$B --size 1M --tmpfs /x true"),
            ("size negative", "$B --size -5 --tmpfs /x true"),
            ("size empty", "$B --size '' --tmpfs /x true"),
            ("size beyond 64 bits", "$B --size 18446744073709551616 --tmpfs /x true"),
            ("size beyond half of them", "$B --size 9223372036854775809 --tmpfs /x true"),
            ("chmod not octal", "$B --chmod 9 /x true"),
            ("seccomp both ways", "$B --add-seccomp-fd 3 --seccomp 3 true 3</dev/null"),
            ("seccomp the other way round", "$B --seccomp 3 --add-seccomp-fd 3 true 3</dev/null"),
            ("a filter that is no multiple of eight", "printf 123 >f; $B --add-seccomp-fd 3 true 3<f"),
            ("a filter from nothing", "$B --add-seccomp-fd 77 true"),
            ("setenv without a name", "$B --setenv '' x true"),
            ("setenv with a sign in the name", "$B --setenv a=b x true"),
            ("unsetenv without a name", "$B --unsetenv '' true"),
            ("userns-block-fd alone", "$B --userns-block-fd 0 true"),
            ("userns-block-fd without info-fd", "$B --unshare-user --userns-block-fd 0 true"),
            ("userns with unshare-user", "$B --userns 0 --unshare-user true"),
            ("userns with unshare-user-try", "$B --userns 3 --unshare-user-try true 3</dev/null"),
            ("disable-userns alone", "$B --disable-userns true"),
            ("disable-userns with userns-block-fd", "$B --unshare-user --disable-userns --userns-block-fd 0 --info-fd 1 true"),
            ("hostname without unshare-uts", "$B --hostname x true"),
            ("as-pid-1 without unshare-pid", "$B --as-pid-1 true"),
            ("as-pid-1 with lock-file", "$B --unshare-pid --as-pid-1 --lock-file /x true"),
            ("labels where there are none", "$B --exec-label x true"),
            ("file labels where there are none", "$B --file-label x true"),
            ("options end at the command", "$B --ro-bind / / echo --unshare-pid --nothing"),
            ("two dashes end options", "$B --ro-bind / / -- echo a b"),
            ("two dashes and a silly name", "$B --ro-bind / / -- --ro-bind / / true"),
            ("an empty command", "$B --ro-bind / / ''"),
            ("a command that is not there", "$B --ro-bind / / /no/such/command"),
            ("a command that is a directory", "$B --ro-bind / / /"),
            ("a command that cannot be executed", "$B --ro-bind / / /etc/passwd"),
            ("an empty root", "$B true"),
        ],
    );
}

#[test]
fn files_appear_alike() {
    compare(
        OLD,
        &[
            ("everything", "$B --bind / / cat $D/tree/file"),
            ("a tree", "$B $R --bind tree /x sh -c 'cd /x; ls -a; cat file link dir/inner'"),
            ("changes go to the host", "$B $R --bind tree /x sh -c 'echo new >/x/file; mkdir /x/made'"),
            ("read-only", "$B $R --ro-bind tree /x sh -c 'echo new >/x/file; stat -f -c %T /x'"),
            ("a file", "$B $R --bind tree/file /a/b/c sh -c 'cat /a/b/c; stat -c %F%a /a/b/c; echo new >/a/b/c'"),
            ("a file read-only", "$B $R --ro-bind tree/file /a sh -c 'echo new >/a'"),
            ("a link as source", "$B $R --bind tree/link /a sh -c 'cat /a; stat -c %F /a'"),
            ("a source that is missing", "$B $R --bind $D/none /x true"),
            ("a relative source that is missing", "$B $R --ro-bind none/at/all /x true"),
            ("a dangling source", "$B $R --bind tree/dangling /x true"),
            ("a source below a file", "$B $R --bind tree/file/x /x true"),
            ("a try below a file", "$B $R --bind-try tree/file/x /x true"),
            ("a try that is missing", "$B $R --bind-try none /x --ro-bind-try none /y --dev-bind-try none /z ls / | grep [xyz]"),
            ("a try that is there", "$B $R --bind-try tree /x ls /x"),
            ("devices", "$B $R --dev-bind /dev /dev sh -c 'echo x >/dev/null && head -c 3 /dev/zero | od -An -tx1'"),
            ("no devices in a plain bind", "$B $R --bind /dev /d sh -c 'echo x >/d/null'"),
            ("order: the later one covers", "$B $R --bind tree /x --tmpfs /x ls -A /x"),
            ("order: the other way", "$B $R --tmpfs /x --bind tree /x/y ls /x /x/y"),
            ("one over another", "$B $R --bind tree /x --bind /etc /x/dir test -f /x/dir/passwd"),
            ("a destination over a link", "$B $R --dir /a --symlink a /l --bind tree /l sh -c 'ls /a; readlink /l'"),
            ("a destination without a slash", "$B $R --bind tree x/y ls /x /x/y"),
            ("many slashes", "$B $R --bind tree ///x//y// ls /x/y/"),
            ("a directory over a file", "$B $R --file 3 /x --bind tree /x true 3</dev/null; echo $?"),
            ("a file over a directory", "$B $R --dir /x --bind tree/file /x true; echo $?"),
            ("parents of a directory", "$B $R --dir /a/b/c stat -c '%n %a' /a /a/b /a/b/c"),
            ("a directory that is there", "$B $R --bind tree /x --perms 0700 --dir /x/dir stat -c %a /x/dir"),
            ("a directory where a file is", "$B $R --bind tree /x --dir /x/file true"),
            ("the mode of a directory", "$B $R --perms 1741 --dir /x stat -c %a /x"),
            (
                "a mode that closes parents",
                "$B $R --perms 0700 --dir /a/b --perms 0750 --dir /c/d --perms 0604 --dir /e/f stat -c '%n %a' /a /a/b /c /c/d /e /e/f",
            ),
            (
                "the umask is kept",
                "umask 077; $B $R --dir /d --tmpfs /t --bind tree /x sh -c 'umask; touch /x/new; stat -c %a /d /t /x/new'",
            ),
            ("a link", "$B $R --symlink /some/where /a/l sh -c 'readlink /a/l'"),
            ("a file from a descriptor", "$B $R --file 3 /a/f sh -c 'cat /a/f; stat -c %a /a/f' 3<tree/file"),
            ("a file of given mode", "$B $R --perms 0640 --file 3 /f stat -c %a /f 3<tree/file"),
            ("a file from the middle", "(read -r -n 3 x; $B $R --file 0 /f cat /f) <tree/file"),
            (
                "a file over one of the host",
                "$B $R --bind tree /x --file 3 /x/file stat -c %a /x/file 3</etc/hostname; cat tree/file | wc -l",
            ),
            ("a file from nothing", "$B $R --file 77 /f true"),
            ("bound data", "$B $R --bind-data 3 /f sh -c 'cat /f; stat -c %a /f; echo more >>/f; cat /f' 3<tree/file"),
            ("bound read-only data", "$B $R --ro-bind-data 3 /f sh -c 'cat /f; echo more >>/f' 3<tree/file"),
            ("bound data of given mode", "$B $R --perms 0444 --bind-data 3 /f stat -c %a /f 3<tree/file"),
            ("bound data over a file of the host", "$B $R --bind tree /x --bind-data 3 /x/file cat /x/file 3<<<other"),
            ("data from a pipe", "echo piped | $B $R --file 0 /f cat /f"),
            ("the mode of what is there", "$B $R --dir /d --chmod 1755 /d stat -c %a /d"),
            ("the mode of what is not there", "$B $R --chmod 0755 /none true"),
            ("the root itself", "$B $R stat -c '%n %a %u' /"),
            ("nothing of the host", "$B $R ls -A / | grep -v -e usr -e bin -e lib"),
            ("a hidden directory below", "$B --ro-bind / / --tmpfs $D sh -c 'ls -A $D'"),
            ("/proc/self/fd as a source", "$B $R --bind /proc/self/fd/3 /x ls /x 3<tree"),
            (
                "names with blanks, quotes and signs",
                "mkdir 'a %s \"b\\ c,:'; echo in >'a %s \"b\\ c,:/f'; $B $R --bind 'a %s \"b\\ c,:' '/x %d' cat '/x %d/f'",
            ),
            ("a name with a line end", "mkdir $'a\\nb'; $B $R --bind $'a\\nb' $'/c\\nd' ls /; $B $R --bind $'no\\nne' /x true"),
        ],
    );
}

/// Mount point, options and type of what can be seen: the last mount at each place, if whoever runs it can get there. The
/// parts of proc that are covered and the rights of message queues differ on purpose.
const MOUNTS: &str = r#"sed -E 's/^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ ([^ ]+) ([^ ]+)( .*)? - ([^ ]+) .*/\1 \2 \4/' | tac | sort -s -u -k1,1 | grep -v -e ^/proc/ -e mqueue \
    | while read -r m rest; do grep -q " $m " /proc/self/mountinfo && ! test -e $m || echo $m $rest; done; echo ${PIPESTATUS[0]}"#;

#[test]
fn mounts_look_alike() {
    let with_mounts: Vec<(String, String)> = [
        ("a plain root", "$B $R --proc /proc"),
        ("everything", "$B --bind / /"),
        ("everything read-only", "$B --ro-bind / /"),
        ("everything with devices", "$B --dev-bind / /"),
        ("binds of each kind", "$B $R --proc /proc --bind tree /a --ro-bind tree /b --dev-bind tree /c"),
        ("a minimal dev", "$B $R --proc /proc --dev /dev"),
        ("a dev elsewhere", "$B $R --proc /proc --dev /x/dev"),
        ("dev over everything", "$B --ro-bind / / --dev /dev"),
        ("tmpfs", "$B $R --proc /proc --tmpfs /t --perms 1777 --tmpfs /u"),
        ("a pid namespace's proc", "$B $R --unshare-pid --proc /proc"),
        ("message queues", "$B $R --unshare-ipc --proc /proc --mqueue /q"),
        ("remounted root", "$B $R --proc /proc --remount-ro /"),
        ("remounted bind, not what is below", "$B $R --proc /proc --bind tree /x --tmpfs /x/dir --remount-ro /x"),
        ("remounted devices", "$B $R --proc /proc --dev-bind /dev /dev --remount-ro /dev"),
        ("data", "$B $R --proc /proc --bind-data 3 /f --ro-bind-data 4 /g"),
    ]
    .into_iter()
    .map(|(name, line)| (name.to_owned(), format!("{line} cat /proc/self/mountinfo 3</dev/null 4</dev/null | {MOUNTS}")))
    .collect();
    let lines: Vec<(&str, &str)> = with_mounts.iter().map(|(name, line)| (name.as_str(), line.as_str())).collect();
    compare(OLD, &lines);
}

#[test]
fn what_the_kernel_shows_is_alike() {
    compare(
        OLD,
        &[
            ("dev", "$B $R --proc /proc --dev /dev sh -c 'cd /dev; stat -c \"%n %F %a %t:%T %N\" *; ls -d pts/* shm; stat -c %a pts shm'"),
            (
                "dev is usable",
                "$B $R --dev /dev sh -c 'echo x >/dev/null; head -c2 /dev/zero | od -An -tx1; echo x >/dev/full; head -c1 /dev/urandom | wc -c'",
            ),
            ("dev has a pts of its own", "$B $R --dev /dev --proc /proc script -qec 'tty' /dev/null"),
            ("dev without console", "$B $R --dev /dev sh -c 'ls /dev/console' | cat"),
            (
                "the console is the terminal",
                "script -qec '$B $R --dev /dev --proc /proc sh -c \"test -c /dev/console && echo there\"' /dev/null",
            ),
            (
                "proc's machine-wide parts",
                "$B $R --proc /proc sh -c 'for f in sysrq-trigger irq bus; do test -w /proc/$f && echo $f; done; echo x >/proc/sysrq-trigger'",
            ),
            (
                "proc's machine-wide parts, own",
                "$B $R --unshare-pid --proc /proc sh -c 'for f in sysrq-trigger irq bus; do test -w /proc/$f && echo $f; done'",
            ),
            ("proc shows its own processes only", "$B $R --unshare-pid --proc /proc sh -c 'ls -d /proc/[0-9]*'"),
            ("proc twice", "$B $R --unshare-pid --proc /proc --proc /p2 sh -c 'readlink /p2/self'"),
            ("tmpfs and its size", "$B $R --size 1048576 --tmpfs /t df --output=size --block-size=1K /t"),
            (
                "tmpfs, size in hexadecimal and octal",
                "$B $R --size 0x100000 --tmpfs /t --size 04000000 --tmpfs /u df --output=size --block-size=1K /t /u",
            ),
            ("tmpfs, its mode and owner", "$B $R --perms 1777 --tmpfs /t --tmpfs /u stat -c '%a %u %g' /t /u"),
            ("tmpfs at the root", "$B --tmpfs / $R sh -c 'touch /x; ls /x'"),
            ("remount: nothing can be written", "$B $R --bind tree /x --remount-ro /x sh -c 'echo a >/x/new'"),
            ("remount of what is no mount", "$B $R --dir /d --remount-ro /d true"),
            ("remount of nothing", "$B $R --remount-ro /none true"),
            ("message queues", "$B $R --mqueue /q ls -ld --time-style=+ /q | cut -c1-10"),
        ],
    );
}

const CAPS: &str = "grep -e CapPrm -e CapEff -e NoNew /proc/self/status";

#[test]
fn processes_are_alike() {
    let own: Vec<(&str, String)> = vec![
        ("no capabilities", format!("$B --ro-bind / / {CAPS}")),
        ("no capabilities in a user namespace", format!("$B --ro-bind / / --unshare-user {CAPS}")),
        ("all capabilities", format!("$B --ro-bind / / --unshare-user --cap-add ALL {CAPS}")),
        ("some capabilities", format!("$B --ro-bind / / --unshare-user --cap-drop ALL --cap-add CAP_NET_RAW --cap-add cap_kill {CAPS}")),
        ("in order", format!("$B --ro-bind / / --unshare-user --cap-add CAP_NET_RAW --cap-drop ALL {CAPS}")),
        ("in the other order", format!("$B --ro-bind / / --unshare-user --cap-drop ALL --cap-add 12 {CAPS}")),
        ("dropped", format!("$B --ro-bind / / --cap-drop ALL {CAPS}")),
        ("one dropped", format!("$B --ro-bind / / --cap-drop CAP_KILL {CAPS}")),
        (
            "capabilities of another id",
            format!("$B --ro-bind / / --unshare-user --uid 1000 --gid 100 --cap-drop ALL --cap-add CAP_NET_RAW {CAPS}"),
        ),
        ("capabilities with dev", format!("$B --ro-bind / / --dev /dev --unshare-user --uid 1000 {CAPS}")),
        ("capabilities of process 1", format!("$B --ro-bind / / --proc /proc --unshare-pid sh -c '{}; :'", CAPS.replace("self", "1"))),
    ];
    let mut lines: Vec<(&str, &str)> = own.iter().map(|(name, line)| (*name, line.as_str())).collect();
    lines.extend_from_slice(&[
        ("status", "$B --ro-bind / / sh -c 'exit 3'; rm -f i j o o2"),
        ("status 255", "$B --ro-bind / / --unshare-pid sh -c 'exit 255'"),
        ("killed", "{ $B --ro-bind / / sh -c 'kill -9 $$'; echo $?; } 2>/dev/null"),
        ("killed in a pid namespace", "$B --ro-bind / / --unshare-pid sh -c 'kill -TERM $$'; echo $?"),
        ("killed as process 1", "$B --ro-bind / / --unshare-pid --as-pid-1 sh -c 'kill -9 $$; echo alive'; echo $?"),
        ("ids", "$B --ro-bind / / sh -c 'id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map'"),
        ("ids in a user namespace", "$B --ro-bind / / --unshare-user sh -c 'id -u; id -g; id -G; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups'"),
        ("other ids", "$B --ro-bind / / --unshare-user --uid 1234 --gid 5678 sh -c 'id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map'"),
        ("root inside", "$B --ro-bind / / --unshare-user --uid 0 --gid 0 sh -c 'id -u; cat /proc/self/uid_map'"),
        ("another uid with dev", "$B --ro-bind / / --dev /dev --unshare-user --uid 5 --gid 6 sh -c 'id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u /dev/pts'"),
        ("an id without a user namespace", "$B --ro-bind / / --uid 77 id -u; $B --ro-bind / / --gid 77 id -g"),
        ("pid", "$B --ro-bind / / --unshare-pid sh -c 'echo $$ $PPID'"),
        ("pid as process 1", "$B --ro-bind / / --unshare-pid --as-pid-1 sh -c 'echo $$ $PPID'"),
        ("host name", "$B --ro-bind / / --unshare-uts --hostname some.where uname -n"),
        ("host name, the last", "$B --ro-bind / / --unshare-uts --hostname one --hostname two uname -n 2>/dev/null"),
        ("network", "$B --ro-bind / / --unshare-net --proc /proc sh -c 'cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/fib_trie | grep -c 127.0.0.1'"),
        ("shared network", "test $($B --ro-bind / / --unshare-all --share-net readlink /proc/self/ns/net) = $(readlink /proc/self/ns/net); echo $?"),
        ("all namespaces", "for n in user ipc pid net uts cgroup mnt; do test $($B --ro-bind / / --unshare-all --proc /proc readlink /proc/self/ns/$n) = $(readlink /proc/self/ns/$n); echo $n $?; done"),
        ("no namespaces but these", "for n in user ipc pid net uts cgroup mnt; do test $($B --ro-bind / / readlink /proc/self/ns/$n) = $(readlink /proc/self/ns/$n); echo $n $?; done"),
        ("each namespace", "for n in user ipc pid net uts cgroup; do test $($B --ro-bind / / --unshare-$n --proc /proc readlink /proc/self/ns/$n) = $(readlink /proc/self/ns/$n); echo $n $?; done"),
        ("tries", "$B --ro-bind / / --unshare-user-try --unshare-cgroup-try sh -c 'cat /proc/self/uid_map'"),
        ("new session", "$B --ro-bind / / --new-session sh -c 'test $(ps -o sid= -p $$) = $$ && echo leads'"),
        ("the caller's session", "test $($B --ro-bind / / ps -o sid= -p 1) != x; test $($B --ro-bind / / sh -c 'ps -o sid= -p $$') = $(ps -o sid= -p $$); echo $?"),
        ("environment", "A=1 B2=2 $B --ro-bind / / --unsetenv A --setenv C 3 --setenv B2 x sh -c 'echo $A-$B2-$C-$PWD'"),
        ("an empty environment", "$B --ro-bind / / --clearenv /usr/bin/env"),
        ("environment in order", "$B --ro-bind / / --clearenv --setenv A 1 --setenv B 2 --setenv A 3 --unsetenv B /usr/bin/env"),
        ("set before it is cleared", "$B --ro-bind / / --setenv A 1 --clearenv /usr/bin/env"),
        ("PATH decides", "mkdir bin; printf '#!/bin/sh\\necho mine' >bin/prog; chmod 755 bin/prog; $B --ro-bind / / --setenv PATH $D/bin prog"),
        ("a script without an interpreter", "printf 'echo mine' >prog; chmod 755 prog; $B --ro-bind / / $D/prog"),
        ("chdir", "$B --ro-bind / / --chdir /usr sh -c 'pwd; echo $PWD'"),
        ("chdir to nothing", "$B --ro-bind / / --chdir /no/where pwd"),
        ("chdir, relative", "$B --ro-bind / / --chdir usr /bin/pwd"),
        ("the caller's directory", "cd tree/dir; $B --ro-bind / / sh -c '/bin/pwd; echo $PWD'"),
        ("the caller's directory is hidden", "$B $R --dir /home/me --setenv HOME /home/me sh -c '/bin/pwd; echo $PWD'"),
        ("neither it nor a home", "$B $R sh -c '/bin/pwd; echo $PWD'"),
        ("a wrong PWD", "PWD=/nonsense $B --ro-bind / / sh -c 'echo $PWD'"),
        ("lock", "touch lock; chmod 666 lock; $B --bind / / --lock-file $D/lock sh -c 'awk \"{print \\$2,\\$3,\\$4}\" /proc/locks | grep READ | sort -u'"),
        ("a lock on nothing", "$B --ro-bind / / --lock-file /no/such true; :"),
        ("die with parent", "$B --ro-bind / / --die-with-parent --unshare-pid sh -c 'echo started'"),
        ("orphans are waited for by nobody", "$B --ro-bind / / --unshare-pid sh -c '(sleep 30 &) ; exit 4'; echo $?"),
        ("nested", "$B --dev-bind / / $B --dev-bind / / --unshare-all --proc /proc echo in"),
        ("nested in all", "$B --unshare-all --dev-bind / / --proc /proc $B --unshare-all --dev-bind / / --proc /proc echo in"),
        ("no more user namespaces", "$B --unshare-user --disable-userns --dev-bind / / sh -c 'unshare -U true 2>/dev/null || echo refused'"),
        ("no more, asserted", "$B --unshare-user --disable-userns --assert-userns-disabled --dev-bind / / echo fine"),
        ("asserted and not so", "$B --unshare-user --assert-userns-disabled --dev-bind / / echo wrong"),
        ("groups", "$B --ro-bind / / --unshare-user sh -c 'grep Groups /proc/self/status'"),
    ]);
    compare(OLD, &lines);
}

#[test]
fn descriptors_are_used_alike() {
    compare(
        OLD,
        &[
            (
                "arguments",
                "printf '%s\\0' --dir /made --setenv A b >a; $B --ro-bind / / --tmpfs /tmp --args 3 sh -c 'ls -d /made; echo $A' 3<a; $B $R --args 3 sh -c 'ls -d /made; echo $A' 3<a",
            ),
            ("arguments without their end", "printf -- '--dir\\0/made' >a; $B $R --args 3 ls -d /made 3<a"),
            ("arguments, some missing", "printf -- '--bind\\0/usr' >a; $B $R --args 3 true 3<a"),
            ("arguments end at a command", "printf '%s\\0' --dir /a echo --dir /b >a; $B $R --args 3 sh -c 'ls -d /a /b' 3<a"),
            ("arguments with two dashes", "printf '%s\\0' --dir /a -- --dir /b >a; $B $R --args 3 sh -c 'ls -d /a /b' 3<a"),
            ("arguments in arguments", "printf '%s\\0' --args 4 >a; $B $R --args 3 true 3<a 4<a"),
            ("arguments twice", "printf '%s\\0' --dir /a >a; printf '%s\\0' --dir /b >b; $B $R --args 3 --args 4 ls -d /a /b 3<a 4<b"),
            ("arguments from nothing", "$B --args 77 true"),
            ("arguments from a directory", "$B --args 3 true 3<tree"),
            ("arguments are empty", "$B $R --args 3 echo in 3</dev/null"),
            ("arguments ask for help", "printf '%s\\0' --version >a; $B --args 3 true 3<a | cut -d' ' -f1"),
            ("an empty argument ends them", "printf '\\0%s\\0' --dir /a >a; $B $R --args 3 ls -d /a 3<a"),
            ("descriptors of options are closed", "$B $R --proc /proc --file 3 /f --args 4 ls /proc/self/fd 3</dev/null 4</dev/null"),
            ("others are inherited", "$B $R --proc /proc sh -c 'cat <&7' 7<tree/file"),
            ("standard ones are inherited", "echo in | $B --ro-bind / / cat; $B --ro-bind / / sh -c 'echo err >&2'"),
            ("a closed standard input", "$B --ro-bind / / --proc /proc sh -c 'ls -l /proc/self/fd/0 2>&1 | grep -c /dev/null' <&-"),
            ("info", "$B --ro-bind / / --unshare-all --info-fd 3 true 3>i; sed 's/[0-9][0-9]*/N/' i; rm -f i j o o2"),
            ("info without namespaces", "$B --ro-bind / / --info-fd 3 true 3>i; sed 's/[0-9][0-9]*/N/' i; rm -f i j o o2"),
            (
                "info is true",
                "exec 3>i; $B --ro-bind / / --unshare-pid --unshare-uts --proc /proc --info-fd 3 sh -c 'readlink /proc/self/ns/pid /proc/self/ns/uts /proc/self/ns/mnt' >o; for n in $(tr -dc '0-9\\n' <o); do grep -c $n i; done; rm -f i j o o2",
            ),
            (
                "status",
                "$B --ro-bind / / --unshare-all --json-status-fd 3 sh -c 'exit 42' 3>j; echo $?; sed 's/[0-9]\\{3,\\}/N/g' j; rm -f i j o o2",
            ),
            (
                "status without a pid namespace",
                "$B --ro-bind / / --json-status-fd 3 sh -c 'exit 7' 3>j; echo $?; sed 's/[0-9]\\{3,\\}/N/g' j; rm -f i j o o2",
            ),
            (
                "status of a killed one",
                "$B --ro-bind / / --json-status-fd 3 sh -c 'kill -9 $$' 3>j; echo $?; sed 's/[0-9]\\{4,\\}/N/g' j; rm -f i j o o2",
            ),
            (
                "status of what did not start",
                "$B --ro-bind / / --json-status-fd 3 /no/such 3>j; echo $?; sed 's/[0-9]\\{3,\\}/N/g' j; rm -f i j o o2",
            ),
            ("status is not inherited", "$B --ro-bind / / --proc /proc --json-status-fd 3 ls /proc/self/fd 3>/dev/null"),
            ("block", "mkfifo p; (sleep 0.2; echo go >&8) 8<>p & $B --ro-bind / / --block-fd 8 cat /dev/null 8<>p; echo done"),
            ("block on the end of a file", "$B --ro-bind / / --block-fd 3 echo in 3</dev/null"),
            ("sync", "mkfifo p; exec 8<>p; $B --ro-bind / / --proc /proc --sync-fd 8 ls /proc/self/fd"),
            (
                "sync outlives the command",
                "{ $B --dev-bind / / --unshare-pid --sync-fd 8 sh -c 'sleep 0.3 & exit 0' 8>&1 >/dev/null; echo over >&2; } | cat",
            ),
            ("sync with process 1", "$B --ro-bind / / --proc /proc --unshare-pid --as-pid-1 --sync-fd 3 ls /proc/self/fd 3</dev/null"),
            (
                "a filter",
                r"printf '\x20\0\0\0\0\0\0\0\x15\0\0\1\x3f\0\0\0\x06\0\0\0\x0d\0\x05\0\x06\0\0\0\0\0\xff\x7f' >f; $B --ro-bind / / --seccomp 3 uname 3<f; echo $?",
            ),
            (
                "filters",
                r"printf '\x20\0\0\0\0\0\0\0\x15\0\0\1\x3f\0\0\0\x06\0\0\0\x0d\0\x05\0\x06\0\0\0\0\0\xff\x7f' >f; $B --ro-bind / / --add-seccomp-fd 3 --add-seccomp-fd 4 --unshare-pid uname 3<f 4<f; echo $?",
            ),
            ("a filter that is none", "printf '12345678' >f; $B --ro-bind / / --seccomp 3 true 3<f"),
            ("a filter read late from nothing", "$B --ro-bind / / --seccomp 77 true"),
            ("an odd filter", "printf '12345' >f; $B --ro-bind / / --seccomp 3 true 3<f"),
            ("userns of nothing", "$B --ro-bind / / --userns 3 true 3</dev/null"),
            ("pidns of nothing", "$B --ro-bind / / --pidns 3 true 3</dev/null 2>&1 | head -n 1"),
            (
                "ids from outside",
                "mkfifo p; : >i; exec 4<>p; $B --ro-bind / / --unshare-user --info-fd 3 --userns-block-fd 4 sh -c 'id -u; id -g; cat /proc/self/uid_map' 3>i & while [ -z \"$c\" ]; do c=$(sed -n 's/.*child-pid\": \\([0-9]*\\).*/\\1/p' i); done; echo 7 $(id -u) 1 >/proc/$c/uid_map; echo deny >/proc/$c/setgroups; echo 8 $(id -g) 1 >/proc/$c/gid_map; echo >&4; wait; rm i p",
            ),
            (
                "join a user namespace",
                "mkfifo p q; $B --ro-bind / / --bind $D $D --unshare-user --info-fd 3 sh -c 'readlink /proc/self/ns/user; echo >q; cat p' 3>i >o & cat q >/dev/null; c=$(sed -n 's/.*child-pid\": \\([0-9]*\\).*/\\1/p' i); $B --ro-bind / / --userns 4 readlink /proc/self/ns/user 4</proc/$c/ns/user >o2; echo >p; wait; cmp o o2 && echo same; rm -f i j o o2",
            ),
            (
                "join a pid namespace",
                "mkfifo p q; $B --ro-bind / / --bind $D $D --proc /proc --unshare-user --unshare-pid --info-fd 3 sh -c 'readlink /proc/self/ns/pid; echo >q; cat p' 3>i >o & cat q >/dev/null; c=$(sed -n 's/.*child-pid\": \\([0-9]*\\).*/\\1/p' i); $B --ro-bind / / --proc /proc --userns 4 --pidns 5 readlink /proc/self/ns/pid 4</proc/$c/ns/user 5</proc/$c/ns/pid >o2; echo >p; wait; cmp o o2 && echo same; rm -f i j o o2",
            ),
        ],
    );
}

#[test]
fn the_usage_names_the_same_options_on_the_same_stream() {
    for room in Room::all() {
        let options = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("    --"));
            lines.map(|line| line.trim_start().split("  ").next().unwrap_or("").trim_end().to_owned()).collect()
        };
        let ours = room.by_ours("$B --help");
        assert_eq!((ours.status, ours.stderr.as_str()), (0, ""));
        assert!(ours.stdout.starts_with("usage: BWRAP [OPTIONS...] [--] COMMAND [ARGS...]\n\n"), "{}", ours.stdout);
        let Some(theirs) = room.by_theirs(OLD, "$B --help") else { return };
        for option in options(&theirs.stdout) {
            // One of them writes beyond its column.
            let name = option.split(" Mount").next().unwrap_or("").to_owned();
            assert!(options(&ours.stdout).contains(&name), "{name} is missing in\n{}", ours.stdout);
        }
        for line in ["$B", "$B --ro-bind / /", "$B --"] {
            let (ours, theirs) = (room.by_ours(line), room.by_theirs(OLD, line).unwrap());
            assert_eq!((ours.status, ours.stdout.as_str()), (1, ""));
            assert_eq!((theirs.status, theirs.stdout.as_str()), (1, ""));
            assert!(ours.stderr.starts_with("usage: BWRAP "), "{}", ours.stderr);
        }
    }
}

/// What came after 0.8: name, line, status, standard output, standard error.
type Documented = (&'static str, &'static str, i32, &'static str, &'static str);

#[rustfmt::skip]
const DOCUMENTED: &[Documented] = &[
    ("argv0", "$B --ro-bind / / --argv0 other sh -c 'echo $0'", 0, "other\n", ""),
    ("argv0 without value", "$B --argv0", 1, "", "bwrap: --argv0 takes one argument\n"),
    ("argv0 twice", "$B --argv0 a --argv0 b true", 1, "", "bwrap: --argv0 used multiple times\n"),
    ("the last chdir", "$B --ro-bind / / --chdir /etc --chdir / /bin/pwd", 0, "/\n", "bwrap: Only the last --chdir option will take effect\n"),
    ("the last host name", "$B --ro-bind / / --unshare-uts --hostname a --hostname b uname -n", 0, "b\n", "bwrap: Only the last --hostname option will take effect\n"),
    ("the last ids", "$B --ro-bind / / --unshare-user --uid 1 --uid 2 --gid 3 --gid 4 id -u", 0, "2\n",
        "bwrap: Only the last --uid option will take effect\nbwrap: Only the last --gid option will take effect\n"),
    ("the last descriptors", "$B --ro-bind / / --block-fd 3 --block-fd 4 --sync-fd 5 --sync-fd 6 true 3</dev/null 4</dev/null", 0, "",
        "bwrap: Only the last --block-fd option will take effect\nbwrap: Only the last --sync-fd option will take effect\n"),
    ("the last reports", "$B --ro-bind / / --info-fd 3 --info-fd 4 --json-status-fd 3 --json-status-fd 5 true 3>/dev/null 4>/dev/null 5>/dev/null", 0, "",
        "bwrap: Only the last --info-fd option will take effect\nbwrap: Only the last --json-status-fd option will take effect\n"),
    ("the last filter", "$B --seccomp 3 --seccomp x true", 1, "", "bwrap: Only the last --seccomp option will take effect\nbwrap: Invalid fd: x\n"),
    ("the last namespaces", "$B --userns 3 --userns 3 --userns2 3 --userns2 3 --pidns 3 --pidns 3", 1, "",
        "bwrap: Only the last --userns option will take effect\nbwrap: Only the last --userns2 option will take effect\nbwrap: Only the last --pidns option will take effect\nusage: BWRAP [OPTIONS...] [--] COMMAND [ARGS...]"),
    ("levels", "$B --level-prefix --chdir / --chdir / --nothing", 1, "", "<4>bwrap: Only the last --chdir option will take effect\n<3>bwrap: Unknown option --nothing\n"),
    ("levels from there on", "$B --chdir / --chdir / --level-prefix --nothing", 1, "", "bwrap: Only the last --chdir option will take effect\n<3>bwrap: Unknown option --nothing\n"),
    ("bind-fd", "$B $R --bind-fd 7 /x --proc /proc sh -c 'cat /x/file; echo new >/x/file; test -e /proc/self/fd/7 || echo closed' 7<tree", 0, "content\nclosed\n", ""),
    ("ro-bind-fd", "$B $R --ro-bind-fd 7 /x sh -c 'cat /x/file; echo new >/x/file' 7<tree", 2, "content\n", "sh: 1: cannot create /x/file: Read-only file system\n"),
    ("bind-fd of a file", "$B $R --bind-fd 7 /f cat /f 7<tree/file", 0, "content\n", ""),
    ("bind-fd with one value", "$B --bind-fd 3", 1, "", "bwrap: --bind-fd takes two arguments\n"),
    ("ro-bind-fd with one value", "$B --ro-bind-fd 3", 1, "", "bwrap: --bind-fd takes two arguments\n"),
    ("bind-fd of no number", "$B --bind-fd x /y true", 1, "", "bwrap: Invalid fd: x\n"),
    ("bind-fd of nothing", "$B $R --bind-fd 77 /x true", 1, "", "bwrap: Can't find source path /proc/self/fd/77: No such file or directory\n"),
    ("a link twice", "$B $R --symlink a /l --symlink a /l readlink /l", 0, "a\n", ""),
    ("another link", "$B $R --symlink a /l --symlink b /l true", 1, "", "bwrap: Can't make symlink at /l: existing destination is a\n"),
    ("a link where a file is", "$B $R --bind tree /x --symlink a /x/file true", 1, "", "bwrap: Can't make symlink at /x/file: destination exists and is not a symlink\n"),
    ("an overlay without layers", "$B --overlay a b /x true", 1, "", "bwrap: --overlay requires at least one --overlay-src\n"),
    ("a tmp-overlay without layers", "$B --tmp-overlay /x true", 1, "", "bwrap: --tmp-overlay requires at least one --overlay-src\n"),
    ("a ro-overlay with one layer", "$B --overlay-src tree --ro-overlay /x true", 1, "", "bwrap: --ro-overlay requires at least two --overlay-src\n"),
    ("a layer for nothing", "$B --overlay-src tree --dir /x true", 1, "",
        "bwrap: --overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay\n"),
    ("a layer at the end", "$B --overlay-src tree true", 1, "",
        "bwrap: --overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay\n"),
    ("a layer without value", "$B --overlay-src", 1, "",
        "bwrap: --overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay\n"),
    ("an overlay with two values", "$B --overlay-src tree --overlay a b", 1, "", "bwrap: --overlay takes three arguments\n"),
    ("a layer that is missing", "$B $R --overlay-src none --tmp-overlay /x true", 1, "", "bwrap: Can't find source path none: No such file or directory\n"),
];

/// The same where overlays can be mounted by an ordinary user.
#[rustfmt::skip]
const OVERLAYS: &[Documented] = &[
    ("tmp-overlay", "mkdir low; echo low >low/file; $B $R --overlay-src low --overlay-src tree --tmp-overlay /x sh -c 'cat /x/file; echo new >/x/file; cat /x/file'; cat tree/file; rm -r low", 0, "content\nnew\ncontent\n", ""),
    ("the highest layer is the last", "mkdir low; echo low >low/file; $B $R --overlay-src tree --overlay-src low --tmp-overlay /x cat /x/file; rm -r low", 0, "low\n", ""),
    ("ro-overlay", "$B $R --overlay-src empty --overlay-src tree --ro-overlay /x sh -c 'cat /x/file; echo new >/x/file'", 2, "content\n", "sh: 1: cannot create /x/file: Read-only file system\n"),
    ("overlay", "mkdir up work; $B $R --overlay-src tree --overlay up work /x sh -c 'echo new >/x/file; cat /x/file'; cat up/file tree/file; chmod -R u+rwx work; rm -r up work", 0, "new\nnew\ncontent\n", ""),
    ("two tmp-overlays", "$B $R --overlay-src tree --tmp-overlay /x --overlay-src tree --tmp-overlay /y sh -c 'echo x >/x/file; cat /x/file /y/file'", 0, "x\ncontent\n", ""),
    ("over everything", "$B --ro-bind / / --overlay-src tree --tmp-overlay /mnt cat /mnt/file", 0, "content\n", ""),
    ("names that options are made of", r#"mkdir 'l":,\' 'u":,\' 'w":,\'; echo 1 >'l":,\/a'; $B $R --overlay-src 'l":,\' --overlay 'u":,\' 'w":,\' /x sh -c 'cat /x/a; echo 2 >/x/a'; cat 'u":,\/a'; chmod -R u+rwx w*; rm -r l* u* w*"#, 0, "1\n2\n", ""),
];

fn documented(lines: &[Documented]) {
    let mut faults = String::new();
    for room in Room::all() {
        for (name, line, status, stdout, stderr) in lines {
            for (who, outcome) in [("ours", Some(room.by_ours(line))), ("theirs", room.by_theirs(NEW, line))] {
                let Some(outcome) = outcome else { continue };
                // Usage texts differ below their first line.
                let same_stderr = if stderr.contains("usage:") { outcome.stderr.starts_with(stderr) } else { outcome.stderr == *stderr };
                if outcome.status != *status || outcome.stdout != *stdout || !same_stderr {
                    faults += &format!("{name} ({who}): {line}\n  {} {:?} {:?}\n", outcome.status, outcome.stdout, outcome.stderr);
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn what_came_later_does_what_its_manual_says() {
    documented(DOCUMENTED);
}

#[test]
fn overlays_do_what_the_manual_says() {
    documented(OVERLAYS);
}
