//! The keys that tokens are checked with: parsed, judged, and each bound to its algorithms.
//!
//! A key never serves an algorithm that it was not bound to, so a token cannot choose how it is
//! checked: that a public key is taken for an HMAC secret is impossible by construction.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::AlgorithmParameters;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::KeyOperations;
use jsonwebtoken::jwk::PublicKeyUse;
use ring::digest;
use serde_json::Value;

use crate::policy::auth::json;

/// Most bytes of a key-set document.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Most keys of a set.
pub const KEYS_COUNT_MAX: usize = 64;
/// Longest `kid` in bytes.
pub(super) const KID_BYTES_MAX: usize = 256;
/// How many keys are tried on a token that does not say which one it was signed with.
const KEYS_TRIED_MAX: usize = 4;
/// Shortest HMAC secret in bytes, that of HS256 (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest RSA modulus in bytes: 2048 bits.
const MODULUS_BYTES_MIN: usize = 256;

/// The name of an algorithm and the bit that stands for it.
#[rustfmt::skip]
const ALGORITHMS: &[(&str, Algorithm, u16)] = &[
    ("HS256", Algorithm::HS256, 1 << 0),
    ("HS384", Algorithm::HS384, 1 << 1),
    ("HS512", Algorithm::HS512, 1 << 2),
    ("RS256", Algorithm::RS256, 1 << 3),
    ("RS384", Algorithm::RS384, 1 << 4),
    ("RS512", Algorithm::RS512, 1 << 5),
    ("PS256", Algorithm::PS256, 1 << 6),
    ("PS384", Algorithm::PS384, 1 << 7),
    ("PS512", Algorithm::PS512, 1 << 8),
    ("ES256", Algorithm::ES256, 1 << 9),
    ("ES384", Algorithm::ES384, 1 << 10),
    ("EdDSA", Algorithm::EdDSA, 1 << 11),
];

/// The algorithm called `name`; case counts (RFC 7515 §4.1.1).
#[must_use]
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(it, ..)| *it == name).map(|(_, algorithm, _)| *algorithm)
}

fn bit(algorithm: Algorithm) -> u16 {
    ALGORITHMS.iter().find(|(_, it, _)| *it == algorithm).map_or(0, |(.., bit)| *bit)
}

fn bits(algorithms: &[Algorithm]) -> u16 {
    algorithms.iter().fold(0, |all, it| all | bit(*it))
}

/// Where a document of keys came from, which decides what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the operator's.
    File,
    /// Fetched, and so known to others: it may hold no secrets.
    Remote,
}

/// Why keys cannot be used; the text names the remedy and holds no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(pub String);

impl fmt::Display for KeyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

fn wrong<T>(text: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError(text.into()))
}

/// Which key a token was checked with: of what it is, not of where it stands in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(u64);

/// One key that tokens may be signed for.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    kid: Option<Box<str>>,
    algorithms: u16,
    pub(super) key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.describe())
    }
}

impl Key {
    fn new(kid: Option<&str>, algorithms: u16, key: DecodingKey, material: &[u8]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(kid.unwrap_or("").as_bytes());
        hash.update(&[0, u8::from(kid.is_some())]);
        hash.update(&algorithms.to_be_bytes());
        hash.update(material);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finish().as_ref()[..8]);
        Self { id: KeyId(u64::from_be_bytes(id)), kid: kid.map(Box::from), algorithms, key }
    }

    /// An HMAC secret. It serves HS256, and HS384 and HS512 where it is long enough.
    ///
    /// # Errors
    ///
    /// When it is too short, or is a public key: everybody could sign with that.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        Self::hmac(None, None, secret)
    }

    fn hmac(kid: Option<&str>, only: Option<Algorithm>, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return wrong(format!(
                "the secret has {} bytes; give at least {SECRET_BYTES_MIN}, from a random source",
                secret.len()
            ));
        }
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return wrong("the secret is a PEM document; public keys belong in auth.jwt.keys");
        }
        let mut algorithms = bit(Algorithm::HS256);
        algorithms |= if 48 <= secret.len() { bit(Algorithm::HS384) } else { 0 };
        algorithms |= if 64 <= secret.len() { bit(Algorithm::HS512) } else { 0 };
        let algorithms = narrow(algorithms, only)?;
        Ok(Self::new(kid, algorithms, DecodingKey::from_secret(secret), secret))
    }

    /// What it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Its name and its algorithms, for logs; nothing of the key.
    #[must_use]
    pub fn describe(&self) -> String {
        let names = ALGORITHMS.iter().filter(|(.., bit)| self.algorithms & bit != 0);
        let names: Vec<&str> = names.map(|(name, ..)| *name).collect();
        format!("{} ({})", self.kid.as_deref().unwrap_or("no kid"), names.join(", "))
    }
}

