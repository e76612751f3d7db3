//! Every series and every label value, once.
//!
//! The names are the contract with dashboards and alarms: adding one is a change of this table, of
//! [`ShardCounters`](super::counters::ShardCounters) and of the page in [`text`](super::text), and
//! a test holds the three together.

use crate::metrics::auth;
use crate::metrics::drain;
use crate::metrics::history;
use crate::metrics::relay;
use crate::metrics::turn;

pub use crate::metrics::close_code::CloseCode;
pub use crate::metrics::refusal::Refusal;

/// How Prometheus treats a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process lives.
    Counter,
    /// A level: rises and falls.
    Gauge,
    /// Observations in fixed buckets, in seconds.
    Histogram,
}

/// One series, without its label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The name on the page.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// The name of its only label, if it has one.
    pub label: Option<&'static str>,
    /// What it counts, as a sentence for people.
    pub help: &'static str,
}

pub(super) const fn series(
    name: &'static str,
    kind: Kind,
    label: Option<&'static str>,
    help: &'static str,
) -> Series {
    Series { name, kind, label, help }
}

/// Connections open now, by core: from the end of the handshake to the close of the socket.
pub const CONNECTIONS_ACTIVE: Series = series(
    "websocket_connections_active",
    Kind::Gauge,
    Some("core"),
    "WebSocket connections open now, by core.",
);
/// Handshakes finished, by [`Handshake`].
pub const HANDSHAKES: Series = series(
    "websocket_handshakes_total",
    Kind::Counter,
    Some("result"),
    "Upgrade requests answered or given up, by result.",
);
/// TLS handshakes of clients, by [`TlsHandshake`].
pub const TLS_HANDSHAKES: Series = series(
    "websocket_tls_handshakes_total",
    Kind::Counter,
    Some("result"),
    "TLS handshakes of clients, by result; a client that leaves in the middle does not count.",
);
/// Messages from peers.
pub const MESSAGES_RECEIVED: Series = series(
    "websocket_messages_received_total",
    Kind::Counter,
    None,
    "STOMP frames and echo messages received; heart-beats do not count.",
);
/// Messages to peers.
pub const MESSAGES_SENT: Series = series(
    "websocket_messages_sent_total",
    Kind::Counter,
    None,
    "STOMP frames and echo messages put into outboxes; heart-beats do not count.",
);
/// Time from the read that completed a SEND to the last local outbox that has it.
pub const PROCESSING_TIME: Series = series(
    "websocket_message_processing_time_seconds",
    Kind::Histogram,
    None,
    "Time from receiving a message to having it in the last local outbox.",
);
/// Connections that ended in an error, by [`ConnectionError`].
pub const CONNECTION_ERRORS: Series = series(
    "websocket_connection_errors_total",
    Kind::Counter,
    Some("reason"),
    "Connections that ended because of an error, by reason.",
);
/// Connections and upgrades turned away, by [`Rejected`].
pub const REJECTED: Series = series(
    "websocket_rejected_total",
    Kind::Counter,
    Some("reason"),
    "Connections and upgrades turned away by a limit or a policy, by reason.",
);
/// Connections closed, by [`CloseCode`].
pub const CLOSED: Series = series(
    "websocket_closed_total",
    Kind::Counter,
    Some("code"),
    "WebSocket connections closed, by close code; 1006 when no close frame was exchanged.",
);
/// Connections closed because their peer read too slowly.
pub const SLOW_CONSUMERS: Series = series(
    "websocket_slow_consumers_total",
    Kind::Counter,
    None,
    "Connections closed because the peer read too slowly.",
);
/// Subscriptions in the tables of all shards.
pub const SUBSCRIPTIONS_ACTIVE: Series = series(
    "websocket_subscriptions_active",
    Kind::Gauge,
    None,
    "STOMP subscriptions that exist now.",
);
/// Bytes waiting in all outboxes.
pub const OUTBOX_BYTES: Series = series(
    "websocket_outbox_bytes",
    Kind::Gauge,
    None,
    "Bytes waiting in outboxes for slow or busy sockets.",
);
/// Bytes read from sockets.
pub const BYTES_RECEIVED: Series = series(
    "websocket_bytes_received_total",
    Kind::Counter,
    None,
    "Bytes read from client sockets, handshakes included.",
);
/// Bytes written to sockets.
pub const BYTES_SENT: Series = series(
    "websocket_bytes_sent_total",
    Kind::Counter,
    None,
    "Bytes written to client sockets, handshakes included.",
);
/// STOMP frames refused, by [`Refusal`].
pub const REFUSALS: Series = series(
    "websocket_refusals_total",
    Kind::Counter,
    Some("reason"),
    "SEND and SUBSCRIBE frames refused, by reason.",
);
/// Always 1, with the driver that runs, by [`Driver`].
pub const IO_DRIVER: Series = series(
    "websocket_io_driver_info",
    Kind::Gauge,
    Some("driver"),
    "The I/O driver that runs: always 1.",
);

