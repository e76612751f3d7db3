//! The numbers of the history: its series, its labels, and where they are counted: most by the
//! store's thread, replays by the shards.
//!
//! All but [`UP`] are 0 where nothing is stored.

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::Series;
use crate::metrics::catalogue::label;
use crate::metrics::catalogue::series;
use crate::metrics::counters::Counter;
use crate::metrics::counters::Gauge;
use crate::metrics::counters::Histogram;
use crate::metrics::counters::Labelled;

/// Whether the store is there.
pub const UP: Series = series(
    "websocket_history_up",
    Kind::Gauge,
    None,
    "1 while the store of the history answers, or where there is none.",
);
/// What waits for the store.
pub const QUEUE: Series = series(
    "websocket_history_queue",
    Kind::Gauge,
    None,
    "Messages that were handed to the store and are not known to be stored.",
);
/// Transactions.
pub const COMMITS: Series = series(
    "websocket_history_commits_total",
    Kind::Counter,
    None,
    "Transactions that the store has committed, each of one message or many.",
);
/// Messages stored.
pub const STORED: Series = series(
    "websocket_history_stored_total",
    Kind::Counter,
    None,
    "Messages that the store has committed.",
);
/// How long a transaction takes.
pub const COMMIT_TIME: Series = series(
    "websocket_history_commit_seconds",
    Kind::Histogram,
    None,
    "Time of a transaction, from its first statement to the answer of its commit.",
);
/// What the store could not do, by [`HistoryFailure`].
pub const FAILURES: Series = series(
    "websocket_history_failures_total",
    Kind::Counter,
    Some("operation"),
    "Times that the store failed, by what was asked of it.",
);
/// Pages read from the store.
pub const READS: Series = series(
    "websocket_history_reads_total",
    Kind::Counter,
    None,
    "Pages that were read from the store.",
);
/// How long that takes.
pub const READ_TIME: Series = series(
    "websocket_history_read_seconds",
    Kind::Histogram,
    None,
    "Time to read a page from the store.",
);
/// Pages that were known.
pub const SHARED: Series = series(
    "websocket_history_shared_total",
    Kind::Counter,
    None,
    "Pages that were given without asking the store, because it had been asked for the same.",
);
/// Messages removed.
pub const FORGOTTEN: Series = series(
    "websocket_history_forgotten_total",
    Kind::Counter,
    None,
    "Messages that were removed because of history.retention_age or history.retention_count.",
);
/// Replays that came to their end, by [`Replayed`].
pub const REPLAYS: Series = series(
    "websocket_history_replays_total",
    Kind::Counter,
    Some("recovered"),
    "Replays that have caught up, by whether all that was asked for was there.",
);
/// Messages given by replays.
pub const REPLAYED: Series = series(
    "websocket_history_replayed_total",
    Kind::Counter,
    None,
    "Messages given to subscribers from the history.",
);

label! {
    /// What the store was asked when it failed.
    HistoryFailure {
        /// To be there.
        Connect = "connect",
        /// To store messages.
        Commit = "commit",
        /// To store a message that it can never keep.
        Rejected = "rejected",
        /// To read a page.
        Read = "read",
        /// To forget what is too old.
        Forget = "forget",
    }
}

label! {
    /// What a replay's RECEIPT says.
    Replayed {
        /// All that was asked for was given.
        Whole = "true",
        /// Something was not there, or could not be read.
        InPart = "false",
    }
}

/// What the store has done; written by its thread alone.
#[derive(Debug, Default)]
pub struct HistoryCounters {
    /// 1 while it is there.
    pub up: Gauge,
    /// Transactions.
    pub commits: Counter,
    /// Messages stored.
    pub stored: Counter,
    /// How long each transaction took.
    pub commit_time: Histogram,
    /// What it failed in.
    pub failures: Labelled<HistoryFailure, { HistoryFailure::ALL.len() }>,
    /// Pages read.
    pub reads: Counter,
    /// How long each took.
    pub read_time: Histogram,
    /// Pages that were known.
    pub shared: Counter,
    /// Messages removed.
    pub forgotten: Counter,
}

/// What one shard has to do with the history; written by the shard alone.
#[derive(Debug, Default)]
pub struct ReplayCounters {
    /// Messages of its destinations that are not known to be stored.
    pub queue: Gauge,
    /// Replays that came to their end.
    pub ended: Labelled<Replayed, { Replayed::ALL.len() }>,
    /// Messages that they gave.
    pub given: Counter,
}
