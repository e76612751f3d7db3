//! `history.*`: where messages of routes with a history are stored.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::history_url::HistoryUrl;
use crate::config::settings::Envelope;
use crate::config::settings::Settings;
use crate::config::value::Values;

/// `history.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Where they are stored.
    pub url: HistoryUrl,
    /// Bytes that are kept where that is memory.
    pub memory_bytes: usize,
    /// What is done while the store is away, beside Redis.
    pub on_failure: OnFailure,
    /// Messages of a destination that stay in its stream once they are stored.
    pub stream_messages: usize,
    /// Messages of a destination that may wait for the store.
    pub unstored_messages: usize,
    /// Whether it is reached through TLS only, where that is a database server.
    pub tls: bool,
    /// A PEM file with the authorities that are believed then.
    pub tls_ca: Option<PathBuf>,
    /// How long a message is kept; zero for ever.
    pub retention_age: Duration,
    /// How many of each destination are kept; 0 all.
    pub retention_count: usize,
}

/// `history.on_failure`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Messages are refused.
    Refuse,
    /// Messages are taken, and stored later.
    Defer,
}

impl OnFailure {
    const NAMES: &[(&str, Self)] = &[("refuse", Self::Refuse), ("defer", Self::Defer)];
}

impl Settings {
    /// Whether messages of routes with a history get a place in one.
    #[must_use]
    pub fn keeps_history(&self) -> bool {
        // Six fields have no room for a place.
        !self.relay.is_redis() || self.relay.envelope == Envelope::Full
    }

    /// Whether they are stored: beside Redis in a database that all tasks can share.
    #[must_use]
    pub fn has_store(&self) -> bool {
        let is_shared = matches!(self.history.url, HistoryUrl::Mysql { .. });
        self.keeps_history() && (is_shared || !self.relay.is_redis())
    }

    /// What RECEIPTs say of where they are.
    #[must_use]
    pub fn history_name(&self) -> &'static str {
        if self.has_store() { self.history.url.name() } else { "stream" }
    }
}

impl HistorySettings {
    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            url: values.history_url("history.url"),
            memory_bytes: values.number("history.memory_bytes"),
            on_failure: values.choice("history.on_failure", OnFailure::NAMES),
            stream_messages: values.number("history.stream_messages"),
            unstored_messages: values.number("history.unstored_messages"),
            tls: values.switch("history.tls"),
            tls_ca: values.text_or_none("history.tls_ca").map(PathBuf::from),
            retention_age: values.time("history.retention_age"),
            retention_count: values.number("history.retention_count"),
        }
    }
}
