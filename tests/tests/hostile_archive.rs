//! An archive that lies, ends early or is not there, and bad luck while fetching from it: one clear line, a
//! documented status, nothing half-written. It is the stand-in of the store's own tests, signed by a key made here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../store/tests/standin/mod.rs"]
#[allow(missing_docs, unreachable_pub, clippy::print_stdout, reason = "tests")]
mod standin;
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use standin::{Member, Server, Standin, SuiteContent, clear_sign, deb, gzip, key, tar_of};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{NOWHERE, Rung, Scene, is_root, refuses, succeeds};

const LIB: &str = "usr/lib/x86_64-linux-gnu";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn scene() -> Option<Scene> {
    Scene::new(None)
}

// The archive misbehaves.

/// A program of this machine's own kind that needs libinner.so.1, which only the archive has.
fn wants_inner(scene: &Scene) -> PathBuf {
    scene.fixture("soname-tree/bin/app", "app/wants-inner")
}

/// The package libinner1 in a suite, beside others that make a libc set of this machine's own files.
fn suite(standin: &Standin, inner: &[u8]) -> SuiteContent {
    let mut suite = SuiteContent { by_hash: true, ..SuiteContent::default() };
    standin.package(&mut suite, "libinner1", "1.0-1", &[&format!("{LIB}/libinner.so.1")], inner);
    let host = |name: &str| {
        let found = ["/lib64", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib"].map(|d| Path::new(d).join(name));
        found.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default()
    };
    let mut add = |package: &str, names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| format!("{LIB}/{name}")).collect();
        let members: Vec<Member<'_>> = paths.iter().zip(names).map(|(path, name)| Member::File(path, host(name))).collect();
        let contents: Vec<&str> = paths.iter().map(String::as_str).collect();
        standin.package(&mut suite, package, "2.99-1", &contents, &deb(&members));
    };
    add("libc6", &["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2"]);
    add("libgcc-s1", &["libgcc_s.so.1"]);
    add("libstdc++6", &["libstdc++.so.6"]);
    standin.package(&mut suite, "libc-bin", "2.99-1", &[], &deb(&[Member::File("usr/lib/locale/C.utf8/LC_CTYPE", b"c".to_vec())]));
    suite
}

fn inner() -> Vec<u8> {
    fs::read(xeno_tests::fixture("soname-tree/lib/libinner.so.1.2.3")).unwrap()
}

fn archive(change: impl FnOnce(&Standin, &mut SuiteContent)) -> Standin {
    let standin = Standin::new();
    let mut suite = suite(&standin, &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner())]));
    change(&standin, &mut suite);
    standin.publish("new", &suite);
    standin
}

/// `xeno run PROGRAM` with this archive.
fn with_archive(scene: &Scene, standin: &Standin, mirror: &str, program: &Path) -> Command {
    let config = scene.path("config.toml");
    // Once: another start may be reading it.
    if !config.exists() {
        fs::write(&config, format!("[debian]\nsuites = [\"new\"]\nkeyring = \"{}\"\n", standin.dir.path().join("key.asc").display()))
            .unwrap();
    }
    let mut command = scene.run(program, &[]);
    command.env("XENO_CONFIG", &config).env("XENO_DEBIAN_MIRROR", mirror).env("XENO_DEBIAN_SECURITY_MIRROR", mirror);
    command
}

fn local(scene: &Scene, standin: &Standin, program: &Path) -> Command {
    with_archive(scene, standin, &format!("file://{}", standin.mirror().display()), program)
}

/// Nothing of what failed may look as if it had worked.
fn assert_nothing_half_written(scene: &Scene) {
    assert_eq!(scene.leftovers(), [""; 0]);
    assert_eq!(stored(scene, "libinner1"), [""; 0]);
}

/// The store paths of a package.
fn stored(scene: &Scene, package: &str) -> Vec<String> {
    let entries = fs::read_dir(scene.store().join("store")).into_iter().flatten();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| name.contains(package)).collect()
}

