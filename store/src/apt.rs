//! What the host's apt says: mirrors, proxies, and which checks it has switched off.
//!
//! Parsing is pure; [`HostApt::read`] asks `apt-get` and `apt-config`, or reads the source lists where
//! apt is missing. Settings that switch checks off are reported, never followed.

use crate::config::is_suite_name;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Longest answer of a program, and longest file, that is looked at.
const MAX_TEXT: usize = 16 << 20;

/// What was learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostApt {
    /// Mirror of the Debian archive, without a slash at the end.
    pub mirror: Option<String>,
    /// Mirror of Debian's security archive.
    pub security_mirror: Option<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// Each setting that makes apt trust what it should not, as one sentence.
    pub warnings: Vec<String>,
}

/// Proxies as apt names them (apt-transport-http(1)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `Acquire::http::Proxy`.
    pub http: Option<String>,
    /// `Acquire::https::Proxy`.
    pub https: Option<String>,
    /// `Acquire::<scheme>::Proxy::<host>`: scheme, host, proxy or `DIRECT`.
    pub hosts: Vec<(String, String, String)>,
}

impl Proxies {
    /// The proxy for an address: `Some("DIRECT")` forbids any, `None` leaves it to the environment.
    pub fn of(&self, scheme: &str, host: &str) -> Option<&str> {
        let special = self.hosts.iter().find(|(s, h, _)| s == scheme && h.eq_ignore_ascii_case(host));
        if let Some((_, _, proxy)) = special {
            return Some(proxy);
        }
        let general = if scheme == "https" { &self.https } else { &self.http };
        general.as_deref().filter(|p| !p.is_empty())
    }
}

/// One archive a source names, as far as its choice needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Base address of the archive.
    pub uri: String,
    /// Suite or codename as written in the source.
    pub suite: String,
    /// `Origin` of its Release file, if apt has fetched it.
    pub origin: String,
    /// `Label` of its Release file.
    pub label: String,
    /// Whether it has the component `main`.
    pub main: bool,
}

