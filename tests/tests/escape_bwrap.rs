//! The known ways out of what `bwrap` makes, and the known ways in which setting it up could be turned against the
//! host: each tried where it works (the control) and then with ours, as root and as an ordinary user.
//! `XENO_PEER_BWRAP` names another program of that interface to try instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use xeno_tests::{executable, peer, repository, skip, xeno};

/// An ordinary user.
const USER: u32 = 4711;

/// A root that holds the system's programs and nothing else.
const SYSTEM: &str = r#"
R=$(for d in /usr /bin /sbin /lib /lib32 /lib64 /libx32; do
  if [ -L $d ]; then printf ' --symlink %s %s' "$(readlink $d)" $d; elif [ -d $d ]; then printf ' --ro-bind %s %s' $d $d; fi; done)
"#;

/// Somebody who starts sandboxes, in a directory of theirs.
struct Lab {
    room: TempDir,
    user: Option<u32>,
    bwrap: PathBuf,
}

fn labs() -> Vec<Lab> {
    if let Err(refusal) = fhs_env::probe() {
        skip(&refusal.to_string());
        return Vec::new();
    }
    let (given, Some(_)) = (std::env::var_os("XENO_PEER_BWRAP").map(PathBuf::from), peer("cc")) else { return Vec::new() };
    let Some(program) = given.or_else(xeno) else { return Vec::new() };
    let users: &[Option<u32>] = if nix::unistd::getuid().is_root() { &[None, Some(USER)] } else { &[None] };
    users.iter().map(|user| Lab::new(&program, *user)).collect()
}

impl Lab {
    fn new(program: &Path, user: Option<u32>) -> Lab {
        let room = tempfile::Builder::new().prefix("xeno-escape-").tempdir().unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bwrap = room.path().join("bin/bwrap");
        executable(&bwrap, &fs::read(program).unwrap());
        for name in ["attempt", "swap", "type"] {
            let source = repository().join("fixtures/src/escape").join(format!("{name}.c"));
            let out = Command::new("cc").args(["-O1", "-static", "-o"]).arg(room.path().join(name)).arg(source).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        fs::write(room.path().join("secret"), "the secret\n").unwrap();
        chown(room.path(), user, user).unwrap();
        Lab { room, user, bwrap }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// A directory of the user's.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        chown(&path, self.user, self.user).unwrap();
        path
    }

    /// A file of the user's.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        chown(&path, self.user, self.user).unwrap();
        path
    }

    /// A script, with `$B` for the program, `$D` for the directory, which it is in, and `$R` for what makes a root.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "120", "bash", "-c", &format!("{SYSTEM}\n{script}")]);
        command.current_dir(self.room.path()).env("B", &self.bwrap).env("D", self.room.path()).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn run(&self, script: &str) -> Output {
        self.shell(script).output().unwrap()
    }

