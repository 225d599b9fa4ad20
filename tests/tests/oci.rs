//! An environment as an OCI image layout: every digest and size is true, the same input gives the same bytes, no file of
//! the host's gets in by a link, and podman runs it as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use store::atomic::{TreeBuilder, commit_trees};
use wrap::oci::{self, Config, Item, Plan, Sources};

/// A farm over a store, as an environment is one: merged directories, links to the store, files of its own.
struct Farm {
    dir: tempfile::TempDir,
}

impl Farm {
    fn new() -> Farm {
        let farm = Farm { dir: tempfile::tempdir().unwrap() };
        for directory in [
            "store/abc-tool/usr/bin",
            "store/abc-tool/usr/lib",
            "store/abc-tool/usr/share/data",
            "root/usr/bin",
            "root/usr/lib",
            "root/usr/share",
            "root/etc",
        ] {
            fs::create_dir_all(farm.path(directory)).unwrap();
        }
        support::copy(&xeno_tests::fixture("hello-x86_64-bare-static"), &farm.path("store/abc-tool/usr/bin/hello"));
        farm.file("store/abc-tool/usr/lib/libx.so.1.2", "library");
        farm.file("store/abc-tool/usr/share/data/text", "text");
        symlink("libx.so.1.2", farm.path("store/abc-tool/usr/lib/libx.so.1")).unwrap();
        symlink("usr/bin", farm.path("root/bin")).unwrap();
        for linked in ["usr/bin/hello", "usr/lib/libx.so.1", "usr/lib/libx.so.1.2", "usr/share/data"] {
            symlink(farm.path("store/abc-tool").join(linked), farm.path("root").join(linked)).unwrap();
        }
        farm.file("root/etc/os-release", "ID=test\n");
        farm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources { root: self.path("root"), from: vec![self.path("store")], ..Sources::default() }
    }

    fn plan(&self) -> Plan {
        Plan::of(&self.sources()).unwrap()
    }

    /// Writes the image's layout.
    fn write(&self, name: &str) -> PathBuf {
        let (tree, out) = (TreeBuilder::new(self.dir.path()).unwrap(), self.path(name));
        oci::write(&self.plan(), &config(), &tree).unwrap();
        commit_trees(vec![(tree, out.clone())]).unwrap();
        out
    }
}

fn config() -> Config {
    Config {
        name: "test".to_owned(),
        architecture: oci::platform(std::env::consts::ARCH).to_owned(),
        variables: vec![("PATH".into(), "/usr/bin:/bin".into()), ("A".into(), "b=c".into()), ("no=name".into(), "x".into())],
        command: vec!["/bin/hello".into()],
        ..Config::default()
    }
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The blob that a descriptor names, whose digest and size have to be true.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let name = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(name.strip_prefix("sha256:").unwrap())).unwrap();
    assert_eq!((digest(&bytes).as_str(), bytes.len() as u64), (name, descriptor["size"].as_u64().unwrap()));
    bytes
}

#[test]
fn a_link_to_a_package_becomes_the_file_and_a_link_within_the_root_stays_one() {
    let farm = Farm::new();
    let items = farm.plan().items;
    let file = |source: &str| Item::File { source: fs::canonicalize(farm.path(source)).unwrap(), executable: false };
    let at = |path: &str| items.get(Path::new(path)).unwrap_or_else(|| panic!("no {path}"));
    assert_eq!(at("bin"), &Item::Link("usr/bin".into()));
    assert!(matches!(at("usr/bin/hello"), Item::File { executable: true, .. }));
    // One file with two names stays one file: the loader knows a library by its inode.
    assert_eq!(at("usr/lib/libx.so.1"), &file("store/abc-tool/usr/lib/libx.so.1.2"));
    assert_eq!(at("usr/lib/libx.so.1.2"), &Item::Again("usr/lib/libx.so.1".into()));
    assert_eq!(at("usr/share/data"), &Item::Directory(0o755));
    assert_eq!(at("usr/share/data/text"), &file("store/abc-tool/usr/share/data/text"));
    assert_eq!(at("etc/os-release"), &file("root/etc/os-release"));
    assert_eq!(at("tmp"), &Item::Directory(0o1777));
    assert!(matches!(at("etc/passwd"), Item::Bytes(_)));
}

#[test]
fn a_link_out_of_what_was_named_never_brings_the_file_behind_it() {
    let farm = Farm::new();
    farm.file("secret", "secret");
    symlink(farm.path("secret"), farm.path("root/etc/shadow")).unwrap();
    symlink("../../../../secret", farm.path("store/abc-tool/usr/share/data/up")).unwrap();
    symlink("/no/such/file", farm.path("root/etc/dangling")).unwrap();
    let items = farm.plan().items;
    assert_eq!(items[Path::new("etc/shadow")], Item::Link(farm.path("secret")));
    assert_eq!(items[Path::new("usr/share/data/up")], Item::Link("../../../../secret".into()));
    assert_eq!(items[Path::new("etc/dangling")], Item::Link("/no/such/file".into()));
}

