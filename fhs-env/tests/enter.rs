//! What a program sees that was started in a private root, tried as root and as an ordinary user.
//! Each test enters in processes of its own, through `examples/enter.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scene;

use scene::{Scene, copy_program, has, is_root, said};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

fn scenes() -> Vec<Scene> {
    scene::scenes("enter")
}

#[test]
fn the_working_directory_is_kept() {
    for scene in scenes() {
        let here = scene.path("a b");
        fs::create_dir(&here).unwrap();
        let shell = "pwd -P; stat -c %d:%i .";
        let outside = said(scene.command("/bin/sh").current_dir(&here).args(["-c", shell]));
        let inside = said(scene.enter().current_dir(&here).args(["--", "/bin/sh", "-c", shell]));
        assert_eq!(inside, outside, "{}", scene.who);
        let at_root = said(scene.enter().current_dir("/").args(["--", "/bin/sh", "-c", "pwd"]));
        assert_eq!(at_root, "/\n", "{}", scene.who);
    }
}

#[test]
fn a_deleted_working_directory_is_an_error_and_nothing_happens() {
    for scene in scenes() {
        let script = "mkdir gone; cd gone; rmdir ../gone; ../enter -- /bin/true";
        let out = scene.command("/bin/sh").args(["-c", script]).output().unwrap();
        assert_eq!(out.status.code(), Some(126), "{}", scene.who);
        assert_eq!(
            String::from_utf8_lossy(&out.stderr),
            "enter: keeping the working directory: ENOENT: No such file or directory; change to \
             another directory first [Untouched]\n"
        );
    }
}

#[test]
fn the_root_holds_what_the_host_has_and_what_was_added() {
    for scene in scenes() {
        let list = ["/bin/ls", "-A", "/"];
        let outside = said(scene.command("/bin/ls").args(["-A", "/"]));
        let mut expected: Vec<&str> = outside.lines().chain([".xeno-law"]).collect();
        expected.sort_unstable();
        let inside = said(scene.enter().args(["--file", "/.xeno-law/a", "text", "--"]).args(list));
        let mut inside: Vec<&str> = inside.lines().collect();
        inside.sort_unstable();
        assert_eq!(inside, expected, "{}", scene.who);

        let text = said(scene.enter().args(["--file", "/.xeno-law/a", "text", "--symlink", "/.xeno-law/b/c", "../a"]).args([
            "--",
            "/bin/cat",
            "/.xeno-law/b/c",
        ]));
        assert_eq!(text, "text", "{}", scene.who);
    }
}

#[test]
fn the_root_itself_takes_no_new_entries() {
    for scene in scenes() {
        let out = scene.enter().args(["--directory", "/.xeno-law", "--", "/bin/mkdir", "/x", "/.xeno-law/x"]).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(err.matches("Read-only file system").count(), 2, "{}: {err}", scene.who);
    }
}

#[test]
fn proc_dev_and_the_programs_own_path_work() {
    for scene in scenes() {
        let sh = fs::canonicalize("/bin/sh").unwrap();
        let script = "readlink /proc/$$/exe && echo x >/dev/null && cat /proc/self/comm";
        let out = said(scene.enter().args(["--", "/bin/sh", "-c", script]));
        assert_eq!(out, format!("{}\ncat\n", sh.display()), "{}", scene.who);
    }
}

#[test]
fn ids_umask_environment_and_descriptors_are_kept() {
    for scene in scenes() {
        let script = "umask 027; exec ./enter -- /bin/sh -c \
                      'umask; id -u; id -g; ls /proc/self/fd; grep SigIgn /proc/self/status'";
        let bare = script.replace("exec ./enter -- ", "exec ");
        let inside = said(scene.command("/bin/sh").args(["-c", script]));
        let outside = said(scene.command("/bin/sh").args(["-c", &bare]));
        // The Rust runtime ignores SIGPIPE and gives that to what it execs only on request.
        let without_signals = |s: &str| s.split("SigIgn").next().unwrap().to_owned();
        assert_eq!(without_signals(&inside), without_signals(&outside), "{}", scene.who);
        let env = said(scene.enter().env_clear().env("ONE", "1").args(["--", "/usr/bin/env"]));
        assert_eq!(env, "ONE=1\n", "{}", scene.who);
    }
}

