//! A stand-in for the archive: a directory laid out as a Debian mirror, signed by a key made here, and a small HTTP
//! server for it that counts what it is asked and can be told to misbehave.
#![allow(dead_code, reason = "each test program uses its part")]

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::Password;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::config::Config;
use store::debian::{Debian, Options};
use store::root::StoreRoot;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

pub fn key(user: &str) -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true).primary_user_id(user.to_owned());
    params.build().unwrap().generate(rand::thread_rng()).unwrap()
}

pub fn public(key: &SignedSecretKey) -> Vec<u8> {
    key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap()
}

pub fn clear_sign(key: &SignedSecretKey, text: &str) -> String {
    let message = CleartextSignedMessage::sign(rand::thread_rng(), text, &key.primary_key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The first bytes of an ELF file for x86-64, made distinct by a tail.
pub fn elf(tail: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    bytes[18] = 62;
    bytes.extend_from_slice(tail.as_bytes());
    bytes
}

/// A member of a package.
pub enum Member<'a> {
    File(&'a str, Vec<u8>),
    Link(&'a str, &'a str),
}

pub fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        match member {
            Member::File(path, bytes) => {
                header.set_size(bytes.len() as u64);
                out.append_data(&mut header, format!("./{path}"), bytes.as_slice()).unwrap();
            }
            Member::Link(path, target) => {
                header.set_size(0);
                header.set_entry_type(tar::EntryType::Symlink);
                out.append_link(&mut header, format!("./{path}"), target).unwrap();
            }
        }
    }
    out.into_inner().unwrap()
}

pub fn deb_with(data_name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = ar::Builder::new(Vec::new());
    for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar.gz", b""), (data_name, data)] {
        out.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
    }
    out.into_inner().unwrap()
}

pub fn deb(members: &[Member<'_>]) -> Vec<u8> {
    deb_with("data.tar.gz", &gzip(&tar_of(members)))
}

/// One suite being put together.
#[derive(Default)]
pub struct SuiteContent {
    pub contents: String,
    pub packages: String,
    pub valid_until: Option<String>,
    pub by_hash: bool,
}

/// The mirror's directory.
pub struct Standin {
    pub dir: tempfile::TempDir,
    pub key: SignedSecretKey,
}

impl Standin {
    pub fn new() -> Standin {
        let standin = Standin { dir: tempfile::tempdir().unwrap(), key: key("Stand-in archive <archive@example.org>") };
        fs::write(standin.dir.path().join("key.asc"), public(&standin.key)).unwrap();
        standin
    }

    pub fn mirror(&self) -> PathBuf {
        self.dir.path().join("debian")
    }

    pub fn pool_file(&self, name: &str, version: &str) -> PathBuf {
        self.mirror().join(format!("pool/main/{name}_{version}_amd64.deb"))
    }

    /// Adds a package to the pool and to a suite's lists.
    pub fn package(&self, suite: &mut SuiteContent, name: &str, version: &str, libraries: &[&str], deb: &[u8]) {
        let path = self.pool_file(name, version);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, deb).unwrap();
        for library in libraries {
            writeln!(suite.contents, "{library}    libs/{name}").unwrap();
        }
        writeln!(
            suite.packages,
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/main/{name}_{version}_amd64.deb\nSize: {}\nSHA256: {}\n",
            deb.len(),
            hex(&Sha256::digest(deb))
        )
        .unwrap();
    }

    /// Writes a suite's lists and its signed Release.
    pub fn publish(&self, name: &str, suite: &SuiteContent) {
        self.publish_signed(name, suite, &self.key);
    }

    pub fn publish_signed(&self, name: &str, suite: &SuiteContent, key: &SignedSecretKey) {
        let dists = self.mirror().join("dists").join(name);
        let mut hashes = String::new();
        let files = BTreeMap::from([
            ("main/Contents-amd64.gz", gzip(suite.contents.as_bytes())),
            ("main/binary-amd64/Packages.gz", gzip(suite.packages.as_bytes())),
        ]);
        for (path, bytes) in files {
            let hash = hex(&Sha256::digest(&bytes));
            writeln!(hashes, " {hash} {} {path}", bytes.len()).unwrap();
            let file = dists.join(path);
            let by_hash = file.parent().unwrap().join("by-hash/SHA256");
            fs::create_dir_all(&by_hash).unwrap();
            fs::write(&file, &bytes).unwrap();
            if suite.by_hash {
                fs::write(by_hash.join(hash), &bytes).unwrap();
            }
        }
        let valid = suite.valid_until.as_ref().map_or(String::new(), |v| format!("Valid-Until: {v}\n"));
        let text = format!(
            "Origin: Debian\nLabel: Debian\nSuite: {name}\nCodename: {name}\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{valid}Acquire-By-Hash: yes\n\
             Description: - a line that\n - starts with a dash\nSHA256:\n{hashes}"
        );
        fs::write(dists.join("InRelease"), clear_sign(key, &text)).unwrap();
    }

    pub fn config(&self, mirror: &str, suites: &[&str]) -> Config {
        let mut config = Config::default();
        config.debian.mirror = Some(mirror.to_owned());
        config.debian.security_mirror = Some(mirror.to_owned());
        config.debian.suites = suites.iter().map(|s| (*s).to_owned()).collect();
        config.debian.keyring = Some(self.dir.path().join("key.asc"));
        config
    }

    pub fn provider(&self, store: &Path, mirror: &str, suites: &[&str], offline: bool) -> Debian {
        Debian::new(StoreRoot::at(store), self.config(mirror, suites), Options { offline, ..Options::default() })
    }

    pub fn local(&self, store: &Path, suites: &[&str]) -> Debian {
        self.provider(store, self.mirror().to_str().unwrap(), suites, false)
    }
}

