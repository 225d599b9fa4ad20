//! Which loader a program gets: that of its own image, of its user's, the one that NIX_LD names, that of the
//! image for everybody, nix-ld's own – the first that is there. One that is there and cannot be trusted or used
//! ends the start: whoever put it there meant something else.

use crate::arch::MACHINE;
use crate::place::Program;
use crate::sys::{self, File};
use crate::{Setting, fail, say};
use core::mem::MaybeUninit;
use ld_shim::base::{Marked, USERS};
use ld_shim::bytes::until_nul;
use ld_shim::elf::{Class, Refusal};
use ld_shim::image::{EVERYBODY, RECORD, Record};
use ld_shim::key::{Key, system_name};
use ld_shim::line::Line;
use ld_shim::load::{HEADERS_MAX, Plan};
use ld_shim::needs::Needs;
use ld_shim::variables::{DEFAULT_LOADER, Level};
use linux_raw_sys::errno::{ELOOP, ENOENT, ENOTDIR};

/// Where images are looked for; an installation elsewhere overwrites it in the file.
static BASE: Marked = Marked::new();

/// Who is to be started.
pub(crate) struct Subject<'m> {
    /// As people call it.
    pub(crate) name: &'m [u8],
    /// Where it lies.
    pub(crate) directory: Option<&'m [u8]>,
    /// What it needs; `None` of what is no program.
    pub(crate) needs: Option<&'m Needs<'m, Program<'m>>>,
}

impl Subject<'_> {
    /// Whether it was linked against musl: by its interpreter's name, as everybody does.
    pub(crate) fn is_musl(&self) -> bool {
        self.needs.is_some_and(|needs| needs.interpreter.windows(7).any(|part| part == b"ld-musl"))
    }
}

/// A loader that may be mapped.
pub(crate) struct Loader {
    pub(crate) file: File,
    /// Where in the file it begins, bytes.
    pub(crate) offset: u64,
    pub(crate) plan: Plan,
    /// Whether it has to search nix-ld's directories: it knows no others.
    pub(crate) searches: bool,
}

/// What became of one place.
enum Look {
    Found(Loader),
    Absent,
    Refused(&'static [u8]),
}

/// A path of ours: base directory, subdirectory, name, NUL.
struct Path {
    bytes: [u8; 64],
    length: usize,
}

impl Path {
    fn of(parts: [&[u8]; 2]) -> Path {
        let mut path = Path { bytes: [0; 64], length: 0 };
        // Not what the compiler knows of it: the file may have been changed since.
        let base = core::hint::black_box(&BASE);
        for part in [base.directory(), parts[0], parts[1]] {
            for byte in part {
                // One NUL stays.
                if let Some(place) = path.bytes.get_mut(..63).and_then(|room| room.get_mut(path.length)) {
                    *place = *byte;
                    path.length += 1;
                }
            }
        }
        path
    }

