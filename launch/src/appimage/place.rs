//! Where the files of an AppImage lie in the cache: one directory for each content, and for each AppImage a record that
//! spares reading it again as long as its stat is the same. A record is trusted only if it is this user's own.

use super::extract::extract;
use super::fault::Fault;
use super::image::Image;
use super::plan::Plan;
use crate::memory::{self, Key, Stamp};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use store::cache::Cache;

/// Directories of files, named by content.
const TREES: &str = "appdir";
/// Records: what a file's stat was, and which directory its content has.
const RECORDS: &str = "appimage";
/// First field of a record, and part of each directory's name: changes with what is made of an image.
const VERSION: &str = "1";
/// The largest record that is read, bytes.
const RECORD_MAX: u64 = 4 << 10;

fn record_of(real: &Path) -> Key {
    Key::new(&[OsStr::new("appimage"), real.as_os_str()])
}

/// Whether nobody but this user, or root, can have made it.
fn trusted(meta: &fs::Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw() || meta.uid() == 0
}

/// The directory of an AppImage that has one and has not changed: a read and two stats.
pub(super) fn recall(cache: &Cache, real: &Path) -> Option<PathBuf> {
    let file = File::open(cache.path(RECORDS, &record_of(real).name)).ok()?;
    file.metadata().ok().filter(|meta| trusted(meta) && meta.len() <= RECORD_MAX)?;
    let mut bytes = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut bytes).ok()?;
    let mut fields = bytes.split(|b| *b == 0);
    let stamp = Stamp::text(Some(Stamp::of(real)?));
    if fields.next()? != VERSION.as_bytes() || fields.next()? != stamp.as_bytes() {
        return None;
    }
    let name = std::ffi::OsString::from_vec(fields.next()?.to_vec());
    // The name is one of ours: forty digits and the version.
    let plain = name.as_bytes().iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    let tree = cache.path(TREES, name.to_str().filter(|_| plain && fields.next() == Some(b"end"))?);
    fs::symlink_metadata(&tree).ok().filter(|meta| meta.is_dir() && trusted(meta))?;
    Some(tree)
}

/// Unpacks an AppImage unless its content was unpacked before, and remembers where. Also says how many devices, pipes
/// and sockets were not made.
///
/// # Errors
/// If it cannot be read, is damaged, or cannot be written.
pub(super) fn unpack(cache: &Cache, real: &Path, file: &mut File, image: Range<u64>) -> Result<(PathBuf, usize), Fault> {
    let begun = SystemTime::now();
    let before = Stamp::of(real);
    let name = format!("{}-{VERSION}", digest(file)?);
    let mut passed_over = 0;
    let tree = cache.put_built(TREES, &name, |tree| -> Result<(), Fault> {
        let image = Image::load(file, image)?;
        let plan = Plan::of(&image.tables)?;
        passed_over = plan.passed_over;
        extract(&image, &plan, tree)
    })?;
    if !fs::symlink_metadata(&tree).is_ok_and(|meta| meta.is_dir() && trusted(&meta)) {
        return Err(Fault::Image(format!("{} belongs to another user", tree.display())));
    }
    // A file that changes while it is read is remembered the next time.
    if before == Stamp::of(real) && !memory::changed_since(real, begun) {
        let record = [VERSION, &Stamp::text(before), &name, "end", ""].join("\0");
        cache.replace(RECORDS, &record_of(real).name, record.as_bytes(), 0o600)?;
    }
    Ok((tree, passed_over))
}

/// Twenty bytes of the file's SHA-256, in hexadecimal digits.
fn digest(file: &mut File) -> Result<String, Fault> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    file.rewind().map_err(Fault::Read)?;
    loop {
        let read = file.read(&mut buffer).map_err(Fault::Read)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    let mut name = String::with_capacity(48);
    for byte in hash.finalize().iter().take(20) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}
