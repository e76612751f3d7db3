//! What the server counts: the catalogue of series, counters per shard, their Prometheus text.
//!
//! For: a shard adds to its own [`ShardCounters`] while it works; whoever answers a scrape reads
//! all of them and renders one page. Nothing is locked and no cache line is written by two shards.
//!
//! Must never know: who counts, what a connection or a destination is, or anything a peer sent.
//! Every label value comes from an enum of [`catalogue`], so the number of series is fixed at
//! compile time.
//!
//! Read in this order: [`catalogue`] (names and labels), [`counters`] (where numbers live),
//! [`text`] (how they are shown), then [`health`] (whether the process is well).
#![forbid(unsafe_code)]

pub mod auth;
pub mod catalogue;
mod close_code;
pub mod counters;
pub mod document;
pub mod drain;
pub mod emf;
pub mod health;
pub mod history;
mod refusal;
pub mod relay;
pub mod text;
pub mod turn;

pub use auth::TokenRejected;
pub use catalogue::CloseCode;
pub use catalogue::ConnectionError;
pub use catalogue::Driver;
pub use catalogue::Handshake;
pub use catalogue::Refusal;
pub use catalogue::Rejected;
pub use catalogue::TlsHandshake;
pub use counters::IS_METERED;
pub use counters::ShardCounters;
pub use history::HistoryCounters;
pub use history::HistoryFailure;
pub use history::Replayed;
pub use relay::RelayDropped;
pub use text::Info;
pub use text::render;
