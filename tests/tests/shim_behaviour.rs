//! What a program, its constructors and its children see when it starts through a shim that was told its loader
//! and libraries by variables, as on NixOS. Each law runs on our shim and on the peer that `XENO_PEER_NIX_LD`
//! names; where the peer is known to break it, that it does is part of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod shim_support;

use shim_support::{Lab, Said, everywhere, everywhere_but_the_peer};
use std::path::Path;

/// Enough for most laws: a loader, and a directory of libraries.
const USUAL: &[&str] = &["PLAIN=1", "NIX_LD={real}", "NIX_LD_LIBRARY_PATH={dir}/a"];
/// How the peer's change of the environment shows.
const LEAK: &str = "\"LD_LIBRARY_PATH=";
/// Search rules of a program, as the linker is told.
const RUNPATH: &str = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../own";
const RPATH: &str = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../own";

/// The variables of the table, with what each is when it is set.
const VARIABLES: [(&str, &str); 6] = [
    ("NIX_LD", "{real}"),
    ("NIX_LD_{system}", "{dir}/second"),
    ("NIX_LD_LIBRARY_PATH", "{dir}/a"),
    ("NIX_LD_LIBRARY_PATH_{system}", "{dir}/b"),
    ("LD_LIBRARY_PATH", "{dir}/user"),
    ("LD_PRELOAD", "{dir}/pre/libpre.so.1"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unset,
    Empty,
    Set,
}
use State::{Empty, Set, Unset};

/// One state for each of [`VARIABLES`].
type Row = [State; 6];

/// Every row in which the named places have any state and the others this one.
fn rows(any: &[usize], others: Row) -> Vec<Row> {
    let mut rows = vec![others];
    for place in any {
        rows = rows.iter().flat_map(|row| [Unset, Empty, Set].map(|state| with(*row, *place, state))).collect();
    }
    rows
}

fn with(mut row: Row, place: usize, state: State) -> Row {
    row[place] = state;
    row
}

/// The environment of a row, between two entries that have nothing to do with it.
fn entries(row: Row) -> Vec<String> {
    let named = VARIABLES.iter().zip(row).filter(|(_, state)| *state != Unset);
    let named = named.map(|((name, value), state)| format!("{name}={}", if state == Set { value } else { "" }));
    ["PLAIN=1".to_owned()].into_iter().chain(named).chain(["LAST=1".to_owned()]).collect()
}

/// Runs the program of the table in an environment.
fn run_row(lab: &Lab, program: &Path, row: Row, words: &[&str]) -> (Vec<String>, Said) {
    let entries = entries(row);
    let said = lab.run(program, &entries.iter().map(String::as_str).collect::<Vec<_>>(), words);
    (entries.iter().map(|entry| lab.fill(entry)).collect(), said)
}

fn filled(lab: &Lab, entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| lab.fill(entry)).collect()
}

/// The loader of a row: the form with the system's name comes first, set or empty; `None` where nothing names one.
fn loader_of(row: Row) -> Option<&'static str> {
    match (row[1], row[0]) {
        (Set, _) => Some("{dir}/second"),
        (Unset, Set) => Some("{real}"),
        _ => None,
    }
}

/// Where libmark.so.1 of a row comes from: LD_LIBRARY_PATH, then the NIX_LD one whose form with the system's name
/// comes first, set or empty, then the program's RUNPATH.
fn mark_of(row: Row) -> &'static str {
    match (row[4], row[3], row[2]) {
        (Set, ..) => "user",
        (_, Set, _) => "b",
        (_, Unset, Set) => "a",
        _ => "own",
    }
}

// ---- which loader, which libraries

#[test]
fn the_loader_is_the_one_that_the_form_with_the_system_names_else_the_plain_form() {
    everywhere(|lab| {
        let program = lab.witness();
        for row in rows(&[0, 1, 4], [Unset; 6]) {
            let Some(loader) = loader_of(row) else { continue };
            let real = std::fs::canonicalize(lab.fill(loader)).unwrap();
            let (_, said) = run_row(lab, &program, row, &[]);
            assert_eq!(said.fine().one("base"), format!("{} at 0", real.display()), "{row:?}");
        }
    });
}