#[test]
fn what_an_environment_has_of_its_host_is_left_out_and_stood_in_for() {
    let farm = Farm::new();
    symlink("/.host/etc/passwd", farm.path("root/etc/passwd")).unwrap();
    symlink("/.host/etc/machine-id", farm.path("root/etc/machine-id")).unwrap();
    let items = Plan::of(&Sources { without: vec!["/.host".into()], ..farm.sources() }).unwrap().items;
    assert!(matches!(items[Path::new("etc/passwd")], Item::Bytes(_)));
    assert_eq!(items.get(Path::new("etc/machine-id")), None);
}

#[test]
fn a_root_that_is_only_usr_gets_the_links_that_entering_adds() {
    let farm = Farm::new();
    fs::create_dir_all(farm.path("root/usr/lib64")).unwrap();
    fs::create_dir_all(farm.path("root/usr/etc/fonts")).unwrap();
    farm.file("root/usr/etc/os-release", "ID=other\n");
    farm.file("root/usr/etc/group", "root:x:0:\n");
    let items = farm.plan().items;
    let links: Vec<_> =
        items.iter().filter(|(path, _)| path.components().count() == 1).map(|(path, item)| (path.to_str().unwrap(), item)).collect();
    let expected =
        [("bin", Item::Link("usr/bin".into())), ("lib", Item::Link("usr/lib".into())), ("lib64", Item::Link("usr/lib64".into()))];
    assert_eq!(
        links.into_iter().filter(|(_, item)| matches!(item, Item::Link(_))).collect::<Vec<_>>(),
        expected.iter().map(|(path, item)| (*path, item)).collect::<Vec<_>>()
    );
    assert_eq!(items[Path::new("etc/fonts")], Item::Link("/usr/etc/fonts".into()));
    assert_eq!(items[Path::new("etc/group")], Item::Link("/usr/etc/group".into()));
    assert!(matches!(items[Path::new("etc/os-release")], Item::File { .. }), "its own stays");
}

#[test]
fn a_link_to_its_own_path_brings_what_the_host_has_there_and_only_if_it_was_named() {
    let farm = Farm::new();
    symlink("/bin/sh", farm.path("root/usr/bin/sh")).unwrap();
    symlink("/etc/passwd", farm.path("root/etc/passwd")).unwrap();
    let named = Sources { from: vec!["/usr".into(), "/bin".into()], ..farm.sources() };
    let shell = Item::File { source: fs::canonicalize("/bin/sh").unwrap(), executable: true };
    let items = Plan::of(&named).unwrap().items;
    // `/bin/sh` of the root is its `/usr/bin/sh`: read inside, that link leads to itself.
    assert_eq!(items[Path::new("usr/bin/sh")], shell);
    assert_eq!(items[Path::new("etc/passwd")], Item::Link("/etc/passwd".into()));
}

