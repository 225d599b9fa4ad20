//! `cargo xtask patch-foreign`: a program and a library of its own for other machines, both byte orders and
//! page sizes up to 64 KiB, patched and run under qemu's user mode as the untouched ones were.

use super::stage::Subject;
use super::tool::Tool;
use super::trial::{self, Verdict};
use super::{parallel, report};
use crate::process;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine, as Debian's cross compilers name it.
struct Machine {
    name: &'static str,
    /// Prefix of the compiler and name of the directory below `/usr` that has its libc.
    triple: &'static str,
    /// What qemu calls it.
    emulator: &'static str,
    /// The compiler's package and that of its libc.
    packages: [&'static str; 2],
}

const fn machine(name: &'static str, triple: &'static str, emulator: &'static str, packages: [&'static str; 2]) -> Machine {
    Machine { name, triple, emulator, packages }
}

const MACHINES: &[Machine] = &[
    machine("i686", "i686-linux-gnu", "qemu-i386", ["gcc-i686-linux-gnu", "libc6-dev-i386-cross"]),
    machine("aarch64", "aarch64-linux-gnu", "qemu-aarch64", ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
    machine("riscv64", "riscv64-linux-gnu", "qemu-riscv64", ["gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"]),
    machine("armhf", "arm-linux-gnueabihf", "qemu-arm", ["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"]),
    machine("mips", "mips-linux-gnu", "qemu-mips", ["gcc-mips-linux-gnu", "libc6-dev-mips-cross"]),
    machine("mips64el", "mips64el-linux-gnuabi64", "qemu-mips64el", ["gcc-mips64el-linux-gnuabi64", "libc6-dev-mips64el-cross"]),
    machine("powerpc64", "powerpc64-linux-gnu", "qemu-ppc64", ["gcc-powerpc64-linux-gnu", "libc6-dev-ppc64-cross"]),
    machine("ppc64el", "powerpc64le-linux-gnu", "qemu-ppc64le", ["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"]),
    machine("s390x", "s390x-linux-gnu", "qemu-s390x", ["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross"]),
];

/// What of each machine is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A movable program.
    Movable,
    /// A program at a fixed address.
    Fixed,
    /// The library that a program needs; it is patched, the program is started.
    Library,
}

/// `patch-foreign`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (flags, names) = super::split(arguments)?;
    crate::only(&flags, &["--json"], &["--tool"])?;
    if let Some(name) = names.iter().find(|name| !MACHINES.iter().any(|machine| machine.name == **name)) {
        bail!("no machine is called {name}; there are {}", MACHINES.iter().map(|m| m.name).collect::<Vec<_>>().join(", "));
    }
    let chosen: Vec<&Machine> = MACHINES.iter().filter(|machine| names.is_empty() || names.iter().any(|n| n == machine.name)).collect();
    need(&chosen)?;
    let tool = Tool::chosen(crate::option(&flags, "--tool")?)?;
    let work = tempfile::Builder::new().prefix("xf-").tempdir().context("make a directory to work in")?;
    let kinds = [Kind::Movable, Kind::Fixed, Kind::Library];
    let jobs: Vec<(&Machine, Kind)> = chosen.iter().flat_map(|machine| kinds.map(|kind| (*machine, kind))).collect();
    let quiet = flags.iter().any(|flag| flag == "--json");
    super::println_unless(quiet, report::HEADER);
    let one = |(machine, kind): &(&Machine, Kind)| {
        let name = format!("{}-{kind:?}", machine.name).to_lowercase();
        let verdict = build(machine, *kind, &name, work.path()).and_then(|subject| trial::trial(&subject, &tool, work.path()));
        Ok(verdict.unwrap_or_else(|error| Verdict::untried(&name, &error)))
    };
    let verdicts = parallel(&jobs, one, |verdict| super::println_unless(quiet, verdict))?;
    report::finish("patch-foreign", &verdicts, quiet, report::Allowed::default())
}

fn need(machines: &[&Machine]) -> Result<()> {
    let mut needed =
        vec![("qemu-aarch64".to_owned(), "qemu-user"), ("readelf".to_owned(), "binutils"), ("eu-elflint".to_owned(), "elfutils")];
    for machine in machines {
        let [compiler, libc] = machine.packages;
        needed.push((format!("{}-gcc", machine.triple), compiler));
        needed.push((format!("/usr/{}/include/stdio.h", machine.triple), libc));
    }
    process::need(&needed.iter().map(|(command, package)| (command.as_str(), *package)).collect::<Vec<_>>())
}

/// Builds `bin/program` and `lib/libforeign.so` into a tree; the program finds the library by its RUNPATH.
fn build(machine: &Machine, kind: Kind, name: &str, work: &Path) -> Result<Subject> {
    let tree = work.join(name);
    for directory in ["bin", "lib"] {
        std::fs::create_dir_all(tree.join(directory)).context("create a tree")?;
    }
    let (program, library) = (tree.join("bin/program"), tree.join("lib/libforeign.so"));
    let source = |name: &str| crate::root().join("fixtures/src/patch").join(name);
    let gcc = || Command::new(format!("{}-gcc", machine.triple));
    let soname = "-Wl,-soname,libforeign.so";
    process::output(gcc().args(["-O1", "-shared", "-fPIC", soname, "-o"]).arg(&library).arg(source("foreign-library.c")))?;
    let shape = if kind == Kind::Fixed { ["-no-pie", "-fno-pie"] } else { ["-pie", "-fPIE"] };
    let path = ["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--enable-new-dtags"];
    process::output(gcc().arg("-O1").args(shape).args(path).arg("-o").arg(&program).arg(source("foreign.c")).arg(&library))?;

    let view = crate::elf::view(&program)?.context("the compiler wrote no program")?;
    let root = PathBuf::from("/usr").join(machine.triple);
    let loader = view.interpreter.as_deref().map(|path| root.join(path.trim_start_matches('/'))).context("no interpreter")?;
    let emulator = process::find(machine.emulator).with_context(|| format!("find {}", machine.emulator))?;
    let emulate: Vec<OsString> = vec![emulator.into(), "-L".into(), root.into()];
    let subject =
        Subject { loader: Some(loader), strip: format!("{}-strip", machine.triple), runner: emulate, ..Subject::alone(name, &tree) };
    Ok(match kind {
        Kind::Library => Subject { path: "lib/libforeign.so".into(), start: Some("bin/program".into()), ..subject },
        _ => Subject { path: "bin/program".into(), ..subject },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_and_both_word_sizes_are_among_the_machines() {
        let names: Vec<&str> = MACHINES.iter().map(|machine| machine.name).collect();
        assert_eq!(names, ["i686", "aarch64", "riscv64", "armhf", "mips", "mips64el", "powerpc64", "ppc64el", "s390x"]);
        let ci = std::fs::read_to_string(crate::root().join(".ci/run")).unwrap();
        for package in MACHINES.iter().flat_map(|machine| machine.packages).chain(["qemu-user", "elfutils", "lld", "mold"]) {
            assert!(ci.split_whitespace().any(|word| word == package), ".ci/run does not install {package}");
        }
    }
}