    #[track_caller]
    fn said(&self, script: &str) -> String {
        let out = self.run(script);
        assert!(out.status.success(), "{}: {script}: {}", self.who(), String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// An attempt in a sandbox with everything its own.
    fn inside(&self, options: &str, words: &str) -> String {
        // Root keeps its capabilities in what bubblewrap makes, and with them may change its own mounts.
        self.said(&format!(
            "$B --unshare-all --cap-drop ALL $R --proc /proc --dev /dev --tmpfs /tmp --ro-bind attempt /attempt {options} -- /attempt {words}"
        ))
    }

    fn who(&self) -> &str {
        if self.user.is_some() { "a user" } else { "the one who tests" }
    }

    fn is_root(&self) -> bool {
        self.user.is_none() && nix::unistd::getuid().is_root()
    }

    /// Exchanges two names until it is dropped.
    fn swapping(&self, one: &Path, other: &Path) -> Swapping {
        let mut command = Command::new(self.path("swap"));
        command.arg(one).arg(other).stdin(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        Swapping(command.spawn().unwrap())
    }
}

struct Swapping(Child);

impl Drop for Swapping {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Every name below a directory, with its mode and content.
fn state(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        lines.push(format!("{} {:o} {content}", path.display(), data.permissions().mode()));
        if data.is_dir() {
            lines.extend(state(&path));
        }
    }
    lines.sort();
    lines
}

/// CVE-2026-87766: a sandbox was given a directory to write in, and leaves links there; whoever starts the next one
/// with something below that directory must not be led out of the new root by them.
#[test]
fn a_destination_lies_in_the_new_root_whatever_links_lie_on_the_way() {
    for lab in labs() {
        let (victim, shared) = (lab.directory("victim"), lab.directory("shared"));
        lab.file("victim/kept", "kept");
        let host = victim.display();
        let links = [
            "",
            "/oldroot",
            "/newroot/../oldroot",
            "/..",
            "/../..",
            "/proc/self/root",
            "/proc/1/root",
            "../../../../../../oldroot",
            "../../../../../..",
        ];
        for (at, link) in links.iter().enumerate() {
            symlink(format!("{link}{host}"), shared.join(format!("link{at}"))).unwrap();
        }
        symlink("/tmp/inside", shared.join("inside")).unwrap();
        lab.said("mkdir shared/link0/made && rmdir shared/link0/made");
        let operations = [
            "--dir %/made",
            "--file 9 %/made 9<secret",
            "--file 9 %/kept 9<secret",
            "--bind-data 9 %/made 9<secret",
            "--bind-data 9 %/kept 9<secret",
            "--symlink somewhere %/made",
            "--ro-bind /usr %/made",
            "--ro-bind secret %/made",
            "--tmpfs %/made",
            "--dev %/made",
            "--proc %/made",
            "--mqueue %/made",
            "--dir %/kept/../made/deeper",
            "--dir % --chmod 0777 %",
            "--chmod 0777 %/kept",
        ];
        let before = state(&victim);
        for (at, link) in links.iter().enumerate() {
            for operation in operations {
                let operation = operation.replace('%', &format!("/shared/link{at}"));
                let (options, redirection) = operation.split_once(" 9<").map_or((operation.as_str(), ""), |(o, _)| (o, "9<secret"));
                let line =
                    format!("$B --unshare-all $R --proc /proc --tmpfs /tmp --bind shared /shared {options} -- /bin/true {redirection}");
                lab.run(&line);
                assert_eq!(state(&victim), before, "{}: {link} {line}", lab.who());
            }
        }
        // And a link that leads to something in the new root does lead there.
        let inside =
            lab.said("$B $R --tmpfs /tmp --dir /tmp/inside --bind shared /shared --dir /shared/inside/made -- /bin/ls /tmp/inside");
        assert_eq!(inside, "made", "{}", lab.who());
    }
}

/// CVE-2024-42472: a directory that is to be shared is replaced by a link to another one. Who has opened it first and
/// names the descriptor shares that directory, or nothing.
#[test]
fn a_source_that_was_opened_is_that_one_or_an_error() {
    for lab in labs() {
        lab.directory("persist");
        lab.file("persist/own", "its own");
        let show = |options: &str| format!("$B --unshare-all $R {options} -- /bin/cat /shared/own /shared/secret");
        assert_eq!(lab.said("$B $R --bind-fd 9 /shared -- /bin/cat /shared/own 9<persist"), "its own", "{}", lab.who());
        let swapped = "exec 9<persist; mv persist moved; ln -s \"$D\" persist;";
        let control = lab.run(&format!("{swapped} {}", show("--bind persist /shared")));
        assert!(String::from_utf8_lossy(&control.stdout).contains("the secret"), "{}: the control: by its name", lab.who());
        lab.said("rm persist; mv moved persist");
        for option in ["--bind-fd", "--ro-bind-fd"] {
            let out = lab.run(&format!("{swapped} {}", show(&format!("{option} 9 /shared"))));
            lab.said("rm persist; mv moved persist");
            assert!(!String::from_utf8_lossy(&out.stdout).contains("the secret"), "{} {option}", lab.who());
            assert!(!out.status.success(), "{} {option}: it says so", lab.who());
        }
    }
}

#[test]
fn a_source_that_is_swapped_meanwhile_is_never_another_than_was_opened() {
    for lab in labs() {
        lab.directory("own");
        lab.file("own/file", "own");
        lab.directory("other");
        lab.file("other/file", "other");
        symlink("other", lab.path("link")).unwrap();
        let _swapping = lab.swapping(&lab.path("own"), &lab.path("link"));
        let many = |option: &str| format!("for i in $(seq 80); do $B $R {option} -- /bin/cat /shared/file 2>&- 9<own; echo; done");
        let control = lab.said(&many("--bind own /shared"));
        assert!(control.contains("other"), "{}: the control: by name it is found by chance", lab.who());
        // The descriptor is whichever the name led to when the shell opened it, so what it is has to be told by itself.
        let same = "for i in $(seq 80); do exec 9<own; w=$(cat /proc/self/fd/9/file); \
                    g=$($B $R --bind-fd 9 /shared -- /bin/cat /shared/file 2>&-) && [ \"$g\" != \"$w\" ] && echo \"$w became $g\"; done; echo end";
        assert_eq!(lab.said(same), "end", "{}", lab.who());
    }
}

#[test]
fn a_destination_that_is_swapped_meanwhile_never_lies_outside() {
    for lab in labs() {
        let victim = lab.directory("victim");
        let shared = lab.directory("shared");
        lab.directory("shared/swapped");
        symlink(&victim, shared.join("link")).unwrap();
        let _swapping = lab.swapping(&shared.join("swapped"), &shared.join("link"));
        lab.run("for i in $(seq 300); do mkdir shared/swapped/control-$i; done 2>&-");
        assert!(fs::read_dir(&victim).unwrap().count() > 0, "{}: the control: by chance it does", lab.who());
        lab.run("rmdir victim/*");
        for options in [
            "--dir /shared/swapped/made",
            "--symlink x /shared/swapped/link",
            "--file 9 /shared/swapped/file",
            "--bind-data 9 /shared/swapped/data",
        ] {
            lab.run(&format!("for i in $(seq 60); do $B $R --bind shared /shared {options} -- /bin/true 9<secret; done 2>&-"));
            assert_eq!(state(&victim), [""; 0], "{}: {options}", lab.who());
        }
    }
}

#[test]
fn nothing_of_the_host_is_reached_from_inside() {
    let name = format!("xeno-escape-bwrap-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for lab in labs() {
        lab.directory("data");
        let secret = lab.path("secret").display().to_string();
        for road in [format!("open {secret}"), format!("proc {secret}"), format!("abstract {name}")] {
            let outside = lab.said(&format!("./attempt {road}"));
            assert!(outside.starts_with("reached"), "{}: the control: {road}: {outside}", lab.who());
        }
        let rows = [
            (format!("open {secret}"), "refused open ENOENT"),
            (format!("proc {secret}"), "refused every process ENOENT"),
            (format!("chroot {secret}"), "refused open ENOENT"),
            (format!("abstract {name}"), "refused connect ECONNREFUSED"),
            ("write /proc/sys/kernel/core_pattern".to_owned(), if lab.is_root() { "refused open EROFS" } else { "refused open EACCES" }),
            ("device".to_owned(), "refused mknod EPERM"),
            ("remount /data".to_owned(), "refused remount EPERM"),
        ];
        for (words, expected) in rows {
            let said = lab.inside("--ro-bind data /data", &words);
            let alike = expected == "refused open EACCES" && said == "refused open EROFS";
            assert!(said == expected || alike, "{}: {words}: {said}", lab.who());
        }
        for words in [format!("uncover / {secret}"), format!("uncover /tmp {secret}"), "proc-again".to_owned()] {
            let said = lab.inside("", &words);
            let harmless = said.starts_with("refused");
            assert!(harmless, "{}: {words}: {said}", lab.who());
        }
    }
}

#[test]
fn shared_memory_is_apart_where_that_is_asked() {
    for lab in labs() {
        let mut maker = Command::new(lab.path("attempt"));
        maker.args(["shm-make", "shared"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(user) = lab.user {
            maker.uid(user).gid(user);
        }
        let mut maker = maker.spawn().unwrap();
        let mut id = String::new();
        BufReader::new(maker.stdout.take().unwrap()).read_line(&mut id).unwrap();
        let words = format!("shm {}", id.trim());
        assert_eq!(lab.said(&format!("./attempt {words}")), "reached shared", "{}: the control", lab.who());
        assert_eq!(lab.inside("", &words), "refused attach EINVAL", "{}", lab.who());
        drop(maker.stdin.take());
        maker.wait().unwrap();
    }
}

#[test]
fn a_nested_sandbox_has_no_more_than_the_one_around_it() {
    for lab in labs() {
        lab.directory("data");
        let nested = |outer: &str| {
            format!(
                "$B $R --proc /proc --dev /dev --tmpfs /tmp {outer} --ro-bind bin /b -- /b/bwrap --bind /data /inner $R -- /bin/sh -c 'echo x >/inner/written' 2>&-"
            )
        };
        assert!(lab.run(&nested("--bind data /data")).status.success(), "{}: the control", lab.who());
        fs::remove_file(lab.path("data/written")).unwrap();
        assert!(!lab.run(&nested("--ro-bind data /data")).status.success(), "{}", lab.who());
        assert!(!lab.path("data/written").exists(), "{}", lab.who());
    }
}

#[test]
fn a_session_of_its_own_puts_nothing_into_the_callers_terminal() {
    if peer("script").is_none() {
        return;
    }
    for lab in labs() {
        let typed = |option: &str| {
            let line = format!("$B $R --proc /proc --ro-bind type /type {option} -- /type 0 x");
            lab.said(&format!("export B R; script -qec {:?} /dev/null", line.replace("$R", "'$R'").replace('\'', "")))
        };
        let control = typed("");
        if !control.contains("typed") {
            skip(&format!("this kernel takes no input by TIOCSTI: {control}"));
            continue;
        }
        // Whoever has CAP_SYS_ADMIN may (`tiocsti` in `drivers/tty/tty_io.c`).
        let said = typed("--new-session --cap-drop ALL");
        assert!(said.contains("EPERM") && !said.contains("typed"), "{}: {said}", lab.who());
    }
}
