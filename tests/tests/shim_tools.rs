//! What programmers look at programs with – gdb, valgrind, ldd, the loader's own variables – shows of a program that
//! has an image what it shows of the same program natively, but for addresses and the image's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is printed is captured, and shown where a law does not hold")]

mod shim_support;

use shim_support::{Lab, OWN, Said, copy, shims};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xeno_tests::{peer, skip};

/// Where nothing answers.
const NOWHERE: &str = "http://127.0.0.1:1/";
/// The program's run path, which its dlopen searches, too.
const RUN_PATH: &str = "-Wl,--enable-new-dtags,-rpath,";

/// A lab with a program that needs libmark.so.1 and finds libplug.so.1, and its image.
struct Desk {
    lab: Lab,
    program: PathBuf,
    image: PathBuf,
}

impl Desk {
    /// Where the machine's programs can be built and there is a xeno that makes images.
    fn at(lab: Lab) -> Option<Desk> {
        let built = xeno_tests::xeno()?;
        lab.library("own", "mark", &["-g"]);
        lab.library("own", "plug", &["-g", "-DSILENT"]);
        let program = lab.program("program", &["-g", "-Wl,-z,lazy", &format!("{RUN_PATH}{OWN}")]);
        copy(&built, &lab.path("tool/xeno"));
        fs::create_dir(lab.path("home")).unwrap();
        let said = xeno(&lab, &["add", "--offline", program.to_str().unwrap()]);
        let image = PathBuf::from(said.trim_end().rsplit_once(" -> ").unwrap().1);
        Some(Desk { lab, program, image })
    }

    /// The program through its image and natively, with what is done to it.
    fn both(&self, what: impl Fn(&Path) -> Command) -> [Said; 2] {
        [self.program.clone(), self.lab.native_of(&self.program)].map(|program| Said::of(&mut what(&program)))
    }

    /// The program with these entries and words.
    fn started(&self, entries: &[&str], words: &[&str]) -> [Said; 2] {
        let argv: Vec<&str> = ["x"].into_iter().chain(words.iter().copied()).collect();
        self.both(|program| self.lab.command(&[], program, entries, &argv))
    }

    /// A text without addresses, process numbers and what lies elsewhere natively.
    fn neutral(&self, text: &str) -> String {
        self.lab.neutral(&text.replace(self.image.to_str().unwrap(), "/etc/ld.so.cache"))
    }

    /// Both say the same, on both streams, and end alike.
    #[track_caller]
    fn alike(&self, said: &[Said; 2]) {
        let text = |said: &Said| self.neutral(&String::from_utf8_lossy(&said.output.stdout).replace('\0', "\n"));
        assert_eq!(self.neutral(&said[0].stderr), self.neutral(&said[1].stderr), "{}", said[0].command);
        assert_eq!(text(&said[0]), text(&said[1]), "{}", said[0].command);
        assert_eq!(said[0].ended(), said[1].ended(), "{}", said[0].command);
    }
}

