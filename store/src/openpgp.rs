//! Verifies a clear-signed file against the archive's keyring and hands back exactly the text that was signed.
//!
//! A key counts only if its own self-signatures are good, it is not revoked, and it had not expired
//! when it signed. Nothing outside the signed text is ever returned.

use crate::error::{Error, Kind, Result};
use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};
use std::fs;
use std::path::Path;

/// Debian's archive keys (`keyring/README.md` says where they are from).
const EMBEDDED: &[u8] = include_bytes!("../keyring/debian-archive-keyring.pgp");

/// Longest keyring file that is read, in bytes.
const MAX_KEYRING: u64 = 4 << 20;

/// Public keys, any of which may vouch for an archive.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A clear-signed file that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed text, dash escapes undone, lines ending in `\n`.
    pub text: String,
    /// Fingerprint of the primary key that vouches for it, 40 or 64 upper-case hexadecimal digits.
    pub signer: String,
}

impl Keyring {
    /// The keyring inside the program.
    ///
    /// # Errors
    /// Never in a released build: the tests read it.
    pub fn embedded() -> Result<Keyring> {
        Keyring::parse(EMBEDDED, "the embedded keyring")
    }

    /// Reads OpenPGP public keys, binary or armoured.
    ///
    /// # Errors
    /// [`Kind::Config`] if there is none.
    pub fn parse(bytes: &[u8], subject: &str) -> Result<Keyring> {
        let bad = |cause: String| Error::new(Kind::Config, "read keyring", subject, cause, "export the keys anew with gpg --export");
        let (parsed, _) = SignedPublicKey::from_reader_many_buf(bytes).map_err(|e| bad(e.to_string()))?;
        let keys = parsed.collect::<pgp::errors::Result<Vec<_>>>().map_err(|e| bad(e.to_string()))?;
        if keys.is_empty() {
            return Err(bad("no public key in it".to_owned()));
        }
        Ok(Keyring { keys })
    }

    /// Adds the keys of a file.
    ///
    /// # Errors
    /// [`Kind::Config`] if it cannot be read or holds no key.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let failed = |e: std::io::Error| {
            let remedy = "correct the key 'keyring' of section [debian]";
            Error::new(Kind::Config, "read keyring", path.display(), &e, remedy).with_source(e)
        };
        if fs::metadata(path).map_err(failed)?.len() > MAX_KEYRING {
            return Err(Error::new(Kind::Config, "read keyring", path.display(), "larger than 4 MiB", "name a keyring"));
        }
        let bytes = fs::read(path).map_err(failed)?;
        self.keys.extend(Keyring::parse(&bytes, &path.display().to_string())?.keys);
        Ok(())
    }

    /// Checks a clear-signed file: at least one signature by a key of this ring must be good.
    /// `now` is in seconds since 1970 and only matters for signatures that expire.
    ///
    /// # Errors
    /// [`Kind::Signature`] if none is, [`Kind::Malformed`] if the file is not clear-signed text.
    pub fn verify(&self, file: &[u8], subject: &str, now: i64) -> Result<Verified> {
        let malformed = |cause: String| {
            let remedy = "try again later, or another mirror: the server sent something else than a Release file";
            Error::new(Kind::Malformed, "verify", subject, cause, remedy)
        };
        let text = std::str::from_utf8(file).map_err(|_| malformed("not UTF-8".to_owned()))?;
        let (message, _) = CleartextSignedMessage::from_string(text).map_err(|e| malformed(format!("not a clear-signed file ({e})")))?;
        let signed = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, signed.as_bytes(), now) {
                Ok(signer) => return Ok(Verified { text: signed.replace("\r\n", "\n"), signer }),
                Err(reason) => reasons.push(reason),
            }
        }
        let cause = if reasons.is_empty() { "it carries no signature".to_owned() } else { reasons.join(", ") };
        let remedy = "use a mirror of Debian's own archive, or name the archive's keyring in [debian] keyring";
        Err(Error::new(Kind::Signature, "verify", subject, cause, remedy))
    }

    /// The primary key's fingerprint, or why the signature does not count.
    fn check(&self, signature: &Signature, text: &[u8], now: i64) -> Result<String, String> {
        let issuer = issuer_name(signature);
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            return Err(format!("the signature by {issuer} is not over a document"));
        }
        if !strong(signature) {
            return Err(format!("the signature by {issuer} uses a weak hash"));
        }
        let Some(at) = signature.created().map(|t| i64::from(t.as_secs())) else {
            return Err(format!("the signature by {issuer} has no date"));
        };
        if let Some(life) = signature.signature_expiration_time().map(|d| i64::from(d.as_secs()))
            && life > 0
            && at + life < now
        {
            return Err(format!("the signature by {issuer} has expired"));
        }
        let mut known = false;
        for key in &self.keys {
            let primary_made_it = names(signature, &key.primary_key);
            let subkey = key.public_subkeys.iter().find(|s| names(signature, &s.key));
            if !primary_made_it && subkey.is_none() {
                continue;
            }
            known = true;
            let fingerprint = format!("{:X}", key.primary_key.fingerprint());
            primary_valid(key, at).map_err(|why| format!("key {fingerprint} {why}"))?;
            let good = match subkey {
                Some(subkey) if !primary_made_it => {
                    subkey_valid(key, subkey, at).map_err(|why| format!("the subkey of {fingerprint} {why}"))?;
                    signature.verify(&subkey.key, text).is_ok()
                }
                _ => signature.verify(&key.primary_key, text).is_ok(),
            };
            if good {
                return Ok(fingerprint);
            }
        }
        Err(if known { format!("the signature by {issuer} is bad") } else { format!("key {issuer} is not trusted") })
    }
}

