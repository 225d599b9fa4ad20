//! A program that starts through a shim is what it would be through its own loader: the same file is started
//! both ways, and what it, its loader and its maps say is compared. Also the shim as a command, with ld.so's options.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod shim_support;

use shim_support::{Lab, Said, everywhere, everywhere_but_the_peer};
use std::path::Path;

/// How the shim is told what the native loader is told by [`NATIVE`].
const USUAL: &[&str] = &["NIX_LD={real}", "NIX_LD_LIBRARY_PATH={dir}/a"];
const NATIVE: &[&str] = &["LD_LIBRARY_PATH={dir}/a"];
const RUNPATH: &str = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../own";
/// How the peer's change of the environment shows.
const LEAK: &str = "\"LD_LIBRARY_PATH=";

/// A program through the shim and through its own loader, started with further entries and these words.
fn both(lab: &Lab, program: &Path, entries: &[&str], argv: &[&str]) -> [Said; 2] {
    let start = |program: &Path, first: &[&str]| {
        let entries: Vec<&str> = first.iter().chain(entries).copied().collect();
        Said::of(&mut lab.command(&[], program, &entries, argv))
    };
    [start(program, USUAL), start(&lab.native_of(program), NATIVE)]
}

/// Both say the same of these things.
#[track_caller]
fn alike(lab: &Lab, [shim, native]: &[Said; 2], whos: &[&str]) {
    for who in whos {
        let of = |said: &Said| said.all(who).iter().map(|what| lab.neutral(what)).collect::<String>();
        assert!(!native.all(who).is_empty(), "{who}: nothing said\n{native:?}");
        assert_eq!(of(shim), of(native), "{who}\n{}", shim.command);
    }
}

/// Both end alike and print alike.
#[track_caller]
fn print_alike(lab: &Lab, [shim, native]: &[Said; 2]) {
    let text = |bytes: &[u8]| lab.neutral(&String::from_utf8_lossy(bytes).replace('\0', "\n"));
    assert_eq!(text(&shim.output.stdout), text(&native.output.stdout), "{}", shim.command);
    assert_eq!(text(shim.stderr.as_bytes()), text(native.stderr.as_bytes()), "{}", shim.command);
    assert_eq!(shim.ended(), native.ended(), "{}", shim.command);
}

// ---- the program

#[test]
fn a_program_is_itself_whatever_it_is_called() {
    everywhere(|lab| {
        let program = lab.witness();
        let path = program.to_str().unwrap();
        for argv in
            [&[path, "all"][..], &["-login", "all"], &["", "all"], &["other name", "all"], &["/etc/passwd", "all"], &["--list", "all"]]
        {
            let said = both(lab, &program, &[], argv);
            let whos = ["exe", "execfn", "base", "invocation", "main.argv", "proc.cmdline", "mark.argv", "object", "ids"];
            alike(lab, &said, &whos);
        }
    });
}

#[test]
fn a_program_may_be_started_without_any_name() {
    everywhere(|lab| {
        let program = lab.witness();
        alike(lab, &both(lab, &program, &[], &[]), &["exe", "execfn", "base", "object"]);
    });
}

#[test]
fn a_relative_path_and_a_link_are_what_the_program_was_called_by() {
    everywhere(|lab| {
        let program = lab.witness();
        for place in ["app", "nat"] {
            std::os::unix::fs::symlink("witness", lab.path(place).join("link")).unwrap();
        }
        for name in ["app/witness", "./app/../app/witness", "app/link"] {
            let native = name.replace("app", "nat");
            let start = |name: &str, entries| Said::of(&mut lab.command(&[], Path::new(name), entries, &[name, "all"]));
            let said = [start(name, USUAL), start(&native, NATIVE)];
            assert_eq!(said[0].one("execfn"), name);
            assert_eq!(said[0].one("invocation"), name);
            assert_eq!(said[0].one("exe"), program.to_str().unwrap());
            alike(lab, &said, &["base", "object", "mark"]);
        }
    });
}

#[test]
fn entry_and_headers_in_the_auxiliary_vector_are_the_programs() {
    everywhere_but_the_peer("entry", |lab| {
        lab.witness();
        for (name, flags) in [("pie", &[RUNPATH][..]), ("no-pie", &[RUNPATH, "-no-pie", "-fno-pie"])] {
            let program = lab.program(name, flags);
            alike(lab, &both(lab, &program, &[], &[name, "all"]), &["main", "base"]);
        }
    });
}