/// Names under which Debian publishes releases: a mirror of one has the others too, whichever are configured.
const SUITE_NAMES: &[&str] =
    &["stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "buster", "bullseye", "bookworm", "trixie", "forky"];

impl HostApt {
    /// Asks the host. A host without apt gives an empty answer; nothing here is an error. The mirrors are
    /// looked for only if `mirrors` says so: that starts one program more.
    pub fn read(suites: &[String], mirrors: bool) -> HostApt {
        let mut host = HostApt::default();
        if let Some(dump) = run("apt-config", &["dump"]) {
            host.proxies = parse_config_dump(&dump, &mut host.warnings);
        }
        if !mirrors {
            return host;
        }
        let (listed, written) = read_source_lists(Path::new("/etc/apt"), &mut host.warnings);
        let sources = match run("apt-get", &["indextargets"]) {
            Some(text) if listed => parse_indextargets(&text),
            _ => written,
        };
        choose_mirrors(&sources, suites, &mut host);
        host.warnings.dedup();
        host
    }
}

/// Takes the first source that is Debian's own archive, and the first that is its security archive.
pub fn choose_mirrors(sources: &[Source], suites: &[String], host: &mut HostApt) {
    for source in sources {
        if !usable_scheme(&source.uri) || !source.main {
            continue;
        }
        let uri = source.uri.trim_end_matches('/');
        match debian_role(source, suites) {
            Some(Role::Archive) if host.mirror.is_none() => host.mirror = Some(uri.to_owned()),
            Some(Role::Security) if host.security_mirror.is_none() => host.security_mirror = Some(uri.to_owned()),
            _ => {}
        }
    }
}

enum Role {
    Archive,
    Security,
}

/// By the Release file's own words where apt has them; else by the suite's name. A third party that uses a
/// codename of Debian's is refused later: no key of ours has signed it.
fn debian_role(source: &Source, suites: &[String]) -> Option<Role> {
    if !source.origin.is_empty() || !source.label.is_empty() {
        return match (source.origin.as_str(), source.label.as_str()) {
            ("Debian", "Debian") => Some(Role::Archive),
            ("Debian", "Debian-Security") => Some(Role::Security),
            _ => None,
        };
    }
    let known = |name: &str| SUITE_NAMES.contains(&name) || suites.iter().any(|s| s == name);
    if let Some(base) = source.suite.strip_suffix("-security").or_else(|| source.suite.strip_suffix("/updates")) {
        return known(base).then_some(Role::Security);
    }
    let base = ["-updates", "-proposed-updates", "-backports"].iter().find_map(|s| source.suite.strip_suffix(s)).unwrap_or(&source.suite);
    // Debian calls its directory `debian` on every mirror; a vendor's own path says otherwise.
    let path = source.uri.trim_end_matches('/');
    (known(base) && is_suite_name(base) && path.rsplit('/').next() == Some("debian")).then_some(Role::Archive)
}

fn usable_scheme(uri: &str) -> bool {
    ["http://", "https://", "file:"].iter().any(|s| uri.starts_with(s))
}

/// Parses `apt-get indextargets`: paragraphs of `Key: value`.
pub fn parse_indextargets(text: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut source = Source::default();
        let mut created_by = "";
        for line in paragraph.lines() {
            let Some((key, value)) = line.split_once(": ") else { continue };
            match key {
                "Repo-URI" => source.uri = value.to_owned(),
                "Release" => source.suite = value.to_owned(),
                "Origin" => source.origin = value.to_owned(),
                "Label" => source.label = value.to_owned(),
                "Component" => source.main = value == "main",
                "Created-By" => created_by = value,
                _ => {}
            }
        }
        if created_by == "Packages" && !source.uri.is_empty() && !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

/// Parses `apt-config dump`: lines of `A::B "value";`. Adds a warning for each check that is off.
pub fn parse_config_dump(text: &str, warnings: &mut Vec<String>) -> Proxies {
    let mut proxies = Proxies::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let Some(value) = value.strip_prefix('"').and_then(|v| v.strip_suffix("\";")) else { continue };
        let lower = key.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split("::").collect();
        match parts.as_slice() {
            ["acquire", "http", "proxy"] => proxies.http = Some(value.to_owned()),
            ["acquire", "https", "proxy"] => proxies.https = Some(value.to_owned()),
            ["acquire", scheme @ ("http" | "https"), "proxy", host] if !host.is_empty() && !value.is_empty() => {
                proxies.hosts.push(((*scheme).to_owned(), (*host).to_owned(), value.to_owned()));
            }
            ["acquire", "http" | "https", "proxy-auto-detect" | "proxyautodetect"] if !value.is_empty() => {
                warnings.push(format!("apt finds its proxy by running {value}; xeno does not, set http_proxy if it is needed"));
            }
            ["acquire", "allowinsecurerepositories" | "allowweakrepositories" | "allowdowngradetoinsecurerepositories"]
            | ["apt", "get", "allowunauthenticated"]
                if is_true(value) =>
            {
                warnings.push(format!("apt on this machine sets {key}; xeno checks signatures all the same"));
            }
            ["acquire", "check-valid-until" | "check-date"] if !is_true(value) => {
                warnings.push(format!("apt on this machine switches {key} off; xeno checks it all the same"));
            }
            ["acquire", "https", "verify-peer" | "verify-host", ..] if !is_true(value) => {
                warnings.push(format!("apt on this machine switches {key} off; xeno checks certificates all the same"));
            }
            _ => {}
        }
    }
    proxies
}

/// apt's `StringToBool` for the values that mean yes.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "yes" | "true" | "with" | "on" | "enable")
}

