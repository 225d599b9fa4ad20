//! What a program sees of this host in an environment whose root has no library of the host's, tried as root and as
//! an ordinary user. Each test enters in processes of its own, through `examples/host_view.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by panicking"
)]

use resolver::arch::Arch;
use resolver::ldcache;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An ordinary user.
const USER: u32 = 4711;

/// A user, his directory, and a farm of a shell and a few programs.
struct Place {
    dir: tempfile::TempDir,
    user: Option<u32>,
}

fn example() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/host_view")
}

/// Copies a program and what it needs into the farm, by another process.
fn install(farm: &Path, program: &Path, name: &str) -> Vec<(String, PathBuf)> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let mut libraries = Vec::new();
    for line in text.lines() {
        if let Some((soname, rest)) = line.trim().split_once(" => ") {
            let path = rest.split(" (").next().unwrap();
            copy(Path::new(path), &farm.join("usr/lib").join(soname));
            libraries.push((soname.to_owned(), Path::new("/usr/lib").join(soname)));
        }
    }
    copy(program, &farm.join("usr/bin").join(name));
    libraries
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-L").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{}", from.display());
}

impl Place {
    fn new(user: Option<u32>) -> Place {
        let dir = tempfile::Builder::new().prefix("xeno-views-").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let place = Place { dir, user };
        let farm = place.farm();
        for below in ["usr/bin", "usr/lib", "usr/lib64", "usr/etc"] {
            fs::create_dir_all(farm.join(below)).unwrap();
        }
        copy(Path::new(Arch::host().unwrap().glibc_loader().unwrap()), &farm.join("usr/lib64/ld-linux-x86-64.so.2"));
        let sh = fs::canonicalize("/bin/sh").unwrap();
        let mut libraries = install(&farm, &sh, "sh");
        for program in ["cat", "sleep", "id"] {
            libraries.extend(install(&farm, &fs::canonicalize(Path::new("/usr/bin").join(program)).unwrap(), program));
        }
        libraries.extend(install(&farm, &example(), "host_view"));
        // The parts of glibc come together.
        let libc = libraries.iter().find(|(name, _)| name == "libc.so.6").unwrap().1.clone();
        for name in ["libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"] {
            let part = Path::new("/lib/x86_64-linux-gnu").join(name);
            if part.exists() {
                copy(&part, &farm.join("usr/lib").join(name));
                libraries.push((name.to_owned(), libc.with_file_name(name)));
            }
        }
        let entries: Vec<(&str, &[u8])> = libraries.iter().map(|(n, p)| (n.as_str(), p.as_os_str().as_encoded_bytes())).collect();
        fs::write(farm.join("usr/etc/ld.so.cache"), ldcache::serialise(&entries, Arch::host().unwrap()).unwrap()).unwrap();
        for name in ["home", "runtime", "game", "private"] {
            fs::create_dir(place.path(name)).unwrap();
            chown(place.path(name), user, user).unwrap();
        }
        place
    }

    /// Root and an ordinary user where root runs the tests; nobody, with a skip, where namespaces are refused.
    fn all() -> Vec<Place> {
        if let Err(refusal) = fhs_env::probe() {
            assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "{refusal}");
            return Vec::new();
        }
        let users = if nix::unistd::geteuid().is_root() { vec![None, Some(USER)] } else { vec![None] };
        users.into_iter().map(Place::new).collect()
    }

    fn farm(&self) -> PathBuf {
        self.path("farm")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, options: &[&OsStr], words: &[&str]) -> Command {
        let mut command = Command::new(example());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command.current_dir("/").stdin(Stdio::null());
        command.args(options).arg(self.farm()).arg("--").args(words);
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
        command
    }

    #[track_caller]
    fn says(&self, options: &[&OsStr], words: &[&str]) -> String {
        let output = self.command(options, words).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{words:?}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        said
    }
}

fn options<'a>(words: &'a [&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).collect()
}

#[test]
fn a_root_without_libraries_of_the_hosts_runs_programs_of_its_own_beside_the_hosts_files() {
    for place in Place::all() {
        let outside = place.path("home/letter");
        fs::write(&outside, "dear").unwrap();
        let script = format!("[ -e /usr/lib/x86_64-linux-gnu ] && echo host; cat {}; id -u", outside.display());
        let uid = place.user.unwrap_or(nix::unistd::geteuid().as_raw());
        assert_eq!(place.says(&[], &["sh", "-c", &script]), format!("dear{uid}\n"));
    }
}

