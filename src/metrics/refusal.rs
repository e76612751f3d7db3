//! Why frames are refused.

use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::label;

label! {
    /// Why a well-formed STOMP frame was refused; spelt as the `code` that the peer is told.
    Refusal {
        /// No route matches the destination.
        NoRoute = "no-route",
        /// The destination is not for this command or this session.
        Forbidden = "forbidden",
        /// The destination is malformed or too long.
        BadDestination = "bad-destination",
        /// The subscription pattern is malformed, or patterns are not served there.
        BadPattern = "bad-pattern",
        /// What is asked of the history is malformed, or not served there.
        BadHistory = "bad-history",
        /// A limit of the session is reached.
        Limit = "limit",
        /// Faster than the connection may send.
        Rate = "rate",
        /// A transaction is unknown, begun twice or too large.
        Transaction = "transaction",
        /// The body does not fit where it has to go.
        BadPayload = "bad-payload",
        /// The relay has not confirmed an interest in time.
        RelayUnconfirmed = "relay-unconfirmed",
        /// The relay could not be reached in time.
        RelayUnavailable = "relay-unavailable",
        /// The relay was lost before it answered.
        RelayUnknown = "relay-unknown",
        /// The relay answered with an error.
        RelayRefused = "relay-refused",
        /// The store of the history is away.
        StoreUnavailable = "store-unavailable",
        /// Too much waits for the store of the history.
        StoreFull = "store-full",
        /// The store was lost before it answered.
        StoreUnknown = "store-unknown",
        /// The store cannot keep the message.
        StoreRefused = "store-refused",
        /// The frame asks for what this server does not have.
        Unsupported = "unsupported",
    }
}
