//! Programs that start through the shim by an image, made with `xeno shim add`: nothing of the environment is needed
//! or changed, whoever cannot be trusted is not followed, and what is damaged ends the start in one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is printed is captured, and shown where a law does not hold")]

mod shim_support;

use ld_shim::image::RECORD;
use shim_support::{Lab, OWN, Said, Shim, USER, as_root, as_uid, as_user, copy, shims};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every way in that an attacker could try.
const HOSTILE: &[&str] = &[
    "NIX_LD={dir}/evil/attacker",
    "NIX_LD_{system}={dir}/evil/attacker",
    "NIX_LD_LIBRARY_PATH={dir}/evil",
    "LD_LIBRARY_PATH={dir}/evil",
    "LD_PRELOAD={dir}/evil/libevil.so.1",
    "LD_AUDIT={dir}/evil/libevil.so.1",
];

/// Where nothing answers.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// A shim with a directory of images, a program that needs libmark.so.1 of `own`, and the xeno that makes its image.
struct Place {
    lab: Lab,
    xeno: PathBuf,
    program: PathBuf,
}

impl Place {
    fn new(shim: &Shim) -> Option<Place> {
        let built = xeno_tests::xeno()?;
        let lab = Lab::with_images(shim);
        lab.library("own", "mark", &[]);
        lab.library("user", "mark", &[]);
        lab.library("pre", "pre", &[]);
        let program = lab.program("program", &[&format!("-Wl,--enable-new-dtags,-rpath,{OWN}")]);
        let xeno = lab.path("tool/xeno");
        copy(&built, &xeno);
        lab.child();
        Some(Place { lab, xeno, program })
    }

    /// `xeno shim WORDS…`, as somebody; what it said.
    fn xeno(&self, uid: Option<u32>, words: &[&str], program: Option<&Path>) -> String {
        let home = self.lab.path(&format!("home{}", uid.unwrap_or(0)));
        fs::create_dir_all(&home).unwrap();
        chown(&home, uid, uid).unwrap();
        let mut command = Command::new(&self.xeno);
        command.arg("shim").args(words).arg("--into").arg(self.lab.base()).args(program).current_dir(&home);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home).env("XENO_STORE", home.join("store"));
        command.env("XENO_DEBIAN_MIRROR", NOWHERE).env("XENO_DEBIAN_SECURITY_MIRROR", NOWHERE);
        if let Some(uid) = uid {
            command = as_uid(uid, command);
        }
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{command:?}\n{out}{err}");
        out.into_owned()
    }

    /// `xeno shim add`, as somebody; the image's path.
    fn add(&self, uid: Option<u32>, program: &Path) -> PathBuf {
        let out = self.xeno(uid, &["add"], Some(program));
        let (_, image) = out.trim_end().split_once(" -> ").unwrap_or_else(|| panic!("it said {out}"));
        PathBuf::from(image)
    }

    /// The program's image, made by root, and its bytes.
    fn image(&self) -> (PathBuf, Vec<u8>) {
        let image = self.add(None, &self.program);
        assert_eq!(image.parent().unwrap(), self.lab.base());
        let bytes = fs::read(&image).unwrap();
        (image, bytes)
    }

    /// Puts other bytes in the place of a root's image.
    fn put(&self, image: &Path, bytes: &[u8]) {
        let _ = fs::remove_file(image);
        copy(&self.lab.file("other-image", bytes), image);
    }

    /// Starts the program as an ordinary user with these entries.
    fn run_as(&self, uid: u32, entries: &[&str], words: &[&str]) -> Said {
        let argv: Vec<&str> = ["x"].into_iter().chain(words.iter().copied()).collect();
        Said::of(&mut as_uid(uid, self.lab.command(&[], &self.program, entries, &argv)))
    }

    #[track_caller]
    fn refused(&self, said: &Said) -> String {
        said.refusal(self.program.to_str().unwrap()).to_owned()
    }
}

/// A law of images, where they can be made and the test can be anybody.
fn law(law: impl Fn(&Place)) {
    let Some(_) = xeno_tests::peer("cc") else { return };
    as_root(|| {
        for shim in shims().into_iter().filter(|shim| !shim.peer) {
            println!("the law for {}", shim.machine.name);
            let Some(place) = Place::new(&shim) else { return };
            law(&place);
        }
    });
}

