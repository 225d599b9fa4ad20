//! A plan as a layer: a tar archive in gzip, the same bytes for the same files wherever and whenever it is written
//! (sorted, owner 0, time 1, modes 0755 and 0644), with the two digests an image names it by.

use super::error::Error;
use super::plan::{Item, Plan};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tar::{EntryType, Header};

/// A blob as a descriptor names it (OCI image specification, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// Sixty-four hexadecimal digits.
    pub(super) sha256: String,
    /// Bytes.
    pub(super) size: u64,
}

/// What passes through is counted and hashed.
pub(super) struct Hashing<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(out: W) -> Hashing<W> {
        Hashing { out, hash: Sha256::new(), size: 0 }
    }

    pub(super) fn finish(self) -> (W, Blob) {
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.out, Blob { sha256, size: self.size })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a layer; gives the blob as it is stored, and the digest of the archive before compression (`diff_ids`).
///
/// # Errors
/// If a file of the plan cannot be read or has changed since, or the layer cannot be written.
pub(super) fn write(plan: &Plan, out: impl Write) -> Result<(Blob, String), Error> {
    // No name, time or system in the header: GzBuilder's own would be the same, but are not promised.
    let packed = GzBuilder::new().mtime(0).operating_system(255).write(Hashing::new(out), Compression::default());
    let mut archive = tar::Builder::new(Hashing::new(packed));
    for (path, item) in &plan.items {
        append(&mut archive, path, item)?;
    }
    let (packed, plain) = archive.into_inner().map_err(Error::Write)?.finish();
    let (mut out, stored) = packed.finish().map_err(Error::Write)?.finish();
    out.flush().map_err(Error::Write)?;
    Ok((stored, plain.sha256))
}

fn append(archive: &mut tar::Builder<impl Write>, path: &Path, item: &Item) -> Result<(), Error> {
    let header = |kind: EntryType, mode: u32, size: u64| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    match item {
        Item::Directory(mode) => {
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            archive.append_data(&mut header(EntryType::Directory, *mode, 0), name, io::empty()).map_err(Error::Write)
        }
        Item::Link(target) => archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target).map_err(Error::Write),
        Item::Again(of) => archive.append_link(&mut header(EntryType::Link, 0o644, 0), path, of).map_err(Error::Write),
        Item::Bytes(bytes) => {
            let size = bytes.len() as u64;
            archive.append_data(&mut header(EntryType::Regular, 0o644, size), path, bytes.as_slice()).map_err(Error::Write)
        }
        Item::File { source, executable } => {
            let unreadable = |error| Error::Read { path: source.clone(), source: error };
            let file = File::open(source).map_err(unreadable)?;
            let size = file.metadata().map_err(unreadable)?.len();
            let mode = if *executable { 0o755 } else { 0o644 };
            // The header says how long it is: a file that shrinks meanwhile must not shift all that follows.
            let mut content = Counted { file, left: size, short: false, failed: None };
            let written = archive.append_data(&mut header(EntryType::Regular, mode, size), path, &mut content);
            match content.failed {
                Some(error) => Err(unreadable(error)),
                None if content.short => Err(unreadable(io::Error::other("it changed while it was read"))),
                None => written.map_err(Error::Write),
            }
        }
    }
}

/// Exactly so many bytes of a file, with zeros for what it lacks; what went wrong is kept, so that a failed reading is
/// told from a failed writing.
struct Counted {
    file: File,
    left: u64,
    short: bool,
    failed: Option<io::Error>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = match self.file.read(buffer) {
            Ok(0) => {
                self.short = true;
                0
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.failed = Some(error);
                0
            }
        };
        self.left -= read as u64;
        Ok(read)
    }
}
