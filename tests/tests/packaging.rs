//! What `packaging/` brings: the NixOS module evaluated with a stand-in for nixpkgs, and the installer run as users
//! run it, below prefixes of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod shim_place;
mod support;

use serde_json::{Value, json};
use shim_place::{Place, has_shim};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{Scene, USER, both_streams, exits, is_root, succeeds};
use xeno_tests::source::text;
use xeno_tests::{peer, repository, skip, xeno};

// ---- NixOS

/// What the module uses of nixpkgs, as far as it matters here: packages are their names, and what `mkIf` and
/// `mkMerge` hold is told apart afterwards.
const NIXPKGS: &str = r#"
let
  lib = {
    mkOption = option: option; mkEnableOption = text: { default = false; }; mkIf = when: content: { inherit when content; };
    mkMerge = list: list; literalExpression = text: text; literalMD = text: text; types = { bool = 1; package = 1; str = 1; listOf = t: t; };
    getLib = name: name; optionals = when: list: if when then list else [ ];
    hasPrefix = start: text: builtins.substring 0 (builtins.stringLength start) text == start;
    hasInfix = part: text: builtins.length (builtins.filter builtins.isString (builtins.split "[${part}]" text)) > 1;
  };
  pkgs = {
    stdenv = { hostPlatform.parsed.cpu.name = cpu; cc = { cc = "gcc"; bintools.dynamicLinker = "/nix/store/glibc/ld.so"; }; };
    callPackage = file: given: "/nix/store/xeno";
    buildEnv = given: { inherit (given) name paths extraPrefix postBuild; };
    acl = "acl"; attr = "attr"; bzip2 = "bzip2"; curl = "curl"; libsodium = "libsodium"; libssh = "libssh"; libxml2 = "libxml2";
    openssl = "openssl"; systemd = "systemd"; util-linux = "util-linux"; xz = "xz"; zlib = "zlib"; zstd = "zstd";
  };
  options.environment = if has-ldso then { ldso = { }; } else { };
  module = import file { inherit config lib options pkgs; };
  declared = module.options.programs.xeno-shim;
  config.programs = { nix-ld.enable = nix-ld; xeno-shim = builtins.mapAttrs (name: option: option.default) declared // { enable = true; } // given; };
  holds = part: if part ? when then (if part.when then part.content else null) else part;
  parts = map holds (holds module.config);
  all = name: builtins.concatLists (map (part: part.${name} or [ ]) parts);
  environment = builtins.foldl' (sum: part: sum // (part.environment or { })) { } parts;
in {
  options = builtins.attrNames declared;
  failed = map (a: a.message) (builtins.filter (a: !a.assertion) (all "assertions"));
  rules = builtins.concatLists (map (part: part.systemd.tmpfiles.rules or [ ]) parts);
  variables = if environment.sessionVariables.when then environment.sessionVariables.content else { };
  ldso = environment.ldso or null;
  ldso32 = if environment ? ldso32 then holds environment.ldso32 else null;
  tree = builtins.elemAt environment.systemPackages 1;
  package = builtins.elemAt environment.systemPackages 0;
  links = environment.pathsToLink;
}
"#;

/// Nix without a store of its own; `None`, with a skip, where it is not installed.
fn nix() -> Option<Command> {
    let mut command = Command::new(peer("nix-instantiate")?);
    command.args(["--store", "dummy://"]).env("HOME", "/nonexistent").current_dir("/");
    Some(command)
}

/// The module's answer for these settings.
fn module(cpu: &str, has_ldso: bool, nix_ld: bool, given: &str) -> Option<Value> {
    let file = repository().join("packaging/nixos/module.nix");
    let names = format!("let cpu = \"{cpu}\"; has-ldso = {has_ldso}; nix-ld = {nix_ld}; given = {given}; file = {}; in ", file.display());
    let output = succeeds(nix()?.args(["--eval", "--strict", "--json", "--expr", &format!("{names}{NIXPKGS}")]));
    Some(serde_json::from_str(&output).unwrap())
}

fn nix_files() -> Vec<PathBuf> {
    let all = fs::read_dir(repository().join("packaging/nixos")).unwrap();
    all.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "nix")).collect()
}

#[test]
fn nix_reads_every_file() {
    let files = nix_files();
    assert_eq!(files.len(), 3);
    for file in files {
        let Some(mut nix) = nix() else { return };
        succeeds(nix.arg("--parse").arg(file));
    }
}

