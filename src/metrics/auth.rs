//! The numbers of who is let on, and how fast: series, their label, and where a shard counts them.

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::Series;
use crate::metrics::catalogue::label;
use crate::metrics::catalogue::series;
use crate::metrics::counters::Counter;
use crate::metrics::counters::Labelled;

/// Tokens that were not believed, by [`TokenRejected`].
pub const REJECTED: Series = series(
    "websocket_auth_failures_total",
    Kind::Counter,
    Some("reason"),
    "Tokens that were not, or no longer, believed, by reason.",
);
/// Signatures that were checked.
pub const SIGNATURES: Series = series(
    "websocket_auth_signatures_total",
    Kind::Counter,
    None,
    "Token signatures checked: what authentication costs.",
);
/// Tokens that were judged without a signature check.
pub const KNOWN: Series = series(
    "websocket_auth_known_total",
    Kind::Counter,
    None,
    "Tokens that were judged before, good or bad, and cost no signature check.",
);

/// Times a connection was not read because it sent too fast.
pub const THROTTLED: Series = series(
    "websocket_throttled_total",
    Kind::Counter,
    None,
    "Times a connection was not read for a while because it sent too fast.",
);

label! {
    /// Why a token was not believed; spelt as the `code` that the peer is told.
    TokenRejected {
        /// There was none.
        Missing = "missing",
        /// Too many bytes.
        TooLarge = "too-large",
        /// No JWT.
        Malformed = "malformed",
        /// `alg` is `none`.
        Unsigned = "unsigned",
        /// An algorithm that is not served, or not for its key.
        Algorithm = "algorithm",
        /// No key has its `kid`, or its key was withdrawn.
        UnknownKey = "unknown-key",
        /// Another key's signature, or a changed token.
        Signature = "signature",
        /// Its time is over.
        Expired = "expired",
        /// Its time has not begun.
        NotYetValid = "not-yet-valid",
        /// Another issuer.
        Issuer = "issuer",
        /// Another audience.
        Audience = "audience",
        /// A claim is missing.
        Claim = "claim",
        /// No user.
        User = "user",
        /// It was revoked.
        Revoked = "revoked",
        /// Another user's than the session's.
        OtherUser = "other-user",
    }
}

/// What one shard counts of tokens.
#[derive(Debug, Default)]
pub struct AuthCounters {
    /// Tokens that were not believed, by reason.
    pub rejected: Labelled<TokenRejected, { TokenRejected::ALL.len() }>,
    /// Signatures that were checked.
    pub signatures: Counter,
    /// Tokens judged without one.
    pub known: Counter,
}