/// All series, in the order of the page.
pub const SERIES: [Series; 55] = [
    CONNECTIONS_ACTIVE,
    HANDSHAKES,
    TLS_HANDSHAKES,
    MESSAGES_RECEIVED,
    MESSAGES_SENT,
    PROCESSING_TIME,
    turn::HANDSHAKE_TIME,
    turn::FAN_OUT_TIME,
    turn::OUTBOX_AGE,
    turn::LAG,
    turn::BUSY_RATIO,
    turn::BUSY_SECONDS,
    CONNECTION_ERRORS,
    REJECTED,
    CLOSED,
    SLOW_CONSUMERS,
    SUBSCRIPTIONS_ACTIVE,
    OUTBOX_BYTES,
    BYTES_RECEIVED,
    BYTES_SENT,
    relay::MAIL,
    relay::PAUSED,
    auth::THROTTLED,
    REFUSALS,
    auth::REJECTED,
    auth::SIGNATURES,
    auth::KNOWN,
    drain::ACTIVE,
    drain::TOLD,
    drain::CLOSED,
    drain::FLUSHED,
    drain::CUT,
    relay::UP,
    relay::RECONNECTS,
    relay::GAP,
    relay::PUBLISHED,
    relay::REFUSED,
    relay::RECEIVED,
    relay::DROPPED,
    relay::COMMANDS,
    relay::OUTBOX_BYTES,
    relay::ROUND_TRIP,
    history::UP,
    history::QUEUE,
    history::COMMITS,
    history::STORED,
    history::COMMIT_TIME,
    history::FAILURES,
    history::READS,
    history::READ_TIME,
    history::SHARED,
    history::FORGOTTEN,
    history::REPLAYS,
    history::REPLAYED,
    IO_DRIVER,
];

/// The values one label can take.
pub trait Label: Copy + 'static {
    /// All values, in the order of their indexes.
    fn all() -> &'static [Self];
    /// The position in [`Label::all`].
    fn index(self) -> usize;
    /// The text on the page.
    fn text(self) -> &'static str;
}

// A macro, because a variant must not be forgotten in the list of all or without a text, and no
// function can enumerate the variants of an enum.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All values, in the order of their indexes.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];
        }

        impl Label for $name {
            fn all() -> &'static [Self] {
                &Self::ALL
            }

            fn index(self) -> usize {
                self as usize
            }

            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

pub(super) use label;

label! {
    /// How a request on the public listener ended that was, or should have been, an upgrade.
    Handshake {
        /// 101: the connection speaks WebSocket now.
        Accepted = "accepted",
        /// 400: not HTTP, or headers that RFC 6455 §4.2.1 does not allow.
        BadRequest = "bad_request",
        /// 403: the origin is not allowed.
        Forbidden = "forbidden",
        /// 404: no such path.
        NotFound = "not_found",
        /// 405: not a GET.
        MethodNotAllowed = "method_not_allowed",
        /// 408: the head was not complete in time.
        TimedOut = "timed_out",
        /// 426: a GET without an upgrade, or a version other than 13.
        UpgradeRequired = "upgrade_required",
        /// 431: too many header bytes or lines.
        HeaderTooLarge = "header_too_large",
        /// 503: a limit was reached.
        Full = "full",
        /// 503: the server is ending.
        Draining = "draining",
        /// The peer went away before the head was complete.
        Abandoned = "abandoned",
    }
}

label! {
    /// How a TLS handshake of a client ended.
    TlsHandshake {
        /// With a signature of our key.
        Full = "full",
        /// With a ticket of an earlier session.
        Resumed = "resumed",
        /// Not at all: the two had nothing in common, or one did not trust the other.
        Failed = "failed",
    }
}

label! {
    /// Which limit or policy turned a connection away before it could speak STOMP.
    Rejected {
        /// `limits.connections` is reached.
        Connections = "connections",
        /// `limits.handshakes_pending` is reached.
        HandshakesPending = "handshakes_pending",
        /// The process has no descriptor left.
        Descriptors = "descriptors",
        /// `limits.outbox_total_bytes` is reached.
        Memory = "memory",
        /// `auth.origins` does not name the page's origin.
        Origin = "origin",
        /// `limits.handshakes_per_second` is reached.
        HandshakeRate = "handshakes_per_second",
        /// `limits.connections_per_user` is reached.
        User = "user",
        /// `limits.connections_per_address` is reached.
        Address = "address",
        /// The server is ending.
        Draining = "draining",
    }
}

label! {
    /// Why a connection ended badly.
    ConnectionError {
        /// The peer reset the connection or vanished without a close frame.
        Reset = "reset",
        /// The kernel answered a read or a write with any other error.
        Io = "io",
        /// The peer broke RFC 6455.
        WebSocket = "websocket_protocol",
        /// The peer broke STOMP.
        Stomp = "stomp_protocol",
        /// A text message was not UTF-8.
        Utf8 = "utf8",
        /// A message or a STOMP frame was larger than allowed.
        TooLarge = "too_large",
        /// No CONNECT within `server.first_frame_timeout`.
        FirstFrame = "first_frame_timeout",
        /// The peer's heart-beats stopped.
        HeartBeat = "heart_beat_timeout",
        /// A ping was not answered within `server.pong_timeout`.
        Pong = "pong_timeout",
        /// The peer did not answer our close frame within `server.close_timeout`.
        Close = "close_timeout",
        /// The peer read too slowly.
        SlowConsumer = "slow_consumer",
        /// The session collected more refusals than `limits.refusals`.
        Refusals = "refusals",
        /// The token was not, or no longer, believed.
        Token = "token",
        /// Its user, or its address, has as many connections as it may have.
        Crowded = "crowded",
        /// A fault of ours in the state of this connection.
        Internal = "internal",
    }
}

label! {
    /// Which kernel interface moves the bytes.
    Driver {
        /// io_uring.
        IoUring = "io_uring",
        /// epoll.
        Epoll = "epoll",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_kind() {
        for (index, series) in SERIES.iter().enumerate() {
            assert!(SERIES[..index].iter().all(|it| it.name != series.name));
            assert!(series.name.starts_with("websocket_"));
            assert_eq!(series.kind == Kind::Counter, series.name.ends_with("_total"));
            assert!(series.help.ends_with('.'));
        }
    }

    #[test]
    fn indexes_are_positions() {
        for (index, label) in ConnectionError::all().iter().enumerate() {
            assert_eq!(label.index(), index);
        }
    }
}
