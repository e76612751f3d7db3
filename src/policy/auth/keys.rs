//! The keys that tokens are checked with: parsed, judged, and each bound to its algorithms.
//!
//! A key never serves an algorithm that it was not bound to, so a token cannot choose how it is
//! checked: that a public key is taken for an HMAC secret is impossible by construction.

use std::fmt;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use ring::digest;

/// Longest `kid` in bytes.
pub(super) const KID_BYTES_MAX: usize = 256;
/// How many keys are tried on a token that does not say which one it was signed with.
const KEYS_TRIED_MAX: usize = 4;
/// Shortest HMAC secret in bytes, that of HS256 (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The shortest secret of an algorithm: the length of what it makes (RFC 7518 §3.2).
pub(super) fn secret_bytes_min(algorithm: Algorithm) -> usize {
    if algorithm == Algorithm::HS512 {
        64
    } else if algorithm == Algorithm::HS384 {
        48
    } else {
        SECRET_BYTES_MIN
    }
}

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

pub(super) fn bit(algorithm: Algorithm) -> u16 {
    ALGORITHMS.iter().find(|(_, it, _)| *it == algorithm).map_or(0, |(.., bit)| *bit)
}

pub(super) fn bits(algorithms: &[Algorithm]) -> u16 {
    algorithms.iter().fold(0, |all, it| all | bit(*it))
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

pub(super) fn wrong<T>(text: impl Into<String>) -> Result<T, KeyError> {
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
    pub(super) fn new(
        kid: Option<&str>,
        algorithms: u16,
        key: DecodingKey,
        material: &[u8],
    ) -> Self {
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

    pub(super) fn hmac(
        kid: Option<&str>,
        only: Option<Algorithm>,
        secret: &[u8],
    ) -> Result<Self, KeyError> {
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
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let serves = secret_bytes_min(algorithm) <= secret.len();
            algorithms |= if serves { bit(algorithm) } else { 0 };
        }
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
pub(super) fn narrow(algorithms: u16, only: Option<Algorithm>) -> Result<u16, KeyError> {
    match only {
        None => Ok(algorithms),
        Some(only) if algorithms & bit(only) != 0 => Ok(bit(only)),
        Some(only) => wrong(format!("its alg {only:?} does not fit the kind or size of the key")),
    }
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
