//! Which loader a program gets: that of its own image, of its user's, the one that NIX_LD names, that of the
//! image for everybody, nix-ld's own – the first that is there. One that is there and cannot be trusted or used
//! ends the start: whoever put it there meant something else.

use crate::arch::MACHINE;
use crate::sys::{self, File};
use crate::{Setting, fail, say};
use ld_shim::base::{Marked, USERS};
use ld_shim::elf::{Class, Refusal};
use ld_shim::image::{EVERYBODY, RECORD, Record};
use ld_shim::key::{Key, system_name};
use ld_shim::line::Line;
use ld_shim::load::{HEADERS_MAX, Plan};
use ld_shim::variables::DEFAULT_LOADER;
use linux_raw_sys::errno::{ELOOP, ENOENT, ENOTDIR};

/// Where images are looked for; an installation elsewhere overwrites it in the file.
static BASE: Marked = Marked::new();

/// Who is to be started.
pub(crate) struct Subject<'m> {
    /// As people call it.
    pub(crate) name: &'m [u8],
    /// `None` of what is no program, or lies nowhere.
    pub(crate) key: Option<Key>,
    /// Whether it was linked against musl.
    pub(crate) musl: bool,
}

impl Subject<'_> {
    /// The name of the image for everybody.
    fn system_name(&self) -> &'static [u8] {
        system_name(matches!(MACHINE.class, Class::Elf64), self.musl)
    }
}

/// A loader that may be mapped.
pub(crate) struct Loader {
    pub(crate) file: File,
    /// Where in the file it begins, bytes.
    pub(crate) offset: usize,
    /// Where its headers were put in [`Headers`]: start and length.
    headers: (usize, usize),
    /// Whether it has to search nix-ld's directories: it knows no others.
    pub(crate) searches: bool,
}

/// Where a loader may come from, in the order in which they are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The program's own image.
    Own,
    /// The image that its user made for it.
    User,
    /// The file that NIX_LD names.
    Named,
    /// The image for everybody.
    System,
    /// nix-ld's own.
    Default,
}

/// What became of one source.
enum Look {
    Found(Loader),
    Absent,
    Refused(&'static [u8]),
}

/// What was read of a loader's file: an image's record, or the loader's own first bytes.
pub(crate) type Headers = [u8; RECORD];

impl Loader {
    /// Where its segments go; they were looked at before it was chosen.
    pub(crate) fn plan<'h>(&self, headers: &'h Headers, page: usize) -> Option<Plan<'h>> {
        let (start, length) = self.headers;
        Plan::of(headers.get(start..)?.get(..length)?, MACHINE, page).ok()
    }
}

/// A path of ours: the base directory and names behind it; a NUL always follows.
struct Path {
    bytes: [u8; 64],
    length: usize,
}

impl Path {
    /// In the base directory.
    fn of(name: &[u8]) -> Path {
        let mut path = Path { bytes: [0; 64], length: 0 };
        // Not what the compiler knows of it: the file may have been changed since.
        path.add(core::hint::black_box(&BASE).directory());
        path.add(name);
        path
    }

    #[inline(never)]
    fn add(&mut self, part: &[u8]) {
        for byte in part {
            // One NUL stays.
            if let Some(place) = self.bytes.get_mut(..63).and_then(|room| room.get_mut(self.length)) {
                *place = *byte;
                self.length += 1;
            }
        }
    }

