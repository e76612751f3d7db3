//! `relay.*`: the rows of the relay.

use crate::config::catalogue::HOUR;
use crate::config::catalogue::KIB;
use crate::config::catalogue::bytes;
use crate::config::catalogue::choice;
use crate::config::catalogue::count;
use crate::config::catalogue::knob;
use crate::config::catalogue::time;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

pub(super) const RELAY: &[Knob] = &[
    Knob {
        flag: Some("--relay"),
        ..knob(
            "relay.mode",
            choice(&["auto", "embedded", "pubsub", "sharded"]),
            "auto",
            "How messages reach other cores and tasks: `embedded` joins the cores of one process, \
             `pubsub` tasks and back ends through Redis, `sharded` the same through a Redis \
             Cluster; `auto` is `pubsub` where `relay.url` names a Redis, else `embedded`.",
        )
    },
    knob(
        "relay.url",
        Kind::RedisUrls,
        "none",
        "The Redis servers, tried in their order; also `REDIS_URL`, or `REDIS_HOST` and \
         `REDIS_PORT`.",
    ),
    knob("relay.user", text(1, 256), "none", "The user at Redis; may stand in `relay.url`."),
    secret("relay.password", text(1, 4096), "The password at Redis; may stand in `relay.url`."),
    knob(
        "relay.tls_ca",
        Kind::Path,
        "none",
        "PEM file with the authorities that sign the certificates of `rediss` servers; none means \
         those that the host trusts.",
    ),
    knob(
        "relay.tls_server_name",
        text(1, 253),
        "none",
        "The name that those certificates must have; none means the host in `relay.url`.",
    ),
    knob(
        "relay.outbox_seconds",
        time(100, HOUR),
        "10s",
        "How long a message waits for a Redis that is away before it is refused.",
    ),
    knob(
        "relay.outbox_bytes",
        bytes(64 * KIB, 1024 * 1024 * KIB),
        "8MiB",
        "Bytes of the process that wait for Redis before messages are refused.",
    ),
    knob(
        "relay.confirm_seconds",
        time(100, HOUR),
        "15s",
        "Refuse a subscription that Redis has not confirmed within it.",
    ),
    knob(
        "relay.linger_seconds",
        time(0, HOUR),
        "5s",
        "How long a channel stays subscribed at Redis after its last subscriber has gone.",
    ),
    knob(
        "relay.ping_seconds",
        time(100, HOUR),
        "5s",
        "How often Redis is pinged, and how long it may take to answer.",
    ),
    knob(
        "relay.resolve_seconds",
        time(1000, HOUR),
        "30s",
        "The longest time after which a name in `relay.url` is resolved again although its server \
         answers; one that the name no longer lists is left.",
    ),
    knob(
        "relay.patterns",
        count(1, 1 << 20),
        "1024",
        "Distinct patterns that clients of the process may be subscribed to at Redis, which \
         compares each message with each of them; shared out evenly to the shards.",
    ),
    knob(
        "relay.envelope",
        choice(&["full", "article"]),
        "full",
        "What is sent: `article` leaves out all but the six fields of the reference article's \
         sender, for receivers that refuse others.",
    ),
    secret(
        "relay.hmac_key",
        text(16, 1024),
        "Sign what is sent to Redis, and refuse what arrives without a valid signature.",
    ),
    knob(
        "relay.hmac_window",
        time(1000, HOUR),
        "60s",
        "How far the time of a signed message may be from ours.",
    ),
    knob(
        "relay.stream_entries",
        count(1, 1 << 30),
        "100000",
        "Entries to which the stream of a `forward` route is trimmed, about.",
    ),
    knob(
        "relay.mailbox_messages",
        count(1, 1 << 20),
        "1024",
        "Items that wait from one shard to another before their publishers are paused.",
    ),
];

const fn text(chars_min: usize, chars_max: usize) -> Kind {
    Kind::Text { chars_min, chars_max }
}

const fn secret(key: &'static str, kind: Kind, help: &'static str) -> Knob {
    Knob { secret: true, ..knob(key, kind, "none", help) }
}
