//! Host shapes: machines that differ from this one, each built in a private mount namespace, entered by
//! `pivot_root` and left to an ordinary user. On each a foreign program runs and starts a program of
//! that machine, which keeps its own loader. Shapes that lack libraries fetch them from the archive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use support::{Rung, USER, copy, is_root, refused, replaced};

/// The interpreter of the foreign fixtures, and of the NixOS shape's own programs.
const NIX: &str = "/nix/store/xqpjz7v3r9w4y2k1m5n8d0b6c3a4f7gh-glibc-2.40-66/lib";
/// The ordinary interpreter: on the NixOS and musl shapes it is the foreign one.
const FHS: &str = "/lib64/ld-linux-x86-64.so.2";

/// A machine: what lies in its root directory, and who uses it.
struct Shape {
    /// What is copied to `/`.
    root: tempfile::TempDir,
    /// Mounts, in the words of sh, with the new root as the working directory.
    mounts: String,
    /// Who uses it; 0 is root.
    user: u32,
    environment: Vec<(&'static str, String)>,
}

impl Shape {
    /// A root with `/proc`, `/dev`, `/sys`, a writable `/tmp` and `/home/user`, and no library at all. `None`, with a
    /// skip, where it cannot be built.
    fn bare() -> Option<Shape> {
        if !is_root() {
            xeno_tests::skip("needs root, to build a machine in a mount namespace");
            return None;
        }
        if !cfg!(target_arch = "x86_64") {
            xeno_tests::skip("the shapes are made of x86-64 fixtures");
            return None;
        }
        if let Err(refusal) = fhs_env::probe() {
            xeno_tests::skip(&refusal.to_string());
            return None;
        }
        for tool in ["unshare", "mount", "pivot_root", "setpriv"] {
            xeno_tests::peer(tool)?;
        }
        let (busybox, xeno) = (xeno_tests::peer("busybox")?, xeno_tests::xeno()?);
        let root = tempfile::Builder::new().prefix("xeno-shape-").tempdir().unwrap();
        copy(&busybox, &root.path().join("test/busybox"));
        copy(&xeno, &root.path().join("test/xeno"));
        let environment = vec![("PATH", "/bin:/usr/bin".to_owned()), ("HOME", "/home/user".to_owned()), ("LANG", "C".to_owned())];
        let mut shape = Shape { root, mounts: String::new(), user: USER, environment };
        for kernel in ["proc", "dev", "sys"] {
            shape.mount(format!("mkdir {kernel}; mount --rbind /{kernel} {kernel}"));
        }
        shape.mount("mkdir -p old run tmp var/tmp; chmod 1777 tmp var/tmp");
        Some(shape)
    }

    /// The bare one with this machine's software.
    fn of_this_host() -> Option<Shape> {
        let mut shape = Shape::bare()?;
        for name in ["usr", "bin", "lib", "lib32", "lib64", "libx32", "sbin", "etc"] {
            shape.mount(format!(
                "if [ -L /{name} ]; then cp -P /{name} {name}; elif [ -d /{name} ]; then mkdir {name}; mount --rbind /{name} {name}; fi"
            ));
        }
        Some(shape)
    }

    fn mount(&mut self, line: impl AsRef<str>) {
        writeln!(self.mounts, "{}", line.as_ref()).unwrap();
    }

    /// Puts a file into the root directory.
    fn put(&self, from: &Path, at: &str) {
        copy(from, &self.root.path().join(at.trim_start_matches('/')));
    }

    /// Puts an executable into the root directory.
    fn put_bytes(&self, bytes: &[u8], at: &str) {
        xeno_tests::executable(&self.root.path().join(at.trim_start_matches('/')), bytes);
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.unset(name);
        self.environment.push((name, value.to_owned()));
    }

    fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| *known != name);
    }

    /// A store that all shapes share, and the archive that this machine's apt configuration names. False, with a
    /// skip, if nothing may be fetched.
    fn connect(&mut self) -> bool {
        static STORE: OnceLock<PathBuf> = OnceLock::new();
        if !xeno_tests::network() {
            return false;
        }
        let store = STORE.get_or_init(|| {
            let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes-store");
            let _ = fs::remove_dir_all(&store);
            fs::create_dir_all(&store).unwrap();
            std::os::unix::fs::chown(&store, Some(USER), Some(USER)).unwrap();
            store
        });
        self.mount(format!("mkdir shared; mount --bind '{}' shared; mkdir -p etc", store.display()));
        self.mount("for f in resolv.conf hosts apt; do [ -e /etc/$f ] && cp -RL /etc/$f etc/; done");
        self.set("XENO_STORE", "/shared");
        let given = std::env::vars().filter(|(name, _)| name.starts_with("XENO_DEBIAN_") || name.ends_with("_proxy"));
        for (name, value) in given {
            self.environment.push((Box::leak(name.into_boxed_str()), value));
        }
        true
    }

    /// What a command says on this machine; `/test/xeno` is xeno.
    fn says(&self, words: &[&str]) -> Output {
        let environment: Vec<String> = self.environment.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let (drop, keep) = ("-sys_admin", "+sys_admin");
        let user = self.user;
        // As an ordinary user pivot_root needs a capability, which is put away before the command starts.
        let enter = if user == 0 {
            String::new()
        } else {
            format!("setpriv --reuid {user} --regid {user} --clear-groups --inh-caps={keep} --ambient-caps={keep} ")
        };
        let leave = if user == 0 { String::new() } else { format!("/test/busybox setpriv --ambient-caps={drop} --inh-caps={drop} ") };
        let script = format!(
            "set -e; umask 022; mount -t tmpfs -o mode=755 tmpfs /mnt; cp -a \"$ROOT/.\" /mnt; chmod 755 /mnt; cd /mnt; mkdir -p home/user; chown {user}:{user} home/user\n{}\
             exec {enter}sh -ec 'cd /mnt; pivot_root . old; exec /test/busybox sh -ec '\\''cd /; umount -l /old; \
             exec {leave}/test/busybox env -i \"$@\"'\\'' sh \"$@\"' sh \"$@\"\n",
            self.mounts
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).args(environment).args(words);
        command.env("ROOT", self.root.path()).env("LC_ALL", "C").stdin(std::process::Stdio::null());
        command.output().unwrap()
    }

    /// Standard output of a command that has to succeed, its standard error apart.
    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> (String, String) {
        let output = self.says(words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {}\n{}\n{stderr}", output.status, output.stdout.escape_ascii());
        (String::from_utf8(output.stdout).unwrap(), stderr)
    }

    /// The law of every shape: a foreign program starts `host` as its child, and what that maps is
    /// what it maps when it is started directly.
    #[track_caller]
    fn child_keeps_its_loader(&self, hostchild: &str, host: &[&str], maps_of_host: &str) {
        let (at_home, _) = self.succeeds(host);
        assert!(files(&at_home).iter().any(|file| file.contains(maps_of_host)), "{at_home}");
        let (seen, stderr) = self.succeeds(&[&["/test/xeno", "run", hostchild], host].concat());
        assert!(seen.ends_with("hostchild status=0\n"), "{seen}\n{stderr}");
        assert_eq!(files(&seen), files(&at_home), "{stderr}");
    }
}

fn files(maps: &str) -> Vec<String> {
    let mut files: Vec<String> = maps.lines().filter_map(|line| Some(line[line.find(" /")? + 1..].to_owned())).collect();
    files.sort();
    files.dedup();
    files
}

/// The rung that `--dry-run` shows as taken.
fn rung(shape: &Shape, program: &str) -> String {
    let (dry, stderr) = shape.succeeds(&["/test/xeno", "run", "--dry-run", program]);
    let taken = dry.lines().find_map(|line| line.strip_prefix("-> "));
    taken.unwrap_or_else(|| panic!("{dry}\n{stderr}")).split(' ').next().unwrap().to_owned()
}

fn hello(path: &str, unwind: &str, variables: usize, loader: u8) -> String {
    format!("hello tls=42 ctor=1 libm=5 unwind={unwind} argv0={path} exe={path} env={variables} ld={loader}\n")
}

/// A fixture of the Nix kind as one of the ordinary kind: another interpreter in the same room, and a
/// RUNPATH that leads nowhere.
fn ordinary(fixture: &str) -> Vec<u8> {
    let bytes = fs::read(xeno_tests::fixture(fixture)).unwrap();
    let nix = format!("{NIX}/ld-linux-x86-64.so.2");
    let mut interpreter = FHS.as_bytes().to_vec();
    interpreter.resize(nix.len(), 0);
    replaced(&replaced(&bytes, nix.as_bytes(), &interpreter), b"/nix/store/", b"/n0x/store/")
}

/// A fixture of the Nix kind whose interpreter no shape has.
fn foreign(fixture: &str, rung: Rung) -> Vec<u8> {
    let path = rung.replaced_path("/nix/store/");
    replaced(&fs::read(xeno_tests::fixture(fixture)).unwrap(), b"/nix/store/", path.as_bytes())
}