    /// Without the NUL.
    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// The loader for a program, or the end; with `own`, that of its own image, or none.
#[inline(never)]
pub(crate) fn loader(subject: &Subject<'_>, setting: &Setting, headers: &mut Headers, own: bool) -> Option<Loader> {
    let mut source = Source::Own;
    loop {
        let mut path = Path::of(b"");
        // Each of them is followed by a NUL in memory: a value of the environment is the end of an entry.
        let text = match (source, subject.key, setting.variables.loader) {
            (Source::Own, Some(key), _) => {
                path.add(&key.name());
                path.text()
            }
            (Source::User, Some(key), _) if !setting.secure && setting.user != 0 => {
                path.add(USERS.as_bytes());
                path.add(&key.user_name(setting.user));
                path.text()
            }
            (Source::Named, _, Some(path)) => path,
            (Source::System, ..) => {
                path.add(subject.system_name());
                path.text()
            }
            (Source::Default, ..) => DEFAULT_LOADER,
            _ => b"",
        };
        if !text.is_empty() {
            match look(text, source, subject, setting, headers) {
                Look::Found(loader) => {
                    say(setting, subject.name, b": its loader is ", text);
                    return Some(loader);
                }
                _ if own => return None,
                // In the users' directory anybody may put anything: no reason to fail.
                Look::Refused(why) if source != Source::User => refuse(subject.name, text, why),
                Look::Absent if source == Source::Named => refuse(subject.name, text, b"does not exist"),
                _ => {}
            }
        }
        source = match source {
            Source::Own if own => return None,
            Source::Own => Source::User,
            Source::User => Source::Named,
            Source::Named => Source::System,
            Source::System => Source::Default,
            Source::Default => nothing(subject),
        };
    }
}

/// Looks at one source: a file that is an image, or one that is a loader itself.
#[inline(never)]
fn look(path: &[u8], source: Source, subject: &Subject<'_>, setting: &Setting, room: &mut Headers) -> Look {
    let plain = matches!(source, Source::Named | Source::Default);
    // SAFETY: `loader` says why.
    let file = match unsafe { sys::open(path, plain) } {
        Ok(file) => file,
        Err(errno) => {
            return match errno as u32 {
                ENOENT | ENOTDIR => Look::Absent,
                ELOOP => Look::Refused(b"is a symbolic link"),
                _ => Look::Refused(b"cannot be opened"),
            };
        }
    };
    let status = file.status();
    // What the caller names is the caller's own risk; it only has to be a file.
    let trusted = match source {
        Source::Named => status.is_regular(),
        _ => setting.trust.in_file(status.mode, status.owner, source == Source::User),
    };
    if !trusted {
        return Look::Refused(b"others can write to, or is no file");
    }
    let start = if plain { Some(0) } else { status.size.checked_sub(RECORD) };
    let length = start.map_or(0, |start| file.read_at(room, start));
    let bytes = room.get(..length).unwrap_or(&[]);
    let (offset, headers) = if plain {
        (0, (0, length))
    } else {
        let Some(record) = Record::parse(bytes, status.size as u64, MACHINE) else {
            return Look::Refused(b"is no image of this version");
        };
        // Another program's key that begins alike.
        if record.key != subject.key.filter(|_| source != Source::System).unwrap_or(EVERYBODY) {
            return Look::Absent;
        }
        (record.loader as usize, (RECORD - HEADERS_MAX, record.headers.len()))
    };
    let (start, length) = headers;
    let head = bytes.get(start..).and_then(|bytes| bytes.get(..length)).unwrap_or(&[]);
    match Plan::of(head, MACHINE, setting.page) {
        Ok(plan) if fits(&plan, offset, status.size) => Look::Found(Loader { file, offset, headers, searches: plain }),
        Ok(_) => Look::Refused(Refusal::BadSegments.text()),
        Err(refusal) => Look::Refused(refusal.text()),
    }
}

/// Whether every segment lies in the file: what is mapped beyond its end would be a SIGBUS.
fn fits(plan: &Plan<'_>, offset: usize, size: usize) -> bool {
    plan.loads().all(|load| {
        let used = load.zero.0.saturating_sub(load.start);
        offset.checked_add(load.offset).and_then(|start| start.checked_add(used)).is_some_and(|end| end <= size)
    })
}

fn refuse(name: &[u8], path: &[u8], why: &[u8]) -> ! {
    let mut line = Line::new();
    line.name(name).say(b": its loader cannot be ").name(path).say(b", which ").say(why);
    with_remedy(line, name)
}

fn nothing(subject: &Subject<'_>) -> ! {
    let mut line = Line::new();
    line.name(subject.name).say(b": its loader is not known (no ");
    if let Some(key) = subject.key {
        line.name(Path::of(&key.name()).text()).say(b", no ");
    }
    line.name(Path::of(subject.system_name()).text()).say(b")");
    with_remedy(line, subject.name)
}

#[inline(never)]
fn with_remedy(mut line: Line, name: &[u8]) -> ! {
    fail(line.say(b"; try `xeno doctor ").name(name).say(b"`"))
}
