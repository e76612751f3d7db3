//! Who a token says its bearer is, and whether that is to be believed.
//!
//! For: turning the text of a JWT into [`Verified`], once; afterwards a frame costs a comparison of
//! integers ([`Standing`]). Must never know where keys come from, what time it is, or what a
//! session does. Read `keys` (what tokens are checked with), `document` (how those are written),
//! `token` (bounds, then the signature),
//! `claims` (what it says), `revoked`, then `verifier` (all of it, with caches).

mod cache;
mod claims;
mod document;
mod json;
mod keys;
mod provider;
mod revoked;
mod sign;
mod token;
mod verifier;

use std::fmt;

pub use crate::policy::auth::claims::ClaimOptions;
pub use crate::policy::auth::claims::ClaimPath;
pub use crate::policy::auth::claims::Claims;
pub use crate::policy::auth::claims::Kept;
pub use crate::policy::auth::claims::USER_BYTES_MAX;
pub use crate::policy::auth::document::DOCUMENT_BYTES_MAX;
pub use crate::policy::auth::document::KEYS_COUNT_MAX;
pub use crate::policy::auth::document::Parsed;
pub use crate::policy::auth::document::Source;
pub use crate::policy::auth::document::parse as parse_keys;
pub use crate::policy::auth::keys::Key;
pub use crate::policy::auth::keys::KeyError;
pub use crate::policy::auth::keys::KeyId;
pub use crate::policy::auth::keys::KeySet;
pub use crate::policy::auth::revoked::REVOCATIONS_COUNT_MAX;
pub use crate::policy::auth::revoked::Revocation;
pub use crate::policy::auth::revoked::Revocations;
pub use crate::policy::auth::revoked::Whom;
pub use crate::policy::auth::sign::SigningKey;
pub use crate::policy::auth::verifier::Counts;
pub use crate::policy::auth::verifier::Options;
pub use crate::policy::auth::verifier::Standing;
pub use crate::policy::auth::verifier::Verified;
pub use crate::policy::auth::verifier::Verifier;

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// There is none, where one is needed.
    Missing,
    /// It has more bytes than are looked at.
    TooLarge,
    /// It is no JWT: its parts, its base64, its JSON, its nesting, a name that stands twice.
    Malformed,
    /// Its algorithm is `none`.
    Unsigned,
    /// Its algorithm is not served, or the key that it names is not for it.
    Algorithm,
    /// No key here has its `kid`.
    UnknownKey,
    /// It was not signed with the key, or was changed afterwards.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It comes from somebody who is not listened to.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// A claim is missing that must be there.
    Claim,
    /// It names no user, or one whose id cannot be.
    User,
    /// It, or all its user had, was revoked.
    Revoked,
    /// It is another user's than the session's.
    OtherUser,
}

impl Reject {
    /// Every variant, for tables by label.
    pub const ALL: &[Self] = &[
        Self::Missing,
        Self::TooLarge,
        Self::Malformed,
        Self::Unsigned,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claim,
        Self::User,
        Self::Revoked,
        Self::OtherUser,
    ];

    /// The label in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLarge => "too-large",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim => "claim",
            Self::User => "user",
            Self::Revoked => "revoked",
            Self::OtherUser => "other-user",
        }
    }

    /// Whether a fresh token would help: the session is closed with 4401, not with 1008.
    #[must_use]
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Expired | Self::Revoked)
    }
}

impl fmt::Display for Reject {
    /// For the client: what is wrong, without what would help to make a better forgery.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Missing => "a token is needed",
            Self::TooLarge => "the token is too large",
            Self::Malformed => "the token is malformed",
            Self::Unsigned | Self::Algorithm => "the token's algorithm is not accepted",
            Self::UnknownKey => "the token's key is not known",
            Self::Signature => "the token's signature is wrong",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token's issuer is not accepted",
            Self::Audience => "the token is for another audience",
            Self::Claim => "the token lacks a claim that is needed",
            Self::User => "the token names no user",
            Self::Revoked => "the token was revoked",
            Self::OtherUser => "the token is another user's",
        })
    }
}

#[cfg(test)]
mod tests;
