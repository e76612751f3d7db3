//! How long things take on a core, and how busy it is: the series of a shard's turns.

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Series;
use crate::metrics::catalogue::series;

/// From the accepted connection to the answered upgrade.
pub const HANDSHAKE_TIME: Series = series(
    "websocket_handshake_time_seconds",
    Kind::Histogram,
    None,
    "Time from accepting a connection to answering its upgrade.",
);
/// Time to put one message into the outboxes of its local subscribers.
pub const FAN_OUT_TIME: Series = series(
    "websocket_fan_out_time_seconds",
    Kind::Histogram,
    None,
    "Time to decode a message and put it into the outboxes of its subscribers on one core.",
);
/// How long bytes waited for their socket.
pub const OUTBOX_AGE: Series = series(
    "websocket_outbox_age_seconds",
    Kind::Histogram,
    None,
    "Time that the oldest byte of an outbox had waited when all that waited with it was taken.",
);
/// How late a shard's timer was, by core.
pub const LAG: Series = series(
    "websocket_shard_lag_seconds",
    Kind::Histogram,
    Some("core"),
    "How late the core's timer of ten a second came: what a turn holds up, it holds up so long.",
);
/// The share of the last second that a shard's thread worked, by core.
pub const BUSY_RATIO: Series = series(
    "websocket_shard_busy_ratio",
    Kind::Gauge,
    Some("core"),
    "CPU time of the core's thread in the last second, 0 to 1.",
);
/// The same as a total, by core.
pub const BUSY_SECONDS: Series = series(
    "websocket_shard_busy_seconds_total",
    Kind::Counter,
    Some("core"),
    "CPU time of the core's thread since its start.",
);
