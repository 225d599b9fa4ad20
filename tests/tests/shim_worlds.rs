//! Programs of other worlds through an installed shim: musl's, 32-bit ones, other machines' under an emulator, and
//! the libcs of three Debian releases with their gconv modules, locales and NSS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod shim_place;
mod support;

use launch::shim::image::{self, Content, Finds};
use ld_shim::image::EVERYBODY;
use resolver::arch::Arch;
use resolver::machine;
use resolver::needs::Libc;
use shim_place::{Place, everyone_installed, has_shim, installed, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Scene, both_streams, exits, succeeds};
use xeno_tests::{fixture, network, peer, skip};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a program prints, with its path left out.
fn without_path(output: &str, program: &Path) -> String {
    output.replace(text(program), "PROGRAM")
}

/// The same program at home and through the shim: the same words.
fn as_at_home(scene: &Scene, home: &Path, foreign: &Path) {
    let expected = without_path(&succeeds(&mut scene.command(home)), home);
    assert!(expected.starts_with("hello tls=42 ctor=1 libm=5 "), "{expected}");
    assert_eq!(without_path(&succeeds(&mut scene.command(foreign)), foreign), expected);
}

#[test]
fn programs_for_musl_start_with_an_image_of_their_own_and_with_the_one_for_everybody() {
    if machine::system(Arch::host().unwrap(), Libc::Musl).is_none() {
        return skip("this machine has no musl loader");
    }
    everyone_installed(|scene, place| {
        // The shim tells musl's programs by their interpreter's name.
        let at = place.base.join("ld-musl-x");
        succeeds(&mut place.install_at(scene, &at, &["--musl"]));
        let home = scene.fixture("hello-x86_64-musl-pie", "home/hello");
        for fixture in ["hello-x86_64-musl-pie", "hello-x86_64-musl-nopie"] {
            // In directories of their own: of one directory, two programs of the same needs share an image.
            let program = place.with_interpreter(scene, fixture, &format!("{fixture}/hello"), &at);
            as_at_home(scene, &home, &program);
            let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
            assert_eq!(shown["path"], text(&place.base.join("musl64")));
            succeeds(&mut scene.say(&["shim", "add", text(&program)]));
            let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
            assert_eq!((&shown["libc"], shown["key"].is_string()), (&"musl".into(), true));
            as_at_home(scene, &home, &program);
            exits(&mut scene.say(&["doctor", text(&program)]), 0);
        }
    });
}

#[test]
fn a_shim_in_a_private_root_serves_programs_for_musl_too() {
    if machine::system(Arch::host().unwrap(), Libc::Musl).is_none() {
        return skip("this machine has no musl loader");
    }
    support::everyone(|scene| {
        if has_shim(scene) {
            let program = scene.fixture("hello-x86_64-musl-pie", "app/hello");
            let at_home = succeeds(&mut scene.command(&program));
            // Whether the loader lies where the program says is the one thing that it can tell.
            let plain = |output: &str| output.rsplit_once(" ld=").unwrap().0.to_owned();
            assert_eq!(plain(&succeeds(&mut scene.say(&["run", "--strategy", "shim", text(&program)]))), plain(&at_home));
        }
    });
}

#[test]
fn programs_of_32_bits_start_beside_those_of_64() {
    let i686 = Arch::from_short("i686").unwrap();
    if Arch::host() != Arch::from_short("x86_64") || machine::system(i686, Libc::Glibc).is_none() {
        return skip("this machine has no 32-bit glibc");
    }
    everyone_installed(|scene, place| {
        let at = place.base.join("l32");
        succeeds(&mut place.install_at(scene, &at, &["--arch", "i686"]));
        let home = scene.fixture("hello-i686-glibc-pie", "home/hello");
        for fixture in ["hello-i686-glibc-pie", "hello-i686-glibc-nopie"] {
            let program = place.with_interpreter(scene, fixture, &format!("app/{fixture}"), &at);
            as_at_home(scene, &home, &program);
            succeeds(&mut scene.say(&["shim", "add", text(&program)]));
            as_at_home(scene, &home, &program);
        }
        let foreign = place.with_interpreter(scene, "nix-hello-i686", "app/nix", &at);
        succeeds(&mut scene.say(&["shim", "add", text(&foreign)]));
        assert!(succeeds(&mut scene.command(&foreign)).starts_with("hello tls=42 "));
        assert!(place.base.join("gnu64").exists() && place.base.join("gnu32").exists(), "both, side by side");
        let status = exits(&mut scene.say(&["shim", "status", "--into", text(&place.base)]), 0);
        assert_eq!(status.lines().filter(|line| line.starts_with("  shim ")).count(), 2, "{status}");
    });
}