#[test]
fn the_module_puts_the_shim_where_nixos_has_a_place_for_it() {
    let Some(said) = module("x86_64", true, false, "{ }") else { return };
    assert_eq!(said["options"], json!(["enable", "libraries", "live", "package", "users"]));
    assert_eq!(said["failed"], json!([]));
    assert_eq!((&said["ldso"], &said["ldso32"]), (&json!("/nix/store/xeno/libexec/xeno/ld-shim-x86_64"), &Value::Null));
    assert_eq!(said["rules"], json!(["d /opt/xeno 0755 root root - -", "z /opt/xeno/u 0755 root root - -"]));
    assert_eq!(said["variables"], json!({}), "nothing for children to inherit");
    let with = r#"{ users = true; package = { outPath = "/nix/store/own"; shims.i686 = 1; }; }"#;
    let said = module("x86_64", true, false, with).unwrap();
    assert_eq!(said["ldso32"], "/nix/store/own/libexec/xeno/ld-shim-i686");
    assert_eq!(said["rules"], json!(["d /opt/xeno 0755 root root - -", "d /opt/xeno/u 1777 root root - -"]));
}

#[test]
fn the_module_links_the_shim_to_the_interpreters_path_where_nixos_has_no_place_for_it() {
    for (cpu, directory, name) in [
        ("x86_64", "/lib64", "ld-linux-x86-64.so.2"),
        ("aarch64", "/lib", "ld-linux-aarch64.so.1"),
        ("riscv64", "/lib", "ld-linux-riscv64-lp64d.so.1"),
    ] {
        let Some(said) = module(cpu, false, false, "{ }") else { return };
        assert_eq!(said["ldso"], Value::Null);
        let link = format!("L+ {directory}/{name} - - - - /nix/store/xeno/libexec/xeno/ld-shim-{cpu}");
        assert_eq!(said["rules"].as_array().unwrap()[2..], [json!(format!("d {directory} 0755 root root - -")), json!(link)]);
        let expected = resolver::arch::Arch::from_short(cpu).unwrap().glibc_loader().unwrap();
        assert_eq!(expected, format!("{directory}/{name}"));
    }
}

#[test]
fn nix_lds_tree_and_variables_are_those_the_shim_reads() {
    let Some(said) = module("x86_64", true, false, r#"{ libraries = [ "a" "b" ]; live = [ "/run/opengl-driver/lib" ]; }"#) else { return };
    let libraries = String::from_utf8(ld_shim::variables::DEFAULT_LIBRARIES.to_vec()).unwrap();
    assert_eq!(said["variables"], json!({ "NIX_LD_LIBRARY_PATH": [libraries, "/run/opengl-driver/lib"] }));
    let system = "/run/current-system/sw";
    let loader = String::from_utf8(ld_shim::variables::DEFAULT_LOADER.to_vec()).unwrap();
    let inside = loader.strip_prefix(system).unwrap();
    assert_eq!((&said["tree"]["paths"], &said["tree"]["extraPrefix"]), (&json!(["a", "b"]), &json!("/share/nix-ld")));
    assert!(said["tree"]["postBuild"].as_str().unwrap().contains(&format!("ln -s /nix/store/glibc/ld.so $out{inside}\n")));
    assert_eq!(said["links"], json!(["/share/nix-ld"]));
    let base = ld_shim::base::DEFAULT.trim_end_matches('/');
    assert_eq!(said["rules"][0], format!("d {base} 0755 root root - -"));
}

#[test]
fn the_module_refuses_what_contradicts_it() {
    let Some(said) = module("x86_64", true, true, "{ }") else { return };
    let failed = said["failed"].as_array().unwrap();
    assert!(failed.len() == 1 && failed[0].as_str().unwrap().contains("Disable\nprograms.nix-ld"), "{failed:?}");
    for live in ["relative", "/a:b", "/$ORIGIN"] {
        let said = module("x86_64", true, false, &format!("{{ live = [ ''{live}'' ]; }}")).unwrap();
        assert_eq!(said["failed"], json!(["programs.xeno-shim.live: each is an absolute path without `:` and `$`."]), "{live}");
    }
    let said = module("mips", true, false, "{ }").unwrap();
    assert_eq!(said["failed"], json!(["programs.xeno-shim: there is no shim for mips."]));
}

/// The double-quoted words of a text that begin in one way.
fn quoted<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.split('"').skip(1).step_by(2).filter(|word| word.starts_with(start)).collect()
}

#[test]
fn nix_builds_the_shim_as_dist_does() {
    let (ours, theirs) = (text(Path::new("packaging/nixos/shim.nix")), text(Path::new("xtask/src/shims.rs")));
    // The linker is nixpkgs' there, and the script lies elsewhere.
    let plain = |word: &&str| !word.starts_with("-Clinker=") && !word.starts_with("-Clink-arg=-T");
    let flags = |text: &str| quoted(text, "-C").into_iter().filter(plain).map(str::to_owned).collect::<Vec<_>>();
    assert!(flags(&theirs).len() > 10);
    assert_eq!(flags(&ours), flags(&theirs));
    assert!(ours.contains("-Clink-arg=-T${../../ld-shim/link.ld}") && theirs.contains("ld-shim/link.ld"));
}