/// A library of this machine's glibc.
fn host_library(name: &str) -> Option<PathBuf> {
    let found = ["/lib64", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib"].map(|d| Path::new(d).join(name));
    found.iter().find(|path| path.is_file()).map(|path| fs::canonicalize(path).unwrap())
}

#[test]
fn nixos_has_a_store_and_no_lib64() {
    let Some(mut shape) = Shape::bare() else { return };
    for name in ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2"] {
        let Some(library) = host_library(name) else { return xeno_tests::skip(&format!("no {name} here")) };
        shape.put(&library, &format!("{NIX}/{name}"));
    }
    // The machine's own programs: their interpreter is the store's.
    shape.put(&xeno_tests::fixture("witness"), "/bin/sh");
    shape.put(&xeno_tests::fixture("witness"), "/usr/bin/env");
    // Foreign ones: what every other distribution's programs look like.
    shape.put(&xeno_tests::fixture("hello-x86_64-glibc-pie"), "/opt/hello/hello");
    shape.put_bytes(&ordinary("hostchild"), "/opt/hostchild/hostchild");
    assert!(!shape.says(&["/opt/hello/hello"]).status.success(), "it must not run by itself");
    if !shape.connect() {
        return;
    }
    let variables = shape.environment.len();
    let (output, stderr) = shape.succeeds(&["/test/xeno", "run", "/opt/hello/hello"]);
    assert_eq!(output, hello("/opt/hello/hello", "-", variables, 1), "{stderr}");
    assert_eq!(rung(&shape, "/opt/hello/hello"), "view");
    shape.child_keeps_its_loader("/opt/hostchild/hostchild", &["/bin/sh", "maps"], NIX);
    shape.child_keeps_its_loader("/opt/hostchild/hostchild", &["/usr/bin/env", "maps"], NIX);
}

#[test]
fn a_machine_of_musl_only() {
    let Some(mut shape) = Shape::bare() else { return };
    let musl = ["/lib/ld-musl-x86_64.so.1", "/lib/x86_64-linux-musl/libc.so", "/usr/lib/x86_64-linux-musl/libc.so"];
    let Some(musl) = musl.iter().find_map(|path| fs::canonicalize(path).ok()) else {
        return xeno_tests::skip("no musl loader here; install musl-tools");
    };
    shape.put(&musl, "/lib/ld-musl-x86_64.so.1");
    shape.put(&xeno_tests::peer("busybox").unwrap(), "/bin/busybox");
    shape.put(&xeno_tests::fixture("hello-x86_64-musl-pie"), "/bin/hello");
    shape.put_bytes(&foreign("nix-hello", Rung::View), "/opt/hello/hello");
    shape.put(&xeno_tests::fixture("hello-x86_64-glibc-pie"), "/opt/ordinary/hello");
    shape.put_bytes(&ordinary("hostchild"), "/opt/hostchild/hostchild");
    // Its own programs start directly, without any archive.
    let (output, _) = shape.succeeds(&["/test/xeno", "run", "/bin/hello"]);
    assert_eq!(output, hello("/bin/hello", "-", 3, 0));
    assert_eq!(rung(&shape, "/bin/hello"), "direct");
    if !shape.connect() {
        return;
    }
    let variables = shape.environment.len();
    for (program, unwind) in [("/opt/hello/hello", "1"), ("/opt/ordinary/hello", "-")] {
        assert!(!shape.says(&[program]).status.success(), "it must not run by itself");
        let (output, stderr) = shape.succeeds(&["/test/xeno", "run", program]);
        assert_eq!(output, hello(program, unwind, variables, 1), "{stderr}");
        assert_eq!(rung(&shape, program), "view");
    }
    let (output, stderr) = shape.succeeds(&["/test/xeno", "run", "/opt/hostchild/hostchild", "/bin/hello"]);
    assert_eq!(output, format!("{}hostchild status=0\n", hello("/bin/hello", "-", variables, 1)), "{stderr}");
    shape.child_keeps_its_loader("/opt/hostchild/hostchild", &["/bin/busybox", "cat", "/proc/self/maps"], "/bin/busybox");
}

/// glibc 2.31 as the archive has it, fetched by xeno itself into the shared store.
fn old_glibc(shape: &mut Shape) -> Option<PathBuf> {
    if !shape.connect() {
        return None;
    }
    shape.put_bytes(&foreign("nix-hello", Rung::View), "/opt/first/hello");
    let keep = std::mem::take(&mut shape.environment);
    shape.environment = keep.clone();
    // The first one gives the libc; one that this machine's apt names tells where the mirror is.
    shape.set("XENO_DEBIAN_SUITES", "bullseye,bookworm,trixie");
    let (_, stderr) = shape.succeeds(&["/test/xeno", "run", "--lock", "/tmp/xeno.lock", "/opt/first/hello"]);
    shape.environment = keep;
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes-store/store");
    let entries = fs::read_dir(store).unwrap().map(|e| e.unwrap().path());
    let set = entries.into_iter().find(|path| path.to_string_lossy().contains("-glibc-set-2.31"));
    Some(set.unwrap_or_else(|| panic!("no glibc 2.31 was fetched\n{stderr}")))
}