/// Reads `sources.list` and `sources.list.d`; the flag says whether any exists.
fn read_source_lists(etc_apt: &Path, warnings: &mut Vec<String>) -> (bool, Vec<Source>) {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut sources = Vec::new();
    let mut any = false;
    for file in files {
        let deb822 = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => false,
            Some("sources") => true,
            _ => continue,
        };
        let Ok(bytes) = fs::read(&file) else { continue };
        if bytes.len() > MAX_TEXT {
            continue;
        }
        any = true;
        let text = String::from_utf8_lossy(&bytes);
        let name = file.display().to_string();
        sources.extend(if deb822 { parse_deb822(&text, &name, warnings) } else { parse_one_line(&text, &name, warnings) });
    }
    (any, sources)
}

/// Parses the one-line format (sources.list(5)): `deb [options] uri suite component…`.
pub fn parse_one_line(text: &str, file: &str, warnings: &mut Vec<String>) -> Vec<Source> {
    let mut sources = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t'])) else { continue };
        let mut rest = rest.trim_start();
        if let Some(options) = rest.strip_prefix('[') {
            let Some((inside, after)) = options.split_once(']') else { continue };
            for option in inside.split_whitespace() {
                if let Some((key, value)) = option.split_once('=') {
                    check_option(key, value, &format!("{file}:{}", number + 1), warnings);
                }
            }
            rest = after.trim_start();
        }
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let main = words.any(|c| c == "main");
        sources.push(Source { uri: uri.to_owned(), suite: suite.to_owned(), main, ..Source::default() });
    }
    sources
}

/// Parses the deb822 format (sources.list(5)).
pub fn parse_deb822(text: &str, file: &str, warnings: &mut Vec<String>) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza_sources(&stanza, file, warnings));
            stanza.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza_sources(stanza: &[(String, String)], file: &str, warnings: &mut Vec<String>) -> Vec<Source> {
    let get = |key: &str| stanza.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str());
    if get("enabled").eq_ignore_ascii_case("no") || !get("types").split_whitespace().any(|t| t == "deb") {
        return Vec::new();
    }
    for (key, value) in stanza {
        check_option(key, value, file, warnings);
    }
    let main = get("components").split_whitespace().any(|c| c == "main");
    let mut sources = Vec::new();
    for uri in get("uris").split_whitespace() {
        for suite in get("suites").split_whitespace() {
            sources.push(Source { uri: uri.to_owned(), suite: suite.to_owned(), main, ..Source::default() });
        }
    }
    sources
}

fn check_option(key: &str, value: &str, place: &str, warnings: &mut Vec<String>) {
    let unsafe_now = match key {
        "trusted" | "allow-insecure" | "allow-weak" | "allow-downgrade-to-insecure" => is_true(value),
        "check-valid-until" | "check-date" => !is_true(value),
        _ => false,
    };
    if unsafe_now {
        warnings.push(format!("{place} says {key}={value}; xeno makes that check all the same"));
    }
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|o| o.status.success() && o.stdout.len() <= MAX_TEXT)?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<String> {
        vec!["trixie".to_owned(), "bookworm".to_owned()]
    }

    fn mirrors(sources: &[Source]) -> (Option<String>, Option<String>) {
        let mut host = HostApt::default();
        choose_mirrors(sources, &suites(), &mut host);
        (host.mirror, host.security_mirror)
    }

    const TARGETS: &str = "\
MetaKey: main/binary-amd64/Packages
Origin: Vendor
Label: Vendor
Component: main
Created-By: Packages
Release: bookworm
Repo-URI: http://vendor.example.org/debian/

MetaKey: main/dep11/Components-amd64.yml
Origin: Debian
Label: Debian
Component: main
Created-By: DEP-11
Release: bookworm
Repo-URI: http://wrong.example.org/debian/

MetaKey: main/binary-amd64/Packages
Origin: Debian
Label: Debian
Codename: bookworm
Component: main
Created-By: Packages
Release: bookworm
Repo-URI: http://mirror.example.org/debian/

