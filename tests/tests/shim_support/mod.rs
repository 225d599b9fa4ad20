//! A place in which programs start through a loader shim: ours, and the peer that `XENO_PEER_NIX_LD` names, so
//! that the laws are themselves tested. Compiles the sources of `fixtures/src/shim`; knows no expectation.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::print_stdout, reason = "each test program uses its part; tests talk")]

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, Permissions};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use xeno_tests::{executable, skip};

/// The user who is nobody's friend.
pub const USER: u32 = 4711;
/// What programs are linked with; overwritten with a path of the lab, so that programs for different loaders
/// are the same file but for this.
const PLACEHOLDER: &str = "/interpreter/interpreter/interpreter/interpreter/interpreter/interpreter/interpreter/interpreter";
/// A RUNPATH that is overwritten with the lab's directory `own`.
pub const OWN: &str = "/directory/directory/directory/directory/directory/directory/directory/directory";

/// A kind of programs that this machine runs by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: &'static str,
    /// Nix's name of it, as variables end.
    pub system: &'static str,
    /// What makes the C compiler build for it.
    pub flags: &'static [&'static str],
    /// Bytes of an address.
    pub word: usize,
}

/// Those of which shims are tested; the first is what the C compiler builds for by itself.
static MACHINES: &[Machine] = &[
    #[cfg(target_arch = "x86_64")]
    Machine { name: "x86_64", system: "x86_64_linux", flags: &[], word: 8 },
    #[cfg(target_arch = "x86_64")]
    Machine { name: "i686", system: "i686_linux", flags: &["-m32"], word: 4 },
    #[cfg(target_arch = "aarch64")]
    Machine { name: "aarch64", system: "aarch64_linux", flags: &[], word: 8 },
    #[cfg(target_arch = "riscv64")]
    Machine { name: "riscv64", system: "riscv64_linux", flags: &[], word: 8 },
];

impl Machine {
    /// Whether programs for it can be built here. Skips if not.
    fn can_be_built_for(&self) -> bool {
        let source = xeno_tests::repository().join("fixtures/src/shim/child.c");
        let done = Command::new("cc").args(self.flags).args(["-o", "/dev/null"]).arg(source).output();
        let can = done.is_ok_and(|output| output.status.success());
        if !can {
            skip(&format!("the C compiler builds no programs for {}", self.name));
        }
        can
    }
}

/// A loader shim to test.
#[derive(Clone, Debug)]
pub struct Shim {
    pub file: PathBuf,
    pub machine: &'static Machine,
    pub peer: bool,
}

/// Ours, one for each kind of programs (a skip for each that is not built), and the peer, if it is named.
pub fn shims() -> Vec<Shim> {
    let peer = std::env::var_os("XENO_PEER_NIX_LD").filter(|path| !path.is_empty()).zip(MACHINES.first());
    let peer = peer.map(|(path, machine)| Shim { file: path.into(), machine, peer: true });
    MACHINES.iter().filter_map(ours_for).chain(peer).collect()
}

/// The shim for what the C compiler builds by itself.
pub fn ours() -> Option<Shim> {
    MACHINES.first().and_then(ours_for)
}

/// The shim that `cargo xtask dist` built, in `$XENO_DIST` or where it leaves it.
fn ours_for(machine: &'static Machine) -> Option<Shim> {
    let name = Path::new("ld-shim").join(machine.name);
    let given = std::env::var_os("XENO_DIST").map(|dist| PathBuf::from(dist).join(&name));
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| xeno_tests::repository().join("target"), PathBuf::from);
    let found = given.into_iter().chain([built.join("dist").join(&name)]).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("no ld-shim for {} is built; cargo xtask dist builds it", machine.name));
    }
    found.filter(|_| machine.can_be_built_for()).map(|file| Shim { file, machine, peer: false })
}

/// A law that every shim keeps.
pub fn everywhere(law: impl Fn(&Lab)) {
    let Some(_) = xeno_tests::peer("cc") else { return };
    for shim in shims() {
        // Captured, and shown where the law does not hold.
        println!("the law for {} of {}", shim.machine.name, shim.file.display());
        law(&Lab::new(&shim));
    }
}