#[test]
fn namespaces_can_be_nested() {
    if !has("unshare") {
        return;
    }
    for scene in scenes() {
        let out = said(scene.enter().args(["--", "unshare", "-Ur", "/bin/sh", "-c", "id -u"]));
        assert_eq!(out, "0\n", "{}", scene.who);
        let enter = scene.path("enter");
        let mut twice = scene.enter();
        twice.args(["--file", "/.xeno-law/a", "", "--"]).arg(&enter);
        let refused = Command::new(twice.get_program())
            .args(twice.get_args())
            .args(["--file", "/.xeno-law/b", "", "--", "/bin/ls", "/.xeno-law"])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(126), "the inner root finds the name taken");
        twice.args(["--extend", "/.xeno-law", "--file", "/.xeno-law/b", ""]);
        twice.args(["--", "/bin/ls", "/.xeno-law"]);
        assert_eq!(said(&mut twice), "a\nb\n", "{}", scene.who);
    }
}

#[test]
fn another_sandbox_can_start_inside() {
    if !has("bwrap") {
        return;
    }
    for scene in scenes() {
        let bwrap = ["--", "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-pid"];
        let proc = ["--proc", "/proc", "/bin/sh", "-c", "echo $$"];
        assert_eq!(said(scene.enter().args(bwrap).args(proc)), "2\n", "{}", scene.who);
    }
}

#[test]
fn a_file_bound_over_another_is_read_only_and_has_the_others_path() {
    for scene in scenes() {
        let (app, copy) = (scene.path("app"), scene.path("copy"));
        copy_program(Path::new("/usr/bin/readlink"), &copy);
        fs::write(&app, "#!/bin/sh\necho the original\n").unwrap();
        for file in [&app, &copy] {
            fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
            chown(file, scene.uid, scene.uid).unwrap();
        }
        let bound = || {
            let mut command = scene.enter();
            command.arg("--bind").arg(&copy).arg(&app).arg("--");
            command
        };
        let exe = said(bound().arg(&app).arg("/proc/self/exe"));
        assert_eq!(exe, format!("{}\n", app.display()), "{}", scene.who);

        let out = bound().args(["/bin/sh", "-c", "echo x >>app"]).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(err.contains("Read-only file system"), "{}: {err}", scene.who);
        assert_eq!(fs::read_to_string(&app).unwrap(), "#!/bin/sh\necho the original\n");
        assert_eq!(fs::read(&copy).unwrap(), fs::read("/usr/bin/readlink").unwrap());
    }
}

#[test]
fn a_file_to_bind_that_is_not_there_is_refused_before_anything_happens() {
    for scene in scenes() {
        let out = scene.enter().args(["--bind", "/nowhere", "/bin/sh", "--", "/bin/true"]).output();
        assert_eq!(
            String::from_utf8_lossy(&out.unwrap().stderr),
            "enter: binding /nowhere: No such file or directory (os error 2); it must be a \
             readable regular file [Untouched]\n"
        );
    }
}

/// A private mount namespace stands for the host, so that nothing of the real one changes.
#[test]
fn what_the_host_mounts_later_appears_and_ours_stays_here() {
    if !has("unshare") || !has("setpriv") {
        return;
    }
    for scene in scenes() {
        let host = scene.path("host");
        fs::create_dir(&host).unwrap();
        let drop = match scene.uid {
            Some(uid) => format!("setpriv --reuid {uid} --regid {uid} --clear-groups"),
            None => String::new(),
        };
        let script = format!(
            "set -e
             mkfifo {h}/../ready {h}/../go; chmod 666 {h}/../ready {h}/../go
             mounted() {{ cut -d' ' -f5 /proc/self/mountinfo | sort; }}
             mounted >before
             {drop} ./enter -- /bin/sh -c 'echo >ready; read x <go; cat {h}/file' &
             read x <ready
             mount -t tmpfs none {h}; echo later >{h}/file; echo >go
             wait; mounted | comm -3 before -",
            h = host.display()
        );
        let maps: &[&str] = if is_root() { &["-m"] } else { &["-Urm"] };
        let out = said(Command::new("unshare").current_dir(scene.dir.path()).args(maps).args([
            "--propagation",
            "shared",
            "/bin/sh",
            "-c",
            &script,
        ]));
        // The last line lists what was mounted meanwhile: nothing of the private root came out.
        assert_eq!(out, format!("later\n\t{}\n", host.display()), "{}", scene.who);
    }
}

