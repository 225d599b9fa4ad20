//! How the drivers of written-down hosts and farms are chosen and shown. No host is looked at.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use launch::fhs::host::drivers::choose::{Library, World, choose};
use launch::fhs::host::drivers::manifest::{Kind, Manifest, Named};
use launch::fhs::host::drivers::{Drivers, driver_ops, driver_variables};
use launch::fhs::host::{Farm, HostView, Scene, etc_ops};
use launch::fhs::mode::{Mode, SandboxOptions};
use resolver::arch::Arch;
use std::path::{Path, PathBuf};

/// `soname file [version …]`, the file relative to a directory.
fn world(directory: &str, lines: &[&str]) -> World {
    let one = |line: &&str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let path = Path::new(directory).join(words.next().unwrap());
        (name, Library { path, versions: words.map(str::to_owned).collect() })
    };
    World { arch: Arch::from_short("x86_64").unwrap(), libraries: lines.iter().map(one).collect() }
}

fn taken(host: &World, farm: &World) -> Vec<String> {
    choose(host, farm).unwrap().taken.iter().map(|(name, path)| format!("{name} = {}", path.display())).collect()
}

const OLD: &str = "libc.so.6 libc.so.6 GLIBC_2.2.5 GLIBC_2.36";
const NEW: &str = "libc.so.6 libc.so.6 GLIBC_2.2.5 GLIBC_2.36 GLIBC_2.41 GLIBC_PRIVATE";

#[test]
fn the_newer_glibc_is_taken_whole_and_an_equal_one_is_the_environments() {
    let host = |libc| world("/h", &[libc, "libm.so.6 libm.so.6", "libGLX_x.so.0 libGLX_x.so.0.1", "ld-linux-x86-64.so.2 ld.so"]);
    let glx = "libGLX_x.so.0 = /h/libGLX_x.so.0.1";
    let all = ["ld-linux-x86-64.so.2 = /h/ld.so", glx, "libc.so.6 = /h/libc.so.6", "libm.so.6 = /h/libm.so.6"];
    assert_eq!(taken(&host(NEW), &world("/f", &[OLD])), all);
    assert_eq!(taken(&host(OLD), &world("/f", &[NEW])), [glx]);
    assert_eq!(taken(&host(NEW), &world("/f", &[NEW])), [glx]);
    assert!(choose(&host(NEW), &world("/f", &[OLD])).unwrap().glibc);
    assert_eq!(choose(&host(NEW), &world("/f", &["libz.so.1 libz.so.1"])), None, "a farm without a C library starts nothing");
}

#[test]
fn of_two_files_the_one_with_more_versions_or_the_higher_number_is_newer() {
    let host = world(
        "/h",
        &[
            OLD,
            "libstdc++.so.6 libstdc++.so.6.0.30 GLIBCXX_3.4 GLIBCXX_3.4.30",
            "libz.so.1 libz.so.1.3.1 ZLIB_1.2",
            "libdrm.so.2 libdrm.so.2.123.0",
            "libexpat.so.1 libexpat.so.1.9.1",
            "libLLVM.so.19 libLLVM.so.19",
            "libffi.so.8 libffi.so.8",
        ],
    );
    let farm = world(
        "/f",
        &[
            NEW,
            "libstdc++.so.6 libstdc++.so.6.0.33 GLIBCXX_3.4 GLIBCXX_3.4.30 GLIBCXX_3.4.33",
            "libz.so.1 libz.so.1.2.13 ZLIB_1.2",
            "libdrm.so.2 libdrm.so.2.123.0",
            "libexpat.so.1 libexpat.so.1.10.1",
            "libffi.so.8 libffi.so.8.1.4",
        ],
    );
    let choice = choose(&host, &farm).unwrap();
    let names: Vec<&str> = choice.taken.keys().map(String::as_str).collect();
    assert_eq!(names, ["libLLVM.so.19", "libdrm.so.2", "libffi.so.8", "libz.so.1"]);
    assert_eq!(
        choice.reasons,
        [
            "x86_64 libc.so.6: the environment's (the environment's glibc is as new)",
            "x86_64 libdrm.so.2: the host's (both are the same age)",
            "x86_64 libexpat.so.1: the environment's (its file has the higher number)",
            "x86_64 libffi.so.8: the host's (nothing tells their age)",
            "x86_64 libstdc++.so.6: the environment's (it defines more versions)",
            "x86_64 libz.so.1: the host's (its file has the higher number)",
        ]
    );
}

