//! The numbers of the relay: its series, its labels, and where a shard counts them.
//!
//! All but [`UP`], [`MAIL`] and [`PAUSED`] are those of the Redis relay, and 0 with the embedded
//! one.

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::Series;
use crate::metrics::catalogue::label;
use crate::metrics::catalogue::series;
use crate::metrics::counters::Counter;
use crate::metrics::counters::Gauge;
use crate::metrics::counters::Histogram;
use crate::metrics::counters::Labelled;

/// Publications handed to another shard's mailbox.
pub const MAIL: Series = series(
    "websocket_relay_mail_total",
    Kind::Counter,
    None,
    "Items handed to the mailbox of another core by the embedded relay.",
);
/// Times a publisher was not read because a mailbox had no credit.
pub const PAUSED: Series = series(
    "websocket_relay_paused_total",
    Kind::Counter,
    None,
    "Times reading a publisher was paused because the mailbox of another core was full.",
);
/// Whether the shard's relay carries messages, by core.
pub const UP: Series = series(
    "websocket_relay_up",
    Kind::Gauge,
    Some("core"),
    "1 while the relay of the core carries messages; the embedded one always does.",
);
/// Times that the relay came up again.
pub const RECONNECTS: Series = series(
    "websocket_relay_reconnects_total",
    Kind::Counter,
    None,
    "Times a core had its relay back after a loss, everything subscribed again.",
);
/// How long messages of others may have been missed.
pub const GAP: Series = series(
    "websocket_relay_gap_seconds_total",
    Kind::Counter,
    None,
    "Time that cores were without their relay and missed what others published.",
);
/// Messages handed to Redis.
pub const PUBLISHED: Series = series(
    "websocket_relay_published_total",
    Kind::Counter,
    None,
    "Messages and stream entries given to the relay for Redis.",
);
/// Messages that Redis did not take, or is not known to have taken.
pub const REFUSED: Series = series(
    "websocket_relay_refused_total",
    Kind::Counter,
    None,
    "Messages and stream entries that the relay refused, for whatever reason.",
);
/// Messages from Redis.
pub const RECEIVED: Series = series(
    "websocket_relay_received_total",
    Kind::Counter,
    None,
    "Messages that came from Redis, dropped ones included.",
);
/// Messages from Redis that were not delivered, by [`RelayDropped`].
pub const DROPPED: Series = series(
    "websocket_relay_dropped_total",
    Kind::Counter,
    Some("reason"),
    "Messages from Redis that were dropped, by reason.",
);
/// Commands to Redis.
pub const COMMANDS: Series = series(
    "websocket_relay_commands_total",
    Kind::Counter,
    None,
    "Commands sent to Redis, of every kind.",
);
/// What waits for Redis.
pub const OUTBOX_BYTES: Series = series(
    "websocket_relay_outbox_bytes",
    Kind::Gauge,
    None,
    "Bytes that wait to be sent to Redis.",
);
/// From a PUBLISH to its answer.
pub const ROUND_TRIP: Series = series(
    "websocket_relay_round_trip_seconds",
    Kind::Histogram,
    None,
    "Time from sending a message to Redis to its answer.",
);

label! {
    /// Why a message from Redis was not delivered.
    RelayDropped {
        /// Not an envelope, or one with a field that clients cannot be shown.
        Malformed = "malformed",
        /// The envelope names another destination or user than its channel.
        Mismatch = "mismatch",
        /// Larger than an envelope may be.
        Oversize = "oversize",
        /// A key is set and the message has no signature.
        Unsigned = "unsigned",
        /// A key is set and the signature was made with another.
        BadSignature = "bad-signature",
        /// Signed too long ago, or too far in the future.
        Stale = "stale",
        /// A control message that is none, or that came without a key.
        Control = "control",
    }
}

/// What one shard's relay has done; written by the shard alone.
#[derive(Debug, Default)]
pub struct RelayCounters {
    /// 1 while it carries messages, else 0.
    pub up: Gauge,
    /// Times it came up again.
    pub reconnects: Counter,
    /// Nanoseconds that it was down, but for the first connect.
    pub gap_ns: Counter,
    /// Messages and stream entries given to it.
    pub published: Counter,
    /// Those of them that were refused.
    pub refused: Counter,
    /// Messages from Redis.
    pub received: Counter,
    /// Those of them that were dropped, by reason.
    pub dropped: Labelled<RelayDropped, { RelayDropped::ALL.len() }>,
    /// Commands sent.
    pub commands: Counter,
    /// Bytes that wait to be sent.
    pub outbox_bytes: Gauge,
    /// From sending to the answer.
    pub round_trip: Histogram,
}
