//! An environment as an OCI image layout (OCI image specification 1.1, image-layout.md): one layer with every file
//! behind its links, a configuration, a manifest, an index. The same input gives the same bytes.
//!
//! Takes plain data – a directory, trees beside it, variables, a command – and writes through the store's door only. It
//! runs nothing, and pushes to no registry.

mod error;
mod json;
mod layer;
mod plan;

pub use error::Error;
pub use plan::{Item, Plan, Sources, platform};

use layer::{Blob, Hashing};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use store::atomic::TreeBuilder;

/// How programs are started from an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The image's name in the index (`org.opencontainers.image.ref.name`).
    pub name: String,
    /// The machine, as [`platform`] names it.
    pub architecture: String,
    /// Variables and their values.
    pub variables: Vec<(OsString, OsString)>,
    /// What is always started, with the command behind it; may be empty.
    pub entrypoint: Vec<OsString>,
    /// What is started where nothing else is asked for.
    pub command: Vec<OsString>,
    /// The directory it is started in; `/` if none.
    pub directory: Option<PathBuf>,
}

/// Writes the layout of an image into a directory under construction; gives the digest of its manifest, sixty-four
/// hexadecimal digits.
///
/// # Errors
/// If a file of the plan cannot be read, or the layout cannot be written.
pub fn write(plan: &Plan, config: &Config, tree: &TreeBuilder) -> Result<String, Error> {
    for directory in ["blobs", "blobs/sha256"] {
        tree.add_dir(Path::new(directory)).map_err(Error::Write)?;
    }
    let growing = Path::new("blobs/sha256/layer");
    let file = std::io::BufWriter::with_capacity(256 << 10, tree.add_file(growing).map_err(Error::Write)?);
    let (layer, diff) = layer::write(plan, file)?;
    let place = place_of(&layer);
    tree.rename(growing, &place).and_then(|()| tree.set_mode(&place, 0o644)).map_err(Error::Write)?;
    let config_blob = blob(tree, &json::config(config, &diff))?;
    let manifest = blob(tree, &json::manifest(&config_blob, &layer))?;
    plain(tree, "index.json", &json::index(config, &manifest))?;
    plain(tree, "oci-layout", json::LAYOUT.as_bytes())?;
    Ok(manifest.sha256)
}

fn place_of(blob: &Blob) -> PathBuf {
    Path::new("blobs/sha256").join(&blob.sha256)
}

fn blob(tree: &TreeBuilder, bytes: &[u8]) -> Result<Blob, Error> {
    let mut hashing = Hashing::new(std::io::sink());
    hashing.write_all(bytes).map_err(Error::Write)?;
    let (_, blob) = hashing.finish();
    plain(tree, place_of(&blob), bytes)?;
    Ok(blob)
}

fn plain(tree: &TreeBuilder, path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Error> {
    let path = path.as_ref();
    tree.add_file(path).and_then(|mut file| file.write_all(bytes)).map_err(Error::Write)?;
    tree.set_mode(path, 0o644).map_err(Error::Write)
}