/// Nothing of the attacker's ran.
#[track_caller]
fn unharmed(said: &Said) {
    assert_eq!(said.all("attacker"), [""; 0], "{}", said.command);
    assert!(!said.speakers().iter().any(|who| who.starts_with("evil")), "{}", said.command);
    assert!(!said.all("mark").contains(&"evil"), "the attacker's library in {}", said.command);
}

// ---- what the program sees

#[test]
fn a_program_with_an_image_needs_no_variable_and_everybody_after_it_sees_the_parents() {
    law(|place| {
        place.image();
        let rows: &[&[&str]] = &[
            &[],
            &["PLAIN=1", "odd", "", "=", "LAST=1"],
            &["LD_LIBRARY_PATH="],
            &["LD_LIBRARY_PATH={dir}/user"],
            &["LD_PRELOAD={dir}/pre/libpre.so.1", "LD_LIBRARY_PATH=/nowhere"],
            &["NIX_LD=/nowhere", "NIX_LD_LIBRARY_PATH={dir}/user", "NIX_LD_{system}=/nowhere"],
            &["MARK_SETS=LD_LIBRARY_PATH"],
        ];
        for entries in rows {
            let said = place.run_as(USER, entries, &["all", "exec", "{dir}/nat/child"]).fine();
            let mut expected: Vec<String> = entries.iter().map(|entry| place.lab.fill(entry)).collect();
            let user = entries.contains(&"LD_LIBRARY_PATH={dir}/user");
            assert_eq!(said.one("mark"), if user { "user" } else { "own" }, "{entries:?}");
            for who in ["mark.environ", "mark.envp", "proc.environ"] {
                assert_eq!(said.list(who), expected, "{who} {entries:?}");
            }
            assert_eq!(said.speakers().contains(&"pre.environ"), entries.iter().any(|entry| entry.starts_with("LD_PRELOAD")));
            expected.extend(entries.contains(&"MARK_SETS=LD_LIBRARY_PATH").then(|| "LD_LIBRARY_PATH=of a constructor".to_owned()));
            for who in ["main.environ", "child.environ"] {
                assert_eq!(said.list(who), expected, "{who} {entries:?}");
            }
        }
    });
}

#[test]
fn a_program_with_an_image_is_itself_as_in_a_native_start() {
    law(|place| {
        let (image, _) = place.image();
        let said = place.run_as(USER, &[], &["all"]).fine();
        let native = place.lab.native_of(&place.program);
        let native = Said::of(&mut as_user(place.lab.command(&[], &native, &[], &["x", "all"]))).fine();
        for who in ["exe", "execfn", "main.argv", "proc.cmdline", "invocation", "main", "mark.argv", "ids", "object"] {
            let neutral = |said: &Said| said.all(who).iter().map(|what| place.lab.neutral(what)).collect::<String>();
            assert_eq!(neutral(&said), neutral(&native), "{who}");
        }
        assert!(said.one("base").starts_with(&format!("{} at ", image.display())), "{}", said.one("base"));
        let files = |said: &Said| {
            let paths = said.list("maps").into_iter().filter_map(|line| line.split_whitespace().nth(5)).map(str::to_owned);
            paths.collect::<BTreeSet<_>>()
        };
        let real = fs::canonicalize(place.lab.path("native")).unwrap();
        let mut expected: BTreeSet<String> = files(&native).into_iter().map(|path| path.replace("/nat/", "/app/")).collect();
        assert!(expected.remove(real.to_str().unwrap()));
        expected.extend([&image, &place.lab.path("loader")].map(|path| path.to_str().unwrap().to_owned()));
        assert_eq!(files(&said), expected);
        for line in said.list("maps") {
            let rights = line.split_whitespace().nth(1).unwrap();
            assert!(!(rights.contains('w') && rights.contains('x')), "{line}");
        }
    });
}

