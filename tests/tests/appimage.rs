//! AppImages as a user meets them: made here by mksquashfs behind a small ELF file, and run without FUSE. What their
//! program sees is what the type 2 runtime would show it; what is damaged or hostile leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use launch::appimage::App;
use launch::program::Program;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use store::cache::Cache;
use store::progress::Silent;
use support::{Scene, copy, everyone, everywhere, refuses, settle, succeeds};

/// A squashfs image of a directory; `None`, with a skip, where nothing makes one.
fn squashfs(directory: &Path, options: &[&str]) -> Option<Vec<u8>> {
    let tool = xeno_tests::peer("mksquashfs")?;
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(tool);
    command.arg(directory).arg(out.path()).args(["-noappend", "-all-root", "-no-progress", "-quiet"]).args(options);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", support::both_streams(&said));
    Some(fs::read(out.path()).unwrap())
}

/// The runtime of an AppImage, as far as anybody looks: a static program with the magic bytes.
fn runtime(generation: u8) -> Vec<u8> {
    let mut bytes = fs::read(xeno_tests::fixture("hello-x86_64-bare-static")).unwrap();
    bytes[8..11].copy_from_slice(&[b'A', b'I', generation]);
    bytes
}

/// An AppImage of a directory, at `name` in the scene.
fn appimage(scene: &Scene, directory: &Path, options: &[&str], name: &str) -> Option<PathBuf> {
    let image = squashfs(directory, options)?;
    let path = scene.path(name);
    scene.program(&[runtime(2), image].concat(), &path);
    Some(path)
}

/// A directory with a script as its AppRun.
fn scripted(scene: &Scene, name: &str, script: &str) -> PathBuf {
    let directory = scene.path(name);
    scene.program(format!("#!/bin/sh\n{script}\n").as_bytes(), &directory.join("AppRun"));
    directory
}

/// The directories that were unpacked.
fn trees(scene: &Scene) -> Vec<PathBuf> {
    scene.cached("appdir")
}

#[test]
fn the_program_sees_what_the_runtime_of_the_image_would_show_it() {
    everyone(|scene| {
        for compressor in ["gzip", "xz", "zstd", "lz4"] {
            let says = r#"printf '%s\n' "$0" "$APPIMAGE" "$APPDIR" "$ARGV0" "$OWD" "$@"; cat "$APPDIR/usr/share/text""#;
            let directory = scripted(scene, &format!("{compressor}.AppDir"), says);
            fs::create_dir_all(directory.join("usr/share")).unwrap();
            // More than a block, so that there are blocks and a tail; compressible, so that they are compressed.
            let text = "a line of some length\n".repeat(20_000);
            fs::write(directory.join("usr/share/text"), &text).unwrap();
            let before = trees(scene);
            let Some(image) = appimage(scene, &directory, &["-comp", compressor], &format!("{compressor}-tool")) else { return };
            let link = scene.path(format!("{compressor}-link"));
            symlink(&image, &link).unwrap();
            let said = succeeds(&mut scene.run(format!("./{compressor}-link"), &["one", "t w o"]));
            let tree = trees(scene).into_iter().find(|tree| !before.contains(tree)).unwrap();
            let (shown, top) = (tree.display(), scene.path("").display().to_string());
            let top = top.trim_end_matches('/');
            let expected = format!("{shown}/AppRun\n{}\n{shown}\n./{compressor}-link\n{top}\none\nt w o\n{text}", image.display());
            assert!(said == expected, "{compressor}: {}", said.lines().take(8).collect::<Vec<_>>().join("\n"));
        }
    });
}

