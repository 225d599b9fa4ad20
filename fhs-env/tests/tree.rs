//! What the ops of a tree make, as root and as an ordinary user, on this kernel and on one that lacks the newer calls:
//! the program inside says what it sees. Each case starts in processes of its own, through `examples/tree.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr)] // a skip says why

mod scene;

use scene::{Scene, has, scenes};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const NEWER: &[&str] = &["openat2", "open_tree", "mount_setattr", "fsopen"];

/// Where a law is tried, and what the kernel lacks there.
struct Place {
    scene: Scene,
    uid: Option<u32>,
    lacks: &'static [&'static str],
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.scene.path(name)
    }

    /// `{}` in the words is the directory. Standard output, or else the words of the error.
    fn tree(&self, words: &[&str], shell: &str) -> String {
        let out = self.command(words).args(["--", "sh", "-c", shell]).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.code() == Some(125) {
            err.trim_start_matches("tree: ").to_owned()
        } else {
            String::from_utf8_lossy(&out.stdout).into_owned() + &err
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let here = self.scene.dir.path().to_str().unwrap();
        let mut command = self.scene.enter();
        command.args(self.lacks.iter().flat_map(|call| ["--lack", call]));
        command.args(words.iter().map(|word| word.replace("{}", here)));
        command
    }

    fn directory(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.path(name)).unwrap();
        self.give(name);
        self.path(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.give(name);
        self.path(name)
    }

    fn give(&self, name: &str) {
        chown(self.path(name), self.uid, self.uid).unwrap();
    }
}

/// Tries a law in every place: each user, with the kernel's newer calls and without.
fn everywhere(law: impl Fn(&Place)) {
    for lacks in [&NEWER[..0], &NEWER[..1], &NEWER[1..2], &NEWER[2..3], NEWER] {
        for scene in scenes("tree") {
            let uid = scene.uid;
            law(&Place { scene, uid, lacks });
        }
    }
}

#[track_caller]
fn is(place: &Place, words: &[&str], shell: &str, expected: &str) {
    let found = place.tree(words, shell);
    assert_eq!(found, expected, "{:?} without {:?}: {words:?}", place.uid, place.lacks);
}

#[test]
fn a_destination_is_found_inside_the_root_whatever_links_lead_out_of_it() {
    everywhere(|place| {
        place.file("data", "data\n");
        place.directory("box");
        place.directory("host");
        symlink("/", place.path("box/absolute")).unwrap();
        symlink("../../../../../../..", place.path("box/dots")).unwrap();
        symlink(place.path("host"), place.path("box/named")).unwrap();
        let box_at = ["system", "read-write", "{}/box", "/box"];
        is(place, &[&box_at[..], &["read-only", "{}/data", "/box/absolute/etc/a"]].concat(), "cat /etc/a", "data\n");
        is(place, &[&box_at[..], &["file", "/box/dots/etc/b", "x"]].concat(), "cat /etc/b", "x");
        is(place, &[&box_at[..], &["directory", "/box/named/c"]].concat(), "find /box/ /tmp* 2>&- | grep -c '/c$'", "1\n");
        assert!(fs::read_dir(place.path("host")).unwrap().next().is_none(), "the host's directory was written to");
        assert!(!PathBuf::from("/etc/a").exists() && !PathBuf::from("/etc/b").exists());
    });
}

#[test]
fn a_source_is_found_in_the_old_root_however_many_dots_lead_there() {
    everywhere(|place| {
        place.directory("d");
        place.file("d/data", "the host's\n");
        let at = place.scene.dir.path().to_str().unwrap();
        let dots = "../".repeat(12);
        symlink(format!("{dots}{at}/d"), place.path("over")).unwrap();
        let here = format!("{dots}{at}/d/data");
        for source in ["{}/over/data", &format!("/..{at}/d/data"), &here, "d/data", "d/../over/data"] {
            // The new root has the same names, with other things under them.
            let words = ["system", "file", &format!("{at}/d/data"), "the new root's\n", "read-only", source, "/x"];
            is(place, &words, "cat /x", "the host's\n");
            is(place, &["system", "overlay", "/o", &source.replace("/data", "")], "cat /o/data", "the host's\n");
        }
    });
}

#[test]
fn a_descriptor_that_was_given_away_is_no_descriptor() {
    everywhere(|place| {
        place.file("data", "data\n");
        let program = "exec 5<data; exec \"$@\"";
        let words = ["-c", program, "sh", "./tree", "system", "file-from", "/a", "5", "file-from", "/b", "5", "--", "cat", "/a"];
        let mut command = Command::new("sh");
        command.current_dir(place.scene.dir.path()).args(words);
        if let Some(uid) = place.uid {
            command.uid(uid).gid(uid);
        }
        let out = command.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(err.contains("file /b (descriptor 5, mode 0600): reading the content: Bad file"), "{} {err}", out.status);
    });
}

