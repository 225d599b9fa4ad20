//! `patchelf`'s command line: one table of options, and what each of them adds to a request. Words are
//! taken in order, and the first mistake ends the work before any file is touched.

use super::{Complaint, texts};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One option.
pub(super) struct Opt {
    pub(super) name: &'static str,
    /// The words that must follow it, as the usage calls them.
    pub(super) values: &'static [&'static str],
    /// What the usage says of it.
    pub(super) help: &'static str,
    /// Not in the usage.
    pub(super) hidden: bool,
    effect: Effect,
}

/// What an option does to the request, with the words that followed it.
type Effect = fn(&mut Request, &[&[u8]]) -> Result<(), Complaint>;

const fn flag(name: &'static str, help: &'static str, effect: Effect) -> Opt {
    Opt { name, values: &[], help, hidden: false, effect }
}

const fn taking(name: &'static str, values: &'static [&'static str], help: &'static str, effect: Effect) -> Opt {
    Opt { name, values, help, hidden: false, effect }
}

/// Every option, in the order of the usage.
pub(super) const OPTIONS: &[Opt] = &[
    taking("--set-interpreter", &["FILENAME"], "", set_interpreter),
    Opt { name: "--interpreter", values: &["FILENAME"], help: "", hidden: true, effect: set_interpreter },
    taking("--page-size", &["SIZE"], "", page_size),
    flag("--print-interpreter", "", |r, _| on(&mut r.print.interpreter)),
    flag("--print-os-abi", "print EI_OSABI", |r, _| on(&mut r.print.os_abi)),
    taking("--set-os-abi", &["ABI"], "set EI_OSABI", |r, v| text(v).map(|abi| r.os_abi = Some(abi))),
    flag("--print-soname", "print DT_SONAME, if there is one", |r, _| on(&mut r.print.soname)),
    taking("--set-soname", &["SONAME"], "set DT_SONAME of a library", |r, v| text(v).map(|name| r.soname = Some(name))),
    taking("--set-rpath", &["RPATH"], "", |r, v| text(v).map(|path| (r.run_path, r.set_rpath) = (path, true))),
    taking("--add-rpath", &["RPATH"], "", |r, v| text(v).map(|path| (r.run_path, r.add_rpath) = (path, true))),
    flag("--remove-rpath", "", |r, _| on(&mut r.remove_rpath)),
    flag("--shrink-rpath", "", |r, _| on(&mut r.shrink_rpath)),
    taking("--allowed-rpath-prefixes", &["PREFIXES"], "what --shrink-rpath keeps must begin with one of these", prefixes),
    flag("--print-rpath", "", |r, _| on(&mut r.print.rpath)),
    flag("--force-rpath", "", |r, _| on(&mut r.force_rpath)),
    taking("--add-needed", &["LIBRARY"], "", |r, v| text(v).map(|name| insert(&mut r.add_needed, name))),
    taking("--remove-needed", &["LIBRARY"], "", |r, v| text(v).map(|name| insert(&mut r.remove_needed, name))),
    taking("--replace-needed", &["LIBRARY", "NEW_LIBRARY"], "", replace_needed),
    flag("--print-needed", "", |r, _| on(&mut r.print.needed)),
    flag("--no-default-lib", "", |r, _| on(&mut r.no_default_lib)),
    flag("--no-sort", "accepted; headers are never sorted", |_, _| Ok(())),
    taking("--clear-symbol-version", &["SYMBOL"], "", |r, v| text(v).map(|name| insert(&mut r.clear_versions, name))),
    flag("--add-debug-tag", "", |r, _| on(&mut r.debug_tag)),
    flag("--build-resolution-cache", "", |r, _| on(&mut r.resolution_cache)),
    flag("--print-execstack", "say whether the stack is executable", |r, _| on(&mut r.print.execstack)),
    flag("--clear-execstack", "", |r, _| on(&mut r.clear_execstack)),
    flag("--set-execstack", "", |r, _| on(&mut r.set_execstack)),
    taking("--rename-dynamic-symbols", &["NAME_MAP_FILE"], "each line: an old name and a new one", rename_symbols),
    flag("--no-clobber-old-sections", "the old place of strings that move stays as it is", |r, _| on(&mut r.keep_old_sections)),
    taking("--output", &["FILE"], "", |r, v| text(v).map(|file| r.output = Some(file))),
    flag("--debug", "", |r, _| on(&mut r.debug)),
    flag("--version", "", |_, _| Ok(())),
    Opt { name: "--help", values: &[], help: "", hidden: true, effect: |_, _| Ok(()) },
    Opt { name: "-h", values: &[], help: "", hidden: true, effect: |_, _| Ok(()) },
];

/// What is to be printed; all of it is what the file says before its edits.
#[derive(Debug, Default)]
pub(super) struct Prints {
    pub(super) interpreter: bool,
    pub(super) os_abi: bool,
    pub(super) soname: bool,
    pub(super) rpath: bool,
    pub(super) execstack: bool,
    pub(super) needed: bool,
}

/// What is to be done with each file.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) print: Prints,
    pub(super) debug: bool,
    pub(super) keep_old_sections: bool,
    /// Empty for none.
    pub(super) interpreter: Vec<u8>,
    pub(super) page_size: Option<u64>,
    pub(super) os_abi: Option<Vec<u8>>,
    pub(super) soname: Option<Vec<u8>>,
    /// What `--set-rpath` or `--add-rpath` said last.
    pub(super) run_path: Vec<u8>,
    pub(super) set_rpath: bool,
    pub(super) add_rpath: bool,
    pub(super) remove_rpath: bool,
    pub(super) shrink_rpath: bool,
    pub(super) prefixes: Vec<Vec<u8>>,
    pub(super) force_rpath: bool,
    pub(super) add_needed: BTreeSet<Vec<u8>>,
    pub(super) remove_needed: BTreeSet<Vec<u8>>,
    pub(super) replace_needed: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) clear_versions: BTreeSet<Vec<u8>>,
    pub(super) no_default_lib: bool,
    pub(super) debug_tag: bool,
    pub(super) resolution_cache: bool,
    pub(super) clear_execstack: bool,
    pub(super) set_execstack: bool,
    pub(super) renames: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the result goes, also if nothing changes; empty for the file itself.
    pub(super) output: Option<Vec<u8>>,
    pub(super) files: Vec<Vec<u8>>,
}

