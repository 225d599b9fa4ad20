//! What a shim does where somebody means harm or something is broken: variables in secure executions, files that are no
//! loaders, limits, closed descriptors. Whatever it is given, it starts the program or ends with one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod shim_support;

use shim_support::{Lab, OWN, Said, USER, as_root, as_user, behind, copy, everywhere, everywhere_but_the_peer};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use xeno_tests::skip;

const USUAL: &[&str] = &["NIX_LD={real}", "NIX_LD_LIBRARY_PATH={dir}/a"];
/// Every way in that an attacker could try.
const HOSTILE: &[&str] = &[
    "NIX_LD={dir}/evil/attacker",
    "NIX_LD_{system}={dir}/evil/attacker",
    "NIX_LD_LIBRARY_PATH={dir}/evil",
    "NIX_LD_LIBRARY_PATH_{system}={dir}/evil",
    "LD_LIBRARY_PATH={dir}/evil",
    "LD_PRELOAD={dir}/evil/libevil.so.1",
    "LD_AUDIT={dir}/evil/libevil.so.1",
];
/// Where nix-ld has its loader and libraries if no variable says otherwise.
const DEFAULT: &str = "/run/current-system/sw/share/nix-ld/lib";

/// A program with absolute RUNPATH, as one that gains rights must have: `$ORIGIN` is not followed there.
fn program(lab: &Lab, name: &str) -> PathBuf {
    lab.library("own", "mark", &[]);
    lab.evil();
    lab.program(name, &[&format!("-Wl,--enable-new-dtags,-rpath,{OWN}")])
}

/// How a program gains rights.
#[derive(Clone, Copy, Debug)]
enum Gain {
    User,
    Group,
    Capability,
}

impl Gain {
    /// Lets a program gain rights.
    fn give(self, program: &Path) {
        let mode = |mode| fs::set_permissions(program, Permissions::from_mode(mode)).unwrap();
        match self {
            Gain::User => mode(0o4755),
            Gain::Group => mode(0o2755),
            Gain::Capability => {
                // struct vfs_cap_data of linux/capability.h: revision 2, effective; permitted: CAP_NET_BIND_SERVICE.
                let words = [0x0200_0001_u32, 1 << 10, 0, 0, 0];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                rustix::fs::setxattr(program, "security.capability", &bytes, rustix::fs::XattrFlags::empty()).unwrap();
            }
        }
    }
}

/// A program that gains rights, through the shim and natively. `None`, with a skip, where nobody does.
fn gaining(lab: &Lab, gain: Gain) -> Option<PathBuf> {
    let program = program(lab, &format!("{gain:?}"));
    let native = lab.native_of(&program);
    gain.give(&program);
    gain.give(&native);
    let said = Said::of(&mut as_user(lab.command(&[], &native, &[], &["x", "all"]))).fine();
    if said.one("ids").ends_with("secure 1") {
        return Some(program);
    }
    skip("programs gain no rights here: the file system is mounted nosuid, or no_new_privs is set");
    None
}

/// Nothing of the attacker's ran.
#[track_caller]
fn unharmed(said: &Said) {
    assert_eq!(said.all("attacker"), [""; 0], "{}", said.command);
    assert!(!said.speakers().iter().any(|who| who.starts_with("evil")), "{}", said.command);
    assert!(!said.all("mark").contains(&"evil"), "the attacker's library in {}", said.command);
}

/// Each variable alone, and all of them together.
fn hostile() -> impl Iterator<Item = Vec<&'static str>> {
    HOSTILE.iter().map(|entry| vec![*entry]).chain([HOSTILE.to_vec()])
}

/// The command in a mount namespace of its own in which nix-ld's default directory holds these files, given as
/// pairs of source and name; a name that ends in `@` becomes a link.
fn with_default(command: &Command, files: &[(&Path, &str)]) -> Option<Command> {
    let unshare = xeno_tests::peer("unshare")?;
    let mut script = format!("mount -t tmpfs none /run && mkdir -p {DEFAULT} && ");
    for (source, name) in files {
        let how = if name.ends_with('@') { "ln -s" } else { "cp -pL" };
        script += &format!("{how} {} {DEFAULT}/{} && ", source.display(), name.trim_end_matches('@'));
    }
    script += "exec \"$@\"";
    Some(behind(&[unshare.to_str()?, "-m", "--propagation", "private", "sh", "-c", &script, "sh"], command))
}

