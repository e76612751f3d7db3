//! `relay.*`: how messages reach other cores and other tasks.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::redis_url::RedisUrl;
use crate::config::settings::Secret;
use crate::config::value::Values;

/// `relay.*`: the bus between shards, and between tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Which relay was asked for; [`RelaySettings::effective_mode`] is the one that runs.
    pub mode: RelayMode,
    /// The Redis servers, tried in this order; all with TLS or all without.
    pub url: Vec<RedisUrl>,
    /// The user; may stand in the URLs instead, as may the password.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The file with the certificates of the authorities that sign Redis's; `None` is the host's.
    pub tls_ca: Option<PathBuf>,
    /// What that file held when it was checked: PEM with at least one certificate.
    pub tls_ca_pem: Option<String>,
    /// The name that Redis's certificate must have; `None` is the host's in the URL.
    pub tls_server_name: Option<String>,
    /// How long what was not sent may wait for Redis.
    pub outbox_seconds: Duration,
    /// Bytes of the process that may wait for Redis.
    pub outbox_bytes: usize,
    /// How long interest may take to be confirmed before the subscription is refused.
    pub confirm_seconds: Duration,
    /// How long a channel stays subscribed after its last subscriber has gone.
    pub linger_seconds: Duration,
    /// How often Redis is pinged.
    pub ping_seconds: Duration,
    /// The longest time after which a name whose server is in use is resolved again.
    pub resolve_seconds: Duration,
    /// Distinct patterns of the process that may be subscribed to at Redis.
    pub patterns: usize,
    /// Which fields are sent.
    pub envelope: Envelope,
    /// Signs what is sent, and is asked of what arrives.
    pub hmac_key: Option<Secret>,
    /// How old, or how far ahead, a signed message may be.
    pub hmac_window: Duration,
    /// Entries to which a stream of a `forward` route is trimmed.
    pub stream_entries: usize,
    /// Items that one shard's mailbox to another holds.
    pub mailbox_messages: usize,
}

impl RelaySettings {
    /// What `relay.mode` comes to: never [`RelayMode::Auto`].
    #[must_use]
    pub fn effective_mode(&self) -> RelayMode {
        match self.mode {
            RelayMode::Auto if self.url.is_empty() => RelayMode::Embedded,
            RelayMode::Auto => RelayMode::PubSub,
            mode @ (RelayMode::Embedded | RelayMode::PubSub | RelayMode::Sharded) => mode,
        }
    }

    /// Whether messages go through Redis.
    #[must_use]
    pub fn is_redis(&self) -> bool {
        self.effective_mode() != RelayMode::Embedded
    }

    /// Whether Redis is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.url.iter().any(|it| it.is_tls)
    }

    /// The user and the password, from wherever they were given.
    #[must_use]
    pub fn credentials(&self) -> (Option<&str>, Option<&Secret>) {
        let first = self.url.iter().find(|it| it.user.is_some() || it.password.is_some());
        let user = self.user.as_deref().or_else(|| first?.user.as_deref());
        let password = self.password.as_ref().or_else(|| first?.password.as_ref());
        (user, password)
    }

    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            mode: values.choice("relay.mode", RelayMode::NAMES),
            url: values.redis_urls("relay.url"),
            user: values.text_or_none("relay.user"),
            password: values.text_or_none("relay.password").map(Secret::new),
            tls_ca: values.text_or_none("relay.tls_ca").map(PathBuf::from),
            tls_ca_pem: None,
            tls_server_name: values.text_or_none("relay.tls_server_name"),
            outbox_seconds: values.time("relay.outbox_seconds"),
            outbox_bytes: values.number("relay.outbox_bytes"),
            confirm_seconds: values.time("relay.confirm_seconds"),
            linger_seconds: values.time("relay.linger_seconds"),
            ping_seconds: values.time("relay.ping_seconds"),
            resolve_seconds: values.time("relay.resolve_seconds"),
            patterns: values.number("relay.patterns"),
            envelope: values.choice("relay.envelope", Envelope::NAMES),
            hmac_key: values.text_or_none("relay.hmac_key").map(Secret::new),
            hmac_window: values.time("relay.hmac_window"),
            stream_entries: values.number("relay.stream_entries"),
            mailbox_messages: values.number("relay.mailbox_messages"),
        }
    }
}

/// `relay.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayMode {
    /// Redis Pub/Sub when a Redis is named, else the embedded relay.
    Auto,
    /// Between the shards of this process only.
    Embedded,
    /// Redis Pub/Sub.
    PubSub,
    /// Redis Cluster's sharded Pub/Sub.
    Sharded,
}

impl RelayMode {
    pub(super) const NAMES: &[(&str, Self)] = &[
        ("auto", Self::Auto),
        ("embedded", Self::Embedded),
        ("pubsub", Self::PubSub),
        ("sharded", Self::Sharded),
    ];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::PubSub => "pubsub",
            Self::Sharded => "sharded",
        }
    }
}

/// `relay.envelope`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The article's fields and our own.
    Full,
    /// The article's six fields only.
    Article,
}

impl Envelope {
    pub(super) const NAMES: &[(&str, Self)] = &[("full", Self::Full), ("article", Self::Article)];
}

#[cfg(test)]
mod tests {
    use crate::config::settings::RelayMode;
    use crate::config::settings::Settings;

    #[test]
    fn auto_is_pubsub_just_where_a_redis_is_named() {
        let mut relay = Settings::default().relay;
        assert_eq!(relay.effective_mode(), RelayMode::Embedded);
        relay.url = vec![crate::config::redis_url::RedisUrl::parse("redis://a").unwrap()];
        assert_eq!(relay.effective_mode(), RelayMode::PubSub);
        for (name, mode) in RelayMode::NAMES {
            relay.mode = *mode;
            assert_eq!(mode.as_str(), *name);
            assert_eq!(relay.is_redis(), *mode != RelayMode::Embedded);
        }
    }
}