#[test]
fn libraries_come_from_the_users_path_then_the_configured_one_then_runpath() {
    everywhere(|lab| {
        let program = lab.witness();
        for row in rows(&[2, 3, 4, 5], [Set, Unset, Unset, Unset, Unset, Unset]) {
            let (_, said) = run_row(lab, &program, row, &["mark"]);
            assert_eq!(said.fine().one("mark"), mark_of(row), "{row:?}");
        }
    });
}

#[test]
fn the_users_path_does_not_hide_the_configured_one() {
    everywhere(|lab| {
        let program = lab.witness();
        for (user, expected) in [("LD_LIBRARY_PATH={dir}/user", "user"), ("LD_LIBRARY_PATH={dir}/user:", "user"), ("LD_LIBRARY_PATH=", "a")]
        {
            let entries: Vec<&str> = USUAL.iter().copied().chain([user]).collect();
            let said = lab.run(&program, &entries, &["mark", "dlopen", "libplug.so.1"]).fine();
            assert_eq!((said.one("mark"), said.one("dlopen")), (expected, "a"), "{user}");
        }
    });
}

#[test]
fn rpath_comes_before_the_users_path_and_runpath_after_it() {
    everywhere(|lab| {
        lab.witness();
        let (old, new) = (lab.program("old", &[RPATH]), lab.program("new", &[RUNPATH]));
        for user in [&[][..], &["LD_LIBRARY_PATH={dir}/user"]] {
            let entries: Vec<&str> = USUAL.iter().chain(user).copied().collect();
            assert_eq!(lab.run(&old, &entries, &["mark"]).fine().one("mark"), "own", "{user:?}");
            assert_eq!(lab.run(&new, &entries, &["mark"]).fine().one("mark"), if user.is_empty() { "a" } else { "user" }, "{user:?}");
        }
    });
}

#[test]
fn a_program_without_rules_of_its_own_finds_libraries_in_every_configured_directory() {
    everywhere(|lab| {
        lab.library("only", "mark", &[]);
        let program = lab.program("plain", &[]);
        let entries = ["NIX_LD={real}", "NIX_LD_LIBRARY_PATH={dir}/nowhere:{dir}/b:{dir}/only"];
        assert_eq!(lab.run(&program, &entries, &["mark"]).fine().one("mark"), "only");
    });
}

#[test]
fn a_missing_library_is_reported_by_the_loader_as_ever() {
    everywhere(|lab| {
        let program = lab.program("plain", &[]);
        let said = lab.run(&program, &["NIX_LD={real}"], &[]);
        assert_eq!(said.ended(), "exit 127");
        let missing = "error while loading shared libraries: libmark.so.1: cannot open shared object file: No such file or directory\n";
        assert_eq!(said.stderr, format!("{}: {missing}", program.display()));
    });
}

#[test]
fn a_bare_name_is_found_by_dlopen_in_main_as_at_the_start() {
    everywhere(|lab| {
        let program = lab.witness();
        let said = lab.run(&program, USUAL, &["dlopen", "libplug.so.1"]).fine();
        assert_eq!(said.one("dlopen"), "a");
        let said = lab.run(&program, USUAL, &["dlopen", "libabsent.so"]).fine();
        assert_eq!(said.one("dlopen"), "libabsent.so: cannot open shared object file: No such file or directory");
    });
}

// ---- what stays of the environment

