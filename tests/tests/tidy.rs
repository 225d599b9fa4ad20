//! The walls of the tree: who may use `unsafe`, write files, reach the network, print, depend on whom;
//! and what every file has to look like. Each guard is a function of a path and a text, and is itself
//! tested with a text that breaks it.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use xeno_tests::source::{Blank, blank, files, has_word, text, without_tests};

/// The files that may use `unsafe`, each with its reason.
const UNSAFE: &[(&str, &str)] = &[
    ("cli/src/entry.rs", "the C entry point: Rust's own runs before main and costs what a start may not"),
    ("fhs-env/src/process/sys.rs", "clone(2), signal handlers, filters and descriptors by number have no safe form"),
    ("fhs-env/src/policy/fork.rs", "fork(2) has no safe form"),
    ("fhs-env/src/sys.rs", "fork(2) has no safe form"),
    ("ld-shim/src/arch/aarch64.rs", "the first instructions, the last ones, and the system calls"),
    ("ld-shim/src/arch/riscv64.rs", "the first instructions, the last ones, and the system calls"),
    ("ld-shim/src/arch/x86.rs", "the first instructions, the last ones, and the system calls"),
    ("ld-shim/src/arch/x86_64.rs", "the first instructions, the last ones, and the system calls"),
    ("ld-shim/src/debug.rs", "makes a loader's function jump to where a debugger waits"),
    ("ld-shim/src/find.rs", "opens paths that are ends of longer texts"),
    ("ld-shim/src/guest.rs", "what a program's loader runs before its constructors"),
    ("ld-shim/src/main.rs", "comes from the kernel and goes to the loader"),
    ("ld-shim/src/memory.rs", "the functions that the compiler calls by itself"),
    ("ld-shim/src/place.rs", "reads a program where the kernel has put it, and maps its loader"),
    ("ld-shim/src/stack.rs", "reads what the kernel leaves on the stack"),
    ("ld-shim/src/sys.rs", "the one door to the kernel"),
    ("patcher/src/commit/source.rs", "a mapped file may change under the map"),
    ("patcher/src/commit/sys.rs", "leases have no safe form"),
    ("resolver/src/map.rs", "a mapped file may change under the map"),
    ("store/src/index/file.rs", "a mapped file may change under the map"),
];

/// The files that may change the file system.
const WRITES: &[(&str, &str)] = &[
    ("store/src/atomic.rs", "temporary file, fsync, rename"),
    ("store/src/root.rs", "makes the store's own directories, each with its mode"),
    ("store/src/cache.rs", "makes the directory of a kind of cache entry"),
    ("launch/build.rs", "writes the table of shims for the compiler"),
    ("store/src/installed.rs", "puts the shim and its images at places of the system, and takes them away again"),
    ("fhs-env/src/policy/bus.rs", "removes the socket of a filter that has ended"),
    ("fhs-env/src/sys.rs", "fills the private root's tmpfs"),
    ("patcher/src/commit/sys.rs", "replaces files, and changes them in place where a plan allows it"),
    ("cli/src/bwrap/labels.rs", "asks the kernel's policy about a label, by writing it"),
    ("cli/src/patchelf/stream.rs", "writes into a device or pipe that was named as the output"),
];

/// The one file that may open a connection.
const NETWORK: &[(&str, &str)] = &[("store/src/fetch.rs", "everything it fetches is verified before it is used")];

/// The crates that talk to people.
const PRINTS: &[&str] = &["cli/", "xtask/", "tests/", "launch/build.rs"];

/// Which of our crates each crate may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("patcher", &[]),
    ("fhs-env", &[]),
    ("ld-shim", &[]),
    ("resolver", &[]),
    ("store", &["resolver"]),
    ("launch", &["patcher", "ld-shim", "fhs-env", "resolver", "store"]),
    ("wrap", &["patcher", "fhs-env", "resolver", "store"]),
    ("xeno", &["patcher", "ld-shim", "fhs-env", "resolver", "store", "launch", "wrap"]),
    ("xeno-tests", &["patcher", "ld-shim", "fhs-env", "resolver", "store", "launch", "wrap"]),
    ("xtask", &[]),
    ("xeno-fuzz", &["patcher", "ld-shim"]),
];

