//! Refusals: a SEND or SUBSCRIBE that is not done, and says so without ending the connection.

use std::fmt;

/// Why a frame was refused; the `code` header of the notice on `/user/queue/errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No route takes an `/app` destination, or nothing is served under the destination's prefix.
    NoRoute,
    /// The destination exists, but clients may not send to it or subscribe to it.
    Forbidden,
    /// The destination is malformed or too long.
    BadDestination,
    /// The subscription pattern is malformed, or patterns are not served there.
    BadPattern,
    /// What is asked of the history is malformed, or history is not served there.
    BadHistory,
    /// A limit of the session, or of all sessions together, is reached.
    Limit,
    /// Faster than the connection may send.
    Rate,
    /// A transaction is unknown, or begun twice.
    Transaction,
    /// The body does not fit where it has to go.
    BadPayload,
    /// The relay has not confirmed an interest in time.
    RelayUnconfirmed,
    /// The relay could not be reached in time; nothing was sent.
    RelayUnavailable,
    /// The relay was lost before it answered: the message may have gone out, or not.
    RelayUnknown,
    /// The relay answered with an error.
    RelayRefused,
    /// The store of the history is away; nothing was sent.
    StoreUnavailable,
    /// Too much waits for the store of the history; nothing was sent.
    StoreFull,
    /// It was sent, and the store was lost before it was known to be stored.
    StoreUnknown,
    /// It was sent, and the store cannot keep it.
    StoreRefused,
}

impl Code {
    /// Whether the client has no part in it: such refusals are not held against it.
    #[must_use]
    pub fn is_ours(self) -> bool {
        match self {
            Self::RelayUnconfirmed
            | Self::RelayUnavailable
            | Self::RelayUnknown
            | Self::RelayRefused
            | Self::StoreUnavailable
            | Self::StoreFull
            | Self::StoreUnknown
            | Self::StoreRefused => true,
            Self::NoRoute
            | Self::Forbidden
            | Self::BadDestination
            | Self::BadPattern
            | Self::BadHistory
            | Self::Limit
            | Self::Rate
            | Self::Transaction
            | Self::BadPayload => false,
        }
    }

    /// The value of the `code` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Forbidden => "forbidden",
            Self::BadDestination => "bad-destination",
            Self::BadPattern => "bad-pattern",
            Self::BadHistory => "bad-history",
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::Transaction => "transaction",
            Self::BadPayload => "bad-payload",
            Self::RelayUnconfirmed => "relay-unconfirmed",
            Self::RelayUnavailable => "relay-unavailable",
            Self::RelayUnknown => "relay-unknown",
            Self::RelayRefused => "relay-refused",
            Self::StoreUnavailable => "store-unavailable",
            Self::StoreFull => "store-full",
            Self::StoreUnknown => "store-unknown",
            Self::StoreRefused => "store-refused",
        }
    }
}

/// One refusal: the code for programs, the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind.
    pub code: Code,
    /// What is wrong and what to do, one sentence or two.
    pub text: String,
}

impl Refusal {
    /// A refusal with this text.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.text)
    }
}