#[test]
fn a_foreign_program_as_apprun_gets_its_libraries_and_its_own_name() {
    everywhere(|scene, rung| {
        let name = rung.name();
        scene.foreign("witness", rung, format!("{name}.AppDir/AppRun"));
        let Some(image) = appimage(scene, &scene.path(format!("{name}.AppDir")), &[], &format!("{name}-tool")) else { return };
        let args: String = [image.to_str().unwrap(), "args", "--flag"].iter().map(|word| format!("{word}\0")).collect();
        assert_eq!(succeeds(&mut scene.run(&image, &["args", "--flag"])), args);
        let exe = succeeds(&mut scene.run(&image, &["exe"]));
        assert!(trees(scene).iter().any(|tree| format!("{}/AppRun\n", tree.display()) == exe), "{exe}");
    });
}

#[test]
fn the_program_behind_a_script_gets_its_libraries_too() {
    everywhere(|scene, rung| {
        let name = rung.name();
        let directory = scripted(scene, &format!("{name}.AppDir"), r#"exec "$APPDIR/usr/bin/witness" "$@""#);
        scene.foreign("witness", rung, format!("{name}.AppDir/usr/bin/witness"));
        fs::write(directory.join("a.desktop"), "[Desktop Entry]\nType=Application\nExec=witness %F\n").unwrap();
        let Some(image) = appimage(scene, &directory, &[], &format!("{name}-tool")) else { return };
        let exe = succeeds(&mut scene.run(&image, &["exe"]));
        assert!(exe.ends_with("/usr/bin/witness\n"), "{exe}");
        let dry = succeeds(&mut scene.say(&["run", "--dry-run", image.to_str().unwrap()]));
        assert!(dry.lines().any(|line| line.starts_with(&format!("-> {} ", rung.taken()))), "{dry}");
    });
}

#[test]
fn files_are_unpacked_once_for_each_content_whatever_their_name() {
    everyone(|scene| {
        let directory = scripted(scene, "x.AppDir", "echo one");
        let Some(image) = appimage(scene, &directory, &[], "x") else { return };
        settle();
        assert_eq!(succeeds(&mut scene.run(&image, &[])), "one\n");
        let [tree] = &trees(scene)[..] else { panic!("one tree") };
        let (tree, made) = (tree.clone(), fs::metadata(tree).unwrap().ino());
        assert_eq!(scene.cached("appimage").len(), 1);
        // A tree that is gone is made again, and one that is there is not.
        assert_eq!(succeeds(&mut scene.run(&image, &[])), "one\n");
        assert_eq!(fs::metadata(&tree).unwrap().ino(), made);
        fs::remove_dir_all(&tree).unwrap();
        assert_eq!(succeeds(&mut scene.run(&image, &[])), "one\n");
        assert_eq!(trees(scene), [tree.as_path()]);
        // The same content elsewhere.
        copy(&image, &scene.path("y"));
        assert_eq!(succeeds(&mut scene.run("./y", &[])), "one\n");
        assert_eq!(trees(scene), [tree.as_path()]);
        // Other content at the same place, of the same size.
        let other = scripted(scene, "z.AppDir", "echo two");
        appimage(scene, &other, &[], "new").unwrap();
        fs::rename(scene.path("new"), &image).unwrap();
        assert_eq!(succeeds(&mut scene.run(&image, &[])), "two\n");
        assert_eq!(trees(scene).len(), 2);
        assert_eq!(scene.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn holes_links_and_modes_are_kept_and_nothing_is_setuid_special_or_writable() {
    everyone(|scene| {
        let directory = scripted(scene, "x.AppDir", "echo ran");
        let path = |name: &str| directory.join(name);
        fs::write(path("private"), "secret").unwrap();
        fs::set_permissions(path("private"), fs::Permissions::from_mode(0o4600)).unwrap();
        fs::hard_link(path("private"), path("twice")).unwrap();
        symlink("/etc/hostname", path("absolute")).unwrap();
        symlink("../../../../outside", path("outside")).unwrap();
        fs::write(path("empty"), "").unwrap();
        let holes = fs::File::create(path("holes")).unwrap();
        holes.set_len(5 << 20).unwrap();
        std::os::unix::fs::FileExt::write_at(&holes, b"middle", 3 << 20).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        let Some(image) = appimage(scene, &directory, &[], "x") else { return };
        let output = scene.run(&image, &[]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n", "{}", support::both_streams(&output));
        let warning = format!("xeno: warning: {} has 1 devices, pipes or sockets, which are not made\n", image.display());
        assert_eq!(String::from_utf8_lossy(&output.stderr), warning);
        let tree = trees(scene).remove(0);
        let mode = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("private"), mode("AppRun"), mode("")], [0o444, 0o555, 0o755]);
        let inode = |name: &str| fs::metadata(tree.join(name)).unwrap().ino();
        assert_eq!(inode("private"), inode("twice"));
        assert_eq!(fs::read_link(tree.join("absolute")).unwrap(), Path::new("/etc/hostname"));
        assert_eq!(fs::read_link(tree.join("outside")).unwrap(), Path::new("../../../../outside"));
        assert_eq!(fs::read(tree.join("empty")).unwrap(), b"");
        assert_eq!(fs::read(tree.join("holes")).unwrap(), fs::read(path("holes")).unwrap());
        assert!(fs::metadata(tree.join("holes")).unwrap().blocks() * 512 < 1 << 20, "holes are not written");
        assert!(!tree.join("pipe").exists() && fs::symlink_metadata(path("pipe")).unwrap().file_type().is_fifo());
    });
}

#[test]
fn a_question_to_the_runtime_reaches_the_runtime() {
    everyone(|scene| {
        let directory = scripted(scene, "x.AppDir", r#"echo "$@""#);
        let Some(image) = appimage(scene, &directory, &[], "x") else { return };
        assert_eq!(succeeds(&mut scene.run(&image, &["--appimage-extract-and-run", "a"])), "a\n");
        let direct = succeeds(scene.command(&image).arg("--appimage-help"));
        assert_eq!(succeeds(&mut scene.run(&image, &["--appimage-help"])), direct);
        // A runtime alone is a program like any other.
        scene.program(&runtime(2), &scene.path("alone"));
        assert_eq!(succeeds(&mut scene.run("./alone", &[])), succeeds(&mut scene.command(scene.path("alone"))));
        let seen = succeeds(&mut scene.say(&["inspect", image.to_str().unwrap()]));
        assert!(seen.contains("AppImage"), "{seen}");
    });
}

#[test]
fn a_type_1_image_is_recognised_and_where_it_cannot_be_read_the_remedy_is_said() {
    everyone(|scene| {
        // An ISO 9660 volume descriptor behind the 32 KiB that the ELF file has for itself.
        let mut bytes = runtime(1);
        bytes.resize(0x9000, 0);
        bytes[0x8000..0x8007].copy_from_slice(b"\x01CD001\x01");
        bytes[0x8050..0x8054].copy_from_slice(&18_u32.to_le_bytes());
        bytes[0x8080..0x8082].copy_from_slice(&2048_u16.to_le_bytes());
        let image = scene.path("old");
        scene.program(&bytes, &image);
        let fuse = scene.command("sh").args(["-c", "test -r /dev/fuse -a -w /dev/fuse"]).status().unwrap().success();
        if fuse {
            // Its own runtime does it.
            assert_eq!(succeeds(&mut scene.run(&image, &[])), succeeds(&mut scene.command(&image)));
            return;
        }
        let line = refuses(&mut scene.run(&image, &[]), 126);
        assert!(
            line.contains("an AppImage of type 1") && line.ends_with("unpack it with `bsdtar -x` or 7z, then `xeno run` the AppRun in it"),
            "{line}"
        );
    });
}

/// What becomes of an image behind a runtime: the directory, or the one line that says why not. Nothing may be left.
fn unpacked(image: &[u8], place: &Path) -> Result<PathBuf, String> {
    let path = place.join("hostile");
    fs::write(&path, [runtime(2), image.to_vec()].concat()).unwrap();
    let cache = Cache::at(place.join("cache"));
    let program = Program::at(path.clone(), path.clone());
    let result =
        App::of(&program, &[OsString::from("hostile")], &cache, &Silent).map(|app| app.unwrap().directory).map_err(|e| e.to_string());
    assert_eq!(support::leftovers(place), Vec::<String>::new());
    result
}

/// A small tree, and an image of it whose tables are not compressed.
fn plain_image(place: &Path) -> Option<Vec<u8>> {
    let directory = place.join("plain.AppDir");
    fs::create_dir_all(directory.join("dir-one/dir-two")).unwrap();
    for (name, content) in [("AppRun", "#!/bin/sh\n"), ("file-a", "a"), ("file-b", "b"), ("dir-one/file-c", "c")] {
        fs::write(directory.join(name), content).unwrap();
    }
    symlink("/etc/passwd", directory.join("link-d")).unwrap();
    squashfs(&directory, &["-noI", "-noD", "-noF", "-noX", "-no-xattrs", "-mkfs-time", "0", "-all-time", "0"])
}

#[test]
fn names_that_leave_the_tree_or_are_there_twice_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let Some(image) = plain_image(place.path()) else { return };
    assert!(unpacked(&image, place.path()).unwrap().join("dir-one/file-c").is_file());
    let with = |from: &str, to: &str| unpacked(&support::replaced(&image, from.as_bytes(), to.as_bytes()), place.path()).unwrap_err();
    assert!(with("file-a", "../../").contains("has an entry '../../', which is no name; nothing of it was kept"));
    assert!(with("file-a", "/etc/x").contains("has an entry '/etc/x', which is no name"));
    assert!(with("file-a", "f\0le-a").contains("which is no name"));
    // A link first, then a file of that name, would write where the link leads.
    assert!(with("file-b", "file-a").contains("has an entry 'file-a' twice"));
    assert!(with("link-d", "file-a").contains("has an entry 'file-a' twice"));
    assert!(!place.path().join("cache/etc").exists());
}

#[test]
fn a_directory_in_itself_is_no_tree() {
    let place = tempfile::tempdir().unwrap();
    let Some(mut image) = plain_image(place.path()) else { return };
    // The entry of dir-two: 8 bytes before its name, the third and fourth of them say by how much its inode's number
    // differs from the first of the run; dir-one's is one more, as children are numbered first.
    let name = image.windows(7).position(|w| w == b"dir-two").unwrap();
    let by = i16::from_le_bytes([image[name - 6], image[name - 5]]);
    let mut refusals = 0;
    for other in [by - 2, by - 1, by + 1, by + 2, by + 3, by + 4] {
        image[name - 6..name - 4].copy_from_slice(&other.to_le_bytes());
        refusals += usize::from(unpacked(&image, place.path()).is_err_and(|line| line.contains("in two places")));
    }
    assert!(refusals >= 1, "the top and dir-one are among them");
}

#[test]
fn an_image_with_any_byte_changed_or_cut_anywhere_is_unpacked_or_refused_and_leaves_nothing() {
    // Thousands of trees, each of them flushed.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let Some(image) = plain_image(place.path()) else { return };
    let used = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
    let check = |bytes: &[u8], what: &str| {
        if let Err(line) = unpacked(bytes, place.path()) {
            assert!(line.contains("unpack ") && line.contains("; "), "{what}: {line}");
        }
    };
    for value in [0x00, 0x7f, 0xff] {
        for at in 0..used {
            let mut changed = image.clone();
            if changed[at] != value {
                changed[at] = value;
                check(&changed, &format!("{value:#x} at {at}"));
            }
        }
    }
    for end in (1..used).step_by(7) {
        let line = unpacked(&image[..end], place.path()).unwrap_err();
        assert!(line.contains("there is no file system where its runtime would look"), "{end}: {line}");
    }
}