#[test]
fn a_refused_step_leaves_the_files_as_they_were_and_another_way_may_follow() {
    for scene in scenes() {
        let (app, copy) = (scene.path("app"), scene.path("copy"));
        fs::write(&app, "original").unwrap();
        fs::write(&copy, "copy").unwrap();
        let expected = format!("original{}\n", scene.dir.path().display());
        for (call, state) in [
            ("unshare", "Untouched"),
            ("mount", "SameFiles"),
            ("symlinkat", "SameFiles"),
            ("move_mount", "SameFiles"),
            ("chdir", "SameFiles"), // after the root was changed
        ] {
            let mut command = scene.enter();
            command.args(["--refuse", call, "--or-else", "--symlink", "/.xeno-law/a", "b"]);
            command.arg("--bind").arg(&copy).arg(&app);
            let shell = "cat app; pwd; ls -d /.xeno-law";
            let out = command.args(["--", "/bin/sh", "-c", shell]).output().unwrap();
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            let out = String::from_utf8_lossy(&out.stdout).into_owned();
            assert_eq!(out, expected, "{} {call}: {err}", scene.who);
            assert!(err.contains(&format!("[{state}]")), "{} {call}: {err}", scene.who);
            assert!(err.contains("No such file or directory"), "{} {call}: {err}", scene.who);
        }
    }
}

#[test]
fn a_kernel_that_lacks_the_newer_calls_makes_the_same_root() {
    for scene in scenes() {
        let (app, copy) = (scene.path("app"), scene.path("copy"));
        fs::write(&app, "original").unwrap();
        fs::write(&copy, "copy").unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o666)).unwrap();
        let newer = ["openat2", "open_tree", "mount_setattr"];
        let sets = [&newer[..0], &newer[..1], &newer[1..2], &newer[2..], &newer[..]];
        for lacks in sets {
            let mut command = scene.enter();
            command.args(lacks.iter().flat_map(|call| ["--lack", call]));
            command.args(["--symlink", "/.xeno-law/a", "b", "--bind"]).arg(&copy).arg(&app);
            let shell =
                "cat app; pwd; readlink /.xeno-law/a; (echo x >app) 2>/dev/null || echo read-only; mkdir /x 2>/dev/null || echo none";
            let out = command.args(["--", "/bin/sh", "-c", shell]).output().unwrap();
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            let expected = format!("copy{}\nb\nread-only\nnone\n", scene.dir.path().display());
            assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{} without {lacks:?}: {err}", scene.who);
        }
    }
}

#[test]
fn a_process_that_went_back_is_in_no_chroot() {
    if !has("unshare") {
        return;
    }
    for scene in scenes() {
        let (app, copy) = (scene.path("app"), scene.path("copy"));
        fs::write(&app, "original").unwrap();
        fs::write(&copy, "copy").unwrap();
        let mut command = scene.enter();
        command.args(["--refuse", "chdir", "--or-else", "--bind"]).arg(&copy).arg(&app);
        assert_eq!(said(command.args(["--", "unshare", "-Ur", "id", "-u"])), "0\n");
    }
}

#[test]
fn a_seccomp_filter_is_named_as_the_reason() {
    for scene in scenes() {
        let out = scene.enter().args(["--refuse", "unshare", "--", "/bin/true"]).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        let step = if scene.who == "root" { "mount namespace" } else { "user and mount namespace" };
        assert_eq!(
            err,
            format!(
                "enter: entering the private root: unshare {step}: Operation not permitted: a \
                 seccomp filter, as containers have it, refuses namespaces; start the container \
                 with a profile that allows unshare and mount (such as --security-opt \
                 seccomp=unconfined), or run outside of it [Untouched]\n"
            )
        );
        let out = scene.enter().args(["--refuse", "mount", "--probe"]).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(err.starts_with("enter: a seccomp filter"), "{}: {err}", scene.who);
    }
}

#[test]
fn the_limit_of_zero_user_namespaces_is_named_as_the_reason() {
    if !has("unshare") || !has("setpriv") {
        return;
    }
    for scene in scenes() {
        // In a user namespace of its own the limit is its own too; without CAP_SYS_ADMIN even
        // id 0 needs a user namespace.
        let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv \
                      --bounding-set=-sys_admin ./enter --or-else -- /bin/echo still here";
        let out = scene.command("/usr/bin/unshare").args(["-Ur", "/bin/sh", "-c", script]).output();
        let out = out.unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "still here\n");
        assert_eq!(
            String::from_utf8_lossy(&out.stderr),
            "enter: entering the private root: unshare user and mount namespace: No space left on \
             device: user namespaces are switched off (user.max_user_namespaces is 0); as root: \
             sysctl -w user.max_user_namespaces=15000 [Untouched]\n",
            "{}",
            scene.who
        );
    }
}
