//! `history.*`: where messages of routes with a history are stored.

use std::time::Duration;

use crate::config::history_url::HistoryUrl;
use crate::config::value::Values;

/// `history.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Where they are stored.
    pub url: HistoryUrl,
    /// Bytes that are kept where that is memory.
    pub memory_bytes: usize,
    /// How long a message is kept; zero for ever.
    pub retention_age: Duration,
    /// How many of each destination are kept; 0 all.
    pub retention_count: usize,
}

impl HistorySettings {
    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            url: values.history_url("history.url"),
            memory_bytes: values.number("history.memory_bytes"),
            retention_age: values.time("history.retention_age"),
            retention_count: values.number("history.retention_count"),
        }
    }
}