#[test]
fn the_dispatcher_comes_from_one_side() {
    let host =
        world("/h", &[OLD, "libGLX.so.0 libGLX.so.0.9.0", "libGLdispatch.so.0 libGLdispatch.so.0.9.0", "libEGL_v.so.0 libEGL_v.so.0"]);
    let with = world("/f", &[OLD, "libGLdispatch.so.0 libGLdispatch.so.0.0.0", "libGL.so.1 libGL.so.1.7.0"]);
    assert_eq!(taken(&host, &with), ["libEGL_v.so.0 = /h/libEGL_v.so.0"]);
    assert_eq!(choose(&host, &world("/f", &[OLD])).unwrap().taken.len(), 3, "a farm without one gets the host's");
}

#[test]
fn manifests_name_libraries_by_path_or_name_and_keep_everything_else() {
    let text = br#"{"file_format_version":"1.0.1","ICD":{"library_path":"/usr/lib/libvulkan_x.so","api_version":"1.3.2"}}"#;
    let manifest = Manifest::parse(Kind::VulkanDriver, Path::new("/usr/share/vulkan/icd.d/x_icd.x86_64.json"), text).unwrap();
    assert_eq!(manifest.libraries(), [Named::Path("/usr/lib/libvulkan_x.so".into())]);
    let inside = manifest.inside(&|path| Path::new("/.host").join(path.strip_prefix("/").unwrap()));
    let expected = r#"{"ICD":{"api_version":"1.3.2","library_path":"/.host/usr/lib/libvulkan_x.so"},"file_format_version":"1.0.1"}"#;
    let same = |a: &str, b: &str| {
        assert_eq!(serde_json::from_str::<serde_json::Value>(a).unwrap(), serde_json::from_str::<serde_json::Value>(b).unwrap())
    };
    same(&inside, expected);
    assert_eq!(manifest.name(3), "x_icd.x86_64-3.json");
    let layers = br#"{"layers":[{"name":"a","library_path":"../l/liba.so"},{"name":"b","library_path":"libb.so"}]}"#;
    let layers = Manifest::parse(Kind::VulkanImplicitLayer, Path::new("/etc/vulkan/implicit_layer.d/l.json"), layers).unwrap();
    let expected = [Named::Path("/etc/vulkan/implicit_layer.d/../l/liba.so".into()), Named::Soname("libb.so".into())];
    assert_eq!(layers.libraries(), expected);
    for damaged in ["", "{", "[]", "{\"ICD\":{\"library_path\":7}}", &"[".repeat(100_000)] {
        assert_eq!(Manifest::parse(Kind::EglVendor, Path::new("/x.json"), damaged.as_bytes()), None);
    }
}

fn drivers() -> Drivers {
    Drivers {
        layer: "/s/cache/drivers/k".into(),
        manifests: vec![("glvnd/egl_vendor.d".into(), "egl_vendor.d".into()), ("vulkan/icd.d".into(), "icd.d".into())],
        loaders: vec![("/usr/lib/ld-linux-x86-64.so.2".into(), "/lib64/ld-linux-x86-64.so.2".into())],
        variables: vec![("LIBGL_DRIVERS_PATH".into(), vec!["/.host/usr/lib/dri".into(), "/.host/usr/lib32/dri".into()])],
        gconv: vec!["/.host/usr/lib/gconv".into()],
        directories: vec!["/usr/lib".into(), "/opt/gpu/lib".into()],
        reasons: Vec::new(),
    }
}