#[test]
fn a_glibc_that_is_too_old() {
    let Some(mut shape) = Shape::bare() else { return };
    let Some(set) = old_glibc(&mut shape) else { return };
    let find = |name: &str| {
        let output = Command::new("find").arg(&set).args(["-name", name]).output().unwrap();
        let found = String::from_utf8(output.stdout).unwrap();
        let path = found.lines().next().unwrap_or_else(|| panic!("no {name} in {}", set.display())).to_owned();
        fs::canonicalize(path).unwrap()
    };
    shape.put(&find("ld-2.31.so"), "/lib/x86_64-linux-gnu/ld-2.31.so");
    shape.mount("mkdir -p lib64; ln -s ../lib/x86_64-linux-gnu/ld-2.31.so lib64/ld-linux-x86-64.so.2");
    for name in ["libc.so.6", "libm.so.6", "libdl.so.2"] {
        shape.put(&find(name), &format!("/lib/x86_64-linux-gnu/{name}"));
    }
    shape.put(&xeno_tests::fixture("witness-host"), "/bin/witness");
    shape.put(&xeno_tests::fixture("hello-x86_64-glibc-pie"), "/bin/hello");
    shape.put(&xeno_tests::fixture("needs-glibc-2.38"), "/opt/new/new");
    shape.put_bytes(&foreign("hostchild", Rung::View), "/opt/hostchild/hostchild");
    // What is old enough runs as it is.
    assert_eq!(rung(&shape, "/bin/hello"), "direct");
    // What is too new does not, and gets a newer world; the old loader lies in the way.
    let direct = shape.says(&["/opt/new/new"]);
    assert!(String::from_utf8_lossy(&direct.stderr).contains("GLIBC_2.38"), "{}", direct.stderr.escape_ascii());
    let (output, stderr) = shape.succeeds(&["/test/xeno", "run", "/opt/new/new"]);
    assert_eq!(output, "strlcpy ok\n", "{stderr}");
    assert_eq!(rung(&shape, "/opt/new/new"), "overlay");
    shape.child_keeps_its_loader("/opt/hostchild/hostchild", &["/bin/witness", "maps"], "/lib/x86_64-linux-gnu/ld-2.31.so");
    // A child of a program with the newer world.
    shape.put_bytes(&ordinary("hostchild"), "/opt/ordinary/hostchild");
    shape.child_keeps_its_loader("/opt/ordinary/hostchild", &["/bin/witness", "maps"], "/lib/x86_64-linux-gnu/ld-2.31.so");
}

/// This machine's software with a hello and a hostchild that are foreign to it.
fn with_foreign_programs() -> Option<Shape> {
    let shape = Shape::of_this_host()?;
    for rung in [Rung::View, Rung::Overlay] {
        shape.put_bytes(&foreign("nix-hello", rung), &format!("/app-{}/hello", rung.name()));
        shape.put_bytes(&foreign("hostchild", rung), &format!("/app-{}/hostchild", rung.name()));
    }
    Some(shape)
}

/// Both programs run, on the rung they ask for, and children are the host's.
#[track_caller]
fn all_is_well(shape: &Shape) {
    for rung in [Rung::View, Rung::Overlay] {
        let program = format!("/app-{}/hello", rung.name());
        let (output, stderr) = shape.succeeds(&["/test/xeno", "run", &program]);
        assert!(output.starts_with(&format!("hello tls=42 ctor=1 libm=5 unwind=1 argv0={program} exe={program} ")), "{output}\n{stderr}");
        assert_eq!(self::rung(shape, &program), rung.taken());
        let parent = format!("/app-{}/hostchild", rung.name());
        shape.child_keeps_its_loader(&parent, &["/bin/sh", "-c", "exec cat /proc/self/maps"], "libc");
    }
}

#[test]
fn an_ordinary_user_and_root() {
    for user in [USER, 0] {
        let Some(mut shape) = with_foreign_programs() else { return };
        shape.user = user;
        all_is_well(&shape);
    }
}

