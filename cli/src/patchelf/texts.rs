//! What scripts read: the usage, the version, the names of ABIs. Constants and lookups only.

use super::args::OPTIONS;

/// What `--version` prints. It names the version whose behaviour this is, as scripts compare it.
pub(super) const VERSION: &str = "patchelf 0.19.3\n";

/// The usage, for standard error.
pub(super) fn usage(own_name: &[u8]) -> Vec<u8> {
    let mut usage = [b"syntax: ", own_name, b"\n"].concat();
    for option in OPTIONS.iter().filter(|option| !option.hidden) {
        let values: String = option.values.iter().map(|value| format!(" {value}")).collect();
        let words = format!("[{}{values}]", option.name);
        let line = if option.help.is_empty() { format!("  {words}\n") } else { format!("  {words:<46} {}\n", option.help) };
        usage.extend_from_slice(line.as_bytes());
    }
    usage.extend_from_slice(b"  FILENAME...\n");
    usage
}

/// `EI_OSABI` values with the names by which they are printed and set (gABI, "ELF Identification").
const ABIS: &[(u8, &str, &[&str])] = &[
    (0, "System V", &["system v", "system-v", "sysv"]),
    (1, "HP-UX", &["hp-ux"]),
    (2, "NetBSD", &["netbsd"]),
    (3, "Linux", &["linux", "gnu"]),
    (4, "GNU Hurd", &["gnu hurd", "gnu-hurd", "hurd"]),
    (6, "Solaris", &["solaris"]),
    (7, "AIX", &["aix"]),
    (8, "IRIX", &["irix"]),
    (9, "FreeBSD", &["freebsd"]),
    (10, "Tru64", &["tru64"]),
    (12, "OpenBSD", &["openbsd"]),
    (13, "OpenVMS", &["openvms"]),
];

/// The name of an ABI; its number where it has none.
pub(super) fn abi_name(number: u8) -> String {
    let named = ABIS.iter().find(|(known, _, _)| *known == number);
    named.map_or_else(|| format!("0x{number:02X}"), |(_, name, _)| (*name).to_owned())
}

/// The number of an ABI by any of its names, in any case, with blanks around it.
pub(super) fn abi_number(name: &[u8]) -> Option<u8> {
    let name = std::str::from_utf8(name).ok()?.trim_matches(blank).to_ascii_lowercase();
    ABIS.iter().find(|(_, _, names)| names.contains(&name.as_str())).map(|(number, _, _)| *number)
}

/// isspace(3) in the C locale.
pub(super) fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// strerror(3), without the number that Rust adds.
pub(super) fn reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| nix::errno::Errno::from_raw(number).desc().to_owned())
}
