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
    /// A limit of the session is reached.
    Limit,
    /// A transaction is unknown, or begun twice.
    Transaction,
}

impl Code {
    /// The value of the `code` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Forbidden => "forbidden",
            Self::BadDestination => "bad-destination",
            Self::BadPattern => "bad-pattern",
            Self::Limit => "limit",
            Self::Transaction => "transaction",
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