/// The law of every broken archive: one line that says `cause`, status 126 (the program cannot be
/// started), nothing half-written, and once the archive is whole the same command goes further.
fn refuses_archive(standin: &Standin, causes: &[&str]) {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut local(&scene, standin, &program), 126);
    assert!(causes.iter().all(|cause| line.contains(cause)), "{line}");
    assert_nothing_half_written(&scene);
}

/// The stand-in archive, if it is whole, makes the program run: else the other tests show nothing.
#[test]
fn a_whole_archive_makes_the_program_run() {
    let Some(scene) = scene() else { return };
    let standin = archive(|_, _| {});
    let program = wants_inner(&scene);
    let output = local(&scene, &standin, &program).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), inner_7(&program), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("xeno: ")), "{stderr}");
    assert_eq!(scene.leftovers(), [""; 0]);
    // All is there now: no archive is asked.
    fs::rename(standin.mirror(), standin.dir.path().join("gone")).unwrap();
    assert_eq!(succeeds(&mut local(&scene, &standin, &program)), inner_7(&program));
}

fn inner_7(program: &Path) -> String {
    format!("inner 7 exe={}\n", program.display())
}

#[test]
fn no_network_is_one_line_that_says_so() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut scene.run(&program, &[]), 126);
    assert!(line.contains("libinner.so.1") && line.contains(NOWHERE.trim_end_matches('/')), "{line}");
    assert!(line.matches("Connection refused").count() == 1, "said once: {line}");
    assert_nothing_half_written(&scene);
    // A symbol version that only a newer libc has: the archive might have had it.
    let newer = scene.fixture("needs-glibc-2.99", "newer/app");
    let line = refuses(&mut scene.run(&newer, &[]), 126);
    assert!(line.contains("GLIBC_2.99") && line.contains("Connection refused"), "{line}");
    // What this machine can answer needs no network.
    let hello = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    succeeds(&mut scene.run(&hello, &[]));
}

#[test]
fn offline_says_what_would_have_been_fetched() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let line = refuses(&mut scene.say(&["run", "--offline", text(&program)]), 126);
    assert!(line.contains("libinner.so.1") && line.contains("--offline"), "{line}");
    assert!(!scene.store().join("download").exists());
}

#[test]
fn a_signature_of_a_stranger_is_refused() {
    let standin = Standin::new();
    let suite = suite(&standin, &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner())]));
    standin.publish_signed("new", &suite, &key("A stranger <stranger@example.org>"));
    refuses_archive(&standin, &["InRelease", "is not trusted"]);
}

#[test]
fn a_release_changed_after_signing_is_refused() {
    let standin = archive(|_, _| {});
    let path = standin.mirror().join("dists/new/InRelease");
    let changed = fs::read_to_string(&path).unwrap().replace("Origin: Debian", "Origin: Debiam");
    fs::write(&path, changed).unwrap();
    refuses_archive(&standin, &["InRelease", "sign"]);
}

#[test]
fn a_release_that_is_no_release_is_refused() {
    for text in ["", "<html>captive portal</html>\n", "-----BEGIN PGP SIGNED MESSAGE-----\n"] {
        let standin = archive(|_, _| {});
        fs::write(standin.mirror().join("dists/new/InRelease"), text).unwrap();
        refuses_archive(&standin, &["InRelease"]);
    }
    let standin = archive(|_, _| {});
    let nothing = clear_sign(&standin.key, "Origin: Debian\n");
    fs::write(standin.mirror().join("dists/new/InRelease"), nothing).unwrap();
    refuses_archive(&standin, &["new"]);
}

#[test]
fn an_expired_release_is_refused() {
    let standin = archive(|_, suite| suite.valid_until = Some("Sat, 19 Sep 2020 07:55:41 UTC".to_owned()));
    refuses_archive(&standin, &["it was valid until 2020-09-19 07:55:41 UTC"]);
}

#[test]
fn an_index_of_another_size_or_content_is_refused() {
    for change in [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1] {
        let standin = archive(|_, suite| suite.by_hash = false);
        let index = standin.mirror().join("dists/new/main/Contents-amd64.gz");
        let mut bytes = fs::read(&index).unwrap();
        change(&mut bytes);
        fs::write(&index, bytes).unwrap();
        refuses_archive(&standin, &["Contents-amd64"]);
    }
}