/// A law that ours keeps and the peer is known to break: there it has to fail, with a message that has
/// these words, or the test tests nothing.
pub fn everywhere_but_the_peer(seen: &str, law: impl Fn(&Lab)) {
    everywhere(|lab| {
        if !lab.shim.peer {
            return law(lab);
        }
        let Err(failure) = catch_unwind(AssertUnwindSafe(|| law(lab))) else {
            panic!("the peer keeps this law; it was known not to: {seen}")
        };
        let text = failure.downcast_ref::<String>().map_or("", String::as_str);
        assert!(text.contains(seen), "the peer was known to fail with {seen:?}, and failed with:\n{text}");
    });
}

/// As [`everywhere`], for laws that only root can bring about.
pub fn as_root(laws: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        laws();
    } else {
        skip("needs root");
    }
}

/// A directory with a shim at `loader`, the machine's own loader at `native` (a link) and at `second` (a copy).
pub struct Lab {
    dir: tempfile::TempDir,
    /// Where its shim looks for images.
    base: Option<tempfile::TempDir>,
    pub shim: Shim,
    native: PathBuf,
    launch: PathBuf,
}

impl Lab {
    /// A lab whose shim looks for images where there are none.
    pub fn new(shim: &Shim) -> Lab {
        Lab::at(shim, None)
    }

    /// A lab whose shim looks for images in [`Lab::base`], which is empty.
    pub fn with_images(shim: &Shim) -> Lab {
        // An image's path has at most 16 bytes.
        let base = tempfile::Builder::new().prefix("x").rand_bytes(3).tempdir_in("/tmp").unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        Lab::at(shim, Some(base))
    }

    fn at(shim: &Shim, base: Option<tempfile::TempDir>) -> Lab {
        let dir = tempfile::Builder::new().prefix("xs").rand_bytes(4).tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        // Every user has to reach it.
        let launch = dir.path().join("launch");
        copy(&compiled("launch", &["launch.c"], &[], &[]), &launch);
        let plain = compiled("plain", &["child.c", "record.h"], shim.machine.flags, &[]);
        let native = resolver::elf::load(&plain).unwrap().interpreter.unwrap();
        let lab = Lab { dir, base, shim: shim.clone(), native: PathBuf::from(native), launch };
        let images = lab.base.as_ref().map_or_else(|| lab.path("none"), |base| base.path().to_owned());
        let loader = with_base(&fs::read(&shim.file).unwrap(), &format!("{}/", images.display()));
        lab.file("loader", &loader);
        copy(&lab.native, &lab.path("second"));
        symlink(&lab.native, lab.path("native")).unwrap();
        lab
    }