/// Runs a row as far as a foreign and a host child, and says where the environment was not the parent's.
fn environment_of(lab: &Lab, program: &Path, row: Row) {
    let child = lab.path("app/child");
    let host = lab.path("nat/child");
    let words = ["all", "exec", child.to_str().unwrap(), host.to_str().unwrap()];
    let (entries, said) = run_row(lab, program, row, &words);
    let said = said.fine();
    assert_eq!(said.list("main.environ"), entries, "{row:?}");
    assert_eq!(said.list("main.envp"), entries, "{row:?}");
    assert_eq!(said.list("proc.environ"), entries, "{row:?}");
    let value = |name: &str| entries.iter().find_map(|entry| entry.strip_prefix(name).filter(|rest| rest.starts_with('=')));
    for (name, found) in ["NIX_LD", "NIX_LD_LIBRARY_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PLAIN"].iter().zip(said.all("getenv")) {
        assert_eq!(found, value(name).map_or(format!("{name} unset"), |value| format!("{name}{value}")), "{row:?}");
    }
    assert_eq!(said.all("child"), [child.to_str().unwrap(), host.to_str().unwrap()], "{row:?}");
    let twice: Vec<&str> = entries.iter().chain(&entries).map(String::as_str).collect();
    assert_eq!(said.all("child.environ"), twice, "{row:?}");
}

#[test]
fn main_and_its_children_see_the_environment_that_the_parent_gave_whatever_is_set_or_empty() {
    everywhere(|lab| {
        let program = lab.witness();
        lab.child();
        let all = rows(&[0, 1, 2, 3, 4, 5], [Unset; 6]);
        assert_eq!(all.len(), 729);
        let named = |row: &Row| loader_of(*row).is_some() && row[2..5] != [Unset; 3];
        all.into_iter().filter(named).for_each(|row| environment_of(lab, &program, row));
    });
}

#[test]
fn main_and_its_children_see_no_variable_that_nobody_set() {
    everywhere_but_the_peer(LEAK, |lab| {
        let program = lab.witness();
        lab.child();
        let all = rows(&[0, 1, 5], [Unset; 6]);
        all.into_iter().filter(|row| loader_of(*row).is_some()).for_each(|row| environment_of(lab, &program, row));
    });
}

#[test]
fn constructors_see_the_environment_that_the_parent_gave() {
    everywhere_but_the_peer(LEAK, |lab| {
        let program = lab.witness();
        for row in rows(&[2, 3, 4, 5], [Set, Unset, Unset, Unset, Unset, Unset]) {
            let (entries, said) = run_row(lab, &program, row, &["mark"]);
            let said = said.fine();
            assert_eq!(said.list("mark.environ"), entries, "{row:?}");
            assert_eq!(said.list("mark.envp"), entries, "{row:?}");
            if row[5] == Set {
                assert_eq!(said.list("pre.environ"), entries, "{row:?}");
                assert_eq!(said.list("pre.envp"), entries, "{row:?}");
            }
        }
    });
}

/// `-z initfirst` means before everything else, so also before the function that takes the entry away.
#[test]
fn only_a_constructor_that_asks_to_run_before_all_others_sees_the_loaders_entry_and_nobody_after_it() {
    everywhere(|lab| {
        lab.library("a", "mark", &["-DEARLY", "-Wl,-z,initfirst"]);
        lab.child();
        let program = lab.program("plain", &[]);
        let said = lab.run(&program, USUAL, &["environ", "exec", "{dir}/nat/child"]).fine();
        let others = |list: Vec<&str>| {
            list.into_iter().filter(|entry| !entry.starts_with("LD_LIBRARY_PATH=")).map(str::to_owned).collect::<Vec<_>>()
        };
        if !lab.shim.peer {
            assert_eq!(others(said.list("mark.envp")), filled(lab, USUAL));
        }
        assert_eq!(said.list("main.environ"), filled(lab, USUAL));
        assert_eq!(said.list("child.environ"), filled(lab, USUAL));
    });
}

#[test]
fn what_a_constructor_sets_stays_and_nothing_else_is_added() {
    everywhere_but_the_peer(LEAK, |lab| {
        let program = lab.witness();
        lab.child();
        let entries: Vec<&str> = USUAL.iter().copied().chain(["MARK_SETS=LATER"]).collect();
        let mut expected = filled(lab, &entries);
        let said = lab.run(&program, &entries, &["environ", "exec", "{dir}/nat/child"]).fine();
        expected.push("LATER=of a constructor".into());
        assert_eq!(said.list("main.environ"), expected);
        assert_eq!(said.list("child.environ"), expected);
    });
}