/// What `xeno shim WORDS… --into BASE` prints.
fn xeno(lab: &Lab, words: &[&str]) -> String {
    let mut command = Command::new(lab.path("tool/xeno"));
    command.arg("shim").args(words).arg("--into").arg(lab.base()).current_dir(lab.path("home")).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", lab.path("home")).env("XENO_STORE", lab.path("home/store"));
    command.env("XENO_DEBIAN_MIRROR", NOWHERE).env("XENO_DEBIAN_SECURITY_MIRROR", NOWHERE);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A law of programs with images, of every kind that this machine runs.
fn law(law: impl Fn(&Desk)) {
    let Some(_) = peer("cc") else { return };
    for shim in shims().into_iter().filter(|shim| !shim.peer) {
        println!("the law for {}", shim.machine.name);
        let Some(desk) = Desk::at(Lab::with_images(&shim)) else { return };
        law(&desk);
    }
}

/// A command of a tool on this machine, with a small environment.
fn tool(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("LANG", "C").stdin(Stdio::null());
    command
}

#[test]
fn ld_debug_shows_the_searches_of_a_native_start_with_the_image_for_its_cache() {
    law(|desk| {
        let said = desk.started(&["LD_DEBUG=libs"], &["mark", "dlopen", "libplug.so.1"]);
        let native = desk.neutral(&said[1].stderr);
        for line in ["find library=libmark.so.1", "search cache=/etc/ld.so.cache", "calling init: DIR/own/libplug.so.1"] {
            assert!(native.contains(line), "{line} in {native}");
        }
        assert!(said[0].stderr.contains(&format!("search cache={}", desk.image.display())), "{}", said[0].stderr);
        desk.alike(&said);
    });
}

#[test]
fn what_no_image_answers_is_searched_in_the_programs_directories_and_in_none_of_the_machines() {
    law(|desk| {
        let said = desk.started(&["LD_DEBUG=libs"], &["dlopen", "libabsent.so.1"]);
        let [ours, native] = [0, 1].map(|n| {
            let tried = said[n].stderr.lines().filter_map(|line| line.split_once("trying file="));
            let absent = tried.filter(|(_, file)| file.contains("libabsent")).map(|(_, file)| desk.neutral(file));
            absent.partition::<Vec<_>, _>(|file| file.starts_with("DIR/own/"))
        });
        assert_eq!(ours.0, native.0);
        assert!(!ours.0.is_empty() && !native.1.is_empty(), "{}", said[1].stderr);
        // The places of the loader's own directories, where nobody but root could put anything.
        assert!(ours.1.iter().all(|file| file.starts_with("/.xeno/") || file.starts_with("/.x/")), "{:?}", ours.1);
        assert_eq!(said[0].one("dlopen"), said[1].one("dlopen"));
    });
}

#[test]
fn traced_and_bound_at_once_it_says_what_it_says_natively() {
    law(|desk| {
        for entries in [
            &["LD_TRACE_LOADED_OBJECTS=1"][..],
            &["LD_TRACE_LOADED_OBJECTS=1", "LD_VERBOSE=1"],
            &["LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=1", "LD_BIND_NOW=1"],
            &["LD_TRACE_LOADED_OBJECTS=1", "LD_PRELOAD=libplug.so.1"],
        ] {
            let said = desk.started(entries, &["all"]);
            assert!(said[1].has(&desk.lab.fill("libmark.so.1 => {dir}/own/libmark.so.1")), "{:?}", said[1]);
            desk.alike(&said);
        }
        let said = desk.started(&["LD_BIND_NOW=1"], &["mark", "argv", "dlopen", "libplug.so.1", "exit", "7"]);
        assert_eq!((said[1].one("mark"), said[1].ended().as_str()), ("own", "exit 7"));
        desk.alike(&said);
        // A library without the function that is called: seen only by who looks for it.
        copy(&desk.lab.path("own/libplug.so.1"), &desk.lab.path("own/libmark.so.1"));
        let said = desk.started(&[], &["exit", "7"]);
        assert_eq!(said[1].ended(), "exit 7", "{}", said[1].stderr);
        desk.alike(&said);
        for entries in [&["LD_BIND_NOW=1"][..], &["LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=1", "LD_BIND_NOW=1"]] {
            let said = desk.started(entries, &["exit", "7"]);
            assert!(said[1].has("undefined symbol: mark"), "{:?}", said[1]);
            desk.alike(&said);
        }
    });
}

#[test]
fn ldd_lists_the_libraries_of_a_native_start() {
    let Some(ldd) = peer("ldd") else { return };
    let Some(bash) = peer("bash") else { return };
    law(|desk| {
        // As where the shim stands at the path that ldd tries: it is asked for its version first, which is that of the
        // loader for everybody.
        let (at, arch) = (desk.lab.path("another"), desk.lab.shim.machine.name);
        xeno(&desk.lab, &["install", "--offline", "--arch", arch, "--at", at.to_str().unwrap()]);
        if !fs::read_dir(desk.lab.base()).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("gnu")) {
            return skip(&format!("this machine has no libraries for {arch} for everybody"));
        }
        let script = fs::read_to_string(&ldd).unwrap();
        assert!(script.contains("\nRTLDLIST="), "this ldd asks no list of loaders");
        let asking = |loader: &str| {
            let line = |line: &str| {
                if line.starts_with("RTLDLIST=") { format!("RTLDLIST={}\n", desk.lab.path(loader).display()) } else { format!("{line}\n") }
            };
            desk.lab.file(&format!("ldd-{loader}"), script.lines().map(line).collect::<String>().as_bytes())
        };
        let scripts = [asking("loader"), asking("native")];
        for words in [&[][..], &["-v"], &["-r"], &["-u"]] {
            let programs = [desk.program.clone(), desk.lab.native_of(&desk.program)];
            let said = [0, 1].map(|n| Said::of(tool(&bash).arg(&scripts[n]).args(words).arg(&programs[n])));
            assert!(words == ["-u"] || said[1].has("libmark.so.1"), "{:?}", said[1]);
            desk.alike(&said);
        }
    });
}