/// Where a product's name is a format's name: payloads are recognised by their structure, whoever wrote them.
const FORMATS: &str = "patcher/src/payload/";

/// Products: a rule that knew one of them would not know the next.
const PRODUCTS: &[&str] = &[
    "chromium",
    "chrome",
    "electron",
    "firefox",
    "nodejs",
    "bun",
    "deno",
    "dotnet",
    "pyside",
    "pyside6",
    "postgres",
    "initdb",
    "esbuild",
    "vscode",
    "steam",
    "playwright",
    "puppeteer",
    "cypress",
    "prisma",
    "mongodb",
    "kaleido",
    "discord",
];

/// Names that people type, which have a product's in them: of a profile that lets such programs run, as it does any other.
const TYPED: &[&str] = &["chromium-ok"];

/// Words that say where or how a text was made, or that it is not finished. Written in two halves, so
/// that this table is not its own first offence.
const FORBIDDEN: &[&[&str]] = &[
    &["/wo", "rk/"],
    &["/tmp/", "brief"],
    &["/ro", "ot/"],
    &["to", "do!("],
    &["un", "implemented!("],
    &["FIX", "ME"],
    &["#[ig", "nore"],
    &["deb.deb", "ian.org"],
    &["security.deb", "ian.org"],
    &["snapshot.deb", "ian.org"],
    &["registry.npm", "js"],
    &["py", "pi.org"],
    &["python", "hosted.org"],
    &["cache.nix", "os.org"],
];

type Faults = Vec<String>;

fn rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Code that is shipped or run by people, as against a test or an example.
fn shipped(path: &str) -> bool {
    rust(path) && !path.contains("/tests/") && !path.ends_with("/tests.rs") && !path.contains("/examples/") && !path.starts_with("tests/")
}

fn code(text: &str) -> String {
    without_tests(&blank(text, Blank::CommentsAndStrings))
}

fn listed(list: &[(&str, &str)], path: &str) -> bool {
    list.iter().any(|(file, _)| *file == path)
}

fn lines_with<'a>(code: &'a str, words: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    code.lines().enumerate().filter_map(|(at, line)| {
        Some((at + 1, *words.iter().find(|word| line.contains(**word) && (!word.ends_with('!') || has_word(line, word)))?))
    })
}

fn unsafe_outside_its_files(path: &str, text: &str) -> Faults {
    if !rust(path) || listed(UNSAFE, path) {
        return Vec::new();
    }
    let code = blank(text, Blank::CommentsAndStrings);
    let lines = code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe"));
    lines.map(|(at, _)| format!("{path}:{}: unsafe", at + 1)).collect()
}

fn writes_outside_their_doors(path: &str, text: &str) -> Faults {
    const WORDS: &[&str] = &[
        "fs::write",
        "File::create",
        "OpenOptions",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "fs::set_permissions",
        "fs::copy",
        "fs::hard_link",
        "DirBuilder",
        "tempfile::",
        "File::options",
        "symlink(",
        "rustix::fs",
    ];
    if !shipped(path) || path.starts_with("xtask/") || listed(WRITES, path) {
        return Vec::new();
    }
    // A method of a plan that is called symlink writes nothing; asking whether something is a link changes nothing; neither does opening for reading.
    let code = code(text)
        .replace("is_symlink(", "")
        .replace(".symlink(", "")
        .replace("fn symlink(", "")
        .replace("OpenOptions::new().read(true)", "")
        .replace("OpenOptionsExt", "");
    lines_with(&code, WORDS).map(|(at, word)| format!("{path}:{at}: {word}")).collect()
}

fn network_outside_its_door(path: &str, text: &str) -> Faults {
    if !shipped(path) || listed(NETWORK, path) {
        return Vec::new();
    }
    lines_with(&code(text), &["ureq", "TcpStream", "UdpSocket", "TcpListener", "std::net"])
        .map(|(at, word)| format!("{path}:{at}: {word}"))
        .collect()
}

