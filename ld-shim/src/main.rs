//! The shim: the program that the kernel starts where a foreign program expects its loader. This is the story of
//! one exec; every step is a function, here or in the file it names.
//!
//! It runs before any loader: without a heap, without relocations, on the stack of the program-to-be. It changes
//! nothing that the program can see but AT_BASE, and returns to nobody.
#![no_std]
#![no_main]

mod arch;
#[cfg(not(target_arch = "riscv64"))]
mod debug;
mod find;
mod guest;
mod memory;
mod place;
mod stack;
mod sys;

use core::mem::MaybeUninit;
use find::{Headers, Loader, Subject};
use ld_shim::bytes::{directory, has};
use ld_shim::image::{RECORD, Trust};
use ld_shim::key::Key;
use ld_shim::line::Line;
use ld_shim::load::Plan;
use ld_shim::needs::Needs;
use ld_shim::options::{self, Invocation};
use ld_shim::variables::{self, DEFAULT_LIBRARIES, Variables};
use place::Program;
use stack::{Stack, aux};
use sys::File;

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
    // 1. Who is to be started? A program's interpreter lies at AT_BASE. Where there is none, the shim is the
    //    program of this process, and the one to be started is among its arguments.
    let mapped = stack.auxiliary(aux::BASE) != 0;
    let words = if mapped { Invocation::default() } else { options::read(|index| stack.argument(index)) };
    let named = words.program.and_then(|index| stack.argument(index));
    let file = named.and_then(place::named);
    let program = if mapped {
        // SAFETY: as the kernel says.
        unsafe { Program::mapped(stack.auxiliary(aux::PHDR), stack.auxiliary(aux::PHNUM)) }
    } else {
        Program::in_file(file.as_ref().map_or(&[], |(_, bytes)| bytes))
    };
    // 2. What does it need, and where does it lie? Mostly at the path that it was started by, which costs a tenth
    //    of asking the kernel. Not so if that path is a link, or a script's, which is then among the arguments;
    //    and whoever gains rights by it may have chosen it.
    let name = named.unwrap_or(stack.path());
    let needs = program.needs();
    let needs = needs.as_ref().filter(|_| mapped || file.is_some());
    let mut subject = Subject { name, key: None, musl: needs.is_some_and(Needs::is_musl) };
    let mut headers = [0; RECORD];
    // A script's interpreter may be a script: five of them in all (`fs/exec.c`, `exec_binprm`), two words each.
    // SAFETY: AT_EXECFN ends in a NUL.
    let file_itself = || unsafe { sys::status_of(name) }.is_regular() && (1..11).all(|index| stack.argument(index) != Some(name));
    if mapped && !setting.secure && file_itself() {
        subject.key = needs.zip(directory(name)).and_then(|(needs, directory)| needs.key(directory));
    }
    // 3. Whose loader will it be? Only if there is no image for that path, the kernel is asked for the true one.
    let mut loader = find::loader(&subject, &setting, &mut headers, true);
    if loader.is_none() {
        subject.key = needs.and_then(|needs| key(needs, file.as_ref().map(|(file, _)| file)));
        loader = find::loader(&subject, &setting, &mut headers, false);
    }
    let Some(loader) = loader else { sys::exit(CANNOT_START) };
    drop(file);
    // 4. What nix-ld's variables say, the loader alone has to know.
    if loader.searches && !words.library_path {
        let as_run_path = mapped && (subject.musl || setting.secure);
        let prefix: &[u8] = if mapped && !as_run_path { b"LD_LIBRARY_PATH=" } else { b"" };
        let user = setting.variables.user.filter(|_| !as_run_path).unwrap_or(b"");
        match library_path(prefix, user, &setting) {
            Some(text) if mapped => guest::add(&mut stack, &program, setting.page, text, as_run_path),
            Some(text) => stack.add_option(c"--library-path".as_ptr().cast(), text),
            None => {}
        }
    }
    // 5. Put it into memory, say where it is, and be gone.
    let (bias, plan) = put(loader, &headers, &setting, name);
    let entry = bias.wrapping_add(plan.entry);
    if mapped {
        stack.set_auxiliary(aux::BASE, bias.wrapping_add(plan.first));
    } else {
        // A loader that finds its own entry and headers there knows that it was started by name
        // (glibc `elf/rtld.c`, `dl_main`; musl `ldso/dynlink.c`, `__dls3`).
        stack.set_auxiliary(aux::ENTRY, entry);
        stack.set_auxiliary(aux::PHDR, bias.wrapping_add(plan.table.0));
        stack.set_auxiliary(aux::PHNUM, usize::from(plan.table.1));
    }
    // SAFETY: the loader lies where its entry says, and the stack is the kernel's.
    unsafe { arch::jump(entry, stack.top()) }
}

