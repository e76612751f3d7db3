//! `history.*`: where messages of routes with a history are stored.

use std::path::PathBuf;
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
    /// Whether it is reached through TLS only, where that is a database server.
    pub tls: bool,
    /// A PEM file with the authorities that are believed then.
    pub tls_ca: Option<PathBuf>,
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
            tls: values.switch("history.tls"),
            tls_ca: values.text_or_none("history.tls_ca").map(PathBuf::from),
            retention_age: values.time("history.retention_age"),
            retention_count: values.number("history.retention_count"),
        }
    }
}
