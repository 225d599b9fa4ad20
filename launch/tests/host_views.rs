//! What environments show of written-down hosts: every step in words. No host is looked at.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use fhs_env::{Access, EntryKind, HostEntry};
use launch::fhs::host::{
    Address, EtcEntry, Farm, HostView, Scene, Service, Socket, User, etc_ops, ops, socket_ops, sockets, top_level_ops, variables,
};
use launch::fhs::mode::{Mode, SandboxOptions};
use std::ffi::OsString;
use std::path::PathBuf;

/// `name`, `name -> target`, or `name *` for what is no directory.
fn top(lines: &[&str]) -> Vec<HostEntry> {
    let one = |line: &&str| match (line.split_once(" -> "), line.strip_suffix(" *")) {
        (Some((name, target)), _) => HostEntry { name: name.into(), kind: EntryKind::Symlink(target.into()) },
        (None, Some(name)) => HostEntry { name: name.into(), kind: EntryKind::File },
        (None, None) => HostEntry { name: line.into(), kind: EntryKind::Directory },
    };
    lines.iter().map(one).collect()
}

fn etc(lines: &[&str]) -> Vec<EtcEntry> {
    let one = |line: &&str| match line.split_once(" -> ") {
        Some((name, target)) => EtcEntry { name: name.into(), link: Some(target.into()) },
        None => EtcEntry { name: line.into(), link: None },
    };
    lines.iter().map(one).collect()
}

fn set(variables: &[(&str, &str)]) -> std::collections::BTreeMap<OsString, OsString> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn user() -> User {
    User { uid: 1000, gid: 100, name: "ann".into(), home: "/home/ann".into(), shell: "/bin/bash".into() }
}

/// A merged-/usr Debian with a display.
fn debian() -> HostView {
    HostView {
        top: top(&[
            "bin -> usr/bin",
            "dev",
            "etc",
            "home",
            "lib -> usr/lib",
            "lib64 -> usr/lib64",
            "media",
            "mnt",
            "proc",
            "root",
            "run",
            "swapfile *",
            "sys",
            "tmp",
            "usr",
            "var",
            "vmlinuz -> boot/vmlinuz",
        ]),
        etc: etc(&[
            "fonts",
            "group",
            "hosts",
            "localtime -> /usr/share/zoneinfo/Europe/Berlin",
            "machine-id",
            "os-release -> ../usr/lib/os-release",
            "passwd",
            "resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
            "ssl/certs",
            "ssl/openssl.cnf",
        ]),
        devices: ["dri", "hidraw0", "input", "js0", "snd", "uinput", "video0"].map(|name| format!("/dev/{name}").into()).to_vec(),
        aside: "/.host".into(),
        variables: set(&[
            ("DISPLAY", ":0"),
            ("XAUTHORITY", "/tmp/xauth_abc"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
            ("HOME", "/home/ann"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/tmp/dbus-1,guid=00"),
            ("PATH", "/home/ann/bin:/usr/local/bin:/usr/bin:/bin:/opt/x/bin"),
        ]),
        user: user(),
        zoneinfo: Some("/usr/share/zoneinfo".into()),
        certificates: Some("/etc/ssl/certs/ca-certificates.crt".into()),
    }
}

/// A NixOS: no /usr but for env, everything in /etc leads into the store.
fn nixos() -> HostView {
    HostView {
        top: top(&["bin", "dev", "etc", "home", "lib64", "nix", "proc", "run", "sys", "tmp", "usr", "var"]),
        etc: etc(&[
            "fonts -> /etc/static/fonts",
            "localtime -> /etc/zoneinfo/Europe/Berlin",
            "passwd",
            "resolv.conf",
            "ssl/certs",
            "static -> /nix/store/a-etc/etc",
            "zoneinfo -> /nix/store/b-tzdata/share/zoneinfo",
        ]),
        aside: "/.host".into(),
        variables: set(&[("PATH", "/run/wrappers/bin:/run/current-system/sw/bin"), ("XDG_DATA_DIRS", "/run/current-system/sw/share")]),
        user: user(),
        zoneinfo: Some("/etc/zoneinfo".into()),
        certificates: Some("/etc/ssl/certs/ca-certificates.crt".into()),
        ..HostView::default()
    }
}

/// An Alpine without a machine id: not merged, certificates in one file of its own name.
fn alpine() -> HostView {
    HostView {
        top: top(&["bin", "dev", "etc", "home", "lib", "proc", "run", "sbin", "sys", "tmp", "usr", "var"]),
        etc: etc(&["passwd", "ssl/cert.pem", "ssl/certs"]),
        aside: "/.host".into(),
        user: user(),
        certificates: Some("/etc/ssl/cert.pem".into()),
        ..HostView::default()
    }
}

fn farm() -> Farm {
    Farm {
        root: "/s/farm".into(),
        etc: ["fonts", "ld.so.cache", "os-release", "ssl", "ssl/openssl.cnf"].map(PathBuf::from).to_vec(),
        zoneinfo: false,
        locale_archive: false,
    }
}

fn sandbox(network: bool) -> Mode {
    let paths = vec![("/home/ann/game".into(), Access::ReadOnly)];
    Mode::Sandbox(SandboxOptions { home: "/home/ann/.local/share/box".into(), paths, network, ..SandboxOptions::default() })
}

fn scene<'a>(host: &'a HostView, mode: &'a Mode, farm: &'a Farm) -> Scene<'a> {
    Scene { host, mode, farm, private_tmp: false, drivers: None, bus: None }
}