#[test]
fn a_library_path_that_a_constructor_sets_is_what_children_get() {
    everywhere_but_the_peer("LD_LIBRARY_PATH=of a constructor", |lab| {
        let program = lab.witness();
        lab.child();
        for user in ["LD_LIBRARY_PATH={dir}/user", "LD_LIBRARY_PATH="] {
            let entries = ["NIX_LD={real}", "NIX_LD_LIBRARY_PATH={dir}/a", "MARK_SETS=LD_LIBRARY_PATH", user];
            let said = lab.run(&program, &entries, &["exec", "{dir}/nat/child"]).fine();
            assert_eq!(said.list("child.environ")[3], "LD_LIBRARY_PATH=of a constructor");
        }
    });
}

#[test]
fn what_main_sets_is_what_children_get() {
    everywhere(|lab| {
        let program = lab.witness();
        lab.child();
        let said = lab.run(&program, USUAL, &["setenv", "LD_LIBRARY_PATH", "/chosen", "exec", "{dir}/nat/child"]).fine();
        let expected: Vec<String> = filled(lab, USUAL).into_iter().chain(["LD_LIBRARY_PATH=/chosen".into()]).collect();
        assert_eq!(said.list("child.environ"), expected);
    });
}

#[test]
fn a_libc_that_reads_its_environment_late_finds_nothing_of_the_shims() {
    // Constructors of a library that is loaded by main, long after the start.
    everywhere(|lab| {
        let program = lab.witness();
        let said = lab.run(&program, USUAL, &["dlopen", "{dir}/pre/libpre.so.1"]).fine();
        assert_eq!(said.list("pre.environ"), filled(lab, USUAL));
    });
}

// ---- programs of every make

/// Flags of the linker that make the dynamic section, the start or the addresses of a program different.
const MAKES: &[(&str, &[&str])] = &[
    ("no-pie", &["-no-pie", "-fno-pie"]),
    ("no-spare", &["-Wl,--spare-dynamic-tags=1"]),
    ("no-spare-no-pie", &["-no-pie", "-fno-pie", "-Wl,--spare-dynamic-tags=1"]),
    ("own-preinit", &["-DPREINIT"]),
    ("own-preinit-no-spare", &["-DPREINIT", "-Wl,--spare-dynamic-tags=1"]),
    ("bind-now", &["-Wl,-z,now,-z,relro"]),
    ("lazy", &["-Wl,-z,lazy,-z,norelro"]),
    ("sysv-hash", &["-Wl,--hash-style=sysv"]),
    ("relr", &["-Wl,-z,pack-relative-relocs"]),
    ("big-pages", &["-Wl,-z,max-page-size=0x200000"]),
];
/// Of another linker, which leaves no entry of the dynamic section spare, and can make it read-only.
const MAKES_OF_LLD: &[(&str, &[&str])] = &[
    ("lld", &["-fuse-ld=lld"]),
    ("lld-no-pie", &["-fuse-ld=lld", "-no-pie", "-fno-pie"]),
    ("lld-preinit", &["-fuse-ld=lld", "-DPREINIT"]),
    ("lld-rodynamic", &["-fuse-ld=lld", "-Wl,-z,rodynamic"]),
];

/// The law of one make of a program: it starts, and main and children see the parent's environment.
fn make_holds(lab: &Lab, name: &str, flags: &[&str]) -> Said {
    let flags: Vec<&str> = flags.iter().copied().chain([RUNPATH]).collect();
    let program = lab.program(name, &flags);
    let said = lab.run(&program, USUAL, &["mark", "environ", "exec", "{dir}/nat/child"]).fine();
    assert_eq!(said.one("mark"), "a", "{name}");
    assert_eq!(said.list("main.environ"), filled(lab, USUAL), "{name}");
    assert_eq!(said.list("child.environ"), filled(lab, USUAL), "{name}");
    said
}