#[test]
fn a_file_of_etc_that_the_host_replaces_is_followed_while_a_program_runs() {
    for place in Place::all() {
        // The host's /etc is not ours to change: an environment in an environment whose /etc is.
        let etc = place.path("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        fs::write(etc.join("passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        let go = place.path("runtime/go");
        let script = format!("cat /etc/resolv.conf; while [ ! -e {} ]; do sleep 0.05; done; cat /etc/resolv.conf", go.display());
        let mut outer = Command::new("unshare");
        outer.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin").stdin(Stdio::null()).stdout(Stdio::piped()).current_dir("/");
        if place.user.is_some() || !nix::unistd::geteuid().is_root() {
            outer.arg("-r");
        }
        if let Some(uid) = place.user {
            outer.uid(uid).gid(uid);
        }
        outer.args(["-m", "sh", "-c", r#"mount --bind "$1" /etc && shift && exec "$@""#, "sh"]).arg(&etc);
        outer.arg(example()).arg(place.farm()).args(["--", "sh", "-c", &script]);
        let child = outer.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        fs::write(etc.join("new"), "nameserver 192.0.2.2\n").unwrap();
        fs::rename(etc.join("new"), etc.join("resolv.conf")).unwrap();
        fs::write(&go, "").unwrap();
        let said = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "{:?}", place.user);
    }
}

/// Says `text` to whoever connects, for as long as the test program runs.
fn serve(listener: UnixListener, text: &'static str) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream.unwrap().write_all(text.as_bytes()));
        }
    });
}