/// Whether the signature says that this key made it; unsigned hints only choose which key is tried.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprint = key.fingerprint();
    let id = key.legacy_key_id();
    signature.issuer_fingerprint().iter().any(|f| **f == fingerprint) || signature.issuer_key_id().iter().any(|i| **i == id)
}

fn issuer_name(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return format!("{fingerprint:X}");
    }
    signature.issuer_key_id().first().map_or_else(|| "an unnamed key".to_owned(), |id| id.to_string().to_uppercase())
}

/// SHA-1 and MD5 are forgeable by collision; RFC 9580, section 9.5.
fn strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 | HashAlgorithm::Sha3_256 | HashAlgorithm::Sha3_512)
    )
}

/// The newest good self-signature decides when the key expires (RFC 9580, section 5.2.3.10).
fn primary_valid(key: &SignedPublicKey, at: i64) -> Result<(), String> {
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|s| s.verify_key(primary).is_ok()) {
        return Err("is revoked".to_owned());
    }
    let direct = key.details.direct_signatures.iter().filter(|s| s.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures
            .iter()
            .filter(|s| s.typ() != Some(SignatureType::CertRevocation) && s.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    lifetime(direct.chain(users), i64::from(primary.created_at().as_secs()), at)
}

fn subkey_valid(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: i64) -> Result<(), String> {
    let primary = &key.primary_key;
    let bound = |s: &&Signature| s.verify_subkey_binding(primary, &subkey.key).is_ok();
    if subkey.signatures.iter().filter(|s| s.typ() == Some(SignatureType::SubkeyRevocation)).any(|s| bound(&s)) {
        return Err("is revoked".to_owned());
    }
    let bindings = subkey.signatures.iter().filter(|s| {
        // A signing subkey must itself agree to belong to the key (RFC 9580, section 5.2.1.9).
        s.typ() == Some(SignatureType::SubkeyBinding)
            && s.key_flags().sign()
            && bound(s)
            && s.embedded_signature().is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
    });
    lifetime(bindings, i64::from(subkey.key.created_at().as_secs()), at)
}

fn lifetime<'a>(signatures: impl Iterator<Item = &'a Signature>, created: i64, at: i64) -> Result<(), String> {
    let newest = signatures.max_by_key(|s| s.created().map_or(0, |t| t.as_secs()));
    let Some(newest) = newest else { return Err("has no good self-signature".to_owned()) };
    if at < created {
        return Err("was made after the signature".to_owned());
    }
    match newest.key_expiration_time().map(|d| i64::from(d.as_secs())) {
        Some(life) if life > 0 && created + life <= at => Err("had expired when it signed".to_owned()),
        _ => Ok(()),
    }
}