#[test]
fn files_that_are_mapped_are_the_programs_its_libraries_its_loader_and_the_shim() {
    everywhere(|lab| {
        let program = lab.witness();
        let said = both(lab, &program, &["LD_PRELOAD={dir}/pre/libpre.so.1"], &["x", "all"]);
        let files = |said: &Said| {
            let paths = said.list("maps").into_iter().filter_map(|line| line.split_whitespace().nth(5)).map(str::to_owned);
            paths.filter(|path| !path.starts_with("[anon")).collect::<std::collections::BTreeSet<_>>()
        };
        let mut expected: std::collections::BTreeSet<String> =
            files(&said[1]).into_iter().map(|path| path.replace("/nat/", "/app/")).collect();
        expected.insert(lab.path("loader").to_str().unwrap().into());
        assert_eq!(files(&said[0]), expected);
    });
}

#[test]
fn no_mapping_can_be_written_and_executed_and_none_without_a_file_is_executable() {
    everywhere(|lab| {
        let program = lab.witness();
        let said = lab.run(&program, USUAL, &[]);
        for line in said.fine().list("maps") {
            let mut words = line.split_whitespace();
            let rights = words.nth(1).unwrap();
            let what = words.nth(3).unwrap_or("nothing");
            assert!(!(rights.contains('w') && rights.contains('x')), "{line}");
            assert!(!rights.contains('x') || what.starts_with('/') || ["[vdso]", "[vsyscall]"].contains(&what), "{line}");
        }
    });
}

/// The descriptors that a program has where some of the first three are closed.
fn descriptors(lab: &Lab, closed: &[&str]) -> [String; 2] {
    let program = lab.child();
    let options: Vec<&str> = closed.iter().flat_map(|fd| ["-c", fd]).collect();
    let list = |program: &Path, to: &str| {
        let said = Said::of(&mut lab.command(&options, program, USUAL, &["x", "fds", &format!("{{dir}}/{to}")]));
        assert_eq!(said.ended(), "exit 0", "{}", said.command);
        let found = std::fs::read_to_string(lab.path(to)).unwrap();
        // The other ends of pipes are of each start's own.
        found.lines().map(|line| line.split_once(':').map_or(line, |(start, _)| start).to_owned() + "\n").collect()
    };
    [list(&program, "shim.fds"), list(&lab.native_of(&program), "native.fds")]
}

#[test]
fn no_descriptor_is_left_open_whichever_of_the_first_three_were_closed() {
    everywhere_but_the_peer("/ld-", |lab| {
        for closed in [&[][..], &["0"], &["1"], &["2"], &["0", "1"], &["0", "2"], &["1", "2"], &["0", "1", "2"]] {
            let [shim, native] = descriptors(lab, closed);
            assert_eq!(shim, native, "{closed:?} closed");
        }
    });
}

// ---- what the loader says

/// What the loader says of where it looks, without the numbers of processes.
fn searches(lab: &Lab, said: &Said) -> String {
    let lines = said.stderr.lines().filter(|line| ["find library=", "search path=", "trying file="].iter().any(|word| line.contains(word)));
    lab.neutral(&lines.map(|line| format!("{line}\n")).collect::<String>())
}

#[test]
fn ld_debug_shows_the_searches_of_a_native_start() {
    everywhere(|lab| {
        let program = lab.witness();
        let said = both(lab, &program, &["LD_DEBUG=libs"], &["x", "dlopen", "libplug.so.1"]);
        let native = searches(lab, &said[1]);
        assert!(native.contains("find library=libmark.so.1") && native.contains("trying file=DIR/a/libplug.so.1"), "{native}");
        assert_eq!(searches(lab, &said[0]), native);
        assert_eq!(said[0].one("dlopen"), "a");
    });
}

#[test]
fn ldd_lists_what_a_native_start_would_load() {
    everywhere(|lab| {
        let program = lab.witness();
        let lacking = lab.program("lacking", &[]);
        for extra in [
            &["LD_TRACE_LOADED_OBJECTS=1"][..],
            &["LD_TRACE_LOADED_OBJECTS=1", "LD_VERBOSE=1"],
            &["LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=1", "LD_BIND_NOW=1"],
        ] {
            let said = both(lab, &program, extra, &["x", "all"]);
            assert!(said[1].has("libmark.so.1 => "), "{:?}", said[1]);
            print_alike(lab, &said);
            std::fs::rename(lab.path("a/libmark.so.1"), lab.path("hidden")).unwrap();
            let said = both(lab, &lacking, extra, &["x", "all"]);
            assert!(said[1].has("libmark.so.1 => not found"), "{:?}", said[1]);
            print_alike(lab, &said);
            std::fs::rename(lab.path("hidden"), lab.path("a/libmark.so.1")).unwrap();
        }
    });
}