/// Who asks, and what may be believed.
#[inline(never)]
fn setting(stack: &Stack) -> Setting {
    let secure = stack.is_secure();
    let user = stack.auxiliary(aux::EUID) as u32;
    let variables = if secure { Variables::default() } else { variables::read(stack.environment(b'N', b'L')) };
    let page = stack.auxiliary(aux::PAGESZ).max(4096);
    Setting { secure, trust: Trust { user: (!secure).then_some(user) }, page, user, variables }
}

/// The key of a program that the kernel has started, or of a file, where the kernel says that it lies. A frame of
/// its own: every page of the stack that is touched costs as much as two system calls.
#[inline(never)]
fn key(needs: &Needs<'_, Program<'_>>, file: Option<&File>) -> Option<Key> {
    let mut room = [MaybeUninit::uninit(); 4097];
    needs.key(directory(sys::path_of(file, &mut room)?)?)
}

/// Puts a loader into memory and closes its file; its load bias and its plan.
fn put<'h>(loader: Loader, headers: &'h Headers, setting: &Setting, name: &[u8]) -> (usize, Plan<'h>) {
    let Some(plan) = loader.plan(headers, setting.page) else { sys::exit(CANNOT_START) };
    match place::map(&loader.file, loader.offset, &plan) {
        Ok(bias) => {
            #[cfg(not(target_arch = "riscv64"))]
            debug::attend(bias, &plan, setting.page);
            (bias, plan)
        }
        Err(errno) => fail(Line::new().name(name).say(b": its loader cannot be mapped: error ").number(errno as u32)),
    }
}

/// The user's library path and, behind it, the directories of nix-ld's that are absolute: an
/// empty or relative one would be looked for in the current directory. `None` if they add nothing.
#[inline(never)]
fn library_path(prefix: &[u8], user: &[u8], setting: &Setting) -> Option<*mut u8> {
    let libraries = setting.variables.libraries.unwrap_or(DEFAULT_LIBRARIES);
    // Each directory comes with a colon, and those that are left out leave room.
    let mut text = guest::Text::new(prefix.len() + user.len() + libraries.len() + 1)?;
    text.add(prefix);
    text.add(user);
    let (mut separator, mut added): (&[u8], bool) = (if user.is_empty() { b"" } else { b":" }, false);
    for directory in libraries.split(|b| matches!(b, b':' | b';')) {
        if directory.first() == Some(&b'/') && !has(directory, b'$') {
            text.add(separator);
            text.add(directory);
            (separator, added) = (b":", true);
        }
    }
    added.then(|| text.start())
}

/// Says something that NIX_LD_LOG asks for.
fn say(setting: &Setting, name: &[u8], what: &[u8], path: &[u8]) {
    if setting.variables.loud {
        sys::say(Line::new().name(name).say(what).name(path).end());
    }
}

/// Ends this process with one line that says why.
fn fail(line: &mut Line) -> ! {
    sys::say(line.end());
    sys::exit(CANNOT_START)
}

/// Nothing here panics; should the compiler see a way, it ends here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(CANNOT_START)
}
