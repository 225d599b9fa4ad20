//! Where ours differs from patchelf 0.19.3 on purpose: each row of COMPAT.md has a test here, which fails
//! when the difference is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod peer;

use peer::{Fixture, KILLED, both, fixtures};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const LONG: &str = "/a/rather/long/directory/that/does/not/fit/into/any/room/that/was/left/by/chance/in/the/file/before/it/was/edited";

#[test]
fn difference_files_without_section_headers_are_edited() {
    let Some(both) = both() else { return };
    for fixture in fixtures(&["x86_64-program-pie-runpath", "x86_64-library-soname", "x86_64-program-nopie"]) {
        let bare = fixture.without_sections();
        let (theirs, ours) = both.run(&bare, &["--print-rpath", "--print-needed", "--set-rpath", LONG]);
        assert_eq!((theirs.status, ours.status), (1, 0), "{}: {}", bare.name, ours.stderr);
        assert!(theirs.stderr.starts_with("patchelf: no section headers."), "{}", theirs.stderr);
        assert!(ours.file.contains(&format!("[{LONG}]")), "{}", ours.file);
        // The same as with section headers.
        let (_, with) = both.run(&fixture, &["--print-rpath", "--print-needed"]);
        assert_eq!(ours.stdout, with.stdout);
    }
}

#[test]
fn difference_a_loader_keeps_its_dynamic_section() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let loader = String::from_utf8(patcher::interpreter(&program.bytes).unwrap().unwrap().to_vec()).unwrap();
    let loader = Fixture { bytes: fs::read(loader).unwrap(), ..program.clone() };
    let (theirs, ours) = both.run(&loader, &["--set-rpath", "/x"]);
    assert_eq!((theirs.status, ours.status), (0, 1), "{}", ours.stderr);
    assert!(ours.stderr.contains("it is a loader, which reads its own dynamic section where it was linked"), "{}", ours.stderr);
}

#[test]
fn difference_a_page_is_a_power_of_two() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let (theirs, ours) = both.run(program, &["--page-size", "5000", "--set-rpath", "/x"]);
    assert_eq!((theirs.status, ours.status), (0, 1));
    assert_eq!(ours.stderr, "patchelf: invalid argument to --page-size\n");
}

#[test]
fn difference_an_output_keeps_the_permissions_of_its_input() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-library-soname"])[..] else { return };
    let (theirs, ours) = both.run_in_directories_to(
        &["--output", "o", "a"],
        |directory| {
            fs::write(directory.join("a"), &program.bytes).unwrap();
            fs::set_permissions(directory.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
        },
        |directory| format!("mode {:o}", fs::metadata(directory.join("o")).unwrap().mode() & 0o100),
    );
    assert!(theirs.file.contains("mode 100") && ours.file.contains("mode 0"), "{theirs:?} {ours:?}");
}

#[test]
fn difference_no_error_of_another_call_is_part_of_a_message_or_hides_one() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let (theirs, ours) = both.run_sequence(program, |directory, patchelf| {
        fs::create_dir_all(directory.join("empty")).unwrap();
        fs::create_dir_all(directory.join("text")).unwrap();
        fs::write(directory.join("text/libc.so.6"), "GROUP ( /lib/libc.so.6 /usr/lib/libc_nonshared.a ) and more of it\n").unwrap();
        let path = format!("{0}/empty:{0}/text", directory.display());
        patchelf(&["--set-rpath", &path]);
        patchelf(&["--shrink-rpath"]);
    });
    assert_eq!((theirs.status, ours.status), (0, 1), "{theirs:?}");
    assert_eq!(ours.stderr, "patchelf: not an ELF executable: 'DIR/text/libc.so.6'\n");
}

#[test]
fn difference_a_running_program_is_replaced() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let outcome = |ours: bool| {
        let place = both.place(program);
        let app = place.join("app-that-runs");
        xeno_tests::executable(&app, &program.bytes);
        let mut child = std::process::Command::new(&app)
            .arg("wait")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        let mut command = if ours { both.ours() } else { both.theirs() };
        let done = command.args(["--set-rpath", LONG]).arg(&app).output().unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert_eq!(outcome(false), (Some(1), "patchelf: open: Text file busy\n".to_owned()));
    assert_eq!(outcome(true), (Some(0), String::new()));
}

#[test]
fn difference_where_it_aborts_the_edit_is_made() {
    let Some(both) = both() else { return };
    for fixture in fixtures(&["i686-program-nopie"]) {
        let (theirs, ours) = both.run(&fixture, &["--page-size", "65536", "--set-rpath", LONG]);
        assert_eq!((theirs.status, ours.status), (KILLED, 0), "{}", ours.stderr);
        assert!(theirs.stderr.contains("Assertion failed"), "{}", theirs.stderr);
        assert!(ours.file.contains(&format!("[{LONG}]")), "{}", ours.file);
    }
}