#[test]
fn preloads_and_versions_and_bindings_fail_as_in_a_native_start() {
    everywhere(|lab| {
        let program = lab.witness();
        for extra in
            [&["LD_PRELOAD=libabsent.so"][..], &["LD_PRELOAD=libplug.so.1:{dir}/pre/libpre.so.1"], &["LD_BIND_NOW=1"], &["LD_DEBUG=help"]]
        {
            let said = both(lab, &program, extra, &["x", "mark", "exe", "argv", "exit", "7"]);
            assert_eq!((said[0].all("mark"), said[0].ended()), (said[1].all("mark"), said[1].ended()), "{extra:?}");
            assert_eq!(lab.neutral(&said[0].stderr), lab.neutral(&said[1].stderr), "{extra:?}");
        }
    });
}

#[test]
fn the_log_is_silent_unless_it_is_asked_for_and_goes_to_standard_error() {
    everywhere(|lab| {
        let program = lab.witness();
        for (level, speaks) in
            [("off", false), ("error", false), ("warn", false), ("info", true), ("debug", true), ("trace", true), ("INFO", true)]
        {
            let entries: Vec<String> = USUAL.iter().map(|e| (*e).to_owned()).chain([format!("NIX_LD_LOG={level}")]).collect();
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            let said = lab.run(&program, &entries, &["environ", "mark"]);
            assert_eq!((said.ended().as_str(), said.one("mark")), ("exit 0", "a"), "{level}");
            assert_eq!(!said.stderr.is_empty(), speaks, "{level}: {}", said.stderr);
            assert!(!speaks || said.stderr.contains(&lab.fill("{real}")), "{level} names the loader: {}", said.stderr);
            assert!(said.stderr.is_empty() || said.stderr.ends_with('\n'), "{}", said.stderr);
            assert_eq!(said.list("main.environ"), entries.iter().map(|entry| lab.fill(entry)).collect::<Vec<_>>(), "{level}");
        }
    });
}

#[test]
fn gdb_sees_the_libraries_and_stops_in_them() {
    let Some(gdb) = xeno_tests::peer("gdb") else { return };
    everywhere(|lab| {
        let program = lab.witness();
        let orders =
            ["set breakpoint pending on", "set startup-with-shell off", "break mark", "run mark", "bt 1", "info sharedlibrary", "continue"];
        let mut command = std::process::Command::new(&gdb);
        command.args(["-nx", "-batch"]).args(orders.iter().flat_map(|order| ["-ex", order])).arg(&program).env_clear();
        command.stdin(std::process::Stdio::null());
        for entry in USUAL {
            let entry = lab.fill(entry);
            let (name, value) = entry.split_once('=').unwrap();
            command.env(name, value);
        }
        let said = Said::of(&mut command);
        let text = String::from_utf8_lossy(&said.output.stdout).into_owned();
        // In the library itself: a stop in the program's table of calls needs no library.
        let stop = text.lines().find(|line| line.starts_with("Breakpoint 1, ")).unwrap_or("");
        assert!(stop.contains("mark") && !stop.contains("@plt"), "{text}{}", said.stderr);
        assert!(text.contains(&lab.fill("{dir}/a/libmark.so.1")) && text.contains("libc.so.6"), "{text}");
        assert!(text.contains("exited normally"), "{text}");
    });
}

// ---- the shim as a command

/// `LOADER WORDS…`, through the shim and natively, where programs have their paths.
fn direct(lab: &Lab, extra: &[&str], words: &[&str]) -> [Said; 2] {
    let start = |loader: &str, place: &str, entries: &[&str]| {
        let entries: Vec<&str> = entries.iter().chain(extra).copied().collect();
        let (loader, place) = (lab.path(loader), lab.fill(place));
        let words: Vec<String> = words.iter().map(|word| word.replace("{app}", &place)).collect();
        let argv: Vec<&str> = loader.to_str().into_iter().chain(words.iter().map(String::as_str)).collect();
        Said::of(&mut lab.command(&[], &loader, &entries, &argv))
    };
    [start("loader", "{dir}/app", USUAL), start("native", "{dir}/nat", NATIVE)]
}