/// A shim for another machine and an image for everybody with its cross-compiler's libraries.
fn emulated(short: &str, triplet: &str) {
    let arch = Arch::from_short(short).unwrap();
    let root = PathBuf::from("/usr").join(triplet);
    let name = Path::new(arch.glibc_loader().unwrap()).file_name().unwrap();
    let loader = root.join("lib").join(name);
    let Some(qemu) = peer(&format!("qemu-{short}")) else { return };
    if !loader.exists() {
        return skip(&format!("no libc for {short} is installed (libc6-dev-*-cross)"));
    }
    let Some(scene) = Scene::new(None).filter(has_shim) else { return };
    let place = Place::empty(None);
    let installed = place.install(&scene, &["--arch", short, "--offline"]).output().unwrap();
    assert!(installed.status.success(), "{}", both_streams(&installed));
    let answers: BTreeMap<String, PathBuf> =
        ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].map(|soname| (soname.to_owned(), root.join("lib").join(soname))).into();
    let content = Content { arch, loader, finds: Finds::Answers(answers), live: Vec::new(), key: EVERYBODY };
    let image = place.base.join("gnu64");
    let bytes = image::compose(&content, text(&image), text(&place.base.join("-"))).unwrap();
    // Whatever `install` found: this one is to be tried.
    let _ = fs::remove_file(&image);
    fs::write(&image, bytes).unwrap();
    for kind in ["pie", "nopie"] {
        let fixture_name = format!("hello-{short}-glibc-{kind}");
        let program = place.program(&scene, &fixture_name, &format!("app/{kind}"));
        let run = |program: &Path, arguments: &[&str]| {
            let mut command = scene.command(&qemu);
            without_path(&succeeds(command.args(arguments).arg(program)), program)
        };
        let expected = run(&fixture(&fixture_name), &["-L", text(&root)]);
        assert!(expected.starts_with("hello tls=42 ctor=1 libm=5 "), "{expected}");
        // Nothing but the shim and its image leads to the libraries.
        assert_eq!(run(&program, &[]), expected);
    }
}

#[test]
fn programs_for_aarch64_start_under_an_emulator() {
    emulated("aarch64", "aarch64-linux-gnu");
}

#[test]
fn programs_for_riscv64_start_under_an_emulator() {
    emulated("riscv64", "riscv64-linux-gnu");
}

#[test]
fn a_machine_without_a_loader_gets_one_and_the_libraries_that_were_named_from_the_archive() {
    if !network() {
        return;
    }
    if !support::is_root() {
        return skip("needs root, to take this machine's loader away");
    }
    let Some(unshare) = peer("unshare") else { return };
    let Some(scene) = Scene::new(None).filter(has_shim) else { return };
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if resolver::elf::load(Path::new("/bin/ls")).unwrap().interpreter.as_deref() != Some(loader) {
        return skip("this machine's programs do not start with the usual loader");
    }
    let needed = resolver::elf::load(Path::new("/bin/ls")).unwrap().needed;
    let libraries: Vec<String> = needed.into_iter().filter(|name| !name.starts_with("libc.")).collect();
    let place = Place::empty(None);
    // In a mount namespace of its own: from the mount on, nothing of this machine starts but what is static.
    let script = r#"set -e
        xeno=$1 base=$2; shift 2
        mount -t tmpfs none /lib64
        for library; do set -- "$@" --library "$library"; shift; done
        "$xeno" shim install --into "$base" "$@" > /dev/null 2>&1
        ls -d /
        LD_TRACE_LOADED_OBJECTS=1 ls"#;
    let mut command = scene.command(unshare);
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]);
    command.arg(scene.xeno()).arg(&place.base).args(&libraries);
    command.env_remove("XENO_DEBIAN_MIRROR").env_remove("XENO_DEBIAN_SECURITY_MIRROR").env("XENO_DEBIAN_SUITES", "trixie");
    for mirror in ["XENO_DEBIAN_MIRROR", "XENO_DEBIAN_SECURITY_MIRROR"] {
        command.envs(std::env::var_os(mirror).map(|value| (mirror, value)));
    }
    let output = succeeds(&mut command);
    let (first, rest) = output.split_once('\n').unwrap();
    assert_eq!(first, "/");
    let files: Vec<&str> = rest.lines().filter_map(|line| line.split(" => ").nth(1)).collect();
    assert!(files.len() > libraries.len(), "{output}");
    assert!(files.iter().all(|file| file.starts_with(text(&scene.store()))), "{output}");
}

// Foreign libcs. Each needs a library that only its release has, so that no other world can answer.

