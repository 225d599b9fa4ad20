//! The ways out of a sandbox that are known, each tried: outside, where it works (the control), and inside, behind
//! all walls and behind namespaces alone; as root and as an ordinary user. `fixtures/src/escape/attempt.c` tries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scene;

use fhs_env::policy::KernelFacts;
use scene::{Scene, has, is_root, said, scenes, skip};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where an attempt is made, with a file of the host's that it seeks.
struct Lab {
    scene: Scene,
    secret: String,
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/src/escape").join(name)
}

fn labs() -> Vec<Lab> {
    labs_around("cell")
}

fn labs_around(example: &'static str) -> Vec<Lab> {
    if !has("cc") || !has("unshare") {
        return Vec::new();
    }
    let labs = scenes(example).into_iter().map(|scene| {
        for program in ["attempt", "calls"] {
            let mut cc = Command::new("cc");
            cc.args(["-O1", "-static", "-o"]).arg(scene.path(program)).arg(source(&format!("{program}.c")));
            let out = cc.output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        let secret = scene.path("secret");
        fs::write(&secret, "the secret\n").unwrap();
        Lab { secret: secret.display().to_string(), scene }
    });
    labs.collect()
}

impl Lab {
    /// What the attempt says without any sandbox.
    fn outside(&self, words: &[&str]) -> String {
        said(self.scene.command(self.scene.path("attempt")).args(words)).trim().to_owned()
    }

    fn cell(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.scene.enter();
        command.args(options).arg("--ro").arg(self.scene.path("attempt")).args(["/attempt", "--", "/attempt"]).args(words);
        command
    }

    /// What it says in one.
    fn inside(&self, options: &[&str], words: &[&str]) -> String {
        said(&mut self.cell(options, words)).trim().to_owned()
    }

    /// What it says where a shell has prepared things in namespaces of its own, and nothing else is in the way.
    fn prepared(&self, script: &str) -> String {
        said(self.scene.command("unshare").args(["-Urm", "sh", "-ec", script])).trim().to_owned()
    }

    fn is_root(&self) -> bool {
        is_root() && self.scene.uid.is_none()
    }

    fn who(&self) -> &str {
        self.scene.who
    }
}

#[test]
fn no_road_leads_to_the_hosts_files() {
    for lab in labs() {
        let secret = lab.secret.as_str();
        for road in ["open", "proc"] {
            assert_eq!(lab.outside(&[road, secret]), "reached the secret", "{}: the control of {road}", lab.who());
            for walls in [&[][..], &["--bare"], &["--bare", "--host-proc"], &["--bare", "--host-proc", "--share-pid"]] {
                let expected = if road == "open" { "refused open ENOENT" } else { "refused every process ENOENT" };
                assert_eq!(lab.inside(walls, &[road, secret]), expected, "{}: {road} {walls:?}", lab.who());
            }
        }
    }
}

#[test]
fn a_chroot_below_the_root_leads_nowhere() {
    for lab in labs() {
        fs::create_dir_all(lab.scene.path("jail/tmp")).unwrap();
        chown(lab.scene.path("jail/tmp"), lab.scene.uid, lab.scene.uid).unwrap();
        scene::copy_program(&lab.scene.path("attempt"), &lab.scene.path("jail/attempt"));
        let control = lab.prepared(&format!("exec chroot jail /attempt chroot {}", lab.secret));
        assert_eq!(control, "reached the secret", "{}: out of a root that is only a chroot", lab.who());
        assert_eq!(lab.inside(&[], &["chroot", &lab.secret]), "refused chroot EPERM", "{}", lab.who());
        assert_eq!(lab.inside(&["--bare"], &["chroot", &lab.secret]), "refused open ENOENT", "{}", lab.who());
        assert_eq!(lab.inside(&["--bare", "--all-capabilities"], &["chroot", &lab.secret]), "refused open ENOENT", "{}", lab.who());
    }
}

#[test]
fn descriptors_of_the_caller_are_closed() {
    for lab in labs() {
        let inside = |option: &str| {
            let line = format!("exec ./cell {option} --bare --ro ./attempt /attempt -- /attempt inherited {} 7</ 9<.", lab.secret);
            said(lab.scene.command("/bin/sh").args(["-c", &line])).trim().to_owned()
        };
        assert_eq!(inside("--inherit"), "reached the secret", "{}: the control", lab.who());
        assert_eq!(inside(""), "refused every descriptor EBADF", "{}", lab.who());
    }
}

#[test]
fn mounts_that_cover_something_cannot_be_taken_away() {
    for lab in labs() {
        let hidden = lab.scene.path("hidden");
        fs::create_dir(&hidden).unwrap();
        let secret = hidden.join("secret");
        fs::write(&secret, "what is covered").unwrap();
        let (at, secret) = (hidden.display(), secret.display());
        let control = lab.prepared(&format!("mount -t tmpfs covering {at}; exec ./attempt uncover {at} {secret}"));
        assert_eq!(control, "reached what is covered", "{}: the control", lab.who());
        let here = lab.scene.dir.path().display().to_string();
        let options = |walls: &[&'static str]| [walls, &["--ro", &here, "/data", "--tmpfs", "/data/hidden"]].concat();
        let words = ["uncover", "/data/hidden", "/data/hidden/secret"];
        assert_eq!(lab.inside(&options(&[]), &words), "refused umount EPERM", "{}", lab.who());
        assert_eq!(lab.inside(&options(&["--bare"]), &words), "refused umount EINVAL", "{}", lab.who());
    }
}

#[test]
fn behind_the_root_there_is_nothing() {
    for lab in labs_around("start") {
        // A root that is only stacked on the old one, with all capabilities in it: the control.
        let attempt = lab.scene.path("attempt").display().to_string();
        let start = |change: &[&str]| {
            let mut command = lab.scene.enter();
            command
                .args(["--user", "--pid", "--cap-add", "all", "--tmpfs", "/tmp", "--proc", "/proc", "--bind", &attempt, "/attempt"])
                .args(change);
            command.args(["--chdir", "/", "--", "/attempt", "uncover", "/", &lab.secret]);
            said(&mut command).trim().to_owned()
        };
        assert_eq!(start(&["--chroot"]), "reached the secret", "{}: the control", lab.who());
        let refused = start(&[]);
        assert!(refused.starts_with("refused"), "{}: {refused}", lab.who());
    }
    for lab in labs() {
        for walls in [&[][..], &["--bare"], &["--bare", "--all-capabilities"]] {
            let refused = lab.inside(walls, &["uncover", "/", &lab.secret]);
            assert!(refused.starts_with("refused"), "{} {walls:?}: {refused}", lab.who());
        }
    }
}

#[test]
fn what_is_read_only_stays_read_only() {
    for lab in labs() {
        let data = lab.scene.path("data");
        fs::create_dir(&data).unwrap();
        chown(&data, lab.scene.uid, lab.scene.uid).unwrap();
        let (written, data) = (data.join("written"), data.display().to_string());
        let control = lab.prepared(&format!(
            "mount --bind {data} {data}; mount -o remount,bind,ro {data}; ! sh -c ': >{data}/x' 2>&-; exec ./attempt remount {data}"
        ));
        assert_eq!(control, format!("reached {data}/written"), "{}: the control", lab.who());
        fs::remove_file(&written).unwrap();
        for walls in [&[][..], &["--bare"]] {
            let said = lab.inside(&[walls, &["--ro", &data, "/data"]].concat(), &["remount", "/data"]);
            assert_eq!(said, "refused remount EPERM", "{} {walls:?}", lab.who());
            assert!(!written.exists());
        }
    }
}

#[test]
fn proc_is_not_mounted_again_without_its_read_only_parts() {
    for lab in labs().into_iter().filter(Lab::is_root) {
        assert_eq!(lab.outside(&["proc-again"]), "reached core_pattern", "the control");
        fs::remove_dir("/tmp/proc").unwrap();
        assert_eq!(lab.inside(&[], &["proc-again"]), "refused unshare EPERM");
        assert_eq!(lab.inside(&["--bare"], &["proc-again"]), "refused mount or open EPERM");
    }
}

#[test]
fn settings_of_the_machine_and_its_control_groups_are_not_open_for_writing() {
    let groups = ["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cpu/cgroup.procs"].into_iter().find(|path| Path::new(path).exists());
    for lab in labs().into_iter().filter(Lab::is_root) {
        for file in ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger"] {
            if !Path::new(file).exists() {
                continue;
            }
            assert_eq!(lab.outside(&["write", file]), format!("reached {file}"), "the control");
            for walls in [&[][..], &["--bare"], &["--bare", "--host-proc"]] {
                assert_eq!(lab.inside(walls, &["write", file]), "refused open EROFS", "{walls:?} {file}");
            }
        }
        let Some(groups) = groups else {
            skip("no control groups are mounted");
            continue;
        };
        assert_eq!(lab.outside(&["write", groups]), format!("reached {groups}"), "the control");
        assert_eq!(lab.inside(&["--bare"], &["write", groups]), "refused open ENOENT");
        assert_eq!(lab.inside(&["--bare", "--ro", "/sys", "/sys"], &["write", groups]), "refused open EROFS");
    }
}

#[test]
fn no_process_of_the_host_can_be_traced_or_written_into_or_signalled() {
    for lab in labs() {
        let sleeper = Ended(lab.scene.command("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let pid = sleeper.0.id().to_string();
        for road in ["trace", "memory", "signal"] {
            let reached = lab.outside(&[road, &pid]);
            assert!(reached.starts_with("reached"), "{}: the control of {road}: {reached}", lab.who());
        }
        let rows = [
            // A namespace of pids: there is no such process.
            (&[][..], ["refused seize EPERM", "refused open ENOENT", "refused kill ESRCH"]),
            (&["--bare"][..], ["refused seize ESRCH", "refused open ENOENT", "refused kill ESRCH"]),
            // Without one, the user namespace: a process outside has rights that one inside has not. Signals go by
            // the user's id alone.
            (&["--bare", "--share-pid", "--host-proc"][..], ["refused seize EPERM", "refused open EACCES", &format!("reached {pid}")]),
        ];
        for (walls, expected) in rows {
            let said = ["trace", "memory", "signal"].map(|road| lab.inside(walls, &[road, &pid]));
            assert_eq!(said, expected, "{} {walls:?}", lab.who());
        }
        if has_landlock(6) {
            assert_eq!(lab.inside(&["--share-pid", "--host-proc"], &["signal", &pid]), "refused kill EPERM", "{}", lab.who());
        }
    }
}

/// A process that goes with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_landlock(version: u8) -> bool {
    let has = KernelFacts::gather(None).landlock;
    if has < version {
        skip(&format!("this kernel has landlock {has}, and this needs {version}"));
    }
    has >= version
}

#[test]
fn whoever_joins_a_sandbox_is_not_caught_in_the_middle() {
    for lab in labs_around("start") {
        let attempt = lab.scene.path("attempt").display().to_string();
        let inside = ["--tmpfs", "/tmp", "--proc", "/proc", "--bind", &attempt, "/attempt", "--chdir", "/"];
        for (capabilities, caught) in [("--cap-drop", false), ("--cap-add", true)] {
            let mut first = lab.scene.enter();
            first.args(["--user", "--pid", "--info", capabilities, "all"]).args(inside).args(["--", "/attempt", "watch", &lab.secret]);
            let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap);
            let pid = lines.next().unwrap().strip_prefix("pid ").unwrap().to_owned();
            assert!(lines.any(|line| line == "watching"));
            let line = format!(
                "exec ./start --join-user 7 --join-pid 8 --tmpfs /tmp --bind ./attempt /attempt --chdir / -- /attempt open / 7</proc/{pid}/ns/user 8</proc/{pid}/ns/pid"
            );
            for _ in 0..if caught { 400 } else { 40 } {
                let joined = lab.scene.command("/bin/sh").args(["-c", &line]).output().unwrap();
                // Whoever was caught has ended the sandbox.
                if !joined.status.success() {
                    assert!(caught, "{}: {}", lab.who(), String::from_utf8_lossy(&joined.stderr));
                    break;
                }
            }
            drop(first.stdin.take());
            let said = lines.next().unwrap();
            first.wait().unwrap();
            match caught {
                true => assert!(said.starts_with("reached "), "{}: the control: {said}", lab.who()),
                false => assert_eq!(said, "refused every process ENOENT", "{}", lab.who()),
            }
        }
    }
}

#[test]
fn abstract_sockets_are_apart_by_the_network_or_by_landlock() {
    let name = format!("xeno-escape-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for lab in labs() {
        let words = ["abstract", name.as_str()];
        let reached = format!("reached {name}");
        assert_eq!(lab.outside(&words), reached, "{}: the control", lab.who());
        assert_eq!(lab.inside(&["--bare"], &words), "refused connect ECONNREFUSED", "{}", lab.who());
        assert_eq!(lab.inside(&["--bare", "--share-net"], &words), reached, "{}: the gap that is reported", lab.who());
        if has_landlock(6) {
            assert_eq!(lab.inside(&["--share-net"], &words), "refused connect EPERM", "{}", lab.who());
        }
    }
}

#[test]
fn shared_memory_of_the_host_is_apart_by_the_ipc_namespace() {
    for lab in labs() {
        let mut maker = lab.scene.command(lab.scene.path("attempt"));
        let mut maker = maker.args(["shm-make", "shared"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut id = String::new();
        BufReader::new(maker.stdout.take().unwrap()).read_line(&mut id).unwrap();
        let words = ["shm", id.trim()];
        assert_eq!(lab.outside(&words), "reached shared", "{}: the control", lab.who());
        assert_eq!(lab.inside(&[], &words), "refused attach EINVAL", "{}", lab.who());
        assert_eq!(lab.inside(&["--bare"], &words), "refused attach EINVAL", "{}", lab.who());
        assert_eq!(lab.inside(&["--share-ipc"], &words), "reached shared", "{}: where it is shared", lab.who());
        maker.stdin.take().unwrap().flush().unwrap();
        maker.wait().unwrap();
    }
}

#[test]
fn set_user_id_bits_give_nothing() {
    if !is_root() {
        return skip("needs root, to make a set-user-id program of another user");
    }
    for lab in labs().into_iter().filter(|lab| !lab.is_root()) {
        let attempt = lab.scene.path("attempt");
        chown(&attempt, Some(0), Some(0)).unwrap();
        fs::set_permissions(&attempt, Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(lab.outside(&["privileged"]), "reached another user", "the control");
        for walls in [&[][..], &["--bare"], &["--bare", "--all-capabilities"]] {
            assert_eq!(lab.inside(walls, &["privileged"]), "refused set-user-id EPERM", "{walls:?}");
        }
    }
}

#[test]
fn devices_and_files_by_number_are_roots_alone_and_not_the_sandboxs() {
    for lab in labs().into_iter().filter(Lab::is_root) {
        assert_eq!(lab.outside(&["device"]), "reached a device", "the control");
        assert_eq!(lab.inside(&["--bare", "--all-capabilities"], &["device"]), "refused mknod EPERM");
        let data = lab.scene.path("data");
        fs::create_dir(&data).unwrap();
        let (data, handle) = (data.display().to_string(), lab.outside(&["handle-of", &lab.secret]));
        if handle.starts_with("refused") {
            skip("the file system of the temporary directory numbers no files");
            continue;
        }
        assert_eq!(lab.outside(&["handle", &data, &handle]), "reached the secret", "the control");
        let refused = lab.inside(&["--bare", "--all-capabilities", "--ro", &data, "/data"], &["handle", "/data", &handle]);
        // EPERM before Linux 6.11, which lets a namespace's own root look among the files that it sees anyway.
        assert!(["refused open_by_handle_at EPERM", "refused open_by_handle_at ESTALE"].contains(&refused.as_str()), "{refused}");
        assert_eq!(lab.inside(&["--ro", &data, "/data"], &["handle", "/data", &handle]), "refused open_by_handle_at EPERM");
    }
}

#[test]
fn no_instruction_set_and_no_ring_leads_around_the_filter() {
    for lab in labs() {
        let inside = |walls: &[&str], calls: &[&str]| {
            let mut command = lab.scene.enter();
            command.args(walls).arg("--ro").arg(lab.scene.path("calls")).args(["/calls", "--", "/calls", "/dev/null"]).args(calls);
            said(&mut command).trim().to_owned()
        };
        let calls = ["unshare-user", "io_uring_setup", "tiocsti", "tioclinux"];
        let refused = "unshare-user EPERM\nio_uring_setup EPERM\ntiocsti EPERM\ntioclinux EPERM";
        assert_eq!(
            inside(&["--bare"], &calls),
            "unshare-user ok\nio_uring_setup ok\ntiocsti ok\ntioclinux ENOTTY",
            "{}: the control",
            lab.who()
        );
        assert_eq!(inside(&[], &calls), refused, "{}", lab.who());
        if cfg!(target_arch = "x86_64") {
            let calls = ["i386-unshare-user", "i386-tiocsti", "x32-getpid"];
            let bare = inside(&["--bare"], &calls);
            if !bare.starts_with("i386-unshare-user ok\ni386-tiocsti ok") {
                skip("this kernel runs no 32-bit calls");
                continue;
            }
            assert_eq!(inside(&[], &calls), "i386-unshare-user EPERM\ni386-tiocsti EPERM\nx32-getpid ENOSYS", "{}", lab.who());
        }
    }
}