/// As [`with_default`], as an ordinary user inside.
fn with_default_as_user(command: &Command, files: &[(&Path, &str)]) -> Option<Command> {
    let setpriv = xeno_tests::peer("setpriv")?;
    let user = USER.to_string();
    with_default(&behind(&[setpriv.to_str()?, "--reuid", &user, "--regid", &user, "--clear-groups"], command), files)
}

/// The attack works where nobody gains anything: otherwise these tests would test nothing.
#[test]
fn an_ordinary_program_follows_every_variable_of_its_user() {
    as_root(|| {
        everywhere(|lab| {
            let program = program(lab, "plain");
            let run = |entries: &[&str]| Said::of(&mut as_user(lab.command(&[], &program, entries, &["x", "mark"])));
            assert_eq!(run(&HOSTILE[..1]).all("attacker"), ["ran"]);
            assert_eq!(run(&HOSTILE[1..2]).all("attacker"), ["ran"]);
            for entry in &HOSTILE[2..5] {
                assert_eq!(run(&["NIX_LD={real}", entry]).all("mark"), ["evil"]);
            }
            assert!(run(&["NIX_LD={real}", HOSTILE[5]]).speakers().contains(&"evil.environ"));
        });
    });
}

#[test]
fn a_secure_execution_follows_no_variable() {
    as_root(|| {
        everywhere_but_the_peer("attacker", |lab| {
            for gain in [Gain::User, Gain::Group, Gain::Capability] {
                let Some(program) = gaining(lab, gain) else { continue };
                for entries in hostile() {
                    let said = Said::of(&mut as_user(lab.command(&[], &program, &entries, &["x", "mark"])));
                    unharmed(&said);
                    said.refusal(program.to_str().unwrap());
                }
            }
        });
    });
}

#[test]
fn a_secure_execution_is_not_talked_into_logging() {
    as_root(|| {
        everywhere_but_the_peer("exit 127", |lab| {
            let Some(program) = gaining(lab, Gain::User) else { return };
            let said = Said::of(&mut as_user(lab.command(&[], &program, &["NIX_LD_LOG=trace"], &["x"])));
            said.refusal(program.to_str().unwrap());
        });
    });
}

#[test]
fn a_secure_execution_gets_the_systems_loader_and_its_own_libraries_with_the_environment_of_a_native_start() {
    as_root(|| {
        everywhere_but_the_peer("attacker", |lab| {
            for gain in [Gain::User, Gain::Group, Gain::Capability] {
                let Some(program) = gaining(lab, gain) else { continue };
                for entries in hostile() {
                    let entries: Vec<&str> = ["PLAIN=1"].into_iter().chain(entries).chain(["LAST=1"]).collect();
                    let start = |program: &Path| lab.command(&[], program, &entries, &["x", "all"]);
                    let default = [(lab.path("native"), "ld.so"), (lab.path("own/libmark.so.1"), "libmark.so.1")];
                    let default: Vec<(&Path, &str)> = default.iter().map(|(path, name)| (path.as_path(), *name)).collect();
                    let Some(mut shim) = with_default_as_user(&start(&program), &default) else { return };
                    let said = Said::of(&mut shim);
                    unharmed(&said);
                    let said = said.fine();
                    let native = Said::of(&mut as_user(start(&lab.native_of(&program)))).fine();
                    assert_eq!(said.one("mark"), "own");
                    assert_eq!(said.one("base"), format!("{DEFAULT}/ld.so at 0"));
                    for who in ["ids", "main.environ", "main.envp", "mark.environ", "main.argv"] {
                        assert_eq!(said.all(who), native.all(who), "{who} of {gain:?} with {entries:?}");
                    }
                }
            }
        });
    });
}

