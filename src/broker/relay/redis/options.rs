//! What the machine is told at start: where Redis is, who we are there, and every bound.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::relay::redis::history::Keeping;
use crate::proto::envelope;

/// How channels are subscribed to and published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// SUBSCRIBE, PSUBSCRIBE and PUBLISH on one server, or one of its stand-ins.
    PubSub,
    /// SSUBSCRIBE and SPUBLISH on the masters of a cluster, each for its slots; no patterns.
    Sharded,
}

/// Where a Redis server listens. The name is resolved anew at every connect, by who connects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(out, "[{}]:{}", self.host, self.port);
        }
        write!(out, "{}:{}", self.host, self.port)
    }
}

/// The settings of one core's side of the relay.
#[derive(Debug)]
pub struct Options {
    /// Plain or sharded.
    pub mode: Mode,
    /// Tried in turn; in sharded mode only to learn the cluster's masters. Never empty.
    pub addresses: Vec<Address>,
    /// The user of AUTH; `None` is Redis's `default`.
    pub user: Option<Box<str>>,
    /// The password of AUTH; `None`: no AUTH at all.
    pub password: Option<Box<str>>,
    /// Which fields our envelopes have.
    pub form: envelope::Form,
    /// Signs what goes out; what comes in without its signature is dropped.
    pub key: Option<envelope::Key>,
    /// Whether what is revoked is read from Redis: tokens are needed, and there is a key.
    pub reads_revoked: bool,
    /// How far a signed timestamp may be from now, either way.
    pub hmac_window: Duration,
    /// `originServerId` of our envelopes.
    pub origin: Box<str>,
    /// How long a message waits for a connection before it is refused.
    pub outbox_timeout: Duration,
    /// Bytes of commands that may wait.
    pub outbox_bytes_max: usize,
    /// How long a SUBSCRIBE waits for its confirmation before it is refused.
    pub confirm_timeout: Duration,
    /// How long a channel stays subscribed to after its last subscriber has gone.
    pub linger: Duration,
    /// A link that subscribes and hears nothing is asked after this time.
    pub ping_interval: Duration,
    /// The publisher's link is asked for its server's role this often.
    pub role_interval: Duration,
    /// A link whose oldest question is this old, and that has said nothing since, is given up.
    pub ping_timeout: Duration,
    /// The longest time after which a name whose server is in use is looked up again.
    pub look_interval: Duration,
    /// How long a connect may take, name and TLS included.
    pub connect_timeout: Duration,
    /// The first pause before a reconnect; doubled after each round of addresses.
    pub backoff_min: Duration,
    /// The longest pause before a reconnect.
    pub backoff_max: Duration,
    /// How often the cluster is asked for its slots.
    pub topology_interval: Duration,
    /// `limits.message_bytes`; envelopes may have [`Options::envelope_bytes_max`].
    pub message_bytes_max: usize,
    /// Longest destination that is taken from an envelope.
    pub destination_bytes_max: usize,
    /// Distinct patterns that may be subscribed to, and globs that they come to.
    pub patterns_max: usize,
    /// About how many entries a stream of a `forward` route keeps.
    pub stream_entries_max: u64,
    /// How messages of routes with a history are kept; none: they have no history here.
    pub keeping: Option<Keeping>,
}

impl Options {
    /// The defaults, for one core and these addresses.
    #[must_use]
    pub fn new(mode: Mode, addresses: Vec<Address>) -> Self {
        Self {
            mode,
            addresses,
            user: None,
            password: None,
            form: envelope::Form::Full,
            key: None,
            reads_revoked: false,
            hmac_window: Duration::from_secs(60),
            origin: "".into(),
            outbox_timeout: Duration::from_secs(10),
            outbox_bytes_max: 8 << 20,
            confirm_timeout: Duration::from_secs(15),
            linger: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            role_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(5),
            look_interval: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            topology_interval: Duration::from_secs(30),
            message_bytes_max: 64 << 10,
            destination_bytes_max: 512,
            patterns_max: 1024,
            stream_entries_max: 100_000,
            keeping: None,
        }
    }

    pub(super) fn hmac_window_ms(&self) -> u64 {
        u64::try_from(self.hmac_window.as_millis()).unwrap_or(u64::MAX)
    }

    /// The largest envelope that is sent or taken: what a client may send fits, however much of it
    /// JSON escapes.
    #[must_use]
    pub const fn envelope_bytes_max(&self) -> usize {
        const OURS_BYTES_MAX: usize = 4 << 10;
        envelope::encoded_bytes_max(self.message_bytes_max, OURS_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_as_it_would_be_dialled() {
        let shown = |host: &str| Address { host: host.into(), port: 6379 }.to_string();
        assert_eq!(shown("redis.example.org"), "redis.example.org:6379");
        assert_eq!(shown("::1"), "[::1]:6379");
    }
}
