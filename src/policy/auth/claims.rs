//! What a token says once its signature is believed: for whom, from whom, until when, as whom.

use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::policy::auth::Reject;

/// Longest user id in bytes.
pub const USER_BYTES_MAX: usize = 256;
/// Longest role, and longest claim value that a rule looks at, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// The way to a claim: a member's name, or names joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimPath(Arc<str>);

impl ClaimPath {
    /// The path that is written `text`. A member of that whole name is preferred, so that names
    /// with dots in them can be said as well.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        if let Some(whole) = claims.get(&*self.0) {
            return Some(whole);
        }
        let mut names = self.0.split('.');
        let first = claims.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }
}

/// What claims must be like.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// Who may have issued the token; none means anybody with a key.
    pub issuers: Vec<String>,
    /// For whom the token may be; none means that it is not looked at.
    pub audiences: Vec<String>,
    /// How far the clocks of the issuer and of this host may be apart.
    pub leeway_ms: u64,
    /// Claims that must be there.
    pub required: Vec<ClaimPath>,
    /// Where the user's id is.
    pub user: ClaimPath,
    /// Where the user's roles are: a list, or one text with spaces between.
    pub roles: ClaimPath,
    /// The claims that rules look at; their values are kept.
    pub kept: Vec<ClaimPath>,
}

/// A claim and its values.
pub type Kept = (ClaimPath, Box<[Box<str>]>);

/// What is kept of a token's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// As whom.
    pub user: Box<str>,
    /// With which roles.
    pub roles: Box<[Box<str>]>,
    /// The values of those of [`ClaimOptions::kept`] that are there.
    pub kept: Box<[Kept]>,
    /// Until when, leeway included; `u64::MAX` for ever.
    pub expires_at_ms: u64,
    /// Since when.
    pub issued_at_ms: Option<u64>,
    /// The token's own name.
    pub jti: Option<Box<str>>,
}

impl Claims {
    /// The values of the claim at `path`; none where it is absent or was not kept.
    #[must_use]
    pub fn values(&self, path: &ClaimPath) -> &[Box<str>] {
        self.kept.iter().find(|(it, _)| it == path).map_or(&[], |(_, values)| values)
    }
}

impl ClaimOptions {
    /// Judges the claims of a token whose signature is good.
    pub(super) fn judge(&self, now_ms: u64, all: &Map<String, Value>) -> Result<Claims, Reject> {
        let expires_at_ms = match date(all, "exp")? {
            None => u64::MAX,
            Some(at) => at.saturating_add(self.leeway_ms),
        };
        if expires_at_ms <= now_ms {
            return Err(Reject::Expired);
        }
        if now_ms < self.begins_at_ms(all)? {
            return Err(Reject::NotYetValid);
        }
        let issued_at_ms = date(all, "iat")?;
        if !self.issuers.is_empty() {
            let issuer = all.get("iss").and_then(Value::as_str);
            if !issuer.is_some_and(|it| self.issuers.iter().any(|allowed| allowed == it)) {
                return Err(Reject::Issuer);
            }
        }
        if !self.audiences.is_empty() {
            let is_ours = |it: &Value| it.as_str().is_some_and(|it| self.is_audience(it));
            let is_meant = match all.get("aud") {
                Some(Value::Array(list)) => list.iter().any(is_ours),
                Some(one) => is_ours(one),
                None => false,
            };
            if !is_meant {
                return Err(Reject::Audience);
            }
        }
        if self.required.iter().any(|it| it.find(all).is_none_or(Value::is_null)) {
            return Err(Reject::Claim);
        }
        let user = self.user.find(all).and_then(text_of).ok_or(Reject::User)?;
        if user.is_empty() || USER_BYTES_MAX < user.len() || user.contains(['\r', '\n', '\0']) {
            return Err(Reject::User);
        }
        let jti = match all.get("jti") {
            None => None,
            Some(it) => Some(text_of(it).ok_or(Reject::Malformed)?),
        };
        let roles = match self.roles.find(all) {
            Some(Value::String(text)) => text.split_whitespace().map(Box::from).collect(),
            other => values_of(other),
        };
        let kept = self.kept.iter().map(|it| (it.clone(), values_of(it.find(all))));
        let kept = kept.filter(|(_, values)| !values.is_empty()).collect();
        Ok(Claims { user, roles, kept, expires_at_ms, issued_at_ms, jti })
    }

    /// Since when a token with these claims is valid, leeway included; 0 for one that does not say.
    pub(super) fn begins_at_ms(&self, all: &Map<String, Value>) -> Result<u64, Reject> {
        let begins_at_ms = date(all, "nbf")?.max(date(all, "iat")?);
        Ok(begins_at_ms.map_or(0, |it| it.saturating_sub(self.leeway_ms)))
    }

    fn is_audience(&self, text: &str) -> bool {
        self.audiences.iter().any(|it| it == text)
    }
}

/// A NumericDate (RFC 7519 §2) in milliseconds.
fn date(all: &Map<String, Value>, name: &str) -> Result<Option<u64>, Reject> {
    let Some(value) = all.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds.saturating_mul(1000)));
    }
    let seconds = value.as_f64().filter(|it| 0.0 <= *it).ok_or(Reject::Malformed)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    Ok(Some((seconds * 1000.0) as u64))
}

/// A text, or what else can stand for one.
fn text_of(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
        Value::Bool(on) => Some(on.to_string().into()),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The values of a claim that may be one or a list; what cannot stand in a destination is left out.
fn values_of(value: Option<&Value>) -> Box<[Box<str>]> {
    let of = |it: &Value| text_of(it).filter(|it| !it.is_empty() && it.len() <= VALUE_BYTES_MAX);
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(of).collect(),
        Some(one) => of(one).into_iter().collect(),
        None => Box::default(),
    }
}