#[test]
fn a_program_with_an_image_has_the_descriptors_of_a_native_start() {
    law(|place| {
        let child = place.lab.path("app/child");
        place.add(None, &child);
        for closed in [&[][..], &["-c", "0"], &["-c", "1"], &["-c", "2"], &["-c", "0", "-c", "1", "-c", "2"]] {
            let list = |program: &Path, name: &str| {
                let said = Said::of(&mut place.lab.command(closed, program, &[], &["x", "fds", &format!("{{dir}}/{name}")]));
                assert_eq!(said.ended(), "exit 0", "{closed:?} {}", said.stderr);
                let found = fs::read_to_string(place.lab.path(name)).unwrap();
                found.lines().map(|line| line.split_once(':').map_or(line, |(start, _)| start).to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(list(&child, "shim.fds"), list(&place.lab.native_of(&child), "native.fds"), "{closed:?}");
        }
    });
}

#[test]
fn a_second_namespace_finds_the_loader_that_is_there() {
    law(|place| {
        let child = place.lab.child();
        place.add(None, &child);
        assert_eq!(place.lab.run(&child, &[], &["namespace"]).fine().one("namespace"), "another libc");
    });
}

#[test]
fn a_program_started_by_the_shims_name_gets_its_image() {
    law(|place| {
        let (image, _) = place.image();
        let program = place.program.to_str().unwrap();
        let said = Said::of(&mut place.lab.command(&[], &place.lab.path("loader"), &["PLAIN=1"], &["ld.so", program, "all"])).fine();
        assert_eq!((said.one("mark"), said.list("main.environ"), said.list("mark.environ")), ("own", vec!["PLAIN=1"], vec!["PLAIN=1"]));
        assert!(said.list("maps").iter().any(|line| line.ends_with(image.to_str().unwrap())), "the image is not mapped");
        let said = Said::of(&mut place.lab.command(&[], &place.lab.path("loader"), &[], &["ld.so", "--list", program])).fine();
        assert!(said.has("libmark.so.1 => ") && said.has("/own/libmark.so.1"), "{said:?}");
    });
}

// ---- whose image it is

#[test]
fn an_image_is_that_of_the_program_at_its_place() {
    law(|place| {
        let (image, bytes) = place.image();
        let moved = place.lab.path("elsewhere/program");
        copy(&place.program, &moved);
        let said = Said::of(&mut place.lab.command(&[], &moved, &[], &["x"]));
        said.refusal(moved.to_str().unwrap());
        // The image of another program, under this one's name.
        let child = place.lab.path("app/child");
        let other = fs::read(place.add(None, &child)).unwrap();
        place.put(&image, &other);
        place.refused(&place.run_as(USER, &[], &[]));
        place.put(&image, &bytes);
        assert_eq!(place.run_as(USER, &[], &["mark"]).fine().one("mark"), "own");
    });
}

#[test]
fn an_image_is_found_however_the_program_is_called_and_however_long_its_path_is() {
    law(|place| {
        let deep = (0..12).fold(place.lab.path("deep"), |path, n| path.join(format!("{n:0240}")));
        for directory in [place.lab.path("other"), place.lab.path("with space and \u{fc}"), deep] {
            fs::create_dir_all(&directory).unwrap();
            let program = directory.join("program");
            copy(&place.program, &program);
            place.add(None, &program);
            let link = place.lab.path("link");
            let _ = fs::remove_file(&link);
            symlink(&program, &link).unwrap();
            for (called, from) in [(program.as_path(), "/"), (Path::new("program"), directory.to_str().unwrap()), (&link, "/")] {
                let mut command = place.lab.command(&[], called, &[], &["x", "mark"]);
                let said = Said::of(command.current_dir(from));
                assert_eq!((said.ended().as_str(), said.all("mark")), ("exit 0", vec!["own"]), "{} {}", called.display(), said.stderr);
            }
        }
    });
}

#[test]
fn a_link_or_a_script_beside_another_program_gets_the_image_of_the_program_that_it_leads_to() {
    law(|place| {
        let built = place.lab.program("plain", &[]);
        for tree in ["one", "two"] {
            place.lab.library(&format!("{tree}/lib"), "mark", &[]);
            let program = place.lab.path(&format!("{tree}/bin/program"));
            copy(&built, &program);
            place.add(None, &program);
        }
        let (one, two) = (place.lab.path("one/bin/program"), place.lab.path("two/bin/program"));
        let link = place.lab.path("one/bin/link");
        symlink("../../two/bin/program", &link).unwrap();
        let script = place.lab.file("one/bin/script", format!("#!{} mark\n", two.display()).as_bytes());
        // An interpreter that is a script itself: the first script's path is the fourth word.
        let inner = place.lab.file("two/bin/inner", format!("#!{} mark\n", two.display()).as_bytes());
        let outer = place.lab.file("one/bin/outer", format!("#!{} mark\n", inner.display()).as_bytes());
        for (called, expected) in [(&one, "one/lib"), (&two, "two/lib"), (&link, "two/lib"), (&script, "two/lib"), (&outer, "two/lib")] {
            let said = Said::of(&mut place.lab.command(&[], called, &[], &["x", "mark"]));
            assert_eq!(said.all("mark").first(), Some(&expected), "{} {}", called.display(), said.stderr);
        }
    });
}

#[test]
fn an_image_that_others_could_have_written_ends_the_start_in_one_line_that_names_it() {
    law(|place| {
        let (image, bytes) = place.image();
        let refused = |what: &str| {
            for secure in [false, true] {
                fs::set_permissions(&place.program, Permissions::from_mode(if secure { 0o4755 } else { 0o755 })).unwrap();
                let line = place.refused(&place.run_as(USER, &["NIX_LD={real}"], &["mark"]));
                assert!(line.contains(image.to_str().unwrap()), "{what}, secure {secure}: {line}");
            }
        };
        for mode in [0o646, 0o666, 0o664, 0o777, 0o775] {
            fs::set_permissions(&image, Permissions::from_mode(mode)).unwrap();
            refused(&format!("mode {mode:o}"));
        }
        fs::set_permissions(&image, Permissions::from_mode(0o444)).unwrap();
        chown(&image, Some(USER + 1), None).unwrap();
        refused("of another user");
        fs::rename(&image, place.lab.path("set-aside")).unwrap();
        symlink(place.lab.path("set-aside"), &image).unwrap();
        refused("a link");
        fs::remove_file(&image).unwrap();
        fs::create_dir(&image).unwrap();
        refused("a directory");
        fs::remove_dir(&image).unwrap();
        nix::unistd::mkfifo(&image, nix::sys::stat::Mode::S_IRWXU).unwrap();
        chown(&image, Some(USER), None).unwrap();
        refused("a pipe");
        place.put(&image, &bytes);
        let said = place.run_as(USER, &[], &["all"]).fine();
        assert_eq!((said.one("mark"), said.one("ids")), ("own", format!("{USER} 0 {USER} {USER} secure 1").as_str()));
    });
}

#[test]
fn an_image_of_the_user_who_gains_rights_is_not_followed_there() {
    law(|place| {
        let (image, _) = place.image();
        chown(&image, Some(USER), None).unwrap();
        assert_eq!(place.run_as(USER, &[], &["mark"]).fine().one("mark"), "own");
        fs::set_permissions(&place.program, Permissions::from_mode(0o4755)).unwrap();
        place.refused(&place.run_as(USER, &[], &["mark"]));
    });
}

#[test]
fn a_sandbox_that_does_not_know_root_follows_roots_images_all_the_same() {
    law(|place| {
        place.image();
        for map in ["--map-root-user", "--map-current-user"] {
            let mut sandbox = as_user(Command::new("unshare"));
            sandbox.arg(map).arg(&place.program).arg("mark");
            let refused = as_user(Command::new("unshare")).args([map, "true"]).output().map_or(true, |o| !o.status.success());
            if refused {
                println!("unshare {map}: refused on this machine");
                continue;
            }
            assert_eq!(Said::of(&mut sandbox).fine().one("mark"), "own", "{map}");
        }
    });
}

#[test]
fn a_program_that_gains_rights_follows_its_image_and_no_variable() {
    law(|place| {
        place.lab.evil();
        place.image();
        fs::set_permissions(&place.program, Permissions::from_mode(0o4755)).unwrap();
        let native = place.lab.native_of(&place.program);
        fs::set_permissions(&native, Permissions::from_mode(0o4755)).unwrap();
        for entries in HOSTILE.iter().map(|entry| vec![*entry]).chain([HOSTILE.to_vec()]) {
            let entries: Vec<&str> = ["PLAIN=1"].into_iter().chain(entries).chain(["LAST=1"]).collect();
            let said = place.run_as(USER, &entries, &["all"]);
            unharmed(&said);
            let said = said.fine();
            let native = Said::of(&mut as_user(place.lab.command(&[], &native, &entries, &["x", "all"]))).fine();
            assert_eq!(said.one("mark"), "own");
            for who in ["ids", "main.environ", "main.envp", "mark.environ", "main.argv"] {
                assert_eq!(said.all(who), native.all(who), "{who} with {entries:?}");
            }
        }
    });
}

#[test]
fn a_users_own_image_serves_that_user_alone_and_never_a_secure_execution() {
    law(|place| {
        let users = place.lab.base().join("u");
        fs::create_dir(&users).unwrap();
        fs::set_permissions(&users, Permissions::from_mode(0o1777)).unwrap();
        let image = place.add(Some(USER), &place.program);
        assert_eq!(image.parent().unwrap(), users);
        assert_eq!(place.run_as(USER, &[], &["mark"]).fine().one("mark"), "own");
        place.refused(&place.run_as(USER + 1, &[], &["mark"]));
        place.refused(&place.run_as(0, &[], &["mark"]));
        // Somebody else put it there: not followed, and no reason to fail either.
        chown(&image, Some(USER + 1), None).unwrap();
        assert!(!place.refused(&place.run_as(USER, &[], &["mark"])).contains(image.to_str().unwrap()));
        assert_eq!(place.run_as(USER, &["NIX_LD={real}"], &["mark"]).fine().one("mark"), "own");
        chown(&image, Some(USER), None).unwrap();
        fs::set_permissions(&place.program, Permissions::from_mode(0o4755)).unwrap();
        place.refused(&place.run_as(USER, &[], &["mark"]));
    });
}

#[test]
fn the_image_for_everybody_comes_after_the_users_variable_and_serves_secure_executions_alone() {
    law(|place| {
        place.lab.evil();
        place.xeno(None, &["install", "--arch", place.lab.shim.machine.name, "--at", place.lab.path("site").to_str().unwrap()], None);
        let image = place.lab.base().join(if place.lab.shim.machine.word == 8 { "gnu64" } else { "gnu32" });
        let based = |said: &Said| said.one("base").starts_with(image.to_str().unwrap());
        let said = place.run_as(USER, &["PLAIN=1"], &["all"]).fine();
        assert_eq!((based(&said), said.one("mark"), said.list("main.environ")), (true, "own", vec!["PLAIN=1"]));
        assert!(!based(&place.run_as(USER, &["NIX_LD={real}"], &["all"]).fine()));
        assert_eq!(place.run_as(USER, &HOSTILE[..1], &["all"]).all("attacker"), ["ran"]);
        fs::set_permissions(&place.program, Permissions::from_mode(0o4755)).unwrap();
        let said = place.run_as(USER, HOSTILE, &["all"]);
        unharmed(&said);
        assert_eq!((based(&said), said.fine().one("mark")), (true, "own"));
        fs::set_permissions(&image, Permissions::from_mode(0o664)).unwrap();
        assert!(place.refused(&place.run_as(USER, HOSTILE, &["all"])).contains(image.to_str().unwrap()));
    });
}

// ---- what is no image

#[test]
fn an_image_cut_off_anywhere_ends_the_start_in_one_line() {
    law(|place| {
        let (image, bytes) = place.image();
        let length = bytes.len();
        let odd = [1, RECORD - 1, RECORD, RECORD + 1, 4096, length - RECORD, length - 4096, length - 1];
        let places = (0..40).map(|n| n * length / 40).chain(odd);
        for end in places {
            place.put(&image, &bytes[..end]);
            let line = place.refused(&place.run_as(USER, &[], &["mark"]));
            assert!(line.contains(image.to_str().unwrap()), "cut at {end}: {line}");
        }
    });
}

#[test]
fn an_image_whose_record_was_damaged_anywhere_starts_the_program_as_ever_or_not_at_all() {
    law(|place| {
        let (image, bytes) = place.image();
        let record = bytes.len() - RECORD;
        let mut state = 1_u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        // What it begins with, and anywhere in it.
        for round in 0..300 {
            let at = record + [below(64), below(RECORD)][round % 2];
            let value = [0, 1, 0xff, bytes[at] ^ (1 << below(8))][below(4)];
            let damaged = [&bytes[..at], &[value], &bytes[at + 1..]].concat();
            place.put(&image, &damaged);
            let said = place.run_as(USER, &[], &["mark"]);
            let what = format!(
                "round {round}: byte {} of the record from {} to {value}: {} {}",
                at - record,
                bytes[at],
                said.ended(),
                said.stderr
            );
            assert!(said.ended() == "exit 0" || said.ended() == "exit 127", "{what}");
            if said.ended() == "exit 127" {
                place.refused(&said);
            } else {
                assert_eq!(said.all("mark"), ["own"], "{what}");
            }
        }
    });
}

#[test]
fn random_bytes_of_any_length_are_no_image() {
    law(|place| {
        let (image, good) = place.image();
        let mut state = 7_u64;
        for length in [0, 1, 100, RECORD, 4096, 10_000, 300_000] {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            for with_head in [false, true] {
                // The true magic, machine and key before the noise.
                if with_head && length >= RECORD {
                    bytes[length - RECORD..length - RECORD + 32].copy_from_slice(&good[good.len() - RECORD..][..32]);
                }
                place.put(&image, &bytes);
                place.refused(&place.run_as(USER, &[], &["mark"]));
            }
        }
    });
}