const MAKES_OF_GOLD: &[(&str, &[&str])] = &[("gold", &["-fuse-ld=gold"])];

fn makes() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    let of = |linker, makes| if xeno_tests::peer(linker).is_some() { makes } else { &[][..] };
    MAKES.iter().chain(of("ld.lld", MAKES_OF_LLD)).chain(of("ld.gold", MAKES_OF_GOLD))
}

#[test]
fn programs_of_every_make_start_and_keep_their_environment() {
    everywhere(|lab| {
        lab.witness();
        lab.child();
        for (name, flags) in makes() {
            make_holds(lab, name, flags);
        }
    });
}

#[test]
fn constructors_of_programs_of_every_make_see_the_environment_that_the_parent_gave() {
    everywhere_but_the_peer(LEAK, |lab| {
        lab.witness();
        lab.child();
        for (name, flags) in makes() {
            assert_eq!(make_holds(lab, name, flags).list("mark.environ"), filled(lab, USUAL), "{name}");
        }
    });
}

#[test]
fn a_programs_own_preinit_functions_run_once_in_order_before_constructors_with_the_parents_environment() {
    everywhere_but_the_peer(LEAK, |lab| {
        lab.witness();
        for spare in ["-Wl,--spare-dynamic-tags=5", "-Wl,--spare-dynamic-tags=1"] {
            let program = lab.program("preinit", &["-DPREINIT", RUNPATH, spare]);
            let said = lab.run(&program, USUAL, &["environ"]).fine();
            let order = ["preinit.one", "preinit.two", "mark.envp", "mark.environ", "mark.argv", "main.environ"];
            assert_eq!(said.speakers(), order, "{spare}");
            assert_eq!(said.list("preinit.one"), filled(lab, USUAL), "{spare}");
            assert_eq!(said.list("preinit.two"), filled(lab, USUAL), "{spare}");
        }
    });
}

#[test]
fn a_program_without_an_interpreter_never_meets_the_shim() {
    everywhere(|lab| {
        lab.library("own", "mark", &[]);
        let program = lab.static_program();
        let entries = ["NIX_LD=/nowhere", "NIX_LD_LIBRARY_PATH={dir}/a"];
        assert_eq!(lab.run(&program, &entries, &[]).fine().list("child.environ"), filled(lab, &entries));
    });
}

#[test]
fn a_program_for_musl_finds_the_configured_libraries_and_keeps_its_environment() {
    everywhere(|lab| {
        if lab.shim.machine.word == 4 {
            return;
        }
        let Some((program, real)) = lab.musl_witness(None) else { return };
        lab.child();
        let named = format!("NIX_LD={real}");
        let rows: &[(&[&str], &str)] = &[
            (&["PLAIN=1", &named, "NIX_LD_LIBRARY_PATH={dir}/musl/a"], "a"),
            (&["PLAIN=1", &named, "LD_LIBRARY_PATH={dir}/musl/user", "NIX_LD_LIBRARY_PATH={dir}/musl/a"], "user"),
            (&["LD_LIBRARY_PATH=/nowhere", &named, "NIX_LD_LIBRARY_PATH={dir}/musl/a", "LAST=1"], "a"),
        ];
        for (entries, expected) in rows {
            let said = lab.run(&program, entries, &["mark", "environ", "exec", "{dir}/nat/child"]).fine();
            assert_eq!(said.one("mark"), *expected, "{entries:?}");
            assert_eq!(said.list("main.environ"), filled(lab, entries));
            assert_eq!(said.list("child.environ"), filled(lab, entries));
        }
    });
}