#[test]
fn a_package_of_another_size_or_content_is_refused() {
    for change in [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes[100] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(80)] {
        let standin = archive(|_, _| {});
        let file = standin.pool_file("libinner1", "1.0-1");
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        refuses_archive(&standin, &["libinner1"]);
    }
}

#[test]
fn a_package_that_leaves_its_directory_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().join("mark");
    let raw = |path: &str| {
        // The tar crate refuses to write such a name: it is put into a header by hand.
        let good = tar_of(&[Member::File("AAAA", b"out".to_vec())]);
        let mut bytes = good;
        bytes[..100].fill(0);
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[148..156].copy_from_slice(b"        ");
        let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        standin::deb_with("data.tar.gz", &gzip(&bytes))
    };
    let up = format!("{}mark", "../".repeat(12));
    let through_a_link = deb(&[
        Member::Link("usr/lib/x86_64-linux-gnu", text(outside.path())),
        Member::File("usr/lib/x86_64-linux-gnu/mark", b"out".to_vec()),
    ]);
    for package in [raw(&up), raw(&format!("{}", mark.display())), raw("./usr/../../mark"), through_a_link] {
        let standin = Standin::new();
        let suite = suite(&standin, &package);
        standin.publish("new", &suite);
        let Some(scene) = scene() else { return };
        let program = wants_inner(&scene);
        refuses(&mut local(&scene, &standin, &program), 126);
        assert!(!mark.exists(), "written outside");
        assert!(!scene.store().join("mark").exists() && !scene.path("mark").exists(), "written outside");
        assert_eq!(scene.leftovers(), [""; 0]);
    }
}

#[test]
fn a_package_without_the_library_it_was_said_to_have_is_refused() {
    let Some(scene) = scene() else { return };
    let standin = Standin::new();
    let suite = suite(&standin, &deb(&[Member::File("usr/share/doc/libinner1/copyright", b"free".to_vec())]));
    standin.publish("new", &suite);
    let program = wants_inner(&scene);
    let line = refuses(&mut local(&scene, &standin, &program), 126);
    assert!(line.contains("libinner.so.1"), "{line}");
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn a_damaged_configuration_names_file_and_line() {
    let Some(scene) = scene() else { return };
    let program = wants_inner(&scene);
    let config = scene.path("config.toml");
    for wrong in ["[debian]\nmirrors = \"x\"\n", "[debian\n", "[debian]\nsuites = 3\n", "[debian]\nsuites = [\"../etc\"]\n"] {
        fs::write(&config, wrong).unwrap();
        let line = refuses(scene.run(&program, &[]).env("XENO_CONFIG", &config), 125);
        assert!(line.contains("config.toml") || line.contains("'../etc'"), "{wrong}: {line}");
    }
    refuses(scene.run(&program, &[]).env("XENO_CONFIG", scene.path("none.toml")), 125);
}

#[test]
fn a_damaged_lock_is_refused_and_left_alone() {
    let Some(scene) = scene() else { return };
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let lock = scene.path("xeno.lock");
    for wrong in ["", "schema = 99\n", "not a lock", "{\"schema\":1}", "schema = 1\n[[package]]\n"] {
        fs::write(&lock, wrong).unwrap();
        let line = refuses(&mut scene.say(&["run", "--lock", text(&lock), text(&program)]), 125);
        assert!(line.contains("xeno.lock"), "{wrong}: {line}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), wrong);
    }
}

// Bad luck.

#[test]
fn killed_in_mid_download_then_run_again() {
    let Some(scene) = scene() else { return };
    // Noise does not compress: the package is larger than what the server sends at once.
    let noise: Vec<u8> = (0..2_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(i % 31) >> 11) as u8).collect();
    let whole =
        deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner()), Member::File("usr/lib/x86_64-linux-gnu/noise", noise)]);
    let standin = Standin::new();
    let suite = suite(&standin, &whole);
    standin.publish("new", &suite);
    let server = Server::start(standin.mirror());
    let program = wants_inner(&scene);
    let slow = Slow::start(&server.address, "libinner1_1.0-1_amd64.deb", 300_000);
    let mut first = with_archive(&scene, &standin, &slow.address, &program);
    let mut child = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    slow.wait();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let half: Vec<String> = stored(&scene, "libinner1").into_iter().filter(|name| !name.starts_with(".tmp-")).collect();
    assert_eq!(half, [""; 0], "half of a package is not in the store");
    let again = with_archive(&scene, &standin, &server.address, &program).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), inner_7(&program), "{}", again.stderr.escape_ascii());
    assert_eq!(stored(&scene, "libinner1").len(), 1);
    let rest: Vec<_> = fs::read_dir(scene.store().join("download")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(rest, [""; 0], "what the killed one had fetched was used or removed");
}