#[test]
fn difference_a_dynamic_section_that_no_loader_sees_is_left_alone() {
    let Some(both) = both() else { return };
    for fixture in fixtures(&["x86_64-library-soname"]) {
        let mut bytes = fixture.bytes.clone();
        // The program header of PT_DYNAMIC becomes PT_NULL.
        let at = (64..).step_by(56).find(|at| bytes[*at] == 2).unwrap();
        bytes[at] = 0;
        let (theirs, ours) = both.run(&Fixture { name: "hidden".into(), bytes }, &["--set-rpath", "/x"]);
        assert_eq!((theirs.status, theirs.stderr.as_str(), ours.status), (0, "", 0));
        assert_eq!(ours.stderr, "warning: no PT_DYNAMIC shows the .dynamic section to a loader; it is left as it is\n");
    }
}

#[test]
fn difference_a_text_from_a_file_ends_at_its_first_nul() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let (theirs, ours) = both.run_sequence(program, |directory, patchelf| {
        fs::write(directory.join("text"), "/lib/ld.so\0behind-the-nul").unwrap();
        patchelf(&["--set-interpreter", "@text"]);
    });
    assert_eq!((theirs.status, ours.status), (0, 0));
    assert!(theirs.file.contains("behind-the-nul") && !ours.file.contains("behind-the-nul"), "{}", ours.file);
    assert!(ours.file.contains("/lib/ld.so\n"), "{}", ours.file);
}

#[test]
fn difference_debugging_prints_the_plan() {
    let Some(both) = both() else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let place = both.place(program);
    let stderr = |mut command: std::process::Command, side: &str| {
        let done = command.args(["--set-rpath", LONG, "app"]).current_dir(place.join(side)).env("PATCHELF_DEBUG", "").output().unwrap();
        assert!(done.status.success() && done.stdout.is_empty());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let (theirs, ours) = (stderr(both.theirs(), "peer"), stderr(both.ours(), "xeno"));
    let begins = "patching ELF file 'app'\n";
    assert!(theirs.starts_with(begins) && ours.starts_with(begins), "{theirs}\n{ours}");
    assert!(ours.contains("segments now:") && !theirs.contains("segments now:"), "{ours}");
}

#[test]
fn difference_the_disk_is_waited_for_unless_told_otherwise() {
    let Some(both) = both() else { return };
    let Some(strace) = xeno_tests::peer("strace") else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let flushes = |program_path: &std::path::Path, durable: &str| {
        let place = both.place(program);
        let done = std::process::Command::new(&strace)
            .args(["-f", "-e", "trace=fsync,fdatasync,sync_file_range"])
            .arg(program_path)
            .args(["--set-rpath", LONG, "app"])
            .current_dir(place.join("xeno"))
            .env("XENO_DURABLE", durable)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stderr).lines().filter(|line| line.contains("sync")).count()
    };
    assert_eq!(flushes(both.theirs().get_program().as_ref(), "1"), 0);
    assert_eq!(flushes(both.ours().get_program().as_ref(), "0"), 0);
    assert!(flushes(both.ours().get_program().as_ref(), "1") >= 2, "before and after the file becomes the new one");
}

#[test]
fn difference_a_file_of_debug_information_has_no_interpreter() {
    let Some(both) = both() else { return };
    let Some(objcopy) = xeno_tests::peer("objcopy") else { return };
    let [program] = &fixtures(&["x86_64-program-pie-runpath"])[..] else { return };
    let room = tempfile::tempdir().unwrap();
    let debug = room.path().join("app.debug");
    fs::write(room.path().join("app"), &program.bytes).unwrap();
    let done = std::process::Command::new(objcopy).arg("--only-keep-debug").arg(room.path().join("app")).arg(&debug).status().unwrap();
    assert!(done.success());
    let fixture = Fixture { name: "debug".into(), bytes: fs::read(debug).unwrap() };
    let (theirs, ours) = both.run(&fixture, &["--print-interpreter"]);
    // Whatever lies in the file where the program has its interpreter.
    assert!(theirs.status == 0 && !theirs.stdout.contains("/ld-linux"), "{theirs:?}");
    assert_eq!((ours.status, ours.stdout.as_str()), (1, ""), "{ours:?}");
}

#[test]
fn difference_the_flag_of_big_endian_files_is_the_one_asked_for() {
    let Some(both) = both() else { return };
    for (fixture, flags) in
        [("big-endian-library-ppc", "FLAGS_1 Flags: NODEFLIB\n"), ("big-endian-library-ppc64", "FLAGS_1 Flags: ORIGIN NODEFLIB\n")]
    {
        let [fixture] = &fixtures(&[fixture])[..] else { return };
        let (theirs, ours) = both.run(fixture, &["--no-default-lib"]);
        assert_eq!((theirs.status, ours.status), (0, 0));
        // They set the bit of the other byte order.
        assert!(!theirs.file.contains("NODEFLIB"), "{}", theirs.file);
        assert!(ours.file.contains(flags), "{}", ours.file);
    }
}