/// `algorithms`, or of them `only` the one that the key itself names.
fn narrow(algorithms: u16, only: Option<Algorithm>) -> Result<u16, KeyError> {
    match only {
        None => Ok(algorithms),
        Some(only) if algorithms & bit(only) != 0 => Ok(bit(only)),
        Some(only) => wrong(format!("its alg {only:?} does not fit the kind or size of the key")),
    }
}

/// The keys of a document, and what in it could not be used.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The keys.
    pub keys: Vec<Key>,
    /// One sentence per key that was passed over.
    pub passed_over: Vec<String>,
}

/// Reads a JWK set, one JWK, or public keys as PEM.
///
/// # Errors
///
/// When it is none of these, has too many keys, or none that can be used. From a file a key that is
/// broken is an error; in what was fetched it is passed over, because others share the document.
pub fn parse(document: &[u8], source: Source) -> Result<Parsed, KeyError> {
    if DOCUMENT_BYTES_MAX < document.len() {
        return wrong(format!("more than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let parsed = if document.trim_ascii_start().starts_with(b"-----BEGIN") {
        parse_pem(document)?
    } else {
        parse_jwks(document, source)?
    };
    if parsed.keys.is_empty() {
        let why = parsed.passed_over.first().map_or(String::new(), |it| format!(": {it}"));
        return wrong(format!("holds no key that tokens can be checked with{why}"));
    }
    Ok(parsed)
}

fn parse_pem(document: &[u8]) -> Result<Parsed, KeyError> {
    let text = std::str::from_utf8(document).map_err(|_| KeyError("PEM is ASCII".into()))?;
    let mut parsed = Parsed::default();
    for block in text.split("-----BEGIN ").skip(1) {
        if KEYS_COUNT_MAX <= parsed.keys.len() {
            return wrong(format!("more than {KEYS_COUNT_MAX} keys"));
        }
        let (label, _) = block.split_once("-----").unwrap_or((block, ""));
        if label != "PUBLIC KEY" && label != "RSA PUBLIC KEY" {
            return wrong(format!(
                "holds a PEM block {label:?}; this server checks tokens and needs PUBLIC KEY only"
            ));
        }
        let pem = format!("-----BEGIN {block}");
        parsed.keys.push(public_pem(pem.as_bytes())?);
    }
    Ok(parsed)
}

fn public_pem(pem: &[u8]) -> Result<Key, KeyError> {
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let der = key.try_get_as_bytes().unwrap_or_default().to_vec();
        // A PKCS#1 key is its modulus, its exponent and a few bytes around them.
        if der.len() < MODULUS_BYTES_MIN + 8 {
            return wrong("an RSA key of less than 2048 bits");
        }
        return Ok(Key::new(None, bits(key.family().algorithms()), key, &der));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let point = key.try_get_as_bytes().unwrap_or_default().to_vec();
        let algorithm = match point.len() {
            65 => Algorithm::ES256,
            97 => Algorithm::ES384,
            _ => return wrong("an elliptic curve other than P-256 and P-384"),
        };
        return Ok(Key::new(None, bit(algorithm), key, &point));
    }
    match DecodingKey::from_ed_pem(pem) {
        Ok(key) if key.try_get_as_bytes().is_ok_and(|it| it.len() == 32) => {
            let bytes = key.try_get_as_bytes().unwrap_or_default().to_vec();
            Ok(Key::new(None, bit(Algorithm::EdDSA), key, &bytes))
        }
        Ok(_) | Err(_) => wrong("a PEM block that is no RSA, P-256, P-384 or Ed25519 public key"),
    }
}

fn parse_jwks(document: &[u8], source: Source) -> Result<Parsed, KeyError> {
    let Some(mut object) = json::parse_object(document) else {
        return wrong("neither a JWK set as JSON nor public keys as PEM");
    };
    let list = match object.remove("keys") {
        Some(Value::Array(list)) => list,
        Some(_) => return wrong("its `keys` is no list"),
        None => vec![Value::Object(object)],
    };
    if KEYS_COUNT_MAX < list.len() {
        return wrong(format!("{} keys, more than {KEYS_COUNT_MAX}", list.len()));
    }
    let mut parsed = Parsed::default();
    for (value, number) in list.into_iter().zip(1..) {
        let told = |why: &str| format!("key {number}: {why}");
        match jwk(value, source) {
            Ok(Some(key)) => parsed.keys.push(key),
            Ok(None) => parsed.passed_over.push(told("not for checking signatures")),
            Err(KeyError(why)) if source == Source::File => return wrong(told(&why)),
            Err(KeyError(why)) => parsed.passed_over.push(told(&why)),
        }
    }
    Ok(parsed)
}

/// One JWK; `None` when it is meant for something else.
fn jwk(value: Value, source: Source) -> Result<Option<Key>, KeyError> {
    let name = value.get("alg").and_then(Value::as_str).map(str::to_owned);
    let jwk: Jwk =
        serde_json::from_value(value).map_err(|_| KeyError("not a JWK (RFC 7517)".into()))?;
    let common = &jwk.common;
    let is_meant = common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
        && (common.key_operations.as_ref())
            .is_none_or(|it| it.contains(&KeyOperations::Verify) || is_secret(&jwk, it));
    if !is_meant {
        return Ok(None);
    }
    let only = match &name {
        None => None,
        Some(name) => Some(
            algorithm(name).ok_or_else(|| KeyError(format!("its alg {name:?} is not served")))?,
        ),
    };
    let kid = common.key_id.as_deref();
    if kid.is_some_and(|it| it.is_empty() || KID_BYTES_MAX < it.len()) {
        return wrong(format!("its kid is empty or longer than {KID_BYTES_MAX} bytes"));
    }
    let raw = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        bytes.map_err(|_| KeyError("a number of it is not base64url".into()))
    };
    let (algorithms, material) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(it) => {
            if source == Source::Remote {
                return wrong("a secret in a document that others can read; it is not believed");
            }
            return Key::hmac(kid, only, &raw(&it.value)?).map(Some);
        }
        AlgorithmParameters::RSA(it) => {
            let n = raw(&it.n)?;
            let significant = n.iter().skip_while(|it| **it == 0).count();
            if significant < MODULUS_BYTES_MIN {
                return wrong("an RSA key of less than 2048 bits");
            }
            let family = jsonwebtoken::AlgorithmFamily::Rsa;
            (bits(family.algorithms()), [n, raw(&it.e)?].concat())
        }
        AlgorithmParameters::EllipticCurve(it) => {
            let (algorithm, bytes) = match it.curve {
                EllipticCurve::P256 => (Algorithm::ES256, 32),
                EllipticCurve::P384 => (Algorithm::ES384, 48),
                _ => {
                    return wrong("an elliptic curve other than P-256 and P-384");
                }
            };
            let (x, y) = (raw(&it.x)?, raw(&it.y)?);
            if x.len() != bytes || y.len() != bytes {
                return wrong("its x or y does not have the size of its curve");
            }
            (bit(algorithm), [x, y].concat())
        }
        AlgorithmParameters::OctetKeyPair(it) => {
            let x = raw(&it.x)?;
            if it.curve != EllipticCurve::Ed25519 || x.len() != 32 {
                return wrong("an octet key pair that is no Ed25519 key");
            }
            (bit(Algorithm::EdDSA), x)
        }
        _ => return wrong("a kind of key that is not served"),
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| KeyError(error.to_string()))?;
    Ok(Some(Key::new(kid, narrow(algorithms, only)?, key, &material)))
}