/// What the words ask for.
#[derive(Debug)]
pub(super) enum Parsed {
    Request(Box<Request>),
    Usage { status: u8 },
    Version,
}

/// Takes the words after the program's name.
pub(super) fn parse(words: &[&[u8]], debug: bool) -> Result<Parsed, Complaint> {
    if words.is_empty() {
        return Ok(Parsed::Usage { status: 1 });
    }
    let mut request = Request { debug, ..Request::default() };
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        match *word {
            b"--help" | b"-h" => return Ok(Parsed::Usage { status: 0 }),
            b"--version" => return Ok(Parsed::Version),
            _ => {}
        }
        // A word that looks like an option and is none is the name of a file.
        let Some(option) = OPTIONS.iter().find(|option| option.name.as_bytes() == *word) else {
            request.files.push(word.to_vec());
            continue;
        };
        let missing = if option.values.len() > 1 { "missing argument(s)" } else { "missing argument" };
        let (values, after) = rest.split_at_checked(option.values.len()).ok_or(missing)?;
        (option.effect)(&mut request, values)?;
        rest = after;
    }
    if request.files.is_empty() {
        return Err("missing filename".into());
    }
    if request.force_rpath && request.resolution_cache {
        return Err("--build-resolution-cache cannot be combined with --force-rpath".into());
    }
    if request.output.as_ref().is_some_and(|output| !output.is_empty()) && request.files.len() != 1 {
        return Err("--output option only allowed with single input file".into());
    }
    if request.set_rpath && request.add_rpath {
        return Err("--set-rpath option not allowed with --add-rpath".into());
    }
    Ok(Parsed::Request(Box::new(request)))
}