#[test]
fn a_read_only_home() {
    let Some(mut shape) = with_foreign_programs() else { return };
    shape.mount("mount -t tmpfs -o mode=777 tmpfs home/user; mount -o remount,ro home/user");
    all_is_well(&shape);
    let (_, stderr) = shape.succeeds(&["/test/xeno", "run", "/app-view/hello"]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains(&format!("the store is kept in /var/tmp/xeno-{USER}, as /home/user/.local/share/xeno mounted read-only")),
        "{stderr}"
    );
}

#[test]
fn a_noexec_home() {
    let Some(mut shape) = with_foreign_programs() else { return };
    shape.mount("mount -t tmpfs -o mode=777,noexec tmpfs home/user; cp app-view/hello home/user/hello");
    all_is_well(&shape);
    let (_, stderr) = shape.succeeds(&["/test/xeno", "run", "/app-view/hello"]);
    assert!(stderr.contains("as /home/user/.local/share/xeno mounted noexec"), "{stderr}");
    // A program that lies there is refused: a private root must not undo what the mount forbids.
    let output = shape.says(&["/test/xeno", "run", "/home/user/hello"]);
    // What is passed over is said besides.
    let line = refused("a program in a noexec home", &output, 126);
    assert!(line.contains("/home/user/hello: its file system is mounted noexec"), "{line}");
}

#[test]
fn no_home_at_all() {
    let Some(mut shape) = with_foreign_programs() else { return };
    shape.unset("HOME");
    all_is_well(&shape);
    shape.set("HOME", "/no/such/home");
    all_is_well(&shape);
}

#[test]
fn no_tmp() {
    let Some(mut shape) = with_foreign_programs() else { return };
    shape.mount("rm -r tmp var");
    all_is_well(&shape);
    // No home either: there is no place for the store, and the line says what to do.
    shape.unset("HOME");
    let line = refused("no place", &shape.says(&["/test/xeno", "run", "/app-view/hello"]), 125);
    assert!(line.contains("find a place for the store: tried ") && line.contains("; set XENO_STORE to a writable directory"), "{line}");
    shape.mount(format!("mkdir place; chown {USER} place"));
    shape.set("XDG_RUNTIME_DIR", "/place");
    all_is_well(&shape);
}

#[test]
fn namespaces_refused() {
    let Some(mut shape) = with_foreign_programs() else { return };
    // The limit of a user namespace of the user's own, from which xeno is started.
    shape.put_bytes(
        b"#!/bin/sh\nexec unshare --user --map-current-user --keep-caps sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && \
          exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"' sh \"$@\"\n",
        "/test/refuse",
    );
    shape.mount("mount -t proc proc proc");
    let (output, stderr) = shape.succeeds(&["/test/refuse", "/test/xeno", "run", "/app-view/hello"]);
    assert!(output.starts_with("hello tls=42 ctor=1 libm=5 unwind=1 argv0=/app-view/hello "), "{output}\n{stderr}");
    assert!(stderr.contains("namespaces are refused: ") && stderr.contains("started through its loader: "), "{stderr}");
    // A child is the host's here, too, although nothing foreign could be helped.
    let host = ["/bin/sh", "-c", "exec cat /proc/self/maps"];
    let (at_home, _) = shape.succeeds(&host);
    let (seen, stderr) = shape.succeeds(&[&["/test/refuse", "/test/xeno", "run", "/app-view/hostchild"], &host[..]].concat());
    assert_eq!(files(&seen), files(&at_home), "{stderr}");
}

#[test]
fn a_machine_without_the_other_worlds() {
    let Some(mut shape) = Shape::bare() else { return };
    for name in ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"] {
        let Some(library) = host_library(name) else { return xeno_tests::skip(&format!("no {name} here")) };
        let at = if name.starts_with("ld-") { "/lib64" } else { "/lib/x86_64-linux-gnu" };
        shape.put(&library, &format!("{at}/{name}"));
    }
    shape.put(&xeno_tests::fixture("nix-hello-i686"), "/opt/small/hello");
    shape.put(&xeno_tests::fixture("hello-x86_64-musl-pie"), "/opt/musl/hello");
    if !shape.connect() {
        return;
    }
    let variables = shape.environment.len();
    // 32-bit glibc and musl, each a world of its own from the archive.
    for (program, unwind) in [("/opt/small/hello", "1"), ("/opt/musl/hello", "-")] {
        assert!(!shape.says(&[program]).status.success(), "it must not run by itself");
        let (output, stderr) = shape.succeeds(&["/test/xeno", "run", program]);
        assert_eq!(output, hello(program, unwind, variables, 1), "{stderr}");
    }
}
