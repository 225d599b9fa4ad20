//! The small JSON files by which drivers announce themselves: glvnd's EGL vendors, EGL's external platforms,
//! Vulkan's drivers and layers. Read with limits; paths in them are rewritten to what they are inside.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The largest manifest that is read, bytes.
pub const SIZE_MAX: u64 = 64 << 10;
/// The deepest nesting that is followed.
const DEPTH_MAX: usize = 16;

/// A kind of manifest: where its readers look for it below `/etc`, below a directory of data, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// libglvnd's `EGL/icd_enumeration.md`.
    EglVendor,
    /// The same for EGL's external platforms.
    EglPlatform,
    /// Vulkan loader, "Driver Discovery on Linux".
    VulkanDriver,
    /// Vulkan loader, "Linux Layer Discovery".
    VulkanExplicitLayer,
    /// The same.
    VulkanImplicitLayer,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] =
        [Kind::EglVendor, Kind::EglPlatform, Kind::VulkanDriver, Kind::VulkanExplicitLayer, Kind::VulkanImplicitLayer];

    /// The directory, below `/etc` and below `/usr/share` alike.
    pub fn directory(self) -> &'static str {
        match self {
            Kind::EglVendor => "glvnd/egl_vendor.d",
            Kind::EglPlatform => "egl/egl_external_platform.d",
            Kind::VulkanDriver => "vulkan/icd.d",
            Kind::VulkanExplicitLayer => "vulkan/explicit_layer.d",
            Kind::VulkanImplicitLayer => "vulkan/implicit_layer.d",
        }
    }
}

/// A manifest as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it announces.
    pub kind: Kind,
    /// Where it lies on the host.
    pub path: PathBuf,
    /// What it says.
    pub value: Value,
}

/// A library that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By a name that the loader is asked for.
    Soname(String),
    /// By a path of the host.
    Path(PathBuf),
}

impl Manifest {
    /// Reads a manifest's text; `None` if it names no library.
    pub fn parse(kind: Kind, path: &Path, text: &[u8]) -> Option<Manifest> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let manifest = Manifest { kind, path: path.to_owned(), value };
        (!manifest.libraries().is_empty()).then_some(manifest)
    }

    /// The libraries it names, in its order.
    pub fn libraries(&self) -> Vec<Named> {
        let mut out = Vec::new();
        walk(&mut self.value.clone(), 0, &mut |text| {
            out.push(self.named(text));
            None
        });
        out
    }

    /// A path with a slash is relative to the manifest, as the Vulkan loader reads it.
    fn named(&self, text: &str) -> Named {
        if text.contains('/') {
            Named::Path(self.path.parent().unwrap_or(Path::new("/")).join(text))
        } else {
            Named::Soname(text.to_owned())
        }
    }

    /// Its text with every path as it is inside; a name stays a name.
    pub fn inside(&self, seen: &dyn Fn(&Path) -> PathBuf) -> String {
        let mut value = self.value.clone();
        walk(&mut value, 0, &mut |text| match self.named(text) {
            Named::Soname(_) => None,
            Named::Path(path) => Some(seen(&path).to_string_lossy().into_owned()),
        });
        value.to_string()
    }

    /// A file name for it among others of its kind: readers go by the order of names, so its own comes first.
    pub fn name(&self, at: usize) -> String {
        let stem: String =
            self.path.file_stem().unwrap_or_default().to_string_lossy().chars().filter(|c| !c.is_control()).take(64).collect();
        format!("{stem}-{at}.json")
    }
}

/// Meets every `library_path`, and replaces those for which there is another.
fn walk(value: &mut Value, depth: usize, meet: &mut dyn FnMut(&str) -> Option<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "library_path" => {
                        if let Some(new) = meet(text) {
                            *text = new;
                        }
                    }
                    other => walk(other, depth + 1, meet),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, depth + 1, meet)),
        _ => {}
    }
}
