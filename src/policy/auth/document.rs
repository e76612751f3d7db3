//! Documents of keys, as operators and issuers write them: JWK sets, single JWKs, public keys in
//! PEM.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::AlgorithmParameters;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::KeyOperations;
use jsonwebtoken::jwk::PublicKeyUse;
use serde_json::Value;

use crate::policy::auth::json;
use crate::policy::auth::keys::KID_BYTES_MAX;
use crate::policy::auth::keys::Key;
use crate::policy::auth::keys::KeyError;
use crate::policy::auth::keys::algorithm;
use crate::policy::auth::keys::bit;
use crate::policy::auth::keys::bits;
use crate::policy::auth::keys::narrow;
use crate::policy::auth::keys::wrong;

/// Most bytes of a key-set document.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Most keys of a set.
pub const KEYS_COUNT_MAX: usize = 64;
/// Shortest RSA modulus in bytes: 2048 bits.
const MODULUS_BYTES_MIN: usize = 256;

/// Where a document of keys came from, which decides what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the operator's.
    File,
    /// Fetched, and so known to others: it may hold no secrets.
    Remote,
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
                EllipticCurve::P521 | EllipticCurve::Ed25519 | _ => {
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
        AlgorithmParameters::Other(_) | _ => return wrong("a kind of key that is not served"),
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| KeyError(error.to_string()))?;
    Ok(Some(Key::new(kid, narrow(algorithms, only)?, key, &material)))
}

/// Whether the operations are those of a secret, with which whoever signs can check as well.
fn is_secret(jwk: &Jwk, operations: &[KeyOperations]) -> bool {
    matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
        && operations.contains(&KeyOperations::Sign)
}