    fn with_nul(&self) -> &[u8] {
        self.bytes.get(..=self.length).unwrap_or(&[])
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// The loader for a program, or the end.
#[inline(never)]
pub(crate) fn loader(subject: &Subject<'_>, setting: &Setting) -> Loader {
    let name = subject.name;
    let key = subject.needs.zip(subject.directory).and_then(|(needs, directory)| needs.key(directory));
    let own = key.map(|key| Path::of([b"", &key.name()]));
    if let (Some(path), Some(key)) = (&own, key) {
        match image(path, key, setting, name) {
            Look::Found(loader) => return loader,
            Look::Absent => {}
            Look::Refused(why) => refuse(name, path.text(), why),
        }
        if !setting.secure && setting.user != 0 {
            // What somebody else has put there is no reason to fail: anybody may write there.
            if let Look::Found(loader) = image(&Path::of([USERS.as_bytes(), &key.user_name(setting.user)]), key, setting, name) {
                return loader;
            }
        }
    }
    if let Some(path) = setting.variables.loader {
        // The variable's text is a whole entry of the environment: its NUL follows.
        // SAFETY: entries of the environment end in a NUL, and the value is the end of one.
        let with_nul = unsafe { core::slice::from_raw_parts(path.as_ptr(), path.len() + 1) };
        match plain(with_nul, setting, false) {
            Look::Found(loader) => {
                say(setting, name, b"the loader that NIX_LD names");
                return loader;
            }
            Look::Absent => refuse(name, path, b"does not exist, although NIX_LD names it"),
            Look::Refused(why) => refuse(name, path, why),
        }
    }
    let system = Path::of([b"", system_name(MACHINE.class == Class::Elf64, subject.is_musl())]);
    match image(&system, EVERYBODY, setting, name) {
        Look::Found(loader) => return loader,
        Look::Absent => {}
        Look::Refused(why) => refuse(name, system.text(), why),
    }
    match plain(DEFAULT_LOADER, setting, true) {
        Look::Found(loader) => loader,
        Look::Absent => nothing(subject, own.as_ref(), &system),
        Look::Refused(why) => refuse(name, until_nul(DEFAULT_LOADER, 64).unwrap_or(b""), why),
    }
}

/// Looks for the image of a program, or of everybody.
#[inline(never)]
fn image(path: &Path, key: Key, setting: &Setting, name: &[u8]) -> Look {
    if setting.variables.level >= Level::Debug {
        sys::say(Line::new().name(name).say(b": look for ").name(path.text()).end());
    }
    let file = match sys::open(path.with_nul(), false) {
        Ok(file) => file,
        Err(errno) => return not_opened(errno),
    };
    let Some(status) = file.status() else { return Look::Refused(b"cannot be asked about") };
    if !setting.trust.in_file(status.mode, status.owner) {
        return Look::Refused(b"is not a file that only root or oneself can write to");
    }
    let mut room = [MaybeUninit::uninit(); RECORD];
    let bytes = status.size.checked_sub(RECORD as u64).and_then(|offset| file.read_at(&mut room, offset));
    let Some(record) = bytes.and_then(|bytes| Record::parse(bytes, status.size, MACHINE)) else {
        return Look::Refused(b"is no image, or one of another version or machine");
    };
    // Another program's key that begins alike.
    if record.key != key {
        return Look::Absent;
    }
    let (offset, searches) = (record.loader, false);
    match Plan::of(record.headers, MACHINE, setting.page as u64) {
        Ok(plan) if fits(&plan, offset, status.size) => Look::Found(Loader { file, offset, plan, searches }),
        Ok(_) => Look::Refused(Refusal::BadSegments.text()),
        Err(refusal) => Look::Refused(refusal.text()),
    }
}

/// A loader that is a file of its own.
#[inline(never)]
fn plain(path: &[u8], setting: &Setting, default: bool) -> Look {
    let file = match sys::open(path, true) {
        Ok(file) => file,
        Err(errno) => return not_opened(errno),
    };
    let Some(status) = file.status() else { return Look::Refused(b"cannot be asked about") };
    let regular = status.mode & 0o170_000 == 0o100_000;
    // What the caller names is the caller's own; what everybody gets has to be root's.
    if !regular || (default && !setting.trust.in_file(status.mode, status.owner)) {
        return Look::Refused(if regular { b"is not a file that only root can write to" } else { b"is no regular file" });
    }
    let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
    let head = file.read_at(&mut room, 0).unwrap_or(&[]);
    match Plan::of(head, MACHINE, setting.page as u64) {
        Ok(plan) if fits(&plan, 0, status.size) => Look::Found(Loader { file, offset: 0, plan, searches: true }),
        Ok(_) => Look::Refused(b"is cut off"),
        Err(refusal) => Look::Refused(refusal.text()),
    }
}

/// Whether every segment lies in the file: what is mapped beyond its end would be a SIGBUS.
fn fits(plan: &Plan, offset: u64, size: u64) -> bool {
    plan.loads().iter().all(|load| {
        let used = load.zero.0.saturating_sub(load.start);
        offset.checked_add(load.offset).and_then(|start| start.checked_add(used)).is_some_and(|end| end <= size)
    })
}

fn not_opened(errno: i32) -> Look {
    match errno as u32 {
        ENOENT | ENOTDIR => Look::Absent,
        ELOOP => Look::Refused(b"is a symbolic link"),
        _ => Look::Refused(b"cannot be opened"),
    }
}

fn refuse(name: &[u8], path: &[u8], why: &[u8]) -> ! {
    fail(Line::new().name(name).say(b": its loader cannot be had from ").name(path).say(b": it ").say(why).say(b"; try `xeno doctor ").name(name).say(b"`"))
}

fn nothing(subject: &Subject<'_>, own: Option<&Path>, system: &Path) -> ! {
    let line = Line::new().name(subject.name).say(b": xeno's shim stands for its loader and knows none for it (no ");
    let line = match own {
        Some(own) => line.name(own.text()).say(b", no "),
        None => line,
    };
    let line = line.name(system.text()).say(b"); try `xeno shim add ").name(subject.name);
    fail(line.say(b"` or `xeno run ").name(subject.name).say(b"`"))
}
