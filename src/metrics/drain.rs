//! The numbers of a drain: its series, and where a shard counts them.

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Series;
use crate::metrics::catalogue::series;
use crate::metrics::counters::Counter;
use crate::metrics::counters::Gauge;

/// Whether a core drains.
pub const ACTIVE: Series = series(
    "websocket_drain_active",
    Kind::Gauge,
    Some("core"),
    "1 while the core lets its connections go, because the process ends.",
);
/// Sessions that were told.
pub const TOLD: Series = series(
    "websocket_drain_told_total",
    Kind::Counter,
    None,
    "Sessions that were told on /topic/server.events that they are let go, for whatever reason.",
);
/// Connections that the drain has closed.
pub const CLOSED: Series = series(
    "websocket_drain_closed_total",
    Kind::Counter,
    None,
    "Connections that the drain has closed with 1012.",
);
/// Connections that ended well while the process drained.
pub const FLUSHED: Series = series(
    "websocket_drain_flushed_total",
    Kind::Counter,
    None,
    "Connections that were sent all that waited for them before they ended in a drain.",
);
/// Connections that were cut while the process drained.
pub const CUT: Series = series(
    "websocket_drain_cut_total",
    Kind::Counter,
    None,
    "Connections that were cut in a drain: their peer did not read, or did not answer the close.",
);

/// What one shard's drain has done; written by the shard alone.
#[derive(Debug, Default)]
pub struct DrainCounters {
    /// 1 while it drains.
    pub active: Gauge,
    /// Sessions told.
    pub told: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// Connections that ended with all said.
    pub flushed: Counter,
    /// Connections that were cut.
    pub cut: Counter,
}
