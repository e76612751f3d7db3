//! `history.*`: where messages of routes with a history are stored.

use crate::config::history_url::HistoryUrl;
use crate::config::value::Values;

/// `history.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Where they are stored.
    pub url: HistoryUrl,
    /// Bytes that are kept where that is memory.
    pub memory_bytes: usize,
}

impl HistorySettings {
    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            url: values.history_url("history.url"),
            memory_bytes: values.number("history.memory_bytes"),
        }
    }
}
