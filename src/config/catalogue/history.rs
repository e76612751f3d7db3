//! `history.*`: the rows of the history.

use crate::config::catalogue::HOUR;
use crate::config::catalogue::KIB;
use crate::config::catalogue::bytes;
use crate::config::catalogue::choice;
use crate::config::catalogue::count;
use crate::config::catalogue::knob;
use crate::config::catalogue::time;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

pub(super) const HISTORY: &[Knob] = &[
    Knob {
        flag: Some("--history"),
        ..knob(
            "history.url",
            Kind::HistoryUrl,
            "memory",
            "Where messages of routes with `history` are stored; also `DATABASE_URL`, or \
             `DB_HOST`, `DB_USERNAME`, `DB_PASSWORD` and `DB_NAME`.",
        )
    },
    knob(
        "history.memory_bytes",
        bytes(64 * KIB, 1 << 40),
        "64MiB",
        "Bytes that are kept where `history.url` is `memory`; the oldest go first.",
    ),
    knob("history.tls", Kind::Switch, "false", "Whether a MySQL is reached through TLS only."),
    knob(
        "history.tls_ca",
        Kind::Path,
        "none",
        "PEM file with the authorities that sign the certificate of that MySQL; none means the \
         public ones.",
    ),
    knob(
        "history.on_failure",
        choice(&["refuse", "defer"]),
        "refuse",
        "Beside a relay through Redis, while the store is away: `refuse` messages of routes with \
         `history`, or `defer`, which takes them with `stored:deferred`.",
    ),
    knob(
        "history.stream_messages",
        count(1, 1 << 20),
        "256",
        "Messages of a destination that stay in its Redis stream once they are stored.",
    ),
    knob(
        "history.unstored_messages",
        count(1, 1 << 24),
        "10000",
        "Messages of a destination in its Redis stream that may wait for the store; with more they \
         are refused.",
    ),
    knob(
        "history.retention_age",
        time(0, 10 * 366 * 24 * HOUR),
        "0s",
        "How long a message is kept; 0 keeps it for ever.",
    ),
    knob(
        "history.retention_count",
        count(0, 1_000_000_000),
        "0",
        "How many messages of each destination are kept; 0 keeps all.",
    ),
];