#[test]
fn a_default_loader_that_others_can_write_to_is_refused_where_rights_are_gained() {
    as_root(|| {
        everywhere_but_the_peer("attacker", |lab| {
            let Some(program) = gaining(lab, Gain::User) else { return };
            let attacker = lab.path("attacker");
            copy(&lab.path("evil/attacker"), &attacker);
            for (owner, mode) in [(USER, 0o755), (0, 0o775), (0, 0o757), (0, 0o777)] {
                chown(&attacker, Some(owner), None).unwrap();
                fs::set_permissions(&attacker, Permissions::from_mode(mode)).unwrap();
                for name in ["ld.so", "ld.so@"] {
                    let command = lab.command(&[], &program, &[], &["x"]);
                    let Some(mut command) = with_default_as_user(&command, &[(&attacker, name)]) else { return };
                    let said = Said::of(&mut command);
                    unharmed(&said);
                    assert!(said.refusal(program.to_str().unwrap()).contains(DEFAULT), "{}", said.stderr);
                }
            }
        });
    });
}

#[test]
fn without_variables_the_default_loader_and_libraries_are_used_and_the_environment_stays_empty() {
    as_root(|| {
        everywhere_but_the_peer("\"LD_LIBRARY_PATH=\"", |lab| {
            lab.witness();
            let program = lab.program("plain", &[]);
            for (entries, name) in [(&[][..], "ld.so"), (&["NIX_LD="], "ld.so"), (&["NIX_LD_{system}=", "NIX_LD=/nowhere"], "ld.so@")] {
                let (native, library) = (lab.path("second"), lab.path("own/libmark.so.1"));
                let command = lab.command(&[], &program, entries, &["x", "all"]);
                let Some(mut command) = with_default(&command, &[(&native, name), (&library, "libmark.so.1")]) else { return };
                let said = Said::of(&mut command).fine();
                let loader = if name == "ld.so" { format!("{DEFAULT}/ld.so at 0") } else { lab.fill("{dir}/second at 0") };
                assert_eq!(said.one("base"), loader);
                assert!(said.all("object").contains(&format!("{DEFAULT}/libmark.so.1").as_str()), "{:?}", said.all("object"));
                let entries: Vec<String> = entries.iter().map(|entry| lab.fill(entry)).collect();
                assert_eq!(said.list("main.environ"), entries);
                assert_eq!(said.list("mark.environ"), entries);
            }
        });
    });
}

// ---- what is no loader

/// Where fields of an ELF file lie (gABI): header, program header.
struct Fields {
    entry: usize,
    table: usize,
    table_size: usize,
    table_count: usize,
    header: usize,
    segment: usize,
    offset: usize,
    address: usize,
    file_size: usize,
    memory_size: usize,
}

fn fields(lab: &Lab) -> Fields {
    let small = lab.shim.machine.word == 4;
    let pick = |in32, in64| if small { in32 } else { in64 };
    Fields {
        entry: 24,
        table: pick(28, 32),
        table_size: pick(42, 54),
        table_count: pick(44, 56),
        header: pick(52, 64),
        segment: pick(32, 56),
        offset: pick(4, 8),
        address: pick(8, 16),
        file_size: pick(16, 32),
        memory_size: pick(20, 40),
    }
}