#[test]
fn started_by_name_it_starts_programs_as_the_loader_does() {
    everywhere(|lab| {
        lab.witness();
        lab.program("fixed", &[RUNPATH, "-no-pie", "-fno-pie"]);
        for program in ["{app}/witness", "{app}/fixed"] {
            for words in [
                &[program, "mark", "argv", "exit", "3"][..],
                &[program, "mark", "dlopen", "libplug.so.1"],
                &["--inhibit-cache", program, "mark", "argv"],
                &["--argv0", "other name", program, "mark", "argv"],
                &["--preload", "{dir}/pre/libpre.so.1", program, "mark"],
                &["--library-path", "{dir}/user", program, "mark"],
                &["--inhibit-rpath", "", program, "mark"],
                &["--argv0", "x", "--library-path", "{dir}/b:{dir}/user", "--inhibit-cache", program, "mark", "dlopen", "libplug.so.1"],
            ] {
                let said = direct(lab, &[], words);
                assert_eq!(said[1].stderr, "", "{words:?}");
                alike(lab, &said, &["mark", "mark.argv"]);
                assert_eq!(said[0].all("dlopen"), said[1].all("dlopen"), "{words:?}");
                assert_eq!(said[0].all("pre.argv").len(), said[1].all("pre.argv").len(), "{words:?}");
                assert_eq!((said[0].ended(), &said[0].stderr), (said[1].ended(), &said[1].stderr), "{words:?}");
            }
        }
    });
}

#[test]
fn started_by_name_it_lists_verifies_and_explains_as_the_loader_does() {
    everywhere(|lab| {
        lab.witness();
        lab.program("lacking", &[]);
        std::fs::write(lab.path("text"), "no program\n").unwrap();
        for words in [
            &["--list", "{app}/witness"][..],
            &["--list", "{dir}/a/libmark.so.1"],
            &["--verify", "{app}/witness"],
            &["--verify", "{dir}/text"],
            &["--verify", "{dir}/nowhere"],
            &["--verify", "{dir}/a/libmark.so.1"],
            &["--list", "{dir}/text"],
            &["{dir}/text"],
            &["{dir}/nowhere"],
            &["nowhere"],
            &["--nonsense", "{app}/witness"],
            &["--library-path"],
            &["--version"],
        ] {
            print_alike(lab, &direct(lab, &[], words));
        }
        // What the variables are for may be said before.
        let [shim, native] = direct(lab, &[], &[]);
        assert_eq!(shim.ended(), native.ended());
        assert!(lab.neutral(&shim.stderr).ends_with(&lab.neutral(&native.stderr)), "{}", shim.stderr);
    });
}

#[test]
fn started_by_name_it_gives_the_loaders_help() {
    everywhere(|lab| {
        let said = direct(lab, &[], &["--help"]);
        assert_eq!(said[0].ended(), "exit 0");
        for option in ["--list", "--verify", "--library-path PATH", "--preload LIST", "--argv0 STRING", "--inhibit-cache"] {
            assert!(said[1].has(option) && said[0].has(option), "{option}\n{}", String::from_utf8_lossy(&said[0].output.stdout));
        }
    });
}

#[test]
fn a_program_started_by_name_sees_the_environment_that_the_parent_gave() {
    everywhere_but_the_peer(LEAK, |lab| {
        lab.witness();
        lab.child();
        for extra in [&[][..], &["LD_LIBRARY_PATH={dir}/user"], &["LD_PRELOAD={dir}/pre/libpre.so.1"]] {
            let [said, _] = direct(lab, extra, &["{app}/witness", "environ", "exec", "{dir}/nat/child"]);
            let expected: Vec<String> = USUAL.iter().chain(extra).map(|entry| lab.fill(entry)).collect();
            for who in ["mark.environ", "main.environ", "child.environ"] {
                assert_eq!(said.list(who), expected, "{extra:?}");
            }
        }
    });
}

#[test]
fn started_by_name_without_a_loader_it_says_so_in_one_line() {
    everywhere_but_the_peer("signal 6", |lab| {
        let program = lab.witness();
        let path = program.to_str().unwrap();
        let said = Said::of(&mut lab.command(&[], &lab.path("loader"), &[], &["ld.so", path]));
        said.refusal(path);
    });
}
