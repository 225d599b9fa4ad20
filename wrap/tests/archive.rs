//! A tree whose libraries come from an archive: a made-up one, a directory for each package, with a
//! copy of this machine's loader and libc as its C library, so that the result can be started.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use resolver::arch::Arch;
use resolver::machine;
use resolver::needs::Libc;
use resolver::provider::{LibcSet, Offer, Origin, Package, Provider, ProviderError, Want};
use resolver::system::System;
use resolver::tree::Shared;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wrap::Silent;
use wrap::tree::{self, Places, Problem, Tag, TreePlan, World};

/// Packages below a directory: `DIR/NAME/lib/…`.
struct Archive {
    root: PathBuf,
    set: LibcSet,
}

fn package(name: &str) -> Origin {
    Origin::Package(Package { name: name.to_owned(), version: "1".to_owned(), arch: "here".to_owned(), suite: "test".to_owned() })
}

impl Provider for Archive {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn provide(&self, wants: &[Want]) -> Result<Vec<Option<Offer>>, ProviderError> {
        let one = |want: &Want| {
            let packages = fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().path());
            let file = packages.map(|p| p.join("lib").join(&want.soname)).find(|file| file.exists())?;
            Some(Offer { file, origin: package("some"), why: "only candidate".to_owned() })
        };
        Ok(wants.iter().map(one).collect())
    }

    fn libc_set(&self, _: Arch, libc: Libc) -> Result<Option<LibcSet>, ProviderError> {
        Ok((libc == Libc::Glibc).then(|| self.set.clone()))
    }
}

/// A scene: a tree, packages, and whether this machine has a loader.
struct Scene {
    dir: tempfile::TempDir,
    archive: Archive,
    system: bool,
}

impl Places for Scene {
    fn system(&self, arch: Arch, libc: Libc) -> Option<System> {
        machine::system(arch, libc).filter(|_| self.system)
    }

    fn drivers(&self, _: Option<&System>, _: &[Want]) -> Vec<Option<Offer>> {
        Vec::new()
    }

    fn archives(&self) -> Vec<&dyn Provider> {
        vec![&self.archive]
    }

    fn package_of(&self, soname: &str, _: Arch) -> Option<String> {
        (soname == "libnobody.so.1").then(|| "libnobody1 of test".to_owned())
    }
}

impl Scene {
    fn new(system: bool) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("packages");
        let lib = root.join("libc/lib");
        fs::create_dir_all(&lib).unwrap();
        let host = machine::system(Arch::host().unwrap(), Libc::Glibc).expect("this machine has a glibc loader");
        let libc = host.cached("libc.so.6").expect("this machine has a libc");
        fs::copy(&libc, lib.join("libc.so.6")).unwrap();
        let loader = lib.join(host.loader.file_name().unwrap());
        copy(&host.loader, &loader);
        let set = LibcSet {
            libc: Libc::Glibc,
            version: String::new(),
            loader,
            directories: vec![lib],
            gconv: None,
            locale: None,
            origin: package("libc"),
        };
        Scene { dir, archive: Archive { root, set }, system }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = fs::canonicalize(self.dir.path()).unwrap().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn cc(&self, output: &str, source: &str, flags: &[&str], with: &[&Path]) -> PathBuf {
        let (out, c) = (self.path(output), self.path("source.c"));
        fs::write(&c, source).unwrap();
        let done =
            Command::new("cc").args(flags).arg("-o").arg(&out).arg(&c).args(with).arg("-Wl,--allow-shlib-undefined").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    }

    fn library(&self, output: &str, source: &str, with: &[&Path]) -> PathBuf {
        let name = Path::new(output).file_name().unwrap().to_str().unwrap();
        self.cc(output, source, &["-shared", "-fPIC", &format!("-Wl,-soname,{name}")], with)
    }

    fn plan(&self) -> TreePlan {
        tree::plan(&self.path("tree"), self, &Shared::default(), &patcher::Options::default(), &Silent).unwrap()
    }

    fn commit(&self, plan: &TreePlan) {
        tree::commit(plan, &patcher::Options::default(), &Default::default(), &Silent).unwrap();
    }
}

/// Copies what is started or is an interpreter. Another process does it: a child that another test forks while this one
/// has the file open for writing has it open too, and execve(2) says ETXTBSY.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-L").args([from, to]).status().unwrap().success());
}

/// Starts a copy, beside it, of a program that was committed to here.
fn started(program: &Path) -> Output {
    let beside = program.with_extension("copy");
    copy(program, &beside);
    let output = Command::new(&beside).env_clear().output().unwrap();
    fs::remove_file(beside).unwrap();
    output
}