#[test]
fn a_display_is_reached_under_a_private_tmp_and_in_a_sandbox() {
    let number = 9000 + std::process::id() % 1000;
    let directory = Path::new("/tmp/.X11-unix");
    let made = fs::create_dir(directory).is_ok();
    fs::set_permissions(directory, Permissions::from_mode(0o1777)).unwrap_or_default();
    let socket = directory.join(format!("X{number}"));
    serve(UnixListener::bind(&socket).unwrap(), "display");
    fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
    let hidden = format!("xeno-test-{number}");
    serve(UnixListener::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap(), "abstract");
    let path = socket.to_str().unwrap();
    for place in Place::all() {
        let display = format!(":{number}");
        let reach = |options: &[&OsStr], socket: &str| {
            let output = place.command(options, &["host_view", "connect", socket]).env("DISPLAY", &display).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let home = place.path("private");
        let private = options(&["--private-tmp"]);
        let sandbox = [OsStr::new("--sandbox"), home.as_os_str()];
        assert_eq!(reach(&[], path), "display\n");
        assert_eq!(reach(&private, path), "display\n");
        assert_eq!(reach(&sandbox, path), "display\n", "{:?}", place.user);
        let abstract_name = format!("@{hidden}");
        assert_eq!(reach(&private, &abstract_name), "abstract\n", "the same network");
        assert_eq!(reach(&sandbox, &abstract_name), "", "another network has none");
        let other = place.path("private").join("none");
        assert_eq!(reach(&private, other.to_str().unwrap()), "");
        // Nothing else of the host's /tmp is there.
        let seen = place.says(&private, &["sh", "-c", "for f in /tmp/* /tmp/.[a-zA-Z]*; do [ -e \"$f\" ] && echo $f; done; exit 0"]);
        assert_eq!(seen, "", "without DISPLAY");
    }
    fs::remove_file(&socket).unwrap();
    if made {
        drop(fs::remove_dir(directory));
    }
}

#[test]
fn the_hosts_home_is_out_of_sight_in_a_sandbox_and_what_was_chosen_is_read_only() {
    for place in Place::all() {
        fs::write(place.path("home/secret"), "secret").unwrap();
        fs::write(place.path("game/data"), "data").unwrap();
        let (home, game) = (place.path("private"), place.path("game"));
        let sandbox = [OsStr::new("--sandbox"), home.as_os_str(), OsStr::new("--path"), game.as_os_str()];
        // The home directory of this user lies under /tmp, which a sandbox has of its own: it is called otherwise there.
        let script = format!(
            "cat {0}/data; echo; (echo x > {0}/data) 2>/dev/null && echo written; cat {1}/secret 2>/dev/null; \
             echo $HOME > ~/mine && cat ~/mine; for d in /home/* /root /mnt /media /srv /opt /boot /.host/etc; do [ -e $d ] && echo $d; done; exit 0",
            game.display(),
            place.path("home").display()
        );
        // Positive control: without the sandbox all of it is there.
        let open = place.says(&[], &["sh", "-c", &format!("cat {}/secret", place.path("home").display())]);
        assert_eq!(open, "secret");
        let said = place.says(&sandbox, &["sh", "-c", &script]);
        let own = said.lines().nth(1).unwrap().to_owned();
        assert!(own.starts_with("/home/"), "{said}");
        assert_eq!(said, format!("data\n{own}\n{own}\n"));
        assert_eq!(fs::read_to_string(home.join("mine")).unwrap(), format!("{own}\n"));
        assert_eq!(fs::read_to_string(game.join("data")).unwrap(), "data");
    }
}

#[test]
fn a_sandbox_has_no_network_unless_it_was_given_and_its_own_processes_only() {
    for place in Place::all() {
        let home = place.path("private");
        let script =
            "while read -r line; do case $line in *:*) echo ${line%%:*};; esac; done < /proc/net/dev; set -- /proc/[0-9]*; echo $#";
        let closed = place.says(&[OsStr::new("--sandbox"), home.as_os_str()], &["sh", "-c", script]);
        let (devices, processes) = closed.trim().rsplit_once('\n').unwrap();
        assert_eq!(devices, "lo");
        assert!(processes.parse::<u32>().unwrap() <= 2, "{closed}");
        let open = place.says(&[OsStr::new("--sandbox"), home.as_os_str(), OsStr::new("--network")], &["sh", "-c", "cat /etc/resolv.conf"]);
        assert_eq!(open, fs::read_to_string("/etc/resolv.conf").unwrap());
    }
}

#[test]
fn an_environment_works_inside_an_environment() {
    for place in Place::all() {
        let (farm, program) = (place.farm(), example());
        let inner = [program.to_str().unwrap(), farm.to_str().unwrap(), "--", "sh", "-c", "read -r line < /etc/passwd; echo $line"];
        // The program that enters again is the farm's copy.
        let words: Vec<&str> = std::iter::once("host_view").chain(inner[1..].iter().copied()).collect();
        let first = fs::read_to_string("/etc/passwd").unwrap().lines().next().unwrap().to_owned();
        assert_eq!(place.says(&[], &words), format!("{first}\n"));
    }
}

#[test]
fn the_hosts_drivers_find_all_they_need_inside() {
    let Some(driver) = ["libGLX_mesa.so.0", "libEGL_mesa.so.0", "libGLX_nvidia.so.0"]
        .iter()
        .map(|name| Path::new("/usr/lib/x86_64-linux-gnu").join(name))
        .find(|path| path.exists())
    else {
        assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "no graphics driver is installed (libglx-mesa0)");
        return;
    };
    for place in Place::all() {
        let cache = place.path("private");
        let drivers = [OsStr::new("--drivers"), cache.as_os_str()];
        let list = format!("/lib64/ld-linux-x86-64.so.2 --list {}", Path::new("/.host").join(driver.strip_prefix("/").unwrap()).display());
        let found = place.says(&drivers, &["sh", "-c", &list]);
        assert!(!found.contains("not found"), "{found}");
        assert!(found.contains("/.host/usr/lib/"), "{found}");
        // Positive control: without the drivers' layer the farm's loader finds little of it.
        let lost = place.command(&[], &["sh", "-c", &list]).output().unwrap();
        let lost = String::from_utf8_lossy(&lost.stdout).into_owned() + &String::from_utf8_lossy(&lost.stderr);
        assert!(lost.contains("not found") || lost.contains("cannot open"), "{lost}");
        let layers = || fs::read_dir(cache.join("drivers")).unwrap().count();
        assert_eq!(layers(), 1);
        place.says(&drivers, &["sh", "-c", "exit 0"]);
        assert_eq!(layers(), 1, "found again");
        let variable = place.says(&drivers, &["sh", "-c", "echo $LIBGL_DRIVERS_PATH"]);
        assert_eq!(
            variable.trim(),
            if Path::new("/usr/lib/x86_64-linux-gnu/dri").exists() { "/.host/usr/lib/x86_64-linux-gnu/dri" } else { "" }
        );
    }
}