#[test]
fn minimal_devices_take_more_and_have_the_terminal() {
    everywhere(|place| {
        is(place, &["system", "devices", "/dev", "as-it-is", "/dev/full", "/dev/more"], "test -c /dev/more && echo more", "more\n");
        if !has("script") {
            return;
        }
        let tree = place.path("tree").display().to_string();
        let inside = format!("{tree} as-it-is / / devices /dev -- sh -c 'test -c /dev/console && tty'");
        for shell in [inside.clone(), format!("{tree} as-it-is / / devices /dev -- {inside}")] {
            let mut command = Command::new("script");
            command.args(["-qec", &shell, "/dev/null"]).stdin(std::process::Stdio::null());
            if let Some(uid) = place.uid {
                command.uid(uid).gid(uid);
            }
            let out = command.output().unwrap();
            assert!(String::from_utf8_lossy(&out.stdout).contains("/dev/console"), "{shell}: {}", String::from_utf8_lossy(&out.stdout));
        }
    });
}

#[test]
fn a_link_of_the_root_itself_is_followed() {
    everywhere(|place| {
        place.file("data", "data\n");
        let run = ["system", "link", "/var/run", "/run"];
        is(place, &[&run[..], &["read-only", "{}/data", "/var/run/a/b"]].concat(), "cat /run/a/b; readlink /var/run", "data\n/run\n");
        let chain = ["link", "/x", "y", "link", "/y", "/z/../w", "directory", "/z", "read-only", "{}/data", "/x"];
        is(place, &[&run[..], &chain].concat(), "cat /w", "data\n");
    });
}

#[test]
fn loops_and_magic_links_lead_nowhere() {
    everywhere(|place| {
        place.file("data", "data\n");
        let loops = place.tree(&["system", "link", "/x", "/x", "file", "/x/a", "b"], "true");
        assert!(loops.contains("file /x/a") && loops.contains("Too many symbolic links"), "{loops}");
        let magic = place.tree(&["system", "hosts-proc", "/proc", "file", concat!("/proc/self/root", "/escaped"), "b"], "true");
        // Without the kernel's own lookup it is a link like any other, and found inside.
        assert!(magic.contains("Too many symbolic links") != place.lacks.contains(&"openat2"), "{magic}");
        assert!(!PathBuf::from("/escaped").exists());
    });
}

#[test]
fn what_is_bound_read_only_is_so_below_other_mounts_too() {
    everywhere(|place| {
        place.directory("d");
        let shell = "touch /dev/shm/law /d/law 2>&1 | grep -c 'Read-only file system'; rm -f /dev/shm/law /d/law";
        is(place, &["as-it-is", "/dev", "/dev", "system", "read-write", "{}/d", "/d"], shell, "0\n");
        is(place, &["read-only", "/dev", "/dev", "system", "read-only", "{}/d", "/d"], shell, "2\n");
        // Through the root, whose tree holds both.
        let shell = &format!("touch /dev/shm/law {}/d/law 2>&1 | grep -c 'Read-only file system'", place.scene.dir.path().display());
        is(place, &["read-only", "/", "/"], shell, "2\n");
    });
}

#[test]
fn device_nodes_work_where_they_were_asked_for_alone() {
    everywhere(|place| {
        let shell = "(echo x >/dev/null) 2>&- && echo works || echo refused";
        is(place, &["as-it-is", "/dev", "/dev", "system"], shell, "works\n");
        is(place, &["read-write", "/dev", "/dev", "system"], shell, "refused\n");
        is(
            place,
            &["devices", "/dev", "system"],
            "echo x >/dev/null && ls /dev && test -c /dev/urandom",
            "core\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
        );
    });
}

#[test]
fn a_source_that_is_not_there_is_named_and_an_optional_one_is_passed_over() {
    everywhere(|place| {
        place.file("data", "");
        let missing = place.tree(&["system", "read-only", "{}/no\nsuch", "/x"], "true");
        let name = format!("{:?}", place.path("no\nsuch"));
        assert!(missing.contains(&format!("bind {name} at /x read-only")), "{missing}");
        assert!(missing.contains("what is to be bound: No such file or directory"), "{missing}");
        is(place, &["system", "if-there", "{}/nosuch", "/x"], "ls /x 2>&1 | grep -c 'No such'", "1\n");
        let wrong = place.tree(&["system", "if-there", "{}/data/below", "/x"], "true");
        assert!(wrong.contains("what is to be bound: Not a directory"), "{wrong}");
    });
}