/// A server before the server that stops in the middle of one file and says when.
struct Slow {
    address: String,
    stuck: std::sync::mpsc::Receiver<()>,
}

impl Slow {
    fn start(behind: &str, end: &'static str, after: usize) -> Slow {
        use std::io::{BufRead, BufReader, Read, Write};
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behind = behind.trim_start_matches("http://").to_owned();
        let (say, stuck) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (behind, say) = (behind.clone(), say.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut request = String::new();
                    while !request.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut request).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let mut onward = TcpStream::connect(behind).unwrap();
                    onward.write_all(request.as_bytes()).unwrap();
                    let slow = request.lines().next().unwrap_or("").split(' ').nth(1).unwrap_or("").ends_with(end);
                    let mut bytes = Vec::new();
                    if slow {
                        onward.take(after as u64).read_to_end(&mut bytes).unwrap();
                    } else {
                        onward.read_to_end(&mut bytes).unwrap();
                    }
                    let _ = stream.write_all(&bytes);
                    if slow {
                        let _ = say.send(());
                        // Held open until the client goes.
                        let _ = reader.read_to_end(&mut Vec::new());
                    }
                });
            }
        });
        Slow { address, stuck }
    }

    fn wait(&self) {
        // A limit, so that a failure is one and no standstill.
        self.stuck.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn two_starts_at_once_share_one_download() {
    let Some(scene) = scene() else { return };
    let standin = archive(|_, _| {});
    let server = Server::start(standin.mirror());
    let program = wants_inner(&scene);
    let start = || with_archive(&scene, &standin, &server.address, &program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), inner_7(&program), "{}", output.stderr.escape_ascii());
    }
    assert_eq!(scene.leftovers(), [""; 0]);
    assert_eq!(server.requests("libinner1_1.0-1_amd64.deb").len(), 1, "fetched once");
}

#[test]
fn a_full_disk_is_one_line_and_nothing_half_written() {
    if !is_root() {
        return xeno_tests::skip("needs root, to mount a small file system");
    }
    let Some(scene) = scene() else { return };
    // Materials of our own, in a store of 64 KiB.
    let program = scene.foreign("nix-hello", Rung::Overlay, "app/nix-hello");
    let small = scene.path("small");
    fs::create_dir(&small).unwrap();
    let in_small = |size: &str, command: &Command| {
        let script = format!(
            r#"mount -t tmpfs -o size={size} tmpfs "$1" || exit 99; shift; "$@"; s=$?; find "{}" -name '.tmp-*' >&2; exit $s"#,
            small.display()
        );
        let mut out = scene.command("unshare");
        out.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(&small);
        out.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            out.env(name, value.unwrap());
        }
        out.env("XENO_STORE", &small);
        out
    };
    let line = refuses(&mut in_small("64k", &scene.run(&program, &[])), 125);
    assert!(line.contains("No space left on device") && line.contains("free some space or point XENO_STORE to another disk"), "{line}");
    // Downloads, in one of 1 MiB.
    let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(i % 31) >> 11) as u8).collect();
    let standin = Standin::new();
    let suite = suite(
        &standin,
        &deb(&[Member::File("usr/lib/x86_64-linux-gnu/libinner.so.1", inner()), Member::File("usr/lib/x86_64-linux-gnu/noise", noise)]),
    );
    standin.publish("new", &suite);
    let program = wants_inner(&scene);
    let line = refuses(&mut in_small("1m", &local(&scene, &standin, &program)), 126);
    assert!(line.contains("No space left on device") && line.contains("free some space"), "{line}");
}
