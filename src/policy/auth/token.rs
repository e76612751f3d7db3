//! The text of a token: its bounds and its parts first, then, only where they are good, its
//! signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto;
use serde_json::Map;
use serde_json::Value;

use crate::policy::auth::Reject;
use crate::policy::auth::json;
use crate::policy::auth::keys;
use crate::policy::auth::keys::KID_BYTES_MAX;
use crate::policy::auth::keys::KeyId;
use crate::policy::auth::keys::KeySet;
use crate::policy::auth::keys::NoKey;
use crate::policy::auth::provider;

/// Longest header part, in characters of base64.
const HEADER_CHARS_MAX: usize = 2048;
/// Longest signature part: that of an RSA key of 8192 bits.
const SIGNATURE_CHARS_MAX: usize = 1368;

/// A token that is well-formed and has not been believed yet.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    /// What was signed.
    signed: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    claims: Map<String, Value>,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. No cryptography so far.
    pub(super) fn parse(text: &'t str) -> Result<Self, Reject> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Reject::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Reject::Malformed)?;
        if HEADER_CHARS_MAX < header.len() || SIGNATURE_CHARS_MAX < signature.len() {
            return Err(Reject::TooLarge);
        }
        let header = object_of(header)?;
        let name = header.get("alg").and_then(Value::as_str).ok_or(Reject::Malformed)?;
        if name.eq_ignore_ascii_case("none") {
            return Err(Reject::Unsigned);
        }
        let algorithm = keys::algorithm(name).ok_or(Reject::Algorithm)?;
        // What the header says must be understood is not understood here; what is encrypted or
        // compressed is no plain claims set.
        if ["crit", "enc", "zip", "b64"].iter().any(|it| header.contains_key(*it)) {
            return Err(Reject::Malformed);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.as_str().into()),
            Some(_) => return Err(Reject::Malformed),
        };
        let claims = object_of(claims)?;
        Ok(Self { signed, signature, algorithm, kid, claims })
    }

    /// Checks the signature with the keys that may have made it: the only place that does.
    pub(super) fn verify(self, keys: &KeySet) -> Result<(KeyId, Map<String, Value>), Reject> {
        let candidates = keys.candidates(self.kid.as_deref(), self.algorithm);
        let candidates = candidates.map_err(|error| match error {
            NoKey::Unknown => Reject::UnknownKey,
            NoKey::Algorithm => Reject::Algorithm,
        })?;
        provider::install();
        let signed = self.signed.as_bytes();
        for key in candidates {
            if crypto::verify(self.signature, signed, &key.key, self.algorithm) == Ok(true) {
                return Ok((key.id(), self.claims));
            }
        }
        Err(Reject::Signature)
    }
}

fn object_of(part: &str) -> Result<Map<String, Value>, Reject> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reject::Malformed)?;
    json::parse_object(&bytes).ok_or(Reject::Malformed)
}
