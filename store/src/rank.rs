//! Orders the places of a library name: the directory a loader would find it in first, odd packages last.
//!
//! Pure; matches structure (directories, naming conventions of packages), never a product.

use crate::index::contents::Place;
use resolver::arch::{Arch, Class};
use resolver::needs::Libc;

/// Package name parts that mark a variant which is not the one a program was built against, and their price.
const ODD_PACKAGES: &[(&str, u32, &str)] = &[
    ("-dbg", 500, "debug package"),
    ("-dbgsym", 500, "debug package"),
    ("-udeb", 500, "installer package"),
    ("-cross", 1000, "cross compiler's package"),
    ("-dev", 80, "development package"),
    ("elogind", 40, "elogind variant"),
    ("-extra", 30, "-extra variant"),
    ("-gles", 30, "GLES variant"),
    ("mpi", 20, "MPI variant"),
];

/// What a place costs, with the reason for the largest part of it; `None` if a loader of this architecture and C
/// library must never be given it. 0 is the public library directory.
pub fn penalty(place: &Place, arch: Arch, libc: Libc) -> Option<(u32, &'static str)> {
    let (mut cost, mut why) = directory_penalty(&place.directory, arch, libc)?;
    for (part, price, reason) in ODD_PACKAGES {
        let hit = if part.starts_with('-') {
            place.package.ends_with(part) || place.package.contains(&format!("{part}-"))
        } else {
            place.package.split('-').any(|w| w.ends_with(part)) || place.package.contains(part) && *part == "elogind"
        };
        if hit {
            if *price > cost || why.is_empty() {
                why = reason;
            }
            cost += price;
        }
    }
    Some((cost, why))
}

fn directory_penalty(directory: &str, arch: Arch, libc: Libc) -> Option<(u32, &'static str)> {
    let triplet = arch.multiarch()?;
    let musl = format!("{}-linux-musl", arch.musl_name()?);
    let mut rest = directory.strip_prefix("usr/").unwrap_or(directory);
    // Directories of other machines (cross compilers) and of the other word size.
    for part in rest.split('/') {
        let foreign_triplet = part.contains("-linux-") && part != triplet && part != musl;
        let foreign_width = match arch.class {
            Class::Elf64 => matches!(part, "lib32" | "libx32"),
            Class::Elf32 => matches!(part, "lib64" | "libx32"),
        };
        if foreign_triplet || foreign_width || matches!(part, "gcc-cross" | "debug") {
            return None;
        }
    }
    let in_musl = directory.split('/').any(|p| p == musl);
    let loader_directory = directory == "lib" || directory == "usr/lib";
    match libc {
        Libc::Musl if !in_musl && !loader_directory => return None,
        Libc::Glibc if in_musl => return None,
        _ => {}
    }
    let own = if libc == Libc::Musl { musl.as_str() } else { triplet };
    let own_directory = format!("lib/{own}");
    if rest == own_directory {
        return Some((0, ""));
    }
    if let Some(sub) = rest.strip_prefix(&own_directory).and_then(|r| r.strip_prefix('/')) {
        rest = sub;
        return Some(if rest.starts_with("glibc-hwcaps") || rest.starts_with("haswell") || rest.starts_with("sse2") {
            (300, "only for some processors")
        } else {
            (100 + depth(rest), "private directory")
        });
    }
    Some(match rest {
        "lib" | "lib64" => (10, "old library directory"),
        _ if rest.starts_with("lib/") => (150 + depth(rest), "private directory"),
        _ => (200 + depth(rest), "no library directory"),
    })
}

fn depth(path: &str) -> u32 {
    u32::try_from(path.matches('/').count()).unwrap_or(u32::MAX / 2).min(50)
}

/// How a package would be called that exists for this soname (Debian policy 8.1): `libX11.so.6` is in `libx11-6`.
pub fn package_for(soname: &str) -> String {
    let (stem, version) = soname.split_once(".so.").unwrap_or((soname.strip_suffix(".so").unwrap_or(soname), ""));
    let dash = if stem.ends_with(|c: char| c.is_ascii_digit()) && !version.is_empty() { "-" } else { "" };
    format!("{stem}{dash}{version}").to_lowercase().replace('_', "-")
}