#[test]
fn gdb_stops_in_libraries_of_the_start_and_in_later_ones_and_lists_them() {
    let Some(gdb) = peer("gdb") else { return };
    law(|desk| {
        let orders = [
            "set breakpoint pending on",
            "set startup-with-shell off",
            "set debuginfod enabled off",
            "break mark",
            "break plug",
            "run mark dlopen libplug.so.1 exit 3",
            "backtrace 1",
            "continue",
            "backtrace 1",
            "info sharedlibrary",
            "continue",
        ];
        let said = desk.both(|program| {
            let mut command = tool(&gdb);
            command.args(["-nx", "-batch"]).args(orders.iter().flat_map(|order| ["-ex", order])).arg(program);
            command
        });
        let text = String::from_utf8_lossy(&said[1].output.stdout).into_owned();
        for words in ["Breakpoint 1, mark ", "Breakpoint 2, plug ", "exited with code 03"] {
            assert!(text.contains(words), "{words} in {text}{}", said[1].stderr);
        }
        for library in ["own/libmark.so.1", "own/libplug.so.1"] {
            assert!(text.contains(desk.lab.path(library).to_str().unwrap()), "{library} in {text}");
        }
        // Of the loader, gdb has the name of the shim, which brings no symbols but the one where debuggers wait.
        let without = said.map(|said| {
            let text = String::from_utf8_lossy(&said.output.stdout).replace("Yes (*)", "Yes    ");
            desk.neutral(&text.replace("(*): Shared library is missing debugging information.\n", ""))
        });
        assert_eq!(without[0], without[1]);
    });
}

#[test]
fn valgrind_finds_natively_what_it_finds_but_for_the_loaders_own_reading_ahead() {
    let Some(valgrind) = peer("valgrind") else { return };
    law(|desk| {
        let base = format!("obj:{}/*", desk.lab.base().display());
        let suppressions = xeno_tests::source::text(Path::new("packaging/valgrind.supp")).replace("obj:/opt/xeno/*", &base);
        let file = desk.lab.file("supp", suppressions.as_bytes());
        for words in [&["mark"][..], &["mark", "dlopen", "libplug.so.1", "exit", "3"]] {
            let run = |more: &[&str]| {
                desk.both(|program| {
                    let mut command = tool(&valgrind);
                    command.args(["--tool=memcheck", "--leak-check=full"]).args(more).arg(program).args(words);
                    command
                })
            };
            let said = run(&[&format!("--suppressions={}", file.display())]);
            if !said[1].has("ERROR SUMMARY: ") {
                // Of other machines' programs it needs a libc with symbols, which few have.
                let why = format!("valgrind starts no program for {} here: {}", desk.lab.shim.machine.name, said[1].stderr);
                return if desk.lab.shim.machine.flags.is_empty() { skip(&why) } else { println!("{why}") };
            }
            let summary = |said: &Said| {
                let lines =
                    said.stderr.lines().filter_map(|line| line.split_once("== ").map(|(_, text)| text.split(" (supp").next().unwrap()));
                lines.filter(|line| line.contains(" SUMMARY: ") || line.contains("in use at exit")).collect::<Vec<_>>().join("\n")
            };
            assert!(summary(&said[1]).contains("ERROR SUMMARY: 0 errors from 0 contexts"), "{}", said[1].stderr);
            assert_eq!(summary(&said[0]), summary(&said[1]), "{}", said[0].stderr);
            assert_eq!((said[0].all("mark"), said[0].ended()), (vec!["own"], said[1].ended()));
            // Without being told, it finds nothing but that.
            let said = run(&[]);
            let (image, errors) = (format!("(in {})", desk.image.display()), said[0].stderr.matches("== Invalid read of size ").count());
            let lines: Vec<&str> = said[0].stderr.lines().collect();
            let ahead = lines.windows(2).filter(|pair| pair[0].contains("== Invalid read of size ") && pair[1].ends_with(&image)).count();
            let words = format!("ERROR SUMMARY: {errors} errors from {errors} contexts");
            assert!(ahead == errors && said[0].has(&words), "{}", said[0].stderr);
        }
    });
}
