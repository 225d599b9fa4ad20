//! Unpacks a .deb (deb(5)) into a tree under construction: data only, no maintainer script is ever looked at.
//!
//! Refuses every member that could land outside the tree, and everything that is no file, directory or link.
//! Files end as 0444 or 0555 and all times as 1, as Nix makes them; directories stay 0755 (the archive format has
//! no mode for them) so that their owner can delete a store path with `rm -r`.

use crate::atomic::TreeBuilder;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// What one tree may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members of all kinds.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 200_000, bytes: 8 << 30 }
    }
}

/// Memory the xz decoder may take, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 80 << 10;

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File { executable: bool },
    Link { target: String },
}

/// One or more packages unpacked over each other.
pub struct Unpacker<'a> {
    tree: &'a TreeBuilder,
    limits: Limits,
    nodes: BTreeMap<String, Node>,
    bytes: u64,
}

/// Why a member was refused, before it is known which package it is in.
enum Refusal {
    Content(String),
    Write(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Write(error)
    }
}

fn refuse<T>(cause: impl Into<String>) -> std::result::Result<T, Refusal> {
    Err(Refusal::Content(cause.into()))
}

impl<'a> Unpacker<'a> {
    /// Unpacks into `tree`.
    pub fn new(tree: &'a TreeBuilder, limits: Limits) -> Unpacker<'a> {
        Unpacker { tree, limits, nodes: BTreeMap::new(), bytes: 0 }
    }

    /// Adds one package, read from its start. `subject` is its name for errors.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for an archive that is damaged, hostile, too large, or collides with another package
    /// of the tree; else as writing files.
    pub fn add(&mut self, deb: impl Read, subject: &str) -> Result<()> {
        let bad = |cause: String| {
            let remedy = "nothing was installed; report it to the archive if it happens again";
            Error::new(Kind::Malformed, "unpack", subject, cause, remedy)
        };
        let mut archive = ar::Archive::new(BufReader::with_capacity(64 * 1024, deb));
        while let Some(member) = archive.next_entry() {
            let member = member.map_err(|e| bad(format!("not a Debian package ({e})")))?;
            let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
            let Some(compression) = name.strip_prefix("data.tar") else { continue };
            let reader: Box<dyn Read + '_> = match compression {
                "" => Box::new(member),
                ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
                ".xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(member, true, XZ_MEMORY)),
                ".zst" => Box::new(ruzstd::decoding::StreamingDecoder::new(member).map_err(|e| bad(format!("bad zstd data ({e})")))?),
                other => return Err(bad(format!("its data is compressed as '{other}', which is not supported"))),
            };
            return self.add_tar(reader).map_err(|refusal| match refusal {
                Refusal::Content(cause) => bad(cause),
                Refusal::Write(e) => Error::io("unpack into", self.tree.path(), e),
            });
        }
        Err(bad("it has no data archive".to_owned()))
    }

