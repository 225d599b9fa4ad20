//! Hostile and odd packages: nothing lands outside the tree, whatever a member is called.
#![allow(missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod standin;

use standin::{Member, deb, deb_with, gzip, skipped, tar_of};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use store::Kind;
use store::atomic::TreeBuilder;
use store::deb::{Limits, Unpacker};

/// Name, type flag, link target, data.
type Raw<'a> = (&'a str, u8, &'a str, &'a [u8]);

/// A tar archive of raw headers: the `tar` crate's builder is too polite for these.
fn raw_tar(members: &[Raw<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link, data) in members {
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        bytes[156] = *kind;
        header.set_mode(0o4755);
        header.set_size(data.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn unpack_limited(bytes: &[u8], base: &Path, limits: Limits) -> Result<TreeBuilder, store::Error> {
    let file = base.join("p.deb");
    fs::write(&file, bytes).unwrap();
    let parent = base.join("store");
    fs::create_dir_all(&parent).unwrap();
    let tree = TreeBuilder::new(&parent)?;
    let mut unpacker = Unpacker::new(&tree, limits);
    unpacker.add(fs::File::open(&file).unwrap(), "p")?;
    unpacker.finish()?;
    Ok(tree)
}

fn unpack(bytes: &[u8], base: &Path) -> Result<TreeBuilder, store::Error> {
    unpack_limited(bytes, base, Limits::default())
}

#[test]
fn members_that_could_leave_the_tree_are_refused_and_nothing_stays() {
    let cases: &[(&[Raw<'_>], &str)] = &[
        (&[("../evil", b'0', "", b"x")], "'../evil' leaves its directory"),
        (&[("./usr/../../evil", b'0', "", b"x")], "'./usr/../../evil' leaves its directory"),
        (&[("/evil", b'0', "", b"x")], "'/evil' is no relative name"),
        (&[("d", b'2', "/tmp", b""), ("d/evil", b'0', "", b"x")], "'d/evil' goes through 'd', which is no directory"),
        (&[("d", b'2', "..", b""), ("d", b'5', "", b"")], "'d' is there twice"),
        (&[("f", b'2', "/etc/passwd", b""), ("f", b'0', "", b"x")], "'f' is there twice"),
        (&[("h", b'1', "/etc/passwd", b"")], "'/etc/passwd' is no relative name"),
        (&[("h", b'1', "../../p.deb", b"")], "'../../p.deb' leaves its directory"),
        (&[("l", b'2', "/etc/passwd", b""), ("h", b'1', "l", b"")], "'h' is a hard link to 'l', which is no file of the package"),
        (&[("null", b'3', "", b"")], "'null' is a device, a pipe or of unknown kind"),
        (&[("pipe", b'6', "", b"")], "'pipe' is a device, a pipe or of unknown kind"),
    ];
    for (members, cause) in cases {
        let base = tempfile::tempdir().unwrap();
        let error = unpack(&deb_with("data.tar", &raw_tar(members)), base.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed);
        assert_eq!(error.cause(), *cause);
        assert_eq!(fs::read_dir(base.path().join("store")).unwrap().count(), 0);
        assert!(!base.path().join("evil").exists() && !Path::new("/tmp/evil").exists());
    }
}

#[test]
fn modes_times_and_links_are_canonical() {
    let base = tempfile::tempdir().unwrap();
    let bytes = deb_with(
        "data.tar",
        &raw_tar(&[
            ("./usr/bin/tool", b'0', "", b"#!"),
            ("./usr/bin/same", b'1', "./usr/bin/tool", b""),
            ("./usr/lib64", b'2', "/usr/lib", b""),
            ("./usr/lib/l.so", b'2', "/lib/l.so.1", b""),
            ("./usr/lib/l.so.1", b'0', "", b"l"),
            ("./usr/lib/away", b'2', "/etc/alternatives/x", b""),
        ]),
    );
    let tree = unpack(&bytes, base.path()).unwrap();
    let at = |path: &str| tree.path().join(path);
    // 04755 in the archive: the set-user-id bit is gone.
    assert_eq!(fs::metadata(at("usr/bin/tool")).unwrap().permissions().mode() & 0o7777, 0o555);
    assert_eq!(fs::metadata(at("usr/bin")).unwrap().permissions().mode() & 0o7777, 0o755);
    for path in ["usr", "usr/bin/same", "usr/lib/away"] {
        assert_eq!(fs::symlink_metadata(at(path)).unwrap().mtime(), 1, "{path}");
    }
    assert_eq!(fs::read_link(at("usr/lib64")).unwrap(), Path::new("lib"));
    // `/lib` is `/usr/lib` on an installed system.
    assert_eq!(fs::read_link(at("usr/lib/l.so")).unwrap(), Path::new("l.so.1"));
    assert_eq!(fs::read_link(at("usr/lib/away")).unwrap(), Path::new("/etc/alternatives/x"));
}

#[test]
fn limits_on_members_and_bytes_hold_while_unpacking() {
    let base = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    let members: Vec<Member<'_>> = many.iter().map(|n| Member::File(n, b"x".to_vec())).collect();
    let limits = Limits { entries: 10, bytes: 1 << 20 };
    assert_eq!(unpack_limited(&deb(&members), base.path(), limits).unwrap_err().cause(), "more than 10 files");
    // A bomb: 8 MiB of zeros in a few KB.
    let bomb = deb(&[Member::File("zeros", vec![0; 8 << 20])]);
    assert_eq!(unpack_limited(&bomb, base.path(), limits).unwrap_err().cause(), "more than 1048576 bytes");
}

#[test]
fn what_is_no_package_is_said_to_be_none() {
    let base = tempfile::tempdir().unwrap();
    for (bytes, cause) in [
        (b"hello".to_vec(), "not a Debian package"),
        (b"!<arch>\n".to_vec(), "it has no data archive"),
        (deb_with("data.tar.lzma", b"x"), "its data is compressed as '.lzma', which is not supported"),
        (deb_with("data.tar.zst", b"not zstd"), "bad zstd data"),
        (deb_with("data.tar.xz", b"not xz at all, and long enough to be read as a header"), "damaged archive"),
        (deb_with("data.tar.gz", &gzip(b"short")), "damaged archive"),
    ] {
        let error = unpack(&bytes, base.path()).unwrap_err();
        assert!(error.cause().starts_with(cause), "{error}");
    }
}

fn filter(program: &str, input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take()?.write_all(input).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn every_compression_gives_the_same_tree() {
    let base = tempfile::tempdir().unwrap();
    let data = tar_of(&[Member::File("usr/lib/libx.so.1", vec![7; 100_000]), Member::Link("usr/lib/libx.so", "libx.so.1")]);
    let plain = unpack(&deb_with("data.tar", &data), base.path()).unwrap();
    let expected = store::nar::hash_tree(plain.path()).unwrap();
    let mut packed = vec![("data.tar.gz", gzip(&data))];
    for (name, program) in [("data.tar.xz", "xz"), ("data.tar.zst", "zstd")] {
        match filter(program, &data) {
            Some(bytes) => packed.push((name, bytes)),
            None => {
                skipped(&format!("{program} is not installed"));
            }
        }
    }
    for (name, bytes) in packed {
        let tree = unpack(&deb_with(name, &bytes), base.path()).unwrap();
        assert_eq!(store::nar::hash_tree(tree.path()).unwrap(), expected, "{name}");
    }
}