/// Where it has one, that is the program's own word; the peer puts the configured directories before it.
#[test]
fn a_program_for_musl_with_a_run_path_of_its_own_keeps_to_it() {
    everywhere_but_the_peer("own", |lab| {
        if lab.shim.machine.word == 4 {
            return;
        }
        for kind in ["--enable-new-dtags", "--disable-new-dtags"] {
            let Some((program, real)) = lab.musl_witness(Some(kind)) else { return };
            let entries = ["PLAIN=1", &format!("NIX_LD={real}"), "NIX_LD_LIBRARY_PATH={dir}/musl/a"];
            let said = lab.run(&program, &entries, &["mark", "environ"]).fine();
            assert_eq!(said.one("mark"), "own", "{kind}");
            assert_eq!(said.list("main.environ"), filled(lab, &entries));
        }
    });
}

// ---- environments that nobody expects

#[test]
fn an_empty_environment_gets_the_one_line_and_no_signal() {
    everywhere_but_the_peer("signal 6", |lab| {
        let program = lab.witness();
        lab.run(&program, &[], &[]).refusal(program.to_str().unwrap());
    });
}

#[test]
fn where_nothing_names_a_loader_the_program_is_refused_in_one_line() {
    everywhere_but_the_peer("signal 6", |lab| {
        let program = lab.witness();
        for row in rows(&[0, 1, 2, 4], [Unset; 6]).into_iter().filter(|row| loader_of(*row).is_none()) {
            let (_, said) = run_row(lab, &program, row, &[]);
            said.refusal(program.to_str().unwrap());
        }
    });
}

#[test]
fn an_entry_without_an_equals_sign_is_passed_on_and_hides_nothing_behind_it() {
    everywhere_but_the_peer("signal 6", |lab| {
        let program = lab.witness();
        for odd in ["odd", "", "=", "=x", "NIX_LD", "LD_LIBRARY_PATH", "NIX_LD_LIBRARY_PATH", "\u{1}\u{2}"] {
            let entries: Vec<&str> = [odd].into_iter().chain(USUAL.iter().copied()).chain([odd]).collect();
            let said = lab.run(&program, &entries, &["mark", "environ"]).fine();
            assert_eq!(said.one("mark"), "a", "{odd:?}");
            assert_eq!(said.list("main.environ"), filled(lab, &entries), "{odd:?}");
        }
    });
}

#[test]
fn of_a_variable_that_is_there_twice_the_first_counts_and_both_are_passed_on() {
    everywhere(|lab| {
        let program = lab.witness();
        let entries = ["NIX_LD={real}", "NIX_LD=/nowhere", "NIX_LD_LIBRARY_PATH={dir}/a", "NIX_LD_LIBRARY_PATH={dir}/b"];
        let said = lab.run(&program, &entries, &["mark", "environ"]).fine();
        assert_eq!(said.one("mark"), "a");
        assert_eq!(said.list("main.environ"), filled(lab, &entries));
    });
}

#[test]
fn a_hundred_thousand_entries_are_passed_on() {
    everywhere(|lab| {
        let program = lab.witness();
        let name = program.to_str().unwrap();
        let mut command = lab.command(&["-n", "100000"], &program, USUAL, &[name, "mark", "environ"]);
        let said = Said::of(&mut command).fine();
        assert_eq!(said.one("mark"), "a");
        let expected: Vec<String> = (0..100_000).map(|n| format!("N{n}=")).chain(filled(lab, USUAL)).collect();
        assert!(said.list("main.environ") == expected, "the entries are not what was given");
    });
}

#[test]
fn a_library_path_of_a_thousand_directories_is_searched_to_its_end() {
    everywhere(|lab| {
        let program = lab.witness();
        let long: String = (0..1000).map(|n| format!("{{dir}}/nowhere/{n:060}:")).collect();
        let (user, configured) = (format!("LD_LIBRARY_PATH={long}{{dir}}/user"), format!("NIX_LD_LIBRARY_PATH={long}{{dir}}/b"));
        let said = lab.run(&program, &["NIX_LD={real}", &user, &configured], &["mark", "dlopen", "libplug.so.1"]).fine();
        assert_eq!((said.one("mark"), said.one("dlopen")), ("user", "b"));
    });
}