    /// A path below the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        let dir = self.dir.path();
        if name.is_empty() { dir.to_owned() } else { dir.join(name) }
    }

    /// Where its shim looks for images.
    pub fn base(&self) -> &Path {
        self.base.as_ref().unwrap().path()
    }

    /// The text with `{dir}`, `{system}` and `{real}`, the machine's own loader, filled in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{dir}", self.path("").to_str().unwrap())
            .replace("{real}", self.native.to_str().unwrap())
            .replace("{system}", self.shim.machine.system)
    }

    /// Writes an executable file.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        executable(&self.path(name), bytes);
        self.path(name)
    }

    /// A library at `DIR/libFUNCTION.so.1` that says `DIR`.
    pub fn library(&self, dir: &str, function: &str, flags: &[&str]) -> PathBuf {
        let to = self.path(&format!("{dir}/lib{function}.so.1"));
        copy(&self.built_library(dir, function, flags), &to);
        to
    }

    /// The witness at `app/NAME` (through the shim) and at `nat/NAME` (through the machine's loader), which needs
    /// libmark.so.1 and has only these flags.
    pub fn program(&self, name: &str, flags: &[&str]) -> PathBuf {
        let flags: Vec<&str> = ["-Wl,--no-as-needed", "-ldl"].into_iter().chain(flags.iter().copied()).collect();
        self.both(name, "witness.c", &flags, &[&self.built_library("link", "mark", &[])])
    }

    /// A child that needs nothing but the C library, at `app/child` and at `nat/child`.
    pub fn child(&self) -> PathBuf {
        self.both("child", "child.c", &["-ldl"], &[])
    }

    /// The witness for musl, at `app/musl`, which needs libmark.so.1 of `musl/own`; `musl/a` and `musl/user` have
    /// others. Also the path of musl's loader. `None`, with a skip, where there is no compiler for that.
    pub fn musl_witness(&self, run_path: Option<&str>) -> Option<(PathBuf, String)> {
        let compiler = xeno_tests::peer("musl-gcc")?;
        let compiler = compiler.to_str().unwrap();
        let library = |place: &str| {
            let place = format!("-DWHERE=\"{place}\"");
            let flags = ["-shared", "-fPIC", "-DSILENT", "-DFUNCTION=mark", "-Wl,-soname,libmark.so.1", &place];
            compiled_by(compiler, "mark-musl", &["mark.c", "record.h"], &flags, &[])
        };
        for place in ["own", "a", "user"] {
            copy(&library(place), &self.path(&format!("musl/{place}/libmark.so.1")));
        }
        let plain = compiled_by(compiler, "plain-musl", &["child.c", "record.h"], &[], &[]);
        let real = resolver::elf::load(&plain).unwrap().interpreter.unwrap();
        let linker = format!("-Wl,--dynamic-linker={PLACEHOLDER}");
        let own = run_path.map(|kind| format!("-Wl,{kind},-rpath,$ORIGIN/../musl/own"));
        let flags: Vec<&str> = [linker.as_str()].into_iter().chain(own.as_deref()).collect();
        let name = format!("program-musl{}", run_path.unwrap_or(""));
        let built = fs::read(compiled_by(compiler, &name, &["witness.c", "record.h"], &flags, &[&library("link")])).unwrap();
        // What a loader is called tells of which C library it is.
        let loader = self.path(Path::new(&real).file_name().unwrap().to_str().unwrap());
        copy(&self.path("loader"), &loader);
        Some((self.file(&format!("app/musl{}", run_path.unwrap_or("")), &overwritten(&built, PLACEHOLDER, &loader)), real))
    }

    /// The child as a static PIE, which names no loader.
    pub fn static_program(&self) -> PathBuf {
        let to = self.path("app/static");
        copy(&self.compiled("static", &["child.c", "record.h"], &["-static-pie"], &[]), &to);
        to
    }

    fn built_library(&self, place: &str, function: &str, flags: &[&str]) -> PathBuf {
        let (place, function_is) = (format!("-DWHERE=\"{place}\""), format!("-DFUNCTION={function}"));
        let soname = format!("-Wl,-soname,lib{function}.so.1");
        let all: Vec<&str> = ["-shared", "-fPIC", &place, &function_is, &soname].into_iter().chain(flags.iter().copied()).collect();
        self.compiled(function, &["mark.c", "record.h"], &all, &[])
    }

    fn compiled(&self, name: &str, sources: &[&str], flags: &[&str], with: &[&Path]) -> PathBuf {
        let flags: Vec<&str> = self.shim.machine.flags.iter().chain(flags).copied().collect();
        compiled(name, sources, &flags, with)
    }

    fn both(&self, name: &str, source: &str, flags: &[&str], with: &[&Path]) -> PathBuf {
        let linker = format!("-Wl,--dynamic-linker={PLACEHOLDER}");
        let flags: Vec<&str> = flags.iter().copied().chain([linker.as_str()]).collect();
        let built = fs::read(self.compiled("program", &[source, "record.h"], &flags, with)).unwrap();
        for (place, loader) in [("app", "loader"), ("nat", "native")] {
            self.file(
                &format!("{place}/{name}"),
                &overwritten(&overwritten(&built, PLACEHOLDER, &self.path(loader)), OWN, &self.path("own")),
            );
        }
        self.path("app").join(name)
    }

    /// The program of most laws: its RUNPATH leads to `own`, and libmark.so.1 lies in `own`, `user`, `a` and `b`.
    /// `{dir}/a` and `{dir}/b` also have libplug.so.1, and `pre` has libpre.so.1 for LD_PRELOAD.
    pub fn witness(&self) -> PathBuf {
        for dir in ["own", "user", "a", "b"] {
            self.library(dir, "mark", &[]);
        }
        for dir in ["a", "b"] {
            self.library(dir, "plug", &["-DSILENT"]);
        }
        self.library("pre", "pre", &[]);
        self.program("witness", &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../own"])
    }

    /// The command that starts a program with exactly these entries of the environment and these words, the first
    /// of which is its argv[0]; `{dir}` and `{real}` are filled in.
    pub fn command(&self, options: &[&str], program: &Path, entries: &[&str], argv: &[&str]) -> Command {
        let mut command = Command::new(&self.launch);
        command.env_clear().current_dir(self.dir.path()).stdin(Stdio::null()).args(options);
        for entry in entries {
            command.args(["-e", &self.fill(entry)]);
        }
        command.arg(program).args(argv.iter().map(|word| self.fill(word)));
        command
    }

    /// What an attacker owns, in `evil`: something shaped as a loader, a library to be preloaded, and a libmark.so.1.
    pub fn evil(&self) {
        self.library("evil", "mark", &[]);
        self.library("evil", "evil", &[]);
        self.bare_loader("evil/attacker", &[]);
        for path in fs::read_dir(self.path("evil")).unwrap().map(|entry| entry.unwrap().path()).chain([self.path("evil")]) {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    /// Something shaped as a loader that says that it ran, if its segments are in memory as they should be.
    pub fn bare_loader(&self, name: &str, flags: &[&str]) -> PathBuf {
        let flags: Vec<&str> = ["-nostdlib", "-static-pie", "-fPIE"].into_iter().chain(flags.iter().copied()).collect();
        copy(&self.compiled("attacker", &["attacker.c"], &flags, &[]), &self.path(name));
        self.path(name)
    }

    /// What the program said, started with these entries and words after its own name.
    pub fn run(&self, program: &Path, entries: &[&str], words: &[&str]) -> Said {
        let name = program.to_str().unwrap();
        let argv: Vec<&str> = [name].into_iter().chain(words.iter().copied()).collect();
        Said::of(&mut self.command(&[], program, entries, &argv))
    }

    /// The same program as it would run without a shim.
    pub fn native_of(&self, program: &Path) -> PathBuf {
        self.path("nat").join(program.file_name().unwrap())
    }

    /// A text of a program or of a loader, with what differs from start to start and from a shim's program to a
    /// native one the same.
    pub fn neutral(&self, text: &str) -> String {
        let dir = self.path("");
        let dir = dir.to_str().unwrap();
        let text = text.replace(&format!("{dir}/nat/"), &format!("{dir}/app/")).replace(&format!("{dir}/native"), &format!("{dir}/loader"));
        let text = text.replace(dir, "DIR");
        let mut out = String::new();
        for word in text.split_inclusive([' ', '\t', '\n', '(', ')', ':']) {
            let bare = word.trim_end_matches([' ', '\t', '\n', '(', ')', ':']);
            let number = bare.strip_prefix("0x").is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()))
                || (!bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()));
            out.push_str(&if number { word.replacen(bare, "N", 1) } else { word.to_owned() });
        }
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }
}

