//! The four JSON texts of a layout, with their fields in a fixed order (OCI image specification 1.1: config.md,
//! manifest.md, image-index.md, image-layout.md). Bytes that are not UTF-8 are replaced: JSON has no place for them.

use super::Config;
use super::layer::Blob;
use super::plan::is_variable;
use serde::Serialize;
use std::ffi::{OsStr, OsString};

/// image-layout.md, "oci-layout file".
pub(super) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// One second after the epoch, as the times in the layer.
const CREATED: &str = "1970-01-01T00:00:01Z";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Serialize)]
struct Image<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: Execution,
    rootfs: RootFs,
    history: [History<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    working_dir: String,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [String; 1],
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations<'a>>,
}

#[derive(Serialize)]
struct Platform<'a> {
    architecture: &'a str,
    os: &'a str,
}

#[derive(Serialize)]
struct Annotations<'a> {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: [Descriptor<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: [Descriptor<'a>; 1],
}

fn text(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

fn texts(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| text(word)).collect()
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Every field is a string, a number or a list of such: this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn descriptor<'a>(media_type: &'a str, blob: &Blob) -> Descriptor<'a> {
    Descriptor { media_type, digest: format!("sha256:{}", blob.sha256), size: blob.size, platform: None, annotations: None }
}

/// The configuration; `diff` is the digest of the layer's archive.
pub(super) fn config(config: &Config, diff: &str) -> Vec<u8> {
    let variables = config.variables.iter().filter(|(name, _)| is_variable(name));
    bytes(&Image {
        created: CREATED,
        architecture: &config.architecture,
        os: "linux",
        config: Execution {
            env: variables.map(|(name, value)| format!("{}={}", text(name), text(value))).collect(),
            entrypoint: texts(&config.entrypoint),
            cmd: texts(&config.command),
            working_dir: config.directory.as_ref().map_or_else(|| "/".to_owned(), |path| text(path.as_os_str())),
        },
        rootfs: RootFs { kind: "layers", diff_ids: [format!("sha256:{diff}")] },
        history: [History { created: CREATED, created_by: "xeno env export" }],
    })
}

/// The manifest of one layer.
pub(super) fn manifest(config: &Blob, layer: &Blob) -> Vec<u8> {
    bytes(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: descriptor("application/vnd.oci.image.config.v1+json", config),
        layers: [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    })
}

/// The index of one manifest.
pub(super) fn index(config: &Config, manifest: &Blob) -> Vec<u8> {
    let platform = Some(Platform { architecture: &config.architecture, os: "linux" });
    let annotations = Some(Annotations { name: &config.name }).filter(|it| !it.name.is_empty());
    bytes(&Index {
        schema_version: 2,
        media_type: "application/vnd.oci.image.index.v1+json",
        manifests: [Descriptor { platform, annotations, ..descriptor(MANIFEST, manifest) }],
    })
}