/// What the server was asked, and how it is to behave.
#[derive(Default)]
pub struct Behaviour {
    /// Path and `Range` header of each request.
    pub requests: Vec<(String, Option<String>)>,
    /// Paths that end so are cut after so many bytes, once each.
    pub cut: Vec<(String, usize)>,
    /// Whether `Range` is ignored.
    pub no_ranges: bool,
}

pub struct Server {
    pub address: String,
    pub behaviour: Arc<Mutex<Behaviour>>,
}

impl Server {
    pub fn start(directory: PathBuf) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let shared = behaviour.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (directory, shared) = (directory.clone(), shared.clone());
                std::thread::spawn(move || answer(stream, &directory, &shared));
            }
        });
        Server { address, behaviour }
    }

    pub fn requests(&self, end: &str) -> Vec<Option<String>> {
        self.behaviour.lock().unwrap().requests.iter().filter(|(p, _)| p.ends_with(end)).map(|(_, r)| r.clone()).collect()
    }
}

fn answer(mut stream: TcpStream, directory: &Path, shared: &Mutex<Behaviour>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut range = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.trim().to_owned());
        }
    }
    let mut b = shared.lock().unwrap();
    b.requests.push((path.clone(), range.clone()));
    let cut = b.cut.iter().position(|(end, _)| path.ends_with(end.as_str())).map(|at| b.cut.remove(at).1);
    let range = if b.no_ranges { None } else { range };
    drop(b);
    let Ok(bytes) = fs::read(directory.join(path.trim_start_matches('/'))) else {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let from: usize = range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
    };
    let body = &bytes[from.min(bytes.len())..];
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
    let _ = stream.flush();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 64]);
}

/// `true` if the test cannot run; fatal where skips are.
pub fn skipped(reason: &str) -> bool {
    assert!(std::env::var_os("XENO_REQUIRE_ALL").is_none_or(|v| v != "1"), "may not be skipped: {reason}");
    println!("skipped: {reason}");
    true
}