/// What may be given as a loader and is none.
fn no_loaders(lab: &Lab) -> Vec<PathBuf> {
    let real = fs::read(lab.path("second")).unwrap();
    let with = |name: &str, at: usize, bytes: &[u8]| {
        let mut changed = real.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        lab.file(name, &changed)
    };
    let word = |name: &str, at: usize, value: u64| with(name, at, &value.to_le_bytes()[..lab.shim.machine.word]);
    let top = if lab.shim.machine.word == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let at = fields(lab);
    // The first program header, which both machines' loaders have for PT_LOAD.
    let first = at.header;
    let mut found = vec![
        with("class-other", 4, &[if lab.shim.machine.word == 4 { 2 } else { 1 }]),
        with("big-endian", 5, &[2]),
        with("executable", 16, &[2, 0]),
        with("other-machine", 18, &[243, 0]),
        word("entry-nowhere", at.entry, top),
        word("entry-nothing", at.entry, 0),
        word("headers-nowhere", at.table, top),
        with("headers-of-no-size", at.table_size, &[0, 0]),
        with("no-headers", at.table_count, &[0, 0]),
        with("too-many-headers", at.table_count, &[0xff, 0xff]),
        word("segment-behind-the-end", first + at.offset, 1 << 30),
        word("segment-larger-than-the-file", first + at.file_size, 1 << 30),
        word("segment-larger-than-memory", first + at.memory_size, top >> 1),
        word("segment-at-the-end-of-addresses", first + at.address, top - 0xfff),
        lab.file("text", b"no loader\n"),
        lab.file("script", b"#!/bin/sh\necho attacker\n"),
        lab.file("empty", b""),
        lab.file("magic-only", b"\x7fELF"),
        lab.file("half-a-header", &real[..40]),
        lab.file("header-only", &real[..at.header]),
        lab.file("truncated", &real[..real.len() / 2]),
        lab.path("nat/witness"),
        lab.path("app/witness"),
        lab.path("no-interpreter"),
        lab.path("a/libmark.so.1"),
        lab.path("pipe"),
        lab.path("closed"),
    ];
    let fixed = xeno_tests::fixture(&format!("hello-{}-bare-static", lab.shim.machine.name));
    copy(&fixed, &lab.path("no-interpreter"));
    nix::unistd::mkfifo(&lab.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("closed", lab.path("closed")).unwrap();
    found.extend(["/", "/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem", "/nowhere/ld.so", "/etc/passwd/ld.so"].map(PathBuf::from));
    let others = ["/lib/ld-linux.so.2", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
    found.extend(others.into_iter().filter(|other| other.is_file() && *other != Path::new(&lab.fill("{real}"))));
    found
}

#[test]
fn a_loader_that_is_none_is_refused_in_one_line_that_names_program_and_loader() {
    everywhere_but_the_peer("exit 127", |lab| {
        let program = lab.witness();
        for loader in no_loaders(lab) {
            let entry = format!("NIX_LD={}", loader.display());
            let said = lab.run(&program, &[&entry, USUAL[1]], &[]);
            let line = said.refusal(program.to_str().unwrap());
            assert!(line.contains(loader.to_str().unwrap()), "does not name {}: {line}", loader.display());
        }
    });
}

#[test]
fn a_loader_cut_off_anywhere_is_refused_or_works_and_never_crashes() {
    everywhere_but_the_peer("signal", |lab| {
        let program = lab.witness();
        let real = fs::read(lab.path("second")).unwrap();
        let places = (0..64).map(|n| n * real.len() / 64).chain([1, 4, 16, 63, 64, 65, 119, 120, 400, 4095, 4096, 4097, real.len() - 1]);
        for place in places {
            let loader = lab.file("cut", &real[..place]);
            let said = lab.run(&program, &[&format!("NIX_LD={}", loader.display()), USUAL[1]], &["mark"]);
            if said.ended() == "exit 127" {
                said.refusal(program.to_str().unwrap());
            } else {
                assert_eq!(said.fine().one("mark"), "a", "cut at {place}");
            }
        }
    });
}

#[test]
fn a_loader_is_put_into_memory_as_its_segments_say() {
    everywhere(|lab| {
        let program = lab.witness();
        let makes: &[&[&str]] = &[
            &[],
            &["-Wl,-Ttext-segment=0x10000000"],
            &["-Wl,-z,max-page-size=0x200000"],
            &["-Wl,-z,max-page-size=0x200000", "-Wl,-Ttext-segment=0x40000000"],
            &["-Wl,-z,noseparate-code"],
            &["-Wl,-z,norelro", "-Wl,--hash-style=sysv"],
        ];
        for flags in makes {
            // GNU ld says ET_EXEC of what has a base; prelink, which made such loaders, said ET_DYN.
            let mut bytes = fs::read(lab.bare_loader("bare", flags)).unwrap();
            bytes[16] = 3;
            let loader = lab.file("based", &bytes);
            let said = lab.run(&program, &[&format!("NIX_LD={}", loader.display())], &[]);
            assert_eq!((said.all("attacker"), said.ended().as_str()), (vec!["ran"], "exit 66"), "{flags:?}");
        }
    });
}

#[test]
fn the_shim_as_its_own_loader_is_refused() {
    everywhere(|lab| {
        if !lab.shim.peer {
            let program = lab.witness();
            lab.run(&program, &["NIX_LD={dir}/loader"], &[]).refusal(program.to_str().unwrap());
            copy(&lab.path("loader"), &lab.path("another"));
            lab.run(&program, &["NIX_LD={dir}/another"], &[]).refusal(program.to_str().unwrap());
        }
    });
}

#[test]
fn a_line_stays_one_printable_line_that_says_what_to_do_whatever_it_names() {
    everywhere_but_the_peer("signal 6", |lab| {
        let program = lab.witness();
        let long = format!("NIX_LD=/{}", "long/".repeat(20_000));
        lab.run(&program, &[&long], &[]).refusal(program.to_str().unwrap());
        lab.run(&program, &["NIX_LD=/no\nwhere\u{1b}[31m\u{7f}"], &[]).refusal(program.to_str().unwrap());
        let deep = (0..15).fold(PathBuf::from("app"), |path, n| path.join(format!("{n:0240}")));
        fs::create_dir_all(lab.path("").join(&deep)).unwrap();
        let deep = deep.join("witness");
        let status = Command::new("cp").arg(&program).arg(lab.path("").join(&deep)).status().unwrap();
        assert!(status.success());
        for entries in [&[][..], &["NIX_LD=/nowhere"], &[long.as_str()]] {
            let said = Said::of(&mut lab.command(&[], &deep, entries, &["x"]));
            assert_eq!((said.ended().as_str(), said.stderr.matches('\n').count()), ("exit 127", 1), "{}", said.stderr);
            assert!(said.stderr.starts_with("xeno: app/0") && said.stderr.contains("; try "), "{}", said.stderr);
        }
        let odd = lab.path("app/new\nline\u{1b}[31m");
        copy(&program, &odd);
        let said = Said::of(&mut lab.command(&[], &odd, &[], &["x"]));
        assert_eq!(said.ended(), "exit 127");
        assert!(!said.stderr.trim_end_matches('\n').chars().any(char::is_control), "{:?}", said.stderr);
        assert!(said.stderr.contains("app/new?line?[31m: "), "{:?}", said.stderr);
    });
}

// ---- the current directory, and where directories are relative

#[test]
fn nothing_comes_from_the_current_directory_unless_the_user_says_so_to_the_loader_itself() {
    everywhere_but_the_peer("evil", |lab| {
        let program = lab.witness();
        lab.library("", "plug", &["-DSILENT"]);
        lab.library("evil", "plug", &["-DSILENT", "-DEVIL"]);
        copy(&lab.path("evil/libplug.so.1"), &lab.path("libplug.so.1"));
        let own = "NIX_LD={real}";
        let rows: &[&[&str]] = &[
            &[own, "NIX_LD_LIBRARY_PATH="],
            &[own, "LD_LIBRARY_PATH={dir}/user", "NIX_LD_LIBRARY_PATH="],
            &[own, "LD_LIBRARY_PATH=", "NIX_LD_LIBRARY_PATH={dir}/user"],
            &[own, "LD_LIBRARY_PATH=", "NIX_LD_LIBRARY_PATH="],
            &[own, "NIX_LD_LIBRARY_PATH=:{dir}/user:"],
            &[own, "NIX_LD_LIBRARY_PATH={dir}/user::{dir}/own"],
            &[own, "NIX_LD_LIBRARY_PATH={dir}/user;;{dir}/own;"],
            &[own, "NIX_LD_LIBRARY_PATH=."],
            &[own, "NIX_LD_LIBRARY_PATH=evil:./evil:../evil"],
            &[own, "NIX_LD_LIBRARY_PATH=$ORIGIN/../evil:${ORIGIN}/../evil:{dir}/app/$ORIGIN"],
        ];
        for entries in rows {
            let said = lab.run(&program, entries, &["dlopen", "libplug.so.1"]).fine();
            let expected = "libplug.so.1: cannot open shared object file: No such file or directory";
            assert_eq!(said.one("dlopen"), expected, "{entries:?}");
        }
    });
}

// ---- limits

#[test]
fn small_and_unlimited_stacks_are_enough() {
    everywhere(|lab| {
        let program = lab.witness();
        let name = program.to_str().unwrap();
        for limit in ["64", "128", "unlimited"] {
            for count in ["0", "3000"] {
                let command = lab.command(&["-n", count], &program, USUAL, &[name, "mark", "environ"]);
                let limited = format!("ulimit -s {limit} && exec \"$@\"");
                let said = Said::of(&mut behind(&["/bin/sh", "-c", &limited, "sh"], &command)).fine();
                assert_eq!(said.one("mark"), "a", "{limit}, {count} entries");
                assert_eq!(said.list("main.environ").len(), count.parse::<usize>().unwrap() + USUAL.len());
            }
        }
    });
}

#[test]
fn programs_start_in_every_layout_of_memory() {
    let Some(setarch) = xeno_tests::peer("setarch") else { return };
    everywhere(|lab| {
        let program = lab.witness();
        for layout in ["--addr-no-randomize", "--addr-compat-layout", "--mmap-page-zero", "--3gb"] {
            let command = lab.command(&[], &program, USUAL, &["x", "mark", "environ"]);
            let said = Said::of(&mut behind(&[setarch.to_str().unwrap(), layout], &command)).fine();
            assert_eq!(said.one("mark"), "a", "{layout}");
        }
    });
}

#[test]
fn where_no_file_can_be_opened_the_program_is_refused_in_one_line() {
    everywhere_but_the_peer("signal", |lab| {
        let program = lab.witness();
        let said = Said::of(&mut lab.command(&["-o", "3"], &program, USUAL, &["x", "mark"]));
        said.refusal(program.to_str().unwrap());
    });
}

#[test]
fn a_program_that_cannot_be_told_why_it_is_refused_still_ends_with_the_status() {
    everywhere_but_the_peer("signal", |lab| {
        let program = lab.witness();
        for closed in [&["-c", "2"][..], &["-c", "0", "-c", "1", "-c", "2"]] {
            let said = Said::of(&mut lab.command(closed, &program, &["NIX_LD=/nowhere"], &["x"]));
            assert_eq!((said.ended().as_str(), said.stderr.as_str()), ("exit 127", ""));
        }
    });
}

#[test]
fn a_program_starts_where_proc_is_not_mounted() {
    as_root(|| {
        everywhere(|lab| {
            let Some(unshare) = xeno_tests::peer("unshare") else { return };
            let program = lab.witness();
            let command = lab.command(&[], &program, USUAL, &["x", "mark"]);
            let hidden = "mount -t tmpfs none /proc && exec \"$@\"";
            let first = [unshare.to_str().unwrap(), "-m", "--propagation", "private", "sh", "-c", hidden, "sh"];
            assert_eq!(Said::of(&mut behind(&first, &command)).fine().one("mark"), "a");
        });
    });
}

// ---- damaged programs

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// The bytes of a file that loaders read before anything else: headers, and the dynamic section.
fn places(lab: &Lab, file: &[u8]) -> Vec<usize> {
    let at = fields(lab);
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes[..lab.shim.machine.word].copy_from_slice(&file[at..at + lab.shim.machine.word]);
        u64::from_le_bytes(bytes) as usize
    };
    let count = usize::from(u16::from_le_bytes(file[at.table_count..at.table_count + 2].try_into().unwrap()));
    let headers = at.header + at.segment * count;
    let mut found: Vec<usize> = (4..headers).collect();
    for header in (at.header..headers).step_by(at.segment) {
        // PT_DYNAMIC
        if file[header..header + 4] == [2, 0, 0, 0] {
            let start = number(header + at.offset);
            found.extend(start..start + number(header + at.file_size));
        }
    }
    found
}

#[test]
fn a_damaged_program_starts_through_the_shim_if_it_starts_natively_and_only_then() {
    everywhere(|lab| {
        let program = lab.witness();
        let (good, native) = (fs::read(&program).unwrap(), fs::read(lab.native_of(&program)).unwrap());
        let (places, mut numbers) = (places(lab, &good), Numbers(0));
        for round in 0..400 {
            let (at, value) = (places[numbers.below(places.len())], [0, 1, 0xff, numbers.below(256) as u8][numbers.below(4)]);
            let damaged = |bytes: &[u8]| [&bytes[..at], &[value], &bytes[at + 1..]].concat();
            let (shim, native) = (lab.file("app/damaged", &damaged(&good)), lab.file("nat/damaged", &damaged(&native)));
            let shim = lab.run(&shim, USUAL, &["mark"]);
            let native = Said::of(&mut lab.command(&[], &native, &["LD_LIBRARY_PATH={dir}/a"], &["x", "mark"]));
            let what = format!("round {round}: byte {at} is {value}\n{}\n{}", shim.stderr, native.stderr);
            assert_eq!(shim.ended() == "exit 0", native.ended() == "exit 0", "{} and {}: {what}", shim.ended(), native.ended());
            assert_eq!(shim.all("mark").len(), native.all("mark").len(), "{what}");
        }
    });
}