fn lines(scene: &Scene<'_>) -> Vec<String> {
    driver_ops(scene).iter().map(ToString::to_string).collect()
}

#[test]
fn drivers_are_a_cache_manifests_and_a_newer_loader() {
    let (host, farm, drivers) = (HostView { aside: "/.host".into(), ..HostView::default() }, Farm::default(), drivers());
    let scene = Scene { host: &host, mode: &Mode::Compat, farm: &farm, private_tmp: false, drivers: Some(&drivers), bus: None };
    let expected = [
        "link /etc/ld.so.cache -> /s/cache/drivers/k/ld.so.cache",
        "link /etc/glvnd/egl_vendor.d -> /s/cache/drivers/k/egl_vendor.d",
        "link /etc/vulkan/icd.d -> /s/cache/drivers/k/icd.d",
        "bind /usr/lib/ld-linux-x86-64.so.2 at /lib64/ld-linux-x86-64.so.2 read-only",
    ];
    assert_eq!(lines(&scene), expected);
    let mode = Mode::Sandbox(SandboxOptions { home: "/h".into(), paths: Vec::new(), network: false, ..SandboxOptions::default() });
    let shown = [
        "bind /usr/lib at /.host/usr/lib read-only, if it exists",
        "bind /opt/gpu/lib read-only, if it exists",
        "bind /s/cache/drivers/k read-only",
    ];
    assert_eq!(lines(&Scene { mode: &mode, ..scene }), [&shown[..], &expected[..]].concat());
}

#[test]
fn what_the_drivers_say_in_etc_the_farm_does_not() {
    let farm = Farm { etc: ["ld.so.cache", "ld.so.conf", "vulkan"].map(PathBuf::from).to_vec(), ..Farm::default() };
    let (host, drivers) = (HostView::default(), drivers());
    let scene = Scene { host: &host, mode: &Mode::Compat, farm: &farm, private_tmp: false, drivers: Some(&drivers), bus: None };
    let of_farm = |scene: &Scene<'_>| -> Vec<String> {
        etc_ops(scene).iter().map(ToString::to_string).filter(|line| line.contains("/usr/etc")).collect()
    };
    assert_eq!(of_farm(&scene), ["link /etc/ld.so.conf -> /usr/etc/ld.so.conf"]);
    assert_eq!(of_farm(&Scene { drivers: None, ..scene }).len(), 3);
}

#[test]
fn a_callers_variables_win_and_lead_to_the_same_files() {
    let variables = [("LIBGL_DRIVERS_PATH", "/usr/lib/mine:/opt/dri"), ("VDPAU_DRIVER_PATH", "/usr/lib/vdpau")];
    let variables = variables.iter().map(|(n, v)| (n.into(), v.into())).collect();
    let (plain, given) =
        (HostView { aside: "/.host".into(), ..HostView::default() }, HostView { aside: "/.host".into(), variables, ..HostView::default() });
    let (farm, drivers) = (Farm::default(), drivers());
    let scene = Scene { host: &plain, mode: &Mode::Compat, farm: &farm, private_tmp: false, drivers: Some(&drivers), bus: None };
    let shown = |scene: &Scene<'_>| -> Vec<String> {
        driver_variables(scene).iter().map(|(n, v)| format!("{}={}", n.display(), v.as_ref().unwrap().display())).collect()
    };
    assert_eq!(shown(&scene), ["LIBGL_DRIVERS_PATH=/.host/usr/lib/dri:/.host/usr/lib32/dri", "GCONV_PATH=/.host/usr/lib/gconv"]);
    assert_eq!(
        shown(&Scene { host: &given, ..scene }),
        ["LIBGL_DRIVERS_PATH=/.host/usr/lib/mine:/opt/dri", "VDPAU_DRIVER_PATH=/.host/usr/lib/vdpau", "GCONV_PATH=/.host/usr/lib/gconv"]
    );
    assert!(shown(&Scene { drivers: None, ..scene }).is_empty());
}
