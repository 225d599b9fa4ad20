//! What a specification may say, and what each refusal names.

use super::*;

fn error(text: &str) -> String {
    parse(text, "t.toml").unwrap_err().to_string()
}

#[test]
fn everything_can_be_said() {
    let spec = parse(
        r#"
[fhs]
name = "tools"
packages = ["bash", "libc6:i386", "dir:/srv/app", "nix:/nix/store/abc-hello"]
multiarch = ["libgl1"]
base = false
include-closures = true
extra-outputs = ["dev"]
profile = "export A=1"
run = "bash"
etc = ["foo", "bar/baz"]
binds = ["/srv", { source = "/data", path = "/mnt/data", access = "read-only", optional = true }]
die-with-parent = true
chdir-to-pwd = false
private-tmp = true
unshare = { pid = true }
environment = { LANG = "C.UTF-8" }

[fhs.links]
"/usr/bin/vi" = "busybox"
[fhs.files]
"/etc/motd" = "hello\n"
[fhs.hooks]
build = "ln -s a /usr/bin/b"
enter = "umask 077"
"#,
        "t.toml",
    )
    .unwrap();
    let archive = |name: &str, arch: Option<&str>| Package::Archive { name: name.to_owned(), arch: arch.map(str::to_owned) };
    assert_eq!(
        spec,
        FhsSpec {
            name: Some("tools".to_owned()),
            packages: vec![
                archive("bash", None),
                archive("libc6", Some("i386")),
                Package::Directory("/srv/app".into()),
                Package::Nix("/nix/store/abc-hello".into())
            ],
            multiarch: vec!["libgl1".to_owned()],
            base: false,
            include_closures: true,
            extra_outputs: vec!["dev".to_owned()],
            links: BTreeMap::from([("/usr/bin/vi".into(), "busybox".into())]),
            files: BTreeMap::from([("/etc/motd".into(), "hello\n".to_owned())]),
            build_hook: Some("ln -s a /usr/bin/b".to_owned()),
            enter_hook: Some("umask 077".to_owned()),
            profile: Some("export A=1".to_owned()),
            run: vec!["bash".to_owned()],
            etc: vec!["foo".into(), "bar/baz".into()],
            binds: vec![
                Bind { source: "/srv".into(), path: "/srv".into(), access: BindAccess::ReadWrite, optional: false },
                Bind { source: "/data".into(), path: "/mnt/data".into(), access: BindAccess::ReadOnly, optional: true },
            ],
            unshare: Unshare { pid: true, ..Unshare::default() },
            die_with_parent: true,
            chdir_to_pwd: false,
            private_tmp: true,
            environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
        }
    );
}

#[test]
fn what_is_left_open_isolates_nothing() {
    assert_eq!(parse("[fhs]", "t").unwrap(), FhsSpec::default());
    assert_eq!(FhsSpec::default().unshare, Unshare::default());
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    let help = "; `xeno env build --help` shows one";
    assert_eq!(
        error("[fhs]\npackges = []"),
        format!("read specification t.toml: fhs.packges: there is no such key; did you mean packages?{help}")
    );
    assert_eq!(
        error("[fhs.hooks]\nquite-other = ''"),
        format!("read specification t.toml: fhs.hooks.quite-other: there is no such key; the keys are build, enter{help}")
    );
    assert_eq!(error("[fsh]"), format!("read specification t.toml: there is no table [fsh]; everything is in [fhs]{help}"));
    assert_eq!(error("[fhs]\nbase = 1"), format!("read specification t.toml: fhs.base: it must be true or false{help}"));
    assert!(error("[fhs]\nx = ").starts_with("read specification t.toml:2: "), "{}", error("[fhs]\nx = "));
}

#[test]
fn nothing_it_names_can_leave_its_place() {
    for (text, cause) in [
        ("packages = ['../x']", "no package is called so"),
        ("packages = ['-rf']", "no package is called so"),
        ("packages = ['a:b:c']", "no package is called so"),
        ("packages = ['bash:vax']", "there is no architecture vax"),
        ("packages = ['dir:x']", "the path is relative"),
        ("multiarch = ['bash:i386']", "is no plain name"),
        ("name = '../x'", "is no name"),
        ("etc = ['../shadow']", "is no name below /etc"),
        ("etc = ['/shadow']", "is no name below /etc"),
        ("binds = ['relative']", "is no absolute path"),
        ("binds = ['/a/../b']", "is no absolute path"),
        ("binds = [{ source = '/a', path = '/' }]", "in place of the root"),
        ("binds = [{ source = '/a', acess = 'x' }]", "did you mean access?"),
        ("links = { '/home/x' = 'y' }", "is no path in /usr or /etc"),
        ("links = { '/usr/../x' = 'y' }", "is no path in /usr or /etc"),
        ("links = { '/usr' = 'y' }", "is no path in /usr or /etc"),
        ("files = { 'etc/x' = 'y' }", "is no path in /usr or /etc"),
        ("environment = { 'A=B' = 'c' }", "is no variable's name"),
        ("links = { '/usr/x' = 'y' }\nfiles = { '/usr/x' = 'y' }", "is both a link and a file"),
    ] {
        let said = error(&format!("[fhs]\n{text}"));
        assert!(said.contains(cause), "{text}: {said}");
    }
    assert!(error("[fhs]\nprofile = \"a\\u0000\"").contains("it has a NUL byte"));
    assert!(error(&format!("[fhs]\nmultiarch = [{}]", "'ab',".repeat(ITEMS_MAX + 1))).contains("more than 10000 items"));
}

#[test]
fn an_including_file_lies_over_the_included_and_loops_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "base.toml",
        "[fhs]\nname = 'base'\npackages = ['bash']\nprofile = 'A=1'\nprivate-tmp = true\nunshare = { pid = true, ipc = true }",
    );
    write("top.toml", "[fhs]\ninclude = ['base.toml']\nname = 'top'\npackages = ['dir:x']\nprofile = 'B=2'\nunshare = { ipc = false }");
    let spec = load(&dir.path().join("top.toml")).unwrap();
    assert_eq!(spec.name.as_deref(), Some("top"));
    let real = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(spec.packages, [Package::Directory(real.join("x")), Package::Archive { name: "bash".to_owned(), arch: None }]);
    assert_eq!(spec.profile.as_deref(), Some("A=1\nB=2"));
    assert_eq!((spec.private_tmp, spec.unshare.pid, spec.unshare.ipc), (true, true, false));
    write("a.toml", "[fhs]\ninclude = ['b.toml']");
    write("b.toml", "[fhs]\ninclude = ['a.toml']");
    let said = load(&dir.path().join("a.toml")).unwrap_err().to_string();
    assert!(said.contains("it includes itself: ") && said.contains("a.toml -> ") && said.contains("b.toml -> "), "{said}");
    // A tree without loops that grows exponentially ends as well.
    for n in 0..20 {
        write(&format!("n{n}.toml"), &format!("[fhs]\ninclude = ['n{0}.toml', 'n{0}.toml']", n + 1));
    }
    write("n20.toml", "[fhs]");
    assert!(load(&dir.path().join("n0.toml")).unwrap_err().to_string().contains("more than 64 files include each other"));
}