#[test]
fn nix_is_given_every_crate_of_the_workspace() {
    let manifest: toml::Table = text(Path::new("Cargo.toml")).parse().unwrap();
    let package = text(Path::new("packaging/nixos/package.nix"));
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        assert!(quoted(&package, "").contains(&member.as_str().unwrap()), "{member} is not in package.nix");
    }
}

// ---- a plain Linux

fn script() -> PathBuf {
    repository().join("packaging/linux/install")
}

/// What `cargo xtask dist` made, with a xeno that everybody can start.
fn dist() -> Option<PathBuf> {
    let dist = xeno()?.parent().unwrap().to_owned();
    if !dist.join("man/xeno.1").is_file() || !dist.join("config.toml").is_file() {
        skip("no whole distribution is built; cargo xtask dist builds it");
        return None;
    }
    Some(dist)
}

/// Each user, with a place for a prefix.
fn everyone(law: impl Fn(&Scene, &Path)) {
    let Some(dist) = dist() else { return };
    let users: &[Option<u32>] = if is_root() { &[None, Some(USER)] } else { &[None] };
    for scene in users.iter().filter_map(|user| Scene::new(*user)) {
        // Where the user can read it, whatever the build directory's modes are.
        let copy = scene.path("dist");
        support::copy(&dist, &copy);
        support::copy(&script(), &scene.path("install"));
        law(&scene, &copy);
    }
}

fn install(scene: &Scene, shell: &[&str], from: &Path, prefix: &Path, words: &[&str]) -> Command {
    let mut command = scene.command(shell[0]);
    command.args(&shell[1..]).arg(scene.path("install")).args(["--prefix"]).arg(prefix).arg("--from").arg(from).args(words);
    command
}

fn uninstall(scene: &Scene, shell: &[&str], prefix: &Path, words: &[&str]) -> Command {
    let mut command = scene.command(shell[0]);
    command.args(&shell[1..]).arg(scene.path("install")).arg("uninstall").arg("--prefix").arg(prefix).args(words);
    command
}

/// Every file below a directory, with its mode and content; directories end in a slash.
fn tree(top: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            if kind.is_dir() {
                found.insert(format!("{name}/"), (mode, Vec::new()));
                left.push(path);
            } else {
                found.insert(name, (mode, fs::read(path).unwrap()));
            }
        }
    }
    found
}

fn shells() -> Vec<Vec<&'static str>> {
    let busybox = peer("busybox").map(|_| vec!["busybox", "sh"]);
    [Some(vec!["sh"]), busybox].into_iter().flatten().collect()
}

#[test]
fn the_installer_is_a_plain_shell_script() {
    assert_eq!(fs::metadata(script()).unwrap().permissions().mode() & 0o777, 0o755);
    let Some(shellcheck) = peer("shellcheck") else { return };
    assert_eq!(succeeds(Command::new(shellcheck).args(["--norc", "--shell", "sh"]).arg(script())), "");
}

#[test]
fn what_is_installed_twice_is_there_once_and_uninstalled_nothing_is_left() {
    everyone(|scene, dist| {
        for shell in shells() {
            let home = scene.path("a home");
            fs::create_dir_all(&home).unwrap();
            chown(&home, scene.user, scene.user).unwrap();
            let prefix = home.join("own files");
            let said = succeeds(&mut install(scene, &shell, dist, &prefix, &["--no-shim"]));
            let first = tree(&home);
            assert_eq!(succeeds(&mut install(scene, &shell, dist, &prefix, &["--no-shim"])), said, "{shell:?}");
            assert_eq!(tree(&home), first);
            let at = |name: &str| &first[&format!("own files/{name}")];
            assert_eq!((at("bin/xeno").0, at("bin/xeno").1 == fs::read(dist.join("xeno")).unwrap()), (0o755, true));
            for (from, to) in [
                ("man/xeno-shim.1", "share/man/man1/xeno-shim.1"),
                ("completions/xeno.bash", "share/bash-completion/completions/xeno"),
                ("completions/_xeno", "share/zsh/site-functions/_xeno"),
                ("completions/xeno.fish", "share/fish/vendor_completions.d/xeno.fish"),
            ] {
                assert_eq!((at(to).0, &at(to).1), (0o644, &fs::read(dist.join(from)).unwrap()), "{to}");
            }
            // It says every file, and the list knows every file.
            for name in first.keys().filter(|name| !name.ends_with('/') && !name.ends_with("/share/xeno/installed")) {
                assert!(said.contains(&format!("{}\n", home.join(name).display())), "{name} is not told in {said}");
            }
            assert!(succeeds(scene.command(prefix.join("bin/xeno")).arg("--version")).starts_with("xeno "));
            succeeds(&mut uninstall(scene, &shell, &prefix, &["--no-shim"]));
            assert_eq!(tree(&home), BTreeMap::new(), "{shell:?}");
        }
    });
}