MetaKey: main/binary-amd64/Packages
Origin: Debian
Label: Debian-Security
Component: main
Created-By: Packages
Release: bookworm-security
Repo-URI: http://security.example.org/debian-security/
";

    #[test]
    fn only_archives_that_call_themselves_debian_are_mirrors() {
        let found = mirrors(&parse_indextargets(TARGETS));
        assert_eq!(found.0.as_deref(), Some("http://mirror.example.org/debian"));
        assert_eq!(found.1.as_deref(), Some("http://security.example.org/debian-security"));
        let ubuntu = TARGETS.replace("Origin: Debian", "Origin: Ubuntu");
        assert_eq!(mirrors(&parse_indextargets(&ubuntu)), (None, None));
    }

    #[test]
    fn without_release_files_the_suite_and_path_must_be_debians() {
        let mut warnings = Vec::new();
        let text = "\
deb http://ubuntu.example.org/ubuntu noble main
deb http://vendor.example.org/linux/debian bookworm stable
deb http://other.example.org/tool bookworm main
# deb http://comment.example.org/debian bookworm main
deb-src http://src.example.org/debian bookworm main
deb [arch=amd64 trusted=yes] cdrom:[disc]/debian bookworm main
deb [ arch=amd64 trusted=yes ] http://mirror.example.org/debian/ bookworm main contrib
deb http://security.example.org/debian-security bookworm-security main
";
        let sources = parse_one_line(text, "sources.list", &mut warnings);
        let found = mirrors(&sources);
        assert_eq!(found.0.as_deref(), Some("http://mirror.example.org/debian"));
        assert_eq!(found.1.as_deref(), Some("http://security.example.org/debian-security"));
        assert_eq!(
            warnings,
            [
                "sources.list:6 says trusted=yes; xeno makes that check all the same",
                "sources.list:7 says trusted=yes; xeno makes that check all the same"
            ]
        );
    }

    #[test]
    fn deb822_sources_may_be_disabled_folded_and_unsafe() {
        let mut warnings = Vec::new();
        let text = "\
Types: deb
URIs: http://off.example.org/debian
Suites: trixie
Components: main
Enabled: no

# the real one
Types: deb deb-src
URIs: https://mirror.example.org/debian
Suites: trixie
 trixie-updates
Components: main
Check-Valid-Until: no
";
        let sources = parse_deb822(text, "debian.sources", &mut warnings);
        assert_eq!(sources.iter().map(|s| s.suite.as_str()).collect::<Vec<_>>(), ["trixie", "trixie-updates"]);
        assert_eq!(mirrors(&sources).0.as_deref(), Some("https://mirror.example.org/debian"));
        assert_eq!(warnings, ["debian.sources says check-valid-until=no; xeno makes that check all the same"]);
    }

    #[test]
    fn proxies_come_from_the_dump_and_switched_off_checks_are_reported() {
        let mut warnings = Vec::new();
        let dump = "\
Acquire::http::Proxy \"http://proxy.example.org:3128\";
Acquire::http::Proxy::mirror.example.org \"DIRECT\";
Acquire::https::Proxy \"\";
Acquire::AllowInsecureRepositories \"true\";
Acquire::AllowWeakRepositories \"0\";
Acquire::Check-Valid-Until \"false\";
";
        let proxies = parse_config_dump(dump, &mut warnings);
        assert_eq!(proxies.of("http", "other.example.org"), Some("http://proxy.example.org:3128"));
        assert_eq!(proxies.of("http", "mirror.example.org"), Some("DIRECT"));
        assert_eq!(proxies.of("https", "other.example.org"), None);
        assert_eq!(
            warnings,
            [
                "apt on this machine sets Acquire::AllowInsecureRepositories; xeno checks signatures all the same",
                "apt on this machine switches Acquire::Check-Valid-Until off; xeno checks it all the same"
            ]
        );
    }
}