/// What a program said before it ended.
#[derive(Debug)]
pub struct Said {
    pub output: Output,
    pub command: String,
    pub stderr: String,
    records: Vec<(String, String)>,
}

impl Said {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Said {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let whole = output.stdout.split(|b| *b == 0).map(String::from_utf8_lossy);
        let records = whole.filter_map(|r| r.split_once('\t').map(|(who, what)| (who.to_owned(), what.to_owned()))).collect();
        let mut command = format!("{command:?}");
        command.truncate(command.floor_char_boundary(2000));
        Said { output, command, stderr, records }
    }

    /// Everything of a program that ended as it should.
    #[track_caller]
    pub fn fine(self) -> Said {
        assert_eq!((self.ended(), self.stderr.as_str()), (String::from("exit 0"), ""), "{}", self.command);
        self
    }

    /// How it ended.
    pub fn ended(&self) -> String {
        match (self.output.status.code(), self.output.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => String::from("neither"),
        }
    }

    /// All that someone said; nothing, if he did not speak.
    pub fn all(&self, who: &str) -> Vec<&str> {
        self.records.iter().filter(|(by, what)| by == who && what != "(list)").map(|(_, what)| what.as_str()).collect()
    }

    /// Who spoke, each as often as he began a list or said one thing, in order.
    pub fn speakers(&self) -> Vec<&str> {
        self.records.iter().filter(|(_, what)| what == "(list)").map(|(who, _)| who.as_str()).collect()
    }