fn on(flag: &mut bool) -> Result<(), Complaint> {
    *flag = true;
    Ok(())
}

fn insert(names: &mut BTreeSet<Vec<u8>>, name: Vec<u8>) {
    names.insert(name);
}

/// A value, or with `@` before it the content of the file it names, up to the end or the first NUL:
/// no text of an ELF file goes further.
fn text(values: &[&[u8]]) -> Result<Vec<u8>, Complaint> {
    let value = values.first().copied().unwrap_or_default();
    let Some(name) = value.strip_prefix(b"@") else { return Ok(value.to_vec()) };
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    std::fs::metadata(path).map_err(|error| Complaint::system(b"getting info about", name, &error))?;
    let mut file = std::fs::File::open(path).map_err(|error| Complaint::system(b"opening", name, &error))?;
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut content).map_err(|error| Complaint::system(b"reading", name, &error))?;
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    content.truncate(end);
    Ok(content)
}

fn set_interpreter(request: &mut Request, values: &[&[u8]]) -> Result<(), Complaint> {
    request.interpreter = text(values)?;
    Ok(())
}

/// Reads digits as atoi(3) does. Only powers of two are pages.
fn page_size(request: &mut Request, values: &[&[u8]]) -> Result<(), Complaint> {
    let value = String::from_utf8_lossy(values.first().copied().unwrap_or_default());
    let value = value.trim_start_matches(texts::blank);
    let value = value.strip_prefix('+').unwrap_or(value);
    let digits = value.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let size = digits.parse::<i32>().ok().and_then(|size| u64::try_from(size).ok());
    match size {
        Some(size) if size.is_power_of_two() => request.page_size = Some(size),
        _ => return Err("invalid argument to --page-size".into()),
    }
    Ok(())
}

fn prefixes(request: &mut Request, values: &[&[u8]]) -> Result<(), Complaint> {
    let value = values.first().copied().unwrap_or_default();
    request.prefixes = patcher::shrink::entries(value).map(<[u8]>::to_vec).collect();
    Ok(())
}

fn replace_needed(request: &mut Request, values: &[&[u8]]) -> Result<(), Complaint> {
    if let [old, new] = values {
        request.replace_needed.insert(old.to_vec(), new.to_vec());
    }
    Ok(())
}

/// Reads a map file, up to its first blank line.
fn rename_symbols(request: &mut Request, values: &[&[u8]]) -> Result<(), Complaint> {
    let name = values.first().copied().unwrap_or_default();
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let content = match std::fs::read(path) {
        Ok(content) => content,
        // A directory can be opened, and no line be read from it.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Vec::new(),
        Err(error) => return Err(Complaint::of(&[b"Cannot open map file ", name, b": ", texts::reason(&error).as_bytes()])),
    };
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let number = (index + 1).to_string();
        let wrong = |parts: &[&[u8]]| Complaint::of(&[&[name, b":", number.as_bytes(), b": "], parts].concat());
        let mut words = line.split(|byte| texts::blank(char::from(*byte))).filter(|word| !word.is_empty());
        let Some(from) = words.next() else { break };
        let to = words.next().ok_or_else(|| wrong(&[b"Map file line is missing the second element"]))?;
        if request.renames.contains_key(from) {
            return Err(wrong(&[b"Name '", from, b"' appears twice in the map file"]));
        }
        if from.contains(&b'@') || to.contains(&b'@') {
            return Err(wrong(&[b"Name pair contains version tag: ", from, b" ", to]));
        }
        request.renames.insert(from.to_vec(), to.to_vec());
    }
    Ok(())
}