/// The tree: a program that needs an own library and one of the archive, which needs another of the archive.
fn build(scene: &Scene) -> PathBuf {
    let deep = scene.library("packages/deep/lib/libdeep.so.1", "int deep(void){return 40;}", &[]);
    let far = scene.library("packages/far/lib/libfar.so.1", "int deep(void); int far(void){return deep()+1;}", &[&deep]);
    let own = scene.library("tree/lib/libown.so.1", "int far(void); int own(void){return far()+1;}", &[&far]);
    let source = "#include <stdio.h>\nint own(void); int main(void){printf(\"%d\\n\", own()); return 0;}";
    scene.cc("tree/bin/app", source, &["-Wl,--dynamic-linker=/nowhere/ld.so"], &[&own])
}

#[test]
fn libraries_of_an_archive_are_found_with_all_they_need() {
    let scene = Scene::new(true);
    let app = build(&scene);
    let plan = scene.plan();
    assert_eq!(plan.worlds.iter().map(|w| w.world).collect::<Vec<_>>(), [World::Archive]);
    let root = scene.path("packages").display().to_string();
    let said: Vec<(String, Tag, String)> = plan
        .changed()
        .map(|file| {
            let path = file.run_path.as_ref().unwrap();
            let new = path.new.to_str().unwrap().replace(&root, "PACKAGES");
            (file.path.file_name().unwrap().to_string_lossy().into_owned(), path.tag, new)
        })
        .collect();
    // The archive's libraries name no directories: who needs one names those of all that it needs, and they inherit.
    assert_eq!(
        said,
        [
            ("app".to_owned(), Tag::Rpath, "$ORIGIN/../lib:PACKAGES/libc/lib".to_owned()),
            ("libown.so.1".to_owned(), Tag::Rpath, "PACKAGES/far/lib:PACKAGES/deep/lib".to_owned()),
        ]
    );
    scene.commit(&plan);
    assert_eq!(tree::check(&plan, &Silent).unwrap(), []);
    let output = started(&app);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "42\n", "{}", String::from_utf8_lossy(&output.stderr));
    // What works now is left alone.
    assert_eq!(scene.plan().changed().count(), 0);
}

#[test]
fn an_archive_is_not_taken_if_it_does_not_help() {
    let scene = Scene::new(true);
    let stub = scene.library("stub/libnobody.so.1", "int nobody(void){return 1;}", &[]);
    scene.cc("tree/app", "int nobody(void); int main(void){return nobody();}", &[], &[&stub]);
    let plan = scene.plan();
    assert_eq!(plan.worlds[0].world, World::Host);
    assert_eq!(plan.worlds[0].passed_over, ["archive does not have more of what is missing"]);
    let problems: Vec<&Problem> = plan.files.iter().flat_map(|f| &f.problems).collect();
    let reason = "neither the tree nor this machine has it".to_owned();
    let package = Some("libnobody1 of test".to_owned());
    assert_eq!(problems, [&Problem::Missing { name: "libnobody.so.1".to_owned(), reason, package }]);
}

#[test]
fn a_machine_without_a_loader_is_answered_by_the_archive_alone() {
    let scene = Scene::new(false);
    let app = scene.cc("tree/app", "int main(void){return 3;}", &["-Wl,--dynamic-linker=/nowhere/ld.so"], &[]);
    let plan = scene.plan();
    assert_eq!(plan.worlds[0].world, World::Archive);
    scene.commit(&plan);
    assert_eq!(started(&app).status.code(), Some(3));
}

#[test]
fn a_file_that_cannot_be_edited_is_a_problem_and_stays() {
    let scene = Scene::new(true);
    let app = scene.cc("tree/app", "int main(void){return 3;}", &["-Wl,--dynamic-linker=/nowhere/ld.so"], &[]);
    // Its last segment claims to be longer than the file.
    let mut bytes = fs::read(&app).unwrap();
    let kind = |at: usize, bytes: &[u8]| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let load = (0..usize::from(bytes[56])).map(|i| 64 + i * 56).rfind(|at| kind(*at, &bytes) == 1).unwrap();
    bytes[load + 32..load + 40].copy_from_slice(&0x10_0000u64.to_le_bytes());
    fs::write(&app, &bytes).unwrap();
    let plan = scene.plan();
    let file = plan.files.iter().find(|file| file.path == app).unwrap();
    assert!(matches!(&file.problems[..], [Problem::Refused { .. }]), "{:?}", file.problems);
    assert!(!file.changes());
    scene.commit(&plan);
    assert_eq!(fs::read(&app).unwrap(), bytes);
}

#[test]
fn a_plan_is_data_too() {
    let scene = Scene::new(true);
    build(&scene);
    let json = serde_json::to_value(scene.plan()).unwrap();
    assert_eq!(json["files"][0]["interpreter"]["old"], "/nowhere/ld.so");
    assert_eq!(json["files"][0]["run_path"]["tag"], "RPATH");
    assert_eq!(json["files"][0]["kind"], "pie-executable");
    assert_eq!(json["worlds"][0]["world"], "archive");
}
