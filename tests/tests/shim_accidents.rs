//! What must not become of a machine by `xeno shim`, whatever went wrong before: files of others overwritten,
//! images where others can change them, a shim that cannot be taken away, images that are gone before it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod shim_place;
mod support;

use shim_place::{Place, everyone_installed, trust_only_root};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use support::{USER, refuses, succeeds};

const HELLO: &str = "hello tls=42 ctor=1 libm=5 unwind=1 ";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn adding_a_program_overwrites_no_file_that_is_no_image() {
    everyone_installed(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        let added = succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        let image = PathBuf::from(added.trim_end().split_once(" -> ").unwrap().1);
        let bytes = fs::read(&image).unwrap();
        // Damaged, it is still seen to be one.
        let _ = fs::remove_file(&image);
        fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
        chown(&image, scene.user, scene.user).unwrap();
        succeeds(&mut scene.say(&["shim", "add", text(&program)]));
        assert!(fs::read(&image).unwrap() == bytes, "made again");
        fs::remove_file(&image).unwrap();
        fs::write(&image, "root:x:0:0::/root:/bin/sh\n").unwrap();
        chown(&image, scene.user, scene.user).unwrap();
        let line = refuses(&mut scene.say(&["shim", "add", text(&program)]), 125);
        assert!(line.contains("something else is there, which is no image") && line.contains("remove it"), "{line}");
        assert_eq!(fs::read_to_string(&image).unwrap(), "root:x:0:0::/root:/bin/sh\n");
    });
}

#[test]
fn somebody_elses_shim_does_not_say_where_root_writes() {
    trust_only_root(|scene, place| {
        let program = place.program(scene, "nix-hello", "app/hello");
        let shown = || scene.say(&["shim", "show", text(&program)]).output().unwrap();
        assert!(String::from_utf8_lossy(&shown().stdout).starts_with(text(&place.base)), "root's own does");
        chown(&place.loader, Some(USER), None).unwrap();
        let said = shown();
        let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(!said.contains(text(&place.base)) && said.contains("/opt/xeno/"), "{said}");
    });
}

#[test]
fn root_makes_no_images_where_others_can_change_them() {
    trust_only_root(|scene, _| {
        let place = Place::empty(Some(USER));
        let line = refuses(&mut place.install(scene, &[]), 125);
        assert!(line.contains(&format!("belongs to uid {USER}")) && line.contains("--into"), "{line}");
        assert_eq!(fs::read_dir(&place.base).unwrap().count(), 0);
    });
}

#[test]
fn a_shim_is_taken_away_although_the_list_of_shims_is_lost() {
    everyone_installed(|scene, place| {
        fs::remove_file(place.base.join("installed")).unwrap();
        let said = succeeds(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base), "--at", text(&place.loader)]));
        assert!(said.contains(&format!("{}: removed", place.loader.display())), "{said}");
        assert!(!place.loader.exists());
    });
}

#[test]
fn as_long_as_the_shim_cannot_be_taken_away_the_images_stay() {
    trust_only_root(|scene, place| {
        let real = resolver::machine::system(resolver::arch::Arch::host().unwrap(), resolver::needs::Libc::Glibc).unwrap().loader;
        let (at, target) = (place.base.join("at"), scene.path("home/the-loader"));
        support::copy(&fs::canonicalize(&real).unwrap(), &target);
        symlink(&target, &at).unwrap();
        succeeds(&mut place.install_at(scene, &at, &["--force"]));
        let program = place.with_interpreter(scene, "nix-hello", "app/hello", &at);
        assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO));
        let status = || scene.say(&["shim", "status", "--into", text(&place.base)]).output().unwrap();
        fs::rename(place.base.join("gnu64"), place.base.join("aside")).unwrap();
        let said = status();
        assert_eq!(said.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&said.stdout).contains("this machine's own programs have no image"));
        fs::rename(place.base.join("aside"), place.base.join("gnu64")).unwrap();
        assert_eq!(status().status.code(), Some(0));
        fs::remove_file(&target).unwrap();
        // The other shim goes.
        let output = scene.say(&["shim", "uninstall", "--into", text(&place.base)]).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(125), 1), "{line}");
        assert!(line.contains("leads nowhere now") && line.contains("and try again"), "{line}");
        assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO), "programs start as before");
        support::copy(&fs::canonicalize(&real).unwrap(), &target);
        succeeds(&mut scene.say(&["shim", "uninstall", "--into", text(&place.base)]));
        assert_eq!(fs::read_link(&at).unwrap(), target);
        let left: Vec<_> = fs::read_dir(&place.base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["at"], "nothing else is left");
        assert!(succeeds(&mut scene.command(&program)).starts_with(HELLO));
    });
}