    fn add_tar(&mut self, reader: impl Read) -> std::result::Result<(), Refusal> {
        // Names and link targets of extension headers are held in memory: the whole input is bounded here.
        let bounded = reader.take(self.limits.bytes.saturating_add(1024 * self.limits.entries as u64));
        let mut archive = tar::Archive::new(bounded);
        let entries = archive.entries().or_else(|e| refuse(format!("damaged archive ({e})")))?;
        for entry in entries {
            let mut entry = entry.or_else(|e| refuse(format!("damaged archive ({e})")))?;
            if self.nodes.len() >= self.limits.entries {
                return refuse(format!("more than {} files", self.limits.entries));
            }
            let raw = entry.path_bytes().into_owned();
            let Some(path) = inside(&raw)? else { continue };
            self.make_parents(&path)?;
            let relative = Path::new(&path);
            let kind = entry.header().entry_type();
            let existing = self.nodes.get(&path);
            if kind.is_dir() {
                match existing {
                    None => self.tree.add_dir(relative)?,
                    Some(Node::Directory) => continue,
                    Some(_) => return refuse(format!("'{path}' is there twice")),
                }
                self.nodes.insert(path, Node::Directory);
                continue;
            }
            if existing.is_some() {
                return refuse(format!("'{path}' is there twice"));
            }
            let node = if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
                let mode = entry.header().mode().or_else(|e| refuse(format!("'{path}' has no mode ({e})")))?;
                self.write_file(&mut entry, relative)?;
                Node::File { executable: mode & 0o111 != 0 }
            } else if kind.is_symlink() {
                let target = link_target(&entry, &path)?;
                self.tree.add_link(relative, Path::new(&target))?;
                Node::Link { target }
            } else if kind.is_hard_link() {
                let target = link_target(&entry, &path)?;
                let target = inside(target.as_bytes())?.unwrap_or_default();
                match self.nodes.get(&target) {
                    Some(node @ Node::File { .. }) => {
                        let node = node.clone();
                        self.tree.add_hard_link(relative, Path::new(&target))?;
                        node
                    }
                    _ => return refuse(format!("'{path}' is a hard link to '{target}', which is no file of the package")),
                }
            } else {
                return refuse(format!("'{path}' is a device, a pipe or of unknown kind"));
            };
            self.nodes.insert(path, node);
        }
        Ok(())
    }

    /// Every directory above a member must be a directory of the tree: a link there could lead anywhere.
    fn make_parents(&mut self, path: &str) -> std::result::Result<(), Refusal> {
        for (at, _) in path.match_indices('/') {
            let Some(parent) = path.get(..at) else { continue };
            match self.nodes.get(parent) {
                Some(Node::Directory) => {}
                Some(_) => return refuse(format!("'{path}' goes through '{parent}', which is no directory")),
                None => {
                    self.tree.add_dir(Path::new(parent))?;
                    self.nodes.insert(parent.to_owned(), Node::Directory);
                }
            }
        }
        Ok(())
    }

    fn write_file(&mut self, input: &mut impl Read, relative: &Path) -> std::result::Result<(), Refusal> {
        let mut file = self.tree.add_file(relative)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = input.read(&mut buffer).or_else(|e| refuse(format!("damaged archive ({e})")))?;
            let Some(chunk) = buffer.get(..n).filter(|c| !c.is_empty()) else { return Ok(()) };
            self.bytes += n as u64;
            if self.bytes > self.limits.bytes {
                return refuse(format!("more than {} bytes", self.limits.bytes));
            }
            io::Write::write_all(&mut file, chunk)?;
        }
    }

    /// Brings modes, times and links into their canonical form.
    ///
    /// An absolute link to something in the tree becomes relative: a package is written for `/`, and here its
    /// root is the store path.
    ///
    /// # Errors
    /// As writing files.
    pub fn finish(self) -> Result<()> {
        let failed = |e: io::Error| Error::io("unpack into", self.tree.path(), e);
        for (path, node) in self.nodes.iter().rev() {
            let relative = Path::new(path);
            match node {
                Node::Directory => self.tree.set_mode(relative, 0o755).map_err(failed)?,
                Node::File { executable } => {
                    self.tree.set_mode(relative, if *executable { 0o555 } else { 0o444 }).map_err(failed)?;
                }
                Node::Link { target } => {
                    if let Some(wanted) = target.strip_prefix('/').and_then(|t| inside(t.as_bytes()).ok()).flatten()
                        && let Some(found) = self.locate(&wanted)
                    {
                        self.tree.remove(relative).map_err(failed)?;
                        self.tree.add_link(relative, &relative_link(path, found)).map_err(failed)?;
                    }
                }
            }
        }
        // Times last, children first: each change above touches the directory it lies in.
        for path in self.nodes.keys().rev() {
            self.tree.set_times(Path::new(path)).map_err(failed)?;
        }
        self.tree.set_times(Path::new("")).map_err(failed)
    }

    /// The tree's name for a path of the installed system: `/lib` and `/usr/lib` are one directory there.
    fn locate(&self, wanted: &str) -> Option<&str> {
        let merged = format!("usr/{wanted}");
        [wanted, &merged].into_iter().find_map(|p| self.nodes.get_key_value(p)).map(|(k, _)| k.as_str())
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, path: &str) -> std::result::Result<String, Refusal> {
    let Some(target) = entry.link_name_bytes() else { return refuse(format!("'{path}' is a link to nothing")) };
    match String::from_utf8(target.into_owned()) {
        Ok(target) if !target.is_empty() && !target.contains('\0') && target.len() < 4096 => Ok(target),
        _ => refuse(format!("'{path}' is a link to no usable name")),
    }
}

/// A member's name relative to the tree; `None` for the tree itself.
fn inside(raw: &[u8]) -> std::result::Result<Option<String>, Refusal> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let Ok(text) = std::str::from_utf8(raw) else { return refuse(format!("'{}' is not UTF-8", shown())) };
    if text.starts_with('/') || text.contains('\0') || text.len() >= 4096 {
        return refuse(format!("'{text}' is no relative name"));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return refuse(format!("'{text}' leaves its directory")),
            part if part.len() > 255 => return refuse(format!("'{text}' is too long")),
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

fn relative_link(from: &str, to: &str) -> PathBuf {
    let up = from.matches('/').count();
    let mut from_parts: Vec<&str> = from.split('/').collect();
    from_parts.truncate(up);
    let to_parts: Vec<&str> = to.split('/').collect();
    let common = from_parts.iter().zip(&to_parts).take_while(|(a, b)| a == b).count();
    let common = common.min(to_parts.len().saturating_sub(1));
    std::iter::repeat_n("..", from_parts.len() - common).chain(to_parts.into_iter().skip(common)).collect()
}