/// Asks libc for what it keeps outside of itself, and says what was mapped for it. It starts by itself, as a program
/// that this machine's compiler links would need this machine's libc.
const ASKS: &str = r#"
#include <iconv.h>
#include <locale.h>
#include <langinfo.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>
__asm__(".globl _start\n_start: xor %ebp,%ebp\n and $-16,%rsp\n call ask\n");
void ask(void) {
  static char line[4096], in[] = "\xd0\xd2\xc9", out[64];
  char *from = in, *to = out;
  size_t left = 3, room = 63;
  iconv_t how = iconv_open("UTF-8", "KOI8-R");
  if (how == (iconv_t)-1 || iconv(how, &from, &left, &to, &room)) puts("no iconv");
  printf("iconv %s\n", out);
  printf("locale %s\n", setlocale(LC_ALL, LOCALE) ? nl_langinfo(CODESET) : "none");
  struct passwd *root = getpwuid(0);
  printf("user %s\n", root ? root->pw_name : "none");
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps)) fputs(line, stdout);
  fflush(stdout);
  _exit(0);
}
"#;

/// A release of Debian, a library that only it has, and the one locale that its libc brings.
fn release(suite: &str, library: &str, locale: &str) {
    if !network() {
        return;
    }
    let Some(cc) = peer("cc") else { return };
    let Some((scene, place)) = installed(None) else { return };
    let (source, program) = (scene.path("asks.c"), scene.path("app/asks"));
    fs::write(&source, ASKS).unwrap();
    fs::create_dir(scene.path("app")).unwrap();
    let mut compile = Command::new(cc);
    compile.args(["-O1", "-w", "-nostartfiles", "-o", text(&program), text(&source), &format!("-DLOCALE=\"{locale}\"")]);
    compile.arg(format!("-Wl,--dynamic-linker={}", place.loader.display()));
    succeeds(&mut compile);
    // The store lies elsewhere: what is in it is not the program's own tree.
    let store = tempfile::tempdir().unwrap();
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let archive = |command: &mut Command| {
        command.env("XENO_STORE", store.path()).env("XENO_DEBIAN_SUITES", suite);
        for mirror in ["XENO_DEBIAN_MIRROR", "XENO_DEBIAN_SECURITY_MIRROR"] {
            match std::env::var_os(mirror) {
                Some(value) => command.env(mirror, value),
                None => command.env_remove(mirror),
            };
        }
    };
    succeeds(&mut scene.say(&["patch", "--add-needed", library, text(&program)]));
    let mut add = scene.say(&["shim", "add", text(&program)]);
    archive(&mut add);
    let added = add.output().unwrap();
    assert!(added.status.success(), "{}", both_streams(&added));
    let shown = json(&mut scene.say(&["shim", "show", "--json", text(&program)]));
    let output = succeeds(scene.command(&program).env("LANG", "C"));
    let said: Vec<&str> = output.lines().take(3).collect();
    assert_eq!(said, ["iconv при", "locale UTF-8", "user root"], "{suite}");
    // All of it came from the release: the libraries, the modules, the locale.
    let own = fs::canonicalize(store.path()).unwrap();
    let mapped: BTreeSet<PathBuf> = output.lines().filter_map(|line| Some(PathBuf::from(line.get(line.find('/')?..)?))).collect();
    let ours = |path: &&PathBuf| path.starts_with(&own) || path.starts_with(&place.base) || **path == program;
    let strangers: Vec<&PathBuf> = mapped.iter().filter(|path| !ours(path)).collect();
    assert_eq!(strangers, Vec::<&PathBuf>::new(), "{suite}");
    assert!(mapped.iter().any(|path| text(path).ends_with("/KOI8-R.so")), "{mapped:?}");
    assert!(shown["loader"].as_str().unwrap().contains("glibc-set-"), "{shown}");
    let mut again = scene.say(&["run", "--dry-run", text(&program)]);
    archive(&mut again);
    assert!(succeeds(&mut again).contains("\n-> shim "), "the rung finds it up to date");
    // So does an ordinary user, whom no archive answers.
    if support::is_root() {
        let user = Scene::new(Some(support::USER)).unwrap();
        assert!(succeeds(&mut user.say(&["run", "--dry-run", text(&program)])).contains("\n-> shim "));
        assert!(succeeds(&mut user.run(&program, &[])).starts_with("iconv при\nlocale UTF-8\nuser root\n"));
    }
}

#[test]
fn gconv_locales_and_nss_of_bullseye_are_its_own() {
    release("bullseye", "libcrypto.so.1.1", "C.UTF-8");
}

#[test]
fn gconv_locales_and_nss_of_bookworm_are_its_own() {
    release("bookworm", "libzip.so.4", "C.UTF-8");
}

#[test]
fn gconv_locales_and_nss_of_trixie_are_its_own() {
    release("trixie", "libjxl.so.0.11", "C.UTF-8");
}