fn printing_outside_its_crates(path: &str, text: &str) -> Faults {
    if !shipped(path) || PRINTS.iter().any(|allowed| path.starts_with(allowed)) {
        return Vec::new();
    }
    // A descriptor is no stream of the library's.
    let code = code(text).replace("rustix::stdio::", "");
    lines_with(&code, &["println!", "eprintln!", "print!", "eprint!", "dbg!", "io::stdout", "io::stderr"])
        .map(|(at, word)| format!("{path}:{at}: {word}"))
        .collect()
}

fn arrows_that_point_wrong(path: &str, text: &str) -> Faults {
    if !path.ends_with("/Cargo.toml") {
        return Vec::new();
    }
    let Ok(manifest) = text.parse::<toml::Table>() else { return vec![format!("{path}: not TOML")] };
    let name = manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str).unwrap_or("");
    let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![format!("{path}: the crate {name} has no row in ARROWS")];
    };
    let ours = |name: &str| ARROWS.iter().any(|(crate_name, _)| *crate_name == name);
    let needed = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys());
    needed.filter(|d| ours(d) && !allowed.contains(&d.as_str())).map(|d| format!("{path}: {name} must not depend on {d}")).collect()
}

fn allows_without_reason(path: &str, text: &str) -> Faults {
    if !rust(path) {
        return Vec::new();
    }
    let code = blank(text, Blank::CommentsAndStrings);
    let mut faults = Vec::new();
    for (at, _) in code.match_indices("allow(").filter(|(at, _)| attribute(&code, *at)) {
        let end = code.get(at..).and_then(|rest| rest.find(']')).map_or(code.len(), |end| at + end);
        let (inside, line) = (code.get(at..end).unwrap_or(""), code.get(..at).unwrap_or("").lines().count());
        // In test code a failed assumption is a failed test, and that is the whole reason.
        let test_only = code.get(..at).is_some_and(|before| before.trim_end().ends_with("cfg_attr(test,")) || path.contains("/tests/");
        if !test_only && !inside.contains("reason") {
            faults.push(format!("{path}:{line}: an allow without a reason"));
        }
    }
    faults
}

/// Whether what stands before is the beginning of an attribute.
fn attribute(code: &str, at: usize) -> bool {
    let before = code.get(..at).unwrap_or("").trim_end();
    before.ends_with("#[") || before.ends_with("#![") || before.rsplit("#!").next().is_some_and(|b| b.trim_start().starts_with("[cfg_attr"))
}

fn products_known_by_name(path: &str, text: &str) -> Faults {
    if !shipped(path) || path.starts_with(FORMATS) || PRINTS.iter().any(|crate_dir| path.starts_with(crate_dir)) {
        return Vec::new();
    }
    let strings = blank(text, Blank::Comments);
    // The place of the test modules is found in the text without strings, where braces are braces.
    let kept = code(text);
    let mut faults = Vec::new();
    for (at, (line, code_line)) in strings.lines().zip(kept.lines()).enumerate() {
        let lower = TYPED.iter().fold(line.to_lowercase(), |line, name| line.replace(name, ""));
        if code_line.trim().is_empty() && !line.trim_start().starts_with('"') {
            continue;
        }
        for product in PRODUCTS.iter().filter(|product| has_word(&lower, product)) {
            faults.push(format!("{path}:{}: {product}", at + 1));
        }
    }
    faults
}

fn files_that_do_not_open_or_end_well(path: &str, text: &str) -> Faults {
    let mut faults = Vec::new();
    if rust(path) {
        if !text.starts_with("//!") {
            faults.push(format!("{path}: does not open by saying what it is for (//!)"));
        }
        if text.lines().count() > 600 {
            faults.push(format!("{path}: more than 600 lines: which two things live in it?"));
        }
        let name = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        if ["utils", "util", "common", "helpers", "helper", "misc"].contains(&name) {
            faults.push(format!("{path}: a name that says nothing"));
        }
    }
    faults
}

fn forbidden_words(path: &str, text: &str) -> Faults {
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let words = FORBIDDEN.iter().map(|halves| halves.concat());
    words.filter(|word| text.contains(word.as_str())).map(|word| format!("{path}: {word}")).collect()
}

