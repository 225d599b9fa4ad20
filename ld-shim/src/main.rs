//! The shim: the program that the kernel starts where a foreign program expects its loader. This is the story of
//! one exec; every step is a function, here or in the file it names.
//!
//! It runs before any loader: without a heap, without relocations, on the stack of the program-to-be. It changes
//! nothing that the program can see but AT_BASE, and returns to nobody.
#![no_std]
#![no_main]

mod arch;
mod find;
mod guest;
mod memory;
mod place;
mod stack;
mod sys;

use core::mem::MaybeUninit;
use find::{Loader, Subject};
use ld_shim::bytes::directory;
use ld_shim::image::Trust;
use ld_shim::line::Line;
use ld_shim::options;
use ld_shim::variables::{self, DEFAULT_LIBRARIES, Variables};
use place::Program;
use stack::{Stack, aux};

/// The status of a program that cannot be started, as ld.so and shells give it.
const CANNOT_START: u8 = 127;

/// What this process is about, as the kernel and the caller tell it.
struct Setting {
    /// AT_SECURE: somebody gains rights by this exec, so nothing that the caller says counts.
    secure: bool,
    /// Whose files are followed.
    trust: Trust,
    /// Bytes.
    page: usize,
    /// The effective user.
    user: u32,
    variables: Variables<'static>,
}

/// From the first instruction to the last: `top` is all that the kernel hands over.
pub(crate) extern "C" fn enter(top: *mut usize) -> ! {
    // SAFETY: `_start` passes the stack pointer as the kernel set it.
    let mut stack = unsafe { Stack::at(top) };
    let setting = setting(&stack);
    // A program's interpreter lies at AT_BASE. Where there is none, the shim is the program of this process.
    match stack.auxiliary(aux::BASE) {
        Some(base) if base != 0 => start_mapped(&mut stack, &setting),
        _ => start_named(&mut stack, &setting),
    }
}

/// Who asks, and what may be believed.
fn setting(stack: &Stack) -> Setting {
    // No word of the kernel counts as the careful one.
    let secure = stack.auxiliary(aux::SECURE) != Some(0);
    let user = stack.auxiliary(aux::EUID).unwrap_or(usize::MAX) as u32;
    let variables = if secure { Variables::default() } else { variables::read(stack.environment()) };
    let page = stack.auxiliary(aux::PAGESZ).filter(|page| page.is_power_of_two()).unwrap_or(4096);
    Setting { secure, trust: Trust { user: (!secure).then_some(user) }, page, user, variables }
}

/// The usual case: the kernel has mapped a program, and this shim as its interpreter.
fn start_mapped(stack: &mut Stack, setting: &Setting) -> ! {
    let (table, count) = (stack.auxiliary(aux::PHDR).unwrap_or(0), stack.auxiliary(aux::PHNUM).unwrap_or(0));
    // SAFETY: as the kernel says.
    let program = unsafe { Program::mapped(table, count) };
    let mut room = [MaybeUninit::uninit(); 4096];
    let path = sys::own_path(&mut room).unwrap_or(stack.path());
    let needs = program.needs();
    let subject = Subject { name: stack.path(), directory: directory(path), needs: needs.as_ref() };
    let loader = find::loader(&subject, setting);
    if loader.searches
        && !subject.is_musl()
        && let Some(text) = library_path(b"LD_LIBRARY_PATH=", setting)
        && !guest::add(stack, &program, setting.page, text)
    {
        say(setting, stack.path(), b"its dynamic section has no room for the libraries of NIX_LD_LIBRARY_PATH");
    }
    let (base, entry) = put(loader, stack.path());
    stack.set_auxiliary(aux::BASE, base);
    // SAFETY: the loader lies at `base`, and the stack is the kernel's.
    unsafe { arch::jump(entry, stack.top()) }
}

/// `ld-shim [OPTION]... PROG [ARG]...`: the loader gets the words as they are, and maps the program itself.
fn start_named(stack: &mut Stack, setting: &Setting) -> ! {
    let words = options::read(stack.arguments());
    let word = words.program.and_then(|index| stack.arguments().nth(index));
    let file = word.and_then(place::named);
    let mut room = [MaybeUninit::uninit(); 4096];
    let path = file.as_ref().and_then(|(file, _)| sys::path_of(file, &mut room));
    let program = Program::in_file(file.as_ref().map_or(&[], |(_, bytes)| bytes));
    let needs = program.needs();
    let name = word.unwrap_or(stack.path());
    let subject = Subject { name, directory: path.and_then(directory), needs: needs.as_ref() };
    let loader = find::loader(&subject, setting);
    if loader.searches
        && !words.library_path
        && let Some(path) = library_path(b"", setting)
    {
        stack.add_option(b"--library-path\0".as_ptr(), path);
    }
    let (table, count) = loader.plan.table;
    let (base, entry) = put(loader, name);
    // A loader that finds its own entry and headers there knows that it was started by name
    // (glibc `elf/rtld.c`, `rtld_setup_main_map`; musl `ldso/dynlink.c`, `__dls3`).
    stack.set_auxiliary(aux::ENTRY, entry);
    stack.set_auxiliary(aux::PHDR, base.wrapping_add(table as usize));
    stack.set_auxiliary(aux::PHNUM, usize::from(count));
    drop(file);
    // SAFETY: the loader lies at `base`, and the stack is the kernel's.
    unsafe { arch::jump(entry, stack.top()) }
}

/// Puts a loader into memory and closes its file; its load bias and its entry.
#[inline(never)]
fn put(loader: Loader, name: &[u8]) -> (usize, usize) {
    match place::map(&loader.file, loader.offset, &loader.plan) {
        Ok(bias) => (bias, bias.wrapping_add(loader.plan.entry as usize)),
        Err(errno) => fail(Line::new().name(name).say(b": map its loader: error ").number(errno as u32).say(b"; try `xeno doctor`")),
    }
}

/// The user's library path and, behind it, the directories of nix-ld's that are absolute: an empty or relative
/// one would be looked for in the current directory. `None` if they add nothing.
#[inline(never)]
fn library_path(prefix: &'static [u8], setting: &Setting) -> Option<*mut u8> {
    let found = &setting.variables;
    let user = found.user.unwrap_or(b"");
    let libraries = found.libraries.unwrap_or(DEFAULT_LIBRARIES);
    let absolute = |part: &&[u8]| part.starts_with(b"/") && !part.contains(&b'$');
    let directories = libraries.split(|b| matches!(b, b':' | b';')).filter(absolute);
    directories.clone().next()?;
    let separated = directories.enumerate().flat_map(|(index, directory)| {
        let separator: &[u8] = if index == 0 && user.is_empty() { b"" } else { b":" };
        [separator, directory]
    });
    guest::text([prefix, user].into_iter().chain(separated))
}

/// Says something that NIX_LD_LOG asks for.
fn say(setting: &Setting, name: &[u8], what: &[u8]) {
    if setting.variables.level >= variables::Level::Info {
        sys::say(Line::new().name(name).say(b": ").say(what).end());
    }
}

/// Ends this process with one line that says why.
fn fail(mut line: Line) -> ! {
    sys::say(line.end());
    sys::exit(CANNOT_START)
}

/// Nothing here panics; should the compiler see a way, it ends here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(CANNOT_START)
}
