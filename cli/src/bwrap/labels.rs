//! SELinux labels (`selinux(8)`): whether one can be used. Where there is no SELinux, labels are refused as
//! bubblewrap refuses them.

use super::complaint::Stop;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where a kernel with a policy shows it (`selinuxfs`).
const POLICY: &str = "/sys/fs/selinux/policyvers";
/// Says of a label that is written to it whether the policy knows it.
const CHECK: &str = "/sys/fs/selinux/context";
/// Whether the policy knows the label.
pub(super) fn check(label: &OsStr) -> Result<(), Stop> {
    if !Path::new(POLICY).exists() {
        return Err("labeling not supported on this system".into());
    }
    put(CHECK, label).map_err(|error| Stop::system(&[b"invalid label ", label.as_bytes()].concat(), &error))
}

/// One write(2): the kernel takes a label whole. It ends with a NUL, as libselinux has it.
fn put(file: &str, label: &OsStr) -> io::Result<()> {
    let bytes = [label.as_bytes(), b"\0"].concat();
    let written = OpenOptions::new().write(true).open(file)?.write(&bytes)?;
    if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