#[test]
fn a_directory_that_may_not_be_searched_is_named() {
    everywhere(|place| {
        if place.uid.is_none() {
            return;
        }
        fs::create_dir(place.path("closed")).unwrap();
        fs::set_permissions(place.path("closed"), Permissions::from_mode(0o700)).unwrap();
        let closed = place.tree(&["system", "read-only", "{}/closed/x", "/x"], "true");
        assert!(closed.ends_with("what is to be bound: Permission denied\n"), "{closed}");
        let closed = place.tree(&["system", "read-write", "{}/closed", "/x", "read-only", "/usr", "/x/y"], "true");
        assert!(closed.ends_with("the place itself: Permission denied\n"), "{closed}");
    });
}

#[test]
fn strange_names_are_bound_and_printed_on_one_line() {
    everywhere(|place| {
        place.file("a %s\n\"b\"", "strange\n");
        let words = ["system", "read-only", "{}/a %s\n\"b\"", "/-rf %n\n'x'"];
        is(place, &words, "cat '/-rf %n\n'\\''x'\\'''", "strange\n");
        let plan = place.command(&[&["--plan"], &words[..]].concat()).args(["--", "true"]).output().unwrap();
        let plan = String::from_utf8(plan.stdout).unwrap();
        assert!(plan.lines().any(|line| line.contains(r#"\"b\"" at "/-rf %n\n'x'" read-only"#)), "{plan}");
    });
}

#[test]
fn files_links_and_modes_are_made_as_asked() {
    everywhere(|place| {
        place.directory("d");
        place.file("d/old", "a longer text\n");
        let ops = [
            "system",
            "file",
            "/f/g",
            "text\n",
            "link",
            "/l",
            "f/g",
            "directory",
            "/dir",
            "mode",
            "/f",
            "read-write",
            "{}/d",
            "/d",
            "file",
            "/f/g",
            "new\n",
        ];
        is(place, &ops, "cat /l /d/old; stat -c %a /f /f/g /dir /d/old", &format!("new\na longer text\n500\n640\n700\n{:o}\n", 0o644));
        is(place, &["system", "link", "/l", "/a", "link", "/l", "/a"], "readlink /l", "/a\n");
        let clash = place.tree(&["system", "link", "/l", "/a", "link", "/l", "/b"], "true");
        assert!(clash.contains("link /l -> /b: there is a link to /a already"), "{clash}");
        for (words, why) in [
            (["file", "/a", "x", "directory", "/a"].as_slice(), "directory /a (mode 0700): the place itself: Not a directory"),
            (&["file", "/a", "x", "directory", "/a/b"], "directory /a/b (mode 0700): the place itself: Not a directory"),
            (&["file", "/a", "x", "read-only", "{}/d", "/a"], "at /a read-only: the place itself: Not a directory"),
            (&["directory", "/a", "read-only", "{}/d/old", "/a"], "at /a read-only: the place itself: Is a directory"),
            (&["read-only", "{}/d/old", "/"], "at / read-only: the place itself: Is a directory"),
        ] {
            let found = place.tree(&[&["system"], words].concat(), "true");
            assert!(found.contains(why), "{words:?}: {found}");
        }
        let taken = place.tree(&["system", "directory", "/l", "link", "/l", "/b"], "true");
        assert!(taken.contains("link /l -> /b: the place itself: File exists"), "{taken}");
    });
}

#[test]
fn a_file_of_the_hosts_is_not_emptied_by_a_step_that_makes_one() {
    everywhere(|place| {
        place.directory("d");
        place.file("d/old", "the host's\n");
        symlink("/d/old", place.path("d/link")).unwrap();
        for name in ["/d/old", "/d/link", "/l"] {
            let found = place.tree(&["system", "read-write", "{}/d", "/d", "link", "/l", "d/old", "file", name, "mine\n"], "true");
            assert!(found.contains(&format!("file {name} (5 bytes, mode 0640): the place itself: File exists")), "{found}");
            assert_eq!(fs::read_to_string(place.path("d/old")).unwrap(), "the host's\n");
        }
    });
}

#[test]
fn a_bound_content_is_nowhere_else() {
    everywhere(|place| {
        let ops = ["system", "content", "/etc/one", "1\n", "content", "/etc/two", "2\n"];
        is(
            place,
            &ops,
            "cat /etc/one /etc/two; (echo x >/etc/one) 2>&- || echo read-only; ls -A /",
            "1\n2\nread-only\nbin\netc\nlib\nlib32\nlib64\nlibx32\nsbin\nusr\n",
        );
    });
}

#[test]
fn a_mount_is_made_read_only_and_nothing_else_is() {
    everywhere(|place| {
        let shell = "mkdir /a /t/a 2>&1 | grep -c 'Read-only'; ls -d /a /t/a 2>&-";
        is(place, &["system", "tmpfs", "/t", "make-read-only", "/"], shell, "1\n/t/a\n");
        is(place, &["system", "tmpfs", "/t", "make-read-only", "/t"], shell, "1\n/a\n");
        let no_mount = place.tree(&["system", "directory", "/t", "make-read-only", "/t"], "true");
        assert!(no_mount.contains("make /t read-only: restricting it: Invalid argument"), "{no_mount}");
    });
}

#[test]
fn a_mount_over_a_directory_hides_what_was_bound_there_before() {
    everywhere(|place| {
        place.file("data", "data\n");
        let ops = [
            "system",
            "read-only",
            "{}/data",
            "/x/a",
            "tmpfs",
            "/x",
            "read-only",
            "{}/data",
            "/x/b",
            "read-only",
            "/usr",
            "/y",
            "read-only",
            "{}/data",
            "/x/c",
        ];
        is(place, &ops, "ls /x; cat /x/b", "b\nc\ndata\n");
        // A tree over the root: what follows is found on top of it.
        let at = place.scene.dir.path().to_str().unwrap();
        is(
            place,
            &["file", "/below", "x", "as-it-is", "/", "/", "read-only", "{}/data", "{}/tree"],
            &format!("cat {at}/tree; ls /below 2>&1 | grep -c 'No such'"),
            "data\n1\n",
        );
    });
}

#[test]
fn a_tmpfs_holds_what_it_was_given_to() {
    everywhere(|place| {
        is(
            place,
            &["system", "small", "/s"],
            "head -c 200000 /usr/bin/env /usr/bin/env >/s/x 2>&- || echo full; stat -c %a /s",
            "full\n1777\n",
        );
    });
}

#[test]
fn changes_to_an_overlay_stay_in_memory_and_layers_have_any_name_and_number() {
    everywhere(|place| {
        let mut layers = Vec::new();
        // By one text, as older kernels take them, they must fit a page.
        let count = if place.lacks.contains(&"fsopen") { 20 } else { 300 };
        for at in 0..count {
            let name = format!("l,{at}");
            place.directory(&name);
            place.file(&format!("{name}/same"), &format!("{at}\n"));
            place.file(&format!("{name}/own{at}"), "");
            layers.push(format!("{{}}/{name}"));
        }
        let ops = ["system", "overlay", "/o", &layers.join(":")];
        is(
            place,
            &ops,
            "ls /o | wc -l; cat /o/same; echo new >/o/same; cat /o/same; ls -A / | grep xeno",
            &format!("{}\n{}\nnew\n", count + 1, count - 1),
        );
        assert_eq!(fs::read_to_string(place.path(&format!("l,{}/same", count - 1))).unwrap(), format!("{}\n", count - 1));
        // Also where a tree covers the one in which that memory is.
        let ops = ["as-it-is", "/", "/", "overlay", "/mnt", "{}/l,0:{}/l,1"];
        is(place, &ops, "cat /mnt/same; echo new >/mnt/same; cat /mnt/same", "1\nnew\n");
        place.directory("upper");
        place.directory("work");
        let ops = ["system", "overlay-directory", "/o", "{}/l,0", "{}/upper", "{}/work"];
        is(place, &ops, "echo kept >/o/new; cat /o/same", "0\n");
        assert_eq!(fs::read_to_string(place.path("upper/new")).unwrap(), "kept\n");
    });
}

#[test]
fn nothing_of_the_old_root_can_be_reached() {
    everywhere(|place| {
        let mounts = "cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/proc' | sort | tr '\\n' ' '";
        let shell = &format!("ls -A /.. | tr '\\n' ' '; cd ..; pwd; {mounts}");
        is(place, &["system", "hosts-proc", "/proc"], shell, "bin lib lib32 lib64 libx32 proc sbin usr /\n/ /usr ");
        // Whatever covers the root, it is the one mount that is left there.
        is(place, &["tmpfs", "/", "system", "hosts-proc", "/proc"], shell, "bin lib lib32 lib64 libx32 proc sbin usr /\n/ /usr ");
        place.directory("low/only");
        place.directory("low/usr");
        let roots = "cut -d' ' -f5,9- /proc/self/mountinfo | grep -c '^/ '; ls -d /.xeno-law /../.xeno-law";
        for whole in [["as-it-is", "/", "/"], ["read-only", "/", "/"]] {
            let words = [&["file", "/.xeno-law", "x"], &whole[..]].concat();
            let found = place.tree(&words, &format!("{roots} 2>&1 | sed 's/.*No such.*/gone/'; ls -d /../usr"));
            assert_eq!(found, "1\ngone\ngone\n/../usr\n", "{words:?} without {:?}", place.lacks);
        }
        let twice = ["read-only", "/", "/", "as-it-is", "/", "/", "as-it-is", "/", "/mnt"];
        let found = place.tree(
            &twice,
            "cut -d' ' -f5 /proc/self/mountinfo | grep -cE '^(/|/mnt)$'; ls -d /../usr /mnt/../usr /mnt/usr; unshare -Urm echo nested",
        );
        assert_eq!(found, "2\n/../usr\n/mnt/../usr\n/mnt/usr\nnested\n", "without {:?}", place.lacks);
        // The same at another place.
        is(
            place,
            &["system", "as-it-is", "/", "/host", "hosts-proc", "/proc"],
            "ls -d /host/usr /host/../usr; grep -c ' /host ' /proc/self/mountinfo",
            "/host/../usr\n/host/usr\n1\n",
        );
    });
}

#[test]
fn proc_can_be_mounted_again_inside() {
    everywhere(|place| {
        // Covered in part, it would be one that shows too much to be mounted anew (`mount_too_revealing` of the kernel).
        let shell = "unshare -Urmpf sh -c 'mount -t proc proc /proc && echo again'";
        if place.uid.is_some() {
            is(place, &["as-it-is", "/", "/", "hosts-proc", "/proc"], shell, "again\n");
        }
    });
}

#[test]
fn namespaces_can_be_nested_in_a_root_that_is_the_hosts() {
    everywhere(|place| {
        is(place, &["as-it-is", "/", "/"], "unshare -Urm sh -c 'mount -t tmpfs x /mnt && echo nested'", "nested\n");
        is(
            place,
            &["tmpfs", "/", "system", "hosts-proc", "/proc"],
            "unshare -Urm sh -c 'mount -t tmpfs x /usr && echo nested'",
            "nested\n",
        );
    });
}

#[test]
fn thousands_of_binds_need_few_descriptors() {
    everywhere(|place| {
        // The table of mounts is read for each bind where the kernel cannot restrict a tree.
        let count = if place.lacks.is_empty() { 5000 } else { 200 };
        place.file("data", "data\n");
        let mut words = vec!["32".to_owned(), place.path("tree").to_str().unwrap().to_owned()];
        words.extend(place.lacks.iter().flat_map(|call| ["--lack".to_owned(), (*call).to_owned()]));
        words.extend(["system", "many"].map(str::to_owned));
        words.push(place.path("data").to_str().unwrap().to_owned());
        words.extend([&count.to_string(), "--", "sh", "-c", "ls /many | wc -l; cat /many/17"].map(str::to_owned));
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $1; shift; exec \"$@\"", "sh"]).args(words);
        if let Some(uid) = place.uid {
            command.uid(uid).gid(uid);
        }
        let out = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{count}\ndata\n"), "{}", String::from_utf8_lossy(&out.stderr));
    });
}

#[test]
fn a_descriptor_is_bound_as_long_as_its_path_leads_to_the_same_file() {
    everywhere(|place| {
        let bind = |swap: &str| {
            place.file("data", "data\n");
            let program = "exec 5<data; eval \"$1\"; shift; exec \"$@\"";
            let mut command = Command::new("sh");
            command.current_dir(place.scene.dir.path()).args(["-c", program, "sh", swap]);
            command.arg(place.path("tree")).args(place.lacks.iter().flat_map(|call| ["--lack", call]));
            command.args(["system", "descriptor", "5", "/x", "--", "cat", "/x"]);
            if let Some(uid) = place.uid {
                command.uid(uid).gid(uid);
            }
            let out = command.output().unwrap();
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
        };
        assert_eq!(bind(":"), "data\n");
        let swapped = bind("rm data; echo other >data");
        assert!(swapped.contains("bind descriptor 5 at /x read-only: what is to be bound: No such file"), "{swapped}");
        let moved = bind("mv data moved; echo other >data");
        assert_eq!(moved, "data\n");
    });
}
