//! The names of capabilities (`capabilities(7)`), as `--cap-add` and `--cap-drop` take them.

use super::numbers;
use fhs_env::Capability;

/// By number, without the `cap_` that all begin with.
const NAMES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The sets of the kernel have this many bits.
const BITS: u64 = 64;

/// The number of a capability: by name in any case, or by a number, as `cap_from_name(3)` takes them.
fn number(word: &[u8]) -> Option<u8> {
    if word.first()?.is_ascii_digit() {
        return numbers::leading(word).filter(|number| *number < BITS).and_then(|number| u8::try_from(number).ok());
    }
    let name = std::str::from_utf8(word).ok()?.to_ascii_lowercase();
    let name = name.strip_prefix("cap_")?;
    u8::try_from(NAMES.iter().position(|known| *known == name)?).ok()
}

/// What `--cap-add` of this word asks for.
pub(super) fn added(word: &[u8]) -> Option<Capability> {
    if word.eq_ignore_ascii_case(b"all") { Some(Capability::AddAll) } else { number(word).map(Capability::Add) }
}

/// What `--cap-drop` of this word asks for.
pub(super) fn dropped(word: &[u8]) -> Option<Capability> {
    if word.eq_ignore_ascii_case(b"all") { Some(Capability::DropAll) } else { number(word).map(Capability::Drop) }
}