fn lines<T: ToString>(ops: Vec<T>) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn same(found: Vec<String>, expected: &[&str]) {
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn in_compatibility_mode_every_directory_the_environment_has_not_is_the_hosts() {
    let (host, farm) = (debian(), farm());
    same(
        lines(top_level_ops(&scene(&host, &Mode::Compat, &farm))),
        &[
            "bind /dev as it is",
            "bind /home as it is",
            "bind /media as it is",
            "bind /mnt as it is",
            "bind /proc as it is",
            "bind /root as it is",
            "bind /run as it is",
            "bind /sys as it is",
            "bind /tmp as it is",
            "bind /var as it is",
            "link /vmlinuz -> boot/vmlinuz",
            "link /.host/bin -> usr/bin",
            "bind /etc at /.host/etc read-only",
            "link /.host/lib -> usr/lib",
            "link /.host/lib64 -> usr/lib64",
            "bind /usr at /.host/usr read-only",
            "link /.host/run -> ../run",
        ],
    );
}

#[test]
fn etc_follows_the_host_but_for_links_into_what_the_environment_hides() {
    let (host, farm) = (debian(), farm());
    same(
        lines(etc_ops(&scene(&host, &Mode::Compat, &farm))),
        &[
            "directory /etc (mode 0755)",
            "link /etc/group -> /.host/etc/group",
            "link /etc/hosts -> /.host/etc/hosts",
            "link /etc/localtime -> /.host/usr/share/zoneinfo/Europe/Berlin",
            "link /etc/machine-id -> /.host/etc/machine-id",
            "link /etc/passwd -> /.host/etc/passwd",
            "link /etc/resolv.conf -> /.host/etc/resolv.conf",
            "link /etc/ssl/certs -> /.host/etc/ssl/certs",
            "link /etc/fonts -> /usr/etc/fonts",
            "link /etc/ld.so.cache -> /usr/etc/ld.so.cache",
            "link /etc/os-release -> /usr/etc/os-release",
            "link /etc/ssl/openssl.cnf -> /usr/etc/ssl/openssl.cnf",
            "link /etc/mtab -> ../proc/self/mounts",
        ],
    );
    let with_zones = Farm { zoneinfo: true, ..farm };
    let found = lines(etc_ops(&scene(&host, &Mode::Compat, &with_zones)));
    assert!(found.contains(&"link /etc/localtime -> /.host/etc/localtime".to_owned()), "{found:?}");
}

#[test]
fn links_through_etc_keep_their_way_through_etc() {
    let (host, farm) = (nixos(), Farm::default());
    same(
        lines(etc_ops(&scene(&host, &Mode::Compat, &farm))),
        &[
            "directory /etc (mode 0755)",
            "link /etc/fonts -> /.host/etc/fonts",
            "link /etc/localtime -> /.host/etc/localtime",
            "link /etc/passwd -> /.host/etc/passwd",
            "link /etc/resolv.conf -> /.host/etc/resolv.conf",
            "link /etc/ssl/certs -> /.host/etc/ssl/certs",
            "link /etc/static -> /.host/etc/static",
            "link /etc/zoneinfo -> /.host/etc/zoneinfo",
            "link /etc/hosts -> /.host/etc/hosts",
            "link /etc/machine-id -> /.host/etc/machine-id",
            "link /etc/mtab -> ../proc/self/mounts",
        ],
    );
}

#[test]
fn a_host_without_machine_id_has_none_until_it_gets_one_and_its_certificates_have_a_known_name() {
    let (host, farm) = (alpine(), Farm::default());
    same(
        lines(etc_ops(&scene(&host, &Mode::Compat, &farm))),
        &[
            "directory /etc (mode 0755)",
            "link /etc/passwd -> /.host/etc/passwd",
            "link /etc/ssl/cert.pem -> /.host/etc/ssl/cert.pem",
            "link /etc/hosts -> /.host/etc/hosts",
            "link /etc/localtime -> /.host/etc/localtime",
            "link /etc/machine-id -> /.host/etc/machine-id",
            "link /etc/resolv.conf -> /.host/etc/resolv.conf",
            "link /etc/ssl/certs/ca-certificates.crt -> /.host/etc/ssl/cert.pem",
            "link /etc/mtab -> ../proc/self/mounts",
        ],
    );
    same(
        lines(top_level_ops(&scene(&host, &Mode::Compat, &farm))).into_iter().filter(|line| line.contains("/.host")).collect(),
        &[
            "bind /bin at /.host/bin read-only",
            "bind /etc at /.host/etc read-only",
            "bind /lib at /.host/lib read-only",
            "bind /sbin at /.host/sbin read-only",
            "bind /usr at /.host/usr read-only",
        ],
    );
}

#[test]
fn a_sandbox_has_what_every_program_needs_and_what_was_chosen() {
    let (host, farm, mode) = (debian(), farm(), sandbox(true));
    same(
        lines(top_level_ops(&scene(&host, &mode, &farm))),
        &[
            "proc /proc",
            "minimal devices /dev",
            "bind /dev/dri with devices, if it exists",
            "bind /dev/snd with devices, if it exists",
            "bind /sys/block read-only, if it exists",
            "bind /sys/bus read-only, if it exists",
            "bind /sys/class read-only, if it exists",
            "bind /sys/dev read-only, if it exists",
            "bind /sys/devices read-only, if it exists",
            "tmpfs /tmp (mode 1777)",
            "tmpfs /var/tmp (mode 1777)",
            "tmpfs /run (mode 0755)",
            "link /var/run -> ../run",
            "directory /run/user/1000 (mode 0700)",
            "bind /usr/share/fonts at /.host/usr/share/fonts read-only, if it exists",
            "bind /usr/local/share/fonts at /.host/usr/local/share/fonts read-only, if it exists",
            "bind /usr/share/zoneinfo at /.host/usr/share/zoneinfo read-only, if it exists",
            "bind /run/systemd/resolve read-only, if it exists",
            "bind /home/ann/.local/share/box at /home/ann",
        ],
    );
    let etc = lines(etc_ops(&scene(&host, &mode, &farm)));
    for line in ["file /etc/passwd (97 bytes, mode 0444)", "link /etc/resolv.conf -> /run/systemd/resolve/stub-resolv.conf"] {
        assert!(etc.contains(&line.to_owned()), "{line}\n{}", etc.join("\n"));
    }
    assert!(etc.iter().all(|line| !line.contains("shadow") && !line.contains("sudoers") && !line.contains("/.host")), "{}", etc.join("\n"));
}

#[test]
fn a_sandbox_has_no_keyboard_and_no_camera_unless_they_were_chosen() {
    let (host, farm) = (debian(), farm());
    let of = |devices| {
        let mode = Mode::Sandbox(SandboxOptions { devices, ..SandboxOptions::default() });
        let all = lines(top_level_ops(&scene(&host, &mode, &farm)));
        all.iter().filter_map(|line| line.strip_prefix("bind /dev/")?.split(' ').next()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(false), "dri snd");
    assert_eq!(of(true), "dri hidraw0 input js0 snd uinput video0");
}

#[test]
fn what_was_chosen_comes_behind_all_that_is_made_and_the_store_below_it_stays_read_only() {
    let (host, farm) = (debian(), farm());
    let paths = vec![("/home/ann".into(), Access::ReadWrite), ("/mnt".into(), Access::ReadWrite)];
    let mode = Mode::Sandbox(SandboxOptions { home: "/b".into(), paths, ..SandboxOptions::default() });
    let store = fhs_env::Op::Bind {
        source: fhs_env::Source::Path("/home/ann/store".into()),
        path: "/home/ann/store".into(),
        access: Access::ReadOnly,
        optional: false,
    };
    let all = lines(ops(&scene(&host, &mode, &farm), [store]));
    let chosen = all.iter().position(|line| line == "bind /home/ann").unwrap();
    assert_eq!(all[chosen..], ["bind /home/ann", "bind /mnt", "bind /home/ann/store read-only"], "{}", all.join("\n"));
    assert!(all[..chosen].contains(&"bind /home/ann/store read-only".to_owned()));
}

#[test]
fn a_sandbox_without_the_network_learns_nothing_of_it() {
    let (host, farm, mode) = (debian(), farm(), sandbox(false));
    let scene = scene(&host, &mode, &farm);
    let all = [lines(top_level_ops(&scene)), lines(etc_ops(&scene))].concat().join("\n");
    for word in ["resolv", "/etc/hosts"] {
        assert!(!all.contains(word), "{word}\n{all}");
    }
}

#[test]
fn sockets_are_found_by_the_addresses_their_clients_use() {
    let host = |variables: &[(&str, &str)]| HostView { variables: set(variables), ..HostView::default() };
    let of = |variables: &[(&str, &str)], service| -> Vec<Address> {
        sockets(&host(variables)).into_iter().filter(|s| s.service == service).map(|s: Socket| s.address).collect()
    };
    let path = |p: &str| Address::Path(p.into());
    let hidden = |p: &str| Address::Abstract(p.into());
    for display in [":1", ":1.0", "unix:1", "unix/:1.2"] {
        assert_eq!(of(&[("DISPLAY", display)], Service::X11), [path("/tmp/.X11-unix/X1"), hidden("/tmp/.X11-unix/X1")], "{display}");
    }
    assert_eq!(of(&[("DISPLAY", "/run/x/socket:0")], Service::X11), [path("/run/x/socket:0")]);
    for display in ["", "far.example:1", "1", ":", ":x", ":99999999999"] {
        assert_eq!(of(&[("DISPLAY", display)], Service::X11), [], "{display}");
    }
    let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
    assert_eq!(of(&[runtime], Service::Wayland), [path("/run/user/7/wayland-0")]);
    assert_eq!(of(&[runtime, ("WAYLAND_DISPLAY", "w-2")], Service::Wayland), [path("/run/user/7/w-2")]);
    assert_eq!(of(&[runtime, ("WAYLAND_DISPLAY", "/tmp/w")], Service::Wayland), [path("/tmp/w")]);
    assert_eq!(of(&[runtime], Service::PulseAudio), [path("/run/user/7/pulse/native")]);
    let list = "{0af}unix:/tmp/pulse-1/native tcp:far:4713 /run/p";
    assert_eq!(of(&[("PULSE_SERVER", list)], Service::PulseAudio), [path("/tmp/pulse-1/native"), path("/run/p")]);
    assert_eq!(of(&[runtime], Service::PipeWire), [path("/run/user/7/pipewire-0")]);
    assert_eq!(of(&[runtime, ("PIPEWIRE_RUNTIME_DIR", "/tmp/pw")], Service::PipeWire), [path("/tmp/pw/pipewire-0")]);
    assert_eq!(of(&[runtime], Service::SessionBus), [path("/run/user/7/bus")]);
    let bus = |text: &str| of(&[runtime, ("DBUS_SESSION_BUS_ADDRESS", text)], Service::SessionBus);
    assert_eq!(bus("unix:guid=1,path=/tmp/a%20b%2c;tcp:host=x"), [path("/tmp/a b,")]);
    assert_eq!(bus("unix:abstract=/tmp/dbus-x,guid=1;unix:runtime=yes"), [hidden("/tmp/dbus-x"), path("/run/user/7/bus")]);
    for damaged in ["unix:path=/a%", "unix:path=/a%zz", "unix:path=", "unix:path=/a%00", "unix:path=relative", "garbage"] {
        assert_eq!(bus(damaged), [], "{damaged}");
    }
    assert_eq!(of(&[], Service::SystemBus), [path("/run/dbus/system_bus_socket")]);
}

#[test]
fn under_a_private_tmp_the_sockets_that_lie_there_are_shown() {
    let (host, farm) = (debian(), farm());
    assert_eq!(lines(socket_ops(&scene(&host, &Mode::Compat, &farm))), [""; 0]);
    let private = Scene { private_tmp: true, ..scene(&host, &Mode::Compat, &farm) };
    same(
        lines(socket_ops(&private)),
        &["bind /tmp/.X11-unix, if it exists", "bind /tmp/dbus-1, if it exists", "bind /tmp/xauth_abc read-only, if it exists"],
    );
    assert!(lines(top_level_ops(&private)).contains(&"tmpfs /tmp (mode 1777)".to_owned()));
}

#[test]
fn a_sandbox_has_display_and_sound_and_no_bus() {
    let (host, farm, mode) = (debian(), farm(), sandbox(true));
    same(
        lines(socket_ops(&scene(&host, &mode, &farm))),
        &[
            "bind /tmp/.X11-unix/X0, if it exists",
            "bind /run/user/1000/wayland-0, if it exists",
            "bind /run/user/1000/pulse/native, if it exists",
            "bind /run/user/1000/pipewire-0, if it exists",
            "bind /tmp/xauth_abc at /run/xeno/Xauthority read-only, if it exists",
            "bind /home/ann/.config/pulse/cookie at /run/xeno/pulse-cookie read-only, if it exists",
        ],
    );
}

#[test]
fn a_filtered_bus_is_found_where_it_is_shown() {
    let (host, farm, mode) = (debian(), farm(), sandbox(true));
    let filter = PathBuf::from("/run/user/1000/xeno-bus-1");
    let scene = Scene { bus: Some(&filter), ..scene(&host, &mode, &farm) };
    let op = "bind /run/user/1000/xeno-bus-1 at /run/xeno/bus".to_owned();
    assert!(lines(socket_ops(&scene)).contains(&op));
    assert!(shown(variables(&scene)).contains(&"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/xeno/bus".to_owned()));
    assert!(!shown(variables(&scene)).contains(&"-DBUS_SESSION_BUS_ADDRESS".to_owned()));
}

#[test]
fn no_display_means_no_display_socket_and_hostile_addresses_show_nothing_of_the_host() {
    let host = HostView {
        variables: set(&[
            ("XDG_RUNTIME_DIR", "/run/../etc"),
            ("PULSE_SERVER", "unix:/etc/shadow"),
            ("PIPEWIRE_REMOTE", "../../secret/x"),
            ("WAYLAND_DISPLAY", "/proc/1/root"),
        ]),
        ..debian()
    };
    let (farm, mode) = (farm(), sandbox(false));
    same(
        lines(socket_ops(&scene(&host, &mode, &farm))),
        &["bind /home/ann/.config/pulse/cookie at /run/xeno/pulse-cookie read-only, if it exists"],
    );
}

fn shown(variables: Vec<(OsString, Option<OsString>)>) -> Vec<String> {
    let one = |(name, value): (OsString, Option<OsString>)| match value {
        Some(value) => format!("{}={}", name.display(), value.display()),
        None => format!("-{}", name.display()),
    };
    variables.into_iter().map(one).collect()
}

#[test]
fn the_environments_programs_come_where_the_hosts_came() {
    let (host, farm) = (debian(), farm());
    same(
        shown(variables(&scene(&host, &Mode::Compat, &farm))),
        &["PATH=/home/ann/bin:/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/opt/x/bin", "TZDIR=/.host/usr/share/zoneinfo"],
    );
    let (host, farm) = (nixos(), Farm { zoneinfo: true, locale_archive: true, ..Farm::default() });
    same(
        shown(variables(&scene(&host, &Mode::Compat, &farm))),
        &[
            "PATH=/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/run/wrappers/bin:/run/current-system/sw/bin",
            "XDG_DATA_DIRS=/usr/local/share:/usr/share:/run/current-system/sw/share",
            "LOCALE_ARCHIVE=/usr/lib/locale/locale-archive",
            "TZDIR=/usr/share/zoneinfo",
        ],
    );
}

#[test]
fn a_sandbox_is_told_of_no_socket_and_no_directory_that_it_has_not() {
    let host =
        HostView { variables: set(&[("XDG_CACHE_HOME", "/scratch/ann"), ("XDG_DATA_HOME", "/home/ann/d"), ("DISPLAY", ":0")]), ..debian() };
    let (farm, mode) = (Farm { zoneinfo: true, ..farm() }, sandbox(true));
    same(
        shown(variables(&scene(&host, &mode, &farm))),
        &[
            "PATH=/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin",
            "TZDIR=/usr/share/zoneinfo",
            "-DBUS_SESSION_BUS_ADDRESS",
            "-DBUS_SYSTEM_BUS_ADDRESS",
            "-GPG_AGENT_INFO",
            "-ICEAUTHORITY",
            "-SESSION_MANAGER",
            "-SSH_AUTH_SOCK",
            "-XDG_CACHE_HOME",
            "HOME=/home/ann",
            "XAUTHORITY=/run/xeno/Xauthority",
        ],
    );
}

#[test]
fn a_home_that_cannot_be_inside_is_elsewhere_and_names_forge_no_line() {
    let host = HostView { user: User { home: "/usr/games".into(), name: "a:b\nc".into(), ..user() }, ..debian() };
    let (farm, mode) = (farm(), sandbox(false));
    let scene = scene(&host, &mode, &farm);
    assert_eq!(scene.home(), PathBuf::from("/home/a:b\nc"));
    let passwd = etc_ops(&scene).into_iter().find_map(|op| match op {
        fhs_env::Op::MakeFile { path, content: fhs_env::Content::Bytes(bytes), .. } if path.ends_with("passwd") => Some(bytes),
        _ => None,
    });
    let expected = "root:x:0:0:root:/:/bin/sh\nabc:x:1000:100::/home/abc:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n";
    assert_eq!(String::from_utf8(passwd.unwrap()).unwrap(), expected);
}
