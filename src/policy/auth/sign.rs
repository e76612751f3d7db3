//! Making tokens, for development only: a server that checks them needs no key to sign with.

use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use serde_json::Value;

use crate::policy::auth::keys;
use crate::policy::auth::keys::KeyError;
use crate::policy::auth::provider;

/// A key to sign with.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    kid: Option<String>,
    key: EncodingKey,
    /// Of a secret, how long it is.
    secret_bytes: Option<usize>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SigningKey({:?}, {:?})", self.algorithm, self.kid)
    }
}

impl SigningKey {
    /// An HMAC secret, for HS256.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        let key = EncodingKey::from_secret(secret);
        Self { algorithm: Algorithm::HS256, kid: None, key, secret_bytes: Some(secret.len()) }
    }

    /// A private key as PEM: RSA for RS256, P-256 or P-384 for ES256 or ES384, Ed25519 for EdDSA.
    ///
    /// # Errors
    ///
    /// When it is none of these; elliptic curves must be in PKCS#8.
    pub fn private_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let of = |algorithm, key| Self { algorithm, kid: None, key, secret_bytes: None };
        let made = EncodingKey::from_rsa_pem(pem)
            .map(|key| of(Algorithm::RS256, key))
            .or_else(|_| EncodingKey::from_ed_pem(pem).map(|key| of(Algorithm::EdDSA, key)))
            .or_else(|_| {
                let key = EncodingKey::from_ec_pem(pem)?;
                let es256 = of(Algorithm::ES256, key.clone());
                // Which curve it is shows when it signs.
                let fits = es256.sign(&Value::Null).is_ok();
                Ok(if fits { es256 } else { of(Algorithm::ES384, key) })
            });
        made.map_err(|_: jsonwebtoken::errors::Error| {
            KeyError("no private key as PEM; elliptic curves must be in PKCS#8".into())
        })
    }

    /// The same key with a name that its tokens carry.
    #[must_use]
    pub fn with_kid(self, kid: &str) -> Self {
        Self { kid: Some(kid.to_owned()), ..self }
    }

    /// The same key for another algorithm of its family, such as PS256 for an RSA key.
    ///
    /// # Errors
    ///
    /// When there is no such algorithm or the key cannot serve it.
    pub fn with_algorithm(self, name: &str) -> Result<Self, KeyError> {
        let algorithm = keys::algorithm(name).filter(|it| it.family() == self.key.family());
        let Some(algorithm) = algorithm else {
            return Err(KeyError(format!("this key cannot sign with {name:?}")));
        };
        let bytes_min = keys::secret_bytes_min(algorithm);
        if let Some(bytes) = self.secret_bytes.filter(|it| *it < bytes_min) {
            return Err(KeyError(format!(
                "{name} needs a secret of {bytes_min} bytes or more (RFC 7518), and this one has \
                 {bytes}: no server would believe the token; give a longer one, or sign with HS256"
            )));
        }
        Ok(Self { algorithm, ..self })
    }

    /// A token with these claims.
    ///
    /// # Errors
    ///
    /// When the key is broken.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        provider::install();
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| KeyError(format!("cannot sign: {error}")))
    }
}