fn check(guard: fn(&str, &str) -> Faults) {
    let paths = files();
    assert!(paths.len() > 50, "the repository was not found");
    let faults: Vec<String> = paths.iter().flat_map(|path| guard(&path.to_string_lossy(), &text(path))).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    check(unsafe_outside_its_files);
    assert_eq!(unsafe_outside_its_files("store/src/x.rs", "// unsafe\nfn f() { unsafe {} }"), ["store/src/x.rs:2: unsafe"]);
    assert!(unsafe_outside_its_files("store/src/x.rs", "let s = \"unsafe\"; #[allow(unsafe_code)]").is_empty());
}

#[test]
fn every_listed_file_still_needs_its_licence() {
    for (path, reason) in UNSAFE {
        let found = blank(&text(Path::new(path)), Blank::CommentsAndStrings);
        assert!(has_word(&found, "unsafe"), "{path} uses no unsafe ({reason}): take it off the list");
    }
}

#[test]
fn files_are_written_through_one_door_a_crate() {
    check(writes_outside_their_doors);
    assert_eq!(writes_outside_their_doors("store/src/x.rs", "\nstd::fs::write(a, b)?;"), ["store/src/x.rs:2: fs::write"]);
    assert!(writes_outside_their_doors("store/src/x.rs", "#[cfg(test)]\nmod tests { fn f() { std::fs::write(a, b); } }").is_empty());
}

#[test]
fn the_network_has_one_door() {
    check(network_outside_its_door);
    assert_eq!(network_outside_its_door("launch/src/x.rs", "use std::net::TcpStream;"), ["launch/src/x.rs:1: TcpStream"]);
}

#[test]
fn libraries_never_print() {
    check(printing_outside_its_crates);
    assert_eq!(printing_outside_its_crates("resolver/src/x.rs", "fn f() { eprintln!(\"x\") }"), ["resolver/src/x.rs:1: eprintln!"]);
    assert!(printing_outside_its_crates("cli/src/x.rs", "fn f() { println!(\"x\") }").is_empty());
}

#[test]
fn crates_depend_only_along_the_arrows() {
    check(arrows_that_point_wrong);
    let text = "[package]\nname = \"patcher\"\n[dependencies]\nresolver.workspace = true\n";
    assert_eq!(arrows_that_point_wrong("patcher/Cargo.toml", text), ["patcher/Cargo.toml: patcher must not depend on resolver"]);
}

#[test]
fn every_allow_has_a_reason() {
    check(allows_without_reason);
    assert_eq!(allows_without_reason("a/src/x.rs", "#[allow(dead_code)]\nfn f() {}"), ["a/src/x.rs:1: an allow without a reason"]);
    assert!(allows_without_reason("a/src/x.rs", "#[allow(dead_code, reason = \"because\")]\nfn f() {}").is_empty());
}

#[test]
fn no_product_is_known_by_name() {
    check(products_known_by_name);
    assert_eq!(products_known_by_name("launch/src/x.rs", "if name == \"chromium\" {}"), ["launch/src/x.rs:1: chromium"]);
    assert!(products_known_by_name("launch/src/x.rs", "let profile = \"chromium-ok\";").is_empty());
    assert!(products_known_by_name("launch/src/x.rs", "// chromium does this\nlet bundle = 1;").is_empty());
    assert!(products_known_by_name("patcher/src/payload/x.rs", "(\"bun\", \"module graph\")").is_empty());
    assert_eq!(products_known_by_name("patcher/src/plan.rs", "(\"bun\", \"module graph\")"), ["patcher/src/plan.rs:1: bun"]);
}

#[test]
fn files_open_with_their_purpose_and_stay_readable() {
    check(files_that_do_not_open_or_end_well);
    assert_eq!(
        files_that_do_not_open_or_end_well("a/src/utils.rs", "fn f() {}"),
        ["a/src/utils.rs: does not open by saying what it is for (//!)", "a/src/utils.rs: a name that says nothing"]
    );
    let long = format!("//! x\n{}", "\n".repeat(600));
    assert_eq!(files_that_do_not_open_or_end_well("a/x.rs", &long), ["a/x.rs: more than 600 lines: which two things live in it?"]);
}

#[test]
fn the_repository_stands_alone_and_finished() {
    check(forbidden_words);
    assert_eq!(forbidden_words("x", &["a ", "FIX", "ME"].concat()), [["x: FIX", "ME"].concat()]);
}