    /// A list that was said once.
    #[track_caller]
    pub fn list(&self, who: &str) -> Vec<&str> {
        let times = self.speakers().iter().filter(|by| **by == who).count();
        assert_eq!(times, 1, "{who} spoke this often\n{}\n{}\n{}", self.command, self.ended(), self.stderr);
        self.all(who)
    }

    /// The one thing that someone said.
    #[track_caller]
    pub fn one(&self, who: &str) -> &str {
        let all = self.all(who);
        assert_eq!(all.len(), 1, "{who} said {all:?}\n{}\n{}\n{}", self.command, self.ended(), self.stderr);
        all[0]
    }

    /// Whether anything that was said, by a program or on standard error, has these words.
    pub fn has(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.output.stdout).contains(words) || self.stderr.contains(words)
    }

    /// The one line with which the shim refused to start a program: status 127, no signal, nothing on standard
    /// output, the program named, and something to do.
    #[track_caller]
    pub fn refusal(&self, program: &str) -> &str {
        assert_eq!(self.ended(), "exit 127", "{}\n{}", self.command, self.stderr);
        assert_eq!(self.output.stdout.escape_ascii().to_string(), "", "{}", self.command);
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {:?}\n{}", self.stderr, self.command));
        assert!(!line.contains('\n'), "not one line: {line}");
        assert!(!line.chars().any(char::is_control), "a control character in {line:?}");
        assert!(line.starts_with(&format!("xeno: {program}: ")), "does not name {program}: {line}");
        assert!(line.contains("; "), "nothing to do in {line}");
        line
    }
}

/// A shim whose images lie elsewhere. A peer's has no place for them and stays as it is.
pub fn with_base(shim: &[u8], base: &str) -> Vec<u8> {
    let mut bytes = shim.to_vec();
    let ours = ld_shim::base::of(shim).is_some();
    assert!(!ours || ld_shim::base::set(&mut bytes, base.as_bytes()), "{base}");
    bytes
}

/// A program with a path in the place of a placeholder, if it has that.
fn overwritten(program: &[u8], placeholder: &str, path: &Path) -> Vec<u8> {
    let path = path.to_str().unwrap();
    assert!(path.len() <= placeholder.len(), "{path}");
    let mut bytes = program.to_vec();
    if let Some(at) = bytes.windows(placeholder.len()).position(|window| window == placeholder.as_bytes()) {
        bytes[at..at + placeholder.len()].fill(0);
        bytes[at..at + path.len()].copy_from_slice(path.as_bytes());
    }
    bytes
}

/// An executable copy of a file.
pub fn copy(from: &Path, to: &Path) {
    executable(to, &fs::read(from).unwrap());
}

/// What the C compiler makes of a source with these flags. Kept among the other things that were built: the
/// name is a hash of all that goes in.
pub fn compiled(name: &str, sources: &[&str], flags: &[&str], with: &[&Path]) -> PathBuf {
    compiled_by("cc", name, sources, flags, with)
}

fn compiled_by(compiler: &str, name: &str, sources: &[&str], flags: &[&str], with: &[&Path]) -> PathBuf {
    let from = xeno_tests::repository().join("fixtures/src/shim");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim");
    let mut hash = DefaultHasher::new();
    (compiler, flags, with).hash(&mut hash);
    sources.iter().for_each(|source| fs::read(from.join(source)).unwrap().hash(&mut hash));
    let to = built.join(format!("{name}-{:016x}", hash.finish()));
    if to.is_file() {
        return to;
    }
    fs::create_dir_all(&built).unwrap();
    let new = tempfile::Builder::new().prefix("new-").tempdir_in(&built).unwrap();
    let out = new.path().join(name);
    let mut command = Command::new(compiler);
    command.args(["-O1", "-Wall", "-Wextra", "-Werror"]).arg(from.join(sources[0])).args(with).args(flags).arg("-o").arg(&out);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&done.stderr));
    fs::rename(out, &to).unwrap();
    to
}

/// A command as an ordinary user.
pub fn as_user(command: Command) -> Command {
    as_uid(USER, command)
}

/// A command as some ordinary user.
pub fn as_uid(uid: u32, mut command: Command) -> Command {
    command.uid(uid).gid(uid);
    command
}

/// A command as the last words of another one.
pub fn behind(first: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(first[0]);
    whole.args(&first[1..]).arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
    whole.current_dir(command.get_current_dir().unwrap());
    whole
}