#[test]
fn what_others_put_below_the_prefix_stays_and_what_an_older_version_brought_goes() {
    everyone(|scene, dist| {
        let prefix = scene.path("prefix");
        for directory in ["", "bin", "share"] {
            fs::create_dir(prefix.join(directory)).unwrap();
            chown(prefix.join(directory), scene.user, scene.user).unwrap();
        }
        fs::write(prefix.join("bin/other"), "other").unwrap();
        fs::write(dist.join("man/xeno-old.1"), "old").unwrap();
        let before = tree(&prefix);
        succeeds(&mut install(scene, &["sh"], dist, &prefix, &["--no-shim"]));
        assert!(prefix.join("share/man/man1/xeno-old.1").exists());
        fs::remove_file(dist.join("man/xeno-old.1")).unwrap();
        let said = succeeds(&mut install(scene, &["sh"], dist, &prefix, &["--no-shim"]));
        assert!(said.contains("share/man/man1/xeno-old.1: removed\n"), "{said}");
        assert!(!prefix.join("share/man/man1/xeno-old.1").exists());
        // A list that was tampered with leads nowhere else.
        let (list, outside) = (prefix.join("share/xeno/installed"), scene.path("home/outside"));
        fs::write(&outside, "").unwrap();
        let lines = format!("{}f ../home/outside\nf {}\nd ../home\n", text_of(&list), outside.display());
        fs::write(&list, lines).unwrap();
        succeeds(&mut uninstall(scene, &["sh"], &prefix, &["--no-shim"]));
        assert!(outside.exists());
        assert_eq!(tree(&prefix), before);
    });
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_shim_that_was_installed_with_it_goes_with_it() {
    everyone(|scene, dist| {
        if !has_shim(scene) {
            return;
        }
        let (place, prefix) = (Place::empty(scene.user), scene.path("prefix"));
        fs::create_dir(&prefix).unwrap();
        chown(&prefix, scene.user, scene.user).unwrap();
        let words = ["--", "--into", place.base.to_str().unwrap(), "--at", place.loader.to_str().unwrap()];
        for _ in 0..2 {
            let said = succeeds(&mut install(scene, &["sh"], dist, &prefix, &words));
            assert!(said.contains(&format!("{}: the shim for ", place.loader.display())), "{said}");
        }
        // A later one that leaves the shim alone knows of it still.
        succeeds(&mut install(scene, &["sh"], dist, &prefix, &["--no-shim"]));
        let program = place.program(scene, "nix-hello", "app/hello");
        assert!(succeeds(&mut scene.command(&program)).starts_with("hello tls=42 "));
        succeeds(&mut uninstall(scene, &["sh"], &prefix, &[]));
        assert!(!place.loader.exists() && tree(&place.base).is_empty(), "{:?}", tree(&place.base).keys());
        assert_eq!(tree(&prefix), BTreeMap::new());
    });
}

#[test]
fn an_ordinary_user_is_told_what_root_has_to_do() {
    everyone(|scene, dist| {
        if scene.user.is_none() && is_root() {
            return;
        }
        let prefix = scene.path("prefix");
        fs::create_dir(&prefix).unwrap();
        chown(&prefix, scene.user, scene.user).unwrap();
        let said = succeeds(&mut install(scene, &["sh"], dist, &prefix, &[]));
        let told = said.lines().filter(|line| line.contains("xeno shim install ") && line.contains("/ld-linux")).count();
        assert!(told > 0 || said.contains("no shim: there is none for"), "{said}");
        let refused = |output: Output, words: &str| {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && stderr.contains(words), "{}", both_streams(&output));
        };
        refused(install(scene, &["sh"], dist, Path::new("/usr"), &["--no-shim"]).output().unwrap(), "run it as root, or name a --prefix");
        refused(install(scene, &["sh"], &scene.path("home"), &prefix, &[]).output().unwrap(), "does not start; build it with");
        refused(uninstall(scene, &["sh"], &scene.path("home"), &[]).output().unwrap(), "nothing is installed below");
        refused(install(scene, &["sh"], dist, &prefix, &["--what"]).output().unwrap(), "--what: no such option");
        assert!(exits(scene.command("sh").arg(scene.path("install")).arg("--help"), 0).starts_with("Usage: install "));
    });
}