/// Sorts places, best first, and drops those that can never serve; each with its cost and the reason.
pub fn rank(soname: &str, places: Vec<Place>, arch: Arch, libc: Libc) -> Vec<(Place, u32, &'static str)> {
    let conventional = package_for(soname);
    let mut ranked: Vec<(Place, u32, &'static str)> =
        places.into_iter().filter_map(|place| penalty(&place, arch, libc).map(|(cost, why)| (place, cost, why))).collect();
    ranked.sort_by(|(a, cost_a, _), (b, cost_b, _)| {
        let named = |p: &Place| !p.package.starts_with(&conventional);
        (cost_a, named(a), a.package.len(), a).cmp(&(cost_b, named(b), b.package.len(), b))
    });
    // The same package may list a name in two directories: the better one stands for it.
    let mut seen: Vec<(String, String)> = Vec::new();
    ranked.retain(|(place, _, _)| {
        let key = (place.package.clone(), place.directory.clone());
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(soname: &str, short: &str, libc: Libc, places: &[&str]) -> Vec<String> {
        let places = places
            .iter()
            .map(|p| {
                let (directory, package) = p.split_once(' ').unwrap();
                Place { directory: directory.to_owned(), package: package.to_owned() }
            })
            .collect();
        rank(soname, places, Arch::from_short(short).unwrap(), libc)
            .into_iter()
            .map(|(p, _, _)| format!("{} {}", p.directory, p.package))
            .collect()
    }

    #[test]
    fn the_public_directory_comes_before_private_ones_and_odd_packages_last() {
        assert_eq!(
            order(
                "libx.so.1",
                "x86_64",
                Libc::Glibc,
                &[
                    "usr/lib/x86_64-linux-gnu libx1-dbg",
                    "usr/lib/x86_64-linux-gnu/app libapp-bin",
                    "usr/lib libx1-old",
                    "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3 libx1-v3",
                    "usr/lib/x86_64-linux-gnu libx-extra1",
                    "usr/lib/x86_64-linux-gnu libx-extra",
                    "usr/lib/x86_64-linux-gnu libx1",
                    "opt/app/lib libapp",
                ]
            ),
            [
                "usr/lib/x86_64-linux-gnu libx1",
                "usr/lib/x86_64-linux-gnu libx-extra1",
                "usr/lib libx1-old",
                "usr/lib/x86_64-linux-gnu libx-extra",
                "usr/lib/x86_64-linux-gnu/app libapp-bin",
                "opt/app/lib libapp",
                "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3 libx1-v3",
                "usr/lib/x86_64-linux-gnu libx1-dbg",
            ]
        );
    }

    #[test]
    fn a_library_of_another_machine_or_width_is_never_offered() {
        let places = ["usr/aarch64-linux-gnu/lib libc6-arm64-cross", "usr/lib32 libc6-i386", "usr/lib/gcc-cross/x/14 libx"];
        assert_eq!(order("libc.so.6", "x86_64", Libc::Glibc, &places), [""; 0]);
        let places = ["usr/lib64 libc6-amd64", "usr/lib/i386-linux-gnu libc6"];
        assert_eq!(order("libc.so.6", "i686", Libc::Glibc, &places), ["usr/lib/i386-linux-gnu libc6"]);
    }

    #[test]
    fn the_two_c_libraries_never_mix() {
        let places = ["usr/lib/x86_64-linux-gnu libc6-dev", "usr/lib/x86_64-linux-musl musl"];
        assert_eq!(order("libc.so", "x86_64", Libc::Musl, &places), ["usr/lib/x86_64-linux-musl musl"]);
        assert_eq!(order("libc.so", "x86_64", Libc::Glibc, &places), ["usr/lib/x86_64-linux-gnu libc6-dev"]);
    }

    #[test]
    fn among_equals_the_package_named_after_the_soname_wins() {
        assert_eq!(package_for("libX11.so.6"), "libx11-6");
        assert_eq!(package_for("libssl.so.3"), "libssl3");
        let d = "usr/lib/x86_64-linux-gnu";
        let places = [format!("{d} a-bundle"), format!("{d} libsystemd0")];
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        assert_eq!(order("libsystemd.so.0", "x86_64", Libc::Glibc, &places)[0], format!("{d} libsystemd0"));
        let places = [format!("{d} libelogind-compat"), format!("{d} libsystemd0")];
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        assert_eq!(order("libother.so.0", "x86_64", Libc::Glibc, &places)[0], format!("{d} libsystemd0"));
    }
}