/// Whether the operations are those of a secret, with which whoever signs can check as well.
fn is_secret(jwk: &Jwk, operations: &[KeyOperations]) -> bool {
    matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
        && operations.contains(&KeyOperations::Sign)
}

/// The keys that are in force, all of them for checking only.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Box<[Key]>,
    generation: u64,
}

/// Why a token has no key here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No key has its `kid`.
    Unknown,
    /// The key that it names is not for its algorithm.
    Algorithm,
}

impl KeySet {
    /// These keys; `generation` rises with every set that replaces another.
    #[must_use]
    pub fn new(keys: Vec<Key>, generation: u64) -> Self {
        Self { keys: keys.into(), generation }
    }

    /// The number of this set.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether the key is among them.
    #[must_use]
    pub fn has(&self, id: KeyId) -> bool {
        self.keys.iter().any(|it| it.id == id)
    }

    /// The keys that may have signed a token with this `kid` and algorithm, few and never none.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &Key>, NoKey> {
        let is_named = kid.is_some_and(|kid| self.keys.iter().any(|it| it.is_called(kid)));
        // A key without a name may be the one that any token names; one with a name is no other.
        let fits = move |key: &&Key| match kid {
            Some(kid) if is_named => key.is_called(kid),
            Some(_) => key.kid.is_none(),
            None => true,
        };
        let wanted = bit(algorithm);
        let mut found = self.keys.iter().filter(fits).peekable();
        if found.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        let mut found = found.filter(move |it| it.algorithms & wanted != 0).peekable();
        if found.peek().is_none() {
            return Err(NoKey::Algorithm);
        }
        Ok(found.take(KEYS_TRIED_MAX))
    }
}

impl Key {
    fn is_called(&self, kid: &str) -> bool {
        self.kid.as_deref() == Some(kid)
    }
}
