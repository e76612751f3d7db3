//! What clients prove who they are with.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::clock;
use crate::plan::Words;
use crate::plan::fill;

/// How long a token that is made here holds.
const LIFETIME_SECONDS: u64 = 7200;

/// The tokens of all clients.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// Clients have none.
    None,
    /// One text, perhaps with the client's number in it.
    Template(String),
    /// Ready-made ones, which go round.
    List(Vec<String>),
    /// JWTs that are signed here.
    Signed {
        /// HS256 with the shared secret.
        key: hmac::Key,
        /// Claims, with the client's number in them.
        claims: String,
    },
}

impl Tokens {
    /// What `words` say of tokens.
    ///
    /// # Errors
    ///
    /// More than one kind is asked for, or the file of tokens is not there or empty.
    pub fn new(words: &Words) -> anyhow::Result<Self> {
        let Words { token, token_file, jwt_secret, jwt_claims, .. } = words;
        match (token, token_file, jwt_secret) {
            (None, None, None) => Ok(Self::None),
            (Some(template), None, None) => Ok(Self::Template(template.clone())),
            (None, Some(path), None) => Self::read(path),
            (None, None, Some(secret)) => Ok(Self::Signed {
                key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
                claims: jwt_claims.clone(),
            }),
            (_, _, _) => anyhow::bail!("one of token, token-file and jwt-secret, not more"),
        }
    }

    /// Those that the server must refuse.
    ///
    /// # Errors
    ///
    /// The file of tokens is not there or empty.
    pub fn rejected(words: &Words) -> anyhow::Result<Self> {
        words.rejected_token_file.as_deref().map_or(Ok(Self::None), Self::read)
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read tokens from {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let list: Vec<String> = lines.map(str::to_owned).collect();
        anyhow::ensure!(!list.is_empty(), "{} holds no token", path.display());
        Ok(Self::List(list))
    }

    /// The token of client `number`.
    #[must_use]
    pub fn of(&self, number: usize) -> Option<String> {
        let n = number.to_string();
        match self {
            Self::None => None,
            Self::Template(template) => Some(fill(template, &[("n", &n)])),
            Self::List(list) => Some(list[number % list.len()].clone()),
            Self::Signed { key, claims } => {
                let exp = (clock::unix_seconds() + LIFETIME_SECONDS).to_string();
                Some(sign(key, &fill(claims, &[("n", &n), ("exp", &exp)])))
            }
        }
    }
}

/// A JWT in its compact form (RFC 7515, §3.1).
fn sign(key: &hmac::Key, claims: &str) -> String {
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_rfc_7515_does_it() {
        // Header and claims of jwt.io's well-known example, signed with its secret.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"your-256-bit-secret");
        let token = sign(&key, r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#);
        assert_eq!(
            token.rsplit_once('.').unwrap().1,
            "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
        );
    }

    #[test]
    fn lists_go_round_and_templates_are_filled() {
        let list = Tokens::List(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(list.of(3).as_deref(), Some("b"));
        assert_eq!(Tokens::Template("t-{n}".to_owned()).of(7).as_deref(), Some("t-7"));
        assert_eq!(Tokens::None.of(0), None);
    }
}