#[test]
fn trees_are_added_at_their_path_and_links_to_them_lead_there() {
    let farm = Farm::new();
    let trees = vec![("/nix/store/abc-tool".into(), farm.path("store/abc-tool"))];
    let items = Plan::of(&Sources { trees, ..farm.sources() }).unwrap().items;
    assert_eq!(items[Path::new("usr/bin/hello")], Item::Link("/nix/store/abc-tool/usr/bin/hello".into()));
    assert!(matches!(items[Path::new("nix/store/abc-tool/usr/bin/hello")], Item::File { executable: true, .. }));
    assert_eq!(items[Path::new("nix")], Item::Directory(0o755));
    let up = Plan::of(&Sources { trees: vec![("/../x".into(), farm.path("store"))], ..farm.sources() });
    assert_eq!(up.unwrap_err().to_string(), r#"exporting "/../x": it leaves the image; leave it out of the environment"#);
}

#[test]
fn what_a_layer_cannot_hold_is_refused() {
    let farm = Farm::new();
    farm.file("root/etc/.wh.passwd", "");
    let said = Plan::of(&farm.sources()).unwrap_err().to_string();
    assert_eq!(
        said,
        r#"exporting "etc/.wh.passwd": names that begin with .wh. mean something else in a layer; leave it out of the environment"#
    );
    fs::remove_file(farm.path("root/etc/.wh.passwd")).unwrap();
    symlink(farm.path("store/abc-tool/usr/share"), farm.path("store/abc-tool/usr/share/data/loop")).unwrap();
    let said = Plan::of(&farm.sources()).unwrap_err().to_string();
    assert!(said.contains("it is deeper than 64 directories"), "{said}");
}

#[test]
fn every_digest_and_size_is_true_and_the_layer_has_what_was_planned() {
    let farm = Farm::new();
    let long = format!("root/usr/share/{}/{}", "d".repeat(120), "f".repeat(150));
    fs::create_dir_all(farm.path(&long).parent().unwrap()).unwrap();
    farm.file(&long, "long");
    let layout = farm.write("image");
    assert_eq!(parsed(&layout.join("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let index = parsed(&layout.join("index.json"));
    let described = &index["manifests"][0];
    assert_eq!(described["annotations"], json!({"org.opencontainers.image.ref.name": "test"}));
    let manifest: Value = serde_json::from_slice(&blob(&layout, described)).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let image: Value = serde_json::from_slice(&blob(&layout, &manifest["config"])).unwrap();
    let execution = json!({"Env": ["PATH=/usr/bin:/bin", "A=b=c"], "Cmd": ["/bin/hello"], "WorkingDir": "/"});
    assert_eq!((&image["config"], &image["os"]), (&execution, &json!("linux")));
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(&blob(&layout, &manifest["layers"][0])[..]).read_to_end(&mut archive).unwrap();
    assert_eq!(image["rootfs"], json!({"type": "layers", "diff_ids": [digest(&archive)]}));
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1));
        let (mode, kind) = (header.mode().unwrap(), header.entry_type());
        let path = entry.path().unwrap().into_owned();
        let link = entry.link_name().unwrap().map(|target| target.into_owned());
        let mut content = String::new();
        if kind.is_file() && !path.ends_with("hello") {
            entry.read_to_string(&mut content).unwrap();
        }
        found.insert(path, (mode, link, content));
    }
    let plan = farm.plan();
    assert_eq!(found.keys().map(PathBuf::as_path).collect::<Vec<_>>(), plan.items.keys().map(PathBuf::as_path).collect::<Vec<_>>());
    let is = |path: &str, mode: u32, link: Option<&str>, content: &str| {
        assert_eq!(found[Path::new(path)], (mode, link.map(PathBuf::from), content.to_owned()), "{path}");
    };
    is("bin", 0o777, Some("usr/bin"), "");
    is("usr/bin/hello", 0o755, None, "");
    is("usr/lib/libx.so.1", 0o644, None, "library");
    is("usr/lib/libx.so.1.2", 0o644, Some("usr/lib/libx.so.1"), "");
    is("tmp", 0o1777, None, "");
    is(long.strip_prefix("root/").unwrap(), 0o644, None, "long");
}

#[test]
fn the_same_environment_gives_the_same_bytes_wherever_and_whenever_it_is_exported() {
    let all = |layout: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        let files = blobs.chain([layout.join("index.json"), layout.join("oci-layout")]);
        files.map(|path| (path.strip_prefix(layout).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
    };
    let (one, two) = (Farm::new(), Farm::new());
    // Other times, other modes of files that nobody else may read, another order in the directories.
    fs::File::open(two.path("root/etc/os-release")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::set_permissions(two.path("store/abc-tool/usr/share/data/text"), fs::Permissions::from_mode(0o600)).unwrap();
    let link = two.path("root/usr/lib/libx.so.1");
    let target = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(target, link).unwrap();
    assert_eq!(all(&one.write("image")), all(&two.write("elsewhere")));
}

#[test]
fn podman_runs_the_layout_as_it_is() {
    let (Some(podman), Some(_)) = (xeno_tests::peer("podman"), runc()) else { return };
    if !support::is_root() {
        xeno_tests::skip("podman without root needs ranges of user ids, which this user may not have; run as root");
        return;
    }
    let farm = Farm::new();
    let layout = farm.write("image");
    let said = |words: &[&str]| {
        let mut command = Command::new(&podman);
        command.arg("--root").arg(farm.path("podman")).arg("--runroot").arg(farm.path("podman-run")).args(["--storage-driver", "vfs"]);
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=10000:10000", "--network", "none"]);
        // It makes a name of the path, and names are lowercase: relative, as the temporary directory's is not.
        let output = command.arg("oci:image").args(words).current_dir(layout.parent().unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", support::both_streams(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let direct = Command::new(farm.path("store/abc-tool/usr/bin/hello")).output().unwrap().stdout;
    assert_eq!(said(&[]), String::from_utf8(direct.clone()).unwrap());
    assert_eq!(said(&["/usr/bin/hello"]), String::from_utf8(direct).unwrap());
}

/// The runtime podman is told to use lies in `sbin`.
fn runc() -> Option<PathBuf> {
    let found = ["/usr/sbin/runc", "/usr/bin/runc", "/sbin/runc"].iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        xeno_tests::skip("runc is not installed");
    }
    found
}
